//! The record of a hand-over: what happened, when, and how it ended.

use serde::{Deserialize, Serialize};

use crate::databases::record::{self, Named};

/// A moment of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Moment {
    /// All sessions stand and every check holds.
    Ready {
        /// Term of the primary.
        term: i64,
        /// Seconds that the candidate is behind.
        lag_seconds: u64,
    },
    /// The others copy from the candidate.
    Chained,
    /// Nobody but the candidate can be elected.
    Frozen,
    /// A majority has an entry of now on disk.
    Barrier,
    /// The primary was asked to step down. Clients wait from about here.
    Asked,
    /// It has stepped down.
    SteppedDown,
    /// The candidate says that it takes writes. Clients that look for a primary go on.
    Elected,
    /// A majority has an entry of the new primary on disk.
    Committed,
    /// A majority of the members names the candidate.
    Agreed {
        /// The new term.
        term: i64,
    },
    /// Everybody may be elected again.
    Thawed,
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
            Self::Chained => "chained",
            Self::Frozen => "frozen",
            Self::Barrier => "barrier",
            Self::Asked => "asked",
            Self::SteppedDown => "steppedDown",
            Self::Elected => "elected",
            Self::Committed => "committed",
            Self::Agreed { .. } => "agreed",
            Self::Thawed => "thawed",
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
    /// The candidate has not everything.
    #[error("the successor has not everything: {0}")]
    Behind(String),
    /// The primary did not step down.
    #[error("the primary did not step down: {0}")]
    NotSteppedDown(String),
    /// Nobody was elected in time.
    #[error("nobody became the primary within {after_ms} ms: {seen}")]
    NotElected {
        /// Waited.
        after_ms: u64,
        /// What was seen last.
        seen: String,
    },
    /// Somebody else was elected.
    #[error("{0} became the primary instead")]
    Another(String),
    /// The members give no answer.
    #[error("the members do not say who is the primary: {0}")]
    Unclear(String),
}

impl Reason {
    /// Code with a page in `docs/errors/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "FW0231",
            Self::Behind(_) => "FW0232",
            Self::NotSteppedDown(_) => "FW0233",
            Self::NotElected { .. } => "FW0234",
            Self::Another(_) => "FW0235",
            Self::Unclear(_) => "FW0236",
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
        /// Members that did not say so in time.
        unsettled: Vec<String>,
    },
    /// The old primary is the primary, and what was changed is put back.
    Undone {
        /// Why.
        reason: Reason,
        /// The primary had been asked: clients may have waited.
        asked: bool,
    },
    /// Somebody else is the primary, or nobody.
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
