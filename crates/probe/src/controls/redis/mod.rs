//! Negative controls on real Redis (or Valkey) servers in cluster mode.
//!
//! Each starts servers of its own in a temporary directory, on loopback ports, with an append-only
//! file as a careful set has it, does the harm on purpose, and holds the certificate against what
//! was done. Nothing is left behind.

mod frozen;
mod lagging;
pub mod server;

use std::path::{Path, PathBuf};

pub use frozen::run as frozen_server;
pub use lagging::run as lagging_takeover;

use super::{ControlError, said};
use crate::certificate::Control;

/// Where the server's program is: in the directory given, else in one of the `PATH`.
///
/// # Errors
/// There is none.
pub fn find_binary(named: Option<&Path>) -> Result<PathBuf, ControlError> {
    let in_directory = |directory: &Path| {
        ["redis-server", "valkey-server"]
            .iter()
            .map(|program| directory.join(program))
            .find(|path| path.is_file())
    };
    let found = match named {
        Some(directory) => in_directory(directory),
        None => std::env::var_os("PATH")
            .and_then(|path| std::env::split_paths(&path).find_map(|one| in_directory(&one))),
    };
    found.ok_or(ControlError::NoRedis)
}

/// How the server names itself; its path if it does not say.
fn version(binary: &Path) -> String {
    std::process::Command::new(binary)
        .arg("--version")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| {
            // `Redis server v=7.0.15 sha=00000000:0 malloc=...`
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.split(" sha=")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .unwrap_or_else(|| binary.display().to_string())
}

/// Carries all controls out, at the same time.
///
/// # Guarantees
/// Every control is in the result: one that could not be carried out says why in `not_run`.
pub async fn run_all(named: Option<&Path>) -> Vec<Control> {
    let (lagging, frozen) =
        tokio::join!(async { lagging::run(&find_binary(named)?).await }, async {
            frozen::run(&find_binary(named)?).await
        },);
    super::flush().await;
    vec![
        said(lagging::NAME, lagging::EXPECTED, lagging),
        said(frozen::NAME, frozen::EXPECTED, frozen),
    ]
}
