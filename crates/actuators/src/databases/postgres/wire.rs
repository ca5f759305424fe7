//! [`Server`] over the PostgreSQL protocol.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::conninfo::ConnInfo;
use super::durability::{self, Before};
use super::lsn::Lsn;
use super::server::{
    Follower, LOOK, LastRecord, OpenTransaction, Server, ServerError, Status, Upstream,
};
use super::session::{Rows, Session, literal};
use super::wal::{self, Tail};

/// Deadline of a small statement.
const STATEMENT: Duration = Duration::from_secs(5);

/// Databases that clients may use, the largest first. Eight: more are not all busy at once, and each
/// costs a session.
const DATABASES: &str = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate \
     ORDER BY pg_database_size(oid) DESC LIMIT 8";

/// Whether the server takes writes.
const IS_PRIMARY: &str = "SELECT NOT pg_is_in_recovery()";

/// SQLSTATE `undefined_object`, which `DO` answers without its language.
const NO_SUCH_LANGUAGE: &str = "42704";

/// Reads the catalogs that every session reads when it starts.
const CATALOGS: &str = "SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_attribute), \
     (SELECT count(*) FROM pg_type), (SELECT count(*) FROM pg_index)";

/// `primary_conninfo` of any standby of the set: whoever becomes a standby uses the same user and
/// secret with another host.
pub type ConnInfoTemplate = Arc<Mutex<Option<ConnInfo>>>;

/// Names with what postgresql.auto.conf says of each.
type AutoSettings = Vec<(String, Option<String>)>;

/// A server behind a session.
pub struct WireServer {
    session: Session,
    template: ConnInfoTemplate,
    data_directory: Mutex<Option<String>>,
    /// The server reads its own log (`pg_walinspect`); `None`: not asked yet.
    reads_its_log: Mutex<Option<bool>>,
    /// `primary_conninfo` and `primary_slot_name` in postgresql.auto.conf before arming.
    before_arming: Mutex<Option<AutoSettings>>,
}

impl WireServer {
    /// A server that shares the template with the other members of its set.
    pub fn new(session: Session, template: ConnInfoTemplate) -> Self {
        Self {
            session,
            template,
            data_directory: Mutex::new(None),
            reads_its_log: Mutex::new(None),
            before_arming: Mutex::new(None),
        }
    }

    async fn run(&self, sql: &str) -> Result<Rows, ServerError> {
        self.session.run(sql, STATEMENT).await
    }

    fn unexpected(&self, what: impl Into<String>) -> ServerError {
        ServerError::Unexpected {
            server: self.session.name().to_owned(),
            what: what.into(),
        }
    }

    async fn data_directory(&self) -> Result<String, ServerError> {
        if let Some(known) = lock(&self.data_directory).clone() {
            return Ok(known);
        }
        let rows = self.run("SHOW data_directory").await?;
        let directory = cell(&rows, 0)
            .ok_or_else(|| self.unexpected("no data_directory"))?
            .to_owned();
        *lock(&self.data_directory) = Some(directory.clone());
        Ok(directory)
    }

    /// Reads the template from this server if it has one and none is known yet.
    async fn learn_template(&self) -> Result<(), ServerError> {
        if lock(&self.template).is_some() {
            return Ok(());
        }
        let rows = self.run("SHOW primary_conninfo").await?;
        if let Some(text) = cell(&rows, 0).filter(|text| !text.is_empty())
            && let Ok(info) = ConnInfo::parse(text)
        {
            *lock(&self.template) = Some(info);
        }
        Ok(())
    }

    fn conninfo_for(&self, upstream: &Upstream) -> Result<String, ServerError> {
        let mut info = lock(&self.template)
            .clone()
            .ok_or_else(|| self.unexpected("no standby of the set shows a primary_conninfo"))?;
        info.remove("hostaddr");
        info.set("host", upstream.host.as_str());
        info.set("port", upstream.port.to_string());
        info.set("application_name", upstream.application_name.as_str());
        Ok(info.to_conninfo())
    }

    async fn set_upstream(&self, upstream: &Upstream) -> Result<(), ServerError> {
        let conninfo = self.conninfo_for(upstream)?;
        self.run(&format!(
            "ALTER SYSTEM SET primary_conninfo = {}",
            literal(&conninfo)
        ))
        .await?;
        let slot = match &upstream.slot {
            Some(slot) => format!("ALTER SYSTEM SET primary_slot_name = {}", literal(slot)),
            None => "ALTER SYSTEM RESET primary_slot_name".to_owned(),
        };
        self.run(&slot).await?;
        self.run("SELECT pg_reload_conf()").await?;
        Ok(())
    }

