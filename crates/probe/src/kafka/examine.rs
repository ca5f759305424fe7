//! After the run: every key on every copy of its partition.
//!
//! A leader says where what may be seen ends, and only when it is sure of it
//! (`OFFSET_NOT_AVAILABLE` otherwise); nobody of ours writes any more, so every other copy is read when
//! its own high watermark has come as far. A key that it then lacks is missing, not late.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use futures::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ListOffsetsRequest, MetadataRequest};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Failure, name_of, ok};
use super::wire::{Call, Connection};
use super::{log, row};
use crate::accounting::presence::{Findings, Presence};
use crate::certificate::Role;
use crate::config::MemberAddress;
use crate::judge::MemberEvidence;
use crate::system::Examination;

/// Between two looks at a member that is not ready yet. 50 ms: a rejoining member takes seconds; a
/// caught-up one is found at the first look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One question to one member. 10 s: a healthy one answers in milliseconds, one that recovers may take
/// seconds.
const QUESTION: Duration = Duration::from_secs(10);

/// `ListOffsets` for what comes next, and for what comes first.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// One examination.
pub(crate) struct Visit<'a> {
    /// Where to begin when no member is named.
    pub cluster: Cluster,
    /// For a connect to one member.
    pub connect_deadline: Duration,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Whom to look at, and for what.
    pub what: &'a Examination<'a>,
}

/// A member, and what it has of each partition.
struct Member {
    name: String,
    state: Result<State, String>,
}

struct State {
    connection: tokio::sync::Mutex<Connection>,
    cluster_id: String,
    /// Copies that each partition should have.
    replicas: BTreeMap<i32, usize>,
    /// Of each partition that it has: from where to where its log goes, if it leads.
    copies: BTreeMap<i32, Option<Span>>,
}

/// Offsets of a log: its first, and the one behind its last.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: i64,
    to: i64,
}

