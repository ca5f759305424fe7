//! What the emulator does with Node objects: waiting for them, cordoning, draining through the eviction API, relabelling
//! and removing them. Without a Kubernetes client every call is a success that changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Taint as NodeTaint};
use kube::Api;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::machines::Taint;

/// How often a Node or a pod is looked at while something is waited for. The real service polls in seconds; a tenth of
/// that keeps practice short and the API server idle.
const POLL: Duration = Duration::from_millis(300);

/// One request to the Kubernetes API, whatever it is.
const REQUEST: Duration = Duration::from_secs(15);

/// A refused eviction is tried again after this long, as kubectl does.
const EVICT_AGAIN: Duration = Duration::from_secs(5);

/// Nodes through a Kubernetes client.
pub(crate) struct Nodes<'a> {
    pub kube: Option<&'a kube::Client>,
    pub clock: &'a dyn Clock,
    pub stop: &'a CancellationToken,
}

/// Why a drain ended early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DrainError {
    Stopped,
    Blocked(String),
}

impl Nodes<'_> {
    fn nodes(&self) -> Option<Api<Node>> {
        self.kube.map(|client| Api::all(client.clone()))
    }

    /// Sleeps, or returns false at once when the operation is stopped.
    async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = self.clock.sleep(duration) => true,
        }
    }

    /// Waits until the Node is Ready. False: not within the deadline, or stopped.
    pub(crate) async fn ready(&self, name: &str, deadline: Duration) -> bool {
        let Some(api) = self.nodes() else { return true };
        let end = self.clock.now() + deadline;
        while self.clock.now() < end {
            if let Ok(Ok(Some(node))) = tokio::time::timeout(REQUEST, api.get_opt(name)).await
                && is_ready(&node)
            {
                return true;
            }
            if !self.pause(POLL).await {
                return false;
            }
        }
        false
    }

    /// The cordoned ones among `names`.
    pub(crate) async fn cordoned(&self, names: &[String]) -> Vec<String> {
        let Some(api) = self.nodes() else {
            return Vec::new();
        };
        let Ok(Ok(list)) = tokio::time::timeout(REQUEST, api.list(&ListParams::default())).await
        else {
            return Vec::new();
        };
        let cordoned = |node: &Node| {
            node.spec
                .as_ref()
                .and_then(|s| s.unschedulable)
                .unwrap_or(false)
        };
        let found = list
            .items
            .iter()
            .filter(|node| cordoned(node))
            .filter_map(|node| node.metadata.name.clone());
        found.filter(|name| names.contains(name)).collect()
    }

    pub(crate) async fn cordon(&self, name: &str) {
        if let Some(api) = self.nodes()
            && let Ok(Err(error)) = tokio::time::timeout(REQUEST, api.cordon(name)).await
        {
            tracing::warn!(node = name, %error, "failed to cordon");
        }
    }

    /// Removes the Node object, as the cloud controller does for a machine that is gone.
    pub(crate) async fn remove(&self, name: &str) {
        let Some(api) = self.nodes() else { return };
        // A few attempts: a Node that stays behind would be taken for a machine.
        for _ in 0..5 {
            match tokio::time::timeout(REQUEST, api.delete(name, &DeleteParams::default())).await {
                Ok(Ok(_)) => return,
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => return,
                Ok(Err(error)) => {
                    tracing::warn!(node = name, %error, "failed to delete the Node object")
                }
                Err(_) => tracing::warn!(node = name, "deleting the Node object timed out"),
            }
            self.clock.sleep(Duration::from_secs(1)).await;
        }
    }

    /// Evicts every pod of a node through the eviction API, DaemonSet pods and mirror pods excepted, and waits until
    /// they are gone.
    pub(crate) async fn drain(&self, name: &str, deadline: Duration) -> Result<(), DrainError> {
        let Some(client) = self.kube else {
            return Ok(());
        };
        let all: Api<Pod> = Api::all(client.clone());
        let on_node = ListParams::default().fields(&format!("spec.nodeName={name}"));
        let end = self.clock.now() + deadline;
        let mut refused: BTreeMap<String, (jiff::Timestamp, String)> = BTreeMap::new();
        loop {
            if let Ok(Ok(pods)) = tokio::time::timeout(REQUEST, all.list(&on_node)).await {
                let left: Vec<&Pod> = pods.items.iter().filter(|pod| must_leave(pod)).collect();
                if left.is_empty() {
                    return Ok(());
                }
                for pod in left
                    .iter()
                    .filter(|pod| pod.metadata.deletion_timestamp.is_none())
                {
                    let (Some(namespace), Some(pod_name)) =
                        (&pod.metadata.namespace, &pod.metadata.name)
                    else {
                        continue;
                    };
                    let key = format!("{namespace}/{pod_name}");
                    if refused
                        .get(&key)
                        .is_some_and(|(at, _)| *at + EVICT_AGAIN > self.clock.now())
                    {
                        continue;
                    }
                    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
                    let evicted =
                        tokio::time::timeout(REQUEST, api.evict(pod_name, &EvictParams::default()))
                            .await;
                    match evicted {
                        Ok(Err(kube::Error::Api(status))) if status.code == 429 => {
                            refused.insert(key, (self.clock.now(), status.message.clone()));
                        }
                        Err(_) => {
                            let why = "the eviction was not answered".to_owned();
                            refused.insert(key, (self.clock.now(), why));
                        }
                        Ok(_) => {}
                    }
                }
            }
            if self.clock.now() >= end {
                let (pod, why) = refused
                    .iter()
                    .next_back()
                    .map_or(("its pods", "not gone in time"), |(pod, (_, why))| {
                        (pod.as_str(), why.as_str())
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
    pub(crate) async fn protected(&self, names: &[String]) -> Option<String> {
        let client = self.kube?;
        let all: Api<Pod> = Api::all(client.clone());
        for name in names {
            let on_node = ListParams::default().fields(&format!("spec.nodeName={name}"));
            let Ok(Ok(pods)) = tokio::time::timeout(REQUEST, all.list(&on_node)).await else {
                continue;
            };
            for pod in pods.items.iter().filter(|pod| must_leave(pod)) {
                let (Some(namespace), Some(pod_name)) =
                    (&pod.metadata.namespace, &pod.metadata.name)
                else {
                    continue;
                };
                let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
                let dry = EvictParams {
                    delete_options: None,
                    post_options: kube::api::PostParams {
                        dry_run: true,
                        ..Default::default()
                    },
                };
                if let Ok(Err(kube::Error::Api(status))) =
                    tokio::time::timeout(REQUEST, api.evict(pod_name, &dry)).await
                    && status.code == 429
                {
                    return Some(format!("{namespace}/{pod_name}: {}", status.message));
                }
            }
        }
        None
    }

    /// Carries changed labels and taints of a pool over to a Node; everything else on it stays.
    pub(crate) async fn restyle(&self, name: &str, change: &Restyle) -> Result<(), String> {
        let Some(api) = self.nodes() else {
            return Ok(());
        };
        // Five attempts at optimistic concurrency: kubelet and controllers write the same object.
        for _ in 0..5 {
            let node = match tokio::time::timeout(REQUEST, api.get_opt(name)).await {
                Ok(Ok(Some(node))) => node,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("the API server did not answer".to_owned()),
            };
            let patch = change.patch(&node);
            let patched = tokio::time::timeout(
                REQUEST,
                api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)),
            )
            .await;
            match patched {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("the API server did not answer".to_owned()),
            }
        }
        Err(format!("Node {name} kept changing"))
    }
}

/// Labels and taints of a pool before and after.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restyle {
    pub labels_before: BTreeMap<String, String>,
    pub labels_after: BTreeMap<String, String>,
    pub taints_before: Vec<Taint>,
    pub taints_after: Vec<Taint>,
}

impl Restyle {
    pub(crate) fn is_empty(&self) -> bool {
        self.labels_before == self.labels_after && self.taints_before == self.taints_after
    }

    fn patch(&self, node: &Node) -> Value {
        let mut labels = serde_json::Map::new();
        for key in self
            .labels_before
            .keys()
            .filter(|key| !self.labels_after.contains_key(*key))
        {
            labels.insert(key.clone(), Value::Null);
        }
        for (key, value) in &self.labels_after {
            labels.insert(key.clone(), json!(value));
        }
        let same = |on_node: &NodeTaint, taint: &Taint| {
            on_node.key == taint.key && on_node.effect == taint.effect
        };
        let present = node
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.clone())
            .unwrap_or_default();
        let mut taints: Vec<NodeTaint> = present
            .into_iter()
            .filter(|t| {
                !self
                    .taints_before
                    .iter()
                    .chain(&self.taints_after)
                    .any(|ours| same(t, ours))
            })
            .collect();
        taints.extend(self.taints_after.iter().map(|taint| NodeTaint {
            key: taint.key.clone(),
            value: Some(taint.value.clone()).filter(|v| !v.is_empty()),
            effect: taint.effect.clone(),
            ..Default::default()
        }));
        json!({
            "metadata": {"labels": labels, "resourceVersion": node.metadata.resource_version},
            "spec": {"taints": taints},
        })
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|list| {
        list.iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    })
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::Restyle;

    #[test]
    fn restyling_keeps_what_others_put_on_the_node() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "resourceVersion": "7", "labels": {"old": "x", "kept": "y"}},
            "spec": {"taints": [
                {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
                {"key": "role", "value": "db", "effect": "NoSchedule"}
            ]}
        }))
        .unwrap();
        let change = Restyle {
            labels_before: [("old".to_owned(), "x".to_owned())].into(),
            labels_after: [("new".to_owned(), "z".to_owned())].into(),
            taints_before: vec!["role=db:NoSchedule".parse().unwrap()],
            taints_after: vec!["role=cache:NoExecute".parse().unwrap()],
        };
        let patch = change.patch(&node);
        assert_eq!(
            patch["metadata"],
            json!({"labels": {"old": null, "new": "z"}, "resourceVersion": "7"})
        );
        let taints = patch["spec"]["taints"].as_array().unwrap();
        assert_eq!(taints.len(), 2);
        assert_eq!(taints[0]["key"], "node.kubernetes.io/unschedulable");
        assert_eq!(taints[1]["effect"], "NoExecute");
    }
}
