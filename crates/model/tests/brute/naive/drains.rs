//! Nodes that are taken, drained, reimaged or given up.

use std::collections::BTreeMap;

use super::{Drain, Play};

impl Play {
    pub(super) fn drive(&mut self) {
        for node in 0..self.c.nodes.len() {
            if self.c.nodes[node].soaked_at == Some(self.now) {
                self.c.nodes[node].soaked_at = None;
                self.soaked(node);
            }
        }
        for d in 0..self.drains.len() {
            if self.drains[d].ended.is_none()
                && self.drains[d].started + self.plan.timeout == self.now
                && !self.nothing_left(d)
            {
                let left: Vec<usize> = self.left(d);
                let mut blocked = Vec::new();
                for i in left {
                    blocked.push((i, self.why(d, i)));
                }
                self.drains[d].blocked = blocked;
                self.drains[d].ended = Some(self.now);
                self.spare(d);
            }
        }
        if !self.plan.surge.is_empty() && self.now < self.plan.machine_up {
            return;
        }
        loop {
            let mut any = false;
            for d in 0..self.drains.len() {
                let given_up_now = self.drains[d].given_up_at == self.now + 1;
                if self.drains[d].ended.is_some() || !self.nothing_left(d) || given_up_now {
                    continue;
                }
                any = true;
                self.drains[d].ended = Some(self.now);
                if self.drains[d].given_up.is_empty() {
                    let node = self.drains[d].node;
                    if self.plan.soak == 0 {
                        self.soaked(node);
                    } else {
                        self.c.nodes[node].soaked_at = Some(self.now + self.plan.soak);
                    }
                } else {
                    let given_up = self.drains[d].given_up.clone();
                    for (i, (a, b)) in given_up {
                        self.drains[d]
                            .blocked
                            .push((i, format!("two budgets {a} {b}")));
                    }
                    self.spare(d);
                }
            }
            while self.hands > 0 && self.queue.len() > self.reserved() {
                any = true;
                self.hands -= 1;
                let node = self.queue.remove(0);
                self.c.nodes[node].cordoned = true;
                self.c.nodes[node].old = self.plan.shun;
                let mut listed = Vec::new();
                for (i, pod) in self.c.pods.iter().enumerate() {
                    let daemon = pod
                        .controller
                        .is_some_and(|c| self.c.controllers[c].replaces == "per-node");
                    if pod.node == Some(node) && !pod.gone && !pod.mirror && !daemon {
                        listed.push(i);
                    }
                }
                let next_try = listed.iter().map(|i| (*i, self.now)).collect();
                self.drains.push(Drain {
                    node,
                    started: self.now,
                    ended: None,
                    evictions: 0,
                    listed,
                    next_try,
                    given_up: BTreeMap::new(),
                    given_up_at: 0,
                    refused_first: BTreeMap::new(),
                    blocked: Vec::new(),
                });
            }
            if !any {
                return;
            }
        }
    }

    fn reserved(&self) -> usize {
        self.c.nodes.iter().filter(|n| n.for_next).count()
    }

    fn left(&self, d: usize) -> Vec<usize> {
        let listed = &self.drains[d].listed;
        listed
            .iter()
            .copied()
            .filter(|i| !self.c.pods[*i].gone)
            .collect()
    }

    fn nothing_left(&self, d: usize) -> bool {
        self.left(d)
            .iter()
            .all(|i| self.drains[d].given_up.contains_key(i))
    }

    fn spare(&mut self, d: usize) {
        let node = self.drains[d].node;
        self.c.nodes[node].cordoned = self.plan.after == "leave";
        self.hands += 1;
    }

    fn soaked(&mut self, node: usize) {
        let next = self.queue.len() > self.reserved();
        let about = &mut self.c.nodes[node];
        match self.plan.after {
            "reimage" if next => {
                about.serves = false;
                about.for_next = true;
                about.up_at = Some(self.now + self.plan.reimage);
            }
            "reimage-all" => {
                about.serves = false;
                about.for_next = next;
                about.up_at = Some(self.now + self.plan.reimage);
            }
            "reimage" | "delete" => {
                about.exists = false;
                about.serves = false;
                self.hands += 1;
            }
            "leave" => self.hands += 1,
            _ => unreachable!(),
        }
    }

    fn why(&self, d: usize, i: usize) -> String {
        if let Some((a, b)) = self.drains[d].given_up.get(&i) {
            return format!("two budgets {a} {b}");
        }
        match self.over(i).first() {
            Some(b) if !self.c.pods[i].terminating => format!("budget {b} {:?}", self.status(*b)),
            _ => "stopping".to_owned(),
        }
    }
}
