//! Progress as a stream: one event a record, with the step, the reason for waiting and the time
//! left.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::Sender;

use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::StepId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actuator::{Evidence, WaitingOn};
use crate::driver::{Listener, time_left_ms};
use crate::record::{Entry, Record, Stop};
use crate::state::State;

/// Format of [`Event`].
pub const SCHEMA: &str = "ferriswheel.event.v1";

/// Something happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `ferriswheel.event.v1`.
    pub schema: String,
    /// Position of the record behind it.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What, as journals name it.
    pub what: String,
    /// Step that it is about.
    pub step: Option<StepId>,
    /// Number of steps in the plan.
    pub of: usize,
    /// The step's title.
    pub title: Option<String>,
    /// What is waited for.
    pub waiting: Option<WaitingOn>,
    /// How the run stopped.
    pub stopped: Option<Stop>,
    /// Facts that came with it.
    pub evidence: Evidence,
    /// By the plan's own figures, in milliseconds.
    pub left_ms: u64,
}

/// The event of a record. `state` is the state after it.
pub fn event(plan: &Plan, record: &Record, state: &State) -> Event {
    let step = record.entry.step();
    let title = plan
        .body
        .steps
        .iter()
        .find(|candidate| Some(candidate.id) == step)
        .map(|step| step.title.clone());
    let evidence = match &record.entry {
        Entry::Found { evidence, .. }
        | Entry::Acted { evidence, .. }
        | Entry::Settled { evidence, .. }
        | Entry::Verified { evidence, .. } => evidence.clone(),
        Entry::NotTaken { error, .. } => Evidence::one(error.to_string()),
        _ => Evidence::default(),
    };
    Event {
        schema: SCHEMA.to_owned(),
        seq: record.seq,
        at: record.at,
        what: record.entry.name().to_owned(),
        step,
        of: plan.body.steps.len(),
        title,
        waiting: state.waiting.clone(),
        stopped: state.stopped.clone(),
        evidence,
        left_ms: time_left_ms(plan, state, record.at),
    }
}

/// A listener that turns records into events and sends them on.
pub struct Events<'a> {
    plan: &'a Plan,
    to: Mutex<Sender<Event>>,
}

impl<'a> Events<'a> {
    /// Sends to a channel. A receiver that is gone is no error: progress is a courtesy.
    pub fn new(plan: &'a Plan, to: Sender<Event>) -> Self {
        Self {
            plan,
            to: Mutex::new(to),
        }
    }
}

impl Listener for Events<'_> {
    fn record(&self, record: &Record, state: &State) {
        let to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        if to.send(event(self.plan, record, state)).is_err() {
            tracing::debug!("nobody listens to the progress");
        }
    }
}

/// A listener that hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Listener for Silent {
    fn record(&self, _: &Record, _: &State) {}
}
