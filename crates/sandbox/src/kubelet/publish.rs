//! Writes one pod's status to the API server, the newest only, until it is there.
//!
//! # Guarantees
//! * Patches carry the pod's UID: a pod of the same name that came later is never touched.
//! * The pod's worker is not held up by a slow or absent API server.

use super::cluster::{CallError, Cluster, call};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// 500 ms doubling to 10 s: a kubelet's status manager tries again within 10 s.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// The way to the API server for one pod.
#[derive(Debug)]
pub(super) struct Publisher {
    namespace: String,
    name: String,
    uid: String,
    cluster: Arc<Cluster>,
    wanted: watch::Sender<(u64, Value)>,
    written: watch::Receiver<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Publisher {
    pub(super) fn start(cluster: Arc<Cluster>, pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let (namespace, name) = (
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        );
        let (wanted, pending) = watch::channel((0, Value::Null));
        let (done, written) = watch::channel(0);
        let task = tokio::spawn(write(
            Arc::clone(&cluster),
            namespace.clone(),
            name.clone(),
            pending,
            done,
        ));
        Self {
            namespace,
            name,
            uid: meta.uid.clone().unwrap_or_default(),
            cluster,
            wanted,
            written,
            task,
        }
    }

    /// Makes this the status to write, if it is another than the last.
    pub(super) fn publish(&self, status: Value) {
        self.wanted.send_if_modified(|(version, last)| {
            let changed = *last != status;
            if changed {
                *version += 1;
                *last = status;
            }
            changed
        });
    }

    /// Writes the last status once more: somebody else has written another since.
    pub(super) fn again(&self) {
        self.wanted.send_if_modified(|(version, last)| {
            let known = !last.is_null();
            *version += u64::from(known);
            known
        });
    }

    /// Waits until the newest status is written or the pod is gone, then removes the pod from the API.
    pub(super) async fn finish(mut self) {
        let newest = self.wanted.borrow().0;
        let _ = self.written.wait_for(|v| *v >= newest).await;
        self.task.abort();
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                resource_version: None,
            }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let mut wait = RETRY.0;
        loop {
            let api: Api<Pod> = Api::namespaced(self.cluster.client(), &self.namespace);
            match call(api.delete(&self.name, &parameters)).await {
                Ok(_) => return,
                Err(error) if error.is_not_found() || error.is_conflict() => return,
                Err(error) => tracing::warn!(%error, pod = self.name, "not deleted yet"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn write(
    cluster: Arc<Cluster>,
    namespace: String,
    name: String,
    mut wanted: watch::Receiver<(u64, Value)>,
    done: watch::Sender<u64>,
) {
    while wanted.changed().await.is_ok() {
        let mut wait = RETRY.0;
        loop {
            let (version, status) = wanted.borrow_and_update().clone();
            let api: Api<Pod> = Api::namespaced(cluster.client(), &namespace);
            let answer =
                call(api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)))
                    .await;
            match answer {
                Ok(_) => {
                    let _ = done.send(version);
                    break;
                }
                Err(error) if gone(&error) => {
                    let _ = done.send(u64::MAX);
                    return;
                }
                Err(error) => tracing::warn!(%error, pod = name, "status not written yet"),
            }
            // A newer status need not wait for the older one's turn.
            let _ = tokio::time::timeout(wait, wanted.changed()).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }
}

/// The pod is not there any more, or another has its name.
fn gone(error: &CallError) -> bool {
    error.is_not_found() || error.is_other_object()
}
