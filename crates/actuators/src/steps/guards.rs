//! Guards, checked again right before the act.

use std::time::Duration;

use ferriswheel_engine::actuator::WaitingOn;
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::step::Guard;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::waiting;
use crate::kubernetes::{read, request};
use crate::systems::{self, Standing};
use crate::world::{AskError, World};

/// A container that ran this long starts without the kubelet's delay.
///
/// # Source
/// The kubelet forgets a container's back-off after it ran for twice the longest delay (5 min).
const BACKOFF_FORGOTTEN: Duration = Duration::from_secs(600);

pub(super) async fn check(world: &World, guard: &Guard) -> Result<(), WaitingOn> {
    match holds(world, guard).await {
        Ok(result) => result,
        Err(e) => Err(waiting("the world", e.line(), "it can be asked again")),
    }
}

async fn holds(world: &World, guard: &Guard) -> Result<Result<(), WaitingOn>, AskError> {
    Ok(match guard {
        Guard::AllStreaming {
            database,
            members,
            max_lag,
        } => systems::of(world, database)?
            .standing(Some(*max_lag))
            .await?
            .all_whole(database, *members),
        Guard::PrimaryIs { database, pod } => standing(world, database).await?.is_primary(pod),
        Guard::NotPrimary { database, pod } => {
            match standing(world, database).await?.leader_of(pod) {
                Some(leader) if leader != pod => Ok(()),
                Some(_) => Err(waiting(pod, "it is the primary", "another member is")),
                None => Err(waiting(
                    pod,
                    "no single primary answers",
                    "exactly one primary answers",
                )),
            }
        }
        Guard::OnVersion { pod, version } => {
            let found = read_pod(world, pod).await?;
            let node = found.spec.and_then(|spec| spec.node_name);
            let runs = match &node {
                Some(node) => world
                    .node(&node.as_str().into())
                    .await?
                    .as_ref()
                    .and_then(read::node)
                    .map(|node| node.kubelet_version),
                None => None,
            };
            if runs == Some(*version) {
                Ok(())
            } else {
                Err(waiting(
                    pod,
                    format!("its node is not at {version}"),
                    "it has moved to an upgraded node",
                ))
            }
        }
        Guard::EvictionAllowed { pod } => eviction_allowed(world, pod).await?,
        Guard::RestartUndelayed { pod } => restart_undelayed(world, pod).await?,
        Guard::SameMachine { node } => match world.node(&node.name).await? {
            Some(found) if found.uid().as_deref() == Some(node.uid.as_str()) => Ok(()),
            Some(_) => Err(waiting(
                &node.name,
                "another machine has this name now",
                "a new plan is made",
            )),
            None => Ok(()),
        },
        Guard::SeatFree { pool, stateful_set } => {
            seat_free(world, pool.as_str(), stateful_set).await?
        }
        Guard::NoOperation { pool } => no_operation(world, pool.as_str()).await?,
        Guard::PoolEmpty { pool } => {
            let mut left = Vec::new();
            for node in world.nodes_of_pool(pool.as_str()).await? {
                for pod in world.evictable_pods(&node.name_any()).await? {
                    left.push(read::reference(&pod.metadata).to_string());
                }
            }
            match left.first() {
                None => Ok(()),
                Some(first) => Err(waiting(
                    pool,
                    format!("{} pods are on it, {first} among them", left.len()),
                    "no pod but daemons is left",
                )),
            }
        }
        Guard::OtherSystemPool { pool } => {
            let others = world
                .outside
                .arm
                .pools()
                .await?
                .iter()
                .filter(|json| {
                    json.pointer("/properties/mode")
                        .and_then(serde_json::Value::as_str)
                        == Some("System")
                        && json.get("name").and_then(serde_json::Value::as_str)
                            != Some(pool.as_str())
                })
                .count();
            if others > 0 {
                Ok(())
            } else {
                Err(waiting(
                    pool,
                    "it is the last System pool",
                    "another System pool exists",
                ))
            }
        }
    })
}

