//! One connection, each call with a deadline, and the meaning of what can go wrong on it.

use std::sync::LazyLock;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::dsn::Dsn;
use crate::accounting::ledger::Outcome;
use crate::system::Trouble;
use crate::tls;

/// Codes that waiting does not change: a wrong password, a missing right, a wrong name. Any other
/// refusal may be a server that starts, or one that is not the primary yet.
const HOPELESS: [&str; 3] = ["28", "42", "3D"];

fn trouble(error: &tokio_postgres::Error) -> Trouble {
    if let Some(db) = error.as_db_error() {
        let code = db.code().code();
        return Trouble {
            kind: code.to_owned(),
            detail: format!("{}: {} ({code})", db.severity(), db.message()),
            outcome: if refused(db) {
                Outcome::Refused
            } else {
                Outcome::Indeterminate
            },
            broken: !is_plain_error(db) || *db.code() == SqlState::READ_ONLY_SQL_TRANSACTION,
            hopeless: HOPELESS.iter().any(|class| code.starts_with(class)),
        };
    }
    let io = std::error::Error::source(error).and_then(|s| s.downcast_ref::<std::io::Error>());
    Trouble {
        kind: io.map_or_else(|| error.to_string(), |io| io.kind().to_string()),
        detail: io.map_or_else(|| error.to_string(), |io| format!("{error}: {io}")),
        outcome: Outcome::Indeterminate,
        broken: true,
        hopeless: false,
    }
}

/// Whether the server's word means that nothing was committed.
///
/// Only an ERROR does, and not one of class 08 (the connection under it failed) or XX (the server
/// contradicts itself) or 40003 (it says that it does not know). A FATAL may follow a commit whose
/// acknowledgement was still awaited from a standby.
fn refused(db: &DbError) -> bool {
    let code = db.code().code();
    is_plain_error(db)
        && !code.starts_with("08")
        && !code.starts_with("XX")
        && *db.code() != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
}

fn is_plain_error(db: &DbError) -> bool {
    match db.parsed_severity() {
        Some(severity) => severity == Severity::Error,
        // PgBouncer sends only the untranslated word.
        None => db.severity() == "ERROR",
    }
}

/// An open connection. Dropping it closes the socket at once.
pub(crate) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    deadline: Duration,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Makes the handshakes of every connection.
fn connector() -> MakeRustlsConnect {
    static CONNECTOR: LazyLock<MakeRustlsConnect> =
        LazyLock::new(|| MakeRustlsConnect::new(tls::client().as_ref().clone()));
    CONNECTOR.clone()
}

impl Session {
    /// Tries each address once, in order, each with its own deadline.
    pub(crate) async fn open(
        dsn: &Dsn,
        connect_deadline: Duration,
        statement_deadline: Duration,
    ) -> Result<Self, Trouble> {
        let mut last = None;
        for config in dsn.hosts(connect_deadline) {
            match timeout(connect_deadline, config.connect(connector())).await {
                Ok(Ok((client, connection))) => {
                    let driver = tokio::spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::trace!(%error, "connection ended");
                        }
                    });
                    return Ok(Self {
                        client,
                        driver,
                        deadline: statement_deadline,
                    });
                }
                Ok(Err(error)) => last = Some(trouble(&error)),
                Err(_) => last = Some(Trouble::deadline("connect", connect_deadline)),
            }
        }
        let last = last.unwrap_or_else(|| Trouble::deadline("connect", connect_deadline));
        let kind = if last.kind.starts_with("connect") {
            last.kind
        } else {
            format!("connect: {}", last.kind)
        };
        Err(Trouble { kind, ..last })
    }

    /// Whether the peer is already known to be gone.
    pub(crate) fn peer_is_gone(&self) -> bool {
        self.client.is_closed()
    }

    /// One row in one transaction; done when the server is ready again, which is after the commit.
    pub(crate) async fn insert(&self, run: &str, writer: i32, seq: i64) -> Result<(), Trouble> {
        self.bounded(self.client.execute_typed(
            "INSERT INTO ferriswheel_probe.writes (run, writer, seq) VALUES ($1::uuid, $2, $3)",
            &[
                (&run, Type::TEXT),
                (&writer, Type::INT4),
                (&seq, Type::INT8),
            ],
        ))
        .await
        .map(drop)
    }

    /// The highest sequence of a writer that is visible.
    pub(crate) async fn highest_of(&self, run: &str, writer: i32) -> Result<Option<i64>, Trouble> {
        let row = self
            .bounded(self.client.query_typed_one(
                "SELECT max(seq) FROM ferriswheel_probe.writes WHERE run = $1::uuid AND writer = $2",
                &[(&run, Type::TEXT), (&writer, Type::INT4)],
            ))
            .await?;
        row.try_get(0).map_err(|error| trouble(&error))
    }

    /// Several statements, results thrown away.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Trouble> {
        self.bounded(self.client.batch_execute(sql)).await
    }

    /// The first column of the first row, as text.
    pub(crate) async fn text(&self, sql: &str) -> Result<Option<String>, Trouble> {
        let messages = self.bounded(self.client.simple_query(sql)).await?;
        Ok(messages
            .into_iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
                _ => None,
            })
            .flatten())
    }

    /// Hands each row to `row` as text; the deadline bounds each wait for the next one.
    pub(crate) async fn rows(
        &self,
        sql: &str,
        mut row: impl FnMut(&tokio_postgres::SimpleQueryRow),
    ) -> Result<(), Trouble> {
        let stream = self.bounded(self.client.simple_query_raw(sql)).await?;
        let mut stream = std::pin::pin!(stream.into_stream());
        while let Some(message) = timeout(self.deadline, stream.next())
            .await
            .map_err(|_| Trouble::deadline("statement", self.deadline))?
        {
            if let SimpleQueryMessage::Row(found) = message.map_err(|error| trouble(&error))? {
                row(&found);
            }
        }
        Ok(())
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Trouble> {
        match timeout(self.deadline, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(trouble(&error)),
            Err(_) => Err(Trouble::deadline("statement", self.deadline)),
        }
    }
}
