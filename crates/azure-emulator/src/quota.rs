//! vCPU quota: what is in use, and whether more is allowed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::ArmError;
use crate::seed::Seed;
use crate::sizes;
use crate::state::World;

/// vCPUs in use by family, and under `cores` for the region. A pool counts with what it is to have.
pub(crate) fn vcpus_in_use(world: &World, except: Option<&str>) -> BTreeMap<String, u64> {
    let mut used = BTreeMap::new();
    for pool in world
        .pools
        .values()
        .filter(|pool| Some(pool.name.as_str()) != except)
    {
        if let Some(size) = sizes::find(pool.text("vmSize")) {
            let cpus =
                u64::from(size.cpus) * (pool.instances.len() as u64).max(u64::from(pool.count()));
            *used.entry(size.family.to_owned()).or_insert(0) += cpus;
            *used.entry("cores".to_owned()).or_insert(0) += cpus;
        }
    }
    used
}

/// Refuses a count that the subscription's vCPUs do not allow, by family and in the region.
pub(crate) fn check_quota(
    world: &World,
    seed: &Seed,
    name: &str,
    settings: &Map<String, Value>,
) -> Result<(), ArmError> {
    let Some(size) = settings
        .get("vmSize")
        .and_then(Value::as_str)
        .and_then(sizes::find)
    else {
        return Ok(());
    };
    let count = settings.get("count").and_then(Value::as_u64).unwrap_or(0);
    let present = world
        .pools
        .get(name)
        .map_or(0, |pool| pool.instances.len() as u64);
    if count <= present {
        return Ok(());
    }
    let used = vcpus_in_use(world, Some(name));
    let held = present * u64::from(size.cpus);
    let requested = (count - present) * u64::from(size.cpus);
    let left = |key: &str| {
        let limit = seed.vcpu_limits.get(key)?;
        Some(limit.saturating_sub(used.get(key).copied().unwrap_or(0) + held))
    };
    let family = size.family;
    if let Some(remaining) = left(family).filter(|left| *left < requested) {
        let text = format!(
            "Insufficient vcpu quota requested {requested}, remaining {remaining} for family {family} for region {}.",
            seed.location
        );
        return Err(ArmError::bad_request("QuotaExceeded", text));
    }
    if let Some(remaining) = left("cores").filter(|left| *left < requested) {
        let text = format!(
            "Insufficient regional vcpu quota left for location {}. left regional vcpu quota {remaining}, requested quota \
             {requested}.",
            seed.location
        );
        return Err(ArmError::bad_request("ErrCode_InsufficientVCPUQuota", text));
    }
    Ok(())
}
