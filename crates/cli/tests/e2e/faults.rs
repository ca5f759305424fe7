//! The agent, its machine, the API server or the archive breaks while a primary is handed over.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::runs::{Run, was_killed};
use crate::support::{Practice, text, until};

/// Three system machines: poolers on two of them, and one that may freeze without taking a client
/// with it.
const POOLS: [&str; 4] = [
    "--pool",
    "name=syspool,mode=System,count=3,zones=1+2+3",
    "--pool",
    "name=dbpool,mode=User,count=3,version=1.35.4,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule",
];

/// An archive that takes what it is given at once; switched on from the first start, because that
/// needs one.
const ARCHIVE: &str = "\
apiVersion: v1
kind: Namespace
metadata: { name: db }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: pg-durability, namespace: db }
data:
  archive.conf: |
    archive_mode = on
    archive_command = 'true'
";

#[test]
fn a_hand_over_comes_to_its_end_whatever_becomes_of_its_agent() {
    let practice = Practice::up("agent", &POOLS);
    let spare = practice.spare_machine();
    practice.example();
    agent_killed_before_the_stop(&practice, "pg-0", "pg-1");
    practice.refresh_members();
    agent_asleep_until_it_is_too_late(&practice, "pg-1", "pg-2");
    practice.refresh_members();
    agent_deleted_between_stop_and_promotion(&practice, "pg-0");
    practice.refresh_members();
    agents_machine_frozen_after_the_promotion(&practice, &spare, "pg-1");
}

#[test]
fn a_hand_over_comes_to_its_end_without_an_api_server_and_with_a_slow_archive() {
    let practice = Practice::up("around", &[]);
    practice.kubectl_apply(ARCHIVE);
    practice.example();
    api_server_away(&practice, "pg-1");
    practice.refresh_members();
    slow_archive(&practice, "pg-1", "pg-2");
}

fn settled(practice: &Practice, run: &Run<'_>, primary: &str) {
    run.assert_moved_once();
    practice.assert_settled_on(primary);
}

/// kill -9 of the agent's process while clients are held and nothing is stopped yet: the watchdog
/// lets the clients go on and takes everything back; the run stops with the reason, and goes on
/// when it is told to.
fn agent_killed_before_the_stop(practice: &Practice, from: &str, to: &str) {
    let run = practice.plan_hand_over(to);
    let apply = run.start_held("paused", 4_000);
    let agent = run.wait_until_held();
    kill(
        Pid::from_raw(i32::try_from(agent).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    let output = apply.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(40), "{said}\n{}", run.story());
    assert!(said.contains("FW0209"), "{said}");
    assert!(said.contains("was never stopped"), "{said}");
    practice.assert_settled_on(from);
    run.finish();
    settled(practice, &run, to);
}

/// The agent's process is stopped right before it would stop the old primary, and goes on when the
/// watchdog has taken everything back: it must not stop a server that clients use again.
fn agent_asleep_until_it_is_too_late(practice: &Practice, from: &str, to: &str) {
    let run = practice.plan_hand_over(to);
    let apply = run.start_held("stopSent", 500);
    let agent = Pid::from_raw(i32::try_from(run.wait_until_held()).unwrap());
    kill(agent, Signal::SIGSTOP).unwrap();
    let output = apply.wait_with_output().unwrap();
    kill(agent, Signal::SIGCONT).unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(40), "{said}\n{}", run.story());
    assert!(said.contains("FW0209"), "{said}");
    run.wait_for_moment("faltered");
    practice.assert_settled_on(from);
    run.finish();
    settled(practice, &run, to);
}

/// The agent's pod is deleted without grace when the old primary has stopped: the watchdog
/// finishes, because the candidate holds everything.
fn agent_deleted_between_stop_and_promotion(practice: &Practice, to: &str) {
    let run = practice.plan_hand_over(to);
    let apply = run.start_held("proven", 4_000);
    run.wait_until_held();
    practice.kubectl(&[
        "-n",
        "db",
        "delete",
        "pod",
        &run.pod("agent"),
        "--grace-period=0",
        "--force",
    ]);
    run.finished(apply.wait_with_output().unwrap());
    assert_eq!(run.window().outcome()["is"], "handedOver");
    assert!(
        run.window().at("recoveryBegan").is_some(),
        "{}",
        run.story()
    );
    settled(practice, &run, to);
}

