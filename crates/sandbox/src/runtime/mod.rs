//! The container runtime: pods as namespaces, containers as processes.
//!
//! A pod is a pause process that holds a network, an IPC and a UTS namespace, with a veth pair to the node's
//! bridge. A container is a chain of two processes of this binary: a *shim* that joins the pod's namespaces and
//! opens a PID namespace, and the container's PID 1, which builds the container's mount namespace (an overlay over
//! the host's root, a fresh `/proc`, `/dev`, `/run` and `/tmp`, the volumes) and then executes the server in its
//! own place. So the server is PID 1, as in the public images.
//!
//! # Guarantees
//! * Nothing is mounted outside a container's own mount namespace: the end of the process is the end of its mounts.
//! * Standard output and error are pipes read by the node agent, which writes the log files.
//!
//! # Must not know
//! Kubernetes objects. The node agent translates them into the types of [`spec`].

mod container;
mod exec;
mod log;
mod pod;
mod root;
pub mod spec;
mod stages;
mod stdio;
mod users;

pub use container::{Attachment, Container, Exit};
pub use exec::{Output, Running, collect, exec};
pub use log::LogChunk;
pub use pod::{Pod, clear, ensure_bridge};
pub use stages::{StageError, run_stage};
pub use stdio::{Reader, Writer};

use std::path::PathBuf;

/// Why the runtime could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a process or a pipe could not be prepared.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A description could not be written for the next stage.
    #[error("encode the description of a process")]
    Encode(#[source] serde_json::Error),
    /// A network command was refused.
    #[error("ip: {0}")]
    Network(String),
    /// The container ended, or said so, before its program ran.
    #[error("{0}")]
    Start(String),
    /// The container is not running.
    #[error("container is not running")]
    NotRunning,
    /// Nothing was heard within the time allowed.
    #[error("no answer within {seconds} s while starting {what}")]
    Timeout {
        /// What was started.
        what: &'static str,
        /// The time allowed.
        seconds: u64,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }
}

/// Where the runtime finds itself and keeps its files.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The binary that understands `sandbox-internal <role> <file>`.
    pub binary: PathBuf,
    /// The machine's local disk: container layers live in `containers/` below it.
    pub root: PathBuf,
}
