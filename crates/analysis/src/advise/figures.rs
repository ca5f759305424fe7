//! What we have measured ourselves: read out of the page that the benchmark writes, so that advice and
//! page never say different things.

use serde::Serialize;

const PAGE: &str = include_str!("../../../../docs/benchmarks.md");

/// A measured stall.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Figure {
    /// Median of the longest gap without an acknowledged write, in milliseconds.
    pub p50_ms: u64,
    /// The longest of all.
    pub max_ms: u64,
    /// Of how many hand-overs.
    pub of: u64,
    /// Which row of which table.
    pub source: String,
    /// It was a trial: `docs/benchmarks.md` says what it lacks.
    pub trial: bool,
}

/// A row of a benchmark's table, by its name.
pub(super) fn measured(bench: &str, row: &str) -> Option<Figure> {
    let start = PAGE.find(&format!("<!-- {bench}: begin -->"))?;
    let end = PAGE.find(&format!("<!-- {bench}: end -->"))?;
    let section = PAGE.get(start..end)?;
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let mut header = None;
    for line in section.lines() {
        if line.starts_with("| method |") {
            header = Some(cells(line));
        }
        let Some(header) = &header else { continue };
        let found = cells(line);
        if found.first().map(String::as_str) != Some(row) {
            continue;
        }
        let of = |name: &str| {
            let at = header.iter().position(|cell| cell == name)?;
            found.get(at).map(String::as_str)
        };
        return Some(Figure {
            p50_ms: millis(of("gap p50")?)?,
            max_ms: millis(of("max")?)?,
            // Where a round moves several leaders, `n` counts them.
            of: of("n").or_else(|| of("rounds"))?.parse().ok()?,
            source: format!("docs/benchmarks.md, {bench}: {row}"),
            trial: section.contains("Not measured yet"),
        });
    }
    None
}

/// `122 ms`, `12.7 s`.
fn millis(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let (whole, part): (u64, u64) = (whole.parse().ok()?, part.get(..1)?.parse().ok()?);
    match unit {
        "ms" => Some(whole),
        "s" => Some(whole * 1000 + part * 100),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_rows_that_advice_rests_on() {
        for (bench, row) in super::super::choose::ROWS {
            let found = measured(bench, row).unwrap_or_else(|| panic!("{bench}: {row}"));
            assert!(
                found.p50_ms > 0 && found.p50_ms <= found.max_ms,
                "{found:?}"
            );
            assert!(found.of > 0);
        }
        assert_eq!(measured("bench-postgres", "nobody"), None);
        assert_eq!(millis("12.7 s"), Some(12_700));
        assert_eq!(millis("soon"), None);
    }
}
