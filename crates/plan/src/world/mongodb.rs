//! A MongoDB replica set, as observed: each member's own view, never one member's for all.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ObjectRef;
use crate::world::Asked;

/// A replica set whose members are the pods of one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mongo {
    /// The set that carries it.
    pub stateful_set: ObjectRef,
    /// Members by pod name.
    pub members: BTreeMap<String, MongoMember>,
}

/// One server.
pub type MongoMember = Asked<MongoFacts>;

/// What a member is, as `replSetGetStatus` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MongoState {
    /// Takes writes.
    Primary,
    /// Copies and may be elected.
    Secondary,
    /// Votes and has no data.
    Arbiter,
    /// Anything else, in the server's word: `STARTUP2` (initial sync), `RECOVERING`, `ROLLBACK`,
    /// `(not reachable/healthy)`, ...
    Other(String),
}

impl MongoState {
    /// From the server's word.
    pub fn of(word: &str) -> Self {
        match word {
            "PRIMARY" => Self::Primary,
            "SECONDARY" => Self::Secondary,
            "ARBITER" => Self::Arbiter,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for MongoState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "PRIMARY",
            Self::Secondary => "SECONDARY",
            Self::Arbiter => "ARBITER",
            Self::Other(word) => word,
        })
    }
}

/// Part of a sharded cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MongoShardRole {
    /// A shard (`shardsvr`).
    Shard,
    /// The configuration servers (`configsvr`).
    Config,
    /// A router (`mongos`).
    Router,
}

/// What a server says of itself and of the others, in one session of reading commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MongoFacts {
    /// Version of the program.
    pub version: String,
    /// Name of the replica set; `None`: the server is in none.
    pub set: Option<String>,
    /// Part of a sharded cluster, if it is one.
    pub sharding: Option<MongoShardRole>,
    /// Its address in the configuration (`hello.me`).
    pub me: String,
    /// What it is.
    pub state: MongoState,
    /// Election term.
    pub term: i64,
    /// Configuration version.
    pub config_version: i64,
    /// Configuration term.
    pub config_term: i64,
    /// Everybody in the configuration, by member id, as this server sees them.
    pub peers: BTreeMap<u32, MongoPeer>,
    /// On the primary: how far the majority's commit point is behind what it has applied, in
    /// milliseconds.
    pub commit_behind_ms: u64,
    /// Seconds between the newest and the oldest entry of its oplog.
    pub oplog_seconds: u64,
    /// Bytes that the oplog holds.
    pub oplog_bytes: u64,
    /// Bytes that the oplog may hold.
    pub oplog_max_bytes: u64,
    /// Index builds under way.
    pub index_builds: u32,
    /// A backup reads from it (`$backupCursor`), or it is locked for one (`fsyncLock`).
    pub backup: Option<String>,
    /// What clients that say nothing wait for: `majority` or a number.
    pub default_write_concern: String,
    /// A member may copy from one that is not the primary (`settings.chainingAllowed`).
    pub chaining: bool,
    /// `settings.electionTimeoutMillis`.
    pub election_timeout_ms: u64,
    /// Directory of the data.
    pub directory: String,
    /// User of the session; empty: the server asks nobody for a password.
    pub user: String,
    /// Actions of the procedure that this user may not do.
    pub forbidden: Vec<String>,
}

/// A member as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MongoPeer {
    /// `host:port` of the configuration.
    pub host: String,
    /// What it is.
    pub state: MongoState,
    /// It answers heartbeats.
    pub healthy: bool,
    /// Seconds of its newest entry.
    pub optime: u64,
    /// Votes.
    pub votes: u32,
    /// Priority in thousandths; 0 is never elected.
    pub priority_milli: u64,
    /// Hidden from clients.
    pub hidden: bool,
    /// Behind on purpose, in seconds.
    pub delay_seconds: u64,
    /// Votes without data.
    pub arbiter: bool,
}

impl MongoPeer {
    /// May become the primary that clients write to.
    pub fn is_electable(&self) -> bool {
        self.priority_milli > 0 && !self.hidden && self.delay_seconds == 0 && !self.arbiter
    }

    /// Host without the port.
    pub fn host_name(&self) -> &str {
        self.host
            .rsplit_once(':')
            .map_or(self.host.as_str(), |(host, _)| host)
    }
}

impl MongoFacts {
    /// Its own entry in the configuration.
    pub fn myself(&self) -> Option<(u32, &MongoPeer)> {
        self.peers
            .iter()
            .find(|(_, peer)| peer.host == self.me)
            .map(|(id, peer)| (*id, peer))
    }

    /// Seconds of writing that the oplog can hold, at the pace of what it holds now. An oplog that
    /// is not full reaches further than it is old.
    pub fn oplog_reach_seconds(&self) -> u64 {
        if self.oplog_bytes == 0 {
            return u64::MAX;
        }
        let reach = u128::from(self.oplog_seconds.max(1)) * u128::from(self.oplog_max_bytes)
            / u128::from(self.oplog_bytes);
        u64::try_from(reach)
            .unwrap_or(u64::MAX)
            .max(self.oplog_seconds)
    }
}
