//! Real MariaDB sets of three members: binary logs synced with every commit, GTID, one primary, two
//! asynchronous replicas.
//!
//! Members `mariadb-0`, `mariadb-1`, `mariadb-2`, of which the first is the primary at the start. Each
//! has an address of its own, and is started again when it ends: as a replica if its disk says so.

mod writers;

pub use writers::{Writers, Written};

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ferriswheel_actuators::databases::mariadb::order::{Member, Order};
use ferriswheel_actuators::databases::mariadb::server::{Server, ServerError, Status};
use ferriswheel_actuators::databases::mariadb::session::{Credentials, Rows, Session};
use ferriswheel_actuators::databases::mariadb::window::{Cast, NoRoute};
use ferriswheel_actuators::databases::mariadb::wire::WireServer;
use ferriswheel_actuators::databases::tls::{Secured, TlsMode};
use ferriswheel_actuators::dial::{Direct, Target};
use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::authority::Authority;
use crate::program::{Program, Recipe};
use crate::template::{directory, free_port, own};

/// Password of everybody.
const PASSWORD: &str = "only-for-tests";

/// Members of a set.
const MEMBERS: usize = 3;

/// One statement of a test. 15 s: a loaded machine must not decide.
const STATEMENT: Duration = Duration::from_secs(15);

/// A redo log of the least size that holds a test: it is copied for each member.
const REDO: &str = "--innodb-log-file-size=8M";

/// A server that ended is started again after this time, as by a kubelet.
const AGAIN: Duration = Duration::from_millis(200);

/// Users and tables that every member begins with, in nobody's binary log. Written while there are no
/// rights yet, hence the first statement.
const BEGIN: &str = "FLUSH PRIVILEGES;
CREATE USER 'admin'@'%' IDENTIFIED BY 'only-for-tests';
GRANT ALL ON *.* TO 'admin'@'%' WITH GRANT OPTION;
CREATE USER 'replication'@'%' IDENTIFIED BY 'only-for-tests';
GRANT REPLICATION SLAVE ON *.* TO 'replication'@'%';
CREATE DATABASE app;
CREATE TABLE app.written (id VARCHAR(40) PRIMARY KEY) ENGINE=InnoDB;
CREATE USER 'app'@'%' IDENTIFIED BY 'only-for-tests';
GRANT ALL ON app.* TO 'app'@'%';
";

/// Data directories that some set still uses. Whoever comes while one is made waits for it.
static TEMPLATE: Mutex<Weak<tempfile::TempDir>> = Mutex::const_new(Weak::new());

fn program(name: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: apt-get install mariadb-server"))
}

async fn template() -> Arc<tempfile::TempDir> {
    let mut known = TEMPLATE.lock().await;
    if let Some(template) = known.upgrade() {
        return template;
    }
    let root = directory().await;
    let begin = root.path().join("begin.sql");
    fs::write(&begin, BEGIN).unwrap();
    // A server that starts removes every temporary table in its `TMPDIR`, whoever works on it.
    let argv = [
        "/usr/bin/env",
        &format!("TMPDIR={}", root.path().display()),
        program("mariadb-install-db").to_str().unwrap(),
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        &format!("--datadir={}", root.path().join("data").display()),
        &format!("--extra-file={}", begin.display()),
        REDO,
    ]
    .map(str::to_owned)
    .to_vec();
    let recipe = Recipe {
        argv,
        mounts: Vec::new(),
        log: root.path().join("install.log"),
    };
    recipe.run().await;
    let template = Arc::new(root);
    *known = Arc::downgrade(&template);
    template
}

/// The set. Dropping it ends every process and removes every file.
pub struct Set {
    // Before the files: processes end first.
    servers: Vec<Program>,
    root: tempfile::TempDir,
    addresses: Vec<(Ipv4Addr, u16)>,
    authority: Authority,
    _template: Arc<tempfile::TempDir>,
}

