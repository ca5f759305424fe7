//! What this node's pods offer to the agent's server.

use super::Shared;
use super::registry::{Entry, Instances};
use super::server::{
    ContainerName, Containers, Log, Program, Reader, Refusal, Session, Terminal, Wanted, Writer,
};
use crate::runtime::spec::Process;
use crate::runtime::{self, Container, Running};
use async_trait::async_trait;
use futures::FutureExt;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, oneshot};

/// 5 s: on the pod's own loopback a connection is made or refused at once; only a full backlog makes it wait.
const DIAL: Duration = Duration::from_secs(5);
/// 64 KiB, a pipe's size, between a container's streams and an attached client.
const PIPE: usize = 64 * 1024;

#[async_trait]
impl Containers for Shared {
    fn pods(&self) -> Vec<Arc<Pod>> {
        self.registry.pods()
    }

    fn log(&self, of: &ContainerName, previous: bool) -> Result<Log, Refusal> {
        let entry = self.entry(of)?;
        let name = &of.container;
        let Some(Instances { current, logs }) = entry.container(name) else {
            return Err(if previous {
                no_previous(of)
            } else {
                let why = waiting(&entry, name).unwrap_or_else(|| "ContainerCreating".to_owned());
                Refusal::NoRun(format!(
                    "container {name:?} in pod {:?} is waiting to start: {why}",
                    of.pod
                ))
            });
        };
        // Between two runs the newest is already the previous one.
        let newest = !previous || waiting(&entry, name).is_some();
        let path = if newest {
            logs.last()
        } else {
            logs.iter().rev().nth(1)
        };
        let path = path.cloned().ok_or_else(|| no_previous(of))?;
        let run = current.filter(|_| newest);
        let ended = async move {
            if let Some(run) = run {
                run.ended().await;
            }
        };
        Ok(Log {
            path,
            ended: ended.boxed(),
        })
    }

    async fn exec(&self, of: &ContainerName, program: Program) -> Result<Session, Refusal> {
        let container = self.running(of)?;
        let wanted = program.wanted;
        let process = Process {
            argv: program.argv,
            tty: wanted.tty,
            ..container.spec.process.clone()
        };
        let mut running = runtime::exec(&container, process, wanted.stdin)
            .await
            .map_err(|e| Refusal::Failed(crate::error_chain(&e)))?;
        let terminal = running
            .terminal()
            .map(|path| Arc::new(Screen(path)) as Arc<dyn Terminal>);
        let stdin = running.stdin.take();
        let stderr = running.stderr.take();
        let stdout = std::mem::replace(&mut running.stdout, Box::pin(tokio::io::empty()));
        let mut guard = Guard(running);
        Ok(Session {
            stdin,
            stdout: wanted_or_drained(stdout, wanted.stdout),
            stderr: stderr.and_then(|s| wanted_or_drained(s, wanted.stderr)),
            terminal,
            exit: async move { guard.0.wait().await }.boxed(),
        })
    }

    async fn attach(&self, of: &ContainerName, wanted: Wanted) -> Result<Session, Refusal> {
        let entry = self.entry(of)?;
        let container = self.running(of)?;
        let follow = |wanted: bool, stderr: bool| {
            wanted.then(|| {
                let (reader, writer) = tokio::io::duplex(PIPE);
                tokio::spawn(follow_output(Arc::clone(&container), stderr, writer));
                Box::pin(reader) as Reader
            })
        };
        let (stdout, stderr) = (follow(wanted.stdout, false), follow(wanted.stderr, true));
        let stdin = (wanted.stdin && container.spec.stdin).then(|| {
            let (writer, reader) = tokio::io::duplex(PIPE);
            let once = stdin_once(&entry.pod(), &of.container);
            tokio::spawn(feed(Arc::clone(&container), reader, once));
            Box::pin(writer) as Writer
        });
        let tty = wanted.tty && container.spec.process.tty;
        let terminal = tty.then(|| Arc::new(Own(Arc::clone(&container))) as Arc<dyn Terminal>);
        let exit = async move {
            container.ended().await;
            // How it ended is the pod's status; the attachment itself went well.
            0
        };
        Ok(Session {
            stdin,
            stdout,
            stderr,
            terminal,
            exit: exit.boxed(),
        })
    }

    fn reachable(&self, namespace: &str, pod: &str) -> Result<(), Refusal> {
        self.pause(namespace, pod).map(|_| ())
    }

    async fn dial(&self, namespace: &str, pod: &str, port: u16) -> Result<TcpStream, Refusal> {
        let pause = self.pause(namespace, pod)?;
        let (sender, connected) = oneshot::channel();
        // A thread of its own: it changes its network namespace and must not be used again.
        let thread = std::thread::Builder::new().name("dial".to_owned());
        thread
            .spawn(move || {
                let _ = sender.send(dial_inside(pause, port));
            })
            .map_err(|e| Refusal::Failed(e.to_string()))?;
        let failed = |why: String| {
            Refusal::Failed(format!(
                "failed to connect to localhost:{port} inside pod {namespace}/{pod}: {why}"
            ))
        };
        let stream = connected
            .await
            .map_err(|e| failed(e.to_string()))?
            .map_err(|e| failed(e.to_string()))?;
        TcpStream::from_std(stream).map_err(|e| failed(e.to_string()))
    }
}

