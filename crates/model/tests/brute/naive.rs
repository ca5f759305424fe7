//! The rules of the drain simulation played as they are written: every question answered by reading
//! all pods, and, for every twentieth cluster, every millisecond looked at. Imports nothing of what it judges.

use std::collections::{BTreeMap, BTreeSet};

pub type Map = BTreeMap<&'static str, String>;

#[derive(Clone, Debug, Default)]
pub struct Node {
    pub name: String,
    pub labels: Map,
    /// Key, value, effect.
    pub taints: Vec<(&'static str, &'static str, &'static str)>,
    pub cpu: u64,
    pub memory: u64,
    pub most: usize,
    pub cordoned: bool,
    pub absent: bool,
    pub exists: bool,
    pub serves: bool,
    pub old: bool,
    pub up_at: Option<u64>,
    pub for_next: bool,
    pub soaked_at: Option<u64>,
}

/// Key, operator, values.
pub type Requirement = (&'static str, &'static str, Vec<String>);

#[derive(Clone, Debug, Default)]
pub struct Near {
    pub namespaces: Option<Vec<&'static str>>,
    pub selector: Option<Vec<Requirement>>,
    pub topology: &'static str,
}

#[derive(Clone, Debug, Default)]
pub struct Spread {
    pub skew: usize,
    pub domains: usize,
    pub topology: &'static str,
    pub selector: Option<Vec<Requirement>>,
    pub ignore_rules: bool,
    pub honor_taints: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Template {
    pub namespace: &'static str,
    pub labels: Map,
    pub cpu: u64,
    pub memory: u64,
    pub rules: Vec<Vec<Vec<Requirement>>>,
    /// Key, value, effect; nothing is any.
    pub tolerations: Vec<(
        Option<&'static str>,
        Option<&'static str>,
        Option<&'static str>,
    )>,
    pub near: Vec<Near>,
    pub apart: Vec<Near>,
    pub spread: Vec<Spread>,
    pub port: Option<u16>,
    pub start: u64,
    pub ready: Option<u64>,
    pub stop: u64,
}

#[derive(Clone, Debug)]
pub struct Pod {
    pub template: usize,
    pub controller: Option<usize>,
    pub ordinal: usize,
    pub node: Option<usize>,
    /// Pending, Unready, Ready, Finished.
    pub phase: &'static str,
    pub terminating: bool,
    pub mirror: bool,
    pub gone: bool,
    pub origin: usize,
    pub gone_at: Option<u64>,
    pub runs_at: Option<u64>,
    pub ready_at: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Controller {
    /// at-once, numbered, in-order, per-node, never.
    pub replaces: &'static str,
    pub replicas: usize,
    /// Which size, if it has one; several may share it.
    pub scale: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Budget {
    pub namespace: &'static str,
    pub selector: Option<Vec<Requirement>>,
    /// Is it minAvailable?
    pub min: bool,
    pub percent: bool,
    pub amount: u64,
    pub always: bool,
    pub gives_way: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub order: Vec<usize>,
    pub hands: usize,
    pub surge: Vec<usize>,
    /// reimage, reimage-all, delete, leave.
    pub after: &'static str,
    pub reimage: u64,
    pub machine_up: u64,
    pub soak: u64,
    pub timeout: u64,
    pub retry: u64,
    pub shun: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub templates: Vec<Template>,
    pub pods: Vec<Pod>,
    pub controllers: Vec<Controller>,
    pub scales: Vec<u64>,
    pub budgets: Vec<Budget>,
}

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

fn holds(selector: &[Requirement], labels: &Map) -> bool {
    for (key, operator, values) in selector {
        let value = labels.get(key);
        let fine = match *operator {
            "In" => value.is_some() && values.contains(value.unwrap()),
            "NotIn" => value.is_none() || !values.contains(value.unwrap()),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => value
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v > values[0].parse().unwrap()),
            "Lt" => value
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v < values[0].parse().unwrap()),
            _ => unreachable!(),
        };
        if !fine {
            return false;
        }
    }
    true
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

    fn controller(&mut self, id: usize) {
        let controller = self.c.controllers[id].clone();
        match controller.replaces {
            "at-once" => loop {
                let active = self
                    .c
                    .pods
                    .iter()
                    .filter(|p| {
                        p.controller == Some(id)
                            && !p.gone
                            && !p.terminating
                            && p.phase != "Finished"
                    })
                    .count();
                if active >= controller.replicas || self.owed[id].is_empty() {
                    return;
                }
                let of = self.owed[id].remove(0);
                self.make(of);
            },
            "numbered" | "in-order" => {
                for ordinal in 0..controller.replicas {
                    let of_number =
                        |p: &(usize, &Pod)| p.1.controller == Some(id) && p.1.ordinal == ordinal;
                    let there = self
                        .c
                        .pods
                        .iter()
                        .enumerate()
                        .filter(of_number)
                        .find(|(_, p)| !p.gone);
                    let ready = match there {
                        Some((_, pod)) => pod.phase == "Ready" && !pod.terminating,
                        None => {
                            let last = self.c.pods.iter().enumerate().rfind(of_number);
                            let last = last.map(|(i, _)| i);
                            if let Some(last) = last {
                                self.make(last);
                            }
                            false
                        }
                    };
                    if controller.replaces == "in-order" && !ready {
                        return;
                    }
                }
            }
            _ => {}
        }
    }

    fn make(&mut self, of: usize) {
        let old = self.c.pods[of].clone();
        self.c.pods.push(Pod {
            template: old.template,
            controller: old.controller,
            ordinal: old.ordinal,
            node: None,
            phase: "Pending",
            terminating: false,
            mirror: false,
            gone: false,
            origin: old.origin,
            gone_at: None,
            runs_at: None,
            ready_at: None,
        });
    }

    fn seated(&self) -> impl Iterator<Item = (usize, &Pod)> {
        self.c
            .pods
            .iter()
            .enumerate()
            .filter(|(_, p)| !p.gone && p.node.is_some() && p.phase != "Finished")
    }

    fn best(&self, i: usize) -> Option<usize> {
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

    fn drive(&mut self) {
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

    fn over(&self, i: usize) -> Vec<usize> {
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

    fn why(&self, d: usize, i: usize) -> String {
        if let Some((a, b)) = self.drains[d].given_up.get(&i) {
            return format!("two budgets {a} {b}");
        }
        match self.over(i).first() {
            Some(b) if !self.c.pods[i].terminating => format!("budget {b} {:?}", self.status(*b)),
            _ => "stopping".to_owned(),
        }
    }

    fn ask(&mut self) {
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
