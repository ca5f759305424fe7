//! `ferriswheel plan`: decide, show, write the plan file.

use std::path::PathBuf;

use clap::Args;
use ferriswheel_actuators::collect::{CollectError, collect};
use ferriswheel_actuators::databases::session::chain;
use ferriswheel_plan::policy::{self, Upgrade};
use ferriswheel_plan::world::Snapshot;
use ferriswheel_plan::{display, planner};
use jiff::Timestamp;

use crate::Output;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::stdout::{out, outln};

/// Decide every step of an upgrade, show it, and write it to a file; changes nothing
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel plan upgrade.yaml --out plan.json
  ferriswheel apply plan.json")]
pub struct PlanArgs {
    /// The spec (YAML)
    spec: PathBuf,
    /// Write the plan to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write what was observed to this file
    #[arg(long, value_name = "FILE")]
    snapshot_out: Option<PathBuf>,
    /// Show each step's guards, gate, undo, soak and deadline too
    #[arg(long)]
    detail: bool,
    /// Exit with 10 when the plan has steps
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out `plan`.
pub async fn run(args: PlanArgs, output: Output) -> Result<Exit, Failure> {
    let spec = read_spec(&args.spec)?;
    let snapshot = observe(&spec, &args.connection).await?;
    if let Some(path) = &args.snapshot_out {
        write_json(path, &snapshot)?;
    }
    let plan = planner::plan(&snapshot, &spec)
        .map_err(|refusal| Failure::refused(Exit::Refused, refusal.diagnostics))?;
    if let Some(path) = &args.out {
        write_json(path, &plan)?;
    }
    match output {
        Output::Text if args.detail => out!("{}", display::detail(&plan)),
        Output::Text => out!("{}", display::text(&plan)),
        Output::Json => outln!(
            "{}",
            serde_json::to_string(&plan).map_err(|e| Failure::unexpected(&e))?
        ),
    }
    Ok(if args.detailed_exitcode && !plan.body.steps.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// Parses a spec file.
pub fn read_spec(path: &PathBuf) -> Result<Upgrade, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::input(format!("{} cannot be read: {e}", path.display()))
            .fix("write one, starting from examples/postgres/upgrade.yaml")
    })?;
    policy::parse(&path.display().to_string(), &text)
        .map_err(|diagnostics| Failure::refused(Exit::Usage, diagnostics))
}

/// Takes the snapshot for a spec.
pub async fn observe(spec: &Upgrade, connection: &Connection) -> Result<Snapshot, Failure> {
    let outside = connection
        .outside(&spec.spec.cluster, PathBuf::new())
        .await?;
    collect(&outside, spec, Timestamp::now())
        .await
        .map_err(|e: CollectError| {
            Failure::one(
                Exit::Unexpected,
                "FW0003",
                "the world could not be observed",
            )
            .evidence(chain(&e))
            .fix("check that the cluster, its resource manager and the named objects are reachable")
        })
}

/// Writes a JSON file whole or not at all.
pub fn write_json<T: serde::Serialize>(path: &PathBuf, value: &T) -> Result<(), Failure> {
    let failed = |e: std::io::Error| {
        Failure::input(format!("{} cannot be written: {e}", path.display()))
            .fix("check the directory and its permissions")
    };
    let bytes = serde_json::to_vec_pretty(value).map_err(|e| Failure::unexpected(&e))?;
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}
