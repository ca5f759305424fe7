//! Room for surge nodes: processors of the quota, addresses of the subnet.

use std::collections::BTreeMap;

use serde_json::Value;

use super::aks::surge;
use super::draft::Draft;
use super::scene::{Scene, namespace};
use super::values::{int, text};
use crate::codes;
use crate::findings::{Finding, Severity};
use crate::manifest::Object;

/// Pods of a node when nobody said: AKS's own default with Azure CNI.
const MAX_PODS: i64 = 30;

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let mut pools: BTreeMap<(&str, &str), (&Object, &Value)> = BTreeMap::new();
    for (object, body) in scene.kind("AgentPool") {
        pools.insert((namespace(object), &object.name), (object, body));
    }
    processors(scene, &pools, findings);
    addresses(scene, &pools, findings);
}

/// Processors of a machine: what its nodes say, else the number in its size's name.
fn cores(scene: &Scene<'_>, pool: &str, size: &str) -> Option<i64> {
    let node = scene.kind("Node").iter().find(|(_, body)| {
        text(body, "/metadata/labels/kubernetes.azure.com~1agentpool") == Some(pool)
            || text(body, "/metadata/labels/agentpool") == Some(pool)
    });
    if let Some(said) =
        node.and_then(|(_, body)| text(body, "/status/capacity/cpu")?.parse::<i32>().ok())
    {
        return Some(i64::from(said));
    }
    let digits: String = family_parts(size)?.1;
    digits.parse::<i32>().ok().map(i64::from)
}

/// Letters, number and version of a size: `Standard_D4ds_v5` is `D`, `4`, `ds_v5`.
fn family_parts(size: &str) -> Option<(String, String, String)> {
    let name = size.split_once('_')?.1;
    let letters: String = name.chars().take_while(char::is_ascii_alphabetic).collect();
    let rest = name.get(letters.len()..)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let rest = rest.get(digits.len()..)?.to_owned();
    (!letters.is_empty() && !digits.is_empty()).then_some((letters, digits, rest))
}

/// The quota of a size: `standardDDSv5Family`. Constrained sizes (`-2`) belong to the same.
fn family(size: &str) -> Option<String> {
    let (letters, _, rest) = family_parts(size)?;
    let rest: String = rest.chars().filter(|c| *c != '_').collect();
    let rest = match rest.split_once('-') {
        Some((_, after)) => after
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .to_owned(),
        None => rest,
    };
    Some(format!("standard{letters}{rest}family").to_ascii_lowercase())
}

fn number(body: &Value, path: &str) -> Option<i64> {
    int(body, path).or_else(|| text(body, path)?.parse::<i32>().ok().map(i64::from))
}

fn processors(
    scene: &Scene<'_>,
    pools: &BTreeMap<(&str, &str), (&Object, &Value)>,
    findings: &mut Vec<Finding>,
) {
    // An upgrade of the cluster takes its pools one by one, one of the node images all at once: the sum
    // is the worst case.
    let mut wanted: BTreeMap<String, (i64, Vec<String>)> = BTreeMap::new();
    for ((_, name), (_, body)) in pools {
        let size = text(body, "/vmSize").unwrap_or_default();
        let (Some(surge), Some(cores)) = (surge(body), cores(scene, name, size)) else {
            continue;
        };
        let need = surge * cores;
        if need <= 0 || text(body, "/scaleSetPriority") == Some("Spot") {
            continue;
        }
        for key in family(size).into_iter().chain(["cores".to_owned()]) {
            let entry = wanted.entry(key).or_default();
            entry.0 += need;
            entry.1.push(format!("{name}: {surge} x {cores}"));
        }
    }
    for (object, body) in scene.kind("Usage") {
        let Some((need, from)) = wanted.get(&object.name.to_ascii_lowercase()) else {
            continue;
        };
        let (Some(used), Some(limit)) = (number(body, "/currentValue"), number(body, "/limit"))
        else {
            continue;
        };
        if used + need <= limit {
            continue;
        }
        findings.push(
            Draft::new(
                codes::AKS_QUOTA,
                Severity::Blocks,
                object,
                format!(
                    "surge nodes need {need} processors of {} and {} are left: the upgrade fails with QuotaExceeded (1.35 and later fall \
                     back to one surge node)",
                    object.name,
                    limit - used
                ),
            )
            .saw("quota", format!("{used} of {limit} used"))
            .saw("surge", from.join(", "))
            .owner("whoever keeps the subscription's quota")
            .fix("raise the quota, lower maxSurge, or upgrade the pools one after the other")
            .done(),
        );
    }
}

