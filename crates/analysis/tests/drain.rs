//! The drain simulation as a user meets it: a dump goes in, nodes that drain and what holds the others
//! come out, and the fix, applied, clears it.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use ferriswheel_analysis::check::{Scope, check};
use ferriswheel_analysis::codes;
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::drain::{NodeOutcome, Order, Settings, Share, Simulation, Way};
use ferriswheel_analysis::findings::{Finding, Report, Severity};
use ferriswheel_analysis::manifest::{Want, read};
use serde_json::{Value, json};

/// A cluster in one namespace, as kubectl prints it.
#[derive(Clone, Default)]
struct Cluster(Vec<Value>);

impl Cluster {
    /// Nodes `n0`, `n1`, ... of pool `work`, in zones 1, 2, 3, 1, ...
    fn nodes(count: usize) -> Self {
        let node = |i: usize| {
            let name = format!("n{i}");
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": name, "uid": name, "labels": {
                    "agentpool": "work", "kubernetes.io/hostname": name,
                    "topology.kubernetes.io/zone": (i % 3 + 1).to_string(),
                }},
                "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "30"}},
            })
        };
        Self((0..count).map(node).collect())
    }

    /// Pods `name-0`, `name-1`, ... of a controller, on these nodes.
    fn owned(mut self, kind: &str, name: &str, on: &[usize], spec: Value) -> Self {
        self.0.push(json!({
            "apiVersion": "apps/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"replicas": on.len()},
        }));
        for (i, node) in on.iter().enumerate() {
            let mut spec = spec.clone();
            spec["nodeName"] = json!(format!("n{node}"));
            if spec["containers"].is_null() {
                spec["containers"] =
                    json!([{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]);
            }
            if kind == "StatefulSet" {
                spec["volumes"] =
                    json!([{"persistentVolumeClaim": {"claimName": format!("{name}-{i}")}}]);
                self = self.disk(&format!("{name}-{i}"), node % 3 + 1);
            }
            self.0.push(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": format!("{name}-{i}"), "namespace": "shop", "uid": format!("{name}-{i}"),
                    "labels": {"app": name},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true}],
                },
                "spec": spec,
                "status": {"phase": "Running", "conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-21T10:00:00Z"},
                    {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T10:00:12Z"},
                ]},
            }));
        }
        self
    }

    fn disk(mut self, name: &str, zone: usize) -> Self {
        self.0.push(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": {"volumeName": name},
        }));
        self.0.push(json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "uid": name},
            "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone.to_string()]},
            ]}]}}},
        }));
        self
    }

    fn budget(mut self, name: &str, spec: Value) -> Self {
        let mut spec = spec;
        if spec["selector"].is_null() {
            spec["selector"] = json!({"matchLabels": {"app": name}});
        }
        self.0.push(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": spec,
        }));
        self
    }

    /// Changes the pods of a name.
    fn pods(mut self, name: &str, change: impl Fn(&mut Value)) -> Self {
        let own = |object: &&mut Value| {
            object["kind"] == "Pod" && object["metadata"]["labels"]["app"] == name
        };
        self.0.iter_mut().filter(own).for_each(change);
        self
    }

    fn check(&self, settings: &Settings) -> Report {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": self.0}).to_string();
        let reading = read("dump.json", list.as_bytes(), Want::Sketches);
        let scope = Scope {
            api_versions: false,
            resilience: None,
            drain: Some(settings.clone()),
        };
        let report = check(reading, &Target::parse(["1.36"]).expect("a target"), &scope);
        assert_eq!(report.skipped, []);
        report
    }

    fn drain(&self, settings: &Settings) -> (Simulation, Vec<Finding>) {
        let report = self.check(settings);
        assert_eq!(report.not_drained, None);
        (report.drain.expect("a simulation"), report.findings)
    }
}

fn surge(nodes: u32) -> Settings {
    Settings {
        way: Way::Surge(Share::Nodes(nodes)),
        ..Settings::default()
    }
}

fn outcomes(simulation: &Simulation) -> Vec<(&str, bool, u32)> {
    let all = simulation.nodes.iter();
    all.map(|node| {
        (
            node.name.as_str(),
            node.outcome == NodeOutcome::Drains,
            node.evictions,
        )
    })
    .collect()
}

fn only<'a>(findings: &'a [Finding], code: &str) -> &'a Finding {
    let found: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.code == code)
        .collect();
    assert_eq!(found.len(), 1, "{code}: {findings:#?}");
    found[0]
}

fn none(findings: &[Finding], code: &str) {
    assert!(
        findings.iter().all(|finding| finding.code != code),
        "{findings:#?}"
    );
}

#[test]
fn without_nodes_or_pods_there_is_nothing_to_simulate() {
    let none = |cluster: &Cluster| {
        let report = cluster.check(&surge(1));
        assert_eq!(report.drain, None);
        report.not_drained.unwrap()
    };
    assert!(
        none(&Cluster::default().budget("web", json!({"maxUnavailable": 1}))).contains("no nodes")
    );
    assert!(none(&Cluster::nodes(2)).contains("no pods"));
}

