//! The vocabulary of steps: what a plan may ask the world to do.
//!
//! A step carries every choice; nothing is decided while it runs. It can be observed ("is it
//! done?") from the world alone, without knowing who did it.

mod lag;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use lag::Lag;

use crate::ids::{DatabaseName, NodeName, ObjectRef, PoolName, Uid, Zone};
use crate::version::KubernetesVersion;

/// Position of a step in its plan, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One step with everything that a reader needs before approving it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Position.
    pub id: StepId,
    /// One line for people.
    pub title: String,
    /// What to do.
    pub kind: StepKind,
    /// Checked again right before the act.
    pub guards: Vec<Guard>,
    /// A person must approve before the act.
    pub gate: Option<Gate>,
    /// How it is taken back.
    pub undo: Undo,
    /// The result must still hold after this long, in milliseconds.
    pub soak_ms: u64,
    /// The step is given up (resumable) after this long, in milliseconds.
    pub deadline_ms: u64,
    /// Expected duration in milliseconds, from measured figures; for the display only.
    pub expected_ms: u64,
    /// Expected longest stall of writes in milliseconds, if the step stalls writes at all.
    pub expected_stall_ms: Option<u64>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepKind {
    /// The judge starts to write.
    StartProbe {
        /// Database under test.
        database: DatabaseName,
        /// Pools whose nodes may carry the probe.
        on_pools: Vec<PoolName>,
    },
    /// The agent and the watchdog of the hand-over run on two different nodes.
    StartAgents {
        /// Database that they will hand over.
        database: DatabaseName,
        /// Pools whose nodes may carry them.
        on_pools: Vec<PoolName>,
    },
    /// Nodes of the old pool take no new pods.
    Cordon {
        /// Nodes, with the machine that the plan means.
        nodes: Vec<NodeIdentity>,
    },
    /// Nodes that a run has cordoned take new pods again.
    Uncordon {
        /// Nodes, with the machine that the plan means.
        nodes: Vec<NodeIdentity>,
    },
    /// A pool at the target version exists with this many machines.
    GrowPool {
        /// Pool to create or enlarge.
        pool: PoolName,
        /// Pool whose labels, taints, size and settings it takes over.
        like: PoolName,
        /// Its single zone.
        zone: Zone,
        /// Machines wanted after the step.
        count: u32,
        /// Version of its machines.
        version: KubernetesVersion,
    },
    /// One more replica, so that no later step lowers the redundancy.
    AddSeat {
        /// Database.
        database: DatabaseName,
        /// Its set.
        stateful_set: ObjectRef,
        /// Replicas wanted after the step; the new member is the highest ordinal.
        replicas: u32,
        /// Pool on whose node the seat must land.
        onto_pool: PoolName,
    },
    /// A replica leaves its old node through the eviction API and is whole again on a new one.
    MoveReplica {
        /// Database.
        database: DatabaseName,
        /// Member.
        pod: ObjectRef,
        /// The pod that the plan means.
        pod_uid: Uid,
        /// Node that it leaves.
        from: NodeIdentity,
        /// Pool on whose node it must land.
        onto_pool: PoolName,
    },
    /// The primary moves, once.
    HandOver {
        /// Database.
        database: DatabaseName,
        /// Primary now.
        from: ObjectRef,
        /// Primary afterwards.
        to: ObjectRef,
        /// How clients are treated and which proof is required.
        terms: HandOverTerms,
    },
    /// The partitions that a broker leads are led by others, one after the other, before it moves.
    DrainLeaders {
        /// Database.
        database: DatabaseName,
        /// Broker that will move.
        pod: ObjectRef,
        /// How, and to whom.
        terms: DrainTerms,
    },
    /// Every partition that a run has led away has its own order of replicas and its own leader
    /// again, one after the other.
    ReturnLeaders {
        /// Database.
        database: DatabaseName,
        /// One partition in each span of this many milliseconds.
        pace_ms: u64,
    },
    /// An old node is emptied through the eviction API, proven empty, and its machine deleted.
    RetireNode {
        /// Node.
        node: NodeIdentity,
        /// Its pool.
        pool: PoolName,
    },
    /// A pool loses the machines that carry no member of a database, in the way of
    /// [`StepKind::RetireNode`], until this many are left. For machines that the run itself made,
    /// whose names are not known when the plan is written.
    ShrinkPool {
        /// Pool.
        pool: PoolName,
        /// Machines wanted after the step.
        count: u32,
        /// Sets whose members keep their machine.
        keep: Vec<ObjectRef>,
    },
    /// The extra replica goes: highest ordinal, never the primary; with it its claim, disk and slot.
    RemoveSeat {
        /// Database.
        database: DatabaseName,
        /// Set.
        stateful_set: ObjectRef,
        /// Replicas wanted after the step.
        replicas: u32,
        /// Claims of the seat that a rollback means although they may lack the run's mark.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        claims: Vec<ClaimIdentity>,
    },
    /// A pool without machines in use is deleted.
    DeletePool {
        /// Pool.
        pool: PoolName,
    },
    /// Agent and watchdog go.
    StopAgents {
        /// Database.
        database: DatabaseName,
    },
    /// The judge stops, looks every key up on every member and gives its verdict.
    Certify {
        /// Database.
        database: DatabaseName,
    },
}

