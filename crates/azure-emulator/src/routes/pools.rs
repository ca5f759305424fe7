//! agentPools: list, read, create, scale, change, delete, machines, abort.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::{Call, Reply};
use crate::emulator::Inner;
use crate::error::ArmError;
use crate::machines::{Machine, Mode};
use crate::pool_put;
use crate::state::{Instance, Leaves, Pool, State, StoppedAs, World, scale_set_name, strings};

pub(super) fn resource(inner: &Inner, pool: &Pool) -> Value {
    json!({
        "id": format!("{}/agentPools/{}", inner.cluster_id(), pool.name),
        "name": pool.name,
        "type": "Microsoft.ContainerService/managedClusters/agentPools",
        "properties": pool.properties(),
    })
}

pub(super) fn list(inner: &Inner) -> Value {
    let world = inner.world();
    json!({"value": world.pools.values().map(|pool| resource(inner, pool)).collect::<Vec<_>>()})
}

fn find<'a>(world: &'a World, name: &str) -> Result<&'a Pool, ArmError> {
    world.pools.get(name).ok_or_else(|| {
        let text = format!("Could not find the agentpool: {name}.");
        ArmError::aks(StatusCode::NOT_FOUND, "NotFound", text)
    })
}

pub(super) fn show(inner: &Inner, name: &str) -> Result<Reply, ArmError> {
    let world = inner.world();
    Ok(Reply::ok(resource(inner, find(&world, name)?)))
}

/// Refuses while another operation is under way on the same resource, or on its parent.
pub(super) fn check_idle(world: &World, pool: Option<&str>) -> Result<(), ArmError> {
    let Some((operation, what)) = world.obstacle(pool) else {
        return Ok(());
    };
    let text = format!(
        "Operation is not allowed: Another operation ({what}) is in progress, please wait for it to finish before starting a \
         new operation. See https://aka.ms/aks-pending-operation for more details. Operation ID: {}",
        operation.id
    );
    Err(ArmError::aks(
        StatusCode::CONFLICT,
        "OperationNotAllowed",
        text,
    ))
}

pub(super) fn put(inner: &Arc<Inner>, call: &Call, name: &str) -> Result<Reply, ArmError> {
    let body = call.json()?;
    let mut guard = inner.world();
    let world = &mut *guard;
    // The path is compared without regard to case, but a new pool is called what the client called it.
    let given = call
        .segments
        .iter()
        .rev()
        .find(|s| s.eq_ignore_ascii_case(name))
        .map_or(name, String::as_str);
    call.check_etag(world.pools.get(name).map(|pool| pool.etag.as_str()))?;
    check_idle(world, Some(name))?;
    if !world.pools.contains_key(name) {
        pool_put::check_name(given)?;
    }
    let put = pool_put::judge(world, &inner.seed, name, &body)?;
    let Some(state) = put.state else {
        return Ok(Reply::ok(resource(inner, find(world, name)?)));
    };
    let created = !world.pools.contains_key(name);
    match world.pools.get_mut(name) {
        Some(pool) => pool.settings = put.settings,
        None => {
            let incarnation = world.random.next();
            let etag = world.new_etag();
            let pool = Pool {
                name: name.to_owned(),
                etag,
                settings: put.settings,
                current: put.version,
                node_image_version: inner.seed.node_image_version.clone(),
                state: State::new(state),
                operation: None,
                scale_set: scale_set_name(&inner.seed.cluster, name, incarnation),
                instances: std::collections::BTreeMap::new(),
                next_instance: 0,
            };
            world.pools.insert(name.to_owned(), pool);
        }
    }
    let operation = inner.begin(world, Some(name), state, Leaves::Resource);
    let mut reply = Reply::ok(resource(inner, find(world, name)?));
    if created {
        reply.status = StatusCode::CREATED;
    }
    let reply = reply.following(inner, call, &operation, false);
    drop(guard);
    let work = Arc::clone(inner).reconcile(operation.clone(), name.to_owned(), put.restyle);
    inner.run(operation, work);
    Ok(reply)
}

