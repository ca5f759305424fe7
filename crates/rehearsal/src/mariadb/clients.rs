//! Clients that write to whoever takes writes.

use std::time::Duration;

use super::set::{Refusal, Set};

/// Pause between two writes of a client, and before a new connection.
const PAUSE: Duration = Duration::from_millis(5);

/// One writer with one connection.
#[derive(Debug, Default)]
pub struct Client {
    /// The member that it is connected to, and the process there.
    pub at: Option<(usize, u32)>,
    /// Its write waits for the lock over the server.
    pub waits: bool,
    /// Acknowledged writes.
    pub acked: Vec<u64>,
    /// Errors that it saw: refused, cut, not let in.
    pub errors: u32,
    /// Longest time between two acknowledgements.
    pub longest_gap: Duration,
    /// Where it looks next, if no Service leads it.
    asks: usize,
    last: Option<Duration>,
    due: Duration,
}

impl Client {
    fn failed(&mut self, now: Duration, members: usize) {
        self.errors += 1;
        self.at = None;
        self.waits = false;
        self.asks = (self.asks + 1) % members;
        self.due = now + PAUSE;
    }

    /// Its connection is closed from the other side.
    pub(super) fn cut(&mut self, now: Duration, members: usize) {
        self.failed(now, members);
    }

    /// One attempt to write, if it is time for one.
    pub(super) fn step(set: &mut Set, c: usize) {
        let now = set.now();
        let members = set.nodes.len();
        if now < set.clients[c].due {
            return;
        }
        let led = set.service.unwrap_or(set.clients[c].asks);
        let (n, life) = *set.clients[c].at.get_or_insert((led, set.nodes[led].life));
        if !set.nodes[n].runs || set.nodes[n].life != life {
            set.clients[c].failed(now, members);
            return;
        }
        if set.nodes[n].frozen {
            return;
        }
        match set.write(n) {
            Ok(id) => {
                let client = &mut set.clients[c];
                if let Some(last) = client.last {
                    client.longest_gap = client.longest_gap.max(now.saturating_sub(last));
                }
                client.waits = false;
                client.last = Some(now);
                client.due = now + PAUSE;
                client.acked.push(id);
            }
            Err(Refusal::Locked) => set.clients[c].waits = true,
            Err(Refusal::ReadOnly) => set.clients[c].failed(now, members),
        }
    }
}
