//! The outcome of a simulation in words, and as findings.

use std::collections::BTreeMap;

use ferriswheel_model::drain::world::{BudgetId, NodeId, PodId};
use ferriswheel_model::drain::{Blocked, Homeless, Reason, Why};

use super::build::Built;
use super::{Played, Pool, SECOND, Settings};
use crate::codes;
use crate::findings::{Evidence, Finding, Severity};
use crate::manifest::Object;

/// Nodes that a finding names; the JSON part `drain` names all.
const NAMED: usize = 4;

/// Why a pod does not go, in words.
pub(super) struct Words {
    pub(super) budget: Option<BudgetId>,
    pub(super) reason: String,
    pub(super) fix: String,
}

/// Why a pod does not go.
pub(super) fn why(played: &Played<'_, '_>, blocked: &Blocked) -> Words {
    let built = played.built;
    match &blocked.why {
        Why::TwoBudgets(one, other) => Words {
            budget: Some(*one),
            reason: format!(
                "two budgets select it ({} and {}): the eviction is answered with 500, and asking again never helps",
                built.budget_name(*one),
                built.budget_name(*other)
            ),
            fix: "narrow the selector of one of them, or delete it".to_owned(),
        },
        Why::Stopping => Words {
            budget: None,
            reason: format!(
                "evicted, and still stopping when the drain was given up after {} s",
                played.timeout
            ),
            fix: format!(
                "raise the drain timeout above {} s (az aks nodepool update --drain-timeout), or shorten the grace",
                stop_seconds(played, blocked.pod)
            ),
        },
        Why::Budget {
            budget,
            status,
            unready,
            homeless,
            lacking,
        } => {
            let name = |pod: &PodId| built.pod_name(played.origin(*pod));
            let names = |pods: &[PodId]| some(pods.iter().map(name).collect());
            let numbers = format!(
                "{} of {} healthy, {} needed",
                status.healthy, status.expected, status.desired
            );
            let (reason, fix) = if status.failed {
                (
                    "a selected pod's controller has no scale, so the controller of budgets gives up and allows nothing"
                        .to_owned(),
                    "say minAvailable as a number of pods, which asks no controller".to_owned(),
                )
            } else if status.expected == 0 {
                (
                    "no selected pod has a controller, so the budget expects none and allows nothing, ever".to_owned(),
                    "say minAvailable as a number of pods, or let a controller make them".to_owned(),
                )
            } else if status.desired >= status.expected {
                (
                    format!("the budget never lets one go: {numbers}, even when all are healthy"),
                    if status.expected == 1 {
                        "add a replica and say maxUnavailable: 1; with one replica an interruption has to be accepted".to_owned()
                    } else {
                        "say maxUnavailable: 1 instead".to_owned()
                    },
                )
            } else if !homeless.is_empty() {
                (
                    format!(
                        "{numbers}: no node takes {}: {}",
                        names(homeless),
                        self::lacking(lacking)
                    ),
                    remedy(lacking),
                )
            } else if !unready.is_empty() {
                (
                    format!("{numbers}: not ready: {}", names(unready)),
                    if unready.contains(&blocked.pod) {
                        "repair it, or say unhealthyPodEvictionPolicy: AlwaysAllow".to_owned()
                    } else {
                        "repair these first".to_owned()
                    },
                )
            } else {
                (
                    format!(
                        "{numbers}: its evictions wait for each other, longer than {} s",
                        played.timeout
                    ),
                    "raise the drain timeout, or allow more than one at a time".to_owned(),
                )
            };
            Words {
                budget: Some(*budget),
                reason,
                fix,
            }
        }
    }
}

fn stop_seconds(played: &Played<'_, '_>, pod: PodId) -> u64 {
    let origin = played.origin(pod);
    let world = &played.world;
    let shape = world
        .pods
        .get(origin.at())
        .and_then(|pod| world.shapes.get(pod.shape.at()));
    shape.map_or(0, |shape| shape.stop / SECOND)
}

/// What the nodes lack, as kube-scheduler says it.
pub(super) fn lacking(reasons: &[(Reason, u32)]) -> String {
    let all: u32 = reasons.iter().map(|(_, nodes)| nodes).sum();
    let parts: Vec<String> = reasons
        .iter()
        .map(|(reason, nodes)| {
            let what = match reason {
                Reason::Away => "being reimaged",
                Reason::Cordoned => "cordoned",
                Reason::Taint => "tainted",
                Reason::NodeRules => "excluded by its node selector, affinity or volume",
                Reason::Full => "too full",
                Reason::Neighbours => "excluded by anti-affinity, affinity or spread",
            };
            format!("{nodes} {what}")
        })
        .collect();
    format!("0 of {all} nodes ({})", parts.join(", "))
}

/// What would give a pod a node. The reason that the fewest other reasons hide comes first.
fn remedy(reasons: &[(Reason, u32)]) -> String {
    let has = |wanted: Reason| reasons.iter().any(|(reason, _)| *reason == wanted);
    if has(Reason::Neighbours) {
        "add a node more than the pods keep apart: a larger surge, or a larger pool".to_owned()
    } else if has(Reason::Full) {
        "add room: a larger surge, a larger pool, or smaller requests".to_owned()
    } else if has(Reason::NodeRules) {
        "add a node where it may be: its volume or its rules bind it to a zone or to certain nodes (surge nodes in \
         multiples of the zones)"
            .to_owned()
    } else {
        "uncordon or add nodes whose taints it bears".to_owned()
    }
}

