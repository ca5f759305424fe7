//! What a person or the engine asks of a run.
//!
//! Unknown fields are errors. No password: it comes from a file or the environment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::certificate::Limits;
use crate::system::SystemKind;

/// One run of the probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// What the clients speak with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub system: SystemKind,
    /// What is measured, for the certificate.
    #[serde(default = "default_subject")]
    pub subject: String,
    /// Identity of the run, a UUID; drawn when absent. A start repeated with the same identity
    /// is the same start; when the probe itself was started anew in between, the certificate says
    /// so and is inconclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<uuid::Uuid>,
    /// Address of the clients, without a password. PostgreSQL: a URL or `key=value` words, one host
    /// or several, with `target_session_attrs` if wanted. Redis: `redis://[USER@]HOST[:PORT],...`,
    /// some nodes of the cluster (`rediss://` with TLS); the others are asked for. MongoDB:
    /// `mongodb://[USER@]HOST[:PORT],.../DATABASE?replicaSet=NAME`. MariaDB:
    /// `mariadb://[USER@]HOST[:PORT],.../DATABASE`; of several hosts, the one that takes writes. Memcached:
    /// `memcached://HOST[:PORT],...`, all servers under the names that clients have for them. Kafka:
    /// `kafka://HOST[:PORT],...[/TOPIC]`, some brokers, and what the run's topic shall be called.
    pub dsn: String,
    /// Address of the readers; the clients' when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_dsn: Option<String>,
    /// Concurrent writers.
    #[serde(default = "default_writers")]
    pub writers: usize,
    /// Concurrent readers.
    #[serde(default)]
    pub readers: usize,
    /// Pause of a writer between an answer and its next write.
    #[serde(default = "default_think_ms")]
    pub think_ms: u64,
    /// Pause of a reader between an answer and its next read.
    #[serde(default = "default_read_think_ms")]
    pub read_think_ms: u64,
    /// A statement without a reply for this long is given up; its outcome is indeterminate.
    #[serde(default = "default_statement_deadline_ms")]
    pub statement_deadline_ms: u64,
    /// A connect to one address is given up after this long.
    #[serde(default = "default_connect_deadline_ms")]
    pub connect_deadline_ms: u64,
    /// Pause after a connect that failed. A broken connection is replaced at once.
    #[serde(default = "default_reconnect_backoff_ms")]
    pub reconnect_backoff_ms: u64,
    /// What the run promises.
    #[serde(default)]
    pub limits: Limits,
    /// Lowest hit-rate of a cache at any time, in percent; when absent the share of the keys that is left without the
    /// server that has most of them, less five points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_hit_rate: Option<f64>,
    /// Without detected negative controls the verdict is inconclusive.
    #[serde(default)]
    pub controls_required: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_subject() -> String {
    "postgres".to_owned()
}

/// 4: enough that one slow connection does not look like a stall, few enough to leave the server
/// idle most of the time.
const fn default_writers() -> usize {
    4
}

/// 6: two for each of three shards, so that one slow connection does not look like a stall.
pub const REDIS_WRITERS: usize = 6;

/// 6: one for each of six partitions, of which each of three brokers leads two.
pub const KAFKA_WRITERS: usize = 6;

/// 2 ms: four writers then acknowledge about a write a millisecond, which is the resolution of
/// the gap.
const fn default_think_ms() -> u64 {
    2
}

/// 5 ms: readers look, they do not load.
const fn default_read_think_ms() -> u64 {
    5
}

/// 15 s: far above any stall that a limit would pass, far below `PgBouncer`'s 120 s
/// `query_wait_timeout`, so that the probe and not the pooler ends a hanging write.
const fn default_statement_deadline_ms() -> u64 {
    15_000
}

/// 2 s an address: two lost SYNs are survived, a black-holed host is left for the next one.
const fn default_connect_deadline_ms() -> u64 {
    2_000
}

/// 10 ms: about a hundred attempts a second a writer, the resolution of the timeline.
const fn default_reconnect_backoff_ms() -> u64 {
    10
}

impl RunConfig {
    /// The defaults, for this connection string.
    #[must_use]
    pub fn new(dsn: impl Into<String>) -> Self {
        Self {
            system: SystemKind::Postgres,
            subject: default_subject(),
            run: None,
            dsn: dsn.into(),
            read_dsn: None,
            writers: default_writers(),
            readers: 0,
            think_ms: default_think_ms(),
            read_think_ms: default_read_think_ms(),
            statement_deadline_ms: default_statement_deadline_ms(),
            connect_deadline_ms: default_connect_deadline_ms(),
            reconnect_backoff_ms: default_reconnect_backoff_ms(),
            limits: Limits::default(),
            min_hit_rate: None,
            controls_required: false,
        }
    }

