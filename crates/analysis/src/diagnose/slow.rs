//! An upgrade that takes long: what it waits for, and what it is told to wait for.
//!
//! Said only where an upgrade is going on: a pool that says so, a cordoned node, nodes of two versions.

use std::collections::BTreeMap;

use serde_json::Value;

use super::case::Case;
use super::time::{duration, span};
use super::ward::{Ward, condition, pool, short};
use super::{Symptom, codes};
use crate::manifest::Object;
use crate::resilience::surge;
use crate::resilience::values::{int, list, text};

/// Nodes for which one at a time is too slow to be meant: at the usual five to ten minutes a node, more than an hour.
const MANY: i64 = 8;

/// Minutes that a node takes in a rolling upgrade beside its drain: a new machine comes and joins, the old one is
/// reimaged. AKS promises no figure; five is at the lower end of what people report.
const NODE: i64 = 5;

/// A pod that takes longer to stop is worth a word: ten of them one after the other are an hour.
const LONG_STOP: i64 = 300;

/// An image that takes longer is pulled anew on every fresh node.
const LONG_PULL: i64 = 60;

/// A node that is not ready after this long does not only start: AKS's own machines need one to three minutes.
const LONG_JOIN: i64 = 300;

/// Pods and nodes named.
const NAMED: usize = 5;

pub(crate) fn check(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    nodes(ward, cases);
    pulls(ward, cases);
    if ward.cordoned().next().is_some() {
        cases.extend(stops(ward));
    }
    let mut seen = BTreeMap::new();
    for (object, body) in ward.scene.kind("AgentPool") {
        // A pool's own answer comes after the one inside its cluster's, and says the same.
        seen.insert(&*object.name, (*object, *body));
    }
    for (object, body) in seen.into_values() {
        let left = left(ward, object, body);
        if left == 0 {
            continue;
        }
        cases.extend(one_by_one(ward, object, body, left));
        cases.extend(soak(ward, object, body, left));
    }
}

/// Nodes of a pool that are not at its version yet; all of them while it begins.
fn left(ward: &Ward<'_>, object: &Object, body: &Value) -> i64 {
    let asked = text(body, "/orchestratorVersion").unwrap_or_default();
    let going = matches!(
        text(body, "/provisioningState"),
        Some("Upgrading" | "Updating" | "UpgradingNodeImageVersion")
    );
    let mut of_pool = 0_i64;
    let mut old = 0_i64;
    for (_, node) in ward.scene.kind("Node") {
        if pool(node) != Some(&object.name) {
            continue;
        }
        of_pool += 1;
        let kubelet = text(node, "/status/nodeInfo/kubeletVersion").unwrap_or_default();
        let kubelet = kubelet.trim_start_matches('v');
        // An alias (1.36) stands for any of its patches.
        let same = kubelet == asked || kubelet.starts_with(&format!("{asked}."));
        old += i64::from(!asked.is_empty() && !same);
    }
    if old > 0 && (going || old < of_pool) {
        return old;
    }
    if going && of_pool == 0 {
        return int(body, "/count").unwrap_or(0);
    }
    0
}

fn one_by_one(ward: &Ward<'_>, object: &Object, body: &Value, left: i64) -> Option<Case> {
    let unavailable = body.pointer("/upgradeSettings/maxUnavailable");
    if surge(body)? > 1 || left < MANY || unavailable.is_some_and(|n| n != "0" && n != 0) {
        return None;
    }
    let said = body.pointer("/upgradeSettings/maxSurge");
    Some(
        Case::likely(
            codes::ONE_BY_ONE,
            Symptom::Slow,
            object,
            format!(
                "pool {} replaces one node after the other and has {left} to go: at {NODE} minutes a node and more, {} at least",
                object.name,
                span(left * NODE * 60)
            ),
        )
        .saw("arm", format!("maxSurge {}", said.map_or_else(|| "not set".to_owned(), Value::to_string)))
        .saw("nodes", format!("{left} are not at {}", text(body, "/orchestratorVersion").unwrap_or("the pool's version")))
        .next(format!(
            "az aks nodepool update {} --name {} --max-surge 33%   # when the operation has ended, or after an abort",
            ward.cluster, object.name
        ))
        .next("ferriswheel check --target VERSION --drain-surge 33%   # what a larger surge takes of quota, addresses and budgets")
        .avoid("do not start a second operation beside it: AKS refuses it, or it takes the first one's place half done"),
    )
}

fn soak(ward: &Ward<'_>, object: &Object, body: &Value, left: i64) -> Option<Case> {
    let minutes = int(body, "/upgradeSettings/nodeSoakDurationInMinutes").filter(|m| *m > 0)?;
    let rounds = left / surge(body)?.max(1);
    (rounds * minutes >= 30).then(|| {
        Case::certain(
            codes::SOAK,
            Symptom::Slow,
            object,
            format!(
                "pool {} waits {minutes} minutes after each node, as it was told: {} of what is left is that",
                object.name,
                span(rounds * minutes * 60)
            ),
        )
        .saw("arm", format!("nodeSoakDurationInMinutes {minutes}, {left} nodes to go"))
        .next(format!("az aks nodepool show {} --name {} --query upgradeSettings", ward.cluster, object.name))
        .avoid("do not abort for this alone: what is done stays done, and the wait is somebody's care")
    })
}

