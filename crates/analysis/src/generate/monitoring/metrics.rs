//! Every metric that a rule or a panel uses, with the program that exposes it.

/// A program that exposes metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// kube-state-metrics: `docs/metrics` of its repository.
    KubeStateMetrics,
    /// The kubelet's `/metrics`.
    Kubelet,
    /// node_exporter, collectors meminfo and cpu.
    NodeExporter,
    /// postgres_exporter 0.11 or newer: collector replication, built-in queries of pg_stat_replication.
    PostgresExporter,
    /// redis_exporter 1.x.
    RedisExporter,
    /// Percona's mongodb_exporter 0.30 or newer, with `--collector.replicasetstatus`.
    MongodbExporter,
    /// kafka_exporter 1.x.
    KafkaExporter,
    /// elasticsearch_exporter 1.x.
    ElasticsearchExporter,
    /// mysqld_exporter.
    MysqldExporter,
    /// memcached_exporter.
    MemcachedExporter,
}

impl Source {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::KubeStateMetrics => "kube-state-metrics",
            Self::Kubelet => "kubelet",
            Self::NodeExporter => "node_exporter",
            Self::PostgresExporter => "postgres_exporter",
            Self::RedisExporter => "redis_exporter",
            Self::MongodbExporter => "mongodb_exporter",
            Self::KafkaExporter => "kafka_exporter",
            Self::ElasticsearchExporter => "elasticsearch_exporter",
            Self::MysqldExporter => "mysqld_exporter",
            Self::MemcachedExporter => "memcached_exporter",
        }
    }
}

/// The metrics, sorted.
pub const METRICS: &[(&str, Source)] = &[
    (
        "elasticsearch_cluster_health_relocating_shards",
        Source::ElasticsearchExporter,
    ),
    (
        "elasticsearch_cluster_health_status",
        Source::ElasticsearchExporter,
    ),
    (
        "elasticsearch_cluster_health_unassigned_shards",
        Source::ElasticsearchExporter,
    ),
    ("kafka_brokers", Source::KafkaExporter),
    (
        "kafka_topic_partition_in_sync_replica",
        Source::KafkaExporter,
    ),
    ("kafka_topic_partition_replicas", Source::KafkaExporter),
    (
        "kafka_topic_partition_under_replicated_partition",
        Source::KafkaExporter,
    ),
    (
        "kube_cronjob_status_last_successful_time",
        Source::KubeStateMetrics,
    ),
    ("kube_job_status_failed", Source::KubeStateMetrics),
    ("kube_node_info", Source::KubeStateMetrics),
    ("kube_node_spec_unschedulable", Source::KubeStateMetrics),
    ("kube_node_status_condition", Source::KubeStateMetrics),
    (
        "kube_pod_container_status_restarts_total",
        Source::KubeStateMetrics,
    ),
    ("kube_pod_info", Source::KubeStateMetrics),
    ("kube_pod_status_phase", Source::KubeStateMetrics),
    (
        "kube_poddisruptionbudget_status_current_healthy",
        Source::KubeStateMetrics,
    ),
    (
        "kube_poddisruptionbudget_status_expected_pods",
        Source::KubeStateMetrics,
    ),
    (
        "kube_poddisruptionbudget_status_pod_disruptions_allowed",
        Source::KubeStateMetrics,
    ),
    ("kube_statefulset_replicas", Source::KubeStateMetrics),
    (
        "kube_statefulset_status_replicas_ready",
        Source::KubeStateMetrics,
    ),
    ("kubelet_volume_stats_available_bytes", Source::Kubelet),
    ("kubelet_volume_stats_capacity_bytes", Source::Kubelet),
    ("memcached_up", Source::MemcachedExporter),
    ("mongodb_rs_members_health", Source::MongodbExporter),
    ("mongodb_rs_members_optimeDate", Source::MongodbExporter),
    ("mongodb_rs_members_state", Source::MongodbExporter),
    ("mongodb_up", Source::MongodbExporter),
    (
        "mysql_slave_status_seconds_behind_master",
        Source::MysqldExporter,
    ),
    ("mysql_up", Source::MysqldExporter),
    ("node_memory_MemAvailable_bytes", Source::NodeExporter),
    ("node_memory_MemTotal_bytes", Source::NodeExporter),
    ("pg_replication_is_replica", Source::PostgresExporter),
    ("pg_replication_lag_seconds", Source::PostgresExporter),
    (
        "pg_stat_replication_pg_wal_lsn_diff",
        Source::PostgresExporter,
    ),
    ("pg_up", Source::PostgresExporter),
    ("redis_cluster_slots_fail", Source::RedisExporter),
    ("redis_cluster_state", Source::RedisExporter),
    ("redis_connected_slaves", Source::RedisExporter),
    ("redis_instance_info", Source::RedisExporter),
    ("redis_master_link_up", Source::RedisExporter),
    ("redis_up", Source::RedisExporter),
];

