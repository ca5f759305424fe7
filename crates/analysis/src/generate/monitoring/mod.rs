//! What is watched during an upgrade: one model of the rules, written in every form that somebody
//! reads.
//!
//! Managed Prometheus of Azure does not read the PrometheusRule of the community's operator, and the
//! operator does not read ARM: the same [`Alert`] becomes both, so that they never say different things.
//!
//! Invariants: every metric is one of [`metrics::METRICS`], which names the program that exposes it;
//! every alert has a test in which it fires and one in which it does not.

mod dashboard;
mod emit;
pub mod metrics;
mod rules;

pub use dashboard::dashboard;
pub use emit::{Azure, azure_rules, monitors, prometheus_rule, rule_file};
pub use rules::{Alert, Group, Severity, groups};

/// A system that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// PostgreSQL, by postgres_exporter.
    Postgres,
    /// Redis and Valkey, by redis_exporter.
    Redis,
    /// MongoDB, by Percona's mongodb_exporter.
    Mongodb,
    /// Kafka, by kafka_exporter.
    Kafka,
    /// Elasticsearch, by elasticsearch_exporter.
    Elasticsearch,
    /// MySQL, by mysqld_exporter.
    Mysql,
    /// Memcached, by memcached_exporter.
    Memcached,
}

impl Watched {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::Postgres,
        Self::Redis,
        Self::Mongodb,
        Self::Kafka,
        Self::Elasticsearch,
        Self::Mysql,
        Self::Memcached,
    ];

    /// Its name in names of objects.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Mongodb => "mongodb",
            Self::Kafka => "kafka",
            Self::Elasticsearch => "elasticsearch",
            Self::Mysql => "mysql",
            Self::Memcached => "memcached",
        }
    }

    /// The one that a database's name means.
    pub fn of(database: &str) -> Option<Self> {
        Some(match database {
            "PostgreSQL" => Self::Postgres,
            "Redis" | "Valkey" => Self::Redis,
            "MongoDB" => Self::Mongodb,
            "Kafka" => Self::Kafka,
            "Elasticsearch" => Self::Elasticsearch,
            "MySQL" | "MariaDB" => Self::Mysql,
            "Memcached" => Self::Memcached,
            _ => return None,
        })
    }
}

/// Counters of requests that an application exposes, for the rule of its errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// The counter, such as `http_requests_total`.
    pub metric: String,
    /// Its label with the status, such as `code`.
    pub label: String,
}

/// Not the name of a metric or of a label.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("watch {0:?}: say METRIC or METRIC:LABEL, such as http_requests_total:code")]
pub struct NotACounter(String);

impl std::str::FromStr for Requests {
    type Err = NotACounter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (metric, label) = text.split_once(':').unwrap_or((text, "code"));
        let good = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if good(metric) && good(label) {
            Ok(Self {
                metric: metric.to_owned(),
                label: label.to_owned(),
            })
        } else {
            Err(NotACounter(text.to_owned()))
        }
    }
}

/// Databases in the input that something is known about, and the namespaces they are in.
pub fn found<'a>(
    objects: impl IntoIterator<Item = &'a crate::manifest::Object>,
) -> std::collections::BTreeMap<Watched, std::collections::BTreeSet<String>> {
    let scene = crate::resilience::scene::Scene::of(objects);
    let mut found = std::collections::BTreeMap::<_, std::collections::BTreeSet<_>>::new();
    for workload in &scene.workloads {
        let database = crate::resilience::databases::of(workload);
        if let Some(watched) = database.and_then(|database| Watched::of(database.name)) {
            let namespace = match workload.namespace() {
                "" => "default",
                namespace => namespace,
            };
            found
                .entry(watched)
                .or_default()
                .insert(namespace.to_owned());
        }
    }
    found
}
