//! Which pods are where, as far as affinity, anti-affinity and spread ask.
//!
//! Counts are kept by place (the value of a topology label) and changed with each pod that comes or
//! goes, so a question costs a few look-ups whatever the size of the cluster.

use std::collections::BTreeMap;

use super::world::{AnyOf, Effect, Near, NodeId, Shape, ShapeId, Spread, Taint, Text, Toleration};
use super::world::{UNSCHEDULABLE, World};

/// Pods by place.
type Places = BTreeMap<Text, u32>;

/// A binding spread as all shapes see it that ask the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scope {
    namespace: Text,
    topology: Text,
    /// A node without all of these does not count.
    keys: Vec<Text>,
    selector: Option<Vec<super::world::Requirement>>,
    rules: Vec<AnyOf>,
    honor: Option<Vec<Toleration>>,
}

/// Pods of one scope by place, over the nodes that count.
#[derive(Clone, Debug)]
struct Tally {
    scope: Scope,
    /// Nodes and pods of each place.
    places: BTreeMap<Text, (u32, u32)>,
    /// Places by their pods.
    levels: BTreeMap<u32, u32>,
    counts: Vec<bool>,
}

/// What a shape asks of a scope.
#[derive(Clone, Debug)]
struct Asked {
    tally: usize,
    topology: Text,
    max_skew: u32,
    min_domains: u32,
    own: u32,
}

/// What a shape asks and what it is counted in.
#[derive(Clone, Debug, Default)]
struct Of {
    /// Terms of `apart` that it holds.
    holds: Vec<usize>,
    /// Terms of `apart` of anybody that mean it.
    meant: Vec<usize>,
    /// Its group of `near` terms, and whether it is a member itself.
    group: Option<(usize, bool)>,
    /// Groups that it is a member of.
    member: Vec<usize>,
    /// Spreads that bind it.
    asks: Vec<Asked>,
    /// Spreads that count it.
    tallied: Vec<usize>,
}

/// All counts.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours {
    shapes: Vec<Of>,
    /// Topology label of each `apart` term, pods that it means, pods that hold it.
    terms: Vec<(Text, Places, Places)>,
    /// Topology labels of each group, with members by place.
    groups: Vec<Vec<(Text, Places)>>,
    tallies: Vec<Tally>,
}

impl Neighbours {
    pub(crate) fn new(world: &World) -> Self {
        let mut shapes = vec![Of::default(); world.shapes.len()];
        let mut by_namespace: BTreeMap<Text, Vec<usize>> = BTreeMap::new();
        for (i, shape) in world.shapes.iter().enumerate() {
            by_namespace.entry(shape.namespace).or_default().push(i);
        }
        let meant = |near: &[&Near]| -> Vec<usize> {
            let fits = |i: &usize| {
                let shape = world.shapes.get(*i);
                shape.is_some_and(|shape| near.iter().all(|near| world.is_near(near, shape)))
            };
            match near.first().and_then(|near| near.namespaces.as_ref()) {
                Some(names) => {
                    let mut found: Vec<usize> = names
                        .iter()
                        .filter_map(|name| by_namespace.get(name))
                        .flatten()
                        .copied()
                        .filter(fits)
                        .collect();
                    found.sort_unstable();
                    found.dedup();
                    found
                }
                None => (0..world.shapes.len()).filter(fits).collect(),
            }
        };
        let mut term_ids: BTreeMap<&Near, usize> = BTreeMap::new();
        let mut group_ids: BTreeMap<&[Near], usize> = BTreeMap::new();
        let mut scope_ids: BTreeMap<Scope, usize> = BTreeMap::new();
        let mut terms = Vec::new();
        let mut groups = Vec::new();
        let mut tallies: Vec<Tally> = Vec::new();
        for (i, shape) in world.shapes.iter().enumerate() {
            for near in &shape.apart {
                let id = *term_ids.entry(near).or_insert_with(|| {
                    terms.push((near.topology, Places::new(), Places::new()));
                    for j in meant(&[near]) {
                        shapes[j].meant.push(terms.len() - 1);
                    }
                    terms.len() - 1
                });
                shapes[i].holds.push(id);
            }
            if !shape.near.is_empty() {
                let id = *group_ids.entry(&shape.near).or_insert_with(|| {
                    let keys = shape.near.iter().map(|near| (near.topology, Places::new()));
                    groups.push(keys.collect());
                    for j in meant(&shape.near.iter().collect::<Vec<_>>()) {
                        shapes[j].member.push(groups.len() - 1);
                    }
                    groups.len() - 1
                });
                let itself = shapes[i].member.contains(&id);
                shapes[i].group = Some((id, itself));
            }
            for spread in &shape.spread {
                let scope = Scope::of(shape, spread);
                let id = match scope_ids.get(&scope) {
                    Some(id) => *id,
                    None => {
                        let id = tallies.len();
                        for j in by_namespace.get(&shape.namespace).into_iter().flatten() {
                            if scope.counts(world, &world.shapes[*j]) {
                                shapes[*j].tallied.push(id);
                            }
                        }
                        scope_ids.insert(scope.clone(), id);
                        tallies.push(Tally {
                            scope,
                            places: BTreeMap::new(),
                            levels: BTreeMap::new(),
                            counts: vec![false; world.nodes.len()],
                        });
                        id
                    }
                };
                let own = u32::from(shapes[i].tallied.contains(&id));
                shapes[i].asks.push(Asked {
                    tally: id,
                    topology: spread.topology,
                    max_skew: spread.max_skew,
                    min_domains: spread.min_domains,
                    own,
                });
            }
        }
        Self {
            shapes,
            terms,
            groups,
            tallies,
        }
    }

