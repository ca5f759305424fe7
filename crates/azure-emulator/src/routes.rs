//! The wire: one fallback handler that reads paths without regard to case, as Azure Resource Manager does.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::emulator::{Emulator, Inner};
use crate::error::ArmError;
use crate::state::Operation;
use crate::throttle::Fault;

mod arm;
mod clusters;
mod login;
mod pools;
mod subscription;

/// A managed cluster as JSON is some tens of kilobytes; nothing a client sends is larger.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// The api-version of the operation URLs. It is not the one of the request: clients must follow the URL as it came.
const OPERATION_API_VERSION: &str = "2018-07-31";

impl Emulator {
    /// The service, to be put behind TLS by whoever owns the socket.
    pub fn router(&self) -> Router {
        Router::new()
            .fallback(serve)
            .with_state(Arc::clone(&self.inner))
    }
}

/// A request, read whole.
struct Call {
    method: Method,
    /// The path as it came.
    path: String,
    /// Its segments as they came.
    segments: Vec<String>,
    /// The same in lower case, to match against.
    lower: Vec<String>,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
    /// `https://host:port`, as the client sees it.
    base: String,
}

impl Call {
    async fn read(request: Request) -> Result<Self, ArmError> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, LARGEST_BODY).await.map_err(|_| {
            ArmError::front(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestContentTooLarge",
                "The request is too large.",
            )
        })?;
        let path = parts.uri.path().to_owned();
        let segments: Vec<String> = path
            .split('/')
            .filter(|s| !s.is_empty())
            .map(decode)
            .collect();
        let lower = segments.iter().map(|s| s.to_ascii_lowercase()).collect();
        let host = parts
            .headers
            .get(header::HOST)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let host = host
            .or_else(|| parts.uri.authority().map(ToString::to_string))
            .unwrap_or_default();
        Ok(Self {
            method: parts.method,
            segments,
            lower,
            query: form(parts.uri.query().unwrap_or_default()),
            headers: parts.headers,
            body,
            base: format!("https://{host}"),
            path,
        })
    }

    fn json(&self) -> Result<Value, ArmError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let text = format!(
                "The request content was invalid and could not be deserialized: '{error}'."
            );
            ArmError::front(StatusCode::BAD_REQUEST, "InvalidRequestContent", text)
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A parameter of the query; names without regard to case.
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// `If-Match` and `If-None-Match` against a resource's eTag, none if it does not exist.
    fn check_etag(&self, current: Option<&str>) -> Result<(), ArmError> {
        let bare = |text: &str| {
            text.trim()
                .trim_start_matches("W/")
                .trim_matches('"')
                .to_owned()
        };
        let refused = |text: String| {
            Err(ArmError::aks(
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailed",
                text,
            ))
        };
        if let Some(wanted) = self
            .header("if-match")
            .map(bare)
            .filter(|wanted| !wanted.is_empty())
        {
            match current {
                None => {
                    return refused(
                        "The resource does not exist, so no eTag matches If-Match.".to_owned(),
                    );
                }
                Some(etag) if wanted != "*" && wanted != etag => {
                    return refused(format!(
                        "The eTag '{wanted}' of If-Match does not match the current eTag '{etag}'."
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(unwanted) = self
            .header("if-none-match")
            .map(bare)
            .filter(|text| !text.is_empty())
            && let Some(etag) = current
            && (unwanted == "*" || unwanted == etag)
        {
            return refused(
                "The resource exists, but If-None-Match asks for its absence.".to_owned(),
            );
        }
        Ok(())
    }
}

/// An answer.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Reply {
    fn ok(body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            headers: Vec::new(),
            body: Some(body),
        }
    }

    fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: None,
        }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds what a client follows a long-running operation by.
    fn following(self, inner: &Inner, call: &Call, operation: &Operation, location: bool) -> Self {
        let seconds = inner.seed.timings.retry_after.as_secs().max(1);
        let root = format!(
            "{}/subscriptions/{}/providers/Microsoft.ContainerService/locations/{}",
            call.base, inner.seed.subscription_id, inner.seed.location
        );
        let id = &operation.id;
        let version = OPERATION_API_VERSION;
        let reply = self
            .header(
                "azure-asyncoperation",
                format!("{root}/operations/{id}?api-version={version}"),
            )
            .header("retry-after", seconds.to_string());
        if location {
            reply.header(
                "location",
                format!("{root}/operationresults/{id}?api-version={version}"),
            )
        } else {
            reply
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => (self.status, axum::Json(body)).into_response(),
            None => self.status.into_response(),
        };
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

async fn serve(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(error) => return error.into_response(),
    };
    let mut response = answer(&inner, &call).await;
    let id = inner.world().random.uuid().to_string();
    for name in ["x-ms-request-id", "x-ms-correlation-request-id"] {
        if let Ok(value) = HeaderValue::from_str(&id) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(client_id) = call.headers.get("x-ms-client-request-id") {
        response
            .headers_mut()
            .insert("x-ms-client-request-id", client_id.clone());
    }
    tracing::debug!(method = %call.method, path = %call.path, status = response.status().as_u16(), "request");
    response
}

async fn answer(inner: &Arc<Inner>, call: &Call) -> Response {
    if call.lower.first().is_some_and(|first| first == "_faults") {
        return faults(inner, call)
            .map_or_else(IntoResponse::into_response, IntoResponse::into_response);
    }
    let subscription = &inner.seed.subscription_id;
    let refusal = inner
        .world()
        .faults
        .refusal(&call.method, &call.path, subscription);
    if let Some(refusal) = refusal {
        return refusal.into_response();
    }
    let response = match login::route(inner, call).await {
        Some(response) => response,
        None => arm::route(inner, call)
            .await
            .map_or_else(IntoResponse::into_response, IntoResponse::into_response),
    };
    if inner.world().faults.loses_reply(&call.method, &call.path) {
        let text = "The gateway did not receive a response within the specified time period.";
        return ArmError::front(StatusCode::GATEWAY_TIMEOUT, "GatewayTimeout", text)
            .into_response();
    }
    response
}

/// GET lists the armed faults, POST arms one, DELETE disarms all. No token: this is no part of Azure.
fn faults(inner: &Inner, call: &Call) -> Result<Reply, ArmError> {
    let mut world = inner.world();
    match call.method {
        Method::GET => Ok(Reply::ok(json!({ "value": world.faults.list() }))),
        Method::DELETE => {
            world.faults.clear();
            Ok(Reply::empty(StatusCode::NO_CONTENT))
        }
        Method::POST => {
            let fault: Fault = serde_json::from_value(call.json()?).map_err(|error| {
                ArmError::front(StatusCode::BAD_REQUEST, "InvalidFault", error.to_string())
            })?;
            world.faults.add(fault);
            Ok(Reply {
                status: StatusCode::CREATED,
                headers: Vec::new(),
                body: Some(json!({ "value": world.faults.list() })),
            })
        }
        _ => Err(arm::no_such_method(call)),
    }
}

/// `a=b&c=d` with percent escapes and plus signs.
fn form(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                decode(&key.replace('+', " ")),
                decode(&value.replace('+', " ")),
            )
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match escape
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{decode, form};

    #[test]
    fn escapes_are_undone() {
        assert_eq!(decode("a%20b%2Fc%zz"), "a b/c%zz");
        assert_eq!(
            form("a=1+2&b=%7E&c").get("a").map(String::as_str),
            Some("1 2")
        );
    }
}
