//! Which change of version can be made by rule, and what else it changes.
//!
//! A rule is here only when the object means the same afterwards. Where the new version has other
//! defaults, the old ones are written out.

use serde_json::{Map, Value, json};

/// What a rule did beside the version; or why it cannot be one.
pub(super) type Outcome = Result<Vec<String>, String>;

/// A change of an object's fields, in place.
type Rule = fn(&mut Value) -> Outcome;

/// The rule for a change of version.
pub(super) fn rule(from: &str, kind: &str, to: &str) -> Option<Rule> {
    let (group, version) = split(from);
    let (to_group, to_version) = split(to);
    let rule: Rule = match (group, version, kind, to_group, to_version) {
        ("extensions" | "networking.k8s.io", "v1beta1", "Ingress", "networking.k8s.io", "v1") => {
            ingress
        }
        ("policy", "v1beta1", "PodDisruptionBudget", "policy", "v1") => budget,
        ("autoscaling", "v2beta1", "HorizontalPodAutoscaler", "autoscaling", "v2" | "v2beta2") => {
            scaler
        }
        ("extensions", "v1beta1", "Deployment", "apps", "v1") => deployment_extensions,
        ("apps", "v1beta1", "Deployment", "apps", "v1") => deployment_v1beta1,
        ("extensions", "v1beta1", "DaemonSet", "apps", "v1") => daemon_set_extensions,
        ("apps", "v1beta1", "StatefulSet", "apps", "v1") => stateful_set_v1beta1,
        ("extensions", "v1beta1", "ReplicaSet", "apps", "v1") => selector,
        (
            "apps",
            "v1beta2",
            "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet",
            "apps",
            "v1",
        ) => same,
        (
            "admissionregistration.k8s.io",
            "v1beta1",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
            "admissionregistration.k8s.io",
            "v1",
        ) => webhooks,
        (
            "flowcontrol.apiserver.k8s.io",
            "v1beta1" | "v1beta2",
            "PriorityLevelConfiguration",
            "flowcontrol.apiserver.k8s.io",
            "v1beta3",
        ) => shares,
        (
            "flowcontrol.apiserver.k8s.io",
            "v1beta1" | "v1beta2" | "v1beta3",
            "PriorityLevelConfiguration",
            "flowcontrol.apiserver.k8s.io",
            "v1",
        ) => shares_v1,
        (
            "rbac.authorization.k8s.io",
            "v1alpha1",
            "RoleBinding" | "ClusterRoleBinding",
            "rbac.authorization.k8s.io",
            "v1",
        ) => subjects,
        ("discovery.k8s.io", "v1beta1", "EndpointSlice", "discovery.k8s.io", "v1") => topology,
        _ if keeps_its_fields(group, version, kind) && may_go_to(group, to_group, to_version) => {
            same
        }
        _ => return None,
    };
    Some(rule)
}

/// The same group; and for one that moved, where it moved to.
fn may_go_to(group: &str, to_group: &str, to_version: &str) -> bool {
    (group == to_group || (group, to_group) == ("extensions", "networking.k8s.io"))
        && !to_version.contains("alpha")
}

/// Kinds whose newer versions have the same fields with the same meaning.
///
/// # Source
/// The types of both versions in `k8s.io/api`, and the deprecated API migration guide.
fn keeps_its_fields(group: &str, version: &str, kind: &str) -> bool {
    matches!(
        (group, version, kind),
        ("batch", "v1beta1" | "v2alpha1", "CronJob")
            | ("autoscaling", "v2beta2", "HorizontalPodAutoscaler")
            | ("node.k8s.io", "v1beta1", "RuntimeClass")
            | ("coordination.k8s.io", "v1beta1", "Lease")
            | ("scheduling.k8s.io", "v1beta1" | "v1alpha1", "PriorityClass")
            | (
                "storage.k8s.io",
                "v1beta1",
                "StorageClass"
                    | "CSINode"
                    | "CSIStorageCapacity"
                    | "VolumeAttachment"
                    | "CSIDriver"
            )
            | (
                "storage.k8s.io",
                "v1alpha1" | "v1beta1",
                "VolumeAttributesClass"
            )
            | (
                "rbac.authorization.k8s.io",
                "v1beta1",
                "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding"
            )
            | (
                "rbac.authorization.k8s.io",
                "v1alpha1",
                "Role" | "ClusterRole"
            )
            | (
                "networking.k8s.io",
                "v1beta1",
                "IngressClass" | "IPAddress" | "ServiceCIDR"
            )
            | ("networking.k8s.io", "v1alpha1", "IPAddress" | "ServiceCIDR")
            | ("extensions", "v1beta1", "NetworkPolicy")
            | ("apiregistration.k8s.io", "v1beta1", "APIService")
            | (
                "admissionregistration.k8s.io",
                "v1beta1",
                "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding"
            )
            | (
                "flowcontrol.apiserver.k8s.io",
                "v1alpha1" | "v1beta1" | "v1beta2" | "v1beta3",
                "FlowSchema"
            )
            | (
                "snapshot.storage.k8s.io",
                "v1beta1",
                "VolumeSnapshot" | "VolumeSnapshotClass" | "VolumeSnapshotContent"
            )
            | ("gateway.networking.k8s.io", "v1alpha2", "ReferenceGrant")
    )
}

