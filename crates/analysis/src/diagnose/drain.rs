//! A node that does not drain: what holds the pods that are still on it, and what became of those that left.

use std::collections::{BTreeMap, BTreeSet};

use super::case::Case;
use super::pods::{Trouble, trouble};
use super::time::span;
use super::ward::{Ward, condition, named, short};
use super::{Symptom, codes};
use crate::manifest::Object;
use crate::resilience::operators::{self, Conduct};
use crate::resilience::scene::{Budget, Pod};
use crate::resilience::values::{int, list, text, texts};

/// Pods named in a cause.
const NAMED: usize = 5;

/// A pod that is told to go has its whole grace first, and the kubelet and the disks some time after it. A minute of
/// both is usual on a busy node.
const OVERDUE: i64 = 60;

pub(crate) fn check(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    held(ward, cases);
    for (i, pod) in ward.scene.pods.iter().enumerate() {
        cases.extend(lingers(ward, pod));
        cases.extend(disk(ward, pod));
        cases.extend(unplaced(ward, i, pod));
    }
    quarantined(ward, cases);
}

/// A budget, the pods that it holds, and their nodes.
type Held<'s, 'a> = (&'s Budget<'a>, BTreeSet<String>, BTreeSet<&'s str>);

/// Budgets that hold pods of cordoned nodes, each told once.
fn held(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    let mut waiting: BTreeMap<(&str, &str), Held<'_, '_>> = BTreeMap::new();
    for (node, _) in ward.cordoned() {
        for (at, pod) in ward.evictable(&node.name) {
            if pod.is_leaving() {
                continue;
            }
            let budgets = ward.budgets(at);
            if budgets.len() > 1 {
                cases.push(two(pod, &budgets, &node.name));
                continue;
            }
            // A pod that is not ready goes by another rule, and one that is not running by none.
            let Some(budget) = budgets.first() else {
                continue;
            };
            let Some(allowed) = int(budget.body, "/status/disruptionsAllowed") else {
                continue;
            };
            let always =
                text(budget.body, "/spec/unhealthyPodEvictionPolicy") == Some("AlwaysAllow");
            let pending = text(pod.body, "/status/phase") == Some("Pending");
            if allowed > 0 || pending || (always && !pod.is_ready()) {
                continue;
            }
            let key = (
                budget.object.namespace.as_deref().unwrap_or_default(),
                &*budget.object.name,
            );
            let entry = waiting
                .entry(key)
                .or_insert_with(|| (budget, BTreeSet::new(), BTreeSet::new()));
            entry.1.insert(pod.object.name.to_string());
            entry.2.insert(&node.name);
        }
    }
    for (budget, pods, nodes) in waiting.into_values() {
        cases.push(one(ward, budget, &pods, &nodes));
    }
}

fn two(pod: &Pod<'_>, budgets: &[&Budget<'_>], node: &str) -> Case {
    let names: Vec<&str> = budgets.iter().map(|budget| &*budget.object.name).collect();
    Case::certain(
        codes::TWO_BUDGETS,
        Symptom::StuckDrain,
        pod.object,
        format!(
            "pod {} on cordoned node {node} has {} budgets ({}): every eviction is answered with an error (500), and trying again never \
             helps",
            short(pod.object),
            names.len(),
            names.join(", ")
        ),
    )
    .saw("budgets", names.join(", "))
    .next(format!(
        "kubectl get pdb {} -o yaml > pdb.yaml   # keep the one that nobody needs, before you delete it",
        budgets.last().map_or_else(String::new, |last| named(last.object)),
    ))
    .next(format!(
        "kubectl delete pdb {}",
        budgets.last().map_or_else(String::new, |last| named(last.object)),
    ))
    .avoid("do not delete the pod instead: that asks no budget, and of a database it may be the primary")
}

