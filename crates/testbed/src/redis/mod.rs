//! A Redis (or Valkey) cluster of shards, each a primary with its replicas.
//!
//! Members `redis-0`, `redis-1`, ... : first the primaries, then the first replica of each, then the
//! second. Each has an address of its own.

mod writers;

pub use writers::{Writers, Written};

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use ferriswheel_actuators::databases::redis::order::{Member, Order};
use ferriswheel_actuators::databases::redis::server::Server;
use ferriswheel_actuators::databases::redis::session::{Credentials, Session};
use ferriswheel_actuators::databases::redis::window::Cast;
use ferriswheel_actuators::databases::redis::wire::WireServer;
use ferriswheel_actuators::databases::tls::{Secured, TlsMode};
use ferriswheel_actuators::dial::{Direct, Target};
use nix::sys::signal::Signal;
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::authority::Authority;
use crate::program::{Program, Recipe};
use crate::template::{directory, own};

/// Password of the default user.
const PASSWORD: &str = "only-for-tests";

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Debian's Redis 7.0.
    Redis7,
    /// The one that `scripts/install-valkey-9.sh` unpacks.
    Valkey9,
}

impl Flavour {
    fn program(self) -> PathBuf {
        match self {
            Self::Redis7 => {
                let path = PathBuf::from("/usr/bin/redis-server");
                assert!(
                    path.exists(),
                    "Redis is missing: apt-get install redis-server"
                );
                path
            }
            Self::Valkey9 => {
                let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
                let cache = env("FERRISWHEEL_CACHE").unwrap_or_else(|| {
                    env("XDG_CACHE_HOME")
                        .unwrap_or_else(|| env("HOME").unwrap().join(".cache"))
                        .join("ferriswheel")
                });
                let path = cache.join("valkey/9/bin/valkey-server");
                assert!(
                    path.exists(),
                    "Valkey 9 is missing: scripts/install-valkey-9.sh"
                );
                path
            }
        }
    }
}

/// What a cluster is made of.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Program.
    pub flavour: Flavour,
    /// Primaries.
    pub shards: usize,
    /// Replicas of each.
    pub replicas: usize,
    /// `cluster-node-timeout`.
    pub node_timeout: Duration,
    /// Members speak TLS with each other, and with us; writers stay on a port without.
    pub tls: bool,
}

impl Default for Wanted {
    /// Three shards with a replica each on Redis 7.0. 15 s, the servers' default: nobody fails over
    /// by himself during a test.
    fn default() -> Self {
        Self {
            flavour: Flavour::Redis7,
            shards: 3,
            replicas: 1,
            node_timeout: Duration::from_secs(15),
            tls: false,
        }
    }
}

/// Ports of a member.
#[derive(Clone, Copy, Debug)]
struct Ports {
    /// Of clients, in plain text.
    plain: u16,
    /// Of the other members.
    bus: u16,
    /// Of clients, by TLS.
    tls: Option<u16>,
}

impl Ports {
    /// The one by which members know each other.
    fn known(self) -> u16 {
        self.tls.unwrap_or(self.plain)
    }
}

/// The cluster. Dropping it ends every process and removes every file.
pub struct Cluster {
    // Before the files: processes end first.
    servers: Vec<Program>,
    root: tempfile::TempDir,
    wanted: Wanted,
    net: [u8; 2],
    authority: Option<Authority>,
    ports: Vec<Ports>,
    ids: Vec<String>,
}

impl Cluster {
    /// A cluster as [`Wanted::default`] has it.
    pub async fn start() -> Arc<Self> {
        Self::of(Wanted::default()).await
    }

    /// A cluster whose replicas follow and whose members all know each other.
    pub async fn of(wanted: Wanted) -> Arc<Self> {
        // Clusters of one process differ in the third byte, processes in the second. PostgreSQL sets
        // count from below.
        static NEXT: AtomicU8 = AtomicU8::new(u8::MAX);
        let net = [
            u8::try_from(std::process::id() % 200 + 20).unwrap(),
            NEXT.fetch_sub(1, Ordering::Relaxed),
        ];
        let members = wanted.shards * (1 + wanted.replicas);
        let authority = wanted
            .tls
            .then(|| Authority::new((0..members).map(|n| address(net, n).to_string())));
        let mut cluster = Self {
            servers: Vec::new(),
            root: directory().await,
            wanted,
            net,
            authority,
            ports: Vec::new(),
            ids: Vec::new(),
        };
        for n in 0..members {
            cluster.add(n).await;
        }
        for n in 0..cluster.servers.len() {
            cluster
                .ids
                .push(cluster.text(n, &["CLUSTER", "MYID"]).await);
        }
        cluster.join().await;
        Arc::new(cluster)
    }

