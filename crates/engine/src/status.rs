//! Where a run stands, for people and programs.

use std::collections::BTreeMap;

use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::StepId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actuator::{Evidence, WaitingOn};
use crate::record::{Entry, Record, Stop};
use crate::state::{Illegal, State, StepState};

/// Format of [`Status`].
pub const SCHEMA: &str = "ferriswheel.status.v1";

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `ferriswheel.status.v1`.
    pub schema: String,
    /// Plan.
    pub plan: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The whole run.
    pub phase: Phase,
    /// Why it stands still, if it does.
    pub stopped: Option<Stop>,
    /// What the current step waits for.
    pub waiting: Option<WaitingOn>,
    /// Plan of the rollback that was decided last.
    #[serde(default)]
    pub rolling_back: Option<String>,
    /// A person asked for a pause.
    pub pause_asked: bool,
    /// A person asked to give up.
    pub abort_asked: bool,
    /// First record.
    pub started: Option<Timestamp>,
    /// Last record.
    pub last: Option<Timestamp>,
    /// By the plan's own figures at the last record, in milliseconds; what the step under way has
    /// used of its share is taken off.
    pub left_ms: u64,
    /// Every step of the plan.
    pub steps: Vec<StepStatus>,
}

/// A run as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// No driver has taken it yet.
    New,
    /// Steps are left; the journal does not say whether a driver is alive.
    Running,
    /// It stopped in a named state.
    Stopped,
    /// Every step is done.
    Finished,
    /// A person gave it up.
    Aborted,
    /// It was taken back.
    RolledBack,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Position.
    pub id: StepId,
    /// Kind, as journals name it.
    pub kind: String,
    /// One line.
    pub title: String,
    /// Where it stands.
    pub phase: StepPhase,
    /// First record about it.
    pub started: Option<Timestamp>,
    /// When it was done.
    pub finished: Option<Timestamp>,
    /// Acts announced.
    pub acts: u32,
    /// Time spent waiting, by the first reason of each wait; in milliseconds.
    pub waited_ms: u64,
    /// By the plan's own figures, in milliseconds.
    #[serde(default)]
    pub expected_ms: u64,
    /// What it waits for, if that was its last word.
    #[serde(default)]
    pub waiting: Option<WaitingOn>,
    /// How it stopped, if that was its last word.
    #[serde(default)]
    pub stopped: Option<Stop>,
    /// What shows the result, or what the last act answered.
    pub evidence: Evidence,
    /// What the act itself answered (a hand-over's moments, for example).
    pub act_evidence: Evidence,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepPhase {
    /// Not looked at yet.
    Pending,
    /// Looked at, nothing acted.
    Observing,
    /// An act is announced or taken and the result is not there yet.
    Acting,
    /// It was done before anything was acted.
    Skipped,
    /// Done and proven.
    Verified,
}

/// Time left at a record. `began` is the step under way with the time of its first record.
pub(crate) fn left_ms(
    plan: &Plan,
    state: &State,
    began: Option<&(StepId, Timestamp)>,
    at: Option<&Record>,
) -> u64 {
    let Some(record) = at else {
        return crate::driver::time_left_ms(plan, state, plan.body.observed_at);
    };
    let used = began.and_then(|(id, since)| {
        let open = state.steps.get(id) != Some(&StepState::Done);
        let step = plan.body.steps.iter().find(|step| open && step.id == *id)?;
        let spent = u64::try_from(record.at.duration_since(*since).as_millis()).unwrap_or(0);
        Some(spent.min(step.expected_ms))
    });
    crate::driver::time_left_ms(plan, state, record.at).saturating_sub(used.unwrap_or(0))
}

/// Where the run of a plan stands by its records.
///
/// # Errors
/// [`Illegal`] when the records contradict each other.
pub fn status(plan: &Plan, records: &[Record]) -> Result<Status, Illegal> {
    let state = State::replay(records)?;
    let mut steps: BTreeMap<StepId, StepStatus> = plan
        .body
        .steps
        .iter()
        .map(|step| (step.id, StepStatus::new(step)))
        .collect();
    let mut waiting: Option<(StepId, Timestamp)> = None;
    let mut began: Option<(StepId, Timestamp)> = None;
    for record in records {
        if let Some((id, since)) = waiting.take()
            && let Some(step) = steps.get_mut(&id)
        {
            let waited = record.at.duration_since(since).as_millis();
            step.waited_ms += u64::try_from(waited).unwrap_or(0);
        }
        let Some(id) = record.entry.step() else {
            continue;
        };
        if let Some(step) = steps.get_mut(&id) {
            step.take(record);
            began = step.started.map(|since| (id, since));
        }
        if matches!(record.entry, Entry::Waiting { .. }) {
            waiting = Some((id, record.at));
        }
    }
    let phase = if state.rolled_back {
        Phase::RolledBack
    } else if state.aborted {
        Phase::Aborted
    } else if state.over {
        Phase::Finished
    } else if state.stopped.is_some() {
        Phase::Stopped
    } else if state.epoch == 0 {
        Phase::New
    } else {
        Phase::Running
    };
    Ok(Status {
        schema: SCHEMA.to_owned(),
        plan: plan.id.to_string(),
        phase,
        left_ms: left_ms(plan, &state, began.as_ref(), records.last()),
        name: plan.body.name.clone(),
        stopped: state.stopped,
        waiting: state.waiting,
        rolling_back: state.rolling_back.map(|plan| plan.to_string()),
        pause_asked: state.pause_asked,
        abort_asked: state.abort_asked,
        started: records.first().map(|record| record.at),
        last: records.last().map(|record| record.at),
        steps: steps.into_values().collect(),
    })
}

impl StepStatus {
    fn new(step: &ferriswheel_plan::step::Step) -> Self {
        Self {
            id: step.id,
            kind: step.kind.name().to_owned(),
            title: step.title.clone(),
            phase: StepPhase::Pending,
            started: None,
            finished: None,
            acts: 0,
            waited_ms: 0,
            expected_ms: step.expected_ms,
            waiting: None,
            stopped: None,
            evidence: Evidence::default(),
            act_evidence: Evidence::default(),
        }
    }

    fn take(&mut self, record: &Record) {
        self.started.get_or_insert(record.at);
        self.waiting = None;
        self.stopped = None;
        match &record.entry {
            Entry::Waiting { on, .. } => self.waiting = Some(on.clone()),
            Entry::Stopped { how, .. } => self.stopped = Some(how.clone()),
            Entry::Started { .. } => self.phase = StepPhase::Observing,
            Entry::Acting { .. } => {
                self.phase = StepPhase::Acting;
                self.acts += 1;
            }
            Entry::Acted { evidence, .. } => {
                self.act_evidence = evidence.clone();
                self.evidence = evidence.clone();
            }
            Entry::Settled { evidence, .. } => self.evidence = evidence.clone(),
            Entry::Found { evidence, .. } => {
                self.phase = StepPhase::Skipped;
                self.evidence = evidence.clone();
                self.finished = Some(record.at);
            }
            Entry::Verified { evidence, .. } => {
                self.phase = StepPhase::Verified;
                self.evidence = evidence.clone();
                self.finished = Some(record.at);
            }
            _ => {}
        }
    }
}
