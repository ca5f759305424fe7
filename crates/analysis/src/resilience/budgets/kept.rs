//! Budgets that an operator keeps and writes again.

use super::closed::closed;
use crate::codes;
use crate::findings::{Evidence, Finding, Severity};
use crate::resilience::arithmetic::Rule;
use crate::resilience::draft::{Draft, Edit};
use crate::resilience::operators::{Conduct, Managed};
use crate::resilience::scene::{Budget, Scene, full_name};

/// A budget that an operator keeps: to know, or a deadlock.
pub(super) fn kept_by_operator(
    scene: &Scene<'_>,
    budget: &Budget<'_>,
    rule: Rule,
    managed: &Managed<'_>,
) -> Option<Finding> {
    let seen = format!(
        "kept by {}{}; {}",
        managed.operator,
        if managed.cluster.is_empty() {
            String::new()
        } else {
            format!(" for cluster {}", managed.cluster)
        },
        rule.describe()
    );
    let owner = format!("{} cluster {}", managed.operator, managed.cluster);
    match &managed.conduct {
        Conduct::Ordinary => {
            let mut finding = closed(scene, budget, rule)?;
            finding.owner = owner;
            finding.patches.clear();
            finding.fix = format!(
                "let one pod go at a time, in {}'s own resource: the operator writes the budget again",
                managed.operator
            );
            finding.evidence.push(Evidence {
                class: "operator",
                detail: seen,
            });
            Some(finding)
        }
        Conduct::HandsOver(how) => Some(
            Draft::new(
                codes::OPERATOR_BUDGET,
                Severity::Info,
                budget.object,
                format!("no deadlock: {how}"),
            )
            .saw("operator", seen)
            .owner(owner)
            .fix("nothing, as long as the operator runs; its own pod must not be drained in the same moment")
            .done(),
        ),
        Conduct::Waits(why) => Some(
            Draft::new(
                codes::OPERATOR_BUDGET,
                Severity::Info,
                budget.object,
                format!("not changed by hand: {why}"),
            )
            .saw("operator", seen)
            .owner(owner)
            .fix("see that what the operator waits for is there before the drain")
            .done(),
        ),
        Conduct::Deadlock(why, cure) => {
            let draft = Draft::new(
                codes::BUDGET_CLOSED,
                Severity::Blocks,
                budget.object,
                format!("no pod may ever be evicted: {why}"),
            )
            .saw("operator", seen)
            .owner(owner);
            Some(match cure {
                Some(cure) => draft
                    .fix(format!(
                        "give the cluster a second member (the operator writes the budget again, so change {} and not the budget)",
                        full_name(cure.object)
                    ))
                    .change(cure.object, Edit::of(cure.body).set(cure.path, cure.value))
                    .done(),
                None => draft
                    .fix("change it in the operator's resource: the operator writes the budget again")
                    .done(),
            })
        }
    }
}
