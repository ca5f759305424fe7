//! A replica leaves its old node and is whole again on a new one.

use ferriswheel_engine::actuator::{Ack, ActError, Observed};
use ferriswheel_plan::ids::{DatabaseName, ObjectRef, PoolName, Uid};
use ferriswheel_plan::step::NodeIdentity;

use super::{ack, class, class_request, done, waiting};
use crate::databases::postgres::server::Status;
use crate::kubernetes::evict::{Eviction, evict};
use crate::kubernetes::read;
use crate::world::{AskError, MemberState, World};

/// A member that lags less than one WAL segment catches up within a second.
pub(super) const WHOLE_LAG_BYTES: u64 = 16 * 1024 * 1024;

pub(super) async fn observe(
    world: &World,
    database: &DatabaseName,
    pod: &ObjectRef,
    from: &NodeIdentity,
    onto_pool: &PoolName,
) -> Result<Observed, AskError> {
    let states = world.states(database).await?;
    let Some(state) = states.iter().find(|state| state.member.pod == *pod) else {
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
    Ok(
        whole(&states, state).map_or_else(Observed::InFlight, |fact| {
            done(format!("{pod} is on {node}, {fact}"))
        }),
    )
}

/// The member is Ready, streams from the primary and lags little; or it is the primary.
pub(super) fn whole(
    states: &[MemberState],
    state: &MemberState,
) -> Result<String, ferriswheel_engine::actuator::WaitingOn> {
    whole_within(states, state, WHOLE_LAG_BYTES)
}

/// Like [`whole`], with the lag that a plan allows.
pub(super) fn whole_within(
    states: &[MemberState],
    state: &MemberState,
    max_lag_bytes: u64,
) -> Result<String, ferriswheel_engine::actuator::WaitingOn> {
    let pod = &state.member.pod;
    let status = match &state.status {
        Ok(status) => status,
        Err(why) => return Err(waiting(pod, why.clone(), "its server answers")),
    };
    if !state.member.ready {
        return Err(waiting(
            pod,
            "the pod is not Ready",
            "its readiness probe succeeds",
        ));
    }
    if !status.in_recovery {
        return Ok("the primary".to_owned());
    }
    let primary =
        primary(states).ok_or_else(|| waiting(pod, "no primary answers", "a primary answers"))?;
    let follower = primary
        .1
        .followers
        .iter()
        .find(|f| f.name == pod.name && f.streaming)
        .ok_or_else(|| {
            waiting(
                pod,
                format!("it does not stream from {}", primary.0),
                "its stream is up",
            )
        })?;
    let lag = match (primary.1.flush, follower.replay) {
        (Some(flush), Some(replay)) => flush.bytes_since(replay),
        _ => u64::MAX,
    };
    if lag > max_lag_bytes {
        return Err(waiting(
            pod,
            format!("{lag} bytes behind"),
            "it has caught up",
        ));
    }
    Ok(format!("streams from {}, {lag} bytes behind", primary.0))
}

/// The one primary with its status.
pub(crate) fn primary(states: &[MemberState]) -> Option<(&ObjectRef, &Status)> {
    let mut primaries = states.iter().filter_map(|state| {
        let status = state.status.as_ref().ok()?;
        (!status.in_recovery).then_some((&state.member.pod, status))
    });
    let first = primaries.next()?;
    primaries.next().is_none().then_some(first)
}

pub(super) async fn act(
    world: &World,
    database: &DatabaseName,
    pod: &ObjectRef,
    uid: &Uid,
    from: &NodeIdentity,
) -> Result<Ack, ActError> {
    let states = world.states(database).await.map_err(class)?;
    if let Some((primary, _)) = primary(&states)
        && primary == pod
    {
        return Err(ActError::Replan {
            expected: format!("{pod} as a replica"),
            found: "it is the primary; moving it would be an unplanned failover".to_owned(),
        });
    }
    let Some(state) = states.iter().find(|state| state.member.pod == *pod) else {
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
    match evict(&world.outside.kube, pod, &state.member.uid)
        .await
        .map_err(class_request)?
    {
        Eviction::Accepted => Ok(ack(format!("{pod} was evicted from {}", from.name))),
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
fn made_again(state: &MemberState) -> bool {
    state.member.ready && state.status.is_ok()
}
