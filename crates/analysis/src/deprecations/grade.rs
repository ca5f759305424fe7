//! From an object to findings, graded by what kind of evidence there is.
//!
//! An old version in a manifest breaks the next apply. The same version in the annotation of a live
//! object that is served under a new one breaks nothing by itself: only what it was made from is
//! stale. People who are told both in the same words stop reading.

use super::{Basis, Component, Note, Row, Standing, Target, component, note, row, split};
use crate::codes;
use crate::crds::{Crds, Known};
use crate::findings::{Evidence, Finding, Severity};
use crate::manifest::{Applied, Object, Origin, Writer};

/// Adds what there is to say of an object's API version.
pub(crate) fn grade(
    object: &Object,
    target: &Target,
    crds: &Crds<'_>,
    findings: &mut Vec<Finding>,
) {
    let before = findings.len();
    if let Some(row) = row(&object.api, &object.kind) {
        findings.extend(of_row(object, row, target));
    } else if let Some(component) = component(&object.api, &object.kind) {
        findings.extend(of_component(object, component, target, crds));
    } else {
        findings.extend(of_custom(object, crds));
    }
    let Some(detail) = &object.detail else {
        return;
    };
    // Evidence for a finding that is there already strengthens it; it is not a second finding.
    let found_api = |finding: &Finding| finding.object.api_version.clone();
    if let Some(applied) = &detail.applied
        && *applied.api != *object.api
    {
        findings.extend(of_applied(object, applied, target));
    }
    for writer in &detail.writers {
        let known = findings
            .get_mut(before..)
            .unwrap_or_default()
            .iter_mut()
            .find(|finding| found_api(finding) == writer.api);
        match known {
            Some(finding) => finding.evidence.push(written(writer)),
            None if *writer.api != *object.api => {
                findings.extend(of_writer(object, writer, target));
            }
            None => {}
        }
    }
}

fn of_row(object: &Object, row: &Row, target: &Target) -> Option<Finding> {
    let replacement = row.replacement_at(target.minor);
    let (code, severity, message) = match (row.standing(target.minor), &object.origin) {
        (Standing::Served, _) => return None,
        // Reading an object as an API server shows it is nobody's mistake.
        (Standing::Deprecated | Standing::NotYet(_), Origin::Live) => return None,
        (Standing::Gone(removed), Origin::Helm { release, .. }) if replacement.is_some() => (
            codes::STALE_RELEASE,
            Severity::StaleSource,
            format!(
                "Helm keeps {} {} in the manifest of release {release}; Kubernetes 1.{removed} does not serve it, \
                 and the next helm upgrade fails",
                object.api, object.kind
            ),
        ),
        (Standing::Gone(removed), _) => (
            codes::NOT_SERVED,
            Severity::Breaks,
            format!(
                "{} {} is not served since Kubernetes 1.{removed}",
                object.api, object.kind
            ),
        ),
        (Standing::Later(removed), _) => (
            codes::GOES_LATER,
            Severity::Later,
            format!(
                "{} {} is served by 1.{} and goes in 1.{removed}{}",
                object.api,
                object.kind,
                target.minor,
                planned(row)
            ),
        ),
        (Standing::Deprecated, _) => (
            codes::DEPRECATED,
            Severity::Info,
            format!("{} {} is deprecated", object.api, object.kind),
        ),
        (Standing::NotYet(introduced), _) => (
            codes::NOT_YET,
            Severity::Warning,
            format!(
                "{} {} is not served before Kubernetes 1.{introduced}",
                object.api, object.kind
            ),
        ),
    };
    let mut finding = Finding {
        code,
        severity,
        object: object.reference(),
        source: object.place(),
        deprecated_in: None,
        removed_in: None,
        replacement: None,
        evidence: vec![seen(object)],
        owner: object.owner(),
        patches: Vec::new(),
        message,
        fix: String::new(),
    };
    describe(&mut finding, row, target);
    if let Standing::NotYet(introduced) = row.standing(target.minor) {
        finding.fix = format!("keep an older version, or upgrade to 1.{introduced} first");
    }
    if code == codes::STALE_RELEASE {
        finding.fix = format!(
            "upgrade the release with a chart that has the new version while the cluster still serves the old one, \
             or rewrite its record (helm plugin mapkubeapis); {}",
            finding.fix
        );
    }
    Some(finding)
}

