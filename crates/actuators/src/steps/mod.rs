//! One file per kind of step: observe from the world alone, act so that repeating does no harm.

mod agents;
mod guards;
pub(crate) mod hand_over;
mod move_replica;
mod nodes;
mod pools;
pub mod probe;
mod roles;
pub(crate) mod seat;

use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{
    Ack, ActError, Actuator, Evidence, Observed, OperationKey, WaitingOn,
};
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::step::{Guard, Step, StepKind};

use crate::azure::Class;
use crate::kubernetes::RequestError;
use crate::systems;
use crate::world::{AskError, World};

/// Pause before a look or an act that failed for a passing reason is repeated.
const AGAIN: Duration = Duration::from_secs(1);

#[async_trait]
impl Actuator for World {
    async fn observe(&self, step: &Step) -> Observed {
        let seen = match &step.kind {
            StepKind::StartProbe { database, .. } => probe::observe_start(self, database).await,
            StepKind::StartAgents { database, .. } => agents::observe_start(self, database).await,
            StepKind::Cordon { nodes } => nodes::observe_cordon(self, nodes).await,
            StepKind::Uncordon { nodes } => nodes::observe_uncordon(self, nodes).await,
            StepKind::GrowPool {
                pool,
                count,
                version,
                ..
            } => pools::observe_grow(self, pool, *count, *version).await,
            StepKind::AddSeat {
                database,
                stateful_set,
                replicas,
                onto_pool,
            } => seat::observe_add(self, database, stateful_set, *replicas, onto_pool).await,
            StepKind::MoveReplica {
                database,
                pod,
                from,
                onto_pool,
                ..
            } => move_replica::observe(self, database, pod, from, onto_pool).await,
            StepKind::HandOver {
                database, from, to, ..
            } => observe_hand_over(self, database, from, to).await,
            StepKind::DrainLeaders { database, pod, .. } => {
                observe_drain(self, database, pod).await
            }
            StepKind::ReturnLeaders { database, .. } => observe_return(self, database).await,
            StepKind::RetireNode { node, pool } => nodes::observe_retire(self, node, pool).await,
            StepKind::ShrinkPool { pool, count, .. } => {
                nodes::observe_shrink(self, pool, *count).await
            }
            StepKind::RemoveSeat {
                database,
                stateful_set,
                replicas,
                ..
            } => seat::observe_remove(self, database, stateful_set, *replicas).await,
            StepKind::DeletePool { pool } => pools::observe_delete(self, pool).await,
            StepKind::StopAgents { database } => agents::observe_stop(self, database).await,
            StepKind::Certify { database } => probe::observe_certify(self, database),
        };
        seen.unwrap_or_else(|e| Observed::Unknown(e.line()))
    }

    async fn check(&self, guard: &Guard) -> Result<(), WaitingOn> {
        guards::check(self, guard).await
    }

    async fn act(&self, step: &Step, key: &OperationKey) -> Result<Ack, ActError> {
        match &step.kind {
            StepKind::StartProbe { database, on_pools } => {
                probe::start(self, database, on_pools).await
            }
            StepKind::StartAgents { database, on_pools } => {
                agents::start(self, database, on_pools).await
            }
            StepKind::Cordon { nodes } => nodes::cordon(self, nodes).await,
            StepKind::Uncordon { nodes } => nodes::uncordon(self, nodes).await,
            StepKind::GrowPool {
                pool,
                like,
                zone,
                count,
                version,
            } => pools::grow(self, pool, like, zone, *count, *version).await,
            StepKind::AddSeat {
                stateful_set,
                replicas,
                ..
            } => seat::add(self, stateful_set, *replicas).await,
            StepKind::MoveReplica {
                database,
                pod,
                pod_uid,
                from,
                ..
            } => move_replica::act(self, database, pod, pod_uid, from).await,
            StepKind::HandOver {
                database,
                from,
                to,
                terms,
            } => {
                let system = systems::of(self, database).map_err(class)?;
                system.hand_over(from, to, terms, key).await
            }
            StepKind::DrainLeaders {
                database,
                pod,
                terms,
            } => {
                let system = systems::of(self, database).map_err(class)?;
                system.drain(pod, terms, key).await
            }
            StepKind::ReturnLeaders { database, pace_ms } => {
                let system = systems::of(self, database).map_err(class)?;
                system.give_back(*pace_ms, key).await
            }
            StepKind::RetireNode { node, pool } => nodes::retire(self, node, pool).await,
            StepKind::ShrinkPool { pool, count, keep } => {
                nodes::shrink(self, pool, *count, keep).await
            }
            StepKind::RemoveSeat {
                database,
                stateful_set,
                replicas,
                claims,
            } => seat::remove(self, database, stateful_set, *replicas, claims).await,
            StepKind::DeletePool { pool } => pools::delete(self, pool).await,
            StepKind::StopAgents { database } => agents::stop(self, database).await,
            StepKind::Certify { database } => probe::certify(self, database).await,
        }
    }

