//! After the run: every key on the leader and on every member.
//!
//! The leader is held still (a SHARE lock waits for every insert under way and admits no new one),
//! a durable mark is written to its log, and each replica is read when it has replayed that mark.
//! So a key that a member lacks is missing, not late.

use std::fmt::Write as _;
use std::time::Duration;

use futures::future::join_all;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::dsn::Dsn;
use super::session::Session;
use crate::accounting::presence::{Key, Presence};
use crate::certificate::Role;
use crate::judge::MemberEvidence;
use crate::system::{Examination, Trouble};

/// Between two looks at a member that is not ready yet.
///
/// 50 ms: a rejoining member takes seconds; a caught-up one is found at the first look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Longest wait for the next row, and for any other statement of the examination.
///
/// 30 s: sorting the keys of a day-long run on a slow disk stays below it.
const STATEMENT: Duration = Duration::from_secs(30);

/// The log position, by role.
const LEADER_POSITION: &str = "SELECT pg_current_wal_flush_lsn()";
const LEADER_TIMELINE: &str =
    "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int8";
const REPLICA_POSITION: &str = "SELECT pg_last_wal_replay_lsn()";
const REPLICA_TIMELINE: &str = "SELECT received_tli FROM pg_stat_wal_receiver";

/// One examination.
pub(crate) struct Visit<'a> {
    /// User, database and password; its own address is looked at when no member is named.
    pub dsn: &'a Dsn,
    /// Connect deadline of one attempt.
    pub connect_deadline: Duration,
    /// Whom to look at, and for what.
    pub what: &'a Examination<'a>,
}

struct Open {
    name: String,
    dsn: Dsn,
    session: Result<(Session, Role), String>,
}