    /// Does a place for this shape depend on nothing but the node itself?
    pub(crate) fn is_local(&self, shape: ShapeId) -> bool {
        let of = &self.shapes[shape.at()];
        of.meant.is_empty() && of.holds.is_empty() && of.group.is_none() && of.asks.is_empty()
    }

    /// Would its neighbours let a pod onto the node?
    pub(crate) fn lets_in(&self, world: &World, shape: ShapeId, node: NodeId) -> bool {
        let of = &self.shapes[shape.at()];
        let labels = &world.nodes[node.at()].labels;
        let place = |key| World::label(labels, key);
        let many = |places: &Places, at: Text| places.get(&at).copied().unwrap_or(0);
        let held = |id: &usize| {
            let (key, _, holders) = &self.terms[*id];
            place(*key).is_some_and(|at| many(holders, at) > 0)
        };
        let hated = |id: &usize| {
            let (key, meant, _) = &self.terms[*id];
            place(*key).is_some_and(|at| many(meant, at) > 0)
        };
        if of.meant.iter().any(held) || of.holds.iter().any(hated) {
            return false;
        }
        if let Some((id, itself)) = of.group {
            let group = &self.groups[id];
            if group.iter().any(|(key, _)| place(*key).is_none()) {
                return false;
            }
            let near =
                |(key, places): &(Text, Places)| place(*key).is_some_and(|at| many(places, at) > 0);
            // The first of its kind may go anywhere.
            let first = itself && group.iter().all(|(_, places)| places.is_empty());
            if !first && !group.iter().all(near) {
                return false;
            }
        }
        of.asks.iter().all(|asked| {
            let tally = &self.tallies[asked.tally];
            let Some(at) = place(asked.topology) else {
                return false;
            };
            let here = tally.places.get(&at).map_or(0, |(_, pods)| *pods);
            let few = u32::try_from(tally.places.len()).unwrap_or(u32::MAX) < asked.min_domains;
            let least = match tally.levels.keys().next() {
                Some(least) if !few => *least,
                _ => 0,
            };
            here + asked.own <= asked.max_skew + least
        })
    }

    /// A pod comes to a node, or goes from it. `counted`: spreads do not count pods that are being
    /// deleted.
    pub(crate) fn moved(
        &mut self,
        world: &World,
        shape: ShapeId,
        node: NodeId,
        comes: bool,
        counted: bool,
    ) {
        let of = &self.shapes[shape.at()];
        let labels = &world.nodes[node.at()].labels;
        for id in &of.meant {
            let (key, meant, _) = &mut self.terms[*id];
            count(meant, World::label(labels, *key), comes);
        }
        for id in &of.holds {
            let (key, _, holders) = &mut self.terms[*id];
            count(holders, World::label(labels, *key), comes);
        }
        for id in &of.member {
            for (key, places) in &mut self.groups[*id] {
                count(places, World::label(labels, *key), comes);
            }
        }
        if counted {
            self.tally(world, shape, node, comes);
        }
    }

    /// Spreads count a pod, or count it no more.
    pub(crate) fn tally(&mut self, world: &World, shape: ShapeId, node: NodeId, comes: bool) {
        for id in &self.shapes[shape.at()].tallied {
            let tally = &mut self.tallies[*id];
            if tally.counts[node.at()]
                && let Some(at) = World::label(&world.nodes[node.at()].labels, tally.scope.topology)
            {
                tally.add(at, comes);
            }
        }
    }

