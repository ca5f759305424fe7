//! Requests that fail: pods that do not serve, and Services that have nobody to ask.

use std::collections::BTreeMap;

use serde_json::Value;

use super::case::Case;
use super::pods::{Trouble, trouble};
use super::time::span;
use super::ward::{Ward, condition, named, short};
use super::{Symptom, codes};
use crate::manifest::{Object, Origin};
use crate::resilience::scene::{Pod, namespace};
use crate::resilience::select::Selector;
use crate::resilience::values::{list, text};

/// Pods named.
const NAMED: usize = 5;

/// A pod that runs and is not ready for longer than this is not only starting.
const LONG_START: i64 = 120;

pub(crate) fn check(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    // Pods of one workload fail alike: one cause for all of them.
    let mut alike: BTreeMap<(&'static str, Owner<'_>), Vec<(&Pod<'_>, Trouble<'_>)>> =
        BTreeMap::new();
    for pod in &ward.scene.pods {
        let Some(found) = trouble(pod) else { continue };
        let code = match found {
            Trouble::Unplaced(_) => continue,
            Trouble::Image { .. } => codes::NO_IMAGE,
            Trouble::Memory { .. } => codes::OUT_OF_MEMORY,
            Trouble::Crash { .. } => codes::CRASHES,
            Trouble::Unready { .. } => {
                let since = condition(pod.body, "Ready").and_then(|ready| ready.since);
                if ward.since(since).is_some_and(|since| since < LONG_START) {
                    continue;
                }
                codes::NOT_READY
            }
        };
        alike
            .entry((code, owner(ward, pod)))
            .or_default()
            .push((pod, found));
    }
    for ((code, owner), pods) in alike {
        cases.extend(alike_case(ward, code, owner, &pods));
    }
    services(ward, cases);
}

/// Namespace, kind and name of what makes a pod.
type Owner<'a> = (&'a str, &'a str, &'a str);

fn owner<'a>(ward: &Ward<'a>, pod: &Pod<'a>) -> Owner<'a> {
    let within = namespace(pod.object);
    if let Some(workload) = pod.workload.and_then(|at| ward.scene.workloads.get(at)) {
        return (within, &workload.object.kind, &workload.object.name);
    }
    let (kind, name) = pod.facts.controller.unwrap_or(("Pod", &pod.object.name));
    (within, kind, name)
}

fn alike_case(
    ward: &Ward<'_>,
    code: &'static str,
    (within, kind, name): Owner<'_>,
    pods: &[(&Pod<'_>, Trouble<'_>)],
) -> Option<Case> {
    let (first, found) = pods.first()?;
    let count = match pods.len() {
        1 => "a pod".to_owned(),
        n => format!("{n} pods"),
    };
    let of = format!("{count} of {kind} {within}/{name}");
    let (cause, next, avoid) = match found {
        Trouble::Image { container, .. } => (
            format!("{of} cannot start: container {container} has no image on a fresh node"),
            vec![format!("kubectl describe pod {}", named(first.object))],
            "do not go on to the next node: an image that old nodes still have in their cache is gone with them",
        ),
        Trouble::Memory { container, .. } => (
            format!(
                "{of} is killed for its memory (container {container}): it needs more than its limit since the nodes changed"
            ),
            vec![
                format!("kubectl top pod {} --containers", named(first.object)),
                format!("kubectl describe pod {}", named(first.object)),
            ],
            "do not take the limit away: the node's memory is the next limit, and it kills other pods too; a kernel with cgroup v2 counts more \
             than one with v1",
        ),
        Trouble::Crash { container, .. } => (
            format!("{of} crashes over and over (container {container})"),
            vec![format!(
                "kubectl logs {} -c {container} --previous --tail=50",
                named(first.object)
            )],
            "do not restart or delete it in a loop: the reason is in the log of its last life, which goes with the pod",
        ),
        _ => (
            format!("{of} runs and does not become ready"),
            vec![
                format!(
                    "kubectl describe pod {}   # Readiness probe failed: ...",
                    named(first.object)
                ),
                format!(
                    "kubectl logs {} --all-containers --tail=50",
                    named(first.object)
                ),
            ],
            "do not take the readiness probe away: it keeps requests from a server that cannot answer them",
        ),
    };
    let mut case = Case::certain(code, Symptom::Errors, first.object, cause).saw_all(
        "pods",
        pods.iter()
            .take(NAMED)
            .map(|(pod, found)| format!("{}: {}", pod.object.name, found.words())),
    );
    let reasons = ["Unhealthy", "BackOff", "Failed", "OOMKilling"];
    if let Some(event) = pods
        .iter()
        .find_map(|(pod, _)| ward.latest("Pod", pod.object, &reasons))
    {
        case = case.saw("event", event.words());
    }
    for command in next {
        case = case.next(command);
    }
    Some(case.avoid(avoid))
}

