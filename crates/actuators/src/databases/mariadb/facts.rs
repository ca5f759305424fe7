//! What a server says of itself, for the snapshot.
//!
//! Reading statements, and one question that is a lock of no consequence: `BACKUP STAGE START`, ended
//! at once, which stops nobody and which the server refuses while somebody else's backup is under way.
//! Nothing else tells of one. A global lock is seen by those who wait for it.

use std::collections::BTreeMap;
use std::time::Duration;

use ferriswheel_plan::world::{GtidPosition, GtidState, MariadbActivity, MariadbFacts};

use super::server::ServerError;
use super::session::{Rows, Session, quoted};
use super::wire::{LOCK_WAIT_TIMEOUT, sources_of};

/// Deadline of the collection's statements, each. A healthy server answers in a millisecond.
const COLLECT: Duration = Duration::from_secs(5);

/// Global rights that the procedure needs.
const NEEDED: [&str; 7] = [
    "BINLOG MONITOR",
    "CONNECTION ADMIN",
    "PROCESS",
    "READ_ONLY ADMIN",
    "RELOAD",
    "REPLICATION SLAVE ADMIN",
    "SLAVE MONITOR",
];

/// Variables that are read; one that a server does not know is not in its answer.
const VARIABLES: [&str; 18] = [
    "version",
    "server_id",
    "gtid_domain_id",
    "read_only",
    "log_bin",
    "log_slave_updates",
    "gtid_strict_mode",
    "wsrep_on",
    "group_replication_group_name",
    "rpl_semi_sync_master_enabled",
    "rpl_semi_sync_slave_enabled",
    "gtid_binlog_state",
    "gtid_binlog_pos",
    "gtid_slave_pos",
    "binlog_expire_logs_seconds",
    "expire_logs_days",
    "max_binlog_total_size",
    "datadir",
];

const DAY_SECONDS: u64 = 86_400;

/// Characters of a statement that are shown: enough to recognise it.
const SHOWN: usize = 120;

/// Facts of one server.
///
/// # Errors
/// The server does not answer, refuses a statement without which nothing can be judged, or answers
/// something that cannot be read.
pub async fn collect(session: &Session) -> Result<MariadbFacts, ServerError> {
    session.open(COLLECT).await?;
    let run = async |statement: &str| session.run(statement, COLLECT).await;
    let wanted: Vec<String> = VARIABLES.iter().map(|name| quoted(name)).collect();
    let variables = run(&format!(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})",
        wanted.join(", ")
    ))
    .await?;
    let variables = Variables::of(&variables);
    let version = variables.text("version").to_owned();
    let mariadb = version.contains("MariaDB");
    let unexpected = || session.unexpected("its positions");
    let mut facts = MariadbFacts {
        server_id: variables.number("server_id"),
        domain: variables.number("gtid_domain_id"),
        read_only: variables.is("read_only"),
        log_bin: variables.is("log_bin"),
        log_slave_updates: variables.is("log_slave_updates"),
        strict: variables.is("gtid_strict_mode"),
        wsrep_on: variables.is("wsrep_on"),
        group: !variables.text("group_replication_group_name").is_empty(),
        semi_sync_source: variables.is("rpl_semi_sync_master_enabled"),
        semi_sync_replica: variables.is("rpl_semi_sync_slave_enabled"),
        binlog_state: GtidState::parse(variables.text("gtid_binlog_state"))
            .ok_or_else(unexpected)?,
        binlog_pos: GtidPosition::parse(variables.text("gtid_binlog_pos"))
            .ok_or_else(unexpected)?,
        slave_pos: GtidPosition::parse(variables.text("gtid_slave_pos")).ok_or_else(unexpected)?,
        binlog_kept_seconds: variables.kept_seconds(),
        binlog_kept_bytes: variables.number("max_binlog_total_size"),
        directory: variables.text("datadir").to_owned(),
        user: session.user().to_owned(),
        version,
        binlog_filters: Vec::new(),
        sources: Vec::new(),
        longest: None,
        prepared: 0,
        locked: None,
        forbidden: Vec::new(),
        unfenced_users: Vec::new(),
    };
    if !mariadb {
        return Ok(facts);
    }
    let privileges =
        run("SELECT grantee, privilege_type FROM information_schema.user_privileges").await?;
    let own = run("SELECT CURRENT_USER() AS me").await?;
    rights(&mut facts, &privileges, &own);
    if !facts.forbidden.is_empty() {
        return Ok(facts);
    }
    facts.sources = sources_of(&run("SHOW ALL SLAVES STATUS").await?);
    facts.binlog_filters = binlog_filters(&run("SHOW MASTER STATUS").await?);
    facts.longest = longest(&run(&activity(session.user())).await?);
    let prepared = run("XA RECOVER").await?.iter().count();
    facts.prepared = u32::try_from(prepared).unwrap_or(u32::MAX);
    facts.locked = locked(session).await?;
    Ok(facts)
}

