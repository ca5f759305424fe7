//! PostgreSQL over its own wire protocol.
//!
//! Writers and readers use unnamed statements and the simple protocol only, so they run unchanged
//! through `PgBouncer` in transaction mode. The examination after the run talks to each member
//! directly.

pub mod dsn;
pub(crate) mod examine;
pub(crate) mod reader;
pub(crate) mod session;
mod tls;
pub(crate) mod writer;

use session::{Session, Trouble};

/// Schema of everything the probe creates.
pub(crate) const SCHEMA: &str = "ferriswheel_probe";

/// Creates the tables of the writes and of the runs.
///
/// The index is not unique on purpose: a pooler or proxy that repeats a statement must leave two
/// rows to be found, not an error that hides it. The advisory lock keeps two probes that start
/// together from colliding in the catalogue.
const CREATE: &str = "
    SELECT pg_advisory_xact_lock(7017270961);
    CREATE SCHEMA IF NOT EXISTS ferriswheel_probe;
    CREATE TABLE IF NOT EXISTS ferriswheel_probe.writes (
        run uuid NOT NULL,
        writer int4 NOT NULL,
        seq int8 NOT NULL,
        written_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    CREATE INDEX IF NOT EXISTS writes_by_key ON ferriswheel_probe.writes (run, writer, seq);
    CREATE TABLE IF NOT EXISTS ferriswheel_probe.runs (
        identity uuid NOT NULL,
        run uuid NOT NULL,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
";

/// Enters a run, and says how many probes began the same one before. Those ended without a
/// certificate, and what they knew of their writes ended with them.
pub(crate) async fn enter_run(
    session: &Session,
    identity: &str,
    run: &str,
) -> Result<u64, Trouble> {
    // Both are UUIDs in their canonical form, so there is nothing to escape.
    let sql = format!(
        "WITH entered AS (INSERT INTO ferriswheel_probe.runs (identity, run) \
             SELECT '{identity}', '{run}' WHERE NOT EXISTS (\
                 SELECT FROM ferriswheel_probe.runs WHERE run = '{run}')) \
         SELECT count(*) FROM ferriswheel_probe.runs \
         WHERE identity = '{identity}' AND run <> '{run}'"
    );
    let count = session.text(&sql).await?;
    Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// Looks first, because creating takes a lock and, on a server whose synchronous standby is
/// away, a commit that waits for it.
pub(crate) async fn create_table(session: &Session) -> Result<(), Trouble> {
    let exists = session
        .text("SELECT to_regclass('ferriswheel_probe.runs')")
        .await?;
    if exists.is_none() {
        session.batch(CREATE).await?;
    }
    Ok(())
}

/// Drops everything that the probe created, rows of other runs included.
pub(crate) async fn drop_schema(session: &Session) -> Result<(), Trouble> {
    session
        .batch(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        .await
}
