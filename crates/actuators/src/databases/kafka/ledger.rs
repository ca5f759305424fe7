//! Where the order of replicas and the leaders from before a run are kept, outside of any process:
//! written before the first change, removed after the last one was taken back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::server::{Name, Partition, is_same};

/// What a partition was before the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Who has a copy, the preferred leader first.
    #[serde(rename = "r")]
    pub replicas: Vec<i32>,
    /// Who led it, if that was not the preferred leader.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<i32>,
}

impl Home {
    /// As the partition is now.
    pub fn of(partition: &Partition) -> Self {
        let preferred = partition.replicas.first().copied();
        Self {
            replicas: partition.replicas.clone(),
            leader: partition.leader.filter(|leader| Some(*leader) != preferred),
        }
    }

    /// Who shall lead.
    pub fn leads(&self) -> Option<i32> {
        self.leader.or(self.replicas.first().copied())
    }
}

/// Partitions that a run has touched, as they were before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Homes(BTreeMap<String, Topic>);

/// Those of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Topic {
    /// Its id. What is kept of a topic that was deleted is nothing for another one of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    partitions: BTreeMap<i32, Home>,
}

/// Format of the text that is kept.
const VERSION: u64 = 1;

#[derive(Serialize)]
struct Text<'h> {
    version: u64,
    topics: &'h BTreeMap<String, Topic>,
}

impl Homes {
    /// What a partition of the topic with this id was.
    pub fn get(&self, of: &Name, topic_id: Option<Uuid>) -> Option<&Home> {
        let topic = self.0.get(&of.topic)?;
        let home = topic.partitions.get(&of.number);
        home.filter(|_| is_same(topic.id, topic_id))
    }

    /// Adds a partition, unless it is there: the first word counts. Of a topic that was made again since then the new
    /// one's does.
    pub fn add(&mut self, of: &Name, topic_id: Option<Uuid>, home: Home) {
        let topic = self.0.entry(of.topic.clone()).or_default();
        if !is_same(topic.id, topic_id) {
            *topic = Topic::default();
        }
        topic.id = topic.id.or(topic_id);
        topic.partitions.entry(of.number).or_insert(home);
    }

    /// Adds all of them that are not there.
    pub fn merge(&mut self, others: &Self) {
        for (name, topic_id, home) in others.iter() {
            self.add(&name, topic_id, home.clone());
        }
    }

    /// Removes those of them that are as given.
    pub fn remove(&mut self, given: &Self) {
        for (name, topic) in &mut self.0 {
            let Some(given) = given
                .0
                .get(name)
                .filter(|given| is_same(given.id, topic.id))
            else {
                continue;
            };
            topic
                .partitions
                .retain(|number, home| given.partitions.get(number) != Some(home));
        }
        self.0.retain(|_, topic| !topic.partitions.is_empty());
    }

    /// All of them, with the ids of their topics.
    pub fn iter(&self) -> impl Iterator<Item = (Name, Option<Uuid>, &Home)> {
        self.0.iter().flat_map(|(name, topic)| {
            topic.partitions.iter().map(|(number, home)| {
                let name = Name {
                    topic: name.clone(),
                    number: *number,
                };
                (name, topic.id, home)
            })
        })
    }

    /// None is kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As it is kept.
    ///
    /// # Errors
    /// It cannot be written, which no such text brings about.
    pub fn to_text(&self) -> Result<String, NotKept> {
        let text = Text {
            version: VERSION,
            topics: &self.0,
        };
        serde_json::to_string(&text).map_err(|e| NotKept(e.to_string()))
    }

    /// What is kept; also before the text had a version, when topics were at its top and had no ids.
    ///
    /// # Errors
    /// It cannot be read, or a later version has written it.
    pub fn from_text(text: &str) -> Result<Self, NotKept> {
        let unreadable = |e: serde_json::Error| NotKept(e.to_string());
        let mut text: Value = serde_json::from_str(text).map_err(unreadable)?;
        match text.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {
                let topics = text.get_mut("topics").map(Value::take);
                let topics = serde_json::from_value(topics.unwrap_or_default());
                topics.map(Self).map_err(unreadable)
            }
            Some(other) => Err(NotKept(format!(
                "it is of version {other}, and this program reads up to {VERSION}"
            ))),
            None => {
                let topics: BTreeMap<String, BTreeMap<i32, Home>> =
                    serde_json::from_value(text).map_err(unreadable)?;
                let topics = topics.into_iter().map(|(name, partitions)| {
                    let id = None;
                    (name, Topic { id, partitions })
                });
                Ok(Self(topics.collect()))
            }
        }
    }
}

/// It could not be read or written; the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotKept(pub String);

