//! Worlds for tests: the practice cluster (three members in three zones, one minor behind), and
//! every change of it that a test wants.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::expect_used, reason = "a test's own world is well formed")]

pub mod kafka;
pub mod mariadb;
pub mod memcached;
pub mod mongodb;
pub mod redis;
pub mod subject;

use std::collections::BTreeMap;

use ferriswheel_plan::ids::{NodeName, ObjectRef, PoolName, Uid, Zone};
use ferriswheel_plan::policy::{self, DatabaseSpec, PostgresSpec, System, Upgrade};
use ferriswheel_plan::version::KubernetesVersion;
use ferriswheel_plan::world::*;
use jiff::Timestamp;

pub const NOW: &str = "2026-11-21T08:00:00Z";

pub const SPEC: &str = r#"apiVersion: ferriswheel.dev/v1alpha1
kind: Upgrade
metadata:
  name: aks-prod-1-36
spec:
  cluster:
    subscription: 00000000-0000-0000-0000-000000000000
    resourceGroup: production-rg
    name: aks-prod
  target:
    kubernetesVersion: "1.36.3"
  strategy:
    ferrisWheel: {}
  databases:
    - name: orders
      postgres:
        statefulSet: db/pg
        poolers: [db/pgbouncer]
        service: db/pg-primary
        superuser: db/pg-superuser
        application: db/pg-application
        database: app
      limits:
        writeStall: 1s
        ackedLoss: 0
        errors: 0
"#;

pub fn spec() -> Upgrade {
    parsed(SPEC)
}

/// The primary moves, no machine does.
pub fn hand_over_spec(to: Option<&str>) -> Upgrade {
    handing_over(SPEC, to)
}

pub fn parsed(text: &str) -> Upgrade {
    policy::parse("upgrade.yaml", text).expect("the test's spec is good")
}

/// The spec with another name, and this database instead of PostgreSQL.
pub fn spec_of(name: &str, database: &str) -> String {
    let (head, _) = SPEC
        .split_once("    - name: orders\n")
        .expect("the spec has a database");
    head.replace("aks-prod-1-36", name) + database
}

/// The spec, of which only the hand-over is left.
pub fn handing_over(text: &str, to: Option<&str>) -> Upgrade {
    let strategy = match to {
        Some(pod) => format!("handOver: {{ to: {pod} }}"),
        None => "handOver: {}".to_owned(),
    };
    let text = text
        .replace("  target:\n    kubernetesVersion: \"1.36.3\"\n", "")
        .replace("ferrisWheel: {}", &strategy);
    parsed(&text)
}

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

pub fn version(text: &str) -> KubernetesVersion {
    text.parse().expect("a version")
}

pub fn zone(n: u32) -> Zone {
    Zone::new(format!("eastus-{n}"))
}

pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub fn db(name: &str) -> ObjectRef {
    ObjectRef::new("db", name)
}

pub fn pool(version_text: &str, system: bool, zones: &[u32], count: u32) -> Pool {
    let database = !system;
    Pool {
        system,
        zones: zones.iter().copied().map(zone).collect(),
        count,
        kubernetes_version: version(version_text),
        node_image: None,
        provisioning_state: "Succeeded".to_owned(),
        vm_size: "Standard_D4s_v5".to_owned(),
        node_labels: if database {
            map(&[("workload", "database")])
        } else {
            BTreeMap::new()
        },
        node_taints: if database {
            vec!["workload=database:NoSchedule".to_owned()]
        } else {
            Vec::new()
        },
        autoscaling: false,
        upgrades: vec![version("1.36.3"), version("1.36.2")],
        force_upgrade_until: None,
    }
}

pub fn node(world: &Snapshot, pool_name: &str, at_zone: u32, serial: u32) -> (NodeName, Node) {
    let name = NodeName::new(format!("aks-{pool_name}-12345678-vmss{serial:06}"));
    let pool = &world.pools[&PoolName::from(pool_name)];
    let mut labels = pool.node_labels.clone();
    labels.insert("agentpool".to_owned(), pool_name.to_owned());
    let node = Node {
        uid: Uid::new(format!("uid-{name}")),
        boot_id: format!("boot-{name}"),
        pool: Some(pool_name.into()),
        zone: Some(zone(at_zone)),
        kubelet_version: pool.kubernetes_version,
        ready: true,
        unschedulable: false,
        labels,
        taints: pool.node_taints.clone(),
    };
    (name, node)
}

pub fn pod(
    owner: Option<(&str, &str)>,
    on: &NodeName,
    labels: &[(&str, &str)],
    container: &str,
) -> Pod {
    Pod {
        uid: Uid::new(format!("uid-pod-{}-{on}", owner.map_or("bare", |o| o.1))),
        node: Some(on.clone()),
        owner: owner.map(|(kind, name)| Owner {
            kind: kind.to_owned(),
            name: name.to_owned(),
        }),
        labels: map(labels),
        phase: "Running".to_owned(),
        ready: true,
        terminating: false,
        claims: Vec::new(),
        node_selector: BTreeMap::new(),
        local_data: false,
        containers: vec![Container {
            name: container.to_owned(),
            image: format!("{container}:15"),
            restarts: 0,
            started_at: Some(at("2026-11-20T08:00:00Z")),
            waiting: None,
            last_finished_at: None,
        }],
    }
}

