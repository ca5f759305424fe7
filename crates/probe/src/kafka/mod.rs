//! Kafka without ZooKeeper (3.7 and newer), over its own protocol.
//!
//! A run writes to a topic of its own, by idempotent producers that wait for all replicas in sync: what an
//! application has that must not lose anything. Each partition is a shard with a leader of its own; a
//! writer writes to one partition. A record that was appended twice is found as a duplicate, one that is
//! not there as lost, one that was never sent as a phantom, and one that stands behind a later one of its
//! writer as out of order.
//!
//! Afterwards every copy of every partition is read to its high watermark: followers answer consumers,
//! too. The members of the certificate are therefore copies, `BROKER/PARTITION`.
//!
//! Listeners with a login or with TLS are not spoken.

mod address;
pub(crate) mod cluster;
mod consumer;
mod examine;
mod log;
pub(crate) mod producer;
mod row;
mod topic;
pub(crate) mod wire;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;

pub use address::{Address, AddressError};

use cluster::{Cluster, Failure};
use consumer::Consumer;
use producer::Producer;

use crate::config::RunConfig;
use crate::judge::MemberEvidence;
use crate::run::StartError;
use crate::system::{Client, Examination, Prepared, RunNames, System, Trouble};

/// A cluster behind the addresses of some of its brokers.
pub(crate) struct Kafka {
    address: Arc<Address>,
    read_address: Arc<Address>,
    writers: usize,
    connect_deadline: Duration,
    deadline: Duration,
    topic: OnceLock<Topic>,
}

/// Where a run writes.
#[derive(Clone, Debug)]
struct Topic {
    name: String,
    partitions: i32,
}

impl Kafka {
    /// Takes the addresses apart.
    pub(crate) fn new(config: &RunConfig) -> Result<Self, StartError> {
        let parse = |text: &str, what| {
            Address::parse(text)
                .map(Arc::new)
                .map_err(|source| StartError::Address {
                    what,
                    source: Box::new(source),
                })
        };
        let address = parse(&config.dsn, "read the clients' address")?;
        let read_address = match &config.read_dsn {
            Some(text) => parse(text, "read the readers' address")?,
            None => Arc::clone(&address),
        };
        Ok(Self {
            address,
            read_address,
            writers: config.writers,
            connect_deadline: config.connect_deadline(),
            deadline: config.statement_deadline(),
            topic: OnceLock::new(),
        })
    }

    fn cluster(&self, address: &Arc<Address>, topic: &str) -> Cluster {
        Cluster::new(Arc::clone(address), topic.to_owned(), self.connect_deadline)
    }

    fn topic(&self) -> Result<&Topic, Trouble> {
        self.topic.get().ok_or_else(|| Trouble {
            hopeless: true,
            ..Failure::none("topic", "the run was not prepared").trouble()
        })
    }

    async fn begin(&self, names: &RunNames<'_>) -> Result<(Topic, u64), Failure> {
        let name = topic::of(&self.address.topic, names);
        let mut cluster = self.cluster(&self.address, &name);
        let partitions = topic::ready(&mut cluster, self.writers).await?;
        let mut producer = Producer::open(cluster, partitions, self.deadline).await?;
        producer.send(0, row::BEGUN, names.run).await?;
        let cluster = self.cluster(&self.address, &name);
        let mut consumer = Consumer::open(cluster, partitions, self.deadline).await?;
        let begun = topic::begun(&mut consumer).await?;
        Ok((Topic { name, partitions }, begun))
    }
}

#[async_trait]
impl System for Kafka {
    async fn prepare(&self, names: RunNames<'_>) -> Result<Prepared, Trouble> {
        let (topic, begun) = self.begin(&names).await.map_err(Failure::trouble)?;
        let shards = (0..topic.partitions).map(|n| n.to_string()).collect();
        let _ = self.topic.set(topic);
        Ok(Prepared {
            earlier_probes: begun.saturating_sub(1),
            shards,
        })
    }

    async fn connect(&self) -> Result<Box<dyn Client>, Trouble> {
        let topic = self.topic()?;
        let cluster = self.cluster(&self.address, &topic.name);
        let producer = Producer::open(cluster, topic.partitions, self.deadline)
            .await
            .map_err(Failure::trouble)?;
        Ok(Box::new(producer))
    }

    async fn connect_reader(&self) -> Result<Box<dyn Client>, Trouble> {
        let topic = self.topic()?;
        let cluster = self.cluster(&self.read_address, &topic.name);
        let consumer = Consumer::open(cluster, topic.partitions, self.deadline)
            .await
            .map_err(Failure::trouble)?;
        Ok(Box::new(consumer))
    }

    async fn examine(&self, what: &Examination<'_>) -> Vec<MemberEvidence> {
        let Some(topic) = self.topic.get() else {
            return Vec::new();
        };
        examine::Visit {
            cluster: self.cluster(&self.address, &topic.name),
            connect_deadline: self.connect_deadline,
            partitions: topic.partitions,
            what,
        }
        .run()
        .await
    }

    async fn drop_everything(&self) -> Result<(), Trouble> {
        let Some(topic) = self.topic.get() else {
            return Ok(());
        };
        let mut cluster = self.cluster(&self.address, &topic.name);
        topic::delete(&mut cluster).await.map_err(Failure::trouble)
    }
}