fn split(api: &str) -> (&str, &str) {
    api.split_once('/').unwrap_or(("", api))
}

#[expect(clippy::unnecessary_wraps, reason = "a rule like the others")]
fn same(_: &mut Value) -> Outcome {
    Ok(Vec::new())
}

fn object<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Map<String, Value>> {
    value.pointer_mut(path).and_then(Value::as_object_mut)
}

/// An empty selector matched nothing in `v1beta1` and matches everything in `v1`.
fn budget(value: &mut Value) -> Outcome {
    let selector = value
        .pointer("/spec/selector")
        .filter(|selector| !selector.is_null());
    let empty = selector.is_some_and(|selector| {
        let none = |key: &str| match selector.get(key) {
            None | Some(Value::Null) => true,
            Some(Value::Object(all)) => all.is_empty(),
            Some(Value::Array(all)) => all.is_empty(),
            Some(_) => false,
        };
        none("matchLabels") && none("matchExpressions")
    });
    if empty {
        return Err(
            "its selector is empty: that matched no pod in v1beta1 and matches every pod of the namespace in v1; say which pods it is \
             for, or delete it"
                .to_owned(),
        );
    }
    Ok(Vec::new())
}

fn ingress(value: &mut Value) -> Outcome {
    let mut notes = Vec::new();
    if let Some(spec) = object(value, "/spec") {
        if let Some(mut backend) = spec.remove("backend") {
            ingress_backend(&mut backend)?;
            spec.insert("defaultBackend".to_owned(), backend);
            notes.push("spec.backend became spec.defaultBackend".to_owned());
        }
        for rule in spec
            .get_mut("rules")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let paths = rule
                .pointer_mut("/http/paths")
                .and_then(Value::as_array_mut);
            for path in paths.into_iter().flatten() {
                let Some(fields) = path.as_object_mut() else {
                    continue;
                };
                if !fields.contains_key("pathType") {
                    fields.insert("pathType".to_owned(), Value::from("ImplementationSpecific"));
                    notes.push(
                        "pathType ImplementationSpecific, which it was by default".to_owned(),
                    );
                }
                if let Some(backend) = fields.get_mut("backend") {
                    ingress_backend(backend)?;
                }
            }
        }
    }
    notes.push("backends name service.name and service.port".to_owned());
    notes.sort();
    notes.dedup();
    Ok(notes)
}

fn ingress_backend(backend: &mut Value) -> Result<(), String> {
    let Some(fields) = backend.as_object_mut() else {
        return Err("a backend is not a mapping".to_owned());
    };
    let Some(name) = fields.remove("serviceName") else {
        return Ok(());
    };
    let port = match fields.remove("servicePort") {
        Some(Value::Number(number)) => json!({ "number": number }),
        // A text of digits was read as a number.
        Some(Value::String(text)) => match text.parse::<u16>() {
            Ok(number) => json!({ "number": number }),
            Err(_) => json!({ "name": text }),
        },
        _ => return Err("a backend has no servicePort".to_owned()),
    };
    fields.insert("service".to_owned(), json!({ "name": name, "port": port }));
    Ok(())
}

