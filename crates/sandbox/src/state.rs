//! Where a sandbox keeps its files, and what it tells the world about itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::liveness::ProcessId;

/// Schema of `sandbox.json`.
pub const SCHEMA: &str = "ferriswheel.sandbox.v1";

/// `sandbox.json`: how to reach a sandbox that is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxFile {
    /// [`SCHEMA`].
    pub schema: String,
    /// Name of the sandbox.
    pub name: String,
    /// PID 1 of the sandbox as the host sees it; SIGKILL to it ends everything.
    pub pid: u32,
    /// The same process, safe against a reused number.
    pub process: ProcessId,
    /// Kubeconfig of a cluster administrator.
    pub kubeconfig: PathBuf,
    /// `https://127.0.0.1:<port>`.
    pub api_server: String,
    /// Azure Resource Manager.
    pub arm: ArmFile,
}

/// How to reach the Azure emulator of a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArmFile {
    /// `https://127.0.0.1:<port>`, for programs on the host.
    pub endpoint: String,
    /// The same for pods; empty in the file of a sandbox that was started before there was one.
    #[serde(default)]
    pub endpoint_in_cluster: String,
    /// Certificate authority of that endpoint, PEM.
    pub ca_file: PathBuf,
    /// Tenant.
    pub tenant_id: String,
    /// Subscription.
    pub subscription_id: String,
    /// Service principal.
    pub client_id: String,
    /// File with its secret.
    pub client_secret_file: PathBuf,
    /// Resource group of the cluster.
    pub resource_group: String,
    /// Name of the cluster.
    pub cluster: String,
}

/// The directory of one sandbox.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
    name: String,
}

impl StateDir {
    /// The directory of the sandbox `name`: `$FERRISWHEEL_STATE` or `~/.local/state/ferriswheel`, then
    /// `sandboxes/<name>`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self::at(&sandboxes().join(name), name)
    }

    /// A directory that is known already.
    #[must_use]
    pub fn at(root: &Path, name: &str) -> Self {
        Self {
            root: root.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Name of the sandbox.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `sandbox.json`.
    #[must_use]
    pub fn sandbox_json(&self) -> PathBuf {
        self.root.join("sandbox.json")
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Logs of every component.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// One directory a node.
    #[must_use]
    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    /// One directory a disk.
    #[must_use]
    pub fn disks(&self) -> PathBuf {
        self.root.join("disks")
    }

    /// Keys and certificates.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// Files of the Azure emulator and its users.
    #[must_use]
    pub fn azure(&self) -> PathBuf {
        self.root.join("azure")
    }

    /// Report of the first stage.
    pub(crate) fn outer_json(&self) -> PathBuf {
        self.root.join("outer.json")
    }

    /// Configuration of the daemon.
    pub(crate) fn daemon_json(&self) -> PathBuf {
        self.root.join("daemon.json")
    }

    /// Progress of the start, one JSON object a line.
    pub(crate) fn progress(&self) -> PathBuf {
        self.root.join("progress.jsonl")
    }

    /// Reads `sandbox.json`.
    ///
    /// # Errors
    /// It is not there or not ours.
    pub fn read_sandbox(&self) -> io::Result<SandboxFile> {
        Ok(serde_json::from_slice(&fs::read(self.sandbox_json())?)?)
    }
}

/// The directory that holds the directories of all sandboxes.
#[must_use]
pub fn sandboxes() -> PathBuf {
    let base = std::env::var_os("FERRISWHEEL_STATE")
        .map_or_else(|| home().join(".local/state/ferriswheel"), PathBuf::from);
    std::path::absolute(&base).unwrap_or(base).join("sandboxes")
}

/// The user's home; root's where the environment has none.
pub(crate) fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from)
}

/// Writes a file so that a reader sees all of it or nothing; `secret` files are readable by their owner only.
pub(crate) fn write(path: &Path, bytes: &[u8], secret: bool) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let mut file = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(if secret { 0o600 } else { 0o644 })
        .open(&partial)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&partial, path)
}

/// Writes a value as JSON.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write(path, &bytes, false)
}

/// A name that fits a host name, a directory and a process list.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 40
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}