fn one(
    ward: &Ward<'_>,
    budget: &Budget<'_>,
    pods: &BTreeSet<String>,
    nodes: &BTreeSet<&str>,
) -> Case {
    let number = |field: &str| int(budget.body, &format!("/status/{field}")).unwrap_or(0);
    let (healthy, desired, expected) = (
        number("currentHealthy"),
        number("desiredHealthy"),
        number("expectedPods"),
    );
    let shown: Vec<&str> = pods.iter().map(String::as_str).take(NAMED).collect();
    let where_ = nodes.iter().copied().collect::<Vec<_>>().join(", ");
    let status = format!(
        "disruptionsAllowed 0, currentHealthy {healthy}, desiredHealthy {desired}, expectedPods {expected}"
    );
    let start = |code, cause: String| {
        let case = Case::certain(code, Symptom::StuckDrain, budget.object, cause)
            .saw("budget", status.clone())
            .saw("nodes", format!("cordoned: {where_}"))
            .saw("pods", format!("still there: {}", shown.join(", ")));
        case.saw_all("event", refusals(ward, budget))
    };
    let name = short(budget.object);
    if let Some(why) = uncomputed(budget) {
        return start(
            codes::UNCOMPUTED,
            format!("budget {name} is not computed ({why}) and lets no pod go until it is"),
        )
        .next(format!("kubectl describe pdb {}", named(budget.object)))
        .next(
            "kubectl get lease -n kube-system kube-controller-manager   # is its holder renewing?",
        )
        .avoid("do not raise the drain timeout: it waits for a number that never comes");
    }
    let sick: Vec<String> = budget
        .pods
        .iter()
        .filter_map(|at| ward.scene.pods.get(*at))
        .filter(|pod| !pod.is_ready() && !pod.is_finished())
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
    if healthy < expected || !sick.is_empty() {
        // The status may be older than the pods.
        let count = (expected - healthy).max(i64::try_from(sick.len()).unwrap_or(0));
        let mut case = start(
            codes::EXHAUSTED,
            format!(
                "budget {name} is used up: {healthy} of {expected} pods are healthy, {desired} must be, and the drain waits for {}",
                if count == 1 { "the one that is not".to_owned() } else { format!("the {count} that are not") }
            ),
        )
        .saw_all("pods", sick.clone());
        if let Some(first) = sick.first().and_then(|pod| pod.split(':').next()) {
            let within = budget.object.namespace.as_deref().unwrap_or("default");
            case = case.next(format!("kubectl describe pod -n {within} {first}"));
        }
        return case
            .next("ferriswheel check --only resilience --target VERSION   # the patch for pods that never become ready (FWR026)")
            .avoid(
                "do not delete the budget or evict by force: the pods that are well are all that still serve",
            );
    }
    if let Some(managed) = operators::of(budget, &ward.scene)
        && let Conduct::HandsOver(how) | Conduct::Waits(how) = managed.conduct
    {
        let within = budget.object.namespace.as_deref().unwrap_or("default");
        return Case::likely(
            codes::OPERATOR,
            Symptom::StuckDrain,
            budget.object,
            format!(
                "budget {name} is kept by the {} of cluster {}, and the pod has not left yet: {how}",
                managed.operator, managed.cluster
            ),
        )
        .saw("budget", status)
        .saw("nodes", format!("cordoned: {where_}"))
        .saw("pods", format!("still there: {}", shown.join(", ")))
        .saw_all("event", refusals(ward, budget))
        .next("kubectl get pods -A -o wide | grep -i operator   # does the operator run, and not on the same node?")
        .next(format!("kubectl get pods -n {within} -o wide   # is there another member, ready, on another node?"))
        .avoid("do not delete the pod or the budget: without the hand-over clients lose the primary, and writes that no other member has");
    }
    let lone = expected == 1;
    start(
        codes::CLOSED,
        format!(
            "budget {name} never lets a pod go: {healthy} of {expected} are healthy and {desired} must be; waiting does not help{}",
            if lone { ", there is no second pod" } else { "" }
        ),
    )
    .next(if lone {
        format!(
            "kubectl get pods -n {} -l SELECTOR -o wide   # then scale the workload to two, or hand the database over first",
            budget.object.namespace.as_deref().unwrap_or("default")
        )
    } else {
        "ferriswheel check --only resilience --target VERSION   # the patch of the budget (FWR021)".to_owned()
    })
    .next(format!(
        "az aks nodepool upgrade {} --name POOL --kubernetes-version VERSION   # the same again: it goes on where it stopped",
        ward.cluster
    ))
    .avoid(
        "do not use forceUpgrade, --disable-eviction or kubectl delete pod: they take pods whatever their budget says, the primary of a \
         database too",
    )
}

