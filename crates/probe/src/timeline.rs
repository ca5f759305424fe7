//! Acknowledgements and errors over time, for the report.
//!
//! One cell a bucket of 10 ms while the run is short. Memory stays bounded: when the cells are
//! full the width doubles, and the file says which width it has. On disk the cells are run-length
//! coded.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Format of the file beside a certificate.
pub const SCHEMA: &str = "ferriswheel.timeline.v1";

/// Width of a bucket at the start of a run.
///
/// 10 ms: a tenth of the stall that a pooled hand-over causes, and wide enough to hold several
/// acknowledgements of the default four writers.
const BUCKET: Duration = Duration::from_millis(10);

/// Buckets kept at most: 2.9 hours at 10 ms, 4 MiB.
const MAX_BUCKETS: usize = 1 << 20;

/// A step or another moment worth showing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What happened.
    pub name: String,
    /// Wall clock.
    pub at: Timestamp,
    /// Milliseconds since the anchor.
    pub at_ms: u64,
}

/// One of the longest intervals without an acknowledgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapSpan {
    /// Start, in milliseconds since the anchor.
    pub from_ms: f64,
    /// End, in milliseconds since the anchor.
    pub to_ms: f64,
}

/// The file: everything the report draws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// [`SCHEMA`].
    pub schema: String,
    /// Identity of the run.
    pub run: String,
    /// Wall clock of bucket 0's left edge.
    pub anchor: Timestamp,
    /// Width of a bucket.
    pub bucket_ms: u64,
    /// First acknowledgement, in milliseconds since the anchor.
    pub first_ack_ms: Option<f64>,
    /// When the writers were asked to stop, in milliseconds since the anchor.
    pub stop_ms: f64,
    /// Acknowledged writes a bucket, as `[count, repetitions]`.
    pub acks: Vec<(u32, u32)>,
    /// Errors a bucket, as `[count, repetitions]`.
    pub errors: Vec<(u32, u32)>,
    /// Marks in order of time.
    pub marks: Vec<Mark>,
    /// The longest gaps, longest first.
    pub gaps: Vec<GapSpan>,
}

/// The cells while a run lasts.
#[derive(Clone, Debug)]
pub struct Buckets {
    width: Duration,
    limit: usize,
    acks: Vec<u32>,
    errors: BTreeMap<usize, u32>,
}

impl Default for Buckets {
    fn default() -> Self {
        Self::with_limit(MAX_BUCKETS)
    }
}

impl Buckets {
    fn with_limit(limit: usize) -> Self {
        Self {
            width: BUCKET,
            limit,
            acks: Vec::new(),
            errors: BTreeMap::new(),
        }
    }

    /// Counts an acknowledgement.
    pub fn ack(&mut self, at: Duration) {
        let cell = self.cell(at);
        self.acks[cell] += 1;
    }

    /// Counts an error.
    pub fn error(&mut self, at: Duration) {
        let cell = self.cell(at);
        *self.errors.entry(cell).or_default() += 1;
    }

    /// Makes the cells reach to `at`, so that silence at the end is seen.
    pub fn extend_to(&mut self, at: Duration) {
        self.cell(at);
    }

    /// Width of a bucket.
    #[must_use]
    pub fn width_ms(&self) -> u64 {
        u64::try_from(self.width.as_millis()).unwrap_or(u64::MAX)
    }

    /// Acknowledgements, run-length coded.
    #[must_use]
    pub fn acks(&self) -> Vec<(u32, u32)> {
        encode(self.acks.iter().copied())
    }

    /// Errors, run-length coded over the same buckets.
    #[must_use]
    pub fn errors(&self) -> Vec<(u32, u32)> {
        encode((0..self.acks.len()).map(|cell| self.errors.get(&cell).copied().unwrap_or(0)))
    }

    fn cell(&mut self, at: Duration) -> usize {
        loop {
            let cell = usize::try_from(at.as_nanos() / self.width.as_nanos()).unwrap_or(usize::MAX);
            if cell < self.limit {
                if cell >= self.acks.len() {
                    self.acks.resize(cell + 1, 0);
                }
                return cell;
            }
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.width *= 2;
        self.acks = self.acks.chunks(2).map(|pair| pair.iter().sum()).collect();
        let mut errors = BTreeMap::new();
        for (cell, n) in &self.errors {
            *errors.entry(cell / 2).or_default() += n;
        }
        self.errors = errors;
    }
}

fn encode(cells: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for count in cells {
        match runs.last_mut() {
            Some((value, repetitions)) if *value == count && *repetitions < u32::MAX => {
                *repetitions += 1;
            }
            _ => runs.push((count, 1)),
        }
    }
    runs
}

/// The cells of a run-length coded series.
pub fn decode(runs: &[(u32, u32)]) -> impl Iterator<Item = u32> + '_ {
    runs.iter().flat_map(|(value, repetitions)| {
        std::iter::repeat_n(*value, usize::try_from(*repetitions).unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn coding_keeps_every_bucket(cells in prop::collection::vec(0u32..4, 0..500)) {
            let decoded: Vec<u32> = decode(&encode(cells.iter().copied())).collect();
            prop_assert_eq!(decoded, cells);
        }

        #[test]
        fn nothing_is_lost_when_the_width_doubles(
            acks in prop::collection::vec(0u64..40_000, 0..300),
            errors in prop::collection::vec(0u64..40_000, 0..50),
        ) {
            let mut buckets = Buckets::with_limit(64);
            for at in &acks {
                buckets.ack(Duration::from_millis(*at));
            }
            for at in &errors {
                buckets.error(Duration::from_millis(*at));
            }
            let sum = |runs: Vec<(u32, u32)>| decode(&runs).map(u64::from).sum::<u64>();
            prop_assert_eq!(sum(buckets.acks()), acks.len() as u64);
            prop_assert_eq!(sum(buckets.errors()), errors.len() as u64);
            prop_assert!(buckets.acks.len() <= 64);
            for at in &acks {
                let cell = usize::try_from(at / buckets.width_ms()).unwrap();
                prop_assert!(buckets.acks[cell] > 0);
            }
        }
    }
}
