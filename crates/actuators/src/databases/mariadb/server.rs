//! What a hand-over asks of one MariaDB server.

use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_plan::world::{GtidPosition, MariadbSource};

use super::order::Member;
use crate::databases::session;

/// One server, with sessions that are opened beforehand and opened again when they broke.
///
/// # Guarantees
/// Every call ends within its deadline. No call retries an act by itself.
#[async_trait]
pub trait Server: Send + Sync {
    /// Pod name.
    fn name(&self) -> &str;

    /// Opens the sessions if they are not open or broken.
    async fn open(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Who it is and where it stands.
    async fn status(&self, deadline: Duration) -> Result<Status, ServerError>;

    /// Waits until it has applied a position; whether it did in time.
    async fn reaches(&self, position: &GtidPosition, within: Duration)
    -> Result<bool, ServerError>;

    /// Stops every write and commit, whoever makes it (`FLUSH TABLES WITH READ LOCK`), and says the
    /// last position. Waits for open statements within `patience`. The lock ends with its session,
    /// and with it after `hold` without a word from us.
    async fn lock(&self, patience: Duration, hold: Duration) -> Result<GtidPosition, ServerError>;

    /// Takes the lock back, also one that is still waited for.
    async fn unlock(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Takes no writes of clients from now on (`read_only`), in the session that holds the lock: done
    /// only if the lock was never gone.
    async fn close_locked(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Takes no writes of clients from now on, without a lock.
    async fn close_writes(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Takes writes of clients.
    async fn open_writes(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Copies from nobody, and takes writes of clients.
    async fn promote(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Copies from nobody, and remembers nobody.
    async fn detach(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Would copy from this member, from its own last transaction on, if it restarted; does not begin.
    async fn aim(&self, source: &Source, deadline: Duration) -> Result<(), ServerError>;

    /// Copies from this member from now on.
    async fn follow(
        &self,
        source: &Source,
        since: Since,
        deadline: Duration,
    ) -> Result<(), ServerError>;

    /// Cuts sessions of clients, and says how many. Those of replicas and of the user that we are
    /// stay.
    async fn cut_clients(&self, which: Clients, deadline: Duration) -> Result<usize, ServerError>;

    /// Ends whatever an earlier call may still be doing on the server, and opens the sessions anew.
    async fn quiet(&self, deadline: Duration) -> Result<(), ServerError>;
}

/// From where a member copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From where it stopped to copy.
    Stopped,
    /// From everything that it has, whether it wrote it itself or copied it; taken when nothing is
    /// applied any more.
    Everything,
}

/// Whose sessions are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Everybody's.
    All,
    /// Those that wait for the lock: they want to write.
    Waiting,
}

/// From whom a member copies, and how it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Who.
    pub member: Member,
    /// How.
    pub link: Link,
}

/// How a replica connects, as replicas of the set do it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Seconds between two attempts; `None`: 1, because a member that moved is back in seconds.
    pub retry_seconds: Option<u64>,
    /// TLS settings (`MASTER_SSL_CA` and the like) with their values.
    pub tls: Vec<(&'static str, String)>,
}

/// A server's own view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `@@server_id`.
    pub server_id: u64,
    /// `@@read_only`.
    pub read_only: bool,
    /// The last transaction in its binary log, by domain.
    pub binlog: GtidPosition,
    /// The last transaction that it applied as a replica, by domain.
    pub applied: GtidPosition,
    /// From whom it copies.
    pub sources: Vec<MariadbSource>,
    /// How it connects to the first of them.
    pub link: Option<Link>,
}

impl Status {
    /// Everything that it has.
    pub fn position(&self) -> GtidPosition {
        self.binlog.with(&self.applied)
    }

    /// Takes writes of clients, and copies from nobody. A connection that is remembered and does not
    /// run is one that a hand-over has left.
    pub fn leads(&self) -> bool {
        !self.read_only && self.rests()
    }

    /// Copies from nobody at the moment.
    pub fn rests(&self) -> bool {
        let rests = |source: &MariadbSource| source.receives == "No" && source.applies == "No";
        self.sources.iter().all(rests)
    }

    /// Copies from this member and from nobody else, and runs.
    pub fn follows(&self, member: &Member) -> bool {
        match &self.sources[..] {
            [only] => only.runs() && member.is_at(&only.host, only.port),
            _ => false,
        }
    }
}

/// A server did not do what it was asked; its code is the number of the error.
pub type ServerError = session::ServerError<u16>;
