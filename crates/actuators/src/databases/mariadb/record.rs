//! The record of a hand-over: what happened, when, and how it ended.

use serde::{Deserialize, Serialize};

use crate::databases::record::{self, Named};

/// A moment of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Moment {
    /// All sessions stand and every check holds; the candidate has just caught up.
    Ready {
        /// Position of the primary.
        position: String,
    },
    /// The old primary would come back as a replica of the candidate if it restarted now.
    Aimed,
    /// The lock over the old primary was asked for. Clients wait from about here.
    LockAsked,
    /// Nobody writes there any more.
    Locked {
        /// The last position.
        position: String,
    },
    /// New clients are led to the candidate.
    Routed,
    /// The candidate has everything.
    CaughtUp,
    /// The old primary takes no writes, also without the lock and after a restart.
    Closed,
    /// The candidate takes writes.
    Promoted,
    /// Clients that waited on the old primary were cut.
    Cut {
        /// Sessions.
        sessions: usize,
    },
    /// The lock is gone.
    Released,
    /// The old primary follows the candidate.
    Followed,
    /// The other members follow the candidate.
    Repointed,
    /// Every member has what the new primary had a moment ago.
    Settled,
    /// New clients are led to the old primary again.
    RoutedBack,
    /// The old primary takes writes again, as before.
    Reopened,
    /// It did not go through.
    Faltered {
        /// Why.
        reason: Reason,
    },
    /// Something beside the outcome.
    Note {
        /// What.
        text: String,
    },
}

impl Named for Moment {
    fn name(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Aimed => "aimed",
            Self::LockAsked => "lockAsked",
            Self::Locked { .. } => "locked",
            Self::Routed => "routed",
            Self::CaughtUp => "caughtUp",
            Self::Closed => "closed",
            Self::Promoted => "promoted",
            Self::Cut { .. } => "cut",
            Self::Released => "released",
            Self::Followed => "followed",
            Self::Repointed => "repointed",
            Self::Settled => "settled",
            Self::RoutedBack => "routedBack",
            Self::Reopened => "reopened",
            Self::Faltered { .. } => "faltered",
            Self::Note { .. } => "note",
        }
    }
}

/// Why a hand-over did not go through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// A check before it does not hold.
    #[error("not ready for the hand-over: {0}")]
    NotReady(String),
    /// The candidate is behind before anything was touched.
    #[error("the successor is behind: {0}")]
    Behind(String),
    /// Somebody held the old primary longer than the lock may wait.
    #[error("the old primary could not be locked: {0}")]
    NotLocked(String),
    /// The candidate did not get the last position in time.
    #[error("the successor had not everything in time: {0}")]
    NotCaughtUp(String),
    /// The candidate could not be promoted.
    #[error("the successor was not promoted: {0}")]
    NotPromoted(String),
    /// Nobody can say who takes writes.
    #[error("the members do not say who is the primary: {0}")]
    Unclear(String),
    /// A member has what the new primary has not.
    #[error("a member has transactions that the new primary has not: {0}")]
    Diverged(String),
}

impl Reason {
    /// Code with a page in `docs/errors/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "FW0241",
            Self::Behind(_) => "FW0242",
            Self::NotLocked(_) => "FW0243",
            Self::NotCaughtUp(_) => "FW0244",
            Self::NotPromoted(_) => "FW0245",
            Self::Unclear(_) => "FW0246",
            Self::Diverged(_) => "FW0247",
        }
    }
}

/// How a hand-over ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Outcome {
    /// The candidate is the primary.
    HandedOver {
        /// It was the primary before this hand-over did anything.
        already: bool,
        /// Members that do not follow it yet.
        unsettled: Vec<String>,
    },
    /// The old primary is the primary, and what was changed is put back.
    Undone {
        /// Why.
        reason: Reason,
        /// The lock had been asked for: clients may have waited.
        locked: bool,
    },
    /// Nobody may be told to take writes: a person decides.
    Unresolved {
        /// Why.
        reason: Reason,
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
        tracing::info!(moment = moment.name(), "hand-over");
        self.add(moment);
    }
}
