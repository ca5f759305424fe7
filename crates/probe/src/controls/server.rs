//! A `PostgreSQL` server of one's own: temporary directory, unix socket, gone when dropped.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

use super::{ControlError, stands_still, system, until};
use crate::config::MemberAddress;
use crate::postgres::Dsn;
use crate::postgres::session::Session;

/// On a socket of its own directory the port is only part of a file name.
const PORT: u16 = 5432;

/// The files as they are made need no second life: the directory goes with this process. The
/// servers themselves run with their default durability.
const NO_SYNC: &str = "--no-sync";

/// A server gets this long to end before it is killed.
const END: Duration = Duration::from_secs(5);

/// A running server, or one that was killed.
pub struct Server {
    home: tempfile::TempDir,
    binaries: PathBuf,
    postmaster: Option<Child>,
}

impl Server {
    /// Initialises a new database cluster and starts it.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn create(binaries: &Path) -> Result<Self, ControlError> {
        let mut server = Self::at_home(binaries)?;
        server
            .program(
                "initdb",
                &[
                    "--auth=trust",
                    "--username=postgres",
                    "--encoding=UTF8",
                    "--locale=C",
                    NO_SYNC,
                    "-D",
                ],
            )
            .await?;
        server.start().await?;
        Ok(server)
    }

    /// A streaming, asynchronous standby of `primary`, started.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn standby_of(primary: &Self) -> Result<Self, ControlError> {
        let mut server = Self::at_home(&primary.binaries)?;
        let from = format!(
            "host={} port={PORT} user=postgres",
            primary.socket_dir().display()
        );
        server
            .program(
                "pg_basebackup",
                &[
                    "-d", &from, "-R", "-X", "stream", "-c", "fast", NO_SYNC, "-D",
                ],
            )
            .await?;
        server.start().await?;
        Ok(server)
    }

    fn at_home(binaries: &Path) -> Result<Self, ControlError> {
        let home = tempfile::Builder::new()
            .prefix("fw-control-")
            .tempdir()
            .map_err(system("make a temporary directory"))?;
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700))
            .map_err(system("close the temporary directory"))?;
        if let Some(user) = server_user()? {
            chown(
                home.path(),
                Some(user.uid.as_raw()),
                Some(user.gid.as_raw()),
            )
            .map_err(system("give the temporary directory to postgres"))?;
        }
        Ok(Self {
            home,
            binaries: binaries.to_owned(),
            postmaster: None,
        })
    }

    /// Directory of the socket, which is what clients name as the host.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.home.path()
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The address for an examination.
    #[must_use]
    pub fn member(&self, name: &str) -> MemberAddress {
        MemberAddress {
            name: name.to_owned(),
            host: self.socket_dir().display().to_string(),
            port: PORT,
        }
    }

    /// Connection string of clients that know these servers and want the one that takes writes.
    #[must_use]
    pub fn dsn(servers: &[&Self]) -> String {
        let hosts: Vec<String> = servers
            .iter()
            .map(|s| s.socket_dir().display().to_string())
            .collect();
        format!(
            "host={} port={PORT} user=postgres dbname=postgres target_session_attrs=read-write",
            hosts.join(",")
        )
    }

    /// Runs one statement and returns its first value.
    ///
    /// # Errors
    /// The server is away, or refuses.
    pub async fn sql(&self, sql: &str) -> Result<Option<String>, ControlError> {
        let text = format!(
            "host={} port={PORT} user=postgres dbname=postgres",
            self.socket_dir().display()
        );
        let dsn = Dsn::parse(&text, None).map_err(|e| ControlError::Statement(e.to_string()))?;
        let deadline = super::PATIENCE;
        let session = Session::open(&dsn, deadline, deadline)
            .await
            .map_err(|trouble| ControlError::Statement(trouble.to_string()))?;
        session
            .text(sql)
            .await
            .map_err(|trouble| ControlError::Statement(trouble.to_string()))
    }

    /// Stops every process of the server where it is (SIGSTOP), and returns once all stand still.
    ///
    /// # Errors
    /// The server is not running.
    pub async fn freeze(&self) -> Result<(), ControlError> {
        // The postmaster first: it forks no more, so the list of its children is complete.
        self.signal_postmaster(Signal::SIGSTOP)?;
        for pid in self.children() {
            let _ = kill(pid, Signal::SIGSTOP);
        }
        until("the server stands still", async || {
            self.tree().into_iter().all(stands_still)
        })
        .await
    }

    /// Lets it run on.
    ///
    /// # Errors
    /// The server is not running.
    pub fn thaw(&self) -> Result<(), ControlError> {
        for pid in self.children() {
            let _ = kill(pid, Signal::SIGCONT);
        }
        self.signal_postmaster(Signal::SIGCONT)
    }

    /// Kills every process of the server, as a lost machine would.
    pub fn crash(&mut self) {
        let tree = self.tree();
        for pid in &tree {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        if let Some(mut postmaster) = self.postmaster.take() {
            let _ = postmaster.wait();
        }
    }

    async fn start(&mut self) -> Result<(), ControlError> {
        let log = std::fs::File::create(self.home.path().join("log"))
            .map_err(system("create the server's log"))?;
        let errors = log.try_clone().map_err(system("share the server's log"))?;
        let mut command = self.command("postgres", Some(Signal::SIGQUIT))?;
        command
            .arg("-D")
            .arg(self.data())
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "wal_retrieve_retry_interval=100ms",
            ])
            .args(["-c", "max_wal_senders=4", "-c", "logging_collector=off"])
            .arg("-c")
            .arg(format!(
                "unix_socket_directories={}",
                self.socket_dir().display()
            ))
            .arg("-p")
            .arg(PORT.to_string())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        self.postmaster = Some(command.spawn().map_err(system("start postgres"))?);
        until("the server answers", async || {
            self.sql("SELECT 1").await.is_ok()
        })
        .await
    }

    async fn program(&self, program: &str, arguments: &[&str]) -> Result<(), ControlError> {
        let mut command = self.command(program, None)?;
        command
            .args(arguments)
            .arg(self.data())
            .stdin(Stdio::null());
        let output = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(system(program))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ControlError::Program {
            program: program.to_owned(),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// As postgres when we are root, since the server refuses root; tied to our own life.
    fn command(&self, program: &str, dies_with: Option<Signal>) -> Result<Command, ControlError> {
        let path = self.binaries.join(program);
        let mut command = if server_user()?.is_some() {
            let mut command = if has_own_memory() {
                let mut command = Command::new("unshare");
                command.args(["--ipc", "--", "setpriv"]);
                command
            } else {
                Command::new("setpriv")
            };
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
            if let Some(signal) = dies_with {
                command.args(["--pdeathsig", signal.as_str().trim_start_matches("SIG")]);
            }
            command.arg("--").arg(path);
            command
        } else {
            Command::new(path)
        };
        command
            .current_dir("/")
            .env_remove("PGPASSWORD")
            .env("LC_ALL", "C");
        Ok(command)
    }

    fn signal_postmaster(&self, signal: Signal) -> Result<(), ControlError> {
        let gone = || ControlError::Statement("the server is not running".to_owned());
        let pid = self.postmaster_pid().ok_or_else(gone)?;
        kill(pid, signal).map_err(|errno| ControlError::System {
            what: format!("send {signal} to the server"),
            source: errno.into(),
        })
    }

    fn postmaster_pid(&self) -> Option<Pid> {
        let id = self.postmaster.as_ref()?.id();
        i32::try_from(id).ok().map(Pid::from_raw)
    }

    fn children(&self) -> BTreeSet<Pid> {
        let Some(postmaster) = self.postmaster_pid() else {
            return BTreeSet::new();
        };
        let path = format!("/proc/{postmaster}/task/{postmaster}/children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .map(Pid::from_raw)
            .collect()
    }

    fn tree(&self) -> BTreeSet<Pid> {
        self.children()
            .into_iter()
            .chain(self.postmaster_pid())
            .collect()
    }
}

/// A server that is killed leaves its shared memory behind; a namespace of its own takes it along. In a container that may
/// make none, the container's own does.
fn has_own_memory() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        Command::new("unshare")
            .args(["--ipc", "--", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

impl Drop for Server {
    fn drop(&mut self) {
        let tree = self.tree();
        for pid in &tree {
            let _ = kill(*pid, Signal::SIGCONT);
        }
        if let (Some(pid), Some(postmaster)) = (self.postmaster_pid(), self.postmaster.as_mut()) {
            let _ = kill(pid, Signal::SIGQUIT);
            let give_up = Instant::now() + END;
            while matches!(postmaster.try_wait(), Ok(None)) && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if let Some(postmaster) = self.postmaster.as_mut()
            && matches!(postmaster.try_wait(), Ok(None))
        {
            self.crash();
        }
    }
}

fn server_user() -> Result<Option<User>, ControlError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    User::from_name("postgres")
        .ok()
        .flatten()
        .map(Some)
        .ok_or(ControlError::NoUser)
}
