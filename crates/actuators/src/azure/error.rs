//! What ARM may answer instead of what was asked.

use std::time::Duration;

/// A call to ARM failed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// No token.
    #[error("no token for ARM")]
    Token(#[source] azure_core::Error),
    /// No connection, or it broke.
    #[error("ARM could not be reached to {what}")]
    Unreachable {
        /// What was asked.
        what: String,
        /// Cause.
        #[source]
        source: reqwest::Error,
    },
    /// ARM answered with an error.
    #[error("ARM refused to {what}: {status} {code}: {message} (request {request_id})")]
    Refused {
        /// What was asked.
        what: String,
        /// HTTP status.
        status: u16,
        /// Error code of the body.
        code: String,
        /// Message of the body.
        message: String,
        /// `x-ms-request-id`.
        request_id: String,
        /// `Retry-After`, if ARM gave one.
        retry_after: Option<Duration>,
    },
    /// A long-running operation ended badly.
    #[error("the operation to {what} ended as {status}: {code}: {message}")]
    OperationFailed {
        /// What was asked.
        what: String,
        /// `Failed` or `Canceled`.
        status: String,
        /// Error code.
        code: String,
        /// Message.
        message: String,
    },
    /// A long-running operation did not end in time; it may still.
    #[error("the operation to {what} did not end within {} s", .after.as_secs())]
    OperationSlow {
        /// What was asked.
        what: String,
        /// Deadline.
        after: Duration,
    },
    /// The answer cannot be read.
    #[error("ARM's answer to {what} cannot be read: {why}")]
    Unreadable {
        /// What was asked.
        what: String,
        /// Why.
        why: String,
    },
}

impl ArmError {
    /// How long to wait before the same call may be made again; `None` if repeating cannot help.
    pub fn retry_after(&self) -> Option<Duration> {
        /// ARM without a hint: its own default for polling is 30 s, a tenth of it keeps the
        /// waiting short without filling a throttling bucket (20 calls burst, 1 a minute).
        const DEFAULT: Duration = Duration::from_secs(3);
        match self {
            Self::Unreachable { .. } | Self::Token(_) => Some(DEFAULT),
            Self::Refused {
                status,
                code,
                retry_after,
                ..
            } => match status {
                429 | 500..=599 => Some(retry_after.unwrap_or(DEFAULT)),
                409 if code == "OperationNotAllowed" || code.starts_with("AKSOperationPreempted") => {
                    Some(retry_after.unwrap_or(DEFAULT))
                }
                // The resource changed between read and write: read again.
                412 => Some(Duration::from_millis(200)),
                _ => None,
            },
            Self::OperationSlow { .. } => Some(DEFAULT),
            Self::OperationFailed { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// ARM's error code, if it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } | Self::OperationFailed { code, .. } => Some(code),
            _ => None,
        }
    }
}
