//! What a PUT on a node pool means: the refusals of AKS, or the settings that the pool is brought to. Pure.

use serde_json::{Map, Value, json};

use crate::error::ArmError;
use crate::machines::{Mode, Taint};
use crate::nodes::Restyle;
use crate::quota::check_quota;
use crate::seed::Seed;
use crate::sizes;
use crate::state::{Pool, World, string_map, strings};
use crate::versions::{Version, incompatible};

/// The accepted PUT.
#[derive(Debug)]
pub(crate) struct PoolPut {
    pub settings: Map<String, Value>,
    pub version: Version,
    pub restyle: Restyle,
    /// Provisioning state of the way there; none if nothing has to be done.
    pub state: Option<&'static str>,
}

/// Set by the service; whatever a client sends here is not looked at.
const READ_ONLY: &[&str] = &[
    "eTag",
    "currentOrchestratorVersion",
    "provisioningState",
    "status",
    "virtualMachineNodesStatus",
    "nodeImageVersion",
];

/// Fixed when the pool is created.
const IMMUTABLE: &[&str] = &[
    "vmSize",
    "osDiskSizeGB",
    "osDiskType",
    "kubeletDiskType",
    "maxPods",
    "osType",
    "type",
    "availabilityZones",
    "vnetSubnetID",
    "podSubnetID",
    "enableNodePublicIP",
    "nodePublicIPPrefixID",
    "scaleSetPriority",
    "scaleSetEvictionPolicy",
    "spotMaxPrice",
    "proximityPlacementGroupID",
    "enableEncryptionAtHost",
    "enableUltraSSD",
    "gpuInstanceProfile",
    "hostGroupID",
    "capacityReservationGroupID",
    "workloadRuntime",
    "creationData",
    "podIPAllocationMode",
];

/// Allowed by AKS, but it reimages every node of the pool, which belongs to the rolling upgrade.
const REIMAGES: &[&str] = &[
    "osSKU",
    "kubeletConfig",
    "linuxOSConfig",
    "enableFIPS",
    "localDNSProfile",
    "messageOfTheDay",
];

/// PUT replaces: what the client leaves out of these is gone. (No source says what AKS does with an absent map; a
/// client that reads, changes and puts back whole resources does not depend on it.)
const REPLACED: &[&str] = &["nodeLabels", "nodeTaints", "tags"];

/// The properties of a pool that a client does not mention.
pub(crate) fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "count": 1,
        "mode": "User",
        "osDiskSizeGB": 128,
        "osDiskType": "Managed",
        "kubeletDiskType": "OS",
        "maxPods": 110,
        "type": "VirtualMachineScaleSets",
        "enableAutoScaling": false,
        "scaleDownMode": "Delete",
        "powerState": {"code": "Running"},
        "enableNodePublicIP": false,
        "enableEncryptionAtHost": false,
        "enableUltraSSD": false,
        "enableFIPS": false,
        "osType": "Linux",
        "osSKU": "Ubuntu",
        "upgradeSettings": {"maxSurge": "10%", "maxUnavailable": "0"},
    });
    match defaults {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The name rule of Linux pools.
pub(crate) fn check_name(name: &str) -> Result<(), ArmError> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    if first && name.len() <= 12 && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return Ok(());
    }
    let text = format!(
        "The value of parameter agentPool.name is invalid. The agent pool name '{name}' must be 1 to 12 lowercase letters \
         and digits and start with a letter."
    );
    Err(ArmError::bad_request("InvalidParameter", text).on("agentPool.name"))
}

fn invalid(property: &str, why: impl std::fmt::Display) -> ArmError {
    let text = format!("The value of parameter agentPoolProfile.{property} is invalid. {why}");
    ArmError::bad_request("InvalidParameter", text).on(&format!("agentPoolProfile.{property}"))
}

