//! PID 1 of a namespace, for the sandbox as a whole and for each node.
//!
//! Starts its programs, collects every orphan, passes SIGTERM on, and ends when its main program ends. The kernel
//! ends everything else in the namespace with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::RoleResult;

/// What a PID 1 runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InitConfig {
    /// Host name of the namespace.
    pub(crate) hostname: String,
    /// The programs, started in this order.
    pub(crate) programs: Vec<ProgramConfig>,
}

/// One program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProgramConfig {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Log file; without one the program inherits all three standard streams.
    pub(crate) log: Option<PathBuf>,
    /// Started again when it ends; otherwise its end is the end of the namespace.
    pub(crate) restart: bool,
}

/// Pause before a program that ended is started again. Half a second: long enough that a program that cannot start
/// does not eat a core, short enough that a kubelet is back before anyone notices its missing heartbeat.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

pub(super) fn run(file: &Path) -> RoleResult<u8> {
    let config: InitConfig = serde_json::from_slice(&std::fs::read(file)?)?;
    // Blocked signals of a PID 1 are queued instead of dropped; children start with an empty mask.
    let signals: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT]
        .into_iter()
        .collect();
    signals.thread_block()?;
    prepare_mounts()?;
    nix::unistd::sethostname(&config.hostname)?;

    let mut running: BTreeMap<i32, (ProgramConfig, Instant)> = BTreeMap::new();
    for program in config.programs {
        let pid = start(&program)?;
        running.insert(pid, (program, Instant::now()));
    }
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => {
                if let Some(code) = collect(&mut running)? {
                    return Ok(code);
                }
            }
            other => {
                for pid in running.keys() {
                    // It may have ended this instant.
                    let _ = kill(Pid::from_raw(*pid), other);
                }
                if running.values().all(|(program, _)| program.restart) {
                    return Ok(0);
                }
            }
        }
    }
}

/// A mount namespace of its own with its own `/proc` and `/sys`, and no mount event to or from the host. It is opened
/// here and not by the parent, which would otherwise see this `/proc` and no longer find its own children in it.
fn prepare_mounts() -> RoleResult<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        none,
    )?;
    mount(
        Some("sysfs"),
        "/sys",
        Some("sysfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        none,
    )?;
    Ok(())
}

fn start(program: &ProgramConfig) -> RoleResult<i32> {
    let (name, arguments) = program.argv.split_first().ok_or("a program has no name")?;
    let mut command = Command::new(name);
    command.args(arguments);
    if let Some(path) = &program.log {
        let log = File::options().create(true).append(true).open(path)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log));
    }
    let child = command.spawn()?;
    Ok(i32::try_from(child.id())?)
}

/// Collects everything that ended; the exit code once the main program did.
fn collect(running: &mut BTreeMap<i32, (ProgramConfig, Instant)>) -> RoleResult<Option<u8>> {
    loop {
        let (pid, code) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code.clamp(0, 255)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let Some((program, since)) = running.remove(&pid) else {
            continue;
        };
        if !program.restart {
            return Ok(Some(u8::try_from(code).unwrap_or(u8::MAX)));
        }
        std::thread::sleep(RESTART_PAUSE.saturating_sub(since.elapsed()));
        let pid = start(&program)?;
        running.insert(pid, (program, Instant::now()));
    }
}
