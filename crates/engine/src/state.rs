//! What a journal means: the whole legality table.

use std::collections::{BTreeMap, BTreeSet};

use ferriswheel_plan::ids::PlanId;
use ferriswheel_plan::rollback::Progress;
use ferriswheel_plan::step::StepId;

use crate::actuator::{ActError, OperationKey, WaitingOn};
use crate::record::{Entry, Record, Request, Stop};

/// Where a step stands.
#[derive(Clone, Debug, PartialEq)]
pub enum StepState {
    /// Looked at, nothing acted.
    Started,
    /// An act was announced; whether it happened is not known until it is observed.
    Acting(OperationKey),
    /// The world took the act.
    Acted(OperationKey),
    /// Nothing is half-done as far as the last actor knew; the act may be announced again.
    Open,
    /// Done.
    Done,
}

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Last record.
    pub seq: u64,
    /// Driver in charge.
    pub epoch: u64,
    /// Steps seen so far.
    pub steps: BTreeMap<StepId, StepState>,
    /// Gates that a person has passed.
    pub approved: BTreeSet<String>,
    /// A person asked for a pause.
    pub pause_asked: bool,
    /// A person asked to give up.
    pub abort_asked: bool,
    /// Why the run stands still, if it does.
    pub stopped: Option<Stop>,
    /// What is waited for.
    pub waiting: Option<WaitingOn>,
    /// Number of acts announced so far; part of the next key.
    pub acts: u64,
    /// The run is over.
    pub over: bool,
    /// The run is over because a person gave it up.
    pub aborted: bool,
    /// Plan of the rollback that was decided last.
    pub rolling_back: Option<PlanId>,
    /// That rollback has finished.
    pub rolled_back: bool,
}

/// A record that cannot follow what came before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} ({entry}) cannot follow: {why}")]
pub struct Illegal {
    /// Position.
    pub seq: u64,
    /// Name of the entry.
    pub entry: &'static str,
    /// Why.
    pub why: String,
}

impl State {
    /// The state after a record.
    ///
    /// # Errors
    /// [`Illegal`] when no driver of this engine could have written it here.
    pub fn apply(mut self, record: &Record) -> Result<Self, Illegal> {
        let illegal = |why: &str| Illegal {
            seq: record.seq,
            entry: record.entry.name(),
            why: why.to_owned(),
        };
        if record.seq != self.seq + 1 {
            return Err(illegal("the sequence has a gap"));
        }
        // A request, or a driver that read the journal before the last record, may come late. It
        // changes nothing and must not make the journal unreadable.
        if self.over
            && !matches!(
                record.entry,
                Entry::Driving
                    | Entry::Asked { .. }
                    | Entry::RollingBack { .. }
                    | Entry::RolledBack { .. }
            )
        {
            return Err(illegal("the run is over"));
        }
        match (&record.entry, record.epoch) {
            (Entry::Driving, epoch) if epoch <= self.epoch => {
                return Err(illegal("a driver takes a run with a higher epoch only"));
            }
            (Entry::Driving, epoch) => self.epoch = epoch,
            // Requests come from other processes, under the epoch that they saw.
            (Entry::Asked { .. }, _) => {}
            (_, epoch) if epoch != self.epoch => {
                return Err(illegal("the driver that wrote it is not in charge"));
            }
            _ => {}
        }
        self.seq = record.seq;
        self.waiting = None;
        let before = record
            .entry
            .step()
            .and_then(|step| self.steps.get(&step))
            .cloned();
        use StepState as S;
        match (&record.entry, before) {
            (Entry::Driving, _) => self.stopped = None,
            (Entry::Started { step }, None) => {
                if self.steps.values().any(|state| *state != S::Done) {
                    return Err(illegal("an earlier step is not done"));
                }
                self.steps.insert(*step, S::Started);
            }
            (Entry::Found { step, .. } | Entry::Verified { step, .. }, Some(state))
                if state != S::Done =>
            {
                self.steps.insert(*step, S::Done);
            }
            (Entry::Waiting { on, .. }, Some(state)) if state != S::Done => {
                self.waiting = Some(on.clone());
            }
            (Entry::Acting { step, key }, Some(S::Started | S::Open | S::Acted(_))) => {
                self.acts += 1;
                self.steps.insert(*step, S::Acting(key.clone()));
            }
            (Entry::Acted { step, key, .. }, Some(S::Acting(announced))) if *key == announced => {
                self.steps.insert(*step, S::Acted(key.clone()));
            }
            (Entry::NotTaken { step, key, error }, Some(S::Acting(announced)))
                if *key == announced =>
            {
                // An act that may be tried again may also have happened: its fate stays unknown
                // until it is observed or settled.
                if !matches!(error, ActError::Retry { .. }) {
                    self.steps.insert(*step, S::Open);
                }
            }
            (Entry::Settled { step, .. }, Some(S::Acting(_) | S::Open)) => {
                self.steps.insert(*step, S::Open);
            }
            (Entry::Stopped { how, .. }, Some(state)) if state != S::Done => {
                self.stopped = Some(how.clone());
            }
            (Entry::Asked { request }, _) => match request {
                Request::Approve { gate, .. } => {
                    self.approved.insert(gate.clone());
                }
                Request::Pause => self.pause_asked = true,
                Request::Resume => self.pause_asked = false,
                Request::Abort => self.abort_asked = true,
            },
            (Entry::Finished, _) => {
                if self.steps.values().any(|state| *state != S::Done) {
                    return Err(illegal("a step is not done"));
                }
                self.over = true;
            }
            (Entry::Aborted, _) => {
                if !self.abort_asked {
                    return Err(illegal("nobody asked to give up"));
                }
                self.over = true;
                self.aborted = true;
            }
            (Entry::RollingBack { by }, _) => {
                if !self.over {
                    return Err(illegal("the run is not over"));
                }
                if self.rolled_back {
                    return Err(illegal("the run is rolled back"));
                }
                // What an act of unknown fate left cannot be planned for.
                if self
                    .steps
                    .values()
                    .any(|state| matches!(state, S::Acting(_)))
                {
                    return Err(illegal("the fate of an act is unknown"));
                }
                self.rolling_back = Some(by.clone());
            }
            (Entry::RolledBack { by }, _) => {
                if self.rolling_back.as_ref() != Some(by) {
                    return Err(illegal("that rollback was not decided"));
                }
                if self.rolled_back {
                    return Err(illegal("the run is rolled back"));
                }
                self.rolled_back = true;
            }
            (_, None) => return Err(illegal("the step was not started")),
            (_, Some(state)) => return Err(illegal(&format!("the step is {state:?}"))),
        }
        Ok(self)
    }

    /// How far each step came that did anything at all: what a rollback is planned from.
    pub fn progress(&self) -> BTreeMap<StepId, Progress> {
        self.steps
            .iter()
            .filter_map(|(step, state)| match state {
                StepState::Started => None,
                StepState::Acting(_) | StepState::Acted(_) | StepState::Open => {
                    Some((*step, Progress::Half))
                }
                StepState::Done => Some((*step, Progress::Done)),
            })
            .collect()
    }

    /// The state that a whole journal leads to.
    pub fn replay<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<Self, Illegal> {
        records
            .into_iter()
            .try_fold(Self::default(), |state, record| state.apply(record))
    }
}
