//! What may happen after each kind of failed call.

use std::time::Duration;

use ferriswheel_engine::actuator::ActError;
use http::StatusCode;

use super::class;
use crate::azure::ArmError;
use crate::databases::postgres::server::ServerError;
use crate::http::CallError;
use crate::kubernetes::RequestError;
use crate::world::AskError;

#[derive(Debug, PartialEq)]
enum Next {
    Retry(Duration),
    Replan,
    Ask(String),
    Fatal(String),
    Other,
}

fn next(error: impl Into<AskError>) -> Next {
    let error = error.into();
    let line = error.line();
    match class(error) {
        ActError::Retry { after, cause } => {
            assert_eq!(cause, line, "the reason is told");
            Next::Retry(after)
        }
        ActError::Replan { .. } => Next::Replan,
        ActError::AskHuman { code, cause } => {
            assert_eq!(cause, line, "the reason is told");
            Next::Ask(code)
        }
        ActError::Fatal { code, .. } => Next::Fatal(code),
        ActError::Wait(_) => Next::Other,
    }
}

fn arm(status: u16, code: &str, retry_after: Option<u64>) -> ArmError {
    ArmError::Refused {
        what: "put pool db".to_owned(),
        status,
        code: code.to_owned(),
        message: String::new(),
        request_id: String::new(),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

fn operation(code: &str) -> ArmError {
    ArmError::OperationFailed {
        what: "put pool db".to_owned(),
        status: "Failed".to_owned(),
        code: code.to_owned(),
        message: String::new(),
        request_id: String::new(),
    }
}

#[test]
fn what_azure_answers_is_tried_again_asked_of_a_person_or_given_up() {
    let retry = |s| Next::Retry(Duration::from_secs(s));
    let ask = || Next::Ask("FW0308".to_owned());
    let fatal = || Next::Fatal("FW0301".to_owned());
    let what = || "put pool db".to_owned();
    let table = [
        (arm(429, "TooManyRequests", Some(17)), retry(17)),
        (arm(503, "ServerBusy", None), retry(3)),
        (arm(409, "OperationNotAllowed", Some(5)), retry(5)),
        (
            arm(412, "PreconditionFailed", None),
            Next::Retry(Duration::from_millis(200)),
        ),
        (
            ArmError::TokenSlow {
                after: Duration::from_secs(9),
            },
            retry(3),
        ),
        (
            ArmError::OperationSlow {
                what: what(),
                after: Duration::from_secs(9),
            },
            retry(3),
        ),
        (ArmError::OperationLost { what: what() }, retry(3)),
        (operation("AKSOperationPreempted"), retry(3)),
        (arm(401, "ExpiredAuthenticationToken", None), ask()),
        (arm(403, "AuthorizationFailed", None), ask()),
        (arm(409, "ScopeLocked", None), ask()),
        (arm(400, "QuotaExceeded", None), ask()),
        (arm(400, "ErrCode_InsufficientVCPUQuota", None), ask()),
        (arm(400, "SKUNotAvailable", None), ask()),
        (operation("ZonalAllocationFailed"), ask()),
        (operation("SubnetIsFull"), ask()),
        (arm(400, "PropertyChangeNotAllowed", None), fatal()),
        (arm(404, "ResourceNotFound", None), fatal()),
        (
            ArmError::ForeignHost {
                what: what(),
                host: "elsewhere".to_owned(),
            },
            fatal(),
        ),
        (
            ArmError::Unreadable {
                what: what(),
                why: "no JSON".to_owned(),
            },
            fatal(),
        ),
    ];
    for (error, expected) in table {
        let told = error.to_string();
        assert_eq!(next(error), expected, "{told}");
    }
}

#[test]
fn what_the_cluster_and_its_pods_answer_is_classed_alike() {
    let again = || Next::Retry(Duration::from_secs(1));
    let fatal = || Next::Fatal("FW0301".to_owned());
    let refused = |status| CallError::Refused {
        target: "db/agent".to_owned(),
        status,
        body: String::new(),
    };
    let api = |code: u16, reason: &str| RequestError::Api {
        what: "delete pod pg-0".to_owned(),
        source: Box::new(kube::Error::Api(Box::new(
            kube::core::Status::failure("no", reason).with_code(code),
        ))),
    };
    let table: Vec<(AskError, Next)> = vec![
        (
            AskError::Absent {
                what: "stateful set db/pg".to_owned(),
            },
            Next::Replan,
        ),
        (
            AskError::File {
                path: "/nonexistent".into(),
                source: std::io::Error::other("read-only"),
            },
            fatal(),
        ),
        (
            CallError::Timeout {
                target: "db/agent".to_owned(),
                after: Duration::from_secs(1),
            }
            .into(),
            again(),
        ),
        (refused(StatusCode::SERVICE_UNAVAILABLE).into(), again()),
        (refused(StatusCode::BAD_REQUEST).into(), fatal()),
        (api(503, "ServiceUnavailable").into(), again()),
        (api(429, "TooManyRequests").into(), again()),
        (api(403, "Forbidden").into(), fatal()),
        (
            ServerError::Unexpected {
                server: "db/pg-0".to_owned(),
                what: "two rows".to_owned(),
            }
            .into(),
            fatal(),
        ),
    ];
    for (error, expected) in table {
        let told = error.line();
        assert_eq!(next(error), expected, "{told}");
    }
}