    async fn settle(&self, step: &Step, key: &OperationKey) -> Result<Evidence, ActError> {
        match &step.kind {
            StepKind::HandOver {
                database,
                from,
                to,
                terms,
            } => {
                let system = systems::of(self, database).map_err(class)?;
                system.settle(from, to, terms, key).await
            }
            // Each partition is moved by requests that the controller takes as a whole or not at all, and
            // what is left is seen when the step is done again.
            StepKind::DrainLeaders { .. } | StepKind::ReturnLeaders { .. } => Ok(Evidence::one(
                "nothing to settle: every partition has a leader, and what is left is seen",
            )),
            // Every other act is a request that the world takes as a whole or not at all.
            _ => Ok(Evidence::one("nothing to settle: the act is one request")),
        }
    }
}

async fn observe_hand_over(
    world: &World,
    database: &DatabaseName,
    from: &ObjectRef,
    to: &ObjectRef,
) -> Result<Observed, AskError> {
    systems::of(world, database)?
        .observe_hand_over(from, to)
        .await
}

async fn observe_drain(
    world: &World,
    database: &DatabaseName,
    pod: &ObjectRef,
) -> Result<Observed, AskError> {
    systems::of(world, database)?.observe_drain(pod).await
}

async fn observe_return(world: &World, database: &DatabaseName) -> Result<Observed, AskError> {
    systems::of(world, database)?.observe_return().await
}

/// The plan's terms of a hand-over are of another system than its spec, which the checker of plans
/// does not let through.
pub(crate) fn wrong_terms(system: &str) -> ActError {
    refused(format!("the terms of the hand-over are not of {system}"))
}

/// Classes an error of asking as an error of acting.
pub(crate) fn class(error: AskError) -> ActError {
    let cause = error.line();
    if let AskError::Arm(arm) = &error {
        return match arm.class() {
            Class::Retry { after } | Class::Wait { after } => ActError::Retry { after, cause },
            Class::Ask => ActError::AskHuman {
                code: "FW0308".to_owned(),
                cause,
            },
            Class::Fatal => refused(cause),
        };
    }
    if error.is_passing() {
        return ActError::Retry {
            after: AGAIN,
            cause,
        };
    }
    match error {
        AskError::Absent { .. } => ActError::Replan {
            expected: "the objects that the plan names".to_owned(),
            found: cause,
        },
        _ => refused(cause),
    }
}

fn refused(cause: String) -> ActError {
    ActError::Fatal {
        code: "FW0301".to_owned(),
        cause,
    }
}

fn class_request(error: RequestError) -> ActError {
    class(AskError::from(error))
}

pub(crate) fn waiting(
    object: impl std::fmt::Display,
    reason: impl Into<String>,
    clears: impl Into<String>,
) -> WaitingOn {
    WaitingOn {
        object: object.to_string(),
        reason: reason.into(),
        clears: clears.into(),
    }
}

pub(crate) fn done(fact: impl Into<String>) -> Observed {
    Observed::Done(Evidence::one(fact))
}

pub(crate) fn ack(fact: impl Into<String>) -> Ack {
    Ack {
        evidence: Evidence::one(fact),
    }
}

#[cfg(test)]
mod tests;
