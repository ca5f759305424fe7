//! Plans and runs of a practice cluster.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output};

use serde_json::Value;

use super::{Practice, spawn, until};

/// One plan and its run.
pub struct Run<'a> {
    practice: &'a Practice,
    plan: PathBuf,
    id: String,
}

impl Practice {
    /// A plan that moves the primary to a member and touches nothing else.
    ///
    /// Writes may stall for twice as long as a window may last, and the verdict says whether they
    /// did: what a busy machine adds is not what these tests are about.
    pub fn plan_hand_over(&self, to: &str) -> Run<'_> {
        let spec = self.spec(
            "hand-over.yaml",
            &[
                (
                    "handOver: {}",
                    &format!("handOver: {{ to: {to}, soakSeconds: 0 }}"),
                ),
                ("writeStall: 1s", "writeStall: 10s"),
                // Once a machine is enough: the wheel's test carries them out.
                ("errors: 0", "errors: 0\n      controls: never"),
            ],
        );
        self.plan(spec)
    }

    /// A plan of a spec.
    pub fn plan(&self, spec: PathBuf) -> Run<'_> {
        let plan = spec.with_extension("json");
        let _ = std::fs::remove_file(&plan);
        self.ok(&[
            "plan",
            spec.to_str().unwrap(),
            "--sandbox",
            self.name(),
            "--out",
            plan.to_str().unwrap(),
        ]);
        let json: Value = serde_json::from_slice(&std::fs::read(&plan).unwrap()).unwrap();
        Run {
            practice: self,
            plan,
            id: json["id"].as_str().unwrap().to_owned(),
        }
    }

    /// The plan that takes the last run back.
    pub fn plan_back(&self) -> Run<'_> {
        let plan = self.path().join("back.json");
        let file = plan.to_str().unwrap();
        self.ok(&["rollback", "--sandbox", self.name(), "--out", file]);
        let json: Value = serde_json::from_slice(&std::fs::read(&plan).unwrap()).unwrap();
        let id = json["id"].as_str().unwrap().to_owned();
        Run {
            practice: self,
            plan,
            id,
        }
    }
}

