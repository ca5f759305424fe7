//! The databases of the input, what they stand on, and what stands in front of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::manifest::Object;
use crate::resilience::databases;
use crate::resilience::operators;
use crate::resilience::scene::{Makes, Scene, Workload, namespace};
use crate::resilience::values::{int, list, text};

/// A database of the input.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Found {
    /// `StatefulSet db/pg`, or the operator's object.
    pub object: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Which one.
    pub system: &'static str,
    /// What that rests on.
    pub evidence: Vec<String>,
    /// It keeps data that is not elsewhere.
    pub durable: bool,
    /// It is a StatefulSet.
    pub is_set: bool,
    /// The operator that owns it.
    pub operator: Option<String>,
    /// Another agent that decides who leads.
    pub agent: Option<String>,
    /// How many members it is asked for.
    pub members: Option<i64>,
    /// How many of its pods are Ready; nothing when the input has none of them.
    pub ready: Option<usize>,
    /// Nodes of its pods.
    pub nodes: BTreeSet<String>,
    /// Zones of those nodes.
    pub zones: BTreeSet<String>,
    /// Whether it is a cluster of shards, where the input says so.
    pub clustered: Option<bool>,
    /// PgBouncer in front of it, `namespace/name`.
    pub poolers: Vec<String>,
    /// The Service that follows its primary.
    pub service: Option<String>,
    /// Container that runs the server.
    pub container: String,
    /// Its port, where it is not the usual one.
    pub port: Option<i64>,
    /// Secrets that its pods use, by name.
    pub secrets: Vec<String>,
    /// Database of the application, where a pooler or a variable names one.
    pub database: Option<String>,
}

/// Custom resources that stand for a database: group, kind, system, operator, path of the members.
const RESOURCES: &[(&str, &str, &str, &str, &str)] = &[
    (
        "postgresql.cnpg.io",
        "Cluster",
        "PostgreSQL",
        "CloudNativePG",
        "/spec/instances",
    ),
    (
        "acid.zalan.do",
        "postgresql",
        "PostgreSQL",
        "Zalando Postgres Operator",
        "/spec/numberOfInstances",
    ),
    (
        "postgres-operator.crunchydata.com",
        "PostgresCluster",
        "PostgreSQL",
        "Crunchy Postgres Operator",
        "/spec/instances/0/replicas",
    ),
    (
        "kafka.strimzi.io",
        "Kafka",
        "Kafka",
        "Strimzi",
        "/spec/kafka/replicas",
    ),
    (
        "elasticsearch.k8s.elastic.co",
        "Elasticsearch",
        "Elasticsearch",
        "ECK",
        "/spec/nodeSets/0/count",
    ),
    (
        "psmdb.percona.com",
        "PerconaServerMongoDB",
        "MongoDB",
        "Percona Operator",
        "/spec/replsets/0/size",
    ),
    (
        "pxc.percona.com",
        "PerconaXtraDBCluster",
        "MySQL",
        "Percona Operator",
        "/spec/pxc/size",
    ),
    (
        "mongodbcommunity.mongodb.com",
        "MongoDBCommunity",
        "MongoDB",
        "MongoDB Community Operator",
        "/spec/members",
    ),
    (
        "mysql.oracle.com",
        "InnoDBCluster",
        "MySQL",
        "MySQL Operator",
        "/spec/instances",
    ),
];

/// Words in a pod that show another agent at work.
const AGENTS: &[(&str, &str)] = &[
    ("patroni", "Patroni"),
    ("spilo", "Patroni"),
    ("repmgr", "repmgr"),
    ("pg_autoctl", "pg_auto_failover"),
    ("stolon", "Stolon"),
];

/// All of them, in the order of their names.
pub(super) fn databases(scene: &Scene<'_>, objects: &[Object]) -> Vec<Found> {
    let mut found: Vec<Found> = scene
        .workloads
        .iter()
        .filter_map(|workload| workload_database(scene, workload))
        .collect();
    let mut operated = resources(objects);
    owned(scene, &mut operated);
    found.extend(operated.into_values());
    found.sort_by(|a, b| {
        (&a.namespace, &a.name, &a.object).cmp(&(&b.namespace, &b.name, &b.object))
    });
    found
}

