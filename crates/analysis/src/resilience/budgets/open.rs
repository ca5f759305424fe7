//! Budgets that let too many pods go at once.

use super::{Size, arithmetic, count, covered};
use crate::codes;
use crate::findings::{Finding, Severity};
use crate::resilience::arithmetic::{Bound, Rule};
use crate::resilience::databases;
use crate::resilience::draft::{Draft, Edit};
use crate::resilience::scene::{Budget, Scene};

/// A budget that lets a quorum, or everybody, go at once.
pub(super) fn too_open(scene: &Scene<'_>, budget: &Budget<'_>, rule: Rule) -> Option<Finding> {
    let fewest = count(scene, budget, Size::Fewest);
    let outcome = rule.outcome(fewest, fewest.pods);
    if fewest.pods < 2 || outcome.allowed < 2 {
        return None;
    }
    let quorum = covered(scene, budget)
        .find_map(|workload| databases::of(workload).filter(|found| found.quorum));
    let spare = (fewest.pods - 1).div_euclid(2);
    let message = match quorum {
        Some(database) if outcome.allowed > spare.max(1) => format!(
            "{} lets {} of {} members go at once: {} loses its majority",
            rule.describe(),
            outcome.allowed,
            fewest.pods,
            database.name
        ),
        None if outcome.allowed >= fewest.pods => format!(
            "{} lets all {} pods go at once",
            rule.describe(),
            fewest.pods
        ),
        _ => return None,
    };
    let rounded = match rule {
        Rule::MaxUnavailable(Bound::Percent(_)) => " (percentages round up)",
        _ => "",
    };
    Some(
        Draft::new(
            codes::BUDGET_OPEN,
            Severity::Warning,
            budget.object,
            message,
        )
        .saw(
            "arithmetic",
            format!("{}{rounded}", arithmetic(rule, fewest)),
        )
        .fix("let one pod go at a time")
        .change(
            budget.object,
            Edit::of(budget.body)
                .remove("/spec/minAvailable")
                .set("/spec/maxUnavailable", 1),
        )
        .done(),
    )
}
