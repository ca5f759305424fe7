//! The record of a hand-over: what happened, when, and how it ended.

use serde::{Deserialize, Serialize};

use crate::databases::record::{self, Named};

/// A moment of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Moment {
    /// All sessions stand and every check holds.
    Ready {
        /// Bytes that the candidate is behind.
        lag_bytes: u64,
        /// Primaries that know the candidate as the replica of the old primary.
        known_by: u32,
        /// Primaries that have a vote.
        voters: u32,
    },
    /// A write went through to the candidate.
    Barrier {
        /// Replicas that have it.
        replicas: u32,
    },
    /// The candidate answers at once.
    Prompt {
        /// Slowest of its answers, in microseconds.
        slowest_us: u64,
    },
    /// The candidate was asked to take over. Clients of the shard wait from about here.
    Asked,
    /// It accepted; that is all its answer says.
    Accepted,
    /// The candidate says that it is a primary. Clients that follow redirections go on.
    Flipped,
    /// The old primary says that it is a replica.
    Followed,
    /// Every node says so.
    Agreed {
        /// Configuration epoch of the new primary.
        epoch: u64,
    },
    /// The old primary's link to the new one stands.
    Rejoined,
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
            Self::Barrier { .. } => "barrier",
            Self::Prompt { .. } => "prompt",
            Self::Asked => "asked",
            Self::Accepted => "accepted",
            Self::Flipped => "flipped",
            Self::Followed => "followed",
            Self::Agreed { .. } => "agreed",
            Self::Rejoined => "rejoined",
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
    /// The candidate is no replica of the old primary.
    #[error("{name} is not a replica of {old}: {found}")]
    NotItsReplica {
        /// Candidate.
        name: String,
        /// Old primary.
        old: String,
        /// What it is.
        found: String,
    },
    /// Too few primaries would vote for it.
    #[error("{known_by} of {voters} primaries know {name} as a replica, {needed} are needed")]
    NoMajority {
        /// Candidate.
        name: String,
        /// Primaries that know it.
        known_by: u32,
        /// Primaries that vote.
        voters: u32,
        /// Votes that it needs.
        needed: u32,
    },
    /// The candidate is behind.
    #[error("{name} is {lag_bytes} bytes behind, {allowed} are allowed")]
    Lagging {
        /// Candidate.
        name: String,
        /// Bytes.
        lag_bytes: u64,
        /// Bytes.
        allowed: u64,
    },
    /// An election that the candidate may have been part of still counts.
    #[error(
        "{name} may have been elected less than {forgotten_after_s} s ago; the servers have forgotten that in {rest_s} s"
    )]
    NotRested {
        /// Candidate.
        name: String,
        /// Seconds until then.
        rest_s: u64,
        /// How long an election counts, in seconds.
        forgotten_after_s: u64,
    },
    /// A write did not go through to the candidate.
    #[error("a write did not reach the replica: {0}")]
    NoBarrier(String),
    /// The candidate does not answer at once.
    #[error("{name} is not prompt: {cause}")]
    NotPrompt {
        /// Candidate.
        name: String,
        /// What happened.
        cause: String,
    },
    /// The candidate did not accept.
    #[error("the replica did not accept: {0}")]
    NotAccepted(String),
    /// Roles did not change in time.
    #[error("roles did not change within {after_ms} ms: {seen}")]
    NotFlipped {
        /// Waited.
        after_ms: u64,
        /// What both servers said last.
        seen: String,
    },
}

impl Reason {
    /// Code with a page in `docs/errors/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "FW0201",
            Self::NotItsReplica { .. } => "FW0221",
            Self::NoMajority { .. } => "FW0222",
            Self::Lagging { .. } | Self::NoBarrier(_) => "FW0223",
            Self::NotPrompt { .. } => "FW0224",
            Self::NotAccepted(_) => "FW0225",
            Self::NotFlipped { .. } => "FW0226",
            Self::NotRested { .. } => "FW0227",
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
        /// It took longer than expected; in milliseconds.
        late_ms: Option<u64>,
        /// Members that did not say so in time.
        unsettled: Vec<String>,
    },
    /// The old primary is the primary, by itself; nothing has to be taken back.
    Undone {
        /// Why.
        reason: Reason,
        /// The candidate had been asked: clients of the shard may have waited.
        asked: bool,
    },
    /// The servers do not say who is the primary.
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

impl Record {
    /// From the request to the change of roles, in microseconds.
    pub fn flip_us(&self) -> Option<u64> {
        Some(self.at("flipped")?.saturating_sub(self.at("asked")?))
    }
}

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
