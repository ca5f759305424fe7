//! A data directory that every member of every set of a version begins with.
//!
//! `initdb` costs more than all else about a set. A directory that was shut down cleanly can be
//! copied as it is: the copy is the same database, and with `standby.signal` its standby. It is
//! copied by the kernel and on write (overlayfs): a dozen sets at once must not keep the disk, on
//! which all of them sync, busy with copies.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls};

use crate::program::{Mount, Program, Recipe};

/// Password of every role of a set.
pub(crate) const PASSWORD: &str = "only-for-tests";

/// The same password, stored with one iteration instead of 4096: an unoptimised client needs a
/// tenth of a second for those, and a test opens hundreds of sessions.
pub(crate) const QUICK_PASSWORD: &str = "ALTER ROLE postgres PASSWORD \
    'SCRAM-SHA-256$1:ZmVycmlzd2hlZWwtdGVzdA==$EdleCvw86XeZ442Nw0a/MQpY6H/jkmZKLmUCHRpU7t8=:aCQMvJ5nz2qBoYQOBM342uOb/UKlmuaxGJTmJqOoNIA='";

/// A PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Debian's.
    Fifteen,
    /// The one that `scripts/install-postgres-18.sh` unpacks.
    Eighteen,
}

impl Version {
    /// Where its programs are.
    fn home(self) -> PathBuf {
        match self {
            Self::Fifteen => {
                let home = PathBuf::from("/usr/lib/postgresql/15");
                assert!(
                    home.join("bin/postgres").exists(),
                    "PostgreSQL 15 is missing: apt-get install postgresql-15"
                );
                home
            }
            Self::Eighteen => {
                let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
                let cache = env("FERRISWHEEL_CACHE").unwrap_or_else(|| {
                    env("XDG_CACHE_HOME")
                        .unwrap_or_else(|| env("HOME").unwrap().join(".cache"))
                        .join("ferriswheel")
                });
                let home = cache.join("postgres/18");
                assert!(
                    home.join("bin/postgres").exists(),
                    "PostgreSQL 18 is missing: scripts/install-postgres-18.sh"
                );
                home
            }
        }
    }
}

/// Files of one version, ready to be copied.
pub(crate) struct Template {
    root: tempfile::TempDir,
    version: Version,
}

/// Templates that some set still uses. Whoever comes while one is made waits for it.
static TEMPLATES: Mutex<Vec<(Version, std::sync::Weak<Template>)>> = Mutex::const_new(Vec::new());

impl Template {
    /// The template of a version, made if no set has it.
    pub async fn of(version: Version) -> Arc<Self> {
        let mut known = TEMPLATES.lock().await;
        let found = known
            .iter()
            .find_map(|(of, template)| template.upgrade().filter(|_| *of == version));
        if let Some(template) = found {
            return template;
        }
        let template = Arc::new(Self::make(version).await);
        known.retain(|(of, _)| *of != version);
        known.push((version, Arc::downgrade(&template)));
        template
    }

    async fn make(version: Version) -> Self {
        let template = Self {
            root: directory().await,
            version,
        };
        let root = template.root.path();
        let data = root.join("data");
        let password = root.join("password");
        fs::write(&password, PASSWORD).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        // The template itself need not survive a power cut; what is copied from it runs with
        // fsync.
        template
            .recipe(
                root,
                "initdb",
                vec![
                    "-D".into(),
                    text(&data),
                    "-U".into(),
                    "postgres".into(),
                    "-A".into(),
                    "scram-sha-256".into(),
                    "--data-checksums".into(),
                    "--no-sync".into(),
                    // A copy on write copies whole files.
                    "--wal-segsize=1".into(),
                    "--pwfile".into(),
                    text(&password),
                ],
            )
            .run()
            .await;
        let hba = "local all all trust\nhost all all 127.0.0.0/8 scram-sha-256\nhost replication all 127.0.0.0/8 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), hba).unwrap();
        let conf = "wal_level = replica\nmax_wal_senders = 10\nmax_replication_slots = 10\nhot_standby = on\nshared_buffers = 32MB\nmax_connections = 60\nunix_socket_directories = ''\n";
        let mut all = fs::read_to_string(data.join("postgresql.conf")).unwrap();
        all.push_str(conf);
        fs::write(data.join("postgresql.conf"), all).unwrap();

        let address = Ipv4Addr::LOCALHOST;
        let port = free_port(address);
        let server = Program::new(template.server(root, &data, address, port), None);
        server.start(&[]);
        let admin = reached(address, port, "postgres", &root.join("data.log")).await;
        for sql in [
            QUICK_PASSWORD,
            "CREATE ROLE replicator REPLICATION LOGIN PASSWORD 'only-for-tests'",
            // From PostgreSQL 15 on.
            "DO $$ BEGIN IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_walinspect') \
             THEN CREATE EXTENSION pg_walinspect; END IF; END $$",
            "CREATE TABLE rows (n int PRIMARY KEY)",
            "CREATE DATABASE app",
        ] {
            admin.simple_query(sql).await.unwrap();
        }
        drop(admin);
        kill(server.pid().expect("it runs"), Signal::SIGINT).unwrap();
        while server.pid().is_some() {
            sleep(Duration::from_millis(5)).await;
        }
        template
    }

