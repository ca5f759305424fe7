//! Questions to a running sandbox.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::up::outer_report;
use crate::daemon::{Request, Response, Status, socket_path};
use crate::state::{SandboxFile, StateDir};

/// The slowest answer is a crash's, which waits for the end of a process tree (20 s).
const DEADLINE: Duration = Duration::from_secs(30);

/// A sandbox did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is none, or it is dead.
    #[error("reach sandbox '{0}': it is not up; run `ferriswheel sandbox up --name {0}`")]
    NotUp(String),
    /// Its socket does not answer.
    #[error("reach sandbox '{name}'")]
    Io {
        /// Name of the sandbox.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its answer is not understood: another version of this program started it.
    #[error("understand sandbox '{name}'")]
    Answer {
        /// Name of the sandbox.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It refused.
    #[error("{0}")]
    Failed(String),
}

/// What `sandbox status` shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// `ferriswheel.sandbox-status.v1`.
    pub schema: String,
    /// How to reach it.
    pub sandbox: SandboxFile,
    /// How it is.
    pub status: Status,
}

/// How a sandbox is.
///
/// # Errors
/// It is not up, or does not answer.
pub fn status(name: &str) -> Result<SandboxStatus, RequestError> {
    let response = ask(name, &Request::Status)?;
    let state = StateDir::of(name);
    let sandbox = state
        .read_sandbox()
        .map_err(|_| RequestError::NotUp(name.to_owned()))?;
    match response {
        Response::Status(status) => Ok(SandboxStatus {
            schema: "ferriswheel.sandbox-status.v1".to_owned(),
            sandbox,
            status: *status,
        }),
        Response::Failed(why) => Err(RequestError::Failed(why)),
        Response::Done => Err(RequestError::Failed("no status came".to_owned())),
    }
}

/// Sends one request.
pub(crate) fn ask(name: &str, request: &Request) -> Result<Response, RequestError> {
    let state = StateDir::of(name);
    if !outer_report(&state).is_some_and(|report| report.init.is_alive()) {
        return Err(RequestError::NotUp(name.to_owned()));
    }
    let fail = |source| RequestError::Io {
        name: name.to_owned(),
        source,
    };
    let unclear = |source| RequestError::Answer {
        name: name.to_owned(),
        source,
    };
    let (directory, path) = socket_path(&state).map_err(fail)?;
    let mut stream = UnixStream::connect(path).map_err(fail)?;
    drop(directory);
    stream.set_read_timeout(Some(DEADLINE)).map_err(fail)?;
    stream.set_write_timeout(Some(DEADLINE)).map_err(fail)?;
    let mut text = serde_json::to_vec(request).map_err(unclear)?;
    text.push(b'\n');
    stream.write_all(&text).map_err(fail)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(fail)?;
    serde_json::from_str(&line).map_err(unclear)
}
