//! Progress on stderr: step, what happens, why it waits, time left.

use std::time::Instant;

use ferriswheel_engine::driver::{Listener, time_left_ms};
use ferriswheel_engine::record::{Entry, Record, Stop};
use ferriswheel_engine::state::State;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::StepId;
use jiff::Timestamp;

use crate::Output;

/// Prints each record of a run.
pub struct Progress<'a> {
    plan: &'a Plan,
    output: Output,
    quiet: bool,
    began: Instant,
}

impl<'a> Progress<'a> {
    /// Progress of a plan.
    pub fn new(plan: &'a Plan, output: Output, quiet: bool) -> Self {
        Self {
            plan,
            output,
            quiet,
            began: Instant::now(),
        }
    }
}

impl Listener for Progress<'_> {
    #[expect(clippy::print_stderr, reason = "stderr is progress")]
    #[expect(clippy::print_stdout, reason = "stdout is data")]
    fn record(&self, record: &Record, state: &State) {
        if self.output == Output::Json {
            if let Ok(json) = serde_json::to_string(record) {
                println!("{json}");
            }
            return;
        }
        if self.quiet {
            return;
        }
        if let Some(line) = line(self.plan, record) {
            let left = time_left_ms(self.plan, state, Timestamp::now()) / 1_000;
            eprintln!(
                "{:>6.1}s  {line}  [~{left}s left]",
                self.began.elapsed().as_secs_f64()
            );
        }
    }
}

fn title(plan: &Plan, id: StepId) -> &str {
    plan.body
        .steps
        .iter()
        .find(|step| step.id == id)
        .map_or("?", |step| step.title.as_str())
}

/// A record as one line; `None` for what a reader need not see.
pub fn line(plan: &Plan, record: &Record) -> Option<String> {
    let step = |id: StepId| format!("step {id}: {}", title(plan, id));
    Some(match &record.entry {
        Entry::Driving => format!("plan {} taken by driver {}", record.plan, record.epoch),
        Entry::Started { step: id } => step(*id),
        Entry::Found { step: id, evidence } => {
            format!("step {id}: already so: {}", evidence.0.join("; "))
        }
        Entry::Waiting { step: id, on } => format!("step {id}: waiting on {on}"),
        Entry::Acting { .. } => return None,
        Entry::Acted {
            step: id, evidence, ..
        } => {
            let first = evidence.0.first().cloned().unwrap_or_default();
            format!("step {id}: {first}")
        }
        Entry::NotTaken { .. } => return None,
        Entry::Settled { step: id, evidence } => {
            format!("step {id}: settled: {}", evidence.0.join("; "))
        }
        Entry::Verified { step: id, evidence } => {
            let first = evidence.0.first().cloned().unwrap_or_default();
            format!("step {id}: done: {first}")
        }
        Entry::Stopped { step: id, how } => format!("step {id}: stopped: {}", stop_text(how)),
        Entry::Asked { request } => format!("asked: {request:?}"),
        Entry::Finished => "finished".to_owned(),
        Entry::Aborted => "given up".to_owned(),
    })
}

/// A stop as one line.
pub fn stop_text(stop: &Stop) -> String {
    match stop {
        Stop::Gate { name } => format!("gate `{name}` waits for a person"),
        Stop::Paused => "paused".to_owned(),
        Stop::Diverged { expected, found } => {
            format!("the world diverged: expected {expected}, found {found}")
        }
        Stop::Failed { code, cause } | Stop::NeedsPerson { code, cause } => {
            format!("{code}: {cause}")
        }
    }
}
