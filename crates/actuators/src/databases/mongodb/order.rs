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
    /// Pod of the primary now.
    pub old: String,
    /// Pod of the secondary that takes over.
    pub candidate: String,
    /// Pods of all other members.
    pub others: Vec<String>,
    /// The others copy from the candidate before the primary steps down.
    pub chain: bool,
    /// From the order to step down to the view of a majority, in milliseconds.
    pub window_ms: u64,
}

/// The old primary, and whoever shall not be elected, may not be elected for this long.
///
/// 60 s: the server's own default, four times an election that nobody steers (10 s and the vote), and
/// soon over if this process dies before it takes it back.
pub const FREEZE_SECONDS: u32 = 60;

/// The primary waits so long for an electable secondary, with its clients waiting too, and takes
/// writes again if none has everything then. 2 s and not the server's default of 10: the candidate has
/// just acknowledged a write, so milliseconds are usual, and one that stops at this moment must not
/// hold the clients for long.
pub const CATCH_UP_SECONDS: u32 = 2;

/// The candidate may be at most this far behind when the step-down is ordered.
pub const MAX_LAG_SECONDS: u64 = 1;

impl Order {
    /// Budget of the step-down.
    pub fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }
}
