//! One session with one server, with a deadline on every command.
//!
//! RESP2: it is what every version speaks, and nothing here needs more.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value};
use tokio::task::JoinHandle;

use super::server::ServerError;
pub use crate::databases::session::Credentials;
use crate::databases::session::{Slot, Way};
use crate::dial::{Dial, Target};

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
    way: Way,
    credentials: Credentials,
    open: Slot<Open>,
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
            way: Way::new(name.into(), target, dial),
            credentials,
            open: Slot::empty(),
        }
    }

    /// Name of the server, for messages.
    pub fn name(&self) -> &str {
        &self.way.name
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
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let ask = async |open: &mut Open| match open.connection.send_packed_command(&command).await
        {
            Ok(Value::ServerError(error)) => Err(self.classify(&RedisError::from(error))),
            Ok(value) => Ok(value),
            Err(error) => Err(self.classify(&error)),
        };
        self.open.ask(&self.way, deadline, ask).await
    }

    /// An answer that is text.
    pub async fn text(&self, words: &[&str], deadline: Duration) -> Result<String, ServerError> {
        let value = self.run(words, deadline).await?;
        text_of(&value).ok_or_else(|| self.unexpected(words[0], &value))
    }

    /// Opens the session if it is not open or broken.
    pub async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        let stands = |open: &Open| !open.driver.is_finished();
        self.open
            .fill(&self.way, deadline, stands, self.connect(deadline))
            .await
    }

    async fn connect(&self, deadline: Duration) -> Result<Open, ServerError> {
        let tls = self.credentials.tls.as_ref();
        let stream = self.way.stream(tls, deadline).await?;
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

    fn classify(&self, error: &RedisError) -> ServerError {
        let answered = matches!(
            error.kind(),
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed
        );
        match error.code() {
            Some(code) if answered => self.way.refused(
                code.to_owned(),
                error.detail().unwrap_or_default().to_owned(),
            ),
            _ if answered => self.way.refused("ERR".to_owned(), error.to_string()),
            _ => self.way.disconnected(&error.to_string()),
        }
    }

    /// An answer to a command that has another shape than documented.
    pub fn unexpected(&self, command: &str, value: &Value) -> ServerError {
        self.way.unexpected(&format!("{command}: {value:?}"))
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