    /// The defaults, for a Redis Cluster behind these nodes.
    #[must_use]
    pub fn redis(seeds: impl Into<String>) -> Self {
        Self {
            system: SystemKind::Redis,
            subject: SystemKind::Redis.name().to_owned(),
            writers: REDIS_WRITERS,
            ..Self::new(seeds)
        }
    }

    /// The defaults, for a MongoDB replica set behind this address.
    #[must_use]
    pub fn mongodb(address: impl Into<String>) -> Self {
        Self {
            system: SystemKind::Mongodb,
            subject: SystemKind::Mongodb.name().to_owned(),
            ..Self::new(address)
        }
    }

    /// The defaults, for a MariaDB set behind this address.
    #[must_use]
    pub fn mariadb(address: impl Into<String>) -> Self {
        Self {
            system: SystemKind::Mariadb,
            subject: SystemKind::Mariadb.name().to_owned(),
            ..Self::new(address)
        }
    }

    /// The defaults, for a pool of Memcached servers under these names.
    #[must_use]
    pub fn memcached(servers: impl Into<String>) -> Self {
        Self {
            system: SystemKind::Memcached,
            subject: SystemKind::Memcached.name().to_owned(),
            ..Self::new(servers)
        }
    }

    /// The defaults, for a Kafka behind these brokers.
    #[must_use]
    pub fn kafka(address: impl Into<String>) -> Self {
        Self {
            system: SystemKind::Kafka,
            subject: SystemKind::Kafka.name().to_owned(),
            writers: KAFKA_WRITERS,
            ..Self::new(address)
        }
    }

    pub(crate) const fn statement_deadline(&self) -> Duration {
        Duration::from_millis(self.statement_deadline_ms)
    }

    pub(crate) const fn connect_deadline(&self) -> Duration {
        Duration::from_millis(self.connect_deadline_ms)
    }
}

/// A member to look at after the run, addressed directly (no pooler, no Service).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberAddress {
    /// Its name in the certificate.
    pub name: String,
    /// Host name, address, or directory of a unix socket.
    pub host: String,
    /// Port.
    #[serde(default = "default_port")]
    pub port: u16,
}

const fn default_port() -> u16 {
    5432
}

/// Why a member's address was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the member {0:?}: write it as NAME=HOST:PORT")]
pub struct MemberAddressError(String);

impl MemberAddress {
    /// Reads `NAME=HOST[:PORT]`; without a port it is this one.
    ///
    /// # Errors
    /// The text is not of that form.
    pub fn parse(text: &str, otherwise: u16) -> Result<Self, MemberAddressError> {
        let error = || MemberAddressError(text.to_owned());
        let (name, address) = text.split_once('=').ok_or_else(error)?;
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| error())?),
            None => (address, otherwise),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if name.is_empty() || host.is_empty() {
            return Err(error());
        }
        Ok(Self {
            name: name.to_owned(),
            host: host.to_owned(),
            port,
        })
    }
}

impl std::str::FromStr for MemberAddress {
    type Err = MemberAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, default_port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_written_as_name_host_port() {
        let member: MemberAddress = "pg-0=pg-0.pg.db.svc:6000".parse().unwrap();
        assert_eq!((member.name.as_str(), member.port), ("pg-0", 6000));
        assert_eq!(member.host, "pg-0.pg.db.svc");
        let socket: MemberAddress = "a=/run/postgresql:5433".parse().unwrap();
        assert_eq!(socket.host, "/run/postgresql");
        assert_eq!("pg-0=10.0.0.1".parse::<MemberAddress>().unwrap().port, 5432);
        for wrong in ["", "pg-0", "=h:1", "a=:1", "a=h:port"] {
            assert!(wrong.parse::<MemberAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_and_defaults_are_careful() {
        let config: RunConfig = serde_json::from_str(r#"{"dsn":"host=h"}"#).unwrap();
        assert_eq!(config, RunConfig::new("host=h"));
        assert_eq!(config.limits.errors, Some(0));
        assert!(serde_json::from_str::<RunConfig>(r#"{"dsn":"host=h","writer":3}"#).is_err());
    }
}