    /// Makes a member's data directory in a set's directory; what is written to the returned path
    /// before its first start is in it.
    pub async fn lay_out(&self, root: &Path, name: &str) -> PathBuf {
        let upper = root.join(name).with_extension("upper");
        for path in [
            root.join(name),
            upper.clone(),
            root.join(name).with_extension("work"),
        ] {
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            own(&path).await;
        }
        upper
    }

    /// A program of the version, in a set's directory.
    pub fn recipe(&self, root: &Path, program: &str, args: Vec<String>) -> Recipe {
        // The user postgres may not be able to walk to the cache, so it is shown to him elsewhere.
        let home = root.join("programs");
        fs::create_dir_all(&home).unwrap();
        let mut argv = vec![home.join("bin").join(program).to_str().unwrap().to_owned()];
        argv.extend(args);
        Recipe {
            argv,
            mounts: vec![Mount::Bind {
                source: self.version.home(),
                at: home,
            }],
            log: root.join("setup.log"),
        }
    }

    /// A server on a data directory of its own.
    fn server(&self, root: &Path, data: &Path, address: Ipv4Addr, port: u16) -> Recipe {
        let args = vec![
            "-D".into(),
            data.to_str().unwrap().into(),
            "-c".into(),
            format!("listen_addresses={address}"),
            "-p".into(),
            port.to_string(),
        ];
        Recipe {
            log: data.with_extension("log"),
            ..self.recipe(root, "postgres", args)
        }
    }

    /// A member that was laid out.
    pub fn member(&self, root: &Path, name: &str, address: Ipv4Addr, port: u16) -> Recipe {
        let data = root.join(name);
        let mut recipe = self.server(root, &data, address, port);
        recipe.mounts.push(Mount::Overlay {
            lower: self.root.path().join("data"),
            upper: data.with_extension("upper"),
            work: data.with_extension("work"),
            at: data,
        });
        recipe
    }
}

/// A new directory of the user postgres.
pub(crate) async fn directory() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    own(root.path()).await;
    root
}

/// Gives a path to the user postgres.
pub(crate) async fn own(path: &Path) {
    run("chown", &["postgres:postgres".as_ref(), path.as_ref()]).await;
}

async fn run(program: &str, args: &[&std::ffi::OsStr]) {
    let status = Command::new(program).args(args).status().await.unwrap();
    assert!(status.success(), "{program} {args:?}: {status}");
}

/// A port that nobody has on an address.
pub(crate) fn free_port(ip: Ipv4Addr) -> u16 {
    TcpListener::bind((IpAddr::V4(ip), 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A superuser session, as soon as the server takes one.
pub(crate) async fn reached(ip: Ipv4Addr, port: u16, database: &str, log: &Path) -> Client {
    // 30 s: a start takes tenths of a second, on a loaded machine some seconds.
    for _ in 0..1_500 {
        if let Ok(client) = connect(ip, port, database).await {
            return client;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!(
        "{ip}:{port} does not answer:\n{}",
        fs::read_to_string(log).unwrap_or_default()
    );
}

/// A superuser session.
pub(crate) async fn connect(
    ip: Ipv4Addr,
    port: u16,
    database: &str,
) -> Result<Client, tokio_postgres::Error> {
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
