//! Where the order of replicas and the leaders from before a run are kept, outside of any process:
//! written before the first change, removed after the last one was taken back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::server::{Name, Partition};

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Homes(BTreeMap<String, BTreeMap<i32, Home>>);

impl Homes {
    /// What a partition was.
    pub fn get(&self, of: &Name) -> Option<&Home> {
        self.0.get(&of.topic)?.get(&of.number)
    }

    /// Adds a partition, unless it is there: the first word counts.
    pub fn add(&mut self, of: &Name, home: Home) {
        let topic = self.0.entry(of.topic.clone()).or_default();
        topic.entry(of.number).or_insert(home);
    }

    /// Adds all of them that are not there.
    pub fn merge(&mut self, others: &Self) {
        for (name, home) in others.iter() {
            self.add(&name, home.clone());
        }
    }

    /// Removes those of them that are as given.
    pub fn remove(&mut self, given: &Self) {
        for (topic, homes) in &mut self.0 {
            let Some(given) = given.0.get(topic) else {
                continue;
            };
            homes.retain(|number, home| given.get(number) != Some(home));
        }
        self.0.retain(|_, homes| !homes.is_empty());
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &Home)> {
        self.0.iter().flat_map(|(topic, homes)| {
            homes.iter().map(|(number, home)| {
                let name = Name {
                    topic: topic.clone(),
                    number: *number,
                };
                (name, home)
            })
        })
    }

    /// None is kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
    use super::{Home, Homes};
    use crate::databases::kafka::server::{Name, Partition};

    fn name(number: i32) -> Name {
        Name {
            topic: "orders".to_owned(),
            number,
        }
    }

    #[test]
    fn the_first_word_counts_and_is_read_back() {
        let mut homes = Homes::default();
        let mut partition = Partition {
            leader: Some(1),
            replicas: vec![1, 2, 3],
            isr: vec![1, 2, 3],
        };
        homes.add(&name(0), Home::of(&partition));
        partition.replicas = vec![2, 3, 1];
        homes.add(&name(0), Home::of(&partition));
        homes.add(&name(1), Home::of(&partition));
        assert_eq!(homes.get(&name(0)).unwrap().replicas, [1, 2, 3]);
        assert_eq!(homes.get(&name(1)).unwrap().leads(), Some(1));
        let text = serde_json::to_string(&homes).unwrap();
        assert_eq!(
            text,
            r#"{"orders":{"0":{"r":[1,2,3]},"1":{"r":[2,3,1],"l":1}}}"#
        );
        assert_eq!(serde_json::from_str::<Homes>(&text).unwrap(), homes);
    }

    #[test]
    fn what_was_kept_meanwhile_stays() {
        let home = |replicas: &[i32]| Home {
            replicas: replicas.to_vec(),
            leader: None,
        };
        let mut given = Homes::default();
        given.add(&name(0), home(&[1, 2]));
        given.add(&name(1), home(&[2, 1]));
        let mut kept = given.clone();
        kept.add(&name(2), home(&[1, 2]));
        kept.remove(&given);
        let left: Vec<Name> = kept.iter().map(|(name, _)| name).collect();
        assert_eq!(left, [name(2)]);
        kept.remove(&kept.clone());
        assert!(kept.is_empty());
    }
}
