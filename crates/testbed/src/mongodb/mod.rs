//! A MongoDB replica set on loopback addresses, with a key file, a user, and TLS for whoever asks for it.
//!
//! Members `mongo-0`, `mongo-1`, `mongo-2`, of which the first is the primary at the start. Each has
//! an address of its own.

mod writers;

pub use writers::{Writers, Written};

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bson::{Bson, Document, doc};
use ferriswheel_actuators::databases::mongodb::order::Order;
use ferriswheel_actuators::databases::mongodb::server::{Server, ServerError};
use ferriswheel_actuators::databases::mongodb::session::{Credentials, Session};
use ferriswheel_actuators::databases::mongodb::window::Cast;
use ferriswheel_actuators::databases::mongodb::wire::{WireServer, seconds};
use ferriswheel_actuators::databases::tls::{Secured, TlsMode};
use ferriswheel_actuators::dial::{Direct, Target};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::authority::Authority;
use crate::program::{Program, Recipe};
use crate::template::{directory, free_port, own};

/// User and password of everybody.
const USER: &str = "admin";
const PASSWORD: &str = "only-for-tests";

/// Members of a set.
const MEMBERS: usize = 3;

/// One command of a test. 15 s: a loaded machine must not decide.
const COMMAND: Duration = Duration::from_secs(15);

/// Cache of each server in gigabytes: the least that it takes.
const CACHE_GB: &str = "0.25";

fn program() -> PathBuf {
    let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = env("FERRISWHEEL_CACHE").unwrap_or_else(|| {
        env("XDG_CACHE_HOME")
            .unwrap_or_else(|| env("HOME").unwrap().join(".cache"))
            .join("ferriswheel")
    });
    let path = cache.join("mongodb/6.0/bin/mongod");
    assert!(
        path.exists(),
        "MongoDB is missing: scripts/install-mongodb.sh"
    );
    path
}

/// The set. Dropping it ends every process and removes every file.
pub struct Set {
    // Before the files: processes end first.
    servers: Vec<Program>,
    root: tempfile::TempDir,
    addresses: Vec<(Ipv4Addr, u16)>,
    authority: Authority,
}

impl Set {
    /// A set whose first member leads and whose others follow. Nobody is elected for another reason:
    /// the election timeout is the servers' default of 10 s.
    pub async fn start() -> Arc<Self> {
        // Sets of one process differ in the third byte, processes in the second. Other systems count
        // from the ends.
        static NEXT: AtomicU8 = AtomicU8::new(100);
        let net = [
            u8::try_from(std::process::id() % 200 + 20).unwrap(),
            NEXT.fetch_add(1, Ordering::Relaxed),
        ];
        let root = directory().await;
        let key = root.path().join("key");
        fs::write(&key, "b25seS1mb3ItdGVzdHMtb25seS1mb3ItdGVzdHM=").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
        own(&key).await;
        let address = |n: usize| {
            let last = u8::try_from(n).unwrap() + 10;
            Ipv4Addr::new(127, net[0], net[1], last)
        };
        let authority = Authority::new((0..MEMBERS).map(|n| address(n).to_string()));
        let secret = root.path().join("tls.pem");
        fs::write(
            &secret,
            format!("{}{}", authority.certificate, authority.key),
        )
        .unwrap();
        own(&secret).await;
        fs::write(root.path().join("ca.pem"), &authority.ca).unwrap();
        let mut set = Self {
            servers: Vec::new(),
            root,
            addresses: Vec::new(),
            authority,
        };
        for n in 0..MEMBERS {
            set.add(n, address(n)).await;
        }
        set.initiate().await;
        // A hand-over asks for it, and a slow machine has not got so far.
        set.together().await;
        Arc::new(set)
    }

