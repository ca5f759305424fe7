//! The play itself: events in order, and what follows from each.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use super::budget::{self, Answer, Count, Size, Status};
use super::seats::Seats;
use super::world::{
    BudgetId, ControllerId, Millis, NodeId, Phase, PodId, Replaces, ShapeId, World,
};
use super::{After, Blocked, Drain, Evicted, Homeless, Options, Outcome, Placed, Why};

/// Something that is due, in the order within an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    NodeUp(NodeId),
    Gone(PodId),
    Runs(PodId),
    Ready(PodId),
    /// A soak is over.
    Soaked(NodeId),
    /// Only given up pods may be left of a drain.
    Check(usize),
    /// A drain's time is over.
    Late(usize),
    /// By drain, then by pod.
    Evict(usize, PodId),
}

#[derive(Clone, Debug)]
struct PodState {
    shape: ShapeId,
    controller: Option<ControllerId>,
    ordinal: u32,
    node: Option<NodeId>,
    phase: Phase,
    terminating: bool,
    gone: bool,
    origin: PodId,
    /// The drain that wants it gone.
    drain: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct ControllerState {
    /// Pods that are neither being deleted nor finished.
    active: u32,
    /// Pods by their numbers.
    numbered: Vec<Option<PodId>>,
    /// Origins of pods that are to be replaced.
    owed: VecDeque<PodId>,
}

#[derive(Clone, Debug, Default)]
struct BudgetState {
    count: Count,
    /// Refused pods with the time of the refusal.
    refused: BTreeMap<PodId, Millis>,
}

#[derive(Clone, Debug)]
struct DrainState {
    result: Drain,
    /// Listed pods that are not gone, those given up included.
    left: BTreeSet<PodId>,
    given_up: BTreeMap<PodId, (BudgetId, BudgetId)>,
    /// First refusals by budgets that give way.
    handing_over: BTreeMap<PodId, Millis>,
    ended: bool,
}

impl DrainState {
    fn nothing_left(&self) -> bool {
        self.left.len() == self.given_up.len()
    }
}

pub(super) struct Run<'a> {
    world: &'a World,
    options: &'a Options,
    now: Millis,
    agenda: BinaryHeap<Reverse<(Millis, Due)>>,
    seats: Seats,
    pods: Vec<PodState>,
    controllers: Vec<ControllerState>,
    dirty: BTreeSet<ControllerId>,
    budgets: Vec<BudgetState>,
    moved: BTreeSet<BudgetId>,
    over: Vec<Vec<BudgetId>>,
    /// Pods of each budget, those that are gone included.
    selected: Vec<Vec<PodId>>,
    /// Pods that had finished before the beginning.
    finished: BTreeMap<NodeId, Vec<PodId>>,
    drains: Vec<DrainState>,
    /// Drains that may have ended.
    check: BTreeSet<usize>,
    /// Nodes that are being reimaged for a next one.
    buffers: BTreeSet<NodeId>,
    queue: VecDeque<NodeId>,
    hands: u32,
    /// Hands that come back with a reimaged node: each has a next node for itself.
    returning: usize,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    pub(super) fn new(world: &'a World, options: &'a Options) -> Self {
        let mut run = Self {
            world,
            options,
            now: 0,
            agenda: BinaryHeap::new(),
            seats: Seats::new(world),
            pods: Vec::with_capacity(world.pods.len() * 2),
            controllers: vec![ControllerState::default(); world.controllers.len()],
            dirty: BTreeSet::new(),
            budgets: vec![BudgetState::default(); world.budgets.len()],
            moved: BTreeSet::new(),
            over: world.budgets_by_shape(),
            selected: vec![Vec::new(); world.budgets.len()],
            finished: BTreeMap::new(),
            drains: Vec::new(),
            check: BTreeSet::new(),
            buffers: BTreeSet::new(),
            queue: options.order.iter().copied().collect(),
            hands: options.hands.max(1),
            returning: 0,
            outcome: Outcome::default(),
        };
        run.furnish();
        run
    }