/// Pods of cordoned nodes that may take long to stop.
fn stops(ward: &Ward<'_>) -> Option<Case> {
    let mut long: Vec<(i64, String, &Object)> = Vec::new();
    for (node, _) in ward.cordoned() {
        for (_, pod) in ward.evictable(&node.name) {
            let grace = int(pod.body, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
            if grace >= LONG_STOP {
                long.push((
                    grace,
                    format!("{} may take {}", short(pod.object), span(grace)),
                    pod.object,
                ));
            }
        }
    }
    long.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let (longest, _, object) = long.first()?;
    let (longest, object) = (*longest, *object);
    Some(
        Case::likely(
            codes::LONG_STOP,
            Symptom::Slow,
            object,
            format!(
                "{} pods on cordoned nodes may take {} and longer to stop, {} at most: every node waits for its slowest",
                long.len(),
                span(LONG_STOP),
                span(longest)
            ),
        )
        .saw_all("pods", long.into_iter().take(NAMED).map(|(_, words, _)| words))
        .next("kubectl get pods -A --field-selector spec.nodeName=NODE   # which of them are on their way out")
        .next("ferriswheel check --only resilience --target VERSION   # grace and hooks against the drain timeout (FWR051)")
        .avoid("do not shorten the grace of a database during the upgrade: a process that is killed recovers on start, which takes longer"),
    )
}

/// Images that take long.
fn pulls(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    let mut slow: BTreeMap<&str, (i64, usize, &super::ward::Event<'_>)> = BTreeMap::new();
    for event in &ward.events {
        // Successfully pulled image "a" in 2m3.4s (2m3.4s including waiting). Image size: 1 bytes.
        let Some((image, took)) = (event.reason == "Pulled")
            .then(|| event.message.split_once("pulled image \""))
            .flatten()
            .and_then(|(_, rest)| rest.split_once("\" in "))
        else {
            continue;
        };
        let Some(took) = took.split([' ', ',']).next().and_then(duration) else {
            continue;
        };
        if took < LONG_PULL {
            continue;
        }
        let entry = slow.entry(image).or_insert((took, 0, event));
        entry.1 += 1;
        if took > entry.0 {
            (entry.0, entry.2) = (took, event);
        }
    }
    for (image, (took, times, event)) in slow {
        cases.push(
            Case::certain(
                codes::LONG_PULL,
                Symptom::Slow,
                event.object,
                format!(
                    "image {image} takes up to {} to arrive ({times} pulls seen), on every new node again, and its pods' budgets wait for it",
                    span(took)
                ),
            )
            .saw("event", event.words())
            .next("az acr show --name REGISTRY --query '{sku:sku.name,region:location}'   # in the cluster's region? Premium?")
            .next(format!("kubectl get events -A --field-selector reason=Pulled | grep '{image}'"))
            .avoid("do not raise maxSurge for this: more nodes pull at once"),
        );
    }
}

/// Nodes that are there and not ready, or that run out of something.
fn nodes(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    for (object, body) in ward.scene.kind("Node") {
        let Some(ready) = condition(body, "Ready").filter(|ready| ready.status != "True") else {
            continue;
        };
        let since = ward.since(ready.since);
        if since.is_some_and(|since| since < LONG_JOIN) {
            continue;
        }
        let mut case = Case::certain(
            codes::NODE_NOT_READY,
            Symptom::Slow,
            object,
            format!(
                "node {} is not ready{}: {}",
                object.name,
                since.map_or(String::new(), |since| format!(" for {}", span(since))),
                if ready.reason.is_empty() {
                    "no reason given"
                } else {
                    ready.reason
                }
            ),
        )
        .saw("node", format!("Ready {}: {}", ready.status, ready.message))
        .saw_all(
            "event",
            ward.events_of("Node", object)
                .iter()
                .filter(|event| event.is_warning)
                .rev()
                .take(NAMED)
                .map(|event| event.words()),
        )
        .next(format!("kubectl describe node {}", object.name));
        let network =
            ready.message.contains("cni") || ready.message.contains("NetworkPluginNotReady");
        let daemons = ward
            .scene
            .pods
            .iter()
            .filter(|pod| pod.node() == Some(&object.name) && !pod.is_ready())
            .filter(|pod| {
                pod.facts
                    .controller
                    .is_some_and(|(kind, _)| kind == "DaemonSet")
            })
            .map(|pod| short(pod.object))
            .take(NAMED)
            .collect::<Vec<_>>();
        if network {
            case = case.next("kubectl get pods -n kube-system -o wide | grep -E 'cni|cilium|ip-masq|kube-proxy'   # the network's own pods on it");
        }
        if !daemons.is_empty() {
            case = case.saw("pods", format!("not ready on it: {}", daemons.join(", ")));
        }
        cases.push(case.avoid(
            "do not delete the node object to make it go: its pods are forgotten while they may still run, and their disks stay attached",
        ));
    }
    for (object, body) in ward.scene.kind("Node") {
        let pressed: Vec<String> = list(body, "/status/conditions")
            .iter()
            .filter(|condition| text(condition, "/status") == Some("True"))
            .filter_map(|condition| {
                let kind = text(condition, "/type")?;
                matches!(kind, "MemoryPressure" | "DiskPressure" | "PIDPressure").then(|| {
                    format!(
                        "{kind}: {}",
                        text(condition, "/message").unwrap_or_default()
                    )
                })
            })
            .collect();
        if pressed.is_empty() {
            continue;
        }
        cases.push(
            Case::certain(
                codes::PRESSURE,
                Symptom::Errors,
                object,
                format!(
                    "node {} runs out of what its pods need, and the kubelet evicts them without asking a budget",
                    object.name
                ),
            )
            .saw_all("node", pressed)
            .saw_all(
                "event",
                ward.events
                    .iter()
                    .filter(|event| event.reason == "Evicted")
                    .take(NAMED)
                    .map(super::ward::Event::words),
            )
            .next(format!("kubectl describe node {}", object.name))
            .next("kubectl top pods -A --sort-by=memory")
            .avoid("do not drain more nodes onto it: pause the upgrade (az aks nodepool operation-abort) until it has room"),
        );
    }
}
