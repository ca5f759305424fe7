//! One partition at a time: its replicas in another order, then its first one elected, then every
//! broker's word for it.
//!
//! # Invariants
//! - A partition is moved only while every copy of it is in sync, to one of them, and every broker has
//!   said right before that these are its copies.
//! - The next one is touched only when every broker names the new leader, and not before its span.
//! - Repeating it does no harm: what is there already is not asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::record::{Log, Moment, Reason};
use super::server::{Name, Partition, Server, ServerError, View};
use crate::databases::session::chain;

/// Deadline of one request. A healthy broker answers in milliseconds, the controller in tens of them;
/// 5 s tells "slow" from "gone".
pub const REQUEST: Duration = Duration::from_secs(5);

/// Deadline of a question for the settings of topics, of which there may be thousands.
const RULES: Duration = Duration::from_secs(10);

/// Brokers hear of a change with their next fetch of the metadata, at once as a rule.
const AGREE: Duration = Duration::from_secs(5);

/// Pause between two looks at the whole, each of which is the metadata of every partition.
const LOOK: Duration = Duration::from_millis(50);

/// Pause before the second look at one partition, which doubles with each further one. Brokers name a new leader 30 to
/// 120 ms after the request; nobody waits for the look, because clients find the leader by themselves, and looks take
/// from the brokers what their clients need in that moment.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// Longest pause between two looks at one partition: less than the usual span, so that the pace is kept.
const LAST_LOOK: Duration = Duration::from_millis(160);

/// Longest work of one act, but for the span that it is in: a person who asks for a pause or gives the run up is heard
/// between two acts. 10 s: whoever watches waits for no more, and each act begins with a look at the whole and ends with
/// two records in the journal, which is little beside forty leaderships.
pub const SLICE: Duration = Duration::from_secs(10);

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
                Err(Reason::NotReady(_)) if Instant::now() < end => sleep(LOOK).await,
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

    /// Every partition takes writes also while this broker is away: the copies that are left are enough for
    /// `min.insync.replicas`, which is asked anew because anybody may change it at any time.
    ///
    /// # Errors
    /// The first one that would not, or somebody does not answer.
    pub async fn bears_absence(&self, view: &View, leaving: i32) -> Result<(), Reason> {
        let partitions = view.partitions.iter();
        let theirs: Vec<(&Name, &Partition)> = partitions
            .filter(|(_, partition)| partition.replicas.contains(&leaving))
            .collect();
        let topics: BTreeSet<String> = theirs.iter().map(|(name, _)| name.topic.clone()).collect();
        if topics.is_empty() {
            return Ok(());
        }
        // Whichever broker leads a partition judges by what it has itself.
        let asked = join_all(self.servers.iter().map(|s| s.min_isr(&topics, RULES))).await;
        for (server, rules) in self.servers.iter().zip(asked) {
            let rules = rules.map_err(|e| not_ready(&e))?;
            for (name, partition) in &theirs {
                let left = u32::try_from(partition.replicas.len() - 1).unwrap_or(u32::MAX);
                // One that was deleted meanwhile is in nobody's way.
                if let Some(least) = rules.get(&name.topic).filter(|least| left < **least) {
                    return Err(Reason::NotReady(format!(
                        "{} has min.insync.replicas {least} for {name}, of which {left} copies would be left: nobody \
                         could write to it while broker {leaving} is away",
                        server.name()
                    )));
                }
            }
        }
        Ok(())
    }

    /// A partition, once more, right before it is touched: everybody sees one of the same topic, with copies on these
    /// brokers, in whatever order, and all in sync. The view of the whole is seconds old by then, and an order that
    /// names other brokers would move data.
    ///
    /// # Errors
    /// Somebody sees it otherwise, or does not answer.
    pub async fn same_copies(
        &self,
        of: &Name,
        topic_id: Option<Uuid>,
        replicas: &[i32],
    ) -> Result<Partition, Reason> {
        let seen = join_all(self.servers.iter().map(|s| s.partition(of, REQUEST))).await;
        let mut found = None;
        for (server, now) in self.servers.iter().zip(seen) {
            let now = now.map_err(|e| not_ready(&e))?;
            if !now.is_of(topic_id) {
                return Err(Reason::NotReady(format!(
                    "{} has another topic of the name {} than before",
                    server.name(),
                    of.topic
                )));
            }
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
    pub async fn lead(
        &self,
        of: &Name,
        topic_id: Option<Uuid>,
        replicas: &[i32],
        log: &dyn Log,
    ) -> Result<(), Reason> {
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
        let now = self.same_copies(of, topic_id, replicas).await?;
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
    pub async fn order(
        &self,
        of: &Name,
        topic_id: Option<Uuid>,
        replicas: &[i32],
    ) -> Result<(), Reason> {
        let Some(server) = self.servers.first() else {
            return Ok(());
        };
        let refused = |e: ServerError| Reason::NotLed {
            partition: of.to_string(),
            leader: replicas.first().copied().unwrap_or(-1),
            why: chain(&e),
        };
        self.same_copies(of, topic_id, replicas).await?;
        server
            .reorder(of, replicas, REQUEST)
            .await
            .map_err(refused)?;
        self.agreed(of, None, replicas).await
    }

    /// Every broker has it so.
    async fn agreed(&self, of: &Name, leader: Option<i32>, replicas: &[i32]) -> Result<(), Reason> {
        let end = Instant::now() + AGREE;
        let mut pause = FIRST_LOOK;
        // Nobody who has heard of it forgets it.
        let mut unheard = self.servers.clone();
        loop {
            let seen = join_all(unheard.iter().map(|s| s.partition(of, REQUEST))).await;
            let is_so =
                |p: &Partition| p.replicas == replicas && (leader.is_none() || p.leader == leader);
            let others: Vec<_> = unheard
                .into_iter()
                .zip(seen)
                .filter(|(_, answer)| !answer.as_ref().is_ok_and(is_so))
                .collect();
            let Some((server, answer)) = others.first() else {
                return Ok(());
            };
            if Instant::now() >= end {
                return Err(Reason::NotLed {
                    partition: of.to_string(),
                    leader: leader.or(replicas.first().copied()).unwrap_or(-1),
                    why: match answer {
                        Ok(seen) => format!("{} has it {seen}", server.name()),
                        Err(e) => chain(e),
                    },
                });
            }
            unheard = others.into_iter().map(|(server, _)| server).collect();
            sleep(pause).await;
            pause = longer(pause);
        }
    }
}

/// The pause after this one.
fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LAST_LOOK)
}

