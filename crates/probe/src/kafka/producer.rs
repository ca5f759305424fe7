//! An idempotent producer, as applications have one: a write goes to the leader and is done when every
//! replica in sync has it (`acks=all`); what fails is tried again under the same number, and a broker
//! that has that number already carries nothing out twice.
//!
//! A try that fails is no error that the client sees. One is when the deadline has passed, or a broker
//! says that trying is of no use; the next write then begins under a new producer's number, so that an
//! old request that is still on its way stands in nobody's place.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Failure, name_of, ok};
use super::row;
use crate::accounting::ledger::Sequence;
use crate::system::{Client, Trouble, WriteKey};

/// One try. 2 s: a leader that does not answer for so long may not lead any more; others are asked, and
/// the same number may be sent again without harm.
const TRY: Duration = Duration::from_secs(2);

/// How long a leader may wait for the other replicas before it says that they are late. Less than
/// [`TRY`], so that a leader that lives is heard and its connection kept.
const IN_SYNC_MS: i32 = 1_500;

/// Pause before another try where nobody has said who leads. 20 ms: short against the stalls that are
/// looked for; libraries wait 100 ms by default, and see up to so much more.
const BACKOFF: Duration = Duration::from_millis(20);

/// Tries in a row that follow what a broker says without a pause. 3: two brokers that have not heard of each
/// other yet agree within some milliseconds, and must not be asked in a circle until then.
const TOLD: u32 = 3;

/// An application's producer of one partition a write.
pub(crate) struct Producer {
    cluster: Cluster,
    partitions: i32,
    deadline: Duration,
    id: i64,
    epoch: i16,
    /// Number of the next record of each partition that was written to.
    next: BTreeMap<i32, i32>,
}

/// What came of a try.
enum Tried {
    /// It is there, on every replica in sync.
    Acked,
    /// It may be tried again; at once, when it is known who leads now.
    Again(Failure, bool),
    /// Trying is of no use.
    Over(Failure),
}

impl Producer {
    /// Gets a number from whoever answers, until the deadline.
    pub(crate) async fn open(
        mut cluster: Cluster,
        partitions: i32,
        deadline: Duration,
    ) -> Result<Self, Failure> {
        let give_up = Instant::now() + deadline;
        loop {
            match number(&mut cluster).await {
                Ok((id, epoch)) => {
                    return Ok(Self {
                        cluster,
                        partitions,
                        deadline,
                        id,
                        epoch,
                        next: BTreeMap::new(),
                    });
                }
                Err(failure) if failure.hopeless || Instant::now() + BACKOFF >= give_up => {
                    return Err(failure);
                }
                Err(_) => sleep(BACKOFF).await,
            }
        }
    }

    /// Writes a record to a partition; done when it was acknowledged.
    pub(crate) async fn send(
        &mut self,
        partition: i32,
        key: &str,
        value: &str,
    ) -> Result<(), Failure> {
        let give_up = Instant::now() + self.deadline;
        let sequence = self.next.get(&partition).copied().unwrap_or(0);
        let batch = self.batch(sequence, key, value)?;
        let mut maybe_done = false;
        let mut told = 0;
        loop {
            let (failure, known) = match self.once(partition, &batch, give_up).await {
                Tried::Acked => {
                    let next = sequence.checked_add(1).unwrap_or(0);
                    self.next.insert(partition, next);
                    return Ok(());
                }
                Tried::Over(failure) => {
                    return Err(Failure {
                        maybe_done: maybe_done || failure.maybe_done,
                        ..failure
                    });
                }
                Tried::Again(failure, known) => (failure, known),
            };
            maybe_done |= failure.maybe_done;
            if Instant::now() + BACKOFF >= give_up {
                return Err(Failure {
                    kind: format!("deadline, {}", failure.kind),
                    detail: format!(
                        "not acknowledged within {} ms; {}",
                        self.deadline.as_millis(),
                        failure.detail
                    ),
                    maybe_done,
                    hopeless: false,
                });
            }
            if known && told < TOLD {
                told += 1;
            } else {
                told = 0;
                sleep(BACKOFF).await;
                // Of no use to whoever waits: a failure shows with the next try.
                let suspect = self.cluster.leader(partition);
                let _ = self.cluster.learn(suspect).await;
            }
        }
    }

