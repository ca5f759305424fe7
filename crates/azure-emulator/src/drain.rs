//! Emptying a node through the eviction API, and asking whether a budget would let its pods go.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{EvictParams, ListParams, PostParams};

use crate::nodes::{Nodes, POLL};

/// A refused eviction is tried again after this long, as kubectl does.
const EVICT_AGAIN: Duration = Duration::from_secs(5);

/// Why a drain ended early.
#[derive(Debug)]
pub(crate) enum DrainError {
    Stopped,
    Blocked(String),
    Unanswered(kube::Error),
}

impl Nodes<'_> {
    /// Evicts every pod of a node, DaemonSet pods and mirror pods excepted, and waits until they are gone.
    pub(crate) async fn drain(&self, name: &str, deadline: Duration) -> Result<(), DrainError> {
        let end = self.clock.now() + deadline;
        let mut refused: BTreeMap<String, (Timestamp, String)> = BTreeMap::new();
        loop {
            let left = self.evictable(name).await.map_err(DrainError::Unanswered)?;
            if left.is_empty() {
                return Ok(());
            }
            for pod in left
                .iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            {
                let key = full_name(pod);
                let again = |at: &Timestamp| *at + EVICT_AGAIN <= self.clock.now();
                if refused.get(&key).is_some_and(|(at, _)| !again(at)) {
                    continue;
                }
                if let Some(why) = self
                    .evict(pod, false)
                    .await
                    .map_err(DrainError::Unanswered)?
                {
                    refused.insert(key, (self.clock.now(), why));
                }
            }
            if self.clock.now() >= end {
                let last = refused.iter().next_back();
                let (pod, why) = last
                    .map_or(("its pods", "not gone in time"), |(pod, (_, why))| {
                        (pod, why)
                    });
                return Err(DrainError::Blocked(format!(
                    "Drain node {name} failed when evicting pod {pod} failed with Too Many Requests error. This is often \
                     caused by a restrictive Pod Disruption Budget (PDB) policy. PDB debug info: {pod}: {why}"
                )));
            }
            if !self.pause(POLL).await {
                return Err(DrainError::Stopped);
            }
        }
    }

    /// A pod on one of these nodes that its budget does not let go now, with the budget's refusal.
    ///
    /// Asked by a dry run of the eviction, so the API server itself decides.
    pub(crate) async fn protected(&self, names: &[String]) -> Result<Option<String>, kube::Error> {
        for name in names {
            for pod in self.evictable(name).await? {
                if let Some(why) = self.evict(&pod, true).await? {
                    return Ok(Some(format!("{}: {why}", full_name(&pod))));
                }
            }
        }
        Ok(None)
    }

    async fn evictable(&self, node: &str) -> Result<Vec<Pod>, kube::Error> {
        let Some(client) = self.kube else {
            return Ok(Vec::new());
        };
        let all: Api<Pod> = Api::all(client.clone());
        let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let pods = self.insist(|| all.list(&on_node)).await?;
        Ok(pods.items.into_iter().filter(must_leave).collect())
    }

    /// Evicts a pod, or asks whether it could be. The budget's refusal comes back as text.
    async fn evict(&self, pod: &Pod, dry_run: bool) -> Result<Option<String>, kube::Error> {
        let (Some(client), Some(name)) = (self.kube, &pod.metadata.name) else {
            return Ok(None);
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let params = EvictParams {
            delete_options: None,
            post_options: PostParams {
                dry_run,
                ..Default::default()
            },
        };
        match self.insist(|| api.evict(name, &params)).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 429 => Ok(Some(status.message.clone())),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn full_name(pod: &Pod) -> String {
    let (namespace, name) = (
        pod.metadata.namespace.as_deref(),
        pod.metadata.name.as_deref(),
    );
    format!(
        "{}/{}",
        namespace.unwrap_or_default(),
        name.unwrap_or_default()
    )
}

fn must_leave(pod: &Pod) -> bool {
    let mirror = pod
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key("kubernetes.io/config.mirror"));
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let daemon = owners
        .iter()
        .any(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true));
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    !mirror && !daemon && !matches!(phase, Some("Succeeded" | "Failed"))
}