fn some(mut names: Vec<String>) -> String {
    names.dedup();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let mut text = names.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// What is to say about all pools, gathered by what it is about.
#[derive(Default)]
pub(super) struct Said {
    blocked: BTreeMap<About, Held>,
    homeless: BTreeMap<(String, String), (PodId, u32, String, String)>,
    taints: Vec<(NodeId, String, u32, u32)>,
}

/// What holds pods.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Budget(BudgetId),
    Two(BudgetId, BudgetId),
    Pod(PodId),
}

struct Held {
    reason: String,
    fix: String,
    nodes: Vec<String>,
    pods: Vec<PodId>,
}

impl Said {
    pub(super) fn blocked(&mut self, node: &str, pod: PodId, cause: &Why, words: &Words) {
        let about = match cause {
            Why::Budget { budget, .. } => About::Budget(*budget),
            Why::TwoBudgets(one, other) => About::Two(*one, *other),
            Why::Stopping => About::Pod(pod),
        };
        let held = self.blocked.entry(about).or_insert_with(|| Held {
            reason: words.reason.clone(),
            fix: words.fix.clone(),
            nodes: Vec::new(),
            pods: Vec::new(),
        });
        held.nodes.push(node.to_owned());
        held.pods.push(pod);
    }

    pub(super) fn homeless(&mut self, pool: &str, pod: &Homeless) {
        // Pods of one shape lack the same.
        let key = (pool.to_owned(), format!("{}", pod.shape.0));
        let entry = self
            .homeless
            .entry(key)
            .or_insert_with(|| (pod.origin, 0, lacking(&pod.lacking), remedy(&pod.lacking)));
        entry.1 += 1;
    }

    pub(super) fn taint(&mut self, node: NodeId, pool: &Pool) {
        if pool.evictions_when_tainted < pool.evictions {
            self.taints.push((
                node,
                pool.name.clone(),
                pool.evictions,
                pool.evictions_when_tainted,
            ));
        }
    }

    pub(super) fn findings(self, built: &Built<'_>, settings: &Settings) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (about, held) in self.blocked {
            let object = match about {
                About::Budget(id) | About::Two(id, _) => built.budgets.get(&id),
                About::Pod(id) => built.pods.get(&id),
            };
            let Some(object) = object else { continue };
            let pods: Vec<String> = held.pods.iter().map(|pod| built.pod_name(*pod)).collect();
            let mut nodes = held.nodes;
            nodes.dedup();
            let many = nodes.len();
            let on = some(nodes);
            let what = match about {
                About::Pod(_) => format!("{} on {on}", held.reason),
                _ => format!("holds {} on {on}: {}", some(pods), held.reason),
            };
            let mut finding = draft(
                object,
                codes::DRAIN_BLOCKED,
                Severity::Blocks,
                what,
                held.fix,
            );
            finding.evidence.push(Evidence {
                class: "drain-simulation",
                detail: format!(
                    "{many} {} not drained within {} s",
                    if many == 1 { "node is" } else { "nodes are" },
                    settings.timeout
                ),
            });
            if let About::Budget(id) = about
                && let Some(status) = built.reported.get(&id)
            {
                finding.evidence.push(Evidence {
                    class: "status",
                    detail: format!(
                        "expectedPods {}, desiredHealthy {}, currentHealthy {}, disruptionsAllowed {}",
                        status.expected, status.desired, status.healthy, status.allowed
                    ),
                });
            }
            findings.push(finding);
        }
        for ((pool, _), (pod, many, lacks, fix)) in self.homeless {
            let Some(object) = built.pods.get(&pod) else {
                continue;
            };
            let what = match many {
                1 => format!("evicted from pool {pool}, it finds no node"),
                _ => format!("{many} pods like it, evicted from pool {pool}, find no node"),
            };
            let mut finding = draft(object, codes::DRAIN_NO_ROOM, Severity::Warning, what, fix);
            finding.evidence.push(Evidence {
                class: "drain-simulation",
                detail: lacks,
            });
            findings.push(finding);
        }
        for (node, pool, plain, tainted) in self.taints {
            let Some(object) = built.nodes.get(&node) else {
                continue;
            };
            let what = format!(
                "{plain} evictions drain pool {pool}; with a PreferNoSchedule taint on the nodes still to be drained {tainted} do"
            );
            let fix = "kubectl taint nodes OLD-NODES ferriswheel.dev/old=:PreferNoSchedule before the upgrade, which a reimage takes away"
                .to_owned();
            let mut finding = draft(object, codes::DRAIN_CHURN, Severity::Info, what, fix);
            finding.evidence.push(Evidence {
                class: "drain-simulation",
                detail: format!("{} fewer", plain - tainted),
            });
            findings.push(finding);
        }
        findings
    }
}

fn draft(
    object: &Object,
    code: &'static str,
    severity: Severity,
    message: String,
    fix: String,
) -> Finding {
    Finding {
        code,
        severity,
        object: object.reference(),
        source: object.place(),
        deprecated_in: None,
        removed_in: None,
        replacement: None,
        evidence: Vec::new(),
        owner: object.owner(),
        message,
        fix,
        patches: Vec::new(),
    }
}
