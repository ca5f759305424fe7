//! A real PostgreSQL set on loopback addresses, with somebody who starts a stopped server again,
//! as the kubelet does, and a real PgBouncer in front.
//!
//! Every server sees its own `/etc/hosts`, so that members call each other by name.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferriswheel_actuators::agent::state::Reach;
use ferriswheel_actuators::databases::postgres::order::{Member, Order, PoolerAddress};
use ferriswheel_actuators::databases::postgres::session::Credentials;
use ferriswheel_actuators::dial::Direct;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls};

/// Debian's PostgreSQL 15.
pub const BIN: &str = "/usr/lib/postgresql/15/bin";
const PASSWORD: &str = "only-for-tests";

/// The set.
pub struct Set {
    root: tempfile::TempDir,
    servers: Vec<Program>,
    pooler: Program,
    ports: Vec<u16>,
    pooler_port: u16,
    net: u8,
}

/// A program that is started again when it ends.
struct Program {
    pid: Arc<Mutex<Option<u32>>>,
    stop: Arc<AtomicBool>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Program {
    fn keep(argv: Vec<String>, hosts: PathBuf, log: PathBuf, restart: Duration) -> Self {
        let pid = Arc::new(Mutex::new(None));
        let stop = Arc::new(AtomicBool::new(false));
        let (pid_in, stop_in) = (Arc::clone(&pid), Arc::clone(&stop));
        let keeper = tokio::spawn(async move {
            while !stop_in.load(Ordering::SeqCst) {
                let mut child = start(&argv, &hosts, &log);
                *pid_in.lock().unwrap() = child.id();
                child.wait().await.expect("wait for a server");
                *pid_in.lock().unwrap() = None;
                sleep(restart).await;
            }
        });
        Self { pid, stop, keeper }
    }

    fn pid(&self) -> Pid {
        let pid = self.pid.lock().unwrap().expect("the server runs");
        Pid::from_raw(i32::try_from(pid).unwrap())
    }

    fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(pid) = *self.pid.lock().unwrap() {
            for child in family(pid) {
                let _ = kill(
                    Pid::from_raw(i32::try_from(child).unwrap()),
                    Signal::SIGKILL,
                );
            }
        }
        self.keeper.abort();
    }
}

/// In its own mount namespace with its own hosts file, as the user postgres, ended with this
/// process.
fn start(argv: &[String], hosts: &Path, log: &Path) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    Command::new("unshare")
        .args(["-m", "--", "sh", "-c"])
        .arg("mount --bind \"$0\" /etc/hosts && exec setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig KILL \"$@\"")
        .arg(hosts)
        .args(argv)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("unshare and setpriv (apt-get install util-linux), as root")
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut all = vec![pid];
    all.extend(
        children
            .split_whitespace()
            .filter_map(|c| c.parse::<u32>().ok()),
    );
    all
}

