//! An object as a source has it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{Context, Want};
use crate::deprecations;
use crate::drain::{self, Sketch};
use crate::findings::{ObjectRef, Place};
use crate::resilience::{self, PodBrief};

/// Kinds whose bodies the other checks read.
const WITH_BODY: &[&str] = &[
    "Backup",
    "Cluster",
    "CronJob",
    "DaemonSet",
    "Deployment",
    "DestinationRule",
    "HorizontalPodAutoscaler",
    "Job",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "PrometheusRule",
    "ReplicaSet",
    "ReplicationController",
    "Rollout",
    "Schedule",
    "ScheduledBackup",
    "Service",
    "SnapshotIndex",
    "StatefulSet",
    "StorageClass",
    "ValidatingWebhookConfiguration",
    "VolumeSnapshot",
    "postgresql",
];

/// Kinds whose bodies a diagnosis reads beside these.
const WITH_BODY_IN_DIAGNOSIS: &[&str] = &[
    "ConfigMap",
    "EndpointSlice",
    "Endpoints",
    "Event",
    "NetworkPolicy",
];

/// An object, with what checks may ask about it.
#[derive(Clone, Debug)]
pub struct Object {
    /// Group and version as the source has it.
    pub api: Box<str>,
    /// Kind.
    pub kind: Box<str>,
    /// Namespace, where the source names one.
    pub namespace: Option<Box<str>>,
    /// Name.
    pub name: Box<str>,
    /// File.
    pub file: Arc<str>,
    /// First line.
    pub line: u32,
    /// What kind of source this is.
    pub origin: Origin,
    /// What else the source says, where it says anything.
    pub detail: Option<Box<Detail>>,
    /// The whole object, where a check wants it.
    pub body: Option<Box<Value>>,
    /// Of a pod that something makes, instead of the body, where that is enough.
    pub brief: Option<Box<PodBrief>>,
    /// What a drain depends on, where that is wanted. What Helm rendered has none: the cluster does.
    pub sketch: Option<Box<Sketch>>,
}

/// What kind of source an object was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A manifest that somebody keeps.
    Manifest,
    /// What a cluster answered.
    Live,
    /// What Helm rendered when it last installed a release.
    Helm {
        /// `namespace/name` of the release.
        release: Arc<str>,
        /// Its revision.
        revision: u64,
    },
}

/// What an object says beside its names.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// The source of the last `kubectl apply`.
    pub applied: Option<Applied>,
    /// Who wrote with which version.
    pub writers: Vec<Writer>,
    /// Who owns it.
    pub owner: Option<String>,
    /// For a CustomResourceDefinition.
    pub crd: Option<Crd>,
}

/// The source of the last `kubectl apply`.
#[derive(Clone, Debug, Deserialize)]
pub struct Applied {
    /// Group and version.
    #[serde(rename = "apiVersion")]
    pub api: String,
    /// Kind.
    pub kind: String,
}

/// An entry of `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Name of the client.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// The version that it wrote.
    pub api: String,
    /// When.
    pub time: String,
}

/// Versions of a custom resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crd {
    /// Group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Versions.
    pub versions: Vec<CrdVersion>,
    /// Versions in which objects may still be stored; empty in a manifest.
    pub stored: Vec<String>,
}

/// One version of a custom resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrdVersion {
    /// Name.
    pub name: String,
    /// Is it served?
    pub served: bool,
    /// Are objects stored in it?
    pub storage: bool,
    /// Does the API server warn of it?
    pub deprecated: bool,
}

/// One revision of a Helm release.
#[derive(Clone, Debug)]
pub struct Release {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Revision.
    pub revision: u64,
    /// `deployed`, `superseded`, `failed`, ...
    pub status: String,
    /// What its manifest holds, hooks too.
    pub objects: Vec<Object>,
}

impl Object {
    /// An object of which only the names are known.
    pub(super) fn named(
        context: &Context,
        api: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
        line: u32,
    ) -> Self {
        Self {
            api: api.into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
            file: Arc::clone(&context.file),
            line,
            origin: context.origin.clone(),
            detail: None,
            body: None,
            brief: None,
            sketch: None,
        }
    }

