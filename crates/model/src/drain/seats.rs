//! The scheduler: which nodes fit a pod, and which of them it gets.
//!
//! What a node must offer is decided as kube-scheduler's filters decide it. Its scores depend on
//! chance where they are equal; here the choice is fixed: the fewest `PreferNoSchedule` taints that
//! the pod does not bear, then the fewest pods of the same controller, then the least load, then
//! the first in the list.
//!
//! Not simulated: preemption, limits on the number of volumes of a node, `ScheduleAnyway` and
//! preferred affinity.

use std::collections::{BTreeMap, BTreeSet};

use super::near::{Neighbours, bears, bears_cordon, bears_named};
use super::world::{
    AnyOf, ControllerId, Effect, NodeId, OLD, PodId, Port, ShapeId, Toleration, World,
};

/// Load of a node in millionths of its allocatable, of cores and bytes each.
const FULL: u128 = 1_000_000;

/// A class that waits looks at nodes that opened since; above this many a search of all is cheaper.
const FEW: usize = 64;

/// A pod on a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sitting {
    pub(crate) pod: PodId,
    pub(crate) shape: ShapeId,
    controller: Option<ControllerId>,
    /// Not being deleted.
    stays: bool,
}

/// A node and what is on it.
#[derive(Clone, Debug)]
struct Seat {
    free: Vec<i128>,
    pods_left: i64,
    load: (u128, u128),
    key: u64,
    pods: Vec<Sitting>,
    exists: bool,
    serves: bool,
    cordoned: bool,
    old: bool,
}

/// Which nodes a pod may be on, whatever is on them.
#[derive(Clone, Debug)]
struct Profile {
    rules: Vec<AnyOf>,
    tolerations: Vec<Toleration>,
    /// Untolerated `PreferNoSchedule` taints of each node; nothing: not this node.
    table: Option<Vec<Option<u8>>>,
    /// The nodes of the table, when they are few.
    few: Option<Vec<NodeId>>,
    bears_cordon: bool,
    bears_old: bool,
}

/// Pods that any node fits or does not fit alike.
type Class = usize;
/// What makes them so: profile, requests, ports; the shape itself where its neighbours count.
type Alike<'a> = (usize, &'a [(usize, u64)], &'a [Port], Option<usize>);

/// The scheduler's view.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    seats: Vec<Seat>,
    profiles: Vec<Profile>,
    /// Profile and class of each shape.
    kinds: Vec<(usize, Class)>,
    neighbours: Neighbours,
    /// Serving nodes by load: plain ones, old ones, cordoned ones.
    by_load: [BTreeSet<(u64, NodeId)>; 3],
    /// Nodes on which something became free, in order.
    opened: Vec<NodeId>,
    /// Grows with every change of who is where.
    changes: u64,
    waiting: BTreeMap<Class, BTreeSet<PodId>>,
    /// How far each class has looked in vain.
    looked: Vec<Option<Looked>>,
    looked_all: (usize, u64),
}

#[derive(Clone, Copy, Debug)]
struct Looked {
    opened: usize,
    changes: u64,
    /// No node fits by itself, whoever is near.
    alone: bool,
}

