//! What a person says of a Redis or Valkey cluster.

use serde::{Deserialize, Serialize};

use super::{Millis, Tls};
use crate::ids::ObjectRef;

/// A Redis or Valkey cluster whose nodes are the pods of one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RedisSpec {
    /// The set, `namespace/name`.
    pub stateful_set: ObjectRef,
    /// Secret with the key `password`, and `username` if it is not the user `default`, of the user
    /// that looks and hands over; absent: the servers ask nobody for a password.
    #[serde(default)]
    pub password: Option<ObjectRef>,
    /// Secret with the keys `password` and, unless it is the user `default`, `username` of the user
    /// that writes as an application; default: that of `password`.
    #[serde(default)]
    pub application: Option<ObjectRef>,
    /// Container of the set's pods that runs the server.
    #[serde(default = "default_container")]
    pub container: String,
    /// Port of the servers.
    #[serde(default = "default_port")]
    pub port: u16,
    /// How sessions with the servers are secured; absent: plain text. Nothing is negotiated, so the mode is one of
    /// `require`, `verify-ca` and `verify-full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Budget of a hand-over, from the order to the view of every node.
    #[serde(default = "default_window")]
    pub window: Millis,
}

fn default_container() -> String {
    "redis".to_owned()
}

fn default_port() -> u16 {
    6379
}

/// 5 s: the servers themselves give a manual failover up after so long
/// (`cluster-manual-failover-timeout`, fixed before Valkey 8.1), and the primary takes writes again.
fn default_window() -> Millis {
    Millis(5_000)
}
