//! PID 1 of a namespace, for the sandbox as a whole and for each node.
//!
//! Starts its programs, collects every orphan, passes SIGTERM on, and ends when its main program ends. The kernel
//! ends everything else in the namespace with it.

use std::collections::BTreeMap;
use std::ffi::CString;
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

use super::{RoleResult, SUBCOMMAND};

/// Role of a process that becomes a program; its index follows.
pub(super) const PROGRAM: &str = "program-";

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
    // Blocked signals of a PID 1 are queued instead of dropped. A mask is inherited: see `run_program`.
    let signals: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT]
        .into_iter()
        .collect();
    signals.thread_block()?;
    prepare_mounts()?;
    nix::unistd::sethostname(&config.hostname)?;

    let mut running: BTreeMap<i32, (Slot, Instant)> = BTreeMap::new();
    for (index, program) in config.programs.into_iter().enumerate() {
        let slot = Slot {
            init: file.to_owned(),
            index,
            program,
        };
        running.insert(slot.start()?, (slot, Instant::now()));
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
                if running.values().all(|(slot, _)| slot.program.restart) {
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

/// A program and its place in the file that names it.
struct Slot {
    init: PathBuf,
    index: usize,
    program: ProgramConfig,
}

impl Slot {
    /// Starts the program, by way of [`run_program`].
    fn start(&self) -> RoleResult<i32> {
        // This very file, also when another one lies at its path by now.
        let mut command = Command::new("/proc/self/exe");
        command
            .args([SUBCOMMAND, &format!("{PROGRAM}{}", self.index)])
            .arg(&self.init);
        if let Some(path) = &self.program.log {
            let log = File::options().create(true).append(true).open(path)?;
            command
                .stdin(Stdio::null())
                .stdout(Stdio::from(log.try_clone()?))
                .stderr(Stdio::from(log));
        }
        let child = command.spawn()?;
        Ok(i32::try_from(child.id())?)
    }
}

/// Becomes one of the programs of a PID 1, with no signal blocked: it would be deaf to SIGTERM otherwise. PID 1 itself
/// cannot open its mask for the moment of a start, as it would lose what comes in that moment.
pub(super) fn run_program(index: &str, file: &Path) -> RoleResult<()> {
    let config: InitConfig = serde_json::from_slice(&std::fs::read(file)?)?;
    let program = config
        .programs
        .get(index.parse::<usize>()?)
        .ok_or("there is no such program")?;
    let argv: Vec<CString> = program
        .argv
        .iter()
        .map(|argument| CString::new(argument.as_str()))
        .collect::<Result<_, _>>()?;
    let name = argv.first().ok_or("a program has no name")?;
    SigSet::empty().thread_set_mask()?;
    match nix::unistd::execvp(name, &argv)? {}
}

/// Collects everything that ended; the exit code once the main program did.
fn collect(running: &mut BTreeMap<i32, (Slot, Instant)>) -> RoleResult<Option<u8>> {
    loop {
        let (pid, code) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code.clamp(0, 255)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let Some((slot, since)) = running.remove(&pid) else {
            continue;
        };
        if !slot.program.restart {
            return Ok(Some(u8::try_from(code).unwrap_or(u8::MAX)));
        }
        std::thread::sleep(RESTART_PAUSE.saturating_sub(since.elapsed()));
        running.insert(slot.start()?, (slot, Instant::now()));
    }
}
