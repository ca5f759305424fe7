//! What must hold in every state, checked by code that shares nothing with what it checks.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::objects::{Container, Owner};

/// Every promise that the state breaks, one line each.
pub fn check(cluster: &Cluster) -> Vec<String> {
    let mut broken = Vec::new();
    let mut mounted: BTreeMap<&str, &str> = BTreeMap::new();
    let mut seats: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (name, pod) in cluster.pods() {
        let running = pod.container == Container::Running;
        if running
            && pod
                .node
                .as_ref()
                .is_none_or(|n| !cluster.nodes().contains_key(n))
        {
            broken.push(format!("{name} runs on a node that does not exist"));
        }
        if pod.ready && !running {
            broken.push(format!("{name} is ready and does not run"));
        }
        if running && let Some(claim) = &pod.claim {
            if let Some(other) = mounted.insert(claim, name) {
                broken.push(format!("{other} and {name} both mount {claim}"));
            }
            let disk = cluster
                .claims()
                .get(claim)
                .and_then(|claim| cluster.disks().get(claim.disk.as_ref()?));
            match disk {
                None => broken.push(format!("{name} runs without its disk")),
                Some(disk) if disk.attached != pod.node => {
                    broken.push(format!("{name} runs, its disk is at {:?}", disk.attached));
                }
                Some(disk) => {
                    let zone = pod
                        .node
                        .as_ref()
                        .and_then(|node| cluster.nodes().get(node))
                        .map(|node| &node.zone);
                    if zone.is_some_and(|zone| *zone != disk.zone) {
                        broken.push(format!("{name} and its disk are in different zones"));
                    }
                }
            }
        }
        if let (Owner::Set { name: set, .. }, Some(node)) = (&pod.owner, &pod.node)
            && cluster.sets().get(set).is_some_and(|set| set.one_per_node)
            && let Some(other) = seats.insert((set, node), name)
        {
            broken.push(format!("{other} and {name} share {node}"));
        }
    }
    broken
}
