//! What a roll asks of one broker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::databases::session;

/// One broker, with a session that is opened beforehand and opened again when it broke.
///
/// # Guarantees
/// Every call ends within its deadline. No call retries an act by itself. There is no call that elects
/// a leader that is not in sync, and none that removes a broker.
#[async_trait]
pub trait Server: Send + Sync {
    /// Pod name.
    fn name(&self) -> &str;

    /// Opens the session if it is not open or broken.
    async fn open(&self, deadline: Duration) -> Result<(), ServerError>;

    /// Its own number.
    async fn node(&self, deadline: Duration) -> Result<i32, ServerError>;

    /// Brokers and partitions as it sees them.
    async fn view(&self, deadline: Duration) -> Result<View, ServerError>;

    /// One partition as it sees it.
    async fn partition(&self, of: &Name, deadline: Duration) -> Result<Partition, ServerError>;

    /// The metadata quorum as the active controller has it.
    async fn quorum(&self, deadline: Duration) -> Result<Quorum, ServerError>;

    /// Partitions that are being moved to other brokers.
    async fn reassigned(&self, deadline: Duration) -> Result<Vec<Name>, ServerError>;

    /// `min.insync.replicas` of each of these topics as this broker has it: what a topic does not say of itself
    /// comes from the broker's own file. A topic that is not there is left out.
    async fn min_isr(
        &self,
        topics: &BTreeSet<String>,
        deadline: Duration,
    ) -> Result<BTreeMap<String, u32>, ServerError>;

    /// Puts the same brokers into another order, of which the first is the preferred leader. No data
    /// moves, and who leads stays. Whoever calls it has asked who has copies right before: with other
    /// brokers in it the controller would move data. With another number of them it refuses, from 4.1 on.
    async fn reorder(
        &self,
        of: &Name,
        replicas: &[i32],
        deadline: Duration,
    ) -> Result<(), ServerError>;

    /// Lets the preferred leader lead, if it is in sync; done already counts as done.
    async fn elect(&self, of: &Name, deadline: Duration) -> Result<(), ServerError>;
}

/// A partition's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name {
    /// Topic.
    pub topic: String,
    /// Number.
    pub number: i32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.number)
    }
}

/// The cluster as one broker sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Brokers that take part.
    pub brokers: BTreeSet<i32>,
    /// Partitions, internal ones too.
    pub partitions: Partitions,
}

impl View {
    /// How many partitions a broker leads.
    pub fn led_by(&self, node: i32) -> usize {
        let partitions = self.partitions.values();
        partitions.filter(|p| p.leader == Some(node)).count()
    }

    /// A partition that is not whole.
    pub fn unwell(&self) -> Option<(&Name, &Partition)> {
        self.partitions.iter().find(|(_, p)| !p.is_whole())
    }
}

/// Partitions by name.
pub type Partitions = BTreeMap<Name, Partition>;

/// A partition in a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Id of its topic: one that was deleted and made again under its name has another.
    pub topic_id: Option<Uuid>,
    /// Who leads it.
    pub leader: Option<i32>,
    /// Who has a copy, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Whose copy is in sync.
    pub isr: Vec<i32>,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leader {
            Some(leader) => write!(f, "led by {leader}")?,
            None => f.write_str("led by nobody")?,
        }
        write!(f, ", replicas {:?}, in sync {:?}", self.replicas, self.isr)
    }
}

impl Partition {
    /// Somebody leads, and every copy is in sync.
    pub fn is_whole(&self) -> bool {
        self.leader.is_some() && self.replicas.iter().all(|broker| self.isr.contains(broker))
    }

    /// It is of the topic with this id, as far as both are known.
    pub fn is_of(&self, topic_id: Option<Uuid>) -> bool {
        is_same(self.topic_id, topic_id)
    }

    /// The brokers that have a copy, whatever their order.
    pub fn has_copies_of(&self, replicas: &[i32]) -> bool {
        let sorted = |of: &[i32]| {
            let mut sorted = of.to_vec();
            sorted.sort_unstable();
            sorted
        };
        sorted(&self.replicas) == sorted(replicas)
    }
}

/// Ids of one topic, as far as both are known.
pub(super) fn is_same(one: Option<Uuid>, other: Option<Uuid>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// The metadata quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// The active controller's number.
    pub leader: Option<i32>,
    /// Its epoch.
    pub epoch: i32,
    /// Milliseconds that each voter was last caught up before the leader was.
    pub voters: BTreeMap<i32, u64>,
}

/// A broker did not do what it was asked; its code is the number of the error.
pub type ServerError = session::ServerError<i16>;
