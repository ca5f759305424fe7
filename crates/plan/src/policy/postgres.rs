//! What a person says of a PostgreSQL set and of the poolers in front of it.

use serde::{Deserialize, Serialize};

use super::{Millis, Tls};
use crate::ids::ObjectRef;

/// A PostgreSQL set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PostgresSpec {
    /// The set, `namespace/name`.
    pub stateful_set: ObjectRef,
    /// PgBouncer Deployments or StatefulSets in front of it; empty: clients connect directly.
    #[serde(default)]
    pub poolers: Vec<ObjectRef>,
    /// Service whose selector follows the primary by the role label, if there is one.
    #[serde(default)]
    pub service: Option<ObjectRef>,
    /// Secret with the keys `username` and `password` of a superuser.
    pub superuser: ObjectRef,
    /// Secret with the keys `username` and `password` of a PgBouncer admin; default: the superuser's.
    #[serde(default)]
    pub pooler_admin: Option<ObjectRef>,
    /// Secret with the keys `username` and `password` of the role that writes as an application.
    pub application: ObjectRef,
    /// Database that the application uses.
    pub database: String,
    /// Container of the set's pods that runs the server.
    #[serde(default = "default_container")]
    pub container: String,
    /// Port of the servers.
    #[serde(default = "default_port")]
    pub port: u16,
    /// How sessions with the servers are secured; default: TLS where a server speaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How sessions with the poolers are secured; default: as with the servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooler_tls: Option<Tls>,
    /// How Patroni is asked, where its members run under it; default: port 8008, without a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patroni: Option<PatroniSpec>,
    /// Fewest healthy members at any time; default: as many as the set has.
    #[serde(default)]
    pub min_members: Option<u32>,
    /// No loss in a crash during the window either: the candidate must be a synchronous standby.
    #[serde(default)]
    pub crash_safe: bool,
    /// With `crashSafe`, on an asynchronous set: commits may be made to wait for the candidate while
    /// the hand-over lasts, by a setting that is taken back afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub make_synchronous: bool,
    /// Budget of the window from PAUSE to RESUME.
    #[serde(default = "default_window")]
    pub window: Millis,
    /// Budget for PAUSE to be answered by every pooler.
    #[serde(default = "default_pause")]
    pub pause: Millis,
}

/// Patroni's REST API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PatroniSpec {
    /// Port (`restapi.listen`).
    #[serde(default = "default_patroni_port")]
    pub port: u16,
    /// Secret with the keys `username` and `password`, where `restapi.authentication` wants a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<ObjectRef>,
}

impl Default for PatroniSpec {
    fn default() -> Self {
        Self {
            port: default_patroni_port(),
            login: None,
        }
    }
}

/// Patroni's own default.
fn default_patroni_port() -> u16 {
    8008
}

fn default_container() -> String {
    "postgres".to_owned()
}

fn default_port() -> u16 {
    5432
}

/// 5 s: ten times the longest window measured on a healthy set, and far below the 120 s that
/// PgBouncer lets a client wait.
fn default_window() -> Millis {
    Millis(5_000)
}

/// 2 s: transactions that take longer are named and the hand-over is put off.
fn default_pause() -> Millis {
    Millis(2_000)
}