impl Seats {
    pub(crate) fn new(world: &World) -> Self {
        let mut profiles: Vec<Profile> = Vec::new();
        let mut profile_ids: BTreeMap<(&Vec<AnyOf>, &Vec<Toleration>), usize> = BTreeMap::new();
        let mut class_ids: BTreeMap<Alike<'_>, Class> = BTreeMap::new();
        let neighbours = Neighbours::new(world);
        let mut kinds = Vec::with_capacity(world.shapes.len());
        for (i, shape) in world.shapes.iter().enumerate() {
            let profile = *profile_ids
                .entry((&shape.node_rules, &shape.tolerations))
                .or_insert_with(|| {
                    profiles.push(Profile {
                        rules: shape.node_rules.clone(),
                        tolerations: shape.tolerations.clone(),
                        table: None,
                        few: None,
                        bears_cordon: bears_cordon(world, &shape.tolerations),
                        bears_old: bears_named(
                            world,
                            &shape.tolerations,
                            OLD,
                            Effect::PreferNoSchedule,
                        ),
                    });
                    profiles.len() - 1
                });
            let alone = (!neighbours.is_local(ShapeId::next(i))).then_some(i);
            let next = class_ids.len();
            let class = *class_ids
                .entry((profile, &*shape.requests, &*shape.ports, alone))
                .or_insert(next);
            kinds.push((profile, class));
        }
        let seats = world
            .nodes
            .iter()
            .map(|node| Seat {
                free: node
                    .allocatable
                    .iter()
                    .map(|all| i128::from(*all))
                    .collect(),
                pods_left: i64::from(node.max_pods),
                load: (0, 0),
                key: 0,
                pods: Vec::new(),
                exists: false,
                serves: false,
                cordoned: node.cordoned,
                old: false,
            })
            .collect();
        let looked = vec![None; class_ids.len()];
        let mut new = Self {
            seats,
            profiles,
            kinds,
            neighbours,
            by_load: [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()],
            opened: Vec::new(),
            changes: 0,
            waiting: BTreeMap::new(),
            looked,
            looked_all: (usize::MAX, 0),
        };
        for i in 0..world.nodes.len() {
            new.rekey(world, NodeId::next(i));
        }
        new
    }

    /// Pods on a node.
    pub(crate) fn on(&self, node: NodeId) -> impl Iterator<Item = &Sitting> {
        self.seats[node.at()].pods.iter()
    }

    /// Does the node exist, serve, and is it cordoned or old?
    pub(crate) fn set_node(
        &mut self,
        world: &World,
        node: NodeId,
        exists: bool,
        serves: bool,
        cordoned: bool,
        old: bool,
    ) {
        self.unlist(node);
        let seat = &mut self.seats[node.at()];
        seat.exists = exists;
        seat.serves = serves;
        seat.cordoned = cordoned;
        seat.old = old;
        let pods: Vec<ShapeId> = seat
            .pods
            .iter()
            .filter(|sitting| sitting.stays)
            .map(|sitting| sitting.shape)
            .collect();
        self.list(node);
        self.neighbours.node(world, node, exists, cordoned, &pods);
        self.opened.push(node);
        self.changes += 1;
    }

    /// Is the node cordoned?
    pub(crate) fn is_cordoned(&self, node: NodeId) -> bool {
        self.seats[node.at()].cordoned
    }

    /// Puts a pod on a node.
    pub(crate) fn sit(
        &mut self,
        world: &World,
        pod: PodId,
        shape: ShapeId,
        controller: Option<ControllerId>,
        node: NodeId,
        stays: bool,
    ) {
        self.unlist(node);
        self.take(world, shape, node, true);
        self.seats[node.at()].pods.push(Sitting {
            pod,
            shape,
            controller,
            stays,
        });
        self.rekey(world, node);
        self.list(node);
        self.neighbours.moved(world, shape, node, true, stays);
        self.changes += 1;
    }

    /// A pod on a node is being deleted.
    pub(crate) fn stops(&mut self, world: &World, pod: PodId, node: NodeId) {
        let seat = &mut self.seats[node.at()];
        if let Some(sitting) = seat.pods.iter_mut().find(|sitting| sitting.pod == pod)
            && sitting.stays
        {
            sitting.stays = false;
            let shape = sitting.shape;
            self.neighbours.tally(world, shape, node, false);
            self.changes += 1;
        }
    }