/// Each metric of `v2beta1` keeps its target beside its name; later ones below `target`.
fn scaler(value: &mut Value) -> Outcome {
    let metrics = value
        .pointer_mut("/spec/metrics")
        .and_then(Value::as_array_mut);
    for metric in metrics.into_iter().flatten() {
        let kind = metric
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let field = match kind.as_str() {
            "Resource" => "resource",
            "ContainerResource" => "containerResource",
            "Pods" => "pods",
            "Object" => "object",
            "External" => "external",
            _ => return Err(format!("a metric of type {kind:?} is not known")),
        };
        let Some(source) = metric.get_mut(field).and_then(Value::as_object_mut) else {
            return Err(format!("a metric of type {kind} has no {field}"));
        };
        if kind == "Object"
            && let Some(described) = source.remove("target")
        {
            source.insert("describedObject".to_owned(), described);
        }
        let target = [
            (
                "targetAverageUtilization",
                "Utilization",
                "averageUtilization",
            ),
            ("targetAverageValue", "AverageValue", "averageValue"),
            ("averageValue", "AverageValue", "averageValue"),
            ("targetValue", "Value", "value"),
        ]
        .into_iter()
        .filter_map(|(old, kind, new)| Some((source.remove(old)?, kind, new)))
        .next();
        let Some((amount, target_kind, name)) = target else {
            return Err(format!("a metric of type {kind} has no target"));
        };
        source.insert(
            "target".to_owned(),
            json!({ "type": target_kind, name: amount }),
        );
        if let Some(name) = source.remove("metricName") {
            let mut identifier = json!({ "name": name });
            let selector = source
                .remove("selector")
                .or_else(|| source.remove("metricSelector"));
            if let (Some(selector), Some(fields)) = (selector, identifier.as_object_mut()) {
                fields.insert("selector".to_owned(), selector);
            }
            source.insert("metric".to_owned(), identifier);
        }
    }
    Ok(vec!["each metric names its target".to_owned()])
}

/// The selector was the template's labels when nobody gave one.
fn selector(value: &mut Value) -> Outcome {
    let mut notes = Vec::new();
    let given = value
        .pointer("/spec/selector")
        .is_some_and(|selector| !selector.is_null());
    if !given {
        let labels = value.pointer("/spec/template/metadata/labels").cloned();
        let Some(labels) =
            labels.filter(|labels| labels.as_object().is_some_and(|all| !all.is_empty()))
        else {
            return Err("it has neither a selector nor labels of its pods".to_owned());
        };
        if let Some(spec) = object(value, "/spec") {
            spec.insert("selector".to_owned(), json!({ "matchLabels": labels }));
            notes.push("spec.selector is written out (it cannot be changed later)".to_owned());
        }
    }
    Ok(notes)
}

/// Writes a default of the old version out, where nothing is given.
fn keep(value: &mut Value, parent: &str, field: &str, default: Value, notes: &mut Vec<String>) {
    if let Some(fields) = object(value, parent)
        && !fields.contains_key(field)
    {
        notes.push(format!(
            "{field} {default} is written out, the default of the old version"
        ));
        fields.insert(field.to_owned(), default);
    }
}

fn deployment_extensions(value: &mut Value) -> Outcome {
    let mut notes = selector(value)?;
    rolling(
        value,
        json!({ "maxSurge": 1, "maxUnavailable": 1 }),
        &mut notes,
    );
    keep(
        value,
        "/spec",
        "revisionHistoryLimit",
        json!(i32::MAX),
        &mut notes,
    );
    keep(
        value,
        "/spec",
        "progressDeadlineSeconds",
        json!(i32::MAX),
        &mut notes,
    );
    roll_back(value, &mut notes);
    Ok(notes)
}

fn deployment_v1beta1(value: &mut Value) -> Outcome {
    let mut notes = selector(value)?;
    keep(value, "/spec", "revisionHistoryLimit", json!(2), &mut notes);
    roll_back(value, &mut notes);
    Ok(notes)
}

fn rolling(value: &mut Value, default: Value, notes: &mut Vec<String>) {
    let recreate = value.pointer("/spec/strategy/type").and_then(Value::as_str) == Some("Recreate");
    if recreate {
        return;
    }
    keep(
        value,
        "/spec",
        "strategy",
        json!({ "type": "RollingUpdate" }),
        notes,
    );
    keep(
        value,
        "/spec/strategy",
        "rollingUpdate",
        default.clone(),
        notes,
    );
    for field in ["maxSurge", "maxUnavailable"] {
        let of = default.get(field).cloned().unwrap_or(Value::Null);
        keep(value, "/spec/strategy/rollingUpdate", field, of, notes);
    }
}