struct Variables(BTreeMap<String, String>);

impl Variables {
    fn of(rows: &Rows) -> Self {
        let pairs = rows.iter().map(|row| {
            (
                row.text("Variable_name").to_lowercase(),
                row.text("Value").to_owned(),
            )
        });
        Self(pairs.collect())
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn is(&self, name: &str) -> bool {
        ["ON", "1", "YES"].contains(&self.text(name))
    }

    /// In seconds since 10.6, in days (with a fraction since then) before.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "days are between 0 and 99"
    )]
    fn kept_seconds(&self) -> u64 {
        match self.0.get("binlog_expire_logs_seconds") {
            Some(seconds) => seconds.parse().unwrap_or(0),
            None => {
                let days: f64 = self.text("expire_logs_days").parse().unwrap_or(0.0);
                (days * DAY_SECONDS as f64) as u64
            }
        }
    }
}

fn binlog_filters(rows: &Rows) -> Vec<String> {
    let Some(row) = rows.first() else {
        return Vec::new();
    };
    [
        ("Binlog_Do_DB", "binlog_do_db"),
        ("Binlog_Ignore_DB", "binlog_ignore_db"),
    ]
    .iter()
    .filter(|(column, _)| !row.text(column).is_empty())
    .map(|(column, name)| format!("{name} = {}", row.text(column)))
    .collect()
}

/// Clients by what they have open: a transaction, or a statement.
fn activity(own_user: &str) -> String {
    format!(
        "SELECT p.id AS id, p.user AS user, p.info AS info, GREATEST( \
             IF(p.command IN ('Query', 'Execute'), CAST(p.time_ms AS UNSIGNED), 0), \
             COALESCE(TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) * 1000, 0)) AS ms \
         FROM information_schema.processlist p \
         LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id \
         WHERE p.command NOT IN ('Binlog Dump', 'Daemon') \
         AND p.user NOT IN ('system user', 'event_scheduler', {}) \
         ORDER BY ms DESC LIMIT 1",
        quoted(own_user)
    )
}

fn longest(rows: &Rows) -> Option<MariadbActivity> {
    let row = rows.first()?;
    Some(MariadbActivity {
        user: row.text("user").to_owned(),
        session: row.number("id")?,
        ms: row.number("ms")?,
        statement: row
            .get("info")
            .map(|text| text.chars().take(SHOWN).collect()),
    })
}