    /// An object out of a parsed value.
    pub(super) fn of(
        context: &Context,
        api: String,
        kind: String,
        line: u32,
        value: Value,
    ) -> Self {
        let metadata = value.get("metadata").unwrap_or(&Value::Null);
        let text = |key: &str| metadata.get(key).and_then(Value::as_str);
        let mut object = Self::named(
            context,
            &api,
            &kind,
            text("namespace"),
            text("name")
                .or_else(|| text("generateName"))
                .unwrap_or_default(),
            line,
        );
        // Nobody writes these by hand: only an API server gives them.
        if object.origin == Origin::Manifest
            && (text("uid").is_some() || text("resourceVersion").is_some())
        {
            object.origin = Origin::Live;
        }
        object.detail = Detail::of(&kind, metadata, &value).map(Box::new);
        if context.want.sketches() && !matches!(object.origin, Origin::Helm { .. }) {
            object.sketch = drain::sketch(&kind, &value).map(Box::new);
        }
        if context.want.bodies()
            && (wants_body(context.want, &kind) || (kind == "ConfigMap" && has_settings(&value)))
        {
            let brief = context.want.briefly() && kind == "Pod";
            object.brief = brief.then(|| PodBrief::of(&value)).flatten().map(Box::new);
            if object.brief.is_none() {
                let value = if context.want.briefly() {
                    without_ballast(value)
                } else {
                    value
                };
                object.body = Some(Box::new(value));
            }
        }
        object
    }

    /// By its names.
    pub fn reference(&self) -> ObjectRef {
        ObjectRef {
            api_version: self.api.to_string(),
            kind: self.kind.to_string(),
            namespace: self.namespace.as_deref().map(str::to_owned),
            name: self.name.to_string(),
        }
    }

    /// Where it was read.
    pub fn place(&self) -> Place {
        Place {
            file: self.file.to_string(),
            line: self.line,
        }
    }

    /// Who must act, as far as the object says.
    pub fn owner(&self) -> String {
        if let Origin::Helm { release, .. } = &self.origin {
            return format!("Helm release {release}");
        }
        self.detail
            .as_ref()
            .and_then(|detail| detail.owner.clone())
            .unwrap_or_else(|| match self.origin {
                _ if &*self.api == super::arm::API => {
                    "whoever keeps the cluster in Azure".to_owned()
                }
                Origin::Live => "whoever applies it".to_owned(),
                _ => format!("whoever keeps {}", self.file),
            })
    }
}

/// The object without what is long and no check reads: who wrote which field, and the images that a node
/// has.
fn without_ballast(mut value: Value) -> Value {
    for (path, field) in [("/metadata", "managedFields"), ("/status", "images")] {
        if let Some(fields) = value.pointer_mut(path).and_then(Value::as_object_mut) {
            fields.remove(field);
        }
    }
    value
}

/// Does somebody want the body of this kind?
pub(super) fn wants_body(want: Want, kind: &str) -> bool {
    WITH_BODY.binary_search(&kind).is_ok()
        || (want == Want::Diagnosis && WITH_BODY_IN_DIAGNOSIS.binary_search(&kind).is_ok())
}

/// Is it an object of Kubernetes that checks look at, and has no name? An API server takes none such: it is
/// what is left of one.
pub(super) fn lacks_name(api: &str, kind: &str, name: &str) -> bool {
    name.is_empty()
        && WITH_BODY.binary_search(&kind).is_ok()
        && deprecations::row(api, kind).is_some()
}

/// Does a ConfigMap hold a setting that a check looks at?
fn has_settings(value: &Value) -> bool {
    let data = value.get("data").and_then(Value::as_object);
    data.into_iter().flatten().any(|(key, text)| {
        resilience::mentions(key) || text.as_str().is_some_and(resilience::mentions)
    })
}