impl Visit<'_> {
    pub(crate) async fn run(mut self) -> Vec<MemberEvidence> {
        let members = self.open_all().await;
        let mut ends: BTreeMap<i32, Span> = BTreeMap::new();
        for state in members.iter().filter_map(|m| m.state.as_ref().ok()) {
            for (partition, end) in &state.copies {
                if let Some(end) = end {
                    ends.insert(*partition, *end);
                }
            }
        }
        let mut all: Vec<MemberEvidence> = join_all(members.iter().map(|m| self.look(m, &ends)))
            .await
            .into_iter()
            .flatten()
            .collect();
        all.extend((0..self.partitions).filter_map(|partition| {
            let (found, wanted) = copies_of(&members, partition);
            (found < wanted).then(|| MemberEvidence {
                name: format!("(a copy)/{partition}"),
                shard: usize::try_from(partition).ok(),
                problem: Some(format!("{found} of {wanted} copies were found")),
                ..MemberEvidence::default()
            })
        }));
        all
    }

    /// Connects to all members until everyone answers, each partition has a leader and all its copies
    /// are found, or time is up.
    async fn open_all(&mut self) -> Vec<Member> {
        loop {
            let targets = self.targets().await;
            let members = match &targets {
                Ok(targets) => {
                    join_all(targets.iter().map(async |member| Member {
                        name: member.name.clone(),
                        state: self.open(member).await.map_err(|f| f.detail),
                    }))
                    .await
                }
                Err(failure) => vec![Member {
                    name: "(by the clients' address)".to_owned(),
                    state: Err(failure.detail.clone()),
                }],
            };
            let led = |partition: i32| {
                let mut states = members.iter().filter_map(|m| m.state.as_ref().ok());
                states.any(|state| state.copies.get(&partition).is_some_and(Option::is_some))
            };
            let whole = members.iter().all(|member| member.state.is_ok())
                && (0..self.partitions).all(|partition| {
                    let (found, wanted) = copies_of(&members, partition);
                    led(partition) && found >= wanted
                });
            if whole || Instant::now() >= self.what.deadline {
                return members;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn targets(&mut self) -> Result<Vec<MemberAddress>, Failure> {
        if !self.what.members.is_empty() {
            return Ok(self.what.members.to_vec());
        }
        self.cluster.learn(None).await?;
        let brokers = self.cluster.brokers().iter();
        Ok(brokers
            .map(|(id, (host, port))| MemberAddress {
                name: id.to_string(),
                host: host.clone(),
                port: *port,
            })
            .collect())
    }

    async fn open(&self, member: &MemberAddress) -> Result<State, Failure> {
        let wire = |error| Failure::wire(&error);
        let mut connection = Connection::open(&member.host, member.port, self.connect_deadline)
            .await
            .map_err(wire)?;
        let topic = name_of(self.cluster.topic());
        let wanted = MetadataRequestTopic::default().with_name(Some(topic.clone()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![wanted]))
            .with_allow_auto_topic_creation(false);
        let seen = connection.call(&request, QUESTION).await.map_err(wire)?;
        let described = seen
            .topics
            .first()
            .ok_or_else(|| Failure::none("protocol", "an answer about nothing"))?;
        ok("describe the topic", described.error_code)?;
        let replicas = described
            .partitions
            .iter()
            .map(|p| (p.partition_index, p.replica_nodes.len()))
            .collect();
        let mut copies = BTreeMap::new();
        for partition in 0..self.partitions {
            match self.span(&mut connection, partition).await {
                Ok(span) => {
                    copies.insert(partition, Some(span));
                }
                Err(failure) if is_another(&failure) => {
                    if self.has_copy(&mut connection, partition).await? {
                        copies.insert(partition, None);
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(State {
            connection: tokio::sync::Mutex::new(connection),
            cluster_id: seen.cluster_id.unwrap_or_default().to_string(),
            replicas,
            copies,
        })
    }

    /// What may be seen of a partition, by its leader.
    async fn span(&self, connection: &mut Connection, partition: i32) -> Result<Span, Failure> {
        Ok(Span {
            to: self.offset(connection, partition, LATEST).await?,
            from: self.offset(connection, partition, EARLIEST).await?,
        })
    }

    async fn offset(
        &self,
        connection: &mut Connection,
        partition: i32,
        which: i64,
    ) -> Result<i64, Failure> {
        let wanted = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(which);
        let topic = ListOffsetsTopic::default()
            .with_name(name_of(self.cluster.topic()))
            .with_partitions(vec![wanted]);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]);
        let answer = asked(connection, &request).await?;
        let partition = answer
            .topics
            .first()
            .and_then(|topic| topic.partitions.first())
            .ok_or_else(|| Failure::none("protocol", "an answer about nothing"))?;
        ok("find where the log begins and ends", partition.error_code)?;
        Ok(partition.offset)
    }

    /// Whether a member that does not lead a partition has a copy of it.
    async fn has_copy(&self, connection: &mut Connection, partition: i32) -> Result<bool, Failure> {
        let request = log::request(self.cluster.topic(), partition, 0, log::ONE_BATCH);
        match log::page(&asked(connection, &request).await?, 0) {
            Ok(_) => Ok(true),
            // A copy whose beginning is gone is one.
            Err(failure) if is(&failure, ResponseError::OffsetOutOfRange) => Ok(true),
            Err(failure) if is_another(&failure) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn page(
        &self,
        connection: &mut Connection,
        partition: i32,
        offset: i64,
    ) -> Result<log::Page, Failure> {
        let request = log::request(self.cluster.topic(), partition, offset, log::MANY);
        log::page(&asked(connection, &request).await?, offset)
    }

    /// Each copy of a member.
    async fn look(&self, member: &Member, ends: &BTreeMap<i32, Span>) -> Vec<MemberEvidence> {
        let state = match &member.state {
            Ok(state) => state,
            Err(problem) => {
                return vec![MemberEvidence {
                    name: member.name.clone(),
                    problem: Some(problem.clone()),
                    ..MemberEvidence::default()
                }];
            }
        };
        let mut all = Vec::new();
        for (partition, end) in &state.copies {
            let mut evidence = MemberEvidence {
                name: format!("{}/{partition}", member.name),
                role: Some(match end {
                    Some(_) => Role::Leader,
                    None => Role::Replica,
                }),
                shard: usize::try_from(*partition).ok(),
                system_identifier: Some(state.cluster_id.clone()),
                ..MemberEvidence::default()
            };
            let read = match ends.get(partition) {
                Some(span) => self.read(state, *partition, *span).await,
                None => Err("its partition has no leader to compare with".to_owned()),
            };
            match read {
                Ok((findings, digest, reached)) => {
                    evidence.rows = Some((findings, digest));
                    evidence.position = Some(reached.to_string());
                }
                Err(problem) => evidence.problem = Some(problem),
            }
            all.push(evidence);
        }
        all
    }

    /// Reads a copy to its high watermark, which must be the leader's end at least.
    async fn read(
        &self,
        state: &State,
        partition: i32,
        span: Span,
    ) -> Result<(Findings, String, i64), String> {
        let ledger = self.what.ledger;
        let at = usize::try_from(partition).unwrap_or(usize::MAX);
        let writers = self.what.shards.get(at).map(|shard| &shard.writers);
        let belongs = |writer: usize| writers.is_some_and(|writers| writers.contains(&writer));
        let mut presence = Presence::of_writers(ledger, belongs).in_order();
        let mut digest = Sha256::new();
        let mut offset = span.from;
        let end = span.to;
        let mut connection = state.connection.lock().await;
        loop {
            let page = self
                .page(&mut connection, partition, offset)
                .await
                .map_err(|failure| format!("read the records: {}", failure.detail))?;
            for found in &page.rows {
                // What came after the leader was asked is no part of the comparison.
                if found.key != self.what.run.as_bytes() || found.offset >= end {
                    continue;
                }
                let key = row::key_of(&found.value);
                // Writing into a digest cannot fail.
                digest.update(format!("{},{}\n", key.writer, key.seq));
                presence.row(ledger, key);
            }
            let stands_still = page.next == offset;
            offset = page.next;
            if page.is_last() && offset >= end {
                return Ok((presence.compare(ledger), hex(&digest.finalize()), offset));
            }
            if page.is_last() || stands_still {
                if Instant::now() >= self.what.deadline {
                    return Err(format!(
                        "has come to {offset} and not the leader's {end} in time"
                    ));
                }
                sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Copies of a partition that were found, and how many there should be among these members.
fn copies_of(members: &[Member], partition: i32) -> (usize, usize) {
    let states = || members.iter().filter_map(|m| m.state.as_ref().ok());
    let found = states().filter(|state| state.copies.contains_key(&partition));
    let wanted = states().filter_map(|state| state.replicas.get(&partition));
    let wanted = wanted.max().copied().unwrap_or(1);
    (found.count(), wanted.min(members.len()))
}

async fn asked<C: Call>(connection: &mut Connection, request: &C) -> Result<C::Answer, Failure> {
    connection
        .call(request, QUESTION)
        .await
        .map_err(|error| Failure::wire(&error))
}

/// It has no copy, or does not lead.
fn is_another(failure: &Failure) -> bool {
    [
        ResponseError::NotLeaderOrFollower,
        ResponseError::ReplicaNotAvailable,
        ResponseError::UnknownTopicOrPartition,
    ]
    .into_iter()
    .any(|error| is(failure, error))
}

fn is(failure: &Failure, error: ResponseError) -> bool {
    failure.kind == format!("{error:?}")
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