fn workload_database(scene: &Scene<'_>, workload: &Workload<'_>) -> Option<Found> {
    if !workload.makes.scales() {
        return None;
    }
    let pod = workload.pod();
    let (container, database) = list(pod, "/spec/containers")
        .iter()
        .find_map(|container| Some((container, databases::of_container(container)?)))?;
    let mut found = Found {
        object: workload.name(),
        namespace: workload.namespace().to_owned(),
        name: workload.object.name.to_string(),
        system: database.name,
        evidence: vec![format!(
            "image {}",
            text(container, "/image").unwrap_or_default()
        )],
        durable: database.durable,
        is_set: workload.makes == Makes::StatefulSet,
        members: workload.fewest(),
        container: text(container, "/name").unwrap_or_default().to_owned(),
        ..Found::default()
    };
    if let Some((operator, cluster)) = operators::owner(workload.body) {
        found.operator = Some(operator.to_owned());
        found
            .evidence
            .push(format!("labels of {operator}, cluster {cluster}"));
    }
    labels(workload, &mut found);
    ports(container, &mut found);
    placement(scene, workload, &mut found);
    let words = pod.to_string().to_ascii_lowercase();
    found.agent = AGENTS
        .iter()
        .find(|(word, _)| words.contains(word))
        .map(|(_, agent)| (*agent).to_owned());
    if matches!(database.name, "Redis" | "Valkey") {
        found.clustered = clustered(&words);
    }
    found.secrets = secrets(pod);
    found.database = variable(
        pod,
        &[
            "POSTGRES_DB",
            "POSTGRESQL_DATABASE",
            "PGDATABASE",
            "MARIADB_DATABASE",
            "MYSQL_DATABASE",
            "MONGO_INITDB_DATABASE",
        ],
    );
    if database.name == "PostgreSQL" {
        poolers(scene, workload, &mut found);
    }
    if matches!(database.name, "PostgreSQL" | "MariaDB") {
        found.service = service(scene, workload);
    }
    Some(found)
}

fn labels(workload: &Workload<'_>, found: &mut Found) {
    for (path, what) in [
        ("/metadata/labels/helm.sh~1chart", "chart"),
        (
            "/metadata/labels/app.kubernetes.io~1name",
            "app.kubernetes.io/name",
        ),
    ] {
        if let Some(value) = text(workload.body, path) {
            found.evidence.push(format!("{what} {value}"));
        }
    }
}

fn ports(container: &Value, found: &mut Found) {
    let usual = super::usual_port(found.system);
    let all: Vec<i64> = list(container, "/ports")
        .iter()
        .filter_map(|port| int(port, "/containerPort"))
        .collect();
    match all.iter().find(|port| Some(**port) == usual) {
        Some(port) => found.evidence.push(format!("port {port}")),
        None => found.port = all.first().copied(),
    }
}

/// Where its pods are, by the nodes of the input.
fn placement(scene: &Scene<'_>, workload: &Workload<'_>, found: &mut Found) {
    let zones: BTreeMap<&str, &str> = scene
        .kind("Node")
        .iter()
        .filter_map(|(object, body)| {
            let zone = text(body, "/metadata/labels/topology.kubernetes.io~1zone")?;
            Some((&*object.name, zone))
        })
        .collect();
    let pods: Vec<_> = workload
        .pods
        .iter()
        .filter_map(|at| scene.pods.get(*at))
        .collect();
    if !pods.is_empty() {
        found.ready = Some(
            pods.iter()
                .filter(|pod| pod.is_ready() && !pod.is_leaving())
                .count(),
        );
    }
    for node in pods.iter().filter_map(|pod| pod.node()) {
        found.nodes.insert(node.to_owned());
        found
            .zones
            .extend(zones.get(node).map(|zone| (*zone).to_owned()));
    }
}

/// Does the pod say that it is one of a cluster of shards?
fn clustered(words: &str) -> Option<bool> {
    if words.contains("cluster-enabled no") || words.contains("sentinel") {
        Some(false)
    } else {
        [
            "cluster-enabled",
            "cluster-announce",
            "redis-cluster",
            "valkey-cluster",
        ]
        .iter()
        .any(|word| words.contains(word))
        .then_some(true)
    }
}

fn secrets(pod: &Value) -> Vec<String> {
    let mut names = BTreeSet::new();
    for volume in list(pod, "/spec/volumes") {
        names.extend(text(volume, "/secret/secretName"));
    }
    for container in list(pod, "/spec/containers") {
        for variable in list(container, "/env") {
            names.extend(text(variable, "/valueFrom/secretKeyRef/name"));
        }
        for source in list(container, "/envFrom") {
            names.extend(text(source, "/secretRef/name"));
        }
    }
    names.into_iter().map(str::to_owned).collect()
}

fn variable(pod: &Value, names: &[&str]) -> Option<String> {
    let containers = list(pod, "/spec/containers").iter();
    containers
        .flat_map(|container| list(container, "/env"))
        .find_map(|variable| {
            let known = names.contains(&text(variable, "/name")?);
            known
                .then(|| text(variable, "/value").map(str::to_owned))
                .flatten()
        })
}

/// Poolers in front, and the database that they lead to.
fn poolers(scene: &Scene<'_>, workload: &Workload<'_>, found: &mut Found) {
    let within = workload.namespace();
    let mut configs = BTreeSet::new();
    for other in &scene.workloads {
        let pools = list(other.pod(), "/spec/containers")
            .iter()
            .any(|container| {
                text(container, "/image").is_some_and(|image| image.contains("pgbouncer"))
            });
        // Of several sets in one namespace each would claim it: then nobody does, and a person says.
        if !pools || other.namespace() != within || !other.makes.scales() || sets(scene, within) > 1
        {
            continue;
        }
        found
            .poolers
            .push(format!("{within}/{}", other.object.name));
        for volume in list(other.pod(), "/spec/volumes") {
            configs.extend(text(volume, "/configMap/name"));
        }
    }
    for (object, body) in scene.kind("ConfigMap") {
        if namespace(object) == within
            && configs.contains(&*object.name)
            && found.database.is_none()
        {
            let data = body.pointer("/data").and_then(Value::as_object);
            let texts = data
                .into_iter()
                .flatten()
                .filter_map(|(_, value)| value.as_str());
            found.database = texts.flat_map(str::lines).find_map(dbname);
        }
    }
}

