//! The resources as they stand: cluster, pools, instances, operations. Pure bookkeeping under one lock; nothing here
//! waits, and nothing here touches a machine or the Kubernetes API.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::machines::{Mode, Taint};
use crate::random::Random;
use crate::throttle::{Faults, Throttle};
use crate::versions::{Catalogue, Version};

/// Everything that changes.
pub(crate) struct World {
    pub cluster: Cluster,
    pub pools: BTreeMap<String, Pool>,
    pub operations: BTreeMap<String, Operation>,
    pub random: Random,
    pub throttle: Throttle,
    pub faults: Faults,
    pub catalogue: Catalogue,
    /// Given to `listClusterUserCredential` and `listClusterAdminCredential`.
    pub kubeconfig: Option<String>,
}

/// The managed cluster.
pub(crate) struct Cluster {
    pub etag: String,
    /// What the user may set, as it came.
    pub settings: Map<String, Value>,
    pub tags: Value,
    /// What the user asked for; may be an alias.
    pub requested: String,
    pub current: Version,
    pub state: State,
    pub operation: Option<String>,
}

/// A node pool.
pub(crate) struct Pool {
    pub name: String,
    pub etag: String,
    /// What the user may set, as it came, defaults filled in; `count`, `mode` and the rest are read from here.
    pub settings: Map<String, Value>,
    pub current: Version,
    pub node_image_version: String,
    pub state: State,
    pub operation: Option<String>,
    pub scale_set: String,
    pub instances: BTreeMap<u32, Instance>,
    /// Instance numbers are never used twice.
    pub next_instance: u32,
}

/// A machine of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub id: u32,
    pub node_name: String,
    pub zone: Option<String>,
}

/// Provisioning state with the error that led to it.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub name: &'static str,
    pub error: Option<(String, String)>,
}

impl State {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, error: None }
    }
}

/// A long-running operation.
#[derive(Clone)]
pub(crate) struct Operation {
    pub id: String,
    /// The pool it works on; none for the cluster.
    pub pool: Option<String>,
    pub status: &'static str,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub percent: u32,
    pub error: Option<(String, String)>,
    /// What `Location` ends in when the operation succeeds.
    pub leaves: Leaves,
    /// Asked to stop: by abort, or by a delete on top.
    pub stop: CancellationToken,
    /// What a stop is reported as.
    pub stopped_as: StoppedAs,
    /// Cancelled once the operation is over.
    pub over: CancellationToken,
}

/// What is there after an operation has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// The resource, changed.
    Resource,
    /// The resource, but the operation has no result of its own: 204.
    NoResult,
    /// The resource is gone: 204.
    Nothing,
}

/// Why an operation was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoppedAs {
    /// The user aborted it.
    Aborted,
    /// The resource is being deleted.
    PreemptedByDelete,
}

impl Pool {
    pub(crate) fn text(&self, key: &str) -> &str {
        self.settings
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(crate) fn number(&self, key: &str) -> Option<u32> {
        self.settings
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
    }

    pub(crate) fn count(&self) -> u32 {
        self.number("count").unwrap_or(0)
    }

    pub(crate) fn mode(&self) -> Mode {
        if self.text("mode").eq_ignore_ascii_case("system") {
            Mode::System
        } else {
            Mode::User
        }
    }

    pub(crate) fn zones(&self) -> Vec<String> {
        strings(self.settings.get("availabilityZones"))
    }

    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        string_map(self.settings.get("nodeLabels"))
    }

    pub(crate) fn taints(&self) -> Vec<Taint> {
        strings(self.settings.get("nodeTaints"))
            .iter()
            .filter_map(|t| t.parse().ok())
            .collect()
    }

    /// The zone of the next node: the one with the fewest, the seed decides among equals. Nobody can choose it.
    pub(crate) fn next_zone(&self, random: &mut Random) -> Option<String> {
        let zones = self.zones();
        let load = |zone: &String| {
            self.instances
                .values()
                .filter(|i| i.zone.as_ref() == Some(zone))
                .count()
        };
        let least = zones.iter().map(load).min()?;
        let candidates: Vec<&String> = zones.iter().filter(|z| load(z) == least).collect();
        candidates
            .get(random.below(candidates.len()))
            .map(|z| (*z).clone())
    }

    /// Books the next instance.
    pub(crate) fn add_instance(&mut self, random: &mut Random) -> Instance {
        let id = self.next_instance;
        self.next_instance += 1;
        let zone = self.next_zone(random);
        let instance = Instance {
            id,
            node_name: format!("{}{}", self.scale_set, base36(id)),
            zone,
        };
        self.instances.insert(id, instance.clone());
        instance
    }

    /// The instances that a scale-down by `surplus` removes.
    ///
    /// Cordoned nodes go first, then the highest instance of the fullest zone. Source: a published experiment with
    /// AKS 1.33 (scale-in after cordoning the oldest, middle and newest node: the cordoned one went each time; without
    /// a cordon the highest instance went) and the default scale-in policy of scale sets (balance zones first).
    pub(crate) fn victims(&self, surplus: usize, cordoned: &[String]) -> Vec<Instance> {
        let mut left: Vec<Instance> = self.instances.values().cloned().collect();
        let mut victims = Vec::new();
        while victims.len() < surplus && !left.is_empty() {
            let load = |zone: &Option<String>| left.iter().filter(|i| i.zone == *zone).count();
            let chosen = left
                .iter()
                .enumerate()
                .max_by_key(|(_, i)| (cordoned.contains(&i.node_name), load(&i.zone), i.id))
                .map(|(index, _)| index);
            match chosen {
                Some(index) => victims.push(left.swap_remove(index)),
                None => break,
            }
        }
        victims
    }

