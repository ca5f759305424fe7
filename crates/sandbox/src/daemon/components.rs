//! Long-running programs of the control plane: started, watched, started again, frozen and held down.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::sync::watch;

/// Pause before a program that ended is started again; the same as for the programs of a node.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// A program and how often it was started.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Running {
    /// Its process, in the sandbox's process namespace; none while it is down.
    pub pid: Option<u32>,
    /// Starts after the first.
    pub restarts: u32,
}

/// All programs of the control plane.
pub(crate) struct Components {
    logs: PathBuf,
    table: Arc<Mutex<BTreeMap<&'static str, Running>>>,
    held: BTreeMap<&'static str, watch::Sender<bool>>,
}

impl Components {
    pub(crate) fn new(logs: &Path) -> Self {
        Self {
            logs: logs.to_owned(),
            table: Arc::default(),
            held: BTreeMap::new(),
        }
    }

    /// Starts a program and keeps it running for as long as the daemon lives.
    pub(crate) fn start(&mut self, name: &'static str, program: &Path, args: Vec<String>) {
        let (held, mut hold) = watch::channel(false);
        self.held.insert(name, held);
        let program = program.to_owned();
        let log = self.logs.join(format!("{name}.log"));
        let table = Arc::clone(&self.table);
        tokio::spawn(async move {
            for restarts in 0.. {
                // The sender lives as long as the daemon; without it there is nothing to hold for.
                if hold.wait_for(|held| !held).await.is_err() {
                    return;
                }
                match spawn(&program, &args, &log) {
                    Ok(mut child) => {
                        let pid = child.id();
                        set(&table, name, Running { pid, restarts });
                        tokio::select! {
                            status = child.wait() => tracing::warn!(name, ?status, "ended; starting it again"),
                            () = async { let _ = hold.wait_for(|held| *held).await; } => {
                                let _ = child.kill().await;
                            }
                        }
                        set(
                            &table,
                            name,
                            Running {
                                pid: None,
                                restarts,
                            },
                        );
                    }
                    Err(error) => tracing::error!(name, %error, "not started"),
                }
                tokio::time::sleep(RESTART_PAUSE).await;
            }
        });
    }

    /// Every program.
    pub(crate) fn list(&self) -> BTreeMap<String, Running> {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(name, running)| ((*name).to_owned(), *running))
            .collect()
    }

    /// Stops or continues a program where it stands. False if it is not running.
    pub(crate) fn signal(&self, name: &str, signal: Signal) -> bool {
        let pid = self
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .and_then(|running| running.pid)
            .and_then(|pid| i32::try_from(pid).ok());
        pid.is_some_and(|pid| kill(Pid::from_raw(pid), signal).is_ok())
    }

    /// Kills a program and keeps it down, or lets it start again.
    pub(crate) fn hold(&self, name: &str, held: bool) {
        if let Some(sender) = self.held.get(name) {
            sender.send_replace(held);
        }
    }
}

fn set(table: &Mutex<BTreeMap<&'static str, Running>>, name: &'static str, running: Running) {
    table
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(name, running);
}

fn spawn(program: &Path, args: &[String], log: &Path) -> std::io::Result<tokio::process::Child> {
    let log = File::options().create(true).append(true).open(log)?;
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .kill_on_drop(true)
        .spawn()
}