    /// The row is read first: a pipe that the shell leaves too early is an error too.
    async fn program(&self, command: &str) -> Result<(), ServerError> {
        let command = literal(&format!("read -r row; {command}"));
        self.run(&format!("COPY (SELECT) TO PROGRAM {command}"))
            .await
            .map(|_| ())
    }

    /// What a hand-over that ended in the middle left on this server: a primary that would start as
    /// a standby, a retry interval that is meant for a promotion.
    pub async fn left_over(&self, deadline: Duration) -> Result<Vec<&'static str>, ServerError> {
        let rows = self.session.run(LEFT_OVER, deadline).await?;
        let row = rows
            .first()
            .ok_or_else(|| self.unexpected("no row about what was left"))?;
        let is = |column: usize| row.get(column).and_then(Option::as_deref) == Some("t");
        Ok([
            (is(0), "it is armed to start as a standby"),
            (is(1), "its retry interval is that of a promotion"),
            (is(2), "its commits wait for the candidate of a hand-over"),
        ]
        .into_iter()
        .filter_map(|(is, what)| is.then_some(what))
        .collect())
    }

    async fn reads_its_log(&self) -> Result<bool, ServerError> {
        if let Some(known) = *lock(&self.reads_its_log) {
            return Ok(known);
        }
        let rows = self
            .run("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_walinspect')")
            .await?;
        let reads = cell(&rows, 0) == Some("t");
        *lock(&self.reads_its_log) = Some(reads);
        Ok(reads)
    }

    /// [`Server::last_record`] where the server has no function for it: its start is known only of
    /// a shutdown checkpoint, the end is where replay ends.
    pub async fn last_record_by_bytes(&self, since: Lsn) -> Result<LastRecord, ServerError> {
        let rows = self.run(TAIL).await?;
        let row = rows
            .first()
            .ok_or_else(|| self.unexpected("no row about the end of the log"))?;
        let text = |column: usize| {
            row.get(column)
                .and_then(Option::as_deref)
                .ok_or_else(|| self.unexpected("an end of the log that cannot be read"))
        };
        let lsn = |column: usize| -> Result<Lsn, ServerError> {
            text(column)?
                .parse()
                .map_err(|_| self.unexpected("a position that cannot be read"))
        };
        let number = |column: usize| -> Result<u64, ServerError> {
            text(column)?
                .parse()
                .map_err(|_| self.unexpected("a size that cannot be read"))
        };
        let (receive, replay) = (lsn(0)?, lsn(1)?);
        if replay <= since {
            return Err(self.unexpected("no record after the given position"));
        }
        let bytes = unhex(text(5)?).ok_or_else(|| self.unexpected("bytes that are none"))?;
        let found = wal::shutdown_checkpoint(&Tail {
            from: Lsn(number(2)?),
            bytes: &bytes,
            page: number(3)?,
            segment: number(4)?,
        });
        Ok(LastRecord {
            start: found.unwrap_or(since),
            end: replay,
            shutdown_checkpoint: found.is_some(),
            receive,
            replay,
        })
    }

    /// Sends the signal of a fast shutdown unless a condition, in shell, ends the program before.
    async fn stop(&self, condition: &str) -> Result<(), ServerError> {
        let pid_file = format!("{}/postmaster.pid", self.data_directory().await?);
        // The server passes its own SIGTERM on to whatever a session has started: a shell that ends
        // by it would be reported as a stop that was not sent. Built-ins only: no second fork.
        self.program(&format!(
            "trap '' TERM; {condition}read -r pid < {} && kill -INT \"$pid\"",
            shell(&pid_file)
        ))
        .await
    }

    /// Waits in the server's own session while a condition holds, at most `patience`, then asks.
    ///
    /// One statement instead of one a millisecond: the servers, the agent and whatever carries the
    /// session share the processors with the shutdown and the promotion that are waited for.
    ///
    /// # Source
    /// `DO` is allowed during recovery; `pg_is_in_recovery()` reads the server's present state also
    /// in a transaction that began before the promotion. A database whose owner has dropped
    /// PL/pgSQL answers at once, and its caller asks again.
    async fn wait_inside(
        &self,
        condition: &str,
        patience: Duration,
        then: &str,
        deadline: Duration,
    ) -> Result<Rows, ServerError> {
        let millis = patience.as_millis();
        let wait = format!(
            "DO $$ DECLARE enough timestamptz := clock_timestamp() + interval '{millis} ms'; \
             BEGIN WHILE {condition} AND clock_timestamp() < enough \
             LOOP PERFORM pg_sleep(0.001); END LOOP; END $$; {then}"
        );
        match self.session.run(&wait, deadline).await {
            Err(ServerError::Sql { sqlstate, .. }) if sqlstate == NO_SUCH_LANGUAGE => {
                let rows = self.session.run(then, deadline).await;
                tokio::time::sleep(LOOK).await;
                rows
            }
            other => other,
        }
    }

    /// What postgresql.auto.conf says of a setting.
    async fn auto_setting(&self, name: &str) -> Result<Option<String>, ServerError> {
        let rows = self
            .run(&format!(
                "SELECT setting FROM pg_file_settings \
                 WHERE name = {} AND sourcefile LIKE '%/postgresql.auto.conf' \
                 ORDER BY seqno DESC LIMIT 1",
                literal(name)
            ))
            .await?;
        Ok(cell(&rows, 0).map(str::to_owned))
    }
}

