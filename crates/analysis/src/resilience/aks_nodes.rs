//! The nodes of an AKS cluster: versions that differ, what an upgrade left behind, what the next one takes away.
//!
//! # Source
//! Microsoft's pages on node images, drains that block, and labels of node pools.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Settings;
use super::aks::POOL;
use super::draft::{Draft, Edit};
use super::scene::Scene;
use super::values::{flag, list, text, texts};
use crate::codes;
use crate::findings::{Finding, Severity};
use crate::manifest::Object;

/// Days after which a node image has missed a release of every week for a quarter.
const OLD_IMAGE: i64 = 90;
/// Labels of a node's image, and of its fate in an upgrade.
const IMAGE: &str = "/metadata/labels/kubernetes.azure.com~1node-image-version";
const QUARANTINED: &str = "/metadata/labels/kubernetes.azure.com~1upgrade-status";

/// Prefixes of labels that Kubernetes and AKS put on nodes themselves.
const GIVEN: &[&str] = &[
    "kubernetes.io/",
    "k8s.io/",
    "azure.com/",
    "agentpool",
    "storageprofile",
    "storagetier",
    "kubernetes.azure.com",
    "nvidia.com/",
    "cilium.io/",
];

/// What the nodes say, which is not what ARM says.
pub(super) fn check(
    scene: &Scene<'_>,
    pools: &BTreeMap<(&str, &str), (&Object, &Value)>,
    settings: &Settings,
    findings: &mut Vec<Finding>,
) {
    let mut versions: BTreeMap<&str, BTreeMap<(&str, &str), Vec<&Object>>> = BTreeMap::new();
    for (object, body) in scene.kind("Node") {
        let pool = text(body, POOL).unwrap_or_default();
        let kubelet = text(body, "/status/nodeInfo/kubeletVersion").unwrap_or_default();
        let image = text(body, IMAGE).unwrap_or_default();
        if !pool.is_empty() && !kubelet.is_empty() {
            versions
                .entry(pool)
                .or_default()
                .entry((kubelet, image))
                .or_default()
                .push(object);
        }
        findings.extend(cordoned(object, body));
        findings.extend(aged(object, image, settings));
        let same_name: Vec<&(&Object, &Value)> = pools
            .iter()
            .filter(|((_, name), _)| *name == pool)
            .map(|(_, found)| found)
            .collect();
        if let [(_, pool)] = same_name.as_slice() {
            findings.extend(by_hand(object, body, pool));
        }
    }
    for (pool, found) in versions {
        let arm = pools
            .iter()
            .find(|((_, name), _)| *name == pool)
            .map(|(_, (_, body))| *body);
        let told = arm.and_then(|body| text(body, "/currentOrchestratorVersion"));
        let differs = told.is_some_and(|told| {
            found
                .keys()
                .any(|(kubelet, _)| kubelet.trim_start_matches('v') != told)
        });
        if found.len() < 2 && !differs {
            continue;
        }
        let Some(first) = found.values().next().and_then(|nodes| nodes.first()) else {
            continue;
        };
        let each: Vec<String> = found
            .iter()
            .map(|((kubelet, image), nodes)| format!("{} with {kubelet} {image}", nodes.len()))
            .collect();
        findings.push(
            Draft::new(
                codes::AKS_DRIFT,
                Severity::Warning,
                first,
                format!(
                    "the nodes of pool {pool} are not one version: {}{}",
                    each.join(", "),
                    told.map_or(String::new(), |told| format!("; ARM says {told}"))
                ),
            )
            .saw("nodes", each.join(", "))
            .owner("whoever keeps the node pools")
            .fix("an earlier upgrade did not finish: upgrade the pool to the version it claims to have (the nodes count, not ARM's field)")
            .done(),
        );
    }
}

/// A node that an upgrade left behind.
fn cordoned(object: &Object, body: &Value) -> Option<Finding> {
    let quarantined = text(body, QUARANTINED) == Some("Quarantined");
    if !quarantined && flag(body, "/spec/unschedulable") != Some(true) {
        return None;
    }
    let mut edit = Edit::of(body).remove("/spec/unschedulable");
    if quarantined {
        edit = edit.remove(QUARANTINED);
    }
    let taints = list(body, "/spec/taints");
    if let Some(at) = taints
        .iter()
        .position(|taint| text(taint, "/key") == Some("node.kubernetes.io/unschedulable"))
    {
        edit = edit.remove(&format!("/spec/taints/{at}"));
    }
    Some(
        Draft::new(
            codes::AKS_CORDONED,
            if quarantined { Severity::Blocks } else { Severity::Warning },
            object,
            if quarantined {
                "AKS gave this node up in an earlier upgrade (Quarantined): the pool is not whole until it is resolved".to_owned()
            } else {
                "the node is cordoned: what is drained elsewhere has one node less to go to".to_owned()
            },
        )
        .saw("node", if quarantined { "upgrade-status Quarantined" } else { "unschedulable" })
        .owner("whoever keeps the node pools")
        .fix("clear what blocked it (its budgets), then make it schedulable again, or delete its machine")
        .change(object, edit)
        .done(),
    )
}