    fn furnish(&mut self) {
        let world = self.world;
        let old: BTreeSet<NodeId> = self.options.order.iter().copied().collect();
        for (i, node) in world.nodes.iter().enumerate() {
            let id = NodeId::next(i);
            let old = self.options.shun_old && old.contains(&id);
            let here = !node.absent;
            self.seats
                .set_node(world, id, here, here, node.cordoned, old);
        }
        for (i, controller) in world.controllers.iter().enumerate() {
            if let Some(state) = self.controllers.get_mut(i)
                && matches!(controller.replaces, Replaces::Numbered | Replaces::InOrder)
            {
                state.numbered = vec![None; controller.replicas as usize];
            }
            self.dirty.insert(ControllerId::next(i));
        }
        for pod in &world.pods {
            self.enter(PodState {
                shape: pod.shape,
                controller: pod.controller,
                ordinal: pod.ordinal,
                node: pod.node,
                phase: pod.phase,
                terminating: pod.terminating,
                gone: false,
                origin: PodId::next(self.pods.len()),
                drain: None,
            });
        }
    }

    /// A pod appears.
    fn enter(&mut self, pod: PodState) -> PodId {
        let id = PodId::next(self.pods.len());
        let shape = &self.world.shapes[pod.shape.at()];
        let size = self.size(pod.controller);
        for budget in &self.over[pod.shape.at()] {
            let count = &mut self.budgets[budget.at()].count;
            count.add(size, self.world);
            if pod.phase == Phase::Ready && !pod.terminating {
                count.healthy(true);
            }
            self.moved.insert(*budget);
            self.selected[budget.at()].push(id);
        }
        if let Some(controller) = pod.controller {
            let state = &mut self.controllers[controller.at()];
            if !pod.terminating && pod.phase != Phase::Finished {
                state.active += 1;
            }
            if let Some(place) = state.numbered.get_mut(pod.ordinal as usize) {
                *place = Some(id);
            }
        }
        match pod.node {
            Some(node) if pod.phase == Phase::Finished => {
                self.finished.entry(node).or_default().push(id);
            }
            Some(node) => {
                self.seats.sit(
                    self.world,
                    id,
                    pod.shape,
                    pod.controller,
                    node,
                    !pod.terminating,
                );
            }
            None if !pod.terminating && pod.phase == Phase::Pending => {
                self.seats.wants(id, pod.shape);
            }
            _ => {}
        }
        if pod.terminating {
            self.plan(shape.stop, Due::Gone(id));
        } else if pod.node.is_some() && pod.phase == Phase::Pending {
            self.plan(shape.start, Due::Runs(id));
        }
        self.pods.push(pod);
        id
    }

    fn size(&self, controller: Option<ControllerId>) -> Size {
        let Some(id) = controller else {
            return Size::Unmanaged;
        };
        match self.world.controllers.get(id.at()) {
            None => Size::Unmanaged,
            Some(controller) => controller.scale.map_or(Size::Missing, Size::Of),
        }
    }

    fn plan(&mut self, after: Millis, due: Due) {
        self.agenda
            .push(Reverse((self.now.saturating_add(after), due)));
    }

    pub(super) fn play(mut self) -> Outcome {
        for node in &self.options.surge {
            self.agenda.push(Reverse((
                self.options.machine_up.max(1),
                Due::NodeUp(*node),
            )));
        }
        self.settle(true);
        if self.options.surge.is_empty() {
            self.hands_take();
        }
        self.evict();
        self.settle(false);
        while let Some(Reverse((at, _))) = self.agenda.peek() {
            self.now = *at;
            while let Some(Reverse((at, due))) = self.agenda.peek().copied()
                && at == self.now
                && due < Due::Soaked(NodeId(0))
            {
                self.agenda.pop();
                self.happen(due);
            }
            self.settle(true);
            self.hands_take();
            self.evict();
            self.settle(false);
        }
        self.finish()
    }

