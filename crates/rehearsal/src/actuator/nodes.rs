//! Nodes: cordoned, emptied, retired; a replica is moved by the eviction of its pod.

use ferriswheel_engine::actuator::{Ack, ActError, Observed};
use ferriswheel_model::Eviction;
use ferriswheel_plan::ids::{ObjectRef, PoolName};
use ferriswheel_plan::step::NodeIdentity;

use super::pools::PoolRefusal;
use super::{ack, again, done, landed, primary, same_machine, waiting};
use crate::world::Inner;

/// Pods that would have to be evicted from a node.
pub(super) fn evictable(world: &Inner, node: &str) -> Vec<(String, String, bool)> {
    world
        .cluster
        .pods()
        .iter()
        .filter(|(_, pod)| pod.node.as_deref() == Some(node))
        .map(|(name, pod)| (name.clone(), pod.uid.clone(), pod.terminating))
        .collect()
}

pub(super) fn cordoned(world: &Inner, nodes: &[NodeIdentity]) -> Observed {
    if any(world, nodes, false) {
        Observed::Ready
    } else {
        done(format!("{} nodes take no new pods", nodes.len()))
    }
}

pub(super) fn opened(world: &Inner, nodes: &[NodeIdentity]) -> Observed {
    if any(world, nodes, true) {
        Observed::Ready
    } else {
        done("the nodes take pods again")
    }
}

/// One of the machines that are still there is closed, or open.
fn any(world: &Inner, nodes: &[NodeIdentity], closed: bool) -> bool {
    nodes.iter().any(|node| {
        same_machine(world, node)
            && world
                .cluster
                .nodes()
                .get(node.name.as_str())
                .is_some_and(|found| found.unschedulable == closed)
    })
}

pub(super) fn cordon(world: &mut Inner, nodes: &[NodeIdentity]) -> Result<Ack, ActError> {
    close(world, nodes, true);
    Ok(ack("cordoned"))
}

pub(super) fn uncordon(world: &mut Inner, nodes: &[NodeIdentity]) -> Result<Ack, ActError> {
    close(world, nodes, false);
    Ok(ack("uncordoned"))
}

fn close(world: &mut Inner, nodes: &[NodeIdentity], closed: bool) {
    for node in nodes {
        if same_machine(world, node) {
            world.cluster.cordon(node.name.as_str(), closed);
        }
    }
}

pub(super) fn moved(
    world: &Inner,
    pod: &ObjectRef,
    from: &NodeIdentity,
    onto_pool: &PoolName,
) -> Observed {
    match world.cluster.pods().get(&pod.to_string()) {
        None => Observed::InFlight(waiting(
            pod,
            "the pod does not exist at the moment",
            "the stateful set makes it again",
        )),
        Some(found) if found.terminating => Observed::InFlight(waiting(
            pod,
            "it is leaving",
            "its server has stopped and its disk is free",
        )),
        Some(found) if found.node.as_deref() == Some(from.name.as_str()) => Observed::Ready,
        Some(_) => landed(world, pod, onto_pool),
    }
}

pub(super) fn move_replica(
    world: &mut Inner,
    pod: &ObjectRef,
    from: &NodeIdentity,
) -> Result<Ack, ActError> {
    if primary(world).as_deref() == Some(&pod.name) {
        return Err(ActError::Replan {
            expected: format!("{pod} as a replica"),
            found: "it is the primary; moving it would be an unplanned failover".to_owned(),
        });
    }
    let name = pod.to_string();
    let Some(found) = world.cluster.pods().get(&name) else {
        return Ok(ack("the pod is already being made again"));
    };
    if found.node.as_deref() != Some(from.name.as_str()) {
        return Ok(ack("the pod has left the node already"));
    }
    let uid = found.uid.clone();
    evict(world, &name, &uid)?;
    Ok(ack(format!("{pod} was evicted from {}", from.name)))
}

pub(super) fn retired(world: &Inner, node: &NodeIdentity) -> Observed {
    match world.cluster.nodes().get(node.name.as_str()) {
        Some(found) if found.uid == node.uid.as_str() && found.leaving => {
            Observed::InFlight(waiting(
                &node.name,
                "its machine is being deleted",
                "the Node is gone",
            ))
        }
        Some(found) if found.uid == node.uid.as_str() => Observed::Ready,
        _ => done(format!("{} is gone", node.name)),
    }
}

pub(super) fn retire(
    world: &mut Inner,
    node: &NodeIdentity,
    pool: &PoolName,
) -> Result<Ack, ActError> {
    if !same_machine(world, node) {
        return Ok(ack("the machine is gone already"));
    }
    world.cluster.cordon(node.name.as_str(), true);
    empty(world, node.name.as_str())?;
    delete_machine(world, pool.as_str(), node.name.as_str())
}

fn evict(world: &mut Inner, pod: &str, uid: &str) -> Result<(), ActError> {
    world.count(format!("evict {pod}"));
    match world.cluster.evict(pod, uid) {
        Eviction::Accepted | Eviction::Gone => Ok(()),
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

pub(super) fn empty(world: &mut Inner, node: &str) -> Result<(), ActError> {
    let pods = evictable(world, node);
    for (pod, uid, terminating) in &pods {
        if !terminating {
            evict(world, pod, uid)?;
        }
    }
    if pods.is_empty() {
        Ok(())
    } else {
        Err(again(format!("{} pods are leaving {node}", pods.len())))
    }
}

pub(super) fn delete_machine(world: &mut Inner, pool: &str, node: &str) -> Result<Ack, ActError> {
    world
        .cluster
        .delete_machine(pool, node)
        .map_err(PoolRefusal)?;
    world.count(format!("delete machine {node}"));
    Ok(ack(format!("{node} was empty and its machine was deleted")))
}
