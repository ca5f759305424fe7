//! `ferriswheel apply`: execute a plan, or go on with it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use ferriswheel_actuators::collect::collect;
use ferriswheel_actuators::databases::session::chain;
use ferriswheel_actuators::world::World;
use ferriswheel_engine::clock::SystemClock;
use ferriswheel_engine::driver::{DriveError, Driver, Outcome};
use ferriswheel_engine::journal::{AppendError, Journal};
use ferriswheel_engine::record::{Entry, Stop};
use ferriswheel_plan::ids::DatabaseName;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::{Step, StepKind};
use ferriswheel_plan::world::Snapshot;
use ferriswheel_plan::{planner, rollback};
use jiff::Timestamp;

use crate::Output;
use crate::connect::Connection;
use crate::crash::CrashingJournal;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::observer::Observer;
use crate::progress::Progress;
use crate::runs::{Run, RunsDir, read_plan};
use crate::summary::Summary;

use super::plan::write_json;

/// Execute a plan, or go on with one that was interrupted; refuses a stale plan
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel apply plan.json
Killed or interrupted, the same command goes on where the run stands.")]
pub struct ApplyArgs {
    /// The plan file
    plan: PathBuf,
    /// Pass every gate without asking
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    runs: RunsDir,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out `apply`.
pub async fn run(args: ApplyArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    let plan = read_plan(&args.plan)?;
    if plan.body.rollback.is_some() {
        let (runs, connection) = (&args.runs, &args.connection);
        return super::rollback::carry_out(&plan, runs, connection, output, quiet, args.yes).await;
    }
    let run = args.runs.create(&plan)?;
    drive(&plan, &run, &args.connection, output, quiet, args.yes).await
}

/// Drives a run until it ends or stands still.
pub async fn drive(
    plan: &Plan,
    run: &Run,
    connection: &Connection,
    output: Output,
    quiet: bool,
    yes: bool,
) -> Result<Exit, Failure> {
    let spec = &plan.body.policy;
    let outside = connection
        .outside(&spec.spec.cluster, run.directory.clone())
        .await?;
    if connection.is_inside() {
        crate::standpoint::refuse_doomed(plan, &outside.kube).await?;
    }
    let journal = CrashingJournal::around(run.journal()?)?;
    let fresh = journal
        .after(0)
        .map_err(|e| Failure::unexpected(&e))?
        .iter()
        .all(|record| matches!(record.entry, Entry::Driving | Entry::Asked { .. }));
    if fresh {
        let now = collect(&outside, spec, Timestamp::now())
            .await
            .map_err(|e| {
                Failure::one(
                    Exit::Unexpected,
                    "FW0003",
                    "the world could not be observed",
                )
                .evidence(chain(&e))
                .fix("check that the cluster and its resource manager are reachable")
            })?;
        refuse_stale(plan, &now)?;
        write_json(&run.before_file(), &now)?;
    }
    if yes {
        approve_all(plan, &journal)?;
    }
    Summary::update_for_the_dead(run, plan)?;
    let world = Arc::new(World::new(outside.clone(), plan.clone()));
    let observers: Vec<_> = spec
        .spec
        .databases
        .iter()
        .map(|database| {
            let name = database.name.clone();
            let observer = Observer::start(Arc::clone(&world), name, &run.directory);
            (database.name.clone(), observer)
        })
        .collect();
    let began = std::time::Instant::now();
    let progress = Progress::new(plan, output, quiet);
    let outcome = Driver {
        plan,
        actuator: world.as_ref(),
        journal: &journal,
        clock: &SystemClock,
        listener: &progress,
    }
    .run()
    .await;
    let mut seen = Vec::new();
    for (name, observer) in observers {
        seen.push((name, observer.stop().await));
    }
    Summary::update(run, seen, began.elapsed())?;
    match outcome {
        Ok(Outcome::Finished) => {
            let after = collect(&outside, spec, Timestamp::now()).await.ok();
            Summary::conclude(run, plan, after.as_ref())?;
            Ok(verdict(run, plan))
        }
        Ok(Outcome::Aborted) => {
            let (_, state) = run.records()?;
            super::life::say_left(plan, &super::life::left_behind(plan, &state));
            Ok(Exit::Stuck)
        }
        Ok(Outcome::Stopped { step, how }) => Err(stopped(plan, &step, how)),
        Err(error) => Err(broke(&error)),
    }
}

/// The plan rests on a part of the world; a changed one means a new plan.
fn refuse_stale(plan: &Plan, now: &Snapshot) -> Result<(), Failure> {
    let digest = planner::relevant_digest(now, &plan.body.policy);
    if digest == plan.body.world_digest {
        return Ok(());
    }
    Err(Failure::one(
        Exit::Diverged,
        "FW0190",
        "the world has changed since the plan was made",
    )
    .evidence(format!(
        "planned {}, now {}",
        plan.body.observed_at, now.observed_at
    ))
    .evidence(format!(
        "digest {} then, {digest} now",
        plan.body.world_digest
    ))
    .fix(plan_again(plan)))
}

fn plan_again(plan: &Plan) -> String {
    match (&plan.body.rollback, &plan.body.parent) {
        (Some(_), Some(parent)) => format!("plan again: ferriswheel rollback {parent}"),
        _ => "plan again: ferriswheel plan SPEC --out FILE".to_owned(),
    }
}

fn approve_all(plan: &Plan, journal: &dyn Journal) -> Result<(), Failure> {
    for gate in plan.body.steps.iter().filter_map(|step| step.gate.as_ref()) {
        super::life::ask(
            plan,
            journal,
            ferriswheel_engine::record::Request::Approve {
                gate: gate.name.clone(),
                by: "--yes".to_owned(),
            },
        )?;
    }
    Ok(())
}

/// A finished run whose certificate failed is not a success.
fn verdict(run: &Run, plan: &Plan) -> Exit {
    let is_measured = |name: &DatabaseName| {
        let is =
            |kind: &StepKind| matches!(kind, StepKind::Certify { database } if database == name);
        plan.body.steps.iter().any(|step| is(&step.kind))
    };
    let mut measured = plan
        .body
        .policy
        .spec
        .databases
        .iter()
        .filter(|database| is_measured(&database.name));
    let failed = measured.any(|database| {
        let (path, _) =
            ferriswheel_actuators::steps::probe::artifact_paths(&run.directory, &database.name);
        std::fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
            .and_then(|json| json.get("verdict")?.as_str().map(str::to_owned))
            .as_deref()
            != Some("pass")
    });
    if failed { Exit::Refused } else { Exit::Done }
}

pub(super) fn stopped(plan: &Plan, step: &Step, how: Stop) -> Failure {
    let failure = |exit, code: &str, message: String| {
        Failure::one(exit, code, message).evidence(format!("step: {}", step.title))
    };
    match how {
        Stop::Gate { name } => failure(
            Exit::WaitingForApproval,
            "FW0410",
            format!("gate `{name}` waits for a person"),
        )
        .fix(format!(
            "ferriswheel approve {name} --run {id}, then ferriswheel apply again",
            id = plan.id
        )),
        Stop::Paused => failure(Exit::Paused, "FW0411", "the run is paused".to_owned())
            .fix(format!("ferriswheel resume --run {}", plan.id)),
        Stop::Diverged { expected, found } => failure(
            Exit::Diverged,
            "FW0190",
            "the world is not the one of the plan".to_owned(),
        )
        .evidence(format!("expected {expected}"))
        .evidence(format!("found {found}"))
        .fix(plan_again(plan)),
        Stop::Failed { code, cause } | Stop::NeedsPerson { code, cause }
            if plan.body.rollback.is_some() =>
        {
            failure(Exit::Stuck, &code, cause).fix(rollback::runbook(step))
        }
        Stop::Failed { code, cause } => failure(Exit::StepFailed, &code, cause)
            .fix("clear the cause, then run the same command again: it goes on at this step"),
        Stop::NeedsPerson { code, cause } => failure(Exit::StepFailed, &code, cause)
            .fix("read the reason; when it is cleared, the same command goes on at this step"),
    }
}

pub(super) fn broke(error: &DriveError) -> Failure {
    match error {
        DriveError::Append(AppendError::Conflict { .. }) => {
            Failure::one(Exit::LostLease, "FW0412", error.to_string())
                .evidence(chain(error))
                .fix("another process drives this run: ferriswheel watch")
        }
        _ => Failure::one(Exit::Unexpected, "FW0404", error.to_string()).evidence(chain(error)),
    }
}