/// The agent's machine freezes when the candidate is the primary and clients are still held; the
/// watchdog lets them go on. The agent thaws when its window is long over, and changes nothing.
fn agents_machine_frozen_after_the_promotion(practice: &Practice, spare: &str, to: &str) {
    let run = practice.plan_hand_over(to);
    // The probe and the watchdog elsewhere, the agent on the spare machine: it is made by the next life of the run.
    let mut command = run.command();
    let probing = format!("{}:verified", run.step("startProbe"));
    let output = command.env("FERRISWHEEL_CRASH_AFTER", probing).output();
    assert!(was_killed(&output.unwrap()), "{}", run.story());
    let others = practice.other_system_machines(spare);
    let cordon = |verb: &str| {
        for other in &others {
            practice.kubectl(&[verb, other]);
        }
    };
    cordon("cordon");
    practice.kubectl(&["uncordon", spare]);
    let apply = run.start_held("promoted", 4_000);
    assert_eq!(practice.wait_for_pod(&run.pod("agent")), spare);
    cordon("uncordon");
    run.wait_until_held();
    practice.fault(&["freeze", spare, "--for", "6s"]);
    run.finished(apply.wait_with_output().unwrap());
    assert!(
        run.window().at("recoveryBegan").is_some(),
        "{}",
        run.story()
    );
    settled(practice, &run, to);
}

/// The API server does not answer for 20 s, from right before the window on: the window does not
/// need it, and the run goes on when it is back.
fn api_server_away(practice: &Practice, to: &str) {
    let run = practice.plan_hand_over(to);
    let apply = run.start_held("oldArmed", 1_500);
    run.wait_until_held();
    practice.fault(&["api-outage", "--for", "20s"]);
    run.wait_for_moment("resumed");
    // Nobody could have asked it meanwhile: it still does not answer.
    let asked = practice.kubectl_output(&["get", "nodes", "--request-timeout=1s"]);
    assert!(
        !asked.status.success(),
        "the outage was over before the window was"
    );
    run.finished(apply.wait_with_output().unwrap());
    assert_eq!(run.window().at("recoveryBegan"), None, "{}", run.story());
    settled(practice, &run, to);
}

/// The archive takes 3 s for each segment, and a stopped server waits for its last one. Clients do
/// not: the candidate holds the end of the log long before that.
fn slow_archive(practice: &Practice, from: &str, to: &str) {
    const SLOW: u64 = 3;
    let set = |command: &str| {
        practice.ask(from, command).unwrap();
        practice.ask(from, "SELECT pg_reload_conf()").unwrap();
    };
    set(&format!(
        "ALTER SYSTEM SET archive_command = 'sleep {SLOW}'"
    ));
    let run = practice.plan_hand_over(to);
    run.finish();
    let window = run.window();
    let at = |moment: &str| Duration::from_micros(window.at(moment).unwrap());
    let down = at("rejoined") - at("stopSent");
    assert!(
        down >= Duration::from_secs(SLOW),
        "the archive held nobody up: {down:?}"
    );
    assert!(at("resumed") < at("rejoined"));
    settled(practice, &run, to);
    set("ALTER SYSTEM RESET archive_command");
}

impl Practice {
    /// A system machine that is kept free of poolers and name servers.
    fn spare_machine(&self) -> String {
        let spare = self.system_machines().pop().unwrap();
        self.kubectl(&["cordon", &spare]);
        let on_it = format!("spec.nodeName={spare}");
        self.kubectl(&[
            "-n",
            "kube-system",
            "delete",
            "pods",
            "-l",
            "k8s-app=kube-dns",
            "--field-selector",
            &on_it,
        ]);
        spare
    }

    fn system_machines(&self) -> Vec<String> {
        self.kubectl(&[
            "get",
            "nodes",
            "-l",
            "kubernetes.azure.com/mode=system",
            "-o",
            "jsonpath={.items[*].metadata.name}",
        ])
        .split_whitespace()
        .map(str::to_owned)
        .collect()
    }

    fn other_system_machines(&self, machine: &str) -> Vec<String> {
        let mut all = self.system_machines();
        all.retain(|other| other != machine);
        all
    }

    /// Waits until a pod has a machine; its name.
    fn wait_for_pod(&self, pod: &str) -> String {
        until(&format!("pod {pod}"), || {
            let output = self.kubectl_output(&[
                "-n",
                "db",
                "get",
                "pod",
                pod,
                "-o",
                "jsonpath={.spec.nodeName}",
            ]);
            let node = text(&output.stdout);
            (output.status.success() && !node.is_empty()).then_some(node)
        })
    }
}
