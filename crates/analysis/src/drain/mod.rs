//! What draining the pools would do, node after node.
//!
//! The simulation itself is [`ferriswheel_model::drain`]; here a cluster's dump becomes its world, and
//! its outcome becomes words: per node whether it drains and in what time, or which pod stays and what
//! would let it go.
//!
//! # Assumptions
//! Pools are drained one after another, each from the state of the dump. The order in which AKS takes
//! nodes is not documented; without another wish it is that of their names, which is that of their
//! instances. Surge nodes come up in the zones of the pool in turn. The scheduler's choice between
//! equal nodes is fixed, where the real one throws dice.

mod build;
mod sketch;
mod words;

use std::collections::BTreeMap;

use ferriswheel_model::drain::world::{NodeId, PodId, World};
use ferriswheel_model::drain::{After, Batches, Options, Outcome, batches, simulate};
use serde::{Serialize, Serializer};

use crate::findings::Finding;
use crate::manifest::Object;
use build::Built;

pub use build::build_world;
pub use sketch::Sketch;
pub(crate) use sketch::{sketch, wants};

/// Milliseconds of a second.
const SECOND: u64 = 1_000;
/// From the request of a machine to a node that serves, on AKS: minutes, seldom more than two.
const MACHINE: u64 = 120;
/// kubectl, and AKS's upgrader with it, asks again for a refused eviction after this long.
const RETRY: u64 = 5;
/// The name that a surge node has in words.
const SURGE: &str = "surge";
/// Label of a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// How pools are drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// These pools; none: all.
    pub pools: Vec<String>,
    /// In which order.
    pub order: Order,
    /// How nodes are replaced.
    pub way: Way,
    /// A drain that takes longer is given up, in seconds.
    pub timeout: u64,
    /// Between the last pod's end and the reimage, in seconds.
    pub soak: u64,
}

impl Default for Settings {
    /// What AKS does where a pool says nothing else.
    fn default() -> Self {
        Self {
            pools: Vec::new(),
            order: Order::Names,
            way: Way::Surge(Share::Percent(10)),
            timeout: 1_800,
            soak: 0,
        }
    }
}

/// In which order nodes are drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// By their names.
    Names,
    /// Nodes that do not wait for each other together.
    Batches,
    /// These first, then by their names.
    Given(Vec<String>),
}

/// How nodes are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// So many nodes more, as many drained at a time and reimaged (AKS: `maxSurge`).
    Surge(Share),
    /// So many drained at a time without more nodes (AKS: `maxUnavailable`).
    Unavailable(Share),
    /// A new pool of the same size beside, and the old one drained node after node.
    NewPool,
    /// Each is drained and left cordoned, as `kubectl drain` does.
    Leave,
}

/// A number of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// As many.
    Nodes(u32),
    /// Of the pool, rounded up.
    Percent(u32),
}

impl Share {
    /// Of a pool of this size; at least one, at most all.
    fn of(self, nodes: u32) -> u32 {
        let wanted = match self {
            Self::Nodes(many) => many,
            Self::Percent(percent) => {
                let share = (u64::from(nodes) * u64::from(percent)).div_ceil(100);
                u32::try_from(share).unwrap_or(u32::MAX)
            }
        };
        wanted.clamp(1, nodes.max(1))
    }
}

/// What draining would do.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Simulation {
    /// Every node of the pools.
    pub nodes: Vec<Node>,
    /// Evictions for each pod that was on the nodes.
    pub evictions_per_pod: Ratio,
    /// Batches of nodes that could be drained together without a refused eviction.
    pub batches: u32,
    /// No way has fewer.
    pub lower_bound: u32,
    /// The pools.
    pub pools: Vec<Pool>,
}

/// A pool as it was drained.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Pool {
    /// Name.
    pub name: String,
    /// How its nodes were replaced, in words.
    pub way: String,
    /// Its nodes.
    pub nodes: u32,
    /// Of which drain.
    pub drained: u32,
    /// From the first cordon to the last end, in seconds.
    pub seconds: u64,
    /// Pods on it that a drain evicts.
    pub pods: u32,
    /// Accepted evictions.
    pub evictions: u32,
    /// Pods that had to move more than once.
    pub moved_again: u32,
    /// Evictions when nodes that are still to be drained carry a `PreferNoSchedule` taint.
    pub evictions_when_tainted: u32,
    /// Pods that had no node at the end.
    pub without_node: Vec<Waiting>,
    /// Nodes that can be drained together, batch after batch.
    pub batches: Vec<Vec<String>>,
    /// No way has fewer.
    pub lower_bound: u32,
}

/// A pod without a node.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Waiting {
    /// `namespace/name` of the pod that it stands for.
    pub pod: String,
    /// What the nodes lack.
    pub reason: String,
}