    /// Step 1.
    fn happen(&mut self, due: Due) {
        match due {
            Due::NodeUp(node) => {
                self.seats
                    .set_node(self.world, node, true, true, false, false);
                if self.buffers.remove(&node) {
                    self.returning -= 1;
                    self.hands += 1;
                }
            }
            Due::Gone(pod) => self.gone(pod),
            Due::Runs(id) => {
                let world = self.world;
                let pod = &mut self.pods[id.at()];
                if pod.terminating {
                    return;
                }
                pod.phase = Phase::Unready;
                if let Some(ready) = world.shapes[pod.shape.at()].ready {
                    self.plan(ready, Due::Ready(id));
                }
            }
            Due::Ready(id) => {
                let pod = &mut self.pods[id.at()];
                if pod.terminating {
                    return;
                }
                pod.phase = Phase::Ready;
                let (shape, controller) = (pod.shape, pod.controller);
                self.count_healthy(shape, true);
                self.dirty.extend(controller);
            }
            Due::Soaked(_) | Due::Check(_) | Due::Late(_) | Due::Evict(..) => {}
        }
    }

    fn count_healthy(&mut self, shape: ShapeId, more: bool) {
        for budget in &self.over[shape.at()] {
            self.budgets[budget.at()].count.healthy(more);
            self.moved.insert(*budget);
        }
    }

    fn gone(&mut self, id: PodId) {
        let pod = &mut self.pods[id.at()];
        pod.gone = true;
        let (shape, controller, node, drain) = (pod.shape, pod.controller, pod.node, pod.drain);
        let (ordinal, phase, origin) = (pod.ordinal as usize, pod.phase, pod.origin);
        if let Some(node) = node
            && phase != Phase::Finished
        {
            self.seats.leaves(self.world, id, node);
        }
        let size = self.size(controller);
        for budget in &self.over[shape.at()] {
            self.budgets[budget.at()].count.remove(size, self.world);
            self.moved.insert(*budget);
        }
        if let Some(controller) = controller {
            let state = &mut self.controllers[controller.at()];
            if let Some(place) = state.numbered.get_mut(ordinal)
                && *place == Some(id)
            {
                *place = None;
                state.owed.push_back(origin);
            }
            self.dirty.insert(controller);
        }
        if let Some(drain) = drain {
            self.drains[drain].left.remove(&id);
            self.check.insert(drain);
        }
    }

    /// A pod begins to stop.
    fn stop(&mut self, id: PodId) {
        let world = self.world;
        let pod = &mut self.pods[id.at()];
        if pod.terminating {
            return;
        }
        pod.terminating = true;
        let (shape, controller, node) = (pod.shape, pod.controller, pod.node);
        let (phase, origin) = (pod.phase, pod.origin);
        if phase == Phase::Ready {
            self.count_healthy(shape, false);
        }
        if let Some(node) = node
            && phase != Phase::Finished
        {
            self.seats.stops(world, id, node);
        }
        if let Some(controller) = controller
            && phase != Phase::Finished
        {
            let state = &mut self.controllers[controller.at()];
            state.active -= 1;
            if state.numbered.is_empty() {
                state.owed.push_back(origin);
            }
            self.dirty.insert(controller);
        }
        // Nothing of a finished pod is left to stop.
        let stop = match phase {
            Phase::Finished => 1,
            _ => world.shapes[shape.at()].stop,
        };
        self.plan(stop, Due::Gone(id));
    }

