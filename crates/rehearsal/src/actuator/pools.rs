//! Pools: grown, shrunk, deleted.

use std::time::Duration;

use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed};
use ferriswheel_model::PoolError;
use ferriswheel_plan::ids::{ObjectRef, PoolName};
use ferriswheel_plan::version::KubernetesVersion;

use super::nodes::{delete_machine, empty};
use super::{ack, done, members, pool_of, waiting};
use crate::world::Inner;

impl From<PoolRefusal> for ActError {
    fn from(PoolRefusal(error): PoolRefusal) -> Self {
        match error {
            PoolError::Busy { .. } => Self::Retry {
                after: Duration::from_secs(1),
                cause: error.to_string(),
            },
            PoolError::LastSystemPool(_) => Self::AskHuman {
                code: "FW0306".to_owned(),
                cause: error.to_string(),
            },
            _ => Self::Replan {
                expected: "the pools that the plan names".to_owned(),
                found: error.to_string(),
            },
        }
    }
}

/// What the resource manager refused.
pub(super) struct PoolRefusal(pub(super) PoolError);

pub(super) fn grown(world: &Inner, pool: &PoolName, count: u32) -> Observed {
    let Some(found) = world.cluster.pools().get(pool.as_str()) else {
        return Observed::Ready;
    };
    if found.count < count {
        return Observed::Ready;
    }
    if found.state != "Succeeded" {
        return Observed::InFlight(waiting(
            pool,
            format!("provisioningState is {}", found.state),
            "the operation ends",
        ));
    }
    let ready: Vec<String> = world
        .cluster
        .nodes()
        .iter()
        .filter(|(_, node)| node.pool == pool.as_str() && node.ready)
        .map(|(name, _)| name.clone())
        .collect();
    Observed::Done(Evidence(ready))
}

pub(super) fn grow(
    world: &mut Inner,
    pool: &PoolName,
    like: &PoolName,
    zone: &str,
    count: u32,
    version: KubernetesVersion,
) -> Result<Ack, ActError> {
    world.count(format!("grow {pool} to {count}"));
    if world.cluster.pools().contains_key(pool.as_str()) {
        world
            .cluster
            .grow_pool(pool.as_str(), count)
            .map_err(PoolRefusal)?;
        return Ok(ack(format!("pool {pool} has {count} machines")));
    }
    let Some(model) = world.cluster.pools().get(like.as_str()).cloned() else {
        return Err(ActError::Replan {
            expected: format!("pool {like}, whose settings {pool} takes over"),
            found: "no such pool".to_owned(),
        });
    };
    world
        .cluster
        .create_pool(
            pool.as_str(),
            model.system,
            &[zone],
            count,
            &version.to_string(),
            model.labels,
        )
        .map_err(PoolRefusal)?;
    Ok(ack(format!("pool {pool} was created in {zone}")))
}

pub(super) fn shrunk(world: &Inner, pool: &PoolName, count: u32) -> Observed {
    let machines = world
        .cluster
        .nodes()
        .values()
        .filter(|node| node.pool == pool.as_str())
        .count();
    let wanted = world
        .cluster
        .pools()
        .get(pool.as_str())
        .map_or(0, |pool| pool.count);
    if wanted > count {
        Observed::Ready
    } else if machines > usize::try_from(count).unwrap_or(usize::MAX) {
        Observed::InFlight(waiting(
            pool,
            format!("{machines} machines are there"),
            "the surplus is gone",
        ))
    } else {
        done(format!("pool {pool} has {machines} machines"))
    }
}

pub(super) fn shrink(
    world: &mut Inner,
    pool: &PoolName,
    count: u32,
    keep: &[ObjectRef],
) -> Result<Ack, ActError> {
    let occupied: Vec<String> = keep
        .iter()
        .flat_map(|set| members(world, set))
        .filter_map(|pod| pool_of(world, &pod).map(|(node, _)| node))
        .collect();
    let nodes: Vec<(String, bool)> = world
        .cluster
        .nodes()
        .iter()
        .filter(|(_, node)| node.pool == pool.as_str())
        .map(|(name, node)| (name.clone(), node.leaving))
        .collect();
    let staying = nodes.iter().filter(|(_, leaving)| !leaving).count();
    let surplus = staying.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
    let free: Vec<String> = nodes
        .into_iter()
        .filter(|(node, leaving)| !leaving && !occupied.contains(node))
        .map(|(node, _)| node)
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
    for node in free {
        world.cluster.cordon(&node, true);
        empty(world, &node)?;
        delete_machine(world, pool.as_str(), &node)?;
    }
    Ok(ack(format!("{surplus} machines too many")))
}

pub(super) fn deleted(world: &Inner, pool: &PoolName) -> Observed {
    match world.cluster.pools().get(pool.as_str()) {
        None => done(format!("pool {pool} is gone")),
        Some(found) if found.state == "Deleting" => Observed::InFlight(waiting(
            pool,
            "provisioningState is Deleting",
            "the operation ends",
        )),
        Some(_) => Observed::Ready,
    }
}

pub(super) fn delete(world: &mut Inner, pool: &PoolName) -> Result<Ack, ActError> {
    world
        .cluster
        .delete_pool(pool.as_str())
        .map_err(PoolRefusal)?;
    Ok(ack(format!("pool {pool} was deleted")))
}
