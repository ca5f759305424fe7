//! What is told before the hand-over of a shard: who takes part and how long anything may last.
//!
//! Holds no secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The order of one hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Operation key of the step's act; an order with another key is another hand-over.
    pub key: String,
    /// Primary of the shard now.
    pub old: Member,
    /// The replica that takes over.
    pub candidate: Member,
    /// Every other member of the cluster.
    pub others: Vec<Member>,
    /// The candidate may lag at most this far when it is asked, in bytes.
    pub max_lag_bytes: u64,
    /// The candidate must answer within this time, several times in a row, in milliseconds.
    pub prompt_ms: u64,
    /// Roles are expected to have changed after this time, in milliseconds.
    pub flip_ms: u64,
    /// After this time the servers have given up by themselves, in milliseconds.
    pub settle_ms: u64,
}

/// Below the 64 KiB that a replica may lag on an ordinary link, and far below what it catches up
/// in a millisecond.
pub const MAX_LAG_BYTES: u64 = 64 * 1024;

/// 50 ms: a healthy replica answers in well under one. One that stands still after it has
/// accepted holds all writes of the shard for 5 to 10 s.
pub const PROMPT_MS: u64 = 50;

/// 2 s: ten times the slowest change of roles that was measured on a healthy cluster.
pub const FLIP_MS: u64 = 2_000;

/// 12 s: the replica gives up after 5 s (`CLUSTER_MF_TIMEOUT`), the primary holds its clients for
/// at most twice that (`CLUSTER_MF_PAUSE_MULT`), and 2 s to see it.
pub const SETTLE_MS: u64 = 12_000;

impl Order {
    /// An order with the default limits.
    pub fn new(
        key: impl Into<String>,
        old: Member,
        candidate: Member,
        others: Vec<Member>,
    ) -> Self {
        Self {
            key: key.into(),
            old,
            candidate,
            others,
            max_lag_bytes: MAX_LAG_BYTES,
            prompt_ms: PROMPT_MS,
            flip_ms: FLIP_MS,
            settle_ms: SETTLE_MS,
        }
    }

    /// Time in which the candidate answers.
    pub fn prompt(&self) -> Duration {
        Duration::from_millis(self.prompt_ms)
    }

    /// Time in which roles change.
    pub fn flip(&self) -> Duration {
        Duration::from_millis(self.flip_ms)
    }

    /// Time after which the servers have decided by themselves.
    pub fn settle(&self) -> Duration {
        Duration::from_millis(self.settle_ms)
    }
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Pod name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Identity in the cluster. A server with another one is another node, whatever its name.
    pub node_id: String,
    /// Pod address.
    pub ip: String,
    /// Port.
    pub port: u16,
}
