//! Disruption budgets: would they ever let a pod go?

use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::ids::ObjectRef;
use crate::scope::join;
use crate::world::{Budget, Pod, Snapshot};

/// Budgets that select a pod.
pub(super) fn selecting<'a>(
    world: &'a Snapshot,
    name: &'a ObjectRef,
    pod: &'a Pod,
) -> impl Iterator<Item = (&'a ObjectRef, &'a Budget)> {
    world.budgets.iter().filter(move |(budget, spec)| {
        budget.namespace == name.namespace
            && !spec.selector.is_empty()
            && spec
                .selector
                .iter()
                .all(|(key, value)| pod.labels.get(key) == Some(value))
    })
}

/// Budgets of a pod, judged for a moment when `extra` more pods are there and all are healthy.
pub(super) fn gate(world: &Snapshot, name: &ObjectRef, pod: &Pod, extra: i32) -> Findings {
    let mut findings = Findings::default();
    let over: Vec<_> = selecting(world, name, pod).collect();
    if over.len() > 1 {
        findings.refuse(
            Diagnostic::new(codes::TWO_BUDGETS, name, "every eviction of this pod fails")
                .seen(format!("selected by {}", join(over.iter().map(|(n, _)| n))))
                .fix("let exactly one budget select it"),
        );
    }
    for (budget_name, budget) in over {
        let expected = budget.expected_pods.max(1) + extra;
        if expected - wanted(budget, expected) < 1 {
            findings.refuse(
                Diagnostic::new(
                    codes::BUDGET_NEVER,
                    budget_name,
                    format!("it never allows the eviction of {name}"),
                )
                .seen(format!(
                    "{}, {expected} pods when all are there",
                    match (&budget.max_unavailable, &budget.min_available) {
                        (Some(most), _) => format!("maxUnavailable {most}"),
                        (None, Some(least)) => format!("minAvailable {least}"),
                        (None, None) => format!("{} pods wanted", budget.desired_healthy),
                    }
                ))
                .fix("set maxUnavailable: 1"),
            );
        }
    }
    findings
}

/// Pods that must stay healthy out of `expected`.
///
/// # Source
/// Kubernetes rounds percentages of both kinds up.
fn wanted(budget: &Budget, expected: i32) -> i32 {
    let scaled = |text: &str| match text.strip_suffix('%') {
        Some(percent) => percent
            .parse::<i32>()
            .ok()
            .map(|percent| (expected * percent + 99) / 100),
        None => text.parse().ok(),
    };
    match (&budget.max_unavailable, &budget.min_available) {
        (Some(most), _) => scaled(most).map_or(expected, |most| expected - most),
        (None, Some(least)) => scaled(least).unwrap_or(expected),
        (None, None) => budget.desired_healthy,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn budgets_count_like_the_disruption_controller() {
        let budget = |max: Option<&str>, min: Option<&str>| Budget {
            selector: BTreeMap::new(),
            disruptions_allowed: 0,
            current_healthy: 3,
            desired_healthy: 2,
            expected_pods: 3,
            max_unavailable: max.map(str::to_owned),
            min_available: min.map(str::to_owned),
        };
        for (max, min, expected, wants) in [
            (Some("1"), None, 3, 2),
            (Some("0"), None, 4, 4),
            (Some("30%"), None, 3, 2),
            (None, Some("100%"), 4, 4),
            (None, Some("3"), 4, 3),
            (None, Some("50%"), 3, 2),
        ] {
            assert_eq!(
                wanted(&budget(max, min), expected),
                wants,
                "{max:?} {min:?}"
            );
        }
    }
}
