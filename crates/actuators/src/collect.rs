//! The snapshot that plans are made from: Kubernetes, ARM and the databases, read at one time.
//!
//! Reading changes nothing. What could not be read of a database is said in the snapshot
//! (`unreachable`), because the planner must refuse with it; what could not be read of Kubernetes
//! or ARM is an error, because there is no plan without it.

use std::collections::BTreeMap;

use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::world::{self, Snapshot};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::arm_read::{self, Missing};
use crate::kubernetes::{read, request};
use crate::systems;
use crate::world::{AskError, Outside};

/// Format of the snapshot.
pub const SCHEMA: &str = "ferriswheel.snapshot.v1";

/// No snapshot could be taken.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Somebody did not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// ARM's answer lacks what a plan rests on.
    #[error(transparent)]
    Missing(#[from] Missing),
}

impl From<crate::kubernetes::RequestError> for CollectError {
    fn from(error: crate::kubernetes::RequestError) -> Self {
        Self::Ask(error.into())
    }
}

impl From<crate::azure::ArmError> for CollectError {
    fn from(error: crate::azure::ArmError) -> Self {
        Self::Ask(error.into())
    }
}

/// Takes the snapshot for a spec.
pub async fn collect(
    outside: &Outside,
    spec: &Upgrade,
    now: Timestamp,
) -> Result<Snapshot, CollectError> {
    let ((cluster, pools), kubernetes) =
        futures::future::try_join(arm(outside), kubernetes(outside, spec)).await?;
    let mut databases = BTreeMap::new();
    for database in &spec.spec.databases {
        let observed = systems::collect(outside, database).await?;
        databases.insert(database.name.clone(), observed);
    }
    Ok(Snapshot {
        schema: SCHEMA.to_owned(),
        observed_at: now,
        cluster,
        pools,
        nodes: kubernetes.nodes,
        pods: kubernetes.pods,
        stateful_sets: kubernetes.stateful_sets,
        budgets: kubernetes.budgets,
        claims: kubernetes.claims,
        databases,
    })
}

type Pools = BTreeMap<ferriswheel_plan::ids::PoolName, world::Pool>;

async fn arm(outside: &Outside) -> Result<(world::Cluster, Pools), CollectError> {
    let (cluster, list) =
        futures::future::try_join(outside.arm.cluster(), outside.arm.pools()).await?;
    let cluster = arm_read::cluster(&cluster.json)?;
    let mut pools = BTreeMap::new();
    for json in &list {
        let name = json
            .get("name")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let upgrades = outside.arm.pool_upgrades(name).await?;
        let (name, pool) = arm_read::pool(json, &cluster.location, &upgrades)?;
        pools.insert(name, pool);
    }
    Ok((cluster, pools))
}

struct Kubernetes {
    nodes: BTreeMap<ferriswheel_plan::ids::NodeName, world::Node>,
    pods: BTreeMap<ObjectRef, world::Pod>,
    stateful_sets: BTreeMap<ObjectRef, world::StatefulSet>,
    budgets: BTreeMap<ObjectRef, world::Budget>,
    claims: BTreeMap<ObjectRef, world::Claim>,
}

async fn list<K>(outside: &Outside, what: &str) -> Result<Vec<K>, CollectError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::all(outside.kube.clone());
    Ok(
        request(format!("list {what}"), api.list(&ListParams::default()))
            .await?
            .items,
    )
}

async fn kubernetes(outside: &Outside, spec: &Upgrade) -> Result<Kubernetes, CollectError> {
    let (nodes, pods, sets, budgets) = futures::future::try_join4(
        list::<Node>(outside, "nodes"),
        list::<Pod>(outside, "pods"),
        list::<StatefulSet>(outside, "stateful sets"),
        list::<PodDisruptionBudget>(outside, "budgets"),
    )
    .await?;
    let (claims, volumes) = futures::future::try_join(
        list::<PersistentVolumeClaim>(outside, "claims"),
        list::<PersistentVolume>(outside, "volumes"),
    )
    .await?;
    let volumes: BTreeMap<String, PersistentVolume> = volumes
        .into_iter()
        .map(|volume| (volume.name_any(), volume))
        .collect();
    let mut stateful_sets = BTreeMap::new();
    for set in &sets {
        let reference = read::reference(&set.metadata);
        // Only where somebody may read: other sets' namespaces are none of ours.
        let ours = spec
            .spec
            .databases
            .iter()
            .any(|database| *database.stateful_set() == reference);
        let texts = if ours {
            config_texts(outside, set, &reference.namespace).await?
        } else {
            BTreeMap::new()
        };
        if let Some(found) = read::stateful_set(set, &texts) {
            stateful_sets.insert(reference, found);
        }
    }
    Ok(Kubernetes {
        nodes: nodes
            .iter()
            .filter_map(|node| Some((read::node_name(node), read::node(node)?)))
            .collect(),
        pods: pods
            .iter()
            .map(|pod| (read::reference(&pod.metadata), read::pod(pod)))
            .collect(),
        stateful_sets,
        budgets: budgets
            .iter()
            .map(|b| (read::reference(&b.metadata), read::budget(b)))
            .collect(),
        claims: claims
            .iter()
            .map(|c| (read::reference(&c.metadata), read::claim(c, &volumes)))
            .collect(),
    })
}

/// Texts of the ConfigMaps that a set's template mounts: an entrypoint may live there.
async fn config_texts(
    outside: &Outside,
    set: &StatefulSet,
    namespace: &str,
) -> Result<BTreeMap<String, Vec<String>>, CollectError> {
    let maps: Api<ConfigMap> = Api::namespaced(outside.kube.clone(), namespace);
    let mut texts = BTreeMap::new();
    let volumes = set
        .spec
        .template
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    for volume in volumes {
        let Some(name) = volume.config_map.as_ref().map(|map| &map.name) else {
            continue;
        };
        if let Some(map) =
            crate::kubernetes::find(format!("read {namespace}/{name}"), maps.get_opt(name)).await?
        {
            texts.insert(
                name.clone(),
                map.data.unwrap_or_default().into_values().collect(),
            );
        }
    }
    Ok(texts)
}
