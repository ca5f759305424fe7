//! The rules.
//!
//! Expressions group by `cluster` too: one workspace of Azure holds many clusters, and where the label
//! is missing it is missing on both sides. Members of a database are told apart by `namespace` and
//! `job`, which the monitors give.

use super::{Requests, Watched};

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody is woken.
    Critical,
    /// Somebody looks today.
    Warning,
    /// To know.
    Info,
}

impl Severity {
    /// Its name in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// Azure's number: 0 critical, 1 error, 2 warning, 3 informational, 4 verbose.
    pub fn azure(self) -> u8 {
        match self {
            Self::Critical => 1,
            Self::Warning => 2,
            Self::Info => 3,
        }
    }
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Name.
    pub name: &'static str,
    /// PromQL.
    pub expression: String,
    /// Minutes for which it must hold.
    pub minutes: u32,
    /// How loud.
    pub severity: Severity,
    /// What is so, with the labels that say where.
    pub summary: &'static str,
    /// What to do.
    pub action: &'static str,
}

/// Alerts that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: &'static str,
    /// Its alerts.
    pub alerts: Vec<Alert>,
}

fn alert(
    name: &'static str,
    expression: &str,
    minutes: u32,
    severity: Severity,
    summary: &'static str,
    action: &'static str,
) -> Alert {
    Alert {
        name,
        expression: expression.to_owned(),
        minutes,
        severity,
        summary,
        action,
    }
}

use Severity::{Critical, Info, Warning};

/// The rules for the nodes, and for what is watched.
pub fn groups(watched: &[Watched], requests: Option<&Requests>) -> Vec<Group> {
    let mut groups = vec![nodes(), workloads()];
    for one in watched {
        groups.push(match one {
            Watched::Postgres => postgres(),
            Watched::Redis => redis(),
            Watched::Mongodb => mongodb(),
            Watched::Kafka => kafka(),
            Watched::Elasticsearch => elasticsearch(),
            Watched::Mysql => mysql(),
            Watched::Memcached => memcached(),
        });
    }
    groups.extend(requests.map(application));
    groups
}

fn nodes() -> Group {
    Group {
        name: "ferriswheel-nodes",
        alerts: vec![
            // A cordon is what can be seen of an upgrade; it is not a proof of one.
            alert(
                "NodeCordoned",
                "max by (cluster, node) (kube_node_spec_unschedulable) == 1",
                1,
                Info,
                "{{ $labels.node }} takes no new pods",
                "During an upgrade: expected. Otherwise: kubectl uncordon, or finish what began it.",
            ),
            // 30 minutes: AKS gives a node up after so long unless its pool says otherwise.
            alert(
                "NodeDrainStuck",
                "count by (cluster, node) ((kube_pod_info{created_by_kind!~\"DaemonSet|Node\", node!=\"\"} unless on (cluster, namespace, pod) (kube_pod_status_phase{phase=~\"Succeeded|Failed\"} == 1)) and on (cluster, node) (kube_node_spec_unschedulable == 1)) > 0",
                30,
                Critical,
                "{{ $value }} pods stay on {{ $labels.node }}, which has been cordoned for half an hour",
                "See which budget refuses: kubectl get pdb -A. Do not delete pods by force.",
            ),
            alert(
                "BudgetHoldsDrain",
                "(kube_poddisruptionbudget_status_pod_disruptions_allowed == 0 and kube_poddisruptionbudget_status_expected_pods > 0) and on (cluster) (max by (cluster) (kube_node_spec_unschedulable) == 1)",
                10,
                Warning,
                "{{ $labels.namespace }}/{{ $labels.poddisruptionbudget }} has let no pod go for ten minutes while a node is cordoned",
                "Bring the missing pod back to Ready; a database's member may still be catching up.",
            ),
            alert(
                "BudgetNeverAllows",
                "kube_poddisruptionbudget_status_pod_disruptions_allowed == 0 and kube_poddisruptionbudget_status_expected_pods > 0 and kube_poddisruptionbudget_status_current_healthy >= kube_poddisruptionbudget_status_expected_pods",
                15,
                Warning,
                "{{ $labels.namespace }}/{{ $labels.poddisruptionbudget }} lets no pod go although all of them are healthy",
                "No drain will get past it: ferriswheel check says how to change it. An operator may keep it so on purpose.",
            ),
            alert(
                "NodeNotReady",
                "max by (cluster, node) (kube_node_status_condition{condition=\"Ready\", status=\"true\"}) == 0",
                5,
                Critical,
                "{{ $labels.node }} is not Ready",
                "Stop the upgrade before the next node: a second one may take a quorum.",
            ),
            // Four hours: a pool of a hundred nodes with a soak is through by then, or stands.
            alert(
                "NodesOnSeveralVersions",
                "count by (cluster) (count by (cluster, kubelet_version) (kube_node_info)) > 1",
                240,
                Info,
                "the nodes have run {{ $value }} versions for four hours",
                "An upgrade stands half done: az aks nodepool list, and ferriswheel check on a snapshot.",
            ),
            alert(
                "NodeMemoryShort",
                "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.05",
                10,
                Warning,
                "{{ $labels.instance }} has less than a twentieth of its memory left",
                "Drained pods crowd the nodes that are left: raise maxSurge, or add a node.",
            ),
        ],
    }
}

