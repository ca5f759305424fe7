//! A run's life: status, watch, approve, pause, resume, abort, journal.

use std::time::Duration;

use clap::Args;
use ferriswheel_engine::driver::time_left_ms;
use ferriswheel_engine::journal::Journal;
use ferriswheel_engine::record::{Entry, Request};
use ferriswheel_engine::state::{State, StepState};
use ferriswheel_plan::plan::Plan;
use jiff::Timestamp;
use serde_json::json;

use crate::Output;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::line;
use crate::runs::RunsDir;

/// Which run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The plan's id, or the beginning of it [default: the latest run]
    #[arg(long = "run", value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    runs: RunsDir,
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
    let run = args.runs.find(args.id.as_deref())?;
    let (_, state) = run.records()?;
    if state.over {
        return Err(Failure::input("the run is over").fix("see: ferriswheel status"));
    }
    ask(&run.plan()?, &run.journal()?, request)?;
    Ok(Exit::Done)
}

/// Carries out `approve`.
pub fn approve(args: &ApproveArgs) -> Result<Exit, Failure> {
    let run = args.run.runs.find(args.run.id.as_deref())?;
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

/// Carries out `abort`: the run stops before its next act and cannot be resumed.
pub fn abort(args: &RunArgs) -> Result<Exit, Failure> {
    request(args, Request::Abort)
}

/// Carries out `resume`: takes the pause back and drives the run.
pub async fn resume(args: &ResumeArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    request(&args.run, Request::Resume)?;
    let run = args.run.runs.find(args.run.id.as_deref())?;
    let plan = run.plan()?;
    super::apply::drive(&plan, &run, &args.connection, output, quiet, false).await
}

/// Carries out `status`.
#[expect(clippy::print_stdout, reason = "stdout is data")]
pub fn status(args: &RunArgs, output: Output) -> Result<Exit, Failure> {
    let run = args.runs.find(args.id.as_deref())?;
    let plan = run.plan()?;
    let (_, state) = run.records()?;
    match output {
        Output::Json => println!("{}", status_json(&plan, &state)),
        Output::Text => print!("{}", status_text(&plan, &state)),
    }
    Ok(standing(&state))
}

fn standing(state: &State) -> Exit {
    use ferriswheel_engine::record::Stop;
    match &state.stopped {
        _ if state.over && state.abort_asked => Exit::Stuck,
        Some(Stop::Gate { .. }) => Exit::WaitingForApproval,
        Some(Stop::Paused) => Exit::Paused,
        Some(Stop::Diverged { .. }) => Exit::Diverged,
        Some(Stop::Failed { .. } | Stop::NeedsPerson { .. }) => Exit::StepFailed,
        None => Exit::Done,
    }
}

fn word(state: Option<&StepState>) -> &'static str {
    match state {
        None => "-",
        Some(StepState::Started) => "looking",
        Some(StepState::Acting(_)) => "acting",
        Some(StepState::Acted(_)) => "waiting for the result",
        Some(StepState::Open) => "open",
        Some(StepState::Done) => "done",
    }
}

fn status_json(plan: &Plan, state: &State) -> serde_json::Value {
    json!({
        "schema": "ferriswheel.status.v1",
        "plan": plan.id,
        "name": plan.body.name,
        "over": state.over,
        "stopped": state.stopped,
        "waiting": state.waiting,
        "time_left_ms": time_left_ms(plan, state, Timestamp::now()),
        "steps": plan.body.steps.iter().map(|step| json!({
            "id": step.id,
            "title": step.title,
            "kind": step.kind.name(),
            "state": word(state.steps.get(&step.id)),
        })).collect::<Vec<_>>(),
    })
}

fn status_text(plan: &Plan, state: &State) -> String {
    let mut text = format!("plan {} ({})\n", plan.id, plan.body.name);
    for step in &plan.body.steps {
        text.push_str(&format!(
            "  {:>3}  {:<24} {}\n",
            step.id,
            word(state.steps.get(&step.id)),
            step.title
        ));
    }
    if let Some(on) = &state.waiting {
        text.push_str(&format!("waiting: {on}\n"));
    }
    if let Some(stop) = &state.stopped {
        text.push_str(&format!("stopped: {}\n", crate::progress::stop_text(stop)));
    }
    if state.over {
        text.push_str(if state.abort_asked {
            "given up\n"
        } else {
            "finished\n"
        });
    } else {
        text.push_str(&format!(
            "about {} s left\n",
            time_left_ms(plan, state, Timestamp::now()) / 1_000
        ));
    }
    text
}

/// Carries out `watch`: prints records as they are written, until the run stands still.
#[expect(clippy::print_stdout, reason = "stdout is data")]
pub async fn watch(args: &RunArgs, output: Output) -> Result<Exit, Failure> {
    /// A person reads; the journal is one file.
    const LOOK: Duration = Duration::from_millis(500);
    let run = args.runs.find(args.id.as_deref())?;
    let plan = run.plan()?;
    let journal = run.journal()?;
    let mut state = State::default();
    loop {
        for record in journal
            .after(state.seq)
            .map_err(|e| Failure::unexpected(&e))?
        {
            state = state.apply(&record).map_err(|e| Failure::unexpected(&e))?;
            match output {
                Output::Json => println!(
                    "{}",
                    serde_json::to_string(&record).map_err(|e| Failure::unexpected(&e))?
                ),
                Output::Text => {
                    if let Some(line) = line(&plan, &record) {
                        println!("{line}");
                    }
                }
            }
        }
        if state.over || state.stopped.is_some() {
            return Ok(standing(&state));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Carries out `journal`: every record, one a line.
#[expect(clippy::print_stdout, reason = "stdout is data")]
pub fn journal(args: &RunArgs, output: Output) -> Result<Exit, Failure> {
    let run = args.runs.find(args.id.as_deref())?;
    let plan = run.plan()?;
    let (records, _) = run.records()?;
    for record in &records {
        match output {
            Output::Json => println!(
                "{}",
                serde_json::to_string(record).map_err(|e| Failure::unexpected(&e))?
            ),
            Output::Text => println!(
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
