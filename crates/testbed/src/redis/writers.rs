//! Clients that write to every shard without pause, and what became of every value.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Cluster, text};

/// A key in the first, second and third of three equal shares of the slots.
const KEYS: [&str; 3] = ["b", "c", "a"];

/// One writer for each of three shards: every value once, what was acknowledged is remembered.
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Written>>,
}

/// What a writer saw.
#[derive(Debug, Default)]
pub struct Written {
    /// Its key.
    pub key: String,
    /// Acknowledged values.
    pub acked: Vec<u32>,
    /// Errors that the client saw; a redirection is none.
    pub errors: Vec<String>,
    /// Longest time between two acknowledgements.
    pub longest: Duration,
}

impl Writers {
    /// Starts them.
    pub fn start(cluster: &Arc<Cluster>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = KEYS
            .iter()
            .enumerate()
            .map(|(shard, key)| {
                let (cluster, stop) = (Arc::clone(cluster), Arc::clone(&stop));
                tokio::spawn(async move { write(&cluster, shard, key, &stop).await })
            })
            .collect();
        Self { stop, tasks }
    }

    /// Stops them and gathers what they saw, by shard.
    pub async fn stop(self) -> Vec<Written> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        for task in self.tasks {
            all.push(task.await.unwrap());
        }
        all
    }
}

async fn write(cluster: &Cluster, shard: usize, key: &str, stop: &AtomicBool) -> Written {
    let mut written = Written {
        key: key.to_owned(),
        ..Written::default()
    };
    let mut client = cluster.client(shard).await.ok();
    let mut last = Instant::now();
    let mut value = 0;
    while !stop.load(Ordering::SeqCst) {
        let Some(open) = client.as_mut() else {
            written.errors.push("no connection".to_owned());
            return written;
        };
        value += 1;
        let mut command = redis::cmd("SADD");
        command.arg(key).arg(value);
        loop {
            let error = match open.send_packed_command(&command).await {
                Ok(Value::ServerError(error)) => redis::RedisError::from(error),
                Ok(_) => {
                    written.longest = written.longest.max(last.elapsed());
                    last = Instant::now();
                    written.acked.push(value);
                    break;
                }
                Err(error) => error,
            };
            // `MOVED 3300 127.0.0.1:6381`: nothing was done here.
            let moved = error
                .detail()
                .filter(|_| error.code() == Some("MOVED"))
                .and_then(|detail| detail.rsplit(' ').next());
            match moved {
                Some(to) => *open = cluster.client_at(to).await.unwrap(),
                None => {
                    written.errors.push(error.to_string());
                    break;
                }
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
    written
}

impl Written {
    /// Acknowledged values that a member does not have.
    pub async fn lost_on(&self, cluster: &Cluster, member: usize) -> Vec<u32> {
        let mut client = cluster.client(member).await.unwrap();
        let readonly = redis::cmd("READONLY");
        client.send_packed_command(&readonly).await.unwrap();
        let mut command = redis::cmd("SMEMBERS");
        command.arg(&self.key);
        let found = text(client.send_packed_command(&command).await.unwrap());
        let present: BTreeSet<u32> = found.lines().map(|line| line.parse().unwrap()).collect();
        let mut lost = self.acked.clone();
        lost.retain(|value| !present.contains(value));
        lost
    }
}
