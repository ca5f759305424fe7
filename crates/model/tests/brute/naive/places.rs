//! Where a pod may go, and where it goes.

use std::collections::BTreeMap;

use super::Play;
use super::cluster::{Near, Node, Pod, Template, holds};

impl Play {
    fn seated(&self) -> impl Iterator<Item = (usize, &Pod)> {
        self.c
            .pods
            .iter()
            .enumerate()
            .filter(|(_, p)| !p.gone && p.node.is_some() && p.phase != "Finished")
    }

    pub(super) fn best(&self, i: usize) -> Option<usize> {
        let template = self.template(i);
        let controller = self.c.pods[i].controller;
        let mut best: Option<((usize, usize, u64, usize), usize)> = None;
        for node in 0..self.c.nodes.len() {
            if !self.feasible(i, node) {
                continue;
            }
            let about = &self.c.nodes[node];
            let mut shunned = 0;
            let mut taints = about.taints.clone();
            if about.old {
                taints.push(("ferriswheel.dev/old", "", "PreferNoSchedule"));
            }
            for taint in &taints {
                if taint.2 == "PreferNoSchedule" && !tolerates(template, taint) {
                    shunned += 1;
                }
            }
            let own = self
                .seated()
                .filter(|(_, p)| {
                    p.node == Some(node)
                        && !p.terminating
                        && controller.is_some()
                        && p.controller == controller
                })
                .count();
            let (mut cpu, mut memory) = (0, 0);
            for (q, p) in self.seated() {
                if p.node == Some(node) {
                    cpu += self.template(q).cpu;
                    memory += self.template(q).memory;
                }
            }
            let part =
                |used: u64, all: u64| (used * 1_000_000).checked_div(all).unwrap_or(1_000_000);
            let load = part(cpu, about.cpu) + part(memory, about.memory);
            let score = (shunned, own, load, node);
            if best.as_ref().is_none_or(|(known, _)| score < *known) {
                best = Some((score, node));
            }
        }
        best.map(|(_, node)| node)
    }

    fn feasible(&self, i: usize, node: usize) -> bool {
        let template = self.template(i);
        let about = &self.c.nodes[node];
        if !about.serves {
            return false;
        }
        let mut taints = about.taints.clone();
        if about.cordoned {
            taints.push(("node.kubernetes.io/unschedulable", "", "NoSchedule"));
        }
        for taint in &taints {
            if taint.2 != "PreferNoSchedule" && !tolerates(template, taint) {
                return false;
            }
        }
        if !allowed(template, about) {
            return false;
        }
        let (mut cpu, mut memory, mut pods) = (0, 0, 0);
        for (q, p) in self.seated() {
            if p.node == Some(node) {
                cpu += self.template(q).cpu;
                memory += self.template(q).memory;
                pods += 1;
                if template.port.is_some() && self.template(q).port == template.port {
                    return false;
                }
            }
        }
        if pods + 1 > about.most
            || (template.cpu > 0 && cpu + template.cpu > about.cpu)
            || (template.memory > 0 && memory + template.memory > about.memory)
        {
            return false;
        }
        let place = |node: usize, key: &str| self.c.nodes[node].labels.get(key).cloned();
        for (q, p) in self.seated() {
            let there = p.node.unwrap();
            let same =
                |key: &str| place(there, key).is_some() && place(there, key) == place(node, key);
            for near in &self.template(q).apart {
                if means(near, template) && same(near.topology) {
                    return false;
                }
            }
            for near in &template.apart {
                if means(near, self.template(q)) && same(near.topology) {
                    return false;
                }
            }
        }
        if !template.near.is_empty() {
            let all_of = |t: &Template| template.near.iter().all(|near| means(near, t));
            let friends: Vec<usize> = self
                .seated()
                .filter(|(q, _)| all_of(self.template(*q)))
                .map(|(_, p)| p.node.unwrap())
                .collect();
            let anywhere = template.near.iter().any(|near| {
                friends
                    .iter()
                    .any(|there| place(*there, near.topology).is_some())
            });
            for near in &template.near {
                let Some(here) = place(node, near.topology) else {
                    return false;
                };
                let close = friends
                    .iter()
                    .any(|there| place(*there, near.topology).as_ref() == Some(&here));
                if !close && (anywhere || !all_of(template)) {
                    return false;
                }
            }
        }
        for spread in &template.spread {
            let mut domains: BTreeMap<String, usize> = BTreeMap::new();
            for (n, about) in self.c.nodes.iter().enumerate() {
                let mut taints = about.taints.clone();
                if about.cordoned {
                    taints.push(("node.kubernetes.io/unschedulable", "", "NoSchedule"));
                }
                let counts = about.exists
                    && template
                        .spread
                        .iter()
                        .all(|s| about.labels.contains_key(s.topology))
                    && (spread.ignore_rules || allowed(template, about))
                    && (!spread.honor_taints
                        || taints
                            .iter()
                            .all(|t| t.2 == "PreferNoSchedule" || tolerates(template, t)));
                if !counts {
                    continue;
                }
                let count = domains
                    .entry(about.labels[spread.topology].clone())
                    .or_default();
                for (q, p) in self.seated() {
                    if p.node == Some(n)
                        && !p.terminating
                        && self.template(q).namespace == template.namespace
                        && spread
                            .selector
                            .as_ref()
                            .is_some_and(|s| holds(s, &self.template(q).labels))
                    {
                        *count += 1;
                    }
                }
            }
            let Some(here) = place(node, spread.topology) else {
                return false;
            };
            let mut least = domains.values().copied().min().unwrap_or(0);
            if domains.len() < spread.domains {
                least = 0;
            }
            let own = usize::from(
                spread
                    .selector
                    .as_ref()
                    .is_some_and(|s| holds(s, &template.labels)),
            );
            if domains.get(&here).copied().unwrap_or(0) + own > spread.skew + least {
                return false;
            }
        }
        true
    }
}

fn tolerates(template: &Template, taint: &(&'static str, &'static str, &'static str)) -> bool {
    template.tolerations.iter().any(|(key, value, effect)| {
        key.is_none_or(|k| k == taint.0)
            && value.is_none_or(|v| v == taint.1)
            && effect.is_none_or(|e| e == taint.2)
    })
}

fn allowed(template: &Template, node: &Node) -> bool {
    template
        .rules
        .iter()
        .all(|any| any.iter().any(|selector| holds(selector, &node.labels)))
}

fn means(near: &Near, template: &Template) -> bool {
    near.namespaces
        .as_ref()
        .is_none_or(|all| all.contains(&template.namespace))
        && near
            .selector
            .as_ref()
            .is_some_and(|s| holds(s, &template.labels))
}
