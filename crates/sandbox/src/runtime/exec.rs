//! Programs beside a container's own: for probes, hooks and people.

use super::container::Container;
use super::spec::{Join, Process};
use super::stdio::{Reader, Streams, Writer, resize, streams};
use super::{Error, stages};
use bytes::{Bytes, BytesMut};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// A program that runs beside the container's own.
pub struct Running {
    /// Its standard input, if asked for.
    pub stdin: Option<Writer>,
    /// Its standard output; with a terminal, all output.
    pub stdout: Reader,
    /// Its standard error; none with a terminal.
    pub stderr: Option<Reader>,
    terminal: Option<PathBuf>,
    child: Child,
    group: Option<Pid>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Waits for its end; the exit status, or 128 and the signal's number.
    pub async fn wait(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        match self.child.wait().await {
            Ok(status) => status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            Err(_) => 137,
        }
    }

    /// The terminal's path, to resize it while the streams are in use.
    #[must_use]
    pub fn terminal(&self) -> Option<PathBuf> {
        self.terminal.clone()
    }

    /// Tells a terminal its size.
    pub async fn resize(terminal: &std::path::Path, columns: u16, rows: u16) {
        resize(terminal, columns, rows).await;
    }

    /// Ends it and everything in its process group.
    pub fn kill(&self) {
        if let Some(group) = self.group
            && self.child.id().is_some()
        {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Starts a program inside a running container.
///
/// # Errors
/// The container has ended, or no process could be started. A program that is not there is an exit status of 127.
pub async fn exec(container: &Container, process: Process, stdin: bool) -> Result<Running, Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if container.exit().is_some() {
        return Err(Error::NotRunning);
    }
    let tty = process.tty;
    let join = Join {
        pid: container.pid(),
        process,
    };
    let file = container.directory().join(format!(
        "join-{}.json",
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    let text = serde_json::to_vec(&join).map_err(Error::Encode)?;
    tokio::fs::write(&file, text)
        .await
        .map_err(|e| Error::io("describe a program", e))?;

    let mut command = Command::new(&container.runtime.binary);
    command
        .args(["sandbox-internal", stages::JOIN])
        .arg(&file)
        .kill_on_drop(true);
    let streams = streams(&mut command, tty, stdin)?;
    let mut child = command
        .spawn()
        .map_err(|e| Error::io("start a program in a container", e))?;
    drop(command);
    let group = child
        .id()
        .and_then(|p| i32::try_from(p).ok())
        .map(Pid::from_raw);
    match streams {
        Streams::Terminal { master, path } => {
            let reader = master
                .try_clone()
                .map_err(|e| Error::io("share a terminal", e))?;
            Ok(Running {
                stdin: stdin.then(|| Box::pin(tokio::fs::File::from_std(master.into())) as Writer),
                stdout: Box::pin(tokio::fs::File::from_std(reader.into())),
                stderr: None,
                terminal: Some(path),
                child,
                group,
            })
        }
        Streams::Pipes => {
            let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
                return Err(Error::NotRunning);
            };
            Ok(Running {
                stdin: child.stdin.take().map(|s| Box::pin(s) as Writer),
                stdout: Box::pin(stdout),
                stderr: Some(Box::pin(stderr)),
                terminal: None,
                child,
                group,
            })
        }
    }
}

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status; none when it was ended for taking too long.
    pub code: Option<i32>,
    /// Both streams, as they came, up to the limit.
    pub text: Bytes,
}

/// Runs a program inside a container to its end, or for as long as allowed.
///
/// # Errors
/// As [`exec`].
pub async fn collect(
    container: &Container,
    process: Process,
    allowed: Duration,
    limit: usize,
) -> Result<Output, Error> {
    let mut running = exec(container, process, false).await?;
    let mut text = BytesMut::new();
    let mut stderr = running.stderr.take();
    let finished = tokio::time::timeout(allowed, async {
        let mut out = vec![0_u8; 4096];
        let mut err = vec![0_u8; 4096];
        let mut open = (true, stderr.is_some());
        while open.0 || open.1 {
            let piece = tokio::select! {
                n = running.stdout.read(&mut out), if open.0 => { let n = n.unwrap_or(0); open.0 = n > 0; &out[..n] }
                n = async { match stderr.as_mut() { Some(s) => s.read(&mut err).await, None => Ok(0) } }, if open.1 => {
                    let n = n.unwrap_or(0);
                    open.1 = n > 0;
                    &err[..n]
                }
            };
            let room = limit.saturating_sub(text.len());
            text.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        running.wait().await
    })
    .await;
    if finished.is_err() {
        running.kill();
        let _ = running.wait().await;
    }
    Ok(Output {
        code: finished.ok(),
        text: text.freeze(),
    })
}