impl StepKind {
    /// Stable name for journals, events and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StartProbe { .. } => "startProbe",
            Self::StartAgents { .. } => "startAgents",
            Self::Cordon { .. } => "cordon",
            Self::Uncordon { .. } => "uncordon",
            Self::GrowPool { .. } => "growPool",
            Self::AddSeat { .. } => "addSeat",
            Self::MoveReplica { .. } => "moveReplica",
            Self::HandOver { .. } => "handOver",
            Self::DrainLeaders { .. } => "drainLeaders",
            Self::ReturnLeaders { .. } => "returnLeaders",
            Self::RetireNode { .. } => "retireNode",
            Self::ShrinkPool { .. } => "shrinkPool",
            Self::RemoveSeat { .. } => "removeSeat",
            Self::DeletePool { .. } => "deletePool",
            Self::StopAgents { .. } => "stopAgents",
            Self::Certify { .. } => "certify",
        }
    }
}

/// A node and the machine behind the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// Name.
    pub name: NodeName,
    /// UID of the Node object at planning time.
    pub uid: Uid,
}

/// A claim and the object behind the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClaimIdentity {
    /// Name.
    pub name: ObjectRef,
    /// UID of the claim at planning time.
    pub uid: Uid,
}

/// How partitions are led away from a broker. Which they are is seen when it is done: topics come and
/// go while a plan waits. Of each the new leader is, among those in sync, the one that it had before
/// the run if that is in `settled`; else the one of `settled` that leads the fewest; else the first
/// of `later`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainTerms {
    /// One partition in each span of this many milliseconds.
    pub pace_ms: u64,
    /// Brokers that do not move any more.
    pub settled: Vec<ObjectRef>,
    /// Brokers that move later, the last one first.
    pub later: Vec<ObjectRef>,
}

/// The conditions of a hand-over, by database system.
#[derive(Clone, Debug, PartialEq)]
pub enum HandOverTerms {
    /// Of PostgreSQL; written without a name around it, as plans had it before there were others.
    Postgres(PostgresTerms),
    /// Of one shard of a Redis or Valkey cluster; written under `redis`.
    Redis(RedisTerms),
    /// Of a MongoDB replica set; written under `mongodb`.
    Mongodb(MongoTerms),
    /// Of a MariaDB set; written under `mariadb`.
    Mariadb(MariadbTerms),
}

impl HandOverTerms {
    /// If it is PostgreSQL's.
    pub fn postgres(&self) -> Option<&PostgresTerms> {
        match self {
            Self::Postgres(terms) => Some(terms),
            Self::Redis(_) | Self::Mongodb(_) | Self::Mariadb(_) => None,
        }
    }

    /// If it is a shard's of Redis or Valkey.
    pub fn redis(&self) -> Option<&RedisTerms> {
        match self {
            Self::Redis(terms) => Some(terms),
            Self::Postgres(_) | Self::Mongodb(_) | Self::Mariadb(_) => None,
        }
    }

    /// If it is a MongoDB replica set's.
    pub fn mongodb(&self) -> Option<&MongoTerms> {
        match self {
            Self::Mongodb(terms) => Some(terms),
            Self::Postgres(_) | Self::Redis(_) | Self::Mariadb(_) => None,
        }
    }

    /// If it is a MariaDB set's.
    pub fn mariadb(&self) -> Option<&MariadbTerms> {
        match self {
            Self::Mariadb(terms) => Some(terms),
            Self::Postgres(_) | Self::Redis(_) | Self::Mongodb(_) => None,
        }
    }
}

#[derive(Serialize)]
struct RedisText<'a> {
    redis: &'a RedisTerms,
}

#[derive(Serialize)]
struct MongoText<'a> {
    mongodb: &'a MongoTerms,
}

#[derive(Serialize)]
struct MariadbText<'a> {
    mariadb: &'a MariadbTerms,
}

