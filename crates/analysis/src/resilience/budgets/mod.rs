//! Disruption budgets by what they say: is there one, does it ever let a pod go, does it let too many.

mod closed;
mod coverage;
mod kept;
mod open;

use super::arithmetic::{Count, Rule};
use super::draft::{Draft, Edit};
use super::operators;
use super::scene::{Budget, Makes, Scene, Workload};
use super::values::{int, text};
use crate::codes;
use crate::findings::{Finding, Severity};
use closed::{closed, unscaled};
use coverage::{missing, selects, several};
use kept::kept_by_operator;
use open::too_open;

/// Names of others in a message; the JSON names all in its evidence.
const NAMED: usize = 5;

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for workload in &scene.workloads {
        findings.extend(missing(workload));
        findings.extend(several(scene, workload));
    }
    for budget in &scene.budgets {
        let rule = match Rule::of(budget.body) {
            Ok(rule) => rule,
            Err(why) => {
                findings.push(refused(budget, &why));
                continue;
            }
        };
        let managed = operators::of(budget, scene);
        findings.extend(selects(scene, budget, managed.as_ref()));
        match &managed {
            Some(managed) => findings.extend(kept_by_operator(scene, budget, rule, managed)),
            None => {
                findings.extend(unscaled(scene, budget, rule));
                findings.extend(closed(scene, budget, rule));
                findings.extend(too_open(scene, budget, rule));
            }
        }
    }
}

/// Workloads that a budget covers.
fn covered<'s, 'a>(
    scene: &'s Scene<'a>,
    budget: &'s Budget<'a>,
) -> impl Iterator<Item = &'s Workload<'a>> {
    budget
        .workloads
        .iter()
        .filter_map(|at| scene.workloads.get(*at))
}

/// At which end of its autoscaler's range a workload is taken.
#[derive(Clone, Copy)]
enum Size {
    Fewest,
    Most,
}

/// Pods as the controller counts them, with each workload at the size that `size` says.
fn count(scene: &Scene<'_>, budget: &Budget<'_>, size: Size) -> Count {
    let mut count = Count::default();
    for workload in covered(scene, budget) {
        match workload.makes {
            Makes::Naked => count.pods += 1,
            Makes::Job => count.pods += int(workload.body, "/spec/parallelism").unwrap_or(1),
            Makes::DaemonSet | Makes::CronJob => {
                count.pods += i64::try_from(workload.pods.len()).unwrap_or(0);
            }
            _ => {
                let replicas = match size {
                    Size::Fewest => workload.fewest(),
                    Size::Most => workload.most(),
                };
                let replicas = replicas.unwrap_or(1);
                count.pods += replicas;
                count.scale += replicas;
            }
        }
    }
    // Pods whose makers the input has not: they are there all the same.
    for pod in budget.pods.iter().filter_map(|at| scene.pods.get(*at)) {
        if pod.workload.is_none() && !pod.is_finished() {
            count.pods += 1;
            count.scale += i64::from(pod.facts.controller.is_some());
        }
    }
    count
}

/// What the API server does not take.
fn refused(budget: &Budget<'_>, why: &str) -> Finding {
    let edit = Edit::of(budget.body)
        .remove("/spec/minAvailable")
        .set("/spec/maxUnavailable", 1);
    Draft::new(
        codes::BUDGET_REFUSED,
        Severity::Warning,
        budget.object,
        format!("the API server does not take this budget: {why}"),
    )
    .saw("budget", why)
    .fix("say one of minAvailable and maxUnavailable, as a whole number or a percentage")
    .change(budget.object, edit)
    .done()
}

fn arithmetic(rule: Rule, count: Count) -> String {
    let outcome = rule.outcome(count, count.pods);
    format!(
        "{}: of {} expected {} must stay, so {} of {} healthy may go",
        rule.describe(),
        outcome.expected,
        outcome.desired,
        outcome.allowed,
        count.pods
    )
}

/// What a budget does about pods that are not ready.
pub(crate) fn policy<'a>(budget: &Budget<'a>) -> Option<&'a str> {
    text(budget.body, "/spec/unhealthyPodEvictionPolicy")
}