    async fn once(&mut self, partition: i32, batch: &Bytes, give_up: Instant) -> Tried {
        let Some(leader) = self.cluster.leader(partition) else {
            let failure = Failure::none("no leader", format!("nobody leads partition {partition}"));
            return Tried::Again(failure, false);
        };
        let request = request(self.cluster.topic(), partition, batch.clone());
        let left = give_up.saturating_duration_since(Instant::now()).min(TRY);
        let answer = match self.cluster.ask(leader, &request, left).await {
            Ok(answer) => answer,
            Err(failure) => return Tried::Again(failure, false),
        };
        let topic = answer.responses.first();
        let Some(of) = topic.and_then(|topic| topic.partition_responses.first()) else {
            let failure = Failure::none("protocol", "an answer about nothing");
            return Tried::Again(maybe(failure), false);
        };
        match ResponseError::try_from_code(of.error_code) {
            None => Tried::Acked,
            Some(error) => self.judged(leader, &answer, of, error),
        }
    }

    /// What an error of a leader means.
    fn judged(
        &mut self,
        asked: i32,
        whole: &ProduceResponse,
        answer: &PartitionProduceResponse,
        error: ResponseError,
    ) -> Tried {
        let failure = Failure::code("write", error);
        match error {
            // A try whose answer was lost had come.
            ResponseError::DuplicateSequenceNumber => Tried::Acked,
            ResponseError::NotEnoughReplicas
            | ResponseError::UnknownTopicOrPartition
            | ResponseError::ThrottlingQuotaExceeded => Tried::Again(failure, false),
            ResponseError::OutOfOrderSequenceNumber
            | ResponseError::UnknownProducerId
            | ResponseError::InvalidProducerEpoch => Tried::Over(failure),
            // A leader that loses its role answers for what it has taken in already, too; and whoever
            // waited in vain for the others has it himself.
            _ if error.is_retriable() => {
                let known = self.told(asked, whole, answer);
                Tried::Again(maybe(failure), known)
            }
            _ => Tried::Over(failure),
        }
    }

    /// Takes in who leads now, if the answer says so; whether it is somebody else.
    fn told(
        &mut self,
        asked: i32,
        whole: &ProduceResponse,
        answer: &PartitionProduceResponse,
    ) -> bool {
        for broker in &whole.node_endpoints {
            let port = u16::try_from(broker.port).unwrap_or_default();
            self.cluster
                .moved(broker.node_id.0, broker.host.as_str(), port);
        }
        let told = &answer.current_leader;
        if told.leader_id.0 < 0 {
            return false;
        }
        self.cluster
            .led(answer.index, told.leader_id.0, told.leader_epoch);
        self.cluster
            .leader(answer.index)
            .is_some_and(|leader| leader != asked)
    }

    fn batch(&self, sequence: i32, key: &str, value: &str) -> Result<Bytes, Failure> {
        let record = Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: self.id,
            producer_epoch: self.epoch,
            timestamp_type: TimestampType::Creation,
            offset: 0,
            sequence,
            timestamp: jiff::Timestamp::now().as_millisecond(),
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: kafka_protocol::indexmap::IndexMap::new(),
        };
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        let mut batch = BytesMut::new();
        RecordBatchEncoder::encode(&mut batch, [&record], &options)
            .map_err(|error| Failure::none("protocol", error.to_string()))?;
        Ok(batch.freeze())
    }
}

fn maybe(failure: Failure) -> Failure {
    Failure {
        maybe_done: true,
        ..failure
    }
}

/// A producer's number from any broker.
async fn number(cluster: &mut Cluster) -> Result<(i64, i16), Failure> {
    cluster.learn(None).await?;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let brokers: Vec<i32> = cluster.brokers().keys().copied().collect();
    let mut last = Failure::none("connect", "no broker is known");
    for broker in brokers {
        match cluster.ask(broker, &request, TRY).await {
            Ok(answer) => match ok("get a producer's number", answer.error_code) {
                Ok(()) => return Ok((answer.producer_id.0, answer.producer_epoch)),
                Err(failure) => last = failure,
            },
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

fn request(topic: &str, partition: i32, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(name_of(topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(IN_SYNC_MS)
        .with_topic_data(vec![topic])
}

#[async_trait]
impl Client for Producer {
    async fn write(&mut self, key: WriteKey<'_>) -> Result<(), Trouble> {
        let partition = row::partition_of(key.writer, self.partitions);
        let value = row::value(key.writer, key.seq);
        self.send(partition, key.run, &value)
            .await
            .map_err(Failure::trouble)
    }

    async fn highest(
        &mut self,
        _run: &str,
        _writer: usize,
        _promised: Option<Sequence>,
    ) -> Result<Option<Sequence>, Trouble> {
        Err(Failure::none("role", "a producer does not read").trouble())
    }

    fn is_closed(&self) -> bool {
        false
    }
}