/// Names in an expression that could be metrics: words that are not functions, labels or values.
///
/// Good for the expressions of this module, whose labels stand in braces or behind `by` and `on`.
pub fn named(expression: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut word = String::new();
    let mut braces = 0_usize;
    let mut labels = false;
    let mut quote = false;
    let keywords = [
        "and",
        "or",
        "unless",
        "bool",
        "count",
        "sum",
        "max",
        "min",
        "by",
        "on",
        "group_left",
        "group_right",
        "time",
        "rate",
        "increase",
        "max_over_time",
        "ignoring",
        "without",
        "clamp_min",
    ];
    let mut grouping = false;
    for c in expression.chars().chain([' ']) {
        if quote {
            quote = c != '"';
            continue;
        }
        if c.is_ascii_alphanumeric() || c == '_' || c == ':' {
            word.push(c);
            continue;
        }
        let ended = std::mem::take(&mut word);
        if matches!(
            ended.as_str(),
            "by" | "on" | "group_left" | "group_right" | "ignoring" | "without"
        ) {
            grouping = true;
        } else if !ended.is_empty()
            && braces == 0
            && !labels
            && ended.starts_with(|first: char| first.is_ascii_alphabetic())
            && !keywords.contains(&ended.as_str())
        {
            names.push(ended);
        }
        match c {
            '"' => quote = true,
            '{' | '[' => braces += 1,
            '}' | ']' => braces = braces.saturating_sub(1),
            '(' if grouping => {
                labels = true;
                grouping = false;
            }
            ')' => labels = false,
            ' ' => {}
            _ => grouping = false,
        }
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::monitoring::{Requests, Watched, dashboard, groups};
    use std::collections::BTreeSet;

    #[test]
    fn every_metric_has_its_source_and_is_used() {
        assert!(METRICS.is_sorted());
        let known: BTreeSet<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        let requests = Requests {
            metric: "http_requests_total".to_owned(),
            label: "code".to_owned(),
        };
        let groups = groups(&Watched::ALL, Some(&requests));
        let mut used = BTreeSet::new();
        for alert in groups.iter().flat_map(|group| &group.alerts) {
            used.extend(named(&alert.expression));
        }
        let board = dashboard(&Watched::ALL);
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                used.extend(named(target["expr"].as_str().unwrap()));
            }
        }
        assert!(used.remove("http_requests_total"));
        let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
        assert_eq!(used, known);
    }

    #[test]
    fn the_page_names_the_source_of_every_metric() {
        let page = include_str!("../../../../../docs/generate.md");
        for (metric, source) in METRICS {
            let line = page
                .lines()
                .find(|line| line.contains(&format!("`{metric}`")));
            let line = line.unwrap_or_else(|| panic!("docs/generate.md lacks {metric}"));
            assert!(line.contains(source.name()), "{line}");
        }
    }

    #[test]
    fn names_are_told_from_functions_and_labels() {
        let names = named(
            "max by (cluster, node) (a_total{x=\"b_c\"}) / on (cluster) group_left () rate(d:e[5m]) > 1e3 and time() - f > 0",
        );
        assert_eq!(names, ["a_total", "d:e", "f"]);
    }
}
