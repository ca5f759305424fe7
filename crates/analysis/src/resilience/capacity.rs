//! Capacity: is there room for what a drained node ran.

use std::collections::BTreeMap;

use serde_json::Value;

use super::draft::{Draft, Edit};
use super::scene::{Makes, Pod, Scene, Workload, full_name};
use super::values::{flag, has, int, list, quantity, text};
use crate::codes;
use crate::findings::{Finding, Severity};

const POOL: [&str; 2] = ["kubernetes.azure.com/agentpool", "agentpool"];

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for workload in &scene.workloads {
        findings.extend(unsized_pods(workload));
    }
    rooms(scene, findings);
}

/// Containers that ask for nothing: the scheduler puts them anywhere, and a full node evicts them
/// first.
fn unsized_pods(workload: &Workload<'_>) -> Option<Finding> {
    if !workload.makes.serves() || workload.makes == Makes::Naked {
        return None;
    }
    let mut edit = Edit::of(workload.body);
    let mut found = Vec::new();
    for (path, container) in workload.containers() {
        let resources = format!("{path}/resources");
        let lacks = |name: &str| {
            !has(container, &format!("/resources/requests/{name}"))
                && !has(container, &format!("/resources/limits/{name}"))
        };
        let mut asked = container
            .pointer("/resources/requests")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let mut changed = false;
        for (name, amount) in [("cpu", "100m"), ("memory", "128Mi")] {
            if lacks(name) {
                asked.insert(name.to_owned(), Value::from(amount));
                changed = true;
            }
        }
        if changed {
            found.push(text(container, "/name").unwrap_or("?"));
            edit = edit.set(&format!("{resources}/requests"), Value::Object(asked));
        }
    }
    if found.is_empty() {
        return None;
    }
    Some(
        Draft::new(
            codes::NO_REQUESTS,
            Severity::Info,
            workload.object,
            format!(
                "no cpu or memory is requested ({}): nobody can say whether it fits when a node drains, and it is the first to go \
                 from a full one",
                found.join(", ")
            ),
        )
        .saw("workload", format!("resources.requests of {} lacks cpu or memory", found.join(", ")))
        .fix("request what it needs (measure it; what the patch says is a guess)")
        .change(workload.object, edit)
        .done(),
    )
}

/// Amounts of one node or pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    cpu: i128,
    memory: i128,
    pods: i128,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.memory += other.memory;
        self.pods += other.pods;
    }

    fn less(self, other: Self) -> Self {
        Self {
            cpu: self.cpu - other.cpu,
            memory: self.memory - other.memory,
            pods: self.pods - other.pods,
        }
    }

    fn holds(self, other: Self) -> Option<&'static str> {
        if self.cpu < other.cpu {
            Some("cpu")
        } else if self.memory < other.memory {
            Some("memory")
        } else if self.pods < other.pods {
            Some("pods")
        } else {
            None
        }
    }
}

/// What a pod asks of its node.
pub(crate) fn asked(spec: &Value) -> Amount {
    let of = |container: &Value, name: &str| {
        let resources = container.get("resources");
        let amount = |of: &str| resources?.get(of)?.get(name);
        amount("requests")
            .or_else(|| amount("limits"))
            .and_then(quantity)
            .unwrap_or(0)
    };
    let mut sum = Amount {
        pods: 1000,
        ..Amount::default()
    };
    for container in list(spec, "/containers") {
        sum.cpu += of(container, "cpu");
        sum.memory += of(container, "memory");
    }
    // Sidecars add up; other init containers run one at a time.
    for container in list(spec, "/initContainers") {
        let (cpu, memory) = (of(container, "cpu"), of(container, "memory"));
        if text(container, "/restartPolicy") == Some("Always") {
            sum.cpu += cpu;
            sum.memory += memory;
        } else {
            sum.cpu = sum.cpu.max(cpu);
            sum.memory = sum.memory.max(memory);
        }
    }
    sum
}

