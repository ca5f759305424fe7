//! One request: token, deadline, and what the answer's envelope says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;
use tokio::time::Instant;

use super::{ArmError, ArmSettings};

/// The stable API that the fields read here belong to.
pub(super) const API_VERSION: &str = "2026-08-01";

/// Deadline of one request: ARM's own front end gives up after 60 s.
pub(super) const REQUEST: Duration = Duration::from_secs(60);

/// Deadline of a connection's handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// Sends requests that carry a token.
#[derive(Clone)]
pub(super) struct Sender {
    http: reqwest::Client,
    credential: Arc<dyn TokenCredential>,
    scope: String,
    endpoint: Url,
    /// By method, because ARM counts reads and writes apart: nothing is sent before.
    held: Arc<Mutex<BTreeMap<String, Held>>>,
}

/// ARM said when it may be asked again.
#[derive(Clone)]
struct Held {
    until: Instant,
    code: String,
    message: String,
    request_id: String,
}

/// A successful answer.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub json: Value,
}

impl Sender {
    pub(super) fn new(
        settings: &ArmSettings,
        http: reqwest::Client,
        credential: Arc<dyn TokenCredential>,
    ) -> Result<Self, ArmError> {
        let endpoint = Url::parse(&settings.endpoint).map_err(|e| ArmError::Unreadable {
            what: format!("use the endpoint {}", settings.endpoint),
            why: e.to_string(),
        })?;
        Ok(Self {
            http,
            credential,
            scope: settings.scope.clone(),
            endpoint,
            held: Arc::default(),
        })
    }

