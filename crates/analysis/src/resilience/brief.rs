//! A pod that something makes, as far as checks ask about it.
//!
//! What its template says is judged where the template is. So of a hundred thousand pods of a cluster
//! only what each has for itself is kept: as trees they take gigabytes.

use serde_json::{Map, Value};

use super::capacity::{Amount, asked};
use super::scene::controller;
use super::values::{at, has, list, text};

/// A pod that something makes.
#[derive(Clone, Debug, PartialEq)]
pub struct PodBrief {
    /// Kind and name of its controller.
    controller: (Box<str>, Box<str>),
    labels: Option<Map<String, Value>>,
    node: Option<Box<str>>,
    phase: Option<Box<str>>,
    ready: bool,
    leaving: bool,
    /// Claims that it mounts.
    claims: Vec<Box<str>>,
    asked: Amount,
}

/// The same of any pod, as the checks ask for it.
pub(crate) struct Facts<'a> {
    pub controller: Option<(&'a str, &'a str)>,
    pub labels: super::select::Labels<'a>,
    pub node: Option<&'a str>,
    pub phase: Option<&'a str>,
    pub ready: bool,
    pub leaving: bool,
    pub claims: Vec<&'a str>,
    pub asked: Amount,
}

impl PodBrief {
    /// Nothing for a pod without a controller: it is a workload of its own.
    pub(crate) fn of(body: &Value) -> Option<Self> {
        let facts = Facts::of(body);
        let (kind, name) = facts.controller?;
        Some(Self {
            controller: (kind.into(), name.into()),
            labels: facts.labels.cloned(),
            node: facts.node.map(Into::into),
            phase: facts.phase.map(Into::into),
            ready: facts.ready,
            leaving: facts.leaving,
            claims: facts.claims.into_iter().map(Into::into).collect(),
            asked: facts.asked,
        })
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            controller: Some((&self.controller.0, &self.controller.1)),
            labels: self.labels.as_ref(),
            node: self.node.as_deref(),
            phase: self.phase.as_deref(),
            ready: self.ready,
            leaving: self.leaving,
            claims: self.claims.iter().map(|claim| &**claim).collect(),
            asked: self.asked,
        }
    }
}

impl<'a> Facts<'a> {
    pub(crate) fn of(body: &'a Value) -> Self {
        let ready = |condition: &Value| {
            text(condition, "/type") == Some("Ready") && text(condition, "/status") == Some("True")
        };
        Self {
            controller: controller(body),
            labels: super::select::labels(body, "/metadata/labels"),
            node: text(body, "/spec/nodeName"),
            phase: text(body, "/status/phase"),
            ready: list(body, "/status/conditions").iter().any(ready),
            leaving: has(body, "/metadata/deletionTimestamp"),
            claims: list(body, "/spec/volumes")
                .iter()
                .filter_map(|volume| text(volume, "/persistentVolumeClaim/claimName"))
                .collect(),
            asked: asked(at(body, "/spec").unwrap_or(&Value::Null)),
        }
    }
}