    /// A node appears, disappears or changes its taints. `pods`: the shapes of the pods on it that
    /// spreads count.
    pub(crate) fn node(
        &mut self,
        world: &World,
        node: NodeId,
        exists: bool,
        cordoned: bool,
        pods: &[ShapeId],
    ) {
        for (id, tally) in self.tallies.iter_mut().enumerate() {
            let counts = exists && tally.scope.has(world, node, cordoned);
            if tally.counts[node.at()] == counts {
                continue;
            }
            tally.counts[node.at()] = counts;
            let labels = &world.nodes[node.at()].labels;
            let Some(at) = World::label(labels, tally.scope.topology) else {
                continue;
            };
            if counts {
                let nodes = &mut tally.places.entry(at).or_insert((0, 0)).0;
                *nodes += 1;
                if *nodes == 1 {
                    *tally.levels.entry(0).or_default() += 1;
                }
            }
            for shape in pods {
                if self.shapes[shape.at()].tallied.contains(&id) {
                    tally.add(at, counts);
                }
            }
            if !counts && let Some((nodes, pods)) = tally.places.get_mut(&at) {
                *nodes -= 1;
                if *nodes == 0 {
                    let level = *pods;
                    tally.places.remove(&at);
                    drop_level(&mut tally.levels, level);
                }
            }
        }
    }
}

impl Tally {
    fn add(&mut self, at: Text, comes: bool) {
        let Some((_, pods)) = self.places.get_mut(&at) else {
            return;
        };
        drop_level(&mut self.levels, *pods);
        *pods = if comes { *pods + 1 } else { *pods - 1 };
        *self.levels.entry(*pods).or_default() += 1;
    }
}

fn drop_level(levels: &mut BTreeMap<u32, u32>, level: u32) {
    if let Some(places) = levels.get_mut(&level) {
        *places -= 1;
        if *places == 0 {
            levels.remove(&level);
        }
    }
}

fn count(places: &mut Places, at: Option<Text>, comes: bool) {
    let Some(at) = at else { return };
    let pods = places.entry(at).or_default();
    if comes {
        *pods += 1;
    } else {
        *pods -= 1;
        if *pods == 0 {
            places.remove(&at);
        }
    }
}

impl Scope {
    fn of(shape: &Shape, spread: &Spread) -> Self {
        let mut keys: Vec<Text> = shape.spread.iter().map(|spread| spread.topology).collect();
        keys.sort_unstable();
        keys.dedup();
        let rules = if spread.ignore_node_rules {
            Vec::new()
        } else {
            shape.node_rules.clone()
        };
        Self {
            namespace: shape.namespace,
            topology: spread.topology,
            keys,
            selector: spread.selector.clone(),
            rules,
            honor: spread.honor_taints.then(|| shape.tolerations.clone()),
        }
    }

    /// Does it count pods of this shape?
    fn counts(&self, world: &World, shape: &Shape) -> bool {
        let selector = self.selector.as_ref();
        selector.is_some_and(|selector| world.selects(selector, &shape.labels))
    }

    /// Is the node one of its places?
    fn has(&self, world: &World, node: NodeId, cordoned: bool) -> bool {
        let node = &world.nodes[node.at()];
        let keyed = |key: &Text| World::label(&node.labels, *key).is_some();
        if !self.keys.iter().all(keyed) || !world.allows(&self.rules, node) {
            return false;
        }
        self.honor
            .as_ref()
            .is_none_or(|tolerations| bears(world, tolerations, &node.taints, cordoned))
    }
}

/// Do the tolerations bear all taints that keep pods off?
pub(crate) fn bears(
    world: &World,
    tolerations: &[Toleration],
    taints: &[Taint],
    cordoned: bool,
) -> bool {
    let borne = |taint: &Taint| tolerations.iter().any(|toleration| toleration.bears(taint));
    let hard = |taint: &&Taint| taint.effect != Effect::PreferNoSchedule;
    taints.iter().filter(hard).all(borne) && (!cordoned || bears_cordon(world, tolerations))
}

/// Does it bear a cordon?
pub(crate) fn bears_cordon(world: &World, tolerations: &[Toleration]) -> bool {
    bears_named(world, tolerations, UNSCHEDULABLE, Effect::NoSchedule)
}

/// Does it bear a taint of this key without a value?
pub(crate) fn bears_named(
    world: &World,
    tolerations: &[Toleration],
    key: &str,
    effect: Effect,
) -> bool {
    let (key, empty) = (world.known(key), world.known(""));
    tolerations.iter().any(|toleration| {
        toleration.key.is_none_or(|wanted| Some(wanted) == key)
            && toleration.value.is_none_or(|wanted| Some(wanted) == empty)
            && toleration.effect.is_none_or(|wanted| wanted == effect)
    })
}
