//! A modelled server behind the driver's trait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::redis::cluster::{Node, View};
use ferriswheel_actuators::databases::redis::server::{
    Follower, Role, Server, ServerError, Tenure,
};
use ferriswheel_actuators::databases::redis::slot::Range;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, NODE_TIMEOUT, Seen};

/// A command on its way to a server, or its answer back.
const TRIP: Duration = Duration::from_micros(500);

/// A pause between two looks at a server that stands still.
const STANDING: Duration = Duration::from_millis(1);

/// Slots of three shards, as `redis-cli --cluster create` shares them out.
const SLOTS: [Range; 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

/// Port of clients.
pub const PORT: u16 = 6_379;

/// A cluster whose time is tokio's.
#[derive(Clone)]
pub struct Shared {
    inner: Arc<Mutex<Cluster>>,
    /// What its time was, and when.
    origin: (Duration, Instant),
}

impl Shared {
    /// From now on.
    pub fn new(cluster: Cluster) -> Self {
        Self {
            origin: (cluster.now(), Instant::now()),
            inner: Arc::new(Mutex::new(cluster)),
        }
    }

    /// Brings the cluster up to the present and looks at it or changes it.
    pub fn with<R>(&self, look: impl FnOnce(&mut Cluster) -> R) -> R {
        let mut cluster = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, since) = self.origin;
        cluster.advance(then + since.elapsed());
        look(&mut cluster)
    }
}

/// Name of a server's pod.
pub fn name(n: usize) -> String {
    format!("redis-{n}")
}

/// Identity of a server in the cluster.
pub fn id(n: usize) -> String {
    format!("{n:x}").repeat(40)
}

/// Address of a server.
pub fn address(n: usize) -> String {
    format!("10.244.0.{}", 10 + n)
}

/// Slots of a shard.
pub fn slots(shard: usize) -> Range {
    SLOTS[shard % SLOTS.len()]
}

/// A session with a server.
pub struct ModelServer {
    cluster: Shared,
    n: usize,
    name: String,
    /// The process that the session is with; 0: none is open.
    life: AtomicU32,
}

impl ModelServer {
    /// A session that is not open yet.
    pub fn new(cluster: Shared, n: usize) -> Self {
        Self {
            cluster,
            n,
            name: name(n),
            life: AtomicU32::new(0),
        }
    }

    fn disconnected(&self, cause: &str) -> ServerError {
        ServerError::Disconnected {
            server: self.name.clone(),
            cause: cause.to_owned(),
        }
    }

