//! The extra seat: added, marked as the run's own, removed with all that was made for it.

use ferriswheel_engine::actuator::{Ack, ActError, Observed};
use ferriswheel_plan::ids::{ObjectRef, PoolName};
use ferriswheel_plan::step::ClaimIdentity;

use super::{ack, again, done, landed, members, primary, waiting, whole};
use crate::world::Inner;

/// Marks a claim as the run's own.
const RUN_LABEL: &str = "ferriswheel.dev/run";

pub(super) fn added(
    world: &Inner,
    stateful_set: &ObjectRef,
    replicas: u32,
    onto_pool: &PoolName,
    plan: &str,
) -> Observed {
    let wanted = world.cluster.sets().get(&stateful_set.to_string());
    if wanted.is_none_or(|set| set.replicas < replicas) {
        return Observed::Ready;
    }
    let seat = stateful_set.sibling(format!("{}-{}", stateful_set.name, replicas - 1));
    if !claim_is_marked(world, &seat, plan) {
        return Observed::Ready;
    }
    landed(world, &seat, onto_pool)
}

pub(super) fn add(
    world: &mut Inner,
    stateful_set: &ObjectRef,
    replicas: u32,
    run: &str,
) -> Result<Ack, ActError> {
    let set = stateful_set.to_string();
    if world
        .cluster
        .sets()
        .get(&set)
        .is_some_and(|set| set.replicas < replicas)
    {
        world.count(format!("scale up {set}"));
        world.cluster.scale(&set, replicas);
    }
    let seat = stateful_set.sibling(format!("{}-{}", stateful_set.name, replicas - 1));
    if !world
        .cluster
        .label_claim(&claim_name(&seat), RUN_LABEL, run)
    {
        return Err(again("the claim of the new member is not there yet"));
    }
    Ok(ack(format!("{set} has {replicas} replicas")))
}

pub(super) fn removed(world: &Inner, set: &ObjectRef, replicas: u32) -> Observed {
    let wanted = world.cluster.sets().get(&set.to_string());
    if wanted.is_some_and(|set| set.replicas > replicas) {
        return Observed::Ready;
    }
    let seat = set.sibling(format!("{}-{replicas}", set.name));
    if world.cluster.pods().contains_key(&seat.to_string()) {
        return Observed::InFlight(waiting(&seat, "its server is stopping", "the pod is gone"));
    }
    if world.cluster.claims().contains_key(&claim_name(&seat)) || slot_left(world, &seat) {
        return Observed::Ready;
    }
    done(format!("{seat}, its claim and its slot are gone"))
}

fn slot_left(world: &Inner, seat: &ObjectRef) -> bool {
    let slot = slot_name(&seat.name);
    primary(world)
        .and_then(|leader| {
            world
                .postgres
                .disk_of(&leader)
                .map(|d| d.slots.contains(&slot))
        })
        .unwrap_or(false)
}

pub(super) fn remove_seat(
    world: &mut Inner,
    set: &ObjectRef,
    replicas: u32,
    meant: &[ClaimIdentity],
    run: &str,
) -> Result<Ack, ActError> {
    let seat = set.sibling(format!("{}-{replicas}", set.name));
    let Some(leader) = primary(world) else {
        return Err(ActError::Wait(waiting(
            set,
            "no single primary answers",
            "exactly one primary answers",
        )));
    };
    if leader == seat.name {
        return Err(ActError::Replan {
            expected: format!("{seat} as a replica"),
            found: "it is the primary".to_owned(),
        });
    }
    let name = set.to_string();
    if world
        .cluster
        .sets()
        .get(&name)
        .is_some_and(|set| set.replicas > replicas)
    {
        for pod in members(world, set).iter().filter(|pod| **pod != seat) {
            whole(world, pod).map_err(ActError::Wait)?;
        }
        world.count(format!("scale down {name}"));
        world.cluster.scale(&name, replicas);
    }
    if world.cluster.pods().contains_key(&seat.to_string()) {
        return Err(again(format!("{seat} is stopping")));
    }
    let claim = claim_name(&seat);
    if let Some(found) = world.cluster.claims().get(&claim) {
        let marked = found.labels.get(RUN_LABEL).map(String::as_str) == Some(run);
        if !marked && !meant.iter().any(|claim| claim.uid.as_str() == found.uid) {
            return Err(ActError::AskHuman {
                code: "FW0303".to_owned(),
                cause: format!("claim {claim} does not carry the mark of this run"),
            });
        }
        let uid = found.uid.clone();
        if !world.cluster.delete_claim(&claim, &uid) {
            return Err(again(format!("claim {claim} is in use")));
        }
    }
    let slot = slot_name(&seat.name);
    if let Some(disk) = world.postgres.disk_of_mut(&leader) {
        disk.slots.remove(&slot);
    }
    Ok(ack(format!("{seat} was removed with its claim and slot")))
}

/// The slot of a member: its pod's name in the letters that slot names may have.
pub(crate) fn slot_name(pod: &str) -> String {
    pod.replace('-', "_")
}

fn claim_name(pod: &ObjectRef) -> String {
    format!("{}/data-{}", pod.namespace, pod.name)
}

fn claim_is_marked(world: &Inner, pod: &ObjectRef, plan: &str) -> bool {
    world
        .cluster
        .claims()
        .get(&claim_name(pod))
        .is_some_and(|claim| claim.labels.get(RUN_LABEL).map(String::as_str) == Some(plan))
}