    /// Step 2. `before`: evictions of this instant are still to come.
    fn settle(&mut self, before: bool) {
        while let Some(id) = self.dirty.pop_first() {
            self.reconcile(id);
        }
        let pods = &self.pods;
        let placed = self.seats.place(self.world, |id| {
            let pod = &pods[id.at()];
            (pod.shape, pod.controller)
        });
        for (id, node) in placed {
            let pod = &mut self.pods[id.at()];
            pod.node = Some(node);
            let start = self.world.shapes[pod.shape.at()].start;
            self.plan(start, Due::Runs(id));
            self.outcome.placements.push(Placed {
                at: self.now,
                pod: id,
                node,
            });
        }
        self.wake(if before { self.now } else { self.now + 1 });
    }

    /// Refused pods whose budgets moved are asked for at their next time, not before `from`.
    fn wake(&mut self, from: Millis) {
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

    fn reconcile(&mut self, id: ControllerId) {
        let about = &self.world.controllers[id.at()];
        match about.replaces {
            Replaces::PerNode | Replaces::Never => {}
            Replaces::AtOnce => {
                while self.controllers[id.at()].active < about.replicas {
                    let Some(origin) = self.controllers[id.at()].owed.pop_front() else {
                        // Pods that were missing from the beginning are not this drain's.
                        break;
                    };
                    self.replace(id, origin, self.pods[origin.at()].ordinal);
                }
            }
            Replaces::Numbered | Replaces::InOrder => {
                for ordinal in 0..about.replicas {
                    let there = self.controllers[id.at()].numbered[ordinal as usize];
                    let made = match there {
                        Some(pod) => pod,
                        None => {
                            let owed = &mut self.controllers[id.at()].owed;
                            let pods = &self.pods;
                            let found = owed
                                .iter()
                                .position(|origin| pods[origin.at()].ordinal == ordinal);
                            let Some(origin) = found.and_then(|at| owed.remove(at)) else {
                                if about.replaces == Replaces::InOrder {
                                    return;
                                }
                                continue;
                            };
                            self.replace(id, origin, ordinal)
                        }
                    };
                    let pod = &self.pods[made.at()];
                    let ready = pod.phase == Phase::Ready && !pod.terminating;
                    if about.replaces == Replaces::InOrder && !ready {
                        return;
                    }
                }
            }
        }
    }

    fn replace(&mut self, controller: ControllerId, origin: PodId, ordinal: u32) -> PodId {
        let shape = self.pods[origin.at()].shape;
        self.outcome.origins.push(origin);
        self.enter(PodState {
            shape,
            controller: Some(controller),
            ordinal,
            node: None,
            phase: Phase::Pending,
            terminating: false,
            gone: false,
            origin,
            drain: None,
        })
    }

    /// Step 3.
    fn hands_take(&mut self) {
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

    fn status(&self, id: BudgetId) -> Status {
        let limit = self.world.budgets[id.at()].limit;
        self.budgets[id.at()].count.status(limit)
    }

    /// Step 4.
    fn evict(&mut self) {
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

    fn finish(mut self) -> Outcome {
        self.outcome.drains = self.drains.into_iter().map(|drain| drain.result).collect();
        for (i, pod) in self.pods.iter().enumerate() {
            if pod.gone || pod.terminating || pod.node.is_some() || pod.phase != Phase::Pending {
                continue;
            }
            self.outcome.homeless.push(Homeless {
                pod: PodId::next(i),
                origin: pod.origin,
                shape: pod.shape,
                already: i < self.world.pods.len(),
                lacking: self.seats.why_not(self.world, pod.shape),
            });
        }
        self.outcome
    }
}

/// The status of every budget at the beginning.
pub(super) fn statuses(world: &World) -> Vec<Status> {
    let options = Options {
        order: Vec::new(),
        hands: 1,
        surge: Vec::new(),
        after: After::Leave,
        machine_up: 1,
        soak: 0,
        timeout: 1,
        retry: 1,
        shun_old: false,
    };
    let run = Run::new(world, &options);
    (0..world.budgets.len())
        .map(|i| run.status(BudgetId::next(i)))
        .collect()
}
