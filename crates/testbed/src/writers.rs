//! Clients that write without pause, and what became of every key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_postgres::SimpleQueryMessage;

use crate::set::Set;

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
    /// Starts four writers.
    pub async fn start(set: &Arc<Set>) -> Self {
        let admin = set.connect_app(0).await;
        admin
            .simple_query("CREATE TABLE written (writer int, seq int, PRIMARY KEY (writer, seq))")
            .await
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..4)
            .map(|writer| {
                let (set, stop) = (Arc::clone(set), Arc::clone(&stop));
                tokio::spawn(async move { write(&set, writer, &stop).await })
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

async fn write(set: &Set, writer: u32, stop: &AtomicBool) -> Written {
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
pub async fn lost(set: &Set, member: usize, written: &Written) -> Vec<(u32, u32)> {
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
