//! What the page says of a cache: hits, loads, errors and old values. Nothing of durability, which a cache does not have.

use ferriswheel_probe::certificate::{CacheRecord, Certificate};

use super::words::{grouped, lasting, moment};

fn rate(percent: f64) -> String {
    format!("{percent:.1} %")
}

fn lowest(found: &CacheRecord) -> Option<f64> {
    found.lowest.as_ref().map(|lowest| lowest.hit_rate)
}

fn known(percent: Option<f64>) -> String {
    percent.map_or_else(|| "not known".to_owned(), rate)
}

/// The page in one sentence.
pub(super) fn sentence(c: &Certificate, found: &CacheRecord) -> String {
    let errors = match c.errors {
        0 => "No client saw an error".to_owned(),
        n => format!("Clients saw {} errors", grouped(n)),
    };
    let old = match found.wrong_values {
        0 => "or an old value".to_owned(),
        n => format!("and {} old values", grouped(n)),
    };
    format!(
        "{errors} {old}. In the worst second {} of the keys were found; at least {} is allowed.",
        known(lowest(found)),
        rate(found.bound)
    )
}

/// Value, unit, name and class of each tile.
pub(super) fn tiles(
    c: &Certificate,
    found: &CacheRecord,
) -> Vec<(String, &'static str, &'static str, &'static str)> {
    let judged = |good: bool| if good { "good" } else { "bad" };
    let number = |percent: Option<f64>| {
        percent.map_or_else(|| "?".to_owned(), |percent| format!("{percent:.1}"))
    };
    vec![
        (grouped(c.acked), "", "requests answered", ""),
        (number(Some(found.hit_rate)), "%", "hit-rate", ""),
        (
            number(lowest(found)),
            "%",
            "hit-rate of the worst second",
            lowest(found).map_or("", |rate| judged(rate >= found.bound)),
        ),
        (
            grouped(found.most_loads_a_second),
            "",
            "loads from the backend in the busiest second",
            "",
        ),
        (
            grouped(c.errors),
            "",
            "errors seen by clients",
            c.limits
                .errors
                .map_or("", |allowed| judged(c.errors <= allowed)),
        ),
        (
            grouped(found.wrong_values),
            "",
            "old values",
            judged(found.wrong_values == 0),
        ),
    ]
}

/// Name, what was promised, what was measured, and whether it was kept.
pub(super) fn promises(
    c: &Certificate,
    found: &CacheRecord,
) -> Vec<(&'static str, String, String, Option<bool>)> {
    let mut promises = vec![
        (
            "Hit-rate of any second",
            format!("at least {}", rate(found.bound)),
            known(lowest(found)),
            lowest(found).map(|rate| rate >= found.bound),
        ),
        (
            "Answers that were not the key's current value",
            "none".to_owned(),
            grouped(found.wrong_values),
            Some(found.wrong_values == 0),
        ),
        (
            "Longest time without an answer",
            format!("at most {}", lasting(c.limits.write_stall_ms as f64)),
            c.longest_ack_gap_ms
                .map_or_else(|| "not known".to_owned(), |gap| format!("{gap:.1} ms")),
            c.longest_ack_gap_ms
                .map(|gap| gap <= c.limits.write_stall_ms as f64),
        ),
    ];
    if let Some(allowed) = c.limits.errors {
        promises.push((
            "Errors seen by clients",
            format!("at most {}", grouped(allowed)),
            grouped(c.errors),
            Some(c.errors <= allowed),
        ));
    }
    let carried_out = c.controls.iter().filter(|one| one.not_run.is_none());
    let (all, detected) = carried_out.fold((0_usize, 0_usize), |(all, seen), one| {
        (all + 1, seen + usize::from(one.detected))
    });
    promises.push((
        "Harms done on purpose that the judge reported",
        format!("{all} of {all}"),
        format!("{detected} of {all}"),
        Some(detected == all),
    ));
    promises
}

/// What else is known of the run.
pub(super) fn facts(c: &Certificate, found: &CacheRecord) -> Vec<(String, String)> {
    let mut facts = vec![
        ("Subject".to_owned(), c.subject.clone()),
        ("Run".to_owned(), c.run.clone()),
        ("Started".to_owned(), moment(c.started)),
        (
            "Lasted".to_owned(),
            lasting(c.finished.duration_since(c.started).as_secs_f64() * 1_000.0),
        ),
        ("Clients".to_owned(), grouped(c.writers)),
        ("Keys".to_owned(), grouped(found.keys)),
        (
            "Questions, of them found".to_owned(),
            format!("{}, {}", grouped(found.gets), grouped(found.hits)),
        ),
        ("Loads from the backend".to_owned(), grouped(found.loads)),
        (
            "Requests that another server answered because the first one hung up".to_owned(),
            grouped(found.failed_over),
        ),
        (
            "Slowest answer".to_owned(),
            format!("{:.1} ms", c.worst_latency_ms),
        ),
    ];
    for server in &found.servers {
        facts.push((
            server.name.clone(),
            format!(
                "{} of the keys, left {} times",
                rate(server.share),
                server.left
            ),
        ));
    }
    facts
}
