//! A dump of a large cluster to measure `check` with: what `kubectl get -A -o json` prints, in pages.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Pods a node, daemon sets' included.
pub const PODS: usize = 20;
/// Daemon sets.
const DAEMONS: usize = 3;
/// Objects a file: kubectl reads lists in pages of 500, people store them in larger pieces.
const PAGE: usize = 5_000;

/// Writes a cluster of so many nodes with 20 pods each.
pub fn write(directory: &Path, nodes: usize) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    pages(directory, "nodes", (0..nodes).map(node))?;
    let mut pods: Vec<Value> = Vec::new();
    let mut others: Vec<Value> = Vec::new();
    for daemon in 0..DAEMONS {
        let name = format!("daemon-{daemon}");
        others.push(object(
            "apps/v1",
            "DaemonSet",
            "kube-system",
            &name,
            json!({}),
        ));
        for on in 0..nodes {
            pods.push(pod(
                "kube-system",
                &name,
                &format!("{name}-{on}"),
                "DaemonSet",
                &name,
                on,
                100,
            ));
        }
    }
    let mut page = 0;
    let mut i = 0;
    let mut made = pods.len();
    while made < nodes * PODS {
        made += workload(i, nodes, &mut pods, &mut others);
        i += 1;
        if pods.len() >= PAGE {
            for part in pods.chunks(PAGE) {
                file(&directory.join(format!("pods-{page:03}.json")), part)?;
                page += 1;
            }
            pods.clear();
        }
    }
    file(&directory.join(format!("pods-{page:03}.json")), &pods)?;
    pages(directory, "others", others.into_iter())
}

fn pages(directory: &Path, name: &str, all: impl Iterator<Item = Value>) -> Result<()> {
    let all: Vec<Value> = all.collect();
    for (i, part) in all.chunks(PAGE).enumerate() {
        file(&directory.join(format!("{name}-{i:03}.json")), part)?;
    }
    Ok(())
}

fn file(path: &Path, items: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items});
    let to = fs::File::create(path).with_context(|| format!("make {}", path.display()))?;
    let mut to = BufWriter::new(to);
    serde_json::to_writer_pretty(&mut to, &list)?;
    to.flush()
        .with_context(|| format!("write {}", path.display()))
}

fn name_of(node: usize) -> String {
    format!("aks-work{}-20261121-vmss{node:06}", node % 5)
}

fn node(i: usize) -> Value {
    let name = name_of(i);
    let conditions: Vec<Value> = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
        .iter()
        .map(|kind| {
            json!({
                "type": kind, "status": if *kind == "Ready" { "True" } else { "False" },
                "lastHeartbeatTime": "2026-11-21T10:00:00Z", "lastTransitionTime": "2026-11-01T10:00:00Z",
                "reason": "KubeletReports", "message": "kubelet reports what it sees",
            })
        })
        .collect();
    let images: Vec<Value> = (0..30)
        .map(|image| {
            json!({"names": [format!("registry.example/team/image-{image}@sha256:{image:064x}"),
                             format!("registry.example/team/image-{image}:v1.{image}")], "sizeBytes": 100_000_000 + image})
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name, "uid": format!("00000000-0000-4000-8000-{i:012}"), "resourceVersion": "1",
            "labels": {
                "agentpool": format!("work{}", i % 5), "kubernetes.azure.com/agentpool": format!("work{}", i % 5),
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": format!("westeurope-{}", i % 3 + 1),
            },
        },
        "spec": {"providerID": format!("azure:///{name}")},
        "status": {
            "allocatable": {"cpu": "15800m", "memory": "62914560Ki", "pods": "110", "ephemeral-storage": "119703055367"},
            "capacity": {"cpu": "16", "memory": "65886284Ki", "pods": "110", "ephemeral-storage": "129886128Ki"},
            "conditions": conditions, "images": images,
            "nodeInfo": {"kubeletVersion": "v1.35.4", "containerRuntimeVersion": "containerd://2.1.4"},
        },
    })
}

fn object(api: &str, kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": api, "kind": kind,
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("{kind}-{namespace}-{name}"), "resourceVersion": "1",
            "generation": 1,
        },
        "spec": spec,
    })
}