pub fn facts(in_recovery: bool, primary: &str) -> PostgresFacts {
    PostgresFacts {
        version_num: 150_018,
        in_recovery,
        system_identifier: "7300000000000000001".to_owned(),
        timeline: 4,
        data_directory: "/var/lib/postgresql/data/pgdata".to_owned(),
        streaming_from: in_recovery.then(|| format!("{primary}.pg.db.svc.cluster.local")),
        slot: None,
        lag_bytes: in_recovery.then_some(0),
        sync_state: in_recovery.then(|| "async".to_owned()),
        replay_paused: false,
        apply_delay_ms: 0,
        synchronous_standby_names: String::new(),
        synchronous_commit: "on".to_owned(),
        synchronous_names_source: "default".to_owned(),
        loose_commits: Vec::new(),
        rewindable: true,
        capacity: [("max_connections", 200), ("max_wal_senders", 12)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        free_wal_senders: 10,
        free_slots: 10,
        physical_slots: BTreeMap::new(),
        logical_slots_at_risk: Vec::new(),
        prepared_transactions: Vec::new(),
        oldest_transaction_ms: Some(3),
        archiving: false,
        archive_backlog: 0,
        backup_running: false,
        recovery_conf: false,
        standby_signal: in_recovery,
        unlogged_tables: 0,
        walinspect: true,
        superuser: true,
    }
}

pub fn empty(control_plane: &str) -> Snapshot {
    Snapshot {
        schema: "ferriswheel.snapshot.v1".to_owned(),
        observed_at: at(NOW),
        cluster: Cluster {
            id: "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/production-rg/providers/Microsoft.ContainerService/managedClusters/aks-prod".to_owned(),
            location: "eastus".to_owned(),
            kubernetes_version: version(control_plane),
            provisioning_state: "Succeeded".to_owned(),
            upgrade_channel: None,
            node_os_channel: None,
        },
        pools: BTreeMap::new(),
        nodes: BTreeMap::new(),
        pods: BTreeMap::new(),
        stateful_sets: BTreeMap::new(),
        budgets: BTreeMap::new(),
        claims: BTreeMap::new(),
        databases: BTreeMap::new(),
    }
}

/// A set of the database pool with a member on each of these nodes, the first of them the primary.
pub fn put_set(
    world: &mut Snapshot,
    name: &str,
    database: &str,
    nodes: &[NodeName],
    primary: usize,
) {
    let leader = format!("{name}-{primary}");
    let mut members = BTreeMap::new();
    for (ordinal, on) in nodes.iter().enumerate() {
        let member = format!("{name}-{ordinal}");
        let claim = format!("data-{member}");
        let mut pod = pod(
            Some(("StatefulSet", name)),
            on,
            &[("app", name)],
            "postgres",
        );
        pod.uid = Uid::new(format!("uid-{member}"));
        pod.claims = vec![claim.clone()];
        world.pods.insert(db(&member), pod);
        world.claims.insert(
            db(&claim),
            Claim {
                uid: Uid::new(format!("uid-{claim}")),
                volume: Some(format!("pv-{claim}")),
                zone: world.nodes[on].zone.clone(),
                storage_class: Some("managed-csi".to_owned()),
                reclaim_policy: Some("Delete".to_owned()),
                labels: BTreeMap::new(),
            },
        );
        members.insert(
            member,
            PostgresMember {
                unreachable: None,
                facts: Some(facts(ordinal != primary, &leader)),
            },
        );
    }
    let replicas = u32::try_from(nodes.len()).expect("few members");
    world.stateful_sets.insert(
        db(name),
        StatefulSet {
            uid: Uid::new(format!("uid-set-{name}")),
            replicas,
            ready_replicas: replicas,
            current_revision: format!("{name}-7d9"),
            update_revision: format!("{name}-7d9"),
            selector: map(&[("app", name)]),
            service_name: name.to_owned(),
            claim_templates: vec!["data".to_owned()],
            node_requirements: BTreeMap::from([(
                "workload".to_owned(),
                vec!["database".to_owned()],
            )]),
            one_per_node: true,
            tolerations: vec!["workload=database:NoSchedule".to_owned()],
            termination_grace_seconds: 120,
            entrypoint_text: vec!["/bin/bash".to_owned(), "/scripts/member.sh".to_owned()],
            labels: map(&[("app", name)]),
            annotations: BTreeMap::new(),
            owner: None,
        },
    );
    world.budgets.insert(
        db(name),
        Budget {
            selector: map(&[("app", name)]),
            disruptions_allowed: 1,
            current_healthy: i32::try_from(replicas).expect("few"),
            desired_healthy: i32::try_from(replicas).expect("few") - 1,
            expected_pods: i32::try_from(replicas).expect("few"),
            max_unavailable: Some("1".to_owned()),
            min_available: None,
        },
    );
    let poolers = (0..2)
        .map(|n| {
            let pooler = Pooler {
                unreachable: None,
                version: None,
                databases: BTreeMap::from([(
                    "app".to_owned(),
                    PoolerDatabase {
                        host: Some(format!("{leader}.{name}.db.svc.cluster.local")),
                        port: 5432,
                        dbname: "app".to_owned(),
                        pool_mode: "transaction".to_owned(),
                        paused: false,
                    },
                )]),
                query_wait_timeout_ms: Some(120_000),
                config: Some(PoolerConfig {
                    config_map: db("pgbouncer-config"),
                    key: "pgbouncer.ini".to_owned(),
                    path: "/etc/pgbouncer/pgbouncer.ini".to_owned(),
                    container: "pgbouncer".to_owned(),
                }),
            };
            (db(&format!("pgbouncer-6f7-{n}")), pooler)
        })
        .collect();
    world.databases.insert(
        database.into(),
        Database::Postgres(Postgres {
            stateful_set: db(name),
            members,
            poolers,
            service: None,
            other_agent: None,
            patroni: None,
        }),
    );
}

/// The practice cluster.
pub fn demo() -> Snapshot {
    let mut world = empty("1.36.3");
    world
        .pools
        .insert("syspool".into(), pool("1.36.3", true, &[1, 2], 2));
    world
        .pools
        .insert("dbpool".into(), pool("1.35.4", false, &[1, 2, 3], 3));
    for n in 1..=2 {
        let (name, node) = node(&world, "syspool", n, n - 1);
        world.pods.insert(
            db(&format!("pgbouncer-6f7-{}", n - 1)),
            pod(
                Some(("ReplicaSet", "pgbouncer-6f7")),
                &name,
                &[("app", "pgbouncer")],
                "pgbouncer",
            ),
        );
        world.nodes.insert(name, node);
    }
    let mut nodes = Vec::new();
    for n in 1..=3 {
        let (name, node) = node(&world, "dbpool", n, n - 1);
        nodes.push(name.clone());
        world.nodes.insert(name, node);
    }
    put_set(&mut world, "pg", "orders", &nodes, 0);
    world
}

/// The practice cluster with another set instead of PostgreSQL's, a member on a machine in each of these zones; whoever
/// asks puts the database in.
pub fn with_set(name: &str, database: &str, zones: &[u32]) -> Snapshot {
    let mut world = demo();
    world.pods.clear();
    world.stateful_sets.clear();
    world.claims.clear();
    world.budgets.clear();
    world.databases.clear();
    world
        .nodes
        .retain(|_, node| node.pool.as_ref().is_some_and(|p| p.as_str() == "syspool"));
    let count = u32::try_from(zones.len()).expect("few");
    world
        .pools
        .insert("dbpool".into(), pool("1.35.4", false, &[1, 2, 3], count));
    let mut on = Vec::new();
    for (n, zone) in (0..).zip(zones) {
        let (name, node) = node(&world, "dbpool", *zone, n);
        on.push(name.clone());
        world.nodes.insert(name, node);
    }
    put_set(&mut world, name, database, &on, 0);
    for pod in world.pods.values_mut() {
        pod.containers[0].name = name.to_owned();
    }
    world
}

pub fn postgres<'a>(world: &'a mut Snapshot, database: &str) -> &'a mut Postgres {
    let Some(Database::Postgres(postgres)) = world.databases.get_mut(&database.into()) else {
        panic!("the world has no database {database}");
    };
    postgres
}

