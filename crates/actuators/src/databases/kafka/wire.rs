//! [`Server`] over the Kafka protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ApiKey, BrokerId,
    DescribeQuorumRequest, DescribeQuorumResponse, ElectLeadersRequest, ElectLeadersResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, MetadataRequest,
    MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::facts;
use super::server::{Name, Partition, Quorum, Server, ServerError, View};
use super::session::Session;

/// Topic of the metadata quorum's log.
const METADATA: &str = "__cluster_metadata";

/// `PREFERRED` of `ElectLeaders`. The other kind, `UNCLEAN`, is not spoken here.
const PREFERRED: i8 = 0;

/// `ELECTION_NOT_NEEDED`: it leads already.
const NOT_NEEDED: i16 = 84;

/// A broker behind a session.
pub struct WireServer {
    session: Session,
    node: tokio::sync::OnceCell<i32>,
}

impl WireServer {
    /// A broker that is not connected yet.
    pub fn new(session: Session) -> Self {
        Self {
            session,
            node: tokio::sync::OnceCell::new(),
        }
    }
}

pub(super) fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Time that the brokers give the controller; less than the deadline of who asks.
fn patience(deadline: Duration) -> i32 {
    i32::try_from(deadline.as_millis() / 2).unwrap_or(i32::MAX)
}

pub(super) async fn metadata(
    session: &Session,
    topics: Option<Vec<MetadataRequestTopic>>,
    deadline: Duration,
) -> Result<MetadataResponse, ServerError> {
    let request = MetadataRequest::default()
        .with_topics(topics)
        .with_allow_auto_topic_creation(false);
    session.run(ApiKey::Metadata, &request, deadline).await
}

pub(super) fn view_of(answer: &MetadataResponse) -> View {
    let mut view = View {
        brokers: answer.brokers.iter().map(|b| b.node_id.0).collect(),
        ..View::default()
    };
    for topic in &answer.topics {
        let Some(name) = &topic.name else { continue };
        for partition in &topic.partitions {
            let name = Name {
                topic: name.to_string(),
                number: partition.partition_index,
            };
            let partition = Partition {
                topic_id: Some(topic.topic_id).filter(|id| !id.is_nil()),
                ..partition_of(partition)
            };
            view.partitions.insert(name, partition);
        }
    }
    view
}

fn partition_of(partition: &MetadataResponsePartition) -> Partition {
    let numbers = |of: &[BrokerId]| of.iter().map(|broker| broker.0).collect::<Vec<i32>>();
    // In the order in which they came in sync, which means nothing.
    let mut isr = numbers(&partition.isr_nodes);
    isr.sort_unstable();
    Partition {
        topic_id: None,
        leader: Some(partition.leader_id.0).filter(|leader| *leader >= 0),
        replicas: numbers(&partition.replica_nodes),
        isr,
    }
}

pub(super) async fn quorum(session: &Session, deadline: Duration) -> Result<Quorum, ServerError> {
    let log = TopicData::default()
        .with_topic_name(topic_name(METADATA))
        .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
    let request = DescribeQuorumRequest::default().with_topics(vec![log]);
    let answer: DescribeQuorumResponse = session
        .run(ApiKey::DescribeQuorum, &request, deadline)
        .await?;
    session.accepted(answer.error_code, "DescribeQuorum")?;
    let log = answer
        .topics
        .first()
        .and_then(|topic| topic.partitions.first());
    let log = log.ok_or_else(|| session.unexpected("DescribeQuorum without a log"))?;
    session.accepted(log.error_code, "DescribeQuorum")?;
    let leader = log.leader_id.0;
    let caught_up = log
        .current_voters
        .iter()
        .find(|voter| voter.replica_id.0 == leader)
        .map_or(0, |voter| voter.last_caught_up_timestamp);
    let behind = |at: i64| u64::try_from(caught_up.saturating_sub(at)).unwrap_or(0);
    Ok(Quorum {
        leader: Some(leader).filter(|leader| *leader >= 0),
        epoch: log.leader_epoch,
        voters: log
            .current_voters
            .iter()
            .map(|voter| (voter.replica_id.0, behind(voter.last_caught_up_timestamp)))
            .collect::<BTreeMap<i32, u64>>(),
    })
}

