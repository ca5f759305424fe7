//! A replica leaves its old node and is whole again on a new one.

use ferriswheel_engine::actuator::{Ack, ActError, Observed};
use ferriswheel_plan::ids::{DatabaseName, ObjectRef, PoolName, Uid};
use ferriswheel_plan::step::NodeIdentity;

use super::{ack, class, class_request, done, waiting};
use crate::kubernetes::evict::{Eviction, evict};
use crate::kubernetes::read;
use crate::systems::{self, Stand};
use crate::world::{AskError, World};

pub(super) async fn observe(
    world: &World,
    database: &DatabaseName,
    pod: &ObjectRef,
    from: &NodeIdentity,
    onto_pool: &PoolName,
) -> Result<Observed, AskError> {
    let system = systems::of(world, database)?;
    let standing = system.standing(Some(system.whole_lag())).await?;
    let Some(state) = standing.of(pod) else {
        return Ok(Observed::InFlight(waiting(
            pod,
            "the pod does not exist at the moment",
            "the stateful set makes it again",
        )));
    };
    if state.member.node.as_ref() == Some(&from.name) && !state.member.terminating {
        return Ok(Observed::Ready);
    }
    let Some(node) = &state.member.node else {
        return Ok(Observed::InFlight(waiting(
            pod,
            "no node was found for it yet",
            format!("a node of pool {onto_pool} in the zone of its disk is schedulable"),
        )));
    };
    if state.member.terminating {
        return Ok(Observed::InFlight(waiting(
            pod,
            format!("it is leaving {node}"),
            "its server has stopped and its disk is free",
        )));
    }
    let landed = world.node(node).await?;
    let pool = landed
        .as_ref()
        .and_then(read::node)
        .and_then(|node| node.pool);
    if pool.as_ref() != Some(onto_pool) {
        return Ok(Observed::Diverged {
            expected: format!("{pod} on a node of pool {onto_pool}"),
            found: format!("on {node}"),
        });
    }
    Ok(match &state.whole {
        Ok(fact) => done(format!("{pod} is on {node}, {fact}")),
        Err(waiting) => Observed::InFlight(waiting.clone()),
    })
}

pub(super) async fn act(
    world: &World,
    database: &DatabaseName,
    pod: &ObjectRef,
    uid: &Uid,
    from: &NodeIdentity,
) -> Result<Ack, ActError> {
    let system = systems::of(world, database).map_err(class)?;
    let standing = system
        .standing(Some(system.whole_lag()))
        .await
        .map_err(class)?;
    if standing.leads(pod) {
        return Err(ActError::Replan {
            expected: format!("{pod} as a replica"),
            found: "it is the primary; moving it would be an unplanned failover".to_owned(),
        });
    }
    let Some(state) = standing.of(pod) else {
        return Ok(ack("the pod is already being made again"));
    };
    if state.member.node.as_ref() != Some(&from.name) {
        return Ok(ack("the pod has left the node already"));
    }
    if state.member.uid != *uid && !made_again(state) {
        return Err(ActError::Replan {
            expected: format!("{pod} with uid {uid}"),
            found: state.member.uid.to_string(),
        });
    }
    let parted = system.part_with(pod).await?;
    match evict(&world.outside.kube, pod, &state.member.uid)
        .await
        .map_err(class_request)?
    {
        Eviction::Accepted => {
            let mut ack = ack(format!("{pod} was evicted from {}", from.name));
            ack.evidence.0.extend(parted);
            Ok(ack)
        }
        Eviction::Gone => Ok(ack(format!("{pod} was gone already"))),
        Eviction::Blocked(why) => Err(ActError::Wait(waiting(
            pod,
            why,
            "its disruption budget allows one more",
        ))),
        Eviction::Misconfigured(why) => Err(ActError::AskHuman {
            code: "FW0302".to_owned(),
            cause: format!("{pod}: {why}"),
        }),
    }
}

/// A member that is whole on its old node under another UID was made again there by its set; the
/// plan means the member, and moving it is still what it asks for.
fn made_again(state: &Stand) -> bool {
    state.member.ready && state.answers
}
