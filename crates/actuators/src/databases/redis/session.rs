//! One session with one server, with a deadline on every command.
//!
//! RESP2: it is what every version speaks, and nothing here needs more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::server::ServerError;
use crate::databases::postgres::session::chain;
use crate::dial::{Dial, Stream, Target};

/// How a session says who it is, and makes sure that nobody listens.
#[derive(Clone, Default)]
pub struct Credentials {
    /// ACL user; `None` is the default user.
    pub user: Option<String>,
    /// Password; never printed. `None`: the server asks for none.
    pub password: Option<String>,
    /// TLS; `None`: plain text.
    pub tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

struct Open {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A session that is opened when it is first needed and again when it broke.
pub struct Session {
    name: String,
    target: Target,
    dial: Arc<dyn Dial>,
    credentials: Credentials,
    open: Mutex<Option<Open>>,
}

impl Session {
    /// A session that is not open yet.
    pub fn new(
        name: impl Into<String>,
        target: Target,
        dial: Arc<dyn Dial>,
        credentials: Credentials,
    ) -> Self {
        Self {
            name: name.into(),
            target,
            dial,
            credentials,
            open: Mutex::new(None),
        }
    }

    /// Name of the server, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user that the session is opened as.
    pub fn user(&self) -> &str {
        self.credentials.user.as_deref().unwrap_or("default")
    }

    /// Sends one command and waits for its answer.
    ///
    /// # Errors
    /// [`ServerError::Disconnected`] when no session is open or it broke; it is not opened here,
    /// so that a caller never acts twice without looking. A command that ran out of time leaves the
    /// session closed, because its answer may still come.
    pub async fn run(&self, words: &[&str], deadline: Duration) -> Result<Value, ServerError> {
        let limit = tokio::time::Instant::now() + deadline;
        let Ok(mut slot) = timeout(deadline, self.open.lock()).await else {
            return Err(self.timed_out(deadline));
        };
        let Some(open) = slot.as_mut() else {
            return Err(self.disconnected("no session is open"));
        };
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let answer = tokio::time::timeout_at(limit, open.connection.send_packed_command(&command));
        match answer.await {
            Err(_) => {
                *slot = None;
                Err(self.timed_out(deadline))
            }
            Ok(Err(error)) => {
                let error = self.classify(&error);
                if matches!(error, ServerError::Disconnected { .. }) {
                    *slot = None;
                }
                Err(error)
            }
            Ok(Ok(Value::ServerError(error))) => Err(self.classify(&RedisError::from(error))),
            Ok(Ok(value)) => Ok(value),
        }
    }

    /// An answer that is text.
    pub async fn text(&self, words: &[&str], deadline: Duration) -> Result<String, ServerError> {
        let value = self.run(words, deadline).await?;
        text_of(&value).ok_or_else(|| self.unexpected(words[0], &value))
    }

    /// Opens the session if it is not open or broken.
    pub async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        let limit = tokio::time::Instant::now() + deadline;
        let Ok(mut slot) = timeout(deadline, self.open.lock()).await else {
            return Err(self.timed_out(deadline));
        };
        if slot.as_ref().is_some_and(|open| !open.driver.is_finished()) {
            return Ok(());
        }
        *slot = None;
        let opened = match tokio::time::timeout_at(limit, self.connect(deadline)).await {
            Ok(opened) => opened?,
            Err(_) => return Err(self.timed_out(deadline)),
        };
        *slot = Some(opened);
        Ok(())
    }

    async fn connect(&self, deadline: Duration) -> Result<Open, ServerError> {
        let stream = self
            .dial
            .dial(&self.target, deadline)
            .await
            .map_err(|e| self.disconnected(&chain(&e)))?;
        let stream = match &self.credentials.tls {
            Some(config) => self.secured(stream, config).await?,
            None => stream,
        };
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(user) = &self.credentials.user {
            info = info.set_username(user);
        }
        if let Some(password) = &self.credentials.password {
            info = info.set_password(password);
        }
        // Deadlines are ours.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|e| self.classify(&e))?;
        Ok(Open {
            connection,
            driver: tokio::spawn(driver),
        })
    }

    async fn secured(
        &self,
        stream: Box<dyn Stream>,
        config: &Arc<ClientConfig>,
    ) -> Result<Box<dyn Stream>, ServerError> {
        let name = ServerName::try_from(self.target.pod.name.clone())
            .map_err(|e| self.disconnected(&e.to_string()))?;
        TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await
            .map(|stream| Box::new(stream) as Box<dyn Stream>)
            .map_err(|e| self.disconnected(&format!("TLS: {e}")))
    }

    fn classify(&self, error: &RedisError) -> ServerError {
        let answered = matches!(
            error.kind(),
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed
        );
        match error.code() {
            Some(code) if answered => ServerError::Refused {
                server: self.name.clone(),
                code: code.to_owned(),
                message: error.detail().unwrap_or_default().to_owned(),
            },
            _ if answered => ServerError::Refused {
                server: self.name.clone(),
                code: "ERR".to_owned(),
                message: error.to_string(),
            },
            _ => self.disconnected(&error.to_string()),
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

    /// An answer to a command that has another shape than documented.
    pub fn unexpected(&self, command: &str, value: &Value) -> ServerError {
        ServerError::Unexpected {
            server: self.name.clone(),
            what: format!("{command}: {value:?}"),
        }
    }
}

/// Text of a simple or bulk string, or a number as text.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