    async fn add(&mut self, n: usize, ip: Ipv4Addr) {
        let home = self.root.path().join(format!("mongo-{n}"));
        fs::create_dir(&home).unwrap();
        own(&home).await;
        let port = free_port(ip);
        let (ip_text, port_text) = (ip.to_string(), port.to_string());
        let file = |name: &str| self.root.path().join(name).to_str().unwrap().to_owned();
        let (key, secret, ca) = (file("key"), file("tls.pem"), file("ca.pem"));
        let log = self.root.path().join(format!("mongo-{n}.log"));
        let argv = [
            "mongod",
            "--replSet",
            "rs0",
            "--dbpath",
            home.to_str().unwrap(),
            "--port",
            &port_text,
            "--bind_ip",
            &ip_text,
            "--keyFile",
            &key,
            // Plain text among members, and for writers; TLS for who hands over.
            "--tlsMode",
            "allowTLS",
            "--tlsCertificateKeyFile",
            &secret,
            "--tlsCAFile",
            &ca,
            "--tlsAllowConnectionsWithoutCertificates",
            "--nounixsocket",
            "--wiredTigerCacheSizeGB",
            CACHE_GB,
        ];
        // Linked into the set's own directory: the servers' user may not look into root's cache.
        let linked = self.root.path().join("mongod");
        if !linked.exists() && fs::hard_link(program(), &linked).is_err() {
            fs::copy(program(), &linked).unwrap();
        }
        let mut argv: Vec<String> = argv.into_iter().map(str::to_owned).collect();
        argv[0] = linked.to_str().unwrap().to_owned();
        let recipe = Recipe {
            argv,
            mounts: Vec::new(),
            log,
        };
        let server = Program::new(recipe, None);
        server.start(&[]);
        self.servers.push(server);
        self.addresses.push((ip, port));
    }

    async fn initiate(&self) {
        let nobody = Credentials::default();
        for n in 0..MEMBERS {
            self.until("a server answers", async || {
                self.session_as(n, nobody.clone())
                    .open(COMMAND)
                    .await
                    .is_ok()
            })
            .await;
        }
        let members: Vec<Bson> = (0..MEMBERS)
            .map(|n| {
                let id = i32::try_from(n).unwrap();
                Bson::Document(doc! { "_id": id, "host": self.host(n) })
            })
            .collect();
        let first = self.session_as(0, nobody);
        first.open(COMMAND).await.unwrap();
        let config = doc! { "_id": "rs0", "members": members };
        first
            .run("admin", doc! { "replSetInitiate": config }, COMMAND)
            .await
            .unwrap();
        let user = doc! { "createUser": USER, "pwd": PASSWORD, "roles": ["root"] };
        self.until("the first member leads", async || {
            first.run("admin", user.clone(), COMMAND).await.is_ok()
        })
        .await;
        self.until("the set is whole", async || {
            let mut states = Vec::new();
            for n in 0..MEMBERS {
                states.push(self.state(n).await);
            }
            states == ["PRIMARY", "SECONDARY", "SECONDARY"]
        })
        .await;
    }

    /// What a member says that it is.
    pub async fn state(&self, n: usize) -> String {
        let Ok(status) = self.run(n, doc! { "replSetGetStatus": 1 }).await else {
            return "(silent)".to_owned();
        };
        let members = status.get_array("members").unwrap();
        let mut own = members.iter().filter_map(Bson::as_document);
        own.find(|member| member.get_bool("self").unwrap_or(false))
            .and_then(|member| member.get_str("stateStr").ok())
            .unwrap_or("(nothing)")
            .to_owned()
    }

    /// Every setting of every member: its parameters, its command line and its view of the configuration.
    /// Without the term of the configuration, which each election raises.
    pub async fn settings(&self) -> Vec<Document> {
        let mut all = Vec::new();
        for n in 0..MEMBERS {
            let config = self.run(n, doc! { "replSetGetConfig": 1 }).await.unwrap();
            let mut config = config.get_document("config").unwrap().clone();
            config.remove("term");
            all.push(config);
            for command in [doc! { "getParameter": "*" }, doc! { "getCmdLineOpts": 1 }] {
                let mut answer = self.run(n, command).await.unwrap();
                for of_the_answer in ["$clusterTime", "operationTime"] {
                    answer.remove(of_the_answer);
                }
                all.push(answer);
            }
        }
        all
    }

    /// Waits until everybody answers and has what the newest has, but for a second of it.
    pub async fn together(&self) {
        self.until("everybody has everything", async || {
            let mut newest = Vec::new();
            for n in 0..MEMBERS {
                let answer = self.run(n, doc! { "hello": 1 }).await.unwrap_or_default();
                let last = answer.get_document("lastWrite").cloned();
                let at = last.and_then(|last| last.get_document("opTime").cloned());
                newest.push(at.map_or(0, |at| seconds(at.get("ts"))));
            }
            let latest = newest.iter().max().copied().unwrap_or(0);
            newest.iter().all(|at| *at > 0 && latest - at <= 1)
        })
        .await;
    }

