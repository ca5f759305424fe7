//! The play itself: events in order, and what follows from each.
//!
//! The four steps of an instant are taken here; what each does is in the file of whom it is done to.

mod controllers;
mod drains;
mod evictions;
mod pods;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use super::budget::{Count, Status};
use super::seats::Seats;
use super::world::{
    BudgetId, ControllerId, Millis, NodeId, Phase, PodId, Replaces, ShapeId, World,
};
use super::{After, Drain, Homeless, Options, Outcome, Placed};

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

    fn status(&self, id: BudgetId) -> Status {
        let limit = self.world.budgets[id.at()].limit;
        self.budgets[id.at()].count.status(limit)
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
