//! A Kafka cluster, as observed: each broker's own view, never one broker's for all.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ObjectRef;
use crate::world::Asked;

/// A cluster whose brokers are the pods of one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kafka {
    /// The set that carries it.
    pub stateful_set: ObjectRef,
    /// Brokers by pod name.
    pub members: BTreeMap<String, KafkaMember>,
}

/// One broker.
pub type KafkaMember = Asked<KafkaFacts>;

/// What a broker says of itself and of the cluster, in one session of reading requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KafkaFacts {
    /// Its own number (`node.id`).
    pub node: i32,
    /// Id of the cluster.
    pub cluster: String,
    /// It knows no metadata quorum: ZooKeeper keeps the metadata.
    pub zookeeper: bool,
    /// Highest `metadata.version` that its program can: which release it is.
    pub program: i16,
    /// `metadata.version` in force.
    pub metadata_version: i16,
    /// The metadata quorum.
    pub quorum: KafkaQuorum,
    /// Brokers by number, fenced ones too.
    pub brokers: BTreeMap<i32, KafkaPeer>,
    /// Topics by name, internal ones too.
    pub topics: BTreeMap<String, KafkaTopic>,
    /// Partitions that are being moved to other brokers (`topic-0`).
    pub reassigned: Vec<String>,
    /// Settings of the broker that decide how a roll goes, as they are in force.
    pub settings: BTreeMap<String, String>,
}

/// The quorum that keeps the metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaQuorum {
    /// Number of the active controller.
    pub leader: Option<i32>,
    /// Its epoch.
    pub epoch: i32,
    /// Milliseconds that each voter was last caught up before the leader was, by number.
    pub voters: BTreeMap<i32, u64>,
}

/// A broker as another one knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaPeer {
    /// Host that clients are told.
    pub host: String,
    /// Port that clients are told.
    pub port: i32,
    /// Registered, but gets no leadership.
    pub fenced: bool,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaTopic {
    /// `min.insync.replicas`.
    pub min_isr: u32,
    /// `unclean.leader.election.enable`.
    pub unclean: bool,
    /// Partitions by number.
    pub partitions: BTreeMap<i32, KafkaPartition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaPartition {
    /// Who leads it.
    pub leader: Option<i32>,
    /// Who has a copy, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Whose copy is in sync.
    pub isr: Vec<i32>,
}

impl KafkaPartition {
    /// Every copy is in sync, and somebody leads.
    pub fn is_whole(&self) -> bool {
        self.leader.is_some() && self.replicas.iter().all(|broker| self.isr.contains(broker))
    }
}

impl fmt::Display for KafkaPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leader = self
            .leader
            .map_or_else(|| "nobody".to_owned(), |n| n.to_string());
        write!(
            f,
            "leader {leader}, replicas {:?}, in sync {:?}",
            self.replicas, self.isr
        )
    }
}

impl KafkaFacts {
    /// Every partition with its name and its topic.
    pub fn partitions(&self) -> impl Iterator<Item = (String, &KafkaTopic, &KafkaPartition)> {
        self.topics.iter().flat_map(|(name, topic)| {
            let named = topic.partitions.iter();
            named.map(move |(number, partition)| (format!("{name}-{number}"), topic, partition))
        })
    }

    /// How many partitions a broker leads.
    pub fn led_by(&self, node: i32) -> usize {
        self.partitions()
            .filter(|(_, _, partition)| partition.leader == Some(node))
            .count()
    }
}
