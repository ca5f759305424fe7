//! Where records live.

pub mod memory;
pub mod sqlite;

use ferriswheel_plan::ids::PlanId;
use jiff::Timestamp;

use crate::record::{Entry, Record};

/// An append-only list of records with one writer in charge.
pub trait Journal: Send + Sync {
    /// Appends an entry. [`Entry::Driving`] takes the run and gets the next epoch; any other entry
    /// is refused unless `epoch` is in charge. Durable when it returns.
    fn append(
        &self,
        plan: &PlanId,
        epoch: u64,
        at: Timestamp,
        entry: Entry,
    ) -> Result<Record, AppendError>;

    /// Records after a position, oldest first.
    fn after(&self, seq: u64) -> Result<Vec<Record>, ReadError>;
}

/// A record was not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another driver is in charge.
    #[error("another driver (epoch {in_charge}) has taken the run from this one (epoch {ours})")]
    Conflict {
        /// Ours.
        ours: u64,
        /// Theirs.
        in_charge: u64,
    },
    /// The store was busy; nothing was written.
    #[error("the journal is busy")]
    Transient(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No room; nothing was written.
    #[error("the journal's disk is full")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store is damaged.
    #[error("the journal is damaged")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store cannot be opened or read.
    #[error("failed to read the journal")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A record in the middle is not what was written.
    #[error("record {seq} of the journal is not what was written: {why}")]
    Damaged {
        /// Position.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// A newer version wrote it.
    #[error("the journal has format {found}, this program reads up to {known}")]
    TooNew {
        /// In the file.
        found: u32,
        /// Newest known.
        known: u32,
    },
}
