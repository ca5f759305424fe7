//! A MariaDB set of three members in a sandbox: handed over as it stands by a driver that is killed after every record
//! of it, then carried through the upgrade of its node pool.

use serde_json::Value;

use crate::kills::killed_after_every_record;
use crate::support::Practice;

/// A machine that does other things at the same time must not decide about the verdict: how long
/// writes stall is measured by the benchmark.
const PATIENT: (&str, &str) = ("writeStall: 1s", "writeStall: 30s");

/// The probe proves itself once, on the wheel.
const UNPROVEN: (&str, &str) = (
    "    - name: store",
    "    - name: store\n      controls: never",
);

#[test]
fn a_set_rides_the_wheel() {
    let practice = Practice::up("mariadb", &[]);
    practice.example_of("mariadb", &[]);

    let spec = practice.spec_of("mariadb", "hand-over.yaml", &[PATIENT, UNPROVEN]);
    let run = practice.plan(spec);
    let step = run.step("handOver");
    let crashed = killed_after_every_record(&run, &[step]);
    for name in ["started", "acting", "settled", "verified"] {
        assert!(
            crashed.contains(&format!("{step}:{name}")),
            "{step}:{name} of {crashed:?}"
        );
    }
    let first = run.summary();
    assert_moved(&first, &run.story());
    let leader = leading(&first);

    let wheel = practice.spec_of("mariadb", "upgrade.yaml", &[PATIENT]);
    let run = practice.plan(wheel);
    run.finish();
    let second = run.summary();
    assert_moved(&second, &run.story());
    assert_eq!(second["nodes_upgraded"], 3, "{second}");
    assert_eq!(second["nodes_left_behind"], 0, "{second}");
    assert_ne!(leading(&second), leader, "{second}");
}

/// The primary was handed over once, and nothing was lost. Errors are counted and not judged:
/// connections are cut once.
fn assert_moved(summary: &Value, story: &str) {
    assert_eq!(summary["primary_moves"], 1, "{summary}\n{story}");
    let certificate = &summary["certificate"];
    println!("{certificate}");
    for (field, wanted) in [
        ("verdict", Value::from("pass")),
        ("acked_lost", 0.into()),
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
