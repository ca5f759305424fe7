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

    /// Waits until a step of this kind is in one of these states.
    fn wait_for(&self, kind: &str, states: &[&str]) {
        let end = Instant::now() + Duration::from_secs(300);
        while Instant::now() < end {
            let output = self.run(&["status", "--output", "json"]);
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let there = status["steps"].as_array().is_some_and(|steps| {
                steps.iter().any(|step| {
                    step["kind"] == kind && states.iter().any(|state| step["state"] == *state)
                })
            });
            if there {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("step {kind} was never {states:?}");
    }
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
        sandbox.wait_for(kind, &["acting", "waiting for the result"]);
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
