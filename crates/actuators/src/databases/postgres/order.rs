//! What the agent is told before a window: who takes part and how long anything may last.
//!
//! Holds no secret: the agents read credentials from their own mounted Secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::patroni::Asked;
use super::server::Upstream;

/// The order of one hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Operation key of the step's act; an order with another key is another hand-over.
    pub key: String,
    /// Primary now.
    pub old: Member,
    /// Primary afterwards.
    pub candidate: Member,
    /// All other members.
    pub others: Vec<Member>,
    /// Pooler processes; empty: clients connect directly.
    pub poolers: Vec<PoolerAddress>,
    /// Every pooler must have paused within this time, in milliseconds.
    pub pause_budget_ms: u64,
    /// PAUSE to RESUME never lasts longer, in milliseconds.
    pub window_budget_ms: u64,
    /// The candidate may lag at most this far when the window opens, in bytes.
    pub max_lag_bytes: u64,
    /// The candidate must be a synchronous standby before the window opens.
    pub crash_safe: bool,
    /// It may be made one for the length of the hand-over.
    #[serde(default)]
    pub make_synchronous: bool,
    /// Patroni is asked to do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patroni: Option<Asked>,
}

impl Order {
    /// Budget for PAUSE.
    pub fn pause_budget(&self) -> Duration {
        Duration::from_millis(self.pause_budget_ms)
    }

    /// Budget of the whole window.
    pub fn window_budget(&self) -> Duration {
        Duration::from_millis(self.window_budget_ms)
    }

    /// After this share of the window nobody begins to promote the candidate without proof, and
    /// the watchdog may undo.
    ///
    /// 60 %: the longest measured forward path needs a tenth of the default budget, and undoing
    /// needs a container restart (1-2 s), which must fit in what is left.
    pub fn forward_budget(&self) -> Duration {
        self.window_budget() * 6 / 10
    }

    /// How a follower reaches the candidate once it is the primary.
    pub fn upstream_for(&self, follower: &Member) -> Upstream {
        upstream(&self.candidate, follower)
    }

    /// How a follower reaches the old primary, for the undo.
    pub fn old_upstream_for(&self, follower: &Member) -> Upstream {
        upstream(&self.old, follower)
    }

    /// Slots that the candidate must offer.
    pub fn slots_at_candidate(&self) -> Vec<String> {
        self.others
            .iter()
            .chain(std::iter::once(&self.old))
            .filter_map(|member| member.slot.clone())
            .collect()
    }

    /// Slots that the old primary must not keep: they would pin its log.
    pub fn slots_at_old(&self) -> Vec<String> {
        self.others
            .iter()
            .chain(std::iter::once(&self.candidate))
            .filter_map(|member| member.slot.clone())
            .collect()
    }
}

fn upstream(server: &Member, follower: &Member) -> Upstream {
    Upstream {
        host: server.host.clone(),
        port: server.port,
        slot: follower.slot.clone(),
        application_name: follower.name.clone(),
    }
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Pod name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Stable host name that the other members resolve.
    pub host: String,
    /// Pod address.
    pub ip: String,
    /// Port.
    pub port: u16,
    /// Name of its slot at its upstream, if slots are in use.
    pub slot: Option<String>,
}

/// A pooler process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolerAddress {
    /// Pod name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Pod address.
    pub ip: String,
    /// Port.
    pub port: u16,
    /// Entries that are aimed at the primary.
    pub entries: Vec<String>,
}
