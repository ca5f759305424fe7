//! Which nodes could be drained together without an eviction being refused.
//!
//! A batch holds nodes whose ready pods all budgets let go at once, and whose pods the rest of the
//! pool, with the surge nodes, has room for. Finding the fewest is bin packing in as many
//! dimensions as there are budgets: exact for small pools, first fit and a lower bound for others.

use std::collections::BTreeMap;

use super::world::{BudgetId, NodeId, Phase, World};

/// Up to this many nodes the fewest batches are found: 3^12 steps take milliseconds.
const EXACT: usize = 12;

/// Batches of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batches {
    /// Nodes that can be drained together, batch after batch.
    pub batches: Vec<Vec<NodeId>>,
    /// No way has fewer.
    pub lower_bound: u32,
    /// No way has fewer than these batches.
    pub fewest: bool,
    /// Nodes with a pod that no budget would ever let go as things are.
    pub never: Vec<NodeId>,
}

/// What a node uses up of a batch, by dimension.
type Weight = BTreeMap<Dimension, u128>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dimension {
    Budget(BudgetId),
    Resource(usize),
    Pods,
}

/// Batches of the nodes of a pool with so many surge nodes.
pub fn batches(world: &World, pool: &[NodeId], surge: u32) -> Batches {
    let statuses = world.statuses();
    let over = world.budgets_by_shape();
    let mut weights: BTreeMap<NodeId, Weight> =
        pool.iter().map(|id| (*id, Weight::new())).collect();
    let mut free = Weight::new();
    let mut never = Vec::new();
    let resources = world.resources.len();
    for id in weights.keys() {
        for (resource, amount) in world.nodes[id.at()].allocatable.iter().enumerate() {
            *free.entry(Dimension::Resource(resource)).or_default() += u128::from(*amount);
        }
        *free.entry(Dimension::Pods).or_default() += u128::from(world.nodes[id.at()].max_pods);
    }
    let mut own: BTreeMap<NodeId, Weight> = BTreeMap::new();
    for pod in &world.pods {
        let Some((node, weight)) = pod
            .node
            .and_then(|node| Some((node, weights.get_mut(&node)?)))
        else {
            continue;
        };
        let shape = &world.shapes[pod.shape.at()];
        if pod.phase == Phase::Finished {
            continue;
        }
        let stays = world.stays(pod);
        let takes = if stays {
            own.entry(node).or_default()
        } else {
            &mut free
        };
        for (resource, amount) in &shape.requests {
            let entry = takes.entry(Dimension::Resource(*resource)).or_default();
            *entry = if stays {
                *entry + u128::from(*amount)
            } else {
                entry.saturating_sub(u128::from(*amount))
            };
        }
        let entry = takes.entry(Dimension::Pods).or_default();
        *entry = if stays {
            *entry + 1
        } else {
            entry.saturating_sub(1)
        };
        if stays || pod.terminating {
            continue;
        }
        match over[pod.shape.at()].as_slice() {
            [] => {}
            [budget] => {
                let status = statuses[budget.at()];
                let always = world.budgets[budget.at()].always_allow;
                if !status.lets_go(pod.phase, always) {
                    never.push(node);
                } else if pod.phase == Phase::Ready {
                    *weight.entry(Dimension::Budget(*budget)).or_default() += 1;
                }
            }
            _ => never.push(node),
        }
    }
    never.sort_unstable();
    never.dedup();
    // A batch takes its nodes' room away and needs room for their pods: together what they offer,
    // but for what pods of their own take.
    let mut room = free;
    for (id, weight) in &mut weights {
        let node = &world.nodes[id.at()];
        let empty = Weight::new();
        let own = own.get(id).unwrap_or(&empty);
        for resource in 0..resources {
            let dimension = Dimension::Resource(resource);
            let all = node.allocatable.get(resource).copied().unwrap_or(0);
            let used = own.get(&dimension).copied().unwrap_or(0);
            weight.insert(dimension, u128::from(all).saturating_sub(used));
            let entry = room.entry(dimension).or_default();
            *entry = entry.saturating_sub(used);
        }
        let used = own.get(&Dimension::Pods).copied().unwrap_or(0);
        weight.insert(
            Dimension::Pods,
            u128::from(node.max_pods).saturating_sub(used),
        );
        let entry = room.entry(Dimension::Pods).or_default();
        *entry = entry.saturating_sub(used);
    }
    if let Some(first) = pool.first().and_then(|id| weights.get(id)) {
        for (dimension, offered) in first {
            if !matches!(dimension, Dimension::Budget(_)) {
                *room.entry(*dimension).or_default() += offered * u128::from(surge);
            }
        }
    }
    let limit = |dimension: &Dimension| match dimension {
        Dimension::Budget(id) => u128::from(statuses[id.at()].allowed),
        other => room.get(other).copied().unwrap_or(0),
    };
    let items: Vec<(NodeId, Weight)> = pool
        .iter()
        .filter(|id| never.binary_search(id).is_err())
        .filter_map(|id| Some((*id, weights.remove(id)?)))
        .collect();
    let lower_bound = bound(&items, limit);
    let (batches, fewest) = if items.len() <= EXACT {
        (exact(&items, limit), true)
    } else {
        let found = first_fit(items, limit);
        let met = u32::try_from(found.len()).is_ok_and(|found| found == lower_bound);
        (found, met)
    };
    Batches {
        batches,
        lower_bound,
        fewest,
        never,
    }
}

