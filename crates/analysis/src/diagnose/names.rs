//! Names that are not resolved: the servers of names, their Service, their configuration, and who may ask them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::case::Case;
use super::errors::{behind, endpoints, unready_for};
use super::pods::{Trouble, trouble};
use super::ward::{Ward, named, short};
use super::{Symptom, codes};
use crate::manifest::Object;
use crate::resilience::scene::{Pod, namespace};
use crate::resilience::select::Selector;
use crate::resilience::values::{flag, has, int, list, text, texts};

/// Where the servers of names are.
const SYSTEM: &str = "kube-system";
/// Their label, in every distribution that descends from kube-dns.
const LABEL: (&str, &str) = ("k8s-app", "kube-dns");
/// What they listen on.
const PORT: i64 = 53;
/// Pods named.
const NAMED: usize = 5;

pub(crate) fn check(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    let servers: Vec<&Pod<'_>> = ward
        .pods_in(SYSTEM)
        .filter(|pod| {
            pod.labels()
                .and_then(|labels| labels.get(LABEL.0))
                .and_then(Value::as_str)
                == Some(LABEL.1)
        })
        .collect();
    if !servers.is_empty() {
        configuration(ward, &servers, cases);
        if servers.iter().any(|pod| pod.is_ready()) {
            cases.extend(alone(ward, &servers));
        } else {
            cases.extend(down(ward, &servers));
        }
    }
    cases.extend(service(ward, &servers));
    policies(ward, cases);
}

fn state(ward: &Ward<'_>, pod: &Pod<'_>) -> String {
    let why = match trouble(pod) {
        Some(found) => found.words(),
        None if pod.is_leaving() => "on its way out".to_owned(),
        None if pod.is_ready() => "ready".to_owned(),
        None => "not ready".to_owned(),
    };
    let since = unready_for(ward, pod).map_or(String::new(), |since| format!(", for {since}"));
    format!(
        "{} on {}: {why}{since}",
        pod.object.name,
        pod.node().unwrap_or("no node")
    )
}

fn down(ward: &Ward<'_>, servers: &[&Pod<'_>]) -> Option<Case> {
    let first = servers.first()?;
    Some(
        Case::certain(
            codes::DNS_DOWN,
            Symptom::Names,
            first.object,
            format!(
                "none of the {} servers of names is ready: every lookup in the cluster fails or hangs",
                servers.len()
            ),
        )
        .saw_all(
            "pods",
            servers.iter().take(NAMED).map(|pod| state(ward, pod)),
        )
        .saw_all(
            "event",
            servers
                .iter()
                .flat_map(|pod| ward.events_of("Pod", pod.object))
                .filter(|event| event.is_warning)
                .take(NAMED)
                .map(|event| event.words()),
        )
        .next("kubectl get pods -n kube-system -l k8s-app=kube-dns -o wide")
        .next(format!("kubectl describe pod {}", named(first.object)))
        .avoid(
            "do not drain another node before two of them are ready: on AKS they run on system pools, which need a node that takes them",
        ),
    )
}

fn alone(ward: &Ward<'_>, servers: &[&Pod<'_>]) -> Option<Case> {
    let ready: Vec<&&Pod<'_>> = servers.iter().filter(|pod| pod.is_ready()).collect();
    let nodes: BTreeSet<&str> = ready.iter().filter_map(|pod| pod.node()).collect();
    let [node] = nodes.iter().copied().collect::<Vec<_>>()[..] else {
        return None;
    };
    let cordoned = ward
        .scene
        .get("Node", "", node)
        .is_some_and(|(_, body)| flag(body, "/spec/unschedulable") == Some(true));
    // One of several that is well for the moment is no cause, unless its node goes or the others fail.
    if !cordoned && ready.len() == servers.len() {
        return None;
    }
    let first = ready.first()?;
    Some(
        Case::likely(
            codes::DNS_ALONE,
            Symptom::Names,
            first.object,
            format!(
                "all servers of names that are ready ({}) are on node {node}{}: lookups time out while it is busy, and fail when it goes",
                ready.len(),
                if cordoned { ", which is being drained" } else { "" }
            ),
        )
        .saw_all("pods", servers.iter().take(NAMED).map(|pod| state(ward, pod)))
        .next("kubectl get pods -n kube-system -l k8s-app=kube-dns -o wide")
        .next("kubectl get deploy -n kube-system coredns coredns-autoscaler")
        .avoid("do not delete these pods to spread them: wait until others are ready on other nodes"),
    )
}

/// A server that crashes on what people added to its configuration.
fn configuration(ward: &Ward<'_>, servers: &[&Pod<'_>], cases: &mut Vec<Case>) {
    let Some((pod, ended)) = servers.iter().find_map(|pod| match trouble(pod) {
        Some(Trouble::Crash { ended, .. }) => Some((pod, ended)),
        _ => None,
    }) else {
        return;
    };
    let custom = ward.scene.get("ConfigMap", SYSTEM, "coredns-custom");
    let lines = custom.map_or(0, |(_, body)| {
        body.pointer("/data")
            .and_then(Value::as_object)
            .map_or(0, serde_json::Map::len)
    });
    if lines == 0 {
        return;
    }
    let said = ended.contains("Corefile")
        || ended.contains("plugin")
        || ended.contains("Error during parsing");
    let Some((object, _)) = custom else { return };
    let cause = format!(
        "{} crashes, and its configuration has {lines} additions in coredns-custom: a newer CoreDNS refuses what an older one took",
        pod.object.name
    );
    let case = if said {
        Case::certain(codes::DNS_CONFIGURATION, Symptom::Names, object, cause)
    } else {
        Case::likely(codes::DNS_CONFIGURATION, Symptom::Names, object, cause)
    };
    cases.push(
        case.saw("pods", state(ward, pod))
        .next(format!("kubectl logs {} --previous --tail=20", named(pod.object)))
        .next("kubectl get configmap -n kube-system coredns-custom -o yaml")
        .avoid("do not edit the ConfigMap coredns itself: AKS puts it back; correct coredns-custom and restart the Deployment coredns"),
    );
}