async fn standing(world: &World, database: &DatabaseName) -> Result<Standing, AskError> {
    let system = systems::of(world, database)?;
    system.standing(Some(system.whole_lag())).await
}

async fn eviction_allowed(
    world: &World,
    pod: &ObjectRef,
) -> Result<Result<(), WaitingOn>, AskError> {
    let found = read_pod(world, pod).await?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(world.kube(), &pod.namespace);
    let list = request(
        format!("list the budgets of {}", pod.namespace),
        budgets.list(&ListParams::default()),
    )
    .await?;
    let over: Vec<_> = list
        .items
        .iter()
        .filter(|budget| {
            let selector = read::budget(budget).selector;
            !selector.is_empty()
                && selector
                    .iter()
                    .all(|(key, value)| found.labels().get(key) == Some(value))
        })
        .collect();
    if over.len() > 1 {
        return Ok(Err(waiting(
            pod,
            "two budgets select it, so that every eviction fails",
            "one of them is removed",
        )));
    }
    Ok(match over.first().map(|budget| read::budget(budget)) {
        Some(budget) if budget.disruptions_allowed < 1 => Err(waiting(
            pod,
            format!(
                "its budget allows none: {} healthy, {} wanted",
                budget.current_healthy, budget.desired_healthy
            ),
            "all members are Ready",
        )),
        _ => Ok(()),
    })
}

async fn restart_undelayed(
    world: &World,
    pod: &ObjectRef,
) -> Result<Result<(), WaitingOn>, AskError> {
    let found = read::pod(&read_pod(world, pod).await?);
    for container in &found.containers {
        if let Some(reason) = &container.waiting {
            return Ok(Err(waiting(
                pod,
                format!("container {} waits: {reason}", container.name),
                "it runs",
            )));
        }
        let ran = container
            .started_at
            .and_then(|at| Duration::try_from(jiff::Timestamp::now().duration_since(at)).ok());
        if container.restarts > 0 && ran.is_some_and(|ran| ran < BACKOFF_FORGOTTEN) {
            let left = BACKOFF_FORGOTTEN.saturating_sub(ran.unwrap_or_default());
            return Ok(Err(waiting(
                pod,
                format!(
                    "container {} was started again recently, so the kubelet would delay its next start",
                    container.name
                ),
                format!("it has run for 10 minutes ({} s left)", left.as_secs()),
            )));
        }
    }
    Ok(Ok(()))
}

async fn seat_free(
    world: &World,
    pool: &str,
    set: &ObjectRef,
) -> Result<Result<(), WaitingOn>, AskError> {
    let members = world.members(set).await?;
    let free = world
        .nodes_of_pool(pool)
        .await?
        .iter()
        .filter_map(|node| Some((read::node_name(node), read::node(node)?)))
        .any(|(name, node)| {
            node.ready
                && !node.unschedulable
                && !members
                    .iter()
                    .any(|member| member.node.as_ref() == Some(&name))
        });
    Ok(if free {
        Ok(())
    } else {
        Err(waiting(
            pool,
            format!("no Ready, schedulable node is free for a member of {set}"),
            "a node of the pool is Ready and carries no member",
        ))
    })
}

async fn no_operation(world: &World, pool: &str) -> Result<Result<(), WaitingOn>, AskError> {
    for json in world.outside.arm.pools().await? {
        let text = |pointer: &str| {
            json.pointer(pointer)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let state = text("/properties/provisioningState");
        let terminal = matches!(state.as_str(), "Succeeded" | "Failed" | "Canceled");
        if text("/name") == pool && !terminal {
            return Ok(Err(waiting(
                pool,
                format!("provisioningState is {state}"),
                "the operation ends",
            )));
        }
    }
    Ok(Ok(()))
}

async fn read_pod(world: &World, pod: &ObjectRef) -> Result<Pod, AskError> {
    let pods: Api<Pod> = Api::namespaced(world.kube(), &pod.namespace);
    Ok(request(format!("read {pod}"), pods.get(&pod.name)).await?)
}
