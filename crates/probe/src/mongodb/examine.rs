//! After the run: every key on the primary and on every secondary.
//!
//! Nobody of ours writes any more, so the newest entry of the primary covers all that was written;
//! each secondary is read when it has applied that much. A key that it then lacks is missing, not
//! late.

use std::fmt::Write as _;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use mongodb::bson::{Bson, Document, Timestamp, doc};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::{Mongo, WRITES, key_of, of_run, within};
use crate::accounting::presence::{Findings, Key, Presence};
use crate::certificate::Role;
use crate::config::MemberAddress;
use crate::judge::MemberEvidence;
use crate::system::{Examination, Trouble};

/// Between two looks at a member that is not ready yet. 50 ms: a rejoining member takes seconds; a
/// caught-up one is found at the first look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One question to one member. 10 s: a healthy one answers in milliseconds, one that is recovering
/// may take seconds.
const QUESTION: Duration = Duration::from_secs(10);

/// One examination.
pub(super) struct Visit<'a> {
    pub(super) mongo: &'a Mongo,
    pub(super) what: &'a Examination<'a>,
}

struct Member {
    name: String,
    state: Result<State, String>,
}

struct State {
    client: mongodb::Client,
    role: Role,
}

impl Visit<'_> {
    pub(super) async fn run(&self) -> Vec<MemberEvidence> {
        let members = self.open_all().await;
        let mut end = Err("there is no single primary to compare with".to_owned());
        let mut leaders = members.iter().filter_map(|member| {
            let state = member.state.as_ref().ok()?;
            (state.role == Role::Leader).then_some(state)
        });
        if let (Some(leader), None) = (leaders.next(), leaders.next()) {
            end = position(&leader.client).await;
        }
        join_all(members.iter().map(|member| self.look(member, &end))).await
    }

    /// Connects to all members until everyone answers and one leads, or time is up.
    async fn open_all(&self) -> Vec<Member> {
        let targets: Vec<MemberAddress> = if self.what.members.is_empty() {
            let hosts = self.mongo.address.hosts.iter();
            hosts
                .filter_map(|host| {
                    let (name, port) = host.rsplit_once(':')?;
                    Some(MemberAddress {
                        name: host.clone(),
                        host: name.to_owned(),
                        port: port.parse().ok()?,
                    })
                })
                .collect()
        } else {
            self.what.members.to_vec()
        };
        loop {
            let members = join_all(targets.iter().map(async |member| Member {
                name: member.name.clone(),
                state: self.open(member).await.map_err(|e| e.to_string()),
            }))
            .await;
            let led = members.iter().any(|member| {
                member
                    .state
                    .as_ref()
                    .is_ok_and(|state| state.role == Role::Leader)
            });
            let whole = led && members.iter().all(|member| member.state.is_ok());
            if whole || Instant::now() >= self.what.deadline {
                return members;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn open(&self, member: &MemberAddress) -> Result<State, Trouble> {
        let host = format!("{}:{}", member.host, member.port);
        let client = self.mongo.client(&self.mongo.address, Some(&host)).await?;
        let hello = hello(&client).await?;
        let is = |name: &str| hello.get_bool(name).unwrap_or(false);
        let role = match (is("isWritablePrimary"), is("secondary")) {
            (true, _) => Role::Leader,
            (_, true) => Role::Replica,
            _ => return Err(Trouble::deadline("role", QUESTION)),
        };
        Ok(State { client, role })
    }

    async fn look(&self, member: &Member, end: &Result<Timestamp, String>) -> MemberEvidence {
        let mut evidence = MemberEvidence {
            name: member.name.clone(),
            shard: Some(0),
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
        match self.rows(state, end, &mut evidence).await {
            Ok(rows) => evidence.rows = Some(rows),
            Err(problem) => evidence.problem = Some(problem),
        }
        evidence
    }

    async fn rows(
        &self,
        state: &State,
        end: &Result<Timestamp, String>,
        evidence: &mut MemberEvidence,
    ) -> Result<(Findings, String), String> {
        let end = end.clone()?;
        let reached = loop {
            let reached = position(&state.client).await?;
            if reached >= end {
                break reached;
            }
            if Instant::now() >= self.what.deadline {
                return Err(format!(
                    "has applied {} and not the primary's {} in time",
                    text_of(reached),
                    text_of(end)
                ));
            }
            sleep(LOOK_EVERY).await;
        };
        evidence.position = Some(text_of(reached));
        self.read(&state.client)
            .await
            .map_err(|trouble| format!("read the keys: {trouble}"))
    }

    async fn read(&self, client: &mongodb::Client) -> Result<(Findings, String), Trouble> {
        let ledger = self.what.ledger;
        let mut presence = Presence::new(ledger);
        let mut digest = Sha256::new();
        let writes = client
            .database(&self.mongo.address.database)
            .collection::<Document>(WRITES);
        let find = writes.find(of_run(self.what.run)).sort(doc! { "_id": 1 });
        let mut rows = within(QUESTION, async { find.await }).await?;
        while let Some(row) = within(QUESTION, rows.try_next()).await? {
            let id = row.get_str("_id").unwrap_or_default();
            let times = row.get_i64("n").unwrap_or(1).max(1);
            let (writer, seq) = key_of(id);
            // Writing into a digest cannot fail.
            digest.update(format!("{writer},{seq},{times}\n"));
            for _ in 0..times {
                presence.row(ledger, Key { writer, seq });
            }
        }
        Ok((presence.compare(ledger), hex(&digest.finalize())))
    }
}

async fn hello(client: &mongodb::Client) -> Result<Document, Trouble> {
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 });
    within(QUESTION, async { hello.await }).await
}

/// The newest entry that a member has applied.
async fn position(client: &mongodb::Client) -> Result<Timestamp, String> {
    let hello = hello(client).await.map_err(|trouble| trouble.to_string())?;
    hello
        .get_document("lastWrite")
        .and_then(|last| last.get_document("opTime"))
        .ok()
        .and_then(|at| match at.get("ts") {
            Some(Bson::Timestamp(at)) => Some(*at),
            _ => None,
        })
        .ok_or_else(|| "it tells no position".to_owned())
}

fn text_of(at: Timestamp) -> String {
    format!("{}.{}", at.time, at.increment)
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
