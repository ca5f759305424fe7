//! `ferriswheel report`: the HTML page of a run.

use std::path::{Path, PathBuf};

use clap::Args;
use ferriswheel_actuators::databases::postgres;
use ferriswheel_actuators::steps::probe::artifact_paths;
use ferriswheel_engine::status::{Phase, Status, StepPhase, StepStatus as Stands};
use ferriswheel_plan::ids::DatabaseName;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::{HandOverTerms, Step, StepKind, Undo};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::status::word;
use crate::Output;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::stop_text;
use crate::report::{Fact, Input, Moment, PlanView, StepStatus, StepView, render};
use crate::runs::{Run, RunsDir};
use crate::stdout::{out, outln};
use crate::summary::Summary;

/// Write the HTML report of a run: certificate, timeline, plan and what happened to each step
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel report --out report.html
  ferriswheel report --output json          the summary with the certificates, on stdout")]
pub struct ReportArgs {
    /// The plan's id, or the beginning of it [default: the latest run]
    #[arg(long = "run", value_name = "ID")]
    id: Option<String>,
    /// File to write, `-` for stdout [default: report.html in the run's directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    runs: RunsDir,
}

/// Carries out `report`.
pub fn run(args: &ReportArgs, output: Output) -> Result<Exit, Failure> {
    let run = args.runs.find(args.id.as_deref())?;
    if output == Output::Json {
        outln!("{}", document(&run)?);
        return Ok(Exit::Done);
    }
    let page = render(&input(&run)?).map_err(|e| Failure::unexpected(&e))?;
    let path = args
        .out
        .clone()
        .unwrap_or_else(|| run.directory.join("report.html"));
    if path.as_os_str() == "-" {
        out!("{page}");
        return Ok(Exit::Done);
    }
    std::fs::write(&path, page).map_err(|e| {
        Failure::input(format!("{} cannot be written: {e}", path.display()))
            .fix("choose another file with --out")
    })?;
    outln!("{}", path.display());
    Ok(Exit::Done)
}

/// What a program wants to know of a run: where it stands, what it came to, every certificate.
fn document(run: &Run) -> Result<serde_json::Value, Failure> {
    let plan = run.plan()?;
    let status = run.status(&plan)?;
    let summary: Option<Summary> = load(&run.directory.join("summary.json"));
    Ok(serde_json::json!({
        "schema": "ferriswheel.report.v1",
        "plan": plan.id,
        "name": plan.body.name,
        "state": word(status.phase),
        "summary": summary,
    }))
}

fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn input(run: &Run) -> Result<Input, Failure> {
    let plan = run.plan()?;
    let status = run.status(&plan)?;
    let database = plan.body.policy.spec.databases.first();
    let paths = database.map(|d| artifact_paths(&run.directory, &d.name));
    let summary: Option<Summary> = load(&run.directory.join("summary.json"));
    Ok(Input {
        title: plan.body.name.clone(),
        generated: Some(Timestamp::now()),
        certificate: paths.as_ref().and_then(|(path, _)| load(path)),
        timeline: paths.as_ref().and_then(|(_, path)| load(path)),
        plan: Some(PlanView {
            id: plan.id.to_string(),
            strategy: plan.body.policy.spec.strategy.name().to_owned(),
            state: word(status.phase).to_owned(),
            facts: facts(&plan, summary.as_ref()),
            steps: steps(run, &plan, &status),
        }),
    })
}

