//! The Node object: registration, status and lease.
//!
//! # Source
//! A kubelet's defaults: lease of 40 s renewed each 10 s, status looked at each 10 s and written when it changed or
//! after 5 minutes.

use super::cluster::{CallError, Cluster, call};
use super::config::NodeConfig;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// `nodeStatusUpdateFrequency` and the renewal interval: a quarter of the lease.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// `nodeLeaseDurationSeconds`.
const LEASE_SECONDS: i32 = 40;
/// `nodeStatusReportFrequency`: an unchanged status is written this seldom.
const REPORT: Duration = Duration::from_secs(300);
/// 200 ms to 7 s: a kubelet's waits between attempts to register.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(7));
const LEASES: &str = "kube-node-lease";

/// Creates the Node, or makes the one that is there this machine's. Tries until it works.
pub(super) async fn register(cluster: &Cluster, config: &NodeConfig) -> Node {
    let mut wait = RETRY.0;
    loop {
        match try_register(cluster, config).await {
            Ok(node) => return node,
            Err(error) => tracing::warn!(%error, node = config.node_name, "not registered yet"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

async fn try_register(cluster: &Cluster, config: &NodeConfig) -> Result<Node, CallError> {
    let api: Api<Node> = Api::all(cluster.client());
    let node: Node = serde_json::from_value(object(config)).map_err(kube::Error::SerdeError)?;
    let created = match call(api.create(&PostParams::default(), &node)).await {
        Ok(created) => created,
        Err(error) if error.is_conflict() => {
            let labels = json!({"metadata": {"labels": config.labels}, "spec": {"providerID": config.provider_id}});
            call(api.patch(
                &config.node_name,
                &PatchParams::default(),
                &Patch::Merge(labels),
            ))
            .await?
        }
        Err(error) => return Err(error),
    };
    let status = json!({"status": status(config, created.status.as_ref().and_then(|s| s.conditions.as_ref()))});
    call(api.patch_status(
        &config.node_name,
        &PatchParams::default(),
        &Patch::Merge(status),
    ))
    .await
}

fn object(config: &NodeConfig) -> Value {
    let taints: Vec<Value> = config
        .taints
        .iter()
        .map(|t| json!({"key": t.key, "value": t.value, "effect": t.effect}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": config.node_name,
            "labels": config.labels,
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {"providerID": config.provider_id, "podCIDR": config.pod_cidr, "podCIDRs": [config.pod_cidr], "taints": taints},
    })
}

/// What the node says of itself; transition times of unchanged conditions are kept.
fn status(
    config: &NodeConfig,
    before: Option<&Vec<k8s_openapi::api::core::v1::NodeCondition>>,
) -> Value {
    let now = Timestamp::now();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        let same = before
            .into_iter()
            .flatten()
            .find(|c| c.type_ == kind && c.status == status);
        let since = same
            .and_then(|c| c.last_transition_time.as_ref())
            .map_or(now, |t| t.0);
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": seconds(now), "lastTransitionTime": seconds(since),
        })
    };
    let memory = |bytes: u64| format!("{}Ki", bytes / 1024);
    let capacity = config.capacity;
    let resources = json!({
        "cpu": capacity.cpu.to_string(), "memory": memory(capacity.memory_bytes), "pods": capacity.pods.to_string(),
        "ephemeral-storage": "129886128Ki", "hugepages-1Gi": "0", "hugepages-2Mi": "0",
    });
    json!({
        "addresses": [
            {"type": "InternalIP", "address": config.node_ip.to_string()},
            {"type": "Hostname", "address": config.node_name},
        ],
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": super::PORT}},
        // The API server then passes a client's WebSocket for exec, attach and port-forward straight to this agent.
        "declaredFeatures": ["ExtendWebSocketsToKubelet"],
        "nodeInfo": {
            "architecture": "amd64", "operatingSystem": "linux",
            "bootID": config.boot_id, "machineID": config.machine_id, "systemUUID": config.machine_id,
            "containerRuntimeVersion": concat!("ferriswheel://", env!("CARGO_PKG_VERSION")),
            "kernelVersion": nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default(),
            "kubeProxyVersion": config.kubelet_version, "kubeletVersion": config.kubelet_version,
            "osImage": config.node_image_version,
        },
    })
}

/// Times of conditions have whole seconds.
pub(super) fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// Keeps the lease and the status alive, for as long as the agent lives.
pub(super) async fn heartbeat(cluster: Arc<Cluster>, config: Arc<NodeConfig>, node: Node) {
    let mut reported = tokio::time::Instant::now();
    let mut last = node;
    let mut failures = 0_u32;
    let mut lease: Option<Lease> = None;
    let mut ticks = tokio::time::interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match renew(&cluster, &config, &last, lease.take()).await {
            Ok(renewed) => {
                lease = Some(renewed);
                failures = 0;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, failures, "lease not renewed");
                cluster.reconnect();
                ticks.reset_after(Duration::from_secs(1));
                continue;
            }
        }
        match refresh(&cluster, &config, reported.elapsed() >= REPORT).await {
            Ok(Some(node)) => {
                reported = tokio::time::Instant::now();
                last = node;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "node status not written"),
        }
    }
}

async fn renew(
    cluster: &Cluster,
    config: &NodeConfig,
    node: &Node,
    held: Option<Lease>,
) -> Result<Lease, CallError> {
    let api: Api<Lease> = Api::namespaced(cluster.client(), LEASES);
    let now = MicroTime(Timestamp::now());
    let before = match held {
        Some(lease) => Some(lease),
        None => call(api.get_opt(&config.node_name)).await?,
    };
    if let Some(mut lease) = before {
        lease.spec.get_or_insert_default().renew_time = Some(now);
        return call(api.replace(&config.node_name, &PostParams::default(), &lease)).await;
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            namespace: Some(LEASES.to_owned()),
            owner_references: node.metadata.uid.clone().map(|uid| {
                vec![OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "Node".to_owned(),
                    name: config.node_name.clone(),
                    uid,
                    ..OwnerReference::default()
                }]
            }),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(config.node_name.clone()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    call(api.create(&PostParams::default(), &lease)).await
}

/// Writes the status if what stands there is not what it should be (a node-lifecycle controller marks a silent node
/// unknown), or if it is time.
async fn refresh(
    cluster: &Cluster,
    config: &NodeConfig,
    due: bool,
) -> Result<Option<Node>, CallError> {
    let api: Api<Node> = Api::all(cluster.client());
    let node = call(api.get(&config.node_name)).await?;
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    if ready && !due {
        return Ok(None);
    }
    let patch = json!({"status": status(config, conditions)});
    call(api.patch_status(
        &config.node_name,
        &PatchParams::default(),
        &Patch::Merge(patch),
    ))
    .await
    .map(Some)
}