/// `AKSUbuntu-2204gen2containerd-202410.27.0`, perhaps with the day of a security patch.
fn built(image: &str) -> Option<i64> {
    if let Some((_, patched)) = image
        .rsplit_once('-')
        .filter(|(_, tail)| tail.matches('.').count() == 2)
    {
        let mut parts = patched.split('.');
        let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
        if first.len() == 6 {
            let year = first.get(..4)?.parse().ok()?;
            return days(year, first.get(4..)?.parse().ok()?, second.parse().ok()?);
        }
        if first.len() == 4 {
            return days(
                first.parse().ok()?,
                second.parse().ok()?,
                third.parse().ok()?,
            );
        }
    }
    None
}

/// Days since 1970-01-01 of a day of the Gregorian calendar.
pub fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that a leap day is the last of its year.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let within = (153 * month + 2).div_euclid(5) + day - 1;
    Some(
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + within
            - 719_468,
    )
}

fn aged(object: &Object, image: &str, settings: &Settings) -> Option<Finding> {
    let age = settings.today? - built(image)?;
    (age > OLD_IMAGE).then(|| {
        Draft::new(
            codes::AKS_IMAGE,
            Severity::Warning,
            object,
            format!("the node's image is {age} days old: a new one comes out every week, so its channel does not fire or its window never comes"),
        )
        .saw("node", image)
        .owner("whoever keeps the node pools")
        .fix("upgrade the node image (az aks nodepool upgrade --node-image-only), and look at the node OS channel and its window")
        .done()
    })
}

/// Labels and taints that are on the node and not in its pool: the next image does not have them.
fn by_hand(object: &Object, body: &Value, pool: &Value) -> Option<Finding> {
    let kept = pool.pointer("/nodeLabels").and_then(Value::as_object);
    let labels = body.pointer("/metadata/labels").and_then(Value::as_object);
    let own: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter(|(key, _)| {
            !GIVEN
                .iter()
                .any(|given| key.starts_with(given) || key.contains(&format!(".{given}")))
        })
        .filter(|(key, value)| kept.and_then(|all| all.get(*key)) != Some(*value))
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let pool_taints = texts(pool, "/nodeTaints");
    let taints: Vec<String> = list(body, "/spec/taints")
        .iter()
        .filter_map(|taint| {
            let key = text(taint, "/key")?;
            let shown = format!(
                "{key}={}:{}",
                text(taint, "/value").unwrap_or_default(),
                text(taint, "/effect").unwrap_or_default()
            );
            let given = key.contains("kubernetes.io/")
                || key.contains("kubernetes.azure.com/")
                || key.contains("cilium.io/");
            (!given && !pool_taints.contains(&shown.as_str())).then_some(shown)
        })
        .collect();
    if own.is_empty() && taints.is_empty() {
        return None;
    }
    let mut edit = Edit::of(body);
    for label in &own {
        let key = label.split('=').next().unwrap_or_default();
        edit = edit.remove(&format!("/metadata/labels/{}", super::values::escape(key)));
    }
    let found: Vec<String> = own.iter().chain(&taints).cloned().collect();
    let draft = Draft::new(
        codes::AKS_BY_HAND,
        Severity::Warning,
        object,
        format!("set on the node by hand, and gone after its upgrade: {}", found.join(", ")),
    )
    .saw("node", found.join(", "))
    .saw("arm", "nodeLabels and nodeTaints of the pool do not have them")
    .owner("whoever keeps the node pools")
    .fix("give them to the pool (az aks nodepool update --labels ... --node-taints ...); the patch takes them off the node");
    // Taints are a list: only labels can be taken off by their names.
    Some(if taints.is_empty() {
        draft.change(object, edit).done()
    } else {
        draft.done()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_images() {
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(2000, 3, 1), Some(11_017));
        assert_eq!(days(2026, 11, 21), Some(20_778));
        assert_eq!(
            built("AKSUbuntu-2204gen2containerd-202410.27.0"),
            days(2024, 10, 27)
        );
        assert_eq!(
            built("AKSUbuntu-2204gen2containerd-202410.27.0-2024.12.01"),
            days(2024, 12, 1)
        );
        assert_eq!(built("AKSWindows-2022"), None);
    }
}
