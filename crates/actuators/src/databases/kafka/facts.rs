//! What a broker says of itself and of the cluster, for the snapshot: reading requests only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ferriswheel_plan::world::{KafkaFacts, KafkaPartition, KafkaPeer, KafkaQuorum, KafkaTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::{
    ApiKey, DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest,
    DescribeConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::server::{Quorum, ServerError};
use super::session::Session;
use super::wire;

/// Deadline of the collection's requests, each. A healthy broker answers in milliseconds; the
/// configuration of thousands of topics takes longer.
const COLLECT: Duration = Duration::from_secs(10);

/// Kinds of resources of `DescribeConfigs`.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Settings of a broker that decide how a roll goes.
const SETTINGS: [&str; 4] = [
    "controlled.shutdown.enable",
    "log.dirs",
    "replica.fetch.backoff.ms",
    "replica.fetch.wait.max.ms",
];

/// Kind of nodes of `DescribeCluster`.
const BROKERS: i8 = 1;

/// `UNKNOWN_TOPIC_OR_PARTITION`.
const UNKNOWN_TOPIC: i16 = 3;

const MIN_ISR: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";

/// Facts of one broker.
///
/// # Errors
/// The broker does not answer, refuses a request without which nothing can be judged, or answers
/// something that cannot be read.
pub async fn collect(session: &Session) -> Result<KafkaFacts, ServerError> {
    session.open(COLLECT).await?;
    let can = session.can(COLLECT).await?;
    let metadata = wire::metadata(session, None, COLLECT).await?;
    let view = wire::view_of(&metadata);
    let brokers: Vec<i32> = view.brokers.iter().copied().collect();
    let node = node(session, &brokers, COLLECT).await?;
    let zookeeper = !can.asks(ApiKey::DescribeQuorum);
    let mut facts = KafkaFacts {
        node,
        cluster: metadata
            .cluster_id
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
        zookeeper,
        program: can.program,
        metadata_version: can.metadata_version,
        quorum: KafkaQuorum::default(),
        brokers: BTreeMap::new(),
        topics: BTreeMap::new(),
        reassigned: Vec::new(),
        settings: settings(session, node).await?,
    };
    if zookeeper {
        return Ok(facts);
    }
    let Quorum {
        leader,
        epoch,
        voters,
    } = wire::quorum(session, COLLECT).await?;
    facts.quorum = KafkaQuorum {
        leader,
        epoch,
        voters,
    };
    facts.brokers = peers(session, can.highest(ApiKey::DescribeCluster)).await?;
    let reassigned = wire::reassigned(session, COLLECT).await?;
    facts.reassigned = reassigned.iter().map(ToString::to_string).collect();
    for (name, partition) in view.partitions {
        let topic = facts.topics.entry(name.topic).or_insert(KafkaTopic {
            min_isr: 1,
            unclean: false,
            partitions: BTreeMap::new(),
        });
        let partition = KafkaPartition {
            leader: partition.leader,
            replicas: partition.replicas,
            isr: partition.isr,
        };
        topic.partitions.insert(name.number, partition);
    }
    configure(session, &mut facts.topics).await?;
    Ok(facts)
}

/// Everybody, fenced brokers too where the version can tell.
async fn peers(
    session: &Session,
    version: Option<i16>,
) -> Result<BTreeMap<i32, KafkaPeer>, ServerError> {
    // Versions below 2 do not take the question; there a fenced broker is not among the answers.
    let request = DescribeClusterRequest::default()
        .with_endpoint_type(BROKERS)
        .with_include_fenced_brokers(version >= Some(2));
    let answer = session
        .run::<_, DescribeClusterResponse>(ApiKey::DescribeCluster, &request, COLLECT)
        .await?;
    session.accepted_with(
        answer.error_code,
        "DescribeCluster",
        answer.error_message.as_ref(),
    )?;
    let peers = answer.brokers.iter().map(|broker| {
        let peer = KafkaPeer {
            host: broker.host.to_string(),
            port: broker.port,
            fenced: broker.is_fenced,
        };
        (broker.broker_id.0, peer)
    });
    Ok(peers.collect())
}

