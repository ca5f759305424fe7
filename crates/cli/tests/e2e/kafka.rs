//! A Kafka cluster of three combined brokers in a sandbox, carried through the upgrade of its node pool by a driver that
//! is killed after every record of the first broker's turn and of the end.

use serde_json::Value;

use crate::kills::killed_after_every_record;
use crate::support::Practice;

/// A machine that does other things at the same time must not decide about the verdict: how long
/// writes stall is measured by the benchmark.
const PATIENT: (&str, &str) = ("writeStall: 2s", "writeStall: 30s");

#[test]
fn a_cluster_rides_the_wheel() {
    let practice = Practice::up("kafka", &[]);
    practice.example_of("kafka", &[]);
    let run = practice.plan(practice.spec_of("kafka", "upgrade.yaml", &[PATIENT]));
    let (away, back) = (run.steps("drainLeaders"), run.step("returnLeaders"));
    assert_eq!(away.len(), 3);
    let crashed = killed_after_every_record(&run, &[away[0], back]);
    for step in [away[0], back] {
        for name in ["started", "acting", "settled", "verified"] {
            assert!(
                crashed.contains(&format!("{step}:{name}")),
                "{step}:{name} of {crashed:?}"
            );
        }
    }
    let (summary, story) = (run.summary(), run.story());
    assert_eq!(summary["nodes_upgraded"], 3, "{summary}");
    assert_eq!(summary["nodes_left_behind"], 0, "{summary}");
    // The active controller's broker is the last.
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
    // Nothing is kept any more.
    let sets = practice.kubectl(&["get", "statefulsets", "-A", "-o", "json"]);
    assert!(!sets.contains("kafka-replicas"), "{sets}");
}
