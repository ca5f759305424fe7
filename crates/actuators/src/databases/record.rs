//! The record of a hand-over, whatever the system: what happened, when, and how it ended.
//!
//! Moments and outcomes are each system's own; what is noted of them, and how, is the same for all.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A moment that a record can be searched for.
pub trait Named {
    /// Name as it is written.
    fn name(&self) -> &'static str;
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<M> {
    /// Microseconds since the order was taken, monotonic.
    pub at_us: u64,
    /// Wall clock of who wrote it, for the report's timeline only.
    pub wall: jiff::Timestamp,
    /// What happened.
    pub moment: M,
}

impl<M: Named> Entry<M> {
    /// Name of its moment.
    pub fn name(&self) -> &'static str {
        self.moment.name()
    }
}

/// The record as others read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<M, O> {
    /// Operation key of the order.
    pub key: String,
    /// Entries in order.
    pub entries: Vec<Entry<M>>,
    /// Set once it ended.
    pub outcome: Option<O>,
    /// The process that wrote it is gone, and whoever serves it now does not go on with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abandoned: bool,
}

impl<M, O> Default for Record<M, O> {
    fn default() -> Self {
        Self {
            key: String::new(),
            entries: Vec::new(),
            outcome: None,
            abandoned: false,
        }
    }
}

impl<M: Named, O> Record<M, O> {
    /// When a moment of this name happened first, in microseconds.
    pub fn at(&self, name: &str) -> Option<u64> {
        self.entries
            .iter()
            .find(|entry| entry.name() == name)
            .map(|entry| entry.at_us)
    }

    /// Every moment with its time, for people.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.entries.iter().map(|entry| {
            let (ms, tenth) = (entry.at_us / 1_000, entry.at_us % 1_000 / 100);
            format!("{} at {ms}.{tenth} ms", entry.name())
        })
    }
}

impl<M, O> Record<M, O> {
    /// The story of both: this one goes on after an earlier one, as far from it as the wall clock says.
    #[must_use]
    pub fn after(mut self, earlier: Self) -> Self {
        if let (Some(first), Some(then)) = (self.entries.first(), earlier.entries.first()) {
            let between = first.wall.duration_since(then.wall).as_micros();
            let between = u64::try_from(between).unwrap_or(0);
            let shift = then
                .at_us
                .saturating_add(between)
                .saturating_sub(first.at_us);
            for entry in &mut self.entries {
                entry.at_us = entry.at_us.saturating_add(shift);
            }
        }
        let mut entries = earlier.entries;
        entries.append(&mut self.entries);
        Self { entries, ..self }
    }
}

/// A log in memory, with its own clock.
pub struct MemoryLog<M, O> {
    began: Instant,
    record: Mutex<Record<M, O>>,
}

impl<M: Clone, O: Clone> MemoryLog<M, O> {
    /// An empty log for one order.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            began: Instant::now(),
            record: Mutex::new(Record {
                key: key.into(),
                ..Record::default()
            }),
        }
    }

    /// Adds a moment, of now.
    pub fn add(&self, moment: M) {
        let entry = Entry {
            at_us: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            wall: jiff::Timestamp::now(),
            moment,
        };
        self.with(|record| record.entries.push(entry));
    }

    /// The record so far.
    pub fn record(&self) -> Record<M, O> {
        self.with(|record| record.clone())
    }

    /// Notes how it ended.
    pub fn close(&self, outcome: O) {
        self.with(|record| record.outcome = Some(outcome));
    }

    fn with<R>(&self, look: impl FnOnce(&mut Record<M, O>) -> R) -> R {
        look(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Entry, Record};

    #[test]
    fn a_story_in_two_records_is_told_in_one() {
        let record = |key: &str, second: i64, moments: &[(u64, &str)]| Record::<String, bool> {
            key: key.to_owned(),
            entries: moments
                .iter()
                .map(|(at_us, moment)| Entry {
                    at_us: *at_us,
                    wall: Timestamp::from_second(second).unwrap(),
                    moment: (*moment).to_owned(),
                })
                .collect(),
            outcome: Some(second > 1),
            abandoned: false,
        };
        let one = record("one", 1, &[(10, "a")]);
        let two = record("two", 3, &[(4, "b"), (9, "c")]);
        assert_eq!(two.clone().after(Record::default()), two);
        let both = two.after(one);
        let told: Vec<_> = both
            .entries
            .iter()
            .map(|entry| (entry.at_us, entry.moment.as_str()))
            .collect();
        assert_eq!(told, [(10, "a"), (2_000_010, "b"), (2_000_015, "c")]);
        assert_eq!((both.key.as_str(), both.outcome), ("two", Some(true)));
    }
}
