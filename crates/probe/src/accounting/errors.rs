//! What clients saw go wrong, by kind, in bounded memory.

use std::collections::BTreeMap;

/// Distinct kinds kept by name; the rest is counted together.
///
/// 32: SQLSTATEs and transport errors of one run are a handful; a server that invents new ones
/// must not grow the judge.
const KINDS: usize = 32;
const OTHER: &str = "other";

/// Errors by kind.
#[derive(Clone, Debug, Default)]
pub struct ErrorTally {
    total: u64,
    kinds: BTreeMap<String, u64>,
    last: Option<String>,
}

impl ErrorTally {
    /// Counts one error; `detail` is kept as the latest.
    pub fn record(&mut self, kind: &str, detail: &str) {
        self.total += 1;
        let known = self.kinds.contains_key(kind) || self.kinds.len() < KINDS;
        *self
            .kinds
            .entry(if known { kind } else { OTHER }.to_owned())
            .or_default() += 1;
        self.last = Some(detail.to_owned());
    }

    /// Errors of every kind.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Counts by kind.
    #[must_use]
    pub const fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }

    /// The text of the latest error.
    #[must_use]
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_kinds_are_counted_but_not_all_named() {
        let mut tally = ErrorTally::default();
        for n in 0..1000 {
            tally.record(&format!("kind {n}"), "");
        }
        assert_eq!(tally.total(), 1000);
        assert!(tally.kinds().len() <= KINDS + 1);
        assert_eq!(tally.kinds().values().sum::<u64>(), 1000);
    }
}
