//! `sandbox down`: ends a sandbox, alive or dead, and removes every trace.
//!
//! Everything a sandbox is made of hangs on its PID 1: SIGKILL to it ends all processes, and the kernel takes
//! namespaces, mounts and links away with the last of them. What remains is one directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

use super::preflight::{self, Refusal};
use super::up::{UpError, lock, outer_report};
use crate::liveness::ProcessId;
use crate::state::StateDir;

/// The kernel ends some hundred processes; each may have to finish a write to the disk first.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// A sandbox was not removed.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// Not root.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// Another command works on the same sandbox.
    #[error("lock the sandbox")]
    Lock(#[source] Box<UpError>),
    /// Its PID 1 could not be ended.
    #[error("end process {pid}")]
    Kill {
        /// PID 1 of the sandbox.
        pid: u32,
        /// Why.
        #[source]
        source: Errno,
    },
    /// Its PID 1 lives on.
    #[error("see the end of process {0}")]
    Alive(u32),
    /// A file could not be removed.
    #[error("remove {path}")]
    Remove {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A sandbox that was running.
    Running,
    /// What a dead one had left.
    Leftover,
    /// There was nothing.
    Nothing,
}

/// Ends a sandbox and removes its directory.
///
/// # Errors
/// It cannot be ended, or its files cannot be removed.
pub fn down(name: &str) -> Result<Ended, DownError> {
    preflight::require_root()?;
    let state = StateDir::of(name);
    if !state.root().exists() {
        return Ok(Ended::Nothing);
    }
    let _lock = lock(&state).map_err(|error| DownError::Lock(Box::new(error)))?;
    let mut ended = Ended::Leftover;
    if let Some(report) = outer_report(&state)
        && report.init.is_alive()
    {
        kill(report.init)?;
        ended = Ended::Running;
    }
    clear(state.root())?;
    remove_if_empty(state.root().parent());
    Ok(ended)
}

/// Kills a PID 1 and waits until its namespace is empty.
pub(super) fn kill(init: ProcessId) -> Result<(), DownError> {
    if !init.is_alive() {
        return Ok(());
    }
    let pid = Pid::from_raw(i32::try_from(init.pid).unwrap_or(i32::MAX));
    match send(pid, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(source) => {
            return Err(DownError::Kill {
                pid: init.pid,
                source,
            });
        }
    }
    if init.wait_gone(END_DEADLINE) {
        Ok(())
    } else {
        Err(DownError::Alive(init.pid))
    }
}

/// Removes a file or a tree.
pub(super) fn clear(path: &Path) -> Result<(), DownError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DownError::Remove {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// The directory of all sandboxes goes with the last of them, and so do the ones above that hold nothing else.
fn remove_if_empty(directory: Option<&Path>) {
    if let Some(directory) = directory {
        let _ = fs::remove_dir(directory);
    }
}
