//! The certificate in words.

use ferriswheel_probe::certificate::{Certificate, Verdict};

/// The certificate on one screen.
pub(super) fn in_words(certificate: &Certificate) -> String {
    use std::fmt::Write as _;

    let verdict = match certificate.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
    };
    let known = |n: Option<u64>| n.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name:<25} {value}");
    };
    line("verdict", verdict.to_owned());
    for reason in &certificate.reasons {
        line("", format!("- {reason}"));
    }
    line("subject", certificate.subject.clone());
    if let Some(cache) = &certificate.cache {
        line(
            "requests",
            format!(
                "{} sent, {} answered, {} by another server",
                certificate.attempted, certificate.acked, cache.failed_over
            ),
        );
        line(
            "hit-rate",
            format!("{} % of {} questions", cache.hit_rate, cache.gets),
        );
        line(
            "lowest hit-rate",
            cache.lowest.as_ref().map_or_else(
                || "unknown".to_owned(),
                |lowest| {
                    format!(
                        "{} % over {} ms, at least {} % is allowed",
                        lowest.hit_rate, lowest.length_ms, cache.bound
                    )
                },
            ),
        );
        line(
            "loads from the backend",
            format!(
                "{}, {} within a second at most",
                cache.loads, cache.most_loads_a_second
            ),
        );
        line("old or wrong values", cache.wrong_values.to_string());
    } else {
        line(
            "writes",
            format!(
                "{} sent, {} acknowledged",
                certificate.attempted, certificate.acked
            ),
        );
        line("acknowledged and lost", known(certificate.acked_lost));
        line("phantoms, duplicates", {
            format!(
                "{}, {}",
                known(certificate.phantoms),
                known(certificate.duplicates)
            )
        });
        if let Some(out) = certificate.out_of_order {
            line("out of order", out.to_string());
        }
    }
    line(
        "errors",
        format!(
            "{} ({} indeterminate)",
            certificate.errors, certificate.indeterminate
        ),
    );
    line(
        if certificate.cache.is_some() {
            "longest without answers"
        } else {
            "longest gap without acks"
        },
        certificate
            .longest_ack_gap_ms
            .map_or_else(|| "unknown".to_owned(), |gap| format!("{gap:.1} ms")),
    );
    for shard in &certificate.shards {
        line(
            "  of a shard",
            format!(
                "{} ({}: {} acknowledged)",
                shard
                    .longest_ack_gap_ms
                    .map_or_else(|| "unknown".to_owned(), |gap| format!("{gap:.1} ms")),
                shard.name,
                shard.acked
            ),
        );
    }
    line(
        "latency p50, p99, worst",
        format!(
            "{:.1} ms, {:.1} ms, {:.1} ms",
            certificate.latency_ms.p50, certificate.latency_ms.p99, certificate.worst_latency_ms
        ),
    );
    for member in &certificate.members {
        let digest = member
            .digest
            .as_deref()
            .map_or("-", |d| d.get(..12).unwrap_or(d));
        let position = member.position.as_deref().unwrap_or("-");
        line(
            &format!("member {}", member.name),
            format!("{digest} at {position}"),
        );
    }
    text
}
