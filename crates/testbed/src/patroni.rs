//! Members under Debian's Patroni, which keeps its state in etcd, and a pooler in front.
//!
//! A member is a tree of processes: Patroni, and the server that it starts and that outlives it. Each tree has a process
//! namespace of its own, so that nothing of it is left when the test ends, however it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::agent::state::Reach;
use ferriswheel_actuators::databases::postgres::names::Names;
use ferriswheel_actuators::databases::postgres::order::{Member, Order, PoolerAddress};
use ferriswheel_actuators::databases::postgres::patroni::Asked;
use ferriswheel_actuators::databases::postgres::patroni::rest::{Login, Rest};
use ferriswheel_actuators::databases::postgres::session::Credentials;
use ferriswheel_actuators::databases::postgres::tls::Tls;
use ferriswheel_actuators::databases::tls::TlsMode;
use ferriswheel_actuators::dial::{Dial, Direct, Target};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::program::{Mount, Program, Recipe};
use crate::template::{PASSWORD, QUICK_PASSWORD, connect, directory, free_port, own, reached};
use crate::writers::Clients;

/// Members of a set: a leader, its successor, and somebody who follows both.
const MEMBERS: usize = 3;

/// Where the pooler and etcd listen, among the addresses of a set.
const POOLER: usize = 9;
const ETCD: usize = 10;

/// The user of the REST API, where it wants a login.
const OPERATOR: &str = "operator";

/// Seconds after which a silent leader may be replaced; Patroni takes no less.
const TTL: u64 = 20;

/// Seconds between two looks of a member.
const LOOP_WAIT: u64 = 2;

/// The set. Dropping it ends every process and removes every file.
pub struct Patroni {
    // Before the files: processes end first.
    members: Vec<Mutex<Option<Child>>>,
    pooler: Program,
    etcd: Program,
    root: tempfile::TempDir,
    net: [u8; 2],
    port: u16,
    rest_port: u16,
    pooler_port: u16,
    login: bool,
}

struct Hosts(BTreeMap<String, Ipv4Addr>);

#[async_trait]
impl Names for Hosts {
    async fn addresses(&self, host: &str) -> Result<BTreeSet<IpAddr>, String> {
        let found = self.0.get(host).map(|ip| IpAddr::V4(*ip));
        Ok(found.into_iter().collect())
    }
}

#[async_trait]
impl Clients for Patroni {
    async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        connect(self.address(POOLER), self.pooler_port, "app").await
    }

    async fn connect_app(&self, n: usize) -> Client {
        reached(self.address(n), self.port, "app", &self.log(n)).await
    }
}

impl Patroni {
    /// Three members, led by `pg-0`, whose REST APIs want a login or not.
    pub async fn start(login: bool) -> Self {
        for (program, package) in [
            ("/usr/bin/patroni", "patroni python3-etcd"),
            ("/usr/bin/etcd", "etcd-server"),
            ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
            ("/usr/sbin/pgbouncer", "pgbouncer"),
        ] {
            assert!(
                Path::new(program).exists(),
                "{program} is missing: apt-get install {package}"
            );
        }
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let net = [
            u8::try_from(std::process::id() % 200 + 20).unwrap(),
            200 + NEXT.fetch_add(1, Ordering::Relaxed),
        ];
        let root = directory().await;
        let address = |n: usize| Ipv4Addr::new(127, net[0], net[1], 10 + u8::try_from(n).unwrap());
        let hosts: String = (0..MEMBERS)
            .map(|n| format!("{} pg-{n}.pg\n", address(n)))
            .chain(["127.0.0.1 localhost\n".to_owned()])
            .collect();
        fs::write(root.path().join("hosts"), hosts).unwrap();
        let own_hosts = Mount::Bind {
            source: root.path().join("hosts"),
            at: "/etc/hosts".into(),
        };
        let (port, pooler_port) = (free_port(address(0)), free_port(address(POOLER)));
        let set = Self {
            members: (0..MEMBERS).map(|_| Mutex::default()).collect(),
            pooler: Program::new(
                pooler_recipe(root.path(), address(POOLER), pooler_port, port, &own_hosts),
                None,
            ),
            etcd: Program::new(etcd_recipe(root.path(), address(ETCD)), None),
            net,
            port,
            rest_port: free_port(address(1)),
            pooler_port,
            login,
            root,
        };
        set.etcd.start(&[]);
        for n in 0..MEMBERS {
            set.configure(n).await;
        }
        // The first one makes the database, the others are cloned from it.
        set.start_member(0);
        set.wait_for_primary(0).await;
        let admin = reached(set.address(0), set.port, "postgres", &set.log(0)).await;
        for sql in ["CREATE DATABASE app", QUICK_PASSWORD] {
            admin.simple_query(sql).await.unwrap();
        }
        for n in 1..MEMBERS {
            set.start_member(n);
        }
        set.wait_until_whole(0).await;
        set.pooler.start(&[]);
        let log = set.root.path().join("pgbouncer.log");
        reached(set.address(POOLER), set.pooler_port, "app", &log).await;
        set
    }

