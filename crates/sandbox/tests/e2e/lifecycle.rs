//! A sandbox's life as a user sees it: up, down, killed, faults; and that nothing of it is left afterwards.
//!
//! Each test has a sandbox of its own, so they also show that sandboxes stand side by side.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{SYSTEM, Sandbox};

/// Nothing here takes half of this on a loaded machine; a wait that long is a failure.
const DEADLINE: Duration = Duration::from_secs(120);

impl Sandbox {
    /// One machine is enough to have every kind of process, link and mount.
    fn start(&self) -> Value {
        serde_json::from_str(&self.run(&["up", "--pool", SYSTEM, "--output", "json"])).unwrap()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.run(&["status", "--output", "json"])).unwrap()
    }

    fn node(&self) -> String {
        self.status()["status"]["machines"][0]["name"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits until `status` says so.
    fn until(&self, what: &str, said: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let status = self.status();
            if said(&status) {
                return status;
            }
            assert!(since.elapsed() < DEADLINE, "not {what}: {status:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Nothing of this sandbox is on the machine any more. Whatever belongs to it carries the name of its directory:
    /// in the arguments of its processes, and as the place of its mounts.
    fn assert_no_trace(&self) {
        let directory = self.directory();
        assert_eq!(processes(&directory), BTreeSet::new(), "processes");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(directory.to_str().unwrap()),
            "mounts: {mounts}"
        );
        assert!(!directory.exists(), "files in {}", directory.display());
    }
}

/// Processes that were started with a path below `directory`.
fn processes(directory: &Path) -> BTreeSet<u32> {
    let needle = directory.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            // A process that ends while it is looked at has no arguments any more.
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(needle))
        })
        .collect()
}

/// Whether a program of the sandbox has SIGINT, SIGTERM or SIGCHLD blocked. Its main thread may, for an instant, while
/// it starts another.
fn deaf(directory: &Path, program: &str) -> bool {
    let mut masks = processes(directory).into_iter().filter_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let mask = status.lines().find_map(|l| l.strip_prefix("SigBlk:"))?;
        line.contains(program)
            .then(|| u64::from_str_radix(mask.trim(), 16).unwrap())
    });
    let first = masks
        .next()
        .unwrap_or_else(|| panic!("{program} is not there"));
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD];
    let blocked = |mask: u64| {
        signals
            .iter()
            .any(|signal| mask >> (*signal as u32 - 1) & 1 == 1)
    };
    blocked(first) || masks.any(blocked)
}

/// Links and network namespaces' mounts of the host.
fn links() -> BTreeSet<String> {
    std::fs::read_dir("/sys/class/net")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn power(status: &Value) -> &str {
    status["status"]["machines"][0]["power"].as_str().unwrap()
}

fn all_ready(status: &Value) -> bool {
    status["status"]["nodes"]
        .as_object()
        .is_some_and(|nodes| !nodes.is_empty() && nodes.values().all(|ready| ready == true))
}

#[test]
fn up_says_how_to_reach_it_and_down_leaves_nothing() {
    let sandbox = Sandbox::new("life");
    let before = links();
    let file = sandbox.start();
    assert_eq!(file["schema"], "ferriswheel.sandbox.v1");
    let status = sandbox.status();
    assert!(all_ready(&status), "{status:#}");
    assert_eq!(power(&status), "on");
    assert_eq!(
        links(),
        before,
        "links of the sandbox in the host's namespace"
    );
    let mode = "jsonpath={.items[*].metadata.labels.kubernetes\\.azure\\.com/mode}";
    assert_eq!(
        sandbox.run(&["kubectl", "--", "get", "nodes", "-o", mode]),
        "system"
    );

    // Again: nothing to do, and the same answer.
    assert_eq!(sandbox.start(), file);

    // What a PID 1 started hears when it is told to end.
    for program in ["sandbox-internal daemon", "node-agent", "kube-proxy"] {
        sandbox.until(&format!("listening: {program}"), |_| {
            !deaf(&sandbox.directory(), program)
        });
    }
    sandbox.run(&["down"]);
    sandbox.assert_no_trace();
    assert_eq!(links(), before);
    // And once more: nothing to end is no failure.
    sandbox.run(&["down"]);
}

#[test]
fn a_killed_sandbox_takes_everything_with_it_and_another_starts_in_its_place() {
    let sandbox = Sandbox::new("life");
    let first = sandbox.start();
    kill(&first);
    assert_eq!(processes(&sandbox.directory()), BTreeSet::new());
    let refused = sandbox.try_run(&["status"]);
    assert_eq!(refused.status.code(), Some(30));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("sandbox up"), "{said}");

    let second = sandbox.start();
    assert_ne!(first["process"], second["process"]);
    assert!(all_ready(&sandbox.status()));

    kill(&second);
    sandbox.run(&["down"]);
    sandbox.assert_no_trace();
}