/// The source of an apply that is older than what is served.
fn of_applied(object: &Object, applied: &Applied, target: &Target) -> Option<Finding> {
    let row = row(&applied.api, &applied.kind)?;
    let (severity, when) = match row.standing(target.minor) {
        Standing::Gone(removed) => (
            Severity::StaleSource,
            format!("is not served since Kubernetes 1.{removed}"),
        ),
        Standing::Later(removed) => (
            Severity::Later,
            format!("goes in Kubernetes 1.{removed}{}", planned(row)),
        ),
        _ => return None,
    };
    let mut reference = object.reference();
    reference.api_version.clone_from(&applied.api);
    let mut finding = Finding {
        code: codes::STALE_APPLY,
        severity,
        object: reference,
        source: object.place(),
        deprecated_in: None,
        removed_in: None,
        replacement: None,
        evidence: vec![
            Evidence {
                class: "last-applied",
                detail: format!("the last apply was {} {}", applied.api, applied.kind),
            },
            seen(object),
        ],
        owner: object.owner(),
        patches: Vec::new(),
        message: format!(
            "the object is served as {}, but it was applied from a manifest in {}, which {when}",
            object.api, applied.api
        ),
        fix: String::new(),
    };
    describe(&mut finding, row, target);
    finding.fix = format!(
        "in the manifest that it is applied from: {}; then apply it",
        finding.fix
    );
    Some(finding)
}

/// A client that wrote a version which goes.
fn of_writer(object: &Object, writer: &Writer, target: &Target) -> Option<Finding> {
    let row = row(&writer.api, &object.kind)?;
    let Standing::Gone(removed) = row.standing(target.minor) else {
        return None;
    };
    let mut reference = object.reference();
    reference.api_version.clone_from(&writer.api);
    let mut finding = Finding {
        code: codes::STALE_WRITER,
        severity: Severity::StaleSource,
        object: reference,
        source: object.place(),
        deprecated_in: None,
        removed_in: None,
        replacement: None,
        evidence: vec![written(writer), seen(object)],
        owner: format!("client {}", writer.manager),
        patches: Vec::new(),
        message: format!(
            "{} wrote this object as {}, which is not served since Kubernetes 1.{removed}",
            writer.manager, writer.api
        ),
        fix: String::new(),
    };
    describe(&mut finding, row, target);
    finding.fix = format!(
        "see that {} uses the new version ({}); an entry of a client that has been upgraded since goes with its \
         next write of the same fields",
        writer.manager, finding.fix
    );
    Some(finding)
}

/// Releases, replacement and fix out of the table.
fn describe(finding: &mut Finding, row: &Row, target: &Target) {
    let minor = |minor: u32| format!("1.{minor}");
    finding.deprecated_in = row.deprecated.map(minor);
    finding.removed_in = row.removed.map(minor);
    let replacement = row.replacement_at(target.minor);
    finding.replacement = replacement.as_ref().map(|(api, kind)| {
        if *kind == row.kind {
            api.clone()
        } else {
            format!("{api} {kind}")
        }
    });
    finding.evidence.extend(basis(row));
    finding.fix = match (&finding.replacement, note(&row.api(), row.kind)) {
        (Some(to), Note::Mechanical) => {
            format!("change apiVersion to {to}; nothing else changes (check --fix does it)")
        }
        (Some(to), Note::ByRule(why)) => {
            format!("change apiVersion to {to}; {why} (check --fix does it where nothing is lost)")
        }
        (Some(to), Note::ByHand(why)) => format!("change apiVersion to {to}; {why}"),
        (None, Note::ByHand(why)) if row.kind == "PodSecurityPolicy" => why.to_owned(),
        (None, _) => "remove it: no version of this kind is served at the target".to_owned(),
    };
}

fn planned(row: &Row) -> &'static str {
    match row.basis {
        Basis::Schema => "",
        Basis::Tag => " (planned)",
    }
}

fn basis(row: &Row) -> Option<Evidence> {
    let removed = row.removed?;
    Some(match row.basis {
        Basis::Schema => Evidence {
            class: "schema",
            detail: format!(
                "the schema of Kubernetes 1.{} has it, the schema of 1.{removed} has not",
                removed.saturating_sub(1)
            ),
        },
        Basis::Tag => Evidence {
            class: "lifecycle-tag",
            detail: format!(
                "removed in 1.{removed}, says the tag in release 1.{}",
                row.release
            ),
        },
    })
}

