//! The controls: servers of its own are harmed, and the judge has to report it.

use std::path::Path;

use ferriswheel_probe::certificate::Control;
use ferriswheel_probe::controls::{self, ControlError};
use ferriswheel_probe::system::SystemKind;

use super::args::ControlsArgs;
use super::{pretty, read, stop_signal};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::stdout::outln;

/// Format of `probe controls --output json`.
const CONTROLS_SCHEMA: &str = "ferriswheel.controls.v1";

#[expect(clippy::print_stderr, reason = "stdout is data, stderr is progress")]
pub(super) async fn run_controls(args: ControlsArgs, json: bool) -> Result<Exit, Failure> {
    let cannot = |error: ControlError| match error {
        ControlError::NoBinaries | ControlError::NoUser => {
            Failure::input(error.to_string()).fix("apt-get install postgresql-15")
        }
        ControlError::NoRedis => {
            Failure::input(error.to_string()).fix("apt-get install redis-server")
        }
        ControlError::NoMongo => {
            Failure::input(error.to_string()).fix("scripts/install-mongodb.sh")
        }
        ControlError::NoMariadb => {
            Failure::input(error.to_string()).fix("apt-get install mariadb-server")
        }
        ControlError::NoMemcached => {
            Failure::input(error.to_string()).fix("apt-get install memcached")
        }
        ControlError::NoKafka => Failure::input(error.to_string()).fix("scripts/install-kafka.sh"),
        other => Failure::unexpected(&other),
    };
    let harm = async {
        match args.system {
            SystemKind::Postgres => controls::run_all(args.postgres_bin.as_deref()).await,
            SystemKind::Redis => controls::redis::run_all(args.redis_bin.as_deref()).await,
            SystemKind::Mongodb => controls::mongodb::run_all(args.mongodb_bin.as_deref()).await,
            SystemKind::Mariadb => controls::mariadb::run_all(args.mariadb_bin.as_deref()).await,
            SystemKind::Memcached => {
                controls::memcached::run_all(args.memcached_bin.as_deref()).await
            }
            SystemKind::Kafka => controls::kafka::run_all(args.kafka_dir.as_deref()).await,
        }
    };
    let found = match args.system {
        SystemKind::Postgres => controls::find_binaries(args.postgres_bin.as_deref()),
        SystemKind::Redis => controls::redis::find_binary(args.redis_bin.as_deref()),
        SystemKind::Mongodb => controls::mongodb::find_binary(args.mongodb_bin.as_deref()),
        SystemKind::Mariadb => controls::mariadb::find_binary(args.mariadb_bin.as_deref()),
        SystemKind::Memcached => controls::memcached::find_binary(args.memcached_bin.as_deref()),
        SystemKind::Kafka => controls::kafka::find_home(args.kafka_dir.as_deref()),
    }
    .map_err(cannot)?;
    eprintln!("harming servers from {}", found.display());
    // Dropped by a signal, the servers end and their directories go.
    let controls = tokio::select! {
        controls = harm => controls,
        () = stop_signal()? => return Err(Failure::one(
            Exit::Unexpected,
            "FW0002",
            "the controls were interrupted",
        )),
    };
    if json {
        outln!(
            "{}",
            pretty(&serde_json::json!({ "schema": CONTROLS_SCHEMA, "controls": controls }))?
        );
    } else {
        for control in &controls {
            let word = match (control.detected, &control.not_run) {
                (true, _) => "detected",
                (false, None) => "NOT DETECTED",
                (false, Some(_)) => "NOT CARRIED OUT",
            };
            outln!("{word}: {}", control.name);
            outln!("  expected: {}", control.expected);
            match &control.not_run {
                Some(why) => outln!("  why: {why}"),
                None => outln!("  observed: {}", control.observed),
            }
        }
    }
    Ok(if controls.iter().all(|c| c.detected) {
        Exit::Done
    } else {
        Exit::Refused
    })
}

pub(super) fn read_controls(path: &Path) -> Result<Vec<Control>, Failure> {
    #[derive(serde::Deserialize)]
    struct File {
        schema: String,
        controls: Vec<Control>,
    }
    let wrong = |evidence: String| {
        Failure::input(format!(
            "{} is no result of `probe controls`",
            path.display()
        ))
        .evidence(evidence)
    };
    let file: File = serde_json::from_str(&read(path)?).map_err(|e| wrong(e.to_string()))?;
    if file.schema == CONTROLS_SCHEMA {
        Ok(file.controls)
    } else {
        Err(wrong(format!("its schema is {}", file.schema)))
    }
}
