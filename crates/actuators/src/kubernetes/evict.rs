//! Eviction, and nothing stronger: a budget's no is an answer, not an obstacle.

use ferriswheel_plan::ids::{ObjectRef, Uid};
use serde_json::{Value, json};

use super::{RequestError, request};

/// What became of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The pod is being deleted.
    Accepted,
    /// The pod is gone, or another pod has its name now.
    Gone,
    /// A budget says no for now.
    Blocked(String),
    /// The budgets contradict each other; waiting does not help.
    Misconfigured(String),
}

/// Asks for the eviction of exactly this pod.
///
/// # Source
/// The eviction subresource answers 429 when a budget has no disruption left, 500 when more than
/// one budget selects the pod, 404 when the pod is gone, 409 when the UID differs.
pub async fn evict(
    client: &kube::Client,
    pod: &ObjectRef,
    uid: &Uid,
) -> Result<Eviction, RequestError> {
    let what = format!("evict {pod}");
    // kube's own `evict` writes the options under a key that the API server does not know, and the
    // precondition is lost: the body is written here.
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": pod.namespace, "name": pod.name},
        "deleteOptions": {"preconditions": {"uid": uid.as_str()}},
    });
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/eviction",
        pod.namespace, pod.name
    );
    let asked = async {
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|e| kube::Error::BuildRequest(kube::core::request::Error::BuildRequest(e)))?;
        client.request::<Value>(request).await
    };
    match request(what, asked).await {
        Ok(_) => Ok(Eviction::Accepted),
        Err(e) => match e.status() {
            Some(404 | 409) => Ok(Eviction::Gone),
            Some(429) => Ok(Eviction::Blocked(message(&e))),
            Some(500) if message(&e).contains("more than one PodDisruptionBudget") => {
                Ok(Eviction::Misconfigured(message(&e)))
            }
            _ => Err(e),
        },
    }
}

fn message(error: &RequestError) -> String {
    match error {
        RequestError::Api { source, .. } => match source.as_ref() {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        },
        RequestError::Timeout { .. } => error.to_string(),
    }
}
