use ferriswheel_probe::timeline::{GapSpan, Mark};

use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_790_000_000_000 + ms).unwrap()
}

fn timeline() -> Timeline {
    Timeline {
        schema: "ferriswheel.timeline.v1".to_owned(),
        run: "r".to_owned(),
        anchor: at(0),
        bucket_ms: 10,
        first_ack_ms: Some(4.0),
        stop_ms: 4_000.0,
        acks: vec![(9, 200), (0, 9), (11, 191)],
        errors: vec![(0, 203), (2, 1), (0, 196)],
        marks: vec![Mark {
            name: "hand over".to_owned(),
            at: at(1_990),
            at_ms: 1_990,
        }],
        gaps: vec![GapSpan {
            from_ms: 1_999.2,
            to_ms: 2_091.5,
        }],
    }
}

fn certificate() -> Certificate {
    serde_json::from_value(serde_json::json!({
        "schema": "ferriswheel.certificate.v1", "run": "r", "subject": "orders <script>alert(1)</script>",
        "started": at(0), "finished": at(4_000), "writers": 4, "attempted": 3901, "acked": 3901,
        "errors": 0, "indeterminate": 0, "indeterminate_committed": 0, "acked_lost": 0,
        "phantoms": 0, "duplicates": 0, "longest_ack_gap_ms": 92.3, "longest_ack_gap_at": at(1_999),
        "worst_latency_ms": 93.0, "latency_ms": { "p50": 1.1, "p99": 4.0 },
        "reads": { "readers": 0, "attempted": 0, "ok": 0, "errors": 0, "stale": 0, "regressions": 0,
                   "latency_ms": { "p50": 0.0, "p99": 0.0 }, "worst_latency_ms": 0.0 },
        "members": [], "controls": [],
        "limits": { "write_stall_ms": 1000, "acked_loss": 0, "errors": 0 },
        "error_kinds": {}, "verdict": "pass", "reasons": [],
    }))
    .unwrap()
}

fn plan() -> PlanView {
    PlanView {
        id: "plan-7".to_owned(),
        steps: vec![
            StepView {
                number: 1,
                title: "Grow the pool & wait".to_owned(),
                status: StepStatus::Done,
                started: Some(at(200)),
                finished: Some(at(1_500)),
                evidence: vec!["node \"a\" is ready".to_owned()],
                ..StepView::default()
            },
            StepView {
                number: 2,
                title: "Hand over".to_owned(),
                status: StepStatus::Done,
                started: Some(at(1_800)),
                finished: Some(at(2_300)),
                expected_stall_ms: Some(90),
                moments: vec![
                    Moment {
                        name: "PAUSE".to_owned(),
                        at: at(1_998),
                    },
                    Moment {
                        name: "RESUME".to_owned(),
                        at: at(2_091),
                    },
                ],
                ..StepView::default()
            },
        ],
        ..PlanView::default()
    }
}

fn full() -> Input {
    Input {
        title: String::new(),
        generated: Some(at(5_000)),
        certificate: Some(certificate()),
        timeline: Some(timeline()),
        plan: Some(plan()),
    }
}

#[test]
fn the_gap_and_its_moments_are_named_for_those_who_do_not_see_the_curve() {
    let html = render(&full()).unwrap();
    assert!(html.contains("the longest interval without one lasted 92 ms and began at 0:02"));
    assert!(html.contains("PAUSE at -1 ms, RESUME at +92 ms"), "{html}");
    assert!(html.contains("No acknowledged write was lost. No client saw an error."));
    assert!(html.contains("2 errors at 0:02"));
}

