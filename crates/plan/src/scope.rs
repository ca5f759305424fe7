//! What the plan is about: pools to upgrade, their nodes, members with the place of their disks.
//!
//! Finding the scope refuses nothing of its own accord except what makes every later question
//! meaningless: a pool or a set that is not there.

use std::collections::{BTreeMap, BTreeSet};

use crate::codes;
use crate::databases::operators;
use crate::diagnostic::{Diagnostic, Findings};
use crate::ids::{DatabaseName, NodeName, ObjectRef, PoolName, Zone};
use crate::policy::{
    DatabaseSpec, KafkaSpec, MariadbSpec, MemcachedSpec, MongoSpec, PostgresSpec, RedisSpec,
    Strategy, System, Upgrade,
};
use crate::step::NodeIdentity;
use crate::version::KubernetesVersion;
use crate::world::{
    Database, Kafka, Mariadb, Memcached, Mongo, Node, Owner, Pod, Postgres, Redis, Snapshot,
    StatefulSet,
};

/// The part of the world that the plan is about.
#[derive(Debug)]
pub struct Scope<'a> {
    /// Version to reach, if machines are replaced.
    pub target: Option<KubernetesVersion>,
    /// The primaries move and nothing else does.
    pub hand_over_only: bool,
    /// Pools to upgrade.
    pub pools: BTreeSet<PoolName>,
    /// Their nodes.
    pub nodes: BTreeMap<NodeName, OldNode>,
    /// Databases of the spec whose set was found.
    pub databases: Vec<DatabaseScope<'a>>,
    /// Pools that stay as they are and have two nodes for the probe and the agents.
    pub steady_pools: Vec<PoolName>,
}

/// A node that will be retired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldNode {
    /// Name and machine.
    pub identity: NodeIdentity,
    /// Pool.
    pub pool: PoolName,
    /// Zone; a node without one is refused.
    pub zone: Option<Zone>,
}

/// A database, its set and its members.
#[derive(Debug)]
pub struct DatabaseScope<'a> {
    /// Name.
    pub name: &'a DatabaseName,
    /// What the user asks for it.
    pub spec: &'a DatabaseSpec,
    /// The set's name.
    pub set_name: &'a ObjectRef,
    /// The set.
    pub set: &'a StatefulSet,
    /// What it is, as the spec says it and as its protocol shows it.
    pub seen: Seen<'a>,
    /// Members by ordinal.
    pub members: BTreeMap<u32, Member<'a>>,
}

/// A database system: what the spec says and what was observed are of the same one.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// PostgreSQL.
    Postgres(&'a PostgresSpec, &'a Postgres),
    /// Redis or Valkey in cluster mode.
    Redis(&'a RedisSpec, &'a Redis),
    /// A MongoDB replica set.
    Mongodb(&'a MongoSpec, &'a Mongo),
    /// A MariaDB set with asynchronous replication.
    Mariadb(&'a MariadbSpec, &'a Mariadb),
    /// A pool of Memcached servers.
    Memcached(&'a MemcachedSpec, &'a Memcached),
    /// A Kafka cluster.
    Kafka(&'a KafkaSpec, &'a Kafka),
}

impl<'a> Seen<'a> {
    fn of(system: &'a System, observed: &'a Database) -> Option<Self> {
        match (system, observed) {
            (System::Postgres(spec), Database::Postgres(observed)) => {
                Some(Self::Postgres(spec, observed))
            }
            (System::Redis(spec), Database::Redis(observed)) => Some(Self::Redis(spec, observed)),
            (System::Mongodb(spec), Database::Mongodb(observed)) => {
                Some(Self::Mongodb(spec, observed))
            }
            (System::Mariadb(spec), Database::Mariadb(observed)) => {
                Some(Self::Mariadb(spec, observed))
            }
            (System::Memcached(spec), Database::Memcached(observed)) => {
                Some(Self::Memcached(spec, observed))
            }
            (System::Kafka(spec), Database::Kafka(observed)) => Some(Self::Kafka(spec, observed)),
            (
                System::Postgres(_)
                | System::Redis(_)
                | System::Mongodb(_)
                | System::Mariadb(_)
                | System::Memcached(_)
                | System::Kafka(_),
                _,
            ) => None,
        }
    }
}

