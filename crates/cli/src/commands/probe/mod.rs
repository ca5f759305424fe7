//! `probe`: measure downtime and durability, serve the judge as a pod, prove that it can fail.

mod args;
mod controls;
mod measure;
mod words;

use std::path::Path;

use ferriswheel_probe::config::{REDIS_WRITERS, RunConfig};
use ferriswheel_probe::serve::{self, ServeConfig, ServeError};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::failure::Failure;
pub use args::ProbeArgs;
use args::{ProbeCommand, ServeArgs};
use controls::run_controls;
use measure::measure;

/// Carries out `probe`.
///
/// # Errors
/// Bad input, a database or a file out of reach.
pub async fn run(args: ProbeArgs, json: bool) -> Result<Exit, Failure> {
    match args.command {
        ProbeCommand::Postgres(args) => {
            let config = RunConfig {
                read_dsn: args.read_dsn,
                ..RunConfig::new(args.dsn)
            };
            measure(config, args.run, json).await
        }
        ProbeCommand::Redis(args) => {
            let config = RunConfig {
                writers: REDIS_WRITERS,
                ..RunConfig::redis(args.nodes)
            };
            measure(config, args.run, json).await
        }
        ProbeCommand::Mongodb(args) => {
            measure(RunConfig::mongodb(args.address), args.run, json).await
        }
        ProbeCommand::Mariadb(args) => {
            measure(RunConfig::mariadb(args.address), args.run, json).await
        }
        ProbeCommand::Memcached(args) => {
            let config = RunConfig {
                min_hit_rate: args.min_hit_rate.map(f64::from),
                ..RunConfig::memcached(format!("memcached://{}", args.servers))
            };
            measure(config, args.run, json).await
        }
        ProbeCommand::Kafka(args) => {
            let address = format!("kafka://{}/{}", args.brokers, args.topic);
            measure(RunConfig::kafka(address), args.run, json).await
        }
        ProbeCommand::Serve(args) => serve(args).await,
        ProbeCommand::Controls(args) => run_controls(args, json).await,
    }
}

async fn serve(args: ServeArgs) -> Result<Exit, Failure> {
    let text = read(&args.config)?;
    let config: ServeConfig = serde_json::from_str(&text).map_err(|e| {
        Failure::input(format!(
            "the probe's configuration {} is wrong",
            args.config.display()
        ))
        .evidence(e.to_string())
    })?;
    let stop = stop_signal()?;
    serve::serve(args.listen, config, stop)
        .await
        .map_err(|error| match error {
            ServeError::Listen { .. } => Failure::unexpected(&error),
            other => Failure::input(other.to_string()),
        })?;
    Ok(Exit::Done)
}

fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let listen = |kind| signal(kind).map_err(|e| Failure::unexpected(&e));
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| {
        Failure::input(format!("{} cannot be read", path.display())).evidence(e.to_string())
    })
}

fn pretty(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|e| Failure::unexpected(&e))
}
