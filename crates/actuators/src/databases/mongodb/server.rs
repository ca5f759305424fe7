//! What a hand-over asks of one MongoDB server.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::databases::session;

/// One server, with a session that is opened beforehand and opened again when it broke.
///
/// # Guarantees
/// Every call ends within its deadline. No call retries an act by itself. There is no call that forces
/// a step-down, and none that changes the configuration of the set.
#[async_trait]
pub trait Server: Send + Sync {
    /// Pod name.
    fn name(&self) -> &str;

    /// Opens the session if it is not open or broken.
    async fn open(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Whom it takes itself for (`hello`): the quickest question there is.
    async fn hello(&self, deadline: Duration) -> Result<Hello, ServerError>;

    /// Everybody as it sees them (`replSetGetStatus`).
    async fn status(&self, deadline: Duration) -> Result<Status, ServerError>;

    /// Writes an entry without effect to the oplog and waits until so many have it on disk
    /// (`appendOplogNote`).
    async fn barrier(&self, note: &str, by: By, deadline: Duration) -> Result<(), ServerError>;

    /// Lets it copy from this member from now on (`replSetSyncFrom`); until it chooses another one by
    /// itself.
    async fn copy_from(&self, host: &str, deadline: Duration) -> Result<(), ServerError>;

    /// Lets it not be elected for so many seconds (`replSetFreeze`); 0 takes that back. Ends by
    /// itself.
    async fn freeze(&self, seconds: u32, deadline: Duration) -> Result<(), ServerError>;

    /// Asks the primary to step down once an electable secondary has everything, never otherwise
    /// (`replSetStepDown` without `force`). It may not be elected for so many seconds.
    async fn step_down(
        &self,
        seconds: u32,
        catch_up_seconds: u32,
        deadline: Duration,
    ) -> Result<(), ServerError>;

    /// Asks a secondary to stand for election now (`replSetStepUp`): what a primary that steps down
    /// sends to whom it chose itself.
    async fn stand(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Lets a member that was elected take writes without hearing first from everybody that it misses
    /// nothing (`replSetAbortPrimaryCatchUp`). Refused by one that is in no such state.
    async fn skip_catch_up(&self, deadline: Duration) -> Result<(), ServerError>;
}

/// How many have an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A majority of those who vote.
    Majority,
    /// So many members.
    Members(usize),
}

/// Whom a server takes itself for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Takes writes.
    pub writable: bool,
    /// Is a secondary.
    pub secondary: bool,
    /// Its own address in the configuration.
    pub me: String,
    /// Who is the primary, as far as it knows.
    pub primary: Option<String>,
    /// Its newest entry.
    pub newest: Option<Position>,
}

/// A place in the history of a set; later is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Term of the primary that wrote it.
    pub term: i64,
    /// Seconds.
    pub seconds: u32,
    /// Count within the second.
    pub count: u32,
}

/// The set as one server sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the set.
    pub set: String,
    /// Its own address in the configuration.
    pub me: String,
    /// Election term.
    pub term: i64,
    /// From whom it copies.
    pub copies_from: Option<String>,
    /// Members by address.
    pub members: BTreeMap<String, Peer>,
}

/// A member in a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `PRIMARY`, `SECONDARY`, `STARTUP2`, ...
    pub state: String,
    /// Answers heartbeats.
    pub healthy: bool,
    /// Seconds of its newest entry.
    pub optime: u64,
}

impl Status {
    /// Addresses of the primaries in this view.
    pub fn primaries(&self) -> impl Iterator<Item = &str> {
        self.members
            .iter()
            .filter(|(_, peer)| peer.state == "PRIMARY")
            .map(|(host, _)| host.as_str())
    }
}

/// A server did not do what it was asked; its code is the number of the error, 0 if it had none.
pub type ServerError = session::ServerError<i32>;
