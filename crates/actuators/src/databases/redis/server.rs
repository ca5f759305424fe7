//! What a hand-over asks of one Redis server.

use crate::databases::session;
use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::cluster::View;
use super::slot::Range;

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

/// A server did not do what it was asked; its code is the first word of the error (`ERR`, `NOPERM`, `NOAUTH`, `LOADING`, `NOREPLICAS`, ...).
pub type ServerError = session::ServerError<String>;
