//! Admission webhooks that run inside the cluster they judge: when their pods are the ones being
//! drained, nobody can admit the pods that would replace them.

use serde_json::{Value, json};

use super::draft::{Draft, Edit};
use super::scene::{Scene, Workload, full_name};
use super::select::Selector;
use super::values::{int, list, text, texts};
use crate::codes;
use crate::findings::{Finding, Severity};
use crate::manifest::Object;

/// The label that every namespace has.
const NAME: &str = "kubernetes.io/metadata.name";

/// Longer than this, a webhook that is away holds every request up more than a client waits.
const PATIENT: i64 = 10;

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for kind in [
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
    ] {
        for (object, body) in scene.kind(kind) {
            for (i, webhook) in list(body, "/webhooks").iter().enumerate() {
                one(
                    scene,
                    object,
                    body,
                    &format!("/webhooks/{i}"),
                    webhook,
                    findings,
                );
            }
        }
    }
}

fn one(
    scene: &Scene<'_>,
    object: &Object,
    body: &Value,
    path: &str,
    webhook: &Value,
    findings: &mut Vec<Finding>,
) {
    let name = text(webhook, "/name").unwrap_or("?");
    if takes(webhook, "", "pods/eviction") {
        findings.push(
            Draft::new(
                codes::WEBHOOK_ON_EVICTION,
                Severity::Warning,
                object,
                format!("{name} is asked about every eviction: when it denies one, AKS gives the node's drain up within seconds"),
            )
            .saw("webhook", "its rules have pods/eviction")
            .fix("move the pods that it guards before the upgrade (an operator's rolling restart), and watch that it answers")
            .done(),
        );
    }
    // v1beta1 ignored failures when nothing was said.
    let silent = if object.api.ends_with("v1beta1") {
        "Ignore"
    } else {
        "Fail"
    };
    let fails = text(webhook, "/failurePolicy").unwrap_or(silent) == "Fail";
    let service = (
        text(webhook, "/clientConfig/service/namespace"),
        text(webhook, "/clientConfig/service/name"),
    );
    let (Some(home), Some(backend)) = service else {
        return;
    };
    let judges_pods = takes(webhook, "", "pods");
    let judges_nodes = takes(webhook, "", "nodes");
    if !fails || !(judges_pods || judges_nodes) {
        return;
    }
    let what = if judges_pods { "pods" } else { "nodes" };
    let backends = behind(scene, home, backend);
    let excludes = |namespace: &str| !selects(scene, webhook, namespace);
    let mut exposed: Vec<&str> = Vec::new();
    if judges_pods && !excludes(home) && !spares(webhook, &backends) {
        exposed.push(home);
        let draft = Draft::new(
            codes::WEBHOOK_SPIRAL,
            Severity::Blocks,
            object,
            format!(
                "{name} must admit {what} of its own namespace {home}: once its pods are drained away, nobody admits the ones that \
                 replace them, and then no pod starts anywhere"
            ),
        )
        .saw("webhook", format!("failurePolicy Fail, served by Service {home}/{backend} in this cluster"))
        .saw(
            "backend",
            if backends.is_empty() {
                "the input does not have what runs behind it".to_owned()
            } else {
                backends
                    .iter()
                    .map(|workload| format!("{} with {} replicas", workload.name(), workload.fewest().unwrap_or(1)))
                    .collect::<Vec<_>>()
                    .join(", ")
            },
        )
        .fix("leave its own namespace and kube-system out");
        findings.push(leave_out(draft, object, body, path, webhook, &[home, "kube-system"]).done());
    }
    if home != "kube-system" && exposed.is_empty() && !excludes("kube-system") {
        let draft = Draft::new(
            codes::WEBHOOK_ON_SYSTEM,
            Severity::Warning,
            object,
            format!("{name} must admit {what} of kube-system: while it is away no DNS, network or disk driver starts on a new node"),
        )
        .saw("webhook", format!("failurePolicy Fail, served by Service {home}/{backend} in this cluster"))
        .fix("leave kube-system out");
        findings.push(leave_out(draft, object, body, path, webhook, &["kube-system"]).done());
    }
    for workload in &backends {
        if workload.makes.scales() && workload.fewest() == Some(1) {
            findings.push(lone(object, name, workload));
        }
    }
    let patience = int(webhook, "/timeoutSeconds");
    if let Some(seconds) = patience.filter(|seconds| *seconds > PATIENT) {
        findings.push(
            Draft::new(
                codes::WEBHOOK_PATIENCE,
                Severity::Warning,
                object,
                format!("every change of {what} waits {seconds} s for {name} while it is away"),
            )
            .saw(
                "webhook",
                format!("timeoutSeconds {seconds}, failurePolicy Fail"),
            )
            .fix("wait a few seconds at most")
            .change(
                object,
                Edit::of(body).set(&format!("{path}/timeoutSeconds"), 5),
            )
            .done(),
        );
    }
}

