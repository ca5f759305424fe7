//! The longest intervals without any acknowledged write.
//!
//! Measured from the run's first acknowledgement to its stop, over all writers together.

use std::time::Duration;

/// How many of the longest gaps are kept.
///
/// 16: a hand-over causes one; the rest shows what is normal on this machine.
const KEPT: usize = 16;

/// One interval between two consecutive acknowledgements (or the last one and the stop).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The acknowledgement before it.
    pub from: Duration,
    /// The acknowledgement after it, or the stop.
    pub to: Duration,
}

impl Gap {
    /// How long nothing was acknowledged.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// Follows the acknowledgements of a run.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    first: Option<Duration>,
    last: Option<Duration>,
    stopped: bool,
    longest: Vec<Gap>,
}

impl Gaps {
    /// An acknowledgement. After the stop it no longer counts for the gaps.
    pub fn ack(&mut self, at: Duration) {
        if self.stopped {
            return;
        }
        if let Some(last) = self.last {
            self.keep(Gap {
                from: last,
                to: at.max(last),
            });
        }
        self.first.get_or_insert(at);
        self.last = self.last.max(Some(at));
    }

    /// The run is asked to stop: an interval still open ends here.
    pub fn stop(&mut self, at: Duration) {
        if !self.stopped
            && let Some(last) = self.last
        {
            self.keep(Gap {
                from: last,
                to: at.max(last),
            });
        }
        self.stopped = true;
    }

    /// The first acknowledgement of the run.
    #[must_use]
    pub const fn first(&self) -> Option<Duration> {
        self.first
    }

    /// The longest interval so far; with `now`, the one still open counts as well.
    #[must_use]
    pub fn longest(&self, now: Option<Duration>) -> Option<Duration> {
        let closed = self.longest.first().map(Gap::length);
        closed.max(now.and_then(|now| self.open(now)))
    }

    /// How long the interval that is open at `now` already lasts.
    #[must_use]
    pub fn open(&self, now: Duration) -> Option<Duration> {
        if self.stopped {
            None
        } else {
            self.last.map(|last| now.saturating_sub(last))
        }
    }

    /// The longest intervals, longest first.
    #[must_use]
    pub fn ranked(&self) -> &[Gap] {
        &self.longest
    }

    fn keep(&mut self, gap: Gap) {
        let at = self
            .longest
            .partition_point(|kept| kept.length() >= gap.length());
        if at < KEPT {
            self.longest.insert(at, gap);
            self.longest.truncate(KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_longest_gap_is_the_largest_difference(
            steps in prop::collection::vec(0u64..5_000, 1..200),
            tail in 0u64..5_000,
        ) {
            let mut gaps = Gaps::default();
            let mut at = 0;
            for step in &steps {
                at += step;
                gaps.ack(Duration::from_millis(at));
            }
            gaps.stop(Duration::from_millis(at + tail));
            // The time before the first acknowledgement is no gap.
            let truth = steps[1..].iter().copied().chain([tail]).max().unwrap();
            prop_assert_eq!(gaps.longest(None), Some(Duration::from_millis(truth)));
        }
    }

    #[test]
    fn an_open_gap_counts_while_running_and_at_the_stop() {
        let mut gaps = Gaps::default();
        gaps.ack(Duration::from_millis(10));
        gaps.ack(Duration::from_millis(12));
        assert_eq!(
            gaps.longest(Some(Duration::from_millis(900))),
            Some(Duration::from_millis(888))
        );
        gaps.stop(Duration::from_millis(1_000));
        gaps.ack(Duration::from_millis(1_001));
        assert_eq!(gaps.longest(None), Some(Duration::from_millis(988)));
    }

    #[test]
    fn without_an_acknowledgement_there_is_no_gap_to_report() {
        let mut gaps = Gaps::default();
        gaps.stop(Duration::from_secs(5));
        assert_eq!(gaps.longest(None), None);
    }
}
