//! Does the entrypoint make the lowest ordinal the primary, whatever the members say?
//!
//! A heuristic over texts. Such a script puts a wrong primary in place of the right one the first
//! time that the pod of that ordinal is made again, so a false alarm is the cheaper mistake; the
//! evidence quotes the line, for a person to judge.

use super::Set;
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};

/// A script that asks this of the others does not go by ordinals alone.
const ASKS: [&str; 2] = ["pg_is_in_recovery", "target_session_attrs"];

/// Refuses an entrypoint that decides by the ordinal.
pub(super) fn gate(database: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    for text in &database.set.entrypoint_text {
        if let Some(line) = decides_by_ordinal(text, &database.set_name.name) {
            findings.refuse(
                Diagnostic::new(
                    codes::ORDINAL_PRIMARY,
                    database.set_name,
                    "after the hand-over its pods would follow, or become, the wrong primary",
                )
                .seen(format!("the entrypoint has `{line}`"))
                .fix("let members ask the others who the primary is (`pg_is_in_recovery()`), as examples/postgres does"),
            );
        }
    }
    findings
}

/// The line that gives it away.
fn decides_by_ordinal<'a>(text: &'a str, set: &str) -> Option<&'a str> {
    if ASKS.iter().any(|question| text.contains(question)) {
        return None;
    }
    let first = format!("{set}-0");
    text.lines().map(str::trim).find(|line| {
        if line.starts_with('#') {
            return false;
        }
        let clones = ["pg_basebackup", "primary_conninfo", "--host", "-h "]
            .iter()
            .any(|word| line.contains(word));
        (clones && line.contains(&first)) || tests_for_zero(line, &first)
    })
}

/// `[[ $ordinal -eq 0 ]]`, `(( index == 0 ))`, `[ "$HOSTNAME" = "pg-0" ]`, `case $HOSTNAME in *-0)`.
fn tests_for_zero(line: &str, first: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let about_me = ["ordinal", "hostname", "pod_name", "index", "pod_index"]
        .iter()
        .any(|word| lower.contains(word));
    let squeezed: String = lower
        .chars()
        .filter(|c| !matches!(c, ' ' | '"' | '\''))
        .collect();
    let zero = ["-eq0", "==0", "=0]", "=~-0$", "==*-0", "=*-0"]
        .iter()
        .any(|test| squeezed.contains(test))
        || squeezed.contains(&format!("={first}"));
    let branch = squeezed.starts_with("*-0)") || squeezed.starts_with(&format!("{first})"));
    (about_me && zero) || branch
}

#[cfg(test)]
mod tests {
    use super::decides_by_ordinal;

    #[test]
    fn decisions_by_ordinal_are_found() {
        for (text, found) in [
            ("if [[ $ordinal -eq 0 ]]; then\n  exec postgres\nfi", true),
            (
                "#!/bin/sh\nif [ \"$HOSTNAME\" = \"pg-0\" ]; then initdb; fi",
                true,
            ),
            ("[[ `hostname` =~ -0$ ]] && primary=1", true),
            ("case $HOSTNAME in\n  *-0) role=primary;;\nesac", true),
            ("pg_basebackup -h pg-0.pg -D $PGDATA", true),
            ("echo \"primary_conninfo = 'host=pg-0.pg'\" >> x.conf", true),
            ("((ordinal == 0)) && bootstrap", true),
            ("# pg-0 is not special: -h pg-0\nexec postgres", false),
            (
                "ask() { psql -c 'SELECT pg_is_in_recovery()'; }\nif ((ordinal == 0)) && all_empty; then bootstrap; fi",
                false,
            ),
            ("exec postgres -c cluster_name=$HOSTNAME", false),
            ("max_connections = 200\nindex_cleanup = 10", false),
            ("if [ $count -eq 0 ]; then exit 1; fi", false),
        ] {
            assert_eq!(decides_by_ordinal(text, "pg").is_some(), found, "{text}");
        }
    }
}
