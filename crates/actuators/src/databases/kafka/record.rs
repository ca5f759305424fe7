//! The record of partitions that are led away or back: what happened, when, and how it ended.

use serde::{Deserialize, Serialize};

use crate::databases::record::{self, Named};

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Moment {
    /// All sessions stand and every check holds.
    Ready {
        /// Partitions to be moved.
        partitions: usize,
    },
    /// What they are now is kept outside of this process.
    Kept,
    /// The controller was asked for another order of a partition's replicas.
    Reordered {
        /// Partition.
        partition: String,
    },
    /// The controller was asked to let the first of them lead. Who writes to it waits from about here.
    Elected {
        /// Partition.
        partition: String,
    },
    /// Every broker names the new leader.
    Agreed {
        /// Partition.
        partition: String,
        /// Who leads it.
        leader: i32,
    },
    /// None is left.
    Finished,
    /// As much is done as one act holds.
    Sliced {
        /// Partitions that are left for the next one.
        remaining: usize,
    },
    /// Nothing is kept any more.
    Forgotten,
    /// It did not go through.
    Faltered {
        /// Why.
        reason: Reason,
    },
}

impl Named for Moment {
    fn name(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Kept => "kept",
            Self::Reordered { .. } => "reordered",
            Self::Elected { .. } => "elected",
            Self::Agreed { .. } => "agreed",
            Self::Finished => "finished",
            Self::Sliced { .. } => "sliced",
            Self::Forgotten => "forgotten",
            Self::Faltered { .. } => "faltered",
        }
    }
}

/// Why it did not go through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// A check before it does not hold.
    #[error("not ready: {0}")]
    NotReady(String),
    /// A partition did not get its leader.
    #[error("{partition} is not led by {leader}: {why}")]
    NotLed {
        /// Partition.
        partition: String,
        /// Who was to lead it.
        leader: i32,
        /// Why not.
        why: String,
    },
    /// What is there now could not be kept, or not be read.
    #[error("the order of replicas could not be kept: {0}")]
    NotKept(String),
}

impl Reason {
    /// Code with a page in `docs/errors/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "FW0251",
            Self::NotLed { .. } => "FW0252",
            Self::NotKept(_) => "FW0253",
        }
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Outcome {
    /// All of them were moved, or were there already.
    Done {
        /// Moved now.
        moved: usize,
        /// Not touched, because somebody else has changed them, and how.
        left: Vec<String>,
    },
    /// As many were moved as one act holds; whoever does it again moves the next ones.
    Sliced {
        /// Moved now.
        moved: usize,
        /// Left for the next act.
        remaining: usize,
    },
    /// It ended before the last one. Each has a leader in sync.
    Stopped {
        /// Why.
        reason: Reason,
        /// Moved until then.
        moved: usize,
    },
}

/// One entry.
pub type Entry = record::Entry<Moment>;

/// The record as others read it.
pub type Record = record::Record<Moment, Outcome>;

/// A log in memory, with its own clock.
pub type MemoryLog = record::MemoryLog<Moment, Outcome>;

/// Where moments go. Must not block: it is called while clients wait.
pub trait Log: Send + Sync {
    /// Notes a moment.
    fn note(&self, moment: Moment);
}

impl Log for MemoryLog {
    fn note(&self, moment: Moment) {
        tracing::info!(moment = moment.name(), "leaders");
        self.add(moment);
    }
}

/// How work ended that left so many partitions for the next act, and these as they are; told to the log too.
pub(super) fn ended(
    work: Result<(usize, Vec<String>), Reason>,
    moved: usize,
    log: &dyn Log,
) -> Outcome {
    match work {
        Ok((0, left)) => {
            log.note(Moment::Finished);
            Outcome::Done { moved, left }
        }
        Ok((remaining, _)) => {
            log.note(Moment::Sliced { remaining });
            Outcome::Sliced { moved, remaining }
        }
        Err(reason) => {
            log.note(Moment::Faltered {
                reason: reason.clone(),
            });
            Outcome::Stopped { reason, moved }
        }
    }
}
