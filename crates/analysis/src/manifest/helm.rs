//! Helm's release records: the manifests that a release was installed from.
//!
//! A record is a Secret (or, with another driver, a ConfigMap) whose `release` is gzipped JSON in
//! base64, and once more in base64 for being in a Secret. Nothing of it is kept but the manifests
//! and the release's name, revision and status; values may hold passwords.

use std::io::Read;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Context, Origin, Reading, Release, yaml};
use crate::findings::Skipped;

/// A record fits into a Secret, which holds 1 MiB; text this large unpacked is no release.
const MAX_UNPACKED: u64 = 64 << 20;

#[derive(Deserialize, Serialize)]
struct Record {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    version: u64,
    #[serde(default)]
    info: Info,
    #[serde(default)]
    manifest: String,
    #[serde(default)]
    hooks: Option<Vec<Hook>>,
}

#[derive(Default, Deserialize, Serialize)]
struct Info {
    #[serde(default)]
    status: String,
}

#[derive(Deserialize, Serialize)]
struct Hook {
    #[serde(default)]
    manifest: String,
}

/// A release with what of it was not understood, or why it does not decode.
type Decoded = Result<(Release, Vec<Skipped>), String>;

/// The release in an object, if it is a release record.
pub(super) fn release(context: &Context, kind: &str, value: &Value, line: u32) -> Option<Decoded> {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str);
    let data = text("/data/release");
    let layers = layers(kind, value)?;
    let name = text("/metadata/name").unwrap_or_default();
    let Some(data) = data else {
        return Some(Err(format!("Helm record {name} has no release")));
    };
    Some(
        decode(data, layers)
            .map(|record| unpack(context, record, line))
            .map_err(|why| format!("Helm record {name} does not decode: {why}")),
    )
}

/// A release record with its manifests alone: no values, no chart, and of Secrets in the manifests
/// their names. `None` if the object is no record.
///
/// The result is a record as Helm's ConfigMap driver keeps them, not compressed.
///
/// # Errors
/// The record does not decode; nothing of it may be kept then.
pub fn manifests_alone(object: &Value) -> Option<Result<Value, String>> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let layers = layers(text("/kind")?, object)?;
    let name = text("/metadata/name").unwrap_or_default();
    let Some(data) = text("/data/release") else {
        return Some(Err(format!("Helm record {name} has no release")));
    };
    let stripped = decode(data, layers).and_then(|mut record| {
        record.manifest = yaml::without_secrets(&record.manifest);
        for hook in record.hooks.iter_mut().flatten() {
            hook.manifest = yaml::without_secrets(&hook.manifest);
        }
        serde_json::to_vec(&record).map_err(|e| e.to_string())
    });
    Some(match stripped {
        Ok(bytes) => Ok(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": text("/metadata/namespace"),
                "labels": { "owner": "helm" },
            },
            "data": { "release": BASE64_STANDARD.encode(bytes) },
        })),
        Err(why) => Err(format!("Helm record {name} does not decode: {why}")),
    })
}

/// How often a record of this object is in base64; `None` if it is no record.
fn layers(kind: &str, object: &Value) -> Option<usize> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    match kind {
        "Secret" if text("/type") == Some("helm.sh/release.v1") => Some(2),
        "ConfigMap" if text("/metadata/labels/owner")?.eq_ignore_ascii_case("helm") => Some(1),
        _ => None,
    }
}

fn decode(data: &str, layers: usize) -> Result<Record, String> {
    let mut bytes = data.as_bytes().to_vec();
    for _ in 0..layers {
        bytes.retain(|b| !b.is_ascii_whitespace());
        bytes = BASE64_STANDARD
            .decode(&bytes)
            .map_err(|_| "not base64".to_owned())?;
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        bytes = unzip(&bytes)?;
    }
    serde_json::from_slice(&bytes).map_err(|e| format!("not a release: {e}"))
}

fn unzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    GzDecoder::new(bytes)
        .take(MAX_UNPACKED + 1)
        .read_to_end(&mut unpacked)
        .map_err(|e| format!("not gzip: {e}"))?;
    if unpacked.len() as u64 > MAX_UNPACKED {
        return Err(format!("larger than {} MiB unpacked", MAX_UNPACKED >> 20));
    }
    Ok(unpacked)
}

fn unpack(context: &Context, record: Record, line: u32) -> (Release, Vec<Skipped>) {
    let name: Arc<str> = Arc::from(format!("{}/{}", record.namespace, record.name));
    let inner = Context {
        origin: Origin::Helm {
            release: Arc::clone(&name),
            revision: record.version,
        },
        ..context.clone()
    };
    let mut reading = Reading::default();
    yaml::read(&inner, &record.manifest, &mut reading);
    for hook in record.hooks.into_iter().flatten() {
        yaml::read(&inner, &hook.manifest, &mut reading);
    }
    // Lines inside the record mean nothing to a reader: the record's own line does.
    for object in &mut reading.objects {
        object.line = line;
    }
    for skipped in &mut reading.skipped {
        skipped.reason = format!("in Helm release {name}: {}", skipped.reason);
    }
    let release = Release {
        name,
        revision: record.version,
        status: record.info.status,
        objects: reading.objects,
    };
    (release, reading.skipped)
}
