//! The control socket: one JSON request and one JSON answer a connection.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferriswheel_azure_emulator::{Emulator, Fault};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::components::{Components, Running};
use super::disks::Disks;
use super::is_ready;
use super::machines::{MachineStatus, Yard};
use crate::state::StateDir;

/// File name of the socket.
const SOCKET: &str = "control.sock";

/// A request is a line of some hundred bytes.
const LARGEST_REQUEST: u64 = 64 * 1024;

/// What the host may ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    /// How everything is.
    Status,
    /// SIGKILL to a machine.
    Crash { node: String },
    /// Power a machine on.
    Boot { node: String },
    /// Stop every process of a machine; go on by itself after `for_ms`.
    Freeze { node: String, for_ms: Option<u64> },
    /// Go on.
    Thaw { node: String },
    /// Link down; up again by itself after `for_ms`.
    Partition { node: String, for_ms: Option<u64> },
    /// Link up.
    Heal { node: String },
    /// Attach delay from now on.
    AttachDelay { ms: u64 },
    /// The API server does not answer for this long.
    ApiOutage { ms: u64, how: Outage },
    /// Arms a fault of the Azure emulator.
    Arm { fault: Value },
}

/// How the API server is unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outage {
    /// Connections are accepted and never answered (the process is stopped where it stands).
    Hang,
    /// Connections are refused (the process is killed and started again afterwards).
    Refuse,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Response {
    /// Done.
    Done,
    /// To `Status`.
    Status(Box<Status>),
    /// Not done.
    Failed(String),
}

/// How everything is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Seconds since the start.
    pub up_s: u64,
    /// Programs of the control plane.
    pub components: BTreeMap<String, Running>,
    /// Machines.
    pub machines: Vec<MachineStatus>,
    /// Nodes as the API server has them: Ready or not; none if it does not answer.
    pub nodes: Option<BTreeMap<String, bool>>,
    /// Attach delay of disks.
    pub attach_delay_ms: u64,
}

/// What the requests act on.
pub(crate) struct Control {
    pub(crate) name: String,
    pub(crate) began: Instant,
    pub(crate) client: Client,
    pub(crate) components: Arc<Components>,
    pub(crate) yard: Arc<Yard>,
    pub(crate) disks: Arc<Disks>,
    pub(crate) emulator: Emulator,
}

/// A path to the socket that fits into the 108 bytes of a socket address, wherever the state lies: through a
/// descriptor of its directory, which must stay open until the path was used.
pub(crate) fn socket_path(state: &StateDir) -> io::Result<(File, PathBuf)> {
    let directory = File::open(state.root())?;
    let path = Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(SOCKET);
    Ok((directory, path))
}

/// Serves requests for as long as the daemon lives.
pub(crate) fn listen(state: &StateDir, control: Control) -> io::Result<()> {
    let (directory, path) = socket_path(state)?;
    let listener = UnixListener::bind(path)?;
    drop(directory);
    let control = Arc::new(control);
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let control = Arc::clone(&control);
                    tokio::spawn(async move {
                        if let Err(error) = serve(stream, control).await {
                            tracing::debug!(%error, "control connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, control: Arc<Control>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(LARGEST_REQUEST))
        .read_line(&mut line)
        .await?;
    let response = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            tracing::info!(sandbox = control.name, ?request, "control");
            answer(&control, request).await
        }
        Err(error) => Response::Failed(format!("understand the request: {error}")),
    };
    let mut text = serde_json::to_vec(&response)?;
    text.push(b'\n');
    writer.write_all(&text).await
}

async fn answer(control: &Arc<Control>, request: Request) -> Response {
    let done = match request {
        Request::Status => return Response::Status(Box::new(status(control).await)),
        Request::Crash { node } => control.yard.crash(&node).await,
        Request::Boot { node } => control.yard.boot(&node).await,
        Request::Freeze { node, for_ms } => {
            let done = control.yard.freeze(&node).await;
            if let (Ok(()), Some(ms)) = (&done, for_ms) {
                let control = Arc::clone(control);
                later(ms, async move {
                    let _ = control.yard.thaw(&node).await;
                });
            }
            done
        }
        Request::Thaw { node } => control.yard.thaw(&node).await,
        Request::Partition { node, for_ms } => {
            let done = control.yard.partition(&node, true).await;
            if let (Ok(()), Some(ms)) = (&done, for_ms) {
                let control = Arc::clone(control);
                later(ms, async move {
                    let _ = control.yard.partition(&node, false).await;
                });
            }
            done
        }
        Request::Heal { node } => control.yard.partition(&node, false).await,
        Request::AttachDelay { ms } => {
            control.disks.set_delay(Duration::from_millis(ms));
            Ok(())
        }
        Request::ApiOutage { ms, how } => {
            return api_outage(control, ms, how);
        }
        Request::Arm { fault } => {
            return match serde_json::from_value::<Fault>(fault) {
                Ok(fault) => {
                    control.emulator.inject(fault);
                    Response::Done
                }
                Err(error) => Response::Failed(format!("understand the fault: {error}")),
            };
        }
    };
    match done {
        Ok(()) => Response::Done,
        Err(error) => Response::Failed(crate::error_chain(&error)),
    }
}

/// The program whose outage it is.
const API_SERVER: &str = "kube-apiserver";

fn api_outage(control: &Arc<Control>, ms: u64, how: Outage) -> Response {
    let components = Arc::clone(&control.components);
    match how {
        Outage::Hang => {
            if !components.signal(API_SERVER, Signal::SIGSTOP) {
                return Response::Failed("stop kube-apiserver: it is not running".to_owned());
            }
            later(ms, async move {
                components.signal(API_SERVER, Signal::SIGCONT);
            });
        }
        Outage::Refuse => {
            components.hold(API_SERVER, true);
            later(ms, async move {
                components.hold(API_SERVER, false);
            });
        }
    }
    Response::Done
}

fn later(ms: u64, work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        work.await;
    });
}

/// An API server that does not answer must not hold up a status.
const API_PATIENCE: Duration = Duration::from_secs(2);

async fn status(control: &Control) -> Status {
    let nodes: Api<Node> = Api::all(control.client.clone());
    let params = ListParams::default();
    let listed = tokio::time::timeout(API_PATIENCE, nodes.list(&params)).await;
    let nodes = match listed {
        Ok(Ok(list)) => Some(
            list.items
                .iter()
                .map(|node| (node.name_any(), is_ready(node)))
                .collect(),
        ),
        _ => None,
    };
    Status {
        up_s: control.began.elapsed().as_secs(),
        components: control.components.list(),
        machines: control.yard.status().await,
        nodes,
        attach_delay_ms: u64::try_from(control.disks.delay().as_millis()).unwrap_or(u64::MAX),
    }
}
