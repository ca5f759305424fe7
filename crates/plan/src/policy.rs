//! The spec that a person writes, with its defaults filled in.
//!
//! Unknown fields are errors with line, column and the nearest known name (see [`parse()`]).

mod kafka;
mod mariadb;
mod memcached;
mod mongodb;
mod parse;
mod postgres;
mod redis;
mod tls;

pub use kafka::KafkaSpec;
pub use mariadb::MariadbSpec;
pub use memcached::{Distribution, MemcachedSpec, POD};
pub use mongodb::MongoSpec;
pub use parse::{API_VERSION, KIND, parse};
pub use postgres::{PatroniSpec, PostgresSpec};
pub use redis::RedisSpec;
pub use tls::{NotAMode, Tls, TlsMode};

use serde::{Deserialize, Serialize};

use crate::ids::{DatabaseName, ObjectRef, PoolName};
use crate::version::KubernetesVersion;

/// The document: `apiVersion: ferriswheel.dev/v1alpha1`, `kind: Upgrade`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Upgrade {
    /// Always `ferriswheel.dev/v1alpha1`.
    pub api_version: String,
    /// Always `Upgrade`.
    pub kind: String,
    /// Name of the run.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: UpgradeSpec,
}

/// Name of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Name.
    pub name: String,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UpgradeSpec {
    /// The managed cluster.
    pub cluster: ClusterRef,
    /// Where its pools shall be; every strategy needs it that replaces machines.
    #[serde(default)]
    pub target: Option<Target>,
    /// How; the Ferris Wheel with the extra seat unless said otherwise.
    #[serde(default)]
    pub strategy: Strategy,
    /// Databases on the pools that are upgraded.
    pub databases: Vec<DatabaseSpec>,
}

/// The managed cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterRef {
    /// Subscription id.
    pub subscription: String,
    /// Resource group.
    pub resource_group: String,
    /// Cluster name.
    pub name: String,
}

/// Where the pools shall be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Target {
    /// Version of every machine of the upgraded pools.
    pub kubernetes_version: KubernetesVersion,
    /// Pools to upgrade; empty means every pool that carries a member of a named database.
    #[serde(default)]
    pub pools: Vec<PoolName>,
}

/// How the pools get there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Strategy {
    /// New nodes beside the old ones, replicas first, the primary once.
    FerrisWheel(FerrisWheel),
    /// The primary of each database moves once; no machine is touched.
    HandOver(HandOver),
}

impl Strategy {
    /// Its name in specs and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FerrisWheel(_) => "ferrisWheel",
            Self::HandOver(_) => "handOver",
        }
    }

    /// Whether a person is asked before the primary moves.
    pub fn asks(&self) -> bool {
        match self {
            Self::FerrisWheel(wheel) => wheel.approve_hand_over,
            Self::HandOver(hand_over) => hand_over.approve_hand_over,
        }
    }

    /// How long the result of a step must hold, in seconds.
    pub fn soak_seconds(&self) -> u64 {
        match self {
            Self::FerrisWheel(wheel) => wheel.soak_seconds,
            Self::HandOver(hand_over) => hand_over.soak_seconds,
        }
    }

    /// Whether the run measures itself and ends with a certificate.
    pub fn probes(&self) -> bool {
        match self {
            Self::FerrisWheel(wheel) => wheel.probe,
            Self::HandOver(hand_over) => hand_over.probe,
        }
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self::FerrisWheel(FerrisWheel::default())
    }
}

/// Choices of the Ferris Wheel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FerrisWheel {
    /// One more replica for the length of the run, so that redundancy never falls. `false` saves
    /// one node and has one member fewer during each move.
    #[serde(default = "yes")]
    pub extra_seat: bool,
    /// Result of each step must hold this long, in seconds.
    #[serde(default = "default_soak_seconds")]
    pub soak_seconds: u64,
    /// Ask a person before the primary moves.
    #[serde(default)]
    pub approve_hand_over: bool,
    /// The run writes while members move, and certifies. `false` if somebody else measures.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub probe: bool,
}

impl Default for FerrisWheel {
    fn default() -> Self {
        Self {
            extra_seat: yes(),
            soak_seconds: default_soak_seconds(),
            approve_hand_over: false,
            probe: yes(),
        }
    }
}

/// Choices of a hand-over alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HandOver {
    /// Pod that shall be the primary, by name; for a spec with one database. Chosen by the planner
    /// if absent.
    #[serde(default)]
    pub to: Option<String>,
    /// The run writes while the primary moves, and certifies. `false` if somebody else measures.
    #[serde(default = "yes")]
    pub probe: bool,
    /// Result of each step must hold this long, in seconds.
    #[serde(default = "default_soak_seconds")]
    pub soak_seconds: u64,
    /// Ask a person before the primary moves.
    #[serde(default)]
    pub approve_hand_over: bool,
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_yes(said: &bool) -> bool {
    *said
}

