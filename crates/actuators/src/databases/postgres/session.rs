//! One SQL session over the simple protocol, with a deadline on every statement.
//!
//! The simple protocol serves servers, poolers in transaction mode and PgBouncer's console alike;
//! all values are text.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, SimpleQueryMessage};

use super::server::ServerError;
use super::tls::{Carrier, Tls};
use crate::databases::session::chain;
use crate::dial::{Dial, Target};

/// How a session says who it is, and makes sure that nobody listens.
#[derive(Clone)]
pub struct Credentials {
    /// Role.
    pub user: String,
    /// Password; never printed.
    pub password: String,
    /// TLS.
    pub tls: Tls,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("password", &"***")
            .field("tls", &self.tls)
            .finish()
    }
}

/// Rows of a statement; every value as text.
pub type Rows = Vec<Vec<Option<String>>>;

/// A session that is opened when it is first needed and again when it broke.
pub struct Session {
    name: String,
    target: Target,
    dial: Arc<dyn Dial>,
    credentials: Credentials,
    database: String,
    client: Mutex<Option<Client>>,
}

impl Session {
    /// A session that is not open yet.
    pub fn new(
        name: impl Into<String>,
        target: Target,
        dial: Arc<dyn Dial>,
        credentials: Credentials,
        database: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            target,
            dial,
            credentials,
            database: database.into(),
            client: Mutex::new(None),
        }
    }

    /// Another session with the same server, in another database.
    pub fn beside(&self, database: impl Into<String>) -> Self {
        Self::new(
            self.name.clone(),
            self.target.clone(),
            Arc::clone(&self.dial),
            self.credentials.clone(),
            database,
        )
    }

    /// Name of the server, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs one statement in the open session.
    ///
    /// # Errors
    /// [`ServerError::Disconnected`] when no session is open or it broke; it is not opened here,
    /// so that a caller never acts twice without looking. A statement that ran out of time leaves
    /// the session closed, because its answer may still come.
    pub async fn run(&self, sql: &str, deadline: Duration) -> Result<Rows, ServerError> {
        let messages = self.messages(sql, deadline).await?;
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|column| row.get(column).map(str::to_owned))
                        .collect(),
                ),
                _ => None,
            })
            .collect())
    }

    /// Like [`Session::run`], with the columns by name.
    pub async fn run_named(
        &self,
        sql: &str,
        deadline: Duration,
    ) -> Result<Vec<BTreeMap<String, Option<String>>>, ServerError> {
        let messages = self.messages(sql, deadline).await?;
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(
                    row.columns()
                        .iter()
                        .enumerate()
                        .map(|(at, column)| {
                            (column.name().to_owned(), row.get(at).map(str::to_owned))
                        })
                        .collect(),
                ),
                _ => None,
            })
            .collect())
    }

    async fn messages(
        &self,
        sql: &str,
        deadline: Duration,
    ) -> Result<Vec<SimpleQueryMessage>, ServerError> {
        let mut slot = match timeout(deadline, self.client.lock()).await {
            Ok(slot) => slot,
            Err(_) => return Err(self.timed_out(deadline)),
        };
        let Some(client) = slot.as_ref() else {
            return Err(self.disconnected("no session is open"));
        };
        match timeout(deadline, client.simple_query(sql)).await {
            Err(_) => {
                *slot = None;
                Err(self.timed_out(deadline))
            }
            Ok(Err(e)) => {
                let error = self.classify(&e);
                if client.is_closed() || matches!(error, ServerError::Disconnected { .. }) {
                    *slot = None;
                }
                Err(error)
            }
            Ok(Ok(messages)) => Ok(messages),
        }
    }

    /// Opens the session if it is not open or broken.
    pub async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        let mut slot = match timeout(deadline, self.client.lock()).await {
            Ok(slot) => slot,
            Err(_) => return Err(self.timed_out(deadline)),
        };
        if slot.as_ref().is_some_and(|client| !client.is_closed()) {
            return Ok(());
        }
        *slot = None;
        let client = match timeout(deadline, self.connect(deadline)).await {
            Ok(client) => client?,
            Err(_) => return Err(self.timed_out(deadline)),
        };
        *slot = Some(client);
        Ok(())
    }

    async fn connect(&self, deadline: Duration) -> Result<Client, ServerError> {
        let stream = self
            .dial
            .dial(&self.target, deadline)
            .await
            .map_err(|e| self.disconnected(&chain(&e)))?;
        let mut config = Config::new();
        config
            .user(&self.credentials.user)
            .password(&self.credentials.password)
            .dbname(&self.database)
            .application_name("ferriswheel")
            .ssl_mode(self.credentials.tls.mode());
        let tls = self
            .credentials
            .tls
            .connect(&self.target.pod.name)
            .map_err(|why| self.disconnected(&why))?;
        let (client, connection) = config
            .connect_raw(Carrier(stream), tls)
            .await
            .map_err(|e| self.classify(&e))?;
        let name = self.name.clone();
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(server = name, error = %chain(&e), "session ended");
            }
        });
        Ok(client)
    }

    fn classify(&self, error: &tokio_postgres::Error) -> ServerError {
        let Some(answer) = error.as_db_error() else {
            return self.disconnected(&chain(error));
        };
        let server = self.name.clone();
        let message = answer.message().to_owned();
        match answer.code() {
            code if *code == SqlState::ADMIN_SHUTDOWN || *code == SqlState::CRASH_SHUTDOWN => {
                ServerError::Disconnected {
                    server,
                    cause: message,
                }
            }
            code if *code == SqlState::CANNOT_CONNECT_NOW => ServerError::NotReady {
                server,
                cause: message,
            },
            code => ServerError::Sql {
                server,
                sqlstate: code.code().to_owned(),
                message,
            },
        }
    }

    fn disconnected(&self, cause: &str) -> ServerError {
        ServerError::Disconnected {
            server: self.name.clone(),
            cause: cause.to_owned(),
        }
    }

    fn timed_out(&self, after: Duration) -> ServerError {
        ServerError::Timeout {
            server: self.name.clone(),
            after,
        }
    }
}

/// A text as an SQL literal.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}
