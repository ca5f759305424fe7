//! Volumes: what is lost with a node, and what cannot follow its pod.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::databases;
use super::draft::{Draft, Edit};
use super::scene::{Makes, Scene, Workload, namespace};
use super::spread::{ZONE, zone};
use super::values::{flag, has, list, text, texts};
use crate::codes;
use crate::findings::{Finding, Severity};

/// Provisioners whose disks live in one zone.
const ZONAL: &[&str] = &[
    "disk.csi.azure.com",
    "kubernetes.io/azure-disk",
    "ebs.csi.aws.com",
    "kubernetes.io/aws-ebs",
    "pd.csi.storage.gke.io",
    "kubernetes.io/gce-pd",
];

/// Labels of a node's pool.
const POOL: [&str; 2] = ["kubernetes.azure.com/agentpool", "agentpool"];

/// How large a volume is asked for where nobody said.
const SIZE: &str = "10Gi";

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for workload in &scene.workloads {
        if workload.makes.serves() && workload.makes != Makes::Naked {
            findings.extend(on_the_node(workload));
        }
    }
    volumes(scene, findings);
    classes(scene, findings);
}

/// A directory that looks like data and goes with the pod, or with the node.
fn on_the_node(workload: &Workload<'_>) -> Option<Finding> {
    // A DaemonSet is at home on its node.
    if workload.makes == Makes::DaemonSet {
        return None;
    }
    let database = databases::of(workload).filter(|found| found.durable);
    let mut found: Option<(usize, &Value, String)> = None;
    for (i, volume) in list(workload.pod(), "/spec/volumes").iter().enumerate() {
        let transient =
            has(volume, "/emptyDir") && text(volume, "/emptyDir/medium") != Some("Memory");
        if !transient && !has(volume, "/hostPath") {
            continue;
        }
        let Some(path) = written(workload, text(volume, "/name").unwrap_or_default()) else {
            continue;
        };
        let stateful = database.is_some() || workload.makes == Makes::StatefulSet;
        if has(volume, "/hostPath") && is_system(text(volume, "/hostPath/path").unwrap_or("/")) {
            continue;
        }
        if has(volume, "/hostPath") || (stateful && is_data(&path)) {
            found = Some((i, volume, path));
            break;
        }
    }
    let (index, volume, path) = found?;
    let name = text(volume, "/name").unwrap_or_default();
    let host = has(volume, "/hostPath");
    let what = database.map_or_else(|| workload.name(), |found| found.name.to_owned());
    let draft = Draft::new(
        if host { codes::HOST_PATH } else { codes::EMPTY_DIR },
        Severity::Warning,
        workload.object,
        if host {
            format!(
                "{what} keeps {path} in a directory of its node ({}): an upgrade makes the node anew, and the directory is gone",
                text(volume, "/hostPath/path").unwrap_or("?")
            )
        } else {
            format!("{what} keeps {path} in an emptyDir: what it holds goes with the pod, at every drain")
        },
    )
    .saw("volume", format!("{name}, mounted at {path}"));
    let list_path = workload.path("/volumes");
    Some(match workload.makes {
        Makes::StatefulSet => draft
            .fix("keep it in a volume of its own (volumeClaimTemplates cannot be changed in place: make the StatefulSet anew with --cascade=orphan)")
            .change(
                workload.object,
                Edit::of(workload.body)
                    .remove(&format!("{list_path}/{index}"))
                    .push("/spec/volumeClaimTemplates", template(name)),
            )
            .done(),
        _ => {
            let claim = format!("{}-{name}", workload.object.name);
            let mut object = template(&claim);
            if let Some(fields) = object.as_object_mut() {
                fields.insert("apiVersion".to_owned(), Value::from("v1"));
                fields.insert("kind".to_owned(), Value::from("PersistentVolumeClaim"));
            }
            if let (Some(namespace), Some(metadata)) =
                (&workload.object.namespace, object.pointer_mut("/metadata").and_then(Value::as_object_mut))
            {
                metadata.insert("namespace".to_owned(), Value::from(&**namespace));
            }
            draft
                .fix("keep it in a persistent volume, and copy what is there before the node goes")
                .create(object)
                .change(
                    workload.object,
                    Edit::of(workload.body).set(
                        &format!("{list_path}/{index}"),
                        json!({ "name": name, "persistentVolumeClaim": { "claimName": claim } }),
                    ),
                )
                .done()
        }
    })
}

fn template(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": SIZE } } },
    })
}

