//! What a member holds, held against the ledger.
//!
//! Rows may come in any order. Loss, phantoms and duplicates are counted, and a few examples of
//! each are kept as evidence.

use serde::{Deserialize, Serialize};

use super::ledger::{Ledger, Outcome, Sequence};

/// Examples kept of each kind of finding.
///
/// 20: enough to see a pattern (one writer, the end of the range), small enough for a certificate.
const EXAMPLES: usize = 20;

/// One key, as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Writer, from 0.
    pub writer: i64,
    /// Sequence of that writer, from 0.
    pub seq: i64,
}

/// The rows of one member, as they are read.
#[derive(Clone, Debug)]
pub struct Presence {
    /// Writers whose keys belong here.
    expected: Vec<bool>,
    present: Vec<Vec<u64>>,
    rows: u64,
    duplicates: u64,
    phantoms: u64,
    order: Option<Order>,
    phantom_examples: Vec<Key>,
    duplicate_examples: Vec<Key>,
}

/// Of a system that keeps the order of a writer's rows.
#[derive(Clone, Debug)]
struct Order {
    /// The highest acknowledged key of each writer so far.
    highest: Vec<Option<Sequence>>,
    out: u64,
}

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Rows of this run.
    pub rows: u64,
    /// Acknowledged keys that are not there.
    pub acked_missing: u64,
    /// Rows whose key was never sent, or whose write the server had refused.
    pub phantoms: u64,
    /// Rows beyond the first of their key.
    pub duplicates: u64,
    /// Acknowledged rows that stand behind a later one of their writer; none where rows have no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_order: Option<u64>,
    /// Indeterminate keys that turned out to be committed.
    pub indeterminate_present: u64,
    /// The first keys of each kind, as evidence.
    pub examples: Examples,
}

/// A few keys of each kind of finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examples {
    /// Acknowledged and missing.
    pub acked_missing: Vec<Key>,
    /// Present and never sent, or refused.
    pub phantoms: Vec<Key>,
    /// Present more than once.
    pub duplicates: Vec<Key>,
}

impl Presence {
    /// Nothing read yet of a member that shall hold every key.
    #[must_use]
    pub fn new(ledger: &Ledger) -> Self {
        Self::of_writers(ledger, |_| true)
    }

    /// Nothing read yet of a member that shall hold the keys of these writers, and no others.
    #[must_use]
    pub fn of_writers(ledger: &Ledger, belongs: impl Fn(usize) -> bool) -> Self {
        let words = |attempted: u64| usize::try_from(attempted.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            expected: (0..ledger.writers().len()).map(belongs).collect(),
            present: ledger
                .writers()
                .iter()
                .map(|w| vec![0; words(w.attempted())])
                .collect(),
            rows: 0,
            duplicates: 0,
            phantoms: 0,
            order: None,
            phantom_examples: Vec::new(),
            duplicate_examples: Vec::new(),
        }
    }

    /// The rows come as they stand, and a writer's acknowledged ones stand in the order of their
    /// acknowledgement. One whose outcome is unknown may come late.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.order = Some(Order {
            highest: vec![None; self.present.len()],
            out: 0,
        });
        self
    }

    /// Takes in one row.
    pub fn row(&mut self, ledger: &Ledger, key: Key) {
        self.rows += 1;
        let place = usize::try_from(key.writer)
            .ok()
            .zip(Sequence::try_from(key.seq).ok());
        let belongs = |writer: usize| self.expected.get(writer).copied().unwrap_or(false);
        let known = place.and_then(|(writer, seq)| {
            if !belongs(writer) {
                return None;
            }
            ledger
                .writers()
                .get(writer)?
                .outcome(seq)
                .map(|outcome| (writer, seq, outcome))
        });
        let Some((writer, seq, outcome)) = known else {
            self.phantoms += 1;
            keep(&mut self.phantom_examples, key);
            return;
        };
        let bit = 1u64 << (seq % 64);
        let Some(word) = usize::try_from(seq / 64)
            .ok()
            .and_then(|word| self.present[writer].get_mut(word))
        else {
            // Sent after this member's reading began: it is no part of the comparison.
            return;
        };
        if *word & bit != 0 {
            self.duplicates += 1;
            keep(&mut self.duplicate_examples, key);
        } else if outcome == Outcome::Refused {
            self.phantoms += 1;
            keep(&mut self.phantom_examples, key);
        } else if let (Some(order), Outcome::Acked) = (&mut self.order, outcome) {
            order.out += u64::from(order.highest[writer] > Some(seq));
            order.highest[writer] = order.highest[writer].max(Some(seq));
        }
        *word |= bit;
    }

    /// Compares what was read with the ledger.
    #[must_use]
    pub fn compare(&self, ledger: &Ledger) -> Findings {
        let mut findings = Findings {
            rows: self.rows,
            phantoms: self.phantoms,
            duplicates: self.duplicates,
            out_of_order: self.order.as_ref().map(|order| order.out),
            examples: Examples {
                phantoms: self.phantom_examples.clone(),
                duplicates: self.duplicate_examples.clone(),
                ..Examples::default()
            },
            ..Findings::default()
        };
        for (writer, keys) in ledger.writers().iter().enumerate() {
            if !self.expected[writer] {
                continue;
            }
            for seq in 0..keys.attempted() {
                let present = usize::try_from(seq / 64)
                    .ok()
                    .and_then(|word| self.present[writer].get(word))
                    .is_some_and(|word| word & (1 << (seq % 64)) != 0);
                match keys.outcome(seq) {
                    Some(Outcome::Acked) if !present => {
                        findings.acked_missing += 1;
                        keep(&mut findings.examples.acked_missing, example(writer, seq));
                    }
                    Some(Outcome::Indeterminate) if present => findings.indeterminate_present += 1,
                    _ => {}
                }
            }
        }
        findings
    }
}

