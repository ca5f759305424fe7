//! A Redis server of one's own in cluster mode: temporary directory, loopback ports, gone when
//! dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::Value;

use crate::config::MemberAddress;
use crate::controls::process::Process;
use crate::controls::{ControlError, system, until};
use crate::redis::node::{Login, Node, text_of};

/// Deadline of a command of the control's own. A server that stands still is not asked.
const COMMAND: Duration = Duration::from_secs(10);

/// 15 s, the default, and the reason why nobody fails over by himself during a control.
const NODE_TIMEOUT_MS: &str = "15000";

/// A running server, or one that was killed.
pub struct Server {
    // First, so that it has ended before its files are deleted.
    process: Process,
    home: tempfile::TempDir,
    binary: PathBuf,
    port: u16,
    bus_port: u16,
}

impl Server {
    /// Starts a server that knows nobody.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn start(binary: &Path) -> Result<Self, ControlError> {
        let home = tempfile::Builder::new()
            .prefix("ferriswheel-control-")
            .tempdir()
            .map_err(system("make a temporary directory"))?;
        // Both are held until both are known, so that they differ.
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(system("find a port"));
        let (client, bus) = (free()?, free()?);
        let number = |listener: &TcpListener| {
            let address = listener.local_addr().map_err(system("find a port"))?;
            Ok::<u16, ControlError>(address.port())
        };
        let mut server = Self {
            home,
            binary: binary.to_owned(),
            port: number(&client)?,
            bus_port: number(&bus)?,
            process: Process::default(),
        };
        drop((client, bus));
        server.spawn()?;
        until("the server answers", async || {
            server.run(&["PING"]).await.is_ok()
        })
        .await?;
        Ok(server)
    }

    fn spawn(&mut self) -> Result<(), ControlError> {
        let log = std::fs::File::create(self.home.path().join("log"))
            .map_err(system("create the server's log"))?;
        let errors = log.try_clone().map_err(system("share the server's log"))?;
        let (port, bus_port) = (self.port.to_string(), self.bus_port.to_string());
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.binary)
            .args(["--port", &port, "--cluster-port", &bus_port])
            .args(["--bind", "127.0.0.1", "--protected-mode", "no"])
            .args(["--cluster-enabled", "yes"])
            .args(["--cluster-node-timeout", NODE_TIMEOUT_MS])
            .args(["--appendonly", "yes", "--save", ""])
            .arg("--dir")
            .arg(self.home.path())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        self.process.start(&mut command)
    }

    /// Address for clients.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Addresses of clients that know these servers.
    #[must_use]
    pub fn seeds(servers: &[&Self]) -> String {
        let places: Vec<String> = servers.iter().map(|server| server.address()).collect();
        format!("redis://{}", places.join(","))
    }

    /// The address for an examination.
    #[must_use]
    pub fn member(&self, name: &str) -> MemberAddress {
        MemberAddress {
            name: name.to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.port,
        }
    }

    /// Runs one command; the answer as text, of an array its elements' text line by line.
    ///
    /// # Errors
    /// The server is away, or refuses.
    pub async fn run(&self, words: &[&str]) -> Result<String, ControlError> {
        let login = Login {
            tls: false,
            user: None,
            password: None,
            connect_deadline: COMMAND,
            deadline: COMMAND,
        };
        let failed = |trouble: crate::system::Trouble| {
            ControlError::Statement(format!("{}: {trouble}", words.join(" ")))
        };
        let node = Node::open("127.0.0.1", self.port, &login)
            .await
            .map_err(failed)?;
        Ok(flat(&node.value(words).await.map_err(failed)?))
    }

    /// Makes a cluster: each primary has an equal share of the slots, in order.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn join(primaries: &[&Self]) -> Result<(), ControlError> {
        let share = 16_384 / primaries.len();
        for (at, server) in primaries.iter().enumerate() {
            let last = if at + 1 == primaries.len() {
                16_383
            } else {
                share * (at + 1) - 1
            };
            let (from, to) = ((share * at).to_string(), last.to_string());
            server
                .run(&["CLUSTER", "ADDSLOTSRANGE", &from, &to])
                .await?;
            server
                .run(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])
                .await?;
            if at > 0 {
                primaries[0].meet(server).await?;
            }
        }
        for server in primaries {
            until("every slot has a leader", async || {
                let info = server.run(&["CLUSTER", "INFO"]).await.unwrap_or_default();
                info.contains("cluster_state:ok")
                    && info.contains(&format!("cluster_size:{}", primaries.len()))
            })
            .await?;
        }
        Ok(())
    }

    async fn meet(&self, other: &Self) -> Result<(), ControlError> {
        let (port, bus_port) = (other.port.to_string(), other.bus_port.to_string());
        self.run(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port])
            .await
            .map(drop)
    }

    /// Becomes a replica of a server of a cluster, has its data, and knows the whole cluster: one
    /// that takes over while it has not heard of every slot's leader holds the cluster for down.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn follow(&self, primary: &Self) -> Result<(), ControlError> {
        primary.meet(self).await?;
        let id = primary.run(&["CLUSTER", "MYID"]).await?;
        until("the primary is known", async || {
            self.run(&["CLUSTER", "REPLICATE", &id]).await.is_ok()
        })
        .await?;
        until("the replica follows", async || {
            let info = self.run(&["INFO", "replication"]).await.unwrap_or_default();
            info.contains("master_link_status:up")
        })
        .await?;
        until("the replica knows the cluster", async || {
            let info = self.run(&["CLUSTER", "INFO"]).await.unwrap_or_default();
            info.contains("cluster_state:ok")
        })
        .await
    }

    /// Stops the server where it is (SIGSTOP), and returns once it stands still.
    ///
    /// # Errors
    /// The server is not running.
    pub async fn freeze(&self) -> Result<(), ControlError> {
        self.process.freeze().await
    }

    /// Lets it run on.
    ///
    /// # Errors
    /// The server is not running.
    pub fn thaw(&self) -> Result<(), ControlError> {
        self.process.thaw()
    }

    /// Kills the server, as a lost machine would.
    pub fn crash(&mut self) {
        self.process.end();
    }
}

fn flat(value: &Value) -> String {
    match value {
        Value::Array(parts) => parts.iter().map(flat).collect::<Vec<_>>().join("\n"),
        other => text_of(other).unwrap_or_default(),
    }
}
