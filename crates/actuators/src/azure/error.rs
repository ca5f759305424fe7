//! What ARM may answer instead of what was asked.

use std::time::Duration;

/// ARM without a hint: its own default for polling is 30 s, a tenth of it keeps the waiting short
/// without filling a throttling bucket (20 calls burst, 1 a minute).
const AGAIN: Duration = Duration::from_secs(3);

/// Time before a resource that changed under the write is read again: the other writer is done.
const REREAD: Duration = Duration::from_millis(200);

/// A call to ARM failed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// No token.
    #[error("no token for ARM")]
    Token(#[source] azure_core::Error),
    /// No token in time.
    #[error("no token for ARM within {} s", .after.as_secs())]
    TokenSlow {
        /// Deadline.
        after: Duration,
    },
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
    #[error("the operation to {what} ended as {status}: {code}: {message} (request {request_id})")]
    OperationFailed {
        /// What was asked.
        what: String,
        /// `Failed` or `Canceled`.
        status: String,
        /// Error code.
        code: String,
        /// Message.
        message: String,
        /// `x-ms-request-id` of the answer that said so.
        request_id: String,
    },
    /// A long-running operation did not end in time; it may still.
    #[error("the operation to {what} did not end within {} s", .after.as_secs())]
    OperationSlow {
        /// What was asked.
        what: String,
        /// Deadline.
        after: Duration,
    },
    /// ARM no longer knows the operation; the resource tells how it ended.
    #[error("ARM has forgotten the operation to {what}")]
    OperationLost {
        /// What was asked.
        what: String,
    },
    /// ARM named an address outside itself; the token is not sent there.
    #[error("ARM's answer to {what} leads to another host, {host}")]
    ForeignHost {
        /// What was asked.
        what: String,
        /// The host.
        host: String,
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

/// What may happen after a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same call again, not before this long.
    Retry {
        /// Not before.
        after: Duration,
    },
    /// Another operation must end first; then the same call again.
    Wait {
        /// How long until it is worth a look.
        after: Duration,
    },
    /// A person has to change something in Azure: quota, capacity, permission, a budget.
    Ask,
    /// Repeating cannot help.
    Fatal,
}

/// Codes that name a condition which a person clears; the same request may then succeed.
///
/// # Source
/// AKS support articles and the REST reference; `AuthorizationFailed` is ARM's own.
const ASK: [&str; 15] = [
    "QuotaExceeded",
    "ErrCode_InsufficientVCPUQuota",
    "SKUNotAvailable",
    "AllocationFailed",
    "ZonalAllocationFailed",
    "OverconstrainedAllocationRequest",
    "SubnetIsFull",
    "InsufficientSubnetSize",
    "AuthorizationFailed",
    "LinkedAuthorizationFailed",
    "ScopeLocked",
    "RequestDisallowedByPolicy",
    "UnsatisfiablePDB",
    "PodDrainFailure",
    "UpgradeFailed",
];

impl ArmError {
    /// What may happen next.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. } | Self::Token(_) | Self::TokenSlow { .. } => {
                Class::Retry { after: AGAIN }
            }
            Self::Refused {
                status,
                code,
                retry_after,
                ..
            } => {
                let after = retry_after.unwrap_or(AGAIN);
                match status {
                    409 if in_the_way(code) => Class::Wait { after },
                    // 408 and 429 by definition, 5xx because ARM's writes are idempotent.
                    408 | 429 | 500..=599 => Class::Retry { after },
                    412 => Class::Retry { after: REREAD },
                    401 | 403 => Class::Ask,
                    _ if ASK.contains(&code.as_str()) => Class::Ask,
                    _ => Class::Fatal,
                }
            }
            Self::OperationSlow { .. } | Self::OperationLost { .. } => Class::Wait { after: AGAIN },
            Self::OperationFailed { code, .. } if in_the_way(code) => Class::Wait { after: AGAIN },
            // AKS: "fix the cause, then put the same again": the cause is outside of the request.
            Self::OperationFailed { .. } => Class::Ask,
            Self::ForeignHost { .. } | Self::Unreadable { .. } => Class::Fatal,
        }
    }

    /// How long to wait before the same call may be made again; `None` if repeating cannot help by
    /// itself.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.class() {
            Class::Retry { after } | Class::Wait { after } => Some(after),
            Class::Ask | Class::Fatal => None,
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

fn in_the_way(code: &str) -> bool {
    code == "OperationNotAllowed" || code.starts_with("AKSOperationPreempted")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ArmError, Class};

    fn refused(status: u16, code: &str, retry_after: Option<u64>) -> Class {
        ArmError::Refused {
            what: "put pool db".to_owned(),
            status,
            code: code.to_owned(),
            message: String::new(),
            request_id: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
        .class()
    }

    #[test]
    fn a_refusal_says_what_may_happen_next() {
        let retry = |s| Class::Retry {
            after: Duration::from_secs(s),
        };
        assert_eq!(refused(429, "Throttled", Some(17)), retry(17));
        assert_eq!(refused(503, "", None), retry(3));
        assert_eq!(
            refused(409, "OperationNotAllowed", None),
            Class::Wait {
                after: Duration::from_secs(3)
            }
        );
        // The same code with another status refuses a version, and waiting does not help.
        assert_eq!(refused(400, "OperationNotAllowed", None), Class::Fatal);
        assert_eq!(refused(400, "QuotaExceeded", None), Class::Ask);
        assert_eq!(refused(403, "AuthorizationFailed", None), Class::Ask);
        assert_eq!(refused(400, "PropertyChangeNotAllowed", None), Class::Fatal);
    }
}