    /// A pod has left its node.
    pub(crate) fn leaves(&mut self, world: &World, pod: PodId, node: NodeId) {
        let seat = &mut self.seats[node.at()];
        let Some(at) = seat.pods.iter().position(|sitting| sitting.pod == pod) else {
            return;
        };
        let sitting = seat.pods.swap_remove(at);
        self.unlist(node);
        self.take(world, sitting.shape, node, false);
        self.rekey(world, node);
        self.list(node);
        self.neighbours
            .moved(world, sitting.shape, node, false, sitting.stays);
        self.opened.push(node);
        self.changes += 1;
    }

    /// A pod wants a node.
    pub(crate) fn wants(&mut self, pod: PodId, shape: ShapeId) {
        let class = self.kinds[shape.at()].1;
        self.waiting.entry(class).or_default().insert(pod);
        self.looked_all = (usize::MAX, 0);
    }

    /// A pod wants none any more.
    pub(crate) fn gives_up(&mut self, pod: PodId, shape: ShapeId) {
        let class = self.kinds[shape.at()].1;
        if let Some(pods) = self.waiting.get_mut(&class) {
            pods.remove(&pod);
            if pods.is_empty() {
                self.waiting.remove(&class);
            }
        }
    }

    /// Places pods in the order of their numbers until no more fits. `of`: shape and controller.
    pub(crate) fn place(
        &mut self,
        world: &World,
        of: impl Fn(PodId) -> (ShapeId, Option<ControllerId>),
    ) -> Vec<(PodId, NodeId)> {
        let mut placed = Vec::new();
        loop {
            if self.waiting.is_empty() || self.looked_all == (self.opened.len(), self.changes) {
                return placed;
            }
            let before = placed.len();
            let mut first: BTreeSet<(PodId, Class)> = self
                .waiting
                .iter()
                .filter(|(class, _)| self.may_fit(**class))
                .filter_map(|(class, pods)| Some((*pods.first()?, *class)))
                .collect();
            while let Some((pod, class)) = first.pop_first() {
                let (shape, controller) = of(pod);
                let Some(node) = self.choose(world, shape, controller, class) else {
                    continue;
                };
                self.sit(world, pod, shape, controller, node, true);
                placed.push((pod, node));
                self.gives_up(pod, shape);
                if let Some(next) = self.waiting.get(&class).and_then(BTreeSet::first) {
                    first.insert((*next, class));
                }
            }
            if placed.len() == before {
                self.looked_all = (self.opened.len(), self.changes);
                return placed;
            }
        }
    }

    fn may_fit(&self, class: Class) -> bool {
        self.looked[class].is_none_or(|looked| {
            looked.opened < self.opened.len() || (!looked.alone && looked.changes < self.changes)
        })
    }

    /// The node for a pod, or a note of how far was looked.
    fn choose(
        &mut self,
        world: &World,
        shape: ShapeId,
        controller: Option<ControllerId>,
        class: Class,
    ) -> Option<NodeId> {
        let profile = self.kinds[shape.at()].0;
        self.fill(world, profile);
        let mut best = Best::default();
        match self.looked[class] {
            Some(Looked {
                opened,
                alone: true,
                ..
            }) if self.opened.len() - opened <= FEW => {
                for i in opened..self.opened.len() {
                    let node = self.opened[i];
                    self.consider(world, shape, controller, node, &mut best);
                }
            }
            _ => self.search(world, shape, controller, profile, &mut best),
        }
        if best.node.is_none() {
            self.looked[class] = Some(Looked {
                opened: self.opened.len(),
                changes: self.changes,
                alone: !best.fits_alone,
            });
        }
        best.node.map(|(_, _, _, node)| node)
    }