/// Judges a PUT against the world.
pub(crate) fn judge(
    world: &World,
    seed: &Seed,
    name: &str,
    body: &Value,
) -> Result<PoolPut, ArmError> {
    let existing = world.pools.get(name);
    if existing.is_none() {
        check_name(name)?;
    }
    let wanted = body
        .get("properties")
        .and_then(Value::as_object)
        .ok_or_else(|| {
            ArmError::bad_request(
                "InvalidRequestContent",
                "The request content was invalid: 'properties' is missing.",
            )
        })?;
    let mut settings = existing.map_or_else(defaults, |pool| pool.settings.clone());
    for key in REPLACED {
        settings.remove(*key);
    }
    let sent = wanted
        .iter()
        .filter(|(key, value)| !READ_ONLY.contains(&key.as_str()) && !value.is_null());
    settings.extend(sent.map(|(key, value)| (key.clone(), value.clone())));
    if let Some(pool) = existing {
        check_unchanged(pool, &settings)?;
        if let Some(image) = wanted.get("nodeImageVersion").and_then(Value::as_str)
            && image != pool.node_image_version
        {
            return Err(ArmError::unsupported(format!(
                "bring node pool {name} to the node image {image}"
            )));
        }
    }
    check_values(world, seed, name, &mut settings)?;
    let version = check_version(world, existing, &mut settings)?;
    check_quota(world, seed, name, &settings)?;

    let labels = string_map(settings.get("nodeLabels"));
    let taints: Vec<Taint> = strings(settings.get("nodeTaints"))
        .iter()
        .filter_map(|t| t.parse().ok())
        .collect();
    let (restyle, state) = match existing {
        None => (Restyle::default(), Some("Creating")),
        Some(pool) => {
            let mut restyle = Restyle {
                labels_before: pool.labels(),
                labels_after: labels,
                taints_before: pool.taints(),
                taints_after: taints,
            };
            let (before, after) = (pool.mode(), mode_of(&settings));
            if before != after {
                restyle
                    .labels_before
                    .insert(MODE_LABEL.into(), before.label().into());
                restyle
                    .labels_after
                    .insert(MODE_LABEL.into(), after.label().into());
            }
            let count = settings.get("count").and_then(Value::as_u64).unwrap_or(0);
            let state = if count != pool.instances.len() as u64 {
                Some("Scaling")
            } else if settings != pool.settings || pool.state.name != "Succeeded" {
                Some("Updating")
            } else {
                None
            };
            (restyle, state)
        }
    };
    Ok(PoolPut {
        settings,
        version,
        restyle,
        state,
    })
}

const MODE_LABEL: &str = "kubernetes.azure.com/mode";

fn mode_of(settings: &Map<String, Value>) -> Mode {
    if settings.get("mode") == Some(&json!("System")) {
        Mode::System
    } else {
        Mode::User
    }
}

fn check_unchanged(pool: &Pool, settings: &Map<String, Value>) -> Result<(), ArmError> {
    for key in IMMUTABLE {
        if !same(pool.settings.get(*key), settings.get(*key)) {
            let text = format!("Changing property 'agentPoolProfile.{key}' is not allowed.");
            return Err(ArmError::bad_request("PropertyChangeNotAllowed", text)
                .on(&format!("agentPoolProfile.{key}")));
        }
    }
    for key in REIMAGES {
        if !same(pool.settings.get(*key), settings.get(*key)) {
            return Err(ArmError::unsupported(format!(
                "change '{key}', which reimages every node of the pool"
            )));
        }
    }
    if settings
        .get("powerState")
        .is_some_and(|state| state.get("code") != Some(&json!("Running")))
    {
        return Err(ArmError::unsupported("stop a node pool"));
    }
    Ok(())
}

/// Equality as the service sees it: names of sizes without regard to case, zones as a set.
fn same(before: Option<&Value>, after: Option<&Value>) -> bool {
    match (before, after) {
        (Some(Value::String(a)), Some(Value::String(b))) => a.eq_ignore_ascii_case(b),
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().all(|x| b.contains(x))
        }
        (None, Some(Value::Array(list))) | (Some(Value::Array(list)), None) => list.is_empty(),
        (a, b) => a == b,
    }
}