pub(super) async fn reassigned(
    session: &Session,
    deadline: Duration,
) -> Result<Vec<Name>, ServerError> {
    let request = ListPartitionReassignmentsRequest::default()
        .with_timeout_ms(patience(deadline))
        .with_topics(None);
    let answer: ListPartitionReassignmentsResponse = session
        .run(ApiKey::ListPartitionReassignments, &request, deadline)
        .await?;
    let what = "ListPartitionReassignments";
    session.accepted_with(answer.error_code, what, answer.error_message.as_ref())?;
    let topics = answer.topics.iter();
    let named = topics.flat_map(|topic| {
        topic.partitions.iter().map(|partition| Name {
            topic: topic.name.to_string(),
            number: partition.partition_index,
        })
    });
    Ok(named.collect())
}

#[async_trait]
impl Server for WireServer {
    fn name(&self) -> &str {
        self.session.name()
    }

    async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        self.session.open(deadline).await
    }

    async fn node(&self, deadline: Duration) -> Result<i32, ServerError> {
        let ask = || async {
            let brokers = metadata(&self.session, Some(Vec::new()), deadline).await?;
            let brokers: Vec<i32> = brokers.brokers.iter().map(|b| b.node_id.0).collect();
            facts::node(&self.session, &brokers, deadline).await
        };
        self.node.get_or_try_init(ask).await.copied()
    }

    async fn view(&self, deadline: Duration) -> Result<View, ServerError> {
        Ok(view_of(&metadata(&self.session, None, deadline).await?))
    }

    async fn partition(&self, of: &Name, deadline: Duration) -> Result<Partition, ServerError> {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(&of.topic)));
        let answer = metadata(&self.session, Some(vec![topic]), deadline).await?;
        view_of(&answer)
            .partitions
            .remove(of)
            .ok_or_else(|| self.session.unexpected(&format!("no partition {of}")))
    }

    async fn quorum(&self, deadline: Duration) -> Result<Quorum, ServerError> {
        quorum(&self.session, deadline).await
    }

    async fn reassigned(&self, deadline: Duration) -> Result<Vec<Name>, ServerError> {
        reassigned(&self.session, deadline).await
    }

    async fn min_isr(
        &self,
        topics: &BTreeSet<String>,
        deadline: Duration,
    ) -> Result<BTreeMap<String, u32>, ServerError> {
        facts::min_isr(&self.session, topics, deadline).await
    }

    async fn reorder(
        &self,
        of: &Name,
        replicas: &[i32],
        deadline: Duration,
    ) -> Result<(), ServerError> {
        let replicas = replicas.iter().copied().map(BrokerId).collect();
        let partition = ReassignablePartition::default()
            .with_partition_index(of.number)
            .with_replicas(Some(replicas));
        let topic = ReassignableTopic::default()
            .with_name(topic_name(&of.topic))
            .with_partitions(vec![partition]);
        let mut request = AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(patience(deadline))
            .with_topics(vec![topic]);
        // Versions below 1 do not take the word.
        let can = self.session.can(deadline).await?;
        if can.highest(ApiKey::AlterPartitionReassignments) >= Some(1) {
            request = request.with_allow_replication_factor_change(false);
        }
        let answer: AlterPartitionReassignmentsResponse = self
            .session
            .run(ApiKey::AlterPartitionReassignments, &request, deadline)
            .await?;
        let what = format!("AlterPartitionReassignments of {of}");
        let why = answer.error_message.as_ref();
        self.session.accepted_with(answer.error_code, &what, why)?;
        for one in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            let why = one.error_message.as_ref();
            self.session.accepted_with(one.error_code, &what, why)?;
        }
        Ok(())
    }

    async fn elect(&self, of: &Name, deadline: Duration) -> Result<(), ServerError> {
        let topic = TopicPartitions::default()
            .with_topic(topic_name(&of.topic))
            .with_partitions(vec![of.number]);
        let request = ElectLeadersRequest::default()
            .with_election_type(PREFERRED)
            .with_topic_partitions(Some(vec![topic]))
            .with_timeout_ms(patience(deadline));
        let answer: ElectLeadersResponse = self
            .session
            .run(ApiKey::ElectLeaders, &request, deadline)
            .await?;
        let what = format!("ElectLeaders of {of}");
        self.session.accepted(answer.error_code, &what)?;
        let results = answer.replica_election_results.iter();
        for one in results.flat_map(|topic| &topic.partition_result) {
            if one.error_code != NOT_NEEDED {
                let why = one.error_message.as_ref();
                self.session.accepted_with(one.error_code, &what, why)?;
            }
        }
        Ok(())
    }
}
