//! The engine's side of the agent's interface.

use std::time::Duration;

use super::{Accepted, Watch};
use crate::databases::postgres::order::Order;
use crate::databases::postgres::record::Record;
use crate::http::{CallError, Endpoint};

/// Deadline of one call: the agent answers at once and works in the background.
const CALL: Duration = Duration::from_secs(10);

/// Deadline of a look that is repeated: agent and watchdog are asked in turn, and one of them may
/// be on a machine that is gone.
const GLANCE: Duration = Duration::from_secs(1);

/// An agent or a watchdog.
pub struct AgentClient {
    endpoint: Endpoint,
}

impl AgentClient {
    /// Speaks over an endpoint.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Starts a hand-over; the same key is never started twice.
    pub async fn order(&self, order: &Order) -> Result<Accepted, CallError> {
        self.endpoint.post("/v1/order", order, CALL).await
    }

    /// Makes the process a watchdog; answers once its sessions stand.
    pub async fn watch(&self, watch: &Watch) -> Result<Accepted, CallError> {
        self.endpoint.post("/v1/watch", watch, CALL).await
    }

    /// Ends a window that was left open.
    pub async fn recover(&self, order: &Order) -> Result<Accepted, CallError> {
        self.endpoint.post("/v1/recover", order, CALL).await
    }

    /// What happened so far.
    pub async fn record(&self) -> Result<Record, CallError> {
        self.endpoint.get("/v1/record", CALL).await
    }

    /// What happened so far, if it says so at once: for a look that is repeated anyway.
    pub async fn glance(&self) -> Result<Record, CallError> {
        self.endpoint.get("/v1/record", GLANCE).await
    }
}
