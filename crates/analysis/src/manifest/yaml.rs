//! YAML: scanned line by line where it is plain, parsed whole where it is not or where it matters.

use serde_json::Value;
use serde_saphyr::{Error, Options};

use super::object::wants_body;
use super::plain;
use super::scan::{self, Document};
use super::{Context, MAX_DOCUMENT, Object, Reading};
use crate::deprecations;
use crate::drain;
use crate::resilience;

/// Deeper than any object that an API server takes, and far from what a thread's stack holds.
const MAX_DEPTH: usize = 64;

/// Nodes of one document: a list of some ten thousand pods.
const MAX_NODES: usize = 2_000_000;

/// A plain document with more of them is for the parser to count, and to refuse.
const PLAIN_NODES: usize = MAX_NODES / 2;

/// Nodes that aliases may stand for. Manifests use a few anchors; an alias bomb needs many.
const MAX_REPLAYED: usize = 100_000;

/// A document of a stream, with where it stands.
pub(crate) struct Piece<'a> {
    /// Its text, without the marker before it.
    pub text: &'a str,
    /// Where that starts.
    pub at: usize,
    /// Line of its first content.
    pub line: u32,
}

impl Piece<'_> {
    /// The document, if it is YAML within bounds.
    pub(crate) fn parse(&self) -> Option<Value> {
        if self.text.len() > MAX_DOCUMENT {
            return None;
        }
        serde_saphyr::from_str_with_options(self.text, options()).ok()
    }
}

/// The documents of a text.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let start = text.as_ptr().addr();
    scan::documents(text)
        .into_iter()
        .map(|document| Piece {
            text: document.text,
            at: document.text.as_ptr().addr() - start,
            line: document.line,
        })
        .collect()
}

/// Reads all documents of a text.
pub(super) fn read(context: &Context, text: &str, reading: &mut Reading) {
    for document in scan::documents(text) {
        let line = context.base_line + document.line;
        if document.plain && !matters(context, &document) {
            let head = &document.head;
            match (head.api, head.kind) {
                (Some(api), Some(kind)) => {
                    let name = head.name.unwrap_or_default();
                    let object = Object::named(context, api, kind, head.namespace, name, line);
                    context.add(object, false, reading);
                }
                _ => reading.skip(
                    &context.file,
                    format!("line {line}: no apiVersion and kind: not a Kubernetes object"),
                ),
            }
            continue;
        }
        parse(context, &document, line, reading);
    }
}

/// Is there anything in this document that names alone do not tell?
fn matters(context: &Context, document: &Document<'_>) -> bool {
    let head = &document.head;
    let (Some(api), Some(kind)) = (head.api, head.kind) else {
        return false;
    };
    head.live
        || head.applied
        || kind.ends_with("List")
        || (kind == "Secret" && head.helm)
        || (kind == "ConfigMap" && head.helm)
        || kind == "CustomResourceDefinition"
        || deprecations::concerns(api, kind)
        || (context.want.sketches() && drain::wants(kind))
        || (context.want.bodies()
            && (wants_body(context.want, kind)
                || (kind == "ConfigMap" && resilience::mentions(document.text))))
}

fn parse(context: &Context, document: &Document<'_>, line: u32, reading: &mut Reading) {
    if document.text.len() > MAX_DOCUMENT {
        let reason = format!(
            "line {line}: a YAML document of {} MiB: larger than {} MiB, use -o json or split it",
            document.text.len() >> 20,
            MAX_DOCUMENT >> 20
        );
        return reading.skip(&context.file, reason);
    }
    if document.plain
        && let Some(value) = plain::tree(document.text, PLAIN_NODES)
    {
        return take(context, document, line, value, reading);
    }
    let first = context.base_line + document.first;
    match serde_saphyr::from_str_with_options::<Value>(document.text, options()) {
        Ok(value) => take(context, document, line, value, reading),
        Err(e) => reading.skip(&context.file, explain(&e, document.text, first)),
    }
}

fn take(
    context: &Context,
    document: &Document<'_>,
    line: u32,
    value: Value,
    reading: &mut Reading,
) {
    let items = document.head.items.iter();
    let lines: Vec<u32> = items.map(|line| context.base_line + line).collect();
    context.take(value, line, &lines, reading);
}

pub(super) fn options() -> Options {
    let mut options = Options::default();
    if let Some(budget) = options.budget.as_mut() {
        budget.max_depth = MAX_DEPTH;
        budget.max_nodes = MAX_NODES;
        budget.max_events = MAX_NODES * 3;
    }
    options.alias_limits.max_total_replayed_events = MAX_REPLAYED;
    options.with_snippet = false;
    // kubectl takes the last of two equal keys; a check must not be stricter than what it checks.
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::LastWins;
    options
}

/// A text of manifests in which Secrets have their names alone.
///
/// A document that is not readable is left out: nobody knows what it holds.
pub(super) fn without_secrets(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for document in scan::documents(text) {
        let value: Value = if document.text.len() > MAX_DOCUMENT {
            Value::Null
        } else {
            serde_saphyr::from_str_with_options(document.text, options()).unwrap_or_default()
        };
        if value.is_null() {
            continue;
        }
        kept.push_str("---\n");
        match emptied(&value) {
            None => kept.push_str(document.text.trim_start_matches("---")),
            // JSON is YAML.
            Some(emptied) => kept.push_str(&emptied.to_string()),
        }
        kept.push('\n');
    }
    kept
}

/// The object without the data of the Secrets in it; `None` if there are none.
fn emptied(value: &Value) -> Option<Value> {
    let kind = value.get("kind").and_then(Value::as_str);
    if kind == Some("Secret") {
        let metadata = value.get("metadata");
        let name = |key: &str| metadata.and_then(|metadata| metadata.get(key)).cloned();
        return Some(serde_json::json!({
            "apiVersion": value.get("apiVersion"),
            "kind": "Secret",
            "metadata": { "name": name("name"), "namespace": name("namespace") },
        }));
    }
    let items = value.get("items").and_then(Value::as_array)?;
    let new: Vec<Option<Value>> = items.iter().map(emptied).collect();
    if new.iter().all(Option::is_none) && kind != Some("SecretList") {
        return None;
    }
    let mut list = value.clone();
    let untyped = kind == Some("SecretList");
    let items = items.iter().zip(new);
    list["items"] = items
        .map(|(old, new)| match new {
            Some(new) => new,
            None if untyped => Value::Null,
            None => old.clone(),
        })
        .collect();
    Some(list)
}

fn explain(error: &Error, text: &str, first: u32) -> String {
    let error = error.without_snippet();
    let at = error
        .location()
        .and_then(|location| u32::try_from(location.line()).ok())
        .map_or(first, |line| first + line.saturating_sub(1));
    if text.contains("{{") {
        return format!(
            "line {at}: a template, not YAML: render it first (helm template, kustomize build)"
        );
    }
    let message = error.to_string();
    let message = message.lines().next().unwrap_or_default();
    let end = message.find(" at line ").unwrap_or(message.len());
    let message = message
        .get(..end)
        .unwrap_or(message)
        .trim_end_matches([',', ' ', ':']);
    format!("line {at}: not readable YAML: {message}")
}
