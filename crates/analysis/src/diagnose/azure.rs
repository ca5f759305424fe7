//! What Azure said: errors of operations, of clusters and pools, of the activity log, and texts that somebody copied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::case::Case;
use super::known::{Source, recognise};
use super::ward::Ward;
use super::{Symptom, codes};
use crate::deprecations::{Usage, Witness, read_usages};
use crate::findings::{ObjectRef, Place};
use crate::manifest::Object;
use crate::resilience::values::text;

/// Reasons of AKS's own events on nodes.
const UPGRADER: [&str; 3] = ["Drain", "Surge", "Upgrade"];

/// An error as somebody saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Where it is from: a file's name, or `<error>`.
    pub name: String,
    /// The text, or a JSON document that holds it.
    pub text: String,
}

pub(crate) fn check(ward: &Ward<'_>, texts: &[Text], usages: &[Usage], cases: &mut Vec<Case>) {
    let mut calls: Vec<Usage> = usages
        .iter()
        .filter(|usage| usage.seen_by == Witness::Refusal)
        .cloned()
        .collect();
    let mut sources = Vec::new();
    for text in texts {
        calls.extend(read_usages(&Arc::from(text.name.as_str()), &text.text));
        sources.push(Source {
            object: ObjectRef {
                api_version: String::new(),
                kind: "Error".to_owned(),
                namespace: None,
                name: String::new(),
            },
            place: Place {
                file: text.name.clone(),
                line: 1,
            },
            class: "error",
            text: plain(&text.text),
            must_be_known: true,
        });
    }
    operations(ward, &mut sources);
    events(ward, &mut sources);
    for source in &sources {
        cases.extend(recognise(ward, source));
    }
    old_api(&sources, &calls, cases);
}

/// Operations, resources and entries of the activity log that ended badly.
fn operations(ward: &Ward<'_>, sources: &mut Vec<Source>) {
    let mut add = |object: &Object, class, text: String| {
        sources.push(Source {
            object: object.reference(),
            place: object.place(),
            class,
            text,
            must_be_known: true,
        });
    };
    // A pool comes in its cluster's answer and in one of its own: the own one counts.
    let mut resources: BTreeMap<(&str, &str), (&Object, &Value)> = BTreeMap::new();
    for kind in ["ManagedCluster", "AgentPool"] {
        for (object, body) in ward.scene.kind(kind) {
            let own = text(body, "/id").is_some();
            let key = (kind, &*object.name);
            if own || !resources.contains_key(&key) {
                resources.insert(key, (*object, *body));
            }
        }
    }
    for (object, body) in resources.into_values() {
        let state = text(body, "/provisioningState").unwrap_or_default();
        if !matches!(state, "Failed" | "Canceled") {
            continue;
        }
        let error = body.pointer("/status/provisioningError");
        let said = error.map_or(String::new(), strings);
        add(
            object,
            "arm",
            format!("provisioningState {state}. {said}")
                .trim()
                .to_owned(),
        );
    }
    for (object, body) in ward.scene.kind("Operation") {
        if matches!(text(body, "/status"), Some("Failed" | "Canceled")) {
            let state = text(body, "/status").unwrap_or_default();
            let said = body.get("error").map_or(String::new(), strings);
            add(
                object,
                "operation",
                format!("operation {state}. {said}").trim().to_owned(),
            );
        }
    }
    for (object, body) in ward.scene.kind("Activity") {
        if text(body, "/status/value") != Some("Failed") {
            continue;
        }
        let said = body
            .pointer("/properties/statusMessage")
            .or_else(|| body.pointer("/statusMessage"))
            .and_then(Value::as_str)
            .map_or_else(|| strings(body), plain);
        add(object, "activity log", said);
    }
}

/// AKS's own events on nodes: they say more than its errors, and hold no code.
fn events(ward: &Ward<'_>, sources: &mut Vec<Source>) {
    let mut seen = BTreeSet::new();
    for event in &ward.events {
        if event.is_warning
            && event.about.0 == "Node"
            && UPGRADER.contains(&event.reason)
            && seen.insert(event.message)
        {
            sources.push(Source {
                object: event.object.reference(),
                place: event.object.place(),
                class: "event",
                text: event.words(),
                must_be_known: false,
            });
        }
    }
}