/// SIGKILL to the one process that `sandbox.json` names, and no other.
fn kill(file: &Value) {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let pid = i32::try_from(file["pid"].as_i64().unwrap()).unwrap();
    let process: ferriswheel_sandbox::ProcessId =
        serde_json::from_value(file["process"].clone()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    assert!(process.wait_gone(DEADLINE));
}

#[test]
fn machines_crash_boot_freeze_and_are_cut_off() {
    let sandbox = Sandbox::new("life");
    sandbox.start();
    let node = sandbox.node();
    let boot = "jsonpath={.items[0].status.nodeInfo.bootID}";
    let boot_id = || sandbox.run(&["kubectl", "--", "get", "nodes", "-o", boot]);
    let before = boot_id();

    sandbox.run(&["fault", "crash", &node]);
    assert_eq!(power(&sandbox.status()), "off");
    let again = sandbox.try_run(&["fault", "freeze", &node]);
    assert_eq!(again.status.code(), Some(30));
    sandbox.run(&["fault", "boot", &node]);
    let since = Instant::now();
    while boot_id() == before {
        assert!(since.elapsed() < DEADLINE, "the machine did not boot");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(power(&sandbox.status()), "on");

    sandbox.run(&["fault", "freeze", &node]);
    assert_eq!(power(&sandbox.status()), "frozen");
    let pid = u32::try_from(
        sandbox.status()["status"]["machines"][0]["pid"]
            .as_u64()
            .unwrap(),
    )
    .unwrap();
    assert!(pid > 1);
    sandbox.run(&["fault", "thaw", &node]);
    assert_eq!(power(&sandbox.status()), "on");
    sandbox.run(&["fault", "freeze", &node, "--for", "50ms"]);
    sandbox.until("thawed by itself", |status| power(status) == "on");

    sandbox.run(&["fault", "partition", &node]);
    let partitioned = |status: &Value| status["status"]["machines"][0]["partitioned"] == true;
    assert!(partitioned(&sandbox.status()));
    // Forty seconds of silence, as on a real cluster.
    sandbox.until("NotReady", |status| !all_ready(status));
    sandbox.run(&["fault", "heal", &node]);
    assert!(!partitioned(&sandbox.status()));
    sandbox.until("Ready again", all_ready);

    let unknown = sandbox.try_run(&["fault", "crash", "nobody"]);
    assert_eq!(unknown.status.code(), Some(30));
    sandbox.run(&["down"]);
    sandbox.assert_no_trace();
}

#[test]
fn the_api_server_goes_away_and_comes_back() {
    let sandbox = Sandbox::new("life");
    sandbox.start();
    let answers = || {
        sandbox
            .try_run(&["kubectl", "--", "get", "nodes", "--request-timeout=1s"])
            .status
            .success()
    };
    let restarts = |status: &Value| {
        status["status"]["components"]["kube-apiserver"]["restarts"]
            .as_u64()
            .unwrap()
    };
    for how in [&[][..], &["--refuse"]] {
        let mut arguments = vec!["fault", "api-outage", "--for", "4s"];
        arguments.extend(how);
        sandbox.run(&arguments);
        // A refused connection needs the end of the process first.
        sandbox.until("away", |status| status["status"]["nodes"].is_null());
        sandbox.until("back", all_ready);
        assert!(answers());
    }
    assert_eq!(restarts(&sandbox.status()), 1, "killed once, stopped once");
    sandbox.run(&["down"]);
    sandbox.assert_no_trace();
}

#[test]
fn what_is_missing_is_named_with_the_command_to_run() {
    let sandbox = Sandbox::new("life");
    let empty = tempfile::tempdir().unwrap();
    let output = sandbox
        .command(&["up"])
        .env("FERRISWHEEL_CACHE", empty.path())
        .env_remove("KUBEBUILDER_ASSETS")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(30));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("ferriswheel sandbox build"), "{said}");
    assert!(said.contains("kube-apiserver"), "{said}");

    let output = sandbox
        .command(&["up", "--name", "No_Such"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// The first stage must find the PID 1 that it started however fast that one mounts its own `/proc`. One start in
/// twenty-five missed it once, so a hundred starts are enough to see it again.
#[test]
fn the_first_stage_finds_its_child() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let binary = env!("CARGO_BIN_EXE_ferriswheel-sandbox");
    let program = serde_json::json!({"argv": ["/bin/sleep", "0.1"], "log": null, "restart": false});
    let init = serde_json::json!({"hostname": "first-stage", "programs": [program]});
    let outer = serde_json::json!({
        "binary": binary, "init": path("init.json"), "report": path("report.json"),
        "log": path("log"), "name": "first-stage",
    });
    std::fs::write(path("init.json"), init.to_string()).unwrap();
    std::fs::write(path("outer.json"), outer.to_string()).unwrap();
    for start in 0..100 {
        let output = Command::new(binary)
            .args(["sandbox-internal", "outer"])
            .arg(path("outer.json"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "start {start}: {said}");
    }
    let report: Value =
        serde_json::from_slice(&std::fs::read(path("report.json")).unwrap()).unwrap();
    let last: ferriswheel_sandbox::ProcessId =
        serde_json::from_value(report["init"].clone()).unwrap();
    assert!(last.wait_gone(DEADLINE));
}
