//! Clients that write without pause through the poolers, and what became of each write.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Postgres;
use super::disk::{Entry, Kind};

/// One write per pooler in this time.
///
/// 20 ms: often enough that every moment of a hand-over meets a write.
pub const INTERVAL: Duration = Duration::from_millis(20);

/// A pooler process as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooler {
    /// UID of its pod.
    pub uid: String,
    /// Pod that it sends its clients to.
    pub aimed: String,
    /// It holds its clients.
    pub paused: bool,
    /// Since when it holds them.
    pub held_since: Option<Duration>,
}

/// A write on its way.
#[derive(Clone, Debug)]
struct Pending {
    server: String,
    pooler: String,
    entry: Entry,
    at: usize,
}

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {
    /// Pooler processes by pod.
    pub poolers: BTreeMap<String, Pooler>,
    /// A client that never ends its transaction holds this pooler.
    pub idle_in_transaction: Option<String>,
    /// Writes acknowledged.
    pub acked: u64,
    /// The last acknowledged record and its place in the log.
    pub last_acked: Option<(usize, Entry)>,
    /// Errors that clients saw.
    pub errors: Vec<String>,
    /// Longest time without an acknowledged write.
    pub longest_gap: Duration,
    last_ack: Option<Duration>,
    due: Duration,
    pending: Vec<Pending>,
}

impl Clients {
    /// When the next write is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Some pooler holds its clients.
    pub fn held(&self) -> bool {
        self.poolers.values().any(|pooler| pooler.paused)
    }

    /// Something of a client is under way through a pooler.
    pub fn is_in_use(&self, pooler: &str) -> bool {
        self.idle_in_transaction.as_deref() == Some(pooler)
            || self.pending.iter().any(|pending| pending.pooler == pooler)
    }

    /// A server went: whoever waited for it sees an error and does not know what became of it.
    pub fn server_lost(&mut self, server: &str) {
        self.fail(|pending| pending.server == server, server);
        let in_transaction = self.idle_in_transaction.as_ref().is_some_and(|pooler| {
            self.poolers
                .get(pooler)
                .is_some_and(|pooler| pooler.aimed == server)
        });
        if in_transaction {
            self.idle_in_transaction = None;
            self.errors
                .push(format!("{server} went away in a transaction"));
        }
    }

    /// A pooler went, with its clients' connections.
    pub fn pooler_lost(&mut self, pooler: &str) {
        self.poolers.remove(pooler);
        self.fail(|pending| pending.pooler == pooler, pooler);
    }

    fn fail(&mut self, lost: impl Fn(&Pending) -> bool, who: &str) {
        let before = self.pending.len();
        self.pending.retain(|pending| !lost(pending));
        for _ in self.pending.len()..before {
            self.errors.push(format!("{who} went away in a write"));
        }
    }
}

impl Postgres {
    /// New writes and acknowledgements that are due.
    pub fn serve_clients(&mut self, now: Duration) {
        if !self.clients.pending.is_empty() {
            self.acknowledge(now);
        }
        if now < self.clients.due {
            return;
        }
        self.clients.due = now + INTERVAL;
        let poolers: Vec<(String, Pooler)> = self
            .clients
            .poolers
            .iter()
            .map(|(name, pooler)| (name.clone(), pooler.clone()))
            .collect();
        for (name, pooler) in poolers {
            if pooler.paused {
                continue;
            }
            let open = self
                .processes
                .get(&pooler.aimed)
                .is_some_and(|process| process.is_primary() && process.frozen <= now);
            if !open {
                let aimed = &pooler.aimed;
                self.clients
                    .errors
                    .push(format!("{aimed} does not take writes"));
                continue;
            }
            if let Some(entry) = self.append(&pooler.aimed, Kind::Write) {
                let at = self
                    .disk_of(&pooler.aimed)
                    .map_or(0, |disk| disk.log.len().saturating_sub(1));
                self.clients.pending.push(Pending {
                    server: pooler.aimed,
                    pooler: name,
                    entry,
                    at,
                });
            }
        }
        if self.synchronous == 0 {
            self.acknowledge(now);
        }
    }

    fn acknowledge(&mut self, now: Duration) {
        let pending = std::mem::take(&mut self.clients.pending);
        for write in pending {
            if !self.is_synchronous_at(&write.server, &write.entry) {
                self.clients.pending.push(write);
                continue;
            }
            let clients = &mut self.clients;
            clients.acked += 1;
            clients.last_acked = Some((write.at, write.entry));
            if let Some(last) = clients.last_ack {
                clients.longest_gap = clients.longest_gap.max(now.saturating_sub(last));
            }
            clients.last_ack = Some(now);
        }
    }

    /// Whether a server's log holds every acknowledged write.
    pub fn holds_every_acknowledged_write(&self, pod: &str) -> bool {
        match (&self.clients.last_acked, self.disk_of(pod)) {
            (None, _) => true,
            (Some((at, entry)), Some(disk)) => disk.log.get(*at).map(|e| e.id) == Some(entry.id),
            (Some(_), None) => false,
        }
    }
}
