//! Objects out of bytes: manifests, lists, dumps, Helm releases and packaged charts.
//!
//! A manifest repository is mostly plain block YAML of kinds that nobody has anything to say about.
//! So each document is first scanned line by line ([`yaml`]); only what the scan does not fully
//! understand, or what somebody may have something to say about, is parsed whole. The scan never
//! guesses: whatever is not plainly well formed is left to the parser, and its refusal counts.
//!
//! Guarantees: bounded memory and depth, no panic on any input, and nothing is left out silently:
//! what is not understood is named with its reason. Secrets give nothing but their names, except
//! Helm's release records, which give their manifests.

mod archive;
mod arm;
mod helm;
mod json;
mod object;
mod plain;
mod scalar;
mod scan;
mod yaml;

use std::sync::Arc;

use serde_json::Value;

use crate::deprecations::{self, Usage};
use crate::findings::Skipped;

pub(crate) use yaml::{Piece, pieces};

pub use helm::manifests_alone;
pub use object::{Applied, Crd, CrdVersion, Object, Origin, Release, Writer};

/// Largest file that is read. Dumps of whole clusters come in one file per kind; a larger one is
/// cheaper to split than to hold.
pub const MAX_FILE: usize = 128 << 20;

/// Largest YAML document that is parsed whole: a parsed tree takes about ten times its text.
const MAX_DOCUMENT: usize = 16 << 20;

/// Lists inside lists; kubectl makes one level.
const MAX_LISTS: usize = 4;

/// How much of each object is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// What the check of API versions needs.
    Names,
    /// Whole objects of the kinds that other checks read.
    Bodies,
    /// The same for the checks alone: of pods that something makes, and of nodes, no more than these ask.
    Checks,
    /// What the drain simulation needs.
    Sketches,
    /// What the checks and the drain simulation need.
    All,
    /// Whole objects of the kinds that a diagnosis reads: events too.
    Diagnosis,
}

impl Want {
    /// Are whole objects wanted?
    pub fn bodies(self) -> bool {
        matches!(
            self,
            Self::Bodies | Self::Checks | Self::All | Self::Diagnosis
        )
    }

    /// Is of some objects less than the whole enough?
    fn briefly(self) -> bool {
        matches!(self, Self::Checks | Self::All)
    }

    /// Are sketches for the drain simulation wanted?
    pub fn sketches(self) -> bool {
        matches!(self, Self::Sketches | Self::All)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// Objects in the order of the input.
    pub objects: Vec<Object>,
    /// Revisions of Helm releases.
    pub releases: Vec<Release>,
    /// Calls of old versions that a server saw.
    pub usages: Vec<Usage>,
    /// What was not understood.
    pub skipped: Vec<Skipped>,
}

impl Reading {
    /// Adds what another reading has.
    pub fn append(&mut self, mut other: Self) {
        self.objects.append(&mut other.objects);
        self.releases.append(&mut other.releases);
        self.usages.append(&mut other.usages);
        self.skipped.append(&mut other.skipped);
    }

