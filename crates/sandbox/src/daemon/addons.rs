//! Objects that a cluster has from the start: access rules, storage classes, cluster DNS.

use kube::Client;
use serde_json::{Value, json};

use crate::network::{DNS_SERVICE, DOMAIN};

/// An object could not be created.
#[derive(Debug, thiserror::Error)]
#[error("create {path}")]
pub struct Error {
    path: String,
    #[source]
    source: kube::Error,
}

/// Name of the disk driver, Azure's.
pub(crate) const DISK_DRIVER: &str = "disk.csi.azure.com";

/// Applies every object; what exists already is brought to this form.
pub(crate) async fn apply(client: &Client) -> Result<(), Error> {
    let objects = objects();
    let applied = objects
        .into_iter()
        .map(|(path, object)| apply_one(client, path, object));
    futures::future::try_join_all(applied).await?;
    Ok(())
}

async fn apply_one(client: &Client, path: &str, object: Value) -> Result<(), Error> {
    let fail = |source| Error {
        path: path.to_owned(),
        source,
    };
    let request = http::Request::patch(format!(
        "{path}?fieldManager=ferriswheel-sandbox&force=true"
    ))
    .header("content-type", "application/apply-patch+yaml")
    .body(object.to_string().into_bytes())
    .map_err(|source| fail(kube::Error::HttpError(source)))?;
    client.request_text(request).await.map_err(fail)?;
    Ok(())
}

fn objects() -> Vec<(&'static str, Value)> {
    let mut objects = access();
    objects.extend(storage());
    objects.extend(dns());
    objects
}

/// Attachments are made by the node agents, which the Node authorizer does not foresee: on AKS the controller manager
/// makes them.
fn access() -> Vec<(&'static str, Value)> {
    vec![
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/sandbox:node-attachments",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "sandbox:node-attachments"},
                "rules": [{
                    "apiGroups": ["storage.k8s.io"], "resources": ["volumeattachments"],
                    "verbs": ["get", "list", "watch", "create", "delete"],
                }],
            }),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/sandbox:node-attachments",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": "sandbox:node-attachments"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "sandbox:node-attachments",
                },
                "subjects": [{
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes",
                }],
            }),
        ),
    ]
}

fn storage() -> Vec<(&'static str, Value)> {
    let class = |name: &str, default: bool, reclaim: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {
                "name": name,
                "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()},
            },
            "provisioner": DISK_DRIVER,
            "parameters": {"skuName": "StandardSSD_LRS"},
            "reclaimPolicy": reclaim,
            "volumeBindingMode": "WaitForFirstConsumer",
            "allowVolumeExpansion": false,
        })
    };
    vec![
        (
            "/apis/storage.k8s.io/v1/csidrivers/disk.csi.azure.com",
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver",
                "metadata": {"name": DISK_DRIVER},
                "spec": {
                    "attachRequired": true, "podInfoOnMount": false,
                    "fsGroupPolicy": "File", "volumeLifecycleModes": ["Persistent"],
                },
            }),
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses/managed-csi",
            class("managed-csi", true, "Delete"),
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses/managed-csi-retain",
            class("managed-csi-retain", false, "Retain"),
        ),
    ]
}

/// CoreDNS, as AKS runs it: two replicas on the System pools, names cached for 30 s. Names outside the cluster do not
/// exist here, and are said not to at once.
fn dns() -> Vec<(&'static str, Value)> {
    // Two server blocks: within one, CoreDNS asks `template` before `kubernetes`, whatever their order here.
    let corefile = format!(
        "{DOMAIN}:53 in-addr.arpa:53 ip6.arpa:53 {{\n    errors\n    ready\n    \
         kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{\n        pods insecure\n        ttl 30\n    }}\n    \
         cache 30\n    loadbalance\n}}\n\
         .:53 {{\n    errors\n    health {{\n        lameduck 5s\n    }}\n    ready\n    \
         template ANY ANY . {{\n        rcode NXDOMAIN\n    }}\n}}\n"
    );
    let metadata = |name: &str| {
        json!({
            "name": name, "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
        })
    };
    let probe = |path: &str, port: u16| {
        json!({
            "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
            "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 5,
        })
    };
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": metadata("coredns"),
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"k8s-app": "kube-dns"}},
                "spec": {
                    "serviceAccountName": "coredns",
                    "priorityClassName": "system-node-critical",
                    "dnsPolicy": "Default",
                    "nodeSelector": {"kubernetes.azure.com/mode": "system"},
                    "tolerations": [
                        {"key": "CriticalAddonsOnly", "operator": "Exists"},
                    ],
                    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                        "weight": 100,
                        "podAffinityTerm": {
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                        },
                    }]}},
                    "containers": [{
                        "name": "coredns", "image": "coredns:1.13.1",
                        "args": ["-conf", "/etc/coredns/Corefile"],
                        "resources": {
                            "requests": {"cpu": "100m", "memory": "70Mi"},
                            "limits": {"memory": "500Mi"},
                        },
                        "ports": [
                            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
                        ],
                        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": true}],
                        "readinessProbe": probe("/ready", 8181),
                        "livenessProbe": probe("/health", 8080),
                    }],
                    "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
                },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": metadata("kube-dns"),
        "spec": {
            "clusterIP": DNS_SERVICE.to_string(),
            "selector": {"k8s-app": "kube-dns"},
            "ports": [
                {"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "targetPort": 53, "protocol": "TCP"},
            ],
        },
    });
    vec![
        (
            "/api/v1/namespaces/kube-system/serviceaccounts/coredns",
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("coredns")}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:coredns",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "system:coredns"},
                "rules": [
                    {
                        "apiGroups": [""],
                        "resources": ["endpoints", "services", "pods", "namespaces"],
                        "verbs": ["list", "watch"],
                    },
                    {
                        "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
                        "verbs": ["list", "watch"],
                    },
                ],
            }),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:coredns",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": "system:coredns"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns",
                },
                "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
            }),
        ),
        (
            "/api/v1/namespaces/kube-system/configmaps/coredns",
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": metadata("coredns"), "data": {"Corefile": corefile},
            }),
        ),
        (
            "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
            deployment,
        ),
        ("/api/v1/namespaces/kube-system/services/kube-dns", service),
        (
            "/apis/policy/v1/namespaces/kube-system/poddisruptionbudgets/coredns-pdb",
            json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": metadata("coredns-pdb"),
                "spec": {
                    "minAvailable": 1,
                    "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
                },
            }),
        ),
    ]
}
