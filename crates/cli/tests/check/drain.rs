//! The drain that is played where nodes and pods are in the input.

use serde_json::{Value, json};

use super::{check, code, json as read, text};

/// A pool of three nodes, one of which is full, and a budget that lets one pod go.
fn cluster() -> String {
    let node = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "uid": name, "labels": { "kubernetes.azure.com/agentpool": "db" } },
            "status": {
                "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "30" },
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        })
    };
    let pod = |name: &str, on: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": "shop", "uid": name, "labels": { "app": "web" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r", "controller": true }],
            },
            "spec": { "nodeName": on, "containers": [{ "name": "a", "image": "a", "resources": { "requests": { "cpu": "1" } } }] },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    };
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": { "name": "web", "namespace": "shop", "uid": "r" },
        "spec": {
            "replicas": 3, "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "a", "image": "a" }] } },
        },
    });
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": "web", "namespace": "shop", "uid": "b" },
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": "web" } } },
        "status": { "disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3 },
    });
    let items = [
        node("n1"),
        node("n2"),
        node("n3"),
        pod("web-1", "n1"),
        pod("web-2", "n2"),
        pod("web-3", "n3"),
        set,
        budget,
    ];
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

#[test]
fn the_drain_is_played_as_its_options_say() {
    let root = tempfile::tempdir().expect("a directory");
    let input = cluster();
    let drain = |more: &[&str]| {
        let all = [
            "--from", "-", "--target", "1.36", "--only", "drain", "--output", "json", "--quiet",
        ];
        check(root.path(), &[&all[..], more].concat(), &input)
    };
    let played = |more: &[&str]| {
        let output = drain(more);
        assert_eq!(code(&output), 0, "{more:?}: {}", text(&output.stderr));
        read(&output)["drain"].clone()
    };
    let nodes = |simulation: &Value| -> Vec<(String, i64)> {
        let all = simulation["nodes"].as_array().expect("nodes").iter();
        all.map(|node| {
            assert_eq!(node["outcome"], "drains", "{node}");
            let name = node["name"].as_str().unwrap_or_default().to_owned();
            (name, node["started"].as_i64().unwrap_or(-1))
        })
        .collect()
    };
    let order = |simulation: &Value| -> Vec<String> {
        let mut all = nodes(simulation);
        all.sort_by_key(|(_, started)| *started);
        all.into_iter().map(|(name, _)| name).collect()
    };
    let one = played(&["--drain-surge", "1"]);
    assert_eq!(order(&one), ["n1", "n2", "n3"]);
    assert_eq!(one["pools"][0]["name"], "db");
    // The given nodes come first.
    assert_eq!(
        order(&played(&["--drain-surge", "1", "--drain-order", "n3,n1"])),
        ["n3", "n1", "n2"]
    );
    // As many at a time as there are surge nodes, and the budget lets one go after the other.
    let all = played(&["--drain-surge", "100%"]);
    assert!(
        nodes(&all).iter().all(|(_, started)| *started == 0),
        "{all}"
    );
    assert_eq!(all["pools"][0]["evictions"], 3);
    // A soak is waited for after each node.
    let seconds = |simulation: &Value| simulation["pools"][0]["seconds"].as_i64().unwrap_or(-1);
    let soaked = played(&["--drain-surge", "1", "--drain-soak", "10"]);
    assert_eq!(seconds(&soaked) - seconds(&one), 2 * 600, "{soaked}");
    for way in [
        &["--drain-unavailable", "1"][..],
        &["--drain-into-new-pool"],
    ] {
        assert_eq!(played(way)["pools"][0]["drained"], 3, "{way:?}");
    }
    assert_ne!(
        played(&["--drain-into-new-pool"])["pools"][0]["way"],
        one["pools"][0]["way"]
    );
    assert_eq!(played(&["--drain-pool", "db"])["pools"][0]["nodes"], 3);
    assert_eq!(played(&["--no-drain"]), Value::Null);
    for bad in [
        &["--drain-surge", "0"][..],
        &["--drain-surge", "101%"],
        &["--drain-soak", "31"],
        &["--drain-timeout", "4"],
        &["--drain-surge", "1", "--drain-unavailable", "1"],
        &["--drain-into-new-pool", "--drain-unavailable", "1"],
    ] {
        assert_eq!(code(&drain(bad)), 2, "{bad:?}");
    }
}
