//! The servers of a cluster: who leads which shard, what everybody knows of everybody, and the failover
//! that a replica is asked for.

mod bus;
mod election;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::clients::Client;
use bus::{BUS, Message};
use election::Election;
pub use election::Failover;

/// `cluster-node-timeout`: the default.
pub const NODE_TIMEOUT: Duration = Duration::from_secs(15);

/// Everybody tells everybody else how he stands, again and again.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A step of time while something moves.
const FINE: Duration = Duration::from_millis(1);

/// A step of time while only clients write.
const COARSE: Duration = Duration::from_millis(10);

/// A primary that was started takes no write for so long: until then it would hear that another one has its slots.
///
/// # Source
/// `CLUSTER_WRITABLE_DELAY` in `cluster.c` of Redis 7.0.
const WRITABLE_DELAY: Duration = Duration::from_secs(2);

/// Bytes of the replication stream that a write takes.
const WRITE_BYTES: u64 = 64;

/// Something that a test does to the cluster when it comes to a state.
type Trigger = (
    Box<dyn Fn(&Cluster) -> bool + Send>,
    Box<dyn FnOnce(&mut Cluster) + Send>,
);

/// Servers by number: `redis-0` and so on, the primaries first.
pub struct Cluster {
    /// Servers.
    pub nodes: Vec<Node>,
    /// Writers, one a shard; they write once [`Cluster::writing`].
    pub clients: Vec<Client>,
    /// The writers write.
    pub writing: bool,
    /// Servers that became primaries, in order.
    pub promotions: Vec<usize>,
    /// What must never be and was.
    pub broken: BTreeSet<String>,
    bus: Vec<(Duration, usize, Message)>,
    triggers: Vec<Trigger>,
    now: Duration,
    beat: Duration,
    writes: u64,
}

/// A server.
#[derive(Debug)]
pub struct Node {
    /// Its process runs.
    pub runs: bool,
    /// Its process is stopped where it is.
    pub frozen: bool,
    /// How often it was started: a session lives with one process.
    pub life: u32,
    /// Whom it follows; a primary follows nobody.
    pub upstream: Option<usize>,
    /// The shard whose slots it serves.
    pub shard: Option<usize>,
    /// Every write that it has, in order.
    pub log: Vec<u64>,
    /// Its configuration epoch.
    pub epoch: u64,
    /// The newest epoch that it has heard of.
    pub current_epoch: u64,
    /// What it knows of every server, by number; of itself too.
    pub views: Vec<Seen>,
    /// Its process began.
    pub started_at: Duration,
    /// Its link to its primary stands from this moment on.
    pub linked_at: Duration,
    /// The failover that it was asked for.
    pub failover: Option<Failover>,
    /// It is a primary that holds its clients for a failover, until then.
    pub held_until: Option<Duration>,
    /// It was started and answers `CLUSTERDOWN` until then.
    pub down_until: Option<Duration>,
    /// Failovers that it was asked for while it stood still.
    pub unread: u32,
    /// The last election that it asked for; one that was won is kept like any other.
    election: Option<Election>,
    /// When it voted last in the place of each primary.
    voted: BTreeMap<usize, Duration>,
    last_vote: u64,
    sent: usize,
}

/// A server as another one knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whom it follows.
    pub upstream: Option<usize>,
    /// The shard whose slots it serves.
    pub shard: Option<usize>,
    /// Its configuration epoch, or its primary's.
    pub epoch: u64,
}

impl Cluster {
    /// So many shards, each with so many replicas, whole.
    pub fn new(shards: usize, replicas: usize) -> Self {
        let all = shards * (1 + replicas);
        let seen = |n: usize| Seen {
            upstream: (n >= shards).then_some(n % shards),
            shard: (n < shards).then_some(n),
            epoch: (n % shards) as u64 + 1,
        };
        let nodes = (0..all)
            .map(|n| Node {
                runs: true,
                frozen: false,
                life: 1,
                upstream: seen(n).upstream,
                shard: seen(n).shard,
                log: Vec::new(),
                epoch: seen(n).epoch,
                current_epoch: shards as u64,
                views: (0..all).map(seen).collect(),
                started_at: Duration::ZERO,
                linked_at: Duration::ZERO,
                failover: None,
                held_until: None,
                down_until: None,
                unread: 0,
                election: None,
                voted: BTreeMap::new(),
                last_vote: 0,
                sent: 0,
            })
            .collect();
        Self {
            nodes,
            clients: (0..shards).map(Client::new).collect(),
            writing: false,
            promotions: Vec::new(),
            broken: BTreeSet::new(),
            bus: Vec::new(),
            triggers: Vec::new(),
            now: Duration::ZERO,
            beat: Duration::ZERO,
            writes: 0,
        }
    }

    /// Time.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Does something as soon as the cluster is in a state, once.
    pub fn when(
        &mut self,
        state: impl Fn(&Self) -> bool + Send + 'static,
        act: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        self.triggers.push((Box::new(state), Box::new(act)));
    }

