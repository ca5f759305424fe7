//! `ferriswheel status` and `watch`: where a run stands, and each record as it is written.

use std::time::Duration;

use ferriswheel_engine::actuator::WaitingOn;
use ferriswheel_engine::journal::Journal;
use ferriswheel_engine::record::Stop;
use ferriswheel_engine::state::State;
use ferriswheel_engine::status::{Phase, Status, StepPhase, StepStatus};
use ferriswheel_plan::plan::Plan;
use jiff::{SignedDuration, Timestamp};

use super::life::RunArgs;
use crate::Output;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::{Teller, rough, stop_text, waiting};
use crate::stdout::{out, outln};

/// Carries out `status`.
pub fn status(args: &RunArgs, output: Output) -> Result<Exit, Failure> {
    let run = args.find()?;
    let plan = run.plan()?;
    let status = run.status(&plan)?;
    match output {
        Output::Json => outln!(
            "{}",
            serde_json::to_string_pretty(&status).map_err(|e| Failure::unexpected(&e))?
        ),
        Output::Text => out!("{}", in_words(&status, Timestamp::now())),
    }
    Ok(standing(&plan, &status))
}

fn standing(plan: &Plan, status: &Status) -> Exit {
    let is_rollback = plan.body.rollback.is_some();
    match (status.phase, &status.stopped) {
        (Phase::RolledBack, _) => Exit::RolledBack,
        (Phase::Aborted, _) => Exit::Stuck,
        // What a finished rollback ends with.
        (Phase::Finished, _) if is_rollback => Exit::RolledBack,
        (_, Some(Stop::Gate { .. })) => Exit::WaitingForApproval,
        (_, Some(Stop::Paused)) => Exit::Paused,
        (_, Some(Stop::Diverged { .. })) => Exit::Diverged,
        (_, Some(Stop::Failed { .. } | Stop::NeedsPerson { .. })) if is_rollback => Exit::Stuck,
        (_, Some(Stop::Failed { .. } | Stop::NeedsPerson { .. })) => Exit::StepFailed,
        (_, None) => Exit::Done,
    }
}

/// A run as a whole, in a word.
pub const fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::New => "not begun",
        Phase::Running => "running",
        Phase::Stopped => "stopped",
        Phase::Finished => "done",
        Phase::Aborted => "given up",
        Phase::RolledBack => "taken back",
    }
}

/// Where a step stands, and how long it took or takes.
fn step_words(step: &StepStatus, run: Phase, now: Timestamp) -> String {
    let Some(started) = step.started else {
        return "-".to_owned();
    };
    let so_far = |word: &str| match run {
        Phase::Running => format!("{word} for {}", took(started, now)),
        _ => word.to_owned(),
    };
    match step.phase {
        StepPhase::Skipped => "was already so".to_owned(),
        StepPhase::Verified => {
            let end = step.finished.unwrap_or(now);
            format!("done in {}", took(started, end))
        }
        _ if step.stopped.is_some() => "stopped".to_owned(),
        _ if step.waiting.is_some() => so_far("waiting"),
        StepPhase::Acting => so_far("acting"),
        StepPhase::Pending | StepPhase::Observing => so_far("looking"),
    }
}

fn took(from: Timestamp, to: Timestamp) -> String {
    rough(between(from, to))
}

fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

