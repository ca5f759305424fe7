//! After the run: every key on the primary and on every replica.
//!
//! Nobody of ours writes any more, so the primary's last transaction covers all that was written; each
//! replica is read when it has applied that much. A key that it then lacks is missing, not late.

use std::fmt::Write as _;
use std::time::Duration;

use futures::future::join_all;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout};

use super::{Mariadb, is_read_only, quoted, trouble, within};
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
    pub(super) mariadb: &'a Mariadb,
    pub(super) what: &'a Examination<'a>,
}

struct Member {
    name: String,
    state: Result<State, String>,
}

struct State {
    open: Conn,
    role: Role,
}

impl Visit<'_> {
    pub(super) async fn run(&self) -> Vec<MemberEvidence> {
        let mut members = self.open_all().await;
        let mut leaders: Vec<&mut State> = members
            .iter_mut()
            .filter_map(|member| member.state.as_mut().ok())
            .filter(|state| state.role == Role::Leader)
            .collect();
        let end = match &mut leaders[..] {
            [only] => position(&mut only.open).await.map_err(|e| e.to_string()),
            _ => Err("there is no single primary to compare with".to_owned()),
        };
        join_all(members.into_iter().map(|member| self.look(member, &end))).await
    }

    /// Connects to all members until everyone answers and one leads, or time is up.
    async fn open_all(&self) -> Vec<Member> {
        let targets: Vec<MemberAddress> = if self.what.members.is_empty() {
            let hosts = self.mariadb.address.hosts.iter();
            hosts
                .map(|(host, port)| MemberAddress {
                    name: format!("{host}:{port}"),
                    host: host.clone(),
                    port: *port,
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
        let address = &self.mariadb.address;
        let mut open = self
            .mariadb
            .open(address, &member.host, member.port)
            .await?;
        let role = if is_read_only(&mut open, QUESTION).await? {
            Role::Replica
        } else {
            Role::Leader
        };
        Ok(State { open, role })
    }

    async fn look(&self, member: Member, end: &Result<String, String>) -> MemberEvidence {
        let mut evidence = MemberEvidence {
            name: member.name,
            shard: Some(0),
            ..MemberEvidence::default()
        };
        let mut state = match member.state {
            Ok(state) => state,
            Err(problem) => {
                evidence.problem = Some(problem);
                return evidence;
            }
        };
        evidence.role = Some(state.role);
        match self.rows(&mut state, end, &mut evidence).await {
            Ok(rows) => evidence.rows = Some(rows),
            Err(problem) => evidence.problem = Some(problem),
        }
        evidence
    }

    async fn rows(
        &self,
        state: &mut State,
        end: &Result<String, String>,
        evidence: &mut MemberEvidence,
    ) -> Result<(Findings, String), String> {
        let end = end.clone()?;
        if state.role == Role::Replica && !self.reaches(&mut state.open, &end).await? {
            return Err(format!("has not applied the primary's {end} in time"));
        }
        evidence.position = Some(end);
        self.read(&mut state.open)
            .await
            .map_err(|trouble| format!("read the keys: {trouble}"))
    }

    /// Waits in steps: a question that is as long as the time left outlives a server that is gone.
    async fn reaches(&self, open: &mut Conn, end: &str) -> Result<bool, String> {
        let question = format!("SELECT MASTER_GTID_WAIT({}, 1)", quoted(end));
        loop {
            let answer = open.query_first::<i64, _>(question.as_str());
            let reached = within(QUESTION, "statement", answer)
                .await
                .map_err(|e| e.to_string())?;
            if reached == Some(0) {
                return Ok(true);
            }
            if Instant::now() >= self.what.deadline {
                return Ok(false);
            }
        }
    }

    async fn read(&self, open: &mut Conn) -> Result<(Findings, String), Trouble> {
        let ledger = self.what.ledger;
        let mut presence = Presence::new(ledger);
        let mut digest = Sha256::new();
        let statement = format!(
            "SELECT writer, seq FROM ferriswheel_probe WHERE run = {} ORDER BY writer, seq",
            quoted(self.what.run)
        );
        let reading = async {
            let rows = open.query_iter(statement).await?;
            rows.for_each_and_drop(|row| {
                let (writer, seq): (i64, i64) = mysql_async::from_row(row);
                digest.update(format!("{writer},{seq}\n"));
                presence.row(ledger, Key { writer, seq });
            })
            .await
        };
        // A million rows take seconds.
        match timeout(QUESTION * 6, reading).await {
            Ok(read) => read.map_err(|e| trouble(&e))?,
            Err(_) => return Err(Trouble::deadline("reading", QUESTION * 6)),
        }
        Ok((presence.compare(ledger), hex(&digest.finalize())))
    }
}

/// The primary's last transaction, by domain.
async fn position(open: &mut Conn) -> Result<String, Trouble> {
    let question = open.query_first::<String, _>("SELECT @@global.gtid_binlog_pos");
    Ok(within(QUESTION, "statement", question)
        .await?
        .unwrap_or_default())
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
