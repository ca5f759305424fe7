//! All counts of a run behind one door, so that they agree with each other at every moment.

use std::time::Duration;

use super::errors::ErrorTally;
use super::gaps::Gaps;
use super::histogram::Histogram;
use super::ledger::{Ledger, Outcome, Sequence};
use crate::timeline::Buckets;

/// What readers saw.
#[derive(Clone, Debug, Default)]
pub struct ReadTally {
    /// Reads sent.
    pub attempted: u64,
    /// Reads answered.
    pub ok: u64,
    /// Reads that failed, and failed connects of readers.
    pub errors: u64,
    /// Answers that miss a write acknowledged before the read was sent.
    pub stale: u64,
    /// Answers older than an answer that the same reader had already seen.
    pub regressions: u64,
    /// How long answered reads took.
    pub latency: Histogram,
}

/// The counts of one run. Instants are durations since its anchor.
#[derive(Clone, Debug)]
pub struct Recorder {
    ledger: Ledger,
    gaps: Gaps,
    /// Gaps of each shard; writer `n` belongs to shard `n % s`.
    shards: Vec<Gaps>,
    buckets: Buckets,
    latency: Histogram,
    worst: Duration,
    errors: ErrorTally,
    reads: ReadTally,
}

impl Recorder {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(writers: usize) -> Self {
        Self::sharded(writers, 0)
    }

    /// Nothing counted yet, of a database whose shards are counted one by one too.
    #[must_use]
    pub fn sharded(writers: usize, shards: usize) -> Self {
        Self {
            shards: vec![Gaps::default(); shards],
            ledger: Ledger::new(writers),
            gaps: Gaps::default(),
            buckets: Buckets::default(),
            latency: Histogram::default(),
            worst: Duration::ZERO,
            errors: ErrorTally::default(),
            reads: ReadTally::default(),
        }
    }

    /// A writer is about to send: takes its next key.
    pub fn attempt(&mut self, writer: usize) -> Sequence {
        self.ledger.attempt(writer)
    }

    /// The server acknowledged a write that was sent at `sent`.
    pub fn acked(&mut self, writer: usize, seq: Sequence, sent: Duration, at: Duration) {
        self.ledger.settle(writer, seq, Outcome::Acked);
        self.gaps.ack(at);
        if let Some(shard) = shard_of(writer, self.shards.len()) {
            self.shards[shard].ack(at);
        }
        self.buckets.ack(at);
        let took = at.saturating_sub(sent);
        self.latency.record(took);
        self.worst = self.worst.max(took);
    }

    /// The client saw an error for a write that was sent at `sent`.
    pub fn failed(
        &mut self,
        writer: usize,
        seq: Sequence,
        sent: Duration,
        at: Duration,
        failure: Failure<'_>,
    ) {
        self.ledger.settle(writer, seq, failure.outcome);
        self.worst = self.worst.max(at.saturating_sub(sent));
        self.errors.record(failure.kind, failure.detail);
        self.buckets.error(at);
    }

    /// The client could not connect. No key is used up, and yet it is an error that it saw.
    pub fn connect_failed(&mut self, at: Duration, kind: &str, detail: &str) {
        self.errors.record(kind, detail);
        self.buckets.error(at);
    }

    /// The writers are asked to stop.
    pub fn stop(&mut self, at: Duration) {
        self.gaps.stop(at);
        for shard in &mut self.shards {
            shard.stop(at);
        }
        self.buckets.extend_to(at);
    }

    /// No reply is awaited any longer.
    pub fn close(&mut self) {
        self.ledger.close();
    }

    /// Keys and outcomes.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Intervals without an acknowledgement.
    #[must_use]
    pub const fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// Intervals without an acknowledgement of each shard; empty where there are none.
    #[must_use]
    pub fn shards(&self) -> &[Gaps] {
        &self.shards
    }

    /// Counts over time.
    #[must_use]
    pub const fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// How long acknowledged writes took.
    #[must_use]
    pub const fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// The longest that a client waited for any reply, good or bad.
    #[must_use]
    pub const fn worst(&self) -> Duration {
        self.worst
    }

    /// What clients saw go wrong.
    #[must_use]
    pub const fn errors(&self) -> &ErrorTally {
        &self.errors
    }

    /// What readers saw.
    #[must_use]
    pub const fn reads(&self) -> &ReadTally {
        &self.reads
    }

    /// The readers' counts, to add to.
    pub const fn reads_mut(&mut self) -> &mut ReadTally {
        &mut self.reads
    }
}

/// The shard that a writer writes to: none where there are no shards.
#[must_use]
pub const fn shard_of(writer: usize, shards: usize) -> Option<usize> {
    writer.checked_rem(shards)
}

/// Why a write was not acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Refused or indeterminate.
    pub outcome: Outcome,
    /// SQLSTATE or a name of the transport error.
    pub kind: &'a str,
    /// Text for people.
    pub detail: &'a str,
}
