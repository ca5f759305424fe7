//! The agent's own record of a window: what happened, when, and how it ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lsn::Lsn;
use super::server::OpenTransaction;
use crate::databases::record::{self, Named};

/// A moment of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Moment {
    /// All sessions stand and every check before the window holds.
    Rehearsed {
        /// Round trip to each server and pooler, in microseconds.
        round_trips_us: Vec<(String, u64)>,
    },
    /// The candidate's name leads elsewhere; nothing is touched until it does not.
    NameAwaited {
        /// Name.
        host: String,
        /// Address of the candidate.
        wanted: String,
        /// Where the name leads, and for whom.
        found: String,
    },
    /// Commits of an asynchronous set shall wait for the candidate until the hand-over is over.
    StandbyRequired,
    /// They do: what is acknowledged from here to the stop is on the candidate too.
    Synchronous {
        /// `sync_state` of the candidate.
        state: String,
    },
    /// The candidate is ready to be promoted promptly, and has the slots.
    CandidateArmed,
    /// The log is flushed to the data files; the shutdown checkpoint will be small.
    Checkpointed {
        /// Duration of the second checkpoint in milliseconds.
        second_ms: u64,
    },
    /// The old primary's next start will be a standby's.
    OldArmed,
    /// PAUSE is on its way to every pooler. The window opens here.
    PauseSent,
    /// Every pooler holds its clients.
    Paused,
    /// The fast shutdown is on its way.
    StopSent {
        /// Flushed position right before.
        flush: Lsn,
    },
    /// Patroni is asked to hand over, once.
    SwitchoverSent {
        /// Flushed position right before.
        flush: Lsn,
    },
    /// What Patroni says of it.
    Answered {
        /// Status and text.
        text: String,
    },
    /// Patroni's own view names the candidate as the leader.
    LeaderSeen,
    /// The candidate holds the shutdown checkpoint, replayed; under Patroni: its timeline forks at or after what had been
    /// flushed when the question was sent.
    Proven {
        /// Start of the shutdown checkpoint.
        start: Lsn,
        /// End of it: received and replayed.
        end: Lsn,
    },
    /// The promotion is on its way.
    PromoteSent,
    /// The candidate is a primary.
    Promoted {
        /// How often the trigger was sent.
        triggers: u32,
    },
    /// The other standbys follow the candidate.
    Repointed,
    /// A real write committed on the new primary.
    Committed {
        /// Its position.
        lsn: Lsn,
    },
    /// Every pooler has read its new configuration.
    Reloaded,
    /// Clients go on. The window closes here.
    Resumed,
    /// The forward path ended early.
    Faltered {
        /// Why.
        reason: Reason,
    },
    /// Somebody takes over by what it observes.
    RecoveryBegan {
        /// Who.
        by: String,
    },
    /// The old server is promoted in place.
    OldPromoted,
    /// The old primary is back as a standby of the new one.
    Rejoined,
    /// Temporary settings and slots are gone.
    Restored,
    /// Something after the window did not work; it does not change the outcome.
    Note {
        /// What.
        text: String,
    },
}

impl Named for Moment {
    fn name(&self) -> &'static str {
        match self {
            Self::Rehearsed { .. } => "rehearsed",
            Self::NameAwaited { .. } => "nameAwaited",
            Self::StandbyRequired => "standbyRequired",
            Self::Synchronous { .. } => "synchronous",
            Self::CandidateArmed => "candidateArmed",
            Self::Checkpointed { .. } => "checkpointed",
            Self::OldArmed => "oldArmed",
            Self::PauseSent => "pauseSent",
            Self::Paused => "paused",
            Self::StopSent { .. } => "stopSent",
            Self::SwitchoverSent { .. } => "switchoverSent",
            Self::Answered { .. } => "answered",
            Self::LeaderSeen => "leaderSeen",
            Self::Proven { .. } => "proven",
            Self::PromoteSent => "promoteSent",
            Self::Promoted { .. } => "promoted",
            Self::Repointed => "repointed",
            Self::Committed { .. } => "committed",
            Self::Reloaded => "reloaded",
            Self::Resumed => "resumed",
            Self::Faltered { .. } => "faltered",
            Self::RecoveryBegan { .. } => "recoveryBegan",
            Self::OldPromoted => "oldPromoted",
            Self::Rejoined => "rejoined",
            Self::Restored => "restored",
            Self::Note { .. } => "note",
        }
    }
}