async fn locked(session: &Session) -> Result<Option<String>, ServerError> {
    let statement = "SELECT COUNT(*) AS waiting FROM information_schema.processlist \
                     WHERE state = 'Waiting for backup lock'";
    let waiting = session.run(statement, COLLECT).await?;
    let waiting = waiting.first().and_then(|row| row.number("waiting"));
    if let Some(waiting) = waiting.filter(|waiting| *waiting > 0) {
        let holders = holders(session).await?;
        return Ok(Some(format!(
            "{waiting} sessions wait for a lock over the whole server; {holders}"
        )));
    }
    let asked = session.another();
    asked.open(COLLECT).await?;
    asked
        .run("SET SESSION lock_wait_timeout = 0", COLLECT)
        .await?;
    match asked.run("BACKUP STAGE START", COLLECT).await {
        Ok(_) => {
            asked.run("BACKUP STAGE END", COLLECT).await?;
        }
        Err(ServerError::Refused { code, .. }) if code == LOCK_WAIT_TIMEOUT => {
            asked.close().await;
            let holders = holders(session).await?;
            return Ok(Some(format!(
                "BACKUP STAGE START has to wait: a backup is under way; {holders}"
            )));
        }
        Err(e) => return Err(e),
    }
    asked.close().await;
    Ok(None)
}

/// Sessions that may hold the lock: the server does not say which one does.
async fn holders(session: &Session) -> Result<String, ServerError> {
    let statement = format!(
        "SELECT id, user, command, state, info FROM information_schema.processlist \
         WHERE command NOT IN ('Binlog Dump', 'Daemon', 'Slave_IO', 'Slave_SQL', 'Slave_worker') \
         AND user NOT IN ('system user', 'event_scheduler') AND id <> CONNECTION_ID() \
         AND (info IS NULL OR info LIKE 'BACKUP%' OR info LIKE 'FLUSH%' OR user = {}) \
         ORDER BY time DESC LIMIT 5",
        quoted(session.user())
    );
    let rows = session.run(&statement, COLLECT).await?;
    let sessions: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{} of {} ({})",
                row.text("id"),
                row.text("user"),
                row.get("info").unwrap_or("idle")
            )
        })
        .collect();
    Ok(format!(
        "sessions that may hold it: {}",
        sessions.join(", ")
    ))
}

/// What the session's user lacks, and who writes in spite of `read_only`.
fn rights(facts: &mut MariadbFacts, privileges: &Rows, own: &Rows) {
    let me = own.first().map(|row| row.text("me").to_owned());
    let me = me.unwrap_or_default();
    let (name, host) = me.rsplit_once('@').unwrap_or((&me, "%"));
    let grantee = format!("'{name}'@'{host}'");
    let has = |right: &str| {
        privileges.iter().any(|row| {
            row.text("grantee") == grantee && row.text("privilege_type").eq_ignore_ascii_case(right)
        })
    };
    facts.forbidden = NEEDED
        .iter()
        .filter(|right| !has(right))
        .map(|right| (*right).to_owned())
        .collect();
    // Until 10.10 the right was a part of SUPER.
    let mut parts = facts.version.split(['.', '-']).map(str::parse::<u32>);
    let by_super = match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (10, 11),
        _ => true,
    };
    let mut users: Vec<String> = privileges
        .iter()
        .filter(|row| {
            let right = row.text("privilege_type");
            right.eq_ignore_ascii_case("READ_ONLY ADMIN")
                || (by_super && right.eq_ignore_ascii_case("SUPER"))
        })
        .filter_map(|row| {
            let user = row.text("grantee").rsplit_once('@')?.0;
            Some(user.trim_matches('\'').to_owned())
        })
        .collect();
    users.sort();
    users.dedup();
    facts.unfenced_users = users;
}

#[cfg(test)]
mod tests {
    use super::Variables;
    use std::collections::BTreeMap;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        let pairs = pairs.iter();
        Variables(
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        )
    }

    #[test]
    fn the_binary_log_is_kept_for_seconds_or_days() {
        let seconds = variables(&[("binlog_expire_logs_seconds", "864000")]);
        assert_eq!(seconds.kept_seconds(), 864_000);
        let days = variables(&[("expire_logs_days", "0.5")]);
        assert_eq!(days.kept_seconds(), 43_200);
        assert_eq!(variables(&[]).kept_seconds(), 0);
    }
}
