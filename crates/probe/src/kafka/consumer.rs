//! A consumer, as applications have one: it reads a partition on and on from its leader.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use kafka_protocol::ResponseError;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Failure};
use super::{log, row};
use crate::accounting::ledger::Sequence;
use crate::system::{Client, Trouble, WriteKey};

/// Pause before another try. 20 ms, as a producer has it.
const BACKOFF: Duration = Duration::from_millis(20);

/// One read from a leader. 2 s, as one try of a producer.
const TRY: Duration = Duration::from_secs(2);

/// Where a consumer is, and the highest that it saw.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    offset: i64,
    highest: Option<Sequence>,
}

/// A consumer of the partitions of the writers that it is asked for.
pub(crate) struct Consumer {
    cluster: Cluster,
    partitions: i32,
    deadline: Duration,
    tails: BTreeMap<usize, Tail>,
}

impl Consumer {
    /// Learns who leads.
    pub(crate) async fn open(
        mut cluster: Cluster,
        partitions: i32,
        deadline: Duration,
    ) -> Result<Self, Failure> {
        cluster.learn(None).await?;
        Ok(Self {
            cluster,
            partitions,
            deadline,
            tails: BTreeMap::new(),
        })
    }

    /// Reads to the end of what may be seen.
    async fn read(&mut self, run: &str, writer: usize) -> Result<Option<Sequence>, Failure> {
        let give_up = Instant::now() + self.deadline;
        let partition = row::partition_of(writer, self.partitions);
        let mut tail = self.tails.get(&writer).copied().unwrap_or_default();
        loop {
            let failure = match self.page(partition, tail.offset).await {
                Ok(page) => {
                    for found in page.rows.iter().filter(|row| row.key == run.as_bytes()) {
                        let key = row::key_of(&found.value);
                        if usize::try_from(key.writer) == Ok(writer) {
                            tail.highest = tail.highest.max(Sequence::try_from(key.seq).ok());
                        }
                    }
                    let end = page.is_last();
                    let stands_still = page.next == tail.offset;
                    tail.offset = page.next;
                    if end {
                        self.tails.insert(writer, tail);
                        return Ok(tail.highest);
                    }
                    if !stands_still {
                        continue;
                    }
                    no_progress(&page)
                }
                Err(failure) => failure,
            };
            // The log is shorter than it was, or begins later: it is read anew.
            if failure.kind == format!("{:?}", ResponseError::OffsetOutOfRange) {
                tail = Tail::default();
            }
            if Instant::now() + BACKOFF >= give_up {
                return Err(failure);
            }
            sleep(BACKOFF).await;
            // Of no use to whoever waits: a failure shows with the next try.
            let suspect = self.cluster.leader(partition);
            let _ = self.cluster.learn(suspect).await;
        }
    }

    pub(crate) async fn page(&mut self, partition: i32, offset: i64) -> Result<log::Page, Failure> {
        let Some(leader) = self.cluster.leader(partition) else {
            let detail = format!("nobody leads partition {partition}");
            return Err(Failure::none("no leader", detail));
        };
        let request = log::request(self.cluster.topic(), partition, offset, log::MANY);
        let answer = self.cluster.ask(leader, &request, TRY).await?;
        log::page(&answer, offset)
    }
}

/// More may be seen, but it does not come.
pub(crate) fn no_progress(page: &log::Page) -> Failure {
    let detail = format!(
        "nothing comes behind offset {} of {}",
        page.next, page.high_watermark
    );
    Failure::none("no progress", detail)
}

#[async_trait]
impl Client for Consumer {
    async fn write(&mut self, _key: WriteKey<'_>) -> Result<(), Trouble> {
        Err(Failure::none("role", "a consumer does not write").trouble())
    }

    async fn highest(
        &mut self,
        run: &str,
        writer: usize,
        _promised: Option<Sequence>,
    ) -> Result<Option<Sequence>, Trouble> {
        self.read(run, writer).await.map_err(Failure::trouble)
    }

    fn is_closed(&self) -> bool {
        false
    }
}
