//! What a person says of a MariaDB set.

use serde::{Deserialize, Serialize};

use super::{Millis, Tls};
use crate::ids::ObjectRef;

/// A MariaDB primary with asynchronous GTID replicas; its members are the pods of one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MariadbSpec {
    /// The set, `namespace/name`.
    pub stateful_set: ObjectRef,
    /// Service whose selector follows the primary by a role label, if there is one.
    #[serde(default)]
    pub service: Option<ObjectRef>,
    /// Secret with the keys `username` and `password` of the user that looks and hands over.
    pub admin: ObjectRef,
    /// Secret with the keys `username` and `password` of the user that replicas copy as.
    pub replication: ObjectRef,
    /// Secret with the keys `username` and `password` of the user that writes as an application.
    pub application: ObjectRef,
    /// Database that applications write to; the probe keeps tables of its own there.
    pub database: String,
    /// Container of the set's pods that runs the server.
    #[serde(default = "default_container")]
    pub container: String,
    /// Port of the servers.
    #[serde(default = "default_port")]
    pub port: u16,
    /// How the run's sessions with the servers are secured; absent: plain text. One of `require`, `verify-ca` and
    /// `verify-full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Budget of a hand-over, from the lock on the old primary until clients can write again.
    #[serde(default = "default_window")]
    pub window: Millis,
    /// Longest statement or transaction that the hand-over waits for.
    #[serde(default = "default_transaction")]
    pub transaction: Millis,
}

fn default_container() -> String {
    "mariadb".to_owned()
}

fn default_port() -> u16 {
    3306
}

/// 5 s: ten times the longest window measured on a healthy set, and far below the minutes after
/// which clients' own limits end.
fn default_window() -> Millis {
    Millis(5_000)
}

/// 2 s: clients wait for as long as the lock waits for an open statement, and the window's budget
/// must hold both.
fn default_transaction() -> Millis {
    Millis(2_000)
}
