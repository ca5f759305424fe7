//! The certificate, `ferriswheel.certificate.v1`.
//!
//! The field names are a contract: later versions may add fields, never rename or remove one.
//! Readers ignore what they do not know.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::accounting::presence::Examples;

/// Format of the certificate.
pub const SCHEMA: &str = "ferriswheel.certificate.v1";

/// What the judge measured, and what it makes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// [`SCHEMA`].
    pub schema: String,
    /// Identity of the run; the keys in the table carry it.
    pub run: String,
    /// What was measured, in the words of whoever started the run.
    pub subject: String,
    /// Wall clock of the start.
    pub started: Timestamp,
    /// Wall clock of the stop.
    pub finished: Timestamp,
    /// Concurrent writers.
    pub writers: u64,
    /// Writes sent: acknowledged, refused or indeterminate.
    pub attempted: u64,
    /// Writes that the server acknowledged.
    pub acked: u64,
    /// Errors that clients saw: refused and indeterminate writes and failed connects.
    pub errors: u64,
    /// Writes sent whose reply never came; each is counted in `errors` too.
    pub indeterminate: u64,
    /// Indeterminate writes that turned out to be committed; null when no leader was read.
    pub indeterminate_committed: Option<u64>,
    /// Acknowledged writes absent on the leader; null when no leader was read.
    pub acked_lost: Option<u64>,
    /// Rows on the leader that nobody sent, or whose write the server had refused.
    pub phantoms: Option<u64>,
    /// Rows on the leader beyond the first of their key.
    pub duplicates: Option<u64>,
    /// Acknowledged rows on the leader behind a later one of their writer; absent where rows have no
    /// order, or no leader was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_order: Option<u64>,
    /// Longest interval between consecutive acknowledgements over all writers, from the first
    /// acknowledgement to the stop; null when nothing was acknowledged.
    pub longest_ack_gap_ms: Option<f64>,
    /// When the longest gap began (wall clock).
    pub longest_ack_gap_at: Option<Timestamp>,
    /// Longest that a client waited for any reply, good or bad.
    pub worst_latency_ms: f64,
    /// Latency of acknowledged writes.
    pub latency_ms: Latency,
    /// What readers saw.
    pub reads: Reads,
    /// Each member after the run.
    pub members: Vec<Member>,
    /// Proofs that the judge can fail.
    pub controls: Vec<Control>,
    /// Each part of the database with a leader of its own; empty where one leader has all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardRecord>,
    /// What clients of a cache found; absent where something else than a cache was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheRecord>,
    /// What was promised.
    pub limits: Limits,
    /// Errors by SQLSTATE or transport kind.
    pub error_kinds: BTreeMap<String, u64>,
    /// The judgement.
    pub verdict: Verdict,
    /// Why, one sentence each; empty for a pass.
    pub reasons: Vec<String>,
}

/// What clients of a cache found. A cache promises nothing about what it holds: here writes are requests, and nothing is
/// said of durability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Keys that were asked for, again and again.
    pub keys: u64,
    /// Questions for a key.
    pub gets: u64,
    /// Questions answered with the key's current value.
    pub hits: u64,
    /// Values loaded from the backend because the cache had none.
    pub loads: u64,
    /// Hits of all questions, in percent.
    pub hit_rate: f64,
    /// The second with the lowest hit-rate; null when no second had questions enough.
    pub lowest: Option<CacheWindow>,
    /// Lowest allowed hit-rate of any second, in percent.
    pub bound: f64,
    /// Share of the keys that is left when the server with the most of them is away, in percent.
    pub remaining_share: f64,
    /// Most loads from the backend within a second.
    pub most_loads_a_second: u64,
    /// Answers that were not the key's current value: values of an earlier time, or of another key.
    pub wrong_values: u64,
    /// One of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_example: Option<String>,
    /// Requests that another server answered because the first one hung up in the middle; no error for the application.
    pub failed_over: u64,
    /// Wall clock at which the counting began.
    pub counted_from: Timestamp,
    /// The servers.
    pub servers: Vec<CacheServer>,
}

