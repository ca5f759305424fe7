//! `sandbox up`: starts a sandbox in the background and returns when it can be used.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::down::{DownError, clear};
use super::preflight::{self, Refusal};
use crate::daemon::{DaemonConfig, Ready};
use crate::internal::{InitConfig, OuterConfig, OuterReport, ProgramConfig, SUBCOMMAND};
use crate::pools::Pool;
use crate::state::{SCHEMA, SandboxFile, StateDir, is_valid_name, write_json};

/// What kind of sandbox.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// Its name.
    pub name: String,
    /// Its node pools.
    pub pools: Vec<Pool>,
    /// Longest wait for the nodes to be Ready, from a ready API on.
    pub ready_within: Duration,
    /// How long the attachment of a disk takes.
    pub attach_delay: Duration,
    /// What the Azure emulator leaves to chance: zones among equals, identifiers.
    pub seed: u64,
}

/// A sandbox is up.
#[derive(Clone, Debug)]
pub struct Upped {
    /// How to reach it.
    pub sandbox: SandboxFile,
    /// It was up before.
    pub already: bool,
}

/// A sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The name fits no host name.
    #[error("name a sandbox '{0}': use up to 40 lower-case letters, digits and hyphens")]
    Name(String),
    /// The machine lacks something.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// Another command works on the same sandbox.
    #[error("lock sandbox '{0}': another command is starting or ending it")]
    Busy(String),
    /// It runs, but never became ready.
    #[error(
        "use sandbox '{0}': it runs but did not finish its start; run `ferriswheel sandbox down --name {0}` first"
    )]
    Unfinished(String),
    /// A dead sandbox could not be cleaned up.
    #[error("clear what a dead sandbox left")]
    Clear(#[from] DownError),
    /// A file could not be written.
    #[error("write {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The first stage failed.
    #[error("open the namespaces of the sandbox: {0}")]
    Stage(String),
    /// The sandbox said why.
    #[error("start the sandbox: {0}")]
    Failed(String),
    /// The sandbox ended without saying why.
    #[error("start the sandbox: it ended; the end of its log: {0}")]
    Died(String),
    /// The sandbox is silent.
    #[error("start the sandbox within {} s; its log is {}", deadline.as_secs(), log.display())]
    Deadline {
        /// The time it had.
        deadline: Duration,
        /// Its log.
        log: PathBuf,
    },
}

/// How often the progress of the start is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Added to the wait for the nodes: control plane (a minute at most) and links.
const START_ALLOWANCE: Duration = Duration::from_secs(90);

/// Starts a sandbox; `tell` gets a line whenever something was reached.
///
/// # Guarantees
/// - A sandbox of this name that is up already is left alone.
/// - What a dead sandbox of this name left is cleared first.
/// - A start that fails leaves no process behind; logs stay until the next `up` or `down`.
///
/// # Errors
/// Each names what to do.
pub fn up(options: &UpOptions, tell: &mut dyn FnMut(&str)) -> Result<Upped, UpError> {
    if !is_valid_name(&options.name) {
        return Err(UpError::Name(options.name.clone()));
    }
    let binaries = preflight::check()?;
    let state = StateDir::of(&options.name);
    let _lock = lock(&state)?;
    if let Some(sandbox) = running(&state)? {
        return Ok(Upped {
            sandbox,
            already: true,
        });
    }
    if clear_contents(&state)? {
        tell("cleared what a dead sandbox left");
    }
    let binary = own_binary(&state)?;
    let config = DaemonConfig {
        name: options.name.clone(),
        state: state.root().to_owned(),
        binary: binary.clone(),
        binaries,
        pools: options.pools.clone(),
        ready_within: options.ready_within,
        attach_delay: options.attach_delay,
        seed: options.seed,
    };
    put(&state.daemon_json(), &config)?;
    let report = open_outer(&state, &binary)?;
    let deadline = START_ALLOWANCE + options.ready_within;
    match follow(&state, &report, deadline, tell) {
        Ok(ready) => {
            let sandbox = SandboxFile {
                schema: SCHEMA.to_owned(),
                name: options.name.clone(),
                pid: report.init.pid,
                process: report.init,
                kubeconfig: state.kubeconfig(),
                api_server: ready.api_server,
                arm: ready.arm,
            };
            put(&state.sandbox_json(), &sandbox)?;
            Ok(Upped {
                sandbox,
                already: false,
            })
        }
        Err(error) => {
            super::down::kill(report.init)?;
            Err(error)
        }
    }
}

