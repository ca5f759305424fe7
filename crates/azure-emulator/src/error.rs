//! Errors as they look on the wire.
//!
//! Two shapes exist and clients meet both: Azure Resource Manager itself answers `{"error":{code,message}}`, the
//! resource provider of AKS answers the flat `{code,details,message,subcode}`.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// A refusal of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArmError {
    /// HTTP status.
    pub status: StatusCode,
    /// Error code.
    pub code: String,
    /// Text for people.
    pub message: String,
    /// Property or resource at fault.
    pub target: Option<String>,
    /// Value of the Retry-After header.
    pub retry_after: Option<Duration>,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    ResourceManager,
    ResourceProvider,
}

impl ArmError {
    /// A refusal by Azure Resource Manager, before the resource provider sees the request.
    pub fn front(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            target: None,
            retry_after: None,
            shape: Shape::ResourceManager,
        }
    }

    /// A refusal by the resource provider of AKS.
    pub fn aks(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            shape: Shape::ResourceProvider,
            ..Self::front(status, code, message)
        }
    }

    /// 400 by the resource provider.
    pub fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::aks(StatusCode::BAD_REQUEST, code, message)
    }

    /// Names the property at fault.
    #[must_use]
    pub fn on(mut self, target: &str) -> Self {
        self.target = Some(target.to_owned());
        self
    }

    /// Adds Retry-After.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What the emulator does not do, said plainly instead of imitated.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::bad_request(
            "NotSupportedByEmulator",
            format!("the practice Azure does not do this: {}", what.into()),
        )
    }
}

impl IntoResponse for ArmError {
    fn into_response(self) -> Response {
        let body = match self.shape {
            Shape::ResourceManager => {
                let mut error = json!({"code": self.code, "message": self.message});
                if let Some(target) = &self.target {
                    error["target"] = json!(target);
                }
                json!({ "error": error })
            }
            Shape::ResourceProvider => {
                let mut error = json!({"code": self.code, "details": null, "message": self.message, "subcode": ""});
                if let Some(target) = &self.target {
                    error["target"] = json!(target);
                }
                error
            }
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(wait) = self.retry_after {
            // Whole seconds on the wire, rounded up: a client that obeys is never early.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer error=\"invalid_token\""),
            );
        }
        response
    }
}