impl Set {
    /// A set whose first member leads and whose others follow; with more arguments for the servers.
    pub async fn start(more: &[&str]) -> Arc<Self> {
        // Sets of one process differ in the third byte, processes in the second. Other systems count
        // from elsewhere.
        static NEXT: AtomicU8 = AtomicU8::new(150);
        let net = [
            u8::try_from(std::process::id() % 200 + 20).unwrap(),
            NEXT.fetch_add(1, Ordering::Relaxed),
        ];
        let template = template().await;
        let address = |n: usize| {
            let last = u8::try_from(n).unwrap() + 10;
            Ipv4Addr::new(127, net[0], net[1], last)
        };
        let mut set = Self {
            servers: Vec::new(),
            root: directory().await,
            addresses: Vec::new(),
            authority: Authority::new((0..MEMBERS).map(|n| address(n).to_string())),
            _template: template,
        };
        for n in 0..MEMBERS {
            set.add(n, address(n), more).await;
        }
        for n in 0..MEMBERS {
            set.until("a server answers", async || {
                set.session(n).open(STATEMENT).await.is_ok()
            })
            .await;
        }
        for n in 1..MEMBERS {
            let (ip, port) = set.addresses[0];
            set.run(n, "SET GLOBAL read_only = 1").await.unwrap();
            let change = format!(
                "CHANGE MASTER TO MASTER_HOST = '{ip}', MASTER_PORT = {port}, MASTER_USER = 'replication', \
                 MASTER_PASSWORD = '{PASSWORD}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1"
            );
            set.run(n, &change).await.unwrap();
            set.run(n, "START SLAVE").await.unwrap();
        }
        for n in 1..MEMBERS {
            set.until("a replica follows", async || {
                set.status(n).await.is_ok_and(|s| s.sources[0].runs())
            })
            .await;
        }
        Arc::new(set)
    }