    fn address(&self, n: usize) -> Ipv4Addr {
        let [process, set] = self.net;
        Ipv4Addr::new(127, process, set, 10 + u8::try_from(n).unwrap())
    }

    fn log(&self, n: usize) -> PathBuf {
        self.root.path().join(format!("pg-{n}.log"))
    }

    async fn configure(&self, n: usize) {
        let root = self.root.path();
        let (ip, port, rest) = (self.address(n), self.port, self.rest_port);
        let sockets = root.join(format!("run-{n}"));
        fs::create_dir(&sockets).unwrap();
        own(&sockets).await;
        let login = if self.login {
            format!("  authentication: {{ username: {OPERATOR}, password: {PASSWORD} }}\n")
        } else {
            String::new()
        };
        let text = format!(
            "scope: pg\nname: pg-{n}\nrestapi:\n  listen: {ip}:{rest}\n  connect_address: {ip}:{rest}\n{login}\
             etcd3: {{ hosts: '{etcd}:{client}' }}\n\
             bootstrap:\n  dcs:\n    ttl: {TTL}\n    loop_wait: {LOOP_WAIT}\n    retry_timeout: 5\n    \
             postgresql:\n      use_pg_rewind: true\n      use_slots: true\n      parameters:\n        \
             wal_level: replica\n        max_wal_senders: 10\n        max_replication_slots: 10\n        \
             max_connections: 60\n        shared_buffers: 32MB\n        wal_keep_size: 64MB\n  \
             initdb: [ {{ encoding: UTF8 }}, {{ locale: C.UTF-8 }}, data-checksums ]\n\
             postgresql:\n  listen: {ip}:{port}\n  connect_address: {ip}:{port}\n  data_dir: {data}\n  \
             bin_dir: /usr/lib/postgresql/15/bin\n  pgpass: {root}/pgpass-{n}\n  basebackup: [ {{ checkpoint: fast }} ]\n  \
             parameters: {{ unix_socket_directories: '{sockets}' }}\n  \
             authentication:\n    superuser: {{ username: postgres, password: {PASSWORD} }}\n    \
             replication: {{ username: replicator, password: {PASSWORD} }}\n    \
             rewind: {{ username: postgres, password: {PASSWORD} }}\n  \
             pg_hba: [ 'local all all trust', 'host replication replicator 127.0.0.0/8 scram-sha-256', \
             'host all all 127.0.0.0/8 scram-sha-256' ]\n",
            etcd = self.address(ETCD),
            client = ETCD_CLIENT,
            data = root.join(format!("data-{n}")).display(),
            root = root.display(),
            sockets = sockets.display(),
        );
        fs::write(root.join(format!("pg-{n}.yml")), text).unwrap();
    }

