//! What clients found: hit-rate over time, loads from the backend, old values.
//!
//! # Guarantees
//! - The lowest hit-rate is that of the worst second, wherever it begins: seconds slide by a tenth. A second with too few
//!   questions is made longer, never left out.
//! - A value that is not its key's current one is counted, whatever made it so.

use std::collections::VecDeque;
use std::time::Duration;

use crate::certificate::CacheWindow;

/// Resolution of the sliding second.
const BUCKET: Duration = Duration::from_millis(100);

/// Buckets of a second.
const SECOND: usize = 10;

/// Fewest questions that make a rate. 500: chance alone moves the share of a third by two points.
const ENOUGH: u64 = 500;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    gets: u64,
    hits: u64,
    loads: u64,
}

/// What an answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The key's current value.
    Current,
    /// A value that was the key's once, or another key's.
    Wrong,
    /// Nothing.
    Nothing,
    /// No server answered; the value comes from the backend.
    Unanswered,
}

/// The counts of a run. Instants are durations since its start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) gets: u64,
    pub(crate) hits: u64,
    pub(crate) loads: u64,
    pub(crate) wrong: u64,
    pub(crate) example: Option<String>,
    /// Requests that were answered by another server because the one that was asked hung up or did not answer.
    pub(crate) failed_over: u64,
    /// Buckets that are over, the oldest first: no more than the sliding window needs.
    closed: VecDeque<Bucket>,
    open: Bucket,
    /// Number of the open bucket.
    at: u64,
    lowest: Option<CacheWindow>,
    most_loads: u64,
}

impl Tally {
    /// A client asked for a key.
    pub(crate) fn asked(&mut self, at: Duration, found: Found) {
        self.advance(at);
        self.gets += 1;
        self.open.gets += 1;
        match found {
            Found::Current => {
                self.hits += 1;
                self.open.hits += 1;
            }
            // The application would take it for what it asked for; it is no hit, and it is counted by itself.
            Found::Wrong => self.wrong += 1,
            Found::Nothing | Found::Unanswered => {
                self.loads += 1;
                self.open.loads += 1;
            }
        }
    }

    /// Time went by.
    pub(crate) fn advance(&mut self, at: Duration) {
        let bucket = u64::try_from(at.as_millis() / BUCKET.as_millis()).unwrap_or(u64::MAX);
        // An hour without a question is a second without one.
        if bucket.saturating_sub(self.at) > 2 * SECOND as u64 {
            self.at = bucket - 2 * SECOND as u64;
        }
        while self.at < bucket {
            self.closed.push_back(std::mem::take(&mut self.open));
            self.at += 1;
            self.slide();
        }
    }

    fn slide(&mut self) {
        loop {
            let spare = self.closed.len() > SECOND && gets_of(self.closed.iter().skip(1)) >= ENOUGH;
            if !spare {
                break;
            }
            self.closed.pop_front();
        }
        // What one second after another asks of the backend, whatever else the window holds.
        let last = self.closed.iter().rev().take(SECOND);
        self.most_loads = self.most_loads.max(last.map(|bucket| bucket.loads).sum());
        let gets = gets_of(self.closed.iter());
        if self.closed.len() < SECOND || gets < ENOUGH {
            return;
        }
        let hits: u64 = self.closed.iter().map(|bucket| bucket.hits).sum();
        let length = self.closed.len() as u64;
        let window = CacheWindow {
            from_ms: (self.at - length) * 100,
            length_ms: length * 100,
            gets,
            hit_rate: percent(hits, gets),
        };
        if self
            .lowest
            .as_ref()
            .is_none_or(|lowest| window.hit_rate < lowest.hit_rate)
        {
            self.lowest = Some(window);
        }
    }

    /// The worst window so far; `None`: none was long enough.
    pub(crate) const fn lowest(&self) -> Option<&CacheWindow> {
        self.lowest.as_ref()
    }

    /// Most loads within a second.
    pub(crate) const fn most_loads(&self) -> u64 {
        self.most_loads
    }
}

fn gets_of<'a>(buckets: impl Iterator<Item = &'a Bucket>) -> u64 {
    buckets.map(|bucket| bucket.gets).sum()
}

/// A part of a whole in percent, to a hundredth.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts far below 2^52, told to a hundredth"
)]
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 * 10_000.0 / whole as f64).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Found, Tally};

    /// A thousand questions a second, one each millisecond.
    fn ask(tally: &mut Tally, from_ms: u64, to_ms: u64, found: impl Fn(u64) -> Found) {
        for ms in from_ms..to_ms {
            tally.asked(Duration::from_millis(ms), found(ms));
        }
        tally.advance(Duration::from_millis(to_ms));
    }

    #[test]
    fn the_worst_second_is_found_wherever_it_begins() {
        let mut tally = Tally::default();
        ask(&mut tally, 0, 5_000, |ms| {
            let away = (1_700..2_700).contains(&ms);
            if away && ms.is_multiple_of(2) {
                Found::Nothing
            } else {
                Found::Current
            }
        });
        let lowest = tally.lowest().unwrap();
        assert_eq!(
            (lowest.from_ms, lowest.length_ms, lowest.gets),
            (1_700, 1_000, 1_000)
        );
        assert!((lowest.hit_rate - 50.0).abs() < 0.01);
        assert_eq!(tally.most_loads(), 500);
        assert_eq!((tally.gets, tally.hits, tally.loads), (5_000, 4_500, 500));
    }

    #[test]
    fn few_questions_make_the_window_longer_and_no_questions_make_no_rate() {
        let mut tally = Tally::default();
        for n in 0..600_u64 {
            let found = if n < 300 {
                Found::Nothing
            } else {
                Found::Current
            };
            tally.asked(Duration::from_millis(n * 10), found);
        }
        tally.advance(Duration::from_secs(6));
        let lowest = tally.lowest().unwrap();
        assert_eq!((lowest.from_ms, lowest.length_ms), (0, 5_000));
        assert!((lowest.hit_rate - 40.0).abs() < 0.01);
        let mut nobody = Tally::default();
        nobody.advance(Duration::from_secs(3_600));
        assert_eq!(nobody.lowest(), None);
    }

    #[test]
    fn a_wrong_value_is_no_hit_and_is_counted() {
        let mut tally = Tally::default();
        ask(&mut tally, 0, 2_000, |ms| {
            if ms == 700 {
                Found::Wrong
            } else {
                Found::Current
            }
        });
        assert_eq!((tally.wrong, tally.hits, tally.loads), (1, 1_999, 0));
    }
}
