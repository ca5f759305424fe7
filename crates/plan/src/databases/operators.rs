//! Operators: controllers that own a database and decide who leads. Each by what it writes on its objects, with the way
//! that its own documentation gives to move the role.
//!
//! Nothing here acts. A database in an operator's charge is refused: whatever is done to its members behind the
//! operator's back is seen as a failure there, and repaired at the same time.
//!
//! # Source
//! The documentation of each operator, as quoted in `docs/errors/FW0162.md`.

use std::collections::BTreeMap;

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::ids::ObjectRef;
use crate::scope::DatabaseScope;
use crate::world::{Owner, Snapshot};

/// An operator.
#[derive(Debug)]
pub(crate) struct Operator {
    /// As it calls itself.
    pub(crate) name: &'static str,
    /// Labels of its objects, with the value where only that one tells.
    labels: &'static [(&'static str, Option<&'static str>)],
    /// Kinds of its resources, where they own sets or pods.
    kinds: &'static [&'static str],
    /// How it is asked to move the role, by its own documentation.
    way: &'static str,
}

/// The label that several operators share, with a value of their own.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// All of them. Where two share a label, the more particular one comes first.
const OPERATORS: &[Operator] = &[
    Operator {
        name: "CloudNativePG",
        labels: &[("cnpg.io/cluster", None)],
        // Its kind is `Cluster`, as many others' is: the label tells.
        kinds: &[],
        way: "`kubectl cnpg promote CLUSTER INSTANCE`, which sets status.targetPrimary of its Cluster; or cordon the primary's \
              node: it switches over by itself, and its budget lets the drain through afterwards; a Pooler holds clients \
              while spec.pgbouncer.paused is true",
    },
    Operator {
        name: "Percona Operator for PostgreSQL",
        labels: &[
            ("pgv2.percona.com/version", None),
            (MANAGED_BY, Some("percona-postgresql-operator")),
        ],
        kinds: &["PerconaPGCluster"],
        way: "on its PerconaPGCluster: spec.patroni.switchover.enabled: true with targetInstance, then the annotation \
              postgres-operator.crunchydata.com/trigger-switchover with a new value",
    },
    Operator {
        name: "Crunchy Postgres for Kubernetes",
        labels: &[("postgres-operator.crunchydata.com/cluster", None)],
        kinds: &["PostgresCluster"],
        way: "on its PostgresCluster: spec.patroni.switchover.enabled: true with targetInstance, then the annotation \
              postgres-operator.crunchydata.com/trigger-switchover with a new value",
    },
    Operator {
        name: "Zalando's Postgres Operator",
        labels: &[("application", Some("spilo")), ("spilo-role", None)],
        kinds: &["postgresql"],
        way: "`patronictl switchover` in a member's pod; or set node_readiness_label in the operator's configuration: it then \
              moves the master off a node that loses the label",
    },
    Operator {
        name: "StackGres",
        labels: &[
            ("stackgres.io/cluster", None),
            ("stackgres.io/cluster-name", None),
        ],
        kinds: &["SGCluster", "SGShardedCluster"],
        way: "`patronictl switchover` in the container `patroni` of a member's pod",
    },
    Operator {
        name: "Strimzi",
        labels: &[("strimzi.io/cluster", None)],
        kinds: &["StrimziPodSet", "Kafka"],
        way: "install Strimzi's Drain Cleaner: an eviction becomes a rolling restart by the operator, which waits for replicas \
              in sync; or annotate a pod strimzi.io/manual-rolling-update=true",
    },
    Operator {
        name: "Confluent for Kubernetes",
        labels: &[("platform.confluent.io/type", None)],
        kinds: &[],
        way: "drain one node at a time: its budget allows one broker, and it waits for under-replicated partitions",
    },
    Operator {
        name: "Koperator",
        labels: &[("kafka_cr", None)],
        kinds: &["KafkaCluster"],
        way: "let it roll the brokers: it does so while no partition is under-replicated",
    },
    Operator {
        name: "ECK",
        labels: &[("elasticsearch.k8s.elastic.co/cluster-name", None)],
        kinds: &["Elasticsearch"],
        way: "drain one node at a time while the cluster is green: its budget allows one pod then and none else",
    },
    Operator {
        name: "OpenSearch Operator",
        labels: &[
            ("opster.io/opensearch-cluster", None),
            ("opensearch.org/opensearch-cluster", None),
        ],
        kinds: &["OpenSearchCluster"],
        way: "spec.general.drainDataNodes: true on its OpenSearchCluster, and let it restart node after node",
    },
    Operator {
        name: "Percona Operator for MySQL (XtraDB Cluster)",
        labels: &[(MANAGED_BY, Some("percona-xtradb-cluster-operator"))],
        kinds: &["PerconaXtraDBCluster"],
        way: "drain one node at a time: every member takes writes, its budget allows one away, and HAProxy or ProxySQL leads \
              clients to the others",
    },
    Operator {
        name: "Percona Operator for MySQL",
        labels: &[(MANAGED_BY, Some("percona-server-mysql-operator"))],
        kinds: &["PerconaServerMySQL"],
        way: "let its smart update restart the members: replicas first, the primary last",
    },
    Operator {
        name: "mariadb-operator",
        labels: &[("k8s.mariadb.com/role", None)],
        kinds: &["MariaDB"],
        way: "spec.replication.primary.podIndex of its MariaDB: the ordinal that shall lead",
    },
    Operator {
        name: "MySQL Operator",
        labels: &[("mysql.oracle.com/cluster", None)],
        kinds: &["InnoDBCluster"],
        way: "`cluster.setPrimaryInstance()` in MySQL Shell, in a member's pod",
    },
    Operator {
        name: "Percona Operator for MongoDB",
        labels: &[(MANAGED_BY, Some("percona-server-mongodb-operator"))],
        kinds: &["PerconaServerMongoDB"],
        way: "updateStrategy: SmartUpdate on its PerconaServerMongoDB: it restarts the secondaries first and steps the primary \
              down before its own turn",
    },
    Operator {
        name: "MongoDB Controllers for Kubernetes",
        labels: &[(MANAGED_BY, Some("mongodb-kubernetes-operator"))],
        kinds: &["MongoDBCommunity", "MongoDB", "MongoDBMultiCluster"],
        way: "its agent beside each member owns the configuration of the set: raise the priority of the member that shall lead \
              in memberConfig of its resource",
    },
    Operator {
        name: "Redis Operator (OT-CONTAINER-KIT)",
        labels: &[("redis_setup_type", None)],
        kinds: &["RedisCluster", "RedisReplication", "Redis", "RedisSentinel"],
        way: "drain one node at a time behind its budget; it repairs roles by itself when a pod is away, so stop the operator \
              before anybody else moves a primary",
    },
    Operator {
        name: "Redis Operator (RedisFailover)",
        labels: &[
            ("redisfailovers.databases.spotahome.com/name", None),
            ("redisfailovers-role", None),
        ],
        kinds: &["RedisFailover"],
        way: "`SENTINEL FAILOVER mymaster` on one of its sentinels: the operator follows what they decide",
    },
    Operator {
        name: "Redis Enterprise",
        labels: &[("app", Some("redis-enterprise"))],
        kinds: &["RedisEnterpriseCluster"],
        way: "`rladmin node ID maintenance_mode on` in a pod before its node is drained, and off afterwards",
    },
];

