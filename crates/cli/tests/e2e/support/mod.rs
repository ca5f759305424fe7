//! A sandbox with the example cluster, driven by the program as a user drives it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub mod members;
pub mod runs;

const BINARY: &str = env!("CARGO_BIN_EXE_ferriswheel");

/// Longest wait for something that takes seconds; on a busy machine it takes many of them.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A sandbox of a test's own, ended with it.
pub struct Practice {
    state: tempfile::TempDir,
    name: String,
}

impl Practice {
    /// A sandbox; `more` are further arguments of `sandbox up`.
    pub fn up(name: &str, more: &[&str]) -> Self {
        let practice = Self {
            state: tempfile::tempdir().unwrap(),
            // Two runs of the tests side by side have a sandbox each.
            name: format!("{name}-{}", std::process::id()),
        };
        let mut args = vec!["sandbox", "up", "--name", &practice.name];
        args.extend(more);
        practice.ok(&args);
        practice
    }

    pub fn path(&self) -> &Path {
        self.state.path()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn directory(&self) -> PathBuf {
        self.path().join("sandboxes").join(&self.name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .env("FERRISWHEEL_STATE", self.path())
            .env("FERRISWHEEL_RUNS", self.path().join("runs"));
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn ok(&self, args: &[&str]) -> String {
        succeeded(&format!("{args:?}"), self.run(args))
    }

    pub fn kubectl_output(&self, args: &[&str]) -> Output {
        let mut all = vec!["sandbox", "kubectl", "--name", &self.name, "--"];
        all.extend(args);
        self.run(&all)
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        succeeded(&format!("kubectl {args:?}"), self.kubectl_output(args))
    }

    /// Applies a manifest.
    pub fn kubectl_apply(&self, manifest: &str) {
        let file = self.path().join("manifest.yaml");
        std::fs::write(&file, manifest).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// Does harm on purpose: `sandbox fault`.
    pub fn fault(&self, args: &[&str]) {
        let mut all = vec!["sandbox", "fault", "--name", &self.name];
        all.extend(args);
        self.ok(&all);
    }

    /// The example cluster, whole.
    pub fn example(&self) {
        self.example_with(&[]);
    }

    /// The example cluster in another form; `more` are arguments of its `up.sh`.
    pub fn example_with(&self, more: &[&str]) {
        self.example_of("postgres", more);
    }

    /// The example of a database system, whole.
    pub fn example_of(&self, system: &str, more: &[&str]) {
        let output = Command::new(root().join("examples").join(system).join("up.sh"))
            .args(more)
            .env(
                "KUBECTL",
                format!("{BINARY} sandbox kubectl --name {} --", self.name),
            )
            .env("FERRISWHEEL_STATE", self.path())
            .output()
            .unwrap();
        succeeded("up.sh", output);
    }

    /// A spec of the example with this sandbox's identifiers and some words replaced.
    pub fn spec(&self, file: &str, replace: &[(&str, &str)]) -> PathBuf {
        self.spec_of("postgres", file, replace)
    }

    /// Like [`Practice::spec`], of the example of another database system.
    pub fn spec_of(&self, system: &str, file: &str, replace: &[(&str, &str)]) -> PathBuf {
        let state: Value =
            serde_json::from_slice(&std::fs::read(self.directory().join("sandbox.json")).unwrap())
                .unwrap();
        let arm = |key: &str| state["arm"][key].as_str().unwrap().to_owned();
        let mut spec = std::fs::read_to_string(root().join("examples").join(system).join(file))
            .unwrap()
            .replace(
                "00000000-0000-0000-0000-000000000000",
                &arm("subscription_id"),
            )
            .replace("production-rg", &arm("resource_group"))
            .replace("name: aks-prod\n", &format!("name: {}\n", arm("cluster")));
        for (from, to) in replace {
            assert!(spec.contains(from), "{file} has no `{from}`");
            spec = spec.replace(from, to);
        }
        let path = self.path().join(file);
        std::fs::write(&path, spec).unwrap();
        path
    }

    /// Files of this name on the local disks of the machines, below volumes of pods.
    pub fn files_on_nodes(&self, name: &str) -> Vec<PathBuf> {
        let entries = |directory: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(directory)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect()
        };
        entries(&self.directory().join("nodes"))
            .iter()
            .flat_map(|node| entries(&node.join("disk/pods")))
            .map(|pod| pod.join("volumes/kubernetes.io~empty-dir/state").join(name))
            .filter(|file| file.exists())
            .collect()
    }
}

impl Drop for Practice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person would look at first.
            let output = self.kubectl_output(&["get", "pods", "-A", "-o", "wide"]);
            eprintln!("{}", text(&output.stdout));
        }
        let _ = self.run(&["sandbox", "down", "--name", &self.name]);
    }
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn succeeded(what: &str, output: Output) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{what}: {}\n{out}\n{err}",
        output.status
    );
    out
}

/// Waits until something is there.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} was never seen");
        // 2 ms: some things are there for a few milliseconds only.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A child whose output is kept.
pub fn spawn(mut command: Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}