/// A place that outlives the process.
///
/// # Guarantees
/// What [`Ledger::keep`] has acknowledged is read by every later process, until [`Ledger::forget`].
#[async_trait]
pub trait Ledger: Send + Sync {
    /// What is kept.
    async fn read(&self) -> Result<Homes, NotKept>;

    /// Keeps these too. What is kept of a partition already stays.
    async fn keep(&self, more: &Homes) -> Result<(), NotKept>;

    /// Keeps these no more. What somebody has kept meanwhile stays.
    async fn forget(&self, given: &Homes) -> Result<(), NotKept>;
}

/// A place in memory, which outlives what is done with it in a test.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<Homes>);

#[async_trait]
impl Ledger for MemoryLedger {
    async fn read(&self) -> Result<Homes, NotKept> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }

    async fn keep(&self, more: &Homes) -> Result<(), NotKept> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .merge(more);
        Ok(())
    }

    async fn forget(&self, given: &Homes) -> Result<(), NotKept> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(given);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Home, Homes};
    use crate::databases::kafka::server::{Name, Partition};

    const FIRST: Option<Uuid> = Some(Uuid::from_u128(1));
    const SECOND: Option<Uuid> = Some(Uuid::from_u128(2));

    fn name(number: i32) -> Name {
        Name {
            topic: "orders".to_owned(),
            number,
        }
    }

    fn home(replicas: &[i32]) -> Home {
        Home {
            replicas: replicas.to_vec(),
            leader: None,
        }
    }

    #[test]
    fn the_first_word_counts_and_is_read_back() {
        let mut homes = Homes::default();
        let mut partition = Partition {
            topic_id: FIRST,
            leader: Some(1),
            replicas: vec![1, 2, 3],
            isr: vec![1, 2, 3],
        };
        homes.add(&name(0), FIRST, Home::of(&partition));
        partition.replicas = vec![2, 3, 1];
        homes.add(&name(0), FIRST, Home::of(&partition));
        homes.add(&name(1), FIRST, Home::of(&partition));
        assert_eq!(homes.get(&name(0), FIRST).unwrap().replicas, [1, 2, 3]);
        assert_eq!(homes.get(&name(1), FIRST).unwrap().leads(), Some(1));
        let text = homes.to_text().unwrap();
        assert_eq!(
            text,
            r#"{"version":1,"topics":{"orders":{"id":"00000000-0000-0000-0000-000000000001","partitions":{"0":{"r":[1,2,3]},"1":{"r":[2,3,1],"l":1}}}}}"#
        );
        assert_eq!(Homes::from_text(&text).unwrap(), homes);
    }

    #[test]
    fn what_an_earlier_program_kept_is_read_and_what_a_later_one_kept_is_not_guessed() {
        // `version` is a topic here.
        let old = r#"{"orders":{"0":{"r":[1,2,3]}},"version":{"1":{"r":[2,3,1],"l":1}}}"#;
        let homes = Homes::from_text(old).unwrap();
        assert_eq!(homes.iter().count(), 2);
        assert_eq!(homes.get(&name(0), SECOND), Some(&home(&[1, 2, 3])));
        let later = Homes::from_text(r#"{"version":2,"topics":[]}"#).unwrap_err();
        assert!(later.0.contains("version 2"), "{later}");
        assert!(Homes::from_text(r#"{"version":1}"#).is_err());
    }

    #[test]
    fn a_topic_that_was_made_again_is_another_one() {
        let mut homes = Homes::default();
        homes.add(&name(0), FIRST, home(&[1, 2]));
        homes.add(&name(1), FIRST, home(&[2, 1]));
        assert_eq!(homes.get(&name(0), SECOND), None);
        let earlier = homes.clone();
        homes.add(&name(0), SECOND, home(&[3, 4]));
        let left: Vec<_> = homes.iter().map(|(name, id, _)| (name, id)).collect();
        assert_eq!(
            left,
            [(name(0), SECOND)],
            "the former is gone with its topic"
        );
        // What was given back of the former is nothing of the new one's.
        homes.remove(&earlier);
        assert_eq!(homes.get(&name(0), SECOND), Some(&home(&[3, 4])));
    }

    #[test]
    fn what_was_kept_meanwhile_stays() {
        let mut given = Homes::default();
        given.add(&name(0), FIRST, home(&[1, 2]));
        given.add(&name(1), FIRST, home(&[2, 1]));
        let mut kept = given.clone();
        kept.add(&name(2), FIRST, home(&[1, 2]));
        kept.remove(&given);
        let left: Vec<Name> = kept.iter().map(|(name, ..)| name).collect();
        assert_eq!(left, [name(2)]);
        kept.remove(&kept.clone());
        assert!(kept.is_empty());
    }
}
