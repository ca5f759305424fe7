//! The one sandbox of a run: up at the beginning, down whatever happens.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Plain, Stdio};
use std::time::Duration;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use serde::Deserialize;
use tokio::process::Command;

use crate::error::{Result, file, unexpected};
use crate::program;

/// `sandbox up` with six nodes takes about 6 s.
const UP: Duration = Duration::from_secs(180);

/// A sandbox that is up.
pub struct Sandbox {
    /// The program that made it and that is measured.
    pub ferriswheel: PathBuf,
    /// Its name.
    pub name: String,
    /// Directory of everything that the run leaves behind for the length of the run.
    pub work: PathBuf,
    /// Identifiers of its Azure.
    pub arm: Arm,
    janitor: Option<Child>,
}

/// What a spec says of the cluster.
#[derive(Clone, Debug, Deserialize)]
pub struct Arm {
    /// Subscription.
    pub subscription_id: String,
    /// Resource group.
    pub resource_group: String,
    /// Cluster.
    pub cluster: String,
    /// Certificate authority of its endpoint.
    pub ca_file: PathBuf,
}

#[derive(Deserialize)]
struct SandboxFile {
    arm: Arm,
}

/// Where programs are cached.
pub fn cache() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    of("FERRISWHEEL_CACHE").unwrap_or_else(|| {
        of("XDG_CACHE_HOME")
            .or_else(|| of("HOME").map(|home| home.join(".cache")))
            .unwrap_or_default()
            .join("ferriswheel")
    })
}

impl Sandbox {
    /// Starts it with these pools, and a name and a directory of its own.
    ///
    /// # Errors
    /// The directory is not on a disk, or the sandbox does not come up.
    pub async fn up(ferriswheel: &Path, pools: &[&str]) -> Result<Self> {
        let ferriswheel = std::path::absolute(ferriswheel).map_err(file(ferriswheel))?;
        let work = tempfile::Builder::new()
            .prefix("ferriswheel-bench-")
            .tempdir()
            .map_err(file(&std::env::temp_dir()))?
            .keep();
        let on_disk = statfs(&work).is_ok_and(|found| found.filesystem_type() != TMPFS_MAGIC);
        let name = format!("bench-{}", std::process::id());
        let mut sandbox = Self {
            janitor: Some(janitor(&ferriswheel, &name, &work)?),
            ferriswheel,
            name,
            work,
            arm: Arm {
                subscription_id: String::new(),
                resource_group: String::new(),
                cluster: String::new(),
                ca_file: PathBuf::new(),
            },
        };
        if !on_disk {
            return Err(unexpected(format!(
                "{} is in memory and volumes must be on a disk; set TMPDIR",
                sandbox.work.display()
            )));
        }
        let mut up = sandbox.ferriswheel();
        up.args(["sandbox", "up", "--name", &sandbox.name]);
        for pool in pools {
            up.args(["--pool", pool]);
        }
        program::succeed(up, None, UP).await?;
        let path = sandbox.state().join("sandbox.json");
        let bytes = std::fs::read(&path).map_err(file(&path))?;
        let read: SandboxFile = serde_json::from_slice(&bytes)
            .map_err(|e| unexpected(format!("{}: {e}", path.display())))?;
        sandbox.arm = read.arm;
        Ok(sandbox)
    }

    /// Its directory.
    pub fn state(&self) -> PathBuf {
        self.work.join("state/sandboxes").join(&self.name)
    }

    /// The program that is measured, in the environment of this sandbox.
    pub fn ferriswheel(&self) -> Command {
        let mut command = Command::new(&self.ferriswheel);
        command.env("FERRISWHEEL_STATE", self.work.join("state"));
        command
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(mut janitor) = self.janitor.take() {
            drop(janitor.stdin.take());
            if let Err(error) = janitor.wait() {
                tracing::warn!(%error, "the sandbox may still be up");
            }
        }
    }
}

/// A process that ends the sandbox when this one ends, however it ends: it waits for the end of a pipe, which also
/// SIGKILL closes, and stands in a group of its own, out of reach of the terminal's Ctrl-C.
fn janitor(ferriswheel: &Path, name: &str, work: &Path) -> Result<Child> {
    let script = r#"trap '' INT TERM HUP; read -r end
        "$0" sandbox down --name "$1" >/dev/null 2>&1; rm -rf "$2""#;
    Plain::new("/bin/sh")
        .args(["-c", script])
        .args([ferriswheel.as_os_str(), name.as_ref(), work.as_os_str()])
        .env("FERRISWHEEL_STATE", work.join("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(file(Path::new("/bin/sh")))
}
