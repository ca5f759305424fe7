//! Packaged charts: a gzipped tar of templates, CRDs and subcharts.

use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;

use super::{Context, Reading};

/// A chart is kept small enough for a Secret of 1 MiB; what unpacks to this is not a chart.
const MAX_UNPACKED: u64 = if cfg!(test) { 1 << 20 } else { 32 << 20 };

/// Files of one archive.
const MAX_FILES: usize = 20_000;

const BLOCK: usize = 512;

/// Reads the manifests of an archive.
pub(super) fn read(context: &Context, bytes: &[u8], reading: &mut Reading) {
    let mut unpacked = Vec::new();
    let mut source = GzDecoder::new(bytes).take(MAX_UNPACKED + 1);
    if let Err(e) = source.read_to_end(&mut unpacked) {
        return reading.skip(&context.file, format!("not a whole gzip file: {e}"));
    }
    if unpacked.len() as u64 > MAX_UNPACKED {
        let reason = format!("larger than {} MiB unpacked", MAX_UNPACKED >> 20);
        return reading.skip(&context.file, reason);
    }
    if unpacked.get(257..262) != Some(b"ustar") {
        // A gzipped manifest.
        return context.read_text(&unpacked, reading);
    }
    let mut found = 0;
    let mut at = 0;
    while at < unpacked.len() {
        let Some(header) = unpacked.get(at..at + BLOCK) else {
            return reading.skip(&context.file, "the archive is cut off");
        };
        if header.iter().all(|b| *b == 0) {
            break;
        }
        let Some(size) = octal(header.get(124..136).unwrap_or_default()) else {
            return reading.skip(
                &context.file,
                "a tar entry without a size: the archive is damaged",
            );
        };
        let start = at + BLOCK;
        let Some(body) = start
            .checked_add(size)
            .and_then(|end| unpacked.get(start..end))
        else {
            return reading.skip(&context.file, "the archive is cut off");
        };
        found += 1;
        if found > MAX_FILES {
            return reading.skip(&context.file, format!("more than {MAX_FILES} files"));
        }
        let name = name(header);
        if matches!(header.get(156), Some(b'0' | 0)) && is_manifest(&name) {
            let inner = Context {
                file: Arc::from(format!("{}!{name}", context.file)),
                ..context.clone()
            };
            inner.read_text(body, reading);
        }
        at = start + size.div_ceil(BLOCK) * BLOCK;
    }
}

/// Templates and CRDs of the chart and its subcharts; not its values, not its metadata.
fn is_manifest(name: &str) -> bool {
    let yaml = [".yaml", ".yml", ".json"]
        .iter()
        .any(|end| name.ends_with(end));
    yaml && (name.contains("/templates/") || name.contains("/crds/"))
}

fn name(header: &[u8]) -> String {
    let text = |range: std::ops::Range<usize>| {
        let bytes = header.get(range).unwrap_or_default();
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
    };
    let prefix = text(345..500);
    if prefix.is_empty() {
        text(0..100)
    } else {
        format!("{prefix}/{}", text(0..100))
    }
}

fn octal(bytes: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(bytes).ok()?;
    usize::from_str_radix(text.trim_matches(|c: char| c == '\0' || c == ' '), 8).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use crate::manifest::{Want, read};

    #[test]
    fn what_unpacks_without_end_is_refused() {
        let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
        zip.write_all(&vec![b' '; (1 << 20) + 1])
            .expect("memory takes all");
        let bytes = zip.finish().expect("memory takes all");
        let reading = read("f.tgz", &bytes, Want::Names);
        assert_eq!(reading.skipped[0].reason, "larger than 1 MiB unpacked");
    }
}
