//! What a record of a run looks like, and where it goes.
//!
//! Key: the run. Value: `WRITER/SEQUENCE`. A probe that begins a run leaves a record with the key
//! [`BEGUN`] and the run as its value in partition 0.

use crate::accounting::ledger::Sequence;
use crate::accounting::presence::Key;
use crate::accounting::recorder::shard_of;

/// Key of a record that says that a probe began.
pub(crate) const BEGUN: &str = "begun";

/// Value of a write.
pub(crate) fn value(writer: usize, seq: Sequence) -> String {
    format!("{writer}/{seq}")
}

/// What a value says; what is no value of ours was never sent.
pub(crate) fn key_of(value: &[u8]) -> Key {
    let read = || {
        let (writer, seq) = std::str::from_utf8(value).ok()?.split_once('/')?;
        Some(Key {
            writer: writer.parse().ok()?,
            seq: seq.parse().ok()?,
        })
    };
    read().unwrap_or(Key {
        writer: -1,
        seq: -1,
    })
}

/// The partition of a writer.
pub(crate) fn partition_of(writer: usize, partitions: i32) -> i32 {
    let partitions = usize::try_from(partitions).unwrap_or(0);
    let shard = shard_of(writer, partitions).unwrap_or(0);
    i32::try_from(shard).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back() {
        assert_eq!(
            key_of(value(3, 1_234).as_bytes()),
            Key {
                writer: 3,
                seq: 1_234
            }
        );
        for strange in [&b"x"[..], b"1/x", b"", b"\xff/1"] {
            assert_eq!(
                key_of(strange),
                Key {
                    writer: -1,
                    seq: -1
                }
            );
        }
        assert_eq!(
            [0, 5, 6, 13].map(|writer| partition_of(writer, 6)),
            [0, 5, 0, 1]
        );
        assert_eq!(partition_of(3, 0), 0);
    }
}
