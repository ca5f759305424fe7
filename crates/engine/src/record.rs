//! What a journal may say: a closed vocabulary.

use ferriswheel_plan::ids::PlanId;
use ferriswheel_plan::step::StepId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actuator::{ActError, Evidence, OperationKey, WaitingOn};

/// One record. `seq` counts from 1 without gaps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// Plan that it belongs to.
    pub plan: PlanId,
    /// Driver that wrote it; an older driver is fenced.
    pub epoch: u64,
    /// What happened.
    pub entry: Entry,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Entry {
    /// A driver took the run.
    Driving,
    /// The step is looked at for the first time in this life.
    Started {
        /// Step.
        step: StepId,
    },
    /// The step was done before anything was acted.
    Found {
        /// Step.
        step: StepId,
        /// What shows it.
        evidence: Evidence,
    },
    /// Nothing happens for now, and why.
    Waiting {
        /// Step.
        step: StepId,
        /// Why.
        on: WaitingOn,
    },
    /// The act is about to be made. Written before it.
    Acting {
        /// Step.
        step: StepId,
        /// Names the act.
        key: OperationKey,
    },
    /// The world took the act.
    Acted {
        /// Step.
        step: StepId,
        /// Names the act.
        key: OperationKey,
        /// What it answered.
        evidence: Evidence,
    },
    /// The act was not taken.
    NotTaken {
        /// Step.
        step: StepId,
        /// Names the act.
        key: OperationKey,
        /// Why, classed by what may happen next.
        error: ActError,
    },
    /// What an interrupted act left half-done is whole again.
    Settled {
        /// Step.
        step: StepId,
        /// What shows it.
        evidence: Evidence,
    },
    /// The result is there and held for the soak.
    Verified {
        /// Step.
        step: StepId,
        /// What shows it.
        evidence: Evidence,
    },
    /// The run stopped at this step; it can be resumed.
    Stopped {
        /// Step.
        step: StepId,
        /// How.
        how: Stop,
    },
    /// A person asked for something.
    Asked {
        /// What.
        request: Request,
    },
    /// Every step is done.
    Finished,
    /// The run was given up by a person; the world stays as it is.
    Aborted,
    /// The run, which is over, is taken back by another one.
    RollingBack {
        /// Plan of the rollback.
        by: PlanId,
    },
    /// The rollback has finished.
    RolledBack {
        /// Plan of the rollback.
        by: PlanId,
    },
}

impl Entry {
    /// Name as it is written.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Driving => "driving",
            Self::Started { .. } => "started",
            Self::Found { .. } => "found",
            Self::Waiting { .. } => "waiting",
            Self::Acting { .. } => "acting",
            Self::Acted { .. } => "acted",
            Self::NotTaken { .. } => "notTaken",
            Self::Settled { .. } => "settled",
            Self::Verified { .. } => "verified",
            Self::Stopped { .. } => "stopped",
            Self::Asked { .. } => "asked",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
            Self::RollingBack { .. } => "rollingBack",
            Self::RolledBack { .. } => "rolledBack",
        }
    }

    /// Step that it is about.
    pub fn step(&self) -> Option<StepId> {
        match self {
            Self::Started { step }
            | Self::Found { step, .. }
            | Self::Waiting { step, .. }
            | Self::Acting { step, .. }
            | Self::Acted { step, .. }
            | Self::NotTaken { step, .. }
            | Self::Settled { step, .. }
            | Self::Verified { step, .. }
            | Self::Stopped { step, .. } => Some(*step),
            Self::Driving
            | Self::Asked { .. }
            | Self::Finished
            | Self::Aborted
            | Self::RollingBack { .. }
            | Self::RolledBack { .. } => None,
        }
    }
}

/// How a run stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "stop")]
pub enum Stop {
    /// A gate waits for a person.
    Gate {
        /// Name of the gate.
        name: String,
    },
    /// A person paused it.
    Paused,
    /// The world is not the one of the plan.
    Diverged {
        /// What the plan expects.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The step failed or took too long.
    Failed {
        /// Diagnostic code.
        code: String,
        /// Why.
        cause: String,
    },
    /// A person is needed.
    NeedsPerson {
        /// Diagnostic code.
        code: String,
        /// Why.
        cause: String,
    },
}

/// What a person may ask of a run while it is driven by another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "request")]
pub enum Request {
    /// Pass a gate.
    Approve {
        /// Name of the gate.
        gate: String,
        /// Who says so.
        by: String,
    },
    /// Stop before the next step.
    Pause,
    /// Go on.
    Resume,
    /// Give the run up.
    Abort,
}