/// Terms as they are written; which fields are there says whose they are.
#[derive(Deserialize)]
struct TermsText {
    redis: Option<RedisTerms>,
    mongodb: Option<MongoTerms>,
    mariadb: Option<MariadbTerms>,
    #[serde(default)]
    poolers: Vec<ObjectRef>,
    pause_budget_ms: Option<u64>,
    window_budget_ms: Option<u64>,
    crash_safe: Option<bool>,
    #[serde(default)]
    make_synchronous: bool,
    service: Option<ObjectRef>,
    patroni: Option<PatroniTerms>,
}

impl Serialize for HandOverTerms {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Postgres(terms) => terms.serialize(serializer),
            Self::Redis(redis) => RedisText { redis }.serialize(serializer),
            Self::Mongodb(mongodb) => MongoText { mongodb }.serialize(serializer),
            Self::Mariadb(mariadb) => MariadbText { mariadb }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for HandOverTerms {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let missing = <D::Error as serde::de::Error>::missing_field;
        let text = TermsText::deserialize(deserializer)?;
        if let Some(redis) = text.redis {
            return Ok(Self::Redis(redis));
        }
        if let Some(mongodb) = text.mongodb {
            return Ok(Self::Mongodb(mongodb));
        }
        if let Some(mariadb) = text.mariadb {
            return Ok(Self::Mariadb(mariadb));
        }
        Ok(Self::Postgres(PostgresTerms {
            poolers: text.poolers,
            pause_budget_ms: text
                .pause_budget_ms
                .ok_or_else(|| missing("pause_budget_ms"))?,
            window_budget_ms: text
                .window_budget_ms
                .ok_or_else(|| missing("window_budget_ms"))?,
            crash_safe: text.crash_safe.ok_or_else(|| missing("crash_safe"))?,
            make_synchronous: text.make_synchronous,
            service: text.service,
            patroni: text.patroni,
        }))
    }
}

/// The conditions of a PostgreSQL hand-over. Durations in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PostgresTerms {
    /// Every pooler process is paused; empty when clients connect directly.
    pub poolers: Vec<ObjectRef>,
    /// All poolers must have paused within this time, or nothing happens.
    pub pause_budget_ms: u64,
    /// PAUSE to RESUME never lasts longer; the watchdog enforces it.
    pub window_budget_ms: u64,
    /// A crash inside the window must not lose an acknowledged write either: the candidate is
    /// synchronous before the window opens.
    pub crash_safe: bool,
    /// The candidate of an asynchronous set is made synchronous for the length of the hand-over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub make_synchronous: bool,
    /// Service whose selector follows the primary by a role label, if any.
    pub service: Option<ObjectRef>,
    /// Patroni is asked to do it; else the servers are stopped and promoted one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patroni: Option<PatroniTerms>,
}

/// How Patroni is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatroniTerms {
    /// Port of its REST API.
    pub port: u16,
    /// Secret of the login that the REST API wants, if it wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<ObjectRef>,
    /// So long after the window Patroni may still do what it was asked, in milliseconds.
    pub afterwards_ms: u64,
}

/// The conditions of the hand-over of one shard. Durations in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RedisTerms {
    /// Slots of the shard, for people (`0-5460`).
    pub slots: String,
    /// From the order to the view of every node; the servers give up by themselves after 5 s.
    pub window_budget_ms: u64,
}

/// The conditions of the hand-over of a MongoDB replica set. Durations in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MongoTerms {
    /// From the order to step down to the view of a majority.
    pub window_budget_ms: u64,
    /// The others copy from the successor before the primary steps down, so that its first writes
    /// find a majority at once. Needs `settings.chainingAllowed`.
    pub chain: bool,
}

/// The conditions of the hand-over of a MariaDB set. Durations in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MariadbTerms {
    /// Longest statement or transaction that the lock on the old primary waits for.
    pub lock_budget_ms: u64,
    /// From the lock until clients can write again.
    pub window_budget_ms: u64,
    /// Commits wait for a replica: the others follow the candidate before it takes writes.
    pub semi_sync: bool,
}