fn addresses(
    scene: &Scene<'_>,
    pools: &BTreeMap<(&str, &str), (&Object, &Value)>,
    findings: &mut Vec<Finding>,
) {
    let mut wanted: BTreeMap<String, (i64, Vec<String>)> = BTreeMap::new();
    for ((cluster, name), (_, body)) in pools {
        let network = scene
            .kind("ManagedCluster")
            .iter()
            .find(|(object, _)| object.name.eq_ignore_ascii_case(cluster))
            .map(|(_, body)| *body);
        let mode = network
            .and_then(|body| text(body, "/networkProfile/networkPluginMode"))
            .unwrap_or_default();
        let plugin = network
            .and_then(|body| text(body, "/networkProfile/networkPlugin"))
            .unwrap_or("azure");
        let flat = plugin == "azure" && !mode.eq_ignore_ascii_case("overlay");
        let Some(surge) = surge(body).filter(|surge| *surge > 0) else {
            continue;
        };
        let pods = int(body, "/maxPods").unwrap_or(MAX_PODS);
        let nodes_in = text(body, "/vnetSubnetID").map(subnet);
        let pods_in = text(body, "/podSubnetID").map(subnet);
        // Pods have a subnet of their own, or stand beside the nodes, or are not in the network at all.
        let mut needs = Vec::new();
        match (nodes_in, pods_in) {
            (Some(nodes), Some(pods_in)) => {
                needs.push((nodes, surge));
                needs.push((pods_in, surge * pods));
            }
            (Some(nodes), None) if flat => needs.push((nodes, surge * (1 + pods))),
            (Some(nodes), None) => needs.push((nodes, surge)),
            (None, _) => {}
        }
        for (subnet, need) in needs {
            let entry = wanted.entry(subnet).or_default();
            entry.0 += need;
            entry.1.push(format!("{name}: {need}"));
        }
    }
    for (object, body) in scene.kind("Usage") {
        let id = text(body, "/id").map(subnet).unwrap_or_default();
        let Some((need, from)) = wanted.get(&id) else {
            continue;
        };
        let (Some(used), Some(limit)) = (number(body, "/currentValue"), number(body, "/limit"))
        else {
            continue;
        };
        if used + need <= limit {
            continue;
        }
        findings.push(
            Draft::new(
                codes::AKS_ADDRESSES,
                Severity::Blocks,
                object,
                format!("surge nodes need {need} addresses of subnet {} and {} are left: the upgrade fails with SubnetIsFull", object.name, limit - used),
            )
            .saw("subnet", format!("{used} of {limit} used"))
            .saw("surge", from.join(", "))
            .owner("whoever keeps the network")
            .fix("lower maxSurge or maxPods, or upgrade into a new pool on another subnet")
            .done(),
        );
    }
}

/// The end of a subnet's id, as far as it names one: ids come in any case.
fn subnet(id: &str) -> String {
    let id = id.to_ascii_lowercase();
    match id.split_once("/virtualnetworks/") {
        Some((_, rest)) => rest.to_owned(),
        None => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_sizes() {
        for (size, expected) in [
            ("Standard_D4s_v5", "standarddsv5family"),
            ("Standard_D4ds_v5", "standardddsv5family"),
            ("Standard_E8-2as_v5", "standardeasv5family"),
            ("Standard_DS1_v2", "standarddsv2family"),
        ] {
            assert_eq!(family(size).as_deref(), Some(expected), "{size}");
        }
    }
}
