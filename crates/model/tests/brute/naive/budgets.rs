//! The budgets over a pod, and what each says.

use std::collections::BTreeSet;

use super::Play;
use super::cluster::holds;

impl Play {
    pub(super) fn over(&self, i: usize) -> Vec<usize> {
        let template = self.template(i);
        let mut found = Vec::new();
        for (b, budget) in self.c.budgets.iter().enumerate() {
            if budget.namespace == template.namespace
                && budget
                    .selector
                    .as_ref()
                    .is_some_and(|s| holds(s, &template.labels))
            {
                found.push(b);
            }
        }
        found
    }

    /// Expected, desired, healthy, allowed, failed.
    pub fn status(&self, b: usize) -> (u64, u64, u64, u64, bool) {
        let budget = &self.c.budgets[b];
        let (mut pods, mut healthy, mut scales, mut failed) = (0, 0, BTreeSet::new(), false);
        for (i, pod) in self.c.pods.iter().enumerate() {
            if pod.gone || !self.over(i).contains(&b) {
                continue;
            }
            pods += 1;
            if pod.phase == "Ready" && !pod.terminating {
                healthy += 1;
            }
            if let Some(c) = pod.controller {
                match self.c.controllers[c].scale {
                    Some(scale) => {
                        scales.insert(scale);
                    }
                    None => failed = true,
                }
            }
        }
        let counted = budget.percent || !budget.min;
        if counted && failed {
            return (0, 0, 0, 0, true);
        }
        let expected: u64 = if counted {
            scales.iter().map(|s| self.c.scales[*s]).sum()
        } else {
            pods
        };
        let amount = if budget.percent {
            (expected * budget.amount).div_ceil(100)
        } else {
            budget.amount
        };
        let desired = if budget.min {
            amount
        } else {
            expected.saturating_sub(amount)
        };
        let allowed = if expected > 0 && healthy > desired {
            healthy - desired
        } else {
            0
        };
        (expected, desired, healthy, allowed, false)
    }

    /// Ready pods under a budget on some nodes that a drain would evict.
    pub fn ready_under(&self, b: usize, on: impl Fn(usize) -> bool) -> u64 {
        let mut many = 0;
        for (i, pod) in self.c.pods.iter().enumerate() {
            let daemon = pod
                .controller
                .is_some_and(|c| self.c.controllers[c].replaces == "per-node");
            if pod.node.is_some_and(&on)
                && !pod.mirror
                && !daemon
                && !pod.terminating
                && pod.phase == "Ready"
            {
                many += u64::from(self.over(i) == [b]);
            }
        }
        many
    }
}
