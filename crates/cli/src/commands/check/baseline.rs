//! The baseline: findings that somebody has accepted, with a reason and an end.

use std::path::Path;

use ferriswheel_analysis::findings::{Accepted, Evidence, Finding, Report};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The name of the format.
pub const SCHEMA: &str = "ferriswheel.baseline.v1";

/// The file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    accepted: Vec<Entry>,
}

/// One finding that may stay. What is not said matches anything.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
struct Entry {
    code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    reason: String,
    expires: Date,
}

impl Entry {
    fn accepts(&self, finding: &Finding) -> bool {
        let object = &finding.object;
        let is =
            |said: &Option<String>, found: &str| said.as_deref().is_none_or(|said| said == found);
        self.code == finding.code
            && is(&self.kind, &object.kind)
            && is(
                &self.namespace,
                object.namespace.as_deref().unwrap_or_default(),
            )
            && is(&self.name, &object.name)
            && is(&self.file, &finding.source.file)
    }
}

/// Takes what the file accepts out of the report's findings. Says what to know about the file.
pub fn apply(report: &mut Report, path: &Path, today: Date) -> Result<Vec<String>, Failure> {
    let broken = |why: String| {
        Failure::input(format!("the baseline {} cannot be used: {why}", path.display())).fix(
            "write it with --write-baseline; each entry needs code, reason and expires (a day such as 2027-01-31)",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|e| broken(e.to_string()))?;
    let file: File = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
    if file.schema != SCHEMA {
        return Err(broken(format!(
            "its schema is {:?}, not {SCHEMA}",
            file.schema
        )));
    }
    if let Some(entry) = file
        .accepted
        .iter()
        .find(|entry| entry.reason.trim().is_empty())
    {
        return Err(broken(format!("an entry for {} has no reason", entry.code)));
    }
    let mut used = vec![false; file.accepted.len()];
    let mut left = Vec::new();
    for mut finding in std::mem::take(&mut report.findings) {
        let entries = || {
            file.accepted
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.accepts(&finding))
        };
        let valid = entries().find(|(_, entry)| entry.expires >= today);
        let over = entries().next();
        for (at, _) in valid.iter().chain(&over) {
            if let Some(used) = used.get_mut(*at) {
                *used = true;
            }
        }
        match (valid, over) {
            (Some((_, entry)), _) => report.accepted.push(Accepted {
                reason: entry.reason.clone(),
                expires: entry.expires.to_string(),
                finding,
            }),
            (None, Some((_, entry))) => {
                let detail = format!("accepted until {}: {}", entry.expires, entry.reason);
                finding.evidence.push(Evidence {
                    class: "baseline",
                    detail,
                });
                left.push(finding);
            }
            (None, None) => left.push(finding),
        }
    }
    report.findings = left;
    let mut notes = Vec::new();
    for (entry, _) in file.accepted.iter().zip(&used).filter(|(_, used)| !**used) {
        notes.push(format!(
            "baseline: {} {} {} is not found any more: take it out",
            entry.code,
            entry.kind.as_deref().unwrap_or("*"),
            entry.name.as_deref().unwrap_or("*")
        ));
    }
    Ok(notes)
}

/// Writes a file that accepts everything that the report has.
pub fn write(report: &Report, path: &Path, reason: &str, expires: Date) -> Result<(), Failure> {
    let mut accepted: Vec<Entry> = report
        .findings
        .iter()
        .map(|finding| Entry {
            code: finding.code.to_owned(),
            kind: Some(finding.object.kind.clone()),
            namespace: finding.object.namespace.clone(),
            name: Some(finding.object.name.clone()),
            file: None,
            reason: reason.to_owned(),
            expires,
        })
        .collect();
    accepted.sort();
    accepted.dedup();
    let file = File {
        schema: SCHEMA.to_owned(),
        accepted,
    };
    let text = serde_json::to_string_pretty(&file).map_err(|e| Failure::unexpected(&e))?;
    std::fs::write(path, text + "\n").map_err(|e| {
        Failure::input(format!("{} cannot be written: {e}", path.display()))
            .fix("check the directory and its permissions")
    })
}
