//! What the nodes' kubelets would do: say that the nodes live, and let their pods start and stop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::cluster::Real;

/// Longer than a busy kubectl takes from its first eviction to its last, and shorter than the five seconds
/// until it tries again: what is evicted first is replaced and ready then.
const START: Duration = Duration::from_millis(1_500);
const STOP: Duration = Duration::from_millis(200);
/// A node without a sign of life for 40 s is taken for dead.
const HEARTBEAT: Duration = Duration::from_secs(8);

impl Real {
    /// Says that nodes live, as a kubelet does.
    pub(super) async fn heartbeats(self, nodes: Arc<Vec<String>>) {
        loop {
            let real = &self;
            stream::iter(nodes.iter())
                .for_each_concurrent(8, |node| async move {
                    let path = format!("/api/v1/nodes/{node}/status");
                    let status = json!({"status": {"conditions": [ready_node()]}});
                    real.patch(&path, &status).await.unwrap();
                })
                .await;
            tokio::time::sleep(HEARTBEAT).await;
        }
    }

    /// Lets the pods of our nodes live and die.
    pub(super) async fn kubelet(self) {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let config = watcher::Config::default().labels("fake=yes");
        let changes = watcher(pods, config).default_backoff().applied_objects();
        tokio::pin!(changes);
        let (mut started, mut stopped) = (BTreeSet::new(), BTreeSet::new());
        let mut tasks = JoinSet::new();
        while let Some(pod) = changes.try_next().await.unwrap() {
            let uid = pod.metadata.uid.clone().unwrap();
            let placed = pod
                .spec
                .as_ref()
                .is_some_and(|spec| spec.node_name.is_some());
            if pod.metadata.deletion_timestamp.is_some() {
                if placed && stopped.insert(uid) {
                    tasks.spawn(self.clone().stop(pod));
                }
            } else if placed && started.insert(uid) {
                tasks.spawn(self.clone().start(pod));
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    async fn start(self, pod: Pod) {
        tokio::time::sleep(START).await;
        let sick = pod
            .metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key("sick"));
        let ready = if sick { "False" } else { "True" };
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let about = |kind: &str| json!({"type": kind, "status": ready, "lastTransitionTime": now});
        let status = json!({"status": {
            "phase": "Running", "startTime": now,
            "conditions": [about("Ready"), about("ContainersReady")],
            "containerStatuses": [{
                "name": "main", "image": "none", "imageID": "none", "restartCount": 0, "ready": !sick,
                "state": {"running": {"startedAt": now}},
            }],
        }});
        // It may be gone again already.
        let _ = self
            .patch(&format!("{}/status", path_of(&pod)), &status)
            .await;
    }

    async fn stop(self, pod: Pod) {
        tokio::time::sleep(STOP).await;
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": pod.metadata.uid},
        });
        let _ = self
            .call("DELETE", &path_of(&pod), "application/json", &options)
            .await;
    }
}

fn path_of(pod: &Pod) -> String {
    let (namespace, name) = (pod.metadata.namespace.as_ref(), pod.metadata.name.as_ref());
    format!(
        "/api/v1/namespaces/{}/pods/{}",
        namespace.unwrap(),
        name.unwrap()
    )
}

pub(super) fn ready_node() -> Value {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({"type": "Ready", "status": "True", "reason": "Test", "lastHeartbeatTime": now})
}
