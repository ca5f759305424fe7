//! Cordon, uncordon, retire, shrink.

use std::collections::BTreeSet;
use std::time::Duration;

use ferriswheel_engine::actuator::{Ack, ActError, Observed};
use ferriswheel_plan::ids::{NodeName, ObjectRef, PoolName, Uid};
use ferriswheel_plan::step::NodeIdentity;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{ack, class, class_request, done, waiting};
use crate::kubernetes::evict::{Eviction, evict};
use crate::kubernetes::read;
use crate::kubernetes::request;
use crate::world::{AskError, World};

/// Deleting a machine takes Azure a few minutes.
const DELETE_MACHINE: Duration = Duration::from_secs(1_200);

/// The node while it is still the machine that the plan means.
async fn same_machine(world: &World, node: &NodeIdentity) -> Result<Option<Node>, AskError> {
    Ok(world
        .node(&node.name)
        .await?
        .filter(|found| found.uid().as_deref() == Some(node.uid.as_str())))
}

pub(super) async fn observe_cordon(
    world: &World,
    nodes: &[NodeIdentity],
) -> Result<Observed, AskError> {
    let mut open = Vec::new();
    for node in nodes {
        if let Some(found) = same_machine(world, node).await?
            && !is_cordoned(&found)
        {
            open.push(node.name.to_string());
        }
    }
    Ok(if open.is_empty() {
        done(format!("{} nodes take no new pods", nodes.len()))
    } else {
        Observed::Ready
    })
}

pub(super) async fn cordon(world: &World, nodes: &[NodeIdentity]) -> Result<Ack, ActError> {
    for node in nodes {
        let found = same_machine(world, node).await.map_err(class)?;
        if found.as_ref().is_some_and(|found| !is_cordoned(found)) {
            cordon_one(world, &node.name).await?;
        }
    }
    Ok(ack("cordoned"))
}

/// A node that is gone by now is not closed either.
pub(super) async fn observe_uncordon(
    world: &World,
    nodes: &[NodeIdentity],
) -> Result<Observed, AskError> {
    let mut open = 0;
    for node in nodes {
        match same_machine(world, node).await? {
            Some(found) if is_cordoned(&found) => return Ok(Observed::Ready),
            Some(_) => open += 1,
            None => {}
        }
    }
    Ok(done(format!(
        "{open} nodes take pods again, {} are gone",
        nodes.len() - open
    )))
}

pub(super) async fn uncordon(world: &World, nodes: &[NodeIdentity]) -> Result<Ack, ActError> {
    for node in nodes {
        let found = same_machine(world, node).await.map_err(class)?;
        if found.as_ref().is_some_and(is_cordoned) {
            set_cordon(world, &node.name, false).await?;
        }
    }
    Ok(ack("uncordoned"))
}

async fn cordon_one(world: &World, name: &NodeName) -> Result<(), ActError> {
    set_cordon(world, name, true).await
}

async fn set_cordon(world: &World, name: &NodeName, closed: bool) -> Result<(), ActError> {
    let nodes: Api<Node> = Api::all(world.kube());
    let patch = json!({"spec": {"unschedulable": closed}});
    let verb = if closed { "cordon" } else { "uncordon" };
    request(
        format!("{verb} {name}"),
        nodes.patch(
            name.as_str(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        ),
    )
    .await
    .map(|_| ())
    .map_err(class_request)
}

fn is_cordoned(node: &Node) -> bool {
    node.spec
        .as_ref()
        .and_then(|spec| spec.unschedulable)
        .unwrap_or(false)
}

pub(super) async fn observe_retire(
    world: &World,
    node: &NodeIdentity,
    pool: &PoolName,
) -> Result<Observed, AskError> {
    if same_machine(world, node).await?.is_some() {
        return Ok(Observed::Ready);
    }
    let machines = machine_names(world, pool).await?;
    // Another machine may carry the name by now; then the Node of that name is another one.
    if machines.contains(node.name.as_str()) && world.node(&node.name).await?.is_none() {
        return Ok(Observed::InFlight(waiting(
            &node.name,
            "the Node is gone, its machine is still listed",
            "ARM no longer lists the machine",
        )));
    }
    Ok(done(format!(
        "node {} (uid {}) and its machine are gone",
        node.name, node.uid
    )))
}

async fn machine_names(world: &World, pool: &PoolName) -> Result<BTreeSet<String>, AskError> {
    if world.outside.arm.pool(pool.as_str()).await?.is_none() {
        return Ok(BTreeSet::new());
    }
    Ok(world
        .outside
        .arm
        .machines(pool.as_str())
        .await?
        .iter()
        .filter_map(machine_node_name)
        .collect())
}

/// A machine's node name: ARM gives it as a property, or as the resource's own name.
fn machine_node_name(machine: &serde_json::Value) -> Option<String> {
    machine
        .pointer("/properties/kubernetesName")
        .or_else(|| machine.get("name"))
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned)
}

