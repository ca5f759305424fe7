//! Advice and checklist for a cluster that is there: what its dump says, and what its servers add.

use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::policy;
use serde_json::Value;

use crate::support::{Practice, text};

/// On the PostgreSQL example, whole and not yet touched.
pub fn of_a_live_cluster(practice: &Practice) {
    let dump = practice.path().join("dump");
    let dump = dump.to_str().unwrap();
    practice.ok(&[
        "snapshot",
        "--out",
        dump,
        "--sandbox",
        practice.name(),
        "--quiet",
    ]);
    let wanted = practice.spec("hand-over.yaml", &[]);
    let parsed = |path: &std::path::Path| {
        policy::parse("spec", &std::fs::read_to_string(path).unwrap()).unwrap()
    };

    // What is advised is what the example's own spec says.
    let advised = practice.path().join("advised.yaml");
    let write = ["--write", advised.to_str().unwrap()];
    practice.ok(&[&["advise", "--from", dump, "--target", "1.36"], &write[..]].concat());
    let (advised, own) = (parsed(&advised), parsed(&wanted));
    assert_eq!(
        advised.spec.databases[0].system,
        own.spec.databases[0].system
    );

    // The servers say what no dump does; a backup that nobody has seen still keeps it from passing.
    let plan = practice.path().join("emergency.json");
    let output = practice.run(&[
        "emergency",
        "--from",
        dump,
        "--target",
        "1.36",
        "--spec",
        wanted.to_str().unwrap(),
        "--sandbox",
        practice.name(),
        "--out",
        plan.to_str().unwrap(),
        "--output",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(30), "{}", text(&output.stderr));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |part: &str, subject: &str| {
        let items = list["items"].as_array().unwrap().iter();
        let mut found = items.filter(|item| item["part"] == part && item["subject"] == subject);
        let found = found.next();
        found
            .unwrap_or_else(|| panic!("no {part} of {subject}: {list}"))
            .clone()
    };
    let set = "StatefulSet db/pg";
    let lag = of("lag", set);
    assert_eq!(lag["state"], "pass", "{lag}");
    assert_eq!(
        lag["seen"].as_array().unwrap().len(),
        2,
        "two replicas: {lag}"
    );
    assert_eq!(of("replicas", set)["state"], "pass", "{list}");
    assert_eq!(of("backup", set)["state"], "skipped", "{list}");
    for part in ["plan", "way-back"] {
        assert_eq!(of(part, "orders-hand-over")["state"], "pass", "{list}");
    }
    assert!(list["looks"][1]["skipped"].is_null(), "{list}");
    let plan: Plan = serde_json::from_slice(&std::fs::read(&plan).unwrap()).unwrap();
    assert!(plan.is_intact().unwrap());
}
