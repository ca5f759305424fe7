//! Clients that write without pause, and what became of every value.
//!
//! One writes to each partition of a topic, waits for all replicas in sync (`acks=all`), looks for the
//! leader by itself and writes under another name what it does not know the outcome of: what was
//! acknowledged is remembered, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{MEMBERS, Set, ask};

/// Writers that write to whoever leads.
pub struct Writers {
    topic: String,
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<(Vec<String>, Duration)>>,
}

/// What all writers saw.
#[derive(Debug, Default)]
pub struct Written {
    topic: String,
    /// Values of each partition that all replicas in sync acknowledged.
    pub acked: Vec<Vec<String>>,
    /// Longest time between two acknowledgements of each partition.
    pub longest: Vec<Duration>,
}

impl Writers {
    /// Starts one for each partition of a topic.
    pub fn start(set: &Arc<Set>, topic: &str, partitions: i32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acked = Arc::new(AtomicUsize::new(0));
        let tasks = (0..partitions)
            .map(|partition| {
                let (set, stop, acked) = (Arc::clone(set), Arc::clone(&stop), Arc::clone(&acked));
                let topic = topic.to_owned();
                tokio::spawn(async move { write(&set, &topic, partition, &stop, &acked).await })
            })
            .collect();
        Self {
            topic: topic.to_owned(),
            stop,
            acked,
            tasks,
        }
    }

    /// Acknowledged so far.
    pub fn acked(&self) -> usize {
        self.acked.load(Ordering::SeqCst)
    }

    /// Stops them and gathers what they saw.
    pub async fn stop(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Written {
            topic: self.topic,
            ..Written::default()
        };
        for task in self.tasks {
            let (acked, longest) = task.await.unwrap();
            all.acked.push(acked);
            all.longest.push(longest);
        }
        all
    }
}

impl Written {
    /// Acknowledged values that the leaders have not.
    pub async fn lost(&self, set: &Set) -> usize {
        let mut lost = 0;
        let leaders = set.leaders(&self.topic).await;
        for (partition, leader) in leaders.iter().enumerate() {
            let there = read(
                set,
                usize::try_from(*leader).unwrap(),
                &self.topic,
                partition,
            )
            .await;
            let acked = &self.acked[partition];
            lost += acked.iter().filter(|value| !there.contains(*value)).count();
        }
        lost
    }
}

/// Everything that a member has of a partition and may show.
async fn read(set: &Set, member: usize, topic: &str, partition: usize) -> BTreeSet<String> {
    let mut there = BTreeSet::new();
    let mut offset = 0;
    loop {
        let wanted = FetchPartition::default()
            .with_partition(i32::try_from(partition).unwrap())
            .with_fetch_offset(offset)
            .with_partition_max_bytes(4 << 20);
        let request = FetchRequest::default().with_topics(vec![
            FetchTopic::default()
                .with_topic(name(topic))
                .with_partitions(vec![wanted]),
        ]);
        let answer: FetchResponse = ask(&set.host(member), ApiKey::Fetch, 12, &request)
            .await
            .unwrap();
        let found = &answer.responses[0].partitions[0];
        assert_eq!(found.error_code, 0);
        if offset >= found.high_watermark {
            return there;
        }
        let mut records = found.records.clone().unwrap_or_default();
        for batch in RecordBatchDecoder::decode_all(&mut records).unwrap() {
            for record in batch.records {
                offset = record.offset + 1;
                let value = record.value.unwrap_or_default();
                there.insert(String::from_utf8(value.to_vec()).unwrap());
            }
        }
    }
}

async fn write(
    set: &Set,
    topic: &str,
    partition: i32,
    stop: &AtomicBool,
    counted: &AtomicUsize,
) -> (Vec<String>, Duration) {
    let mut acked = Vec::new();
    let mut longest = Duration::ZERO;
    let (mut at, mut value) = (0, 0_u64);
    let mut last = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        value += 1;
        let text = format!("{partition}-{value}");
        let answer: Result<ProduceResponse, _> = ask(
            &set.host(at),
            ApiKey::Produce,
            9,
            &produce(topic, partition, &text),
        )
        .await;
        let code = answer
            .ok()
            .and_then(|a| Some(a.responses.first()?.partition_responses.first()?.error_code));
        if code == Some(0) {
            if !acked.is_empty() {
                longest = longest.max(last.elapsed());
            }
            last = Instant::now();
            counted.fetch_add(1, Ordering::SeqCst);
            acked.push(text);
        } else {
            at = (at + 1) % MEMBERS;
        }
        sleep(Duration::from_millis(2)).await;
    }
    (acked, longest)
}

fn produce(topic: &str, partition: i32, value: &str) -> ProduceRequest {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: NO_SEQUENCE,
        timestamp: now(),
        key: None,
        value: Some(Bytes::from(value.to_owned())),
        headers: kafka_protocol::indexmap::IndexMap::new(),
    };
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut batch = BytesMut::new();
    RecordBatchEncoder::encode(&mut batch, [&record], &options).unwrap();
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch.freeze()));
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![
            TopicProduceData::default()
                .with_name(name(topic))
                .with_partition_data(vec![data]),
        ])
}

/// Milliseconds since the epoch. A record from its beginning is older than any retention, and deleted
/// at the broker's first look.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