#[async_trait]
impl Server for WireServer {
    fn name(&self) -> &str {
        self.session.name()
    }

    async fn status(&self, deadline: Duration) -> Result<Status, ServerError> {
        let rows = self.session.run(STATUS, deadline).await?;
        read_status(&rows).ok_or_else(|| self.unexpected("a status that cannot be read"))
    }

    async fn becomes_primary(
        &self,
        patience: Duration,
        deadline: Duration,
    ) -> Result<bool, ServerError> {
        let rows = self
            .wait_inside("pg_is_in_recovery()", patience, IS_PRIMARY, deadline)
            .await?;
        Ok(cell(&rows, 0) == Some("t"))
    }

    async fn replays_after(
        &self,
        position: Lsn,
        patience: Duration,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        let condition = format!("coalesce(pg_last_wal_replay_lsn() <= '{position}', true)");
        self.wait_inside(&condition, patience, "SELECT", deadline)
            .await
            .map(drop)
    }

    async fn warm(&self, deadline: Duration) -> Result<(), ServerError> {
        let end = tokio::time::Instant::now() + deadline;
        let left = || end.saturating_duration_since(tokio::time::Instant::now());
        let rows = self.session.run(DATABASES, left()).await?;
        for name in rows.iter().filter_map(|row| row.first()?.as_deref()) {
            let session = self.session.beside(name);
            session.open(left()).await?;
            session.run(CATALOGS, left()).await?;
        }
        Ok(())
    }

    async fn reconnect(&self, deadline: Duration) -> Result<Status, ServerError> {
        self.session.open(deadline).await?;
        let status = self.status(deadline).await?;
        // Asked once: a server that stalls in between must not hold up whoever looks at others too.
        let learn = async {
            self.learn_template().await?;
            self.data_directory().await?;
            self.reads_its_log().await
        };
        match tokio::time::timeout(deadline, learn).await {
            Ok(learnt) => learnt.map(|_| status),
            Err(_) => Err(ServerError::Timeout {
                server: self.session.name().to_owned(),
                after: deadline,
            }),
        }
    }

    async fn checkpoint(&self, deadline: Duration) -> Result<(), ServerError> {
        self.session.run("CHECKPOINT", deadline).await.map(|_| ())
    }

    async fn arm_standby(&self, upstream: &Upstream) -> Result<(), ServerError> {
        let mut before = Vec::new();
        for name in ["primary_conninfo", "primary_slot_name"] {
            before.push((name.to_owned(), self.auto_setting(name).await?));
        }
        // A second arming must not take the first one's values for the old ones.
        lock(&self.before_arming).get_or_insert(before);
        self.set_upstream(upstream).await?;
        let signal = format!("{}/standby.signal", self.data_directory().await?);
        self.run(&format!("COPY (SELECT) TO {}", literal(&signal)))
            .await
            .map(|_| ())
    }

