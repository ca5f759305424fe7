//! Events about pods, as a kubelet writes them: core/v1, source `kubelet` on this node, repeats counted.

use super::cluster::{Cluster, call};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// 256 events wait for a slow API server; more are dropped, as a kubelet's broadcaster does.
const WAITING: usize = 256;
/// 1,024 different events are remembered for counting; then the memory starts anew.
const REMEMBERED: usize = 1024;

/// Where events go.
#[derive(Clone, Debug)]
pub(super) struct Events {
    queue: mpsc::Sender<Fact>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fact {
    object: Object,
    warning: bool,
    reason: &'static str,
    message: String,
}

/// What it happened to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Object {
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
    field_path: Option<String>,
}

impl Events {
    /// Starts the writer.
    pub(super) fn start(cluster: Arc<Cluster>, node: String) -> Self {
        let (queue, facts) = mpsc::channel(WAITING);
        tokio::spawn(write(cluster, node, facts));
        Self { queue }
    }

    /// About a pod, or one of its containers.
    pub(super) fn pod(
        &self,
        pod: &Pod,
        container: Option<&str>,
        warning: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let meta = &pod.metadata;
        let object = Object {
            kind: "Pod",
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            field_path: container.map(|name| field_path(pod, name)),
        };
        self.send(Fact {
            object,
            warning,
            reason,
            message: message.into(),
        });
    }

    /// About the node. Its events use its name as the UID, as a kubelet's do.
    pub(super) fn node(&self, node: &str, reason: &'static str, message: impl Into<String>) {
        let object = Object {
            kind: "Node",
            namespace: "default".to_owned(),
            name: node.to_owned(),
            uid: node.to_owned(),
            field_path: None,
        };
        self.send(Fact {
            object,
            warning: false,
            reason,
            message: message.into(),
        });
    }

    fn send(&self, fact: Fact) {
        if self.queue.try_send(fact).is_err() {
            tracing::warn!("an event was dropped");
        }
    }
}

fn field_path(pod: &Pod, container: &str) -> String {
    let init = pod
        .spec
        .iter()
        .flat_map(|s| s.init_containers.iter().flatten())
        .any(|c| c.name == container);
    format!(
        "spec.{}{{{container}}}",
        if init { "initContainers" } else { "containers" }
    )
}

async fn write(cluster: Arc<Cluster>, node: String, mut facts: mpsc::Receiver<Fact>) {
    let mut seen: HashMap<Fact, (String, i32)> = HashMap::new();
    while let Some(fact) = facts.recv().await {
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        let api: Api<Event> = Api::namespaced(cluster.client(), &fact.object.namespace);
        let now = Time(jiff::Timestamp::now());
        if let Some((name, count)) = seen.get_mut(&fact) {
            let patch = serde_json::json!({"count": *count + 1, "lastTimestamp": now});
            if call(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)))
                .await
                .is_ok()
            {
                *count += 1;
                continue;
            }
        }
        let event = event(&fact, &node, &now);
        let name = event.metadata.name.clone().unwrap_or_default();
        match call(api.create(&PostParams::default(), &event)).await {
            Ok(_) => {
                seen.insert(fact, (name, 1));
            }
            Err(error) => tracing::debug!(%error, reason = fact.reason, "an event was not written"),
        }
    }
}

fn event(fact: &Fact, node: &str, now: &Time) -> Event {
    let Object {
        kind,
        namespace,
        name,
        uid,
        field_path,
    } = fact.object.clone();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.0.as_nanosecond())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(kind.to_owned()),
            namespace: (kind != "Node").then_some(namespace),
            name: Some(name),
            uid: Some(uid),
            field_path,
            ..ObjectReference::default()
        },
        reason: Some(fact.reason.to_owned()),
        message: Some(fact.message.clone()),
        type_: Some(if fact.warning { "Warning" } else { "Normal" }.to_owned()),
        source: Some(EventSource {
            component: Some("kubelet".to_owned()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some("kubelet".to_owned()),
        reporting_instance: Some(node.to_owned()),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now.clone()),
        count: Some(1),
        ..Event::default()
    }
}