    async fn add(&mut self, n: usize) {
        let home = self.root.path().join(format!("redis-{n}"));
        fs::create_dir(&home).unwrap();
        let file = |name: &str| home.join(name).to_str().unwrap().to_owned();
        let (ca, certificate, key) = (file("ca.crt"), file("tls.crt"), file("tls.key"));
        if let Some(authority) = &self.authority {
            fs::write(&ca, &authority.ca).unwrap();
            fs::write(&certificate, &authority.certificate).unwrap();
            fs::write(&key, &authority.key).unwrap();
        }
        own(&home).await;
        let ip = self.address(n);
        // All are held until all are known, so that they differ.
        let free = || TcpListener::bind((ip, 0)).unwrap();
        let held = [free(), free(), free()];
        let [plain, bus, tls] =
            [&held[0], &held[1], &held[2]].map(|port| port.local_addr().unwrap().port());
        drop(held);
        let ports = Ports {
            plain,
            bus,
            tls: self.wanted.tls.then_some(tls),
        };
        let timeout = self.wanted.node_timeout.as_millis().to_string();
        let (ip, port_text, bus_text) = (ip.to_string(), plain.to_string(), bus.to_string());
        let program = self.wanted.flavour.program();
        let mut argv = vec![program.to_str().unwrap().to_owned()];
        for (name, value) in [
            ("--port", port_text.as_str()),
            ("--cluster-port", &bus_text),
            ("--bind", &ip),
            ("--dir", home.to_str().unwrap()),
            ("--cluster-enabled", "yes"),
            ("--cluster-announce-ip", &ip),
            ("--cluster-node-timeout", &timeout),
            ("--appendonly", "yes"),
            ("--requirepass", PASSWORD),
            ("--masterauth", PASSWORD),
        ] {
            argv.extend([name.to_owned(), value.to_owned()]);
        }
        if let Some(port) = ports.tls {
            for (name, value) in [
                ("--tls-port", port.to_string().as_str()),
                ("--tls-ca-cert-file", &ca),
                ("--tls-cert-file", &certificate),
                ("--tls-key-file", &key),
                ("--tls-auth-clients", "no"),
                ("--tls-replication", "yes"),
                ("--tls-cluster", "yes"),
            ] {
                argv.extend([name.to_owned(), value.to_owned()]);
            }
        }
        let recipe = Recipe {
            argv,
            mounts: Vec::new(),
            log: self.root.path().join(format!("redis-{n}.log")),
        };
        let server = Program::new(recipe, None);
        server.start(&[]);
        self.servers.push(server);
        self.ports.push(ports);
    }