fn roll_back(value: &mut Value, notes: &mut Vec<String>) {
    if object(value, "/spec")
        .and_then(|spec| spec.remove("rollbackTo"))
        .is_some()
    {
        notes.push("spec.rollbackTo is gone".to_owned());
    }
}

fn daemon_set_extensions(value: &mut Value) -> Outcome {
    let mut notes = selector(value)?;
    keep(
        value,
        "/spec",
        "updateStrategy",
        json!({ "type": "OnDelete" }),
        &mut notes,
    );
    if object(value, "/spec")
        .and_then(|spec| spec.remove("templateGeneration"))
        .is_some()
    {
        notes.push("spec.templateGeneration is gone".to_owned());
    }
    Ok(notes)
}

fn stateful_set_v1beta1(value: &mut Value) -> Outcome {
    let mut notes = selector(value)?;
    keep(
        value,
        "/spec",
        "updateStrategy",
        json!({ "type": "OnDelete" }),
        &mut notes,
    );
    Ok(notes)
}

/// `v1` has other defaults and two fields that must be given.
fn webhooks(value: &mut Value) -> Outcome {
    let mut notes = Vec::new();
    let all = value.get_mut("webhooks").and_then(Value::as_array_mut);
    for webhook in all.into_iter().flatten() {
        let effects = webhook
            .get("sideEffects")
            .and_then(Value::as_str)
            .unwrap_or("Unknown")
            .to_owned();
        if !matches!(effects.as_str(), "None" | "NoneOnDryRun") {
            let name = webhook.get("name").and_then(Value::as_str).unwrap_or("?");
            return Err(format!(
                "sideEffects of {name} is {effects}, which v1 does not take: only who wrote the webhook knows whether it is None or \
                 NoneOnDryRun"
            ));
        }
        for (field, default) in [
            ("failurePolicy", json!("Ignore")),
            ("matchPolicy", json!("Exact")),
            ("timeoutSeconds", json!(30)),
            ("admissionReviewVersions", json!(["v1beta1"])),
        ] {
            keep(webhook, "", field, default, &mut notes);
        }
    }
    notes.sort();
    notes.dedup();
    Ok(notes)
}

fn shares(value: &mut Value) -> Outcome {
    let mut notes = Vec::new();
    if let Some(limited) = object(value, "/spec/limited")
        && let Some(shares) = limited.remove("assuredConcurrencyShares")
    {
        limited.insert("nominalConcurrencyShares".to_owned(), shares);
        notes.push("assuredConcurrencyShares became nominalConcurrencyShares".to_owned());
    }
    Ok(notes)
}

fn shares_v1(value: &mut Value) -> Outcome {
    let mut notes = shares(value)?;
    if let Some(limited) = object(value, "/spec/limited")
        && limited
            .get("nominalConcurrencyShares")
            .and_then(Value::as_i64)
            == Some(0)
    {
        limited.insert("nominalConcurrencyShares".to_owned(), Value::from(30));
        notes.push(
            "nominalConcurrencyShares 0 meant 30, and means 0 in v1: 30 is written out".to_owned(),
        );
    }
    Ok(notes)
}

fn subjects(value: &mut Value) -> Outcome {
    let all = value.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in all.into_iter().flatten() {
        let Some(fields) = subject.as_object_mut() else {
            continue;
        };
        if let Some(api) = fields.remove("apiVersion") {
            let group = api.as_str().unwrap_or_default();
            let group = group.split_once('/').map_or("", |(group, _)| group);
            fields.insert("apiGroup".to_owned(), Value::from(group));
        }
    }
    Ok(vec!["subjects name apiGroup".to_owned()])
}

fn topology(value: &mut Value) -> Outcome {
    let all = value.get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in all.into_iter().flatten() {
        let Some(fields) = endpoint.as_object_mut() else {
            continue;
        };
        let Some(Value::Object(mut topology)) = fields.remove("topology") else {
            continue;
        };
        if let Some(node) = topology.remove("kubernetes.io/hostname") {
            fields.entry("nodeName").or_insert(node);
        }
        if let Some(zone) = topology.remove("topology.kubernetes.io/zone") {
            fields.insert("zone".to_owned(), zone);
        }
        topology.remove("topology.kubernetes.io/region");
        if !topology.is_empty() {
            fields.insert("deprecatedTopology".to_owned(), Value::Object(topology));
        }
    }
    Ok(vec!["topology became nodeName and zone".to_owned()])
}