    fn search(
        &self,
        world: &World,
        shape: ShapeId,
        controller: Option<ControllerId>,
        profile: usize,
        best: &mut Best,
    ) {
        let profile = &self.profiles[profile];
        if let Some(few) = &profile.few {
            for node in few {
                self.consider(world, shape, controller, *node, best);
            }
            return;
        }
        let [plain, old, cordoned] = &self.by_load;
        for (list, least) in [(plain, 0), (old, u8::from(!profile.bears_old))] {
            // Nothing in this list can be better than what is known.
            if best.node.is_some_and(|(prefer, _, _, _)| prefer < least) {
                continue;
            }
            let mut here = Best::default();
            for (_, node) in list {
                self.consider(world, shape, controller, *node, &mut here);
                // The list ascends by load, so the first of the best kind is the best.
                if here
                    .node
                    .is_some_and(|(prefer, own, _, _)| prefer == least && own == 0)
                {
                    break;
                }
            }
            best.fits_alone |= here.fits_alone;
            if let Some(found) = here.node
                && best.node.is_none_or(|known| found < known)
            {
                best.node = Some(found);
            }
        }
        if profile.bears_cordon {
            for (_, node) in cordoned {
                self.consider(world, shape, controller, *node, best);
            }
        }
    }

    fn consider(
        &self,
        world: &World,
        shape: ShapeId,
        controller: Option<ControllerId>,
        node: NodeId,
        best: &mut Best,
    ) {
        let profile = &self.profiles[self.kinds[shape.at()].0];
        let seat = &self.seats[node.at()];
        let table = profile.table.as_deref().unwrap_or_default();
        let Some(Some(prefer)) = table.get(node.at()) else {
            return;
        };
        if !seat.serves
            || (seat.cordoned && !profile.bears_cordon)
            || !self.fits(world, shape, node)
        {
            return;
        }
        best.fits_alone = true;
        if !self.neighbours.lets_in(world, shape, node) {
            return;
        }
        let prefer = prefer + u8::from(seat.old && !profile.bears_old);
        let own = controller.map_or(0, |id| {
            let own = |sitting: &&Sitting| sitting.stays && sitting.controller == Some(id);
            seat.pods.iter().filter(own).count()
        });
        let found = (prefer, own, seat.key, node);
        if best.node.is_none_or(|known| found < known) {
            best.node = Some(found);
        }
    }

    fn fits(&self, world: &World, shape: ShapeId, node: NodeId) -> bool {
        let seat = &self.seats[node.at()];
        let shape = &world.shapes[shape.at()];
        seat.pods_left > 0
            && shape.requests.iter().all(|(resource, amount)| {
                let free = seat.free.get(*resource).copied().unwrap_or(0);
                *amount == 0 || i128::from(*amount) <= free
            })
            && (shape.ports.is_empty() || !self.ports_taken(world, &shape.ports, node))
    }

    fn ports_taken(&self, world: &World, wanted: &[Port], node: NodeId) -> bool {
        let clash = |a: &Port, b: &Port| {
            a.protocol == b.protocol
                && a.number == b.number
                && (a.address.is_none() || b.address.is_none() || a.address == b.address)
        };
        self.on(node).any(|sitting| {
            let taken = &world.shapes[sitting.shape.at()].ports;
            taken
                .iter()
                .any(|port| wanted.iter().any(|want| clash(want, port)))
        })
    }

    /// Why no node takes a pod: each reason with the number of nodes, as kube-scheduler says it.
    pub(crate) fn why_not(&self, world: &World, shape: ShapeId) -> Vec<(Reason, u32)> {
        let mut reasons: BTreeMap<Reason, u32> = BTreeMap::new();
        let about = &world.shapes[shape.at()];
        for (i, seat) in self
            .seats
            .iter()
            .enumerate()
            .filter(|(_, seat)| seat.exists)
        {
            let id = NodeId::next(i);
            let node = &world.nodes[i];
            let cordoned = seat.cordoned && !bears_cordon(world, &about.tolerations);
            let reason = if !seat.serves {
                Reason::Away
            } else if cordoned {
                Reason::Cordoned
            } else if !bears(world, &about.tolerations, &node.taints, false) {
                Reason::Taint
            } else if !world.allows(&about.node_rules, node) {
                Reason::NodeRules
            } else if !self.fits(world, shape, id) {
                Reason::Full
            } else if !self.neighbours.lets_in(world, shape, id) {
                Reason::Neighbours
            } else {
                continue;
            };
            *reasons.entry(reason).or_default() += 1;
        }
        reasons.into_iter().collect()
    }

