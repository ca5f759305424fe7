//! Evictions: a pod is asked for, and the budgets over it answer.

use std::cmp::Reverse;

use super::{Due, Run};
use crate::drain::Evicted;
use crate::drain::budget::{self, Answer};
use crate::drain::world::{BudgetId, Millis, Phase, PodId};

impl Run<'_> {
    /// Step 4.
    pub(super) fn evict(&mut self) {
        while let Some(Reverse((at, due))) = self.agenda.peek().copied()
            && at == self.now
            && let Due::Evict(drain, id) = due
        {
            self.agenda.pop();
            let pod = &self.pods[id.at()];
            if self.drains[drain].ended || pod.gone || pod.drain != Some(drain) {
                continue;
            }
            let answer = budget::answer(
                &self.over[pod.shape.at()],
                pod.phase,
                pod.terminating,
                |budget| {
                    let about = self.world.budgets.get(budget.at())?;
                    Some((self.status(budget), about.always_allow))
                },
            );
            match answer {
                Answer::Go if pod.terminating => {}
                Answer::Go => self.let_go(drain, id),
                Answer::Wait(budget) if self.world.budgets[budget.at()].gives_way.is_some() => {
                    if self.has_given_way(drain, id, budget) {
                        self.let_go(drain, id);
                    } else {
                        let again = self.options.retry.max(1);
                        self.plan(again, Due::Evict(drain, id));
                    }
                }
                Answer::Wait(budget) => {
                    self.budgets[budget.at()].refused.insert(id, self.now);
                }
                Answer::Never(one, other) => {
                    self.drains[drain].given_up.insert(id, (one, other));
                    // It may be the last that is left.
                    self.plan(1, Due::Check(drain));
                }
            }
        }
    }

    fn let_go(&mut self, drain: usize, id: PodId) {
        self.outcome.evictions.push(Evicted {
            at: self.now,
            node: self.drains[drain].result.node,
            pod: id,
            origin: self.pods[id.at()].origin,
        });
        self.drains[drain].result.evictions += 1;
        self.stop(id);
    }

    /// Has the operator had its time, and another pod that is ready and may stay?
    fn has_given_way(&mut self, drain: usize, id: PodId, budget: BudgetId) -> bool {
        let now = self.now;
        let first = *self.drains[drain].handing_over.entry(id).or_insert(now);
        let within = self.world.budgets[budget.at()].gives_way.unwrap_or(0);
        if now < first.saturating_add(within) {
            return false;
        }
        let Some(controller) = self.pods[id.at()].controller else {
            return false;
        };
        let others = &self.controllers[controller.at()].numbered;
        others.iter().flatten().any(|other| {
            let pod = &self.pods[other.at()];
            *other != id
                && pod.phase == Phase::Ready
                && !pod.terminating
                && pod.node.is_some_and(|node| !self.seats.is_cordoned(node))
        })
    }

    /// Refused pods whose budgets moved are asked for at their next time, not before `from`.
    pub(super) fn wake(&mut self, from: Millis) {
        while let Some(id) = self.moved.pop_first() {
            let about = &self.world.budgets[id.at()];
            let state = &mut self.budgets[id.at()];
            if state.refused.is_empty() {
                continue;
            }
            let status = state.count.status(about.limit);
            let woken: Vec<(PodId, Millis)> = state
                .refused
                .iter()
                .filter(|(pod, _)| status.lets_go(self.pods[pod.at()].phase, about.always_allow))
                .map(|(pod, at)| (*pod, *at))
                .collect();
            for (pod, at) in woken {
                state.refused.remove(&pod);
                let Some(drain) = self.pods[pod.at()].drain else {
                    continue;
                };
                let every = self.options.retry.max(1);
                let rounds = from.saturating_sub(at).div_ceil(every).max(1);
                let again = at + rounds * every;
                self.agenda.push(Reverse((again, Due::Evict(drain, pod))));
            }
        }
    }
}