fn of_component(
    object: &Object,
    row: &Component,
    target: &Target,
    crds: &Crds<'_>,
) -> Option<Finding> {
    let release = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    let asked = target.components.get(row.component).copied();
    let published = Evidence {
        class: "component-release",
        detail: row.source.to_owned(),
    };
    let what = format!("{} {}", object.api, object.kind);
    let (code, severity, message, evidence) =
        match (crds.version(row.group, row.kind, row.version), row.removed) {
            (Known::Version(crd, version), _) if !version.served => {
                return Some(unserved(object, crd, row.replacement));
            }
            (Known::NotListed(crd), _) => return Some(unserved(object, crd, row.replacement)),
            (Known::Version(crd, _), Some(removed))
                if asked.is_none_or(|asked| asked < removed) =>
            {
                (
                    codes::GOES_LATER,
                    Severity::Later,
                    format!(
                        "{what} is served by its definition, and not by {} {} and later",
                        row.component,
                        release(removed)
                    ),
                    vec![defined(crd), published],
                )
            }
            (_, Some(removed)) if asked.is_some_and(|asked| asked < removed) => (
                codes::GOES_LATER,
                Severity::Later,
                format!("{what} goes in {} {}", row.component, release(removed)),
                vec![published],
            ),
            (_, Some(removed)) => (
                codes::NOT_SERVED,
                Severity::Breaks,
                format!(
                    "{what} is not served since {} {}",
                    row.component,
                    release(removed)
                ),
                vec![published],
            ),
            (_, None) if object.origin != Origin::Live => (
                codes::DEPRECATED,
                Severity::Info,
                format!("{what} is deprecated"),
                vec![published],
            ),
            _ => return None,
        };
    let mut all = vec![seen(object)];
    all.extend(evidence);
    Some(Finding {
        code,
        severity,
        object: object.reference(),
        source: object.place(),
        deprecated_in: row.deprecated.map(release),
        removed_in: row.removed.map(release),
        replacement: row.replacement.map(str::to_owned),
        evidence: all,
        owner: object.owner(),
        patches: Vec::new(),
        message,
        fix: row.replacement.map_or_else(
            || "remove it".to_owned(),
            |to| {
                format!(
                    "change it to {to}, and compare the fields in the notes of {}",
                    row.component
                )
            },
        ),
    })
}

/// A custom object against the definition in the input.
fn of_custom(object: &Object, crds: &Crds<'_>) -> Option<Finding> {
    let (group, version) = split(&object.api);
    match crds.version(group, &object.kind, version) {
        Known::Version(crd, version) if !version.served => Some(unserved(object, crd, None)),
        Known::NotListed(crd) => Some(unserved(object, crd, None)),
        Known::Version(crd, version) if version.deprecated => Some(Finding {
            code: codes::CUSTOM_DEPRECATED,
            severity: Severity::Later,
            message: format!(
                "{} {} is deprecated by its definition",
                object.api, object.kind
            ),
            fix: "change apiVersion to the definition's storage version".to_owned(),
            ..unserved(object, crd, None)
        }),
        _ => None,
    }
}

fn unserved(object: &Object, crd: &Object, replacement: Option<&str>) -> Finding {
    let served = crd.detail.as_ref().and_then(|detail| detail.crd.as_ref());
    let to = served.and_then(|crd| {
        let best = crd.versions.iter().filter(|version| version.served);
        let best = best.max_by_key(|version| (version.storage, super::stability(&version.name)))?;
        Some(format!("{}/{}", crd.group, best.name))
    });
    let to = to.or_else(|| replacement.map(str::to_owned));
    Finding {
        code: codes::CUSTOM_NOT_SERVED,
        severity: Severity::Breaks,
        object: object.reference(),
        source: object.place(),
        deprecated_in: None,
        removed_in: None,
        evidence: vec![seen(object), defined(crd)],
        owner: object.owner(),
        patches: Vec::new(),
        message: format!(
            "{} {} is not served: its definition {} does not serve this version",
            object.api, object.kind, crd.name
        ),
        fix: to.as_ref().map_or_else(
            || "use a version that the definition serves".to_owned(),
            |to| format!("change apiVersion to {to}, and compare the fields"),
        ),
        replacement: to,
    }
}

fn defined(crd: &Object) -> Evidence {
    Evidence {
        class: "crd",
        detail: format!("{} in {} (line {})", crd.name, crd.file, crd.line),
    }
}

fn seen(object: &Object) -> Evidence {
    let (class, detail) = match &object.origin {
        Origin::Manifest => (
            "manifest",
            format!("a manifest with {} {}", object.api, object.kind),
        ),
        Origin::Live => (
            "live-object",
            format!("a cluster answered with {} {}", object.api, object.kind),
        ),
        Origin::Helm { release, revision } => (
            "helm-release",
            format!("manifest of {release}, revision {revision}"),
        ),
    };
    Evidence { class, detail }
}

fn written(writer: &Writer) -> Evidence {
    Evidence {
        class: "managed-fields",
        detail: format!(
            "{} wrote {} ({}) at {}",
            writer.manager,
            writer.api,
            writer.operation,
            if writer.time.is_empty() {
                "an unknown time"
            } else {
                &writer.time
            }
        ),
    }
}
