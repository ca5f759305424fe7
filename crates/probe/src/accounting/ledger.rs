//! Every key that was sent, with its outcome, in two bits.
//!
//! Invariants: sequences of a writer are dense from 0; an outcome is settled once; nothing is
//! ever sent again under the same key.

/// What came of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sent, the reply is still awaited.
    InFlight,
    /// The server said that it is committed.
    Acked,
    /// The server said that it is not committed.
    Refused,
    /// Sent, and the reply never came: it may or may not be committed.
    Indeterminate,
}

impl Outcome {
    const fn code(self) -> u64 {
        match self {
            Self::InFlight => 0,
            Self::Acked => 1,
            Self::Refused => 2,
            Self::Indeterminate => 3,
        }
    }

    const fn from_code(code: u64) -> Self {
        match code & 3 {
            0 => Self::InFlight,
            1 => Self::Acked,
            2 => Self::Refused,
            _ => Self::Indeterminate,
        }
    }
}

/// Sequence of one key of a writer.
pub type Sequence = u64;

const KEYS_A_WORD: u64 = 32;

/// The keys of one writer.
#[derive(Clone, Debug, Default)]
pub struct WriterLedger {
    words: Vec<u64>,
    attempted: u64,
    acked: u64,
    refused: u64,
    indeterminate: u64,
    highest_acked: Option<Sequence>,
}

impl WriterLedger {
    /// Takes the next key; it counts as sent from now on.
    pub fn attempt(&mut self) -> Sequence {
        let seq = self.attempted;
        self.attempted += 1;
        if seq.is_multiple_of(KEYS_A_WORD) {
            self.words.push(0);
        }
        seq
    }

    /// Writes down what came of a key. A key that is already settled stays as it was.
    pub fn settle(&mut self, seq: Sequence, outcome: Outcome) {
        if self.outcome(seq) != Some(Outcome::InFlight) {
            return;
        }
        let (word, shift) = place(seq);
        if let Some(word) = self.words.get_mut(word) {
            *word |= outcome.code() << shift;
        }
        match outcome {
            Outcome::InFlight => {}
            Outcome::Acked => {
                self.acked += 1;
                self.highest_acked = self.highest_acked.max(Some(seq));
            }
            Outcome::Refused => self.refused += 1,
            Outcome::Indeterminate => self.indeterminate += 1,
        }
    }

    /// What is known of a key; `None` when it was never sent.
    #[must_use]
    pub fn outcome(&self, seq: Sequence) -> Option<Outcome> {
        if seq >= self.attempted {
            return None;
        }
        let (word, shift) = place(seq);
        self.words.get(word).map(|w| Outcome::from_code(w >> shift))
    }

    /// Keys sent so far.
    #[must_use]
    pub const fn attempted(&self) -> u64 {
        self.attempted
    }

    /// Keys acknowledged so far.
    #[must_use]
    pub const fn acked(&self) -> u64 {
        self.acked
    }

    /// The highest key that was acknowledged.
    #[must_use]
    pub const fn highest_acked(&self) -> Option<Sequence> {
        self.highest_acked
    }
}

fn place(seq: Sequence) -> (usize, u64) {
    let word = usize::try_from(seq / KEYS_A_WORD).unwrap_or(usize::MAX);
    (word, (seq % KEYS_A_WORD) * 2)
}

/// The keys of all writers of one run.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    writers: Vec<WriterLedger>,
}

impl Ledger {
    /// An empty ledger for this many writers.
    #[must_use]
    pub fn new(writers: usize) -> Self {
        Self {
            writers: vec![WriterLedger::default(); writers],
        }
    }

    /// Takes the next key of a writer.
    pub fn attempt(&mut self, writer: usize) -> Sequence {
        self.writers[writer].attempt()
    }

    /// Settles a key of a writer.
    pub fn settle(&mut self, writer: usize, seq: Sequence, outcome: Outcome) {
        self.writers[writer].settle(seq, outcome);
    }

    /// Nothing more is awaited: what is still in flight becomes indeterminate.
    pub fn close(&mut self) {
        for writer in &mut self.writers {
            for seq in 0..writer.attempted {
                writer.settle(seq, Outcome::Indeterminate);
            }
        }
    }

    /// The ledgers by writer.
    #[must_use]
    pub fn writers(&self) -> &[WriterLedger] {
        &self.writers
    }

    /// Keys sent.
    #[must_use]
    pub fn attempted(&self) -> u64 {
        self.writers.iter().map(|w| w.attempted).sum()
    }

    /// Keys acknowledged.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.writers.iter().map(|w| w.acked).sum()
    }

    /// Keys refused by the server.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.writers.iter().map(|w| w.refused).sum()
    }

    /// Keys whose outcome the client cannot know.
    #[must_use]
    pub fn indeterminate(&self) -> u64 {
        self.writers.iter().map(|w| w.indeterminate).sum()
    }

    /// Keys still awaited.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.attempted() - self.acked() - self.refused() - self.indeterminate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::InFlight),
            Just(Outcome::Acked),
            Just(Outcome::Refused),
            Just(Outcome::Indeterminate)
        ]
    }

    proptest! {
        #[test]
        fn the_bits_remember_every_outcome(outcomes in prop::collection::vec(outcome(), 0..400)) {
            let mut ledger = WriterLedger::default();
            for outcome in &outcomes {
                let seq = ledger.attempt();
                ledger.settle(seq, *outcome);
            }
            for (seq, outcome) in outcomes.iter().enumerate() {
                prop_assert_eq!(ledger.outcome(seq as u64), Some(*outcome));
            }
            prop_assert_eq!(ledger.outcome(outcomes.len() as u64), None);
        }

        #[test]
        fn after_closing_every_key_is_in_exactly_one_class(
            events in prop::collection::vec((0usize..5, outcome()), 0..400),
        ) {
            let mut ledger = Ledger::new(5);
            for (writer, outcome) in events {
                let seq = ledger.attempt(writer);
                ledger.settle(writer, seq, outcome);
            }
            ledger.close();
            prop_assert_eq!(ledger.in_flight(), 0);
            prop_assert_eq!(
                ledger.attempted(),
                ledger.acked() + ledger.refused() + ledger.indeterminate()
            );
        }

        #[test]
        fn the_first_settlement_stays(first in outcome(), second in outcome()) {
            prop_assume!(first != Outcome::InFlight);
            let mut ledger = WriterLedger::default();
            let seq = ledger.attempt();
            ledger.settle(seq, first);
            ledger.settle(seq, second);
            prop_assert_eq!(ledger.outcome(seq), Some(first));
        }
    }
}
