//! The whole wheel, as a user turns it: a sandbox, the example cluster, a plan, a run that is
//! killed on the way and goes on, the certificate.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_ferriswheel");
const NAME: &str = "wheel";

/// A sandbox of this test's own, ended with it.
struct Sandbox {
    state: tempfile::TempDir,
}

impl Sandbox {
    fn up() -> Self {
        let sandbox = Self {
            state: tempfile::tempdir().unwrap(),
        };
        sandbox.ok(&["sandbox", "up", "--name", NAME]);
        sandbox
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .env("FERRISWHEEL_STATE", self.state.path())
            .env("FERRISWHEEL_RUNS", self.runs());
        command
    }

    fn runs(&self) -> PathBuf {
        self.state.path().join("runs")
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "{args:?}: {}\n{out}\n{err}",
            output.status
        );
        out
    }

    /// The example cluster, and its spec with this sandbox's identifiers.
    fn example(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let kubectl = format!("{BINARY} sandbox kubectl --name {NAME} --");
        let output = Command::new(root.join("examples/postgres/up.sh"))
            .env("KUBECTL", kubectl)
            .env("FERRISWHEEL_STATE", self.state.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}\n{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        let file = self
            .state
            .path()
            .join(format!("sandboxes/{NAME}/sandbox.json"));
        let state: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let arm = |key: &str| state["arm"][key].as_str().unwrap().to_owned();
        let spec = std::fs::read_to_string(root.join("examples/postgres/upgrade.yaml"))
            .unwrap()
            .replace(
                "00000000-0000-0000-0000-000000000000",
                &arm("subscription_id"),
            )
            .replace("production-rg", &arm("resource_group"))
            .replace("name: aks-prod\n", &format!("name: {}\n", arm("cluster")));
        let path = self.state.path().join("upgrade.yaml");
        std::fs::write(&path, spec).unwrap();
        path
    }

    fn apply(&self, plan: &str) -> Child {
        self.command(&["apply", plan, "--sandbox", NAME, "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until a step of this kind is in one of these phases.
    fn wait_for(&self, kind: &str, phases: &[&str]) {
        let end = Instant::now() + Duration::from_secs(300);
        while Instant::now() < end {
            let output = self.run(&["status", "--output", "json"]);
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let there = status["steps"].as_array().is_some_and(|steps| {
                steps.iter().any(|step| {
                    step["kind"] == kind && phases.iter().any(|phase| step["phase"] == *phase)
                })
            });
            if there {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("step {kind} was never {phases:?}");
    }
}

/// What a rollback must bring back, as `plan` sees it.
fn seen(sandbox: &Sandbox, spec: &str) -> Value {
    let file = sandbox.state.path().join("seen.json");
    sandbox.ok(&[
        "plan",
        spec,
        "--sandbox",
        NAME,
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
                let slots = &facts["physical_slots"];
                (
                    name.clone(),
                    serde_json::json!([facts["in_recovery"], slots]),
                )
            })
            .collect();
    serde_json::json!({
        "nodes": pick("nodes", &["uid", "unschedulable"]),
        "pools": pick("pools", &["count", "kubernetes_version"]),
        "sets": pick("stateful_sets", &["replicas", "ready_replicas"]),
        "claims": pick("claims", &["uid"]),
        "members": members,
        "servers": servers,
    })
}

/// A run that dies after its first move is taken back, by a rollback that dies on the way too.
fn a_run_is_taken_back(sandbox: &Sandbox, spec: &Path) {
    let runs = sandbox.state.path().join("taken-back");
    let quick = std::fs::read_to_string(spec)
        .unwrap()
        .replace("ferrisWheel: {}", "ferrisWheel: { soakSeconds: 0 }")
        .replace("controls: required", "controls: never");
    let spec = sandbox.state.path().join("taken-back.yaml");
    std::fs::write(&spec, quick).unwrap();
    let spec = spec.to_str().unwrap();
    let plan = sandbox.state.path().join("taken-back.json");
    let back = sandbox.state.path().join("back.json");
    let (plan, back) = (plan.to_str().unwrap(), back.to_str().unwrap());
    let step = |file: &str, kind: &str| {
        let json: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let steps = json["body"]["steps"].as_array().unwrap().clone();
        let found = steps.iter().find(|step| step["kind"].get(kind).is_some());
        found.unwrap_or_else(|| panic!("no {kind} in {steps:?}"))["id"].to_string()
    };
    let run = |args: &[&str], crash: &str| {
        sandbox
            .command(args)
            .env("FERRISWHEEL_RUNS", &runs)
            .env("FERRISWHEEL_CRASH_AFTER", crash)
            .output()
            .unwrap()
    };
    let before = seen(sandbox, spec);
    sandbox.ok(&["plan", spec, "--sandbox", NAME, "--out", plan]);
    let apply = |file: &str, crash: &str| run(&["apply", file, "--sandbox", NAME, "--yes"], crash);
    let place = format!("{}:verified", step(plan, "moveReplica"));
    let output = apply(plan, &place);
    assert_eq!(output.status.code(), None, "{}", text(&output.stderr));

    let output = run(&["abort"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    for wanted in ["uncordon", "claim, disk and slot", "ferriswheel rollback"] {
        assert!(said.contains(wanted), "{said}");
    }
    let output = run(&["rollback", "--sandbox", NAME, "--out", back], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let place = format!("{}:acting", step(back, "removeSeat"));
    let output = apply(back, &place);
    assert_eq!(output.status.code(), None, "{}", text(&output.stderr));
    let output = apply(back, "");
    assert_eq!(output.status.code(), Some(41), "{}", text(&output.stderr));

    let now = seen(sandbox, spec);
    assert_eq!(now, before);
    let json: Value = serde_json::from_slice(&std::fs::read(back).unwrap()).unwrap();
    let directory = runs.join(json["id"].as_str().unwrap());
    let summary: Value =
        serde_json::from_slice(&std::fs::read(directory.join("summary.json")).unwrap()).unwrap();
    let certificate = &summary["certificate"];
    assert_eq!(certificate["verdict"], "pass", "{certificate}");
    assert_eq!(certificate["acked_lost"], 0, "{certificate}");
    assert_eq!(certificate["errors"], 0, "{certificate}");
    let parent = json["body"]["parent"].as_str().unwrap();
    let output = run(&["status", "--run", parent], "");
    assert_eq!(output.status.code(), Some(41), "{}", text(&output.stdout));
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.run(&["sandbox", "down", "--name", NAME]);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_that_is_killed_goes_on_and_ends_with_a_certificate() {
    let sandbox = Sandbox::up();
    let spec = sandbox.example();
    a_run_is_taken_back(&sandbox, &spec);
    let plan = sandbox.state.path().join("plan.json");
    let plan = plan.to_str().unwrap();
    sandbox.ok(&[
        "plan",
        spec.to_str().unwrap(),
        "--sandbox",
        NAME,
        "--out",
        plan,
    ]);

    // Killed in the middle of a move, and again in the middle of the hand-over.
    for kind in ["moveReplica", "handOver"] {
        let mut run = sandbox.apply(plan);
        sandbox.wait_for(kind, &["acting"]);
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let output = sandbox.apply(plan).wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        output.status,
        text(&output.stderr)
    );

    let run = std::fs::read_dir(sandbox.runs())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let summary: Value =
        serde_json::from_slice(&std::fs::read(run.path().join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["nodes_upgraded"], 3, "{summary}");
    assert_eq!(summary["nodes_left_behind"], 0, "{summary}");
    assert_eq!(summary["primary_moves"], 1, "{summary}");
    let certificate = &summary["certificate"];
    assert_eq!(certificate["verdict"], "pass", "{certificate}");
    assert_eq!(certificate["acked_lost"], 0, "{certificate}");
    assert_eq!(certificate["errors"], 0, "{certificate}");
    // The judge proved on real servers that it can fail.
    let controls = certificate["controls"].as_array().unwrap();
    let on_servers = |control: &&Value| control["server"].is_string();
    assert_eq!(
        controls.iter().filter(on_servers).count(),
        2,
        "{certificate}"
    );
    assert!(
        controls.iter().all(|control| control["detected"] == true),
        "{certificate}"
    );
    assert!(summary["min_members"].as_u64().unwrap() >= 3, "{summary}");

    // Applied again, a finished plan is finished.
    sandbox.ok(&["apply", plan, "--sandbox", NAME, "--yes"]);
    // A plan of a world that has since changed is refused before anything is touched.
    let stale = sandbox.state.path().join("other-runs");
    let output = sandbox
        .command(&["apply", plan, "--sandbox", NAME, "--yes"])
        .env("FERRISWHEEL_RUNS", &stale)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(31), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("FW0190"),
        "{}",
        text(&output.stderr)
    );
    // Nothing of the run is left in the cluster.
    let left = sandbox.ok(&[
        "sandbox",
        "kubectl",
        "--name",
        NAME,
        "--",
        "-n",
        "db",
        "get",
        "pods,secrets,pvc",
        "-l",
        "ferriswheel.dev/run",
        "-o",
        "name",
    ]);
    assert_eq!(left, "");
    let report = sandbox.state.path().join("report.html");
    sandbox.ok(&["report", "--out", report.to_str().unwrap()]);
    assert!(
        std::fs::read_to_string(report)
            .unwrap()
            .contains("No acknowledged write was lost")
    );
}
