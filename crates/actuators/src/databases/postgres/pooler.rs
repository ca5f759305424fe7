//! What a hand-over asks of one PgBouncer process.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::server::ServerError;

/// One pooler process with two console sessions: PAUSE may never return on the first, and only a
/// second one can lift it.
#[async_trait]
pub trait Pooler: Send + Sync {
    /// Pod name.
    fn name(&self) -> &str;

    /// Asks both sessions for a sign of life, opening what is broken.
    async fn reconnect(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Waits until every client of the databases is between transactions and holds them there.
    async fn pause(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Lets clients go on. "Not paused" is a success.
    async fn resume(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Reads the configuration file again.
    async fn reload(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Addresses that the process itself keeps for a host name and would use without asking a name
    /// server again; none if it would ask.
    async fn kept_addresses(
        &self,
        host: &str,
        deadline: Duration,
    ) -> Result<Vec<String>, ServerError>;

    /// Database entries as the process has them now.
    async fn entries(&self, deadline: Duration) -> Result<Vec<Entry>, ServerError>;
}

/// A database entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name that clients use.
    pub name: String,
    /// Server host.
    pub host: Option<String>,
    /// Server port.
    pub port: u16,
    /// Database at the server.
    pub dbname: String,
    /// Pool mode in force.
    pub pool_mode: String,
    /// Clients are held.
    pub paused: bool,
}