    /// Waits for a condition.
    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        // 60 s: a set forms in two or three; on a loaded machine in twenty.
        for _ in 0..3_000 {
            if holds().await {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("gave up waiting until {what}\n{}", self.logs());
    }

    /// The last that every process printed.
    pub fn logs(&self) -> String {
        (0..self.servers.len())
            .map(|n| {
                let path = self.root.path().join(format!("mongo-{n}.log"));
                let text = fs::read_to_string(path).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = &lines[lines.len().saturating_sub(15)..];
                format!("--- mongo-{n}\n{}\n", last.join("\n"))
            })
            .collect()
    }

    /// `host:port` of a member.
    pub fn host(&self, n: usize) -> String {
        let (ip, port) = self.addresses[n];
        format!("{ip}:{port}")
    }

    /// Runs a command on a member's database `admin`.
    ///
    /// # Errors
    /// The member is away, or refuses.
    pub async fn run(&self, n: usize, command: Document) -> Result<Document, ServerError> {
        let session = self.session(n);
        session.open(COMMAND).await?;
        session.run("admin", command, COMMAND).await
    }

    /// Sends a signal to a member.
    pub fn signal(&self, n: usize, signal: Signal) {
        self.servers[n].signal(signal);
    }

    /// Kills a member, and waits until nothing of it is left.
    pub async fn kill(&self, n: usize) {
        self.signal(n, Signal::SIGKILL);
        self.until("it has ended", async || self.servers[n].pid().is_none())
            .await;
    }

    /// Starts a member that has ended with an empty disk. It begins to copy after so many seconds.
    pub async fn start_empty(&self, n: usize, seconds: u32) {
        let home = self.root.path().join(format!("mongo-{n}"));
        fs::remove_dir_all(&home).unwrap();
        fs::create_dir(&home).unwrap();
        own(&home).await;
        // Each time that the point is passed costs a second.
        let point = format!(
            "failpoint.initialSyncHangBeforeCopyingDatabases={{mode: {{times: {seconds}}}}}"
        );
        let more = [
            "--setParameter",
            "enableTestCommands=1",
            "--setParameter",
            &point,
        ];
        self.servers[n].start(&more.map(str::to_owned));
    }

    /// An order that hands over from one member to another.
    pub fn order(&self, key: &str, old: usize, candidate: usize) -> Order {
        let others = (0..MEMBERS).filter(|n| *n != old && *n != candidate);
        Order {
            key: key.to_owned(),
            old: format!("mongo-{old}"),
            candidate: format!("mongo-{candidate}"),
            others: others.map(|n| format!("mongo-{n}")).collect(),
            chain: true,
            window_ms: 15_000,
        }
    }

    /// A session with a member, not open yet.
    pub fn session(&self, n: usize) -> Session {
        let credentials = Credentials {
            user: Some(USER.to_owned()),
            password: Some(PASSWORD.to_owned()),
            tls: None,
        };
        self.session_as(n, credentials)
    }

    /// A session by TLS, for which the member's certificate must be of this authority.
    pub fn session_by(&self, n: usize, authority: &Authority) -> Session {
        let name = self.addresses[n].0.to_string();
        let ca = Some(authority.ca.as_bytes());
        let credentials = Credentials {
            user: Some(USER.to_owned()),
            password: Some(PASSWORD.to_owned()),
            tls: Secured::new(TlsMode::VerifyFull, ca, Some(name)).unwrap(),
        };
        self.session_as(n, credentials)
    }

    fn session_as(&self, n: usize, credentials: Credentials) -> Session {
        let (ip, port) = self.addresses[n];
        let name = format!("mongo-{n}");
        let target = Target::at("db", &name, ip.to_string(), port);
        Session::new(name, target, Arc::new(Direct), credentials)
    }

    /// Everybody who takes part in an order, by TLS.
    pub fn cast(&self, order: &Order) -> Cast {
        let server = |name: &String| {
            let n: usize = name.rsplit('-').next().unwrap().parse().unwrap();
            let session = self.session_by(n, &self.authority);
            Box::new(WireServer::new(session)) as Box<dyn Server>
        };
        Cast {
            old: server(&order.old),
            candidate: server(&order.candidate),
            others: order.others.iter().map(server).collect(),
        }
    }
}
