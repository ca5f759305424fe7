//! `ferriswheel-bench`: hand-overs of many methods, side by side, in one sandbox, judged by the same probe.
//!
//! It drives `ferriswheel`, kubectl and the scripts of `bench/postgres` as programs and knows nothing of plans,
//! engines and actuators; of the probe it knows the certificate.

mod databases;
mod error;
mod ferriswheel;
mod judge;
mod machine;
mod method;
mod patroni;
mod program;
mod report;
mod results;
mod runner;
mod sandbox;
mod set;
mod window;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Result, file, unexpected};
use crate::machine::Machine;
use crate::method::{Method, Wanted};
use crate::results::Results;
use crate::runner::Runner;
use crate::sandbox::Sandbox;

/// Measure how the leaders of a database move, by many methods, in one sandbox
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Hand-overs of a PostgreSQL primary
    #[command(after_help = "Example:
  ferriswheel-bench postgres --rounds 2 --methods pooled,patroni30
  ferriswheel-bench postgres --rounds 30 --publish")]
    Postgres(Postgres),
    /// Every other database system, one after the other
    #[command(after_help = "Example:
  ferriswheel-bench databases --rounds 2
  ferriswheel-bench databases --methods redis/ferriswheel:30,redis/nothing --publish")]
    Databases(databases::Arguments),
}

/// Where things are.
#[derive(Debug, Args)]
struct Places {
    /// The program to measure [default: `ferriswheel` beside this one]
    #[arg(long, value_name = "FILE")]
    ferriswheel: Option<PathBuf>,
    /// The repository with examples/ and bench/
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
    /// Directory for the raw data
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Write the results into docs/benchmarks.md and the raw data beside it
    #[arg(long)]
    publish: bool,
}

/// The same, found.
struct Found {
    ferriswheel: PathBuf,
    repository: PathBuf,
    /// For the raw data.
    directory: PathBuf,
    publish: bool,
}

impl Places {
    fn find(&self) -> Result<Found> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(file(path));
        let repository = absolute(&self.repository)?;
        let ferriswheel = match &self.ferriswheel {
            Some(path) => path.clone(),
            None => std::env::current_exe()
                .map_err(file(Path::new("this program")))?
                .with_file_name("ferriswheel"),
        };
        let directory = if self.publish {
            repository.join("docs/benchmarks")
        } else {
            absolute(&self.out)?
        };
        std::fs::create_dir_all(&directory).map_err(file(&directory))?;
        Ok(Found {
            ferriswheel,
            repository,
            directory,
            publish: self.publish,
        })
    }
}

impl Found {
    /// On the terminal, and into the document if that is wanted.
    fn show(&self, name: &str, section: &str) -> Result<()> {
        std::io::stdout()
            .write_all(section.as_bytes())
            .map_err(file(Path::new("stdout")))?;
        if self.publish {
            report::publish(&self.repository.join("docs/benchmarks.md"), name, section)?;
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
struct Postgres {
    /// Rounds of each method
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Methods, each with its own number of rounds if wanted: pooled,patroni30-haproxy:10
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "pooled,pooled-inside,direct,seed-quick,seed-controlled,patroni30,patroni41"
    )]
    methods: Vec<Wanted>,
    #[command(flatten)]
    places: Places,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a provider was installed already");
    }
    let ended = tokio::select! {
        ended = bench(&arguments.what) => ended,
        () = interrupted() => Err(unexpected("interrupted")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(what: &What) -> Result<()> {
    match what {
        What::Postgres(arguments) => postgres(arguments).await,
        What::Databases(arguments) => databases::bench(arguments).await,
    }
}

async fn postgres(arguments: &Postgres) -> Result<()> {
    let places = arguments.places.find()?;
    let methods: Vec<Method> = arguments
        .methods
        .iter()
        .map(|wanted| wanted.method)
        .collect();
    let load = machine::load();

    tracing::info!("the sandbox");
    let sandbox = Sandbox::up(&places.ferriswheel, &runner::POOLS).await?;
    let mut runner = Runner::up(sandbox, &places.repository, &methods).await?;
    let postgres = runner.postgres_version().await?;
    let mut results = Results {
        schema: results::SCHEMA.to_owned(),
        machine: Machine::here(&places.repository, &places.ferriswheel, postgres, load).await,
        rounds: Vec::new(),
    };
    let name = format!(
        "postgres-{}.json",
        results.machine.started.strftime("%Y-%m-%d")
    );
    let raw = places.directory.join(&name);
    let total: u32 = arguments
        .methods
        .iter()
        .map(|wanted| wanted.rounds.unwrap_or(arguments.rounds))
        .sum();
    for number in 1.. {
        let due = |wanted: &&Wanted| number <= wanted.rounds.unwrap_or(arguments.rounds);
        let cycle: Vec<&Wanted> = arguments.methods.iter().filter(due).collect();
        if cycle.is_empty() {
            break;
        }
        for wanted in cycle {
            let round = runner.round(wanted.method, number).await;
            tell(&round, results.rounds.len() + 1, total);
            results.rounds.push(round);
            results.machine.finished = Timestamp::now();
            // After every round, so that a run that is cut short leaves what it has.
            store(&raw, &results)?;
        }
    }
    drop(runner);

    let section = report::section(&results, &format!("benchmarks/{name}"));
    places.show(report::SECTION, &section)?;
    tracing::info!("raw data: {}", raw.display());
    Ok(())
}

fn tell(round: &results::Round, done: usize, total: u32) {
    let measured = round.certificate.clone().unwrap_or_default();
    let failure = round.failure.as_ref().map_or_else(String::new, |failure| {
        format!(" FAILED ({:?}): {}", failure.stage, failure.detail)
    });
    tracing::info!(
        "{done}/{total} {} {}: gap {:.0} ms, {} errors, lost {:?}, act {:.1} s, round {:.1} s{failure}",
        round.method.key(),
        round.number,
        measured.longest_ack_gap_ms.unwrap_or(f64::NAN),
        measured.errors,
        measured.acked_lost,
        round.act_s.unwrap_or(f64::NAN),
        round.took_s,
    );
}

/// Complete or not at all.
fn store(path: &Path, results: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(results)
        .map_err(|e| unexpected(format!("{}: {e}", path.display())))?;
    bytes.push(b'\n');
    let beside = path.with_extension("json.new");
    std::fs::write(&beside, bytes).map_err(file(&beside))?;
    std::fs::rename(&beside, path).map_err(file(path))
}

async fn interrupted() {
    let mut kinds = Vec::new();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        if let Ok(signal) = signal(kind) {
            kinds.push(signal);
        }
    }
    let waits = kinds.iter_mut().map(|signal| Box::pin(signal.recv()));
    let mut waits: Vec<_> = waits.collect();
    std::future::poll_fn(|context| {
        if waits
            .iter_mut()
            .any(|wait| wait.as_mut().poll(context).is_ready())
        {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}