/// A deletion preempts what runs on the pool. Deleting a pool that is not there is 204.
pub(super) fn delete(inner: &Arc<Inner>, call: &Call, name: &str) -> Result<Reply, ArmError> {
    let mut guard = inner.world();
    let world = &mut *guard;
    let Some(pool) = world.pools.get(name) else {
        call.check_etag(None)?;
        return Ok(Reply::empty(StatusCode::NO_CONTENT));
    };
    call.check_etag(Some(&pool.etag))?;
    let others = world
        .pools
        .values()
        .any(|other| other.name != name && other.mode() == Mode::System);
    if pool.mode() == Mode::System && !others {
        return Err(pool_put::last_system_pool());
    }
    let running = pool.operation.clone();
    let on_cluster = world.cluster.operation.is_some();
    if pool.state.name == "Deleting" || on_cluster {
        check_idle(world, Some(name))?;
    }
    let before = running
        .and_then(|id| world.operations.get_mut(&id))
        .map(|operation| {
            operation.stopped_as = StoppedAs::PreemptedByDelete;
            operation.stop.cancel();
            operation.clone()
        });
    let ignore_budgets = call
        .parameter("ignore-pod-disruption-budget")
        .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let operation = inner.begin(world, Some(name), "Deleting", Leaves::Nothing);
    let reply = Reply::empty(StatusCode::ACCEPTED).following(inner, call, &operation, true);
    drop(guard);
    let work =
        Arc::clone(inner).delete_pool(operation.clone(), name.to_owned(), ignore_budgets, before);
    inner.run(operation, work);
    Ok(reply)
}

pub(super) fn upgrade_profile(inner: &Inner, name: &str) -> Result<Reply, ArmError> {
    let world = inner.world();
    let pool = find(&world, name)?;
    let upgrades: Vec<Value> = world
        .catalogue
        .pool_upgrades(pool.current, world.cluster.current)
        .iter()
        .map(|version| json!({"kubernetesVersion": version.to_string()}))
        .collect();
    Ok(Reply::ok(json!({
        "id": format!("{}/agentPools/{}/upgradeProfiles/default", inner.cluster_id(), pool.name),
        "name": "default",
        "type": "Microsoft.ContainerService/managedClusters/agentPools/upgradeProfiles",
        "properties": {
            "kubernetesVersion": pool.current.to_string(),
            "osType": "Linux",
            "upgrades": upgrades,
            "latestNodeImageVersion": inner.seed.node_image_version,
            "recentlyUsedVersions": [],
        },
    })))
}

fn machine_json(inner: &Inner, pool: &Pool, instance: &Instance, known: &[Machine]) -> Value {
    let address = known
        .iter()
        .find(|m| m.node_name == instance.node_name)
        .and_then(|m| m.address.clone());
    let addresses: Vec<Value> = address
        .iter()
        .map(|ip| json!({"ip": ip, "family": "IPv4"}))
        .collect();
    json!({
        "id": format!("{}/agentPools/{}/machines/{}", inner.cluster_id(), pool.name, instance.node_name),
        "name": instance.node_name,
        "type": "Microsoft.ContainerService/managedClusters/agentPools/machines",
        "zones": instance.zone.iter().collect::<Vec<_>>(),
        "properties": {
            "network": {"ipAddresses": addresses},
            "resourceId": inner.instance_id(pool, instance),
        },
    })
}

/// The machines that exist: a booked one that is not powered on yet does not show.
pub(super) async fn machines(inner: &Inner, name: &str) -> Result<Reply, ArmError> {
    let known = known_machines(inner).await?;
    let world = inner.world();
    let pool = find(&world, name)?;
    let value: Vec<Value> = pool
        .instances
        .values()
        .filter(|instance| known.iter().any(|m| m.node_name == instance.node_name))
        .map(|instance| machine_json(inner, pool, instance, &known))
        .collect();
    Ok(Reply::ok(json!({ "value": value })))
}