/// Old versions that AKS saw, all in one cause: the operation is refused until the last of them is twelve hours old.
fn old_api(sources: &[Source], calls: &[Usage], cases: &mut Vec<Case>) {
    const CODE: &str = "UpgradeBlockedOnDeprecatedAPIUsage";
    let said = sources.iter().find(|source| source.text.contains(CODE));
    let (object, place) = match (said, calls.first()) {
        (Some(source), _) => (source.object.clone(), source.place.clone()),
        (None, Some(usage)) => (
            ObjectRef {
                api_version: format!("{}/{}", usage.group, usage.version),
                kind: usage.resource.clone(),
                namespace: None,
                name: String::new(),
            },
            Place {
                file: usage.file.to_string(),
                line: usage.line,
            },
        ),
        (None, None) => return,
    };
    let mut seen = BTreeSet::new();
    let lines: Vec<String> = calls
        .iter()
        .map(|usage| {
            let goes = usage
                .removed
                .map_or(String::new(), |minor| format!(", goes in 1.{minor}"));
            format!(
                "{}.{}.{}: {}{goes}",
                usage.group, usage.resource, usage.version, usage.detail
            )
        })
        .filter(|line| seen.insert(line.clone()))
        .collect();
    let count = lines.len();
    cases.push(
        Case::of(
            codes::OLD_API,
            Symptom::Refused,
            object,
            place,
            if count == 0 {
                "AKS refuses the upgrade because an API version was used in the last 12 hours that the target does not serve".to_owned()
            } else {
                format!(
                    "AKS refuses the upgrade: {count} API versions were used in the last 12 hours that the target does not serve"
                )
            },
        )
        .saw_all("refusal", lines)
        .next("ferriswheel check --from DUMP --from audit.log --target VERSION   # who calls it: the audit log names the client (FWD008)")
        .next("kubectl get --raw /metrics | grep apiserver_requested_deprecated_apis")
        .next("correct the caller, wait 12 hours after its last call (it is recorded once an hour), start the upgrade again")
        .avoid(
            "do not set forceUpgrade to get past it: the caller breaks at the target, and since 2025-09-01 it overrides budgets in the drain \
             too",
        ),
    );
}

/// The texts of a document, or the text itself where it is none.
fn plain(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if !value.is_number() => strings(&value),
        _ => text.to_owned(),
    }
}

/// All texts of a value, in its order; those that are JSON themselves are opened.
fn strings(value: &Value) -> String {
    /// Errors wrap errors three or four deep; a document that goes on is not one.
    const DEEPEST: usize = 16;
    fn walk(value: &Value, depth: usize, into: &mut Vec<String>) {
        match value {
            Value::String(text) => {
                if depth < DEEPEST
                    && text.trim_start().starts_with('{')
                    && let Ok(inner) = serde_json::from_str::<Value>(text)
                {
                    return walk(&inner, depth + 1, into);
                }
                if !text.is_empty() {
                    into.push(text.clone());
                }
            }
            Value::Array(items) => {
                for item in items {
                    walk(item, depth, into);
                }
            }
            Value::Object(fields) => {
                for item in fields.values() {
                    walk(item, depth, into);
                }
            }
            _ => {}
        }
    }
    let mut into = Vec::new();
    walk(value, 0, &mut into);
    into.join(": ")
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn errors_within_errors_are_opened() {
        let inner = r#"{"error":{"code":"QuotaExceeded","message":"no more"}}"#;
        let outer = serde_json::json!({ "status": "Failed", "statusMessage": inner }).to_string();
        assert_eq!(plain(&outer), "Failed: QuotaExceeded: no more");
        assert_eq!(plain("(QuotaExceeded) no more"), "(QuotaExceeded) no more");
        assert_eq!(plain("\"a\""), "a");
    }
}