/// A member and where it is.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Ordinal.
    pub ordinal: u32,
    /// Pod's name.
    pub name: ObjectRef,
    /// Pod.
    pub pod: &'a Pod,
    /// The old node that it must leave; `None` if it is on a node that stays.
    pub old_node: Option<NodeName>,
    /// Zone of its disk, if known.
    pub disk_zone: Option<Zone>,
}

impl<'a> Scope<'a> {
    /// Finds the scope.
    pub fn find(world: &'a Snapshot, upgrade: &'a Upgrade) -> (Self, Findings) {
        let mut findings = Findings::default();
        let pools = pools(world, upgrade, &mut findings);
        let nodes = nodes(world, &pools);
        let databases = upgrade
            .spec
            .databases
            .iter()
            .filter_map(|spec| database(world, spec, &nodes, &mut findings))
            .collect();
        let scope = Self {
            target: upgrade
                .spec
                .target
                .as_ref()
                .map(|target| target.kubernetes_version),
            hand_over_only: matches!(upgrade.spec.strategy, Strategy::HandOver(_)),
            steady_pools: steady_pools(world, &pools),
            pools,
            nodes,
            databases,
        };
        (scope, findings)
    }

    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty() && !self.hand_over_only
    }

    /// Databases that the run moves or hands over.
    pub fn concerned(&self) -> impl Iterator<Item = &DatabaseScope<'a>> {
        self.databases
            .iter()
            .filter(|database| self.hand_over_only || database.moving().next().is_some())
    }

    /// Members of any database that are on this node.
    pub fn members_on<'s>(&'s self, node: &'s NodeName) -> impl Iterator<Item = &'s Member<'a>> {
        self.databases
            .iter()
            .flat_map(|database| database.members.values())
            .filter(move |member| member.old_node.as_ref() == Some(node))
    }
}

impl DatabaseScope<'_> {
    /// Members that must leave their node.
    pub fn moving(&self) -> impl Iterator<Item = &Member<'_>> {
        self.members.values().filter(|m| m.old_node.is_some())
    }

    /// Name of the member that an extra seat would be.
    pub fn seat(&self) -> ObjectRef {
        self.set_name
            .sibling(format!("{}-{}", self.set_name.name, self.set.replicas))
    }
}

fn pools(world: &Snapshot, upgrade: &Upgrade, findings: &mut Findings) -> BTreeSet<PoolName> {
    let mut wanted = BTreeSet::new();
    let Some(target) = &upgrade.spec.target else {
        return wanted;
    };
    for name in &target.pools {
        if world.pools.contains_key(name) {
            wanted.insert(name.clone());
        } else {
            let known: Vec<&str> = world.pools.keys().map(PoolName::as_str).collect();
            findings.refuse(
                Diagnostic::new(codes::POOL_UNKNOWN, name, "the cluster has no such pool")
                    .seen(format!("its pools: {}", known.join(", ")))
                    .fix("correct `spec.target.pools`, or leave it out to upgrade every pool that carries a member"),
            );
        }
    }
    if target.pools.is_empty() {
        for spec in &upgrade.spec.databases {
            let set = spec.stateful_set();
            wanted.extend(
                world
                    .pods
                    .iter()
                    .filter(|(name, pod)| ordinal(set, name, pod).is_some())
                    .filter_map(|(_, pod)| world.nodes.get(pod.node.as_ref()?)?.pool.clone()),
            );
        }
    }
    wanted.retain(|name| {
        world
            .pools
            .get(name)
            .is_some_and(|pool| pool.kubernetes_version != target.kubernetes_version)
    });
    wanted
}

