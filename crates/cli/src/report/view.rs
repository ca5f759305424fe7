//! From the input to what the template prints: every number is already text here.

use std::collections::BTreeSet;

use ferriswheel_probe::certificate::{Certificate, Role, Verdict};
use serde::Serialize;

use super::cache;
use super::chart::Curve;
use super::plan::{PlanTable, flags, plan_table, spans};
use super::words::{dash, grouped, known, lasting, moment};
use super::{Input, RenderError};

/// The page.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    title: String,
    generated: Option<String>,
    verdict: Banner,
    tiles: Vec<Tile>,
    promises: Vec<Promise>,
    /// A cache was measured: what is said of writes and of members is not said of it.
    cached: bool,
    facts: Vec<(String, String)>,
    members: Vec<MemberRow>,
    controls: Vec<ControlRow>,
    error_kinds: Vec<(String, u64)>,
    overview: Option<String>,
    zoom: Option<String>,
    curve: Option<CurveNotes>,
    plan: Option<PlanTable>,
    certificate_json: Option<String>,
}

#[derive(Debug, Serialize)]
struct Banner {
    class: &'static str,
    word: &'static str,
    sign: &'static str,
    sentence: String,
    reasons: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Tile {
    value: String,
    unit: &'static str,
    name: &'static str,
    class: &'static str,
}

#[derive(Debug, Serialize)]
struct Promise {
    name: &'static str,
    promised: String,
    measured: String,
    kept: &'static str,
    class: &'static str,
}

#[derive(Debug, Serialize)]
struct MemberRow {
    name: String,
    role: &'static str,
    rows: String,
    missing: String,
    missing_class: &'static str,
    position: String,
    timeline: String,
    digest: String,
    digest_full: String,
    problem: Option<String>,
    examples: Option<String>,
}

#[derive(Debug, Serialize)]
struct ControlRow {
    name: String,
    server: Option<String>,
    expected: String,
    observed: String,
    word: &'static str,
    class: &'static str,
}

#[derive(Debug, Serialize)]
struct CurveNotes {
    bucket_ms: u64,
    started: String,
    errors: bool,
    steps: bool,
}

impl Page {
    pub(super) fn of(input: &Input) -> Result<Self, RenderError> {
        let certificate = input.certificate.as_ref();
        let cached = certificate.is_some_and(|c| c.cache.is_some());
        let anchor = input.timeline.as_ref().map(|t| t.anchor);
        let curve = input.timeline.as_ref().map(|timeline| {
            Curve::of(
                timeline,
                certificate.map(|c| c.limits.clone()).unwrap_or_default(),
                if cached {
                    "answered request"
                } else {
                    "acknowledged write"
                },
            )
        });
        let spans = match (&input.plan, anchor, &input.timeline) {
            (Some(plan), Some(anchor), Some(timeline)) => spans(plan, anchor, timeline.stop_ms),
            _ => Vec::new(),
        };
        let title = match (input.title.is_empty(), certificate) {
            (true, Some(certificate)) => certificate.subject.clone(),
            _ => input.title.clone(),
        };
        Ok(Self {
            title,
            generated: input.generated.map(moment),
            verdict: banner(certificate),
            tiles: certificate.map(tiles).unwrap_or_default(),
            promises: certificate.map(promises).unwrap_or_default(),
            cached,
            facts: certificate.map(facts).unwrap_or_default(),
            members: certificate.map(members).unwrap_or_default(),
            controls: certificate.map(controls).unwrap_or_default(),
            error_kinds: certificate
                .map(|c| c.error_kinds.iter().map(|(k, n)| (k.clone(), *n)).collect())
                .unwrap_or_default(),
            overview: curve.as_ref().map(|curve| curve.overview(&spans)),
            zoom: curve.as_ref().and_then(|curve| {
                let (flags, focus) = flags(input, curve);
                curve.zoom(&flags, focus)
            }),
            curve: input.timeline.as_ref().map(|timeline| CurveNotes {
                bucket_ms: timeline.bucket_ms,
                started: moment(timeline.anchor),
                errors: timeline.errors.iter().any(|(count, _)| *count > 0),
                steps: !spans.is_empty(),
            }),
            plan: input.plan.as_ref().map(|plan| plan_table(plan, anchor)),
            // `<` is escaped, so that no text inside can end the element that carries it.
            certificate_json: certificate
                .map(|c| serde_json::to_string(c).map(|json| json.replace('<', "\\u003c")))
                .transpose()?,
        })
    }
}

fn banner(certificate: Option<&Certificate>) -> Banner {
    let Some(certificate) = certificate else {
        return Banner {
            class: "inconclusive",
            word: "No certificate",
            sign: "?",
            sentence: "This run was not judged.".to_owned(),
            reasons: Vec::new(),
        };
    };
    let (class, word, sign) = match certificate.verdict {
        Verdict::Pass => ("pass", "Pass", "\u{2713}"),
        Verdict::Fail => ("fail", "Fail", "\u{2717}"),
        Verdict::Inconclusive => ("inconclusive", "Inconclusive", "?"),
    };
    if let Some(cache) = &certificate.cache {
        return Banner {
            class,
            word,
            sign,
            sentence: cache::sentence(certificate, cache),
            reasons: certificate.reasons.clone(),
        };
    }
    let lost = match certificate.acked_lost {
        Some(0) => "No acknowledged write was lost.".to_owned(),
        Some(1) => "1 acknowledged write was lost.".to_owned(),
        Some(n) => format!("{} acknowledged writes were lost.", grouped(n)),
        None => "Whether acknowledged writes were lost is not known.".to_owned(),
    };
    let errors = match certificate.errors {
        0 => "No client saw an error.".to_owned(),
        1 => "Clients saw 1 error.".to_owned(),
        n => format!("Clients saw {} errors.", grouped(n)),
    };
    let gap = longest_gap(certificate).map_or_else(
        || "Nothing was acknowledged.".to_owned(),
        |gap| format!("Writes paused for {} at most.", lasting(gap)),
    );
    Banner {
        class,
        word,
        sign,
        sentence: format!("{lost} {errors} {gap}"),
        reasons: certificate.reasons.clone(),
    }
}

fn tiles(c: &Certificate) -> Vec<Tile> {
    let limits = &c.limits;
    let judged = |good: bool| if good { "good" } else { "bad" };
    let tile = |value: String, unit, name, class| Tile {
        value,
        unit,
        name,
        class,
    };
    if let Some(found) = &c.cache {
        return cache::tiles(c, found)
            .into_iter()
            .map(|(value, unit, name, class)| tile(value, unit, name, class))
            .collect();
    }
    vec![
        tile(grouped(c.acked), "", "writes acknowledged", ""),
        tile(
            known(c.acked_lost),
            "",
            "of them lost",
            c.acked_lost.map_or("", |n| judged(n <= limits.acked_loss)),
        ),
        tile(
            grouped(c.errors),
            "",
            "errors seen by clients",
            limits
                .errors
                .map_or("", |allowed| judged(c.errors <= allowed)),
        ),
        tile(
            longest_gap(c).map_or_else(|| "?".to_owned(), |g| format!("{g:.0}")),
            "ms",
            "longest pause in writes",
            longest_gap(c).map_or("", |g| judged(g <= limits.write_stall_ms as f64)),
        ),
        tile(
            format!("{:.1}", c.latency_ms.p50),
            "ms",
            "latency, median",
            "",
        ),
        tile(
            format!("{:.1}", c.latency_ms.p99),
            "ms",
            "latency, 99 of 100",
            "",
        ),
    ]
}

/// What the limit is held against: of shards the longest gap of any, because a client of that one
/// waited so long.
fn longest_gap(c: &Certificate) -> Option<f64> {
    let gaps = c.shards.iter().map(|shard| shard.longest_ack_gap_ms);
    gaps.chain([c.longest_ack_gap_ms])
        .flatten()
        .max_by(f64::total_cmp)
}

fn promises(c: &Certificate) -> Vec<Promise> {
    let promise = |name, promised: String, measured: String, kept: Option<bool>| {
        let (kept, class) = match kept {
            Some(true) => ("kept", "good"),
            Some(false) => ("broken", "bad"),
            None => ("not known", "unknown"),
        };
        Promise {
            name,
            promised,
            measured,
            kept,
            class,
        }
    };
    if let Some(found) = &c.cache {
        return cache::promises(c, found)
            .into_iter()
            .map(|(name, promised, measured, kept)| promise(name, promised, measured, kept))
            .collect();
    }
    let limits = &c.limits;
    let digests: Vec<_> = c.members.iter().map(|m| m.digest.as_deref()).collect();
    let read = digests.iter().filter(|d| d.is_some()).count();
    // Members of different shards hold different keys.
    let distinct: BTreeSet<_> = c
        .members
        .iter()
        .filter_map(|m| Some((m.shard.as_deref(), m.digest.as_deref()?)))
        .collect();
    let shards: BTreeSet<_> = distinct.iter().map(|(shard, _)| *shard).collect();
    let differ = distinct.len() > shards.len();
    let same = if differ {
        Some(false)
    } else if read == digests.len() && read > 0 {
        Some(true)
    } else {
        None
    };
    let carried_out: Vec<_> = c.controls.iter().filter(|c| c.not_run.is_none()).collect();
    let detected = carried_out.iter().filter(|c| c.detected).count();
    let mut promises = vec![
        promise(
            "Acknowledged writes lost",
            format!("at most {}", grouped(limits.acked_loss)),
            known(c.acked_lost),
            c.acked_lost.map(|n| n <= limits.acked_loss),
        ),
        promise(
            "Longest time without an acknowledged write",
            format!("at most {}", lasting(limits.write_stall_ms as f64)),
            longest_gap(c).map_or_else(|| "not known".to_owned(), |g| format!("{g:.1} ms")),
            longest_gap(c).map(|g| g <= limits.write_stall_ms as f64),
        ),
    ];
    if let Some(allowed) = limits.errors {
        promises.push(promise(
            "Errors seen by clients",
            format!("at most {}", grouped(allowed)),
            grouped(c.errors),
            Some(c.errors <= allowed),
        ));
    }
    promises.extend([
        promise(
            "Rows that nobody sent, or that were refused",
            "none".to_owned(),
            known(c.phantoms),
            c.phantoms.map(|n| n == 0),
        ),
        promise(
            "Rows that repeat a key",
            "none".to_owned(),
            known(c.duplicates),
            c.duplicates.map(|n| n == 0),
        ),
    ]);
    if let Some(out) = c.out_of_order {
        promises.push(promise(
            "Rows behind a later one of their writer",
            "none".to_owned(),
            grouped(out),
            Some(out == 0),
        ));
    }
    promises.extend([
        promise(
            if c.shards.is_empty() {
                "All members hold the same table"
            } else {
                "All members of a shard hold the same keys"
            },
            format!("{} of {}", digests.len(), digests.len()),
            if differ && c.shards.is_empty() {
                format!("{} different tables", distinct.len())
            } else if differ {
                format!(
                    "{} different contents in {} shards",
                    distinct.len(),
                    shards.len()
                )
            } else {
                format!("{read} of {}", digests.len())
            },
            same,
        ),
        promise(
            "Harms done on purpose that the judge reported",
            format!("{} of {}", carried_out.len(), carried_out.len()),
            format!("{detected} of {}", carried_out.len()),
            Some(detected == carried_out.len()),
        ),
    ]);
    promises
}

fn facts(c: &Certificate) -> Vec<(String, String)> {
    if let Some(found) = &c.cache {
        return cache::facts(c, found);
    }
    let mut facts = vec![
        ("Subject".to_owned(), c.subject.clone()),
        ("Run".to_owned(), c.run.clone()),
        ("Started".to_owned(), moment(c.started)),
        (
            "Lasted".to_owned(),
            lasting(c.finished.duration_since(c.started).as_secs_f64() * 1_000.0),
        ),
        ("Writers".to_owned(), grouped(c.writers)),
        ("Writes sent".to_owned(), grouped(c.attempted)),
        ("Acknowledged".to_owned(), grouped(c.acked)),
        (
            "Outcome unknown to the client".to_owned(),
            match (c.indeterminate, c.indeterminate_committed) {
                (0, _) | (_, None) => grouped(c.indeterminate),
                (n, Some(there)) => {
                    format!("{}, of which {} were committed", grouped(n), grouped(there))
                }
            },
        ),
        (
            "Slowest reply to a write".to_owned(),
            format!("{:.1} ms", c.worst_latency_ms),
        ),
    ];
    if c.reads.readers > 0 {
        facts.push((
            "Reads".to_owned(),
            format!(
                "{} answered, {} failed, {} stale, {} back in time; median {:.1} ms, slowest {:.1} ms",
                grouped(c.reads.ok),
                grouped(c.reads.errors),
                grouped(c.reads.stale),
                grouped(c.reads.regressions),
                c.reads.latency_ms.p50,
                c.reads.worst_latency_ms
            ),
        ));
    }
    for shard in &c.shards {
        let gap = shard
            .longest_ack_gap_ms
            .map_or_else(|| "not known".to_owned(), |gap| format!("{gap:.1} ms"));
        facts.push((
            format!("Shard {}", shard.name),
            format!(
                "{} acknowledged, longest gap {gap}, lost {}",
                grouped(shard.acked),
                known(shard.acked_lost)
            ),
        ));
    }
    facts
}

fn members(c: &Certificate) -> Vec<MemberRow> {
    c.members
        .iter()
        .map(|m| MemberRow {
            name: m.name.clone(),
            role: match m.role {
                Some(Role::Leader) => "leader",
                Some(Role::Replica) => "replica",
                None => "\u{2013}",
            },
            rows: m.rows.map_or_else(dash, grouped),
            missing: m.acked_missing.map_or_else(dash, grouped),
            missing_class: match m.acked_missing {
                Some(0) => "good",
                Some(_) => "bad",
                None => "",
            },
            position: m.position.clone().unwrap_or_else(dash),
            timeline: m.timeline.map_or_else(dash, |t| t.to_string()),
            digest: m
                .digest
                .as_deref()
                .map_or_else(dash, |d| d.get(..12).unwrap_or(d).to_owned()),
            digest_full: m.digest.clone().unwrap_or_default(),
            problem: m.problem.clone(),
            examples: (!m.examples.acked_missing.is_empty()).then(|| {
                let keys: Vec<String> = m
                    .examples
                    .acked_missing
                    .iter()
                    .map(|key| format!("{}/{}", key.writer, key.seq))
                    .collect();
                keys.join(", ")
            }),
        })
        .collect()
}

fn controls(c: &Certificate) -> Vec<ControlRow> {
    c.controls
        .iter()
        .map(|control| {
            let (word, class) = match (control.detected, &control.not_run) {
                (true, _) => ("reported", "good"),
                (false, None) => ("missed", "bad"),
                (false, Some(_)) => ("not carried out", "unknown"),
            };
            ControlRow {
                name: control.name.clone(),
                server: control.server.clone(),
                expected: control.expected.clone(),
                observed: control
                    .not_run
                    .as_ref()
                    .unwrap_or(&control.observed)
                    .clone(),
                word,
                class,
            }
        })
        .collect()
}
