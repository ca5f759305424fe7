//! Pods that nobody makes again.

use serde_json::{Value, json};

use super::draft::Draft;
use super::scene::{Makes, Scene, Workload};
use super::values::{has, list, text};
use crate::codes;
use crate::findings::{Finding, Severity};

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for workload in &scene.workloads {
        if workload.makes == Makes::Naked {
            findings.extend(naked(workload));
        }
    }
}

fn naked(workload: &Workload<'_>) -> Option<Finding> {
    let body = workload.body;
    let finished = matches!(text(body, "/status/phase"), Some("Succeeded" | "Failed"));
    // The kubelet makes its own pods again.
    let mirror = has(body, "/metadata/annotations/kubernetes.io~1config.mirror")
        || list(body, "/metadata/ownerReferences")
            .iter()
            .any(|owner| text(owner, "/kind") == Some("Node"));
    if finished || mirror {
        return None;
    }
    // Run once, by hand: its end is its purpose.
    let once = matches!(
        text(body, "/spec/restartPolicy"),
        Some("Never" | "OnFailure")
    );
    let owned = has(body, "/metadata/ownerReferences/0");
    let draft = Draft::new(
        codes::NAKED_POD,
        if once { Severity::Info } else { Severity::Warning },
        workload.object,
        "nobody makes this pod again: a drain ends it for good (kubectl drain refuses without --force, AKS deletes it)",
    )
    .saw("pod", if owned { "its owner is not its controller" } else { "no owner" });
    Some(
        draft
            .fix("put it under a controller")
            .create(under_controller(workload, once))
            .delete(workload.object)
            .done(),
    )
}

fn under_controller(workload: &Workload<'_>, once: bool) -> Value {
    let name = &*workload.object.name;
    let labels = workload
        .body
        .pointer("/metadata/labels")
        .filter(|labels| labels.as_object().is_some_and(|all| !all.is_empty()))
        .cloned()
        .unwrap_or_else(|| json!({ "app": name }));
    let mut spec = workload
        .body
        .pointer("/spec")
        .cloned()
        .unwrap_or(Value::Null);
    if let Some(fields) = spec.as_object_mut() {
        // What a cluster added.
        for given in ["nodeName", "serviceAccount", "preemptionPolicy", "priority"] {
            fields.remove(given);
        }
    }
    tokens(&mut spec);
    let mut metadata = json!({ "name": name });
    if let (Some(namespace), Some(fields)) = (&workload.object.namespace, metadata.as_object_mut())
    {
        fields.insert("namespace".to_owned(), Value::from(&**namespace));
    }
    let template = json!({ "metadata": { "labels": labels }, "spec": spec });
    if once {
        json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": { "template": template } })
    } else {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": { "replicas": 1, "selector": { "matchLabels": labels }, "template": template },
        })
    }
}

/// Takes the token's volume out, which each pod gets by itself.
fn tokens(spec: &mut Value) {
    let is_token = |entry: &Value| {
        text(entry, "/name").is_some_and(|name| name.starts_with("kube-api-access-"))
    };
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| !is_token(volume));
    }
    for list in ["containers", "initContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(mounts) = container
                .get_mut("volumeMounts")
                .and_then(Value::as_array_mut)
            {
                mounts.retain(|mount| !is_token(mount));
            }
        }
    }
}
