//! Progress as a stream: one event a record, with the step, the reason for waiting and the time
//! left.

use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::StepId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actuator::{Evidence, WaitingOn};
use crate::driver::Listener;
use crate::record::{Entry, Record, Stop};
use crate::state::State;
use crate::status::left_ms;

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

/// Turns the records of one run, in their order, into events.
pub struct Events<'a> {
    plan: &'a Plan,
    began: Option<(StepId, Timestamp)>,
}

impl<'a> Events<'a> {
    /// Events of a plan.
    pub const fn of(plan: &'a Plan) -> Self {
        Self { plan, began: None }
    }

    /// The event of a record. `state` is the state after it.
    pub fn event(&mut self, record: &Record, state: &State) -> Event {
        let step = record.entry.step();
        if let Some(id) = step
            && self.began.is_none_or(|(known, _)| known != id)
        {
            self.began = Some((id, record.at));
        }
        let title = self
            .plan
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
            of: self.plan.body.steps.len(),
            title,
            waiting: state.waiting.clone(),
            stopped: state.stopped.clone(),
            evidence,
            left_ms: left_ms(self.plan, state, self.began.as_ref(), Some(record)),
        }
    }
}

/// A listener that hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Listener for Silent {
    fn record(&self, _: &Record, _: &State) {}
}