fn lone(object: &Object, name: &str, workload: &Workload<'_>) -> Finding {
    let draft = Draft::new(
        codes::WEBHOOK_ALONE,
        Severity::Warning,
        object,
        format!(
            "{name} has one pod ({}): while its node drains nothing is admitted",
            workload.name()
        ),
    )
    .saw("backend", format!("{} has one replica", workload.name()))
    .fix("run two of them");
    match workload.scaler {
        Some((scaler, body)) => draft.change(scaler, Edit::of(body).set("/spec/minReplicas", 2)),
        None => draft.change(
            workload.object,
            Edit::of(workload.body).set("/spec/replicas", 2),
        ),
    }
    .done()
}

/// Do its rules take this resource of this group?
fn takes(webhook: &Value, group: &str, resource: &str) -> bool {
    let operations_matter = |rule: &Value| {
        let all = texts(rule, "/operations");
        all.iter()
            .any(|one| matches!(*one, "*" | "CREATE" | "UPDATE"))
    };
    list(webhook, "/rules").iter().any(|rule| {
        let groups = texts(rule, "/apiGroups");
        let resources = texts(rule, "/resources");
        let subresource = resource.contains('/');
        let named = resources.iter().any(|one| {
            *one == resource
                || *one == "*/*"
                || (*one == "*" && !subresource)
                || (subresource
                    && resource.split_once('/').is_some_and(|(main, sub)| {
                        *one == format!("{main}/*") || *one == format!("*/{sub}")
                    }))
        });
        // `*/*` on everything is not meant for evictions, and is asked about them all the same.
        (groups.contains(&group) || groups.contains(&"*")) && named && operations_matter(rule)
    })
}

/// Does the webhook judge objects of a namespace?
fn selects(scene: &Scene<'_>, webhook: &Value, namespace: &str) -> bool {
    let Some(selector) = webhook
        .pointer("/namespaceSelector")
        .filter(|value| !value.is_null())
    else {
        return true;
    };
    let labels = scene
        .kind("Namespace")
        .iter()
        .find(|(object, _)| &*object.name == namespace)
        .and_then(|(_, body)| body.pointer("/metadata/labels"))
        .and_then(Value::as_object)
        .cloned();
    let mut labels = labels.unwrap_or_default();
    labels.insert(NAME.to_owned(), Value::from(namespace));
    Selector::of(Some(selector)).picks(Some(&labels))
}

/// Does its objectSelector leave its own pods out?
fn spares(webhook: &Value, backends: &[&Workload<'_>]) -> bool {
    let Some(selector) = webhook
        .pointer("/objectSelector")
        .filter(|value| !value.is_null())
    else {
        return false;
    };
    let selector = Selector::of(Some(selector));
    !backends.is_empty()
        && backends
            .iter()
            .all(|workload| !selector.picks(workload.labels()))
}

/// What runs behind a Service.
fn behind<'s, 'a>(scene: &'s Scene<'a>, home: &str, service: &str) -> Vec<&'s Workload<'a>> {
    let Some((_, body)) = scene.get("Service", home, service) else {
        return Vec::new();
    };
    scene.picked(home, &Selector::plain(body.pointer("/spec/selector")))
}

fn leave_out(
    draft: Draft,
    object: &Object,
    body: &Value,
    path: &str,
    webhook: &Value,
    namespaces: &[&str],
) -> Draft {
    let condition = json!({ "key": NAME, "operator": "NotIn", "values": namespaces });
    let at = format!("{path}/namespaceSelector");
    let edit = if webhook
        .pointer("/namespaceSelector")
        .is_some_and(Value::is_object)
    {
        Edit::of(body).push(&format!("{at}/matchExpressions"), condition)
    } else {
        Edit::of(body).set(&at, json!({ "matchExpressions": [condition] }))
    };
    draft
        .owner(match &object.detail {
            Some(_) => object.owner(),
            None => format!("whoever keeps {}", full_name(object)),
        })
        .change(object, edit)
}