    /// Starts a member that does not run.
    pub fn start_member(&self, n: usize) {
        let mut slot = lock(&self.members[n]);
        assert!(slot.is_none(), "pg-{n} runs already");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(n))
            .unwrap();
        // The shell stays, and reaps a server that has lost its Patroni.
        let script = "mount --bind \"$1\" /etc/hosts || exit 1; shift; \
             setpriv --reuid=postgres --regid=postgres --init-groups \"$@\"; exit $?";
        let root = self.root.path();
        let mut command = Command::new("setpriv");
        command
            .env("HOME", "/nonexistent")
            .args(["--pdeathsig", "KILL", "unshare", "-m", "-i", "-p"])
            .args(["--fork", "--kill-child", "--mount-proc", "--"])
            .args(["sh", "-c", script, "sh"])
            .arg(root.join("hosts"))
            .arg("/usr/bin/patroni")
            .arg(root.join(format!("pg-{n}.yml")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .expect("unshare and setpriv (apt-get install util-linux), as root");
        *slot = Some(child);
    }

    /// Kills a member: its server, its Patroni, everything at once.
    pub async fn kill_member(&self, n: usize) {
        let child = lock(&self.members[n]).take();
        let mut child = child.expect("the member runs");
        end(&mut child);
        child.wait().await.unwrap();
    }

    /// Sends a signal to a member's Patroni, not to its server.
    pub fn signal_patroni(&self, n: usize, signal: Signal) {
        let root = lock(&self.members[n])
            .as_ref()
            .and_then(Child::id)
            .expect("the member runs");
        let mut found = 0;
        for pid in descendants(root) {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if command.contains("/usr/bin/patroni") && command.contains("python") {
                found += 1;
                let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
            }
        }
        assert!(found > 0, "pg-{n} has no Patroni");
    }

    async fn wait_for_primary(&self, n: usize) {
        for _ in 0..3_000 {
            if self.is_primary(n).await == Some(true) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("pg-{n} does not lead:\n{}", self.logs());
    }

    /// Whether a member takes writes; `None` if it does not answer.
    pub async fn is_primary(&self, n: usize) -> Option<bool> {
        let client = connect(self.address(n), self.port, "postgres").await.ok()?;
        let row = client
            .query_one("SELECT NOT pg_is_in_recovery()", &[])
            .await
            .ok()?;
        Some(row.get(0))
    }

    /// Members that take writes.
    pub async fn primaries(&self) -> Vec<usize> {
        let mut all = Vec::new();
        for n in 0..MEMBERS {
            if self.is_primary(n).await == Some(true) {
                all.push(n);
            }
        }
        all
    }

    /// The timeline of a member that takes writes: one more with every change.
    pub async fn timeline(&self, n: usize) -> i32 {
        let client = connect(self.address(n), self.port, "postgres")
            .await
            .unwrap();
        let row = client
            .query_one(
                "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int",
                &[],
            )
            .await
            .unwrap();
        row.get(0)
    }

    /// Waits until this member leads, both others stream from it, and its Patroni says the same.
    pub async fn wait_until_whole(&self, leader: usize) {
        let look = Duration::from_secs(2);
        for _ in 0..3_000 {
            if let Ok(client) = connect(self.address(leader), self.port, "postgres").await
                && let Ok(rows) = client
                    .query(
                        "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND NOT pg_is_in_recovery()",
                        &[],
                    )
                    .await
                && rows.len() == MEMBERS - 1
                && let Ok(view) = self.rest(leader).view(look).await
                && view.members.len() == MEMBERS
                && view.members.iter().all(|peer| peer.is_whole())
                && view.leader().is_some_and(|peer| peer.name == format!("pg-{leader}"))
                && view
                    .members
                    .iter()
                    .all(|peer| peer.leads() || peer.lag == Some(0))
            {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("pg-{leader} does not lead a whole set:\n{}", self.logs());
    }

    /// The REST API of a member.
    pub fn rest(&self, n: usize) -> Rest {
        let dial: Arc<dyn Dial> = Arc::new(Direct);
        let ip = self.address(n).to_string();
        let target = Target::at("db", &format!("pg-{n}"), ip, self.rest_port);
        Rest::new(target, dial, self.rest_login())
    }

    fn rest_login(&self) -> Option<Login> {
        self.login.then(|| Login {
            user: OPERATOR.to_owned(),
            password: PASSWORD.to_owned(),
        })
    }

    /// How the window reaches the set.
    pub fn reach(&self) -> Reach {
        let superuser = Credentials {
            user: "postgres".into(),
            password: PASSWORD.into(),
            tls: Tls::new(TlsMode::default(), None, None).unwrap(),
        };
        Reach {
            superuser: superuser.clone(),
            pooler_admin: superuser,
            dial: Arc::new(Direct),
            names: Arc::new(Hosts(
                (0..MEMBERS)
                    .map(|n| (format!("pg-{n}.pg"), self.address(n)))
                    .collect(),
            )),
            patroni: self.rest_login(),
        }
    }

    fn member(&self, n: usize) -> Member {
        Member {
            name: format!("pg-{n}"),
            namespace: "db".into(),
            host: format!("pg-{n}.pg"),
            ip: self.address(n).to_string(),
            port: self.port,
            slot: None,
        }
    }

    /// An order that moves the primary; Patroni is looked at for `afterwards` when the window is over.
    pub fn order(&self, key: &str, from: usize, to: usize, afterwards: Duration) -> Order {
        Order {
            key: key.into(),
            old: self.member(from),
            candidate: self.member(to),
            others: (0..MEMBERS)
                .filter(|n| *n != from && *n != to)
                .map(|n| self.member(n))
                .collect(),
            poolers: vec![PoolerAddress {
                name: "pgbouncer".into(),
                namespace: "db".into(),
                ip: self.address(POOLER).to_string(),
                port: self.pooler_port,
                entries: vec!["app".into()],
            }],
            pause_budget_ms: 2_000,
            window_budget_ms: 15_000,
            max_lag_bytes: 64 * 1024,
            crash_safe: false,
            make_synchronous: false,
            patroni: Some(Asked {
                port: self.rest_port,
                afterwards_ms: u64::try_from(afterwards.as_millis()).unwrap(),
            }),
        }
    }

    /// Aims the pooler's file at a member, as the engine does before the window.
    pub fn aim_pooler(&self, to: usize) {
        let path = self.root.path().join("pgbouncer.ini");
        let file = fs::read_to_string(&path).unwrap();
        let entry = format!("app = host=pg-{to}.pg port={} dbname=app", self.port);
        let lines = file.lines().map(|line| {
            if line.starts_with("app = ") {
                entry.as_str()
            } else {
                line
            }
        });
        fs::write(&path, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }

    /// What every process of the set printed.
    pub fn logs(&self) -> String {
        ["pg-0", "pg-1", "pg-2", "etcd", "pgbouncer"]
            .iter()
            .map(|name| {
                let path = self.root.path().join(format!("{name}.log"));
                format!(
                    "--- {name}\n{}",
                    fs::read_to_string(path).unwrap_or_default()
                )
            })
            .collect()
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        for member in &self.members {
            if let Some(child) = lock(member).as_mut() {
                end(child);
            }
        }
    }
}

/// Kills a tree, and waits until nothing of it is left: its files go next.
fn end(child: &mut Child) {
    let all = child.id().map(descendants).unwrap_or_default();
    let _ = child.start_kill();
    // Killed processes are gone within milliseconds; on a busy machine within a second.
    for _ in 0..500 {
        if !all.iter().any(|pid| is_running(*pid)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A process that has ended and is only waited for does not run.
fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.trim().chars().next());
        state != Some('Z')
    })
}

const ETCD_CLIENT: u16 = 2379;
const ETCD_PEER: u16 = 2380;

/// On an address of its own, so that its usual ports are free.
fn etcd_recipe(root: &Path, ip: Ipv4Addr) -> Recipe {
    let client = format!("http://{ip}:{ETCD_CLIENT}");
    let peer = format!("http://{ip}:{ETCD_PEER}");
    Recipe {
        argv: vec![
            "/usr/bin/etcd".to_owned(),
            format!("--data-dir={}", root.join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--log-level=warn".to_owned(),
        ],
        mounts: Vec::new(),
        log: root.join("etcd.log"),
    }
}

fn pooler_recipe(root: &Path, ip: Ipv4Addr, listen: u16, server: u16, own_hosts: &Mount) -> Recipe {
    let users = root.join("userlist.txt");
    fs::write(&users, format!("\"postgres\" \"{PASSWORD}\"\n")).unwrap();
    let file = root.join("pgbouncer.ini");
    let ini = format!(
        "[databases]\napp = host=pg-0.pg port={server} dbname=app\n[pgbouncer]\nlisten_addr = {ip}\nlisten_port = {listen}\n\
         auth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\nadmin_users = postgres\n\
         server_login_retry = 1\nunix_socket_dir =\nignore_startup_parameters = extra_float_digits\n",
        users.display()
    );
    fs::write(&file, ini).unwrap();
    Recipe {
        argv: vec![
            "/usr/sbin/pgbouncer".to_owned(),
            file.to_str().unwrap().to_owned(),
        ],
        mounts: vec![own_hosts.clone()],
        log: root.join("pgbouncer.log"),
    }
}

/// All processes below one, by their parents.
fn descendants(root: u32) -> BTreeSet<u32> {
    let parents: BTreeMap<u32, u32> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?;
            Some((pid, parent.parse().ok()?))
        })
        .collect();
    let mut found = BTreeSet::new();
    loop {
        let more: BTreeSet<u32> = parents
            .iter()
            .filter(|(pid, parent)| {
                !found.contains(*pid) && (**parent == root || found.contains(*parent))
            })
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
