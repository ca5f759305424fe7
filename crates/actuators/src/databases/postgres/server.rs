//! What a hand-over asks of one PostgreSQL server.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::lsn::Lsn;

/// Pause between two looks at a server inside the window.
///
/// 1 ms: measured hand-overs spend most of their time in PostgreSQL itself; a coarser poll would
/// add its half to each of four waits.
pub const LOOK: Duration = Duration::from_millis(1);

/// One server, with a session that is opened beforehand and opened again when it broke.
///
/// # Guarantees
/// Every call ends within its deadline. No call retries an act by itself.
#[async_trait]
pub trait Server: Send + Sync {
    /// Pod name.
    fn name(&self) -> &str;

    /// Role and positions, by one read-only statement.
    async fn status(&self, deadline: Duration) -> Result<Status, ServerError>;

    /// Whether the server takes writes, as soon as it does, or after `patience`.
    async fn becomes_primary(
        &self,
        patience: Duration,
        deadline: Duration,
    ) -> Result<bool, ServerError> {
        let end = Instant::now() + patience;
        loop {
            let primary = !self.status(deadline).await?.in_recovery;
            if primary || Instant::now() >= end {
                return Ok(primary);
            }
            sleep(LOOK).await;
        }
    }

    /// Returns as soon as this standby has replayed anything after a position, or after `patience`.
    async fn replays_after(
        &self,
        position: Lsn,
        patience: Duration,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        let end = Instant::now() + patience;
        while self.status(deadline).await?.replay <= Some(position) && Instant::now() < end {
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Has the server load what the first session of a database waits for: its catalogs.
    ///
    /// Clients find a cold server slower, never wrong: nothing depends on the result. A server that
    /// has nothing to load just answers.
    async fn warm(&self, deadline: Duration) -> Result<(), ServerError> {
        self.status(deadline).await.map(|_| ())
    }

    /// Opens the session anew if it is broken, and asks for the status.
    async fn reconnect(&self, deadline: Duration) -> Result<Status, ServerError>;

    /// Writes a checkpoint.
    async fn checkpoint(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Makes the next start of this server the start of a standby that follows `upstream`.
    ///
    /// # Source
    /// `standby.signal` is read at start only, `primary_conninfo` is ignored by a primary.
    async fn arm_standby(&self, upstream: &Upstream) -> Result<(), ServerError>;

    /// Takes [`Server::arm_standby`] back. Works on a primary and on a standby.
    async fn disarm_standby(&self) -> Result<(), ServerError>;

    /// Whether the next start would be a standby's.
    async fn is_armed(&self) -> Result<bool, ServerError>;

    /// Follows another upstream from now on (standby, by reload).
    async fn follow(&self, upstream: &Upstream) -> Result<(), ServerError>;

    /// Makes a promotion prompt: a short retry interval of the WAL source.
    ///
    /// # Source
    /// `WaitForWALToBecomeAvailable` sleeps the rest of `wal_retrieve_retry_interval` (default
    /// 5 s) when the trigger arrives while the receiver restarts.
    async fn arm_promotion(&self) -> Result<(), ServerError>;

    /// Takes [`Server::arm_promotion`] back, and a trigger that was not noticed yet.
    async fn disarm_promotion(&self) -> Result<(), ServerError>;

    /// Slots that the followers of this server will use; missing ones are created.
    async fn ensure_slots(&self, names: &[String]) -> Result<(), ServerError>;

    /// Drops inactive physical slots by name; unknown ones are no error.
    async fn drop_slots(&self, names: &[String]) -> Result<(), ServerError>;

    /// Has commits wait for this standby until [`Server::release_standby`]. What was set before
    /// stays readable on the server itself. A second call changes nothing.
    async fn require_standby(&self, standby: &str) -> Result<(), ServerError>;

    /// Takes [`Server::require_standby`] back exactly, whoever called it. Nothing to take back is a
    /// success.
    async fn release_standby(&self) -> Result<(), ServerError>;

    /// Sends the fast-shutdown signal to the postmaster. The session ends with it.
    async fn stop_fast(&self) -> Result<(), ServerError>;

    /// The same, only while the next start would be a standby's, checked where the signal is sent:
    /// whoever took the window back meanwhile has disarmed the server, and a stop that comes late
    /// must not end in a second primary.
    async fn stop_armed(&self) -> Result<(), ServerError>;

    /// The last WAL record that this standby holds, looked up from `since`.
    async fn last_record(&self, since: Lsn) -> Result<LastRecord, ServerError>;

    /// Where the present timeline of a server that was promoted begins. A server that keeps no history of its
    /// timelines cannot say.
    async fn fork(&self, _deadline: Duration) -> Result<Lsn, ServerError> {
        Err(ServerError::Unexpected {
            server: self.name().to_owned(),
            what: "it keeps no history of its timelines".to_owned(),
        })
    }

    /// Triggers a promotion without waiting for it. "Not in recovery" is a success.
    async fn promote(&self) -> Result<(), ServerError>;

    /// Commits a real write (a transactional message in the WAL) under the server's own
    /// durability settings.
    async fn commit_marker(&self, text: &str, deadline: Duration) -> Result<Lsn, ServerError>;

    /// Client transactions that would hold a PAUSE, oldest first.
    async fn open_transactions(&self) -> Result<Vec<OpenTransaction>, ServerError>;
}

/// Where a standby gets its log from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Host as the standby resolves it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Slot at the upstream, if slots are in use.
    pub slot: Option<String>,
    /// `application_name` of the standby.
    pub application_name: String,
}

/// Role and positions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// A standby.
    pub in_recovery: bool,
    /// Timeline of the last checkpoint (primary: of the insert position).
    pub timeline: u32,
    /// Flushed position of a primary.
    pub flush: Option<Lsn>,
    /// Received position of a standby.
    pub receive: Option<Lsn>,
    /// Replayed position of a standby.
    pub replay: Option<Lsn>,
    /// The standby's receiver streams, from this host.
    pub streaming_from: Option<String>,
    /// Standbys that stream from this server, with the replayed position of each.
    pub followers: Vec<Follower>,
    /// When the postmaster started, as the server prints it: another value is another start.
    pub started: String,
}

/// A standby as its upstream sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follower {
    /// `application_name`.
    pub name: String,
    /// State is `streaming`.
    pub streaming: bool,
    /// Flushed position.
    pub flush: Option<Lsn>,
    /// Replayed position.
    pub replay: Option<Lsn>,
    /// `async`, `sync`, `quorum`, `potential`.
    pub sync_state: String,
}

