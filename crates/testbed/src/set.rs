//! A set of members that replicate, and a pooler in front.
//!
//! Every program sees its own `/etc/hosts`, so that members call each other by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::agent::state::Reach;
use ferriswheel_actuators::databases::postgres::names::Names;
use ferriswheel_actuators::databases::postgres::order::{Member, Order, PoolerAddress};
use ferriswheel_actuators::databases::postgres::session::Credentials;
use ferriswheel_actuators::databases::postgres::tls::Tls;
use ferriswheel_actuators::databases::tls::TlsMode;
use ferriswheel_actuators::dial::Direct;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::program::{Mount, Program, Recipe};
use crate::template::{PASSWORD, Template, Version, connect, directory, free_port, own, reached};

/// What a set is made of.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// PostgreSQL.
    pub version: Version,
    /// Members `pg-0` (the primary), `pg-1`, ...
    pub members: usize,
    /// A pooler aimed at `pg-0`.
    pub pooler: bool,
    /// Time until an ended program is started again; `None`: a test starts it.
    pub restart: Option<Duration>,
}

impl Default for Wanted {
    /// Three members on PostgreSQL 15 behind a pooler. A kubelet notices the end of a container
    /// within a second and starts it again.
    fn default() -> Self {
        Self {
            version: Version::Fifteen,
            members: 3,
            pooler: true,
            restart: Some(Duration::from_millis(500)),
        }
    }
}

/// The set. Dropping it ends every process and removes every file.
pub struct Set {
    // Before the files: processes end first.
    servers: Vec<Program>,
    pooler: Option<Program>,
    template: Arc<Template>,
    root: tempfile::TempDir,
    ports: Vec<u16>,
    pooler_port: u16,
    net: [u8; 2],
}

/// The hosts file of a set.
struct Hosts(BTreeMap<String, Ipv4Addr>);

#[async_trait]
impl Names for Hosts {
    async fn addresses(&self, host: &str) -> Result<BTreeSet<IpAddr>, String> {
        Ok(self
            .0
            .get(host)
            .map(|ip| IpAddr::V4(*ip))
            .into_iter()
            .collect())
    }
}

/// Where the pooler listens, among the addresses of a set.
const POOLER: usize = 9;

/// A file that holds a server in its startup while it is there.
const HOLD: &str = "hold";

impl Set {
    /// A set as [`Wanted::default`] has it, answering.
    pub async fn start() -> Self {
        Self::of(Wanted::default()).await
    }

    /// A set whose standbys stream and whose pooler answers.
    pub async fn of(wanted: Wanted) -> Self {
        assert!(
            Path::new("/usr/sbin/pgbouncer").exists(),
            "PgBouncer is missing: apt-get install pgbouncer"
        );
        // Sets of one process differ in the third byte, processes in the second.
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let net = [
            u8::try_from(std::process::id() % 200 + 20).unwrap(),
            NEXT.fetch_add(1, Ordering::Relaxed),
        ];
        let template = Template::of(wanted.version).await;
        let mut set = Self {
            servers: Vec::new(),
            pooler: None,
            template,
            root: directory().await,
            ports: Vec::new(),
            pooler_port: 0,
            net,
        };
        set.ports = (0..wanted.members)
            .map(|n| free_port(set.address(n)))
            .collect();
        set.pooler_port = free_port(set.address(POOLER));
        let hosts: String = (0..wanted.members)
            .map(|n| format!("{} pg-{n}.pg\n", set.address(n)))
            .chain(["127.0.0.1 localhost\n".to_owned()])
            .collect();
        fs::write(set.hosts(), hosts).unwrap();
        for n in 0..wanted.members {
            let (root, name) = (set.root.path(), format!("pg-{n}"));
            let data = set.template.lay_out(root, &name).await;
            if n > 0 {
                set.make_standby(n, &data).await;
            }
            let mut recipe = set
                .template
                .member(root, &name, set.address(n), set.ports[n]);
            recipe.mounts.push(set.own_hosts());
            set.servers.push(Program::new(recipe, wanted.restart));
        }
        set.servers[0].start(&[]);
        let admin = set.connect(0).await;
        for n in 1..wanted.members {
            let slot = format!("SELECT pg_create_physical_replication_slot('pg_{n}')");
            admin.simple_query(&slot).await.unwrap();
            set.servers[n].start(&[]);
        }
        if wanted.pooler {
            set.pooler = Some(Program::new(set.pooler_recipe(), wanted.restart));
            set.start_pooler();
        }
        for n in 1..wanted.members {
            set.connect(n).await;
        }
        set.wait_for_streams(&admin, wanted.members - 1).await;
        if wanted.pooler {
            let log = set.log("pgbouncer");
            reached(set.address(POOLER), set.pooler_port, "app", &log).await;
        }
        set
    }

