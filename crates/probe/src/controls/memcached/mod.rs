//! Negative controls on a real Memcached pool.
//!
//! Each starts three servers of its own on loopback ports, does the harm on purpose, and holds the certificate against what
//! was done. Nothing is left behind.

mod frozen;
mod killed;
pub mod server;

use std::path::{Path, PathBuf};

pub use frozen::run as frozen_server;
pub use killed::run as killed_servers;

use super::{ControlError, said};
use crate::certificate::Control;

/// Where the server's program is: in the directory given, else in one of the `PATH`.
///
/// # Errors
/// There is none.
pub fn find_binary(named: Option<&Path>) -> Result<PathBuf, ControlError> {
    let in_directory = |directory: &Path| {
        let path = directory.join("memcached");
        path.is_file().then_some(path)
    };
    let found = match named {
        Some(directory) => in_directory(directory),
        None => std::env::var_os("PATH")
            .and_then(|path| std::env::split_paths(&path).find_map(|one| in_directory(&one))),
    };
    found.ok_or(ControlError::NoMemcached)
}

/// How the server names itself; its path if it does not say.
fn version(binary: &Path) -> String {
    std::process::Command::new(binary)
        .arg("-V")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_else(|| binary.display().to_string())
}

/// Carries all controls out, at the same time.
///
/// # Guarantees
/// Every control is in the result: one that could not be carried out says why in `not_run`.
pub async fn run_all(named: Option<&Path>) -> Vec<Control> {
    let (killed, frozen) = tokio::join!(async { killed::run(&find_binary(named)?).await }, async {
        frozen::run(&find_binary(named)?).await
    },);
    vec![
        said(killed::NAME, killed::EXPECTED, killed),
        said(frozen::NAME, frozen::EXPECTED, frozen),
    ]
}
