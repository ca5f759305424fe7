//! The topic of a run, and the records by which a probe says that it began.

use std::collections::BTreeSet;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest};
use kafka_protocol::protocol::StrBytes;

use super::cluster::{Cluster, Failure, name_of, ok};
use super::consumer::{Consumer, no_progress};
use super::row::BEGUN;
use crate::system::RunNames;

/// Copies of each partition, where there are as many brokers.
const REPLICAS: usize = 3;

/// Partitions for each broker, if there are writers for so many: every broker leads some, and one that
/// is slow is seen beside the others.
const PARTITIONS_A_BROKER: usize = 2;

/// Making or removing a topic. 10 s: a controller that is just elected needs a second or two.
const CHANGE: std::time::Duration = std::time::Duration::from_secs(10);

/// Partitions of the topic, when each has a leader and every copy is in sync. A topic that is not
/// there is made.
///
/// # Errors
/// It is not ready yet, or may not be made.
pub(crate) async fn ready(cluster: &mut Cluster, writers: usize) -> Result<i32, Failure> {
    let Some(topic) = cluster.learn(None).await? else {
        create(cluster, writers).await?;
        return Err(Failure::none("topic", "it was only just made"));
    };
    for partition in &topic.partitions {
        if partition.leader_id.0 < 0 || partition.isr_nodes.len() < partition.replica_nodes.len() {
            let detail = format!(
                "partition {} of {} has {} of {} copies in sync",
                partition.partition_index,
                cluster.topic(),
                partition.isr_nodes.len(),
                partition.replica_nodes.len()
            );
            return Err(Failure::none("topic", detail));
        }
    }
    i32::try_from(topic.partitions.len())
        .ok()
        .filter(|partitions| *partitions > 0)
        .ok_or_else(|| Failure::none("topic", "it has no partitions"))
}

async fn create(cluster: &mut Cluster, writers: usize) -> Result<(), Failure> {
    let brokers = cluster.brokers().len();
    let replicas = brokers.min(REPLICAS);
    let partitions = writers.min(brokers * PARTITIONS_A_BROKER).max(1);
    // Nothing is removed or packed while a run goes on, and one copy may be away.
    let in_sync = replicas.saturating_sub(1).max(1).to_string();
    let settings = [
        ("min.insync.replicas", in_sync.as_str()),
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("compression.type", "uncompressed"),
    ];
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let configs = settings.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(name_of(cluster.topic()))
        .with_num_partitions(i32::try_from(partitions).unwrap_or(1))
        .with_replication_factor(i16::try_from(replicas).unwrap_or(1))
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(i32::try_from(CHANGE.as_millis()).unwrap_or(i32::MAX));
    let somebody = somebody(cluster)?;
    let answer = cluster.ask(somebody, &request, CHANGE).await?;
    let code = answer.topics.first().map_or(0, |topic| topic.error_code);
    match ok("make the topic", code) {
        // Two probes of one run began at the same time.
        Err(failure) if failure.kind == "TopicAlreadyExists" => Ok(()),
        other => other,
    }
}

/// Runs of an identity that have begun, by the records that say so. Reads partition 0 to its end.
pub(crate) async fn begun(consumer: &mut Consumer) -> Result<u64, Failure> {
    let mut runs = BTreeSet::new();
    let mut offset = 0;
    loop {
        let page = consumer.page(0, offset).await?;
        for row in page.rows.iter().filter(|row| row.key == BEGUN.as_bytes()) {
            runs.insert(row.value.clone());
        }
        if page.is_last() {
            return Ok(runs.len() as u64);
        }
        if page.next == offset {
            return Err(no_progress(&page));
        }
        offset = page.next;
    }
}

/// Removes the topic.
pub(crate) async fn delete(cluster: &mut Cluster) -> Result<(), Failure> {
    if cluster.learn(None).await?.is_none() {
        return Ok(());
    }
    let topic = DeleteTopicState::default().with_name(Some(name_of(cluster.topic())));
    let request = DeleteTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(i32::try_from(CHANGE.as_millis()).unwrap_or(i32::MAX));
    let somebody = somebody(cluster)?;
    let answer = cluster.ask(somebody, &request, CHANGE).await?;
    let code = answer.responses.first().map_or(0, |topic| topic.error_code);
    ok("remove the topic", code)
}

/// Name of the topic of a run.
pub(crate) fn of(prefix: &str, names: &RunNames<'_>) -> String {
    format!("{prefix}-{}", names.identity)
}

fn somebody(cluster: &Cluster) -> Result<i32, Failure> {
    let first = cluster.brokers().keys().next().copied();
    first.ok_or_else(|| Failure::none("connect", "no broker is known"))
}
