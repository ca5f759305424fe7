//! Hash slots.

/// Slots of a cluster.
pub const SLOTS: u16 = 16_384;

/// Slots from one number to another, both included.
pub type Range = (u16, u16);

/// The slot of a key: CRC16 (XMODEM) of the part between the first `{` and the next `}`, or of the
/// whole key where that part is absent or empty.
pub fn of_key(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty())
        .unwrap_or(key);
    crc16(tag.as_bytes()) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum: u16, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| {
            let shifted = sum << 1;
            if sum & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

/// How many slots the ranges hold.
pub fn count(ranges: &[Range]) -> u32 {
    ranges
        .iter()
        .map(|(from, to)| u32::from(*to) - u32::from(*from) + 1)
        .sum()
}

/// Whether a slot lies in one of the ranges.
pub fn contains(ranges: &[Range], slot: u16) -> bool {
    ranges
        .iter()
        .any(|(from, to)| (*from..=*to).contains(&slot))
}

#[cfg(test)]
mod tests {
    use super::{contains, count, of_key};

    /// The check value of CRC16-XMODEM, and slots that a Redis 7.0 server answered to
    /// `CLUSTER KEYSLOT`.
    #[test]
    fn slots_are_those_of_the_servers() {
        assert_eq!(super::crc16(b"123456789"), 0x31c3);
        assert_eq!(of_key("foo"), 12_182);
        assert_eq!(of_key("a{foo}b"), 12_182);
        assert_eq!(of_key("{}foo"), super::crc16(b"{}foo") % super::SLOTS);
        assert_eq!(of_key(""), 0);
    }

    #[test]
    fn ranges_include_both_ends() {
        let ranges = [(0, 0), (5, 6)];
        assert_eq!(count(&ranges), 3);
        assert!(contains(&ranges, 0) && contains(&ranges, 6) && !contains(&ranges, 4));
    }
}
