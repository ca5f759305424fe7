//! What a hand-over asks of one Redis server.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::cluster::View;
use super::slot::Range;
use crate::databases::session;

/// One server, with a session that is opened beforehand and opened again when it broke.
///
/// # Guarantees
/// Every call ends within its deadline. No call retries an act by itself. There is no call that
/// forces a failover (`FORCE`, `TAKEOVER`), and none that forgets a node.
#[async_trait]
pub trait Server: Send + Sync {
    /// Pod name.
    fn name(&self) -> &str;

    /// Opens the session if it is not open or broken.
    async fn open(&self, deadline: Duration) -> Result<(), ServerError>;

    /// An answer, whatever it is: how quickly the server comes to a command.
    async fn ping(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Role and offsets (`ROLE`).
    async fn role(&self, deadline: Duration) -> Result<Role, ServerError>;

    /// Everybody whom it knows (`CLUSTER NODES`).
    async fn view(&self, deadline: Duration) -> Result<View, ServerError>;

    /// Fields of `CLUSTER INFO`.
    async fn cluster_info(
        &self,
        deadline: Duration,
    ) -> Result<BTreeMap<String, String>, ServerError>;

    /// Fields of `INFO`, of the sections that every version has.
    async fn info(&self, deadline: Duration) -> Result<BTreeMap<String, String>, ServerError>;

    /// How long it has been what it is.
    async fn tenure(&self, deadline: Duration) -> Result<Tenure, ServerError>;

    /// Writes a key of one of these slots and waits until so many replicas have it. The number of
    /// replicas that do. The key goes by itself.
    async fn barrier(
        &self,
        slots: &[Range],
        replicas: u32,
        deadline: Duration,
    ) -> Result<u32, ServerError>;

    /// Asks this replica to take over from its primary with the primary's consent: plain
    /// `CLUSTER FAILOVER`. The answer says that it was scheduled, not that it happened.
    async fn take_over(&self, deadline: Duration) -> Result<(), ServerError>;

    /// A setting (`CONFIG GET`); `None` if the server has no such setting.
    async fn setting(&self, name: &str, deadline: Duration) -> Result<Option<String>, ServerError>;

    /// Changes a setting (`CONFIG SET`), in memory only.
    async fn set(&self, name: &str, value: &str, deadline: Duration) -> Result<(), ServerError>;

    /// Introduces a server to this one (`CLUSTER MEET`). A node that is known already changes
    /// nothing but its address.
    async fn meet(&self, ip: &str, port: u16, deadline: Duration) -> Result<(), ServerError>;
}

/// Role and offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Role {
    /// Takes writes.
    Primary {
        /// Offset of its replication stream.
        offset: u64,
        /// Replicas that are connected, with the offset that each acknowledged last.
        replicas: Vec<Follower>,
    },
    /// Follows.
    Replica {
        /// Address of its primary.
        ip: String,
        /// Port of its primary.
        port: u16,
        /// `connect`, `connecting`, `sync` or `connected`.
        link: String,
        /// What it has processed; `None` before its first synchronisation.
        offset: Option<u64>,
    },
}

/// How long a replica has been what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// Since its process began.
    pub runs: Duration,
    /// Since its link to its primary began; `None`: there is none.
    pub follows: Option<Duration>,
    /// `cluster-node-timeout`.
    pub node_timeout: Duration,
}

/// A process whose link began within this time of its own beginning was never a primary. 5 s: it reads its data,
/// then looks for its primary once a second; elected, replaced and linked anew within that time nobody is.
const BEGINNING: Duration = Duration::from_secs(5);

/// Shortest time that the servers count an election, whatever `cluster-node-timeout` is.
const SHORTEST: Duration = Duration::from_secs(2);

impl Tenure {
    /// Time until every election that it may have been part of is forgotten: twice `cluster-node-timeout` its votes
    /// count, and count again for the next failover that it is asked for; for as long again it asks for none.
    ///
    /// # Source
    /// `clusterHandleSlaveFailover` in `cluster.c` of Redis 7.0: `auth_timeout`, `auth_retry_time`, and that neither
    /// `failover_auth_time` nor `failover_auth_count` is reset by an election that was won. Valkey resets them
    /// (valkey-io/valkey#782, #1274, #1711), and its primaries still vote once within twice the time.
    pub fn rest(&self) -> Duration {
        let follows = self.follows.unwrap_or_default();
        if self.runs <= follows + BEGINNING {
            return Duration::ZERO;
        }
        self.forgotten_after().saturating_sub(follows)
    }

    /// How long an election stands in the way of the next one.
    pub fn forgotten_after(&self) -> Duration {
        (self.node_timeout * 2).max(SHORTEST) * 2
    }
}

/// A connected replica as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follower {
    /// Address.
    pub ip: String,
    /// Port.
    pub port: u16,
    /// Offset acknowledged, at most a second old.
    pub offset: u64,
}

/// A server did not do what it was asked; its code is the first word of the error (`ERR`, `NOPERM`,
/// `NOAUTH`, `LOADING`, `NOREPLICAS`, ...).
pub type ServerError = session::ServerError<String>;

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(runs: u64, follows: Option<u64>, node_timeout_ms: u64) -> u64 {
        let tenure = Tenure {
            runs: Duration::from_secs(runs),
            follows: follows.map(Duration::from_secs),
            node_timeout: Duration::from_millis(node_timeout_ms),
        };
        tenure.rest().as_secs()
    }

    #[test]
    fn who_may_have_been_elected_rests_until_that_is_forgotten() {
        assert_eq!(rest(900, Some(899), 15_000), 0, "never a primary");
        assert_eq!(rest(10, Some(5), 15_000), 0, "a new process");
        assert_eq!(rest(900, Some(20), 15_000), 40);
        assert_eq!(rest(900, Some(60), 15_000), 0);
        assert_eq!(rest(900, None, 15_000), 60);
        assert_eq!(rest(900, Some(1), 100), 3, "elections count two seconds");
    }
}