pub(super) async fn machine(inner: &Inner, name: &str, machine: &str) -> Result<Reply, ArmError> {
    let known = known_machines(inner).await?;
    let world = inner.world();
    let pool = find(&world, name)?;
    let exists = |instance: &&Instance| {
        instance.node_name.eq_ignore_ascii_case(machine)
            && known.iter().any(|m| m.node_name == instance.node_name)
    };
    let Some(instance) = pool.instances.values().find(exists) else {
        return Err(no_machine(machine, name));
    };
    Ok(Reply::ok(machine_json(inner, pool, instance, &known)))
}

async fn known_machines(inner: &Inner) -> Result<Vec<Machine>, ArmError> {
    inner.machines.list().await.map_err(|error| {
        ArmError::aks(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalOperationError",
            error.to_string(),
        )
    })
}

fn no_machine(machine: &str, pool: &str) -> ArmError {
    let text = format!("Could not find the machine {machine} in agentpool {pool}.");
    ArmError::aks(StatusCode::NOT_FOUND, "NotFound", text)
}

/// Deletes machines by name. Nothing is drained. All names are checked before the first machine goes.
pub(super) fn delete_machines(
    inner: &Arc<Inner>,
    call: &Call,
    name: &str,
) -> Result<Reply, ArmError> {
    let body = call.json()?;
    let wanted = strings(body.get("machineNames"));
    let mut guard = inner.world();
    let world = &mut *guard;
    let pool = find(world, name)?;
    if wanted.is_empty() {
        let text = "The value of parameter machineNames is invalid. At least one machine name is required.";
        return Err(ArmError::bad_request("InvalidParameter", text).on("machineNames"));
    }
    let mut victims: Vec<Instance> = Vec::new();
    for machine in &wanted {
        let found = pool
            .instances
            .values()
            .find(|instance| instance.node_name.eq_ignore_ascii_case(machine));
        let instance = found.ok_or_else(|| no_machine(machine, name))?;
        if !victims.iter().any(|victim| victim.id == instance.id) {
            victims.push(instance.clone());
        }
    }
    if pool.mode() == Mode::System && victims.len() >= pool.instances.len() {
        let text = "A system node pool must have at least one node.";
        return Err(ArmError::bad_request("InvalidParameter", text).on("machineNames"));
    }
    check_idle(world, Some(name))?;
    let operation = inner.begin(world, Some(name), "DeletingMachines", Leaves::NoResult);
    let reply = Reply::empty(StatusCode::ACCEPTED).following(inner, call, &operation, true);
    drop(guard);
    let work = Arc::clone(inner).delete_machines(operation.clone(), name.to_owned(), victims);
    inner.run(operation, work);
    Ok(reply)
}

/// Stops the running operation where it is; nothing is rolled back. 204 if nothing runs.
pub(super) fn abort(
    inner: &Arc<Inner>,
    call: &Call,
    name: Option<&str>,
) -> Result<Reply, ArmError> {
    let mut guard = inner.world();
    let world = &mut *guard;
    let running = match name {
        Some(name) => find(world, name)?.operation.clone(),
        None => world.cluster.operation.clone(),
    };
    let Some(stopped) = running.and_then(|id| world.operations.get(&id).cloned()) else {
        return Ok(Reply::empty(StatusCode::NO_CONTENT));
    };
    stopped.stop.cancel();
    match name.and_then(|name| world.pools.get_mut(name)) {
        Some(pool) => pool.state = State::new("Canceling"),
        None => world.cluster.state = State::new("Canceling"),
    }
    let operation = inner.book(world, name, Leaves::NoResult);
    let reply = Reply::empty(StatusCode::ACCEPTED).following(inner, call, &operation, true);
    drop(guard);
    inner.run(operation, async move {
        stopped.over.cancelled().await;
        Ok(())
    });
    Ok(reply)
}
