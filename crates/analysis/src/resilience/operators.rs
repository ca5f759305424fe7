//! Budgets that an operator keeps. Some allow nothing on purpose: the operator moves the primary away
//! when a node is cordoned, and the eviction that was refused goes through afterwards. Such a budget is
//! no deadlock unless the operator has nowhere to move to.
//!
//! # Source
//! CloudNativePG: "Kubernetes upgrade and maintenance". Zalando: administrator guide, "Pod disruption
//! budget". Strimzi: "Draining pods", Drain Cleaner. ECK: "Pod disruption budget".

use serde_json::Value;

use super::arithmetic::{Count, Rule};
use super::scene::{Budget, Scene, namespace};
use super::values::{at, flag, int, list, text};
use crate::manifest::Object;

/// What an operator does about a drain.
pub(crate) enum Conduct<'a> {
    /// An ordinary budget, which the operator writes: change it there.
    Ordinary,
    /// Allows nothing on purpose, and hands over by itself.
    HandsOver(&'static str),
    /// Allows nothing on purpose, and waits for something.
    Waits(&'static str),
    /// Allows nothing and never will. What to change, where the input has it.
    Deadlock(String, Option<Cure<'a>>),
}

/// A field of the operator's resource that ends a deadlock.
pub(crate) struct Cure<'a> {
    pub object: &'a Object,
    pub body: &'a Value,
    pub path: &'static str,
    pub value: i64,
}

/// A budget that an operator keeps.
pub(crate) struct Managed<'a> {
    pub operator: &'static str,
    pub cluster: String,
    pub conduct: Conduct<'a>,
}

/// API groups of owners, their operator, and the label that names the cluster.
const OPERATORS: &[(&str, &str, &str)] = &[
    ("postgresql.cnpg.io", "CloudNativePG", "cnpg.io/cluster"),
    ("acid.zalan.do", "Zalando Postgres Operator", "cluster-name"),
    ("strimzi.io", "Strimzi", "strimzi.io/cluster"),
    (
        "elasticsearch.k8s.elastic.co",
        "ECK",
        "elasticsearch.k8s.elastic.co/cluster-name",
    ),
    (
        "postgres-operator.crunchydata.com",
        "Crunchy Postgres Operator",
        "postgres-operator.crunchydata.com/cluster",
    ),
    (
        "percona.com",
        "Percona Operator",
        "app.kubernetes.io/instance",
    ),
    (
        "mongodbcommunity.mongodb.com",
        "MongoDB Community Operator",
        "app",
    ),
    (
        "mysql.oracle.com",
        "MySQL Operator",
        "mysql.oracle.com/cluster",
    ),
    (
        "rabbitmq.com",
        "RabbitMQ Cluster Operator",
        "app.kubernetes.io/name",
    ),
    ("redis.redis.opstreelabs.in", "Redis Operator", "app"),
    (
        "crdb.cockroachlabs.com",
        "CockroachDB Operator",
        "app.kubernetes.io/instance",
    ),
    ("scylla.scylladb.com", "Scylla Operator", "scylla/cluster"),
    (
        "cassandra.datastax.com",
        "cass-operator",
        "cassandra.datastax.com/cluster",
    ),
    ("stackgres.io", "StackGres", "stackgres.io/cluster-name"),
    ("minio.min.io", "MinIO Operator", "v1.min.io/tenant"),
    (
        "opensearch.opster.io",
        "OpenSearch Operator",
        "opster.io/opensearch-cluster",
    ),
];

/// Who keeps this budget, if an operator does.
pub(crate) fn of<'a>(budget: &Budget<'a>, scene: &Scene<'a>) -> Option<Managed<'a>> {
    let (operator, label) = recognise(budget.body)?;
    let cluster = cluster(budget.body, label);
    let within = namespace(budget.object);
    let conduct = match operator {
        "CloudNativePG" => cnpg(budget, scene, within, &cluster),
        "Zalando Postgres Operator" => zalando(budget, scene, within, &cluster),
        "Strimzi" => strimzi(budget, scene),
        "ECK" => Conduct::Waits(
            "allows one pod while the cluster is green and none else: bring it to green, and keep replicas of every index",
        ),
        _ => Conduct::Ordinary,
    };
    Some(Managed {
        operator,
        cluster,
        conduct,
    })
}

/// The operator that an object belongs to, and the name of its cluster.
pub(crate) fn owner(body: &Value) -> Option<(&'static str, String)> {
    let (operator, label) = recognise(body)?;
    Some((operator, cluster(body, label)))
}