fn free_port(ip: Ipv4Addr) -> u16 {
    TcpListener::bind((IpAddr::V4(ip), 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Set {
    /// Three members `pg-0` (primary), `pg-1`, `pg-2`, and a pooler aimed at `pg-0`.
    pub async fn start() -> Self {
        assert!(
            Path::new(BIN).join("postgres").exists(),
            "PostgreSQL 15 is missing: apt-get install postgresql-15"
        );
        assert!(
            Path::new("/usr/sbin/pgbouncer").exists(),
            "PgBouncer is missing: apt-get install pgbouncer"
        );
        let root = tempfile::tempdir().unwrap();
        run(
            "chown",
            &["postgres", root.path().to_str().unwrap()],
            root.path(),
        )
        .await;
        let mut set = Self {
            net: u8::try_from(std::process::id() % 200 + 20).unwrap(),
            root,
            servers: Vec::new(),
            pooler: Program::keep(
                vec!["true".into()],
                "/etc/hosts".into(),
                "/dev/null".into(),
                Duration::from_secs(3600),
            ),
            ports: Vec::new(),
            pooler_port: 0,
        };
        set.pooler.end();
        set.ports = (0..3).map(|n| free_port(set.address(n))).collect();
        set.pooler_port = free_port(set.address(9));
        let hosts: String = (0..3)
            .map(|n| format!("{} pg-{n}.pg\n", set.address(n)))
            .chain(["127.0.0.1 localhost\n".to_owned()])
            .collect();
        fs::write(set.hosts(), hosts).unwrap();
        set.init_primary().await;
        set.run_server(0);
        set.wait(0).await;
        let admin = set.connect(0).await;
        for sql in [
            "CREATE ROLE replicator REPLICATION LOGIN PASSWORD 'only-for-tests'",
            "CREATE EXTENSION pg_walinspect",
            "CREATE DATABASE app",
            "SELECT pg_create_physical_replication_slot('pg_1')",
            "SELECT pg_create_physical_replication_slot('pg_2')",
        ] {
            admin.simple_query(sql).await.unwrap();
        }
        for n in 1..3 {
            set.clone_member(n).await;
            set.run_server(n);
            set.wait(n).await;
        }
        set.run_pooler();
        for _ in 0..100 {
            if set.client().await.is_ok() {
                return set;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("the pooler does not answer:\n{}", set.logs());
    }

    fn address(&self, n: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.net, 7, 10 + u8::try_from(n).unwrap())
    }

    fn hosts(&self) -> PathBuf {
        self.root.path().join("hosts")
    }

    fn data(&self, n: usize) -> PathBuf {
        self.root.path().join(format!("pg-{n}"))
    }

    /// File that the pooler reads on RELOAD.
    pub fn pooler_ini(&self) -> PathBuf {
        self.root.path().join("pgbouncer.ini")
    }

    async fn init_primary(&self) {
        let data = self.data(0);
        let password = self.root.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        let initdb = format!("{BIN}/initdb");
        self.as_postgres(&[
            &initdb,
            "-D",
            data.to_str().unwrap(),
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "--data-checksums",
            "--pwfile",
            password.to_str().unwrap(),
        ])
        .await;
        let hba = "local all all trust\nhost all all 127.0.0.0/8 scram-sha-256\nhost replication all 127.0.0.0/8 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), hba).unwrap();
        let conf = "wal_level = replica\nmax_wal_senders = 10\nmax_replication_slots = 10\nhot_standby = on\nshared_buffers = 32MB\nmax_connections = 60\nunix_socket_directories = ''\n";
        let mut all = fs::read_to_string(data.join("postgresql.conf")).unwrap();
        all.push_str(conf);
        fs::write(data.join("postgresql.conf"), all).unwrap();
    }

    async fn clone_member(&self, n: usize) {
        let basebackup = format!("{BIN}/pg_basebackup");
        let data = self.data(n);
        let slot = format!("pg_{n}");
        let conninfo = format!(
            "host=pg-0.pg port={} user=replicator password={PASSWORD} application_name=pg-{n}",
            self.ports[0]
        );
        self.as_postgres(&[
            &basebackup,
            "-D",
            data.to_str().unwrap(),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-S",
            &slot,
            "-d",
            &conninfo,
        ])
        .await;
    }

    async fn as_postgres(&self, argv: &[&str]) {
        let argv: Vec<String> = argv.iter().map(|&a| a.to_owned()).collect();
        let log = self.root.path().join("setup.log");
        if !self.hosts().exists() {
            fs::write(self.hosts(), "127.0.0.1 localhost\n").unwrap();
        }
        let status = start(&argv, &self.hosts(), &log).wait().await.unwrap();
        assert!(status.success(), "{}", fs::read_to_string(log).unwrap());
    }

    fn run_server(&mut self, n: usize) {
        let argv = vec![
            format!("{BIN}/postgres"),
            "-D".into(),
            self.data(n).to_str().unwrap().into(),
            "-c".into(),
            format!("listen_addresses={}", self.address(n)),
            "-p".into(),
            self.ports[n].to_string(),
        ];
        let log = self.root.path().join(format!("pg-{n}.log"));
        // A kubelet notices the end of a container within a second and starts it again.
        self.servers.push(Program::keep(
            argv,
            self.hosts(),
            log,
            Duration::from_millis(500),
        ));
    }

    fn run_pooler(&mut self) {
        let users = self.root.path().join("userlist.txt");
        fs::write(&users, format!("\"postgres\" \"{PASSWORD}\"\n")).unwrap();
        let ini = format!(
            "[databases]\napp = host=pg-0.pg port={} dbname=app\n[pgbouncer]\nlisten_addr = {}\nlisten_port = {}\n\
             auth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\nadmin_users = postgres\n\
             server_login_retry = 1\nunix_socket_dir =\nignore_startup_parameters = extra_float_digits\n",
            self.ports[0],
            self.address(9),
            self.pooler_port,
            users.display()
        );
        fs::write(self.pooler_ini(), ini).unwrap();
        let argv = vec![
            "/usr/sbin/pgbouncer".to_owned(),
            self.pooler_ini().to_str().unwrap().to_owned(),
        ];
        let log = self.root.path().join("pgbouncer.log");
        self.pooler = Program::keep(argv, self.hosts(), log, Duration::from_millis(500));
    }

    /// What every process of the set printed.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for name in ["pg-0.log", "pg-1.log", "pg-2.log", "pgbouncer.log"] {
            let log = fs::read_to_string(self.root.path().join(name)).unwrap_or_default();
            text.push_str(&format!("--- {name}\n{log}"));
        }
        text
    }

    async fn wait(&self, n: usize) {
        for _ in 0..300 {
            if self.try_connect(n).await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("pg-{n} did not start:\n{}", self.logs());
    }

    async fn try_connect(&self, n: usize) -> Result<Client, tokio_postgres::Error> {
        connect(self.address(n), self.ports[n], "postgres").await
    }

    /// A superuser session with one member.
    pub async fn connect(&self, n: usize) -> Client {
        self.try_connect(n)
            .await
            .unwrap_or_else(|e| panic!("pg-{n}: {e}\n{}", self.logs()))
    }

    /// A session with the application's database of one member.
    pub async fn connect_app(&self, n: usize) -> Client {
        connect(self.address(n), self.ports[n], "app")
            .await
            .unwrap()
    }

    /// A client's session through the pooler.
    pub async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        connect(self.address(9), self.pooler_port, "app").await
    }

    /// `true` for a standby.
    pub async fn in_recovery(&self, n: usize) -> bool {
        let rows = self
            .connect(n)
            .await
            .simple_query("SELECT pg_is_in_recovery()")
            .await
            .unwrap();
        rows.iter().any(|row| matches!(row, tokio_postgres::SimpleQueryMessage::Row(r) if r.get(0) == Some("t")))
    }

    /// The postmaster of a member.
    pub fn postmaster(&self, n: usize) -> Pid {
        self.servers[n].pid()
    }

    /// Sends a signal to a member's postmaster and all its children.
    pub fn signal_family(&self, n: usize, signal: Signal) {
        let pid = u32::try_from(self.postmaster(n).as_raw()).unwrap();
        for process in family(pid) {
            let _ = kill(Pid::from_raw(i32::try_from(process).unwrap()), signal);
        }
    }

    /// The pooler's process.
    pub fn pooler_pid(&self) -> Pid {
        self.pooler.pid()
    }

    /// How the window reaches the set.
    pub fn reach(&self) -> Reach {
        let postgres = Credentials {
            user: "postgres".into(),
            password: PASSWORD.into(),
        };
        Reach {
            superuser: postgres.clone(),
            pooler_admin: postgres,
            dial: Arc::new(Direct),
        }
    }

    /// An order that moves the primary from `pg-0` to `pg-1`.
    pub fn order(&self, key: &str) -> Order {
        let member = |n: usize| Member {
            name: format!("pg-{n}"),
            namespace: "db".into(),
            host: format!("pg-{n}.pg"),
            ip: self.address(n).to_string(),
            port: self.ports[n],
            slot: Some(format!("pg_{n}")),
        };
        Order {
            key: key.into(),
            old: member(0),
            candidate: member(1),
            others: vec![member(2)],
            poolers: vec![PoolerAddress {
                name: "pgbouncer".into(),
                namespace: "db".into(),
                ip: self.address(9).to_string(),
                port: self.pooler_port,
                entries: vec!["app".into()],
            }],
            pause_budget_ms: 2_000,
            window_budget_ms: 8_000,
            max_lag_bytes: 64 * 1024,
            crash_safe: false,
        }
    }

    /// Aims the pooler's file, as the engine does before the window.
    pub fn aim_pooler(&self, from: usize, to: usize) {
        let file = fs::read_to_string(self.pooler_ini()).unwrap();
        let file = file.replace(
            &format!("host=pg-{from}.pg port={}", self.ports[from]),
            &format!("host=pg-{to}.pg port={}", self.ports[to]),
        );
        fs::write(self.pooler_ini(), file).unwrap();
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        for server in &self.servers {
            server.end();
        }
        self.pooler.end();
    }
}

async fn run(program: &str, args: &[&str], _root: &Path) {
    assert!(
        Command::new(program)
            .args(args)
            .status()
            .await
            .unwrap()
            .success()
    );
}

async fn connect(ip: Ipv4Addr, port: u16, database: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::Config::new()
        .host(ip.to_string())
        .port(port)
        .user("postgres")
        .password(PASSWORD)
        .dbname(database)
        .connect_timeout(Duration::from_secs(2))
        .connect(NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Writers through the pooler: every key once, what was acknowledged is remembered.
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Written>>,
}

/// What the writers saw.
#[derive(Debug, Default)]
pub struct Written {
    /// Acknowledged keys by writer.
    pub acked: BTreeMap<u32, Vec<u32>>,
    /// Errors that a client saw.
    pub errors: Vec<String>,
    /// Longest time between two acknowledgements of one writer.
    pub longest: Duration,
}

impl Writers {
    /// Starts four writers.
    pub async fn start(set: &Arc<Set>) -> Self {
        let admin = set.connect_app(0).await;
        admin
            .simple_query("CREATE TABLE written (writer int, seq int, PRIMARY KEY (writer, seq))")
            .await
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..4)
            .map(|writer| {
                let (set, stop) = (Arc::clone(set), Arc::clone(&stop));
                tokio::spawn(async move { write(&set, writer, &stop).await })
            })
            .collect();
        Self { stop, tasks }
    }

    /// Stops them and gathers what they saw.
    pub async fn stop(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Written::default();
        for task in self.tasks {
            let one = task.await.unwrap();
            all.acked.extend(one.acked);
            all.errors.extend(one.errors);
            all.longest = all.longest.max(one.longest);
        }
        all
    }
}

async fn write(set: &Set, writer: u32, stop: &AtomicBool) -> Written {
    let mut written = Written::default();
    let mut client = set.client().await.ok();
    let mut last = tokio::time::Instant::now();
    let mut seq = 0;
    while !stop.load(Ordering::SeqCst) {
        let Some(open) = &client else {
            sleep(Duration::from_millis(20)).await;
            client = match set.client().await {
                Ok(client) => Some(client),
                Err(e) => {
                    written.errors.push(format!("connect: {e}"));
                    None
                }
            };
            continue;
        };
        seq += 1;
        match open
            .simple_query(&format!("INSERT INTO written VALUES ({writer}, {seq})"))
            .await
        {
            Ok(_) => {
                written.longest = written.longest.max(last.elapsed());
                last = tokio::time::Instant::now();
                written.acked.entry(writer).or_default().push(seq);
            }
            Err(e) => {
                written.errors.push(e.to_string());
                if open.is_closed() {
                    client = None;
                }
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
    written
}

/// Acknowledged keys that a member does not have.
pub async fn lost(set: &Set, member: usize, written: &Written) -> Vec<(u32, u32)> {
    let rows = set
        .connect_app(member)
        .await
        .simple_query("SELECT writer, seq FROM written")
        .await
        .unwrap();
    let present: std::collections::BTreeSet<(u32, u32)> = rows
        .iter()
        .filter_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(r) => {
                Some((r.get(0)?.parse().ok()?, r.get(1)?.parse().ok()?))
            }
            _ => None,
        })
        .collect();
    written
        .acked
        .iter()
        .flat_map(|(writer, seqs)| seqs.iter().map(|seq| (*writer, *seq)))
        .filter(|key| !present.contains(key))
        .collect()
}