    /// Lets everything happen up to a time, in order.
    pub fn advance(&mut self, to: Duration) {
        while self.now < to {
            let step = if self.is_busy() { FINE } else { COARSE };
            self.now = (self.now + step).min(to);
            self.tick();
        }
    }

    fn is_busy(&self) -> bool {
        !self.bus.is_empty()
            || !self.triggers.is_empty()
            || self.nodes.iter().any(|node| {
                node.failover.is_some()
                    || node.held_until.is_some()
                    || node.down_until.is_some()
                    || node.frozen
                    || !node.runs
            })
    }

    fn tick(&mut self) {
        for (state, act) in std::mem::take(&mut self.triggers) {
            if state(self) {
                act(self);
            } else {
                self.triggers.push((state, act));
            }
        }
        self.replicate();
        self.deliver();
        for n in 0..self.nodes.len() {
            self.go_on(n);
        }
        if self.now >= self.beat + HEARTBEAT {
            self.beat = self.now;
            for n in 0..self.nodes.len() {
                self.announce(n, BUS);
            }
        }
        if self.writing {
            for shard in 0..self.clients.len() {
                Client::step(self, shard);
            }
        }
        self.look();
    }

    /// A server's process answers.
    pub fn answers(&self, n: usize) -> bool {
        self.nodes[n].runs && !self.nodes[n].frozen
    }

    /// A replica's connection to its primary stands; a primary that stands still does not close it.
    pub fn is_linked(&self, n: usize) -> bool {
        let node = &self.nodes[n];
        node.upstream.is_some_and(|up| {
            self.nodes[up].runs && self.nodes[up].upstream.is_none() && self.now >= node.linked_at
        })
    }

    /// What a server has, in bytes of the replication stream.
    pub fn offset(&self, n: usize) -> u64 {
        self.nodes[n].log.len() as u64 * WRITE_BYTES
    }

    /// Replicas whose link stands.
    pub fn followers(&self, n: usize) -> impl Iterator<Item = usize> {
        (0..self.nodes.len())
            .filter(move |m| self.nodes[*m].upstream == Some(n) && self.is_linked(*m))
    }

    fn replicate(&mut self) {
        for n in 0..self.nodes.len() {
            let Some(up) = self.nodes[n].upstream else {
                continue;
            };
            if !self.answers(n) || !self.answers(up) || !self.is_linked(n) {
                continue;
            }
            // What its primary had a moment ago is with it now.
            let primary = &self.nodes[up];
            let sent = primary.sent.min(primary.log.len());
            let mine = &self.nodes[n].log;
            let continues = mine.len() <= primary.log.len()
                && mine.last() == mine.len().checked_sub(1).map(|last| &primary.log[last]);
            let log = if continues {
                primary.log[mine.len().min(sent)..sent].to_vec()
            } else {
                self.nodes[n].log.clear();
                self.nodes[up].log[..sent].to_vec()
            };
            self.nodes[n].log.extend(log);
        }
        for node in &mut self.nodes {
            node.sent = node.log.len();
        }
    }

    /// A server takes a write of a shard; `None`: it is not the primary of it, holds its clients, or is down.
    pub fn write(&mut self, n: usize, shard: usize) -> Option<u64> {
        let node = &mut self.nodes[n];
        if node.shard != Some(shard) || node.held_until.is_some() || node.down_until.is_some() {
            return None;
        }
        self.writes += 1;
        node.log.push(self.writes);
        Some(self.writes)
    }

    /// Ends a server's process at once. What it had is on its disk.
    pub fn kill(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.runs = false;
        node.frozen = false;
        node.failover = None;
        node.held_until = None;
        node.unread = 0;
    }

    /// Starts it again, as what it was.
    pub fn start(&mut self, n: usize) {
        let started_at = self.now;
        let linked_at = started_at + HEARTBEAT;
        let down_until = self.now + WRITABLE_DELAY;
        let node = &mut self.nodes[n];
        node.runs = true;
        node.started_at = started_at;
        node.election = None;
        node.down_until = Some(down_until);
        node.life += 1;
        node.linked_at = linked_at;
        for replica in &mut self.nodes {
            if replica.upstream == Some(n) {
                replica.linked_at = linked_at;
            }
        }
        self.announce(n, BUS);
    }

    /// Every server's picture is every other one's, and every replica follows.
    pub fn is_settled(&self) -> bool {
        let first = &self.nodes[0].views;
        (0..self.nodes.len()).all(|n| {
            let node = &self.nodes[n];
            self.answers(n)
                && node.views == *first
                && node.failover.is_none()
                && node.held_until.is_none()
                && (node.upstream.is_none() || self.is_linked(n))
        })
    }

    /// Two that take the same writes.
    fn look(&mut self) {
        for shard in 0..self.clients.len() {
            let takes = |n: &usize| {
                let node = &self.nodes[*n];
                node.runs
                    && node.shard == Some(shard)
                    && node.held_until.is_none()
                    && node.down_until.is_none()
            };
            let takers: Vec<usize> = (0..self.nodes.len()).filter(takes).collect();
            if takers.len() > 1 {
                self.broken
                    .insert(format!("servers {takers:?} take writes of shard {shard}"));
            }
        }
    }
}
