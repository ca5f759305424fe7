//! Who else would act on the set: operators and failover agents.

use super::Set;
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};

/// Labels by which operators mark what they own.
///
/// # Source
/// The operators' own manifests: CloudNativePG, Zalando, Crunchy and Percona, StackGres, Patroni.
const OWNERS: [(&str, Option<&str>, &str); 4] = [
    ("cnpg.io/cluster", None, "CloudNativePG"),
    ("application", Some("spilo"), "Zalando's operator"),
    (
        "postgres-operator.crunchydata.com/cluster",
        None,
        "Crunchy's or Percona's operator",
    ),
    ("stackgres.io/cluster", None, "StackGres"),
];

/// Programs that promote by themselves.
const PROGRAMS: [&str; 6] = [
    "patroni",
    "repmgrd",
    "pg_autoctl",
    "stolon-keeper",
    "pgpool",
    "pg_auto_failover",
];

/// Refuses a set that somebody else would move.
pub(super) fn gate(database: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let set = database.set;
    let mut seen = Vec::new();
    seen.extend(database.observed.other_agent.clone());
    if let Some(owner) = &set.owner {
        seen.push(format!("the set is owned by {} {}", owner.kind, owner.name));
    }
    for (label, value, who) in OWNERS {
        let found = set.labels.get(label);
        if found.is_some_and(|found| value.is_none_or(|value| value == found)) {
            seen.push(format!("label {label} of {who}"));
        }
    }
    for text in &set.entrypoint_text {
        let line = text.lines().map(str::trim).find(|line| {
            !line.starts_with('#')
                && line
                    .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
                    .any(|word| PROGRAMS.contains(&word))
        });
        seen.extend(line.map(|line| format!("the entrypoint has `{line}`")));
    }
    if !seen.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::OTHER_AGENT,
            database.set_name,
            "somebody else moves its primary, and would do so against us",
        )
        .fix("let the owner hand over, or pause it for the run (Patroni: `patronictl pause`; repmgr: `repmgr service pause`)");
        diagnostic.evidence = seen;
        findings.refuse(diagnostic);
    }
    findings
}
