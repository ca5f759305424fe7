//! A server process, from moment to moment.

use std::time::Duration;

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Starting up.
    Starting {
        /// Until then.
        until: Duration,
    },
    /// Accepts connections.
    Running,
    /// A fast shutdown is under way; sessions are gone.
    Stopping {
        /// The shutdown checkpoint is written then.
        until: Duration,
        /// It is written.
        written: bool,
    },
}

/// The stream of a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// Up.
    Streaming,
    /// Sleeping before the next try.
    Waiting {
        /// Until then.
        until: Duration,
    },
}

/// A server process.
#[derive(Clone, Debug)]
pub struct Process {
    /// UID of its pod.
    pub uid: String,
    /// Its disk.
    pub disk: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// It is a standby.
    pub in_recovery: bool,
    /// Names this start.
    pub started: String,
    /// Records replayed.
    pub replayed: usize,
    /// Replay is paused by hand.
    pub replay_paused: bool,
    /// Records replayed when this process became a primary by promotion.
    pub promoted_at: Option<usize>,
    /// Its stream, for a standby.
    pub receiver: Receiver,
    /// Its upstream has sent it something since it started: before, it counts as received only
    /// what lies before the segment that it asks for.
    pub fed: bool,
    /// The promotion is done then.
    pub promoting: Option<Duration>,
    /// It does nothing until then (SIGSTOP).
    pub frozen: Duration,
    /// What its kubelet was told of its readiness.
    pub(super) announced: bool,
}

/// What changes from moment to moment.
#[derive(Clone, Copy)]
pub(super) struct Glance {
    pub phase: Phase,
    pub in_recovery: bool,
    pub receiver: Receiver,
    pub promoting: Option<Duration>,
}

impl Process {
    /// Accepts connections.
    pub fn runs(&self) -> bool {
        self.phase == Phase::Running
    }

    /// A primary that takes writes.
    pub fn is_primary(&self) -> bool {
        self.runs() && !self.in_recovery
    }

    pub(super) fn glance(&self) -> Glance {
        Glance {
            phase: self.phase,
            in_recovery: self.in_recovery,
            receiver: self.receiver,
            promoting: self.promoting,
        }
    }

    /// Serves its standbys.
    pub(super) fn sends(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Stopping { .. })
    }
}
