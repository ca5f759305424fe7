//! The bus: what servers tell each other, and what they make of it.

use std::time::Duration;

use super::election::{ELECTION, FAILOVER_TIMEOUT};
use super::{Cluster, Seen};

/// A message of the bus on its way.
pub(super) const BUS: Duration = Duration::from_millis(1);

/// A server that changed its role is heard of by everybody with its next message to each.
const ANNOUNCED: Duration = Duration::from_millis(20);

/// A replica's link to a primary that it follows from now on.
const LINKED: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub(super) enum Message {
    /// A replica asks its primary to hold its clients.
    Begin { from: usize },
    /// The primary holds them, and has so much.
    Holding { from: usize, target: usize },
    /// A replica asks for a vote in the place of its primary.
    Elect { from: usize, of: usize, epoch: u64 },
    /// A primary votes.
    Vote { from: usize, epoch: u64 },
    /// How a server stands.
    State { from: usize, seen: Seen },
}

impl Cluster {
    pub(super) fn send(&mut self, to: usize, after: Duration, message: Message) {
        self.bus.push((self.now + after, to, message));
    }

    /// Tells everybody how a server stands.
    pub(super) fn announce(&mut self, n: usize, after: Duration) {
        if !self.answers(n) {
            return;
        }
        let node = &self.nodes[n];
        let seen = Seen {
            upstream: node.upstream,
            shard: node.shard,
            epoch: node.epoch,
        };
        for to in (0..self.nodes.len()).filter(|to| *to != n) {
            self.send(to, after, Message::State { from: n, seen });
        }
    }

    /// Messages that are due, in order; those to a server that stands still wait in its socket.
    pub(super) fn deliver(&mut self) {
        let mut waiting = Vec::new();
        for (at, to, message) in std::mem::take(&mut self.bus) {
            if !self.nodes[to].runs {
                continue;
            }
            if at > self.now || self.nodes[to].frozen {
                waiting.push((at, to, message));
            } else {
                self.receive(to, message);
            }
        }
        waiting.append(&mut self.bus);
        self.bus = waiting;
    }

    fn receive(&mut self, to: usize, message: Message) {
        let now = self.now;
        match message {
            Message::Begin { from } => {
                let node = &mut self.nodes[to];
                if node.upstream.is_none() && node.views[from].upstream == Some(to) {
                    node.held_until = Some(now + FAILOVER_TIMEOUT);
                    let target = node.log.len();
                    self.send(from, BUS, Message::Holding { from: to, target });
                }
            }
            Message::Holding { from, target } => {
                let node = &mut self.nodes[to];
                if node.upstream == Some(from)
                    && let Some(failover) = &mut node.failover
                {
                    failover.target = Some(target);
                }
            }
            Message::Elect { from, of, epoch } => {
                let node = &mut self.nodes[to];
                let votes = node.shard.is_some()
                    && node.views[from].upstream == Some(of)
                    && epoch >= node.current_epoch
                    && epoch > node.last_vote
                    && node.voted.get(&of).is_none_or(|at| now >= *at + ELECTION);
                if votes {
                    node.current_epoch = epoch;
                    node.last_vote = epoch;
                    node.voted.insert(of, now);
                    self.send(from, BUS, Message::Vote { from: to, epoch });
                }
            }
            Message::Vote { from, epoch } => {
                if let Some(election) = &mut self.nodes[to].election
                    && election.epoch == epoch
                {
                    election.votes.insert(from);
                }
            }
            Message::State { from, seen } => self.hear(to, from, seen),
        }
    }

    /// A server hears how another one stands. Slots belong to whoever claims them with the newest configuration.
    fn hear(&mut self, n: usize, from: usize, seen: Seen) {
        let now = self.now;
        let node = &mut self.nodes[n];
        node.current_epoch = node.current_epoch.max(seen.epoch);
        if let Some(shard) = seen.shard {
            let owner = (0..node.views.len())
                .find(|other| *other != from && node.views[*other].shard == Some(shard));
            if let Some(owner) = owner {
                let newer = node.views[owner];
                if newer.epoch >= seen.epoch {
                    // An older claim: it is told of the newer one.
                    if newer.epoch > seen.epoch {
                        let seen = newer;
                        self.send(from, BUS, Message::State { from: owner, seen });
                    }
                    return;
                }
                node.views[owner].shard = None;
                // It was mine, or my primary's: I follow who took it.
                if owner == n || node.upstream == Some(owner) {
                    node.upstream = Some(from);
                    node.shard = None;
                    node.epoch = seen.epoch;
                    node.held_until = None;
                    node.failover = None;
                    node.linked_at = now + LINKED;
                    node.views[n] = Seen {
                        upstream: Some(from),
                        shard: None,
                        epoch: seen.epoch,
                    };
                    node.views[from] = seen;
                    self.announce(n, ANNOUNCED);
                    return;
                }
            }
        }
        node.views[from] = seen;
    }
}