/// The number of the broker that is asked: the only one of them whose settings it tells.
///
/// # Source
/// `ConfigHelper.describeConfigs`: of another broker the answer is `INVALID_REQUEST`.
pub(super) async fn node(
    session: &Session,
    brokers: &[i32],
    deadline: Duration,
) -> Result<i32, ServerError> {
    let resources = brokers.iter().map(|broker| {
        DescribeConfigsResource::default()
            .with_resource_type(BROKER)
            .with_resource_name(StrBytes::from_string(broker.to_string()))
            .with_configuration_keys(Some(vec![StrBytes::from_static_str("node.id")]))
    });
    let answer = describe(session, resources.collect(), deadline).await?;
    let own = answer.iter().find(|result| result.error_code == 0);
    own.and_then(|own| own.resource_name.parse().ok())
        .ok_or_else(|| session.unexpected("it does not tell its own number"))
}

async fn settings(session: &Session, node: i32) -> Result<BTreeMap<String, String>, ServerError> {
    let keys = SETTINGS.iter().copied().map(StrBytes::from_static_str);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(StrBytes::from_string(node.to_string()))
        .with_configuration_keys(Some(keys.collect()));
    let answer = describe(session, vec![resource], COLLECT).await?;
    Ok(answer.iter().flat_map(values).collect())
}

/// What the topics say beside their partitions.
async fn configure(
    session: &Session,
    topics: &mut BTreeMap<String, KafkaTopic>,
) -> Result<(), ServerError> {
    let resources = topics.keys().map(|topic| rules(topic, &[MIN_ISR, UNCLEAN]));
    let resources: Vec<_> = resources.collect();
    if resources.is_empty() {
        return Ok(());
    }
    for result in describe(session, resources, COLLECT).await? {
        session.accepted_with(
            result.error_code,
            "DescribeConfigs",
            result.error_message.as_ref(),
        )?;
        if let Some(topic) = topics.get_mut(&*result.resource_name) {
            topic.min_isr = least(session, &result)?;
            topic.unclean = values(&result).any(|(name, value)| name == UNCLEAN && value == "true");
        }
    }
    Ok(())
}

/// `min.insync.replicas` of these topics, but of those that are not there.
pub(super) async fn min_isr(
    session: &Session,
    topics: &BTreeSet<String>,
    deadline: Duration,
) -> Result<BTreeMap<String, u32>, ServerError> {
    let resources = topics.iter().map(|topic| rules(topic, &[MIN_ISR]));
    let mut found = BTreeMap::new();
    for result in describe(session, resources.collect(), deadline).await? {
        if result.error_code == UNKNOWN_TOPIC {
            continue;
        }
        let why = result.error_message.as_ref();
        session.accepted_with(result.error_code, "DescribeConfigs", why)?;
        let least = least(session, &result)?;
        found.insert(result.resource_name.to_string(), least);
    }
    Ok(found)
}

fn rules(topic: &str, keys: &[&'static str]) -> DescribeConfigsResource {
    let keys = keys.iter().copied().map(StrBytes::from_static_str);
    DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configuration_keys(Some(keys.collect()))
}

fn least(session: &Session, result: &DescribeConfigsResult) -> Result<u32, ServerError> {
    values(result)
        .find_map(|(name, value)| (name == MIN_ISR).then_some(value)?.parse().ok())
        .ok_or_else(|| session.unexpected(&format!("no {MIN_ISR} of {}", &*result.resource_name)))
}

fn values(result: &DescribeConfigsResult) -> impl Iterator<Item = (String, String)> {
    result.configs.iter().filter_map(|config| {
        let value = config.value.as_ref()?;
        Some((config.name.to_string(), value.to_string()))
    })
}

async fn describe(
    session: &Session,
    resources: Vec<DescribeConfigsResource>,
    deadline: Duration,
) -> Result<Vec<DescribeConfigsResult>, ServerError> {
    let request = DescribeConfigsRequest::default().with_resources(resources);
    let answer: DescribeConfigsResponse = session
        .run(ApiKey::DescribeConfigs, &request, deadline)
        .await?;
    Ok(answer.results)
}
