//! After the run: every key on the leader of its shard and on every replica of it.
//!
//! Nobody of ours writes any more, so the offset of a leader covers all that was written; each
//! replica is read when it has processed that much. A key that it then lacks is missing, not late.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use redis::Value;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::client::ClusterClient;
use super::keys;
use super::node::{Login, Node, text_of};
use super::seeds::Seeds;
use super::slots::{self, Layout};
use crate::accounting::presence::{Findings, Key, Presence};
use crate::certificate::Role;
use crate::judge::MemberEvidence;
use crate::system::{Examination, Trouble};

/// Between two looks at a member that is not ready yet. 50 ms: a rejoining member takes seconds; a
/// caught-up one is found at the first look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Keys asked for at a time. 64: some hundred kilobytes of answers under way.
const AT_A_TIME: usize = 64;

/// One examination.
pub(crate) struct Visit<'a> {
    /// Where to begin when no member is named.
    pub seeds: &'a Arc<Seeds>,
    /// Who we are.
    pub login: &'a Login,
    /// Shards as they were at the start.
    pub layout: &'a Layout,
    /// Whom to look at, and for what.
    pub what: &'a Examination<'a>,
}

struct Member {
    name: String,
    state: Result<State, String>,
}

struct State {
    node: Node,
    role: Role,
    shard: Option<usize>,
    id: String,
}

