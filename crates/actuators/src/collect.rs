//! The snapshot that plans are made from: Kubernetes, ARM and the databases, read at one time.
//!
//! Reading changes nothing. What could not be read of a database is said in the snapshot
//! (`unreachable`), because the planner must refuse with it; what could not be read of Kubernetes
//! or ARM is an error, because there is no plan without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::policy::{PostgresSpec, Upgrade};
use ferriswheel_plan::world::{
    self, Database, Pooler, PoolerDatabase, PostgresFacts, PostgresMember, Snapshot,
};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::arm_read::{self, Missing};
use crate::databases::postgres::console;
use crate::databases::postgres::facts::{self, PrimaryView};
use crate::databases::postgres::lsn::Lsn;
use crate::databases::postgres::session::{Credentials, Session, chain};
use crate::dial::Target;
use crate::kubernetes::poolers::{self, PoolerPod};
use crate::kubernetes::{read, request};
use crate::world::{AskError, LOOK, MemberPod, Outside, members, pooler_admin, superuser};

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
        let observed = postgres(outside, &database.postgres).await?;
        databases.insert(database.name.clone(), Database::Postgres(observed));
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
            .any(|database| database.postgres.stateful_set == reference);
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

async fn postgres(outside: &Outside, spec: &PostgresSpec) -> Result<world::Postgres, CollectError> {
    let superuser = superuser(&outside.kube, spec).await?;
    let pods = members(&outside.kube, &spec.stateful_set).await?;
    let asked = pods
        .iter()
        .map(|member| ask_member(outside, spec, member, &superuser));
    let answers = futures::future::join_all(asked).await;
    let mut views = Vec::new();
    let mut found = BTreeMap::new();
    for (member, answer) in pods.iter().zip(answers) {
        let name = member.pod.name.clone();
        match answer {
            Ok((facts, view)) => {
                views.push((name.clone(), view));
                found.insert(
                    name,
                    PostgresMember {
                        unreachable: None,
                        facts: Some(facts),
                    },
                );
            }
            Err(why) => {
                found.insert(
                    name,
                    PostgresMember {
                        unreachable: Some(why),
                        facts: None,
                    },
                );
            }
        }
    }
    relate(&mut found, &views);
    let admin = pooler_admin(&outside.kube, spec).await?;
    let mut pooler_states = BTreeMap::new();
    for workload in &spec.poolers {
        for pod in poolers::of_workload(&outside.kube, workload).await? {
            pooler_states.insert(pod.pod.clone(), ask_pooler(outside, &pod, &admin).await);
        }
    }
    Ok(world::Postgres {
        stateful_set: spec.stateful_set.clone(),
        members: found,
        poolers: pooler_states,
        other_agent: views.iter().find_map(|(name, view)| {
            Some(format!("{} is connected to {name}", view.agents.first()?))
        }),
    })
}

async fn ask_member(
    outside: &Outside,
    spec: &PostgresSpec,
    member: &MemberPod,
    superuser: &Credentials,
) -> Result<(PostgresFacts, PrimaryView), String> {
    if member.ip.is_none() {
        return Err("the pod has no address".to_owned());
    }
    let session = Session::new(
        &member.pod.name,
        Target {
            pod: member.pod.clone(),
            ip: member.ip.clone(),
            port: spec.port,
        },
        Arc::clone(&outside.dial),
        superuser.clone(),
        "postgres",
    );
    facts::collect(&session).await.map_err(|e| chain(&e))
}

/// Lag and synchronous state need both ends: the primary's flushed position and list of standbys,
/// the standby's replayed position.
fn relate(members: &mut BTreeMap<String, PostgresMember>, views: &[(String, PrimaryView)]) {
    let position = |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<Lsn>().ok());
    let primary = views.iter().find(|(_, view)| view.flush.is_some());
    for (name, view) in views {
        let Some(facts) = members.get_mut(name).and_then(|m| m.facts.as_mut()) else {
            continue;
        };
        let Some((_, leader)) = primary.filter(|_| facts.in_recovery) else {
            continue;
        };
        facts.lag_bytes = match (position(&leader.flush), position(&view.replay)) {
            (Some(flush), Some(replay)) => Some(flush.bytes_since(replay)),
            _ => None,
        };
        facts.sync_state = leader.sync_states.get(name).cloned();
    }
}

async fn ask_pooler(outside: &Outside, pod: &PoolerPod, admin: &Credentials) -> Pooler {
    let session = Session::new(
        &pod.pod.name,
        Target {
            pod: pod.pod.clone(),
            ip: pod.ip.clone(),
            port: pod.port,
        },
        Arc::clone(&outside.dial),
        admin.clone(),
        "pgbouncer",
    );
    let asked = async {
        session.open(LOOK).await?;
        let entries = console::entries(&session, LOOK).await?;
        let timeout = console::config(&session, "query_wait_timeout", LOOK).await?;
        Ok::<_, crate::databases::postgres::server::ServerError>((entries, timeout))
    };
    match asked.await {
        Ok((entries, timeout)) => Pooler {
            unreachable: None,
            version: None,
            databases: entries
                .into_iter()
                .map(|entry| {
                    (
                        entry.name,
                        PoolerDatabase {
                            host: entry.host,
                            port: entry.port,
                            dbname: entry.dbname,
                            pool_mode: entry.pool_mode,
                            paused: entry.paused,
                        },
                    )
                })
                .collect(),
            // The console gives seconds.
            query_wait_timeout_ms: timeout
                .and_then(|text| text.parse::<u64>().ok())
                .map(|seconds| seconds * 1_000),
            config: pod.config.clone(),
        },
        Err(e) => Pooler {
            unreachable: Some(chain(&e)),
            version: None,
            databases: BTreeMap::new(),
            query_wait_timeout_ms: None,
            config: pod.config.clone(),
        },
    }
}