fn keep(examples: &mut Vec<Key>, key: Key) {
    if examples.len() < EXAMPLES {
        examples.push(key);
    }
}

fn example(writer: usize, seq: Sequence) -> Key {
    Key {
        writer: i64::try_from(writer).unwrap_or(i64::MAX),
        seq: i64::try_from(seq).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ledger_of(outcomes: &[Vec<Outcome>]) -> Ledger {
        let mut ledger = Ledger::new(outcomes.len());
        for (writer, outcomes) in outcomes.iter().enumerate() {
            for outcome in outcomes {
                let seq = ledger.attempt(writer);
                ledger.settle(writer, seq, *outcome);
            }
        }
        ledger.close();
        ledger
    }

    fn settled() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            6 => Just(Outcome::Acked),
            1 => Just(Outcome::Refused),
            2 => Just(Outcome::Indeterminate)
        ]
    }

    proptest! {
        /// The bitset accounting against sets written the slow and obvious way.
        #[test]
        fn agrees_with_plain_sets(
            outcomes in prop::collection::vec(prop::collection::vec(settled(), 0..150), 1..4),
            rows in prop::collection::vec((-1i64..5, -2i64..170), 0..600),
        ) {
            let ledger = ledger_of(&outcomes);
            let mut presence = Presence::new(&ledger);
            let mut counts: BTreeMap<Key, u64> = BTreeMap::new();
            for (writer, seq) in rows {
                let key = Key { writer, seq };
                presence.row(&ledger, key);
                *counts.entry(key).or_default() += 1;
            }
            let outcome_of = |key: &Key| -> Option<Outcome> {
                let writer = usize::try_from(key.writer).ok()?;
                let seq = usize::try_from(key.seq).ok()?;
                outcomes.get(writer)?.get(seq).copied()
            };
            let found = presence.compare(&ledger);

            let mut lost = 0;
            let mut resolved = 0;
            for (writer, outcomes) in outcomes.iter().enumerate() {
                for (seq, outcome) in outcomes.iter().enumerate() {
                    let there = counts.contains_key(&example(writer, seq as u64));
                    lost += u64::from(*outcome == Outcome::Acked && !there);
                    resolved += u64::from(*outcome == Outcome::Indeterminate && there);
                }
            }
            let phantoms: u64 = counts.iter().map(|(key, n)| match outcome_of(key) {
                None => *n,
                Some(Outcome::Refused) => 1,
                Some(_) => 0,
            }).sum();
            let duplicates: u64 = counts.iter()
                .filter(|(key, _)| outcome_of(key).is_some())
                .map(|(_, n)| n - 1)
                .sum();
            prop_assert_eq!(found.acked_missing, lost);
            prop_assert_eq!(found.indeterminate_present, resolved);
            prop_assert_eq!(found.phantoms, phantoms);
            prop_assert_eq!(found.duplicates, duplicates);
            prop_assert_eq!(found.rows, counts.values().sum::<u64>());
        }
    }

    #[test]
    fn rows_that_changed_places_are_out_of_order_unless_their_outcome_was_unknown() {
        let (acked, unknown) = (Outcome::Acked, Outcome::Indeterminate);
        let ledger = ledger_of(&[vec![acked, unknown, acked, acked], vec![acked]]);
        let read = |keys: &[(i64, i64)]| {
            let mut presence = Presence::new(&ledger).in_order();
            for (writer, seq) in keys.iter().copied() {
                presence.row(&ledger, Key { writer, seq });
            }
            presence.compare(&ledger).out_of_order
        };
        assert_eq!(read(&[(0, 0), (1, 0), (0, 2), (0, 3), (0, 1)]), Some(0));
        assert_eq!(read(&[(0, 2), (0, 0), (0, 3)]), Some(1));
        assert_eq!(Presence::new(&ledger).compare(&ledger).out_of_order, None);
    }

    #[test]
    fn a_refused_write_that_is_there_is_a_phantom() {
        let ledger = ledger_of(&[vec![Outcome::Acked, Outcome::Refused]]);
        let mut presence = Presence::new(&ledger);
        presence.row(&ledger, Key { writer: 0, seq: 0 });
        presence.row(&ledger, Key { writer: 0, seq: 1 });
        let found = presence.compare(&ledger);
        assert_eq!((found.phantoms, found.acked_missing), (1, 0));
        assert_eq!(found.examples.phantoms, [Key { writer: 0, seq: 1 }]);
    }
}