impl Detail {
    fn of(kind: &str, metadata: &Value, value: &Value) -> Option<Self> {
        let annotation = |key: &str| {
            metadata
                .get("annotations")
                .and_then(|all| all.get(key))
                .and_then(Value::as_str)
        };
        // kapp keeps the same under its own name.
        let applied = annotation("kubectl.kubernetes.io/last-applied-configuration")
            .or_else(|| annotation("kapp.k14s.io/original"))
            .and_then(|text| serde_json::from_str(text).ok());
        let detail = Self {
            applied,
            writers: writers(metadata),
            owner: owner(metadata),
            crd: (kind == "CustomResourceDefinition")
                .then(|| crd(value))
                .flatten(),
        };
        let empty = detail.applied.is_none()
            && detail.writers.is_empty()
            && detail.owner.is_none()
            && detail.crd.is_none();
        (!empty).then_some(detail)
    }
}

fn writers(metadata: &Value) -> Vec<Writer> {
    let entries = metadata.get("managedFields").and_then(Value::as_array);
    let mut writers: Vec<Writer> = Vec::new();
    for entry in entries.into_iter().flatten() {
        let text = |key: &str| {
            let value = entry.get(key).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let writer = Writer {
            manager: text("manager"),
            operation: text("operation"),
            api: text("apiVersion"),
            time: text("time"),
        };
        // Status and spec are separate entries of the same client: the later one counts.
        match writers
            .iter_mut()
            .find(|known| known.manager == writer.manager && known.api == writer.api)
        {
            Some(known) if known.time < writer.time => *known = writer,
            Some(_) => {}
            None => writers.push(writer),
        }
    }
    writers
}

fn owner(metadata: &Value) -> Option<String> {
    let of = |map: &str, key: &str| {
        let value = metadata.get(map).and_then(|all| all.get(key));
        value
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let controller = || {
        let owners = metadata.get("ownerReferences")?.as_array()?;
        let owner = owners
            .iter()
            .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
            .or_else(|| owners.first())?;
        Some(format!(
            "{} {}",
            owner.get("kind")?.as_str()?,
            owner.get("name")?.as_str()?
        ))
    };
    if let Some(owner) = controller() {
        return Some(owner);
    }
    if let Some(name) = of("labels", "helm.toolkit.fluxcd.io/name") {
        return Some(format!("Flux HelmRelease {name}"));
    }
    if let Some(name) = of("labels", "kustomize.toolkit.fluxcd.io/name") {
        return Some(format!("Flux Kustomization {name}"));
    }
    if let Some(id) = of("annotations", "argocd.argoproj.io/tracking-id") {
        let name = id.split(':').next().unwrap_or(id);
        return Some(format!("Argo CD application {name}"));
    }
    if let Some(name) = of("labels", "argocd.argoproj.io/instance") {
        return Some(format!("Argo CD application {name}"));
    }
    if let Some(name) = of("annotations", "meta.helm.sh/release-name") {
        let namespace = of("annotations", "meta.helm.sh/release-namespace").unwrap_or("default");
        return Some(format!("Helm release {namespace}/{name}"));
    }
    of("labels", "app.kubernetes.io/managed-by").map(str::to_owned)
}

fn crd(value: &Value) -> Option<Crd> {
    let spec = value.get("spec")?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let flag = |value: &Value, key: &str| value.get(key).and_then(Value::as_bool);
    let mut versions: Vec<CrdVersion> = spec
        .get("versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|version| {
            Some(CrdVersion {
                name: text(version, "name")?,
                served: flag(version, "served").unwrap_or(true),
                storage: flag(version, "storage").unwrap_or(false),
                deprecated: flag(version, "deprecated").unwrap_or(false),
            })
        })
        .collect();
    if versions.is_empty() {
        // apiextensions.k8s.io/v1beta1 knew a single version beside the list.
        versions.push(CrdVersion {
            name: text(spec, "version")?,
            served: true,
            storage: true,
            deprecated: false,
        });
    }
    let stored = value
        .get("status")
        .and_then(|status| status.get("storedVersions"));
    Some(Crd {
        group: text(spec, "group")?,
        kind: text(spec.get("names")?, "kind")?,
        versions,
        stored: stored
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|version| version.as_str().map(str::to_owned))
            .collect(),
    })
}