    fn skip(&mut self, file: &Arc<str>, reason: impl Into<String>) {
        self.skipped.push(Skipped {
            file: file.to_string(),
            reason: reason.into(),
        });
    }
}

/// Reads one file.
pub fn read(file: &str, bytes: &[u8], want: Want) -> Reading {
    let mut reading = Reading::default();
    let context = Context {
        file: Arc::from(file),
        want,
        origin: Origin::Manifest,
        base_line: 0,
    };
    if bytes.starts_with(&[0x1f, 0x8b]) {
        archive::read(&context, bytes, &mut reading);
    } else {
        context.read_text(bytes, &mut reading);
    }
    reading
}

/// What is the same for all objects of a piece of input.
#[derive(Clone)]
struct Context {
    file: Arc<str>,
    want: Want,
    origin: Origin,
    /// Added to line numbers: where the piece starts in the file.
    base_line: u32,
}

impl Context {
    fn read_text(&self, bytes: &[u8], reading: &mut Reading) {
        if bytes.len() > MAX_FILE {
            // Readers stop a byte after the limit: how large it is nobody knows.
            let reason = format!("larger than {} MiB, split it", MAX_FILE >> 20);
            return reading.skip(&self.file, reason);
        }
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return reading.skip(&self.file, "UTF-16: save it as UTF-8");
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let before = bytes.get(..e.valid_up_to()).unwrap_or_default();
                let line = self.base_line + 1 + newlines(before);
                return reading.skip(&self.file, format!("line {line}: not UTF-8"));
            }
        };
        if let Some(at) = control(bytes) {
            let line = self.base_line + 1 + newlines(bytes.get(..at).unwrap_or_default());
            return reading.skip(
                &self.file,
                format!("line {line}: a control character, not text"),
            );
        }
        if deprecations::holds_usages(text) {
            reading
                .usages
                .extend(deprecations::read_usages(&self.file, text));
            // A pool that AKS refused to upgrade says so among its other fields: it counts too.
            if text.trim_start().starts_with('{') {
                let mut beside = Reading::default();
                json::read(self, text, &mut beside);
                reading.objects.append(&mut beside.objects);
            }
            return;
        }
        if text.trim_start().starts_with('{') && json::read(self, text, reading) {
            return;
        }
        yaml::read(self, text, reading);
    }

    /// Takes an object, or each object of a list, out of a parsed value.
    ///
    /// `lines` are the lines of the list's items, where they are known.
    fn take(&self, value: Value, line: u32, lines: &[u32], reading: &mut Reading) {
        self.take_nested(value, line, lines, 0, None, reading);
    }

    fn take_nested(
        &self,
        mut value: Value,
        line: u32,
        lines: &[u32],
        depth: usize,
        inherited: Option<(&str, &str)>,
        reading: &mut Reading,
    ) {
        let text =
            |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let names = (text(&value, "apiVersion"), text(&value, "kind"));
        let (api, kind) = match (names, inherited) {
            ((Some(api), Some(kind)), _) => (api, kind),
            // Items of a typed list carry neither: the list speaks for them.
            ((None, None), Some((api, kind))) => (api.to_owned(), kind.to_owned()),
            _ => return self.foreign(&value, line, reading),
        };
        if kind.ends_with("List")
            && let Some(Value::Array(items)) = value.get_mut("items").map(Value::take)
        {
            if depth >= MAX_LISTS {
                return reading.skip(&self.file, format!("line {line}: lists inside lists"));
            }
            let of = kind.strip_suffix("List").filter(|of| !of.is_empty());
            let of = of.map(|of| (api.as_str(), of));
            let lines = if lines.len() == items.len() {
                lines
            } else {
                &[]
            };
            for (i, item) in items.into_iter().enumerate() {
                let line = lines.get(i).copied().unwrap_or(line);
                self.take_nested(item, line, &[], depth + 1, of, reading);
            }
            return;
        }
        if kind == "Event" && api.starts_with("audit.k8s.io/") {
            return reading
                .usages
                .extend(deprecations::audited(&value, &self.file, line));
        }
        if kind == "SnapshotIndex" && api.starts_with("ferriswheel.dev/") {
            let missing = value.get("notRead").and_then(Value::as_object);
            for (name, why) in missing.into_iter().flatten() {
                let why = why.as_str().unwrap_or("no reason is given");
                reading.skip(&self.file, format!("{name} could not be read: {why}"));
            }
        }
        if let Some(release) = helm::release(self, &kind, &value, line) {
            return match release {
                Ok((release, skipped)) => {
                    reading.skipped.extend(skipped);
                    reading.releases.push(release);
                }
                Err(reason) => reading.skip(&self.file, format!("line {line}: {reason}")),
            };
        }
        let metadata = value.get("metadata");
        if metadata.is_some_and(|metadata| !metadata.is_object() && !metadata.is_null()) {
            let reason = format!("line {line}: metadata is not a mapping: the file may be cut off");
            return reading.skip(&self.file, reason);
        }
        let name = metadata.and_then(|metadata| metadata.get("name"));
        let odd = name.is_some_and(|name| !name.is_null() && !name.is_string());
        self.add(Object::of(self, api, kind, line, value), odd, reading);
    }

    /// Takes an object; `odd` says that its name is there and no text.
    fn add(&self, mut object: Object, odd: bool, reading: &mut Reading) {
        if object::lacks_name(&object.api, &object.kind, &object.name) {
            let (kind, line) = (&object.kind, object.line);
            let reason = if odd {
                format!("line {line}: the name of a {kind} is no text: put it in quotes")
            } else {
                format!("line {line}: a {kind} without a name: the file may be cut off")
            };
            reading.skip(&self.file, reason);
            // Its version counts all the same; of the rest who knows how much is there.
            object.body = None;
            object.brief = None;
            object.sketch = None;
        }
        reading.objects.push(object);
    }

    fn foreign(&self, value: &Value, line: u32, reading: &mut Reading) {
        let mut azure = arm::objects(self, value, line);
        if !azure.is_empty() {
            return reading.objects.append(&mut azure);
        }
        let what = match value {
            Value::Null => return,
            Value::Object(_) => "no apiVersion and kind: not a Kubernetes object",
            _ => "not a Kubernetes object",
        };
        reading.skip(&self.file, format!("line {line}: {what}"));
    }
}

/// Where the first control character stands that no text has.
fn control(bytes: &[u8]) -> Option<usize> {
    let is = |b: &u8| *b < b' ' && !matches!(b, b'\n' | b'\r' | b'\t');
    // Without a way out in the middle the processor looks at many bytes at a time.
    let chunk = bytes
        .chunks(4096)
        .position(|chunk| chunk.iter().fold(false, |found, byte| found | is(byte)))?;
    let start = chunk * 4096;
    let at = bytes.get(start..)?.iter().position(is)?;
    Some(start + at)
}

/// Line breaks in a text.
fn newlines(bytes: &[u8]) -> u32 {
    u32::try_from(memchr::memchr_iter(b'\n', bytes).count()).unwrap_or(u32::MAX)
}
