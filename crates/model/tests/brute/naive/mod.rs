//! The rules of the drain simulation played as they are written: every question answered by reading
//! all pods, and, for every twentieth cluster, every millisecond looked at. Imports nothing of what it judges.

mod budgets;
mod cluster;
mod controllers;
mod drains;
mod evictions;
mod places;

use std::collections::{BTreeMap, BTreeSet};

pub use cluster::{
    Budget, Cluster, Controller, Map, Near, Node, Plan, Pod, Requirement, Spread, Template,
};

/// Node, start, end, evictions, what is left with why.
pub type DrainResult = (usize, u64, u64, u32, Vec<(usize, String)>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub drains: Vec<DrainResult>,
    pub evictions: Vec<(u64, usize, usize, usize)>,
    pub placements: Vec<(u64, usize, usize)>,
    pub homeless: Vec<usize>,
}

struct Drain {
    node: usize,
    started: u64,
    ended: Option<u64>,
    evictions: u32,
    listed: Vec<usize>,
    next_try: BTreeMap<usize, u64>,
    given_up: BTreeMap<usize, (usize, usize)>,
    given_up_at: u64,
    refused_first: BTreeMap<usize, u64>,
    blocked: Vec<(usize, String)>,
}

pub struct Play {
    pub c: Cluster,
    plan: Plan,
    now: u64,
    drains: Vec<Drain>,
    queue: Vec<usize>,
    hands: usize,
    /// Stopped pods by controller that nobody stands for yet.
    owed: Vec<Vec<usize>>,
    log: Log,
    every_millisecond: bool,
}

impl Play {
    pub fn new(c: Cluster, plan: Plan, every_millisecond: bool) -> Self {
        let queue = plan.order.clone();
        let hands = plan.hands;
        let owed = vec![Vec::new(); c.controllers.len()];
        let mut play = Self {
            c,
            plan,
            now: 0,
            drains: Vec::new(),
            queue,
            hands,
            owed,
            log: Log::default(),
            every_millisecond,
        };
        for i in 0..play.c.nodes.len() {
            let in_order = play.plan.order.contains(&i);
            let node = &mut play.c.nodes[i];
            node.exists = !node.absent;
            node.serves = !node.absent;
            node.old = play.plan.shun && in_order;
        }
        for i in 0..play.c.pods.len() {
            let template = play.template(i).clone();
            let pod = &mut play.c.pods[i];
            if pod.terminating {
                pod.gone_at = Some(template.stop);
            } else if pod.node.is_some() && pod.phase == "Pending" {
                pod.runs_at = Some(template.start);
            }
        }
        for i in play.plan.surge.clone() {
            play.c.nodes[i].up_at = Some(play.plan.machine_up);
        }
        play
    }

    fn template(&self, pod: usize) -> &Template {
        &self.c.templates[self.c.pods[pod].template]
    }

    pub fn play(mut self) -> Log {
        loop {
            if self.now > 0 {
                self.due();
            }
            self.settle();
            self.drive();
            self.ask();
            self.settle();
            let Some(next) = self.next() else { break };
            self.now = next;
        }
        for drain in &self.drains {
            self.log.drains.push((
                drain.node,
                drain.started,
                drain.ended.unwrap(),
                drain.evictions,
                drain.blocked.clone(),
            ));
        }
        for (i, pod) in self.c.pods.iter().enumerate() {
            if !pod.gone && !pod.terminating && pod.phase == "Pending" && pod.node.is_none() {
                self.log.homeless.push(i);
            }
        }
        self.log
    }

    /// The next millisecond, while anything is still to come.
    fn next(&self) -> Option<u64> {
        let more = self
            .c
            .nodes
            .iter()
            .any(|n| n.up_at.is_some() || n.soaked_at.is_some())
            || self
                .c
                .pods
                .iter()
                .any(|p| p.gone_at.is_some() || p.runs_at.is_some() || p.ready_at.is_some())
            || self.drains.iter().any(|d| d.ended.is_none());
        assert!(self.now < 50_000, "it never ends");
        if !more {
            return None;
        }
        if self.every_millisecond {
            return Some(self.now + 1);
        }
        let nodes = self.c.nodes.iter().flat_map(|n| [n.up_at, n.soaked_at]);
        let pods = self
            .c
            .pods
            .iter()
            .flat_map(|p| [p.gone_at, p.runs_at, p.ready_at]);
        let open = self.drains.iter().filter(|d| d.ended.is_none());
        let drains = open.flat_map(|d| {
            let tries = d.next_try.values().map(|at| Some(*at));
            tries.chain([Some(d.started + self.plan.timeout), Some(d.given_up_at)])
        });
        let all = nodes.chain(pods).chain(drains.collect::<Vec<_>>());
        all.flatten().filter(|at| *at > self.now).min()
    }

    fn due(&mut self) {
        let now = Some(self.now);
        for node in &mut self.c.nodes {
            if node.up_at == now {
                node.up_at = None;
                node.exists = true;
                node.serves = true;
                node.cordoned = false;
                node.old = false;
                if node.for_next {
                    node.for_next = false;
                    self.hands += 1;
                }
            }
        }
        for pod in &mut self.c.pods {
            if pod.gone_at == now {
                pod.gone_at = None;
                pod.gone = true;
            }
        }
        for i in 0..self.c.pods.len() {
            let ready = self.template(i).ready;
            let now = self.now;
            let pod = &mut self.c.pods[i];
            if pod.runs_at == Some(now) {
                pod.runs_at = None;
                if !pod.terminating {
                    pod.phase = "Unready";
                    pod.ready_at = ready.map(|after| now + after);
                }
            }
        }
        for pod in &mut self.c.pods {
            if pod.ready_at == now {
                pod.ready_at = None;
                if !pod.terminating {
                    pod.phase = "Ready";
                }
            }
        }
    }

    fn settle(&mut self) {
        for id in 0..self.c.controllers.len() {
            self.controller(id);
        }
        loop {
            let mut any = false;
            let mut hopeless = BTreeSet::new();
            for i in 0..self.c.pods.len() {
                let pod = &self.c.pods[i];
                if pod.gone || pod.terminating || pod.phase != "Pending" || pod.node.is_some() {
                    continue;
                }
                if hopeless.contains(&pod.template) {
                    continue;
                }
                match self.best(i) {
                    Some(node) => {
                        let start = self.template(i).start;
                        self.c.pods[i].node = Some(node);
                        self.c.pods[i].runs_at = Some(self.now + start);
                        self.log.placements.push((self.now, i, node));
                        any = true;
                    }
                    None => {
                        hopeless.insert(self.c.pods[i].template);
                    }
                }
            }
            if !any {
                break;
            }
        }
    }
}
