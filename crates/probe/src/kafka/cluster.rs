//! What a client knows of a cluster: its brokers, and who leads each partition of one topic.
//!
//! A leader's epoch never goes back: a broker that has not heard yet who leads now is not believed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::address::Address;
use super::wire::{Call, Connection, WireError};
use crate::accounting::ledger::Outcome;
use crate::system::Trouble;

/// One question that is answered from memory. 1 s: a broker that needs longer is frozen or gone, and
/// another one is asked.
const QUESTION: Duration = Duration::from_secs(1);

/// Why something did not come about.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The server's error, or a name of the transport's.
    pub kind: String,
    /// Text for people.
    pub detail: String,
    /// It may have been carried out all the same.
    pub maybe_done: bool,
    /// Waiting cannot help.
    pub hopeless: bool,
}

impl Failure {
    /// Of a connection.
    pub(crate) fn wire(error: &WireError) -> Self {
        Self {
            kind: error.kind(),
            detail: error.to_string(),
            maybe_done: error.may_have_been_done(),
            hopeless: false,
        }
    }

    /// An answer of a server.
    pub(crate) fn code(what: &str, error: ResponseError) -> Self {
        Self {
            kind: format!("{error:?}"),
            detail: format!("{what}: {error}"),
            maybe_done: false,
            hopeless: matches!(
                error,
                ResponseError::TopicAuthorizationFailed
                    | ResponseError::ClusterAuthorizationFailed
                    | ResponseError::InvalidTopicException
                    | ResponseError::UnsupportedVersion
                    | ResponseError::PolicyViolation
            ),
        }
    }

    /// Nothing that was sent has a part in it.
    pub(crate) fn none(kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            detail: detail.into(),
            maybe_done: false,
            hopeless: false,
        }
    }

    /// For whoever counts.
    pub(crate) fn trouble(self) -> Trouble {
        Trouble {
            kind: self.kind,
            detail: self.detail,
            outcome: if self.maybe_done {
                Outcome::Indeterminate
            } else {
                Outcome::Refused
            },
            broken: true,
            hopeless: self.hopeless,
        }
    }
}

/// Nothing, or the server's error.
pub(crate) fn ok(what: &str, code: i16) -> Result<(), Failure> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => Err(Failure::code(what, error)),
    }
}

