//! What a server leaves behind when it ends: its log and its settings.

use std::collections::BTreeSet;

use ferriswheel_actuators::databases::postgres::server::Upstream;

/// Bytes of a segment by default: a receiver asks for its upstream's log from the start of one.
const SEGMENT: u64 = 16 * 1024 * 1024;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client's commit.
    Write,
    /// A transactional message.
    Marker,
    /// An online checkpoint.
    Checkpoint,
    /// The checkpoint of a clean shutdown, and the one that ends the recovery of a crash: they are
    /// the same record.
    Shutdown,
    /// The first record of a timeline.
    EndOfRecovery,
}

/// A record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Unique: two logs that share a record share everything before it.
    pub id: u64,
    /// Start position.
    pub start: u64,
    /// End position.
    pub end: u64,
    /// What it is.
    pub kind: Kind,
    /// Timeline.
    pub timeline: u32,
}

/// A data directory.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Holds a database.
    pub initialised: bool,
    /// The log.
    pub log: Vec<Entry>,
    /// `standby.signal` lies there.
    pub standby_signal: bool,
    /// `primary_conninfo` and `primary_slot_name`.
    pub upstream: Option<Upstream>,
    /// Physical slots.
    pub slots: BTreeSet<String>,
    /// `wal_retrieve_retry_interval` is short.
    pub quick_retry: bool,
    /// The promotion's trigger file.
    pub trigger: bool,
    /// The control file says "shut down": the next start recovers nothing.
    pub shut_down: bool,
    /// The standby that commits wait for while a hand-over lasts (`synchronous_standby_names`).
    pub required: Option<String>,
}

impl Disk {
    /// End of the log.
    pub fn end(&self) -> u64 {
        self.log.last().map_or(0, |entry| entry.end)
    }

    /// Where the segment of the log's end begins.
    pub fn segment(&self) -> u64 {
        self.end() / SEGMENT * SEGMENT
    }

    /// Timeline of the end of the log.
    pub fn timeline(&self) -> u32 {
        self.log.last().map_or(1, |entry| entry.timeline)
    }

    /// The other log begins with all of this one.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        match self.log.len().checked_sub(1) {
            None => true,
            Some(last) => other.log.get(last).map(|e| e.id) == Some(self.log[last].id),
        }
    }
}
