//! ARM's JSON as the world's nouns. Pure.

use std::collections::BTreeMap;

use ferriswheel_plan::ids::{PoolName, Zone};
use ferriswheel_plan::version::KubernetesVersion;
use ferriswheel_plan::world;
use serde_json::Value;

/// A field that the plan rests on is not in ARM's answer.
#[derive(Debug, thiserror::Error)]
#[error("ARM's answer for {of} has no usable `{field}`")]
pub struct Missing {
    /// Resource.
    pub of: String,
    /// JSON path.
    pub field: &'static str,
}

/// The managed cluster.
pub fn cluster(json: &Value) -> Result<world::Cluster, Missing> {
    let id = text(json, "/id").unwrap_or_default();
    let missing = |field| Missing {
        of: id.clone(),
        field,
    };
    Ok(world::Cluster {
        kubernetes_version: version(json, "/properties/currentKubernetesVersion")
            .or_else(|| version(json, "/properties/kubernetesVersion"))
            .ok_or_else(|| missing("properties.currentKubernetesVersion"))?,
        location: text(json, "/location").ok_or_else(|| missing("location"))?,
        provisioning_state: text(json, "/properties/provisioningState").unwrap_or_default(),
        upgrade_channel: text(json, "/properties/autoUpgradeProfile/upgradeChannel"),
        node_os_channel: text(json, "/properties/autoUpgradeProfile/nodeOSUpgradeChannel"),
        id,
    })
}

/// A pool. ARM gives zones as `1`, nodes as `eastus-1`.
pub fn pool(
    json: &Value,
    location: &str,
    upgrades: &Value,
) -> Result<(PoolName, world::Pool), Missing> {
    let name = text(json, "/name").unwrap_or_default();
    let missing = |field| Missing {
        of: name.clone(),
        field,
    };
    let pool = world::Pool {
        system: text(json, "/properties/mode").as_deref() == Some("System"),
        zones: list(json, "/properties/availabilityZones")
            .iter()
            .filter_map(Value::as_str)
            .map(|zone| Zone::new(format!("{location}-{zone}")))
            .collect(),
        count: json
            .pointer("/properties/count")
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| missing("properties.count"))?,
        kubernetes_version: version(json, "/properties/currentOrchestratorVersion")
            .or_else(|| version(json, "/properties/orchestratorVersion"))
            .ok_or_else(|| missing("properties.currentOrchestratorVersion"))?,
        node_image: text(json, "/properties/nodeImageVersion"),
        provisioning_state: text(json, "/properties/provisioningState").unwrap_or_default(),
        vm_size: text(json, "/properties/vmSize").unwrap_or_default(),
        node_labels: json
            .pointer("/properties/nodeLabels")
            .and_then(Value::as_object)
            .map(|labels| {
                labels
                    .iter()
                    .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                    .collect::<BTreeMap<_, _>>()
            })
            .unwrap_or_default(),
        node_taints: list(json, "/properties/nodeTaints")
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        autoscaling: json
            .pointer("/properties/enableAutoScaling")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        upgrades: list(upgrades, "/properties/upgrades")
            .iter()
            .filter_map(|upgrade| version(upgrade, "/kubernetesVersion"))
            .collect(),
        force_upgrade_until: json
            .pointer("/properties/upgradeSettings/overrideSettings/forceUpgrade")
            .and_then(Value::as_bool)
            .filter(|on| *on)
            .and_then(|_| text(json, "/properties/upgradeSettings/overrideSettings/until")),
    };
    Ok((PoolName::new(name), pool))
}

fn text(json: &Value, pointer: &str) -> Option<String> {
    json.pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn version(json: &Value, pointer: &str) -> Option<KubernetesVersion> {
    text(json, pointer)?.parse().ok()
}

fn list<'a>(json: &'a Value, pointer: &str) -> &'a [Value] {
    json.pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}
