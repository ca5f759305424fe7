//! Databases and queues, recognised by their images.

use serde_json::Value;

use super::scene::Workload;
use super::values::{list, text};

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Database {
    pub name: &'static str,
    /// Needs more than half of its members to go on.
    pub quorum: bool,
    /// Keeps data that is not elsewhere.
    pub durable: bool,
}

/// Image names, without registry and tag.
const IMAGES: &[(&str, &str, bool, bool)] = &[
    ("cassandra", "Cassandra", false, true),
    ("clickhouse", "ClickHouse", false, true),
    ("cockroach", "CockroachDB", true, true),
    ("consul", "Consul", true, true),
    ("couchdb", "CouchDB", false, true),
    ("elasticsearch", "Elasticsearch", true, true),
    ("etcd", "etcd", true, true),
    ("kafka", "Kafka", true, true),
    ("mariadb", "MariaDB", false, true),
    ("memcached", "Memcached", false, false),
    ("minio", "MinIO", true, true),
    ("mongo", "MongoDB", true, true),
    ("mongodb", "MongoDB", true, true),
    ("mssql", "SQL Server", false, true),
    ("mysql", "MySQL", false, true),
    ("nats", "NATS", true, true),
    ("opensearch", "OpenSearch", true, true),
    ("postgis", "PostgreSQL", false, true),
    ("postgres", "PostgreSQL", false, true),
    ("postgresql", "PostgreSQL", false, true),
    ("rabbitmq", "RabbitMQ", true, true),
    ("redis", "Redis", false, true),
    ("scylla", "ScyllaDB", false, true),
    ("spilo", "PostgreSQL", false, true),
    ("timescaledb", "PostgreSQL", false, true),
    ("valkey", "Valkey", false, true),
    ("vault", "Vault", true, true),
    ("zookeeper", "ZooKeeper", true, true),
];

/// Words in an image's name that make it something beside the database.
const BESIDE: &[&str] = &[
    "exporter", "backup", "operator", "client", "proxy", "ui", "admin", "manager", "init", "agent",
    "curator", "restore", "dump",
];

/// The database that a workload runs, if it runs one.
pub(crate) fn of(workload: &Workload<'_>) -> Option<Database> {
    if !workload.makes.serves() {
        return None;
    }
    list(workload.pod(), "/spec/containers")
        .iter()
        .find_map(of_container)
}

/// The database whose image has this name.
pub(crate) fn by_name(name: &str) -> Option<Database> {
    of_image(name)
}

/// The database that a container runs, if it runs one.
pub(crate) fn of_container(container: &Value) -> Option<Database> {
    of_image(text(container, "/image")?)
}

fn of_image(image: &str) -> Option<Database> {
    let name = image.split('@').next()?.rsplit('/').next()?;
    let name = name.split(':').next()?;
    let parts: Vec<&str> = name.split(['-', '_']).collect();
    if parts.iter().any(|part| BESIDE.contains(part)) {
        return None;
    }
    let found = IMAGES.iter().find(|(known, ..)| {
        parts.first() == Some(known) || (parts.len() > 1 && parts.contains(known))
    })?;
    Some(Database {
        name: found.1,
        quorum: found.2,
        durable: found.3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn images_are_read_by_their_name() {
        let of = |image: &str| of_container(&json!({ "image": image })).map(|found| found.name);
        assert_eq!(of("postgres:15"), Some("PostgreSQL"));
        assert_eq!(
            of("registry.test:5000/team/spilo-17:4.0-p2@sha256:ab"),
            Some("PostgreSQL")
        );
        assert_eq!(of("quay.io/strimzi/kafka:0.45"), Some("Kafka"));
        assert_eq!(of("bitnami/postgresql-repmgr:16"), Some("PostgreSQL"));
        assert_eq!(of("bitnami/postgres-exporter:0.15"), None);
        assert_eq!(of("team/postgres-backup"), None);
        assert_eq!(of("team/web:1"), None);
    }
}
