//! The machines and the members as the checker sees them.

use std::collections::{BTreeMap, BTreeSet};

use super::shards::Shards;
use crate::ids::{DatabaseName, ObjectRef, PoolName, Zone};
use crate::plan::Plan;
use crate::policy::System;
use crate::version::KubernetesVersion;
use crate::world::Snapshot;

/// A machine: known by its node's name, or made by the run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Machine {
    /// With the node's name.
    Known(String),
    /// Made by the run, by pool and serial number.
    Made(PoolName, u32),
}

/// What is known of a machine.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) pool: Option<PoolName>,
    pub(super) zone: Option<Zone>,
    pub(super) version: KubernetesVersion,
    pub(super) cordoned: bool,
}

/// A set and its members.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) name: ObjectRef,
    pub(super) replicas: u32,
    pub(super) replicas_at_first: u32,
    /// Where each member is.
    pub(super) members: BTreeMap<ObjectRef, Machine>,
    pub(super) shards: Shards,
    /// A hand-over needs agent and watchdog.
    pub(super) wants_agents: bool,
    pub(super) seat: Option<ObjectRef>,
    pub(super) probing: bool,
    pub(super) certified: bool,
    pub(super) agents: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) machines: BTreeMap<Machine, State>,
    pub(super) sets: BTreeMap<DatabaseName, Set>,
    /// Pools that must go.
    pub(super) old_pools: BTreeSet<PoolName>,
    pub(super) pools: BTreeSet<PoolName>,
    serial: u32,
}

impl Picture {
    pub(super) fn of(world: &Snapshot, plan: &Plan) -> Self {
        let machines = world
            .nodes
            .iter()
            .map(|(name, node)| {
                let state = State {
                    pool: node.pool.clone(),
                    zone: node.zone.clone(),
                    version: node.kubelet_version,
                    cordoned: node.unschedulable,
                };
                (Machine::Known(name.to_string()), state)
            })
            .collect();
        let mut picture = Self {
            machines,
            sets: sets(world, plan),
            old_pools: BTreeSet::new(),
            pools: world.pools.keys().cloned().collect(),
            serial: 0,
        };
        picture.old_pools = picture.pools_to_leave(world, plan);
        picture
    }

    fn pools_to_leave(&self, world: &Snapshot, plan: &Plan) -> BTreeSet<PoolName> {
        let Some(target) = &plan.body.policy.spec.target else {
            return BTreeSet::new();
        };
        let named = &target.pools;
        let carries = |name: &PoolName| {
            self.sets.values().any(|set| {
                set.members
                    .values()
                    .any(|machine| self.pool_of(machine) == Some(name))
            })
        };
        world
            .pools
            .iter()
            .filter(|(_, pool)| Some(pool.kubernetes_version) != plan.body.target)
            .map(|(name, _)| name.clone())
            .filter(|name| {
                if named.is_empty() {
                    carries(name)
                } else {
                    named.contains(name)
                }
            })
            .collect()
    }

    pub(super) fn pool_of(&self, machine: &Machine) -> Option<&PoolName> {
        self.machines.get(machine)?.pool.as_ref()
    }

    pub(super) fn in_pool<'a>(
        &'a self,
        pool: &'a PoolName,
    ) -> impl Iterator<Item = (&'a Machine, &'a State)> {
        self.machines
            .iter()
            .filter(move |(_, state)| state.pool.as_ref() == Some(pool))
    }

    pub(super) fn is_old(&self, machine: &Machine) -> bool {
        self.pool_of(machine)
            .is_some_and(|pool| self.old_pools.contains(pool))
    }

    /// Members of any set on a machine.
    pub(super) fn on(&self, machine: &Machine) -> Vec<&ObjectRef> {
        self.sets
            .values()
            .flat_map(|set| &set.members)
            .filter(|(_, at)| *at == machine)
            .map(|(pod, _)| pod)
            .collect()
    }

    /// A machine of the pool without any member, in the zone if one is asked for.
    pub(super) fn free(&self, pool: &PoolName, zone: Option<&Zone>) -> Option<Machine> {
        self.in_pool(pool)
            .filter(|(_, state)| !state.cordoned)
            .filter(|(_, state)| zone.is_none_or(|zone| state.zone.as_ref() == Some(zone)))
            .map(|(machine, _)| machine)
            .find(|machine| self.on(machine).is_empty())
            .cloned()
    }

    pub(super) fn make(&mut self, pool: &PoolName, zone: &Zone, version: KubernetesVersion) {
        self.serial += 1;
        self.machines.insert(
            Machine::Made(pool.clone(), self.serial),
            State {
                pool: Some(pool.clone()),
                zone: Some(zone.clone()),
                version,
                cordoned: false,
            },
        );
    }
}

fn sets(world: &Snapshot, plan: &Plan) -> BTreeMap<DatabaseName, Set> {
    let mut sets = BTreeMap::new();
    for spec in &plan.body.policy.spec.databases {
        let name = spec.stateful_set();
        let Some(set) = world.stateful_sets.get(name) else {
            continue;
        };
        let members: BTreeMap<ObjectRef, Machine> = (0..set.replicas)
            .filter_map(|ordinal| {
                let pod =
                    ObjectRef::new(name.namespace.clone(), format!("{}-{ordinal}", name.name));
                let node = world.pods.get(&pod)?.node.clone()?;
                Some((pod, Machine::Known(node.to_string())))
            })
            .collect();
        let pods: BTreeSet<ObjectRef> = members.keys().cloned().collect();
        let shards = Shards::of(world.databases.get(&spec.name), &pods);
        sets.insert(
            spec.name.clone(),
            Set {
                name: name.clone(),
                replicas: set.replicas,
                replicas_at_first: set.replicas,
                members,
                shards,
                wants_agents: matches!(spec.system, System::Postgres(_)),
                seat: None,
                probing: false,
                certified: false,
                agents: false,
            },
        );
    }
    sets
}