    /// Fills the table of a profile.
    fn fill(&mut self, world: &World, profile: usize) {
        let profile = &mut self.profiles[profile];
        if profile.table.is_some() {
            return;
        }
        let table: Vec<Option<u8>> = world
            .nodes
            .iter()
            .map(|node| {
                let allowed = world.allows(&profile.rules, node)
                    && bears(world, &profile.tolerations, &node.taints, false);
                let shunned = node.taints.iter().filter(|taint| {
                    taint.effect == Effect::PreferNoSchedule
                        && !profile.tolerations.iter().any(|one| one.bears(taint))
                });
                allowed.then(|| u8::try_from(shunned.count()).unwrap_or(u8::MAX - 1))
            })
            .collect();
        let allowed: Vec<NodeId> = (0..table.len())
            .filter(|i| table[*i].is_some())
            .map(NodeId::next)
            .collect();
        // A list of an eighth of the nodes is read faster than the search by load skips the rest.
        profile.few = (allowed.len() < table.len() / 8).then_some(allowed);
        profile.table = Some(table);
    }

    fn take(&mut self, world: &World, shape: ShapeId, node: NodeId, comes: bool) {
        let seat = &mut self.seats[node.at()];
        let shape = &world.shapes[shape.at()];
        for (resource, amount) in &shape.requests {
            if let Some(free) = seat.free.get_mut(*resource) {
                *free += if comes {
                    -i128::from(*amount)
                } else {
                    i128::from(*amount)
                };
            }
        }
        seat.pods_left += if comes { -1 } else { 1 };
        let (cpu, memory) = (u128::from(shape.load.0), u128::from(shape.load.1));
        seat.load = if comes {
            (seat.load.0 + cpu, seat.load.1 + memory)
        } else {
            (seat.load.0 - cpu, seat.load.1 - memory)
        };
    }

    fn rekey(&mut self, world: &World, node: NodeId) {
        let seat = &mut self.seats[node.at()];
        let all = &world.nodes[node.at()].allocatable;
        let part = |used: u128, all: Option<&u64>| match all {
            Some(all) if *all > 0 => used * FULL / u128::from(*all),
            _ => FULL,
        };
        let key = part(seat.load.0, all.first()) + part(seat.load.1, all.get(1));
        seat.key = u64::try_from(key).unwrap_or(u64::MAX);
    }

    fn list_of(&mut self, node: NodeId) -> Option<&mut BTreeSet<(u64, NodeId)>> {
        let seat = &self.seats[node.at()];
        let list = match (seat.serves, seat.cordoned, seat.old) {
            (false, _, _) => return None,
            (true, true, _) => 2,
            (true, false, true) => 1,
            (true, false, false) => 0,
        };
        self.by_load.get_mut(list)
    }

    fn unlist(&mut self, node: NodeId) {
        let key = self.seats[node.at()].key;
        if let Some(list) = self.list_of(node) {
            list.remove(&(key, node));
        }
    }

    fn list(&mut self, node: NodeId) {
        let key = self.seats[node.at()].key;
        if let Some(list) = self.list_of(node) {
            list.insert((key, node));
        }
    }
}

/// Why a node does not take a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is being reimaged.
    Away,
    /// It is cordoned.
    Cordoned,
    /// It has a taint that the pod does not bear.
    Taint,
    /// The pod's node selector, affinity or volumes exclude it.
    NodeRules,
    /// Too little is free.
    Full,
    /// Affinity, anti-affinity or spread exclude it.
    Neighbours,
}

#[derive(Default)]
struct Best {
    node: Option<(u8, usize, u64, NodeId)>,
    fits_alone: bool,
}
