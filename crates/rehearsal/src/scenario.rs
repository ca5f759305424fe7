//! The wheel's scenario: a cluster like the demo's, its snapshot, and the plan that the real
//! planner makes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use ferriswheel_model::cluster::{Cluster, Timing};
use ferriswheel_model::objects::{Behaviour, Budget, Deployment, Labels, Owner, StatefulSet};
use ferriswheel_plan::diagnostic::Refusal;
use ferriswheel_plan::ids::{NodeName, ObjectRef, Zone};
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::planner;
use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::world as seen;
use jiff::Timestamp;
use serde_json::json;

use crate::postgres::server::status;
use crate::postgres::{self, Postgres};
use crate::world::{Inner, POOLERS, short};

/// The set.
pub const SET: &str = "db/pg";

/// Where the nodes shall be.
pub const TARGET: &str = "1.36.3";

/// Where they are.
const CURRENT: &str = "1.35.4";

/// The clock at the beginning of a rehearsal.
pub fn origin() -> Timestamp {
    // 2026-11-21T00:00:00Z: any fixed moment serves; the same one makes the same plan.
    Timestamp::constant(1_795_219_200, 0)
}

/// What a rehearsal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Synchronous standbys (`ANY n`); 0: asynchronous.
    pub synchronous: usize,
    /// One more replica for the length of the run.
    pub extra_seat: bool,
    /// A person approves the hand-over.
    pub approve_hand_over: bool,
    /// Poolers stand in front.
    pub pooled: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            synchronous: 1,
            extra_seat: true,
            approve_hand_over: false,
            pooled: true,
        }
    }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A cluster whose control plane is at the target and whose database pool is a minor behind.
pub fn cluster(choices: Choices) -> Inner {
    let mut cluster = Cluster::new(Timing::default());
    let zones = ["eastus-1", "eastus-2", "eastus-3"];
    let pools = [
        ("syspool", true, &zones[..2], 2, TARGET, Labels::new()),
        (
            "dbpool",
            false,
            &zones[..],
            3,
            CURRENT,
            labels(&[("workload", "database")]),
        ),
    ];
    for (name, system, zones, count, version, labels) in pools {
        // The names are new, so that no pool is in the way.
        let made = cluster.create_pool(name, system, zones, count, version, labels);
        debug_assert!(made.is_ok());
    }
    let mut postgres = Postgres::new(postgres::Timing::default(), choices.synchronous);
    postgres.bootstrap = true;
    let mut world = Inner::new(cluster, postgres, "pg-0");
    world.advance(Duration::from_secs(10));
    world.cluster.put_set(
        SET,
        StatefulSet {
            replicas: 3,
            labels: labels(&[("app", "pg")]),
            node_selector: labels(&[("workload", "database")]),
            claim_template: "data".to_owned(),
            one_per_node: true,
        },
    );
    world.cluster.put_budget(
        SET,
        Budget {
            selector: labels(&[("app", "pg")]),
            max_unavailable: 1,
        },
    );
    if choices.pooled {
        world.cluster.put_deployment(
            POOLERS,
            Deployment {
                replicas: 2,
                labels: labels(&[("app", "pgbouncer")]),
                node_selector: labels(&[("agentpool", "syspool")]),
                behaviour: Behaviour::Plain,
            },
        );
    }
    // Members come one after the other; longer than the kubelet remembers a restart.
    world.advance(Duration::from_secs(60));
    world.postgres.bootstrap = false;
    world.watch = crate::invariants::Watch {
        members: if choices.extra_seat { 3 } else { 2 },
        ..Default::default()
    };
    world
}

/// The spec of the run.
pub fn upgrade(choices: Choices) -> Result<Upgrade, serde_json::Error> {
    let poolers = if choices.pooled {
        vec![POOLERS]
    } else {
        Vec::new()
    };
    serde_json::from_value(json!({
        "apiVersion": "ferriswheel.dev/v1alpha1",
        "kind": "Upgrade",
        "metadata": {"name": "wheel"},
        "spec": {
            "cluster": {"subscription": "s", "resourceGroup": "rg", "name": "aks"},
            "target": {"kubernetesVersion": TARGET},
            "strategy": {"ferrisWheel": {
                "extraSeat": choices.extra_seat,
                "approveHandOver": choices.approve_hand_over,
            }},
            "databases": [{
                "name": "orders",
                "postgres": {
                    "statefulSet": SET,
                    "poolers": poolers,
                    "superuser": "db/superuser",
                    "application": "db/app",
                    "database": "app",
                }
            }]
        }
    }))
}

/// The plan of the real planner.
pub fn plan(world: &Inner, choices: Choices) -> Result<Plan, Unplanned> {
    Ok(planner::plan(&snapshot(world), &upgrade(choices)?)?)
}

/// There is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Unplanned {
    /// The spec of this file does not fit its type.
    #[error("the scenario's spec is malformed")]
    Spec(#[from] serde_json::Error),
    /// The planner refused.
    #[error("the planner refused: {0:?}")]
    Refused(Refusal),
}