fn workloads() -> Group {
    Group {
        name: "ferriswheel-workloads",
        alerts: vec![
            alert(
                "PodsNotPlaced",
                "sum by (cluster, namespace) (kube_pod_status_phase{phase=\"Pending\"}) > 0",
                10,
                Warning,
                "{{ $value }} pods of {{ $labels.namespace }} have been Pending for ten minutes",
                "kubectl describe says why: room, a zone without a node, a taint.",
            ),
            alert(
                "MemberMissing",
                "kube_statefulset_status_replicas_ready < kube_statefulset_replicas",
                10,
                Critical,
                "{{ $labels.namespace }}/{{ $labels.statefulset }} is not whole: {{ $value }} members are Ready",
                "The next drain of a node would take one more: pause the upgrade.",
            ),
            // A restart is not a refused eviction: no metric counts those.
            alert(
                "ContainerRestarts",
                "increase(kube_pod_container_status_restarts_total[10m]) > 3",
                1,
                Warning,
                "{{ $labels.namespace }}/{{ $labels.pod }} restarts again and again",
                "See the last end: kubectl logs --previous.",
            ),
            alert(
                "VolumeAlmostFull",
                "kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes < 0.1",
                15,
                Warning,
                "{{ $labels.namespace }}/{{ $labels.persistentvolumeclaim }} has less than a tenth left",
                "A primary keeps the log that its replicas have not taken: grow the volume before the upgrade.",
            ),
            // 26 hours: a daily job, and two hours of room.
            alert(
                "BackupTooOld",
                "time() - max by (cluster, namespace, cronjob) (kube_cronjob_status_last_successful_time{cronjob=~\".*(backup|dump|snapshot).*\"}) > 93600",
                5,
                Warning,
                "{{ $labels.namespace }}/{{ $labels.cronjob }} has not succeeded for a day",
                "A Job that completes is no proof either: restore one backup before the upgrade.",
            ),
            alert(
                "JobFailed",
                "max by (cluster, namespace, job_name) (kube_job_status_failed{job_name=~\"(ferriswheel|.*(backup|dump|snapshot|scan|feature-check)).*\"}) > 0",
                1,
                Warning,
                "{{ $labels.namespace }}/{{ $labels.job_name }} has failed",
                "kubectl logs job/{{ $labels.job_name }}",
            ),
        ],
    }
}