/// The controller did not compute it, or not this generation of it.
fn uncomputed(budget: &Budget<'_>) -> Option<String> {
    let failed = list(budget.body, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/reason") == Some("SyncFailed"));
    if let Some(failed) = failed {
        return Some(text(failed, "/message").unwrap_or("SyncFailed").to_owned());
    }
    let generation = int(budget.body, "/metadata/generation")?;
    let observed = int(budget.body, "/status/observedGeneration")?;
    (observed < generation)
        .then(|| format!("observedGeneration {observed} of generation {generation}"))
}

/// Events in which this budget refused.
fn refusals(ward: &Ward<'_>, budget: &Budget<'_>) -> Vec<String> {
    let word = format!(" {}", budget.object.name);
    ward.events
        .iter()
        .filter(|event| {
            event.is_warning
                && (event.message.contains("Too Many Requests")
                    || event.message.contains("disruption budget"))
                && (event.message.contains(&word) || event.about.0 == "Node")
        })
        .take(NAMED)
        .map(super::ward::Event::words)
        .collect()
}

/// A pod that was told to go and is overdue.
fn lingers(ward: &Ward<'_>, pod: &Pod<'_>) -> Option<Case> {
    let late = ward.since(text(pod.body, "/metadata/deletionTimestamp"))?;
    if late < OVERDUE {
        return None;
    }
    let keepers = texts(pod.body, "/metadata/finalizers");
    let node = pod.node().unwrap_or("no node");
    let away = ward
        .scene
        .get("Node", "", node)
        .and_then(|(_, body)| condition(body, "Ready"))
        .filter(|ready| ready.status != "True");
    let grace = int(pod.body, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
    let name = short(pod.object);
    let case = |cause: String| {
        Case::certain(codes::LINGERS, Symptom::StuckDrain, pod.object, cause).saw(
            "pod",
            format!("its grace of {grace} s was over {} ago", span(late)),
        )
    };
    let never = "do not delete it with --force: the API forgets the pod while its process may go on, and a second one starts on the same data";
    if !keepers.is_empty() {
        return Some(
            case(format!(
                "pod {name} waits for {} to let it go (finalizers)",
                keepers.join(", ")
            ))
            .saw("finalizers", keepers.join(", "))
            .next("kubectl get pods -A | grep -i CONTROLLER   # the controller that owns the finalizer: is it running?")
            .avoid("do not remove the finalizer by hand before you know what it guards"),
        );
    }
    if let Some(ready) = away {
        return Some(
            case(format!(
                "pod {name} cannot end: the kubelet of {node} does not answer ({})",
                ready.reason
            ))
            .saw("node", format!("Ready {}: {}", ready.status, ready.message))
            .next(format!("kubectl describe node {node}"))
            .next(format!(
                "az aks machine list {} --nodepool-name POOL -o table   # is the machine running?",
                ward.cluster
            ))
            .avoid(format!("{never}; prove that the machine is off first")),
        );
    }
    Some(
        case(format!(
            "pod {name} does not stop: its process or a volume of it hangs on {node}"
        ))
        .saw_all(
            "event",
            ward.events_of("Pod", pod.object)
                .iter()
                .filter(|event| event.is_warning)
                .map(|event| event.words()),
        )
        .next(format!(
            "kubectl logs {} --all-containers --tail=50",
            named(pod.object)
        ))
        .next(format!("kubectl describe pod {}", named(pod.object)))
        .avoid(never),
    )
}

/// A disk that is still on another node, or cannot be mounted.
fn disk(ward: &Ward<'_>, pod: &Pod<'_>) -> Option<Case> {
    if pod.is_ready() || pod.is_finished() {
        return None;
    }
    let event = ward.latest("Pod", pod.object, &["FailedAttachVolume", "FailedMount"])?;
    let multi = event.message.contains("Multi-Attach");
    let name = short(pod.object);
    Some(
        Case::certain(
            codes::DISK,
            Symptom::StuckDrain,
            pod.object,
            if multi {
                format!("pod {name} waits for its disk, which is still attached to the node that it came from")
            } else {
                format!("pod {name} waits for a volume that cannot be attached or mounted")
            },
        )
        .saw("event", event.words())
        .next("kubectl get volumeattachments   # which node has it, and since when")
        .next(format!("kubectl describe pod {}", named(pod.object)))
        .avoid(
            "do not delete the VolumeAttachment or the old pod by force while its node may still write: two writers on one disk lose data; \
             a node that is away gives its disks up after six minutes",
        ),
    )
}

/// A pod without a node, and why no node takes it.
fn unplaced(ward: &Ward<'_>, at: usize, pod: &Pod<'_>) -> Option<Case> {
    let Some(Trouble::Unplaced(why)) = trouble(pod) else {
        return None;
    };
    let mut reasons = Vec::new();
    let mut next = Vec::new();
    let pools = format!("az aks nodepool list {} -o table", ward.cluster);
    if why.contains("volume node affinity conflict") {
        reasons.push("its disk is in a zone (or on a node) without a free node");
        next.push("kubectl get nodes -L topology.kubernetes.io/zone   # a node in the disk's zone is needed".to_owned());
    }
    if why.contains("Insufficient ") || why.contains("Too many pods") {
        reasons.push("no node has room for what it requests");
        next.push(format!(
            "{pools}   # is a surge node missing, or the pool at its maximum?"
        ));
    }
    if why.contains("untolerated taint") || why.contains("didn't tolerate") {
        reasons.push("the nodes with room carry a taint that it does not tolerate");
        next.push(
            "kubectl get nodes -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints"
                .to_owned(),
        );
    }
    if why.contains("didn't match Pod's node affinity") || why.contains("node selector") {
        reasons.push("no node has the labels that it asks for");
        next.push(
            "kubectl get nodes --show-labels   # labels set by hand go with the old node"
                .to_owned(),
        );
    }
    if why.contains("anti-affinity") || why.contains("topology spread") {
        reasons.push("its own rules of spread leave no node");
    }
    if why.contains("were unschedulable") {
        reasons.push("the others are cordoned");
    }
    if reasons.is_empty() {
        reasons.push("no node takes it");
    }
    let draining = ward.cordoned().next().is_some();
    let guarded = !ward.budgets(at).is_empty();
    let mut case = Case::certain(
        codes::NO_PLACE,
        if draining {
            Symptom::StuckDrain
        } else {
            Symptom::Errors
        },
        pod.object,
        format!(
            "pod {} has no node: {}{}",
            short(pod.object),
            reasons.join("; "),
            if guarded && draining {
                "; until it runs its budget lets no other go"
            } else {
                ""
            }
        ),
    )
    .saw("scheduler", why);
    if let Some(event) = ward.latest(
        "Pod",
        pod.object,
        &["NotTriggerScaleUp", "FailedScaleUp", "TriggeredScaleUp"],
    ) {
        case = case.saw("event", event.words());
    }
    next.push(format!("kubectl describe pod {}", named(pod.object)));
    for command in next {
        case = case.next(command);
    }
    Some(case.avoid(
        "do not uncordon the node that is being drained to make room: the pod goes back to where it must leave again",
    ))
}

/// Nodes that AKS gave up.
fn quarantined(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    const STATUS: &str = "/metadata/labels/kubernetes.azure.com~1upgrade-status";
    let of_node = |object: &Object| {
        ward.evictable(&object.name)
            .take(NAMED)
            .map(|(_, pod)| short(pod.object))
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (object, body) in ward.scene.kind("Node") {
        if text(body, STATUS) != Some("Quarantined") {
            continue;
        }
        let pods = of_node(object);
        let pool = super::ward::pool(body).unwrap_or("POOL");
        cases.push(
            Case::certain(
                codes::QUARANTINED,
                Symptom::StuckDrain,
                object,
                format!(
                    "AKS could not drain node {} and gave it up: it stays cordoned at its old version, and a surge node was kept in its place",
                    object.name
                ),
            )
            .saw("node", "label kubernetes.azure.com/upgrade-status=Quarantined")
            .saw("pods", if pods.is_empty() { "none left that a drain evicts".to_owned() } else { format!("still there: {pods}") })
            .next("clear what held its pods (the other findings here name it)")
            .next(format!(
                "kubectl label node {} kubernetes.azure.com/upgrade-status-   # only then",
                object.name
            ))
            .next(format!(
                "az aks nodepool upgrade {} --name {pool} --kubernetes-version VERSION   # the same again: AKS takes blocked nodes away first",
                ward.cluster
            ))
            .avoid("do not delete the machine while pods with data are on it: deleteMachines drains nothing"),
        );
    }
}
