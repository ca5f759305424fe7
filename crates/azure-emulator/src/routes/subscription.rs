//! Tenant, subscription, resource group, region: what a client reads around the cluster.

use http::StatusCode;
use serde_json::{Value, json};

use super::Reply;
use crate::emulator::Inner;
use crate::error::ArmError;
use crate::quota::vcpus_in_use;
use crate::sizes::SIZES;

pub(super) fn tenants(inner: &Inner) -> Value {
    let id = &inner.seed.tenant_id;
    json!({"value": [{
        "id": format!("/tenants/{id}"), "tenantId": id, "tenantCategory": "Home", "displayName": "Practice",
        "defaultDomain": "practice.example"
    }]})
}

pub(super) fn show(inner: &Inner) -> Value {
    let id = &inner.seed.subscription_id;
    json!({
        "id": format!("/subscriptions/{id}"),
        "subscriptionId": id,
        "tenantId": inner.seed.tenant_id,
        "displayName": inner.seed.subscription_name,
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {"locationPlacementId": "Public_2014-09-01", "quotaId": "Practice", "spendingLimit": "Off"},
        "managedByTenants": [],
    })
}

pub(super) fn list(inner: &Inner) -> Value {
    json!({"value": [show(inner)], "count": {"type": "Total", "value": 1}})
}

pub(super) fn locations(inner: &Inner) -> Value {
    let name = &inner.seed.location;
    let zones: Vec<Value> = ["1", "2", "3"]
        .iter()
        .map(|zone| json!({"logicalZone": zone, "physicalZone": format!("{name}-az{zone}")}))
        .collect();
    json!({"value": [{
        "id": format!("/subscriptions/{}/locations/{name}", inner.seed.subscription_id),
        "name": name, "type": "Region", "displayName": name, "regionalDisplayName": name,
        "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
        "availabilityZoneMappings": zones,
    }]})
}

pub(super) fn resource_groups(inner: &Inner) -> Value {
    json!({"value": [group(inner)]})
}

pub(super) fn resource_group(inner: &Inner, name: &str) -> Result<Reply, ArmError> {
    if name == inner.seed.resource_group.to_ascii_lowercase() {
        return Ok(Reply::ok(group(inner)));
    }
    let text = format!("Resource group '{name}' could not be found.");
    Err(ArmError::front(
        StatusCode::NOT_FOUND,
        "ResourceGroupNotFound",
        text,
    ))
}

fn group(inner: &Inner) -> Value {
    let name = &inner.seed.resource_group;
    json!({
        "id": format!("/subscriptions/{}/resourceGroups/{name}", inner.seed.subscription_id),
        "name": name, "type": "Microsoft.Resources/resourceGroups", "location": inner.seed.location,
        "properties": {"provisioningState": "Succeeded"},
    })
}

const PROVIDERS: &[(&str, &[&str])] = &[
    (
        "Microsoft.ContainerService",
        &["managedClusters", "locations/kubernetesVersions"],
    ),
    ("Microsoft.Compute", &["locations/usages", "skus"]),
];

pub(super) fn providers(inner: &Inner) -> Value {
    json!({"value": PROVIDERS.iter().map(|p| provider_json(inner, p)).collect::<Vec<_>>()})
}

pub(super) fn provider(inner: &Inner, namespace: &str) -> Result<Reply, ArmError> {
    let found = PROVIDERS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(namespace));
    found
        .map(|provider| Reply::ok(provider_json(inner, provider)))
        .ok_or_else(|| {
            let text = format!("The resource namespace '{namespace}' is invalid.");
            ArmError::front(StatusCode::NOT_FOUND, "InvalidResourceNamespace", text)
        })
}

fn provider_json(inner: &Inner, (name, types): &(&str, &[&str])) -> Value {
    let types: Vec<Value> = types
        .iter()
        .map(|kind| json!({"resourceType": kind, "locations": [inner.seed.location], "apiVersions": ["2026-08-01"]}))
        .collect();
    json!({
        "id": format!("/subscriptions/{}/providers/{name}", inner.seed.subscription_id),
        "namespace": name, "registrationState": "Registered", "registrationPolicy": "RegistrationRequired",
        "resourceTypes": types,
    })
}

pub(super) fn kubernetes_versions(inner: &Inner, location: &str) -> Result<Reply, ArmError> {
    check_location(inner, location)?;
    Ok(Reply::ok(inner.world().catalogue.to_json()))
}

/// vCPU usage by family and, as `cores`, for the region.
pub(super) fn usages(inner: &Inner, location: &str) -> Result<Reply, ArmError> {
    check_location(inner, location)?;
    let used = vcpus_in_use(&inner.world(), None);
    let value: Vec<Value> = inner
        .seed
        .vcpu_limits
        .iter()
        .map(|(name, limit)| {
            let text = if name == "cores" { "Total Regional vCPUs" } else { name.as_str() };
            json!({
                "unit": "Count", "limit": limit, "currentValue": used.get(name).copied().unwrap_or(0),
                "name": {"value": name, "localizedValue": text},
            })
        })
        .collect();
    Ok(Reply::ok(json!({ "value": value })))
}

pub(super) fn skus(inner: &Inner) -> Value {
    let location = &inner.seed.location;
    let value: Vec<Value> = SIZES
        .iter()
        .map(|size| {
            json!({
                "resourceType": "virtualMachines", "name": size.name, "tier": "Standard", "family": size.family,
                "locations": [location],
                "locationInfo": [{"location": location, "zones": ["1", "2", "3"], "zoneDetails": []}],
                "capabilities": [
                    {"name": "vCPUs", "value": size.cpus.to_string()},
                    {"name": "MemoryGB", "value": (size.memory_mib / 1024).to_string()},
                    {"name": "CpuArchitectureType", "value": "x64"}
                ],
                "restrictions": [],
            })
        })
        .collect();
    json!({ "value": value })
}

fn check_location(inner: &Inner, location: &str) -> Result<(), ArmError> {
    if location.eq_ignore_ascii_case(&inner.seed.location) {
        return Ok(());
    }
    let text = format!(
        "The provided location '{location}' is not available for subscription '{}'.",
        inner.seed.subscription_id
    );
    Err(ArmError::front(
        StatusCode::NOT_FOUND,
        "NoRegisteredProviderFound",
        text,
    ))
}
