//! The failover that a replica is asked for, and its election.

use std::collections::BTreeSet;
use std::time::Duration;

use super::bus::{BUS, Message};
use super::{Cluster, Seen};

/// A replica gives its failover up after this time, and its primary lets its clients go on.
///
/// # Source
/// `CLUSTER_MF_TIMEOUT` in `cluster.c` of Redis 7.0.
pub(super) const FAILOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Twice [`NODE_TIMEOUT`]. For so long the votes of an election count, also for a later failover of the same replica; for
/// as long again it begins no other one; and no primary votes again in the place of the same one.
///
/// # Source
/// `auth_timeout`, `auth_retry_time` and `voted_time` in `cluster.c` of Redis 7.0.
pub(super) const ELECTION: Duration = Duration::from_secs(30);

/// A failover that a replica was asked for.
#[derive(Debug)]
pub struct Failover {
    pub(super) ends: Duration,
    /// What the primary had when it began to hold its clients.
    pub(super) target: Option<usize>,
}

/// An election that a replica asked for.
#[derive(Debug)]
pub(super) struct Election {
    pub(super) at: Duration,
    pub(super) epoch: u64,
    pub(super) votes: BTreeSet<usize>,
}

impl Cluster {
    /// What a server does by itself.
    pub(super) fn go_on(&mut self, n: usize) {
        if !self.answers(n) {
            return;
        }
        for _ in 0..std::mem::take(&mut self.nodes[n].unread) {
            // Nobody waits for the answer any more.
            let _ = self.begin_failover(n);
        }
        let now = self.now;
        let node = &mut self.nodes[n];
        node.held_until = node.held_until.filter(|until| now < *until);
        node.down_until = node.down_until.filter(|until| now < *until);
        let (log, current, upstream) = (node.log.len(), node.current_epoch, node.upstream);
        let voters = node
            .views
            .iter()
            .filter(|seen| seen.shard.is_some())
            .count();
        let Some(failover) = node.failover.as_mut() else {
            return;
        };
        if now >= failover.ends {
            node.failover = None;
            return;
        }
        if failover.target != Some(log) {
            return;
        }
        match &node.election {
            // An earlier one's votes count as well.
            Some(election) if now <= election.at + ELECTION => {
                let epoch = election.epoch;
                if election.votes.len() > voters / 2 {
                    self.promote(n, epoch);
                }
            }
            Some(election) if now <= election.at + 2 * ELECTION => {}
            _ => {
                let Some(of) = upstream else { return };
                let epoch = current + 1;
                node.current_epoch = epoch;
                node.election = Some(Election {
                    at: now,
                    epoch,
                    votes: BTreeSet::new(),
                });
                for to in (0..self.nodes.len()).filter(|to| *to != n) {
                    self.send(to, BUS, Message::Elect { from: n, of, epoch });
                }
            }
        }
    }

    fn promote(&mut self, n: usize, epoch: u64) {
        let node = &mut self.nodes[n];
        let Some(old) = node.upstream.take() else {
            return;
        };
        node.failover = None;
        node.shard = node.views[old].shard.take();
        node.epoch = epoch;
        node.views[n] = Seen {
            upstream: None,
            shard: node.shard,
            epoch,
        };
        let (shard, log) = (node.shard, &node.log);
        if let Some(client) = shard.map(|shard| &self.clients[shard]) {
            let lost = client.acked.iter().filter(|id| !log.contains(id)).count();
            if lost > 0 {
                self.broken.insert(format!(
                    "redis-{n} took over without {lost} acknowledged writes"
                ));
            }
        }
        self.promotions.push(n);
        self.announce(n, BUS);
    }

    /// `CLUSTER FAILOVER`.
    ///
    /// # Errors
    /// What the server answers in place of `OK`.
    pub fn begin_failover(&mut self, n: usize) -> Result<(), &'static str> {
        let Some(primary) = self.nodes[n].upstream else {
            return Err("You should send CLUSTER FAILOVER to a replica");
        };
        if !self.is_linked(n) {
            return Err("Master is down or failed, please use CLUSTER FAILOVER FORCE");
        }
        self.nodes[n].failover = Some(Failover {
            ends: self.now + FAILOVER_TIMEOUT,
            target: None,
        });
        self.send(primary, BUS, Message::Begin { from: n });
        Ok(())
    }
}
