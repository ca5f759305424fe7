//! Rules and panels by Prometheus's own judge.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use ferriswheel_analysis::generate::monitoring::{Requests, Watched, dashboard, groups, rule_file};
use serde_json::{Value, json};

fn promtool(directory: &Path, arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("promtool runs; it is missing: apt-get install prometheus");
    assert!(
        output.status.success(),
        "promtool {arguments:?}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn requests() -> Requests {
    "http_requests_total:code".parse().expect("a counter")
}

#[test]
fn every_alert_fires_and_stays_silent_when_it_should() {
    let directory = tempfile::tempdir().expect("a directory");
    let groups = groups(&Watched::ALL, Some(&requests()));
    let made = rule_file(&groups);
    let file = made.files.first().expect("a file");
    std::fs::write(directory.path().join(&file.name), file.text()).expect("a file");
    let tests = include_str!("monitoring/alerts.yaml");
    std::fs::write(directory.path().join("alerts.yaml"), tests).expect("a file");

    promtool(directory.path(), &["check", "rules", "rules.yaml"]);
    promtool(directory.path(), &["test", "rules", "alerts.yaml"]);

    // Every alert has a test in which it fires and one in which it does not.
    let tests: Value = serde_saphyr::from_str(tests).expect("the tests are YAML");
    let mut seen: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
    let cases = tests["tests"].as_array().expect("tests");
    for case in cases
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().expect("cases"))
    {
        let name = case["alertname"].as_str().expect("a name");
        let fires = !case["exp_alerts"].as_array().expect("alerts").is_empty();
        seen.entry(name).or_default().insert(fires);
    }
    for alert in groups.iter().flat_map(|group| &group.alerts) {
        let seen = seen.get(alert.name).cloned().unwrap_or_default();
        assert_eq!(seen, BTreeSet::from([false, true]), "{}", alert.name);
    }
}

#[test]
fn the_expressions_of_the_panels_are_promql() {
    let directory = tempfile::tempdir().expect("a directory");
    let board = dashboard(&Watched::ALL);
    let panels = board["panels"].as_array().expect("panels").iter();
    let rules: Vec<Value> = panels
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
        .enumerate()
        .map(|(i, target)| json!({ "record": format!("panel:{i}"), "expr": target["expr"] }))
        .collect();
    assert!(rules.len() > 10);
    let file = json!({ "groups": [{ "name": "panels", "rules": rules }] });
    std::fs::write(directory.path().join("panels.yaml"), file.to_string()).expect("a file");
    promtool(directory.path(), &["check", "rules", "panels.yaml"]);
}
