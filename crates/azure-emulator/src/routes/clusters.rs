//! managedClusters: reading, the control-plane upgrade, settings, and the operations of the region.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Call, Reply, pools};
use crate::emulator::Inner;
use crate::error::ArmError;
use crate::state::{Leaves, Operation, World};
use crate::versions::{POOL_SKEW, Version};

/// Set by the service or kept elsewhere.
const NOT_SETTINGS: &[&str] = &[
    "provisioningState",
    "powerState",
    "maxAgentPools",
    "kubernetesVersion",
    "currentKubernetesVersion",
    "fqdn",
    "privateFQDN",
    "azurePortalFQDN",
    "agentPoolProfiles",
    "resourceUID",
    "status",
    "nodeResourceGroup",
];

/// Fixed when the cluster is created.
const IMMUTABLE: &[&str] = &["dnsPrefix", "fqdnSubdomain", "enableRBAC"];

pub(super) fn list(inner: &Inner) -> Value {
    json!({"value": [show(inner)]})
}

pub(super) fn show(inner: &Inner) -> Value {
    resource(inner, &inner.world())
}

fn resource(inner: &Inner, world: &World) -> Value {
    let (seed, cluster) = (&inner.seed, &world.cluster);
    let mut properties = cluster.settings.clone();
    let profiles: Vec<Value> = world
        .pools
        .values()
        .map(|pool| {
            let mut profile = pool.properties();
            profile.insert("name".into(), json!(pool.name));
            Value::Object(profile)
        })
        .collect();
    let fqdn = format!("{}-practice.hcp.{}.azmk8s.io", seed.cluster, seed.location);
    let own = json!({
        "provisioningState": cluster.state.name,
        "powerState": {"code": "Running"},
        "kubernetesVersion": cluster.requested,
        "currentKubernetesVersion": cluster.current.to_string(),
        "fqdn": fqdn,
        "azurePortalFQDN": fqdn.replacen("-practice.", "-practice.portal.", 1),
        "agentPoolProfiles": profiles,
        "nodeResourceGroup": inner.node_resource_group(),
        "maxAgentPools": 100,
        "resourceUID": format!("{:x}", crate::random::Random::new(seed.random).next()),
    });
    if let Value::Object(own) = own {
        properties.extend(own);
    }
    if let Some((code, message)) = &cluster.state.error {
        properties.insert(
            "status".into(),
            json!({"provisioningError": {"code": code, "message": message}}),
        );
    }
    json!({
        "id": inner.cluster_id(),
        "name": seed.cluster,
        "type": "Microsoft.ContainerService/ManagedClusters",
        "location": seed.location,
        "eTag": cluster.etag,
        "tags": cluster.tags,
        "kind": "Base",
        "sku": {"name": "Base", "tier": "Standard"},
        "identity": {"type": "SystemAssigned", "principalId": seed.client_id, "tenantId": seed.tenant_id},
        "properties": properties,
    })
}

/// Upgrades the control plane or changes settings. Pools are changed through their own resource.
pub(super) fn put(inner: &Arc<Inner>, call: &Call) -> Result<Reply, ArmError> {
    let body = call.json()?;
    let wanted = body
        .get("properties")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let mut world = inner.world();
    call.check_etag(Some(&world.cluster.etag))?;
    pools::check_idle(&world, None)?;
    if body
        .get("location")
        .and_then(Value::as_str)
        .is_some_and(|l| !l.eq_ignore_ascii_case(&inner.seed.location))
    {
        return Err(changing("location"));
    }
    let (requested, target) = target(&world, &wanted)?;
    let current = world.cluster.current;
    check_pools(&world, &wanted, target)?;
    if target != current {
        check_upgrade(&world, target)?;
    }

    let mut settings = world.cluster.settings.clone();
    let sent = wanted
        .into_iter()
        .filter(|(key, value)| !NOT_SETTINGS.contains(&key.as_str()) && !value.is_null());
    settings.extend(sent);
    if let Some(key) = IMMUTABLE
        .iter()
        .find(|key| settings.get(**key) != world.cluster.settings.get(**key))
    {
        return Err(changing(key));
    }
    let tags = body
        .get("tags")
        .filter(|tags| tags.is_object())
        .cloned()
        .unwrap_or_else(|| world.cluster.tags.clone());
    let idle = target == current
        && settings == world.cluster.settings
        && tags == world.cluster.tags
        && requested == world.cluster.requested
        && world.cluster.state.name == "Succeeded";
    if idle {
        return Ok(Reply::ok(resource(inner, &world)));
    }
    world.cluster.settings = settings;
    world.cluster.tags = tags;
    world.cluster.requested = requested;
    let upgrade = Some(target).filter(|target| *target != current);
    let state = if upgrade.is_some() {
        "Upgrading"
    } else {
        "Updating"
    };
    let operation = inner.begin(&mut world, None, state, Leaves::Resource);
    let reply = Reply::ok(resource(inner, &world)).following(inner, call, &operation, false);
    drop(world);
    inner.run(
        operation.clone(),
        Arc::clone(inner).update_cluster(operation, upgrade),
    );
    Ok(reply)
}

