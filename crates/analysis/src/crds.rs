//! Custom resources: which versions their definitions serve, and in which versions objects are stored.

use std::collections::BTreeMap;

use crate::codes;
use crate::findings::{Evidence, Finding, Severity};
use crate::manifest::{Crd, CrdVersion, Object, Origin};

/// The definitions in the input, by group and kind.
#[derive(Debug, Default)]
pub(crate) struct Crds<'a> {
    by_kind: BTreeMap<(&'a str, &'a str), Vec<(&'a Object, &'a Crd)>>,
}

/// What the input's definition says of a version.
pub(crate) enum Known<'a> {
    /// No definition in the input.
    Nothing,
    /// Listed, with its flags.
    Version(&'a Object, &'a CrdVersion),
    /// The definition does not list it.
    NotListed(&'a Object),
}

impl<'a> Crds<'a> {
    /// Collects the definitions.
    pub(crate) fn of(objects: &'a [Object]) -> Self {
        let mut crds = Self::default();
        for object in objects {
            if let Some(crd) = object
                .detail
                .as_ref()
                .and_then(|detail| detail.crd.as_ref())
            {
                let key = (crd.group.as_str(), crd.kind.as_str());
                crds.by_kind.entry(key).or_default().push((object, crd));
            }
        }
        crds
    }

    /// What serves objects now: the cluster's own definition, else the one that is kept.
    pub(crate) fn version(&self, group: &str, kind: &str, version: &str) -> Known<'a> {
        let Some(all) = self.by_kind.get(&(group, kind)) else {
            return Known::Nothing;
        };
        let live = all.iter().find(|(object, _)| object.origin == Origin::Live);
        let Some((object, crd)) = live.or_else(|| all.last()) else {
            return Known::Nothing;
        };
        match crd.versions.iter().find(|known| known.name == version) {
            Some(known) => Known::Version(object, known),
            None => Known::NotListed(object),
        }
    }

    /// Versions in which objects may be stored and which are going.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for all in self.by_kind.values() {
            for (object, crd) in all {
                for stored in &crd.stored {
                    findings.extend(going(object, crd, stored, all));
                }
            }
        }
        findings
    }
}

/// The finding for one stored version, if it is going.
fn going(object: &Object, crd: &Crd, stored: &str, all: &[(&Object, &Crd)]) -> Option<Finding> {
    let current = crd.versions.iter().find(|version| version.name == stored);
    let storage = crd.versions.iter().find(|version| version.storage);
    let storage = storage.map_or("the storage version", |version| version.name.as_str());
    let next = all.iter().find(|(other, crd)| {
        other.origin != Origin::Live && !crd.versions.iter().any(|version| version.name == stored)
    });
    let (severity, detail) = match (next, current) {
        (Some((next, _)), _) => (
            Severity::Blocks,
            format!(
                "{} (line {}) does not list {stored} any more",
                next.file, next.line
            ),
        ),
        (None, Some(version)) if !version.served => (
            Severity::Warning,
            format!("{stored} is listed and not served"),
        ),
        (None, Some(version)) if version.deprecated && !version.storage => (
            Severity::Warning,
            format!("{stored} is listed as deprecated"),
        ),
        _ => return None,
    };
    let plural = object.name.split('.').next().unwrap_or_default();
    Some(Finding {
        code: codes::STORED_VERSION,
        severity,
        object: object.reference(),
        source: object.place(),
        deprecated_in: None,
        removed_in: None,
        replacement: Some(format!("{}/{storage}", crd.group)),
        evidence: vec![
            Evidence {
                class: "stored-versions",
                detail: format!("status.storedVersions has {}", crd.stored.join(", ")),
            },
            Evidence {
                class: "crd",
                detail,
            },
        ],
        owner: object.owner(),
        patches: Vec::new(),
        message: format!(
            "{} may still be stored as {stored}: the API server refuses a definition without that version",
            crd.kind
        ),
        fix: format!(
            "write every {plural} once more (kubectl get {plural}.{group} -A -o json | kubectl replace -f -), then \
             remove {stored} from status.storedVersions (kubectl patch crd {name} --subresource=status)",
            group = crd.group,
            name = object.name
        ),
    })
}
