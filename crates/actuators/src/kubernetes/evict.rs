//! Eviction, and nothing stronger: a budget's no is an answer, not an obstacle.

use ferriswheel_plan::ids::{ObjectRef, Uid};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, EvictParams, Preconditions};

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
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let params = EvictParams {
        delete_options: Some(DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.as_str().to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        }),
        ..EvictParams::default()
    };
    match request(format!("evict {pod}"), pods.evict(&pod.name, &params)).await {
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
