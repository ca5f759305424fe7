//! A MongoDB replica set of three members in a sandbox, carried through the upgrade of its node pool.

use serde_json::Value;

use crate::support::Practice;

/// A machine that does other things at the same time must not decide about the verdict: how long
/// writes stall is measured by the benchmark.
const PATIENT: (&str, &str) = ("writeStall: 2s", "writeStall: 30s");

#[test]
fn a_replica_set_rides_the_wheel() {
    let practice = Practice::up("mongodb", &[]);
    practice.example_of("mongodb", &[]);
    let run = practice.plan(practice.spec_of("mongodb", "upgrade.yaml", &[PATIENT]));
    run.finish();

    let summary = run.summary();
    let story = run.story();
    assert_eq!(summary["primary_moves"], 1, "{summary}\n{story}");
    assert_eq!(summary["nodes_upgraded"], 3, "{summary}");
    assert_eq!(summary["nodes_left_behind"], 0, "{summary}");
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