    async fn disarm_standby(&self) -> Result<(), ServerError> {
        let directory = self.data_directory().await?;
        if self.status(STATEMENT).await?.in_recovery {
            // A standby needs what arming wrote.
            return Ok(());
        }
        self.program(&format!(
            "rm -f {}",
            shell(&format!("{directory}/standby.signal"))
        ))
        .await?;
        let before = lock(&self.before_arming).take().unwrap_or_else(|| {
            vec![
                ("primary_conninfo".to_owned(), None),
                ("primary_slot_name".to_owned(), None),
            ]
        });
        for (name, value) in before {
            let sql = match value {
                Some(value) => format!("ALTER SYSTEM SET {name} = {}", literal(&value)),
                None => format!("ALTER SYSTEM RESET {name}"),
            };
            self.run(&sql).await?;
        }
        self.run("SELECT pg_reload_conf()").await?;
        Ok(())
    }

    async fn is_armed(&self) -> Result<bool, ServerError> {
        let signal = format!("{}/standby.signal", self.data_directory().await?);
        let rows = self
            .run(&format!(
                "SELECT (pg_stat_file({}, true)).size IS NOT NULL",
                literal(&signal)
            ))
            .await?;
        let file = cell(&rows, 0) == Some("t");
        let conninfo = self.auto_setting("primary_conninfo").await?;
        Ok(file && conninfo.is_some_and(|text| !text.is_empty()))
    }

    async fn follow(&self, upstream: &Upstream) -> Result<(), ServerError> {
        self.set_upstream(upstream).await
    }

    async fn arm_promotion(&self) -> Result<(), ServerError> {
        self.run("ALTER SYSTEM SET wal_retrieve_retry_interval = '10ms'")
            .await?;
        self.run("SELECT pg_reload_conf()").await?;
        // The session loads now what it will wait with.
        self.becomes_primary(Duration::ZERO, STATEMENT)
            .await
            .map(drop)
    }

    async fn disarm_promotion(&self) -> Result<(), ServerError> {
        let directory = self.data_directory().await?;
        if self.status(STATEMENT).await?.in_recovery {
            self.program(&format!("rm -f {}", shell(&format!("{directory}/promote"))))
                .await?;
        }
        self.run("ALTER SYSTEM RESET wal_retrieve_retry_interval")
            .await?;
        self.run("SELECT pg_reload_conf()").await.map(|_| ())
    }

    async fn ensure_slots(&self, names: &[String]) -> Result<(), ServerError> {
        for name in names {
            let name = literal(name);
            self.run(&format!(
                "SELECT pg_create_physical_replication_slot({name}, true) \
                 WHERE NOT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = {name})"
            ))
            .await?;
        }
        Ok(())
    }

