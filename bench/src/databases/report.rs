//! The results of one system in words: on the terminal and as a section of `docs/benchmarks.md`.

use std::fmt::Write as _;

use super::results::{Results, Row};
use super::system::{Act, Facts};
use crate::report::{facts as machine_facts, failures, gap, phases};

/// Markdown, which is also what the terminal shows. Writing into a String cannot fail.
pub fn section(results: &Results, facts: &'static Facts, raw: &str) -> String {
    let rows = results.rows(facts);
    let machine = &results.machine;
    let mut text = format!(
        "Measured {} with `make bench-databases`: every method in one sandbox, rounds interleaved. {}\n\n",
        machine.started.strftime("%Y-%m-%d %H:%M UTC"),
        machine_facts(machine, &results.server)
    );
    text.push_str(
        "| method | rounds | failed | n | gap p50 | p90 | max | errors | in flight, outcome unknown | lost | twice | act p50 |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} of {} | {} | {} | {} | {} |",
            row.method.title,
            row.rounds,
            row.failed,
            row.gap_ms.map_or(0, |gap| gap.n),
            gap(row.gap_ms),
            row.errors,
            row.errors + row.acked,
            row.indeterminate,
            lost(row),
            row.duplicates,
            row.act_s
                .map_or_else(|| "-".to_owned(), |s| format!("{:.1} s", s.p50)),
        );
    }
    let _ = writeln!(
        text,
        "\nGap: longest interval of a round in which no writer of the {shard} got an acknowledgement; n: {shard}s of the \
         rounds that did not fail. Errors, losses and writes carried out twice: over all rounds that were measured. A \
         phase \"last write before\" below zero: writes were still acknowledged after the failover was asked for.\n",
        shard = facts.shard
    );
    text.push_str(&comparison(facts, &rows));
    text.push_str(&by_shard(facts, &rows));
    for row in rows.iter().filter(|row| !row.phases.is_empty()) {
        text.push_str(&breakdown(facts, row));
    }
    text.push_str(&failures(
        results
            .rounds
            .iter()
            .map(|r| (r.method.as_str(), r.number, r.failure.as_ref())),
    ));
    let _ = writeln!(text, "Raw data, every round: [{raw}]({raw}).");
    text
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

/// Ferriswheel against every other method, and against the goals.
fn comparison(facts: &Facts, rows: &[Row]) -> String {
    let mut text = String::new();
    let ours = rows.iter().filter(|row| row.method.act == Act::Ferriswheel);
    for row in ours {
        let Some(spread) = row.gap_ms else { continue };
        let wanted = &facts.goals;
        let mut goals = vec![
            (
                format!("p50 at most {} ms", wanted.p50_ms),
                spread.p50 <= wanted.p50_ms,
            ),
            (
                format!("max at most {} ms", wanted.max_ms),
                spread.max <= wanted.max_ms,
            ),
            ("nothing lost".to_owned(), row.lost == 0 && row.unread == 0),
            ("nothing twice".to_owned(), row.duplicates == 0),
        ];
        if wanted.no_error {
            goals.push(("no error".to_owned(), row.errors == 0));
        }
        let mut times = Vec::new();
        for other in rows
            .iter()
            .filter(|other| !matches!(other.method.act, Act::Ferriswheel | Act::Nothing))
        {
            let Some(theirs) = other.gap_ms else { continue };
            let ratio = theirs.p50 / spread.p50;
            times.push(format!("{ratio:.1} for \"{}\"", other.method.title));
            if let (Act::Page(_), Some(wanted)) = (&other.method.act, wanted.times_better) {
                goals.push((
                    format!("{wanted} times shorter than the page's script"),
                    ratio >= wanted,
                ));
            }
        }
        if times.is_empty() {
            let _ = write!(text, "- {}.", row.method.title);
        } else {
            let _ = write!(
                text,
                "- {}: its median gap is shorter by these factors: {}.",
                row.method.title,
                times.join(", ")
            );
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

fn by_shard(facts: &Facts, rows: &[Row]) -> String {
    let mut text = format!(
        "Each {0}:\n\n| method | {0} | n | gap p50 | p90 | max | acknowledged | lost |\n|---|---|---|---|---|---|---|---|\n",
        facts.shard
    );
    for row in rows {
        for (name, shard) in &row.shards {
            let _ = writeln!(
                text,
                "| {} | {name} | {} | {} | {} | {} |",
                row.method.key,
                shard.gap_ms.map_or(0, |gap| gap.n),
                gap(shard.gap_ms),
                shard.acked,
                shard.lost,
            );
        }
    }
    text.push('\n');
    text
}

fn breakdown(facts: &Facts, row: &Row) -> String {
    let mut text = phases(row.method.title, &row.phases);
    if row.gaps_elsewhere > 0 {
        let _ = writeln!(
            text,
            "\nOf {} {}s the longest gap lies outside the hand-over.",
            row.gaps_elsewhere, facts.shard
        );
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::databases::redis::FACTS;
    use crate::results::Spread;

    #[test]
    fn a_goal_that_is_missed_is_said_so() {
        let row = |key: &str, p50, max| Row {
            method: FACTS.methods.iter().find(|m| m.key == key).unwrap(),
            rounds: 10,
            failed: 0,
            gap_ms: Some(Spread {
                n: 30,
                p50,
                p90: max,
                max,
            }),
            shards: BTreeMap::new(),
            act_s: None,
            acked: 1,
            errors: 1,
            indeterminate: 0,
            lost: 0,
            duplicates: 0,
            rounds_with_loss: 0,
            unread: 0,
            gaps_elsewhere: 0,
            phases: Vec::new(),
        };
        let text = comparison(
            &FACTS,
            &[
                row("ferriswheel", 50.0, 251.0),
                row("page", 2_400.0, 3_000.0),
                row("nothing", 10.0, 20.0),
            ],
        );
        assert!(text.contains("p50 at most 60 ms: met"), "{text}");
        assert!(text.contains("max at most 250 ms: **not met**"), "{text}");
        assert!(text.contains("no error: **not met**"), "{text}");
        assert!(text.contains("48.0 for \"how-to page"), "{text}");
        assert!(
            text.contains("50 times shorter than the page's script: **not met**"),
            "{text}"
        );
        assert!(!text.contains("nothing is done"), "{text}");
    }
}