/// For each dimension: nodes that exceed it alone take a batch each, the rest shares.
fn bound(items: &[(NodeId, Weight)], limit: impl Fn(&Dimension) -> u128) -> u32 {
    let mut sums: BTreeMap<Dimension, (u32, u128)> = BTreeMap::new();
    for (_, weight) in items {
        for (dimension, amount) in weight {
            let (alone, sum) = sums.entry(*dimension).or_default();
            if *amount > limit(dimension) {
                *alone += 1;
            } else {
                *sum += amount;
            }
        }
    }
    let needed = sums.iter().map(|(dimension, (alone, sum))| {
        let shared = match limit(dimension) {
            0 => 0,
            limit => u32::try_from(sum.div_ceil(limit)).unwrap_or(u32::MAX),
        };
        alone + shared
    });
    needed.max().unwrap_or(0).max(u32::from(!items.is_empty()))
}

/// May these be one batch? A node alone always may: its evictions then wait for each other.
fn fits(used: &Weight, count: usize, next: &Weight, limit: impl Fn(&Dimension) -> u128) -> bool {
    count == 0
        || next.iter().all(|(dimension, amount)| {
            let used = used.get(dimension).copied().unwrap_or(0);
            *amount == 0 || used + amount <= limit(dimension)
        })
}

fn add(used: &mut Weight, next: &Weight) {
    for (dimension, amount) in next {
        *used.entry(*dimension).or_default() += amount;
    }
}

fn first_fit(
    mut items: Vec<(NodeId, Weight)>,
    limit: impl Fn(&Dimension) -> u128,
) -> Vec<Vec<NodeId>> {
    // Those that share the tightest budgets first.
    let tightness = |weight: &Weight| -> u128 {
        weight
            .iter()
            .filter(|(dimension, _)| matches!(dimension, Dimension::Budget(_)))
            .map(|(dimension, amount)| amount * 1_000 / limit(dimension).max(1))
            .sum()
    };
    items.sort_by_cached_key(|(id, weight)| (std::cmp::Reverse(tightness(weight)), *id));
    let mut open: Vec<(Vec<NodeId>, Weight)> = Vec::new();
    for (id, weight) in items {
        let place = open
            .iter_mut()
            .find(|(nodes, used)| fits(used, nodes.len(), &weight, &limit));
        match place {
            Some((nodes, used)) => {
                nodes.push(id);
                add(used, &weight);
            }
            None => open.push((vec![id], weight)),
        }
    }
    let mut found: Vec<Vec<NodeId>> = open.into_iter().map(|(nodes, _)| nodes).collect();
    for batch in &mut found {
        batch.sort_unstable();
    }
    found
}

fn exact(items: &[(NodeId, Weight)], limit: impl Fn(&Dimension) -> u128) -> Vec<Vec<NodeId>> {
    let all = 1_usize << items.len();
    let members = |set: usize| (0..items.len()).filter(move |i| set & (1 << i) != 0);
    let allowed: Vec<bool> = (0..all)
        .map(|set| {
            let mut used = Weight::new();
            for (count, i) in members(set).enumerate() {
                let weight = &items[i].1;
                // The first of several must share too.
                let shares = set.count_ones() == 1 || fits(&used, count.max(1), weight, &limit);
                if !shares {
                    return false;
                }
                add(&mut used, weight);
            }
            true
        })
        .collect();
    // Fewest batches for each set, and the last of them.
    let mut fewest: Vec<(u32, usize)> = vec![(u32::MAX, 0); all];
    fewest[0] = (0, 0);
    for set in 1..all {
        let mut part = set;
        while part > 0 {
            if allowed[part] {
                let rest = fewest[set & !part].0;
                if rest < fewest[set].0.saturating_sub(1) {
                    fewest[set] = (rest + 1, part);
                }
            }
            part = (part - 1) & set;
        }
    }
    let mut found = Vec::new();
    let mut set = all - 1;
    while set > 0 {
        let batch = fewest[set].1;
        found.push(members(batch).map(|i| items[i].0).collect());
        set &= !batch;
    }
    found.reverse();
    found
}