    async fn drop_slots(&self, names: &[String]) -> Result<(), ServerError> {
        for name in names {
            self.run(&format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                 WHERE slot_name = {} AND slot_type = 'physical' AND NOT active",
                literal(name)
            ))
            .await?;
        }
        Ok(())
    }

    async fn require_standby(&self, standby: &str) -> Result<(), ServerError> {
        let now = self.auto_setting(SYNCHRONOUS).await?;
        if now.as_deref().and_then(durability::before).is_some() {
            return Ok(());
        }
        let before = now.map_or(Before::Unset, Before::Set);
        self.run(&format!(
            "ALTER SYSTEM SET {SYNCHRONOUS} = {}",
            literal(&durability::requiring(standby, &before))
        ))
        .await?;
        self.run("SELECT pg_reload_conf()").await.map(|_| ())
    }

    async fn release_standby(&self) -> Result<(), ServerError> {
        let now = self.auto_setting(SYNCHRONOUS).await?;
        let sql = match now.as_deref().and_then(durability::before) {
            None => return Ok(()),
            Some(Before::Unset) => format!("ALTER SYSTEM RESET {SYNCHRONOUS}"),
            Some(Before::Set(value)) => {
                format!("ALTER SYSTEM SET {SYNCHRONOUS} = {}", literal(&value))
            }
        };
        self.run(&sql).await?;
        self.run("SELECT pg_reload_conf()").await.map(|_| ())
    }

    async fn stop_fast(&self) -> Result<(), ServerError> {
        self.stop("").await
    }

    async fn stop_armed(&self) -> Result<(), ServerError> {
        let signal = format!("{}/standby.signal", self.data_directory().await?);
        self.stop(&format!("[ -e {} ] || exit 3; ", shell(&signal)))
            .await
    }

    async fn last_record(&self, since: Lsn) -> Result<LastRecord, ServerError> {
        if !self.reads_its_log().await? {
            return self.last_record_by_bytes(since).await;
        }
        let rows = self
            .run(&format!(
                "SELECT start_lsn, end_lsn, resource_manager || ' ' || record_type, \
                        pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn() \
                 FROM pg_get_wal_records_info('{since}', pg_last_wal_replay_lsn()) \
                 ORDER BY start_lsn DESC LIMIT 1"
            ))
            .await?;
        let row = rows
            .first()
            .ok_or_else(|| self.unexpected("no record after the given position"))?;
        let lsn = |column: usize| -> Result<Lsn, ServerError> {
            row.get(column)
                .and_then(Option::as_deref)
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| self.unexpected("a position that cannot be read"))
        };
        Ok(LastRecord {
            start: lsn(0)?,
            end: lsn(1)?,
            shutdown_checkpoint: row.get(2).and_then(Option::as_deref)
                == Some("XLOG CHECKPOINT_SHUTDOWN"),
            receive: lsn(3)?,
            replay: lsn(4)?,
        })
    }

    async fn fork(&self, deadline: Duration) -> Result<Lsn, ServerError> {
        let rows = self.session.run(HISTORY, deadline).await?;
        let text = cell(&rows, 0).ok_or_else(|| self.unexpected("no history of its timeline"))?;
        read_fork(text).ok_or_else(|| self.unexpected("a history that cannot be read"))
    }

    async fn promote(&self) -> Result<(), ServerError> {
        match self.run("SELECT pg_promote(false)").await {
            Ok(_) => Ok(()),
            // 55000: recovery is not in progress. It is a primary already.
            Err(ServerError::Sql { sqlstate, .. }) if sqlstate == "55000" => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn commit_marker(&self, text: &str, deadline: Duration) -> Result<Lsn, ServerError> {
        let rows = self
            .session
            .run(
                &format!(
                    "SELECT pg_logical_emit_message(true, 'ferriswheel', {})",
                    literal(text)
                ),
                deadline,
            )
            .await?;
        cell(&rows, 0)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.unexpected("no position for a message"))
    }

    async fn open_transactions(&self) -> Result<Vec<OpenTransaction>, ServerError> {
        let rows = self
            .run(
                "SELECT pid, coalesce(usename, ''), application_name, coalesce(state, ''), \
                        (extract(epoch FROM clock_timestamp() - xact_start) * 1000)::bigint \
                 FROM pg_stat_activity \
                 WHERE backend_type = 'client backend' AND xact_start IS NOT NULL \
                   AND pid <> pg_backend_pid() ORDER BY xact_start",
            )
            .await?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                let text = |column: usize| row.get(column).cloned().flatten();
                Some(OpenTransaction {
                    pid: text(0)?.parse().ok()?,
                    user: text(1)?,
                    application: text(2)?,
                    state: text(3)?,
                    age_ms: text(4)?.parse::<i64>().ok()?.max(0).unsigned_abs(),
                })
            })
            .collect())
    }
}

/// The setting that names the standbys that commits wait for.
const SYNCHRONOUS: &str = "synchronous_standby_names";

/// The last two pages of the replayed log, out of the segments that hold them; of a segment that
/// more than one timeline has, the newest.
///
/// # Source
/// `XLogFileName`: 8 digits each of the timeline, of the segment's number divided by the segments in
/// 4 GiB, and of the rest.
const TAIL: &str = "WITH sizes AS (SELECT \
        current_setting('wal_block_size')::bigint AS page, \
        (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size') AS segment), \
    ends AS (SELECT pg_last_wal_receive_lsn() AS receive, pg_last_wal_replay_lsn() AS replay), \
    tail AS (SELECT receive, replay, page, segment, (replay - '0/0'::pg_lsn)::bigint AS upto, \
        greatest((((replay - '0/0'::pg_lsn)::bigint - 1) / page - 1) * page, 0) AS start \
        FROM sizes, ends) \
    SELECT receive, replay, start, page, segment, \
        (SELECT string_agg(encode(pg_read_binary_file('pg_wal/' || (SELECT max(name) FROM pg_ls_waldir() \
                WHERE length(name) = 24 AND substr(name, 9) = \
                    lpad(upper(to_hex(n / (4294967296 / segment))), 8, '0') || \
                    lpad(upper(to_hex(n % (4294967296 / segment))), 8, '0')), \
            greatest(start, n * segment) - n * segment, \
            least(upto, (n + 1) * segment) - greatest(start, n * segment)), 'hex'), '' ORDER BY n) \
         FROM generate_series(start / segment, (upto - 1) / segment) AS n) \
    FROM tail";