/// Does the rest of a pool hold what its fullest node runs?
fn rooms(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let mut used: BTreeMap<&str, (Amount, Amount)> = BTreeMap::new();
    for pod in scene.pods.iter().filter(|pod| !pod.is_finished()) {
        let Some(node) = pod.node() else { continue };
        let entry = used.entry(node).or_default();
        entry.0.add(pod.facts.asked);
        if moves(pod) {
            entry.1.add(pod.facts.asked);
        }
    }
    if used.is_empty() {
        return;
    }
    let mut pools: BTreeMap<&str, Vec<(&crate::manifest::Object, Amount)>> = BTreeMap::new();
    for (object, body) in scene.kind("Node") {
        if flag(body, "/spec/unschedulable") == Some(true) || !has(body, "/status/allocatable/cpu")
        {
            continue;
        }
        let of = |name: &str| {
            let found = body.pointer(&format!("/status/allocatable/{name}"));
            found.and_then(quantity).unwrap_or(0)
        };
        let all = Amount {
            cpu: of("cpu"),
            memory: of("memory"),
            pods: of("pods"),
        };
        let labels = body.pointer("/metadata/labels");
        let pool = POOL
            .iter()
            .find_map(|key| labels?.get(*key)?.as_str())
            .unwrap_or_default();
        let taken = used
            .get(&*object.name)
            .map_or(Amount::default(), |(all, _)| *all);
        pools
            .entry(pool)
            .or_default()
            .push((object, all.less(taken)));
    }
    for (pool, nodes) in &pools {
        let mut all = Amount::default();
        // Two entries of one name are one node.
        let mut own: BTreeMap<&str, Amount> = BTreeMap::new();
        for (node, amount) in nodes {
            all.add(*amount);
            own.entry(&node.name).or_default().add(*amount);
        }
        for (node, _) in nodes {
            let Some((_, moving)) = used.get(&*node.name) else {
                continue;
            };
            let free = all.less(own.get(&*node.name).copied().unwrap_or_default());
            if moving.pods == 0 {
                continue;
            }
            let Some(short) = free.holds(*moving) else {
                continue;
            };
            findings.push(
                Draft::new(
                    codes::NO_ROOM,
                    Severity::Warning,
                    node,
                    format!(
                        "what runs on {} does not fit on the other {} nodes of its pool ({short}): without a surge node its pods stay \
                         Pending",
                        node.name,
                        nodes.len() - 1
                    ),
                )
                .saw("requests", show(*moving))
                .saw("free", format!("{} in pool {pool}", show(free)))
                .fix("upgrade with a surge node (maxSurge 1 or more and maxUnavailable 0), or add a node first")
                .done(),
            );
        }
    }
    scalers(scene, &pools, findings);
}

/// A drain leaves a DaemonSet's pods, and the kubelet's own.
fn moves(pod: &Pod<'_>) -> bool {
    !matches!(pod.facts.controller, Some(("DaemonSet" | "Node", _)))
}

/// Autoscalers that would grow past what is there.
fn scalers(
    scene: &Scene<'_>,
    pools: &BTreeMap<&str, Vec<(&crate::manifest::Object, Amount)>>,
    findings: &mut Vec<Finding>,
) {
    let mut free = Amount::default();
    for (_, amount) in pools.values().flatten() {
        free.add(*amount);
    }
    for workload in &scene.workloads {
        let Some((scaler, body)) = workload.scaler else {
            continue;
        };
        let (Some(most), Some(now)) = (
            int(body, "/spec/maxReplicas"),
            int(body, "/status/currentReplicas"),
        ) else {
            continue;
        };
        let one = asked(workload.pod().pointer("/spec").unwrap_or(&Value::Null));
        let more = i128::from((most - now).max(0));
        let wanted = Amount {
            cpu: one.cpu * more,
            memory: one.memory * more,
            pods: one.pods * more,
        };
        if let Some(short) = free.holds(wanted) {
            findings.push(
                Draft::new(
                    codes::SCALER_WITHOUT_ROOM,
                    Severity::Info,
                    scaler,
                    format!(
                        "{} may grow from {now} to {most} pods, and the nodes have no room for that ({short}): load that moves in an \
                         upgrade waits for new nodes",
                        full_name(workload.object)
                    ),
                )
                .saw("requests", show(wanted))
                .saw("free", show(free))
                .fix("see that the cluster autoscaler's maximum allows for it, or lower maxReplicas to what fits")
                .change(scaler, Edit::of(body).set("/spec/maxReplicas", fits(free, one, now)))
                .done(),
            );
        }
    }
}

/// How many pods there is room for, with those that run.
fn fits(free: Amount, one: Amount, now: i64) -> i64 {
    let of = |free: i128, one: i128| {
        if one > 0 {
            free.max(0).div_euclid(one)
        } else {
            i128::MAX
        }
    };
    let more = of(free.cpu, one.cpu)
        .min(of(free.memory, one.memory))
        .min(of(free.pods, one.pods));
    now.max(1) + i64::try_from(more).unwrap_or(0)
}

fn show(amount: Amount) -> String {
    format!(
        "cpu {}m, memory {} MiB, {} pods",
        amount.cpu,
        amount.memory.div_euclid(1000 << 20),
        amount.pods.div_euclid(1000)
    )
}