/// One command at a time on a sandbox; the lock ends with the command, however it ends.
pub(super) fn lock(state: &StateDir) -> Result<File, UpError> {
    let fail = |source| UpError::Io {
        path: state.root().to_owned(),
        source,
    };
    fs::create_dir_all(state.root()).map_err(fail)?;
    let directory = File::open(state.root()).map_err(fail)?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(fs::TryLockError::WouldBlock) => Err(UpError::Busy(state.name().to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(fail(source)),
    }
}

/// The sandbox, if it is up.
fn running(state: &StateDir) -> Result<Option<SandboxFile>, UpError> {
    if let Some(report) = outer_report(state)
        && report.init.is_alive()
    {
        return match state.read_sandbox() {
            Ok(sandbox) => Ok(Some(sandbox)),
            Err(_) => Err(UpError::Unfinished(state.name().to_owned())),
        };
    }
    Ok(None)
}

/// What the first stage wrote, if there was one.
pub(super) fn outer_report(state: &StateDir) -> Option<OuterReport> {
    serde_json::from_slice(&fs::read(state.outer_json()).ok()?).ok()
}

/// Empties the directory of a dead sandbox but keeps it, for it is locked. True if there was anything.
fn clear_contents(state: &StateDir) -> Result<bool, UpError> {
    let fail = |source| UpError::Io {
        path: state.root().to_owned(),
        source,
    };
    let mut any = false;
    for entry in fs::read_dir(state.root()).map_err(fail)? {
        any = true;
        clear(&entry.map_err(fail)?.path())?;
    }
    Ok(any)
}

/// The running program under a name that stays, whatever is compiled or deleted meanwhile: a sandbox starts nodes from
/// it for as long as it lives.
fn own_binary(state: &StateDir) -> Result<PathBuf, UpError> {
    let own = state.root().join("bin").join("ferriswheel");
    let fail = |source| UpError::Io {
        path: own.clone(),
        source,
    };
    let current = std::env::current_exe().map_err(fail)?;
    fs::create_dir_all(state.root().join("bin")).map_err(fail)?;
    // A link is instantaneous; another file system needs a copy.
    if fs::hard_link(&current, &own).is_err() {
        fs::copy(&current, &own).map_err(fail)?;
    }
    Ok(own)
}

/// Runs the first stage to its end.
fn open_outer(state: &StateDir, binary: &Path) -> Result<OuterReport, UpError> {
    let init = state.root().join("init.json");
    put(
        &init,
        &InitConfig {
            hostname: format!("sandbox-{}", state.name()),
            programs: vec![ProgramConfig {
                argv: vec![
                    binary.display().to_string(),
                    SUBCOMMAND.to_owned(),
                    "daemon".to_owned(),
                    state.daemon_json().display().to_string(),
                ],
                log: None,
                restart: false,
            }],
        },
    )?;
    let outer = state.root().join("outer-config.json");
    put(
        &outer,
        &OuterConfig {
            binary: binary.to_owned(),
            init,
            report: state.outer_json(),
            log: state.logs().join("sandbox.log"),
            name: state.name().to_owned(),
        },
    )?;
    fs::create_dir_all(state.logs()).map_err(|source| UpError::Io {
        path: state.logs(),
        source,
    })?;
    let output = Command::new(binary)
        .args([SUBCOMMAND, "outer"])
        .arg(&outer)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|source| UpError::Io {
            path: binary.to_owned(),
            source,
        })?;
    outer_report(state)
        .ok_or_else(|| UpError::Stage(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Reads the progress until the sandbox is ready.
fn follow(
    state: &StateDir,
    report: &OuterReport,
    deadline: Duration,
    tell: &mut dyn FnMut(&str),
) -> Result<Ready, UpError> {
    let until = Instant::now() + deadline;
    let mut seen = 0;
    loop {
        // Looked at before the file is read: the last words of a sandbox that died are still heard.
        let alive = report.init.is_alive();
        let text = fs::read_to_string(state.progress()).unwrap_or_default();
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[seen..complete].lines() {
            match serde_json::from_str(line) {
                Ok(crate::daemon::Line::Step(step)) => tell(&step),
                Ok(crate::daemon::Line::Ready(ready)) => return Ok(*ready),
                Ok(crate::daemon::Line::Failed(why)) => return Err(UpError::Failed(why)),
                Err(_) => {}
            }
        }
        seen = complete;
        if !alive {
            return Err(UpError::Died(log_end(&state.logs().join("sandbox.log"))));
        }
        if Instant::now() >= until {
            return Err(UpError::Deadline {
                deadline,
                log: state.logs().join("sandbox.log"),
            });
        }
        std::thread::sleep(POLL);
    }
}

/// The last lines of a log.
fn log_end(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

fn put<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), UpError> {
    write_json(path, value).map_err(|source| UpError::Io {
        path: path.to_owned(),
        source,
    })
}
