//! What sessions with servers of every system have in common: who is asked and by which way, one
//! connection at a time, deadlines, and failures.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout, timeout_at};

use super::tls::Secured;
use crate::dial::{Dial, Stream, Target};

/// A server did not do what it was asked; `C` is how its system names errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ServerError<C: Display> {
    /// No session: refused, reset, or broken in the middle. An act may or may not have happened.
    #[error("no session with {server}: {cause}")]
    Disconnected {
        /// Server.
        server: String,
        /// Cause.
        cause: String,
    },
    /// No answer in time. An act may or may not have happened.
    #[error("{server} did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// Server.
        server: String,
        /// Deadline.
        after: Duration,
    },
    /// The server answered with an error: nothing happened.
    #[error("{server} answered {code}: {message}")]
    Refused {
        /// Server.
        server: String,
        /// Code of the error.
        code: C,
        /// Text.
        message: String,
    },
    /// The server answered something that has no meaning here.
    #[error("{server} gave an answer that cannot be read: {what}")]
    Unexpected {
        /// Server.
        server: String,
        /// What.
        what: String,
    },
}

/// How a session says who it is, and makes sure that nobody listens.
#[derive(Clone, Default)]
pub struct Credentials {
    /// User; `None`: the system's default one, or nobody is asked.
    pub user: Option<String>,
    /// Password; never printed. `None`: the server asks for none.
    pub password: Option<String>,
    /// TLS; `None`: plain text.
    pub tls: Option<Secured>,
}

impl Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

/// The way to one server, and its name in messages.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) name: String,
    target: Target,
    dial: Arc<dyn Dial>,
}

impl Way {
    pub(super) fn new(name: String, target: Target, dial: Arc<dyn Dial>) -> Self {
        Self { name, target, dial }
    }

    /// A stream to the server; with `tls` by its handshake.
    pub(super) async fn stream<C: Display>(
        &self,
        tls: Option<&Secured>,
        deadline: Duration,
    ) -> Result<Box<dyn Stream>, ServerError<C>> {
        let stream = self
            .dial
            .dial(&self.target, deadline)
            .await
            .map_err(|e| self.disconnected(&chain(&e)))?;
        match tls {
            Some(tls) => self.secure(tls, stream).await,
            None => Ok(stream),
        }
    }

    /// The handshake with the server.
    pub(super) async fn secure<C: Display>(
        &self,
        tls: &Secured,
        stream: Box<dyn Stream>,
    ) -> Result<Box<dyn Stream>, ServerError<C>> {
        tls.secure(&self.target.pod.name, stream)
            .await
            .map_err(|why| self.disconnected(&why))
    }

    pub(super) fn disconnected<C: Display>(&self, cause: &str) -> ServerError<C> {
        ServerError::Disconnected {
            server: self.name.clone(),
            cause: cause.to_owned(),
        }
    }

    pub(super) fn timed_out<C: Display>(&self, after: Duration) -> ServerError<C> {
        ServerError::Timeout {
            server: self.name.clone(),
            after,
        }
    }

    pub(super) fn refused<C: Display>(
        &self,
        code: C,
        message: impl Into<String>,
    ) -> ServerError<C> {
        ServerError::Refused {
            server: self.name.clone(),
            code,
            message: message.into(),
        }
    }

    pub(super) fn unexpected<C: Display>(&self, what: &str) -> ServerError<C> {
        ServerError::Unexpected {
            server: self.name.clone(),
            what: what.to_owned(),
        }
    }
}

/// The one connection of a session: opened when it is first needed, and again when it broke.
pub(super) struct Slot<T>(Mutex<Option<T>>);

impl<T> Slot<T> {
    pub(super) fn empty() -> Self {
        Self(Mutex::new(None))
    }

    /// Fills it by `connect`, unless what is in it still `stands`.
    pub(super) async fn fill<C: Display>(
        &self,
        way: &Way,
        deadline: Duration,
        stands: impl FnOnce(&T) -> bool,
        connect: impl Future<Output = Result<T, ServerError<C>>>,
    ) -> Result<(), ServerError<C>> {
        let limit = Instant::now() + deadline;
        let mut slot = self.locked(way, deadline).await?;
        if slot.as_ref().is_some_and(stands) {
            return Ok(());
        }
        *slot = None;
        let opened = timeout_at(limit, connect).await;
        *slot = Some(opened.map_err(|_| way.timed_out(deadline))??);
        Ok(())
    }

    /// Asks by the connection. It stays after an answer, also one that says no; after anything else
    /// it is closed, for an answer may still come on it.
    pub(super) async fn ask<A, C: Display>(
        &self,
        way: &Way,
        deadline: Duration,
        ask: impl AsyncFnOnce(&mut T) -> Result<A, ServerError<C>>,
    ) -> Result<A, ServerError<C>> {
        let limit = Instant::now() + deadline;
        let mut slot = self.locked(way, deadline).await?;
        // Taken out, so that a question that is cut short leaves no half-read connection behind.
        let Some(mut open) = slot.take() else {
            return Err(way.disconnected("no session is open"));
        };
        let answer = timeout_at(limit, ask(&mut open))
            .await
            .map_err(|_| way.timed_out(deadline))?;
        if matches!(answer, Ok(_) | Err(ServerError::Refused { .. })) {
            *slot = Some(open);
        }
        answer
    }

    pub(super) async fn clear(&self) {
        *self.0.lock().await = None;
    }

    async fn locked<C: Display>(
        &self,
        way: &Way,
        deadline: Duration,
    ) -> Result<MutexGuard<'_, Option<T>>, ServerError<C>> {
        timeout(deadline, self.0.lock())
            .await
            .map_err(|_| way.timed_out(deadline))
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let part = cause.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = cause.source();
    }
    text
}