impl Shared {
    fn entry(&self, of: &ContainerName) -> Result<Arc<Entry>, Refusal> {
        let entry = self
            .registry
            .get(&of.namespace, &of.pod)
            .ok_or_else(|| Refusal::NoPod(of.pod.clone()))?;
        let pod = entry.pod();
        let spec = pod.spec.as_ref();
        let all = spec.iter().flat_map(|s| {
            s.containers
                .iter()
                .chain(s.init_containers.iter().flatten())
        });
        if all.into_iter().any(|c| c.name == of.container) {
            Ok(entry)
        } else {
            Err(Refusal::NoContainer(of.container.clone()))
        }
    }

    fn running(&self, of: &ContainerName) -> Result<Arc<Container>, Refusal> {
        let current = self
            .entry(of)?
            .container(&of.container)
            .and_then(|i| i.current);
        current
            .filter(|c| c.exit().is_none())
            .ok_or_else(|| Refusal::NoContainer(of.container.clone()))
    }

    fn pause(&self, namespace: &str, pod: &str) -> Result<i32, Refusal> {
        let entry = self
            .registry
            .get(namespace, pod)
            .ok_or_else(|| Refusal::NoPod(pod.to_owned()))?;
        let network = entry
            .network()
            .ok_or_else(|| Refusal::Failed(format!("pod {pod:?} has no network yet")))?;
        Ok(network.pause)
    }
}

fn no_previous(of: &ContainerName) -> Refusal {
    Refusal::NoRun(format!(
        "previous terminated container {:?} in pod {:?} not found",
        of.container, of.pod
    ))
}

/// Why a container waits, by its last known status.
fn waiting(entry: &Entry, container: &str) -> Option<String> {
    let pod = entry.pod();
    let status = pod.status.as_ref()?;
    let all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses);
    let own: &ContainerStatus = all.flatten().find(|s| s.name == container)?;
    let waiting = own.state.as_ref()?.waiting.as_ref()?;
    Some(waiting.reason.clone().unwrap_or_default())
}

fn stdin_once(pod: &Pod, container: &str) -> bool {
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    let own = containers.into_iter().find(|c| c.name == container);
    own.and_then(|c| c.stdin_once) == Some(true)
}

/// A stream that nobody wants must still be read: a program that writes to a full pipe stands still.
fn wanted_or_drained(mut stream: Reader, wanted: bool) -> Option<Reader> {
    if wanted {
        return Some(stream);
    }
    tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
    None
}

/// Ends a program with the session that it was started for.
struct Guard(Running);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// The terminal of a program.
struct Screen(PathBuf);

#[async_trait]
impl Terminal for Screen {
    async fn resize(&self, columns: u16, rows: u16) {
        Running::resize(&self.0, columns, rows).await;
    }
}

/// The terminal of a container's own program.
struct Own(Arc<Container>);

#[async_trait]
impl Terminal for Own {
    async fn resize(&self, columns: u16, rows: u16) {
        self.0.resize(columns, rows).await;
    }
}

async fn follow_output(container: Arc<Container>, stderr: bool, mut to: tokio::io::DuplexStream) {
    let mut output = container.attach().output;
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = output.recv() => chunk,
            _ = container.ended() => break,
        };
        match chunk {
            Ok(chunk) if chunk.stderr == stderr => {
                if to.write_all(&chunk.bytes).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "an attached client was too slow");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn feed(container: Arc<Container>, mut from: tokio::io::DuplexStream, once: bool) {
    let mut buffer = vec![0_u8; PIPE];
    loop {
        match from.read(&mut buffer).await {
            Ok(n) if n > 0 => {
                if !container.write_stdin(&buffer[..n]).await {
                    return;
                }
            }
            _ => break,
        }
    }
    if once {
        container.close_stdin().await;
    }
}

/// Connects from inside the pod's network namespace; the connection stays there.
fn dial_inside(pause: i32, port: u16) -> std::io::Result<std::net::TcpStream> {
    setns(
        File::open(format!("/proc/{pause}/ns/net"))?,
        CloneFlags::CLONE_NEWNET,
    )?;
    let connect =
        |ip: IpAddr| std::net::TcpStream::connect_timeout(&SocketAddr::new(ip, port), DIAL);
    let stream = connect(Ipv4Addr::LOCALHOST.into())
        .or_else(|error| connect(Ipv6Addr::LOCALHOST.into()).map_err(|_| error))?;
    stream.set_nonblocking(true)?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
