//! A sandbox of a test's own, driven by the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program.
pub const BINARY: &str = env!("CARGO_BIN_EXE_ferriswheel-sandbox");

/// The smallest pool: what a cluster cannot be without.
pub const SYSTEM: &str = "name=syspool,mode=System,count=1,zones=1";

/// A sandbox with its state in a directory of its own, so that its name need not be its own; ended with the test.
pub struct Sandbox {
    state: tempfile::TempDir,
    name: &'static str,
}

impl Sandbox {
    /// One that is not up yet.
    pub fn new(name: &'static str) -> Self {
        assert!(
            nix::unistd::getuid().is_root(),
            "namespaces need root: run the tests as root"
        );
        Self {
            state: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            name,
        }
    }

    /// One with these pools; with the practice pools if there are none.
    pub fn up(name: &'static str, pools: &[&str]) -> Self {
        let sandbox = Self::new(name);
        let mut arguments = vec!["up"];
        arguments.extend(pools.iter().flat_map(|pool| ["--pool", pool]));
        sandbox.run(&arguments);
        sandbox
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .env("FERRISWHEEL_STATE", self.state.path())
            .env("FERRISWHEEL_SANDBOX_NAME", self.name)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    pub fn try_run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it to a good end; gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        finished(self.command(arguments))
    }

    /// The directory above all of the sandbox's files.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    pub fn directory(&self) -> PathBuf {
        self.state.path().join("sandboxes").join(self.name)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.directory().join("kubeconfig")
    }

    /// `sandbox.json`: what a client needs to know.
    pub fn file(&self) -> Value {
        let path = self.directory().join("sandbox.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let down = self.try_run(&["down"]);
        if !down.status.success() {
            eprintln!("{}", text(&down.stderr));
        }
    }
}

/// Runs a program to a good end; gives what it printed.
pub fn finished(mut command: Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}\n{err}",
        output.status
    );
    out
}

/// Printed text, without the space around it.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
