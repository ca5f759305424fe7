//! Negative controls on real servers: proofs that the judge reports a harm when there is one.
//!
//! Each starts `PostgreSQL` servers of its own in a temporary directory, on unix sockets only,
//! with their default durability, does the harm on purpose, and holds the certificate against
//! what was done. Nothing is left behind.

mod frozen;
mod lagging;
pub mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::certificate::Control;
use crate::run::{Probe, StartError};

/// Why a control could not be carried out. That is never the same as "not detected".
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No server to harm.
    #[error(
        "find PostgreSQL's programs (initdb, postgres, pg_basebackup): install them with `apt-get install postgresql-15`, or name their directory"
    )]
    NoBinaries,
    /// The servers refuse to run as root and there is no user for them.
    #[error("find the user \"postgres\", whom the servers run as when started by root")]
    NoUser,
    /// A file, a process or a signal.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A program of `PostgreSQL` failed.
    #[error("run {program}: {output}")]
    Program {
        /// Program.
        program: String,
        /// What it said.
        output: String,
    },
    /// A server or the writers did not get where the control needs them.
    #[error("wait until {what}: gave up after {} s", after.as_secs())]
    Deadline {
        /// Awaited.
        what: String,
        /// Waited.
        after: Duration,
    },
    /// A statement of the control's own failed.
    #[error("prepare the control: {0}")]
    Statement(String),
    /// The probe could not start.
    #[error("start the probe")]
    Start(#[from] StartError),
}

/// Where `PostgreSQL`'s programs are: the directory given, else the newest that Debian installed.
///
/// # Errors
/// There are none.
pub fn find_binaries(named: Option<&Path>) -> Result<PathBuf, ControlError> {
    let complete = |bin: &Path| {
        ["initdb", "postgres", "pg_basebackup"]
            .iter()
            .all(|program| bin.join(program).is_file())
    };
    if let Some(bin) = named {
        return if complete(bin) {
            Ok(bin.to_owned())
        } else {
            Err(ControlError::NoBinaries)
        };
    }
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    installed
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            complete(&bin).then_some((version, bin))
        })
        .max()
        .map(|(_, bin)| bin)
        .ok_or(ControlError::NoBinaries)
}

/// Runs all controls, one after the other.
///
/// # Errors
/// A control could not be carried out; a harm that was not detected is no error but a
/// [`Control`] that says so.
pub async fn run_all(binaries: &Path) -> Result<Vec<Control>, ControlError> {
    Ok(vec![
        lagging::run(binaries).await?.control,
        frozen::run(binaries).await?.control,
    ])
}

/// A control with the certificate that it rests on.
#[derive(Debug)]
pub struct Outcome {
    /// For the certificate of the run that it vouches for.
    pub control: Control,
    /// What the judge wrote.
    pub certificate: crate::certificate::Certificate,
    /// Harm done, counted without the judge: writes cut off, or milliseconds frozen.
    pub harm: u64,
}

pub use frozen::run as frozen_server;
pub use lagging::run as lagging_promotion;

/// Waiting for one condition of a control.
///
/// 30 s: a loaded two-core machine needs seconds for initdb and recovery; a hang must still end.
const PATIENCE: Duration = Duration::from_secs(30);

async fn until<F>(what: &str, mut holds: impl FnMut() -> F) -> Result<(), ControlError>
where
    F: Future<Output = bool>,
{
    let give_up = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        if tokio::time::Instant::now() >= give_up {
            return Err(ControlError::Deadline {
                what: what.to_owned(),
                after: PATIENCE,
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Waits until this many more writes are acknowledged than now.
async fn acked_more(probe: &Probe, more: u64) -> Result<(), ControlError> {
    let before = probe.status().acked;
    until(
        &format!("{more} more writes are acknowledged"),
        async || probe.status().acked >= before + more,
    )
    .await
}