fn postgres() -> Group {
    Group {
        name: "ferriswheel-postgres",
        alerts: vec![
            alert(
                "PostgresDown",
                "pg_up == 0",
                1,
                Critical,
                "{{ $labels.instance }} does not answer",
                "One member may be away while its node is replaced; two may not.",
            ),
            alert(
                "PostgresNoPrimary",
                "sum by (cluster, namespace, job) (1 - pg_replication_is_replica) == 0",
                1,
                Critical,
                "{{ $labels.namespace }}/{{ $labels.job }} has no primary",
                "ferriswheel status says whether a hand-over is under way; do not promote by hand before.",
            ),
            alert(
                "PostgresTwoPrimaries",
                "sum by (cluster, namespace, job) (1 - pg_replication_is_replica) > 1",
                1,
                Critical,
                "{{ $labels.namespace }}/{{ $labels.job }} has {{ $value }} members that accept writes",
                "Fence the one that clients should not reach, before anything else.",
            ),
            // The time since the last replayed transaction grows on an idle primary too: only together
            // with bytes that wait is it lag.
            alert(
                "PostgresReplicationLag",
                "(pg_replication_lag_seconds > 10 and pg_replication_is_replica == 1) and on (cluster, namespace, job) (max by (cluster, namespace, job) (pg_stat_replication_pg_wal_lsn_diff) > 0)",
                2,
                Warning,
                "{{ $labels.instance }} is {{ $value }} s behind",
                "No hand-over now: it would wait, or lose what has not arrived.",
            ),
            alert(
                "PostgresReplicationLagBytes",
                "pg_stat_replication_pg_wal_lsn_diff > 67108864",
                2,
                Warning,
                "{{ $labels.application_name }} of {{ $labels.namespace }}/{{ $labels.job }} is {{ $value }} bytes behind",
                "Let it catch up before its node or the primary's is taken.",
            ),
            alert(
                "PostgresReplicaNotStreaming",
                "sum by (cluster, namespace, job) (pg_replication_is_replica) - (count by (cluster, namespace, job) (pg_stat_replication_pg_wal_lsn_diff) or 0 * sum by (cluster, namespace, job) (pg_replication_is_replica)) > 0",
                5,
                Critical,
                "{{ $value }} replicas of {{ $labels.namespace }}/{{ $labels.job }} do not stream, Ready or not",
                "Redundancy is gone: stop before the next node.",
            ),
        ],
    }
}

fn redis() -> Group {
    Group {
        name: "ferriswheel-redis",
        alerts: vec![
            alert(
                "RedisDown",
                "redis_up == 0",
                1,
                Critical,
                "{{ $labels.instance }} does not answer",
                "Expected for the one pod whose node is replaced.",
            ),
            alert(
                "RedisClusterDown",
                "redis_cluster_state == 0",
                1,
                Critical,
                "{{ $labels.instance }} says that the cluster is down",
                "CLUSTER NODES on several members: they may not agree.",
            ),
            alert(
                "RedisSlotsFail",
                "max by (cluster, namespace, job) (redis_cluster_slots_fail) > 0",
                1,
                Critical,
                "{{ $value }} slots of {{ $labels.namespace }}/{{ $labels.job }} are served by nobody",
                "Bring the shard's pod back; do not CLUSTER FAILOVER TAKEOVER.",
            ),
            alert(
                "RedisReplicaLinkDown",
                "redis_master_link_up == 0",
                2,
                Warning,
                "{{ $labels.instance }} has lost its primary",
                "Its shard has no second copy: no hand-over there now.",
            ),
            alert(
                "RedisPrimaryWithoutReplica",
                "redis_connected_slaves == 0 and on (cluster, namespace, instance) redis_instance_info{role=\"master\"}",
                5,
                Warning,
                "{{ $labels.instance }} is a primary without a replica",
                "Losing its node now loses the shard.",
            ),
        ],
    }
}

fn mongodb() -> Group {
    Group {
        name: "ferriswheel-mongodb",
        alerts: vec![
            alert(
                "MongodbDown",
                "mongodb_up == 0",
                1,
                Critical,
                "{{ $labels.instance }} does not answer",
                "Expected for the one member whose node is replaced.",
            ),
            alert(
                "MongodbMemberUnhealthy",
                "min by (cluster, namespace, job, member_idx) (mongodb_rs_members_health) == 0",
                2,
                Warning,
                "{{ $labels.member_idx }} is not healthy",
                "No stepDown before it is back.",
            ),
            alert(
                "MongodbNoPrimary",
                "count by (cluster, namespace, job) (mongodb_rs_members_state) unless count by (cluster, namespace, job) (mongodb_rs_members_state == 1)",
                1,
                Critical,
                "{{ $labels.namespace }}/{{ $labels.job }} has no primary",
                "rs.status(): a majority may be missing.",
            ),
            // optimeDate is in milliseconds.
            alert(
                "MongodbReplicationLag",
                "(max by (cluster, namespace, job) (mongodb_rs_members_optimeDate{member_state=\"PRIMARY\"}) - on (cluster, namespace, job) group_right () min by (cluster, namespace, job, member_idx) (mongodb_rs_members_optimeDate{member_state=\"SECONDARY\"})) / 1000 > 10",
                2,
                Warning,
                "{{ $labels.member_idx }} is {{ $value }} s behind",
                "stepDown waits for a secondary that has caught up.",
            ),
        ],
    }
}

