//! A MongoDB replica set of three members in a sandbox: handed over as it stands by a driver that is killed after every
//! record of it, then carried through the upgrade of its node pool.

use serde_json::Value;

use crate::kills::killed_after_every_record;
use crate::support::Practice;

/// A machine that does other things at the same time must not decide about the verdict: how long
/// writes stall is measured by the benchmark.
const PATIENT: (&str, &str) = ("writeStall: 2s", "writeStall: 30s");

#[test]
fn a_replica_set_rides_the_wheel() {
    let practice = Practice::up("mongodb", &[]);
    practice.example_of("mongodb", &[]);

    let run = practice.plan(practice.spec_of("mongodb", "hand-over.yaml", &[PATIENT]));
    let step = run.step("handOver");
    let crashed = killed_after_every_record(&run, &[step]);
    for name in ["started", "acting", "settled", "verified"] {
        assert!(
            crashed.contains(&format!("{step}:{name}")),
            "{step}:{name} of {crashed:?}"
        );
    }
    assert_moved(&run.summary(), &run.story());

    let run = practice.plan(practice.spec_of("mongodb", "upgrade.yaml", &[PATIENT]));
    run.finish();
    let summary = run.summary();
    assert_moved(&summary, &run.story());
    assert_eq!(summary["nodes_upgraded"], 3, "{summary}");
    assert_eq!(summary["nodes_left_behind"], 0, "{summary}");
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
