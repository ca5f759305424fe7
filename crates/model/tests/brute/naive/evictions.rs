//! Pods that a drain asks for.

use super::Play;

impl Play {
    pub(super) fn ask(&mut self) {
        for d in 0..self.drains.len() {
            if self.drains[d].ended.is_some() {
                continue;
            }
            for i in self.drains[d].listed.clone() {
                if self.c.pods[i].gone || self.drains[d].next_try.get(&i) != Some(&self.now) {
                    continue;
                }
                self.drains[d].next_try.remove(&i);
                let pod = self.c.pods[i].clone();
                if pod.terminating {
                    continue;
                }
                let over = self.over(i);
                let go = if pod.phase == "Pending" || pod.phase == "Finished" || over.is_empty() {
                    true
                } else if over.len() > 1 {
                    self.drains[d].given_up.insert(i, (over[0], over[1]));
                    self.drains[d].given_up_at = self.now + 1;
                    continue;
                } else {
                    let (_, desired, healthy, allowed, _) = self.status(over[0]);
                    let unready = pod.phase == "Unready";
                    (unready && self.c.budgets[over[0]].always)
                        || (unready && healthy >= desired && desired > 0)
                        || allowed > 0
                };
                let mut go = go;
                if !go && let Some(within) = self.c.budgets[over[0]].gives_way {
                    let first = *self.drains[d].refused_first.entry(i).or_insert(self.now);
                    let other = self.c.pods.iter().enumerate().any(|(j, p)| {
                        let numbered = p.controller.is_some_and(|c| {
                            matches!(self.c.controllers[c].replaces, "numbered" | "in-order")
                                && p.ordinal < self.c.controllers[c].replicas
                        });
                        j != i
                            && numbered
                            && p.controller == pod.controller
                            && !p.gone
                            && !p.terminating
                            && p.phase == "Ready"
                            && !self.c.nodes[p.node.unwrap()].cordoned
                    });
                    go = other && self.now >= first + within;
                }
                if !go {
                    self.drains[d]
                        .next_try
                        .insert(i, self.now + self.plan.retry);
                    continue;
                }
                self.log
                    .evictions
                    .push((self.now, self.drains[d].node, i, pod.origin));
                self.drains[d].evictions += 1;
                let stop = if pod.phase == "Finished" {
                    1
                } else {
                    self.template(i).stop
                };
                let pod = &mut self.c.pods[i];
                pod.terminating = true;
                pod.gone_at = Some(self.now + stop);
                if let (Some(c), true) = (pod.controller, pod.phase != "Finished")
                    && self.c.controllers[c].replaces == "at-once"
                {
                    self.owed[c].push(i);
                }
            }
        }
    }
}
