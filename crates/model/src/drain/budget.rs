//! What the disruption controller counts and what the eviction handler answers.
//!
//! # Source
//! Kubernetes 1.36, `pkg/controller/disruption/disruption.go` and
//! `pkg/registry/core/pod/storage/eviction.go`. The controller is taken to have seen every change
//! before the next eviction is asked for.

use std::collections::BTreeMap;

use super::world::{Amount, Budget, BudgetId, Limit, Phase, ScaleId, World};

/// What the handler answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 201.
    Go,
    /// 429.
    Wait(BudgetId),
    /// 500: two budgets.
    Never(BudgetId, BudgetId),
}

/// The numbers in a budget's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// `expectedPods`.
    pub expected: u32,
    /// `desiredHealthy`.
    pub desired: u32,
    /// `currentHealthy`.
    pub healthy: u32,
    /// `disruptionsAllowed`.
    pub allowed: u32,
    /// Some selected pod has a controller without a size: the controller fails, and nothing is allowed.
    pub failed: bool,
}

/// What is counted for one budget.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count {
    pods: u32,
    healthy: u32,
    expected: u32,
    sizeless: u32,
    scales: BTreeMap<ScaleId, u32>,
}

/// Who a pod's controller is, to a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Nobody's: not counted.
    Unmanaged,
    /// A controller with a size.
    Of(ScaleId),
    /// A controller without.
    Missing,
}

impl Count {
    pub(crate) fn add(&mut self, size: Size, world: &World) {
        self.pods += 1;
        match size {
            Size::Unmanaged => {}
            Size::Missing => self.sizeless += 1,
            Size::Of(id) => {
                let pods = self.scales.entry(id).or_default();
                *pods += 1;
                if *pods == 1 {
                    self.expected += world.scales.get(id.at()).copied().unwrap_or(0);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, size: Size, world: &World) {
        self.pods -= 1;
        match size {
            Size::Unmanaged => {}
            Size::Missing => self.sizeless -= 1,
            Size::Of(id) => {
                let Some(pods) = self.scales.get_mut(&id) else {
                    return;
                };
                *pods -= 1;
                if *pods == 0 {
                    self.scales.remove(&id);
                    self.expected -= world.scales.get(id.at()).copied().unwrap_or(0);
                }
            }
        }
    }

    pub(crate) fn healthy(&mut self, more: bool) {
        if more {
            self.healthy += 1;
        } else {
            self.healthy -= 1;
        }
    }

    /// The status that the controller writes.
    pub(crate) fn status(&self, limit: Limit) -> Status {
        // An integer minAvailable never asks the controllers for their sizes.
        let by_size = !matches!(limit, Limit::MinAvailable(Amount::Pods(_)));
        if by_size && self.sizeless > 0 {
            return Status {
                expected: 0,
                desired: 0,
                healthy: 0,
                allowed: 0,
                failed: true,
            };
        }
        let expected = if by_size { self.expected } else { self.pods };
        let amount = |amount| match amount {
            Amount::Pods(pods) => pods,
            Amount::Percent(percent) => {
                let share = (u64::from(expected) * u64::from(percent)).div_ceil(100);
                u32::try_from(share).unwrap_or(u32::MAX)
            }
        };
        let desired = match limit {
            Limit::MinAvailable(least) => amount(least),
            Limit::MaxUnavailable(most) => expected.saturating_sub(amount(most)),
        };
        let allowed = if expected == 0 {
            0
        } else {
            self.healthy.saturating_sub(desired)
        };
        Status {
            expected,
            desired,
            healthy: self.healthy,
            allowed,
            failed: false,
        }
    }
}

impl Status {
    /// Would a pod in this phase go?
    pub(crate) fn lets_go(&self, phase: Phase, always_allow: bool) -> bool {
        match phase {
            Phase::Pending | Phase::Finished => true,
            Phase::Ready => self.allowed > 0,
            Phase::Unready => {
                always_allow
                    || (self.healthy >= self.desired && self.desired > 0)
                    || self.allowed > 0
            }
        }
    }
}

/// The answer for a pod that exists, in the handler's order of questions.
pub(crate) fn answer(
    budgets: &[BudgetId],
    phase: Phase,
    terminating: bool,
    status: impl Fn(BudgetId) -> Option<(Status, bool)>,
) -> Answer {
    if terminating || matches!(phase, Phase::Pending | Phase::Finished) {
        return Answer::Go;
    }
    match budgets {
        [] => Answer::Go,
        [one] => match status(*one) {
            Some((status, always_allow)) if !status.lets_go(phase, always_allow) => {
                Answer::Wait(*one)
            }
            _ => Answer::Go,
        },
        [one, other, ..] => Answer::Never(*one, *other),
    }
}

impl World {
    /// Budgets over pods of each shape, by the shape's place.
    pub(crate) fn budgets_by_shape(&self) -> Vec<Vec<BudgetId>> {
        let mut by_namespace: BTreeMap<_, Vec<(BudgetId, &Budget)>> = BTreeMap::new();
        for (i, budget) in self.budgets.iter().enumerate() {
            let id = BudgetId::next(i);
            by_namespace
                .entry(budget.namespace)
                .or_default()
                .push((id, budget));
        }
        self.shapes
            .iter()
            .map(|shape| {
                let here = by_namespace.get(&shape.namespace);
                here.into_iter()
                    .flatten()
                    .filter(|(_, budget)| {
                        budget
                            .selector
                            .as_ref()
                            .is_some_and(|selector| self.selects(selector, &shape.labels))
                    })
                    .map(|(id, _)| *id)
                    .collect()
            })
            .collect()
    }
}
