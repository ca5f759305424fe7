//! The end of a server's log, read from its bytes.
//!
//! PostgreSQL 15 reads its own log with `pg_walinspect`. Before that the proof of a clean end is
//! made here, out of the last bytes of the last segment: a record of the resource manager `XLOG`
//! that ends exactly where the log ends, whose checksum is right, whose kind is the shutdown
//! checkpoint and whose redo position is its own start.
//!
//! # Assumptions
//! A little-endian server, as every machine of AKS is.
//!
//! # Source
//! PostgreSQL 13 to 18: `access/xlogrecord.h` (record header, `XLR_BLOCK_ID_DATA_SHORT`),
//! `access/xlog_internal.h` (page headers), `catalog/pg_control.h` (`XLOG_CHECKPOINT_SHUTDOWN`,
//! `CheckPoint`), `xlogreader.c` (`ValidXLogRecord`: CRC-32C of the data, then of the header up to
//! the checksum).

use super::lsn::Lsn;

/// Bytes of a record's header: length, transaction, previous record, kind, manager, padding, CRC.
const RECORD_HEADER: usize = 24;
/// Where the checksum lies in it.
const CHECKSUM_AT: usize = 20;
/// Bytes of a page's header.
const PAGE_HEADER: usize = 24;
/// Bytes of the header of a segment's first page, which also holds the system's identifier.
const LONG_PAGE_HEADER: usize = 40;
/// Where a page's header says which position it has.
const PAGE_ADDRESS_AT: usize = 8;
/// Resource manager `XLOG`.
const MANAGER_XLOG: u8 = 0;
/// `XLOG_CHECKPOINT_SHUTDOWN`, among the bits that are the manager's own.
const SHUTDOWN_CHECKPOINT: u8 = 0x00;
const MANAGERS_BITS: u8 = 0xF0;
/// Marks the main data of a record with a length of one byte.
const DATA_SHORT: u8 = 255;
/// Records and pages begin at multiples of it.
const ALIGNMENT: usize = 8;
/// Longest record that is looked for: a shutdown checkpoint has 114 bytes from PostgreSQL 13 on;
/// twice that leaves room for fields that are not there yet.
const LONGEST: usize = 256;

/// The bytes of a log right before its end.
pub struct Tail<'a> {
    /// Position of the first byte; the beginning of a page.
    pub from: Lsn,
    /// Bytes up to the end of the log.
    pub bytes: &'a [u8],
    /// Size of a page (`wal_block_size`).
    pub page: u64,
    /// Size of a segment (`wal_segment_size`).
    pub segment: u64,
}

/// The start of the shutdown checkpoint that the log ends with; `None` if it ends with anything
/// else, or if the bytes are not those of the log.
pub fn shutdown_checkpoint(tail: &Tail<'_>) -> Option<Lsn> {
    let (stream, positions) = without_page_headers(tail)?;
    let end = stream.len();
    (RECORD_HEADER..=LONGEST.min(end))
        .step_by(ALIGNMENT)
        .filter_map(|distance| {
            let at = end - distance;
            let start = *positions.get(at)?;
            is_shutdown_checkpoint(stream.get(at..)?, start).then_some(start)
        })
        .next()
}

/// The log as one stream, with the position of each of its bytes.
fn without_page_headers(tail: &Tail<'_>) -> Option<(Vec<u8>, Vec<Lsn>)> {
    let page = usize::try_from(tail.page).ok().filter(|page| *page > 0)?;
    if !tail.from.0.is_multiple_of(tail.page) || tail.segment == 0 {
        return None;
    }
    let (mut stream, mut positions) = (Vec::new(), Vec::new());
    let mut position = tail.from.0;
    for bytes in tail.bytes.chunks(page) {
        let address = number(bytes, PAGE_ADDRESS_AT)?;
        if address != position {
            // The rest of a segment after a switch, or one that was recycled: not of this log. No
            // record goes over it.
            stream.clear();
            positions.clear();
            position += tail.page;
            continue;
        }
        let header = if position.is_multiple_of(tail.segment) {
            LONG_PAGE_HEADER
        } else {
            PAGE_HEADER
        };
        for (offset, byte) in bytes.iter().enumerate().skip(header) {
            stream.push(*byte);
            positions.push(Lsn(position + u64::try_from(offset).ok()?));
        }
        position += tail.page;
    }
    Some((stream, positions))
}

