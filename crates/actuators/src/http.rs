//! JSON over HTTP/1.1 to a pod's port, whatever carries the bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::dial::{Dial, DialError, Target};

/// Largest answer that is read: a probe's timeline of an hour stays below it.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// One kept-alive connection to one port, with a bearer token.
pub struct Endpoint {
    target: Target,
    dial: Arc<dyn Dial>,
    token: String,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// A call did not give an answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("{target} could not be called")]
    Dial {
        /// Pod.
        target: String,
        /// Cause.
        #[source]
        source: DialError,
    },
    /// The connection broke.
    #[error("the connection to {target} broke")]
    Broken {
        /// Pod.
        target: String,
        /// Cause.
        #[source]
        source: hyper::Error,
    },
    /// Too slow.
    #[error("{target} did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// Pod.
        target: String,
        /// Deadline.
        after: Duration,
    },
    /// The answer is an error.
    #[error("{target} answered {status}: {body}")]
    Refused {
        /// Pod.
        target: String,
        /// Status.
        status: StatusCode,
        /// Beginning of the body.
        body: String,
    },
    /// The answer cannot be read.
    #[error("the answer of {target} cannot be read: {what}")]
    Unreadable {
        /// Pod.
        target: String,
        /// What.
        what: String,
    },
}

impl CallError {
    /// The other side is certainly not there: nobody listens.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Dial { .. } | Self::Broken { .. } | Self::Timeout { .. }
        )
    }
}

impl Endpoint {
    /// An endpoint that is not connected yet.
    pub fn new(target: Target, dial: Arc<dyn Dial>, token: impl Into<String>) -> Self {
        Self {
            target,
            dial,
            token: token.into(),
            connection: Mutex::new(None),
        }
    }

    /// GET.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        deadline: Duration,
    ) -> Result<T, CallError> {
        self.call(Method::GET, path, Bytes::new(), deadline).await
    }

    /// POST of a JSON body.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|e| self.unreadable(e.to_string()))?;
        self.call(Method::POST, path, body.into(), deadline).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let answer = timeout(deadline, self.exchange(method, path, body, deadline)).await;
        let (status, body) = match answer {
            Ok(answer) => answer?,
            Err(_) => {
                // The exchange was dropped in the middle; its connection is of no use.
                *self.connection.lock().await = None;
                return Err(CallError::Timeout {
                    target: self.target.pod.to_string(),
                    after: deadline,
                });
            }
        };
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            return Err(CallError::Refused {
                target: self.target.pod.to_string(),
                status,
                body: text.chars().take(500).collect(),
            });
        }
        serde_json::from_slice(&body).map_err(|e| self.unreadable(e.to_string()))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_none_or(SendRequest::is_closed) {
            *slot = Some(self.connect(deadline).await?);
        }
        let broken = |source| CallError::Broken {
            target: self.target.pod.to_string(),
            source,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "pod")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| self.unreadable(e.to_string()))?;
        let Some(connection) = slot.as_mut() else {
            return Err(self.unreadable("no connection".to_owned()));
        };
        // The task of a kept connection may not have come round since the last answer.
        let sent = match connection.ready().await {
            Ok(()) => connection.send_request(request).await,
            Err(e) => Err(e),
        };
        let answer = match sent {
            Ok(answer) => answer,
            Err(e) => {
                *slot = None;
                return Err(broken(e));
            }
        };
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|e| self.unreadable(e.to_string()))?
            .to_bytes();
        Ok((status, body))
    }

    async fn connect(&self, deadline: Duration) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let stream = self
            .dial
            .dial(&self.target, deadline)
            .await
            .map_err(|source| CallError::Dial {
                target: self.target.pod.to_string(),
                source,
            })?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| CallError::Broken {
                target: self.target.pod.to_string(),
                source,
            })?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn unreadable(&self, what: String) -> CallError {
        CallError::Unreadable {
            target: self.target.pod.to_string(),
            what,
        }
    }
}
