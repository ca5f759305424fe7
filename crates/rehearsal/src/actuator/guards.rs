//! What must hold before a step acts.

use std::time::Duration;

use ferriswheel_engine::actuator::WaitingOn;
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::step::Guard;

use super::nodes::evictable;
use super::{members, pool_of, primary, same_machine, waiting, whole};
use crate::world::Inner;

/// A container that ran this long starts without the kubelet's delay.
const BACKOFF_FORGOTTEN: Duration = Duration::from_secs(600);

pub(super) fn check(world: &Inner, guard: &Guard) -> Result<(), WaitingOn> {
    let hold = |holds: bool, object: String, reason: String, clears: &str| {
        if holds {
            Ok(())
        } else {
            Err(waiting(object, reason, clears))
        }
    };
    match guard {
        Guard::AllStreaming {
            members: wanted, ..
        } => {
            let states: Vec<Result<String, WaitingOn>> = world
                .cluster
                .sets()
                .keys()
                .filter_map(|set| set.parse::<ObjectRef>().ok())
                .flat_map(|set| members(world, &set))
                .map(|pod| whole(world, &pod))
                .collect();
            let good = states.iter().filter(|state| state.is_ok()).count();
            let why = states
                .into_iter()
                .find_map(Result::err)
                .map_or_else(String::new, |why| format!(": {why}"));
            hold(
                good >= usize::try_from(*wanted).unwrap_or(usize::MAX),
                "the set".to_owned(),
                format!("{good} of {wanted} members are whole{why}"),
                "all are whole",
            )
        }
        Guard::PrimaryIs { pod, .. } => hold(
            primary(world).as_deref() == Some(&pod.name),
            pod.to_string(),
            "it is not the primary".to_owned(),
            "a new plan is made",
        ),
        Guard::NotPrimary { pod, .. } => hold(
            primary(world).is_some_and(|leader| leader != pod.name),
            pod.to_string(),
            "it is the primary, or nobody is".to_owned(),
            "another member is",
        ),
        Guard::OnVersion { pod, version } => hold(
            pool_of(world, pod)
                .and_then(|(node, _)| world.cluster.nodes().get(&node))
                .is_some_and(|node| node.version == version.to_string()),
            pod.to_string(),
            format!("its node is not at {version}"),
            "it has moved to an upgraded node",
        ),
        Guard::EvictionAllowed { pod } => hold(
            world
                .cluster
                .disruptions_allowed(&pod.to_string())
                .is_none_or(|allowed| allowed > 0),
            pod.to_string(),
            "its budget allows none".to_owned(),
            "all members are Ready",
        ),
        Guard::RestartUndelayed { pod } => {
            let found = world.cluster.pods().get(&pod.to_string());
            let fresh = found.is_some_and(|found| {
                found.restarts > 0
                    && world
                        .now()
                        .saturating_sub(found.started_at.unwrap_or_default())
                        < BACKOFF_FORGOTTEN
            });
            hold(
                !fresh,
                pod.to_string(),
                "it was started again recently".to_owned(),
                "it has run for 10 minutes",
            )
        }
        Guard::SameMachine { node } => hold(
            same_machine(world, node) || !world.cluster.nodes().contains_key(node.name.as_str()),
            node.name.to_string(),
            "another machine has this name now".to_owned(),
            "a new plan is made",
        ),
        Guard::SeatFree { pool, stateful_set } => {
            let taken: Vec<String> = members(world, stateful_set)
                .iter()
                .filter_map(|pod| pool_of(world, pod).map(|(node, _)| node))
                .collect();
            let free = world.cluster.nodes().iter().any(|(name, node)| {
                node.pool == pool.as_str()
                    && node.ready
                    && !node.unschedulable
                    && !taken.contains(name)
            });
            hold(
                free,
                pool.to_string(),
                format!("no Ready, schedulable node is free for a member of {stateful_set}"),
                "a node of the pool is Ready and carries no member",
            )
        }
        Guard::NoOperation { pool } => {
            let state = world
                .cluster
                .pools()
                .get(pool.as_str())
                .map_or("Succeeded", |pool| pool.state.as_str());
            hold(
                state == "Succeeded",
                pool.to_string(),
                format!("provisioningState is {state}"),
                "the operation ends",
            )
        }
        Guard::PoolEmpty { pool } => {
            let left: usize = world
                .cluster
                .nodes()
                .iter()
                .filter(|(_, node)| node.pool == pool.as_str())
                .map(|(name, _)| evictable(world, name).len())
                .sum();
            hold(
                left == 0,
                pool.to_string(),
                format!("{left} pods are on it"),
                "no pod but daemons is left",
            )
        }
        Guard::OtherSystemPool { pool } => hold(
            world
                .cluster
                .pools()
                .iter()
                .any(|(name, found)| name != pool.as_str() && found.system),
            pool.to_string(),
            "it is the last System pool".to_owned(),
            "another System pool exists",
        ),
    }
}
