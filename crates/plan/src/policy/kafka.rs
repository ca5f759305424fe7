//! What a person says of a Kafka cluster.

use serde::{Deserialize, Serialize};

use super::Millis;
use crate::ids::ObjectRef;

/// A Kafka cluster in KRaft mode whose brokers are the pods of one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KafkaSpec {
    /// The set of the brokers, `namespace/name`.
    pub stateful_set: ObjectRef,
    /// What the name of the probe's topic begins with; it makes the topic and deletes it.
    #[serde(default = "default_topic")]
    pub topic: String,
    /// Container of the set's pods that runs the broker.
    #[serde(default = "default_container")]
    pub container: String,
    /// Port of the brokers' listener for clients, without encryption and without a login.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Leaderships are moved one at a time, one in each span of this length.
    #[serde(default = "default_pace")]
    pub pace: Millis,
}

impl KafkaSpec {
    /// Longest pace. One minute: longer is a mistake of units; a hundred leaderships take more than an
    /// hour and a half so already, and clients need less than a second for each.
    pub const LONGEST_PACE: Millis = Millis(60_000);

    /// Longest beginning of a topic's name.
    ///
    /// # Source
    /// A topic's name has 249 characters at most (`Topic.MAX_NAME_LENGTH`); the probe's ends with a
    /// hyphen and the 36 characters of its run.
    pub const LONGEST_TOPIC: usize = 249 - 1 - 36;

    /// Whether Kafka takes topics whose names begin so.
    pub fn names_a_topic(&self) -> bool {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        (1..=Self::LONGEST_TOPIC).contains(&self.topic.len()) && self.topic.chars().all(fits)
    }
}

fn default_topic() -> String {
    "ferriswheel-probe".to_owned()
}

fn default_container() -> String {
    "kafka".to_owned()
}

fn default_port() -> u16 {
    9092
}

/// 250 ms: a client that was told of a new leader has refreshed its metadata and gone on within that
/// time, so that no two partitions of one client stand still together; a hundred leaderships take 25 s.
fn default_pace() -> Millis {
    Millis(250)
}
