//! Records of a partition as a broker has them, up to its high watermark.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::records::RecordBatchDecoder;

use super::cluster::{Failure, name_of, ok};

/// Bytes to ask for when everything is read. 4 MiB: some 40,000 records of a probe.
pub(crate) const MANY: i32 = 4 << 20;

/// Bytes to ask for when it matters only whether there is an answer. 1: a broker sends the first batch
/// whole, whatever is asked for, and no second one.
pub(crate) const ONE_BATCH: i32 = 1;

/// Of a batch: base offset and length.
const HEAD: usize = 12;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Where it stands.
    pub offset: i64,
    /// Key; empty if it has none.
    pub key: Bytes,
    /// Value; empty if it has none.
    pub value: Bytes,
}

/// Some records in a row.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// In the order of the log.
    pub rows: Vec<Row>,
    /// Offset behind the last of them.
    pub next: i64,
    /// Offset behind the last that a consumer may see.
    pub high_watermark: i64,
}

impl Page {
    /// Nothing more may be seen.
    pub(crate) const fn is_last(&self) -> bool {
        self.next >= self.high_watermark
    }
}

/// Asks for what is there, at once, and for so many bytes of it.
pub(crate) fn request(topic: &str, partition: i32, offset: i64, bytes: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(bytes);
    let topic = FetchTopic::default()
        .with_topic(name_of(topic))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_topics(vec![topic])
}

/// Reads an answer to [`request`].
pub(crate) fn page(answer: &FetchResponse, offset: i64) -> Result<Page, Failure> {
    ok("read", answer.error_code)?;
    let partition = answer
        .responses
        .first()
        .and_then(|topic| topic.partitions.first())
        .ok_or_else(|| Failure::none("protocol", "an answer about nothing"))?;
    ok("read", partition.error_code)?;
    let mut page = Page {
        rows: Vec::new(),
        next: offset,
        high_watermark: partition.high_watermark,
    };
    let mut left = partition.records.clone().unwrap_or_default();
    // The last batch may be cut off.
    while let Some(length) = whole(&left) {
        let mut batch = left.split_to(length);
        let batch = RecordBatchDecoder::decode(&mut batch)
            .map_err(|error| Failure::none("protocol", error.to_string()))?;
        for record in batch.records {
            // A batch may begin before the offset that was asked for.
            if record.offset < page.next || record.offset >= page.high_watermark {
                continue;
            }
            page.next = record.offset + 1;
            if !record.control {
                page.rows.push(Row {
                    offset: record.offset,
                    key: record.key.unwrap_or_default(),
                    value: record.value.unwrap_or_default(),
                });
            }
        }
    }
    Ok(page)
}

/// Length of the first batch, if it is whole.
fn whole(bytes: &Bytes) -> Option<usize> {
    let length: [u8; 4] = bytes.get(8..HEAD)?.try_into().ok()?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok()? + HEAD;
    (length <= bytes.len()).then_some(length)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::records::{
        Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions,
        TimestampType,
    };

    use super::*;

    fn batch(from: i64, values: &[&'static str]) -> Vec<u8> {
        let records: Vec<Record> = values
            .iter()
            .zip(from..)
            .map(|(value, offset)| Record {
                transactional: false,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
                producer_id: 7,
                producer_epoch: 0,
                timestamp_type: TimestampType::Creation,
                offset,
                sequence: i32::try_from(offset).unwrap(),
                timestamp: 0,
                key: None,
                value: Some(Bytes::from_static(value.as_bytes())),
                headers: kafka_protocol::indexmap::IndexMap::new(),
            })
            .collect();
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        let mut batch = BytesMut::new();
        RecordBatchEncoder::encode(&mut batch, &records, &options).unwrap();
        batch.to_vec()
    }

    fn answer(bytes: Vec<u8>, high_watermark: i64) -> FetchResponse {
        let partition = PartitionData::default()
            .with_high_watermark(high_watermark)
            .with_records(Some(Bytes::from(bytes)));
        let topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
        FetchResponse::default().with_responses(vec![topic])
    }

    #[test]
    fn a_batch_that_is_cut_off_or_not_to_be_seen_yet_is_left_for_later() {
        let mut bytes = batch(0, &["a", "b", "c"]);
        let second = batch(3, &["d"]);
        bytes.extend_from_slice(&second);
        let values =
            |page: &Page| -> Vec<Bytes> { page.rows.iter().map(|row| row.value.clone()).collect() };
        let page_of = |bytes: Vec<u8>, mark, from| page(&answer(bytes, mark), from).unwrap();

        let all = page_of(bytes.clone(), 4, 0);
        assert_eq!(
            (values(&all), all.next, all.is_last()),
            (
                vec!["a".into(), "b".into(), "c".into(), "d".into()],
                4,
                true
            )
        );
        let from_the_middle = page_of(bytes.clone(), 4, 2);
        assert_eq!(values(&from_the_middle), ["c", "d"]);
        let unseen = page_of(bytes.clone(), 2, 0);
        assert_eq!(
            (values(&unseen), unseen.next, unseen.is_last()),
            (vec!["a".into(), "b".into()], 2, true)
        );
        let cut = page_of(bytes[..bytes.len() - 1].to_vec(), 4, 0);
        assert_eq!((values(&cut).len(), cut.next, cut.is_last()), (3, 3, false));
        assert!(page_of(Vec::new(), 0, 0).is_last());
    }

    #[test]
    fn a_batch_that_was_damaged_is_an_error() {
        let mut bytes = batch(0, &["a"]);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(page(&answer(bytes, 1), 0).is_err());
        assert!(page(&FetchResponse::default(), 0).is_err());
    }
}
