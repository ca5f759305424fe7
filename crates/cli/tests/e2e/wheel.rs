//! The whole wheel, as a user turns it: a plan, a run that is killed on the way and goes on, Azure that refuses and
//! fails, the certificate; and a run that is taken back.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::runs::{Run, was_killed};
use crate::support::{Practice, text, until};

#[test]
fn a_run_that_is_killed_and_that_azure_fails_goes_on_and_ends_with_a_certificate() {
    let practice = Practice::up("wheel", &[]);
    practice.example();
    let run = practice.plan(practice.spec("upgrade.yaml", &[]));
    azure_is_busy_and_then_out_of_machines(&practice, &run);
    // Killed in the middle of a move, and again in the middle of the hand-over.
    for kind in ["moveReplica", "handOver"] {
        let mut apply = run.start();
        wait_until_acting(&practice, &run, kind);
        apply.kill().unwrap();
        apply.wait().unwrap();
    }
    // The last operation is refused for a time too.
    practice.azure_refuses("DELETE", 1);
    run.finish();

    let summary = run.summary();
    assert_eq!(summary["nodes_upgraded"], 3, "{summary}");
    assert_eq!(summary["nodes_left_behind"], 0, "{summary}");
    assert!(summary["min_members"].as_u64().unwrap() >= 3, "{summary}");
    run.assert_moved_once();
    the_judge_can_fail(&summary["certificate"]);

    // Applied again, a finished plan is finished.
    run.finish();
    // A plan of a world that has since changed is refused before anything is touched.
    let elsewhere = practice.path().join("other-runs");
    let mut stale = run.command();
    let stale = stale.env("FERRISWHEEL_RUNS", elsewhere).output().unwrap();
    assert_refused(&stale, 31, "FW0190");
    // Nothing of the run is left in the cluster.
    let left = [
        "get",
        "pods,secrets,pvc",
        "-l",
        "ferriswheel.dev/run",
        "-o",
        "name",
    ];
    assert_eq!(practice.kubectl(&[&["-n", "db"], &left[..]].concat()), "");
    let report = practice.path().join("report.html");
    practice.ok(&["report", "--out", report.to_str().unwrap()]);
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("No acknowledged write was lost"));
}

/// ARM answers 429 with Retry-After to the first requests for machines: the run waits. Then the operation fails for
/// want of machines: the run stops with Azure's own words and is carried on by the next `apply`.
fn azure_is_busy_and_then_out_of_machines(practice: &Practice, run: &Run<'_>) {
    practice.azure_refuses("PUT", 2);
    practice.azure(&json!({
        "fault": "failOperation", "code": "ZonalAllocationFailed", "message": "No room in this zone.",
    }));
    let output = run.start().wait_with_output().unwrap();
    assert_refused(&output, 40, "ZonalAllocationFailed");
    let said = text(&output.stderr);
    assert!(said.contains("No room in this zone."), "{said}");
    let story = run.story();
    assert!(story.contains("429"), "{story}");
    // The servers have not noticed.
    practice.assert_settled_on("pg-0");
}

fn the_judge_can_fail(certificate: &Value) {
    let controls = certificate["controls"].as_array().unwrap();
    let on_servers = controls
        .iter()
        .filter(|control| control["server"].is_string());
    assert_eq!(on_servers.count(), 2, "{certificate}");
    let detected = |control: &Value| control["detected"] == true;
    assert!(controls.iter().all(detected), "{certificate}");
}

#[test]
fn a_run_is_taken_back_also_when_its_rollback_is_killed() {
    let practice = Practice::up("taken-back", &[]);
    practice.example();
    let spec = practice.spec(
        "upgrade.yaml",
        &[
            ("ferrisWheel: {}", "ferrisWheel: { soakSeconds: 0 }"),
            ("controls: required", "controls: never"),
        ],
    );
    let before = seen(&practice, &spec);
    let run = practice.plan(spec.clone());
    // It dies after its first move.
    killed_after(&run, "moveReplica", "verified");

    let aborted = practice.run(&["abort"]);
    let said = text(&aborted.stderr);
    assert!(aborted.status.success(), "{said}");
    for wanted in ["uncordon", "claim, disk and slot", "ferriswheel rollback"] {
        assert!(said.contains(wanted), "{said}");
    }
    let back = practice.plan_back();
    killed_after(&back, "removeSeat", "acting");
    let output = back.start().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(41), "{}", text(&output.stderr));

    assert_eq!(seen(&practice, &spec), before);
    let certificate = &back.summary()["certificate"];
    assert_eq!(certificate["verdict"], "pass", "{certificate}");
    assert_eq!(certificate["acked_lost"], 0, "{certificate}");
    assert_eq!(certificate["errors"], 0, "{certificate}");
    let parent = practice.run(&["status", "--run", run.id()]);
    assert_eq!(parent.status.code(), Some(41), "{}", text(&parent.stdout));
}

fn killed_after(run: &Run<'_>, kind: &str, record: &str) {
    let mut command = run.command();
    let place = format!("{}:{record}", run.step(kind));
    let output = command
        .env("FERRISWHEEL_CRASH_AFTER", place)
        .output()
        .unwrap();
    assert!(was_killed(&output), "{}", text(&output.stderr));
}

fn assert_refused(output: &Output, code: i32, with: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(with), "{said}");
}

fn wait_until_acting(practice: &Practice, run: &Run<'_>, kind: &str) {
    until(&format!("a step {kind} that acts\n{}", run.story()), || {
        let output = practice.run(&["status", "--run", run.id(), "--output", "json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let acts = |step: &Value| step["kind"] == kind && step["phase"] == "acting";
        status["steps"].as_array()?.iter().any(acts).then_some(())
    });
}

impl Practice {
    fn azure(&self, fault: &Value) {
        self.fault(&["arm", &fault.to_string()]);
    }

    /// Requests about pools of this method are answered 429, with a time to wait.
    fn azure_refuses(&self, method: &str, times: u32) {
        self.azure(&json!({
            "fault": "throttle", "times": times, "retryAfterSeconds": 1, "method": method, "path": "agentPools",
        }));
    }
}

/// What a rollback must bring back, as `plan` sees it.
fn seen(practice: &Practice, spec: &Path) -> Value {
    let file = practice.path().join("seen.json");
    practice.ok(&[
        "plan",
        spec.to_str().unwrap(),
        "--sandbox",
        practice.name(),
        "--snapshot-out",
        file.to_str().unwrap(),
    ]);
    let world: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let object = |key: &str| world[key].as_object().unwrap().clone();
    let pick = |key: &str, fields: &[&str]| -> Value {
        object(key)
            .iter()
            .map(|(name, value)| {
                let picked: Vec<Value> = fields.iter().map(|f| value[*f].clone()).collect();
                (name.clone(), Value::from(picked))
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let members: serde_json::Map<String, Value> = object("pods")
        .iter()
        .filter(|(name, _)| name.starts_with("db/pg-"))
        .map(|(name, pod)| (name.clone(), pod["node"].clone()))
        .collect();
    let servers: serde_json::Map<String, Value> =
        world["databases"]["orders"]["postgres"]["members"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, member)| {
                let facts = &member["facts"];
                (
                    name.clone(),
                    json!([facts["in_recovery"], facts["physical_slots"]]),
                )
            })
            .collect();
    json!({
        "nodes": pick("nodes", &["uid", "unschedulable"]),
        "pools": pick("pools", &["count", "kubernetes_version"]),
        "sets": pick("stateful_sets", &["replicas", "ready_replicas"]),
        "claims": pick("claims", &["uid"]),
        "members": members,
        "servers": servers,
    })
}