/// Where a volume is mounted to be written.
fn written(workload: &Workload<'_>, name: &str) -> Option<String> {
    list(workload.pod(), "/spec/containers")
        .iter()
        .flat_map(|container| list(container, "/volumeMounts"))
        .find(|mount| text(mount, "/name") == Some(name) && flag(mount, "/readOnly") != Some(true))
        .and_then(|mount| text(mount, "/mountPath"))
        .map(str::to_owned)
}

/// Does a path look like data, and not like scratch space?
fn is_data(path: &str) -> bool {
    let scratch = [
        "tmp", "run", "cache", "shm", "log", "logs", "sock", "socket", "certs", "config", "conf",
        "plugins",
    ];
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    !parts.iter().any(|part| scratch.contains(part))
        && (path.starts_with("/var/lib/")
            || parts
                .iter()
                .any(|part| part.contains("data") || part.contains("storage")))
}

/// Directories that programs look into and keep nothing in.
fn is_system(path: &str) -> bool {
    [
        "/proc",
        "/sys",
        "/dev",
        "/etc",
        "/run",
        "/var/run",
        "/var/log",
        "/usr",
        "/lib",
        "/tmp",
        "/var/lib/kubelet",
        "/var/lib/docker",
        "/var/lib/containerd",
    ]
    .iter()
    .any(|known| path == *known || path.starts_with(&format!("{known}/")))
        || path == "/"
}

/// Volumes of a cluster.
fn volumes(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let nodes = Nodes::of(scene);
    let users = claim_users(scene);
    for (object, body) in scene.kind("PersistentVolume") {
        let claim = (
            text(body, "/spec/claimRef/namespace").unwrap_or_default(),
            text(body, "/spec/claimRef/name").unwrap_or_default(),
        );
        let bound =
            matches!(text(body, "/status/phase"), Some("Bound") | None) && !claim.1.is_empty();
        if has(body, "/spec/local") || has(body, "/spec/hostPath") {
            findings.push(
                Draft::new(
                    codes::LOCAL_VOLUME,
                    Severity::Warning,
                    object,
                    "the volume is a directory of one node: an upgrade makes the node anew and the data is gone",
                )
                .saw("volume", text(body, "/spec/local/path").or_else(|| text(body, "/spec/hostPath/path")).unwrap_or("?"))
                .fix("move the data to another member or to a disk before this node is upgraded (a new replica, then a hand-over)")
                .done(),
            );
            continue;
        }
        if bound && text(body, "/spec/persistentVolumeReclaimPolicy") == Some("Delete") {
            findings.push(
                Draft::new(
                    codes::RECLAIM_DELETE,
                    Severity::Warning,
                    object,
                    format!("the disk of {}/{} goes with its claim: one deleted StatefulSet or namespace and it is gone", claim.0, claim.1),
                )
                .saw("volume", "persistentVolumeReclaimPolicy Delete")
                .fix("retain it, at least for the upgrade")
                .change(
                    object,
                    Edit::of(body).set("/spec/persistentVolumeReclaimPolicy", "Retain"),
                )
                .done(),
            );
        }
        if bound && let Some(finding) = pinned(object, body, claim, &nodes, &users) {
            findings.push(finding);
        }
    }
}

/// Nodes by zone and pool.
struct Nodes<'a> {
    /// Zone, pool, name.
    all: Vec<(&'a str, &'a str, &'a str)>,
    /// The pool of each.
    pools: BTreeMap<&'a str, &'a str>,
}

impl<'a> Nodes<'a> {
    fn of(scene: &Scene<'a>) -> Self {
        let all: Vec<(&str, &str, &str)> = scene
            .kind("Node")
            .iter()
            .filter(|(_, body)| flag(body, "/spec/unschedulable") != Some(true))
            .filter_map(|(object, body)| {
                let labels = body.pointer("/metadata/labels")?;
                let pool = POOL
                    .iter()
                    .find_map(|key| labels.get(*key))
                    .and_then(Value::as_str);
                Some((zone(body)?, pool.unwrap_or_default(), &*object.name))
            })
            .collect();
        let mut pools = BTreeMap::new();
        for (_, pool, name) in &all {
            // Of two of one name the first one counts.
            pools.entry(*name).or_insert(*pool);
        }
        Self { all, pools }
    }
}

/// The node of the pod that uses each claim.
fn claim_users<'a>(scene: &Scene<'a>) -> BTreeMap<(&'a str, &'a str), (&'a str, &'a str)> {
    let mut users = BTreeMap::new();
    for pod in &scene.pods {
        let Some(node) = pod.node() else { continue };
        for claim in &pod.facts.claims {
            users.insert((namespace(pod.object), *claim), (&*pod.object.name, node));
        }
    }
    users
}

