//! Clients that write without pause, and what became of every value.
//!
//! Each looks for the primary by itself and tries a value again under another name where its outcome
//! is not known: what was acknowledged is remembered, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ferriswheel_actuators::databases::mariadb::session::Session;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{MEMBERS, STATEMENT, Set};

/// Writers of a set.
const WRITERS: usize = 4;

/// Writers that write to whoever takes writes.
pub struct Writers {
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Written>>,
}

/// What all writers saw.
#[derive(Debug, Default)]
pub struct Written {
    /// Values that were acknowledged.
    pub acked: Vec<String>,
    /// Statements that failed.
    pub errors: usize,
    /// Longest time between two acknowledgements of one writer.
    pub longest: Duration,
}

impl Writers {
    /// Starts them.
    pub fn start(set: &Arc<Set>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acked = Arc::new(AtomicUsize::new(0));
        let tasks = (0..WRITERS)
            .map(|writer| {
                let (set, stop, acked) = (Arc::clone(set), Arc::clone(&stop), Arc::clone(&acked));
                tokio::spawn(async move { write(&set, writer, &stop, &acked).await })
            })
            .collect();
        Self { stop, acked, tasks }
    }

    /// Acknowledged so far.
    pub fn acked(&self) -> usize {
        self.acked.load(Ordering::SeqCst)
    }

    /// Stops them and gathers what they saw.
    pub async fn stop(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Written::default();
        for task in self.tasks {
            let one = task.await.unwrap();
            all.acked.extend(one.acked);
            all.errors += one.errors;
            all.longest = all.longest.max(one.longest);
        }
        all
    }
}

impl Written {
    /// Acknowledged values that a member has not.
    pub async fn lost_on(&self, set: &Set, member: usize) -> usize {
        let rows = set.run(member, "SELECT id FROM app.written").await.unwrap();
        let there: std::collections::BTreeSet<&str> =
            rows.iter().map(|row| row.text("id")).collect();
        let lost = self.acked.iter().filter(|id| !there.contains(id.as_str()));
        lost.count()
    }
}

async fn write(set: &Set, writer: usize, stop: &AtomicBool, acked: &AtomicUsize) -> Written {
    let sessions: Vec<Session> = (0..MEMBERS).map(|n| set.session_of(n, "app")).collect();
    let mut written = Written::default();
    let (mut at, mut value) = (0, 0_u64);
    let mut last = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        value += 1;
        let id = format!("{writer}-{value}");
        let statement = format!("INSERT INTO app.written VALUES ('{id}')");
        let session = &sessions[at];
        let answer = match session.open(STATEMENT).await {
            Ok(()) => session.run(&statement, STATEMENT).await,
            Err(e) => Err(e),
        };
        if answer.is_ok() {
            if !written.acked.is_empty() {
                written.longest = written.longest.max(last.elapsed());
            }
            last = Instant::now();
            acked.fetch_add(1, Ordering::SeqCst);
            written.acked.push(id);
        } else {
            written.errors += 1;
            at = (at + 1) % MEMBERS;
        }
        sleep(Duration::from_millis(2)).await;
    }
    written
}
