//! The process that runs a hand-over window from inside the cluster.
//!
//! Two pods of it run on two nodes: the agent opens the window, the watchdog ends it if the agent
//! is gone. Both reach servers and poolers by pod address, so that neither the operator's link nor
//! the API server is on the path. Both keep a record in their own volume.

pub mod client;
pub mod hold;
pub mod server;
pub mod state;
pub mod watchdog;

use serde::{Deserialize, Serialize};

use crate::databases::postgres::order::Order;

/// Port of the agent inside its pod.
pub const PORT: u16 = 8090;

/// Ending of the key of a recovery that a later run asked for.
pub(crate) const RECOVERY: &str = "/recover";

/// Order for the watchdog.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watch {
    /// The window to watch.
    pub order: Order,
    /// Pod of the agent.
    pub agent_pod: String,
    /// Its address.
    pub agent_ip: String,
    /// Its port.
    pub agent_port: u16,
}

/// Answer to an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// Operation key in force.
    pub key: String,
    /// `true` if the order was known already and was not started a second time.
    pub known: bool,
}