/// A node as it was drained.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// Does it drain?
    pub outcome: NodeOutcome,
    /// From the cordon to the end, in seconds.
    pub seconds: u64,
    /// When it was cordoned, in seconds since the first.
    pub started: u64,
    /// Accepted evictions.
    pub evictions: u32,
    /// Pods that did not go.
    pub blocked_by: Vec<BlockedBy>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum NodeOutcome {
    /// All pods went.
    Drains,
    /// Some did not.
    Blocked,
}

/// A pod that did not go.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct BlockedBy {
    /// `namespace/name` of the budget, if one holds it.
    pub budget: Option<String>,
    /// `namespace/name` of the pod.
    pub pod: String,
    /// Why.
    pub reason: String,
    /// What would let it go.
    pub fix: String,
}

/// A ratio, written as a number with two digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Of so many.
    pub of: u64,
    /// For so many.
    pub per: u64,
}

impl Ratio {
    /// In hundredths, rounded down; nothing for none is 0.
    pub fn hundredths(self) -> u64 {
        (self.of * 100).checked_div(self.per).unwrap_or(0)
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hundredths = u32::try_from(self.hundredths()).unwrap_or(u32::MAX);
        serializer.serialize_f64(f64::from(hundredths) / 100.0)
    }
}

/// The simulation of the objects' pools with what is to say about it; the reason where there is
/// nothing to simulate.
pub(crate) fn check<'a>(
    objects: impl IntoIterator<Item = &'a Object>,
    settings: &Settings,
) -> Result<(Simulation, Vec<Finding>), String> {
    let built = build::build(objects)?;
    let mut chosen: Vec<(&String, &Vec<NodeId>)> = built.pools.iter().collect();
    if !settings.pools.is_empty() {
        let unknown = settings
            .pools
            .iter()
            .find(|name| !built.pools.contains_key(*name));
        if let Some(unknown) = unknown {
            let known: Vec<&str> = built.pools.keys().map(String::as_str).collect();
            return Err(format!(
                "no node of the input is in pool {unknown}; its pools: {}",
                known.join(", ")
            ));
        }
        chosen.retain(|(name, _)| settings.pools.contains(name));
    }
    let mut simulation = Simulation {
        nodes: Vec::new(),
        evictions_per_pod: Ratio { of: 0, per: 0 },
        batches: 0,
        lower_bound: 0,
        pools: Vec::new(),
    };
    let mut said = words::Said::default();
    for (name, nodes) in chosen {
        let played = play(&built, name, nodes, settings);
        let pool = played.pool();
        simulation.evictions_per_pod.of += u64::from(pool.evictions);
        simulation.evictions_per_pod.per += u64::from(pool.pods);
        simulation.batches += u32::try_from(pool.batches.len()).unwrap_or(u32::MAX);
        simulation.lower_bound += pool.lower_bound;
        simulation.nodes.extend(played.nodes(&mut said));
        played.say(&pool, &mut said);
        simulation.pools.push(pool);
    }
    Ok((simulation, said.findings(&built, settings)))
}

/// A pool's drain.
struct Played<'b, 'a> {
    built: &'b Built<'a>,
    /// The built world with surge nodes.
    world: World,
    name: &'b str,
    order: Vec<NodeId>,
    way: String,
    outcome: Outcome,
    tainted: usize,
    batches: Batches,
    timeout: u64,
}

fn play<'b, 'a>(
    built: &'b Built<'a>,
    name: &'b str,
    nodes: &[NodeId],
    settings: &Settings,
) -> Played<'b, 'a> {
    let mut world = built.world.clone();
    let size = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    let (hands, more, after, way) = match settings.way {
        Way::Surge(share) => {
            let surge = share.of(size);
            let way = format!("{surge} surge {}", plural(surge, "node"));
            (surge, surge, After::Reimage(MACHINE * SECOND), way)
        }
        Way::Unavailable(share) => {
            let at_once = share.of(size);
            let way = format!("{at_once} unavailable at a time, no surge node");
            (at_once, 0, After::ReimageAll(MACHINE * SECOND), way)
        }
        Way::NewPool => (1, size, After::Delete, "a new pool beside".to_owned()),
        Way::Leave => (
            1,
            0,
            After::Leave,
            "drained one by one and left cordoned".to_owned(),
        ),
    };
    let found = batches(&world, nodes, more);
    let order = match &settings.order {
        Order::Names => nodes.to_vec(),
        Order::Batches => {
            let all = found.batches.iter().flatten().chain(&found.never);
            all.copied().collect()
        }
        Order::Given(names) => {
            let mut order: Vec<NodeId> = Vec::new();
            for name in names {
                let id = nodes.iter().find(|id| built.node_name(**id) == name);
                order.extend(id.filter(|id| !order.contains(id)));
            }
            let rest: Vec<NodeId> = nodes
                .iter()
                .filter(|id| !order.contains(id))
                .copied()
                .collect();
            order.extend(rest);
            order
        }
    };
    let surge = surge_nodes(&mut world, nodes, more);
    let mut options = Options {
        order,
        hands,
        surge,
        after,
        machine_up: MACHINE * SECOND,
        soak: settings.soak * SECOND,
        timeout: settings.timeout * SECOND,
        retry: RETRY * SECOND,
        shun_old: false,
    };
    let outcome = simulate(&world, &options);
    options.shun_old = true;
    let tainted = simulate(&world, &options).evictions.len();
    Played {
        built,
        world,
        name,
        order: options.order,
        way,
        outcome,
        tainted,
        batches: found,
        timeout: settings.timeout,
    }
}

