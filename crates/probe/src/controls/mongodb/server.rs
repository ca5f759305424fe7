//! A replica set of one's own: temporary directories, loopback ports, gone when dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use crate::config::MemberAddress;
use crate::controls::process::Process;
use crate::controls::{ControlError, system, until};

/// Deadline of a command of the control's own. A server that stands still is not asked.
const COMMAND: Duration = Duration::from_secs(5);

/// Members of the set.
const MEMBERS: usize = 3;

/// Cache of each server. A quarter of a gigabyte is the least that it takes.
const CACHE_GB: &str = "0.25";

/// Without a primary for this long the others elect. 2 s instead of 10: a control waits for it.
const ELECTION_TIMEOUT_MS: i32 = 2_000;

/// A running server, or one that was killed.
struct Server {
    process: Process,
    port: u16,
    /// Its files, deleted after the process has ended.
    _home: tempfile::TempDir,
}

/// Three servers, of which the first is the primary.
pub struct Set {
    servers: Vec<Server>,
}

impl Set {
    /// Starts a set and waits until the first member leads and the others follow.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn start(binary: &Path) -> Result<Self, ControlError> {
        let listeners = (0..MEMBERS)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(system("find a port")))
            .collect::<Result<Vec<_>, _>>()?;
        let ports = listeners
            .iter()
            .map(|listener| Ok(listener.local_addr().map_err(system("find a port"))?.port()))
            .collect::<Result<Vec<u16>, ControlError>>()?;
        drop(listeners);
        let servers = ports
            .into_iter()
            .map(|port| Server::start(binary, port))
            .collect::<Result<Vec<_>, _>>()?;
        let set = Self { servers };
        for member in 0..MEMBERS {
            until("a server answers", async || {
                set.run(member, doc! { "ping": 1 }).await.is_ok()
            })
            .await?;
        }
        let members: Vec<Bson> = set
            .servers
            .iter()
            .enumerate()
            .map(|(n, server)| {
                let id = i32::try_from(n).unwrap_or(0);
                // The first one shall lead.
                let priority = if n == 0 { 2 } else { 1 };
                Bson::Document(doc! { "_id": id, "host": server.address(), "priority": priority })
            })
            .collect();
        let config = doc! {
            "_id": "control",
            "members": members,
            "settings": { "electionTimeoutMillis": ELECTION_TIMEOUT_MS },
        };
        set.run(0, doc! { "replSetInitiate": config }).await?;
        until("the set is whole", async || {
            set.is(0, "isWritablePrimary").await
                && set.is(1, "secondary").await
                && set.is(2, "secondary").await
        })
        .await?;
        Ok(set)
    }

    /// Address of the clients.
    #[must_use]
    pub fn dsn(&self, options: &str) -> String {
        let hosts: Vec<String> = self.servers.iter().map(Server::address).collect();
        format!(
            "mongodb://{}/control?replicaSet=control{options}",
            hosts.join(",")
        )
    }

    /// Addresses for an examination, of these members.
    #[must_use]
    pub fn members(&self, which: &[usize]) -> Vec<MemberAddress> {
        which
            .iter()
            .map(|n| MemberAddress {
                name: format!("member-{n}"),
                host: "127.0.0.1".to_owned(),
                port: self.servers[*n].port,
            })
            .collect()
    }

    /// Runs a command on one member's database `admin`.
    ///
    /// # Errors
    /// The member is away, or refuses.
    pub async fn run(&self, member: usize, command: Document) -> Result<Document, ControlError> {
        let said = |e: mongodb::error::Error| ControlError::Statement(e.to_string());
        let uri = format!(
            "mongodb://{}/?directConnection=true&serverSelectionTimeoutMS={}",
            self.servers[member].address(),
            COMMAND.as_millis()
        );
        let client = mongodb::Client::with_uri_str(uri).await.map_err(said)?;
        let admin = client.database("admin");
        let answer = admin.run_command(command);
        tokio::time::timeout(COMMAND, async { answer.await })
            .await
            .map_err(|_| ControlError::Deadline {
                what: "a server answers".to_owned(),
                after: COMMAND,
            })?
            .map_err(said)
    }

    /// What a member says of itself.
    pub async fn is(&self, member: usize, what: &str) -> bool {
        let hello = self.run(member, doc! { "hello": 1 }).await;
        hello.is_ok_and(|hello| hello.get_bool(what).unwrap_or(false))
    }

    /// Lets a member copy no more, or again. A member that is merely frozen would apply, once it goes
    /// on, what lies in its sockets.
    ///
    /// # Errors
    /// It is away, or refuses.
    pub async fn copies(&self, member: usize, copies: bool) -> Result<(), ControlError> {
        let mode = if copies { "off" } else { "alwaysOn" };
        let command = doc! { "configureFailPoint": "stopReplProducer", "mode": mode };
        self.run(member, command).await.map(drop)
    }

    /// Kills a member without a word.
    pub fn crash(&mut self, member: usize) {
        self.servers[member].process.end();
    }

    /// Stops a member in the middle of whatever it does.
    ///
    /// # Errors
    /// It is not there, or goes on.
    pub async fn freeze(&self, member: usize) -> Result<(), ControlError> {
        self.servers[member].process.freeze().await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is not there.
    pub fn thaw(&self, member: usize) -> Result<(), ControlError> {
        self.servers[member].process.thaw()
    }
}

impl Server {
    fn start(binary: &Path, port: u16) -> Result<Self, ControlError> {
        let home = tempfile::Builder::new()
            .prefix("ferriswheel-control-")
            .tempdir()
            .map_err(system("make a temporary directory"))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(binary)
            .args(["--replSet", "control", "--bind_ip", "127.0.0.1"])
            .args(["--port", &port.to_string(), "--nounixsocket", "--quiet"])
            .args(["--wiredTigerCacheSizeGB", CACHE_GB])
            // For the one switch by which a member stops to copy.
            .args(["--setParameter", "enableTestCommands=1"])
            .arg("--dbpath")
            .arg(home.path())
            .arg("--logpath")
            .arg(home.path().join("log"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Process::default();
        process.start(&mut command)?;
        Ok(Self {
            process,
            port,
            _home: home,
        })
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
