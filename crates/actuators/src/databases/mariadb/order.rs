//! What is told before a hand-over: who takes part and how long anything may last.
//!
//! Holds no secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The order of one hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Operation key of the step's act; an order with another key is another hand-over.
    pub key: String,
    /// The primary now.
    pub old: Member,
    /// The replica that takes over.
    pub candidate: Member,
    /// All other members.
    pub others: Vec<Member>,
    /// Longest statement or transaction that the lock waits for, in milliseconds.
    pub lock_ms: u64,
    /// From the lock until clients can write again, in milliseconds.
    pub window_ms: u64,
    /// Commits wait for a replica: the others follow the candidate before it takes writes.
    pub semi_sync: bool,
}

/// A member, as others find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Pod.
    pub name: String,
    /// Name by which replicas connect to it.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Member {
    /// Whether a host name means this member: the name itself, or one that begins with the pod's.
    pub fn is_at(&self, host: &str, port: u16) -> bool {
        port == self.port && (host == self.host || host.split('.').next() == Some(&self.name))
    }
}

impl Order {
    /// Budget of the lock.
    pub fn lock(&self) -> Duration {
        Duration::from_millis(self.lock_ms)
    }

    /// Budget of the window.
    pub fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }

    /// The candidate must have everything within this part of the window: the rest is for the
    /// promotion, or for the way back.
    pub fn catch_up(&self) -> Duration {
        self.window() / 2
    }
}
