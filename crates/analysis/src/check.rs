//! From objects to a report.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::crds::Crds;
use crate::deprecations::{self, Target};
use crate::drain;
use crate::findings::{Report, SCHEMA};
use crate::manifest::{Object, Reading, Release};
use crate::resilience::{self, Settings};

/// Which checks are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// API versions and definitions of custom resources.
    pub api_versions: bool,
    /// Resilience; it needs bodies ([`crate::manifest::Want::Bodies`]).
    pub resilience: Option<Settings>,
    /// The drain of the pools; it needs sketches ([`crate::manifest::Want::Sketches`]).
    pub drain: Option<drain::Settings>,
}

impl Scope {
    /// API versions alone.
    pub const API_VERSIONS: Self = Self {
        api_versions: true,
        resilience: None,
        drain: None,
    };
}

/// Everything that the checks have to say about what was read.
///
/// # Guarantees
/// The same reading and target give the same report, in an order that depends on nothing else:
/// gravest first, then by place.
pub fn check(mut reading: Reading, target: &Target, scope: &Scope) -> Report {
    let released = current(std::mem::take(&mut reading.releases));
    let mut findings = Vec::new();
    let mut practices = Vec::new();
    if scope.api_versions {
        let crds = Crds::of(&reading.objects);
        findings = crds.findings();
        findings.extend(deprecations::of_usages(&reading.usages, target));
        for object in reading.objects.iter().chain(&released) {
            deprecations::grade(object, target, &crds, &mut findings);
        }
    }
    if let Some(settings) = &scope.resilience {
        let all = reading.objects.iter().chain(&released);
        let (said, kept) = resilience::check(all, settings);
        findings.extend(said);
        practices = kept;
    }
    let (mut drained, mut not_drained) = (None, None);
    if let Some(settings) = &scope.drain {
        match drain::check(&reading.objects, settings) {
            Ok((simulation, said)) => {
                drained = Some(simulation);
                findings.extend(said);
            }
            Err(reason) => not_drained = Some(reason),
        }
    }
    findings.sort_by(|a, b| {
        (a.severity, &a.source, a.code, &a.object).cmp(&(b.severity, &b.source, b.code, &b.object))
    });
    let mut skipped = reading.skipped;
    skipped.sort();
    Report {
        schema: SCHEMA,
        target: format!("1.{}", target.minor),
        findings,
        drain: drained,
        not_drained,
        skipped,
        practices,
        accepted: Vec::new(),
        fixed: Vec::new(),
    }
}

/// What each release has installed now: its newest deployed revision, or its newest at all.
///
/// Helm keeps ten revisions; the superseded ones are history, and nothing is done from them except
/// by a rollback.
fn current(releases: Vec<Release>) -> Vec<Object> {
    let mut newest: BTreeMap<Arc<str>, Release> = BTreeMap::new();
    for release in releases {
        let rank = |release: &Release| (release.status == "deployed", release.revision);
        match newest.get(&release.name) {
            Some(known) if rank(known) >= rank(&release) => {}
            _ => {
                newest.insert(Arc::clone(&release.name), release);
            }
        }
    }
    newest
        .into_values()
        .filter(|release| release.status != "uninstalled")
        .flat_map(|release| release.objects)
        .collect()
}
