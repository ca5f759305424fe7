//! A cluster of three combined brokers in three zones, one minor behind: broker 1 is the active
//! controller.

use std::collections::BTreeMap;

use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::world::*;

use super::{db, handing_over, map, parsed, spec_of, stateful_set_of, with_set};

const DATABASE: &str = r#"    - name: events
      kafka:
        statefulSet: db/kafka
"#;

pub fn text() -> String {
    spec_of("aks-events-1-36", DATABASE)
}

pub fn spec() -> Upgrade {
    parsed(&text())
}

pub fn hand_over_spec(to: Option<&str>) -> Upgrade {
    handing_over(&text(), to)
}

/// Partition n is led by broker n, n+1 and n+2 have copies.
fn topic(of: i32) -> KafkaTopic {
    let partitions = (0..of).map(|n| {
        let replicas: Vec<i32> = (0..3).map(|copy| (n + copy) % of).collect();
        let partition = KafkaPartition {
            leader: Some(n),
            isr: replicas.clone(),
            replicas,
        };
        (n, partition)
    });
    KafkaTopic {
        min_isr: 2,
        unclean: false,
        partitions: partitions.collect(),
    }
}

fn facts(node: i32, of: i32) -> KafkaFacts {
    KafkaFacts {
        node,
        cluster: "ZmVycmlzd2hlZWwtdGVzdA".to_owned(),
        zookeeper: false,
        program: 29,
        metadata_version: 29,
        quorum: KafkaQuorum {
            leader: Some(1),
            epoch: 7,
            voters: (0..3).map(|voter| (voter, 12)).collect(),
        },
        brokers: (0..of)
            .map(|n| {
                let peer = KafkaPeer {
                    host: format!("kafka-{n}.kafka.db.svc.cluster.local"),
                    port: 9092,
                    fenced: false,
                };
                (n, peer)
            })
            .collect(),
        topics: BTreeMap::from([
            ("orders".to_owned(), topic(of)),
            ("payments".to_owned(), topic(of)),
        ]),
        reassigned: Vec::new(),
        settings: map(&[
            ("auto.leader.rebalance.enable", "true"),
            ("controlled.shutdown.enable", "true"),
            ("log.dirs", "/var/lib/kafka/data"),
            ("replica.fetch.backoff.ms", "50"),
            ("replica.fetch.wait.max.ms", "100"),
        ]),
    }
}

/// The practice cluster with Kafka of so many brokers instead of PostgreSQL.
pub fn cluster(brokers: i32) -> Snapshot {
    let count = u32::try_from(brokers).expect("few");
    let zones: Vec<u32> = (0..count).map(|n| n % 3 + 1).collect();
    let mut world = with_set("kafka", "events", &zones);
    let members = (0..brokers).map(|n| {
        let member = KafkaMember {
            unreachable: None,
            facts: Some(facts(n, brokers)),
        };
        (format!("kafka-{n}"), member)
    });
    world.databases.insert(
        "events".into(),
        Database::Kafka(Kafka {
            stateful_set: db("kafka"),
            members: members.collect(),
        }),
    );
    stateful_set_of(&mut world, "kafka").termination_grace_seconds = 300;
    world
}

pub fn kafka(world: &mut Snapshot) -> &mut Kafka {
    match world.databases.get_mut(&"events".into()) {
        Some(Database::Kafka(kafka)) => kafka,
        other => panic!("{other:?} is no Kafka"),
    }
}

pub fn broker(world: &mut Snapshot, n: u32) -> &mut KafkaFacts {
    kafka(world)
        .members
        .get_mut(&format!("kafka-{n}"))
        .and_then(|member| member.facts.as_mut())
        .expect("it answers")
}

/// Everybody's view.
pub fn views(world: &mut Snapshot) -> impl Iterator<Item = &mut KafkaFacts> {
    let members = kafka(world).members.values_mut();
    members.filter_map(|member| member.facts.as_mut())
}

/// Everybody's view of the first partition of the topic `orders`.
pub fn first(world: &mut Snapshot) -> impl Iterator<Item = &mut KafkaPartition> {
    views(world).filter_map(|facts| facts.topics.get_mut("orders")?.partitions.get_mut(&0))
}

pub fn stateful_set(world: &mut Snapshot) -> &mut StatefulSet {
    stateful_set_of(world, "kafka")
}
