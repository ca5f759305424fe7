//! A set of one's own: temporary directories, loopback ports, gone when dropped.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use nix::unistd::User;

use crate::config::MemberAddress;
use crate::controls::process::Process;
use crate::controls::{ControlError, system, until};

/// Deadline of a statement of the control's own. A server that stands still is not asked.
const STATEMENT: Duration = Duration::from_secs(5);

/// A redo log of the least size: it is made for each server.
const REDO: &str = "--innodb-log-file-size=8M";

/// Everybody of a set, who needs no password there; written while there are no rights yet, hence the
/// first statement. One statement a line, as a server reads them that makes its database.
const BEGIN: &str = "FLUSH PRIVILEGES;
CREATE USER 'control'@'127.0.0.1';
GRANT ALL ON *.* TO 'control'@'127.0.0.1';
CREATE USER 'client'@'127.0.0.1';
CREATE DATABASE control;
GRANT ALL ON control.* TO 'client'@'127.0.0.1';
";

/// The server refuses to run as root.
const USER: &str = "mysql";

/// A running server, or one that was killed.
struct Server {
    // First, so that it has ended before its files are deleted.
    process: Process,
    home: tempfile::TempDir,
    port: u16,
}

/// Two servers, of which the first is the primary and the second its replica.
pub struct Set {
    servers: Vec<Server>,
}

impl Set {
    /// Starts a set and waits until the second follows the first.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn start(binary: &Path) -> Result<Self, ControlError> {
        let first = Server::make()?;
        let second = first.copy()?;
        let mut set = Self {
            servers: vec![first, second],
        };
        for (n, server) in set.servers.iter_mut().enumerate() {
            server.start(binary, n)?;
        }
        for member in 0..set.servers.len() {
            until("a server answers", async || {
                set.run(member, "DO 1").await.is_ok()
            })
            .await?;
        }
        set.run(1, "SET GLOBAL read_only = 1").await?;
        let change = format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'control', \
             MASTER_USE_GTID = slave_pos",
            set.servers[0].port
        );
        set.run(1, &change).await?;
        set.run(1, "START SLAVE").await?;
        Ok(set)
    }

    /// Address of the clients.
    #[must_use]
    pub fn dsn(&self) -> String {
        let hosts: Vec<String> = self
            .servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port))
            .collect();
        format!("mariadb://client@{}/control", hosts.join(","))
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

    /// Runs a statement on one member.
    ///
    /// # Errors
    /// The member is away, or refuses.
    pub async fn run(&self, member: usize, statement: &str) -> Result<(), ControlError> {
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.servers[member].port)
            .user(Some("control"))
            .prefer_socket(false);
        let run = async {
            let mut open = Conn::new(options).await?;
            open.query_drop(statement).await
        };
        tokio::time::timeout(STATEMENT, run)
            .await
            .map_err(|_| ControlError::Deadline {
                what: "a server answers".to_owned(),
                after: STATEMENT,
            })?
            .map_err(|e| ControlError::Statement(e.to_string()))
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

/// A server that starts removes every temporary table in its `TMPDIR`, whoever works on it: each has one of its own.
impl Server {
    fn empty() -> Result<Self, ControlError> {
        let home = tempfile::Builder::new()
            .prefix("ferriswheel-control-")
            .tempdir()
            .map_err(system("make a temporary directory"))?;
        if let Some(user) = account()? {
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            chown(home.path(), Some(uid), Some(gid)).map_err(system("give a directory away"))?;
        }
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(system("find a port"))?;
        let port = listener.local_addr().map_err(system("find a port"))?.port();
        Ok(Self {
            home,
            port,
            process: Process::default(),
        })
    }

    /// With a database of its own.
    fn make() -> Result<Self, ControlError> {
        let server = Self::empty()?;
        let begin = server.home.path().join("begin.sql");
        fs::write(&begin, BEGIN).map_err(system("write a file"))?;
        let made = as_user("mariadb-install-db")?
            .args(["--no-defaults", "--auth-root-authentication-method=normal"])
            .args(["--skip-test-db", REDO])
            .arg(format!("--datadir={}", server.data().display()))
            .arg(format!("--extra-file={}", begin.display()))
            .env("TMPDIR", server.home.path())
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(system("make a database"))?;
        if made.status.success() {
            return Ok(server);
        }
        let said = [made.stdout, made.stderr].concat();
        Err(ControlError::Statement(format!(
            "mariadb-install-db: {}: {}",
            made.status,
            last_error(&String::from_utf8_lossy(&said))
        )))
    }

    /// With the same database, before either was started.
    fn copy(&self) -> Result<Self, ControlError> {
        let other = Self::empty()?;
        let status = Command::new("cp")
            .arg("-a")
            .arg(self.data())
            .arg(other.data())
            .status()
            .map_err(system("copy a database"))?;
        if status.success() {
            Ok(other)
        } else {
            Err(ControlError::Statement(format!("cp: {status}")))
        }
    }

    fn data(&self) -> std::path::PathBuf {
        self.home.path().join("data")
    }

    fn start(&mut self, binary: &Path, number: usize) -> Result<(), ControlError> {
        let mut command = as_user(binary)?;
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.data().display()))
            .arg(format!("--socket={}", self.home.path().join("s").display()))
            .arg(format!(
                "--pid-file={}",
                self.home.path().join("pid").display()
            ))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", REDO])
            .arg(format!("--port={}", self.port))
            .arg(format!("--server-id={}", number + 1))
            .args([
                "--log-bin=binlog",
                "--relay-log=relay",
                "--log-slave-updates",
            ])
            .args([
                "--gtid-strict-mode",
                "--sync-binlog=1",
                "--innodb-buffer-pool-size=32M",
            ])
            .env("TMPDIR", self.home.path())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.process.start(&mut command)
    }
}

/// Whom the servers run as, if we are root.
fn account() -> Result<Option<User>, ControlError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let found = User::from_name(USER).map_err(|e| system("look for a user")(e.into()))?;
    match found {
        Some(user) => Ok(Some(user)),
        None => Err(ControlError::NoMariadb),
    }
}

fn as_user(program: impl AsRef<Path>) -> Result<Command, ControlError> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if account()?.is_some() {
        command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
    }
    command.arg("--").arg(program.as_ref());
    Ok(command)
}

/// What matters of what the server printed: its errors, or all when it names none.
fn last_error(said: &str) -> String {
    let errors: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("ERROR") || line.starts_with("FATAL"))
        .collect();
    if errors.is_empty() {
        said.trim().to_owned()
    } else {
        errors.join("; ")
    }
}
