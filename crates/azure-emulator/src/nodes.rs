//! What the emulator does with Node objects: waiting for them, cordoning, relabelling and removing them. Without a
//! Kubernetes client every call is a success that changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint as NodeTaint};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::machines::Taint;

/// How often a Node or a pod is looked at while something is waited for. The real service polls in seconds; a tenth of
/// that keeps practice short and the API server idle.
pub(crate) const POLL: Duration = Duration::from_millis(300);

/// One request to the Kubernetes API, whatever it is.
const REQUEST: Duration = Duration::from_secs(15);

/// How long an API server may be away before an operation gives up on it: the real service rides out the minutes that
/// a control plane needs to restart.
const OUTAGE: Duration = Duration::from_secs(120);

/// Between two attempts while the API server is away.
const AGAIN: Duration = Duration::from_secs(1);

/// Nodes through a Kubernetes client.
pub(crate) struct Nodes<'a> {
    pub kube: Option<&'a kube::Client>,
    pub clock: &'a dyn Clock,
    pub stop: &'a CancellationToken,
}

impl Nodes<'_> {
    fn nodes(&self) -> Option<Api<Node>> {
        self.kube.map(|client| Api::all(client.clone()))
    }

    /// Sleeps, or returns false at once when the operation is stopped.
    pub(crate) async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = self.clock.sleep(duration) => true,
        }
    }

    /// One request, tried again while the API server is away. A refusal is an answer and comes back at once.
    pub(crate) async fn insist<T, F, A>(&self, attempt: F) -> Result<T, kube::Error>
    where
        F: Fn() -> A,
        A: Future<Output = kube::Result<T>>,
    {
        let end = self.clock.now() + OUTAGE;
        loop {
            let answer = tokio::time::timeout(REQUEST, attempt()).await;
            let over = self.clock.now() >= end;
            match answer {
                Ok(Err(kube::Error::Api(status))) if status.code < 500 || over => {
                    return Err(kube::Error::Api(status));
                }
                Ok(Err(error)) if over => return Err(error),
                Ok(Ok(value)) => return Ok(value),
                Err(elapsed) if over => return Err(kube::Error::Service(elapsed.into())),
                Ok(Err(_)) | Err(_) => self.clock.sleep(AGAIN).await,
            }
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
    pub(crate) async fn cordoned(&self, names: &[String]) -> Result<Vec<String>, kube::Error> {
        let Some(api) = self.nodes() else {
            return Ok(Vec::new());
        };
        let all = ListParams::default();
        let list = self.insist(|| api.list(&all)).await?;
        let cordoned = |node: &Node| {
            node.spec
                .as_ref()
                .and_then(|s| s.unschedulable)
                .unwrap_or(false)
        };
        let found = list
            .items
            .into_iter()
            .filter(cordoned)
            .filter_map(|node| node.metadata.name);
        Ok(found.filter(|name| names.contains(name)).collect())
    }

    /// Makes a Node unschedulable; one that is gone needs nothing.
    pub(crate) async fn cordon(&self, name: &str) -> Result<(), kube::Error> {
        let Some(api) = self.nodes() else {
            return Ok(());
        };
        match self.insist(|| api.cordon(name)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Removes the Node object, as the cloud controller does for a machine that is gone.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), kube::Error> {
        let Some(api) = self.nodes() else {
            return Ok(());
        };
        let params = DeleteParams::default();
        match self.insist(|| api.delete(name, &params)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Carries changed labels and taints of a pool over to a Node; everything else on it stays.
    pub(crate) async fn restyle(&self, name: &str, change: &Restyle) -> Result<(), kube::Error> {
        let Some(api) = self.nodes() else {
            return Ok(());
        };
        // Optimistic concurrency, as often as it takes: kubelet and controllers write the same object.
        loop {
            let Some(node) = self.insist(|| api.get_opt(name)).await? else {
                return Ok(());
            };
            let patch = Patch::Merge(change.patch(&node));
            let params = PatchParams::default();
            match self.insist(|| api.patch(name, &params, &patch)).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                answer => return answer.map(drop),
            }
        }
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
