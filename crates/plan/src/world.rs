//! The world as observed, at one moment, by one collector.
//!
//! A snapshot is data: programs write it, so its readers accept unknown fields. Absence is said
//! explicitly (`Option`), never by a default that looks like an observation.

mod kafka;
mod mariadb;
mod memcached;
mod mongodb;
mod patroni;
mod postgres;
mod redis;

pub use kafka::{
    Kafka, KafkaFacts, KafkaMember, KafkaPartition, KafkaPeer, KafkaQuorum, KafkaTopic,
};
pub use mariadb::{
    Gtid, GtidPosition, GtidState, Mariadb, MariadbActivity, MariadbFacts, MariadbMember,
    MariadbSource,
};
pub use memcached::{
    Absence, Memcached, MemcachedCounts, MemcachedFacts, MemcachedMember, percent,
};
pub use mongodb::{Mongo, MongoFacts, MongoMember, MongoPeer, MongoShardRole, MongoState};
pub use patroni::{
    Patroni, PatroniFacts, PatroniMember, PatroniPeer, PatroniSettings, PatroniView,
};
pub use postgres::{
    Pooler, PoolerConfig, PoolerDatabase, Postgres, PostgresFacts, PostgresMember, PrimaryService,
};
pub use redis::{
    Flavour, Redis, RedisFacts, RedisMember, RedisPeer, RedisPersistence, RedisRole, SlotRange,
};

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{DatabaseName, NodeName, ObjectRef, PoolName, Uid, Zone};
use crate::version::KubernetesVersion;

/// Label by which a run marks what it made, with the plan's id as its value.
pub const RUN_LABEL: &str = "ferriswheel.dev/run";

/// Everything that the planner and the checks may look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Format version: `ferriswheel.snapshot.v1`.
    pub schema: String,
    /// When the collection began.
    pub observed_at: Timestamp,
    /// The managed cluster as ARM shows it.
    pub cluster: Cluster,
    /// Node pools by name.
    pub pools: BTreeMap<PoolName, Pool>,
    /// Nodes by name.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Pods by namespace and name; completed pods included.
    pub pods: BTreeMap<ObjectRef, Pod>,
    /// Stateful sets.
    pub stateful_sets: BTreeMap<ObjectRef, StatefulSet>,
    /// Disruption budgets.
    pub budgets: BTreeMap<ObjectRef, Budget>,
    /// Volume claims with the disk behind each.
    pub claims: BTreeMap<ObjectRef, Claim>,
    /// Databases named by the spec, as observed.
    pub databases: BTreeMap<DatabaseName, Database>,
}

/// The managed cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// ARM resource id.
    pub id: String,
    /// Azure region (`eastus`).
    pub location: String,
    /// Version that the control plane runs.
    pub kubernetes_version: KubernetesVersion,
    /// ARM's free-form state; only `Succeeded`, `Failed` and `Canceled` are terminal.
    pub provisioning_state: String,
    /// Cluster auto-upgrade channel, if one is set.
    pub upgrade_channel: Option<String>,
    /// Node OS channel, if one is set.
    pub node_os_channel: Option<String>,
}

/// A node pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// `true` for mode System.
    pub system: bool,
    /// Availability zones as node labels spell them; empty for a regional pool.
    pub zones: Vec<Zone>,
    /// Number of machines that ARM reports.
    pub count: u32,
    /// Version that the nodes run (`currentOrchestratorVersion`).
    pub kubernetes_version: KubernetesVersion,
    /// Node image, if reported.
    pub node_image: Option<String>,
    /// ARM's free-form state.
    pub provisioning_state: String,
    /// VM size.
    pub vm_size: String,
    /// Labels that the pool gives to its nodes.
    pub node_labels: BTreeMap<String, String>,
    /// Taints that the pool gives to its nodes (`key=value:Effect`).
    pub node_taints: Vec<String>,
    /// Whether the cluster autoscaler changes the pool's size.
    pub autoscaling: bool,
    /// Versions that ARM offers for an upgrade of this pool.
    pub upgrades: Vec<KubernetesVersion>,
    /// A force upgrade that is still switched on, with its end.
    pub force_upgrade_until: Option<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Changes with every machine.
    pub uid: Uid,
    /// Kernel boot id.
    pub boot_id: String,
    /// Pool, from the node's label.
    pub pool: Option<PoolName>,
    /// Zone, from the node's label.
    pub zone: Option<Zone>,
    /// What the kubelet says it is.
    pub kubelet_version: KubernetesVersion,
    /// Ready condition is True.
    pub ready: bool,
    /// Cordoned.
    pub unschedulable: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints (`key=value:Effect`).
    pub taints: Vec<String>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// UID.
    pub uid: Uid,
    /// Node it is bound to.
    pub node: Option<NodeName>,
    /// Controller, as `Kind` and name.
    pub owner: Option<Owner>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Phase.
    pub phase: String,
    /// Ready condition is True.
    pub ready: bool,
    /// Being deleted.
    pub terminating: bool,
    /// Claims that it mounts.
    pub claims: Vec<String>,
    /// Node selector of the pod itself.
    pub node_selector: BTreeMap<String, String>,
    /// Uses an emptyDir, whose content an eviction destroys.
    pub local_data: bool,
    /// Containers.
    pub containers: Vec<Container>,
}