/// The last record of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRecord {
    /// Start of the record.
    pub start: Lsn,
    /// End of the record.
    pub end: Lsn,
    /// It is the record of a clean shutdown.
    pub shutdown_checkpoint: bool,
    /// Received position at the same moment.
    pub receive: Lsn,
    /// Replayed position at the same moment.
    pub replay: Lsn,
}

impl LastRecord {
    /// The proof of the window: the log ends with a clean shutdown, and all of it is replayed.
    pub fn proves_clean_end(&self) -> bool {
        self.shutdown_checkpoint
            && self.end == self.receive
            && self.receive == self.replay
            && self.receive > self.start
    }
}

/// A client's open transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTransaction {
    /// Backend pid.
    pub pid: i32,
    /// Role.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// `idle in transaction`, `active`, ...
    pub state: String,
    /// Age in milliseconds.
    pub age_ms: u64,
}

/// A server did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ServerError {
    /// No session: refused, reset, or broken in the middle. An act may or may not have happened.
    #[error("no session with {server}: {cause}")]
    Disconnected {
        /// Server.
        server: String,
        /// Cause.
        cause: String,
    },
    /// The server is starting up, shutting down or not yet consistent.
    #[error("{server} is not ready: {cause}")]
    NotReady {
        /// Server.
        server: String,
        /// Cause.
        cause: String,
    },
    /// No answer in time. An act may or may not have happened.
    #[error("{server} did not answer within {}", humantime(*.after))]
    Timeout {
        /// Server.
        server: String,
        /// Deadline.
        after: Duration,
    },
    /// The server answered with an error.
    #[error("{server} answered {sqlstate}: {message}")]
    Sql {
        /// Server.
        server: String,
        /// SQLSTATE.
        sqlstate: String,
        /// Message without statement text.
        message: String,
    },
    /// The server answered something that has no meaning here.
    #[error("{server} gave an answer that cannot be read: {what}")]
    Unexpected {
        /// Server.
        server: String,
        /// What.
        what: String,
    },
}

fn humantime(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
