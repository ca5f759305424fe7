//! Drains: a hand takes a node, and the drain ends, drained or given up.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{DrainState, Due, Run};
use crate::drain::world::{BudgetId, NodeId, Phase, PodId};
use crate::drain::{After, Blocked, Drain, Why};

impl Run<'_> {
    /// Step 3.
    pub(super) fn hands_take(&mut self) {
        while let Some(Reverse((at, due))) = self.agenda.peek().copied()
            && at == self.now
            && due < Due::Evict(0, PodId(0))
        {
            self.agenda.pop();
            match due {
                Due::Soaked(node) => self.soaked(node),
                Due::Check(drain) => {
                    self.check.insert(drain);
                }
                Due::Late(drain) => self.late(drain),
                _ => {}
            }
        }
        if self.now < self.options.machine_up.max(1) && !self.options.surge.is_empty() {
            return;
        }
        loop {
            let mut ended = false;
            for id in std::mem::take(&mut self.check) {
                if !self.drains[id].ended && self.drains[id].nothing_left() {
                    self.end(id);
                    ended = true;
                }
            }
            if !self.start() && !ended {
                return;
            }
        }
    }

    fn start(&mut self) -> bool {
        let mut started = false;
        while self.hands > 0
            && self.queue.len() > self.returning
            && let Some(node) = self.queue.pop_front()
        {
            self.hands -= 1;
            started = true;
            let id = self.drains.len();
            let old = self.options.shun_old;
            self.seats.set_node(self.world, node, true, true, true, old);
            let mut listed: BTreeSet<PodId> = self
                .seats
                .on(node)
                .map(|sitting| sitting.pod)
                .filter(|pod| !self.is_left_alone(*pod))
                .collect();
            // The scheduler does not know finished pods; a drain lists them.
            listed.extend(self.finished_on(node));
            for pod in &listed {
                self.pods[pod.at()].drain = Some(id);
                self.agenda.push(Reverse((self.now, Due::Evict(id, *pod))));
            }
            self.plan(self.options.timeout.max(1), Due::Late(id));
            self.drains.push(DrainState {
                result: Drain {
                    node,
                    started: self.now,
                    ended: self.now,
                    evictions: 0,
                    blocked: Vec::new(),
                },
                left: listed,
                given_up: BTreeMap::new(),
                handing_over: BTreeMap::new(),
                ended: false,
            });
            self.check.insert(id);
        }
        started
    }

    fn is_left_alone(&self, id: PodId) -> bool {
        let pod = self.world.pods.get(id.at());
        pod.is_some_and(|pod| self.world.stays(pod))
    }

    fn finished_on(&self, node: NodeId) -> Vec<PodId> {
        // Pods finish only before the beginning.
        self.finished
            .get(&node)
            .into_iter()
            .flatten()
            .copied()
            .filter(|id| !self.pods[id.at()].gone && !self.is_left_alone(*id))
            .collect()
    }

    fn end(&mut self, id: usize) {
        let drain = &mut self.drains[id];
        drain.ended = true;
        drain.result.ended = self.now;
        let node = drain.result.node;
        drain.result.blocked = drain
            .given_up
            .iter()
            .map(|(pod, (one, other))| Blocked {
                pod: *pod,
                why: Why::TwoBudgets(*one, *other),
            })
            .collect();
        self.outcome.ended = self.now;
        if !self.drains[id].given_up.is_empty() {
            return self.spare(id, node);
        }
        if self.options.soak == 0 {
            self.soaked(node);
        } else {
            self.plan(self.options.soak, Due::Soaked(node));
        }
    }

    /// The node could not be drained: it serves again as it is.
    fn spare(&mut self, id: usize, node: NodeId) {
        let left = std::mem::take(&mut self.drains[id].left);
        for pod in left {
            self.pods[pod.at()].drain = None;
            for budget in &self.over[self.pods[pod.at()].shape.at()] {
                self.budgets[budget.at()].refused.remove(&pod);
            }
        }
        let cordoned = self.options.after == After::Leave;
        self.seats.set_node(
            self.world,
            node,
            true,
            true,
            cordoned,
            self.options.shun_old,
        );
        self.hands += 1;
    }

    fn soaked(&mut self, node: NodeId) {
        let shun = self.options.shun_old;
        let reimage = match self.options.after {
            After::Reimage(time) if self.queue.len() > self.returning => Some((time, true)),
            After::ReimageAll(time) => Some((time, self.queue.len() > self.returning)),
            After::Reimage(_) | After::Delete => {
                self.seats
                    .set_node(self.world, node, false, false, true, shun);
                self.hands += 1;
                return;
            }
            After::Leave => {
                self.hands += 1;
                return;
            }
        };
        if let Some((time, reserved)) = reimage {
            self.seats
                .set_node(self.world, node, true, false, true, shun);
            if reserved {
                self.returning += 1;
                self.buffers.insert(node);
            }
            self.plan(time.max(1), Due::NodeUp(node));
        }
    }

    fn late(&mut self, id: usize) {
        if self.drains[id].ended {
            return;
        }
        // Everything gone in this very instant: it is drained.
        if self.drains[id].nothing_left() {
            return;
        }
        let blocked: Vec<Blocked> = self.drains[id]
            .left
            .iter()
            .map(|pod| Blocked {
                pod: *pod,
                why: self.why(id, *pod),
            })
            .collect();
        let drain = &mut self.drains[id];
        drain.ended = true;
        drain.result.ended = self.now;
        drain.result.blocked = blocked;
        let node = drain.result.node;
        self.outcome.ended = self.now;
        self.spare(id, node);
    }

    fn why(&self, drain: usize, id: PodId) -> Why {
        if let Some((one, other)) = self.drains[drain].given_up.get(&id) {
            return Why::TwoBudgets(*one, *other);
        }
        let pod = &self.pods[id.at()];
        let budget = self.over[pod.shape.at()].first().copied();
        match budget {
            Some(budget) if !pod.terminating => {
                let (unready, homeless) = self.unwell(budget);
                let lacking = homeless
                    .first()
                    .map(|pod| self.seats.why_not(self.world, self.pods[pod.at()].shape));
                Why::Budget {
                    budget,
                    status: self.status(budget),
                    unready,
                    homeless,
                    lacking: lacking.unwrap_or_default(),
                }
            }
            _ => Why::Stopping,
        }
    }

    /// Selected pods that run and are not ready, and that wait for a node.
    fn unwell(&self, budget: BudgetId) -> (Vec<PodId>, Vec<PodId>) {
        let (mut unready, mut homeless) = (Vec::new(), Vec::new());
        for id in &self.selected[budget.at()] {
            let pod = &self.pods[id.at()];
            if pod.gone || pod.terminating {
                continue;
            }
            match (pod.phase, pod.node) {
                (Phase::Unready, _) | (Phase::Pending, Some(_)) => unready.push(*id),
                (Phase::Pending, None) => homeless.push(*id),
                _ => {}
            }
        }
        (unready, homeless)
    }
}
