//! A MongoDB replica set of three members in a sandbox: handed over as it stands, then carried
//! through the upgrade of its node pool.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![allow(
    dead_code,
    reason = "the support is shared with tests that use more of it"
)]

mod support;

use serde_json::Value;
use support::Practice;

/// A machine that does other things at the same time must not decide about the verdict: how long
/// writes stall is measured by the benchmark.
const PATIENT: (&str, &str) = ("writeStall: 2s", "writeStall: 30s");

#[test]
fn a_replica_set_rides_the_wheel() {
    let practice = Practice::up("mongodb", &[]);
    practice.example_of("mongodb", &[]);

    let hand_over = practice.spec_of("mongodb", "hand-over.yaml", &[PATIENT]);
    let run = practice.plan(hand_over);
    run.finish();
    let first = run.summary();
    assert_moved(&first, &run.story());
    assert_eq!(first["min_members"], 3, "nobody is stopped: {first}");
    let leader = leading(&first);

    let wheel = practice.spec_of("mongodb", "upgrade.yaml", &[PATIENT]);
    let run = practice.plan(wheel);
    run.finish();
    let second = run.summary();
    assert_moved(&second, &run.story());
    assert_eq!(second["nodes_upgraded"], 3, "{second}");
    assert_eq!(second["nodes_left_behind"], 0, "{second}");
    assert_ne!(leading(&second), leader, "{second}");
}

/// The primary was handed over once, and nothing was lost.
fn assert_moved(summary: &Value, story: &str) {
    assert_eq!(summary["primary_moves"], 1, "{summary}\n{story}");
    let certificate = &summary["certificate"];
    println!("{certificate}");
    for (field, wanted) in [
        ("verdict", Value::from("pass")),
        ("acked_lost", 0.into()),
        ("errors", 0.into()),
        ("phantoms", 0.into()),
        ("duplicates", 0.into()),
    ] {
        assert_eq!(certificate[field], wanted, "{certificate}\n{story}");
    }
}

fn leading(summary: &Value) -> Vec<String> {
    let seen = summary["seen"].as_object().unwrap();
    let [database] = &seen.values().collect::<Vec<_>>()[..] else {
        panic!("{summary}")
    };
    serde_json::from_value(database["leading"].clone()).unwrap()
}