fn not_ready(error: &ServerError) -> Reason {
    Reason::NotReady(chain(error))
}

/// Spans of one partition each, until a slice is over.
pub struct Pace {
    span: Duration,
    slice: Duration,
    /// Beginning of the first span and end of the last one.
    spans: Option<(Instant, Instant)>,
}

impl Pace {
    /// The first partition waits for nothing.
    pub fn new(span: Duration, slice: Duration) -> Self {
        Self {
            span,
            slice,
            spans: None,
        }
    }

    /// Waits for the end of the span before. `false`: the slice is over, and nothing is to be begun any more.
    pub async fn turn(&mut self) -> bool {
        if let Some((_, end)) = self.spans {
            sleep_until(end).await;
        }
        let now = Instant::now();
        let (begun, _) = self.spans.unwrap_or((now, now));
        if self.spans.is_some() && now.duration_since(begun) >= self.slice {
            return false;
        }
        self.spans = Some((begun, now + self.span));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FIRST_LOOK, LAST_LOOK, Pace, longer};

    #[test]
    fn looks_become_rarer_up_to_the_longest_pause() {
        let pauses = std::iter::successors(Some(FIRST_LOOK), |pause| Some(longer(*pause)));
        let ms: Vec<u128> = pauses.take(6).map(|pause| pause.as_millis()).collect();
        assert_eq!(ms, [10, 20, 40, 80, 160, LAST_LOOK.as_millis()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slice_holds_a_partition_at_least_and_no_span_is_cut_short() {
        let turns = async |span: u64, slice: u64| {
            let begun = tokio::time::Instant::now();
            let mut pace = Pace::new(Duration::from_millis(span), Duration::from_millis(slice));
            let mut turns = 0_u32;
            while pace.turn().await {
                turns += 1;
            }
            (turns, begun.elapsed().as_millis())
        };
        assert_eq!(turns(250, 1_000).await, (4, 1_000));
        assert_eq!(turns(60_000, 1_000).await, (1, 60_000));
        assert_eq!(turns(250, 0).await, (1, 250));
    }
}
