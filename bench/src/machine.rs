//! Where a run was made.

use std::path::Path;

use jiff::Timestamp;
use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::program;

/// Facts that a figure cannot be read without.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Wall clock of the start.
    pub started: Timestamp,
    /// Wall clock of the last round's end.
    pub finished: Timestamp,
    /// Processors.
    pub cores: usize,
    /// Their name.
    pub processor: String,
    /// Memory in KiB.
    pub memory_kib: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Version of the servers, where one benchmark has one system.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub postgres: String,
    /// Of the working tree.
    pub commit: String,
    /// Files differ from that commit.
    pub modified: bool,
    /// Whether the measured program was built with optimisation.
    pub optimised: bool,
    /// Load of the last minute before the first round: other work on the machine.
    pub load_before: f64,
}

impl Machine {
    /// Looks around.
    pub async fn here(
        repository: &Path,
        ferriswheel: &Path,
        postgres: String,
        load_before: f64,
    ) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        let git = async |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(repository).args(arguments);
            program::succeed(command, None, program::CALL)
                .await
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        Self {
            started: Timestamp::now(),
            finished: Timestamp::now(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            memory_kib: field(&read("/proc/meminfo"), "MemTotal")
                .split(' ')
                .next()
                .and_then(|kib| kib.parse().ok())
                .unwrap_or(0),
            kernel: uname()
                .map(|name| name.release().to_string_lossy().into_owned())
                .unwrap_or_default(),
            postgres,
            commit: git(&["rev-parse", "--short", "HEAD"]).await,
            modified: !git(&["status", "--porcelain", "--untracked-files=no"])
                .await
                .is_empty(),
            optimised: ferriswheel
                .components()
                .any(|part| part.as_os_str() == "release"),
            load_before,
        }
    }
}

/// Load of the last minute.
pub fn load() -> f64 {
    std::fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}
