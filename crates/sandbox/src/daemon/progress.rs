//! What `sandbox up` reads while the sandbox starts: one JSON object a line.

use std::fs::File;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::state::{ArmFile, StateDir};

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Line {
    /// Something began.
    Step(String),
    /// The sandbox is up.
    Ready(Box<Ready>),
    /// It will not be.
    Failed(String),
}

/// How to reach a sandbox that is up.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Address of the API on the host.
    pub(crate) api_server: String,
    /// Azure Resource Manager.
    pub(crate) arm: ArmFile,
    /// Time since the daemon started.
    pub(crate) took_ms: u64,
}

/// The writing end.
pub(crate) struct Progress {
    file: File,
}

impl Progress {
    pub(crate) fn open(state: &StateDir) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(state.progress())?;
        Ok(Self { file })
    }

    pub(crate) fn step(&self, text: &str) {
        tracing::info!(text, "progress");
        self.tell(&Line::Step(text.to_owned()));
    }

    pub(crate) fn failed(&self, text: &str) {
        self.tell(&Line::Failed(text.to_owned()));
    }

    pub(crate) fn ready(&self, ready: &Ready) -> io::Result<()> {
        // Through JSON, for `Ready` is not `Clone` and need not be.
        let mut line = serde_json::to_string(&serde_json::json!({ "ready": ready }))?;
        line.push('\n');
        (&self.file).write_all(line.as_bytes())
    }

    /// Nobody may be listening any more.
    fn tell(&self, line: &Line) {
        if let Ok(mut text) = serde_json::to_string(line) {
            text.push('\n');
            let _ = (&self.file).write_all(text.as_bytes());
        }
    }
}