/// Every eighth a stateful set with disks; half of the others under a budget.
fn workload(i: usize, nodes: usize, pods: &mut Vec<Value>, others: &mut Vec<Value>) -> usize {
    let (namespace, app) = (format!("team-{}", i % 100), format!("app-{i}"));
    let first = i.wrapping_mul(7_919) % nodes;
    let selector = json!({"matchLabels": {"app": app}});
    let set = i.is_multiple_of(8);
    let replicas = if set { 3 } else { 3 + i.wrapping_mul(31) % 55 };
    let (kind, owner) = if set {
        ("StatefulSet", app.clone())
    } else {
        ("ReplicaSet", format!("{app}-7d9c5b6f4"))
    };
    if set {
        others.push(object(
            "apps/v1",
            kind,
            &namespace,
            &app,
            json!({"replicas": replicas, "serviceName": app, "selector": selector}),
        ));
    } else {
        let mut own = object(
            "apps/v1",
            kind,
            &namespace,
            &owner,
            json!({"replicas": replicas, "selector": selector}),
        );
        own["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": app, "uid": "1", "controller": true},
        ]);
        others.push(own);
        others.push(object(
            "apps/v1",
            "Deployment",
            &namespace,
            &app,
            json!({"replicas": replicas, "selector": selector}),
        ));
    }
    if set || i.is_multiple_of(2) {
        others.push(object(
            "policy/v1",
            "PodDisruptionBudget",
            &namespace,
            &app,
            json!({"maxUnavailable": 1, "selector": selector}),
        ));
    }
    for j in 0..replicas {
        let on = (first + j) % nodes;
        let name = if set {
            format!("{app}-{j}")
        } else {
            format!("{owner}-{j:05}")
        };
        let mut pod = pod(&namespace, &app, &name, kind, &owner, on, 250);
        if set {
            let claim = format!("data-{app}-{j}");
            let volume = format!("pvc-{i}-{j}");
            if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
                volumes
                    .push(json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}}));
            }
            pod["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector},
            ]}});
            others.push(object(
                "v1",
                "PersistentVolumeClaim",
                &namespace,
                &claim,
                json!({"volumeName": volume}),
            ));
            others.push(json!({
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {"name": volume, "uid": volume, "resourceVersion": "1"},
                "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [format!("westeurope-{}", on % 3 + 1)]},
                ]}]}}},
            }));
        }
        pods.push(pod);
    }
    replicas
}

fn pod(
    namespace: &str,
    app: &str,
    name: &str,
    kind: &str,
    owner: &str,
    on: usize,
    cpu: usize,
) -> Value {
    let env: Vec<Value> = (0..8)
        .map(|i| json!({"name": format!("SETTING_{i}"), "value": format!("value-{i}-of-{app}")}))
        .collect();
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1});
    let conditions: Vec<Value> = ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .iter()
        .map(|kind| {
            let at = if kind.ends_with("eady") {
                "2026-11-20T09:00:14Z"
            } else {
                "2026-11-20T09:00:00Z"
            };
            json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": at})
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "resourceVersion": "1",
            "creationTimestamp": "2026-11-20T09:00:00Z",
            "labels": {"app": app, "pod-template-hash": "7d9c5b6f4", "app.kubernetes.io/part-of": namespace},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "1", "controller": true, "blockOwnerDeletion": true},
            ],
        },
        "spec": {
            "nodeName": name_of(on), "serviceAccountName": app, "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "containers": [{
                "name": "main", "image": format!("registry.example/team/{app}:v1"), "env": env,
                "resources": {"requests": {"cpu": format!("{cpu}m"), "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                "readinessProbe": probe, "livenessProbe": probe, "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
            }],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
            "volumes": [{"name": "token", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            ]}}],
        },
        "status": {
            "phase": "Running", "qosClass": "Burstable", "startTime": "2026-11-20T09:00:00Z", "conditions": conditions,
            "containerStatuses": [{
                "name": "main", "ready": true, "restartCount": 0, "started": true, "image": format!("registry.example/team/{app}:v1"),
                "imageID": format!("registry.example/team/{app}@sha256:{:064}", 1), "state": {"running": {"startedAt": "2026-11-20T09:00:05Z"}},
            }],
            "hostIP": "10.0.0.1", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}],
        },
    })
}
