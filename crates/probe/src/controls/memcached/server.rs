//! A Memcached server of one's own: a loopback port, gone when dropped.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use crate::controls::process::Process;
use crate::controls::{ControlError, system, until};

/// Where a server's program runs when root starts it: it refuses to be root.
const NOBODY: &str = "nobody";

/// Its group on Debian.
const NOGROUP: &str = "nogroup";

/// A running server, or one that was killed.
pub struct Server {
    port: u16,
    process: Process,
}

impl Server {
    /// Starts an empty server.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn start(binary: &Path) -> Result<Self, ControlError> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(system("find a port"))?;
        let port = listener.local_addr().map_err(system("find a port"))?.port();
        drop(listener);
        let server = Self::start_at(binary, port)?;
        until("the server answers", async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })
        .await?;
        Ok(server)
    }

    /// Starts an empty server at this port; it may not answer yet.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn start_at(binary: &Path, port: u16) -> Result<Self, ControlError> {
        // It would change its user by itself, and forget by that whose end is its end.
        let mut command = Command::new("setpriv");
        if Uid::effective().is_root() {
            command.args(["--reuid", NOBODY, "--regid", NOGROUP, "--clear-groups"]);
        }
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(binary)
            .args(["-l", "127.0.0.1", "-U", "0", "-t", "1", "-m", "16", "-p"])
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Process::default();
        process.start(&mut command)?;
        Ok(Self { port, process })
    }

    /// Port on loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Kills it without a word.
    pub fn crash(&mut self) {
        self.process.end();
    }

    /// Stops it in the middle of whatever it does.
    ///
    /// # Errors
    /// It is not running, or goes on.
    pub async fn freeze(&self) -> Result<(), ControlError> {
        self.process.freeze().await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is not running.
    pub fn thaw(&self) -> Result<(), ControlError> {
        self.process.thaw()
    }

    /// Address of clients of a pool of these.
    #[must_use]
    pub fn address(servers: &[&Self]) -> String {
        let places: Vec<String> = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port))
            .collect();
        format!("memcached://{}", places.join(","))
    }
}