impl From<Refusal> for Unplanned {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn version(text: &str) -> ferriswheel_plan::version::KubernetesVersion {
    text.parse()
        .unwrap_or(ferriswheel_plan::version::KubernetesVersion {
            major: 0,
            minor: 0,
            patch: 0,
        })
}

fn reference(name: &str) -> ObjectRef {
    name.parse()
        .unwrap_or_else(|_| ObjectRef::new(String::new(), name))
}

/// What a collector would see.
pub fn snapshot(world: &Inner) -> seen::Snapshot {
    let budget = seen::Budget {
        selector: labels(&[("app", "pg")]),
        disruptions_allowed: 1,
        current_healthy: 3,
        desired_healthy: 2,
        expected_pods: 3,
        max_unavailable: Some("1".to_owned()),
        min_available: None,
    };
    snapshot_of(
        &world.cluster,
        (SET, budget),
        ("orders", see_database(world)),
    )
}

/// What a collector would see of a cluster with one database.
pub(crate) fn snapshot_of(
    cluster: &Cluster,
    (set, budget): (&str, seen::Budget),
    (name, database): (&str, seen::Database),
) -> seen::Snapshot {
    seen::Snapshot {
        schema: "ferriswheel.snapshot.v1".to_owned(),
        observed_at: origin(),
        cluster: seen::Cluster {
            id: "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/aks".to_owned(),
            location: "eastus".to_owned(),
            kubernetes_version: version(TARGET),
            provisioning_state: "Succeeded".to_owned(),
            upgrade_channel: None,
            node_os_channel: None,
        },
        pools: cluster
            .pools()
            .iter()
            .map(|(name, pool)| (name.as_str().into(), see_pool(pool)))
            .collect(),
        nodes: cluster
            .nodes()
            .iter()
            .map(|(name, node)| (name.as_str().into(), see_node(node)))
            .collect(),
        pods: cluster
            .pods()
            .iter()
            .map(|(name, pod)| (reference(name), see_pod(pod)))
            .collect(),
        stateful_sets: cluster
            .sets()
            .iter()
            .map(|(name, set)| (reference(name), see_set(set)))
            .collect(),
        budgets: BTreeMap::from([(reference(set), budget)]),
        claims: cluster
            .claims()
            .iter()
            .map(|(name, claim)| {
                let disk = claim.disk.as_ref();
                let zone = disk.and_then(|disk| cluster.disks().get(disk));
                let claim = seen::Claim {
                    uid: claim.uid.as_str().into(),
                    volume: disk.cloned(),
                    zone: zone.map(|disk| Zone::new(disk.zone.clone())),
                    storage_class: Some("managed-csi".to_owned()),
                    reclaim_policy: Some("Delete".to_owned()),
                    labels: claim.labels.clone(),
                };
                (reference(name), claim)
            })
            .collect(),
        databases: BTreeMap::from([(name.into(), database)]),
    }
}

fn see_pool(pool: &ferriswheel_model::objects::Pool) -> seen::Pool {
    seen::Pool {
        system: pool.system,
        zones: pool
            .zones
            .iter()
            .map(|zone| Zone::new(zone.clone()))
            .collect(),
        count: pool.count,
        kubernetes_version: version(&pool.version),
        node_image: None,
        provisioning_state: pool.state.clone(),
        vm_size: "Standard_D4s_v5".to_owned(),
        node_labels: pool.labels.clone(),
        node_taints: Vec::new(),
        autoscaling: false,
        upgrades: vec![version(TARGET)],
        force_upgrade_until: None,
    }
}

fn see_node(node: &ferriswheel_model::objects::Node) -> seen::Node {
    seen::Node {
        uid: node.uid.as_str().into(),
        boot_id: format!("boot-{}", node.uid),
        pool: Some(node.pool.as_str().into()),
        zone: Some(node.zone.as_str().into()),
        kubelet_version: version(&node.version),
        ready: node.ready,
        unschedulable: node.unschedulable,
        labels: node.labels.clone(),
        taints: Vec::new(),
    }
}

fn see_pod(pod: &ferriswheel_model::objects::Pod) -> seen::Pod {
    let owner = match &pod.owner {
        Owner::Set { name, .. } => Some(("StatefulSet", name)),
        Owner::Deployment(name) => Some(("ReplicaSet", name)),
        Owner::Nobody => None,
    };
    seen::Pod {
        uid: pod.uid.as_str().into(),
        node: pod.node.clone().map(NodeName::new),
        owner: owner.map(|(kind, name)| seen::Owner {
            kind: kind.to_owned(),
            name: short(name).to_owned(),
        }),
        labels: pod.labels.clone(),
        phase: "Running".to_owned(),
        ready: pod.ready,
        terminating: pod.terminating,
        claims: pod
            .claim
            .iter()
            .map(|claim| short(claim).to_owned())
            .collect(),
        node_selector: pod.node_selector.clone(),
        local_data: false,
        containers: vec![seen::Container {
            name: "postgres".to_owned(),
            image: "postgres:15".to_owned(),
            restarts: pod.restarts,
            started_at: Some(origin()),
            waiting: None,
            last_finished_at: None,
        }],
    }
}

fn see_set(set: &ferriswheel_model::objects::StatefulSet) -> seen::StatefulSet {
    seen::StatefulSet {
        uid: "set".into(),
        replicas: set.replicas,
        ready_replicas: set.replicas,
        current_revision: "pg-1".to_owned(),
        update_revision: "pg-1".to_owned(),
        selector: set.labels.clone(),
        service_name: "pg".to_owned(),
        claim_templates: vec![set.claim_template.clone()],
        node_requirements: set
            .node_selector
            .iter()
            .map(|(key, value)| (key.clone(), vec![value.clone()]))
            .collect(),
        one_per_node: set.one_per_node,
        tolerations: Vec::new(),
        termination_grace_seconds: 30,
        entrypoint_text: Vec::new(),
        labels: set.labels.clone(),
        annotations: BTreeMap::new(),
        owner: None,
    }
}

fn see_database(world: &Inner) -> seen::Database {
    let members = world
        .postgres
        .processes
        .keys()
        .map(|pod| {
            let member = seen::PostgresMember {
                unreachable: None,
                facts: see_facts(world, pod),
            };
            (pod.clone(), member)
        })
        .collect();
    let poolers = world
        .postgres
        .clients
        .poolers
        .iter()
        .map(|(name, pooler)| (ObjectRef::new("db", name), see_pooler(pooler)))
        .collect();
    seen::Database::Postgres(seen::Postgres {
        stateful_set: reference(SET),
        members,
        poolers,
        service: None,
        other_agent: None,
        patroni: None,
    })
}

fn see_pooler(pooler: &postgres::clients::Pooler) -> seen::Pooler {
    seen::Pooler {
        unreachable: None,
        version: Some("PgBouncer 1.18.0".to_owned()),
        databases: postgres::pooler::entries(pooler)
            .into_iter()
            .map(|entry| {
                let database = seen::PoolerDatabase {
                    host: entry.host,
                    port: entry.port,
                    dbname: entry.dbname,
                    pool_mode: entry.pool_mode,
                    paused: entry.paused,
                };
                (entry.name, database)
            })
            .collect(),
        query_wait_timeout_ms: Some(120_000),
        config: Some(seen::PoolerConfig {
            config_map: ObjectRef::new("db", "pgbouncer"),
            key: "pgbouncer.ini".to_owned(),
            path: "/etc/pgbouncer/pgbouncer.ini".to_owned(),
            container: "pgbouncer".to_owned(),
        }),
    }
}

fn see_facts(world: &Inner, pod: &str) -> Option<seen::PostgresFacts> {
    let status = status(&world.postgres, pod)?;
    let disk = world.postgres.disk_of(pod)?;
    let capacity = [
        "max_connections",
        "max_worker_processes",
        "max_prepared_transactions",
        "max_locks_per_transaction",
        "max_wal_senders",
    ];
    Some(seen::PostgresFacts {
        version_num: 150_014,
        in_recovery: status.in_recovery,
        system_identifier: "7400000000000000000".to_owned(),
        timeline: status.timeline,
        data_directory: "/var/lib/postgresql/data".to_owned(),
        streaming_from: status.streaming_from,
        slot: disk
            .upstream
            .as_ref()
            .filter(|_| status.in_recovery)
            .and_then(|upstream| upstream.slot.clone()),
        lag_bytes: status.in_recovery.then_some(0),
        sync_state: status.in_recovery.then(|| {
            if world.postgres.synchronous > 0 {
                "quorum".to_owned()
            } else {
                "async".to_owned()
            }
        }),
        replay_paused: false,
        apply_delay_ms: 0,
        synchronous_standby_names: if world.postgres.synchronous > 0 {
            "ANY 1 (*)".to_owned()
        } else {
            String::new()
        },
        synchronous_commit: "on".to_owned(),
        synchronous_names_source: "default".to_owned(),
        loose_commits: Vec::new(),
        rewindable: true,
        capacity: capacity
            .iter()
            .map(|name| ((*name).to_owned(), 100))
            .collect(),
        free_wal_senders: 8,
        free_slots: 8,
        physical_slots: disk.slots.iter().map(|slot| (slot.clone(), true)).collect(),
        logical_slots_at_risk: Vec::new(),
        prepared_transactions: Vec::new(),
        oldest_transaction_ms: None,
        archiving: false,
        archive_backlog: 0,
        backup_running: false,
        recovery_conf: false,
        standby_signal: disk.standby_signal,
        unlogged_tables: 0,
        walinspect: true,
        superuser: true,
    })
}
