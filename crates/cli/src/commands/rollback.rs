//! `ferriswheel rollback`: take a run back. Shows the plan; carries it out when asked to.

use std::path::PathBuf;

use clap::Args;
use ferriswheel_actuators::world::World;
use ferriswheel_engine::clock::SystemClock;
use ferriswheel_engine::driver::{Driver, Outcome, conclude};
use ferriswheel_engine::record::Entry;
use ferriswheel_engine::state::State;
use ferriswheel_plan::display;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::rollback::{self, Past, Wish};
use ferriswheel_plan::world::Snapshot;
use jiff::Timestamp;

use super::apply::{broke, stopped};
use super::life::eprint_note;
use super::plan::{observe, write_json};
use crate::Output;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::runs::{Run, RunsDir};
use crate::stdout::{out, outln};

/// Take a run back: decide the way, show it, and with --apply carry it out
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel rollback --out back.json      decide and show; changes nothing
  ferriswheel apply back.json               carry it out (exit code 41)
  ferriswheel rollback 3f2a --apply         both at once
What cannot be taken back is said in the plan. The primary stays where it is, unless --hand-back.")]
pub struct RollbackArgs {
    /// The run: its plan's id, or the beginning of it [default: the latest run]
    #[arg(value_name = "RUN")]
    id: Option<String>,
    /// Hand the primary back too: a second move, with the same proof as the first
    #[arg(long)]
    hand_back: bool,
    /// Carry it out at once; a run that is not over is given up first
    #[arg(long)]
    apply: bool,
    /// Pass every gate without asking
    #[arg(long, short = 'y', requires = "apply")]
    yes: bool,
    /// Write the plan to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show each step's guards and what becomes of each step of the run
    #[arg(long)]
    detail: bool,
    /// Exit with 10 when the plan has steps
    #[arg(long, conflicts_with = "apply")]
    detailed_exitcode: bool,
    #[command(flatten)]
    runs: RunsDir,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out `rollback`.
pub async fn run(args: RollbackArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    let run = args.runs.find(args.id.as_deref())?;
    let plan = run.plan()?;
    if args.apply && plan.body.rollback.is_none() {
        give_up(&run, &plan, &args.connection, output, quiet).await?;
    }
    let (_, state) = run.records()?;
    if let (true, Some(by)) = (state.rolled_back, &state.rolling_back) {
        eprint_note(&format!("run {} was taken back by {by}", plan.id));
        return Ok(Exit::RolledBack);
    }
    let world = observe(&plan.body.policy, &args.connection).await?;
    let before = before(&run, &state, &world)?;
    let begun = state.progress();
    let past = Past {
        plan: &plan,
        before: &before,
        begun: &begun,
    };
    let wish = Wish {
        hand_back: args.hand_back,
    };
    let back = rollback::plan(&world, &past, wish)
        .map_err(|refusal| Failure::refused(Exit::Refused, refusal.diagnostics))?;
    if let Some(path) = &args.out {
        write_json(path, &back)?;
    }
    if args.apply {
        if !quiet && output == Output::Text {
            eprint_note(&display::text(&back));
        }
        return carry_out(&back, &args.runs, &args.connection, output, quiet, args.yes).await;
    }
    show(&back, output, args.detail)?;
    if !state.over {
        eprint_note("the run is not over: carrying the rollback out gives it up first");
    }
    Ok(if args.detailed_exitcode && !back.body.steps.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

fn show(back: &Plan, output: Output, detail: bool) -> Result<(), Failure> {
    match output {
        Output::Text if detail => out!("{}", display::detail(back)),
        Output::Text => out!("{}", display::text(back)),
        Output::Json => outln!(
            "{}",
            serde_json::to_string(back).map_err(|e| Failure::unexpected(&e))?
        ),
    }
    Ok(())
}

/// The world before the run. Without it nobody knows which nodes were closed and which machines
/// were there.
fn before(run: &Run, state: &State, now: &Snapshot) -> Result<Snapshot, Failure> {
    let path = run.before_file();
    let missing = |what: String| {
        Failure::one(
            Exit::Refused,
            "FW0414",
            "what was there before the run is not known",
        )
        .evidence(format!("{}: {what}", path.display()))
        .fix("take it back by hand (docs/runbooks/rollback.md)")
    };
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| missing(e.to_string())),
        Err(_) if state.progress().is_empty() => Ok(now.clone()),
        Err(e) => Err(missing(e.to_string())),
    }
}

/// Ends a run that is not over: settles the act whose fate is unknown, and nothing else.
async fn give_up(
    run: &Run,
    plan: &Plan,
    connection: &Connection,
    output: Output,
    quiet: bool,
) -> Result<(), Failure> {
    let (_, state) = run.records()?;
    if state.over {
        return Ok(());
    }
    let outside = connection
        .outside(&plan.body.policy.spec.cluster, run.directory.clone())
        .await?;
    let world = World::new(outside, plan.clone());
    let progress = Progress::new(plan, output, quiet);
    let journal = crate::crash::CrashingJournal::around(run.journal()?)?;
    let outcome = Driver {
        plan,
        actuator: &world,
        journal: &journal,
        clock: &SystemClock,
        listener: &progress,
    }
    .give_up()
    .await
    .map_err(|e| broke(&e))?;
    match outcome {
        Outcome::Finished | Outcome::Aborted => Ok(()),
        Outcome::Stopped { step, how } => {
            let mut failure = stopped(plan, &step, how);
            failure.exit = Exit::Stuck;
            Err(failure.fix("`ferriswheel apply` with the run's own plan goes on where it stands"))
        }
    }
}

/// Drives a rollback: gives its run up if that is not over, writes the decision into the run's
/// journal, carries the plan out, and writes that it was.
pub async fn carry_out(
    back: &Plan,
    runs: &RunsDir,
    connection: &Connection,
    output: Output,
    quiet: bool,
    yes: bool,
) -> Result<Exit, Failure> {
    let parent = parent(back, runs)?;
    let plan = parent.plan()?;
    give_up(&parent, &plan, connection, output, quiet).await?;
    let journal = parent.journal()?;
    let write =
        |entry: Entry| conclude(&plan, &journal, Timestamp::now(), entry).map_err(|e| broke(&e));
    let (_, state) = parent.records()?;
    let by = || back.id.clone();
    if state.rolling_back.as_ref() != Some(&back.id) {
        write(Entry::RollingBack { by: by() })?;
    }
    let run = runs.create(back)?;
    let exit = super::apply::drive(back, &run, connection, output, quiet, yes).await?;
    let (_, state) = run.records()?;
    if !state.over || state.aborted {
        return Ok(exit);
    }
    let (_, state) = parent.records()?;
    if !state.rolled_back {
        write(Entry::RolledBack { by: by() })?;
    }
    Ok(match exit {
        Exit::Done => Exit::RolledBack,
        other => other,
    })
}

fn parent(back: &Plan, runs: &RunsDir) -> Result<Run, Failure> {
    let id = back.body.parent.as_ref().map(|id| id.as_str());
    runs.find(id).map_err(|failure| {
        let mut mine = Failure::one(
            Exit::Refused,
            "FW0414",
            "the run that this plan takes back was not found",
        );
        for diagnostic in failure.diagnostics {
            mine = mine.evidence(diagnostic.message);
        }
        mine.fix("name the directory of the run: --runs DIR")
    })
}
