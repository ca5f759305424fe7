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
        "Measured {} with `make bench-databases`: {}, rounds interleaved. {}\n\n",
        machine.started.strftime("%Y-%m-%d %H:%M UTC"),
        if facts.methods.iter().any(|method| method.act == Act::Wheel) {
            "every wheel in a sandbox that no other one has gone through, the other methods in the same ones"
        } else {
            "every method in one sandbox"
        },
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
            row.cache
                .map_or_else(|| row.duplicates.to_string(), |_| "-".to_owned()),
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
    text.push_str(&caches(&rows));
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

/// Nothing, where no cache was measured.
fn caches(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let Some(cache) = row.cache else { continue };
        if text.is_empty() {
            text.push_str(
                "| method | worst second's hit-rate p50 | lowest | above its bound p50 | least | old values | answered by another server | loads in a second |\n\
                 |---|---|---|---|---|---|---|---|\n",
            );
        }
        let _ = writeln!(
            text,
            "| {} | {:.1} % | {:.1} % | {:+.1} points | {:+.1} points | {} | {} | {} at most |",
            row.method.title,
            cache.lowest.0,
            cache.lowest.1,
            cache.above.0,
            cache.above.1,
            cache.wrong_values,
            cache.failed_over,
            cache.most_loads_a_second,
        );
    }
    if !text.is_empty() {
        text.push_str(
            "\nBound: the share of the keys that the other members have while the one with most of them is away, less 5 \
             points. Old values: answers that were not the key's current value.\n\n",
        );
    }
    text
}

fn lost(row: &Row) -> String {
    if row.cache.is_some() {
        return "-".to_owned();
    }
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
    let ours = rows.iter().filter(|row| row.method.act.is_ours());
    for row in ours {
        let Some(spread) = row.gap_ms else { continue };
        let wanted = &facts.goals;
        let mut goals = Vec::new();
        if let Some((p50_ms, max_ms)) = wanted.gap_ms {
            goals.push((format!("p50 at most {p50_ms} ms"), spread.p50 <= p50_ms));
            goals.push((format!("max at most {max_ms} ms"), spread.max <= max_ms));
        }
        match row.cache {
            Some(cache) => {
                goals.push((
                    "no second below its bound".to_owned(),
                    cache.above.1 >= 0.0 && cache.unjudged == 0,
                ));
                goals.push(("no old value".to_owned(), cache.wrong_values == 0));
            }
            None => {
                goals.push(("nothing lost".to_owned(), row.lost == 0 && row.unread == 0));
                goals.push(("nothing twice".to_owned(), row.duplicates == 0));
            }
        }
        if wanted.no_error {
            goals.push(("no error".to_owned(), row.errors == 0));
        }
        let mut times = Vec::new();
        for other in rows {
            let rival = !other.method.act.is_ours() && !matches!(other.method.act, Act::Nothing(_));
            // What a cache promises is its hit-rate.
            let Some(theirs) = other.gap_ms.filter(|_| rival && row.cache.is_none()) else {
                continue;
            };
            let ratio = theirs.p50 / spread.p50;
            times.push(format!("{ratio:.1} for \"{}\"", other.method.title));
            if let Some((wanted, of)) = wanted.times_better
                && of == other.method.key
            {
                goals.push((
                    format!("{wanted} times shorter than \"{}\"", other.method.title),
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
    use crate::databases::results::CacheRow;
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
            cache: None,
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
            text.contains(
                "50 times shorter than \"how-to page, its script as written\": **not met**"
            ),
            "{text}"
        );
        assert!(!text.contains("nothing is done"), "{text}");
    }

    #[test]
    fn a_cache_is_held_against_its_bound_and_not_against_what_it_cannot_lose() {
        let facts = &crate::databases::memcached::FACTS;
        let row = |key: &str, above: f64| Row {
            method: facts.methods.iter().find(|m| m.key == key).unwrap(),
            rounds: 1,
            failed: 0,
            gap_ms: Spread::of([78.0]),
            shards: BTreeMap::new(),
            act_s: None,
            acked: 1,
            errors: 0,
            indeterminate: 0,
            lost: 0,
            duplicates: 0,
            rounds_with_loss: 0,
            unread: 1,
            gaps_elsewhere: 0,
            phases: Vec::new(),
            cache: Some(CacheRow {
                lowest: (60.0, 60.0),
                above: (above, above),
                unjudged: 0,
                most_loads_a_second: 376,
                wrong_values: 0,
                failed_over: 3,
            }),
        };
        let good = [row("ferriswheel", 0.5), row("careless", -60.0)];
        let text = comparison(facts, &good);
        assert!(text.contains("no second below its bound: met"), "{text}");
        assert!(text.contains("no error: met"), "{text}");
        assert!(
            !text.contains("lost") && !text.contains("shorter"),
            "{text}"
        );
        let text = comparison(facts, &[row("ferriswheel", -0.1)]);
        assert!(text.contains("its bound: **not met**"), "{text}");
        assert!(caches(&good).contains("| -60.0 points |"));
        assert_eq!(lost(&good[0]), "-");
    }
}