fn in_words(status: &Status, now: Timestamp) -> String {
    let mut lines = vec![headline(status, now)];
    for step in &status.steps {
        lines.push(format!(
            "  {:>3}  {:<20} {}",
            step.id,
            step_words(step, status.phase, now),
            step.title
        ));
    }
    if let Some(on) = &status.waiting {
        lines.push(reason(status, on));
    }
    if let Some(stop) = &status.stopped {
        lines.push(format!("stopped: {}", stop_text(stop)));
    }
    if let Some(by) = &status.rolling_back {
        let words = match status.phase {
            Phase::RolledBack => "taken back",
            _ => "being taken back",
        };
        lines.push(format!("{words} by plan {by}"));
    }
    if status.phase == Phase::Running {
        if status.abort_asked {
            lines.push("giving up was asked for: before the next act".to_owned());
        } else if status.pause_asked {
            lines.push("a pause was asked for: before the next act".to_owned());
        }
        lines.extend(status.last.and_then(|last| silence(last, now)));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn headline(status: &Status, now: Timestamp) -> String {
    let word = word(status.phase);
    let times = match (status.phase, status.started, status.last) {
        // The time since the last record has passed too.
        (Phase::Running, Some(started), Some(last)) => format!(
            " for {}, about {} left",
            took(started, now),
            rough(status.left_ms.saturating_sub(between(last, now)))
        ),
        (Phase::Finished, Some(started), Some(last)) => format!(" in {}", took(started, last)),
        (Phase::Stopped | Phase::New, ..) => format!(", about {} left", rough(status.left_ms)),
        _ => String::new(),
    };
    format!("{} (plan {}): {word}{times}", status.name, status.plan)
}

fn reason(status: &Status, on: &WaitingOn) -> String {
    let mut titles = status.steps.iter().map(|step| step.title.as_str());
    waiting(on, titles.find(|title| *title == on.object).unwrap_or(""))
}

/// A driver writes every few seconds while it waits; after this long without a record it may be
/// gone. 30 s: only the window of a hand-over and the look at every write take as long as that.
const SILENCE: SignedDuration = SignedDuration::from_secs(30);

fn silence(last: Timestamp, now: Timestamp) -> Option<String> {
    (now.duration_since(last) > SILENCE).then(|| {
        format!(
            "no record for {}: if no `apply` is at work, `ferriswheel apply PLAN` goes on",
            took(last, now)
        )
    })
}

/// Carries out `watch`: prints records as they are written, until the run stands still.
#[expect(clippy::print_stderr, reason = "stderr is notes")]
pub async fn watch(args: &RunArgs, output: Output) -> Result<Exit, Failure> {
    /// A person reads; the journal is one file.
    const LOOK: Duration = Duration::from_millis(500);
    let run = args.find()?;
    let plan = run.plan()?;
    let journal = run.journal()?;
    let mut state = State::default();
    let mut teller: Option<Teller<'_>> = None;
    let mut last = Timestamp::now();
    let mut noted = false;
    loop {
        for record in journal
            .after(state.seq)
            .map_err(|e| Failure::unexpected(&e))?
        {
            state = state.apply(&record).map_err(|e| Failure::unexpected(&e))?;
            (last, noted) = (record.at, false);
            let teller = teller.get_or_insert_with(|| Teller::since(&plan, record.at));
            if let Some(line) = teller.tell(&record, &state, output) {
                outln!("{line}");
            }
        }
        if state.over || state.stopped.is_some() {
            return Ok(standing(&plan, &run.status(&plan)?));
        }
        if !noted && let Some(note) = silence(last, Timestamp::now()) {
            noted = true;
            eprintln!("{note}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use ferriswheel_engine::status::SCHEMA;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000 + second).unwrap()
    }

    /// A run of three steps, `kind` of which the second is in.
    fn run(phase: Phase, second: serde_json::Value) -> Status {
        let step = |id: u32, title: &str, more: serde_json::Value| {
            let mut step = serde_json::json!({
                "id": id, "kind": "k", "title": title, "phase": "pending", "started": null,
                "finished": null, "acts": 0, "waitedMs": 0, "evidence": [], "actEvidence": [],
            });
            for (key, value) in more.as_object().unwrap() {
                step[key] = value.clone();
            }
            step
        };
        serde_json::from_value(serde_json::json!({
            "schema": SCHEMA, "plan": "3f2a", "name": "orders", "phase": phase, "stopped": null,
            "waiting": second["waiting"], "pauseAsked": false, "abortAsked": false,
            "started": at(0), "last": at(20), "leftMs": 90_000,
            "steps": [
                step(1, "start the probe", serde_json::json!({
                    "phase": "verified", "started": at(0), "finished": at(12),
                })),
                step(2, "hand over", second),
                step(3, "certify", serde_json::json!({})),
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_run_on_one_screen_says_step_reason_and_time_left() {
        let waits = serde_json::json!({
            "phase": "observing", "started": at(12),
            "waiting": {"object": "db/pg-1", "reason": "it lags by 3 MiB", "clears": "it has caught up"},
        });
        let text = in_words(&run(Phase::Running, waits.clone()), at(30));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "orders (plan 3f2a): running for 30 s, about 80 s left",
                "    1  done in 12 s         start the probe",
                "    2  waiting for 18 s     hand over",
                "    3  -                    certify",
                "waiting on db/pg-1: it lags by 3 MiB (clears when it has caught up)",
            ]
        );
        let silent = in_words(&run(Phase::Running, waits), at(80));
        assert!(
            silent.ends_with(
                "no record for 60 s: if no `apply` is at work, `ferriswheel apply PLAN` goes on\n"
            ),
            "{silent}"
        );
    }
}