    /// The refusal that still stands, as ARM gave it, with the time that is left: whoever asks too
    /// early only makes the waiting longer.
    fn refusal_in_force(&self, what: &str, method: &Method) -> Option<ArmError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = held.get(method.as_str())?.clone();
        let left = refusal.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            held.remove(method.as_str());
            return None;
        }
        Some(ArmError::Refused {
            what: what.to_owned(),
            status: StatusCode::TOO_MANY_REQUESTS.as_u16(),
            code: refusal.code,
            message: refusal.message,
            request_id: refusal.request_id,
            retry_after: Some(left),
        })
    }

    fn hold(&self, method: &Method, after: Duration, json: &Value, headers: &HeaderMap) {
        let (code, message) = error_of(json);
        let refusal = Held {
            until: Instant::now() + after,
            code,
            message,
            request_id: request_id(headers),
        };
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(method.as_str().to_owned(), refusal);
    }

    pub(super) async fn send(
        &self,
        what: &str,
        method: Method,
        url: &str,
        body: Option<&Value>,
        headers: &[(&'static str, &str)],
    ) -> Result<Answer, ArmError> {
        let url = trusted(&self.endpoint, what, url)?;
        if let Some(refusal) = self.refusal_in_force(what, &method) {
            return Err(refusal);
        }
        let scopes = [self.scope.as_str()];
        let token = tokio::time::timeout(REQUEST, self.credential.get_token(&scopes, None))
            .await
            .map_err(|_| ArmError::TokenSlow { after: REQUEST })?
            .map_err(ArmError::Token)?;
        let mut request = self
            .http
            .request(method.clone(), url)
            .bearer_auth(token.token.secret());
        for (name, value) in headers {
            request = request.header(HeaderName::from_static(name), *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |source: reqwest::Error| ArmError::Unreachable {
            what: what.to_owned(),
            source: source.without_url(),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let headers = answer.headers().clone();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        let json: Value = if bytes.is_empty() {
            Value::Null
        } else {
            match serde_json::from_slice(&bytes) {
                Ok(json) => json,
                // A gateway's error page is no JSON; its status says enough.
                Err(_) if !status.is_success() => Value::Null,
                Err(e) => {
                    return Err(ArmError::Unreadable {
                        what: what.to_owned(),
                        why: e.to_string(),
                    });
                }
            }
        };
        if status.is_success() {
            return Ok(Answer {
                status,
                headers,
                json,
            });
        }
        if let (StatusCode::TOO_MANY_REQUESTS, Some(after)) = (status, retry_after(&headers)) {
            self.hold(&method, after, &json, &headers);
        }
        let (code, message) = error_of(&json);
        Err(ArmError::Refused {
            what: what.to_owned(),
            status: status.as_u16(),
            code,
            message,
            request_id: request_id(&headers),
            retry_after: retry_after(&headers),
        })
    }
}

/// An address that ARM named is followed only within ARM: the request carries a token.
fn trusted(endpoint: &Url, what: &str, url: &str) -> Result<Url, ArmError> {
    let url = endpoint.join(url).map_err(|e| ArmError::Unreadable {
        what: what.to_owned(),
        why: e.to_string(),
    })?;
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let own = endpoint.host_str().unwrap_or_default().to_ascii_lowercase();
    // Regional front ends are `<region>.management.azure.com`.
    let within = host == own || host.ends_with(&format!(".{own}"));
    let same_port = url.port_or_known_default() == endpoint.port_or_known_default();
    if within && same_port && url.scheme() == endpoint.scheme() {
        return Ok(url);
    }
    Err(ArmError::ForeignHost {
        what: what.to_owned(),
        host,
    })
}

/// An HTTP client with deadlines, without redirects, trusting `extra_ca` beside the system's.
pub(super) fn http_client(extra_ca: Option<&[u8]>) -> Result<reqwest::Client, ArmError> {
    let unusable = |source| ArmError::Unreachable {
        what: "set up TLS".to_owned(),
        source,
    };
    let mut builder = reqwest::Client::builder()
        .timeout(REQUEST)
        .connect_timeout(CONNECT)
        .redirect(Policy::none())
        .user_agent(concat!("ferriswheel/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = extra_ca {
        for certificate in reqwest::Certificate::from_pem_bundle(pem).map_err(unusable)? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(unusable)
}

/// Code and message of an error body.
///
/// # Source
/// ARM wraps them in `error`; the resource provider of AKS answers `{code, details, message,
/// subcode}` without a wrapper (seen in many reported answers).
pub(super) fn error_of(json: &Value) -> (String, String) {
    let error = json.get("error").filter(|e| e.is_object()).unwrap_or(json);
    let text = |key: &str| {
        error
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    (text("code"), text("message"))
}

pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

pub(super) fn request_id(headers: &HeaderMap) -> String {
    header(headers, "x-ms-request-id").unwrap_or_default()
}

/// `Retry-After` in seconds; ARM sends no dates.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    header(headers, "retry-after")?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use reqwest::Url;
    use serde_json::json;

    use super::{error_of, trusted};
    use crate::azure::ArmError;

    #[test]
    fn a_token_stays_within_arm() {
        let endpoint = Url::parse("https://management.azure.com").expect("a URL");
        for url in [
            "https://management.azure.com/subscriptions/s/operations/1?api-version=2018-07-31",
            "https://EastUS.management.azure.com/operations/1",
        ] {
            assert!(trusted(&endpoint, "look", url).is_ok(), "{url}");
        }
        for url in [
            "https://evilmanagement.azure.com/operations/1",
            "https://management.azure.com.evil.example/operations/1",
            "http://management.azure.com/operations/1",
            "https://management.azure.com:8443/operations/1",
        ] {
            let refused = trusted(&endpoint, "look", url);
            assert!(
                matches!(refused, Err(ArmError::ForeignHost { .. })),
                "{url}"
            );
        }
    }

    #[test]
    fn both_shapes_of_errors_are_read() {
        let expected = ("Throttled".to_owned(), "wait".to_owned());
        assert_eq!(
            error_of(&json!({"error": {"code": "Throttled", "message": "wait"}})),
            expected
        );
        assert_eq!(
            error_of(
                &json!({"code": "Throttled", "details": null, "message": "wait", "subcode": ""})
            ),
            expected
        );
        assert_eq!(error_of(&json!(null)), Default::default());
    }
}