/// A topic's name as the protocol has it.
pub(crate) fn name_of(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lead {
    broker: i32,
    epoch: i32,
}

/// A client's view, with its connections.
pub(crate) struct Cluster {
    address: Arc<Address>,
    topic: String,
    connect_deadline: Duration,
    brokers: BTreeMap<i32, (String, u16)>,
    leads: BTreeMap<i32, Lead>,
    id: String,
    connections: BTreeMap<i32, Connection>,
}

impl Cluster {
    /// Knows nothing yet.
    pub(crate) fn new(address: Arc<Address>, topic: String, connect_deadline: Duration) -> Self {
        Self {
            address,
            topic,
            connect_deadline,
            brokers: BTreeMap::new(),
            leads: BTreeMap::new(),
            id: String::new(),
            connections: BTreeMap::new(),
        }
    }

    /// The topic that is written to.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Host and port of every broker that is known.
    pub(crate) fn brokers(&self) -> &BTreeMap<i32, (String, u16)> {
        &self.brokers
    }

    /// Asks whoever answers; a broker that is suspected comes last. The topic as it was described;
    /// `None`: there is none.
    pub(crate) async fn learn(
        &mut self,
        suspect: Option<i32>,
    ) -> Result<Option<MetadataResponseTopic>, Failure> {
        let mut places: Vec<(Option<i32>, String, u16)> = Vec::new();
        for (id, (host, port)) in &self.brokers {
            places.push((Some(*id), host.clone(), *port));
        }
        // Who is connected answers soonest.
        places.sort_by_key(|(id, ..)| {
            let id = id.unwrap_or(-1);
            (Some(id) == suspect, !self.connections.contains_key(&id))
        });
        let seeds = self.address.hosts.iter();
        places.extend(seeds.map(|(host, port)| (None, host.clone(), *port)));
        let mut last = Failure::none("connect", "no broker is known");
        for (id, host, port) in places {
            match self.learn_from(id, &host, port).await {
                Ok(topic) => return Ok(topic),
                Err(failure) => last = failure,
            }
        }
        // What came to nothing here was a question.
        Err(Failure {
            maybe_done: false,
            ..last
        })
    }

    async fn learn_from(
        &mut self,
        id: Option<i32>,
        host: &str,
        port: u16,
    ) -> Result<Option<MetadataResponseTopic>, Failure> {
        let wanted = MetadataRequestTopic::default().with_name(Some(name_of(&self.topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![wanted]))
            .with_allow_auto_topic_creation(false);
        let answer = match id {
            Some(id) => self.ask(id, &request, QUESTION).await,
            None => {
                let deadline = self.connect_deadline;
                let asked = async {
                    let mut connection = Connection::open(host, port, deadline).await?;
                    connection.call(&request, QUESTION).await
                };
                asked.await.map_err(|error| Failure::wire(&error))
            }
        }?;
        if answer.brokers.is_empty() {
            return Err(Failure::none("metadata", "a broker knows of no broker"));
        }
        self.id = answer.cluster_id.unwrap_or_default().to_string();
        for broker in &answer.brokers {
            let port = u16::try_from(broker.port).unwrap_or_default();
            self.moved(broker.node_id.0, broker.host.as_str(), port);
        }
        // Who is not named is away, and may come back under another address.
        self.brokers
            .retain(|id, _| answer.brokers.iter().any(|b| b.node_id.0 == *id));
        let Some(topic) = answer.topics.into_iter().next() else {
            return Ok(None);
        };
        if ResponseError::try_from_code(topic.error_code)
            == Some(ResponseError::UnknownTopicOrPartition)
        {
            return Ok(None);
        }
        ok("describe the topic", topic.error_code)?;
        for partition in &topic.partitions {
            self.led(
                partition.partition_index,
                partition.leader_id.0,
                partition.leader_epoch,
            );
        }
        Ok(Some(topic))
    }

    /// A broker listens there now.
    pub(crate) fn moved(&mut self, id: i32, host: &str, port: u16) {
        let before = self.brokers.insert(id, (host.to_owned(), port));
        if before.is_some_and(|before| before != (host.to_owned(), port)) {
            self.connections.remove(&id);
        }
    }

    /// Somebody leads a partition now, or nobody (below zero).
    pub(crate) fn led(&mut self, partition: i32, broker: i32, epoch: i32) {
        let known = self.leads.get(&partition).map_or(-1, |lead| lead.epoch);
        if epoch >= known {
            self.leads.insert(partition, Lead { broker, epoch });
        }
    }

    /// Who leads a partition, as far as is known.
    pub(crate) fn leader(&self, partition: i32) -> Option<i32> {
        let lead = self.leads.get(&partition)?;
        (lead.broker >= 0).then_some(lead.broker)
    }

    /// Asks a broker; one that does not answer is connected to anew the next time.
    pub(crate) async fn ask<C: Call>(
        &mut self,
        broker: i32,
        request: &C,
        deadline: Duration,
    ) -> Result<C::Answer, Failure> {
        let mut connection = match self.connections.remove(&broker) {
            Some(open) if !open.is_closed() => open,
            _ => {
                let Some((host, port)) = self.brokers.get(&broker) else {
                    return Err(Failure::none("connect", format!("no broker {broker}")));
                };
                let deadline = self.connect_deadline.min(deadline);
                Connection::open(host, *port, deadline)
                    .await
                    .map_err(|error| Failure::wire(&error))?
            }
        };
        let answer = connection
            .call(request, deadline)
            .await
            .map_err(|error| Failure::wire(&error))?;
        self.connections.insert(broker, connection);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_has_not_heard_yet_is_not_believed() {
        let address = Arc::new(Address::parse("kafka://h").unwrap());
        let mut cluster = Cluster::new(address, "t".to_owned(), QUESTION);
        cluster.led(0, 1, 5);
        cluster.led(0, 2, 4);
        assert_eq!(cluster.leader(0), Some(1));
        cluster.led(0, 2, 6);
        assert_eq!(cluster.leader(0), Some(2));
        cluster.led(0, -1, 6);
        assert_eq!(cluster.leader(0), None);
    }
}