/// Why a hand-over did not go through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// A check right before the window does not hold.
    #[error("not ready for the window: {0}")]
    NotReady(String),
    /// Whoever goes to the candidate by its name would not reach it.
    #[error("{host} leads to {found}, the candidate is at {wanted}")]
    NameStale {
        /// Name.
        host: String,
        /// Address of the candidate.
        wanted: String,
        /// Where the name leads, and for whom.
        found: String,
    },
    /// A client transaction held PAUSE beyond its budget.
    #[error("{pooler} could not pause within its budget: {}", held_by(.transactions))]
    HeldByTransaction {
        /// Pooler that did not answer.
        pooler: String,
        /// Who held it.
        transactions: Vec<OpenTransaction>,
    },
    /// A pooler was lost.
    #[error("pooler {pooler} was lost: {cause}")]
    PoolerLost {
        /// Pooler.
        pooler: String,
        /// Cause.
        cause: String,
    },
    /// The old primary did not take the stop.
    #[error("the old primary did not take the stop: {0}")]
    StopFailed(String),
    /// The candidate does not hold a clean end of the log.
    #[error("no proof that the candidate holds the shutdown checkpoint: {0}")]
    NotProven(String),
    /// The candidate was lost.
    #[error("the candidate was lost: {0}")]
    CandidateLost(String),
    /// The promotion was not seen in time.
    #[error("the promotion was not seen in time: {0}")]
    PromotionUnseen(String),
    /// The new primary does not commit.
    #[error("the new primary does not commit: {0}")]
    NoCommit(String),
    /// The agent was lost inside the window.
    #[error("the agent was lost inside the window: {0}")]
    AgentLost(String),
    /// Patroni will not hand over.
    #[error("Patroni refused: {0}")]
    SwitchoverRefused(String),
    /// Patroni cannot be asked, or what it sees speaks against asking.
    #[error("Patroni was not asked: {0}")]
    PatroniSilent(String),
    /// Another member than the one that was named leads now.
    #[error("Patroni has made {leader} the primary, which nobody asked for")]
    PatroniElsewhere {
        /// Who.
        leader: String,
    },
    /// Nobody could be proven primary within the budget.
    #[error("no server could be proven primary within the window's budget: {0}")]
    BudgetSpent(String),
}

impl Reason {
    /// Code with a page in `docs/errors/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "FW0201",
            Self::HeldByTransaction { .. } => "FW0202",
            Self::PoolerLost { .. } => "FW0203",
            Self::StopFailed(_) => "FW0204",
            Self::NotProven(_) => "FW0205",
            Self::CandidateLost(_) => "FW0206",
            Self::PromotionUnseen(_) => "FW0207",
            Self::NoCommit(_) => "FW0208",
            Self::AgentLost(_) => "FW0209",
            Self::BudgetSpent(_) => "FW0210",
            Self::NameStale { .. } => "FW0212",
            Self::SwitchoverRefused(_) => "FW1121",
            Self::PatroniSilent(_) => "FW1122",
            Self::PatroniElsewhere { .. } => "FW1123",
        }
    }
}

fn held_by(transactions: &[OpenTransaction]) -> String {
    if transactions.is_empty() {
        return "no open transaction was found at the server".to_owned();
    }
    transactions
        .iter()
        .map(|t| {
            format!(
                "pid {} ({}, {}) {} for {} ms",
                t.pid, t.user, t.application, t.state, t.age_ms
            )
        })
        .collect::<Vec<_>>()
        .join("; ")
}

/// How a hand-over ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Outcome {
    /// The candidate is the primary, clients go on.
    HandedOver {
        /// Somebody had to take over on the way.
        recovered: Option<Reason>,
    },
    /// The old server is the primary, clients go on, nothing is left behind.
    Undone {
        /// Why.
        reason: Reason,
        /// The old server was stopped and promoted in place (its timeline is one higher).
        in_place: bool,
    },
    /// Clients go on, but nobody could be proven primary within the budget.
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
    /// Somebody is at work on it.
    pub fn is_under_way(&self) -> bool {
        !self.entries.is_empty() && self.outcome.is_none() && !self.abandoned
    }

    /// PAUSE was sent and clients were not let go yet.
    pub fn window_is_open(&self) -> bool {
        self.at("pauseSent").is_some() && self.at("resumed").is_none()
    }

    /// Where the stopped primary's log ends, once the candidate was proven to have all of it.
    pub fn proven(&self) -> Option<Lsn> {
        self.entries.iter().find_map(|entry| match entry.moment {
            Moment::Proven { end, .. } => Some(end),
            _ => None,
        })
    }

    /// Length of the window.
    pub fn window(&self) -> Option<Duration> {
        let opened = self.at("pauseSent")?;
        let closed = self.at("resumed")?;
        Some(Duration::from_micros(closed.saturating_sub(opened)))
    }
}

/// Where moments go. Must not block: it is called inside the window.
pub trait Log: Send + Sync {
    /// Notes a moment.
    fn note(&self, moment: Moment);
}

impl Log for MemoryLog {
    fn note(&self, moment: Moment) {
        self.add(moment);
    }
}
