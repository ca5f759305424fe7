//! Negative controls on real servers: proofs that the judge reports a harm when there is one.
//!
//! Each starts `PostgreSQL` servers of its own in a temporary directory, on unix sockets only,
//! with their default durability, does the harm on purpose, and holds the certificate against
//! what was done. Nothing is left behind.

mod frozen;
pub mod kafka;
mod lagging;
pub mod mariadb;
pub mod memcached;
pub mod mongodb;
mod process;
pub mod redis;
pub mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Pid;

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
    /// No Redis server to harm.
    #[error(
        "find redis-server: install it with `apt-get install redis-server`, or name its directory"
    )]
    NoRedis,
    /// No MongoDB server to harm.
    #[error("find mongod: install it with `scripts/install-mongodb.sh`, or name its directory")]
    NoMongo,
    /// No MariaDB server to harm.
    #[error(
        "find mariadbd: install it with `apt-get install mariadb-server`, or name its directory"
    )]
    NoMariadb,
    /// No Memcached server to harm.
    #[error("find memcached: install it with `apt-get install memcached`, or name its directory")]
    NoMemcached,
    /// No Kafka to harm.
    #[error(
        "find Kafka's jars and Java: fetch them with `scripts/install-kafka.sh` and `apt-get install openjdk-17-jre-headless`, or name the directory that has `libs`"
    )]
    NoKafka,
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

/// Where `PostgreSQL`'s programs are: the directory given, else the newest that Debian's packages
/// (and the public image) installed, else a directory of the `PATH`.
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
        .or_else(|| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).find(|bin| complete(bin))
        })
        .ok_or(ControlError::NoBinaries)
}

/// How the server names itself; its path if it does not say.
fn version(binaries: &Path) -> String {
    let postgres = binaries.join("postgres");
    std::process::Command::new(&postgres)
        .arg("--version")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_else(|| postgres.display().to_string())
}

/// Carries all controls out, at the same time, on servers from the directory given or found, and
/// returns once the disk has taken what they wrote: a run that is measured next must not wait for it.
///
/// # Guarantees
/// Every control is in the result: one that could not be carried out says why in `not_run`.
pub async fn run_all(named: Option<&Path>) -> Vec<Control> {
    let (lagging, frozen) = tokio::join!(
        async { lagging::run(&find_binaries(named)?).await },
        async { frozen::run(&find_binaries(named)?).await },
    );
    flush().await;
    vec![
        said(lagging::NAME, lagging::EXPECTED, lagging),
        said(frozen::NAME, frozen::EXPECTED, frozen),
    ]
}

async fn flush() {
    let flushed = tokio::task::spawn_blocking(nix::unistd::sync);
    if tokio::time::timeout(FLUSH, flushed).await.is_err() {
        tracing::warn!("the disk is busy beyond what the controls wrote");
    }
}

fn said(name: &str, expected: &str, outcome: Result<Outcome, ControlError>) -> Control {
    outcome.map_or_else(
        |error| Control {
            name: name.to_owned(),
            expected: expected.to_owned(),
            observed: "nothing: it was not carried out".to_owned(),
            detected: false,
            not_run: Some(with_causes(&error)),
            server: None,
            at: None,
        },
        |outcome| outcome.control,
    )
}

pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
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

/// Waiting for the disk. 10 s: the controls write some 100 MB; a disk that needs longer is busy with
/// the work of others, which does not end.
const FLUSH: Duration = Duration::from_secs(10);

/// Waiting for one condition of a control.
///
/// 30 s: a loaded two-core machine needs seconds for initdb and recovery; a hang must still end.
const PATIENCE: Duration = Duration::from_secs(30);

async fn until<F>(what: &str, holds: impl FnMut() -> F) -> Result<(), ControlError>
where
    F: Future<Output = bool>,
{
    within(PATIENCE, what, holds).await
}

/// As [`until`], for what takes longer.
async fn within<F>(
    patience: Duration,
    what: &str,
    mut holds: impl FnMut() -> F,
) -> Result<(), ControlError>
where
    F: Future<Output = bool>,
{
    let give_up = tokio::time::Instant::now() + patience;
    while !holds().await {
        if tokio::time::Instant::now() >= give_up {
            return Err(ControlError::Deadline {
                what: what.to_owned(),
                after: patience,
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

/// State `T`, or no longer there.
fn stands_still(pid: Pid) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // The state follows the command name, which may itself contain blanks and brackets.
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next())
        .is_none_or(|s| s == "T")
}

fn system(what: &str) -> impl FnOnce(std::io::Error) -> ControlError + use<> {
    let what = what.to_owned();
    move |source| ControlError::System { what, source }
}
