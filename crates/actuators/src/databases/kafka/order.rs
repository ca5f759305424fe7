//! What is told before partitions are led away or back: who takes part, and at which pace.

use std::time::Duration;

/// The order to lead everything away from one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Pod of the broker that will move.
    pub leaving: String,
    /// Pods of brokers that do not move any more.
    pub settled: Vec<String>,
    /// Pods of brokers that move later, the last one first.
    pub later: Vec<String>,
    /// One partition in each span of this length.
    pub pace: Duration,
    /// After so long the rest is left to the next act; one partition is moved at least.
    pub slice: Duration,
}
