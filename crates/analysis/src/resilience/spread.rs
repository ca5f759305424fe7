//! Spread: do the pods of a workload stand on one node, or in one zone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::databases;
use super::draft::{Draft, Edit};
use super::scene::{Pod, Scene, Workload};
use super::values::{at, has, list};
use crate::codes;
use crate::findings::{Finding, Severity};

/// The label of a node's zone.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let zones: BTreeMap<&str, &str> = scene
        .kind("Node")
        .iter()
        .filter_map(|(object, body)| Some((&*object.name, zone(body)?)))
        .collect();
    let known: BTreeSet<&str> = zones.values().copied().collect();
    for workload in &scene.workloads {
        if !workload.makes.scales() || workload.fewest().is_none_or(|fewest| fewest < 2) {
            continue;
        }
        findings.extend(wanted(workload));
        findings.extend(real(scene, workload, &zones, &known));
    }
}

/// A node's zone. AKS writes the region's name and a number; 0 means that it has none.
pub(crate) fn zone(node: &Value) -> Option<&str> {
    let labels = node.pointer("/metadata/labels")?;
    labels
        .get(ZONE)
        .or_else(|| labels.get("topology.disk.csi.azure.com/zone"))
        .and_then(Value::as_str)
        .filter(|zone| !zone.is_empty() && *zone != "0")
}

/// Is a spread asked for at all?
fn wanted(workload: &Workload<'_>) -> Option<Finding> {
    let pod = workload.pod();
    if has(pod, "/spec/affinity/podAntiAffinity")
        || !list(pod, "/spec/topologySpreadConstraints").is_empty()
    {
        return None;
    }
    let labels =
        at(workload.body, "/spec/selector/matchLabels").or_else(|| at(pod, "/metadata/labels"))?;
    let constraint = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": labels },
        })
    };
    let database = databases::of(workload);
    Some(
        Draft::new(
            codes::NO_SPREAD,
            if database.is_some() {
                Severity::Warning
            } else {
                Severity::Info
            },
            workload.object,
            format!(
                "nothing keeps the pods of {} apart: one drain may take several of them",
                workload.name()
            ),
        )
        .saw(
            "workload",
            "neither podAntiAffinity nor topologySpreadConstraints",
        )
        .fix("spread them over nodes and zones")
        .change(
            workload.object,
            Edit::of(workload.body).set(
                &workload.path("/topologySpreadConstraints"),
                json!([constraint("kubernetes.io/hostname"), constraint(ZONE)]),
            ),
        )
        .done(),
    )
}

/// Where the pods stand in fact.
fn real(
    scene: &Scene<'_>,
    workload: &Workload<'_>,
    zones: &BTreeMap<&str, &str>,
    known: &BTreeSet<&str>,
) -> Option<Finding> {
    let pods: Vec<&Pod<'_>> = workload
        .pods
        .iter()
        .filter_map(|at| scene.pods.get(*at))
        .filter(|pod| !pod.is_finished() && !pod.is_leaving() && pod.node().is_some())
        .collect();
    if pods.len() < 2 {
        return None;
    }
    let nodes: BTreeSet<&str> = pods.iter().filter_map(|pod| pod.node()).collect();
    let names: Vec<&str> = pods.iter().map(|pod| &*pod.object.name).collect();
    if let [node] = nodes.iter().collect::<Vec<_>>().as_slice() {
        return Some(
            Draft::new(
                codes::ON_ONE_NODE,
                Severity::Warning,
                workload.object,
                format!("all {} pods of {} are on node {node}", pods.len(), workload.name()),
            )
            .saw("pods", names.join(", "))
            .fix("ask for a spread over kubernetes.io/hostname, then delete one pod after the other (kubectl rollout restart)")
            .done(),
        );
    }
    let used: Vec<Option<&&str>> = nodes.iter().map(|node| zones.get(node)).collect();
    let first = used.first().copied().flatten()?;
    if known.len() < 2 || !used.iter().all(|zone| *zone == Some(first)) {
        return None;
    }
    Some(
        Draft::new(
            codes::IN_ONE_ZONE,
            Severity::Warning,
            workload.object,
            format!(
                "all {} pods of {} are in zone {first}, and the nodes are in {}",
                pods.len(),
                workload.name(),
                known.iter().copied().collect::<Vec<_>>().join(", ")
            ),
        )
        .saw(
            "pods",
            pods.iter()
                .filter_map(|pod| Some(format!("{} on {}", pod.object.name, pod.node()?)))
                .collect::<Vec<_>>()
                .join(", "),
        )
        .fix(format!("ask for a spread over {ZONE}, then restart the workload; members with zonal disks have to be made anew in another zone"))
        .done(),
    )
}
