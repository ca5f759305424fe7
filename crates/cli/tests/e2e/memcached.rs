//! A Memcached pool of three members in a sandbox, carried through the upgrade of its node pool while clients with a
//! ketama ring use it.

use serde_json::Value;

use crate::support::Practice;

/// A machine that does other things at the same time must not decide about the verdict.
const PATIENT: (&str, &str) = ("writeStall: 1s", "writeStall: 30s");

/// How long a result must hold is tried elsewhere, and so are the probe's controls.
const BRIEF: (&str, &str) = ("ferrisWheel: {}", "ferrisWheel: { soakSeconds: 0 }");
const UNPROVEN: (&str, &str) = (
    "    - name: pages",
    "    - name: pages\n      controls: never",
);

#[test]
fn a_pool_rides_the_wheel() {
    let practice = Practice::up("memcached", &[]);
    practice.example_of("memcached", &[]);
    let run =
        practice.plan(practice.spec_of("memcached", "upgrade.yaml", &[PATIENT, BRIEF, UNPROVEN]));
    assert_eq!(run.steps("moveReplica").len(), 3);
    run.finish();
    let summary = run.summary();
    let story = run.story();
    assert_eq!(summary["nodes_upgraded"], 3, "{summary}");
    assert_eq!(summary["nodes_left_behind"], 0, "{summary}");
    assert_eq!(summary["primary_moves"], 0, "nobody leads: {summary}");

    let certificate = &summary["certificate"];
    println!("{certificate}");
    assert_eq!(certificate["verdict"], "pass", "{certificate}\n{story}");
    assert_eq!(certificate["errors"], 0, "{certificate}");
    // What a cache does not promise is not certified.
    for field in ["acked_lost", "phantoms", "duplicates"] {
        assert_eq!(certificate[field], Value::Null, "{certificate}");
    }
    let cache = &certificate["cache"];
    assert_eq!(cache["wrong_values"], 0, "{certificate}");
    let number = |value: &Value| value.as_f64().unwrap();
    let lowest = number(&cache["lowest"]["hit_rate"]);
    assert!(lowest >= number(&cache["bound"]), "{certificate}");
    for server in cache["servers"].as_array().unwrap() {
        assert_eq!(server["left"], 1, "each moved once: {certificate}");
    }
    let controls = certificate["controls"].as_array().unwrap();
    assert!(
        controls.iter().all(|control| control["detected"] == true),
        "{certificate}"
    );
    // Keys of a member that left are on others until it leaves again; before that they are deleted.
    let journal = serde_json::to_string(&run.records()).unwrap();
    let deleted = journal
        .matches("from an earlier absence were deleted")
        .count();
    assert!(deleted >= 3, "{story}");
}
