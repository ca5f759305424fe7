//! PostgreSQL over its own wire protocol.
//!
//! Writers and readers use unnamed statements and the simple protocol only, so they run unchanged
//! through `PgBouncer` in transaction mode. The examination after the run talks to each member
//! directly.

mod dsn;
pub(crate) mod examine;
pub(crate) mod session;

use async_trait::async_trait;

pub use dsn::{Dsn, DsnError};
use session::Session;

use crate::accounting::ledger::Sequence;
use crate::config::RunConfig;
use crate::judge::MemberEvidence;
use crate::run::StartError;
use crate::secret::Password;
use crate::system::{Client, Examination, Prepared, RunNames, System, Trouble, WriteKey};

/// A PostgreSQL database behind an address of its clients.
pub(crate) struct Postgres {
    config: RunConfig,
    dsn: Dsn,
    read_dsn: Dsn,
}

impl Postgres {
    /// Takes the addresses apart.
    pub(crate) fn new(config: &RunConfig, password: Option<&Password>) -> Result<Self, StartError> {
        let dsn = Dsn::parse(&config.dsn, password).map_err(|source| StartError::Address {
            what: "read the clients' address",
            source: Box::new(source),
        })?;
        let read_dsn = match &config.read_dsn {
            Some(text) => Dsn::parse(text, password).map_err(|source| StartError::Address {
                what: "read the readers' address",
                source: Box::new(source),
            })?,
            None => dsn.clone(),
        };
        Ok(Self {
            config: config.clone(),
            dsn,
            read_dsn,
        })
    }

    async fn session(&self, dsn: &Dsn) -> Result<Session, Trouble> {
        Session::open(
            dsn,
            self.config.connect_deadline(),
            self.config.statement_deadline(),
        )
        .await
    }
}

#[async_trait]
impl System for Postgres {
    async fn prepare(&self, names: RunNames<'_>) -> Result<Prepared, Trouble> {
        let session = self.session(&self.dsn).await?;
        create_table(&session).await?;
        Ok(Prepared {
            earlier_probes: enter_run(&session, names.identity, names.run).await?,
            shards: Vec::new(),
        })
    }

    async fn connect(&self) -> Result<Box<dyn Client>, Trouble> {
        Ok(Box::new(self.session(&self.dsn).await?))
    }

    async fn connect_reader(&self) -> Result<Box<dyn Client>, Trouble> {
        Ok(Box::new(self.session(&self.read_dsn).await?))
    }

    async fn examine(&self, what: &Examination<'_>) -> Vec<MemberEvidence> {
        examine::Visit {
            dsn: &self.dsn,
            connect_deadline: self.config.connect_deadline(),
            what,
        }
        .run()
        .await
    }

    async fn drop_everything(&self) -> Result<(), Trouble> {
        let session = self.session(&self.dsn).await?;
        drop_schema(&session).await
    }
}

#[async_trait]
impl Client for Session {
    async fn write(&mut self, key: WriteKey<'_>) -> Result<(), Trouble> {
        let seq = i64::try_from(key.seq).unwrap_or(i64::MAX);
        self.insert(key.run, number(key.writer), seq).await
    }

    async fn highest(
        &mut self,
        run: &str,
        writer: usize,
        _promised: Option<Sequence>,
    ) -> Result<Option<Sequence>, Trouble> {
        let found = self.highest_of(run, number(writer)).await?;
        Ok(found.and_then(|seq| Sequence::try_from(seq).ok()))
    }

    fn is_closed(&self) -> bool {
        self.peer_is_gone()
    }
}

fn number(writer: usize) -> i32 {
    i32::try_from(writer).unwrap_or(i32::MAX)
}

/// Schema of everything the probe creates.
const SCHEMA: &str = "ferriswheel_probe";

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
async fn enter_run(session: &Session, identity: &str, run: &str) -> Result<u64, Trouble> {
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
async fn create_table(session: &Session) -> Result<(), Trouble> {
    let exists = session
        .text("SELECT to_regclass('ferriswheel_probe.runs')")
        .await?;
    if exists.is_none() {
        session.batch(CREATE).await?;
    }
    Ok(())
}

/// Drops everything that the probe created, rows of other runs included.
async fn drop_schema(session: &Session) -> Result<(), Trouble> {
    session
        .batch(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        .await
}
