//! What a person says of a MongoDB replica set.

use serde::{Deserialize, Serialize};

use super::{Millis, Tls};
use crate::ids::ObjectRef;

/// A MongoDB replica set whose members are the pods of one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MongoSpec {
    /// The set, `namespace/name`.
    pub stateful_set: ObjectRef,
    /// Secret with the keys `username` and `password` of the user that looks and hands over, with the
    /// role `clusterAdmin` at least, known to the database `admin`; absent: the servers ask nobody
    /// for a password.
    #[serde(default)]
    pub admin: Option<ObjectRef>,
    /// Secret with the keys `username` and `password` of the user that writes as an application;
    /// default: that of `admin`.
    #[serde(default)]
    pub application: Option<ObjectRef>,
    /// Database that applications write to; the probe keeps a collection of its own there.
    #[serde(default = "default_database")]
    pub database: String,
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
    /// Budget of a hand-over, from the order to the view of a majority.
    #[serde(default = "default_window")]
    pub window: Millis,
}

fn default_database() -> String {
    "ferriswheel".to_owned()
}

fn default_container() -> String {
    "mongo".to_owned()
}

fn default_port() -> u16 {
    27017
}

/// 15 s: an election that nobody has steered begins after 10 s at the latest
/// (`electionTimeoutMillis`), and takes one or two.
fn default_window() -> Millis {
    Millis(15_000)
}
