//! PostgreSQL under Patroni: its REST API, and a hand-over that Patroni itself carries out.
//!
//! Patroni stops the old primary, compares positions, and has the candidate promoted. What is done here is what it
//! lacks: the checkpoints before, clients that wait in their poolers meanwhile, one question and never a second one, and
//! a look at both servers before anybody goes on.
//!
//! Must not know: Patroni's store. Whatever it is (etcd, Kubernetes, ...), its REST API speaks for it.

mod afterwards;
pub mod rest;
pub mod view;
pub mod window;

pub(super) use afterwards::recover;

use serde::{Deserialize, Serialize};

/// What an order says of Patroni.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Port of every member's REST API.
    pub port: u16,
    /// So long after the window Patroni may still do what it was asked, in milliseconds.
    pub afterwards_ms: u64,
}