/// Adds surge nodes, in the zones of the pool in turn.
fn surge_nodes(world: &mut World, nodes: &[NodeId], many: u32) -> Vec<NodeId> {
    let key = world.text(ZONE);
    let mut zones: BTreeMap<_, NodeId> = BTreeMap::new();
    for id in nodes {
        if let Some(node) = world.nodes.get(id.at()) {
            zones.entry(World::label(&node.labels, key)).or_insert(*id);
        }
    }
    let like: Vec<NodeId> = zones.into_values().collect();
    (0..many)
        .zip(like.iter().cycle())
        .filter_map(|(i, like)| world.add_surge(*like, &format!("{SURGE}-{}", i + 1)))
        .collect()
}

impl Played<'_, '_> {
    /// The pod of the beginning that a pod stands for.
    fn origin(&self, pod: PodId) -> PodId {
        let first_new = self.world.pods.len();
        match pod.at().checked_sub(first_new) {
            Some(made) => self.outcome.origins.get(made).copied().unwrap_or(pod),
            None => pod,
        }
    }

    fn pool(&self) -> Pool {
        let mut times: BTreeMap<PodId, u32> = BTreeMap::new();
        for evicted in &self.outcome.evictions {
            *times.entry(evicted.origin).or_default() += 1;
        }
        let mut on_pool = vec![false; self.world.nodes.len()];
        for id in &self.order {
            if let Some(entry) = on_pool.get_mut(id.at()) {
                *entry = true;
            }
        }
        let pods = self
            .world
            .pods
            .iter()
            .filter(|pod| {
                let node = pod.node.and_then(|node| on_pool.get(node.at()));
                node == Some(&true) && !self.world.stays(pod)
            })
            .count();
        let count = |many: usize| u32::try_from(many).unwrap_or(u32::MAX);
        let drained = self
            .outcome
            .drains
            .iter()
            .filter(|drain| drain.blocked.is_empty());
        let first = self.outcome.drains.first().map_or(0, |drain| drain.started);
        let homeless = self.outcome.homeless.iter().filter(|pod| !pod.already);
        let batches = self.batches.batches.iter();
        Pool {
            name: self.name.to_owned(),
            way: self.way.clone(),
            nodes: count(self.order.len()),
            drained: count(drained.count()),
            seconds: (self.outcome.ended - first).div_ceil(SECOND),
            pods: count(pods),
            evictions: count(self.outcome.evictions.len()),
            moved_again: count(times.values().filter(|times| **times > 1).count()),
            evictions_when_tainted: count(self.tainted),
            without_node: homeless
                .map(|pod| Waiting {
                    pod: self.built.pod_name(pod.origin),
                    reason: words::lacking(&pod.lacking),
                })
                .collect(),
            batches: batches
                .map(|nodes| {
                    nodes
                        .iter()
                        .map(|id| self.built.node_name(*id).to_owned())
                        .collect()
                })
                .collect(),
            lower_bound: self.batches.lower_bound,
        }
    }

    fn nodes(&self, said: &mut words::Said) -> Vec<Node> {
        let first = self.outcome.drains.first().map_or(0, |drain| drain.started);
        self.outcome
            .drains
            .iter()
            .map(|drain| {
                let name = self.built.node_name(drain.node).to_owned();
                let blocked_by = drain
                    .blocked
                    .iter()
                    .map(|blocked| {
                        let origin = self.origin(blocked.pod);
                        let why = words::why(self, blocked);
                        said.blocked(&name, origin, &blocked.why, &why);
                        BlockedBy {
                            budget: why.budget.map(|id| self.built.budget_name(id)),
                            pod: self.built.pod_name(origin),
                            reason: why.reason,
                            fix: why.fix,
                        }
                    })
                    .collect::<Vec<_>>();
                Node {
                    name,
                    pool: self.name.to_owned(),
                    outcome: if blocked_by.is_empty() {
                        NodeOutcome::Drains
                    } else {
                        NodeOutcome::Blocked
                    },
                    seconds: (drain.ended - drain.started).div_ceil(SECOND),
                    started: (drain.started - first) / SECOND,
                    evictions: drain.evictions,
                    blocked_by,
                }
            })
            .collect()
    }

    fn say(&self, pool: &Pool, said: &mut words::Said) {
        for pod in self.outcome.homeless.iter().filter(|pod| !pod.already) {
            said.homeless(self.name, pod);
        }
        if let Some(first) = self.order.first() {
            said.taint(*first, pool);
        }
    }
}

fn plural(many: u32, word: &str) -> String {
    if many == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}