fn recognise(body: &Value) -> Option<(&'static str, &'static str)> {
    for owner in list(body, "/metadata/ownerReferences") {
        let group = text(owner, "/apiVersion")?.split('/').next()?;
        let found = OPERATORS.iter().find(|(known, ..)| {
            group
                .strip_suffix(known)
                .is_some_and(|above| above.is_empty() || above.ends_with('.'))
        });
        if let Some((_, operator, label)) = found {
            return Some((operator, label));
        }
    }
    // Without an owner, the operator's own labels tell.
    for path in ["/metadata/labels", "/spec/selector/matchLabels"] {
        let labels = at(body, path).and_then(Value::as_object);
        for (key, value) in labels.into_iter().flatten() {
            let own = OPERATORS.iter().find(|(_, _, label)| {
                label.contains('/') && !label.starts_with("app.kubernetes.io/") && key == label
            });
            if let Some((_, operator, label)) = own {
                return Some((operator, label));
            }
            if key == "application" && value.as_str() == Some("spilo") {
                return Some(("Zalando Postgres Operator", "cluster-name"));
            }
        }
    }
    None
}

fn cluster(body: &Value, label: &str) -> String {
    let label = super::values::escape(label);
    ["/metadata/labels", "/spec/selector/matchLabels"]
        .iter()
        .find_map(|path| text(body, &format!("{path}/{label}")))
        .or_else(|| text(body, "/metadata/ownerReferences/0/name"))
        .unwrap_or_default()
        .to_owned()
}

fn cnpg<'a>(budget: &Budget<'a>, scene: &Scene<'a>, within: &str, cluster: &str) -> Conduct<'a> {
    let resource = scene
        .get("Cluster", within, cluster)
        .filter(|(object, _)| object.api.starts_with("postgresql.cnpg.io/"));
    let members = resource
        .and_then(|(_, body)| int(body, "/spec/instances"))
        .or_else(|| members(scene, within, "cnpg.io/cluster", cluster));
    let role = ["cnpg.io~1instanceRole", "role"]
        .iter()
        .find_map(|label| text(budget.body, &format!("/spec/selector/matchLabels/{label}")));
    if role == Some("replica") {
        return Conduct::Ordinary;
    }
    let maintained = resource.is_some_and(|(_, body)| {
        flag(body, "/spec/nodeMaintenanceWindow/inProgress") == Some(true)
    });
    match members {
        Some(1) if !maintained => Conduct::Deadlock(
            "the cluster has one instance, so there is nobody to switch over to".to_owned(),
            resource.map(|(object, body)| Cure {
                object,
                body,
                path: "/spec/instances",
                value: 2,
            }),
        ),
        _ => Conduct::HandsOver(
            "disruptionsAllowed is always 0 here: when the primary's node is cordoned the operator switches over, \
             and the eviction goes through afterwards",
        ),
    }
}

fn zalando<'a>(budget: &Budget<'a>, scene: &Scene<'a>, within: &str, cluster: &str) -> Conduct<'a> {
    if text(budget.body, "/spec/selector/matchLabels/spilo-role") != Some("master") {
        return Conduct::Ordinary;
    }
    let resource = scene.get("postgresql", within, cluster);
    let members = resource
        .and_then(|(_, body)| int(body, "/spec/numberOfInstances"))
        .or_else(|| members(scene, within, "cluster-name", cluster));
    if members == Some(1) {
        return Conduct::Deadlock(
            "the cluster has one instance, so there is nobody to switch over to".to_owned(),
            resource.map(|(object, body)| Cure {
                object,
                body,
                path: "/spec/numberOfInstances",
                value: 2,
            }),
        );
    }
    Conduct::Waits(
        "the operator moves masters only off nodes that lack its node_readiness_label: without one configured the drain \
         waits until somebody switches over (patronictl switchover)",
    )
}

fn strimzi<'a>(budget: &Budget<'a>, scene: &Scene<'a>) -> Conduct<'a> {
    let pods = i64::try_from(budget.pods.len()).unwrap_or(i64::MAX);
    let closed = match Rule::of(budget.body) {
        Ok(rule) if pods > 0 => rule.never(Count { pods, scale: pods }),
        Ok(Rule::MaxUnavailable(bound)) => bound.of_total(1) == 0,
        _ => false,
    };
    if !closed {
        return Conduct::Ordinary;
    }
    let cleaner = scene
        .kind("ValidatingWebhookConfiguration")
        .iter()
        .any(|(object, _)| object.name.contains("drain-cleaner"));
    if cleaner {
        return Conduct::HandsOver(
            "allows nothing on purpose: the Drain Cleaner's webhook turns an eviction into a rolling restart by the operator",
        );
    }
    Conduct::Deadlock(
        "maxUnavailable is 0 in the Kafka resource and there is no Drain Cleaner to turn evictions into rolling restarts: \
         install it, or set template.podDisruptionBudget.maxUnavailable to 1"
            .to_owned(),
        None,
    )
}

/// Pods of a cluster, where the input has any.
fn members(scene: &Scene<'_>, within: &str, label: &str, cluster: &str) -> Option<i64> {
    let count = scene
        .pods
        .iter()
        .filter(|pod| namespace(pod.object) == within && !pod.is_finished())
        .filter(|pod| {
            pod.labels()
                .and_then(|all| all.get(label))
                .and_then(Value::as_str)
                == Some(cluster)
        })
        .count();
    (count > 0).then_some(i64::try_from(count).unwrap_or(i64::MAX))
}
