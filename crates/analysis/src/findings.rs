//! What a check found, in the form that machines read (`ferriswheel.findings.v1`).

use std::borrow::Cow;
use std::io::{ErrorKind, Result, Write};

use serde::Serialize;
use serde_json::Value;

use crate::convert::Change;
use crate::drain::Simulation;

/// The contract's name. Its JSON Schema is `docs/findings.v1.schema.json`.
pub const SCHEMA: &str = "ferriswheel.findings.v1";

/// A whole answer.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The target's version, such as `1.36`.
    pub target: String,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
    /// What a drain would do; nothing when no drain was simulated.
    pub drain: Option<Simulation>,
    /// Why no drain was simulated, where one was asked for.
    #[serde(skip)]
    pub not_drained: Option<String>,
    /// What could not be read.
    pub skipped: Vec<Skipped>,
    /// The ten best practices, where a database was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub practices: Vec<Practice>,
    /// Findings that somebody has accepted for a while; they are not among the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Accepted>,
    /// Converted files, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixed: Vec<Fixed>,
}

/// A best practice, and whether it is kept.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Practice {
    /// Its number, from 1 to 10.
    pub number: u8,
    /// What it asks for.
    pub title: &'static str,
    /// Is it kept?
    pub verdict: Verdict,
    /// What that rests on.
    pub why: String,
}

/// Whether a practice is kept.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is.
    Yes,
    /// It is not; there is a finding.
    No,
    /// The input does not say.
    CannotKnow,
}

/// A finding that is known.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Accepted {
    /// The finding.
    pub finding: Finding,
    /// Why it may stay.
    pub reason: String,
    /// Day after which it counts again, as `2027-01-31`.
    pub expires: String,
}

/// A file whose objects were converted.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Fixed {
    /// The source.
    pub file: String,
    /// Where the converted text is; nothing when nothing in it could be converted.
    pub output: Option<String>,
    /// What was converted.
    pub converted: Vec<Change>,
    /// What has to be done by hand, and why.
    pub by_hand: Vec<Change>,
}

/// One thing to know.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Finding {
    /// Stable code with a page under `docs/checks`.
    pub code: &'static str,
    /// How grave.
    pub severity: Severity,
    /// What it is about.
    pub object: ObjectRef,
    /// Where that was read.
    pub source: Place,
    /// First release that warns of it.
    pub deprecated_in: Option<String>,
    /// First release that does not serve it.
    pub removed_in: Option<String>,
    /// What to use instead.
    pub replacement: Option<String>,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// Who must act.
    pub owner: String,
    /// What is wrong.
    pub message: String,
    /// What clears it.
    pub fix: String,
    /// The same for programs, where it can be said exactly: all of them together clear it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
}

/// A change of one object.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Patch {
    /// What is done.
    #[serde(rename = "type")]
    pub kind: PatchKind,
    /// To which object.
    pub object: ObjectRef,
    /// Operations of RFC 6902, or the object to create.
    pub body: Value,
}

/// What a patch does.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum PatchKind {
    /// The body holds operations of RFC 6902 (JSON Patch).
    Json,
    /// The body is an object to create.
    Create,
    /// The object goes.
    Delete,
}

impl Patch {
    /// As a command.
    pub fn command(&self) -> String {
        self.with_body(&self.body.to_string())
    }

    /// The same, where it has so many bytes at most.
    pub(crate) fn short_command(&self, most: usize) -> Option<String> {
        // The command is longer than its body, and some bodies are whole files.
        let mut body = Bounded {
            text: Vec::new(),
            most,
        };
        serde_json::to_writer(&mut body, &self.body).ok()?;
        let command = self.with_body(std::str::from_utf8(&body.text).ok()?);
        (command.len() <= most).then_some(command)
    }

    fn with_body(&self, body: &str) -> String {
        let object = &self.object;
        let namespace = match &object.namespace {
            Some(namespace) => format!("-n {} ", word(namespace)),
            None => String::new(),
        };
        let target = format!(
            "{namespace}{} {}",
            word(&object.kind.to_ascii_lowercase()),
            word(&object.name)
        );
        match self.kind {
            PatchKind::Json => format!("kubectl patch {target} --type=json -p {}", quoted(body)),
            PatchKind::Create => format!("echo {} | kubectl create -f -", quoted(body)),
            PatchKind::Delete => format!("kubectl delete {target}"),
        }
    }
}

/// A text as one word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The same of a name, which needs no quotes as a rule. What a file calls a name need not be one.
fn word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(quoted(text))
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.text.len() + bytes.len() > self.most {
            return Err(ErrorKind::WriteZero.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// How grave, the gravest first.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// At the target this object is no longer served.
    Breaks,
    /// The upgrade cannot finish while this is so.
    Blocks,
    /// The object is well; what it is made from is not.
    StaleSource,
    /// Served at the target; goes in a later release that is known.
    Later,
    /// Hurts, but stops nothing.
    Warning,
    /// To know.
    Info,
}

impl Severity {
    /// All, the gravest first.
    pub const ALL: [Self; 6] = [
        Self::Breaks,
        Self::Blocks,
        Self::StaleSource,
        Self::Later,
        Self::Warning,
        Self::Info,
    ];

    /// As in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Breaks => "breaks",
            Self::Blocks => "blocks",
            Self::StaleSource => "stale-source",
            Self::Later => "later",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// An object by its names.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Group and version as the source has it.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, where the source names one.
    pub namespace: Option<String>,
    /// Name; empty for objects that are named when they are made.
    pub name: String,
}

/// Where something was read.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// File, with `!` before the name inside an archive.
    pub file: String,
    /// Line of the object's first line, from 1.
    pub line: u32,
}

/// What a finding rests on.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Evidence {
    /// Kind of evidence.
    pub class: &'static str,
    /// What was seen.
    pub detail: String,
}

/// What could not be read.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// File.
    pub file: String,
    /// Why.
    pub reason: String,
}
