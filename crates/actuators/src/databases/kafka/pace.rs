//! One partition at a time: its replicas in another order, then its first one elected, then every
//! broker's word for it.
//!
//! # Invariants
//! - A partition is moved only while every copy of it is in sync, to one of them, and every broker has
//!   said right before that these are its copies.
//! - The next one is touched only when every broker names the new leader, and not before its span.
//! - Repeating it does no harm: what is there already is not asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};

use super::record::{Log, Moment, Reason};
use super::server::{Name, Partition, Server, ServerError, View};
use crate::databases::session::chain;

/// Deadline of one request. A healthy broker answers in milliseconds, the controller in tens of them;
/// 5 s tells "slow" from "gone".
pub const REQUEST: Duration = Duration::from_secs(5);

/// Brokers hear of a change with their next fetch of the metadata, at once as a rule.
const AGREE: Duration = Duration::from_secs(5);

/// Pause between two looks. Nobody waits for them: clients find the leader by themselves.
const LOOK: Duration = Duration::from_millis(5);

/// A voter counts as caught up within this time of the leader (`controller.quorum.fetch.timeout.ms`).
pub const CAUGHT_UP_MS: u64 = 2_000;

/// Everybody who takes part, with their numbers.
pub struct Cast<'s> {
    servers: Vec<&'s dyn Server>,
    nodes: BTreeMap<String, i32>,
}

impl<'s> Cast<'s> {
    /// Opens every session and asks everybody for its number.
    ///
    /// # Errors
    /// Somebody does not answer.
    pub async fn gather(servers: Vec<&'s dyn Server>) -> Result<Self, Reason> {
        let asked = join_all(servers.iter().map(|server| async move {
            server.open(REQUEST).await?;
            Ok((server.name().to_owned(), server.node(REQUEST).await?))
        }));
        let answers: Result<BTreeMap<String, i32>, ServerError> = asked.await.into_iter().collect();
        let nodes = answers.map_err(|e| not_ready(&e))?;
        Ok(Self { servers, nodes })
    }

    /// The number of a pod's broker.
    ///
    /// # Errors
    /// It is none of them.
    pub fn node(&self, pod: &str) -> Result<i32, Reason> {
        let node = self.nodes.get(pod).copied();
        node.ok_or_else(|| Reason::NotReady(format!("{pod} is no member")))
    }

    /// The cluster as everybody sees it, once all see the same, with every copy in sync, the metadata
    /// quorum caught up and nothing being moved.
    ///
    /// # Errors
    /// What is not so when the time is up.
    pub async fn whole(&self) -> Result<View, Reason> {
        let end = Instant::now() + AGREE;
        loop {
            match self.seen().await {
                Err(Reason::NotReady(_)) if Instant::now() < end => sleep(LOOK * 10).await,
                answer => return answer,
            }
        }
    }

    async fn seen(&self) -> Result<View, Reason> {
        let views = join_all(self.servers.iter().map(|server| async move {
            server.open(REQUEST).await?;
            Ok((server.view(REQUEST).await?, server.quorum(REQUEST).await?))
        }));
        let views: Result<Vec<_>, ServerError> = views.await.into_iter().collect();
        let views = views.map_err(|e| not_ready(&e))?;
        let mut named = self.servers.iter().zip(views);
        let Some((first, (model, quorum))) = named.next() else {
            return Err(Reason::NotReady("nobody to ask".to_owned()));
        };
        for (server, (view, theirs)) in named {
            if view != model || theirs.leader != quorum.leader {
                return Err(Reason::NotReady(format!(
                    "{} and {} do not see the same",
                    first.name(),
                    server.name()
                )));
            }
        }
        if let Some((name, partition)) = model.unwell() {
            return Err(Reason::NotReady(format!("{name} is {partition}")));
        }
        let behind = quorum.voters.iter().find(|(_, ms)| **ms > CAUGHT_UP_MS);
        if let Some((voter, ms)) = behind {
            return Err(Reason::NotReady(format!("voter {voter} is {ms} ms behind")));
        }
        if quorum.leader.is_none() {
            return Err(Reason::NotReady("no controller is active".to_owned()));
        }
        let missing = self.nodes.values().find(|n| !model.brokers.contains(n));
        if let Some(node) = missing {
            return Err(Reason::NotReady(format!("broker {node} takes no part")));
        }
        let moving = first.reassigned(REQUEST).await.map_err(|e| not_ready(&e))?;
        match moving.first() {
            Some(name) => Err(Reason::NotReady(format!("{name} is being moved"))),
            None => Ok(model),
        }
    }