/// Pods that a Service leads to; nothing where it leads elsewhere (no selector).
pub(crate) fn behind<'s, 'a>(
    ward: &'s Ward<'a>,
    within: &str,
    service: &Value,
) -> Option<Vec<&'s Pod<'a>>> {
    let selector = Selector::plain(service.pointer("/spec/selector"));
    if matches!(selector, Selector::Nothing) {
        return None;
    }
    Some(
        ward.pods_in(within)
            .filter(|pod| selector.picks(pod.labels()))
            .collect(),
    )
}

/// Services whose pods are there and none of them ready, or that pick nobody any more.
fn services(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    if ward.scene.pods.is_empty() {
        return;
    }
    for (object, body) in ward.scene.kind("Service") {
        let external = text(body, "/spec/type") == Some("ExternalName");
        // The name servers have a family of their own.
        if external
            || object.origin != Origin::Live
            || (namespace(object) == "kube-system" && &*object.name == "kube-dns")
        {
            continue;
        }
        let Some(pods) = behind(ward, namespace(object), body) else {
            continue;
        };
        if pods.iter().any(|pod| pod.is_ready()) {
            continue;
        }
        let slices = endpoints(ward, object);
        if slices.is_some_and(|ready| ready > 0) {
            continue;
        }
        // Scaled to nothing on purpose is no error, and a Service that never had a pod is none of an upgrade.
        if pods.is_empty() {
            continue;
        }
        let states: Vec<String> = pods
            .iter()
            .take(NAMED)
            .map(|pod| {
                let why = trouble(pod).map_or_else(
                    || {
                        if pod.is_leaving() {
                            "on its way out".to_owned()
                        } else {
                            "not ready".to_owned()
                        }
                    },
                    |found| found.words(),
                );
                format!("{}: {why}", pod.object.name)
            })
            .collect();
        cases.push(
            Case::certain(
                codes::NO_ENDPOINT,
                Symptom::Errors,
                object,
                format!(
                    "Service {} has nobody to answer: {} pods, none ready",
                    short(object),
                    pods.len()
                ),
            )
            .saw_all("pods", states)
            .saw(
                "endpoints",
                slices.map_or_else(
                    || "no EndpointSlice in the input".to_owned(),
                    |ready| format!("{ready} ready in its EndpointSlices"),
                ),
            )
            .next(format!(
                "kubectl get endpointslices -n {} -l kubernetes.io/service-name={}",
                namespace(object),
                object.name
            ))
            .next(format!(
                "kubectl describe pod {}",
                pods.first().map_or_else(String::new, |pod| named(pod.object))
            ))
            .avoid("do not set publishNotReadyAddresses or loosen the selector: requests then go to servers that cannot answer, or to others"),
        );
    }
}

/// Ready addresses in the slices of a Service, where the input has slices.
pub(crate) fn endpoints(ward: &Ward<'_>, service: &Object) -> Option<usize> {
    let slices = ward.scene.kind("EndpointSlice");
    if slices.is_empty() {
        return None;
    }
    let of_service = slices.iter().filter(|(object, body)| {
        namespace(object) == namespace(service)
            && text(body, "/metadata/labels/kubernetes.io~1service-name") == Some(&service.name)
    });
    Some(
        of_service
            .flat_map(|(_, body)| list(body, "/endpoints"))
            // Not said counts as ready.
            .filter(|endpoint| {
                endpoint
                    .pointer("/conditions/ready")
                    .and_then(Value::as_bool)
                    != Some(false)
            })
            .count(),
    )
}

/// For other families: how long a pod is not ready.
pub(crate) fn unready_for(ward: &Ward<'_>, pod: &Pod<'_>) -> Option<String> {
    let ready = condition(pod.body, "Ready")?;
    ward.since(ready.since)
        .filter(|_| ready.status != "True")
        .map(span)
}
