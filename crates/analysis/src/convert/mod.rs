//! Manifests in the versions that the target serves, where that can be done by rule.
//!
//! A document of which only the version changes keeps every other byte, comments too. One whose fields
//! change is written anew. What cannot be done by rule stays as it is, and is named with the reason.

mod rules;

use serde::Serialize;
use serde_json::Value;

use crate::deprecations::{self, Standing, Target};
use crate::findings::ObjectRef;
use crate::manifest::{self, Piece};

/// A converted text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The text; nothing when nothing in it was converted.
    pub text: Option<String>,
    /// What was converted.
    pub done: Vec<Change>,
    /// What was not, and why.
    pub left: Vec<Change>,
}

/// One object's change of version.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Change {
    /// The object as it was.
    pub object: ObjectRef,
    /// Line of its document, from 1.
    pub line: u32,
    /// Version that the target serves.
    pub to: Option<String>,
    /// What else changed, or why it was left.
    pub notes: Vec<String>,
}

/// Lists inside lists.
const MAX_LISTS: usize = 4;

/// Converts the documents of a text to what the target serves.
///
/// # Guarantees
/// Documents in which nothing is converted keep every byte. Text that is not understood is returned as
/// nothing converted: the check says what is wrong with it.
pub fn convert(text: &str, target: &Target) -> Converted {
    let mut converted = Converted {
        text: None,
        done: Vec::new(),
        left: Vec::new(),
    };
    if text.trim_start().starts_with('{') {
        if let Some(new) = json(text, target, &mut converted) {
            converted.text = Some(new);
        }
        return converted;
    }
    let mut new = String::with_capacity(text.len());
    let mut kept = 0;
    for piece in manifest::pieces(text) {
        let Some(with) = document(&piece, target, &mut converted) else {
            continue;
        };
        new.push_str(text.get(kept..piece.at).unwrap_or_default());
        new.push_str(&with);
        if !new.ends_with('\n') {
            new.push('\n');
        }
        kept = piece.at + piece.text.len();
    }
    if kept > 0 {
        new.push_str(text.get(kept..).unwrap_or_default());
        converted.text = Some(new);
    }
    converted
}

fn document(piece: &Piece<'_>, target: &Target, converted: &mut Converted) -> Option<String> {
    let mut value = piece.parse()?;
    let outcome = object(&mut value, piece.line, 0, target, converted);
    match outcome {
        Step::Nothing => None,
        Step::Version(to) => Some(version_alone(piece.text, &to).unwrap_or_else(|| yaml(&value))),
        Step::Fields => Some(yaml(&value)),
    }
}

fn json(text: &str, target: &Target, converted: &mut Converted) -> Option<String> {
    let mut new = String::new();
    let mut changed = false;
    let mut start = 0;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    while let Some(value) = values.next() {
        let mut value = value.ok()?;
        let rest = text.get(start..)?;
        let first = start + (rest.len() - rest.trim_start().len());
        let breaks = text.get(..first)?.matches('\n').count();
        let line = u32::try_from(breaks + 1).unwrap_or(u32::MAX);
        start = values.byte_offset();
        changed |= !matches!(
            object(&mut value, line, 0, target, converted),
            Step::Nothing
        );
        new.push_str(&serde_json::to_string_pretty(&value).ok()?);
        new.push('\n');
    }
    changed.then_some(new)
}

fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_default()
}

/// What happened to an object.
enum Step {
    Nothing,
    /// Only its version changed, to this.
    Version(String),
    Fields,
}

fn object(
    value: &mut Value,
    line: u32,
    depth: usize,
    target: &Target,
    converted: &mut Converted,
) -> Step {
    let text = |value: &Value, path: &str| {
        value
            .pointer(path)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let (Some(api), Some(kind)) = (text(value, "/apiVersion"), text(value, "/kind")) else {
        return Step::Nothing;
    };
    if kind.ends_with("List") && depth < MAX_LISTS {
        let mut any = false;
        for item in value
            .get_mut("items")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            any |= !matches!(
                object(item, line, depth + 1, target, converted),
                Step::Nothing
            );
        }
        return if any { Step::Fields } else { Step::Nothing };
    }
    // What a cluster answered is changed at its source.
    let live = value.pointer("/metadata/uid").is_some()
        || value.pointer("/metadata/resourceVersion").is_some();
    let Some(to) = successor(&api, &kind, target).filter(|_| !live) else {
        return Step::Nothing;
    };
    let reference = ObjectRef {
        api_version: api.clone(),
        kind: kind.clone(),
        namespace: text(value, "/metadata/namespace"),
        name: text(value, "/metadata/name")
            .or_else(|| text(value, "/metadata/generateName"))
            .unwrap_or_default(),
    };
    let mut change = Change {
        object: reference,
        line,
        to: None,
        notes: Vec::new(),
    };
    let Some(to) = to else {
        change
            .notes
            .push("no version of this kind is served at the target".to_owned());
        converted.left.push(change);
        return Step::Nothing;
    };
    let outcome = match rules::rule(&api, &kind, &to) {
        None => Err(by_hand(&api, &kind)),
        Some(rule) => {
            // A rule that refuses may have changed something before.
            let mut trial = value.clone();
            rule(&mut trial).map(|notes| (trial, notes))
        }
    };
    change.to = Some(to.clone());
    match outcome {
        Err(why) => {
            change.notes.push(why);
            converted.left.push(change);
            Step::Nothing
        }
        Ok((mut new, notes)) => {
            let fields = new != *value;
            if let Some(version) = new.get_mut("apiVersion") {
                *version = Value::from(to.as_str());
            }
            *value = new;
            change.notes = notes;
            if fields {
                change
                    .notes
                    .push("written anew: comments and the order of fields are not kept".to_owned());
            }
            converted.done.push(change);
            if fields {
                Step::Fields
            } else {
                Step::Version(to)
            }
        }
    }
}

/// What a kind becomes at the target, if it must become something. Nothing inside: it just goes.
fn successor(api: &str, kind: &str, target: &Target) -> Option<Option<String>> {
    if let Some(row) = deprecations::row(api, kind) {
        if !matches!(
            row.standing(target.minor),
            Standing::Gone(_) | Standing::Later(_)
        ) {
            return None;
        }
        return Some(
            row.replacement_at(target.minor)
                .filter(|(_, to)| *to == kind)
                .map(|(to, _)| to),
        );
    }
    let component = deprecations::component(api, kind)?;
    // A replacement in words is for people to read.
    let to = component.replacement.filter(|to| !to.contains(' '));
    Some(to.map(str::to_owned))
}

fn by_hand(api: &str, kind: &str) -> String {
    match deprecations::note(api, kind) {
        deprecations::Note::ByHand(why) => why.to_owned(),
        _ => "there is no rule for this pair of versions: compare their fields".to_owned(),
    }
}

/// The text with the version on its own line changed, if there is exactly one such line.
fn version_alone(text: &str, to: &str) -> Option<String> {
    let mut found = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("apiVersion:") {
            if found.is_some() {
                return None;
            }
            found = Some((at, line));
        }
        at += line.len();
    }
    let (at, line) = found?;
    let value = line.strip_prefix("apiVersion:")?;
    let start = value.len() - value.trim_start().len();
    let word = value.trim_start().split([' ', '\t', '\r', '\n']).next()?;
    if word.is_empty() {
        return None;
    }
    let from = at + "apiVersion:".len() + start;
    let mut new = String::with_capacity(text.len() + 16);
    new.push_str(text.get(..from)?);
    new.push_str(to);
    new.push_str(text.get(from + word.len()..)?);
    Some(new)
}
