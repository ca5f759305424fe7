//! The nouns: a cluster, and how it is to be drained.

use std::collections::BTreeMap;

pub type Map = BTreeMap<&'static str, String>;

#[derive(Clone, Debug, Default)]
pub struct Node {
    pub name: String,
    pub labels: Map,
    /// Key, value, effect.
    pub taints: Vec<(&'static str, &'static str, &'static str)>,
    pub cpu: u64,
    pub memory: u64,
    pub most: usize,
    pub cordoned: bool,
    pub absent: bool,
    pub exists: bool,
    pub serves: bool,
    pub old: bool,
    pub up_at: Option<u64>,
    pub for_next: bool,
    pub soaked_at: Option<u64>,
}

/// Key, operator, values.
pub type Requirement = (&'static str, &'static str, Vec<String>);

#[derive(Clone, Debug, Default)]
pub struct Near {
    pub namespaces: Option<Vec<&'static str>>,
    pub selector: Option<Vec<Requirement>>,
    pub topology: &'static str,
}

#[derive(Clone, Debug, Default)]
pub struct Spread {
    pub skew: usize,
    pub domains: usize,
    pub topology: &'static str,
    pub selector: Option<Vec<Requirement>>,
    pub ignore_rules: bool,
    pub honor_taints: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Template {
    pub namespace: &'static str,
    pub labels: Map,
    pub cpu: u64,
    pub memory: u64,
    pub rules: Vec<Vec<Vec<Requirement>>>,
    /// Key, value, effect; nothing is any.
    pub tolerations: Vec<(
        Option<&'static str>,
        Option<&'static str>,
        Option<&'static str>,
    )>,
    pub near: Vec<Near>,
    pub apart: Vec<Near>,
    pub spread: Vec<Spread>,
    pub port: Option<u16>,
    pub start: u64,
    pub ready: Option<u64>,
    pub stop: u64,
}

#[derive(Clone, Debug)]
pub struct Pod {
    pub template: usize,
    pub controller: Option<usize>,
    pub ordinal: usize,
    pub node: Option<usize>,
    /// Pending, Unready, Ready, Finished.
    pub phase: &'static str,
    pub terminating: bool,
    pub mirror: bool,
    pub gone: bool,
    pub origin: usize,
    pub gone_at: Option<u64>,
    pub runs_at: Option<u64>,
    pub ready_at: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Controller {
    /// at-once, numbered, in-order, per-node, never.
    pub replaces: &'static str,
    pub replicas: usize,
    /// Which size, if it has one; several may share it.
    pub scale: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Budget {
    pub namespace: &'static str,
    pub selector: Option<Vec<Requirement>>,
    /// Is it minAvailable?
    pub min: bool,
    pub percent: bool,
    pub amount: u64,
    pub always: bool,
    pub gives_way: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub order: Vec<usize>,
    pub hands: usize,
    pub surge: Vec<usize>,
    /// reimage, reimage-all, delete, leave.
    pub after: &'static str,
    pub reimage: u64,
    pub machine_up: u64,
    pub soak: u64,
    pub timeout: u64,
    pub retry: u64,
    pub shun: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub templates: Vec<Template>,
    pub pods: Vec<Pod>,
    pub controllers: Vec<Controller>,
    pub scales: Vec<u64>,
    pub budgets: Vec<Budget>,
}

pub(super) fn holds(selector: &[Requirement], labels: &Map) -> bool {
    for (key, operator, values) in selector {
        let value = labels.get(key);
        let fine = match *operator {
            "In" => value.is_some() && values.contains(value.unwrap()),
            "NotIn" => value.is_none() || !values.contains(value.unwrap()),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => value
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v > values[0].parse().unwrap()),
            "Lt" => value
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v < values[0].parse().unwrap()),
            _ => unreachable!(),
        };
        if !fine {
            return false;
        }
    }
    true
}