fn kafka() -> Group {
    Group {
        name: "ferriswheel-kafka",
        alerts: vec![
            alert(
                "KafkaUnderReplicated",
                "sum by (cluster, namespace, job) (kafka_topic_partition_under_replicated_partition) > 0",
                10,
                Warning,
                "{{ $value }} partitions lack a replica",
                "No next broker before this is 0.",
            ),
            // Two: the usual min.insync.replicas; below it writes with acks=all fail.
            alert(
                "KafkaBelowTwoInSync",
                "count by (cluster, namespace, job) (kafka_topic_partition_in_sync_replica < 2 and kafka_topic_partition_replicas > 2) > 0",
                2,
                Critical,
                "{{ $value }} partitions have fewer than two replicas in sync",
                "Producers with acks=all are refused: bring the broker back first.",
            ),
            alert(
                "KafkaBrokerMissing",
                "max by (cluster, namespace, job) (kafka_brokers) < max by (cluster, namespace, job) (max_over_time(kafka_brokers[6h]))",
                10,
                Warning,
                "{{ $value }} brokers are left",
                "Wait for the one that was moved.",
            ),
        ],
    }
}

fn elasticsearch() -> Group {
    Group {
        name: "ferriswheel-elasticsearch",
        alerts: vec![
            alert(
                "ElasticsearchRed",
                "max by (cluster, namespace, job) (elasticsearch_cluster_health_status{color=\"red\"}) == 1",
                1,
                Critical,
                "a primary shard of {{ $labels.namespace }}/{{ $labels.job }} is allocated nowhere",
                "Bring the node back: its disk may hold the only copy.",
            ),
            // 30 minutes: longer than a node's replacement and the recovery of its shards from its own disk.
            alert(
                "ElasticsearchYellow",
                "max by (cluster, namespace, job) (elasticsearch_cluster_health_status{color=\"yellow\"}) == 1",
                30,
                Warning,
                "replicas of {{ $labels.namespace }}/{{ $labels.job }} have been missing for half an hour",
                "No next node before it is green; see that cluster.routing.allocation.enable is not left at primaries.",
            ),
            alert(
                "ElasticsearchUnassigned",
                "max by (cluster, namespace, job) (elasticsearch_cluster_health_unassigned_shards) > 0",
                30,
                Warning,
                "{{ $value }} shards are allocated nowhere",
                "GET _cluster/allocation/explain says why.",
            ),
        ],
    }
}

fn mysql() -> Group {
    Group {
        name: "ferriswheel-mysql",
        alerts: vec![
            alert(
                "MysqlDown",
                "mysql_up == 0",
                1,
                Critical,
                "{{ $labels.instance }} does not answer",
                "Expected for the one member whose node is replaced.",
            ),
            alert(
                "MysqlReplicationLag",
                "mysql_slave_status_seconds_behind_master > 10",
                2,
                Warning,
                "{{ $labels.instance }} is {{ $value }} s behind",
                "No switchover before it has caught up.",
            ),
        ],
    }
}

fn memcached() -> Group {
    Group {
        name: "ferriswheel-memcached",
        alerts: vec![alert(
            "MemcachedDown",
            "memcached_up == 0",
            2,
            Warning,
            "{{ $labels.instance }} does not answer",
            "Its keys are gone: watch the load of what is behind the cache.",
        )],
    }
}

/// A ratio, and not a rate: so many errors a second say nothing without the requests beside them.
fn application(requests: &Requests) -> Group {
    let Requests { metric, label } = requests;
    Group {
        name: "ferriswheel-application",
        alerts: vec![alert(
            "HighErrorRatio",
            &format!(
                "sum by (cluster, namespace, job) (rate({metric}{{{label}=~\"5..\"}}[5m])) / sum by (cluster, namespace, job) (rate({metric}[5m])) > 0.01"
            ),
            // Five minutes above a hundredth: the lower end of what AKS's guide rolls back for.
            5,
            Critical,
            "more than one in a hundred requests of {{ $labels.namespace }}/{{ $labels.job }} fails",
            "Pause the upgrade: ferriswheel pause, or az aks nodepool operation-abort.",
        )],
    }
}