    /// `properties` as the API shows them.
    pub(crate) fn properties(&self) -> Map<String, Value> {
        let mut properties = self.settings.clone();
        properties.insert("eTag".into(), json!(self.etag));
        properties.insert(
            "currentOrchestratorVersion".into(),
            json!(self.current.to_string()),
        );
        properties.insert("nodeImageVersion".into(), json!(self.node_image_version));
        properties.insert("provisioningState".into(), json!(self.state.name));
        if let Some((code, message)) = &self.state.error {
            properties.insert(
                "status".into(),
                json!({"provisioningError": {"code": code, "message": message}}),
            );
        }
        properties
    }
}

impl World {
    /// A new eTag, a UUID as on AKS.
    pub(crate) fn new_etag(&mut self) -> String {
        self.random.uuid().to_string()
    }

    /// The running operation that stands in the way of a new one on this resource: one on the resource itself, one
    /// on the cluster for a pool, one on any pool for the cluster. Pools do not stand in each other's way.
    pub(crate) fn obstacle(&self, pool: Option<&str>) -> Option<(&Operation, String)> {
        let running = |id: &Option<String>| {
            id.as_ref()
                .and_then(|id| self.operations.get(id))
                .filter(|operation| operation.ended.is_none())
        };
        if let Some(operation) = running(&self.cluster.operation) {
            return Some((
                operation,
                format!("managed cluster - {}", self.cluster.state.name),
            ));
        }
        let mut pools = self
            .pools
            .values()
            .filter(|p| pool.is_none_or(|name| name == p.name));
        pools.find_map(|p| {
            running(&p.operation)
                .map(|operation| (operation, format!("{} - {}", p.name, p.state.name)))
        })
    }
}

/// `aks-<pool>-<8 digits>-vmss`; the digits come from cluster, pool and incarnation, so that a pool made anew does
/// not bring back its predecessor's node names.
pub(crate) fn scale_set_name(cluster: &str, pool: &str, incarnation: u64) -> String {
    let digest = Sha256::digest(format!("{cluster}/{pool}/{incarnation}"));
    let number = digest
        .iter()
        .take(8)
        .fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
    format!("aks-{pool}-{:08}-vmss", number % 90_000_000 + 10_000_000)
}

/// Six digits in base 36, as scale sets number their computers.
pub(crate) fn base36(mut number: u32) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = [b'0'; 6];
    for place in text.iter_mut().rev() {
        *place = DIGITS[(number % 36) as usize];
        number /= 36;
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

/// The strings of a JSON list; anything else counts as none.
pub(crate) fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .map(|list| {
            list.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default()
}

/// The string entries of a JSON object.
pub(crate) fn string_map(value: Option<&Value>) -> BTreeMap<String, String> {
    value
        .and_then(Value::as_object)
        .map(|map| {
            map.iter()
                .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{Pool, State, base36, scale_set_name};
    use crate::random::Random;

    fn pool(zones: &[&str]) -> Pool {
        let settings = json!({"count": 0, "mode": "User", "availabilityZones": zones});
        Pool {
            name: "db".into(),
            etag: String::new(),
            settings: settings.as_object().unwrap().clone(),
            current: "1.36.3".parse().unwrap(),
            node_image_version: String::new(),
            state: State::new("Succeeded"),
            operation: None,
            scale_set: "aks-db-12345678-vmss".into(),
            instances: BTreeMap::new(),
            next_instance: 0,
        }
    }

    #[test]
    fn nodes_spread_over_the_zones() {
        let (mut pool, mut random) = (pool(&["1", "2", "3"]), Random::new(7));
        for _ in 0..2 {
            let mut zones: Vec<_> = (0..3)
                .filter_map(|_| pool.add_instance(&mut random).zone)
                .collect();
            zones.sort();
            assert_eq!(zones, ["1", "2", "3"]);
        }
        assert_eq!(pool.instances[&5].node_name, "aks-db-12345678-vmss000005");
    }

    #[test]
    fn a_scale_down_takes_cordoned_nodes_then_the_highest_of_the_fullest_zone() {
        let (mut pool, mut random) = (pool(&["1", "2"]), Random::new(7));
        for _ in 0..5 {
            pool.add_instance(&mut random);
        }
        let names =
            |victims: Vec<super::Instance>| victims.iter().map(|v| v.id).collect::<Vec<_>>();
        assert_eq!(
            names(pool.victims(1, &["aks-db-12345678-vmss000001".into()])),
            [1]
        );
        assert_eq!(names(pool.victims(1, &[])), [4]);
        assert_eq!(names(pool.victims(9, &[])).len(), 5);
    }

    #[test]
    fn names_follow_the_scale_sets() {
        assert_eq!(
            (base36(0), base36(10), base36(36)),
            ("000000".into(), "00000a".into(), "000010".into())
        );
        let name = scale_set_name("c", "db", 1);
        assert!(
            name.starts_with("aks-db-")
                && name.ends_with("-vmss")
                && name.len() == "aks-db-12345678-vmss".len()
        );
        assert_ne!(name, scale_set_name("c", "db", 2));
    }
}