impl Run<'_> {
    pub fn command(&self) -> Command {
        self.practice.command(&[
            "apply",
            self.plan.to_str().unwrap(),
            "--sandbox",
            self.practice.name(),
            "--yes",
        ])
    }

    /// `apply` in the background.
    pub fn start(&self) -> Child {
        spawn(self.command())
    }

    /// `apply` in the background; the agent stops at a moment of the window for a time.
    pub fn start_held(&self, moment: &str, ms: u32) -> Child {
        let mut command = self.command();
        command.env("FERRISWHEEL_AGENT_HOLD", format!("{moment}={ms}"));
        spawn(command)
    }

    /// `apply` until it ends; must succeed.
    pub fn finish(&self) {
        self.finished(self.start().wait_with_output().unwrap());
    }

    /// An `apply` that must have succeeded.
    pub fn finished(&self, output: Output) {
        let certificate = self.path("certificate-orders.json");
        let certificate = std::fs::read_to_string(certificate).unwrap_or_default();
        let story = format!("apply\n{}\n{certificate}", self.story());
        super::succeeded(&story, output);
    }

    /// The journal, one line a record.
    pub fn story(&self) -> String {
        let output = self.practice.run(&["journal", "--run", &self.id]);
        super::text(&output.stdout)
    }

    /// The journal.
    pub fn records(&self) -> Vec<Value> {
        self.practice
            .ok(&["journal", "--run", &self.id, "--output", "json"])
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The last record's place.
    pub fn last_place(&self) -> String {
        place(self.records().last().unwrap())
    }

    /// The step of a kind, the first of them.
    pub fn step(&self, kind: &str) -> u64 {
        self.steps(kind)[0]
    }

    /// The steps of a kind, in order; one at least.
    pub fn steps(&self, kind: &str) -> Vec<u64> {
        let plan: Value = serde_json::from_slice(&std::fs::read(&self.plan).unwrap()).unwrap();
        let steps = plan["body"]["steps"].as_array().unwrap();
        let found: Vec<u64> = steps
            .iter()
            .filter(|step| step["kind"].get(kind).is_some())
            .map(|step| step["id"].as_u64().unwrap())
            .collect();
        assert!(!found.is_empty(), "no step {kind} in {steps:?}");
        found
    }

    /// Name of one of the run's own pods.
    pub fn pod(&self, task: &str) -> String {
        format!("ferriswheel-{task}-{}", &self.id[..8])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.practice.path().join("runs").join(&self.id).join(name)
    }

    fn artifact(&self, name: &str) -> Value {
        let path = self.path(name);
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|e| panic!("{}: {e}\n{}", path.display(), self.story()));
        serde_json::from_slice(&bytes).unwrap()
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the run came to.
    pub fn summary(&self) -> Value {
        self.artifact("summary.json")
    }

    /// The record of the window.
    pub fn window(&self) -> Window {
        Window(self.artifact("window-orders.json"))
    }

    /// What every finished hand-over must have come to. A verdict that passes has no stall beyond
    /// the limit of the spec.
    pub fn assert_moved_once(&self) {
        let summary = self.summary();
        assert_eq!(summary["primary_moves"], 1, "{summary}\n{}", self.story());
        let certificate = &summary["certificate"];
        for (field, wanted) in [
            ("verdict", Value::from("pass")),
            ("acked_lost", 0.into()),
            ("errors", 0.into()),
            ("phantoms", 0.into()),
        ] {
            assert_eq!(
                certificate[field],
                wanted,
                "{certificate}\n{}",
                self.story()
            );
        }
        println!(
            "{}: {} acknowledged, longest gap {} ms",
            self.id, certificate["acked"], certificate["longest_ack_gap_ms"]
        );
    }

    /// Waits until the agent is held; its process.
    pub fn wait_until_held(&self) -> u32 {
        until(&format!("a held agent\n{}", self.story()), || {
            self.practice.files_on_nodes("held").pop()
        });
        self.agent_process()
    }

    /// Waits until the agent has noted a moment.
    pub fn wait_for_moment(&self, moment: &str) {
        let noted = format!("\"is\":\"{moment}\"");
        until(&format!("the moment {moment}"), || {
            self.practice
                .files_on_nodes("record.json")
                .iter()
                .any(|file| std::fs::read_to_string(file).is_ok_and(|text| text.contains(&noted)))
                .then_some(())
        });
    }

    /// The agent's process, as this machine sees it.
    fn agent_process(&self) -> u32 {
        let name = format!("HOSTNAME={}", self.pod("agent"));
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .find(|pid| {
                let read =
                    |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                let is = |bytes: Vec<u8>, word: &str| {
                    bytes
                        .split(|byte| *byte == 0)
                        .any(|part| part == word.as_bytes())
                };
                is(read("environ"), &name) && is(read("cmdline"), "agent")
            })
            .unwrap_or_else(|| panic!("no process of {}", self.pod("agent")))
    }
}

/// A record as a place for `FERRISWHEEL_CRASH_AFTER`: `driving`, `3:acting`.
pub fn place(record: &Value) -> String {
    let name = record["entry"]["is"].as_str().unwrap();
    match record["entry"]["step"].as_u64() {
        Some(step) => format!("{step}:{name}"),
        None => name.to_owned(),
    }
}

/// The agent's record of a window.
pub struct Window(Value);

impl Window {
    /// When a moment was noted first, in microseconds.
    pub fn at(&self, moment: &str) -> Option<u64> {
        self.0["entries"]
            .as_array()?
            .iter()
            .find(|entry| entry["moment"]["is"] == moment)?["at_us"]
            .as_u64()
    }

    /// How it ended.
    pub fn outcome(&self) -> &Value {
        &self.0["outcome"]
    }
}

/// The process was ended by SIGKILL.
pub fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9)
}
