//! The standard streams of a program: pipes or a terminal.

use super::Error;
use nix::pty::openpty;
use nix::unistd::ttyname;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Command;

/// A reader of a stream.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// A writer of a stream.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// Where a program's streams lead.
pub(super) enum Streams {
    /// To pipes in the child's hands.
    Pipes,
    /// To a terminal, whose other end this is.
    Terminal { master: OwnedFd, path: PathBuf },
}

/// Prepares a program's streams.
pub(super) fn streams(command: &mut Command, tty: bool, stdin: bool) -> Result<Streams, Error> {
    if !tty {
        command
            .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        return Ok(Streams::Pipes);
    }
    let failed = |e: std::io::Error| Error::io("open a terminal", e);
    let pty = openpty(None, None).map_err(|e| failed(e.into()))?;
    let path = ttyname(&pty.slave).map_err(|e| failed(e.into()))?;
    command.stdin(pty.slave.try_clone().map_err(failed)?);
    command.stdout(pty.slave.try_clone().map_err(failed)?);
    command.stderr(pty.slave);
    Ok(Streams::Terminal {
        master: pty.master,
        path,
    })
}

/// Tells a terminal its size. By `stty`: the call itself has no safe form.
pub(super) async fn resize(terminal: &std::path::Path, columns: u16, rows: u16) {
    let (columns, rows) = (columns.to_string(), rows.to_string());
    let status = Command::new("stty")
        .arg("-F")
        .arg(terminal)
        .args(["cols", &columns, "rows", &rows])
        .status()
        .await;
    if !status.is_ok_and(|s| s.success()) {
        tracing::debug!("a terminal was not resized");
    }
}