/// A condition that is checked again right before the act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Guard {
    /// Exactly one primary, all other members stream from it and are not further behind than this.
    AllStreaming {
        /// Database.
        database: DatabaseName,
        /// Members wanted, the primary included.
        members: u32,
        /// How far they may be behind.
        #[serde(flatten)]
        max_lag: Lag,
    },
    /// This member is the primary.
    PrimaryIs {
        /// Database.
        database: DatabaseName,
        /// Member.
        pod: ObjectRef,
    },
    /// This member is not the primary.
    NotPrimary {
        /// Database.
        database: DatabaseName,
        /// Member.
        pod: ObjectRef,
    },
    /// The candidate runs on a node at the target version.
    OnVersion {
        /// Member.
        pod: ObjectRef,
        /// Version.
        version: KubernetesVersion,
    },
    /// Every budget over the pod allows one eviction now.
    EvictionAllowed {
        /// Member.
        pod: ObjectRef,
    },
    /// The member's next restart would not be delayed by the kubelet's crash back-off.
    RestartUndelayed {
        /// Member.
        pod: ObjectRef,
    },
    /// The node is still the machine that the plan means.
    SameMachine {
        /// Node.
        node: NodeIdentity,
    },
    /// A node of the pool is Ready, schedulable, and free for one member.
    SeatFree {
        /// Pool.
        pool: PoolName,
        /// Set whose member needs it.
        stateful_set: ObjectRef,
    },
    /// No operation is in progress on the cluster or the pool.
    NoOperation {
        /// Pool.
        pool: PoolName,
    },
    /// No pod but daemons is left on the pool's nodes.
    PoolEmpty {
        /// Pool.
        pool: PoolName,
    },
    /// At least one other System pool remains.
    OtherSystemPool {
        /// Pool that would go.
        pool: PoolName,
    },
}

/// Who must say yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Name used by `approve`.
    pub name: String,
    /// What the person approves.
    pub question: String,
}

/// How a step is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Undo {
    /// By the inverse act; a rollback's plan ([`crate::rollback`]) carries the steps.
    #[serde(rename = "by")]
    Inverse(Inverse),
    /// By the inverse act, told for people alone, as older plans do.
    #[serde(rename = "inverse")]
    Told(String),
    /// By putting back what was recorded.
    Restore(String),
    /// Not at all; the way is forward.
    RollForwardOnly(String),
    /// By a person, with this runbook.
    Manual(String),
    /// Nothing to take back.
    Nothing,
}

/// The inverse of a step, as far as it is known when the step is planned: machines that the run
/// will make have no name yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Inverse {
    /// The probe ends with its verdict.
    Certify {
        /// Database.
        database: DatabaseName,
    },
    /// Agent and watchdog go.
    StopAgents {
        /// Database.
        database: DatabaseName,
    },
    /// Nodes take pods again, except for those that were cordoned before the run.
    Uncordon {
        /// Nodes.
        nodes: Vec<NodeIdentity>,
    },
    /// The machine that came with the step goes, once it carries no member.
    RetireMachine {
        /// Pool.
        pool: PoolName,
    },
    /// The pool that came with the step goes with its machine, once it carries no member.
    DeletePool {
        /// Pool.
        pool: PoolName,
    },
    /// The seat goes with its claim, disk and slot.
    RemoveSeat {
        /// Database.
        database: DatabaseName,
        /// Set.
        stateful_set: ObjectRef,
        /// Replicas wanted afterwards.
        replicas: u32,
    },
    /// The member moves back, while its old machine is there.
    MoveBack {
        /// Member.
        pod: ObjectRef,
        /// The machine that it left.
        to: NodeIdentity,
    },
    /// Every partition gets its own order of replicas and its own leader back.
    ReturnLeaders {
        /// Database.
        database: DatabaseName,
    },
    /// The former primary takes over again, if a person asks for that.
    HandBack {
        /// Primary after the step.
        from: ObjectRef,
        /// Primary before the step.
        to: ObjectRef,
    },
}

impl fmt::Display for Inverse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certify { .. } => write!(f, "stop the probe and certify"),
            Self::StopAgents { .. } => write!(f, "stop them"),
            Self::Uncordon { nodes } => write!(
                f,
                "uncordon the {} nodes, except for those that were cordoned before the run",
                nodes.len()
            ),
            Self::RetireMachine { pool } => write!(
                f,
                "empty the new machine of {pool} and delete it, unless it carries a member by then"
            ),
            Self::DeletePool { pool } => write!(
                f,
                "empty the new machine and delete pool {pool}, unless it carries a member by then"
            ),
            Self::RemoveSeat {
                stateful_set,
                replicas,
                ..
            } => write!(
                f,
                "scale {stateful_set} back to {replicas}; claim, disk and slot of the seat go"
            ),
            Self::MoveBack { pod, to } => write!(
                f,
                "move {} back to {}, while that machine is there",
                pod.name, to.name
            ),
            Self::ReturnLeaders { database } => write!(
                f,
                "give the partitions of {database} their order of replicas and their leaders back"
            ),
            Self::HandBack { from, to } => write!(
                f,
                "only if asked for: hand over from {} back to {} with the same proof (a second move)",
                from.name, to.name
            ),
        }
    }
}
