//! What a cluster wants before an upgrade, made from what it is: budgets, probes, storage classes,
//! pools, rules, dashboards, Jobs. Each is a value until it is printed, so that tests and the API
//! server judge the same thing that a person applies.
//!
//! Invariants: nothing is made that an existing object would contradict (a second budget on a pod, a
//! probe beside another); what is left out is named with its reason; no secret is in any of it.
//!
//! What this module must not know: files, terminals and clusters.

pub mod budgets;
pub mod cron;
pub mod job;
pub mod monitoring;
pub mod pool;
pub mod probes;
pub mod storage;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Name of the document that `--output json` prints.
pub const SCHEMA: &str = "ferriswheel.generated.v1";

/// Label of everything that is made here, so that a person finds it again.
pub(crate) const MADE_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "ferriswheel-generate");

/// What was made, and what was not.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Generated {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Files, in the order in which they are applied.
    pub files: Vec<File>,
    /// Objects for which nothing was made, with the reason.
    pub left_out: Vec<LeftOut>,
    /// What a person must know before applying it.
    pub notes: Vec<String>,
}

impl Default for Generated {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            files: Vec::new(),
            left_out: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl Generated {
    fn of(file: File) -> Self {
        Self {
            files: vec![file],
            ..Self::default()
        }
    }

    fn leave_out(&mut self, object: impl Into<String>, reason: impl Into<String>) {
        self.left_out.push(LeftOut {
            object: object.into(),
            reason: reason.into(),
        });
    }
}

/// An object for which nothing was made.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// `Deployment shop/web`.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// One file.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct File {
    /// Name below the directory that a person chooses.
    pub name: String,
    /// What it is for, and how it is used; one line each.
    pub about: Vec<String>,
    /// What it holds.
    pub content: Content,
}

/// What a file holds.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// Objects for `kubectl apply -f`.
    Kubernetes(Vec<Value>),
    /// A strategic merge patch for `kubectl patch --patch-file`.
    Patch(Value),
    /// A deployment template of Azure Resource Manager.
    Arm(Value),
    /// A Grafana dashboard.
    Dashboard(Value),
    /// A rule file of Prometheus.
    Rules(Value),
    /// A command line.
    Command(String),
}

impl Content {
    /// JSON takes no comments.
    fn is_json(&self) -> bool {
        matches!(self, Self::Arm(_) | Self::Dashboard(_))
    }
}

impl File {
    /// As it is written.
    pub fn text(&self) -> String {
        let body = match &self.content {
            Content::Kubernetes(objects) => {
                let documents: Vec<String> = objects.iter().map(yaml).collect();
                documents.join("---\n")
            }
            Content::Patch(value) | Content::Rules(value) => yaml(value),
            Content::Arm(value) | Content::Dashboard(value) => format!("{value:#}\n"),
            Content::Command(text) => text.clone(),
        };
        if self.content.is_json() {
            return body;
        }
        let mut text = String::new();
        for line in &self.about {
            text.push_str(&format!("# {line}\n"));
        }
        text + &body
    }

    /// Can it stand beside others in one stream?
    pub fn streams(&self) -> bool {
        matches!(self.content, Content::Kubernetes(_))
    }
}

/// A value as YAML.
#[expect(
    clippy::expect_used,
    reason = "a tree of JSON has text keys alone, and nothing that YAML lacks"
)]
pub(crate) fn yaml(value: &Value) -> String {
    // Expressions and commands stay on their line: a folded one is another text to read.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 10_000 };
    let mut text = serde_saphyr::to_string_with_options(&AsPeopleWrite(value), options)
        .expect("JSON can be written as YAML");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A tree of JSON, with what an object is before what it holds.
struct AsPeopleWrite<'a>(&'a Value);

/// Keys that people look for first.
const FIRST: [&str; 5] = ["apiVersion", "kind", "metadata", "name", "namespace"];

impl Serialize for AsPeopleWrite<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
                let rank = |key: &str| FIRST.iter().position(|first| *first == key);
                fields.sort_by_key(|(key, _)| rank(key).unwrap_or(FIRST.len()));
                serializer.collect_map(
                    fields
                        .into_iter()
                        .map(|(key, value)| (key, AsPeopleWrite(value))),
                )
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(AsPeopleWrite)),
            plain => plain.serialize(serializer),
        }
    }
}

/// Where objects are made.
fn metadata(name: &str, namespace: Option<&str>) -> Value {
    let mut metadata = serde_json::json!({ "name": name, "labels": { MADE_BY.0: MADE_BY.1 } });
    if let (Some(namespace), Some(fields)) = (namespace, metadata.as_object_mut()) {
        fields.insert("namespace".to_owned(), Value::from(namespace));
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_reads_back_as_it_was() {
        let value = json!({
            "schedule": "17 */6 * * *", "on": "yes", "number": "1.36", "empty": {}, "none": null,
            "script": "a\n  b\n", "long": "x ".repeat(200), "colon": "a: b # c", "flag": true,
            "list": [[1, 2], {"a": "- b"}],
        });
        let back: Value = serde_saphyr::from_str(&yaml(&value)).unwrap();
        assert_eq!(back, value, "{}", yaml(&value));
    }
}