/// An operator with what was seen of it.
#[derive(Debug)]
pub(crate) struct InCharge {
    /// Who; `None`: an owner that is not known here.
    pub(crate) operator: Option<&'static Operator>,
    /// Object and field.
    pub(crate) evidence: Vec<String>,
}

/// The operator of a database, by its set and its members.
pub(crate) fn of(database: &DatabaseScope<'_>) -> Option<InCharge> {
    let set = format!("StatefulSet {}", database.set_name);
    let mut seen = InCharge {
        operator: None,
        evidence: Vec::new(),
    };
    look(
        &mut seen,
        &set,
        &database.set.labels,
        database.set.owner.as_ref(),
    );
    for member in database.members.values() {
        if seen.operator.is_some() {
            break;
        }
        // The owner of a member is the set itself.
        look(
            &mut seen,
            &format!("Pod {}", member.name),
            &member.pod.labels,
            None,
        );
    }
    (!seen.evidence.is_empty()).then_some(seen)
}

/// The operator of pods that belong to no stateful set: those of the cluster with the name that the spec gives the set.
pub(crate) fn without_set(world: &Snapshot, set: &ObjectRef) -> Option<InCharge> {
    let of_cluster = |name: &ObjectRef| {
        name.namespace == set.namespace
            && name
                .name
                .strip_prefix(&set.name)
                .is_some_and(|rest| rest.starts_with('-'))
    };
    world
        .pods
        .iter()
        .filter(|(name, _)| of_cluster(name))
        .find_map(|(name, pod)| {
            let mut seen = InCharge {
                operator: None,
                evidence: Vec::new(),
            };
            let owner = pod.owner.as_ref().filter(|o| !is_of_kubernetes(&o.kind));
            look(&mut seen, &format!("Pod {name}"), &pod.labels, owner);
            seen.operator.is_some().then_some(seen)
        })
}

/// The refusal with the operator's own way; `otherwise` is what to do about an owner whose ways are not known.
pub(crate) fn refusal(subject: &ObjectRef, seen: InCharge, otherwise: &str) -> Diagnostic {
    let (who, fix) = match seen.operator {
        Some(operator) => (
            operator.name,
            format!(
                "ask {} to move the role: {}; leave the database out of this spec",
                operator.name, operator.way
            ),
        ),
        None => ("somebody else", otherwise.to_owned()),
    };
    let mut diagnostic = Diagnostic::new(
        codes::OTHER_AGENT,
        subject,
        format!("{who} decides who leads here, and would act against us"),
    )
    .fix(fix);
    diagnostic.evidence = seen.evidence;
    diagnostic
}

fn look(
    seen: &mut InCharge,
    object: &str,
    labels: &BTreeMap<String, String>,
    owner: Option<&Owner>,
) {
    let by_owner = owner.and_then(|owner| {
        OPERATORS
            .iter()
            .find(|operator| operator.kinds.contains(&owner.kind.as_str()))
    });
    if let Some(owner) = owner {
        seen.evidence.push(format!(
            "{object}: metadata.ownerReferences names {} {}",
            owner.kind, owner.name
        ));
    }
    // A label is more particular than a kind: some operators own sets by a kind that another one has too.
    let by_label = OPERATORS.iter().find_map(|operator| {
        let mut marks = operator.labels.iter();
        let (key, value) = marks.find_map(|(key, wanted)| {
            let value = labels.get(*key)?;
            wanted
                .is_none_or(|wanted| wanted == value)
                .then_some((key, value))
        })?;
        Some((
            operator,
            format!("{object}: metadata.labels has {key}={value}"),
        ))
    });
    if let Some((_, evidence)) = &by_label {
        seen.evidence.push(evidence.clone());
    }
    let found = by_label.map(|(operator, _)| operator).or(by_owner);
    seen.operator = seen.operator.or(found);
}

/// Owners of pods that are Kubernetes' own.
fn is_of_kubernetes(kind: &str) -> bool {
    matches!(
        kind,
        "StatefulSet" | "ReplicaSet" | "DaemonSet" | "Job" | "Node"
    )
}