fn nodes(world: &Snapshot, pools: &BTreeSet<PoolName>) -> BTreeMap<NodeName, OldNode> {
    world
        .nodes
        .iter()
        .filter_map(|(name, node)| {
            let pool = node.pool.clone().filter(|pool| pools.contains(pool))?;
            let old = OldNode {
                identity: NodeIdentity {
                    name: name.clone(),
                    uid: node.uid.clone(),
                },
                pool,
                zone: node.zone.clone(),
            };
            Some((name.clone(), old))
        })
        .collect()
}

fn database<'a>(
    world: &'a Snapshot,
    spec: &'a DatabaseSpec,
    nodes: &BTreeMap<NodeName, OldNode>,
    findings: &mut Findings,
) -> Option<DatabaseScope<'a>> {
    let set_name = spec.stateful_set();
    let set = world.stateful_sets.get(set_name);
    let observed = world.databases.get(&spec.name);
    let seen = observed.and_then(|observed| Seen::of(&spec.system, observed));
    if set.is_none()
        && let Some(seen) = operators::without_set(world, set_name)
    {
        let otherwise = "let its owner hand over by its own interface";
        findings.refuse(operators::refusal(set_name, seen, otherwise));
        return None;
    }
    let (Some(set), Some(seen)) = (set, seen) else {
        findings.refuse(
            Diagnostic::new(
                codes::SET_MISSING,
                set_name,
                format!("the stateful set of database `{}` was not found", spec.name),
            )
            .seen(format!(
                "stateful sets: {}",
                join(world.stateful_sets.keys())
            ))
            .fix("correct `statefulSet` in the spec (namespace/name)"),
        );
        return None;
    };
    let members = world
        .pods
        .iter()
        .filter_map(|(name, pod)| {
            let ordinal = ordinal(set_name, name, pod)?;
            let member = Member {
                ordinal,
                name: name.clone(),
                pod,
                old_node: pod.node.clone().filter(|node| nodes.contains_key(node)),
                disk_zone: disk_zone(world, set, name),
            };
            Some((ordinal, member))
        })
        .collect();
    Some(DatabaseScope {
        name: &spec.name,
        spec,
        set_name,
        set,
        seen,
        members,
    })
}

/// The ordinal, if the pod is a member of the set.
fn ordinal(set: &ObjectRef, name: &ObjectRef, pod: &Pod) -> Option<u32> {
    let owned = pod
        .owner
        .as_ref()
        .is_some_and(|Owner { kind, name }| kind == "StatefulSet" && *name == set.name);
    if name.namespace != set.namespace || !owned {
        return None;
    }
    name.name
        .strip_prefix(&set.name)?
        .strip_prefix('-')?
        .parse()
        .ok()
}

fn disk_zone(world: &Snapshot, set: &StatefulSet, member: &ObjectRef) -> Option<Zone> {
    set.claim_templates.iter().find_map(|template| {
        let claim = member.sibling(format!("{template}-{}", member.name));
        world.claims.get(&claim)?.zone.clone()
    })
}

/// Pools that are not upgraded and have two nodes for pods without tolerations: one for the agent,
/// one for the watchdog that must outlive it.
fn steady_pools(world: &Snapshot, upgraded: &BTreeSet<PoolName>) -> Vec<PoolName> {
    world
        .pools
        .keys()
        .filter(|name| !upgraded.contains(*name))
        .filter(|name| {
            world
                .nodes
                .values()
                .filter(|node| node.pool.as_ref() == Some(*name) && hosts_anybody(node))
                .count()
                >= 2
        })
        .cloned()
        .collect()
}

/// Ready, schedulable, and without a taint that the run's own pods do not tolerate: they tolerate
/// the mark of AKS's System pools and nothing else.
pub(crate) fn hosts_anybody(node: &Node) -> bool {
    node.ready
        && !node.unschedulable
        && node.taints.iter().all(|taint| {
            taint.ends_with(":PreferNoSchedule") || taint.starts_with("CriticalAddonsOnly=")
        })
}

/// Names for a sentence; a dash for none.
pub(crate) fn join<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let text: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if text.is_empty() {
        "none".to_owned()
    } else {
        text.join(", ")
    }
}