    fn refused(&self, code: &str, message: &str) -> ServerError {
        ServerError::Refused {
            server: self.name.clone(),
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Waits until the process answers, within the deadline.
    async fn reached(&self, deadline: Duration, life: Option<u32>) -> Result<u32, ServerError> {
        let end = Instant::now() + deadline;
        sleep(TRIP).await;
        loop {
            let (runs, frozen, now) = self.cluster.with(|cluster| {
                let node = &cluster.nodes[self.n];
                (node.runs, node.frozen, node.life)
            });
            if !runs {
                return Err(self.disconnected("connection refused"));
            }
            if life.is_some_and(|life| life != now) {
                self.life.store(0, Ordering::SeqCst);
                return Err(self.disconnected("no session is open"));
            }
            if !frozen {
                return Ok(now);
            }
            if Instant::now() >= end {
                self.life.store(0, Ordering::SeqCst);
                return Err(ServerError::Timeout {
                    server: self.name.clone(),
                    after: deadline,
                });
            }
            sleep(STANDING.min(end - Instant::now())).await;
        }
    }

    async fn ask<R>(
        &self,
        deadline: Duration,
        look: impl FnOnce(&mut Cluster, usize) -> Result<R, ServerError> + Send,
    ) -> Result<R, ServerError> {
        let life = self.life.load(Ordering::SeqCst);
        if life == 0 {
            return Err(self.disconnected("no session is open"));
        }
        self.reached(deadline, Some(life)).await?;
        let answer = self.cluster.with(|cluster| look(cluster, self.n));
        sleep(TRIP).await;
        answer
    }
}

/// What a server prints of another one.
fn printed(cluster: &Cluster, n: usize, views: &[Seen]) -> Node {
    let seen = views[n];
    let word = if seen.upstream.is_none() {
        "master"
    } else {
        "slave"
    };
    Node {
        ip: address(n),
        port: PORT,
        bus_port: PORT + 10_000,
        hostname: None,
        flags: [word.to_owned()].into(),
        primary: seen.upstream.map(id),
        epoch: seen.epoch,
        linked: cluster.nodes[n].runs,
        slots: seen.shard.map(slots).into_iter().collect(),
        moving: Vec::new(),
    }
}

/// A server's own picture of the cluster.
pub fn view(cluster: &Cluster, n: usize) -> View {
    let views = &cluster.nodes[n].views;
    View {
        me: id(n),
        nodes: (0..views.len())
            .map(|other| (id(other), printed(cluster, other, views)))
            .collect(),
    }
}

/// A server's role by its own word.
pub fn role(cluster: &Cluster, n: usize) -> Role {
    match cluster.nodes[n].upstream {
        None => Role::Primary {
            offset: cluster.offset(n),
            replicas: cluster
                .followers(n)
                .map(|replica| Follower {
                    ip: address(replica),
                    port: PORT,
                    offset: cluster.offset(replica),
                })
                .collect(),
        },
        Some(up) => Role::Replica {
            ip: address(up),
            port: PORT,
            link: if cluster.is_linked(n) {
                "connected"
            } else {
                "connect"
            }
            .to_owned(),
            offset: Some(cluster.offset(n)),
        },
    }
}

fn words<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[async_trait]
impl Server for ModelServer {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        let open = self.life.load(Ordering::SeqCst);
        let now = self.cluster.with(|cluster| {
            cluster.nodes[self.n]
                .runs
                .then_some(cluster.nodes[self.n].life)
        });
        if now == Some(open) {
            return Ok(());
        }
        let life = self.reached(deadline, None).await?;
        sleep(TRIP).await;
        self.life.store(life, Ordering::SeqCst);
        Ok(())
    }

    async fn ping(&self, deadline: Duration) -> Result<(), ServerError> {
        self.ask(deadline, |_, _| Ok(())).await
    }

    async fn role(&self, deadline: Duration) -> Result<Role, ServerError> {
        self.ask(deadline, |cluster, n| Ok(role(cluster, n))).await
    }

    async fn view(&self, deadline: Duration) -> Result<View, ServerError> {
        self.ask(deadline, |cluster, n| Ok(view(cluster, n))).await
    }

    async fn cluster_info(
        &self,
        deadline: Duration,
    ) -> Result<BTreeMap<String, String>, ServerError> {
        self.ask(deadline, |cluster, n| {
            let views = &cluster.nodes[n].views;
            let led = |shard: usize| views.iter().any(|seen| seen.shard == Some(shard));
            let whole = (0..cluster.clients.len()).all(led);
            let (state, slots) = if whole {
                ("ok", "16384")
            } else {
                ("fail", "0")
            };
            Ok(words([
                ("cluster_state", state),
                ("cluster_slots_assigned", slots),
                ("cluster_slots_ok", slots),
                ("cluster_slots_pfail", "0"),
                ("cluster_slots_fail", "0"),
            ]))
        })
        .await
    }

    async fn info(&self, deadline: Duration) -> Result<BTreeMap<String, String>, ServerError> {
        self.ask(deadline, |cluster, n| {
            let link = if cluster.is_linked(n) { "up" } else { "down" };
            Ok(words([
                ("loading", "0"),
                ("master_link_status", link),
                ("master_sync_in_progress", "0"),
            ]))
        })
        .await
    }

    async fn tenure(&self, deadline: Duration) -> Result<Tenure, ServerError> {
        self.ask(deadline, |cluster, n| {
            let node = &cluster.nodes[n];
            let now = cluster.now();
            Ok(Tenure {
                runs: now.saturating_sub(node.started_at),
                follows: cluster
                    .is_linked(n)
                    .then(|| now.saturating_sub(node.linked_at)),
                node_timeout: NODE_TIMEOUT,
            })
        })
        .await
    }

    async fn barrier(
        &self,
        wanted: &[Range],
        replicas: u32,
        deadline: Duration,
    ) -> Result<u32, ServerError> {
        let end = Instant::now() + deadline;
        let mine = wanted.to_vec();
        loop {
            let written = self
                .ask(deadline, |cluster, n| {
                    let node = &cluster.nodes[n];
                    let shard = node.shard.filter(|shard| mine.contains(&slots(*shard)));
                    let Some(shard) = shard else {
                        return Err(self.refused("MOVED", "the slot is another server's"));
                    };
                    // A primary that holds its clients answers when it lets them go on.
                    Ok(cluster.write(n, shard).map(|_| cluster.offset(n)))
                })
                .await?;
            let Some(offset) = written else {
                if Instant::now() >= end {
                    return Err(ServerError::Timeout {
                        server: self.name.clone(),
                        after: deadline,
                    });
                }
                sleep(STANDING).await;
                continue;
            };
            loop {
                let have = self
                    .ask(deadline, |cluster, n| {
                        let have = cluster
                            .followers(n)
                            .filter(|replica| cluster.offset(*replica) >= offset)
                            .count();
                        Ok(u32::try_from(have).unwrap_or(u32::MAX))
                    })
                    .await?;
                if have >= replicas || Instant::now() >= end {
                    return Ok(have);
                }
                sleep(STANDING).await;
            }
        }
    }

    async fn take_over(&self, deadline: Duration) -> Result<(), ServerError> {
        let answer = self
            .ask(deadline, |cluster, n| {
                cluster
                    .begin_failover(n)
                    .map_err(|message| self.refused("ERR", message))
            })
            .await;
        if matches!(answer, Err(ServerError::Timeout { .. })) {
            // It lies in the server's socket, and is read when the server goes on.
            self.cluster
                .with(|cluster| cluster.nodes[self.n].unread += 1);
        }
        answer
    }

    async fn setting(&self, _: &str, deadline: Duration) -> Result<Option<String>, ServerError> {
        self.ask(deadline, |_, _| Ok(None)).await
    }

    async fn set(&self, name: &str, _: &str, deadline: Duration) -> Result<(), ServerError> {
        self.ask(deadline, |_, _| {
            Err(self.refused(
                "ERR",
                &format!("Unknown option or number of arguments for CONFIG SET - '{name}'"),
            ))
        })
        .await
    }

    async fn meet(&self, _: &str, _: u16, deadline: Duration) -> Result<(), ServerError> {
        self.ask(deadline, |_, _| Ok(())).await
    }
}