#[test]
fn members_of_different_shards_hold_different_keys() {
    let shard = |name: &str, gap: f64| {
        serde_json::json!({
            "name": name, "writers": 2, "acked": 10, "longest_ack_gap_ms": gap,
            "longest_ack_gap_at": at(1_000), "acked_lost": 0,
        })
    };
    let member = |name: &str, shard: &str, digest: &str| {
        serde_json::json!({
            "name": name, "digest": digest, "position": null, "role": null, "shard": shard, "timeline": null,
            "system_identifier": null, "rows": 10, "acked_missing": 0, "problem": null,
            "examples": { "acked_missing": [], "duplicates": [], "phantoms": [] },
        })
    };
    let page = |digest: &str| {
        let mut json = serde_json::to_value(certificate()).unwrap();
        json["shards"] = serde_json::json!([shard("0-99", 40.0), shard("100-199", 143.0)]);
        json["members"] = serde_json::json!([
            member("a", "0-99", "1"),
            member("b", "0-99", digest),
            member("c", "100-199", "2"),
        ]);
        let input = Input {
            certificate: Some(serde_json::from_value(json).unwrap()),
            ..full()
        };
        render(&input).unwrap()
    };
    let same = page("1");
    assert!(same.contains("All members of a shard hold the same keys"));
    assert!(!same.contains("broken"), "{same}");
    // A client of the slower shard waited so long.
    assert!(same.contains("Writes paused for 143 ms at most."), "{same}");
    assert!(page("3").contains("3 different contents in 2 shards"));
}

/// Hits, errors and old values; nothing of rows, members or loss.
#[test]
fn a_cache_is_told_by_its_hit_rate_and_not_by_what_it_holds() {
    let page = |lowest: f64, wrong: u64| {
        let mut json = serde_json::to_value(certificate()).unwrap();
        for field in ["acked_lost", "phantoms", "duplicates"] {
            json[field] = serde_json::Value::Null;
        }
        json["cache"] = serde_json::json!({
            "keys": 4000, "gets": 9000, "hits": 8000, "loads": 1000, "hit_rate": 88.89,
            "lowest": { "from_ms": 1_500, "length_ms": 1_000, "gets": 900, "hit_rate": lowest },
            "bound": 61.5, "remaining_share": 66.5, "most_loads_a_second": 310,
            "wrong_values": wrong, "failed_over": 2, "counted_from": at(0),
            "servers": [{ "name": "memcached-0:11211", "share": 33.5, "left": 1 }],
        });
        let input = Input {
            certificate: Some(serde_json::from_value(json).unwrap()),
            ..full()
        };
        render(&input).unwrap()
    };
    let html = page(66.1, 0);
    assert!(
        html.contains("No client saw an error or an old value."),
        "{html}"
    );
    assert!(html.contains(
        "In the worst second 66.1 % of the keys were found; at least 61.5 % is allowed."
    ));
    assert!(html.contains("33.5 % of the keys, left 1 times"));
    assert!(!html.contains("broken"), "{html}");
    for word in [
        "write was lost",
        "acknowledged write",
        "Digest of the table",
        "new row",
    ] {
        assert!(!html.contains(word), "{word}");
    }
    assert!(page(40.0, 0).contains("broken"));
    assert!(page(66.1, 7).contains("and 7 old values"));
}

#[test]
fn text_of_the_outside_world_cannot_become_markup() {
    let html = render(&full()).unwrap();
    assert!(!html.contains("<script>alert"));
    assert!(html.contains("Grow the pool &amp; wait"));
}

#[test]
fn nothing_is_fetched_and_nothing_runs() {
    let html = render(&full()).unwrap();
    for word in [
        "http://", "https://", "src=", "@import", "url(", "<link", "onload",
    ] {
        assert!(!html.contains(word), "{word}");
    }
    assert_eq!(html.matches("<script").count(), 1);
    assert!(html.contains("<script type=\"application/json\""));
}

#[test]
fn a_part_that_is_missing_is_said_to_be() {
    let html = render(&Input {
        title: "half a run".to_owned(),
        ..Input::default()
    })
    .unwrap();
    assert!(html.contains("This run was not judged."));
    assert!(!html.contains("<svg"));
    let silent = Timeline {
        acks: vec![],
        errors: vec![],
        gaps: vec![],
        first_ack_ms: None,
        ..timeline()
    };
    let html = render(&Input {
        timeline: Some(silent),
        ..Input::default()
    })
    .unwrap();
    assert!(html.contains("nothing was acknowledged"));
}

#[test]
fn the_certificate_can_be_taken_out_again() {
    let html = render(&full()).unwrap();
    let start = html.find("id=\"certificate\">").unwrap() + "id=\"certificate\">".len();
    let json = &html[start..start + html[start..].find("</script>").unwrap()];
    assert_eq!(
        serde_json::from_str::<Certificate>(json).unwrap(),
        certificate()
    );
}
