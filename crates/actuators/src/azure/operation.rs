//! Long-running operations.
//!
//! # Source
//! Resource Manager, "Track asynchronous operations": `Azure-AsyncOperation` if present, else
//! `Location`, else the resource's own `provisioningState`; `Retry-After` between two looks;
//! Succeeded, Failed and Canceled are terminal; a state that is absent means finished and
//! succeeded.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::ArmError;
use super::request::{Answer, Sender, error_of, header, request_id, retry_after};

/// Time between two looks at an operation when ARM gives no hint.
const POLL: Duration = Duration::from_secs(5);

/// How an operation is followed.
enum Trail {
    /// The status document of `Azure-AsyncOperation`.
    Status(String),
    /// 202 until it is over.
    Location(String),
    /// The resource itself.
    Resource(String),
}

/// Follows the operation that `answer` began to its end.
///
/// `resource` is the URL of the resource that a PUT wrote; nothing for other methods.
pub(super) async fn follow(
    sender: &Sender,
    what: &str,
    answer: Answer,
    resource: Option<&str>,
    deadline: Duration,
) -> Result<(), ArmError> {
    let end = Instant::now() + deadline;
    let Some(mut trail) = trail(&answer, resource) else {
        return state_of(what, &answer).map(drop);
    };
    let mut wait = retry_after(&answer.headers).unwrap_or(POLL);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ArmError::OperationSlow {
                what: what.to_owned(),
                after: deadline,
            });
        }
        sleep(wait.min(left)).await;
        let (Trail::Status(url) | Trail::Location(url) | Trail::Resource(url)) = &trail;
        let looked = sender.send(what, Method::GET, url, None, &[]).await;
        let answer = match looked {
            Ok(answer) => answer,
            // ARM keeps status documents for a while only; the resource outlives them.
            Err(ArmError::Refused { status: 404, .. }) => match (&trail, resource) {
                (Trail::Status(_) | Trail::Location(_), Some(resource)) => {
                    trail = Trail::Resource(resource.to_owned());
                    continue;
                }
                _ => {
                    return Err(ArmError::OperationLost {
                        what: what.to_owned(),
                    });
                }
            },
            Err(error) => match error.retry_after() {
                Some(after) => {
                    wait = after;
                    continue;
                }
                None => return Err(error),
            },
        };
        wait = retry_after(&answer.headers).unwrap_or(POLL);
        let over = match &trail {
            Trail::Status(_) => status_of(what, &answer)?,
            Trail::Location(_) => answer.status != StatusCode::ACCEPTED,
            Trail::Resource(_) => state_of(what, &answer)?,
        };
        if over {
            return Ok(());
        }
    }
}

fn trail(answer: &Answer, resource: Option<&str>) -> Option<Trail> {
    if let Some(url) = header(&answer.headers, "azure-asyncoperation") {
        return Some(Trail::Status(url));
    }
    // Only a 202 is followed by Location: on a 201 it may name the resource that was created.
    if let Some(url) = header(&answer.headers, "location")
        && answer.status == StatusCode::ACCEPTED
    {
        return Some(Trail::Location(url));
    }
    let under_way = provisioning_state(&answer.json).is_some_and(|state| !is_terminal(state));
    resource
        .filter(|_| under_way)
        .map(|url| Trail::Resource(url.to_owned()))
}

fn is_terminal(state: &str) -> bool {
    ["succeeded", "failed", "canceled"].contains(&state.to_ascii_lowercase().as_str())
}

fn provisioning_state(json: &Value) -> Option<&str> {
    json.pointer("/properties/provisioningState")?.as_str()
}

/// Whether a status document says that the operation is over; an error if it ended badly.
fn status_of(what: &str, answer: &Answer) -> Result<bool, ArmError> {
    let Some(status) = answer.json.get("status").and_then(Value::as_str) else {
        return Err(ArmError::Unreadable {
            what: what.to_owned(),
            why: "the status document has no status".to_owned(),
        });
    };
    let (code, message) = error_of(&answer.json);
    ended(what, status, answer, code, message)
}

/// The same by the resource's provisioning state.
fn state_of(what: &str, answer: &Answer) -> Result<bool, ArmError> {
    let Some(state) = provisioning_state(&answer.json) else {
        return Ok(true);
    };
    let error = answer.json.pointer("/properties/status/provisioningError");
    let (code, message) = error.map(error_of).unwrap_or_default();
    ended(what, state, answer, code, message)
}

fn ended(
    what: &str,
    state: &str,
    answer: &Answer,
    code: String,
    message: String,
) -> Result<bool, ArmError> {
    if !is_terminal(state) {
        return Ok(false);
    }
    if state.eq_ignore_ascii_case("succeeded") {
        return Ok(true);
    }
    Err(ArmError::OperationFailed {
        what: what.to_owned(),
        status: state.to_owned(),
        code,
        message,
        request_id: request_id(&answer.headers),
    })
}
