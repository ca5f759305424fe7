//! Who else would act on the set: operators, Patroni, and failover agents that nobody can ask.

use super::{Set, patroni};
use crate::codes;
use crate::databases::operators;
use crate::diagnostic::{Diagnostic, Findings};

/// The program that is asked to hand over, once its interface has answered.
const PATRONI: &str = "patroni";

/// Programs that promote by themselves.
const PROGRAMS: [&str; 6] = [
    PATRONI,
    "repmgrd",
    "pg_autoctl",
    "stolon-keeper",
    "pgpool",
    "pg_auto_failover",
];

/// Refuses a set that somebody else would move, unless it is Patroni alone and Patroni can be asked.
pub(super) fn gate(database: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let set = database.set;
    let asked = database.observed.patroni.as_ref();
    if let Some(seen) = operators::of(database) {
        let otherwise = "let the owner hand over by its own interface, or stop it for the run";
        findings.refuse(operators::refusal(database.set_name, seen, otherwise));
        return findings;
    }
    let mut seen = Vec::new();
    seen.extend(database.observed.other_agent.clone());
    for text in &set.entrypoint_text {
        let line = text.lines().map(str::trim).find(|line| {
            !line.starts_with('#')
                && line
                    .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
                    .filter(|word| asked.is_none() || *word != PATRONI)
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
        .fix("let the owner hand over, or stop it for the run (repmgr: `repmgr service pause`); Patroni is asked by its REST API: say where in `patroni`");
        diagnostic.evidence = seen;
        findings.refuse(diagnostic);
    }
    if let Some(patroni) = asked {
        findings.absorb(patroni::gate(database, patroni));
    }
    findings
}