    async fn join(&self) {
        let shards = self.wanted.shards;
        let share = 16_384 / shards;
        for n in 0..shards {
            let last = if n + 1 == shards {
                16_383
            } else {
                share * (n + 1) - 1
            };
            let (from, to) = ((share * n).to_string(), last.to_string());
            self.text(n, &["CLUSTER", "ADDSLOTSRANGE", &from, &to])
                .await;
            self.text(n, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()])
                .await;
        }
        for n in 1..self.servers.len() {
            let (port, bus) = (self.ports[n].known(), self.ports[n].bus);
            let ip = self.address(n).to_string();
            self.text(
                0,
                &["CLUSTER", "MEET", &ip, &port.to_string(), &bus.to_string()],
            )
            .await;
        }
        for n in shards..self.servers.len() {
            let primary = self.ids[n % shards].clone();
            self.until("a replica is told whom to follow", async || {
                self.run(n, &["CLUSTER", "REPLICATE", &primary])
                    .await
                    .is_ok()
            })
            .await;
        }
        self.settle().await;
    }

    /// Waits until every member sees every other one as it is.
    pub async fn settle(&self) {
        self.until("everybody agrees", async || {
            for n in 0..self.servers.len() {
                if !self.is_settled(n).await {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// A member sees all slots served, everybody in his place, and follows if it is a replica.
    pub async fn is_settled(&self, n: usize) -> bool {
        let (Ok(info), Ok(nodes), Ok(replication)) = (
            self.run(n, &["CLUSTER", "INFO"]).await.map(text),
            self.run(n, &["CLUSTER", "NODES"]).await.map(text),
            self.run(n, &["INFO", "replication"]).await.map(text),
        ) else {
            return false;
        };
        let count = |flag: &str| nodes.lines().filter(|line| line.contains(flag)).count();
        info.contains("cluster_state:ok")
            && info.contains(&format!("cluster_size:{}", self.wanted.shards))
            && count("slave ") == self.servers.len() - self.wanted.shards
            && count("disconnected") + count("handshake") + count("fail") == 0
            && (replication.contains("role:master")
                || replication.contains("master_link_status:up"))
    }

    /// Waits for a condition.
    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        // 30 s: a cluster forms in one or two; on a loaded machine in ten.
        for _ in 0..1_500 {
            if holds().await {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("gave up waiting until {what}\n{}", self.logs());
    }

    /// What every process printed.
    pub fn logs(&self) -> String {
        (0..self.servers.len())
            .map(|n| {
                let path = self.root.path().join(format!("redis-{n}.log"));
                format!(
                    "--- redis-{n}\n{}",
                    fs::read_to_string(path).unwrap_or_default()
                )
            })
            .collect()
    }

    fn address(&self, n: usize) -> Ipv4Addr {
        address(self.net, n)
    }

    /// A client's connection with a member.
    ///
    /// # Errors
    /// The member does not take one.
    pub async fn client(&self, n: usize) -> redis::RedisResult<MultiplexedConnection> {
        self.client_at(&format!("{}:{}", self.address(n), self.ports[n].plain))
            .await
    }

    async fn client_at(&self, address: &str) -> redis::RedisResult<MultiplexedConnection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let info = redis::RedisConnectionInfo::default()
            .set_password(PASSWORD)
            .set_skip_set_lib_name();
        // Longer than any stall that a test looks for.
        let patience = Some(Duration::from_secs(30));
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(patience);
        let (client, driver) =
            MultiplexedConnection::new_with_config(&info, stream, config).await?;
        tokio::spawn(driver);
        Ok(client)
    }

    /// Runs a command on a member.
    ///
    /// # Errors
    /// The member is away, or refuses.
    pub async fn run(&self, n: usize, words: &[&str]) -> redis::RedisResult<Value> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let mut client = self.client(n).await?;
        match client.send_packed_command(&command).await? {
            Value::ServerError(error) => Err(error.into()),
            value => Ok(value),
        }
    }

    /// The answer of a member as soon as it gives one, as text.
    pub async fn text(&self, n: usize, words: &[&str]) -> String {
        let mut last = None;
        for _ in 0..1_500 {
            match self.run(n, words).await {
                Ok(value) => return text(value),
                Err(e) if e.is_io_error() || e.code() == Some("LOADING") => last = Some(e),
                Err(e) => panic!("redis-{n}: {}: {e}", words.join(" ")),
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!(
            "redis-{n} does not answer {}: {last:?}\n{}",
            words.join(" "),
            self.logs()
        );
    }

    /// `master` or `slave`.
    pub async fn role(&self, n: usize) -> String {
        let info = self.text(n, &["INFO", "replication"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("role:"));
        line.unwrap().trim().to_owned()
    }

    /// Sends a signal to a member.
    pub fn signal(&self, n: usize, signal: Signal) {
        self.servers[n].signal(signal);
    }

    /// A member in an order.
    pub fn member(&self, n: usize) -> Member {
        Member {
            name: format!("redis-{n}"),
            namespace: "db".into(),
            node_id: self.ids[n].clone(),
            ip: self.address(n).to_string(),
            port: self.ports[n].known(),
        }
    }

    /// An order that hands a shard from one member to another.
    pub fn order(&self, key: &str, old: usize, candidate: usize) -> Order {
        let others = (0..self.servers.len()).filter(|n| *n != old && *n != candidate);
        Order::new(
            key,
            self.member(old),
            self.member(candidate),
            others.map(|n| self.member(n)).collect(),
        )
    }

    /// A session with a member of an order, not open yet.
    pub fn session(&self, member: &Member) -> Session {
        let authority = self.authority.as_ref().map(|one| one.ca.as_bytes());
        let tls = authority.and_then(|ca| {
            let name = Some(member.ip.clone());
            Secured::new(TlsMode::VerifyFull, Some(ca), name).unwrap()
        });
        self.session_by(member, tls)
    }

    /// The authority of the members' certificates, where they have one.
    pub fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("the members speak TLS")
    }

    /// A session that is secured in this way, not open yet.
    pub fn session_by(&self, member: &Member, tls: Option<Secured>) -> Session {
        let target = Target::at(&member.namespace, &member.name, &member.ip, member.port);
        let credentials = Credentials {
            password: Some(PASSWORD.to_owned()),
            tls,
            ..Credentials::default()
        };
        Session::new(&member.name, target, Arc::new(Direct), credentials)
    }

    /// Everybody who takes part in an order.
    pub fn cast(&self, order: &Order) -> Cast {
        let server =
            |member: &Member| Box::new(WireServer::new(self.session(member))) as Box<dyn Server>;
        Cast {
            old: server(&order.old),
            candidate: server(&order.candidate),
            others: order.others.iter().map(server).collect(),
        }
    }
}

fn address([process, set]: [u8; 2], n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, process, set, 10 + u8::try_from(n).unwrap())
}

fn text(value: Value) -> String {
    match value {
        Value::Array(parts) => {
            let parts: Vec<String> = parts.into_iter().map(text).collect();
            parts.join("\n")
        }
        Value::BulkString(bytes) => String::from_utf8(bytes).unwrap(),
        Value::SimpleString(text) => text,
        Value::Int(number) => number.to_string(),
        Value::Okay => "OK".to_owned(),
        Value::Nil => String::new(),
        other => panic!("{other:?}"),
    }
}