fn changing(key: &str) -> ArmError {
    let text = format!("Changing property '{key}' is not allowed.");
    ArmError::bad_request("PropertyChangeNotAllowed", text).on(key)
}

fn target(world: &World, wanted: &Map<String, Value>) -> Result<(String, Version), ArmError> {
    let current = world.cluster.current;
    let requested = wanted
        .get("kubernetesVersion")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    let requested = requested.unwrap_or(&world.cluster.requested).to_owned();
    let target = world.catalogue.resolve(&requested, Some(current)).ok_or_else(|| {
        let text = format!(
            "Managed cluster version {requested} is not supported in this region. Please use [az aks get-versions] command \
             to get the supported version list in this region."
        );
        ArmError::bad_request("K8sVersionNotSupported", text).on("kubernetesVersion")
    })?;
    Ok((requested, target))
}

fn check_upgrade(world: &World, target: Version) -> Result<(), ArmError> {
    let current = world.cluster.current;
    let upgrades = world.catalogue.upgrades(current);
    if !upgrades.contains(&target) {
        let verb = if target < current {
            "Downgrading"
        } else {
            "Upgrading"
        };
        let list: Vec<String> = upgrades.iter().rev().map(ToString::to_string).collect();
        let text = format!(
            "{verb} Kubernetes version {current} to {target} is not allowed. Available upgrades: [{}]. Please see \
             https://aka.ms/aks-supported-k8s-ver for version details.",
            list.join(" ")
        );
        return Err(ArmError::bad_request("OperationNotAllowed", text));
    }
    if let Some(pool) = world
        .pools
        .values()
        .find(|pool| target.minor > pool.current.minor + POOL_SKEW)
    {
        let text = format!(
            "Control plane version {target} would be more than {POOL_SKEW} minor versions ahead of node pool {} at {}.",
            pool.name, pool.current
        );
        return Err(ArmError::bad_request("NodePoolMcVersionIncompatible", text));
    }
    Ok(())
}

/// The pools in a PUT of the cluster: all versions absent, or all unchanged, or all equal to the control plane's target,
/// which asks for the upgrade of every pool.
fn check_pools(
    world: &World,
    wanted: &Map<String, Value>,
    target: Version,
) -> Result<(), ArmError> {
    let Some(profiles) = wanted.get("agentPoolProfiles").and_then(Value::as_array) else {
        return Ok(());
    };
    let mixed = || {
        ArmError::bad_request(
            "NotAllAgentPoolOrchestratorVersionSpecifiedAndUnchanged",
            "Using managed cluster api, all Agent pools' OrchestratorVersion must be all specified or all unspecified. If all \
             specified, they must be stay unchanged or the same with control plane. For agent pool specific change, please \
             use per agent pool operations: https://aka.ms/agent-pool-rest-api",
        )
    };
    let (mut absent, mut unchanged, mut at_target) = (0, 0, 0);
    for profile in profiles {
        let name = profile
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let Some(pool) = world.pools.get(&name.to_ascii_lowercase()) else {
            return Err(ArmError::unsupported(format!(
                "create node pool '{name}' through the cluster"
            )));
        };
        if profile
            .get("count")
            .and_then(Value::as_u64)
            .is_some_and(|count| count != u64::from(pool.count()))
        {
            return Err(ArmError::unsupported(format!(
                "scale node pool '{name}' through the cluster"
            )));
        }
        match profile
            .get("orchestratorVersion")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
        {
            None => absent += 1,
            Some(text) => {
                let version = world.catalogue.resolve(text, Some(pool.current));
                unchanged += usize::from(version == Some(pool.current));
                at_target += usize::from(version == Some(target));
            }
        }
    }
    if absent == profiles.len() || unchanged == profiles.len() {
        return Ok(());
    }
    if at_target == profiles.len() {
        return Err(ArmError::unsupported(
            "the rolling upgrade of all node pools through the cluster",
        ));
    }
    Err(mixed())
}

/// PATCH of a cluster changes tags and nothing else.
pub(super) fn patch(inner: &Arc<Inner>, call: &Call) -> Result<Reply, ArmError> {
    let body = call.json()?;
    let mut world = inner.world();
    call.check_etag(Some(&world.cluster.etag))?;
    pools::check_idle(&world, None)?;
    if let Some(tags) = body.get("tags").filter(|tags| tags.is_object()) {
        world.cluster.tags = tags.clone();
        world.cluster.etag = world.new_etag();
    }
    Ok(Reply::ok(resource(inner, &world)))
}

