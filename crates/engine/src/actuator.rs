//! What the driver asks of the outside world.
//!
//! The same `observe` answers three questions: done already? safe and ready? done and still done
//! after the soak? Nobody trusts the reply to an act.

use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_plan::step::{Guard, Step};
use serde::{Deserialize, Serialize};

/// The outside world, for one plan.
#[async_trait]
pub trait Actuator: Send + Sync {
    /// Looks at the world and says where the step stands. Never changes anything.
    async fn observe(&self, step: &Step) -> Observed;

    /// Checks one guard now. `Ok(())` means that it holds.
    async fn check(&self, guard: &Guard) -> Result<(), WaitingOn>;

    /// Does the step, or as much of it as one act holds. Acting again under the same key must do
    /// no harm: everything that must happen once is found again by observation.
    async fn act(&self, step: &Step, key: &OperationKey) -> Result<Ack, ActError>;

    /// Takes back what a failed or interrupted act left half-done, so that the world is whole.
    async fn settle(&self, step: &Step, key: &OperationKey) -> Result<Evidence, ActError>;
}

/// Names one act: plan, step and attempt. Written to the journal before the act.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationKey(pub String);

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Observed {
    /// The result is there.
    Done(Evidence),
    /// Nothing is done yet and nothing hinders the act.
    Ready,
    /// Not done and not to be acted on yet.
    NotReady(WaitingOn),
    /// An act is under way; its result will come.
    InFlight(WaitingOn),
    /// The world is not the one that the plan was made for.
    Diverged {
        /// What the plan expects.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The world could not be asked.
    Unknown(String),
}

/// Facts that show a result, one line each, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Evidence(pub Vec<String>);

impl Evidence {
    /// One fact.
    pub fn one(fact: impl Into<String>) -> Self {
        Self(vec![fact.into()])
    }
}

/// Why nothing happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingOn {
    /// Object that is waited for.
    pub object: String,
    /// What was seen.
    pub reason: String,
    /// What would clear it.
    pub clears: String,
}

impl std::fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} (clears when {})",
            self.object, self.reason, self.clears
        )
    }
}

/// The world took the act.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// What the world answered, without secrets.
    pub evidence: Evidence,
}

/// An act failed, classed by what may happen next.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ActError {
    /// Try again after this long; nothing changed or repeating is harmless.
    #[error("{cause}")]
    Retry {
        /// Not before.
        after: Duration,
        /// Why.
        cause: String,
    },
    /// Something else must happen first.
    #[error("{0}")]
    Wait(WaitingOn),
    /// The world is not the one that the plan was made for.
    #[error("expected {expected}, found {found}")]
    Replan {
        /// What the plan expects.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The act was undone cleanly and the world is whole; a person decides whether to go on.
    #[error("{cause}")]
    AskHuman {
        /// Diagnostic code.
        code: String,
        /// Why.
        cause: String,
    },
    /// Cannot succeed; the run stops in a resumable state.
    #[error("{cause}")]
    Fatal {
        /// Diagnostic code.
        code: String,
        /// Why.
        cause: String,
    },
}