    /// A partition, once more, right before it is touched: everybody sees copies on these brokers, in
    /// whatever order, and all in sync. The view of the whole is minutes old by then, and an order that
    /// names other brokers would move data.
    ///
    /// # Errors
    /// Somebody sees it otherwise, or does not answer.
    pub async fn same_copies(&self, of: &Name, replicas: &[i32]) -> Result<Partition, Reason> {
        let seen = join_all(self.servers.iter().map(|s| s.partition(of, REQUEST))).await;
        let mut found = None;
        for (server, now) in self.servers.iter().zip(seen) {
            let now = now.map_err(|e| not_ready(&e))?;
            if !now.is_whole() || !now.has_copies_of(replicas) {
                return Err(Reason::NotReady(format!(
                    "{} sees {of} {now}",
                    server.name()
                )));
            }
            found = Some(now);
        }
        found.ok_or_else(|| Reason::NotReady("nobody to ask".to_owned()))
    }

    /// Gives a partition this order of replicas, and its first as the leader.
    ///
    /// # Errors
    /// A copy is not in sync, the controller refuses, or a broker does not hear of it.
    pub async fn lead(&self, of: &Name, replicas: &[i32], log: &dyn Log) -> Result<(), Reason> {
        let Some(leader) = replicas.first().copied() else {
            return Ok(());
        };
        let refused = |e: ServerError| Reason::NotLed {
            partition: of.to_string(),
            leader,
            why: chain(&e),
        };
        let Some(server) = self.servers.first() else {
            return Ok(());
        };
        let now = self.same_copies(of, replicas).await?;
        if now.replicas != replicas {
            server
                .reorder(of, replicas, REQUEST)
                .await
                .map_err(refused)?;
            log.note(Moment::Reordered {
                partition: of.to_string(),
            });
        }
        if now.leader != Some(leader) {
            server.elect(of, REQUEST).await.map_err(refused)?;
            log.note(Moment::Elected {
                partition: of.to_string(),
            });
        }
        self.agreed(of, Some(leader), replicas).await?;
        log.note(Moment::Agreed {
            partition: of.to_string(),
            leader,
        });
        Ok(())
    }

    /// Gives a partition this order of replicas, and lets its leader be.
    ///
    /// # Errors
    /// A copy is not in sync, the controller refuses, or a broker does not hear of it.
    pub async fn order(&self, of: &Name, replicas: &[i32]) -> Result<(), Reason> {
        let Some(server) = self.servers.first() else {
            return Ok(());
        };
        let refused = |e: ServerError| Reason::NotLed {
            partition: of.to_string(),
            leader: replicas.first().copied().unwrap_or(-1),
            why: chain(&e),
        };
        self.same_copies(of, replicas).await?;
        server
            .reorder(of, replicas, REQUEST)
            .await
            .map_err(refused)?;
        self.agreed(of, None, replicas).await
    }

    /// Every broker has it so.
    async fn agreed(&self, of: &Name, leader: Option<i32>, replicas: &[i32]) -> Result<(), Reason> {
        let end = Instant::now() + AGREE;
        loop {
            let seen = join_all(self.servers.iter().map(|s| s.partition(of, REQUEST))).await;
            let is_so =
                |p: &Partition| p.replicas == replicas && (leader.is_none() || p.leader == leader);
            let all = |answer: &Result<Partition, ServerError>| answer.as_ref().is_ok_and(is_so);
            if seen.iter().all(all) {
                return Ok(());
            }
            if Instant::now() >= end {
                let why = self
                    .servers
                    .iter()
                    .zip(&seen)
                    .find(|(_, answer)| !all(answer));
                return Err(Reason::NotLed {
                    partition: of.to_string(),
                    leader: leader.or(replicas.first().copied()).unwrap_or(-1),
                    why: why.map_or_else(String::new, |(server, answer)| match answer {
                        Ok(seen) => format!("{} has it {seen}", server.name()),
                        Err(e) => chain(e),
                    }),
                });
            }
            sleep(LOOK).await;
        }
    }
}

fn not_ready(error: &ServerError) -> Reason {
    Reason::NotReady(chain(error))
}

/// Spans of one partition each.
pub struct Pace {
    span: Duration,
    next: Option<Instant>,
}

impl Pace {
    /// The first partition waits for nothing.
    pub fn new(span: Duration) -> Self {
        Self { span, next: None }
    }

    /// Waits for the end of the span before.
    pub async fn turn(&mut self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
        self.next = Some(Instant::now() + self.span);
    }
}