/// 2 s: two readiness periods of the usual probe; a standby that breaks right after its first
/// success is seen within them.
fn default_soak_seconds() -> u64 {
    2
}

/// A database of the spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "DatabaseText", into = "DatabaseText")]
pub struct DatabaseSpec {
    /// Name in reports.
    pub name: DatabaseName,
    /// What it is.
    pub system: System,
    /// Limits that decide the verdict.
    pub limits: Limits,
    /// Whether the judge proves first, on servers of its own, that it can see a loss and a stall.
    pub controls: Controls,
}

/// The database system, with what a person says of it.
#[derive(Clone, Debug, PartialEq)]
pub enum System {
    /// PostgreSQL with streaming replication.
    Postgres(Box<PostgresSpec>),
    /// Redis or Valkey in cluster mode.
    Redis(RedisSpec),
    /// A MongoDB replica set.
    Mongodb(MongoSpec),
    /// A MariaDB set with asynchronous replication.
    Mariadb(Box<MariadbSpec>),
    /// A pool of Memcached servers.
    Memcached(MemcachedSpec),
    /// A Kafka cluster in KRaft mode.
    Kafka(KafkaSpec),
}

impl DatabaseSpec {
    /// The set that carries it.
    pub fn stateful_set(&self) -> &ObjectRef {
        match &self.system {
            System::Postgres(spec) => &spec.stateful_set,
            System::Redis(spec) => &spec.stateful_set,
            System::Mongodb(spec) => &spec.stateful_set,
            System::Mariadb(spec) => &spec.stateful_set,
            System::Memcached(spec) => &spec.stateful_set,
            System::Kafka(spec) => &spec.stateful_set,
        }
    }

    /// Container of the set's pods that runs the server.
    pub fn container(&self) -> &str {
        match &self.system {
            System::Postgres(spec) => &spec.container,
            System::Redis(spec) => &spec.container,
            System::Mongodb(spec) => &spec.container,
            System::Mariadb(spec) => &spec.container,
            System::Memcached(spec) => &spec.container,
            System::Kafka(spec) => &spec.container,
        }
    }

    /// Fewest whole members at any time, if a person said so.
    pub fn min_members(&self) -> Option<u32> {
        match &self.system {
            System::Postgres(spec) => spec.min_members,
            System::Redis(_)
            | System::Mongodb(_)
            | System::Mariadb(_)
            | System::Memcached(_)
            | System::Kafka(_) => None,
        }
    }

    /// If it is PostgreSQL.
    pub fn postgres(&self) -> Option<&PostgresSpec> {
        match &self.system {
            System::Postgres(spec) => Some(spec),
            System::Redis(_)
            | System::Mongodb(_)
            | System::Mariadb(_)
            | System::Memcached(_)
            | System::Kafka(_) => None,
        }
    }

    /// If it is a Redis or Valkey cluster.
    pub fn redis(&self) -> Option<&RedisSpec> {
        match &self.system {
            System::Redis(spec) => Some(spec),
            System::Postgres(_)
            | System::Mongodb(_)
            | System::Mariadb(_)
            | System::Memcached(_)
            | System::Kafka(_) => None,
        }
    }

    /// If it is a MongoDB replica set.
    pub fn mongodb(&self) -> Option<&MongoSpec> {
        match &self.system {
            System::Mongodb(spec) => Some(spec),
            System::Postgres(_)
            | System::Redis(_)
            | System::Mariadb(_)
            | System::Memcached(_)
            | System::Kafka(_) => None,
        }
    }

    /// If it is a Kafka cluster.
    pub fn kafka(&self) -> Option<&KafkaSpec> {
        match &self.system {
            System::Kafka(spec) => Some(spec),
            System::Postgres(_)
            | System::Redis(_)
            | System::Mongodb(_)
            | System::Mariadb(_)
            | System::Memcached(_) => None,
        }
    }

    /// If it is a MariaDB set.
    pub fn mariadb(&self) -> Option<&MariadbSpec> {
        match &self.system {
            System::Mariadb(spec) => Some(spec),
            System::Postgres(_)
            | System::Redis(_)
            | System::Mongodb(_)
            | System::Memcached(_)
            | System::Kafka(_) => None,
        }
    }

    /// If it is a Memcached pool.
    pub fn memcached(&self) -> Option<&MemcachedSpec> {
        match &self.system {
            System::Memcached(spec) => Some(spec),
            System::Postgres(_)
            | System::Redis(_)
            | System::Mongodb(_)
            | System::Mariadb(_)
            | System::Kafka(_) => None,
        }
    }
}