/// The Service that every resolver asks.
fn service(ward: &Ward<'_>, servers: &[&Pod<'_>]) -> Option<Case> {
    let found = ward.scene.get("Service", SYSTEM, "kube-dns");
    let Some((object, body)) = found else {
        // Nothing is said of Services when there are none at all.
        let pod = servers.first()?;
        let others = ward
            .scene
            .kind("Service")
            .iter()
            .any(|(object, _)| namespace(object) == SYSTEM || &*object.name == "kubernetes");
        return others.then(|| {
            Case::certain(
                codes::DNS_SERVICE,
                Symptom::Names,
                pod.object,
                "the Service kube-dns is gone: every resolver asks its address, and nobody answers there",
            )
            .saw("services", "no kube-system/kube-dns among the Services")
            .next("kubectl get service -n kube-system")
            .avoid("do not make it anew with another address: pods carry the old one in their resolv.conf until they restart")
        });
    };
    if servers.is_empty() {
        return None;
    }
    let picked = behind(ward, SYSTEM, body).unwrap_or_default();
    let ready = endpoints(ward, object);
    let none = picked.is_empty() || (ready == Some(0) && servers.iter().any(|pod| pod.is_ready()));
    none.then(|| {
        Case::certain(
            codes::DNS_SERVICE,
            Symptom::Names,
            object,
            "the Service kube-dns leads to no server of names, though there are some",
        )
        .saw(
            "service",
            format!(
                "selector {}: {} pods picked",
                Selector::plain(body.pointer("/spec/selector")).describe(),
                picked.len()
            ),
        )
        .saw(
            "endpoints",
            ready.map_or_else(
                || "no EndpointSlice in the input".to_owned(),
                |n| format!("{n} ready"),
            ),
        )
        .next("kubectl get endpointslices -n kube-system -l kubernetes.io/service-name=kube-dns")
        .next("kubectl get service -n kube-system kube-dns -o yaml")
        .avoid("do not delete the Service: its address is in the resolv.conf of every pod")
    })
}

/// Policies that shut pods in without a way to the servers of names.
fn policies(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    let egress: Vec<&(&Object, &Value)> = ward
        .scene
        .kind("NetworkPolicy")
        .iter()
        .filter(|(_, body)| texts(body, "/spec/policyTypes").contains(&"Egress"))
        .collect();
    for (object, body) in &egress {
        let selector = Selector::of(body.pointer("/spec/podSelector"));
        let shut: Vec<&Pod<'_>> = ward
            .pods_in(namespace(object))
            .filter(|pod| selector.picks(pod.labels()))
            .filter(|pod| {
                // What any policy on the pod allows is allowed.
                !egress.iter().any(|(other, body)| {
                    namespace(other) == namespace(object)
                        && Selector::of(body.pointer("/spec/podSelector")).picks(pod.labels())
                        && allows_names(body)
                })
            })
            .collect();
        if shut.is_empty() {
            continue;
        }
        let names: Vec<&str> = shut
            .iter()
            .map(|pod| &*pod.object.name)
            .take(NAMED)
            .collect();
        cases.push(
            Case::certain(
                codes::DNS_FORBIDDEN,
                Symptom::Names,
                object,
                format!(
                    "network policy {} lets {} pods ask nobody for names: port {PORT} is not among what they may reach",
                    short(object),
                    shut.len()
                ),
            )
            .saw("pods", names.join(", "))
            .saw(
                "policy",
                format!("{} rules of egress, none for port {PORT}", list(body, "/spec/egress").len()),
            )
            .next(format!("kubectl describe networkpolicy {}", named(object)))
            .next("allow UDP and TCP 53 to pods k8s-app=kube-dns of kube-system in it (and to the node's own cache where LocalDNS is on)")
            .avoid("do not delete the policy to test: it opens everything else too"),
        );
    }
}

/// Does a policy allow port 53 to anybody?
fn allows_names(body: &Value) -> bool {
    list(body, "/spec/egress").iter().any(|rule| {
        let ports = list(rule, "/ports");
        ports.is_empty()
            || ports.iter().any(|port| {
                let (from, to) = (int(port, "/port"), int(port, "/endPort"));
                match (from, to) {
                    (Some(from), Some(to)) => (from..=to).contains(&PORT),
                    (Some(from), None) => from == PORT,
                    // By name, or every port of a protocol.
                    _ => {
                        !has(port, "/port")
                            || matches!(text(port, "/port"), Some("dns" | "dns-tcp"))
                    }
                }
            })
    })
}
