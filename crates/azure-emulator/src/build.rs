//! The world of a seed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::emulator::SeedError;
use crate::machines::Mode;
use crate::pool_put;
use crate::random::Random;
use crate::seed::Seed;
use crate::sizes;
use crate::state::{Cluster, Pool, State, World, scale_set_name};
use crate::throttle::{Faults, Throttle};
use crate::versions::{Catalogue, Version};

/// Builds the world; no machine is created.
pub(crate) fn world(seed: &Seed, now: Timestamp) -> Result<World, SeedError> {
    let version = |text: &String| {
        text.parse::<Version>()
            .map_err(|()| SeedError::Version(text.clone()))
    };
    let current = version(&seed.kubernetes_version)?;
    let catalogue = Catalogue::new(&seed.versions).map_err(SeedError::Version)?;
    let mut random = Random::new(seed.random);
    let cluster = Cluster {
        etag: random.uuid().to_string(),
        settings: cluster_settings(seed),
        tags: json!({}),
        requested: seed.kubernetes_version.clone(),
        current,
        state: State::new("Succeeded"),
        operation: None,
    };
    let mut pools = BTreeMap::new();
    for pool in &seed.pools {
        let refused = |why: String| SeedError::Pool {
            pool: pool.name.clone(),
            why,
        };
        pool_put::check_name(&pool.name).map_err(|error| refused(error.message))?;
        if sizes::find(&pool.vm_size).is_none() {
            return Err(refused(format!(
                "the size {} is not sold here",
                pool.vm_size
            )));
        }
        let mut settings = pool_put::defaults();
        settings.insert("count".into(), json!(pool.count));
        settings.insert("mode".into(), json!(pool.mode.to_string()));
        settings.insert("orchestratorVersion".into(), json!(pool.kubernetes_version));
        settings.insert("vmSize".into(), json!(pool.vm_size));
        settings.insert("maxPods".into(), json!(pool.max_pods));
        let optional = [
            (
                "availabilityZones",
                json!(pool.zones),
                pool.zones.is_empty(),
            ),
            ("nodeLabels", json!(pool.labels), pool.labels.is_empty()),
            (
                "nodeTaints",
                json!(
                    pool.taints
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                ),
                pool.taints.is_empty(),
            ),
            ("tags", json!(pool.tags), pool.tags.is_empty()),
        ];
        settings.extend(
            optional
                .into_iter()
                .filter(|(.., empty)| !empty)
                .map(|(k, v, _)| (k.to_owned(), v)),
        );
        let mut made = Pool {
            name: pool.name.clone(),
            etag: random.uuid().to_string(),
            settings,
            current: version(&pool.kubernetes_version)?,
            node_image_version: pool
                .node_image_version
                .clone()
                .unwrap_or_else(|| seed.node_image_version.clone()),
            state: State::new("Succeeded"),
            operation: None,
            scale_set: scale_set_name(&seed.cluster, &pool.name, seed.random),
            instances: BTreeMap::new(),
            next_instance: 0,
        };
        for _ in 0..pool.count {
            made.add_instance(&mut random);
        }
        pools.insert(pool.name.clone(), made);
    }
    if !pools
        .values()
        .any(|pool: &Pool| pool.mode() == Mode::System && pool.count() > 0)
    {
        return Err(SeedError::NoSystemPool);
    }
    Ok(World {
        cluster,
        pools,
        operations: BTreeMap::new(),
        random,
        throttle: Throttle::new(seed.limits, now),
        faults: Faults::default(),
        catalogue,
        kubeconfig: None,
    })
}

fn cluster_settings(seed: &Seed) -> Map<String, Value> {
    let settings = json!({
        "dnsPrefix": format!("{}-dns", seed.cluster),
        "enableRBAC": true,
        "supportPlan": "KubernetesOfficial",
        "disableLocalAccounts": false,
        "networkProfile": {
            "networkPlugin": "azure",
            "networkPluginMode": "overlay",
            "networkDataplane": "azure",
            "loadBalancerSku": "standard",
            "podCidr": "10.244.0.0/16",
            "podCidrs": ["10.244.0.0/16"],
            "serviceCidr": "10.0.0.0/16",
            "serviceCidrs": ["10.0.0.0/16"],
            "dnsServiceIP": "10.0.0.10",
            "outboundType": "loadBalancer",
            "ipFamilies": ["IPv4"]
        },
        "autoUpgradeProfile": {"upgradeChannel": "none", "nodeOSUpgradeChannel": "None"},
        "servicePrincipalProfile": {"clientId": "msi"},
        "oidcIssuerProfile": {"enabled": false},
        "storageProfile": {"diskCSIDriver": {"enabled": true}, "fileCSIDriver": {"enabled": true}}
    });
    match settings {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
