//! What is told before partitions are led away or back: who takes part, and at which pace.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The order to lead everything away from one broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Operation key of the step's act.
    pub key: String,
    /// Pod of the broker that will move.
    pub leaving: String,
    /// Pods of brokers that do not move any more.
    pub settled: Vec<String>,
    /// Pods of brokers that move later, the last one first.
    pub later: Vec<String>,
    /// One partition in each span of this many milliseconds.
    pub pace_ms: u64,
}

impl Order {
    /// The span of one partition.
    pub fn pace(&self) -> Duration {
        Duration::from_millis(self.pace_ms)
    }
}