fn check_values(
    world: &World,
    seed: &Seed,
    name: &str,
    settings: &mut Map<String, Value>,
) -> Result<(), ArmError> {
    let mode = match settings.get("mode").and_then(Value::as_str) {
        Some(text) if text.eq_ignore_ascii_case("system") => Mode::System,
        Some(text) if text.eq_ignore_ascii_case("user") => Mode::User,
        other => {
            return Err(invalid(
                "mode",
                format!("'{}' is none of System, User.", other.unwrap_or_default()),
            ));
        }
    };
    settings.insert("mode".into(), json!(mode.to_string()));
    let was_system = world
        .pools
        .get(name)
        .is_some_and(|pool| pool.mode() == Mode::System);
    let other_system = world
        .pools
        .values()
        .any(|pool| pool.name != name && pool.mode() == Mode::System);
    if mode == Mode::User && was_system && !other_system {
        return Err(last_system_pool());
    }
    let size = settings.get("vmSize").and_then(Value::as_str);
    let size = size.ok_or_else(|| invalid("vmSize", "A size is required."))?;
    if sizes::find(size).is_none() {
        let text = format!(
            "The VM size of {size} is not allowed in your subscription in location '{}'.",
            seed.location
        );
        return Err(ArmError::bad_request("BadRequest", text).on("agentPoolProfile.vmSize"));
    }
    if settings.get("osType") != Some(&json!("Linux")) {
        return Err(ArmError::unsupported(
            "node pools of another system than Linux",
        ));
    }
    if settings.get("type") != Some(&json!("VirtualMachineScaleSets")) {
        return Err(ArmError::unsupported("node pools that are no scale sets"));
    }
    let zones = strings(settings.get("availabilityZones"));
    if let Some(zone) = zones
        .iter()
        .find(|zone| !matches!(zone.as_str(), "1" | "2" | "3"))
    {
        let text = format!(
            "The zone(s) '{zone}' for resource '{name}' is not supported. The supported zones for location '{}' are '1,2,3'",
            seed.location
        );
        return Err(ArmError::bad_request("AvailabilityZoneNotSupported", text));
    }
    check_counts(mode, settings)?;
    check_upgrade_settings(mode, settings.get("upgradeSettings"))?;
    for (key, value) in string_map(settings.get("nodeLabels")) {
        if key == "agentpool"
            || key
                .split('/')
                .next()
                .is_some_and(|prefix| prefix.ends_with("kubernetes.azure.com"))
        {
            return Err(invalid(
                "nodeLabels",
                format!("The label {key} is reserved for use by AKS."),
            ));
        }
        if value.len() > 63 {
            return Err(invalid(
                "nodeLabels",
                format!("The value of label {key} is longer than 63 characters."),
            ));
        }
    }
    for taint in strings(settings.get("nodeTaints")) {
        taint
            .parse::<Taint>()
            .map_err(|why| invalid("nodeTaints", why))?;
    }
    Ok(())
}

/// The refusal of anything that would leave the cluster without a System pool.
pub(crate) fn last_system_pool() -> ArmError {
    ArmError::bad_request(
        "BadRequest",
        "There has to be at least one system agent pool.",
    )
}

fn check_counts(mode: Mode, settings: &mut Map<String, Value>) -> Result<(), ArmError> {
    let number = |settings: &Map<String, Value>, key: &str| match settings.get(key) {
        None => Ok(None),
        Some(value) => value
            .as_u64()
            .map(Some)
            .ok_or_else(|| invalid(key, format!("'{value}' is no number."))),
    };
    let count = number(settings, "count")?.unwrap_or(1);
    // 1,000 nodes a pool is the vendor's limit.
    if count > 1000 {
        return Err(invalid("count", "A node pool has at most 1000 nodes."));
    }
    if mode == Mode::System && count == 0 {
        return Err(invalid(
            "count",
            "A system node pool must have at least one node.",
        ));
    }
    let pods = number(settings, "maxPods")?.unwrap_or(110);
    let least = if mode == Mode::System { 30 } else { 10 };
    if !(least..=250).contains(&pods) {
        return Err(invalid(
            "maxPods",
            format!("{pods} is not within {least} and 250."),
        ));
    }
    if settings.get("enableAutoScaling") == Some(&json!(true)) {
        let (Some(min), Some(max)) = (number(settings, "minCount")?, number(settings, "maxCount")?)
        else {
            return Err(invalid(
                "minCount",
                "The autoscaler needs minCount and maxCount.",
            ));
        };
        if min > max || (mode == Mode::System && min == 0) {
            return Err(invalid(
                "minCount",
                format!("minCount {min} does not go with maxCount {max} and mode {mode}."),
            ));
        }
        if !(min..=max).contains(&count) {
            return Err(invalid(
                "count",
                format!("{count} is not within minCount {min} and maxCount {max}."),
            ));
        }
    } else {
        settings.remove("minCount");
        settings.remove("maxCount");
    }
    Ok(())
}

