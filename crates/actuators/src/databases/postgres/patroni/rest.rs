//! One Patroni's REST API, by one connection a call.
//!
//! # Guarantees
//! - Every call ends within its deadline.
//! - A failure says whether the call can have reached Patroni ([`RestError::certainty`]).
//! - [`Rest::switchover`] sends one request, and nothing here sends it again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ferriswheel_plan::world::{PatroniFacts, PatroniSettings, PatroniView};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::view;
use crate::databases::session::chain;
use crate::dial::{Dial, Target};

/// Largest answer that is read: a view of a hundred members is far below.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Who may ask for what changes something.
#[derive(Clone)]
pub struct Login {
    /// User.
    pub user: String,
    /// Password; never printed.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("password", &"***")
            .finish()
    }
}

/// The REST API of one member.
#[derive(Clone)]
pub struct Rest {
    target: Target,
    dial: Arc<dyn Dial>,
    login: Option<Login>,
}

/// How Patroni answered to the question for a switchover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It says that somebody else leads now; who is seen, not read here.
    Done(String),
    /// It says that it did not come about, or that it does not know: what is true is seen.
    Unclear(String),
    /// It will not: nothing was begun.
    Refused(String),
}

/// A call without the answer that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// No connection: nothing was sent.
    #[error("the Patroni of {member} could not be reached: {cause}")]
    Unreached {
        /// Member.
        member: String,
        /// Cause.
        cause: String,
    },
    /// The connection broke before an answer.
    #[error("the connection to the Patroni of {member} broke: {cause}")]
    Broken {
        /// Member.
        member: String,
        /// Cause.
        cause: String,
    },
    /// No answer in time.
    #[error("the Patroni of {member} did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// Member.
        member: String,
        /// Deadline.
        after: Duration,
    },
    /// The answer is an error.
    #[error("the Patroni of {member} answered {status}: {text}")]
    Refused {
        /// Member.
        member: String,
        /// Status.
        status: u16,
        /// Beginning of the text.
        text: String,
    },
    /// The answer cannot be read.
    #[error("the answer of the Patroni of {member} cannot be read: {what}")]
    Unreadable {
        /// Member.
        member: String,
        /// What.
        what: String,
    },
}

/// What a failure says of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// Patroni did not do it. Asking again does no harm.
    NotDone,
    /// Patroni may do it: only looking tells.
    Unknown,
}

impl RestError {
    /// Whether Patroni may do what it was asked.
    pub fn certainty(&self) -> Certainty {
        match self {
            Self::Unreached { .. } => Certainty::NotDone,
            Self::Refused { status, .. } if (400..500).contains(status) => Certainty::NotDone,
            Self::Refused { .. }
            | Self::Broken { .. }
            | Self::Timeout { .. }
            | Self::Unreadable { .. } => Certainty::Unknown,
        }
    }
}

impl Rest {
    /// Not asked yet.
    pub fn new(target: Target, dial: Arc<dyn Dial>, login: Option<Login>) -> Self {
        Self {
            target,
            dial,
            login,
        }
    }

    /// The member.
    pub fn member(&self) -> &str {
        &self.target.pod.name
    }

