//! Growing and deleting pools.

use std::time::Duration;

use ferriswheel_engine::actuator::{Ack, ActError, Observed};
use ferriswheel_plan::ids::{PoolName, Zone};
use ferriswheel_plan::version::KubernetesVersion;
use serde_json::{Map, Value, json};

use super::{ack, class, done, waiting};
use crate::kubernetes::read;
use crate::world::{AskError, World};

/// Creating machines takes Azure a few minutes each.
const OPERATION: Duration = Duration::from_secs(1_800);

pub(super) async fn observe_grow(
    world: &World,
    pool: &PoolName,
    count: u32,
    version: KubernetesVersion,
) -> Result<Observed, AskError> {
    let Some(found) = world.outside.arm.pool(pool.as_str()).await? else {
        return Ok(Observed::Ready);
    };
    let state = property(&found.json, "provisioningState").unwrap_or_default();
    let has = found
        .json
        .pointer("/properties/count")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    if has < u64::from(count) || matches!(state.as_str(), "Failed" | "Canceled") {
        return Ok(Observed::Ready);
    }
    if state != "Succeeded" {
        return Ok(Observed::InFlight(waiting(
            pool,
            format!("provisioningState is {state}"),
            "the operation ends",
        )));
    }
    let nodes = world.nodes_of_pool(pool.as_str()).await?;
    let mut ready = Vec::new();
    for node in &nodes {
        match read::node(node) {
            Some(n) if n.ready && n.kubelet_version == version => {
                ready.push(format!(
                    "{} {} boot {}",
                    read::node_name(node),
                    n.uid,
                    n.boot_id
                ));
            }
            Some(n) if n.kubelet_version != version => {
                return Ok(Observed::Diverged {
                    expected: format!("kubelet {version} on every node of {pool}"),
                    found: format!("{} on {}", n.kubelet_version, read::node_name(node)),
                });
            }
            _ => {}
        }
    }
    if ready.len() < usize::try_from(count).unwrap_or(usize::MAX) {
        return Ok(Observed::InFlight(waiting(
            pool,
            format!("{} of {count} nodes are Ready", ready.len()),
            "all nodes are Ready",
        )));
    }
    Ok(Observed::Done(ferriswheel_engine::actuator::Evidence(
        ready,
    )))
}

pub(super) async fn grow(
    world: &World,
    pool: &PoolName,
    like: &PoolName,
    zone: &Zone,
    count: u32,
    version: KubernetesVersion,
) -> Result<Ack, ActError> {
    let arm = &world.outside.arm;
    let ask = |e: crate::azure::ArmError| class(AskError::from(e));
    if let Some(found) = arm.pool(pool.as_str()).await.map_err(ask)? {
        let mut body = found.json.clone();
        set(&mut body, "count", json!(count));
        arm.put_pool(pool.as_str(), &body, found.etag.as_deref(), OPERATION)
            .await
            .map_err(ask)?;
        return Ok(ack(format!("pool {pool} has {count} machines")));
    }
    let Some(model) = arm.pool(like.as_str()).await.map_err(ask)? else {
        return Err(ActError::Replan {
            expected: format!("pool {like}, whose settings {pool} takes over"),
            found: "no such pool".to_owned(),
        });
    };
    let body = like_pool(&model.json, zone, count, version);
    arm.put_pool(pool.as_str(), &body, None, OPERATION)
        .await
        .map_err(ask)?;
    Ok(ack(format!(
        "pool {pool} was created in {zone} with {count} machines at {version}"
    )))
}

/// A new pool's body: everything of the model, except what belongs to its machines.
///
/// # Source
/// Read-only properties of agentPools in API 2026-08-01; the node image follows from the version.
fn like_pool(model: &Value, zone: &Zone, count: u32, version: KubernetesVersion) -> Value {
    const OWN: [&str; 9] = [
        "provisioningState",
        "currentOrchestratorVersion",
        "nodeImageVersion",
        "eTag",
        "powerState",
        "status",
        "creationData",
        "recentlyUsedVersions",
        "upgradeProfile",
    ];
    let mut properties: Map<String, Value> = model
        .get("properties")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    properties.retain(|key, _| !OWN.contains(&key.as_str()));
    let short = zone.as_str().rsplit('-').next().unwrap_or_default();
    properties.insert("availabilityZones".to_owned(), json!([short]));
    properties.insert("count".to_owned(), json!(count));
    properties.insert("orchestratorVersion".to_owned(), json!(version.to_string()));
    json!({ "properties": properties })
}

fn set(body: &mut Value, key: &str, value: Value) {
    if let Some(properties) = body.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(key.to_owned(), value);
    }
}

fn property(json: &Value, key: &str) -> Option<String> {
    json.pointer(&format!("/properties/{key}"))
        .and_then(Value::as_str)
        .map(str::to_owned)
}

pub(super) async fn observe_delete(world: &World, pool: &PoolName) -> Result<Observed, AskError> {
    let Some(found) = world.outside.arm.pool(pool.as_str()).await? else {
        let nodes = world.nodes_of_pool(pool.as_str()).await?;
        return Ok(if nodes.is_empty() {
            done(format!("pool {pool} is gone"))
        } else {
            Observed::InFlight(waiting(
                pool,
                format!("{} Nodes are left", nodes.len()),
                "the Nodes of the deleted pool are gone",
            ))
        });
    };
    Ok(
        match property(&found.json, "provisioningState").as_deref() {
            Some("Deleting") => Observed::InFlight(waiting(
                pool,
                "provisioningState is Deleting",
                "the operation ends",
            )),
            _ => Observed::Ready,
        },
    )
}

pub(super) async fn delete(world: &World, pool: &PoolName) -> Result<Ack, ActError> {
    world
        .outside
        .arm
        .delete_pool(pool.as_str(), OPERATION)
        .await
        .map_err(|e| class(e.into()))?;
    Ok(ack(format!("pool {pool} was deleted")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_pool_takes_over_all_but_the_machines() {
        let model = json!({"id": "x", "name": "dbpool", "properties": {
            "count": 3, "vmSize": "Standard_D4s_v5", "mode": "User",
            "nodeLabels": {"workload": "database"}, "nodeTaints": ["workload=database:NoSchedule"],
            "availabilityZones": ["1", "2", "3"], "orchestratorVersion": "1.35.4",
            "currentOrchestratorVersion": "1.35.4", "provisioningState": "Succeeded",
            "upgradeSettings": {"maxSurge": "33%"}, "somethingNew": {"kept": true},
        }});
        let body = like_pool(
            &model,
            &Zone::from("eastus-2"),
            1,
            "1.36.3".parse().unwrap(),
        );
        assert_eq!(
            body,
            json!({"properties": {
                "count": 1, "vmSize": "Standard_D4s_v5", "mode": "User",
                "nodeLabels": {"workload": "database"},
                "nodeTaints": ["workload=database:NoSchedule"],
                "availabilityZones": ["2"], "orchestratorVersion": "1.36.3",
                "upgradeSettings": {"maxSurge": "33%"}, "somethingNew": {"kept": true},
            }})
        );
    }
}