pub fn member<'a>(world: &'a mut Snapshot, name: &str) -> &'a mut PostgresFacts {
    postgres(world, "orders")
        .members
        .get_mut(name)
        .and_then(|member| member.facts.as_mut())
        .expect("the member answers")
}

pub fn set(world: &mut Snapshot) -> &mut StatefulSet {
    stateful_set_of(world, "pg")
}

pub fn stateful_set_of<'a>(world: &'a mut Snapshot, name: &str) -> &'a mut StatefulSet {
    world.stateful_sets.get_mut(&db(name)).expect("the set")
}

pub fn pooler(world: &mut Snapshot) -> &mut Pooler {
    postgres(world, "orders")
        .poolers
        .get_mut(&db("pgbouncer-6f7-0"))
        .expect("the pooler")
}

pub fn entry(world: &mut Snapshot) -> &mut PoolerDatabase {
    pooler(world).databases.get_mut("app").expect("the entry")
}

pub fn dbpool(world: &mut Snapshot) -> &mut Pool {
    world.pools.get_mut(&"dbpool".into()).expect("the pool")
}

pub fn old_node(n: u32) -> NodeName {
    NodeName::new(format!("aks-dbpool-12345678-vmss{n:06}"))
}

pub fn pod_of<'a>(world: &'a mut Snapshot, name: &str) -> &'a mut Pod {
    world.pods.get_mut(&db(name)).expect("the pod")
}

pub fn postgres_of(spec: &mut DatabaseSpec) -> &mut PostgresSpec {
    match &mut spec.system {
        System::Postgres(spec) => spec,
        other => panic!("{other:?} is no PostgreSQL"),
    }
}