/// Zones that a volume can be attached in.
fn zones<'a>(body: &'a Value) -> BTreeSet<&'a str> {
    list(body, "/spec/nodeAffinity/required/nodeSelectorTerms")
        .iter()
        .flat_map(|term| list(term, "/matchExpressions"))
        .filter(|entry| {
            text(entry, "/key").is_some_and(|key| key == ZONE || key.ends_with("/zone"))
                && text(entry, "/operator") == Some("In")
        })
        .flat_map(|entry| texts(entry, "/values"))
        .filter(|zone: &&'a str| !zone.is_empty())
        .collect()
}

/// A volume that only one node can attach: while that node drains, its pod has nowhere to go.
fn pinned(
    object: &crate::manifest::Object,
    body: &Value,
    claim: (&str, &str),
    nodes: &Nodes<'_>,
    users: &BTreeMap<(&str, &str), (&str, &str)>,
) -> Option<Finding> {
    let zones = zones(body);
    let (pod, node) = users.get(&claim)?;
    if zones.is_empty() || nodes.all.is_empty() {
        return None;
    }
    let pool = nodes.pools.get(node).copied();
    let another = nodes
        .all
        .iter()
        .any(|(zone, of, name)| zones.contains(zone) && Some(*of) == pool && name != node);
    if another {
        return None;
    }
    let zones: Vec<&str> = zones.into_iter().collect();
    let zones = zones.join(", ");
    Some(
        Draft::new(
            codes::PINNED_VOLUME,
            Severity::Blocks,
            object,
            format!(
                "the disk of pod {}/{pod} is in zone {zones}, and {node} is the only node of its pool there: when it drains, the pod \
                 stays Pending unless the surge node happens to come up in that zone",
                claim.0
            ),
        )
        .saw("volume", format!("nodeAffinity: {zones}"))
        .saw("nodes", format!("no other schedulable node of pool {} in {zones}", pool.unwrap_or("?")))
        .fix(
            "have a second node in that zone for the time of the upgrade (scale the pool to a multiple of its zones, and surge by \
             a multiple of them: az aks nodepool update --max-surge 3)",
        )
        .done(),
    )
}

/// Storage classes that are used.
fn classes(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let mut used: BTreeMap<&str, String> = BTreeMap::new();
    for workload in &scene.workloads {
        for claim in list(workload.body, "/spec/volumeClaimTemplates") {
            if let Some(class) = text(claim, "/spec/storageClassName") {
                used.entry(class).or_insert_with(|| workload.name());
            }
        }
    }
    for (object, body) in scene.kind("PersistentVolumeClaim") {
        if let Some(class) = text(body, "/spec/storageClassName") {
            used.entry(class)
                .or_insert_with(|| super::scene::full_name(object));
        }
    }
    for (object, body) in scene.kind("StorageClass") {
        let default = [
            "storageclass.kubernetes.io",
            "storageclass.beta.kubernetes.io",
        ]
        .iter()
        .any(|domain| {
            text(
                body,
                &format!("/metadata/annotations/{domain}~1is-default-class"),
            ) == Some("true")
        });
        let user = match used.get(&*object.name) {
            Some(user) => user.clone(),
            None if default => "it is the default".to_owned(),
            None => continue,
        };
        if text(body, "/reclaimPolicy").unwrap_or("Delete") == "Delete"
            && used.contains_key(&*object.name)
        {
            findings.push(
                Draft::new(
                    codes::RECLAIM_DELETE,
                    Severity::Warning,
                    object,
                    format!("disks of this class go with their claims ({user})"),
                )
                .saw("storage-class", "reclaimPolicy Delete")
                .fix("make a class with Retain for databases (a class cannot be changed: create it anew; disks that exist keep their own policy)")
                .change(object, Edit::of(body).set("/reclaimPolicy", "Retain"))
                .done(),
            );
        }
        let zonal = text(body, "/provisioner").is_some_and(|known| ZONAL.contains(&known));
        if zonal && text(body, "/volumeBindingMode").unwrap_or("Immediate") == "Immediate" {
            findings.push(
                Draft::new(
                    codes::IMMEDIATE_BINDING,
                    Severity::Warning,
                    object,
                    format!("a disk is made in some zone before anybody knows where its pod will run ({user})"),
                )
                .saw("storage-class", "volumeBindingMode Immediate with a zonal provisioner")
                .fix("bind when the first pod is scheduled (a class cannot be changed: create it anew)")
                .change(
                    object,
                    Edit::of(body).set("/volumeBindingMode", "WaitForFirstConsumer"),
                )
                .done(),
            );
        }
    }
}
