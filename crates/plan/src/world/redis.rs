//! Redis and Valkey in cluster mode, as observed: each node's own view, never one node's for all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ObjectRef;
use crate::world::Asked;

/// A cluster whose nodes are the pods of one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Redis {
    /// The set that carries it.
    pub stateful_set: ObjectRef,
    /// Members by pod name.
    pub members: BTreeMap<String, RedisMember>,
}

/// One server.
pub type RedisMember = Asked<RedisFacts>;

/// Which program answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Flavour {
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
        })
    }
}

/// What a server is in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RedisRole {
    /// Takes the writes of its slots (`master` in the servers' words).
    Primary,
    /// Copies a primary (`slave` in the servers' words).
    Replica,
}

/// What a server says of itself and of the others, in one session of reading commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RedisFacts {
    /// Program.
    pub flavour: Flavour,
    /// Version of the program: `redis_version` of Redis, `valkey_version` of Valkey.
    pub version: String,
    /// `cluster_enabled`; without it every field about the cluster is empty or 0.
    pub cluster_enabled: bool,
    /// Its node id (`CLUSTER MYID`).
    pub id: String,
    /// Role (`ROLE`, `INFO replication`).
    pub role: RedisRole,
    /// On a replica: node id of its primary, as it sees it.
    pub primary_id: Option<String>,
    /// Replication offset in bytes: `master_repl_offset` on a primary, `slave_repl_offset` on a
    /// replica.
    pub offset: u64,
    /// On a replica: `master_link_status` is `up`.
    pub link_up: Option<bool>,
    /// On a replica: `master_sync_in_progress`.
    pub syncing: bool,
    /// `loading`.
    pub loading: bool,
    /// On a primary: replicas that are `online`, by `address:port` as it sees them, with the offset
    /// that each acknowledged.
    pub replicas: BTreeMap<String, u64>,
    /// `cluster_state` is `ok`.
    pub cluster_ok: bool,
    /// `cluster_slots_assigned`.
    pub slots_assigned: u32,
    /// `cluster_slots_ok`.
    pub slots_ok: u32,
    /// `cluster_slots_pfail`.
    pub slots_pfail: u32,
    /// `cluster_slots_fail`.
    pub slots_fail: u32,
    /// `cluster_known_nodes`.
    pub known_nodes: u32,
    /// `cluster_current_epoch`.
    pub current_epoch: u64,
    /// `cluster_my_epoch`.
    pub my_epoch: u64,
    /// Every node that it knows, itself included, by node id.
    pub nodes: BTreeMap<String, RedisPeer>,
    /// Slots that it is about to send or to receive, as `CLUSTER NODES` writes them
    /// (`[93->-<id>]`, `[77-<-<id>]`).
    pub slots_moving: Vec<String>,
    /// How it keeps its data.
    pub persistence: RedisPersistence,
    /// `aof_rewrite_in_progress`.
    pub aof_rewriting: bool,
    /// `rdb_bgsave_in_progress`.
    pub rdb_saving: bool,
    /// `used_memory` in bytes.
    pub used_memory: u64,
    /// `repl-backlog-size` in bytes.
    pub backlog_bytes: u64,
    /// `min-replicas-to-write`.
    pub min_replicas_to_write: u32,
    /// `cluster-node-timeout` in milliseconds.
    pub node_timeout_ms: u64,
    /// `cluster-require-full-coverage`.
    pub full_coverage: bool,
    /// `cluster-allow-replica-migration`.
    pub replica_migration: bool,
    /// `cluster-announce-ip`, if set.
    pub announce_ip: Option<String>,
    /// `cluster-announce-hostname`, if set.
    pub announce_hostname: Option<String>,
    /// Directory of the data and of `nodes.conf` (`CONFIG GET dir`).
    pub directory: String,
    /// Name of the user of the session (`ACL WHOAMI`).
    pub user: String,
    /// Commands of the procedure that this user may not run (`ACL DRYRUN`), for example
    /// `cluster|failover`.
    pub forbidden: Vec<String>,
    /// Keys held (`DBSIZE`).
    pub keys: u64,
}

/// How a server keeps its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisPersistence {
    /// `appendonly`.
    pub aof: bool,
    /// `save`; empty: no snapshots.
    pub save: String,
}

impl RedisPersistence {
    /// Nothing is written to disk.
    pub fn memory_only(&self) -> bool {
        !self.aof && self.save.trim().is_empty()
    }
}

/// A node as another one sees it: one line of `CLUSTER NODES`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisPeer {
    /// Address of its client port, without the port; empty if unknown (`noaddr`).
    pub ip: String,
    /// Client port.
    pub port: u16,
    /// Announced host name, if any.
    pub hostname: Option<String>,
    /// Flags: `myself`, `master`, `slave`, `fail?`, `fail`, `handshake`, `noaddr`, `nofailover`.
    pub flags: BTreeSet<String>,
    /// Node id of its primary.
    pub primary: Option<String>,
    /// The link of the cluster bus is `connected`.
    pub connected: bool,
    /// Configuration epoch.
    pub config_epoch: u64,
    /// Slots that it serves.
    pub slots: Vec<SlotRange>,
}

/// Slots from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SlotRange {
    /// First.
    pub first: u16,
    /// Last.
    pub last: u16,
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}