    async fn add(&mut self, n: usize, ip: Ipv4Addr, more: &[&str]) {
        let home = self.root.path().join(format!("mariadb-{n}"));
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self._template.path().join("data"))
            .arg(&home)
            .status()
            .await
            .unwrap();
        assert!(copied.success());
        let file = |name: &str| home.join(name).to_str().unwrap().to_owned();
        let (certificate, key) = (file("tls.crt"), file("tls.key"));
        fs::write(&certificate, &self.authority.certificate).unwrap();
        fs::write(&key, &self.authority.key).unwrap();
        own(&home).await;
        let temporary = self.root.path().join(format!("tmp-{n}"));
        fs::create_dir(&temporary).unwrap();
        own(&temporary).await;
        let port = free_port(ip);
        let log = self.root.path().join(format!("mariadb-{n}.log"));
        // What a member is after a restart is on its disk.
        let script =
            "if [ -e \"$0/master.info\" ]; then set -- \"$@\" --read-only=1; fi; exec \"$@\"";
        let mut argv = vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            script.to_owned(),
            home.to_str().unwrap().to_owned(),
            program("mariadbd").to_str().unwrap().to_owned(),
            "--no-defaults".to_owned(),
            format!("--datadir={}", home.display()),
            format!("--tmpdir={}", temporary.display()),
            format!("--socket={}", home.join("socket").display()),
            format!("--pid-file={}", home.join("pid").display()),
            format!("--bind-address={ip}"),
            format!("--port={port}"),
            format!("--server-id={}", 101 + n),
            "--log-bin=binlog".to_owned(),
            "--relay-log=relay".to_owned(),
            "--log-slave-updates".to_owned(),
            "--gtid-strict-mode".to_owned(),
            "--sync-binlog=1".to_owned(),
            // Replicas keep up with a primary that commits in groups.
            "--slave-parallel-threads=4".to_owned(),
            "--skip-name-resolve".to_owned(),
            // For who asks for it.
            format!("--ssl-cert={certificate}"),
            format!("--ssl-key={key}"),
            "--innodb-buffer-pool-size=32M".to_owned(),
            REDO.to_owned(),
        ];
        argv.extend(more.iter().map(|one| (*one).to_owned()));
        let recipe = Recipe {
            argv,
            mounts: Vec::new(),
            log,
        };
        let server = Program::new(recipe, Some(AGAIN));
        server.start(&[]);
        self.servers.push(server);
        self.addresses.push((ip, port));
    }

    /// Waits for a condition.
    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        // 60 s: a set stands in three; on a loaded machine in twenty.
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
                let path = self.root.path().join(format!("mariadb-{n}.log"));
                let text = fs::read_to_string(path).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = &lines[lines.len().saturating_sub(15)..];
                format!("--- mariadb-{n}\n{}\n", last.join("\n"))
            })
            .collect()
    }

    /// Runs a statement on a member, in a session of its own.
    ///
    /// # Errors
    /// The member is away, or refuses.
    pub async fn run(&self, n: usize, statement: &str) -> Result<Rows, ServerError> {
        let session = self.session(n);
        session.open(STATEMENT).await?;
        session.run(statement, STATEMENT).await
    }

    /// A member's own view.
    ///
    /// # Errors
    /// The member is away.
    pub async fn status(&self, n: usize) -> Result<Status, ServerError> {
        let server = WireServer::new(self.session(n), Credentials::default());
        server.open(STATEMENT).await?;
        server.status(STATEMENT).await
    }

    /// Every setting of a member that may differ after a hand-over, as text.
    pub async fn settings(&self, n: usize) -> Vec<String> {
        let rows = self.run(n, "SHOW GLOBAL VARIABLES").await.unwrap();
        rows.iter()
            .map(|row| format!("{} = {}", row.text("Variable_name"), row.text("Value")))
            // Positions, and what counts up.
            .filter(|line| !line.starts_with("gtid_") && !line.starts_with("read_only"))
            .filter(|line| !line.starts_with("innodb_buffer_pool_dump"))
            .collect()
    }

    /// Sends a signal to a member. One that ends by it is started again.
    pub fn signal(&self, n: usize, signal: Signal) {
        self.servers[n].signal(signal);
    }

    /// Ends a member for good.
    pub fn end(&self, n: usize) {
        self.servers[n].end();
    }

    /// An order that hands over from one member to another.
    pub fn order(&self, key: &str, old: usize, candidate: usize) -> Order {
        let member = |n: usize| Member {
            name: format!("mariadb-{n}"),
            host: self.addresses[n].0.to_string(),
            port: self.addresses[n].1,
        };
        let others = (0..MEMBERS).filter(|n| *n != old && *n != candidate);
        Order {
            key: key.to_owned(),
            old: member(old),
            candidate: member(candidate),
            others: others.map(member).collect(),
            lock_ms: 2_000,
            window_ms: 5_000,
            semi_sync: false,
        }
    }

    /// A session of the user that hands over, not open yet.
    pub fn session(&self, n: usize) -> Session {
        self.session_of(n, "admin")
    }

    /// A session of this user, not open yet.
    pub fn session_of(&self, n: usize, user: &str) -> Session {
        let (ip, port) = self.addresses[n];
        let name = format!("mariadb-{n}");
        let target = Target::at("db", &name, ip.to_string(), port);
        Session::new(name, target, Arc::new(Direct), credentials(user))
    }

    /// A session by TLS, for which the member's certificate must be of this authority.
    pub fn session_by(&self, n: usize, authority: &Authority) -> Session {
        let (ip, port) = self.addresses[n];
        let name = format!("mariadb-{n}");
        let target = Target::at("db", &name, ip.to_string(), port);
        let ca = Some(authority.ca.as_bytes());
        let credentials = Credentials {
            tls: Secured::new(TlsMode::VerifyFull, ca, Some(ip.to_string())).unwrap(),
            ..credentials("admin")
        };
        Session::new(name, target, Arc::new(Direct), credentials)
    }

    /// Everybody who takes part in an order, by TLS; clients find the primary by themselves.
    pub fn cast(&self, order: &Order) -> Cast {
        let server = |member: &Member| {
            let n: usize = member.name.rsplit('-').next().unwrap().parse().unwrap();
            let session = self.session_by(n, &self.authority);
            Box::new(WireServer::new(session, credentials("replication"))) as Box<dyn Server>
        };
        Cast {
            old: server(&order.old),
            candidate: server(&order.candidate),
            others: order.others.iter().map(server).collect(),
            route: Box::new(NoRoute),
        }
    }
}

fn credentials(user: &str) -> Credentials {
    Credentials {
        user: user.to_owned(),
        password: PASSWORD.to_owned(),
        tls: None,
    }
}