/// A database as it is written: one field for each system, of which exactly one is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DatabaseText {
    name: DatabaseName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postgres: Option<PostgresSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redis: Option<RedisSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mongodb: Option<MongoSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mariadb: Option<MariadbSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memcached: Option<MemcachedSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kafka: Option<KafkaSpec>,
    #[serde(default)]
    limits: Limits,
    #[serde(default, skip_serializing_if = "Controls::is_default")]
    controls: Controls,
}

/// Names of the fields, of which a database has exactly one.
const SYSTEMS: &str = "`postgres`, `redis`, `mongodb`, `mariadb`, `memcached`, `kafka`";

/// The text of a database does not say once what it is.
#[derive(Debug, thiserror::Error)]
enum NotOneSystem {
    #[error("database `{0}` says no system; it needs one of {SYSTEMS}")]
    None(DatabaseName),
    #[error("database `{0}` says more than one system; it needs one of {SYSTEMS}")]
    Several(DatabaseName),
}

impl TryFrom<DatabaseText> for DatabaseSpec {
    type Error = NotOneSystem;

    fn try_from(text: DatabaseText) -> Result<Self, Self::Error> {
        let mut said = [
            text.postgres.map(|spec| System::Postgres(Box::new(spec))),
            text.redis.map(System::Redis),
            text.mongodb.map(System::Mongodb),
            text.mariadb.map(|spec| System::Mariadb(Box::new(spec))),
            text.memcached.map(System::Memcached),
            text.kafka.map(System::Kafka),
        ]
        .into_iter()
        .flatten();
        let system = match (said.next(), said.next()) {
            (Some(system), None) => system,
            (None, _) => return Err(NotOneSystem::None(text.name)),
            (Some(_), Some(_)) => return Err(NotOneSystem::Several(text.name)),
        };
        Ok(Self {
            name: text.name,
            system,
            limits: text.limits,
            controls: text.controls,
        })
    }
}

impl From<DatabaseSpec> for DatabaseText {
    fn from(spec: DatabaseSpec) -> Self {
        let mut text = Self {
            name: spec.name,
            postgres: None,
            redis: None,
            mongodb: None,
            mariadb: None,
            memcached: None,
            kafka: None,
            limits: spec.limits,
            controls: spec.controls,
        };
        match spec.system {
            System::Postgres(spec) => text.postgres = Some(*spec),
            System::Redis(spec) => text.redis = Some(spec),
            System::Mongodb(spec) => text.mongodb = Some(spec),
            System::Mariadb(spec) => text.mariadb = Some(*spec),
            System::Memcached(spec) => text.memcached = Some(spec),
            System::Kafka(spec) => text.kafka = Some(spec),
        }
        text
    }
}

/// The judge's negative controls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Controls {
    /// Carried out where the probe's image has PostgreSQL's programs; the certificate says which
    /// were not, and why.
    #[default]
    WhenPossible,
    /// The run does not begin without them.
    Required,
    /// The certificate rests on the planted ones alone. For runs that repeat on one machine.
    Never,
}

impl std::fmt::Display for Controls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WhenPossible => "when possible",
            Self::Required => "required",
            Self::Never => "never",
        })
    }
}

impl Controls {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Limits of a run, checked by the probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Limits {
    /// Longest time without an acknowledged write.
    pub write_stall: Millis,
    /// Acknowledged writes that may be lost.
    pub acked_loss: u64,
    /// Errors that clients may see.
    pub errors: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // 1 s: what an interactive user forgives; measured hand-overs stay far below.
            write_stall: Millis(1_000),
            acked_loss: 0,
            errors: None,
        }
    }
}

/// A duration in milliseconds, written by people as `250ms`, `1s` or `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_multiple_of(1_000) {
            write!(f, "{}s", self.0 / 1_000)
        } else {
            write!(f, "{}ms", self.0)
        }
    }
}

impl std::str::FromStr for Millis {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || NotADuration(text.to_owned());
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| fail())?;
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            _ => return Err(fail()),
        };
        number.checked_mul(factor).map(Millis).ok_or_else(fail)
    }
}

/// The text is not a duration.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a duration such as 250ms, 1s or 2m")]
pub struct NotADuration(String);

impl Serialize for Millis {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A part of a whole in percent, written by people as a number from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u8")]
pub struct Percent(u8);

impl Percent {
    /// The number, 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl TryFrom<i64> for Percent {
    type Error = NotAPercentage;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        u8::try_from(number)
            .ok()
            .filter(|percent| *percent <= 100)
            .map(Self)
            .ok_or(NotAPercentage(number))
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

/// What a number outside of the range is told.
const PERCENTAGES: &str = "is no percentage from 0 to 100";

/// The number is no percentage.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` {PERCENTAGES}")]
pub struct NotAPercentage(i64);