impl Visit<'_> {
    pub(crate) async fn run(&self) -> Vec<MemberEvidence> {
        let members = self.open_all().await;
        let mut ends: BTreeMap<usize, Result<u64, String>> = BTreeMap::new();
        for member in &members {
            if let Ok(state) = &member.state
                && let (Role::Leader, Some(shard)) = (state.role, state.shard)
            {
                let end = offset(&state.node).await.map(|(offset, _)| offset);
                ends.insert(shard, end);
            }
        }
        join_all(members.iter().map(|member| self.look(member, &ends))).await
    }

    /// Connects to all members until everyone answers and each shard has a leader, or time is up.
    async fn open_all(&self) -> Vec<Member> {
        loop {
            let targets = self.targets().await;
            let members = match &targets {
                Ok(targets) => {
                    join_all(targets.iter().map(async |(name, host, port)| Member {
                        name: name.clone(),
                        state: self.open(host, *port).await,
                    }))
                    .await
                }
                Err(why) => vec![Member {
                    name: "(by the clients' address)".to_owned(),
                    state: Err(why.clone()),
                }],
            };
            let led = |shard: usize| {
                members.iter().any(|member| {
                    member
                        .state
                        .as_ref()
                        .is_ok_and(|state| state.role == Role::Leader && state.shard == Some(shard))
                })
            };
            let whole = members.iter().all(|member| member.state.is_ok())
                && (0..self.layout.len()).all(led);
            if whole || Instant::now() >= self.what.deadline {
                return members;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Name, host and port of each member.
    async fn targets(&self) -> Result<Vec<(String, String, u16)>, String> {
        if !self.what.members.is_empty() {
            let named = self.what.members.iter();
            return Ok(named
                .map(|member| (member.name.clone(), member.host.clone(), member.port))
                .collect());
        }
        let client = ClusterClient::open(Arc::clone(self.seeds), self.login.clone(), None)
            .await
            .map_err(|trouble| trouble.to_string())?;
        Ok(client
            .members()
            .into_iter()
            .map(|((host, port), _)| (format!("{host}:{port}"), host, port))
            .collect())
    }

    async fn open(&self, host: &str, port: u16) -> Result<State, String> {
        let said = |trouble: Trouble| trouble.to_string();
        let node = Node::open(host, port, self.login).await.map_err(said)?;
        let id = node.value(&["CLUSTER", "MYID"]).await.map_err(said)?;
        let id = text_of(&id).ok_or("it does not say which node it is")?;
        let (_, role) = offset(&node).await?;
        let slots = node.value(&["CLUSTER", "SLOTS"]).await.map_err(said)?;
        let served = slots::parse(&slots).ok_or("CLUSTER SLOTS cannot be read")?;
        let mine: Vec<(u16, u16)> = served
            .iter()
            .filter(|range| {
                range.leader.id == id || range.replicas.iter().any(|place| place.id == id)
            })
            .map(|range| (range.from, range.to))
            .collect();
        if role == Role::Replica {
            node.value(&["READONLY"]).await.map_err(said)?;
        }
        Ok(State {
            shard: self.layout.shard_with(&mine),
            node,
            role,
            id,
        })
    }

    async fn look(
        &self,
        member: &Member,
        ends: &BTreeMap<usize, Result<u64, String>>,
    ) -> MemberEvidence {
        let mut evidence = MemberEvidence {
            name: member.name.clone(),
            ..MemberEvidence::default()
        };
        let state = match &member.state {
            Ok(state) => state,
            Err(problem) => {
                evidence.problem = Some(problem.clone());
                return evidence;
            }
        };
        evidence.role = Some(state.role);
        evidence.shard = state.shard;
        match self.rows(state, ends, &mut evidence).await {
            Ok(rows) => evidence.rows = Some(rows),
            Err(problem) => evidence.problem = Some(problem),
        }
        evidence
    }

    async fn rows(
        &self,
        state: &State,
        ends: &BTreeMap<usize, Result<u64, String>>,
        evidence: &mut MemberEvidence,
    ) -> Result<(Findings, String), String> {
        let Some(shard) = state.shard else {
            return Err(format!(
                "node {} has not the slots of any shard of the start",
                state.id
            ));
        };
        let end = match ends.get(&shard) {
            Some(Ok(end)) => *end,
            Some(Err(problem)) => return Err(problem.clone()),
            None => return Err("its shard has no leader to compare with".to_owned()),
        };
        if state.role == Role::Replica {
            self.catch_up(&state.node, end).await?;
        }
        evidence.position = Some(offset(&state.node).await?.0.to_string());
        self.read(&state.node, shard)
            .await
            .map_err(|trouble| format!("read the keys: {trouble}"))
    }

    async fn catch_up(&self, node: &Node, end: u64) -> Result<(), String> {
        loop {
            let (reached, _) = offset(node).await?;
            if reached >= end {
                return Ok(());
            }
            if Instant::now() >= self.what.deadline {
                return Err(format!(
                    "has processed {reached} and not the leader's {end} in time"
                ));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn read(&self, node: &Node, shard: usize) -> Result<(Findings, String), Trouble> {
        let writers = &self.what.shards[shard].writers;
        let ledger = self.what.ledger;
        let mut presence = Presence::of_writers(ledger, |writer| writers.contains(&writer));
        let mut digest = Sha256::new();
        for writer in writers {
            let attempted = ledger.writers()[*writer].attempted();
            // One more than was written to: what is there was never sent.
            let buckets: Vec<u64> = (0..=attempted / keys::A_BUCKET + 1).collect();
            for some in buckets.chunks(AT_A_TIME) {
                let names = some
                    .iter()
                    .map(|bucket| keys::of_bucket(self.what.run, *writer, *bucket, self.layout));
                let answers = try_join_all(
                    names.map(|name| async move { node.value(&["HGETALL", &name]).await }),
                )
                .await?;
                for (seq, times) in answers.iter().flat_map(rows_of) {
                    // Writing into a digest cannot fail.
                    digest.update(format!("{writer},{seq},{times}\n"));
                    for _ in 0..times {
                        presence.row(
                            ledger,
                            Key {
                                writer: i64::try_from(*writer).unwrap_or(i64::MAX),
                                seq,
                            },
                        );
                    }
                }
            }
        }
        Ok((presence.compare(ledger), hex(&digest.finalize())))
    }
}

/// How often each sequence of a key was written, in order. What is no number was never sent.
fn rows_of(value: &Value) -> Vec<(i64, u64)> {
    let parts: Vec<String> = match value {
        Value::Array(parts) => parts.iter().filter_map(text_of).collect(),
        Value::Map(pairs) => pairs
            .iter()
            .flat_map(|(field, times)| [text_of(field), text_of(times)])
            .flatten()
            .collect(),
        _ => Vec::new(),
    };
    let mut rows: Vec<(i64, u64)> = parts
        .chunks_exact(2)
        .map(|pair| (pair[0].parse().unwrap_or(-1), pair[1].parse().unwrap_or(1)))
        .collect();
    rows.sort_unstable();
    rows
}

/// Offset and role of a node; a replica that is not connected has processed nothing for sure.
async fn offset(node: &Node) -> Result<(u64, Role), String> {
    let value = node
        .value(&["ROLE"])
        .await
        .map_err(|trouble| trouble.to_string())?;
    let wrong = || format!("ROLE cannot be read: {value:?}");
    let Value::Array(parts) = &value else {
        return Err(wrong());
    };
    let number = |at: usize| match parts.get(at) {
        Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    };
    match parts.first().and_then(text_of).as_deref() {
        Some("master") => Ok((number(1), Role::Leader)),
        Some("slave") => {
            let connected = parts.get(3).and_then(text_of).as_deref() == Some("connected");
            Ok((if connected { number(4) } else { 0 }, Role::Replica))
        }
        _ => Err(wrong()),
    }
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
