//! Negative controls on a real MariaDB set.
//!
//! Each starts two servers of its own in temporary directories, on loopback ports, syncing every commit,
//! does the harm on purpose, and holds the certificate against what was done. Nothing is left behind.

mod frozen;
pub mod server;
mod unfenced;

use std::path::{Path, PathBuf};

pub use frozen::run as frozen_primary;
pub use unfenced::run as unfenced_promotion;

use super::{ControlError, said};
use crate::certificate::Control;

/// Where the server's programs are: in the directory given, else where Debian's package puts them.
///
/// # Errors
/// There are none.
pub fn find_binary(named: Option<&Path>) -> Result<PathBuf, ControlError> {
    let found = match named {
        Some(directory) => Some(directory.join("mariadbd")),
        None => Some(PathBuf::from("/usr/sbin/mariadbd")),
    };
    found
        .filter(|path| path.is_file())
        .ok_or(ControlError::NoMariadb)
}

/// How the server names itself; its path if it does not say.
fn version(binary: &Path) -> String {
    std::process::Command::new(binary)
        .args(["--no-defaults", "--version"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| {
            // `mariadbd  Ver 10.11.19-MariaDB-... for ...`.
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let version = text.split_whitespace().nth(2)?;
            Some(format!("mariadbd {version}"))
        })
        .unwrap_or_else(|| binary.display().to_string())
}

/// Carries all controls out, one after the other.
///
/// # Guarantees
/// Every control is in the result: one that could not be carried out says why in `not_run`.
pub async fn run_all(named: Option<&Path>) -> Vec<Control> {
    let unfenced = async { unfenced::run(&find_binary(named)?).await }.await;
    let frozen = async { frozen::run(&find_binary(named)?).await }.await;
    super::flush().await;
    vec![
        said(unfenced::NAME, unfenced::EXPECTED, unfenced),
        said(frozen::NAME, frozen::EXPECTED, frozen),
    ]
}
