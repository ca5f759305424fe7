//! The node agent's own HTTPS server: logs, exec, attach and port-forward, for the API server.
//!
//! The Node declares `ExtendWebSocketsToKubelet`: the API server passes a client's WebSocket through untranslated, so
//! this server speaks what `kubectl` and other clients speak.
//!
//! # Guarantees
//! * A caller without a certificate of the cluster's authority gets no answer at all.
//! * Reading and writing never wait for each other: a stream that stands still in one direction goes on in the other.
//! * The end of a connection ends what was started for it.
//!
//! # Must not know
//! How containers run: that is [`Containers`].

mod forward;
mod logs;
mod routes;
mod socket;
mod spdy;
mod stdio;
mod tls;

pub use tls::{Error, serve};

use async_trait::async_trait;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The pods of a node, as the server needs them.
#[async_trait]
pub trait Containers: Send + Sync + 'static {
    /// Every pod that the node runs.
    fn pods(&self) -> Vec<Arc<Pod>>;

    /// The log of a container's present run, or of the one before.
    ///
    /// # Errors
    /// There is no such run.
    fn log(&self, of: &ContainerName, previous: bool) -> Result<Log, Refusal>;

    /// Starts a program beside a container's own.
    ///
    /// # Errors
    /// The container does not run, or the program could not be started.
    async fn exec(&self, of: &ContainerName, program: Program) -> Result<Session, Refusal>;

    /// Joins the streams of a container's own program.
    ///
    /// # Errors
    /// The container does not run.
    async fn attach(&self, of: &ContainerName, wanted: Wanted) -> Result<Session, Refusal>;

    /// That the pod is there and has a network.
    ///
    /// # Errors
    /// It is not, or has none yet.
    fn reachable(&self, namespace: &str, pod: &str) -> Result<(), Refusal>;

    /// Connects to a port on the pod's own loopback.
    ///
    /// # Errors
    /// Nobody listens there.
    async fn dial(&self, namespace: &str, pod: &str, port: u16) -> Result<TcpStream, Refusal>;
}

/// A container as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerName {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container in the pod.
    pub container: String,
}

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// The streams are a terminal.
    pub tty: bool,
}

/// A program to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its streams.
    pub wanted: Wanted,
}

/// A log file in the CRI's format: lines of `<RFC 3339 time> <stdout|stderr> <F|P> <text>`.
pub struct Log {
    /// The file; it appears with the run's start.
    pub path: PathBuf,
    /// Done when the run is over and its log complete.
    pub ended: BoxFuture<'static, ()>,
}

/// A reader of a stream.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// A writer of a stream.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// A running program's streams.
pub struct Session {
    /// Its standard input, if wanted.
    pub stdin: Option<Writer>,
    /// Its standard output; with a terminal, all output.
    pub stdout: Option<Reader>,
    /// Its standard error; none with a terminal.
    pub stderr: Option<Reader>,
    /// Its terminal, if it has one.
    pub terminal: Option<Arc<dyn Terminal>>,
    /// Its exit status. Dropping this ends the program, if it was started for these streams.
    pub exit: BoxFuture<'static, i32>,
}

/// A terminal that can change its size.
#[async_trait]
pub trait Terminal: Send + Sync + 'static {
    /// Tells it its size.
    async fn resize(&self, columns: u16, rows: u16);
}

/// Why a request cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such pod on this node.
    #[error("pod {0:?} not found")]
    NoPod(String),
    /// The pod has no such container, or none that runs.
    #[error("container not found ({0:?})")]
    NoContainer(String),
    /// The container has no run of that kind; the text says so.
    #[error("{0}")]
    NoRun(String),
    /// It could not be done; the text says why.
    #[error("{0}")]
    Failed(String),
}