fn facts(plan: &Plan, summary: Option<&Summary>) -> Vec<Fact> {
    let fact = |name: &str, value: String| Fact {
        name: name.to_owned(),
        value,
    };
    let mut facts = vec![
        fact("Cluster", plan.body.cluster.clone()),
        fact(
            "Target",
            plan.body.target.map_or_else(
                || "no machine is touched".to_owned(),
                |version| version.to_string(),
            ),
        ),
        fact(
            "Peak",
            format!(
                "{} extra nodes, {} extra replicas",
                plan.body.peak.extra_nodes, plan.body.peak.extra_replicas
            ),
        ),
    ];
    if let Some(summary) = summary {
        facts.push(fact("Primary moves", summary.primary_moves.to_string()));
        let number = |n: Option<u32>| n.map_or_else(|| "not known".to_owned(), |n| n.to_string());
        facts.push(fact("Fewest members seen", number(summary.min_members)));
        facts.push(fact("Nodes upgraded", number(summary.nodes_upgraded)));
    }
    for promise in &plan.body.promises {
        facts.push(fact("Durability", promise.durability.clone()));
        facts.push(fact("Clients", promise.clients.clone()));
    }
    facts
}

fn steps(run: &Run, plan: &Plan, status: &Status) -> Vec<StepView> {
    let pairs = plan.body.steps.iter().zip(&status.steps);
    pairs
        .map(|(step, stands)| step_view(run, step, stands, status.phase))
        .collect()
}

/// What every system's record of a hand-over has: moments with their time.
#[derive(Deserialize)]
struct Window {
    entries: Vec<WindowEntry>,
}

#[derive(Deserialize)]
struct WindowEntry {
    wall: Timestamp,
    moment: WindowMoment,
}

#[derive(Deserialize)]
struct WindowMoment {
    is: String,
}

/// When what happened inside a hand-over.
fn moments(run: &Run, kind: &StepKind) -> Vec<Moment> {
    let moment = |name: &str, at: Timestamp| Moment {
        name: name.to_owned(),
        at,
    };
    let window = |database: &DatabaseName, of: &str| {
        let path = run.directory.join(format!("window-{database}-{of}.json"));
        let record: Option<Window> = load(&path);
        let entries = record.into_iter().flat_map(|record| record.entries);
        entries
            .map(|entry| moment(&entry.moment.is, entry.wall))
            .collect()
    };
    match kind {
        StepKind::HandOver {
            database,
            terms: HandOverTerms::Postgres(_),
            ..
        } => {
            let path = run.directory.join(format!("window-{database}.json"));
            let record: Option<postgres::record::Record> = load(&path);
            let entries = record.into_iter().flat_map(|record| record.entries);
            entries
                .map(|entry| moment(entry.name(), entry.wall))
                .collect()
        }
        StepKind::HandOver { database, from, .. } => window(database, &from.name),
        StepKind::DrainLeaders { database, pod, .. } => window(database, &pod.name),
        StepKind::ReturnLeaders { database, .. } => window(database, "back"),
        _ => Vec::new(),
    }
}

fn step_view(of: &Run, step: &Step, stands: &Stands, run: Phase) -> StepView {
    let over = matches!(run, Phase::Finished | Phase::Aborted | Phase::RolledBack);
    let mut view = StepView {
        number: step.id.0,
        title: step.title.clone(),
        status: match stands.phase {
            StepPhase::Pending => StepStatus::Pending,
            StepPhase::Skipped => StepStatus::Skipped,
            StepPhase::Verified => StepStatus::Done,
            _ if over || stands.stopped.is_some() => StepStatus::Failed,
            _ if stands.waiting.is_some() => StepStatus::Waiting,
            StepPhase::Observing | StepPhase::Acting => StepStatus::Running,
        },
        started: stands.started,
        finished: stands.finished,
        expected_ms: Some(step.expected_ms),
        expected_stall_ms: step.expected_stall_ms,
        reason: stands
            .stopped
            .as_ref()
            .map(stop_text)
            .or_else(|| stands.waiting.as_ref().map(ToString::to_string)),
        undo: match &step.undo {
            Undo::Inverse(inverse) => Some(inverse.to_string()),
            Undo::Told(text)
            | Undo::Restore(text)
            | Undo::RollForwardOnly(text)
            | Undo::Manual(text) => Some(text.clone()),
            Undo::Nothing => None,
        },
        ..StepView::default()
    };
    if stands.finished.is_some() {
        view.evidence.clone_from(&stands.evidence.0);
    }
    view.moments = moments(of, &step.kind);
    view
}