/// A record with its padding, up to the end of the log.
fn is_shutdown_checkpoint(bytes: &[u8], start: Lsn) -> bool {
    let read = || -> Option<bool> {
        let length = usize::try_from(number32(bytes, 0)?).ok()?;
        let record = bytes.get(..length)?;
        let data = record.get(RECORD_HEADER..)?;
        let [marker, data_length, content @ ..] = data else {
            return None;
        };
        let kind = *record.get(16)?;
        let manager = *record.get(17)?;
        let checksum = number32(record, CHECKSUM_AT)?;
        Some(
            length.next_multiple_of(ALIGNMENT) == bytes.len()
                && manager == MANAGER_XLOG
                && kind & MANAGERS_BITS == SHUTDOWN_CHECKPOINT
                && *marker == DATA_SHORT
                && usize::from(*data_length) == content.len()
                && number(content, 0)? == start.0
                && crc32c(&[data, record.get(..CHECKSUM_AT)?]) == checksum,
        )
    };
    read().unwrap_or(false)
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

/// CRC-32C (Castagnoli), bit by bit: a hundred bytes, once in a window.
fn crc32c(parts: &[&[u8]]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 8_192;
    const SEGMENT: u64 = 16 * 1024 * 1024;

    /// A record of the manager `XLOG` at a position, padded.
    fn record(kind: u8, start: u64) -> Vec<u8> {
        let mut content = start.to_le_bytes().to_vec();
        content.resize(88, 7);
        let mut data = vec![DATA_SHORT, 88];
        data.extend(content);
        let mut header = Vec::new();
        header.extend(114_u32.to_le_bytes());
        header.extend(0_u32.to_le_bytes());
        header.extend((start - 56).to_le_bytes());
        header.extend([kind, MANAGER_XLOG, 0, 0]);
        let crc = crc32c(&[&data, &header]);
        header.extend(crc.to_le_bytes());
        header.extend(data);
        header.resize(120, 0);
        header
    }

    /// Two pages that end with these bytes, `at` bytes after the beginning of the first.
    fn log(first_page: u64, at: usize, last: &[u8]) -> Vec<u8> {
        let page = usize::try_from(PAGE).unwrap();
        let mut bytes = vec![0xAA; page];
        bytes[8..16].copy_from_slice(&first_page.to_le_bytes());
        bytes.truncate(at);
        for byte in last {
            if bytes.len().is_multiple_of(page) {
                let address = first_page + u64::try_from(bytes.len()).unwrap();
                bytes.extend([0; 8]);
                bytes.extend(address.to_le_bytes());
                bytes.extend([0; 8]);
            }
            bytes.push(*byte);
        }
        bytes
    }

    fn found(first_page: u64, bytes: &[u8]) -> Option<Lsn> {
        shutdown_checkpoint(&Tail {
            from: Lsn(first_page),
            bytes,
            page: PAGE,
            segment: SEGMENT,
        })
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32c(&[b"1234", b"56789"]), 0xE306_9283);
    }

    #[test]
    fn a_shutdown_checkpoint_is_found_wherever_it_lies() {
        let page = 3 * SEGMENT + 5 * PAGE;
        // In the middle of a page, at its very end, and over its end.
        for at in [1_000, 8_192 - 120, 8_192 - 64, 8_192 - 8] {
            let start = page + u64::try_from(at).unwrap();
            let bytes = log(page, at, &record(0x00, start));
            assert_eq!(found(page, &bytes), Some(Lsn(start)), "{at}");
        }
        // Right at the beginning of a segment, after a switch.
        let start = 4 * SEGMENT + 40;
        let bytes = log(4 * SEGMENT, 40, &record(0x00, start));
        assert_eq!(found(4 * SEGMENT, &bytes), Some(Lsn(start)));
        let mut switched = vec![0; usize::try_from(PAGE).unwrap()];
        switched.extend(bytes);
        assert_eq!(found(4 * SEGMENT - PAGE, &switched), Some(Lsn(start)));
    }

    #[test]
    fn anything_else_proves_nothing() {
        let page = 3 * SEGMENT;
        let start = page + 2_000;
        // A checkpoint of a running server.
        assert_eq!(found(page, &log(page, 2_000, &record(0x10, start))), None);
        let good = log(page, 2_000, &record(0x00, start));
        assert_eq!(found(page, &good), Some(Lsn(start)));
        // A record follows, some bytes are missing, one is not what it was.
        let mut more = good.clone();
        more.extend([0; 8]);
        assert_eq!(found(page, &more), None);
        assert_eq!(found(page, &good[..good.len() - 8]), None);
        for at in 2_000..2_114 {
            let mut torn = good.clone();
            torn[at] ^= 1;
            assert_eq!(found(page, &torn), None, "{at}");
        }
        // A shutdown checkpoint of elsewhere, and a page of elsewhere.
        assert_eq!(
            found(page, &log(page, 2_000, &record(0x00, start + 8))),
            None
        );
        assert_eq!(found(page + PAGE, &good), None);
    }
}
