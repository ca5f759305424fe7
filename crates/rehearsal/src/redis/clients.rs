//! Clients that write to every shard and follow redirections.

use std::time::Duration;

use super::cluster::Cluster;

/// Pause between two writes of a client.
const PAUSE: Duration = Duration::from_millis(5);

/// One writer of a shard.
#[derive(Debug)]
pub struct Client {
    shard: usize,
    /// The server that it believes to lead its shard.
    asks: usize,
    /// Acknowledged writes.
    pub acked: Vec<u64>,
    /// Errors that it saw; a redirection is none.
    pub errors: u32,
    /// Longest time between two acknowledgements.
    pub longest_gap: Duration,
    last: Option<Duration>,
    due: Duration,
}

impl Client {
    pub(super) fn new(shard: usize) -> Self {
        Self {
            shard,
            asks: shard,
            acked: Vec::new(),
            errors: 0,
            longest_gap: Duration::ZERO,
            last: None,
            due: Duration::ZERO,
        }
    }

    /// One attempt to write, if it is time for one.
    pub(super) fn step(cluster: &mut Cluster, shard: usize) {
        let now = cluster.now();
        let client = &cluster.clients[shard];
        let (n, due) = (client.asks, client.due);
        // A server that stands still, or holds its clients, lets them wait.
        if now < due || cluster.nodes[n].frozen {
            return;
        }
        let node = &cluster.nodes[n];
        if !node.runs || (node.shard == Some(shard) && node.down_until.is_some()) {
            let another = (0..cluster.nodes.len()).find(|m| *m != n && cluster.answers(*m));
            let client = &mut cluster.clients[shard];
            client.errors += 1;
            client.due = now + PAUSE;
            client.asks = another.unwrap_or(n);
            return;
        }
        if let Some(id) = cluster.write(n, shard) {
            let client = &mut cluster.clients[shard];
            if let Some(last) = client.last {
                client.longest_gap = client.longest_gap.max(now.saturating_sub(last));
            }
            client.last = Some(now);
            client.due = now + PAUSE;
            client.acked.push(id);
        } else if cluster.nodes[n].shard != Some(shard) {
            let leader = cluster.nodes[n]
                .views
                .iter()
                .position(|seen| seen.shard == Some(shard));
            cluster.clients[shard].asks = leader.unwrap_or(n);
        }
    }

    /// Acknowledged writes that who leads the shard does not have; all of them while nobody does.
    pub fn lost(&self, cluster: &Cluster) -> usize {
        let leader = cluster
            .nodes
            .iter()
            .find(|node| node.runs && node.shard == Some(self.shard));
        let has = |id: &&u64| leader.is_some_and(|leader| leader.log.contains(id));
        self.acked.iter().filter(|id| !has(id)).count()
    }
}