/// A second, or as long as it took to ask often enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheWindow {
    /// When it began, since the counting began.
    pub from_ms: u64,
    /// How long it is.
    pub length_ms: u64,
    /// Questions.
    pub gets: u64,
    /// Hits of them, in percent.
    pub hit_rate: f64,
}

/// A server of a cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheServer {
    /// Its name.
    pub name: String,
    /// Share of the keys that it has when all are there, in percent.
    pub share: f64,
    /// How often it left the clients' ring.
    pub left: u64,
}

/// Two quantiles in milliseconds; each at most 1.6 % above the true value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
}

/// What readers saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reads {
    /// Concurrent readers.
    pub readers: u64,
    /// Reads sent.
    pub attempted: u64,
    /// Reads answered.
    pub ok: u64,
    /// Failed reads and connects.
    pub errors: u64,
    /// Answers that miss a write acknowledged before the read was sent.
    pub stale: u64,
    /// Answers older than an earlier answer to the same reader.
    pub regressions: u64,
    /// Latency of answered reads.
    pub latency_ms: Latency,
    /// The slowest answered read.
    pub worst_latency_ms: f64,
}

/// What clients of one shard saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Its name.
    pub name: String,
    /// Writers that wrote to it and to no other.
    pub writers: u64,
    /// Writes acknowledged.
    pub acked: u64,
    /// Longest interval between consecutive acknowledgements of this shard; null when nothing was
    /// acknowledged.
    pub longest_ack_gap_ms: Option<f64>,
    /// When it began (wall clock).
    pub longest_ack_gap_at: Option<Timestamp>,
    /// Acknowledged writes absent on its leader; null when that was not read.
    pub acked_lost: Option<u64>,
}

/// One member of the database after the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// SHA-256 over this run's rows in key order; null when it could not be read in time.
    pub digest: Option<String>,
    /// Its position in the log when it was read; null when unknown.
    pub position: Option<String>,
    /// Leader or replica; null when unknown.
    pub role: Option<Role>,
    /// Its shard, where there are shards; null when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// Timeline of the log.
    pub timeline: Option<u64>,
    /// Identity of the database system; the same on all members of one cluster.
    pub system_identifier: Option<String>,
    /// Rows of this run.
    pub rows: Option<u64>,
    /// Acknowledged writes that it lacks.
    pub acked_missing: Option<u64>,
    /// Keys as evidence.
    #[serde(default)]
    pub examples: Examples,
    /// Why it could not be judged.
    pub problem: Option<String>,
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Accepts writes.
    Leader,
    /// Follows.
    Replica,
}

/// A proof that the judge reports a harm when there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// What was done.
    pub name: String,
    /// What the judge had to report.
    pub expected: String,
    /// What it reported.
    pub observed: String,
    /// Whether it did.
    pub detected: bool,
    /// Why it could not be carried out: then nothing was observed, and `detected` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_run: Option<String>,
    /// The server that was harmed, as its own program names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// When it was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// What a run promises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Longest allowed interval without an acknowledged write.
    #[serde(default = "default_write_stall_ms")]
    pub write_stall_ms: u64,
    /// Acknowledged writes that may be lost.
    #[serde(default)]
    pub acked_loss: u64,
    /// Errors that clients may see; null: errors are counted and not judged.
    #[serde(default = "default_errors")]
    pub errors: Option<u64>,
}

/// 1 s: the stall a careful person accepts for a planned hand-over.
const fn default_write_stall_ms() -> u64 {
    1_000
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "serde default of an optional field"
)]
const fn default_errors() -> Option<u64> {
    Some(0)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            write_stall_ms: default_write_stall_ms(),
            acked_loss: 0,
            errors: default_errors(),
        }
    }
}

/// The judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every promise was kept, and the evidence is complete.
    Pass,
    /// A promise was broken.
    Fail,
    /// Nothing broken was seen, and the evidence is not complete.
    Inconclusive,
}

/// Milliseconds with three decimals, as every duration in a certificate.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
