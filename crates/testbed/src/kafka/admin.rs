//! What somebody else does to topics while they are being looked after.

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ApiKey,
    DeleteTopicsRequest, DeleteTopicsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{MEMBERS, Set, ask};

/// Time that brokers give the controller. 15 s: a loaded machine must not decide.
const TIMEOUT_MS: i32 = 15_000;

/// A topic as a resource with settings.
const TOPIC: i8 = 2;

/// To set a value, in place of taking it away or adding to it.
const SET: i8 = 0;

impl Set {
    /// Gives a partition copies on these members, the preferred leader first; where they are others than before, data
    /// moves.
    ///
    /// # Panics
    /// It is refused.
    pub async fn reassign(&self, topic: &str, partition: i32, replicas: &[i32]) {
        let partition = ReassignablePartition::default()
            .with_partition_index(partition)
            .with_replicas(Some(replicas.iter().map(|id| (*id).into()).collect()));
        let topic = ReassignableTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![partition]);
        let request = AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(TIMEOUT_MS)
            .with_topics(vec![topic]);
        let answer: AlterPartitionReassignmentsResponse = ask(
            &self.host(self.somebody()),
            ApiKey::AlterPartitionReassignments,
            0,
            &request,
        )
        .await
        .unwrap();
        let results = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let codes: Vec<i16> = results.map(|result| result.error_code).collect();
        assert_eq!((answer.error_code, codes), (0, vec![0]));
    }

    /// Changes a setting of a topic.
    ///
    /// # Panics
    /// It is refused.
    pub async fn configure_topic(&self, topic: &str, name: &str, value: &str) {
        let config = AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(SET)
            .with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer: IncrementalAlterConfigsResponse = ask(
            &self.host(self.somebody()),
            ApiKey::IncrementalAlterConfigs,
            1,
            &request,
        )
        .await
        .unwrap();
        let response = &answer.responses[0];
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    }

    /// Deletes a topic, and waits until nobody knows it.
    ///
    /// # Panics
    /// It is refused.
    pub async fn delete_topic(&self, name: &str) {
        let topic = DeleteTopicState::default().with_name(Some(TopicName(text(name))));
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS);
        let answer: DeleteTopicsResponse = ask(
            &self.host(self.somebody()),
            ApiKey::DeleteTopics,
            6,
            &request,
        )
        .await
        .unwrap();
        let response = &answer.responses[0];
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        self.until("nobody knows the topic", async || {
            for n in 0..MEMBERS {
                let Ok(seen) = self.metadata(n).await else {
                    return false;
                };
                let mut names = seen.topics.iter().filter_map(|topic| topic.name.as_ref());
                if names.any(|found| found.as_str() == name) {
                    return false;
                }
            }
            true
        })
        .await;
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
