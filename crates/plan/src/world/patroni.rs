//! Patroni as its own members see it, by their REST API.
//!
//! # Source
//! Patroni, "REST API": `GET /patroni`, `GET /cluster`, `GET /config`; the fields are those of versions 3.0 to 4.1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Asked;

/// What Patroni says of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patroni {
    /// By what it was recognised.
    pub evidence: Vec<String>,
    /// Members by pod name, each with its own view.
    pub members: BTreeMap<String, PatroniMember>,
    /// Settings of the cluster; `None` if nobody told them.
    pub settings: Option<PatroniSettings>,
}

/// One process.
pub type PatroniMember = Asked<PatroniFacts>;

/// What one process says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatroniFacts {
    /// Version.
    pub version: String,
    /// Name of the cluster.
    pub scope: String,
    /// The cluster as it reads it from its store.
    pub view: PatroniView,
}

/// The cluster as one member reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatroniView {
    /// Maintenance mode: Patroni moves nobody by itself.
    pub paused: bool,
    /// When a switchover is to come, as it is written.
    pub scheduled: Option<String>,
    /// Members.
    pub members: Vec<PatroniPeer>,
}

/// A member of the view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatroniPeer {
    /// Name; the pod's, in Kubernetes.
    pub name: String,
    /// `leader`, `standby_leader`, `sync_standby`, `quorum_standby`, `replica`.
    pub role: String,
    /// `running`, `streaming`, `stopped`, ...
    pub state: String,
    /// Timeline, if it tells one.
    pub timeline: Option<u64>,
    /// Bytes behind the leader; `None`: not known, or it leads.
    pub lag: Option<u64>,
    /// Where its REST API is reached (`http://10.0.0.1:8008/patroni`).
    pub api_url: String,
    /// Tags that keep it from leading (`nofailover`, `failover_priority: 0`) or from serving (`noloadbalance`).
    pub barred_by: Vec<String>,
    /// A restart is to come, as it is written.
    pub scheduled_restart: Option<String>,
}

impl PatroniPeer {
    /// It leads.
    pub fn leads(&self) -> bool {
        self.role == "leader"
    }

    /// A commit waits for it.
    pub fn is_synchronous(&self) -> bool {
        matches!(self.role.as_str(), "sync_standby" | "quorum_standby")
    }

    /// Its server runs and, if it follows, receives.
    ///
    /// # Source
    /// From 3.1 on a replica that receives says `streaming`; before, `running` is said of both.
    pub fn is_whole(&self) -> bool {
        matches!(self.state.as_str(), "running" | "streaming")
    }
}

impl PatroniView {
    /// The one that leads.
    pub fn leader(&self) -> Option<&PatroniPeer> {
        let mut leaders = self.members.iter().filter(|peer| peer.leads());
        let first = leaders.next()?;
        leaders.next().is_none().then_some(first)
    }

    /// A member by name.
    pub fn peer(&self, name: &str) -> Option<&PatroniPeer> {
        self.members.iter().find(|peer| peer.name == name)
    }
}

/// Settings of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatroniSettings {
    /// Seconds after which a leader that is silent may be replaced.
    pub ttl: u64,
    /// Seconds between two looks of each member.
    pub loop_wait: u64,
    /// Bytes that a successor may be behind.
    pub maximum_lag_on_failover: u64,
    /// Commits wait for a standby that Patroni chooses (`synchronous_mode`, quorum included).
    pub synchronous: bool,
    /// The whole set is another cluster's standby.
    pub standby_cluster: bool,
}
