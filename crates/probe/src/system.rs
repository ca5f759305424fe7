//! What the judge asks of a database system. Each system is one module that answers it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::accounting::ledger::{Ledger, Outcome, Sequence};
use crate::certificate::CacheRecord;
use crate::config::{MemberAddress, RunConfig};
use crate::judge::{MemberEvidence, Shard};
use crate::kafka::Kafka;
use crate::mariadb::Mariadb;
use crate::memcached::Memcached;
use crate::mongodb::Mongo;
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::run::StartError;
use crate::secret::Password;

/// Database systems that the probe speaks with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SystemKind {
    /// PostgreSQL.
    #[default]
    Postgres,
    /// Redis Cluster, Valkey Cluster.
    Redis,
    /// A MongoDB replica set.
    Mongodb,
    /// A MariaDB primary with replicas.
    Mariadb,
    /// A pool of Memcached servers.
    Memcached,
    /// Kafka without ZooKeeper.
    Kafka,
}

impl SystemKind {
    /// The environment variable that its own clients read the password from.
    #[must_use]
    pub const fn password_variable(self) -> &'static str {
        match self {
            Self::Postgres => "PGPASSWORD",
            Self::Redis => "REDISCLI_AUTH",
            Self::Mongodb => "MONGODB_PASSWORD",
            Self::Mariadb => "MYSQL_PWD",
            Self::Memcached => "MEMCACHED_PASSWORD",
            Self::Kafka => "KAFKA_PASSWORD",
        }
    }

    /// Port of a member whose address names none.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Redis => 6379,
            Self::Mongodb => 27017,
            Self::Mariadb => 3306,
            Self::Memcached => 11211,
            Self::Kafka => 9092,
        }
    }

    /// Its name, as subjects and errors write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Mongodb => "mongodb",
            Self::Mariadb => "mariadb",
            Self::Memcached => "memcached",
            Self::Kafka => "kafka",
        }
    }
}

/// The system that a run writes to; nothing is connected yet.
pub(crate) fn of(
    config: &RunConfig,
    password: Option<&Password>,
) -> Result<Arc<dyn System>, StartError> {
    match config.system {
        SystemKind::Postgres => Ok(Arc::new(Postgres::new(config, password)?)),
        SystemKind::Redis => Ok(Arc::new(Redis::new(config, password)?)),
        SystemKind::Mongodb => Ok(Arc::new(Mongo::new(config, password)?)),
        SystemKind::Mariadb => Ok(Arc::new(Mariadb::new(config, password)?)),
        SystemKind::Memcached => Ok(Arc::new(Memcached::new(config)?)),
        SystemKind::Kafka => Ok(Arc::new(Kafka::new(config)?)),
    }
}

/// A run, as the keys carry it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunNames<'a> {
    /// Identity under which it was asked for.
    pub identity: &'a str,
    /// Name that no other probe has used.
    pub run: &'a str,
}

/// What was found when a run was prepared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared {
    /// Probes that began the same run before and ended without a certificate.
    pub earlier_probes: u64,
    /// Parts of the database that each have a leader of their own; empty: one leader for all.
    pub shards: Vec<String>,
}

/// A database system.
///
/// # Guarantees
/// Every call ends within the deadlines of its configuration.
#[async_trait]
pub(crate) trait System: Send + Sync {
    /// Prepares the place of the writes, and enters the run.
    async fn prepare(&self, names: RunNames<'_>) -> Result<Prepared, Trouble>;

    /// A connection as an application's client has it.
    async fn connect(&self) -> Result<Box<dyn Client>, Trouble>;

    /// The same for a reader.
    async fn connect_reader(&self) -> Result<Box<dyn Client>, Trouble>;

    /// Looks every key up on every member, when nobody writes any more.
    async fn examine(&self, what: &Examination<'_>) -> Vec<MemberEvidence>;

    /// What clients of a cache found so far; `None` where something else than a cache is measured.
    fn cache(&self) -> Option<CacheRecord> {
        None
    }

    /// Removes everything that the probe created.
    async fn drop_everything(&self) -> Result<(), Trouble>;
}

/// A key as it is written. Writer `n` of `s` shards writes to shard `n % s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteKey<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// Writer, from 0.
    pub writer: usize,
    /// Sequence of that writer, from 0.
    pub seq: Sequence,
}

/// One connection of a client.
///
/// # Guarantees
/// A key whose outcome is unknown is never sent again.
#[async_trait]
pub(crate) trait Client: Send {
    /// Writes one new key; done when the server acknowledged it.
    async fn write(&mut self, key: WriteKey<'_>) -> Result<(), Trouble>;

    /// The highest sequence of a writer that is visible. `promised` is the highest one that was
    /// acknowledged before; a system without an order of its keys looks for that one only.
    async fn highest(
        &mut self,
        run: &str,
        writer: usize,
        promised: Option<Sequence>,
    ) -> Result<Option<Sequence>, Trouble>;

    /// Whether the peer is already known to be gone.
    fn is_closed(&self) -> bool;
}

/// What to look at after a run.
pub(crate) struct Examination<'a> {
    /// Members by direct address; empty: those that the clients' address leads to.
    pub members: &'a [MemberAddress],
    /// Name of the run.
    pub run: &'a str,
    /// What was sent.
    pub ledger: &'a Ledger,
    /// Parts with a leader of their own; one for a database that has no parts.
    pub shards: &'a [Shard],
    /// All waiting (members restarting, replicas catching up) ends here.
    pub deadline: Instant,
}

/// What a client saw go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The server's code, or a name of the transport error.
    pub kind: String,
    /// Text for people.
    pub detail: String,
    /// What it says about the write that was under way.
    pub outcome: Outcome,
    /// The connection is of no more use.
    pub broken: bool,
    /// Waiting cannot help: a wrong password, a missing right, a wrong name.
    pub hopeless: bool,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.detail.is_empty() {
            f.write_str(&self.kind)
        } else {
            f.write_str(&self.detail)
        }
    }
}

impl std::error::Error for Trouble {}

impl Trouble {
    pub(crate) fn deadline(what: &str, deadline: Duration) -> Self {
        Self {
            kind: format!("{what} deadline"),
            detail: format!("no reply within {} ms", deadline.as_millis()),
            outcome: Outcome::Indeterminate,
            broken: true,
            hopeless: false,
        }
    }
}
