//! The results in words: a table on the terminal and a section of `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::{Result, file, unexpected};
use crate::machine::Machine;
use crate::results::{Failure, Results, Row, Spread};

/// Name of the section of `docs/benchmarks.md` that [`section`] is for.
pub const SECTION: &str = "bench-postgres";

/// The goals that the figures are held against; reported, not asserted.
const POOLED_P50_MS: f64 = 100.0;
const POOLED_MAX_MS: f64 = 250.0;
const DIRECT_P50_MS: f64 = 350.0;
const TIMES_BETTER: f64 = 15.0;

/// Markdown, which is also what the terminal shows.
pub fn section(results: &Results, raw: &str) -> String {
    let rows = results.rows();
    let machine = &results.machine;
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "Measured {} with `make bench-postgres`: every method in one sandbox, rounds interleaved. {}\n",
        machine.started.strftime("%Y-%m-%d %H:%M UTC"),
        facts(machine, &format!("PostgreSQL {}", machine.postgres))
    );
    let _ = writeln!(
        text,
        "| method | rounds | failed | gap p50 | p90 | max | errors | in flight, outcome unknown | lost |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|---|---|");
    for row in &rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} of {} | {} | {} |",
            row.method.title(),
            row.rounds,
            row.failed,
            gap(row.gap_ms),
            row.errors,
            row.errors + row.acked,
            row.indeterminate,
            lost(row),
        );
    }
    let _ = writeln!(
        text,
        "\nGap: longest interval of a round without an acknowledged write of any writer, of the rounds that did not \
         fail. Errors and losses: over all rounds that were measured. A phase \"last write before\" below zero: writes \
         were still acknowledged after the window had opened.\n"
    );
    text.push_str(&comparison(&rows));
    for row in rows.iter().filter(|row| !row.phases.is_empty()) {
        text.push_str(&breakdown(row));
    }
    text.push_str(&failures(
        results
            .rounds
            .iter()
            .map(|r| (r.method.key(), r.number, r.failure.as_ref())),
    ));
    let _ = writeln!(text, "Raw data, every round: [{raw}]({raw}).");
    text
}

/// Machine, servers and build in a sentence.
pub fn facts(machine: &Machine, server: &str) -> String {
    format!(
        "{} cores ({}), {} GiB, kernel {}, {server}, commit {}{}, {} build, load {:.1} before the first round.",
        machine.cores,
        machine.processor,
        machine.memory_kib / 1024 / 1024,
        machine.kernel,
        machine.commit,
        if machine.modified {
            " with changes"
        } else {
            ""
        },
        if machine.optimised {
            "optimised"
        } else {
            "debug"
        },
        machine.load_before,
    )
}

/// Three cells.
pub fn gap(spread: Option<Spread>) -> String {
    match spread {
        Some(s) => format!("{} | {} | {}", ms(s.p50), ms(s.p90), ms(s.max)),
        None => "- | - | -".to_owned(),
    }
}

/// With a unit and as many digits as are of use.
pub fn ms(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1} ms")
    } else if value < 10_000.0 {
        format!("{value:.0} ms")
    } else {
        format!("{:.1} s", value / 1e3)
    }
}

fn lost(row: &Row) -> String {
    let mut text = row.lost.to_string();
    if row.rounds_with_loss > 0 {
        let _ = write!(text, " in {} rounds", row.rounds_with_loss);
    }
    if row.unread > 0 {
        let _ = write!(text, ", {} rounds could not be read", row.unread);
    }
    text
}

