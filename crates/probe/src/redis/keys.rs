//! Names of the keys that a run writes.

use super::slots::{Layout, slot_of};
use crate::accounting::ledger::Sequence;
use crate::accounting::recorder::shard_of;

/// Sequences that share a key.
///
/// 100: below the 128 entries up to which a hash is stored compactly (`hash-max-listpack-entries`),
/// so that a write costs some ten bytes.
pub(crate) const A_BUCKET: Sequence = 100;

/// Everything that the probe writes begins with this.
const PREFIX: &str = "ferriswheel_probe";

/// The key that remembers which probes began a run.
pub(crate) fn identity(identity: &str) -> String {
    format!("{PREFIX}:identity:{identity}")
}

/// The key of a writer's sequence.
pub(crate) fn of(run: &str, writer: usize, seq: Sequence, layout: &Layout) -> String {
    of_bucket(run, writer, seq / A_BUCKET, layout)
}

/// The key of a hundred sequences: the first of its names that lies in the writer's shard.
pub(crate) fn of_bucket(run: &str, writer: usize, bucket: u64, layout: &Layout) -> String {
    let slots = layout.slots(shard_of(writer, layout.len()).unwrap_or(0));
    let mut n = 0u32;
    loop {
        let key = format!("{PREFIX}:{run}:{writer}:{bucket}:{n}");
        let slot = slot_of(&key);
        let fits = slots.iter().any(|(from, to)| (*from..=*to).contains(&slot));
        // A shard without slots has no key that fits; any will be told where to go.
        if fits || n == TRIES {
            return key;
        }
        n += 1;
    }
}

/// A shard of one slot is found within some 16,384 tries; ten times as many never miss it in
/// practice.
const TRIES: u32 = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::slots::{Place, Served};

    #[test]
    fn the_keys_of_a_writer_lie_in_its_shard_and_all_over_it() {
        let served = |from, to, id: &str| Served {
            from,
            to,
            leader: Place {
                host: "h".into(),
                port: 1,
                id: id.into(),
            },
            replicas: Vec::new(),
        };
        let layout = Layout::of(&[served(0, 8_191, "a"), served(8_192, 16_383, "b")]);
        let mut slots = std::collections::BTreeSet::new();
        for seq in (0..10_000).step_by(100) {
            for writer in 0..4 {
                let key = of("run", writer, seq, &layout);
                let slot = slot_of(&key);
                assert_eq!(usize::from(slot >= 8_192), writer % 2, "{key}");
                slots.insert(slot);
            }
        }
        assert!(slots.len() > 300);
        assert_eq!(of("run", 0, 0, &layout), of("run", 0, 99, &layout));
        assert_ne!(of("run", 0, 99, &layout), of("run", 0, 100, &layout));
    }
}
