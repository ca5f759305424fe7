//! A run's life: approve, pause, resume, abort, journal. Its rollback has its own file.

use clap::Args;
use ferriswheel_engine::driver::conclude;
use ferriswheel_engine::journal::Journal;
use ferriswheel_engine::record::{Entry, Request};
use ferriswheel_engine::state::{State, StepState};
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::Undo;
use jiff::Timestamp;
use serde_json::json;

use crate::Output;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::line;
use crate::runs::{Run, RunsDir};
use crate::stdout::outln;

/// Which run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The plan's id, or the beginning of it [default: the latest run]
    #[arg(long = "run", value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    runs: RunsDir,
}

impl RunArgs {
    /// The run that is meant.
    pub fn find(&self) -> Result<Run, Failure> {
        self.runs.find(self.id.as_deref())
    }
}

/// Approve a gate
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferriswheel approve hand-over-orders")]
pub struct ApproveArgs {
    /// Name of the gate
    gate: String,
    #[command(flatten)]
    run: RunArgs,
}

/// Go on with a paused run
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferriswheel resume")]
pub struct ResumeArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    connection: crate::connect::Connection,
}

/// Writes a request into a run's journal; the driver honours it at the next safe point.
pub fn ask(plan: &Plan, journal: &dyn Journal, request: Request) -> Result<(), Failure> {
    journal
        .append(&plan.id, 0, Timestamp::now(), Entry::Asked { request })
        .map(|_| ())
        .map_err(|e| Failure::unexpected(&e))
}

fn request(args: &RunArgs, request: Request) -> Result<Exit, Failure> {
    let run = args.find()?;
    let (_, state) = run.records()?;
    if state.over {
        return Err(Failure::input("the run is over").fix("see: ferriswheel status"));
    }
    ask(&run.plan()?, &run.journal()?, request)?;
    Ok(Exit::Done)
}

/// Carries out `approve`.
pub fn approve(args: &ApproveArgs) -> Result<Exit, Failure> {
    let run = args.run.find()?;
    let plan = run.plan()?;
    let gates: Vec<_> = plan
        .body
        .steps
        .iter()
        .filter_map(|step| step.gate.as_ref())
        .collect();
    if !gates.iter().any(|gate| gate.name == args.gate) {
        let names: Vec<_> = gates.iter().map(|gate| gate.name.as_str()).collect();
        return Err(
            Failure::input(format!("the plan has no gate `{}`", args.gate)).fix(
                if names.is_empty() {
                    "it has no gates at all".to_owned()
                } else {
                    format!("its gates are: {}", names.join(", "))
                },
            ),
        );
    }
    let by = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    request(
        &args.run,
        Request::Approve {
            gate: args.gate.clone(),
            by,
        },
    )
}

/// Carries out `pause`.
pub fn pause(args: &RunArgs) -> Result<Exit, Failure> {
    request(args, Request::Pause)
}

/// Carries out `abort`: the run stops before its next act and cannot be resumed. One that stands
/// still is given up at once. Says what is left, and how it is taken back.
pub fn abort(args: &RunArgs, output: Output) -> Result<Exit, Failure> {
    let run = args.find()?;
    let plan = run.plan()?;
    request(args, Request::Abort)?;
    let (_, state) = run.records()?;
    let certain = !state
        .steps
        .values()
        .any(|step| matches!(step, StepState::Acting(_)));
    let at_once = state.stopped.is_some() && certain;
    if at_once {
        conclude(&plan, &run.journal()?, Timestamp::now(), Entry::Aborted)
            .map_err(|e| Failure::unexpected(&e))?;
    }
    let left = left_behind(&plan, &state);
    match output {
        Output::Json => outln!(
            "{}",
            json!({
                "schema": "ferriswheel.abort.v1",
                "plan": plan.id,
                "aborted": at_once,
                "left": left,
                "next": format!("ferriswheel rollback {}", plan.id),
            })
        ),
        Output::Text => {
            if !at_once {
                eprint_note(
                    "asked: the process that drives the run gives it up before its next act; if none does, `ferriswheel rollback --apply` does it",
                );
            }
            say_left(&plan, &left);
        }
    }
    Ok(Exit::Done)
}

/// What a run that is given up leaves behind, newest first, with how it is taken back.
pub fn left_behind(plan: &Plan, state: &State) -> Vec<String> {
    let begun = state.progress();
    plan.body
        .steps
        .iter()
        .rev()
        .filter(|step| begun.contains_key(&step.id))
        .filter_map(|step| {
            let how = match &step.undo {
                Undo::Inverse(inverse) => format!("taken back: {inverse}"),
                Undo::Told(how) => format!("taken back: {how}"),
                Undo::Restore(what) => format!("put back: {what}"),
                Undo::RollForwardOnly(why) => format!("stays: {why}"),
                Undo::Manual(runbook) => format!("by a person: {runbook}"),
                Undo::Nothing => return None,
            };
            Some(format!("step {} ({}): {how}", step.id, step.title))
        })
        .collect()
}

/// Says on stderr what is left and which command takes it back.
pub fn say_left(plan: &Plan, left: &[String]) {
    if plan.body.rollback.is_some() {
        eprint_note("the rollback is given up; the rest of it is as it was");
    } else if left.is_empty() {
        eprint_note("nothing was done yet: nothing is left");
    } else {
        eprint_note("left as it is, newest first:");
        for line in left {
            eprint_note(&format!("  {line}"));
        }
        eprint_note(&format!("take it back: ferriswheel rollback {}", plan.id));
    }
}

#[expect(clippy::print_stderr, reason = "stderr is for notes")]
pub(super) fn eprint_note(text: &str) {
    eprintln!("{text}");
}

/// Carries out `resume`: takes the pause back and drives the run.
pub async fn resume(args: &ResumeArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    request(&args.run, Request::Resume)?;
    let run = args.run.find()?;
    let plan = run.plan()?;
    if plan.body.rollback.is_some() {
        let runs = &args.run.runs;
        return super::rollback::carry_out(&plan, runs, &args.connection, output, quiet, false)
            .await;
    }
    super::apply::drive(&plan, &run, &args.connection, output, quiet, false).await
}

/// Carries out `journal`: every record, one a line.
pub fn journal(args: &RunArgs, output: Output) -> Result<Exit, Failure> {
    let run = args.find()?;
    let plan = run.plan()?;
    let (records, _) = run.records()?;
    for record in &records {
        match output {
            Output::Json => outln!(
                "{}",
                serde_json::to_string(record).map_err(|e| Failure::unexpected(&e))?
            ),
            Output::Text => outln!(
                "{:>5} {} epoch {} {:<9} {}",
                record.seq,
                record.at.strftime("%H:%M:%S%.3f"),
                record.epoch,
                record.entry.name(),
                line(&plan, record).unwrap_or_default()
            ),
        }
    }
    Ok(Exit::Done)
}
