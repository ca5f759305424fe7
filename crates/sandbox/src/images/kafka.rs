//! Kafka.

use std::path::{Path, PathBuf};

use super::{Image, ImageMount, Requirement, account, database, plain};

/// Where the image keeps its data.
const DATA: &str = "/var/lib/kafka/data";

/// Programs below `/opt/kafka/bin`, with the class that each runs.
const PROGRAMS: [(&str, &str); 13] = [
    (
        "kafka-broker-api-versions",
        "org.apache.kafka.tools.BrokerApiVersionsCommand",
    ),
    ("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
    ("kafka-configs", "kafka.admin.ConfigCommand"),
    (
        "kafka-console-consumer",
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
    ),
    (
        "kafka-console-producer",
        "org.apache.kafka.tools.ConsoleProducer",
    ),
    (
        "kafka-consumer-groups",
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    ),
    ("kafka-features", "org.apache.kafka.tools.FeatureCommand"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    (
        "kafka-leader-election",
        "org.apache.kafka.tools.LeaderElectionCommand",
    ),
    (
        "kafka-metadata-quorum",
        "org.apache.kafka.tools.MetadataQuorumCommand",
    ),
    (
        "kafka-reassign-partitions",
        "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    ),
    ("kafka-storage", "kafka.tools.StorageTool"),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
];

/// Kafka 4.3 out of its Maven artefacts, on Debian's Java.
pub(super) fn kafka_4_3(cache: &Path) -> Image {
    let source = cache.join("kafka/4.3/libs");
    let owner = format!("{0}:{0}", account::KAFKA);
    let mut files = account::with("appuser", account::KAFKA, "/home/appuser");
    files.push(database::executable(
        "/opt/kafka/bin/kafka-run-class.sh",
        include_bytes!("kafka/kafka-run-class.sh"),
    ));
    files.push(database::executable(
        "/etc/kafka/docker/run",
        include_bytes!("kafka/run"),
    ));
    files.push(database::executable(
        "/__cacert_entrypoint.sh",
        b"#!/bin/sh\nexec \"$@\"\n",
    ));
    for (name, class) in PROGRAMS {
        files.push(database::executable(
            &format!("/opt/kafka/bin/{name}.sh"),
            format!("#!/bin/bash\nexec /opt/kafka/bin/kafka-run-class.sh {class} \"$@\"\n")
                .as_bytes(),
        ));
    }
    files.push(database::executable(
        "/opt/kafka/bin/kafka-server-start.sh",
        b"#!/bin/bash\nexport KAFKA_HEAP_OPTS=\"${KAFKA_HEAP_OPTS:--Xms1G -Xmx1G}\" KAFKA_RUN_CLASS_LOG=info\n\
          exec /opt/kafka/bin/kafka-run-class.sh kafka.Kafka \"$@\"\n",
    ));
    files.push(database::executable(
        "/opt/kafka/bin/kafka-server-stop.sh",
        include_bytes!("kafka/kafka-server-stop.sh"),
    ));
    Image {
        entrypoint: vec!["/__cacert_entrypoint.sh".to_owned()],
        cmd: vec!["/etc/kafka/docker/run".to_owned()],
        user: Some("appuser".to_owned()),
        requires: vec![
            Requirement::script(
                source.join("kafka_2.13-4.3.1.jar"),
                "Kafka 4.3",
                "install-kafka.sh",
            ),
            Requirement::debian("/usr/bin/java", "openjdk-17-jre-headless"),
        ],
        mounts: vec![ImageMount {
            source,
            target: PathBuf::from("/opt/kafka/libs"),
        }],
        // None, although the public image has three: an empty volume belongs to root, and this server is never root. Without
        // one of the pod's, its data is in the container's layer.
        volumes: Vec::new(),
        directories: database::directories(&[
            ("/root", "0:0", 0o700),
            ("/home/appuser", &owner, 0o755),
            ("/opt/kafka", &owner, 0o755),
            ("/opt/kafka/config", &owner, 0o755),
            ("/opt/kafka/logs", &owner, 0o755),
            ("/etc/kafka/secrets", &owner, 0o755),
            ("/mnt/shared/config", &owner, 0o755),
            ("/var/lib/kafka", &owner, 0o755),
            (DATA, &owner, 0o755),
        ]),
        files,
        exposed: vec![9092],
        ..plain::base("kafka:4.3")
    }
}