/// The Service that leads to the primary alone.
fn service(scene: &Scene<'_>, workload: &Workload<'_>) -> Option<String> {
    let within = workload.namespace();
    let mut found = None;
    let labels = workload.labels();
    let own = labels.map_or(0, serde_json::Map::len);
    for (object, body) in scene.kind("Service") {
        let selector = body.pointer("/spec/selector");
        let wanted = selector.and_then(Value::as_object);
        // It asks for what all members have and for something more, which only the primary gets.
        let Some(wanted) =
            wanted.filter(|wanted| namespace(object) == within && wanted.len() <= own + 1)
        else {
            continue;
        };
        let (shared, more): (Vec<_>, Vec<_>) = wanted
            .iter()
            .partition(|(key, value)| labels.and_then(|all| all.get(*key)) == Some(value));
        let [(key, value)] = more[..] else { continue };
        let leads = value
            .as_str()
            .is_some_and(|value| matches!(value, "primary" | "master" | "leader"));
        if !shared.is_empty() && leads && !key.contains("statefulset.kubernetes.io") {
            found = Some(format!("{within}/{}", object.name));
        }
    }
    found
}

/// PostgreSQL sets of a namespace.
fn sets(scene: &Scene<'_>, within: &str) -> usize {
    scene
        .workloads
        .iter()
        .filter(|workload| {
            workload.namespace() == within
                && workload.makes == Makes::StatefulSet
                && databases::of(workload).is_some_and(|database| database.name == "PostgreSQL")
        })
        .count()
}

/// `app = host=... dbname=app` of PgBouncer's file.
fn dbname(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with([';', '#']) {
        return None;
    }
    let value = line.split_once("dbname=")?.1;
    let end = value
        .find(|c: char| c.is_whitespace())
        .unwrap_or(value.len());
    value
        .get(..end)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

/// Databases that an operator's resources stand for.
fn resources(objects: &[Object]) -> BTreeMap<(String, String), Found> {
    let mut found = BTreeMap::new();
    for object in objects {
        let group = object.api.split('/').next().unwrap_or_default();
        let known = RESOURCES
            .iter()
            .find(|(known, kind, ..)| *known == group && *kind == &*object.kind);
        let Some((_, kind, system, operator, path)) = known else {
            continue;
        };
        let within = namespace(object).to_owned();
        let name = object.name.to_string();
        found.insert(
            (within.clone(), name.clone()),
            Found {
                object: format!("{kind} {within}/{name}"),
                namespace: within,
                name,
                system,
                evidence: vec![format!("{kind} of {}", object.api)],
                durable: true,
                operator: Some((*operator).to_owned()),
                members: object.body.as_deref().and_then(|body| int(body, path)),
                ..Found::default()
            },
        );
    }
    found
}

/// Databases whose operator shows by its sets and pods alone, and the state of the pods of all.
fn owned(scene: &Scene<'_>, found: &mut BTreeMap<(String, String), Found>) {
    for (kind, bodies) in [
        ("StatefulSet", scene.kind("StatefulSet")),
        ("Pod", scene.kind("Pod")),
    ] {
        for (object, body) in bodies {
            let pod = if kind == "Pod" { "" } else { "/spec/template" };
            let containers = list(body, &format!("{pod}/spec/containers"));
            let Some(database) = containers.iter().find_map(databases::of_container) else {
                continue;
            };
            let Some((operator, cluster)) = operators::owner(body) else {
                continue;
            };
            let controlled = list(body, "/metadata/ownerReferences")
                .iter()
                .any(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true));
            // A set without a controller is a workload of its own, found above.
            if !controlled {
                continue;
            }
            let within = namespace(object).to_owned();
            let name = if cluster.is_empty() {
                object.name.to_string()
            } else {
                cluster
            };
            let entry = found
                .entry((within.clone(), name.clone()))
                .or_insert_with(|| Found {
                    object: format!("{kind} {within}/{}", object.name),
                    namespace: within,
                    name,
                    system: database.name,
                    evidence: vec![format!("{kind} of {operator}")],
                    durable: database.durable,
                    operator: Some(operator.to_owned()),
                    ..Found::default()
                });
            if kind == "Pod" {
                let ready = list(body, "/status/conditions").iter().any(|condition| {
                    text(condition, "/type") == Some("Ready")
                        && text(condition, "/status") == Some("True")
                });
                *entry.ready.get_or_insert(0) += usize::from(ready);
                entry
                    .nodes
                    .extend(text(body, "/spec/nodeName").map(str::to_owned));
            }
        }
    }
}
