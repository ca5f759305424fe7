//! A report for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use ferriswheel_analysis::findings::{Finding, Report, Severity, Verdict};

/// Files that could not be read are named up to this many; the JSON names all.
const MAX_SKIPPED: usize = 20;

/// Findings that stop nothing are shown up to this many of a code for an owner.
const MAX_ALIKE: usize = 5;

/// Findings by severity, then by who must act.
pub fn findings(report: &Report, objects: usize) -> String {
    let mut text = String::new();
    for severity in Severity::ALL {
        let mut by_owner: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
        for finding in &report.findings {
            if finding.severity == severity {
                by_owner.entry(&finding.owner).or_default().push(finding);
            }
        }
        if by_owner.is_empty() {
            continue;
        }
        let count: usize = by_owner.values().map(Vec::len).sum();
        let _ = writeln!(text, "{} ({count})", heading(severity, &report.target));
        for (owner, findings) in by_owner {
            let _ = writeln!(text, "  {owner}");
            let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
            for finding in findings {
                let count = shown.entry(finding.code).or_default();
                *count += 1;
                if severity <= Severity::StaleSource || *count <= MAX_ALIKE {
                    one(&mut text, finding);
                }
            }
            for (code, count) in shown {
                if severity > Severity::StaleSource && count > MAX_ALIKE {
                    let _ = writeln!(text, "    {code} and {} more", count - MAX_ALIKE);
                }
            }
        }
        text.push('\n');
    }
    practices(&mut text, report);
    if !report.accepted.is_empty() {
        let _ = writeln!(text, "Accepted by the baseline: {}", report.accepted.len());
    }
    if objects == 0 && report.findings.is_empty() {
        text.push_str("Nothing was read: there is no object in the input.\n");
    } else if report.findings.is_empty() {
        let _ = writeln!(text, "Nothing found that {} would change.", report.target);
    }
    text
}

/// The ten practices, a line each.
fn practices(text: &mut String, report: &Report) {
    if report.practices.is_empty() {
        return;
    }
    let _ = writeln!(text, "The ten practices for databases");
    for practice in &report.practices {
        let _ = writeln!(
            text,
            "  {:>2} {:<11}  {}: {}",
            practice.number,
            verdict(practice.verdict),
            practice.title,
            practice.why
        );
    }
    text.push('\n');
}

/// A verdict in words.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Yes => "yes",
        Verdict::No => "no",
        Verdict::CannotKnow => "cannot know",
    }
}

fn heading(severity: Severity, target: &str) -> String {
    match severity {
        Severity::Breaks => format!("Breaks at {target}"),
        Severity::Blocks => "Blocks the upgrade".to_owned(),
        Severity::StaleSource => "Well in the cluster, stale in its source".to_owned(),
        Severity::Later => format!("Works at {target}, goes later"),
        Severity::Warning => "Warnings".to_owned(),
        Severity::Info => "To know".to_owned(),
    }
}

fn one(text: &mut String, finding: &Finding) {
    let object = &finding.object;
    let namespace = object
        .namespace
        .as_ref()
        .map_or(String::new(), |n| format!("{n}/"));
    let _ = writeln!(
        text,
        "    {} {} {namespace}{}  {}:{}",
        finding.code, object.kind, object.name, finding.source.file, finding.source.line
    );
    let _ = writeln!(text, "      {}", finding.message);
    for evidence in &finding.evidence {
        let _ = writeln!(text, "      seen ({}): {}", evidence.class, evidence.detail);
    }
    let _ = writeln!(text, "      fix:  {}", finding.fix);
}

/// What was read, and what was not.
pub fn notes(report: &Report, files: usize, objects: usize, planned: bool) -> String {
    let mut text = format!("check: {objects} objects in {files} files");
    if report.skipped.is_empty() {
        text.push('\n');
    } else {
        let _ = writeln!(text, ", {} skipped:", report.skipped.len());
        for skipped in report.skipped.iter().take(MAX_SKIPPED) {
            let _ = writeln!(text, "  {}: {}", skipped.file, skipped.reason);
        }
        if report.skipped.len() > MAX_SKIPPED {
            let _ = writeln!(
                text,
                "  and {} more (--output json names all)",
                report.skipped.len() - MAX_SKIPPED
            );
        }
    }
    if let Some(reason) = &report.not_drained {
        let _ = writeln!(text, "check: no drain to simulate: {reason}");
    }
    if planned {
        let _ = writeln!(
            text,
            "check: {} is not released as far as this table knows: what goes is what is planned",
            report.target
        );
    }
    if !report.findings.is_empty() {
        text.push_str("check: more about a code: ferriswheel check --explain CODE\n");
    }
    text
}