/// Against the best row of Patroni's, and against the goals.
fn comparison(rows: &[Row]) -> String {
    let mut text = String::new();
    let p50 = |row: &Row| row.gap_ms.map(|gap| gap.p50);
    let best = rows
        .iter()
        .filter(|row| row.method.is_patroni())
        .filter_map(|row| Some((row, p50(row)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    for row in rows.iter().filter(|row| row.method.is_ferriswheel()) {
        let Some(spread) = row.gap_ms else { continue };
        let pooled = row.method != crate::method::Method::Direct;
        let mut goals = Vec::new();
        if pooled {
            goals.push((
                format!("p50 at most {POOLED_P50_MS} ms"),
                spread.p50 <= POOLED_P50_MS,
            ));
            goals.push((
                format!("max at most {POOLED_MAX_MS} ms"),
                spread.max <= POOLED_MAX_MS,
            ));
            goals.push(("no error".to_owned(), row.errors == 0));
        } else {
            goals.push((
                format!("p50 at most {DIRECT_P50_MS} ms"),
                spread.p50 <= DIRECT_P50_MS,
            ));
        }
        goals.push(("nothing lost".to_owned(), row.lost == 0 && row.unread == 0));
        if let Some((patroni, theirs)) = best {
            let times = theirs / spread.p50;
            let _ = write!(
                text,
                "- {}: {times:.1} times shorter at the median than {}, the best of Patroni's rows.",
                row.method.title(),
                patroni.method.title()
            );
            if pooled {
                goals.push((
                    format!("{TIMES_BETTER} times shorter"),
                    times >= TIMES_BETTER,
                ));
            }
        } else {
            let _ = write!(text, "- {}:", row.method.title());
        }
        let goals: Vec<String> = goals
            .into_iter()
            .map(|(goal, met)| format!("{goal}: {}", if met { "met" } else { "**not met**" }))
            .collect();
        let _ = writeln!(text, " Goals: {}.", goals.join("; "));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn breakdown(row: &Row) -> String {
    let mut text = phases(row.method.title(), &row.phases);
    if row.gaps_elsewhere > 0 {
        let _ = writeln!(
            text,
            "\nIn {} of the rounds the longest gap lies outside the window.",
            row.gaps_elsewhere
        );
    }
    text.push('\n');
    text
}

/// A method's phases as a table.
pub fn phases(title: &str, phases: &[(&'static str, Spread)]) -> String {
    let mut text = format!(
        "Where the time goes, {title}:\n\n| phase | n | p50 | p90 | max |\n|---|---|---|---|---|\n"
    );
    for (phase, s) in phases {
        let (p50, p90, max) = (ms(s.p50), ms(s.p90), ms(s.max));
        let _ = writeln!(text, "| {phase} | {} | {p50} | {p90} | {max} |", s.n);
    }
    text
}

/// What failed in which round of which method, one a line.
pub fn failures<'a>(rounds: impl Iterator<Item = (&'a str, u32, Option<&'a Failure>)>) -> String {
    let mut text = String::new();
    for (method, number, failure) in rounds {
        let Some(failure) = failure else { continue };
        let detail: Vec<&str> = failure.detail.split_whitespace().collect();
        let stage = format!("{:?}", failure.stage).to_lowercase();
        let detail = detail.join(" ");
        let _ = writeln!(text, "- failed: {method} round {number}, {stage}: {detail}");
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// Puts the section between the lines that mark it: what is between them is written by this program.
///
/// # Errors
/// The file has no marks, or cannot be written.
pub fn publish(document: &Path, name: &str, section: &str) -> Result<()> {
    let text = std::fs::read_to_string(document).map_err(file(document))?;
    let text = replaced(&text, name, section).ok_or_else(|| {
        let [begin, end] = marks(name);
        unexpected(format!("{} lacks {begin} and {end}", document.display()))
    })?;
    std::fs::write(document, text).map_err(file(document))
}

fn marks(name: &str) -> [String; 2] {
    ["begin", "end"].map(|which| format!("<!-- {name}: {which} -->"))
}

fn replaced(text: &str, name: &str, section: &str) -> Option<String> {
    let [begin, end] = marks(name);
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{section}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Method;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let of = |name: &str, text: &str| {
            let [begin, end] = marks(name);
            format!("{begin}\n{text}\n{end}\n")
        };
        let text = format!("a\n{}{}", of(SECTION, "old"), of("bench-other", "other"));
        let new = replaced(&text, SECTION, "new\n").unwrap();
        let other = of("bench-other", "other");
        assert_eq!(new, format!("a\n{}{other}", of(SECTION, "new")));
        assert_eq!(replaced("no marks", SECTION, "new"), None);
    }

    #[test]
    fn a_goal_that_is_missed_is_said_so() {
        let row = |method, p50, max| Row {
            method,
            rounds: 30,
            failed: 0,
            gap_ms: Some(Spread {
                n: 30,
                p50,
                p90: max,
                max,
            }),
            acked: 1,
            errors: 0,
            indeterminate: 0,
            lost: 0,
            rounds_with_loss: 0,
            unread: 0,
            gaps_elsewhere: 0,
            phases: Vec::new(),
        };
        let text = comparison(&[
            row(Method::Pooled, 90.0, 251.0),
            row(Method::Patroni30, 1_800.0, 2_000.0),
            row(Method::Patroni41, 2_700.0, 2_800.0),
        ]);
        assert!(
            text.contains("20.0 times shorter at the median than Patroni 3.0.2"),
            "{text}"
        );
        assert!(text.contains("p50 at most 100 ms: met"), "{text}");
        assert!(text.contains("max at most 250 ms: **not met**"), "{text}");
    }
}