/// Ranges: drainTimeoutInMinutes 5 to 1440, nodeSoakDurationInMinutes 0 to 30; maxUnavailable not on System pools.
fn check_upgrade_settings(mode: Mode, settings: Option<&Value>) -> Result<(), ArmError> {
    let Some(settings) = settings else {
        return Ok(());
    };
    let amount = |key: &str| -> Result<Option<u64>, ArmError> {
        let Some(value) = settings.get(key).filter(|v| !v.is_null()) else {
            return Ok(None);
        };
        let text = value.as_str().unwrap_or_default();
        let number = text.strip_suffix('%').unwrap_or(text);
        number.parse().map(Some).map_err(|_| {
            invalid(
                &format!("upgradeSettings.{key}"),
                format!("{value} is neither a number nor a percentage as text."),
            )
        })
    };
    let (surge, unavailable) = (amount("maxSurge")?, amount("maxUnavailable")?.unwrap_or(0));
    if unavailable > 0 && mode == Mode::System {
        return Err(invalid(
            "upgradeSettings.maxUnavailable",
            "It is not allowed on system node pools.",
        ));
    }
    if surge == Some(0) && unavailable == 0 {
        return Err(invalid(
            "upgradeSettings.maxSurge",
            "maxSurge and maxUnavailable cannot both be 0.",
        ));
    }
    for (key, range) in [
        ("drainTimeoutInMinutes", 5..=1440),
        ("nodeSoakDurationInMinutes", 0..=30),
    ] {
        if let Some(value) = settings.get(key).filter(|v| !v.is_null())
            && !value
                .as_u64()
                .is_some_and(|minutes| range.contains(&minutes))
        {
            let text = format!(
                "{value} is not within {} and {}.",
                range.start(),
                range.end()
            );
            return Err(invalid(&format!("upgradeSettings.{key}"), text));
        }
    }
    if let Some(value) = settings
        .get("undrainableNodeBehavior")
        .filter(|v| !v.is_null())
        && !matches!(value.as_str(), Some("Cordon" | "Schedule"))
    {
        return Err(invalid(
            "upgradeSettings.undrainableNodeBehavior",
            format!("{value} is none of Cordon, Schedule."),
        ));
    }
    Ok(())
}

fn check_version(
    world: &World,
    existing: Option<&Pool>,
    settings: &mut Map<String, Value>,
) -> Result<Version, ArmError> {
    let control_plane = world.cluster.current;
    // The official create example sends an empty version: the control plane's is meant.
    let requested = settings
        .get("orchestratorVersion")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    let requested = requested.map_or_else(|| control_plane.to_string(), str::to_owned);
    let unknown = || {
        let text = format!(
            "Version {requested} is not supported in this region. Please use [az aks get-versions] command to get the \
             supported version list in this region."
        );
        ArmError::bad_request("AgentPoolK8sVersionNotSupported", text)
            .on("agentPoolProfile.orchestratorVersion")
    };
    let current = existing.map_or(control_plane, |pool| pool.current);
    let version = world
        .catalogue
        .resolve(&requested, Some(current))
        .ok_or_else(unknown)?;
    settings.insert("orchestratorVersion".into(), json!(requested));
    if existing.is_some_and(|pool| pool.current == version) {
        return Ok(version);
    }
    if let Some(why) = incompatible(version, control_plane) {
        return Err(ArmError::bad_request("NodePoolMcVersionIncompatible", why));
    }
    // The version of the control plane itself is on offer even where the region has dropped it from the list.
    if version != control_plane && !world.catalogue.offers(version) {
        return Err(unknown());
    }
    match existing {
        None => Ok(version),
        Some(pool) if version < pool.current => {
            let text = format!(
                "Downgrading Kubernetes version {} to {version} is not allowed.",
                pool.current
            );
            Err(ArmError::bad_request("OperationNotAllowed", text))
        }
        Some(pool) => Err(ArmError::unsupported(format!(
            "the rolling upgrade of an existing node pool ({} from {} to {version}); create a pool at {version} instead",
            pool.name, pool.current
        ))),
    }
}