pub(super) fn upgrade_profile(inner: &Inner) -> Value {
    let world = inner.world();
    let current = world.cluster.current;
    let offer = |versions: Vec<Version>| -> Vec<Value> {
        versions
            .iter()
            .map(|v| json!({"kubernetesVersion": v.to_string()}))
            .collect()
    };
    let profiles: Vec<Value> = world
        .pools
        .values()
        .map(|pool| {
            json!({
                "name": pool.name, "osType": "Linux", "kubernetesVersion": pool.current.to_string(),
                "upgrades": offer(world.catalogue.pool_upgrades(pool.current, current)),
            })
        })
        .collect();
    json!({
        "id": format!("{}/upgradeprofiles/default", inner.cluster_id()),
        "name": "default",
        "type": "Microsoft.ContainerService/managedClusters/upgradeprofiles",
        "properties": {
            "controlPlaneProfile": {
                "name": "master", "osType": "Linux", "kubernetesVersion": current.to_string(),
                "upgrades": offer(world.catalogue.upgrades(current)),
            },
            "agentPoolProfiles": profiles,
        },
    })
}

/// The versions that a new node pool may have.
pub(super) fn available_versions(inner: &Inner) -> Value {
    let world = inner.world();
    let current = world.cluster.current;
    let lowest = Version {
        major: current.major,
        minor: current.minor.saturating_sub(POOL_SKEW),
        patch: 0,
    };
    let versions: Vec<Value> = world
        .catalogue
        .pool_upgrades(lowest, current)
        .iter()
        .map(|v| json!({"kubernetesVersion": v.to_string(), "default": *v == current}))
        .collect();
    json!({
        "id": format!("{}/availableAgentPoolVersions", inner.cluster_id()),
        "name": "default",
        "type": "Microsoft.ContainerService/managedClusters/availableAgentPoolVersions",
        "properties": {"agentPoolVersions": versions},
    })
}

pub(super) fn credential(inner: &Inner) -> Result<Reply, ArmError> {
    let world = inner.world();
    let Some(kubeconfig) = &world.kubeconfig else {
        return Err(ArmError::unsupported(
            "hand out a kubeconfig before the cluster has one",
        ));
    };
    Ok(Reply::ok(
        json!({"kubeconfigs": [{"name": "clusterUser", "value": STANDARD.encode(kubeconfig)}]}),
    ))
}

fn find<'a>(world: &'a World, id: &str) -> Result<&'a Operation, ArmError> {
    world.operations.get(id).ok_or_else(|| {
        let text = format!("The entity was not found: operation {id}.");
        ArmError::aks(StatusCode::NOT_FOUND, "NotFound", text)
    })
}

fn status_document(inner: &Inner, operation: &Operation) -> Value {
    let mut document = json!({
        "name": operation.id,
        "status": operation.status,
        "startTime": operation.started.to_string(),
    });
    if let Some(ended) = operation.ended {
        document["endTime"] = json!(ended.to_string());
    }
    if let Some((code, message)) = &operation.error {
        document["error"] = json!({"code": code, "message": message});
    }
    document["resourceId"] = json!(match &operation.pool {
        Some(pool) => format!("{}/agentPools/{pool}", inner.cluster_id()),
        None => inner.cluster_id(),
    });
    document
}

/// What Azure-AsyncOperation leads to.
pub(super) fn operation(inner: &Inner, id: &str) -> Result<Reply, ArmError> {
    let world = inner.world();
    let operation = find(&world, id)?;
    let reply = Reply::ok(status_document(inner, operation));
    if operation.ended.is_some() {
        return Ok(reply);
    }
    Ok(reply.header(
        "retry-after",
        inner.seed.timings.retry_after.as_secs().max(1).to_string(),
    ))
}

/// What Location leads to: 202 while it runs, then the resource or nothing, or the error.
pub(super) fn operation_result(inner: &Inner, call: &Call, id: &str) -> Result<Reply, ArmError> {
    let world = inner.world();
    let operation = find(&world, id)?;
    if operation.ended.is_none() {
        return Ok(Reply::empty(StatusCode::ACCEPTED).following(inner, call, operation, true));
    }
    if let Some((code, message)) = &operation.error {
        return Err(ArmError::aks(StatusCode::CONFLICT, code, message.clone()));
    }
    let resource = match &operation.pool {
        Some(name) => world
            .pools
            .get(name)
            .map(|pool| pools::resource(inner, pool)),
        None => Some(resource(inner, &world)),
    };
    match resource.filter(|_| operation.leaves == Leaves::Resource) {
        Some(resource) => Ok(Reply::ok(resource)),
        None => Ok(Reply::empty(StatusCode::NO_CONTENT)),
    }
}

pub(super) fn latest_operation(inner: &Inner, pool: Option<&str>) -> Result<Reply, ArmError> {
    let world = inner.world();
    let latest = world
        .operations
        .values()
        .filter(|o| o.pool.as_deref() == pool)
        .max_by_key(|o| o.started);
    let Some(operation) = latest else {
        return Err(ArmError::aks(
            StatusCode::NOT_FOUND,
            "NotFound",
            "There is no operation.",
        ));
    };
    let mut document = status_document(inner, operation);
    document["percentComplete"] = json!(operation.percent);
    document["id"] = json!(format!(
        "{}/operations/{}",
        document["resourceId"].as_str().unwrap_or_default(),
        operation.id
    ));
    Ok(Reply::ok(document))
}
