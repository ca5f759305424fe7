//! Clients that write without pause, and what became of every key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::set::Set;

/// A set that clients reach through its pooler.
#[async_trait]
pub trait Clients: Send + Sync {
    /// A client's session through the pooler.
    async fn client(&self) -> Result<Client, tokio_postgres::Error>;

    /// A session with the application's database of one member.
    async fn connect_app(&self, n: usize) -> Client;
}

#[async_trait]
impl Clients for Set {
    async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        Set::client(self).await
    }

    async fn connect_app(&self, n: usize) -> Client {
        Set::connect_app(self, n).await
    }
}

#[async_trait]
impl<T: Clients> Clients for Arc<T> {
    async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        T::client(self).await
    }

    async fn connect_app(&self, n: usize) -> Client {
        T::connect_app(self, n).await
    }
}

/// Writers through the pooler: every key once, what was acknowledged is remembered.
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Written>>,
}

/// What the writers saw.
#[derive(Debug, Default)]
pub struct Written {
    /// Acknowledged keys by writer.
    pub acked: BTreeMap<u32, Vec<u32>>,
    /// Errors that a client saw.
    pub errors: Vec<String>,
    /// Longest time between two acknowledgements of one writer.
    pub longest: Duration,
}

impl Writers {
    /// Starts four writers on a set led by its first member.
    pub async fn start(set: &Arc<Set>) -> Self {
        Self::start_on(set, 0).await
    }

    /// Starts four writers on a set led by this member, with a table of their own.
    pub async fn start_on<S: Clients + 'static>(set: &Arc<S>, primary: usize) -> Self {
        let admin = set.connect_app(primary).await;
        admin
            .simple_query(
                "DROP TABLE IF EXISTS written; \
                 CREATE TABLE written (writer int, seq int, PRIMARY KEY (writer, seq))",
            )
            .await
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..4)
            .map(|writer| {
                let (set, stop) = (Arc::clone(set), Arc::clone(&stop));
                tokio::spawn(async move { write(set.as_ref(), writer, &stop).await })
            })
            .collect();
        Self { stop, tasks }
    }

    /// Stops them and gathers what they saw.
    pub async fn stop(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Written::default();
        for task in self.tasks {
            let one = task.await.unwrap();
            all.acked.extend(one.acked);
            all.errors.extend(one.errors);
            all.longest = all.longest.max(one.longest);
        }
        all
    }
}

async fn write(set: &impl Clients, writer: u32, stop: &AtomicBool) -> Written {
    let mut written = Written::default();
    let mut client = set.client().await.ok();
    let mut last = Instant::now();
    let mut seq = 0;
    while !stop.load(Ordering::SeqCst) {
        let Some(open) = &client else {
            sleep(Duration::from_millis(20)).await;
            client = match set.client().await {
                Ok(client) => Some(client),
                Err(e) => {
                    written.errors.push(format!("connect: {e}"));
                    None
                }
            };
            continue;
        };
        seq += 1;
        match open
            .simple_query(&format!("INSERT INTO written VALUES ({writer}, {seq})"))
            .await
        {
            Ok(_) => {
                written.longest = written.longest.max(last.elapsed());
                last = Instant::now();
                written.acked.entry(writer).or_default().push(seq);
            }
            Err(e) => {
                written.errors.push(e.to_string());
                if open.is_closed() {
                    client = None;
                }
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
    written
}

/// Acknowledged keys that a member does not have.
pub async fn lost(set: &impl Clients, member: usize, written: &Written) -> Vec<(u32, u32)> {
    let rows = set
        .connect_app(member)
        .await
        .simple_query("SELECT writer, seq FROM written")
        .await
        .unwrap();
    let present: BTreeSet<(u32, u32)> = rows
        .iter()
        .filter_map(|row| match row {
            SimpleQueryMessage::Row(r) => Some((r.get(0)?.parse().ok()?, r.get(1)?.parse().ok()?)),
            _ => None,
        })
        .collect();
    written
        .acked
        .iter()
        .flat_map(|(writer, seqs)| seqs.iter().map(|seq| (*writer, *seq)))
        .filter(|key| !present.contains(key))
        .collect()
}
