//! PostgreSQL with streaming replication, and the poolers in front of it, as observed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::ObjectRef;
use crate::world::{Asked, Patroni};

/// A PostgreSQL set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Postgres {
    /// The set that carries it.
    pub stateful_set: ObjectRef,
    /// Members by pod name.
    pub members: BTreeMap<String, PostgresMember>,
    /// Pooler processes by pod name.
    pub poolers: BTreeMap<ObjectRef, Pooler>,
    /// The Service of the spec that leads to the primary; `None` if the spec names none, or in a
    /// snapshot of a version that did not look.
    #[serde(default)]
    pub service: Option<PrimaryService>,
    /// Another agent that would act on its own (repmgrd, pg_auto_failover, an operator).
    pub other_agent: Option<String>,
    /// Patroni in charge of the set, with its own view; it is asked to hand over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patroni: Option<Patroni>,
}

/// A Service that leads to the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimaryService {
    /// What its selector asks for beyond the labels that all members have; `None` if there is no
    /// such Service.
    pub role_labels: Option<BTreeMap<String, String>>,
}

/// One server.
pub type PostgresMember = Asked<PostgresFacts>;

/// What a server says of itself, in one read-only session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PostgresFacts {
    /// `server_version_num`.
    pub version_num: u32,
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// `pg_control_system().system_identifier`.
    pub system_identifier: String,
    /// Current timeline.
    pub timeline: u32,
    /// Data directory, absolute.
    pub data_directory: String,
    /// On a standby: its wal receiver streams, from this host.
    pub streaming_from: Option<String>,
    /// On a standby: name of the slot it uses.
    pub slot: Option<String>,
    /// On a standby: bytes between the primary's flush position and its replay position.
    pub lag_bytes: Option<u64>,
    /// On a standby: `sync_state` as the primary shows it.
    pub sync_state: Option<String>,
    /// On a standby: replay is paused by hand.
    pub replay_paused: bool,
    /// `recovery_min_apply_delay` in milliseconds.
    pub apply_delay_ms: u64,
    /// `synchronous_standby_names`.
    pub synchronous_standby_names: String,
    /// `synchronous_commit`.
    pub synchronous_commit: String,
    /// Where `synchronous_standby_names` comes from (`pg_settings.source`).
    #[serde(default)]
    pub synchronous_names_source: String,
    /// Roles and databases whose own `synchronous_commit` waits for no standby.
    #[serde(default)]
    pub loose_commits: Vec<String>,
    /// `full_page_writes` and (`wal_log_hints` or data checksums).
    pub rewindable: bool,
    /// Settings that a standby must have at least as large as the primary.
    pub capacity: BTreeMap<String, i64>,
    /// Free walsenders.
    pub free_wal_senders: i64,
    /// Free replication slots.
    pub free_slots: i64,
    /// Physical replication slots by name, with whether each is active.
    pub physical_slots: BTreeMap<String, bool>,
    /// Logical slots that a promoted standby would not have.
    pub logical_slots_at_risk: Vec<String>,
    /// Prepared transactions (`gid`).
    pub prepared_transactions: Vec<String>,
    /// Age of the oldest open transaction in milliseconds.
    pub oldest_transaction_ms: Option<u64>,
    /// `archive_mode` is on.
    pub archiving: bool,
    /// Segments that wait for the archiver.
    pub archive_backlog: u64,
    /// A base backup is running.
    pub backup_running: bool,
    /// `recovery.conf` lies in the data directory.
    pub recovery_conf: bool,
    /// `standby.signal` lies in the data directory.
    pub standby_signal: bool,
    /// Unlogged tables, empty after a promotion.
    pub unlogged_tables: u64,
    /// `pg_walinspect` is installed in the maintenance database.
    pub walinspect: bool,
    /// Is a superuser session.
    pub superuser: bool,
}

/// One PgBouncer process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pooler {
    /// Why its console could not be asked.
    pub unreachable: Option<String>,
    /// Version text.
    pub version: Option<String>,
    /// Database entries by name.
    pub databases: BTreeMap<String, PoolerDatabase>,
    /// `query_wait_timeout` in milliseconds; 0 waits for ever.
    pub query_wait_timeout_ms: Option<u64>,
    /// ConfigMap and key that hold its configuration file.
    pub config: Option<PoolerConfig>,
}

/// A database entry of a pooler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolerDatabase {
    /// Server host.
    pub host: Option<String>,
    /// Server port.
    pub port: u16,
    /// Database name at the server.
    pub dbname: String,
    /// `transaction`, `session` or `statement`.
    pub pool_mode: String,
    /// Paused now.
    pub paused: bool,
}

/// Where a pooler's configuration file comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolerConfig {
    /// ConfigMap.
    pub config_map: ObjectRef,
    /// Key in it.
    pub key: String,
    /// Path of the file in the container.
    pub path: String,
    /// Container that mounts it.
    pub container: String,
}