pub(super) async fn retire(
    world: &World,
    node: &NodeIdentity,
    pool: &PoolName,
) -> Result<Ack, ActError> {
    let Some(found) = same_machine(world, node).await.map_err(class)? else {
        return Ok(ack("the machine is gone already"));
    };
    if !is_cordoned(&found) {
        cordon_one(world, &node.name).await?;
    }
    empty(world, &node.name).await?;
    delete_machine(world, pool, &node.name).await
}

/// Evicts what is left on a node. `Ok` is the proof that it is empty: a list without such pods,
/// taken from the API server after the last eviction.
async fn empty(world: &World, node: &NodeName) -> Result<(), ActError> {
    let pods = world.evictable_pods(node.as_str()).await.map_err(class)?;
    let mut left = Vec::new();
    for pod in &pods {
        left.push(evict_one(world, pod).await?);
    }
    match left.into_iter().flatten().next() {
        None if pods.is_empty() => Ok(()),
        None => Err(ActError::Retry {
            after: Duration::from_millis(500),
            cause: format!("{} pods are leaving {node}", pods.len()),
        }),
        Some(wait) => Err(ActError::Wait(wait)),
    }
}

async fn evict_one(
    world: &World,
    pod: &Pod,
) -> Result<Option<ferriswheel_engine::actuator::WaitingOn>, ActError> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let reference = read::reference(&pod.metadata);
    let uid = Uid::new(pod.uid().unwrap_or_default());
    match evict(&world.outside.kube, &reference, &uid)
        .await
        .map_err(class_request)?
    {
        Eviction::Accepted | Eviction::Gone => Ok(None),
        Eviction::Blocked(why) => Ok(Some(waiting(
            reference,
            why,
            "its disruption budget allows one more",
        ))),
        Eviction::Misconfigured(why) => Err(ActError::AskHuman {
            code: "FW0302".to_owned(),
            cause: format!("{reference}: {why}"),
        }),
    }
}

async fn delete_machine(world: &World, pool: &PoolName, node: &NodeName) -> Result<Ack, ActError> {
    world
        .outside
        .arm
        .delete_machines(pool.as_str(), &[node.as_str()], DELETE_MACHINE)
        .await
        .map_err(|e| class(e.into()))?;
    Ok(ack(format!("{node} was empty and its machine was deleted")))
}

pub(super) async fn observe_shrink(
    world: &World,
    pool: &PoolName,
    count: u32,
) -> Result<Observed, AskError> {
    let machines = machine_names(world, pool).await?.len();
    let nodes = world.nodes_of_pool(pool.as_str()).await?.len();
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(if machines <= wanted && nodes <= wanted {
        done(format!("pool {pool} has {machines} machines"))
    } else if machines <= wanted {
        Observed::InFlight(waiting(
            pool,
            format!("{nodes} Nodes for {machines} machines"),
            "the Nodes of deleted machines are gone",
        ))
    } else {
        Observed::Ready
    })
}

pub(super) async fn shrink(
    world: &World,
    pool: &PoolName,
    count: u32,
    keep: &[ObjectRef],
) -> Result<Ack, ActError> {
    let mut occupied = BTreeSet::new();
    for set in keep {
        for member in world.members(set).await.map_err(class)? {
            occupied.extend(member.node);
        }
    }
    let mut nodes: Vec<NodeName> = world
        .nodes_of_pool(pool.as_str())
        .await
        .map_err(class)?
        .iter()
        .map(read::node_name)
        .collect();
    nodes.sort();
    let surplus = nodes
        .len()
        .saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
    let free: Vec<NodeName> = nodes
        .into_iter()
        .filter(|node| !occupied.contains(node))
        .take(surplus)
        .collect();
    if free.len() < surplus {
        return Err(ActError::Wait(waiting(
            pool,
            format!(
                "{surplus} machines too many, {} without a member",
                free.len()
            ),
            "a machine without a member is left",
        )));
    }
    let mut facts = ack(format!("{surplus} machines too many"));
    for node in free {
        cordon_one(world, &node).await?;
        empty(world, &node).await?;
        facts
            .evidence
            .0
            .extend(delete_machine(world, pool, &node).await?.evidence.0);
    }
    Ok(facts)
}