#[test]
fn a_pool_drains_in_its_order_and_a_budget_makes_it_wait() {
    let cluster = Cluster::nodes(3)
        .owned("ReplicaSet", "web", &[0, 0, 1, 2], json!({}))
        .budget("web", json!({"maxUnavailable": 1}));
    let (simulation, findings) = cluster.drain(&surge(1));
    none(&findings, codes::DRAIN_BLOCKED);
    let names: Vec<&str> = simulation
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(names, ["n0", "n1", "n2"]);
    assert!(
        simulation
            .nodes
            .iter()
            .all(|node| node.outcome == NodeOutcome::Drains)
    );
    // Two pods on n0, one at a time: the second goes at the first try after the other's replacement is
    // ready (12 s, so 15 s) and stops for 5 s.
    let first = &simulation.nodes[0];
    assert_eq!((first.evictions, first.seconds), (2, 20));
    let given = Settings {
        order: Order::Given(vec!["n2".to_owned()]),
        ..surge(1)
    };
    let (simulation, _) = cluster.drain(&given);
    assert_eq!(simulation.nodes[0].name, "n2");
}

#[test]
fn a_budget_of_a_single_replica_blocks_its_node() {
    let cluster = Cluster::nodes(2)
        .owned("ReplicaSet", "solo", &[1], json!({}))
        .budget("solo", json!({"minAvailable": 1}));
    let (simulation, findings) = cluster.drain(&surge(1));
    assert_eq!(outcomes(&simulation), [("n0", true, 0), ("n1", false, 0)]);
    let by = &simulation.nodes[1].blocked_by;
    assert_eq!(by.len(), 1);
    assert_eq!(
        (by[0].budget.as_deref(), by[0].pod.as_str()),
        (Some("shop/solo"), "shop/solo-0")
    );
    let finding = only(&findings, codes::DRAIN_BLOCKED);
    assert_eq!(finding.severity, Severity::Blocks);
    assert_eq!(
        (finding.object.kind.as_str(), finding.object.name.as_str()),
        ("PodDisruptionBudget", "solo")
    );
    assert!(finding.fix.contains("add a replica"), "{}", finding.fix);
    // The fix, applied.
    let fixed = Cluster::nodes(2)
        .owned("ReplicaSet", "solo", &[1, 0], json!({}))
        .budget("solo", json!({"maxUnavailable": 1}));
    none(&fixed.drain(&surge(1)).1, codes::DRAIN_BLOCKED);
}

#[test]
fn two_budgets_block_for_ever_and_one_does_not() {
    let cluster = Cluster::nodes(2)
        .owned("ReplicaSet", "web", &[0, 1], json!({}))
        .budget("web", json!({"maxUnavailable": 1}));
    none(&cluster.drain(&surge(1)).1, codes::DRAIN_BLOCKED);
    let two = cluster.budget("all", json!({"maxUnavailable": 1, "selector": {}}));
    let (simulation, findings) = two.drain(&surge(1));
    assert_eq!(outcomes(&simulation), [("n0", false, 0), ("n1", false, 0)]);
    assert!(
        only(&findings, codes::DRAIN_BLOCKED)
            .message
            .contains("500")
    );
}

#[test]
fn a_pod_that_is_not_ready_blocks_until_it_may_always_go() {
    let cluster = |policy: Value| {
        Cluster::nodes(2)
            .owned("ReplicaSet", "web", &[0, 1], json!({}))
            .pods("web", |pod| {
                if pod["metadata"]["name"] == "web-0" {
                    pod["status"]["conditions"][1]["status"] = json!("False");
                }
            })
            .budget(
                "web",
                json!({"minAvailable": 2, "unhealthyPodEvictionPolicy": policy}),
            )
    };
    let (simulation, _) = cluster(json!("IfHealthyBudget")).drain(&surge(1));
    assert!(!outcomes(&simulation)[0].1);
    let (simulation, _) = cluster(json!("AlwaysAllow")).drain(&surge(1));
    assert!(outcomes(&simulation)[0].1);
    // The healthy one stays under every policy.
    assert!(!outcomes(&simulation)[1].1);
}

#[test]
fn a_grace_beyond_the_timeout_blocks() {
    let cluster = |grace: u64| {
        let spec = json!({
            "terminationGracePeriodSeconds": grace,
            "containers": [{"name": "c", "lifecycle": {"preStop": {"exec": {"command": ["/drain.sh"]}}}}],
        });
        Cluster::nodes(2).owned("ReplicaSet", "slow", &[0], spec)
    };
    let (_, findings) = cluster(3_600).drain(&surge(1));
    let finding = only(&findings, codes::DRAIN_BLOCKED);
    assert_eq!(
        (finding.object.kind.as_str(), finding.object.name.as_str()),
        ("Pod", "slow-0")
    );
    assert!(finding.fix.contains("--drain-timeout"), "{}", finding.fix);
    none(&cluster(600).drain(&surge(1)).1, codes::DRAIN_BLOCKED);
    let patient = Settings {
        timeout: 7_200,
        ..surge(1)
    };
    none(&cluster(3_600).drain(&patient).1, codes::DRAIN_BLOCKED);
}

