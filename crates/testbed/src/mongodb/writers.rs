//! Clients that write without pause, and what became of every value.
//!
//! Each looks for the primary by itself and tries a value again under another name where its outcome
//! is not known: what was acknowledged is remembered, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bson::{Bson, doc};
use ferriswheel_actuators::databases::mongodb::session::Session;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{COMMAND, MEMBERS, Set};

/// Writers of a set.
const WRITERS: usize = 2;

/// Writers that write to whoever leads.
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Written>>,
}

/// What all writers saw.
#[derive(Debug, Default)]
pub struct Written {
    /// Values that a majority acknowledged.
    pub acked: Vec<String>,
    /// Longest time between two acknowledgements of one writer.
    pub longest: Duration,
}

impl Writers {
    /// Starts them.
    pub fn start(set: &Arc<Set>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..WRITERS)
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
            all.longest = all.longest.max(one.longest);
        }
        all
    }
}

impl Written {
    /// Acknowledged values that a member has not.
    pub async fn lost_on(&self, set: &Set, member: usize) -> usize {
        let session = set.session(member);
        session.open(COMMAND).await.unwrap();
        let mut lost = 0;
        for some in self.acked.chunks(500) {
            let ids: Vec<Bson> = some.iter().map(|id| Bson::String(id.clone())).collect();
            let command = doc! {
                "count": "values", "query": { "_id": { "$in": ids } },
                "$readPreference": { "mode": "secondaryPreferred" },
            };
            let answer = session.run("test", command, COMMAND).await.unwrap();
            let found = answer.get_i32("n").unwrap();
            lost += some.len() - usize::try_from(found).unwrap();
        }
        lost
    }
}

async fn write(set: &Set, writer: usize, stop: &AtomicBool) -> Written {
    let sessions: Vec<Session> = (0..MEMBERS).map(|n| set.session(n)).collect();
    let mut written = Written::default();
    let (mut at, mut value) = (0, 0_u64);
    let mut last = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        value += 1;
        let id = format!("{writer}-{value}");
        let command = doc! {
            "insert": "values", "documents": [{ "_id": &id }],
            "writeConcern": { "w": "majority", "wtimeout": 60_000 },
        };
        let session = &sessions[at];
        let answer = match session.open(COMMAND).await {
            Ok(()) => session.run("test", command, 4 * COMMAND).await,
            Err(e) => Err(e),
        };
        match answer {
            Ok(answer) if answer.get_i32("n").is_ok_and(|n| n == 1) => {
                if !written.acked.is_empty() {
                    written.longest = written.longest.max(last.elapsed());
                }
                last = Instant::now();
                written.acked.push(id);
                sleep(Duration::from_millis(2)).await;
            }
            _ => {
                at = (at + 1) % MEMBERS;
                sleep(Duration::from_millis(2)).await;
            }
        }
    }
    written
}
