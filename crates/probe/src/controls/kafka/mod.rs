//! Negative controls on a real Kafka.
//!
//! Each starts a controller and two brokers of its own in temporary directories, on loopback ports, with
//! their default durability, does the harm on purpose, and holds the certificate against what was done.
//! Nothing is left behind.

mod frozen;
pub mod server;
mod unclean;

use std::path::{Path, PathBuf};

pub use frozen::run as frozen_leader;
pub use unclean::run as unclean_election;

use super::{ControlError, said};
use crate::certificate::Control;

/// Where `scripts/install-kafka.sh` puts what it fetches, below the cache.
const CACHED: &str = "kafka/4.3";

/// Where the public image has it.
const INSTALLED: &str = "/opt/kafka";

/// The directory that has Kafka's `libs`: the one given, else what `scripts/install-kafka.sh` fetched,
/// else the one of the public image.
///
/// # Errors
/// There is none, or no Java.
pub fn find_home(named: Option<&Path>) -> Result<PathBuf, ControlError> {
    if !java() {
        return Err(ControlError::NoKafka);
    }
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("FERRISWHEEL_CACHE").or_else(|| {
        let home = || Some(variable("HOME")?.join(".cache"));
        Some(
            variable("XDG_CACHE_HOME")
                .or_else(home)?
                .join("ferriswheel"),
        )
    });
    let places = match named {
        Some(directory) => vec![directory.to_owned()],
        None => cache
            .map(|cache| cache.join(CACHED))
            .into_iter()
            .chain([PathBuf::from(INSTALLED)])
            .collect(),
    };
    let mut places = places.into_iter();
    places
        .find(|home| broker(home).is_some())
        .ok_or(ControlError::NoKafka)
}

fn java() -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join("java").is_file())
    })
}

/// Name of the broker's jar: `kafka_2.13-4.3.1.jar`.
fn broker(home: &Path) -> Option<String> {
    let jars = std::fs::read_dir(home.join("libs")).ok()?.flatten();
    let mut names = jars.filter_map(|jar| jar.file_name().into_string().ok());
    names.find(|name| name.starts_with("kafka_2.") && name.ends_with(".jar"))
}

/// How the server is called, by its jar.
fn version(home: &Path) -> String {
    broker(home)
        .and_then(|name| {
            let (_, version) = name.strip_suffix(".jar")?.split_once('-')?;
            Some(format!("Kafka {version}"))
        })
        .unwrap_or_else(|| home.display().to_string())
}

/// Carries all controls out, one after the other: three servers each are enough for a machine.
///
/// # Guarantees
/// Every control is in the result: one that could not be carried out says why in `not_run`.
pub async fn run_all(named: Option<&Path>) -> Vec<Control> {
    let unclean = async { unclean::run(&find_home(named)?).await }.await;
    let frozen = async { frozen::run(&find_home(named)?).await }.await;
    super::flush().await;
    vec![
        said(unclean::NAME, unclean::EXPECTED, unclean),
        said(frozen::NAME, frozen::EXPECTED, frozen),
    ]
}