#[test]
fn a_disk_in_a_zone_without_a_surge_node_leaves_its_pod_without_a_node() {
    let cluster = Cluster::nodes(3)
        .owned("StatefulSet", "pg", &[0, 1, 2], json!({}))
        .budget("pg", json!({"maxUnavailable": 1}));
    // One surge node, in zone 1: the pods of the other zones wait while their nodes are away. The
    // node after them does not drain, because the budget counts them.
    let (simulation, findings) = cluster.drain(&surge(1));
    let blocked: Vec<bool> = outcomes(&simulation).iter().map(|node| node.1).collect();
    assert_eq!(
        blocked,
        [true, true, true],
        "a reimaged node takes its pod back: {simulation:#?}"
    );
    let waits = findings
        .iter()
        .find(|finding| finding.code == codes::DRAIN_NO_ROOM);
    // The last node is deleted, and nothing is in its zone any more.
    assert!(waits.unwrap().fix.contains("zone"), "{findings:#?}");
    let (simulation, findings) = cluster.drain(&surge(3));
    none(&findings, codes::DRAIN_NO_ROOM);
    none(&findings, codes::DRAIN_BLOCKED);
    assert_eq!(simulation.pools[0].without_node, []);
}

#[test]
fn a_taint_keeps_pods_from_moving_twice() {
    let cluster = Cluster::nodes(4).owned("ReplicaSet", "web", &[0, 0, 0, 0, 0, 0], json!({}));
    let (simulation, findings) = cluster.drain(&surge(1));
    let pool = &simulation.pools[0];
    assert!(pool.evictions > pool.evictions_when_tainted, "{pool:?}");
    assert!(pool.moved_again > 0);
    assert_eq!(only(&findings, codes::DRAIN_CHURN).severity, Severity::Info);
    // Pods that are not evicted twice need no taint.
    let single = Cluster::nodes(1).owned("ReplicaSet", "web", &[0], json!({}));
    none(&single.drain(&surge(1)).1, codes::DRAIN_CHURN);
}

#[test]
fn an_operator_that_hands_over_blocks_nothing_while_it_can() {
    let cluster = |members: &[usize]| {
        let mut cluster = Cluster::nodes(3)
            .owned("Cluster", "pg", members, json!({}))
            .pods("pg", |pod| {
                pod["metadata"]["ownerReferences"][0]["apiVersion"] =
                    json!("postgresql.cnpg.io/v1");
                let primary = pod["metadata"]["name"] == "pg-0";
                pod["metadata"]["labels"]["role"] =
                    json!(if primary { "primary" } else { "replica" });
            })
            .budget(
                "pg-primary",
                json!({"minAvailable": 1, "selector": {"matchLabels": {"role": "primary"}}}),
            );
        let budget = cluster.0.last_mut().unwrap();
        budget["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "pg"}]);
        cluster
    };
    none(&cluster(&[0, 1]).drain(&surge(1)).1, codes::DRAIN_BLOCKED);
    only(&cluster(&[0]).drain(&surge(1)).1, codes::DRAIN_BLOCKED);
}

#[test]
fn batches_hold_nodes_whose_evictions_do_not_wait() {
    let cluster = Cluster::nodes(4)
        .owned("ReplicaSet", "web", &[0, 1], json!({}))
        .budget("web", json!({"maxUnavailable": 1}));
    let (simulation, _) = cluster.drain(&surge(4));
    assert_eq!((simulation.batches, simulation.lower_bound), (2, 2));
    for batch in &simulation.pools[0].batches {
        assert!(!(batch.contains(&"n0".to_owned()) && batch.contains(&"n1".to_owned())));
    }
}

#[test]
fn the_part_drain_of_the_contract() {
    let cluster = Cluster::nodes(2)
        .owned("ReplicaSet", "solo", &[1], json!({}))
        .budget("solo", json!({"minAvailable": 1}));
    let report = serde_json::to_value(cluster.check(&surge(1))).unwrap();
    let drain = &report["drain"];
    assert_eq!(drain["nodes"][1]["name"], "n1");
    assert_eq!(drain["nodes"][1]["outcome"], "blocked");
    assert_eq!(drain["nodes"][1]["seconds"], 1_800);
    assert_eq!(drain["nodes"][1]["blocked_by"][0]["budget"], "shop/solo");
    assert_eq!(drain["evictions_per_pod"], 0.0);
    assert!(drain["batches"].is_u64() && drain["lower_bound"].is_u64());
    assert!(report.get("not_drained").is_none());
}
