//! Budgets that never let a pod go, or not while their workload is at its smallest.

use super::{NAMED, Size, arithmetic, count, covered};
use crate::codes;
use crate::findings::{Finding, Severity};
use crate::resilience::arithmetic::{Count, Rule};
use crate::resilience::draft::{Draft, Edit};
use crate::resilience::scene::{Budget, Makes, Scene, Workload, full_name};
use crate::resilience::select::Selector;
use crate::resilience::values::int;

/// Pods whose makers have no scale.
pub(super) fn unscaled(scene: &Scene<'_>, budget: &Budget<'_>, rule: Rule) -> Option<Finding> {
    if !rule.needs_scale() {
        return None;
    }
    let workload = covered(scene, budget)
        .find(|workload| matches!(workload.makes, Makes::DaemonSet | Makes::Job))?;
    let all = count(scene, budget, Size::Fewest);
    let edit = Edit::of(budget.body)
        .remove("/spec/maxUnavailable")
        .set("/spec/minAvailable", (all.pods - 1).max(0));
    Some(
        Draft::new(
            codes::BUDGET_WITHOUT_SCALE,
            Severity::Blocks,
            budget.object,
            format!(
                "{} has no scale, which {} needs: the budget fails to sync and never lets a pod go",
                workload.name(),
                rule.describe()
            ),
        )
        .saw("workload", format!("{} is made by a {}", workload.name(), workload.object.kind))
        .fix("say a whole number of minAvailable, which counts pods, or leave these pods out of the selector")
        .change(budget.object, edit)
        .done(),
    )
}

/// A budget that never lets a pod go, or not while its workload is at its smallest.
pub(super) fn closed(scene: &Scene<'_>, budget: &Budget<'_>, rule: Rule) -> Option<Finding> {
    if covered(scene, budget)
        .any(|w| rule.needs_scale() && matches!(w.makes, Makes::DaemonSet | Makes::Job))
    {
        return None;
    }
    let fewest = count(scene, budget, Size::Fewest);
    let most = count(scene, budget, Size::Most);
    if matches!(budget.selector, Selector::Nothing) {
        return None;
    }
    if fewest.pods == 0 && most.pods == 0 {
        // Nothing known of the pods: only what no number of pods changes.
        let many = Count {
            pods: 1_000,
            scale: 1_000,
        };
        return rule.never(many).then(|| never(scene, budget, rule, None));
    }
    if most.pods == 0 {
        return None;
    }
    if rule.never(most) {
        return Some(never(scene, budget, rule, Some(most)));
    }
    let scaled = covered(scene, budget).find(|workload| workload.scaler.is_some())?;
    let (scaler, body) = scaled.scaler?;
    if !rule.never(fewest) {
        return None;
    }
    let smallest = fewest.pods;
    let now = int(body, "/status/currentReplicas");
    let severity = if now == Some(smallest) {
        Severity::Blocks
    } else {
        Severity::Warning
    };
    let draft = Draft::new(
        codes::BUDGET_AT_MINIMUM,
        severity,
        budget.object,
        format!(
            "{} lets no pod go while {} is at its minimum of {smallest}",
            rule.describe(),
            scaled.name()
        ),
    )
    .saw("arithmetic", arithmetic(rule, fewest))
    .saw(
        "scaler",
        format!("{}: minReplicas {smallest}", full_name(scaler)),
    );
    let open = Edit::of(budget.body)
        .remove("/spec/minAvailable")
        .set("/spec/maxUnavailable", 1);
    Some(if smallest >= 2 {
        draft
            .fix("let one pod go whatever the size")
            .change(budget.object, open)
            .done()
    } else {
        draft
            .fix("keep two pods at least, and let one go whatever the size")
            .change(scaler, Edit::of(body).set("/spec/minReplicas", 2))
            .change(budget.object, open)
            .done()
    })
}

fn never(scene: &Scene<'_>, budget: &Budget<'_>, rule: Rule, count: Option<Count>) -> Finding {
    let mut draft = Draft::new(
        codes::BUDGET_CLOSED,
        Severity::Blocks,
        budget.object,
        format!(
            "{} never lets a pod go: the drain of its node waits until it times out, and AKS refuses the upgrade (UnsatisfiablePDB)",
            rule.describe()
        ),
    )
    .saw(
        "arithmetic",
        count.map_or_else(|| "whatever the number of pods".to_owned(), |count| arithmetic(rule, count)),
    );
    let workloads: Vec<&Workload<'_>> = covered(scene, budget).collect();
    for workload in workloads.iter().take(NAMED) {
        draft = draft.saw("workload", workload.name());
    }
    let open = Edit::of(budget.body)
        .remove("/spec/minAvailable")
        .set("/spec/maxUnavailable", 1);
    let pods = count.map_or(0, |count| count.pods);
    let scaled = count.is_none_or(|count| count.scale > 0);
    match workloads.as_slice() {
        // One pod: another one first, where a second is just as good.
        [one] if pods == 1 && matches!(one.makes, Makes::Deployment | Makes::Rollout) => {
            draft = draft.fix("run two pods, and let one of them go at a time");
            draft = match one.scaler {
                Some((scaler, body)) => {
                    let most = int(body, "/spec/maxReplicas").unwrap_or(2).max(2);
                    let edit = Edit::of(body).set("/spec/minReplicas", 2).set("/spec/maxReplicas", most);
                    draft.change(scaler, edit)
                }
                None => draft.change(one.object, Edit::of(one.body).set("/spec/replicas", 2)),
            };
            draft.change(budget.object, open).done()
        }
        [one] if pods == 1 && scaled => draft
            .fix(format!(
                "{} has one member: let it go and take its restart as downtime, or add members and hand over first",
                one.name()
            ))
            .change(budget.object, open)
            .done(),
        _ if !scaled => draft
            .fix("pods that nobody makes count only for a whole number of minAvailable: leave one free, or put them under a controller")
            .change(
                budget.object,
                Edit::of(budget.body)
                    .remove("/spec/maxUnavailable")
                    .set("/spec/minAvailable", (pods - 1).max(0)),
            )
            .done(),
        _ => draft
            .fix("let one pod go at a time")
            .change(budget.object, open)
            .done(),
    }
}
