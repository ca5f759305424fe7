//! Kubernetes: reading the world, evicting, small edits.

pub mod dump;
pub mod evict;
pub mod exec;
pub mod pods;
pub mod poolers;
pub mod read;

use std::time::Duration;

/// Deadline of one request: the API server answers in milliseconds or not at all; watches and
/// waits are loops of requests, never long ones.
pub const REQUEST: Duration = Duration::from_secs(15);

/// A request to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The server answered with an error, or could not be reached.
    #[error("the API server refused to {what}")]
    Api {
        /// What was asked.
        what: String,
        /// Cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("the API server did not {what} within {} s", REQUEST.as_secs())]
    Timeout {
        /// What was asked.
        what: String,
    },
}

impl RequestError {
    /// The object is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Somebody else changed the object, or it is there already.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Timeout { .. } => None,
        }
    }

    /// Repeating the request may help: the server was busy, away, or another writer was faster.
    pub fn is_passing(&self) -> bool {
        match self.status() {
            Some(code) => code == 409 || code == 429 || code >= 500,
            None => true,
        }
    }
}

/// One request with its deadline.
pub async fn request<T>(
    what: impl Into<String>,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(REQUEST, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) => Err(RequestError::Api {
            what: what.into(),
            source: Box::new(e),
        }),
        Err(_) => Err(RequestError::Timeout { what: what.into() }),
    }
}

/// Like [`request`]; an object that is not there is `None`.
pub async fn find<T>(
    what: impl Into<String>,
    call: impl Future<Output = Result<Option<T>, kube::Error>>,
) -> Result<Option<T>, RequestError> {
    request(what, call).await
}