/// What [`WireServer::left_over`] asks.
const LEFT_OVER: &str = "SELECT NOT pg_is_in_recovery() AND (pg_stat_file( \
        current_setting('data_directory') || '/standby.signal', true)).size IS NOT NULL, \
    EXISTS (SELECT FROM pg_file_settings WHERE name = 'wal_retrieve_retry_interval' \
        AND setting = '10ms' AND sourcefile LIKE '%/postgresql.auto.conf'), \
    EXISTS (SELECT FROM pg_file_settings WHERE name = 'synchronous_standby_names' \
        AND position('ferriswheel.before.' IN setting) > 0 \
        AND sourcefile LIKE '%/postgresql.auto.conf')";

/// The timeline of a primary is the one of its insert position: its control file changes only
/// with the next checkpoint.
const STATUS: &str = "SELECT r.recovering, \
    CASE WHEN r.recovering \
         THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), \
                       (SELECT timeline_id FROM pg_control_checkpoint())) \
         ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END, \
    CASE WHEN r.recovering THEN NULL ELSE pg_current_wal_flush_lsn() END, \
    pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), \
    CASE WHEN r.recovering \
         THEN (SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming') END, \
    pg_postmaster_start_time(), \
    CASE WHEN r.recovering THEN '' ELSE coalesce((SELECT string_agg(concat_ws('|', \
         application_name, state, coalesce(flush_lsn::text, '-'), \
         coalesce(replay_lsn::text, '-'), sync_state), ',') FROM pg_stat_replication), '') END \
    FROM (SELECT pg_is_in_recovery() AS recovering) r";

/// The file that a promotion writes before the server takes writes.
const HISTORY: &str = "SELECT pg_read_file('pg_wal/' || \
    substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || '.history')";

/// The last line that says something: the timeline before, where it was left, and why.
///
/// # Source
/// `timeline.c`: fields are separated by white space; lines may be empty or comments.
fn read_fork(history: &str) -> Option<Lsn> {
    let mut lines = history
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next_back()?.split_whitespace().nth(1)?.parse().ok()
}

fn read_status(rows: &[Vec<Option<String>>]) -> Option<Status> {
    let row = rows.first()?;
    let text = |column: usize| row.get(column).and_then(Option::as_deref);
    let in_recovery = text(0)? == "t";
    let position = |column: usize| text(column).and_then(|t| t.parse().ok());
    Some(Status {
        in_recovery,
        timeline: text(1)?.parse().ok()?,
        flush: position(2),
        // A primary that was a standby still shows its last positions.
        receive: if in_recovery { position(3) } else { None },
        replay: if in_recovery { position(4) } else { None },
        streaming_from: text(5).map(str::to_owned),
        started: text(6)?.to_owned(),
        followers: text(7)?
            .split(',')
            .filter(|part| !part.is_empty())
            .filter_map(read_follower)
            .collect(),
    })
}

fn read_follower(text: &str) -> Option<Follower> {
    let mut parts = text.split('|');
    Some(Follower {
        name: parts.next()?.to_owned(),
        streaming: parts.next()? == "streaming",
        flush: parts.next()?.parse().ok(),
        replay: parts.next()?.parse().ok(),
        sync_state: parts.next()?.to_owned(),
    })
}

fn cell(rows: &[Vec<Option<String>>], column: usize) -> Option<&str> {
    rows.first()?.get(column)?.as_deref()
}

/// Bytes out of hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// A path as one word of a POSIX shell.
fn shell(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Lsn, read_fork};

    #[test]
    fn a_timeline_forks_where_its_last_line_says() {
        let history = "1\t0/3000060\tno recovery target specified\n\n# by hand\n2\t0/50000A0\tno recovery target specified\n\n";
        assert_eq!(read_fork(history), Some(Lsn(0x0500_00A0)));
        assert_eq!(read_fork("# nothing\n"), None);
        assert_eq!(read_fork("1 soon because\n"), None);
    }
}