    async fn wait_for_streams(&self, admin: &Client, standbys: usize) {
        for _ in 0..1_500 {
            let rows = admin
                .query(
                    "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'",
                    &[],
                )
                .await
                .unwrap();
            if rows.len() == standbys {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the standbys do not stream:\n{}", self.logs());
    }

    fn address(&self, n: usize) -> Ipv4Addr {
        let [process, set] = self.net;
        Ipv4Addr::new(127, process, set, 10 + u8::try_from(n).unwrap())
    }

    fn hosts(&self) -> PathBuf {
        self.root.path().join("hosts")
    }

    fn own_hosts(&self) -> Mount {
        Mount::Bind {
            source: self.hosts(),
            at: "/etc/hosts".into(),
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.root.path().join(format!("{name}.log"))
    }

    async fn make_standby(&self, n: usize, data: &Path) {
        let conninfo = format!(
            "host=pg-0.pg port={} user=replicator password={PASSWORD} application_name=pg-{n}",
            self.ports[0]
        );
        let settings = format!("primary_conninfo = '{conninfo}'\nprimary_slot_name = 'pg_{n}'\n");
        for (name, text) in [
            ("postgresql.auto.conf", settings.as_str()),
            ("standby.signal", ""),
        ] {
            let path = data.join(name);
            fs::write(&path, text).unwrap();
            own(&path).await;
        }
    }

    /// File that the pooler reads on RELOAD.
    pub fn pooler_ini(&self) -> PathBuf {
        self.root.path().join("pgbouncer.ini")
    }

    fn pooler_recipe(&self) -> Recipe {
        let users = self.root.path().join("userlist.txt");
        fs::write(&users, format!("\"postgres\" \"{PASSWORD}\"\n")).unwrap();
        let ini = format!(
            "[databases]\napp = host=pg-0.pg port={} dbname=app\n[pgbouncer]\nlisten_addr = {}\nlisten_port = {}\n\
             auth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\nadmin_users = postgres\n\
             server_login_retry = 1\nunix_socket_dir =\nignore_startup_parameters = extra_float_digits\n",
            self.ports[0],
            self.address(POOLER),
            self.pooler_port,
            users.display()
        );
        fs::write(self.pooler_ini(), ini).unwrap();
        Recipe {
            argv: vec![
                "/usr/sbin/pgbouncer".to_owned(),
                self.pooler_ini().to_str().unwrap().to_owned(),
            ],
            mounts: vec![self.own_hosts()],
            log: self.log("pgbouncer"),
        }
    }

    fn the_pooler(&self) -> &Program {
        self.pooler.as_ref().expect("the set has a pooler")
    }

    /// What every process of the set printed.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        let names = (0..self.ports.len()).map(|n| format!("pg-{n}"));
        for name in names.chain(["pgbouncer".to_owned()]) {
            let log = fs::read_to_string(self.log(&name)).unwrap_or_default();
            text.push_str(&format!("--- {name}\n{log}"));
        }
        text
    }

    /// A superuser session with one member, as soon as it takes one.
    pub async fn connect(&self, n: usize) -> Client {
        reached(
            self.address(n),
            self.ports[n],
            "postgres",
            &self.log(&format!("pg-{n}")),
        )
        .await
    }

    /// A session with the application's database of one member.
    pub async fn connect_app(&self, n: usize) -> Client {
        connect(self.address(n), self.ports[n], "app")
            .await
            .unwrap()
    }

    /// A client's session through the pooler.
    pub async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        connect(self.address(POOLER), self.pooler_port, "app").await
    }

    /// `true` for a standby.
    pub async fn in_recovery(&self, n: usize) -> bool {
        let row = self
            .connect(n)
            .await
            .query_one("SELECT pg_is_in_recovery()", &[])
            .await
            .unwrap();
        row.get(0)
    }

    /// The postmaster of a member that runs.
    pub fn postmaster(&self, n: usize) -> Pid {
        self.servers[n].pid().expect("the server runs")
    }

    /// A member's process runs.
    pub fn runs(&self, n: usize) -> bool {
        self.servers[n].pid().is_some()
    }

    /// Sends a signal to a member's postmaster and all its children.
    pub fn signal_family(&self, n: usize, signal: Signal) {
        self.servers[n].signal(signal);
    }

    /// Starts a member that has ended.
    pub fn start_member(&self, n: usize) {
        self.servers[n].start(&[]);
    }

    /// Starts a member that has ended; a standby does not get beyond its startup until
    /// [`Set::let_start`].
    pub fn start_member_held(&self, n: usize) {
        let hold = self.root.path().join(HOLD);
        fs::write(&hold, "").unwrap();
        self.servers[n].start(&[
            "-c".into(),
            format!(
                "restore_command=while test -e {}; do sleep 0.02; done; false",
                hold.display()
            ),
        ]);
    }

    /// Lets a held member go on.
    pub fn let_start(&self) {
        fs::remove_file(self.root.path().join(HOLD)).unwrap();
    }

    /// Starts the pooler.
    pub fn start_pooler(&self) {
        self.the_pooler().start(&[]);
    }

    /// The pooler's process, which runs.
    pub fn pooler_pid(&self) -> Pid {
        self.the_pooler().pid().expect("the pooler runs")
    }

    /// The pooler's process runs.
    pub fn pooler_runs(&self) -> bool {
        self.the_pooler().pid().is_some()
    }

    /// The superuser of the servers, who is the pooler's admin too.
    pub fn superuser(&self) -> Credentials {
        Credentials {
            user: "postgres".into(),
            password: PASSWORD.into(),
            tls: Tls::new(TlsMode::default(), None, None).unwrap(),
        }
    }

    /// How the window reaches the set.
    pub fn reach(&self) -> Reach {
        Reach {
            superuser: self.superuser(),
            pooler_admin: self.superuser(),
            dial: Arc::new(Direct),
            names: Arc::new(Hosts(
                (0..self.ports.len())
                    .map(|n| (format!("pg-{n}.pg"), self.address(n)))
                    .collect(),
            )),
            patroni: None,
        }
    }

    /// A member in an order.
    pub fn member(&self, n: usize) -> Member {
        Member {
            name: format!("pg-{n}"),
            namespace: "db".into(),
            host: format!("pg-{n}.pg"),
            ip: self.address(n).to_string(),
            port: self.ports[n],
            slot: Some(format!("pg_{n}")),
        }
    }

    /// The pooler in an order.
    pub fn pooler(&self) -> PoolerAddress {
        PoolerAddress {
            name: "pgbouncer".into(),
            namespace: "db".into(),
            ip: self.address(POOLER).to_string(),
            port: self.pooler_port,
            entries: vec!["app".into()],
        }
    }

    /// An order that moves the primary from `pg-0` to `pg-1`.
    pub fn order(&self, key: &str) -> Order {
        Order {
            key: key.into(),
            old: self.member(0),
            candidate: self.member(1),
            others: (2..self.ports.len()).map(|n| self.member(n)).collect(),
            poolers: vec![self.pooler()],
            pause_budget_ms: 2_000,
            window_budget_ms: 8_000,
            max_lag_bytes: 64 * 1024,
            crash_safe: false,
            make_synchronous: false,
            patroni: None,
        }
    }

    /// Aims the pooler's file at a member, as the engine does before the window.
    pub fn aim_pooler(&self, to: usize) {
        let file = fs::read_to_string(self.pooler_ini()).unwrap();
        let entry = format!("app = host=pg-{to}.pg port={} dbname=app", self.ports[to]);
        let file: Vec<&str> = file
            .lines()
            .map(|line| {
                if line.starts_with("app = ") {
                    entry.as_str()
                } else {
                    line
                }
            })
            .collect();
        fs::write(self.pooler_ini(), file.join("\n") + "\n").unwrap();
    }
}