    /// The cluster as this member reads it from its store now.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn view(&self, deadline: Duration) -> Result<PatroniView, RestError> {
        let answer = self.read("/cluster", deadline).await?;
        view::cluster(&answer).ok_or_else(|| self.unreadable("no members in /cluster"))
    }

    /// Who it is, and its view.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn facts(&self, deadline: Duration) -> Result<PatroniFacts, RestError> {
        let answer = self.read("/patroni", deadline).await?;
        let (version, scope) =
            view::itself(&answer).ok_or_else(|| self.unreadable("no version in /patroni"))?;
        Ok(PatroniFacts {
            version,
            scope,
            view: self.view(deadline).await?,
        })
    }

    /// Settings of the cluster.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn settings(&self, deadline: Duration) -> Result<PatroniSettings, RestError> {
        let answer = self.read("/config", deadline).await?;
        view::settings(&answer).ok_or_else(|| self.unreadable("no settings in /config"))
    }

    /// Whether it would take the question for a switchover from us: one that names nobody is asked, which Patroni turns
    /// down after it has looked at the login.
    ///
    /// # Errors
    /// [`RestError::Refused`] with what is missing.
    ///
    /// # Source
    /// `do_POST_failover`: a switchover without a leader is answered 400 before anything is looked up or written;
    /// `check_access` answers 401 and 403 before that.
    pub async fn takes_questions(&self, deadline: Duration) -> Result<(), RestError> {
        let nobody = json!({"leader": ""});
        let (status, text) = self
            .exchange(Method::POST, "/switchover", Some(&nobody), deadline)
            .await?;
        if status == StatusCode::BAD_REQUEST {
            return Ok(());
        }
        Err(self.refused(status, &text))
    }

    /// Asks for the switchover, once.
    ///
    /// Patroni answers when it has looked and seen another leader, each second; whoever is in a hurry looks himself.
    ///
    /// # Errors
    /// See [`RestError::certainty`].
    ///
    /// # Source
    /// `do_POST_failover`: every 4xx comes before the question is written to the store; 503 is said when it was not
    /// written for certain, when the leader was still the same a second after it was taken up, and when nobody knows.
    pub async fn switchover(
        &self,
        leader: &str,
        candidate: &str,
        deadline: Duration,
    ) -> Result<Answer, RestError> {
        let question = json!({"leader": leader, "candidate": candidate});
        let (status, text) = self
            .exchange(Method::POST, "/switchover", Some(&question), deadline)
            .await?;
        let said = format!("{}: {}", status.as_u16(), beginning(&text));
        Ok(if status.is_success() {
            Answer::Done(said)
        } else if status.is_client_error() {
            Answer::Refused(said)
        } else {
            Answer::Unclear(said)
        })
    }

    async fn read(&self, path: &str, deadline: Duration) -> Result<Value, RestError> {
        let (status, body) = self.exchange(Method::GET, path, None, deadline).await?;
        // A member that is not whole tells its state with 503.
        serde_json::from_slice(&body).map_err(|e| {
            if status.is_success() {
                self.unreadable(e.to_string())
            } else {
                self.refused(status, &body)
            }
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        deadline: Duration,
    ) -> Result<(StatusCode, Bytes), RestError> {
        let end = Instant::now() + deadline;
        let unreached = |cause: String| RestError::Unreached {
            member: self.member().to_owned(),
            cause,
        };
        let stream = self
            .dial
            .dial(&self.target, deadline)
            .await
            .map_err(|e| unreached(chain(&e)))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unreached(chain(&e)))?;
        let _ends_with_the_call = Carried(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "patroni")
            .header(header::CONNECTION, "close");
        if let Some(Login { user, password }) = &self.login {
            let login = STANDARD.encode(format!("{user}:{password}"));
            let mut value = header::HeaderValue::from_str(&format!("Basic {login}"))
                .map_err(|e| unreached(e.to_string()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes))
            .map_err(|e| unreached(e.to_string()))?;
        let answered = timeout_at(end, async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(|e| RestError::Broken {
                    member: self.member().to_owned(),
                    cause: chain(&e),
                })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST_ANSWER)
                .collect()
                .await
                .map_err(|e| self.unreadable(e.to_string()))?;
            Ok::<_, RestError>((status, body.to_bytes()))
        });
        answered.await.unwrap_or_else(|_| {
            Err(RestError::Timeout {
                member: self.member().to_owned(),
                after: deadline,
            })
        })
    }

    fn refused(&self, status: StatusCode, text: &[u8]) -> RestError {
        RestError::Refused {
            member: self.member().to_owned(),
            status: status.as_u16(),
            text: beginning(text),
        }
    }

    fn unreadable(&self, what: impl Into<String>) -> RestError {
        RestError::Unreadable {
            member: self.member().to_owned(),
            what: what.into(),
        }
    }
}

/// Two hundred characters: Patroni's answers to people are one sentence.
fn beginning(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .trim()
        .chars()
        .take(200)
        .collect()
}

/// A task that ends with its owner.
pub(super) struct Carried<T>(pub(super) JoinHandle<T>);

impl<T> Drop for Carried<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