/// The controller of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// Restarts so far.
    pub restarts: u32,
    /// When the running instance started.
    pub started_at: Option<Timestamp>,
    /// Reason of a waiting state (`CrashLoopBackOff`).
    pub waiting: Option<String>,
    /// When the previous instance ended.
    pub last_finished_at: Option<Timestamp>,
}

/// A stateful set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatefulSet {
    /// UID.
    pub uid: Uid,
    /// Wanted members.
    pub replicas: u32,
    /// Ready members.
    pub ready_replicas: u32,
    /// Revision that running pods have.
    pub current_revision: String,
    /// Revision that new pods get.
    pub update_revision: String,
    /// Labels that select its pods.
    pub selector: BTreeMap<String, String>,
    /// Governing Service.
    pub service_name: String,
    /// Names of the claim templates.
    pub claim_templates: Vec<String>,
    /// Node selector and required node affinity of the template, flattened to `key=value`.
    pub node_requirements: BTreeMap<String, Vec<String>>,
    /// Two members may not share a node (required anti-affinity by hostname).
    pub one_per_node: bool,
    /// Tolerated taints, `key=value:Effect`; `*` tolerates everything.
    pub tolerations: Vec<String>,
    /// Seconds that a member gets to stop.
    pub termination_grace_seconds: u64,
    /// Commands, arguments and scripts (from ConfigMaps) that start the server, as text.
    pub entrypoint_text: Vec<String>,
    /// Labels of the set and its pods that name another owner (an operator).
    pub labels: BTreeMap<String, String>,
    /// Annotations of the set.
    pub annotations: BTreeMap<String, String>,
    /// Owner of the set itself (an operator's custom resource).
    pub owner: Option<Owner>,
}

/// A disruption budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Labels that select its pods.
    pub selector: BTreeMap<String, String>,
    /// Evictions allowed now.
    pub disruptions_allowed: i32,
    /// Healthy pods now.
    pub current_healthy: i32,
    /// Healthy pods wanted.
    pub desired_healthy: i32,
    /// Pods counted.
    pub expected_pods: i32,
    /// `maxUnavailable`, as written.
    pub max_unavailable: Option<String>,
    /// `minAvailable`, as written.
    pub min_available: Option<String>,
}

/// A volume claim and the disk behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// UID.
    pub uid: Uid,
    /// Bound volume.
    pub volume: Option<String>,
    /// Zone that the disk is bound to.
    pub zone: Option<Zone>,
    /// Storage class.
    pub storage_class: Option<String>,
    /// What happens to the disk when the claim goes.
    pub reclaim_policy: Option<String>,
    /// Labels; a run marks the claim of its extra seat with [`RUN_LABEL`].
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A server that was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked<F> {
    /// Why it could not be asked; `facts` is then `None`.
    pub unreachable: Option<String>,
    /// What it answered.
    pub facts: Option<F>,
}

/// A database as observed through its own protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Database {
    /// PostgreSQL with streaming replication.
    Postgres(Postgres),
    /// Redis or Valkey in cluster mode.
    Redis(Redis),
    /// A MongoDB replica set.
    Mongodb(Mongo),
    /// A MariaDB set with asynchronous replication.
    Mariadb(Mariadb),
    /// A pool of Memcached servers.
    Memcached(Memcached),
    /// A Kafka cluster.
    Kafka(Kafka),
}

impl Database {
    /// Members that say they lead: one of a set, one of each shard of a cluster, none of a cache; of
    /// Kafka the active controller, if it is one of the brokers.
    pub fn leaders(&self) -> Vec<&str> {
        match self {
            Self::Postgres(set) => leading(&set.members, |facts| !facts.in_recovery),
            Self::Redis(set) => leading(&set.members, |facts| facts.role == RedisRole::Primary),
            Self::Mongodb(set) => leading(&set.members, |facts| facts.state == MongoState::Primary),
            Self::Mariadb(set) => leading(&set.members, |facts| facts.leads() && !facts.read_only),
            Self::Memcached(_) => Vec::new(),
            Self::Kafka(set) => leading(&set.members, |facts| {
                facts.quorum.leader == Some(facts.node)
            }),
        }
    }
}

fn leading<F>(members: &BTreeMap<String, Asked<F>>, leads: impl Fn(&F) -> bool) -> Vec<&str> {
    members
        .iter()
        .filter(|(_, member)| member.facts.as_ref().is_some_and(&leads))
        .map(|(pod, _)| pod.as_str())
        .collect()
}