impl Visit<'_> {
    pub(crate) async fn run(&self) -> Vec<MemberEvidence> {
        let opened = self.open_all().await;
        let leaders = opened
            .iter()
            .filter(|m| matches!(m.session, Ok((_, Role::Leader))))
            .count();
        let mut still = Err("there is no single leader to compare with".to_owned());
        if leaders == 1 {
            for member in &opened {
                if let Ok((session, Role::Leader)) = &member.session {
                    still = self.hold_still(member, session).await;
                }
            }
        }
        let looks = opened.iter().map(|member| self.look(member, &still));
        join_all(looks).await
        // The sessions end here, and the lock with them.
    }

    /// Connects to all members until there is one leader and everyone answers, or time is up.
    async fn open_all(&self) -> Vec<Open> {
        let targets: Vec<(String, Dsn)> = if self.what.members.is_empty() {
            vec![("(via the DSN)".to_owned(), self.dsn.clone())]
        } else {
            self.what
                .members
                .iter()
                .map(|m| (m.name.clone(), self.dsn.at(m)))
                .collect()
        };
        loop {
            let opened = join_all(targets.iter().map(async |(name, dsn)| Open {
                name: name.clone(),
                dsn: dsn.clone(),
                session: self.open(dsn).await.map_err(|trouble| trouble.to_string()),
            }))
            .await;
            let whole = opened.iter().all(|m| m.session.is_ok())
                && opened
                    .iter()
                    .any(|m| matches!(m.session, Ok((_, Role::Leader))));
            if whole || Instant::now() >= self.what.deadline {
                return opened;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn open(&self, dsn: &Dsn) -> Result<(Session, Role), Trouble> {
        let session = Session::open(dsn, self.connect_deadline, STATEMENT).await?;
        let replica = session.text("SELECT pg_is_in_recovery()").await?.as_deref() == Some("t");
        Ok((session, if replica { Role::Replica } else { Role::Leader }))
    }

    /// Stops inserts on the leader and returns a position that covers all of them.
    async fn hold_still(&self, leader: &Open, session: &Session) -> Result<String, String> {
        let wait = self
            .what
            .deadline
            .saturating_duration_since(Instant::now())
            .as_millis()
            .max(1_000);
        session
            .batch(&format!(
                "BEGIN; SET LOCAL lock_timeout = {wait}; \
                 SET LOCAL idle_in_transaction_session_timeout = 0; \
                 LOCK TABLE ferriswheel_probe.writes IN SHARE MODE"
            ))
            .await
            .map_err(|trouble| format!("hold the writes still: {trouble}"))?;
        // A durable record after the last insert, on a session of its own because this one's
        // transaction stays open. Local: a synchronous standby that is away must not stop it.
        let mark = async {
            let other = Session::open(&leader.dsn, self.connect_deadline, STATEMENT).await?;
            other
                .batch(
                    "BEGIN; SET LOCAL synchronous_commit = local; \
                     SELECT pg_logical_emit_message(true, 'ferriswheel_probe', 'end of run'); \
                     COMMIT",
                )
                .await?;
            other.text(LEADER_POSITION).await
        };
        mark.await
            .map_err(|trouble| format!("mark the end in the log: {trouble}"))?
            .ok_or_else(|| "the leader told no position".to_owned())
    }

    async fn look(&self, member: &Open, end: &Result<String, String>) -> MemberEvidence {
        let mut evidence = MemberEvidence {
            name: member.name.clone(),
            shard: Some(0),
            ..Default::default()
        };
        let (session, role) = match &member.session {
            Ok((session, role)) => (session, *role),
            Err(problem) => {
                evidence.problem = Some(problem.clone());
                return evidence;
            }
        };
        evidence.role = Some(role);
        let problem = match (role, end) {
            (Role::Leader, Ok(_)) => None,
            (Role::Leader | Role::Replica, Err(problem)) => Some(problem.clone()),
            (Role::Replica, Ok(end)) => self.catch_up(session, end).await.err(),
        };
        if let Err(trouble) = self.describe(session, role, &mut evidence).await {
            evidence.problem = Some(trouble.to_string());
            return evidence;
        }
        if problem.is_some() {
            evidence.problem = problem;
            return evidence;
        }
        match self.read(session).await {
            Ok(rows) => evidence.rows = Some(rows),
            Err(trouble) => evidence.problem = Some(format!("read the rows: {trouble}")),
        }
        evidence
    }

    async fn catch_up(&self, session: &Session, end: &str) -> Result<(), String> {
        let sql = format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{end}'::pg_lsn, false)");
        loop {
            match session.text(&sql).await {
                Ok(Some(answer)) if answer == "t" => return Ok(()),
                Ok(_) => {}
                Err(trouble) => return Err(trouble.to_string()),
            }
            if Instant::now() >= self.what.deadline {
                return Err(format!(
                    "has not replayed the leader's position {end} in time"
                ));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn describe(
        &self,
        session: &Session,
        role: Role,
        evidence: &mut MemberEvidence,
    ) -> Result<(), Trouble> {
        let (position, timeline) = match role {
            Role::Leader => (LEADER_POSITION, LEADER_TIMELINE),
            Role::Replica => (REPLICA_POSITION, REPLICA_TIMELINE),
        };
        evidence.position = session.text(position).await?;
        // Asked on a session of its own where the right may be missing: an error would end the
        // transaction that holds the lock.
        if role == Role::Replica {
            evidence.timeline = number(session.text(timeline).await.ok().flatten());
        } else {
            evidence.timeline = number(session.text(timeline).await?);
        }
        let identity = "SELECT CASE WHEN has_function_privilege('pg_control_system()', 'execute') \
                        THEN (SELECT system_identifier FROM pg_control_system()) END";
        evidence.system_identifier = session.text(identity).await?;
        Ok(())
    }

    async fn read(
        &self,
        session: &Session,
    ) -> Result<(crate::accounting::presence::Findings, String), Trouble> {
        let sql = format!(
            "SELECT writer, seq, (extract(epoch FROM written_at) * 1000000)::int8 \
             FROM ferriswheel_probe.writes WHERE run = '{}' ORDER BY writer, seq, written_at",
            self.what.run
        );
        let mut presence = Presence::new(self.what.ledger);
        let mut digest = Sha256::new();
        session
            .rows(&sql, |row| {
                let cell = |i| row.try_get(i).ok().flatten().unwrap_or_default();
                digest.update(cell(0));
                digest.update(b",");
                digest.update(cell(1));
                digest.update(b",");
                digest.update(cell(2));
                digest.update(b"\n");
                // A cell that is no number cannot be a key that was sent: it counts as a phantom.
                presence.row(
                    self.what.ledger,
                    Key {
                        writer: cell(0).parse().unwrap_or(-1),
                        seq: cell(1).parse().unwrap_or(-1),
                    },
                );
            })
            .await?;
        Ok((presence.compare(self.what.ledger), hex(&digest.finalize())))
    }
}

fn number(text: Option<String>) -> Option<u64> {
    text.and_then(|text| text.parse().ok())
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
