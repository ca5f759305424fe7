//! Who copies from whom, whether everything arrives, and whether anybody has more than the primary.

use super::{Set, WHOLE_LAG};
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::scope::{Member, Scope};
use crate::world::{MariadbFacts, MariadbSource};

pub(super) fn gate(set: &Set<'_>, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    for (member, facts) in set.answers() {
        findings.absorb(filters(member, facts));
        for source in &facts.sources {
            findings.absorb(follows(set, member, facts, source));
        }
        findings.absorb(errant(set, member, facts));
    }
    findings.absorb(semi_sync(set));
    findings.absorb(succession(set, scope));
    findings
}

fn filters(member: &Member<'_>, facts: &MariadbFacts) -> Findings {
    let mut findings = Findings::default();
    let mut seen = facts.binlog_filters.clone();
    for source in &facts.sources {
        seen.extend(source.filters.iter().cloned());
    }
    if !seen.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::REPLICATION_FILTER,
            &member.name,
            "members do not have the same data: whoever leads next may lack what clients wrote",
        )
        .fix("take the filter away and copy the member anew");
        diagnostic.evidence = seen;
        findings.refuse(diagnostic);
    }
    findings
}

fn follows(
    set: &Set<'_>,
    member: &Member<'_>,
    facts: &MariadbFacts,
    source: &MariadbSource,
) -> Findings {
    let mut findings = Findings::default();
    let name = &member.name;
    if let Some((primary, _)) = set.primary() {
        let ours = source.pod() == primary.name.name;
        if !ours || facts.sources.len() > 1 || !source.connection.is_empty() {
            findings.refuse(
                Diagnostic::new(
                    codes::OTHER_SOURCE,
                    name,
                    "it does not copy from the primary of this set alone",
                )
                .seen(format!(
                    "connection `{}` to {}:{}; {} connections; the primary is {}",
                    source.connection,
                    source.host,
                    source.port,
                    facts.sources.len(),
                    primary.name.name
                ))
                .fix("let every replica follow the primary by its own name (`mariadb-0.mariadb.db.svc.cluster.local`), by one connection without a name"),
            );
        }
    }
    if source.gtid == "No" {
        findings.refuse(
            Diagnostic::new(
                codes::NOT_GTID,
                name,
                "it follows by file and offset, which mean nothing on another primary",
            )
            .seen(format!("Using_Gtid: {}", source.gtid))
            .fix("STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID = slave_pos; START SLAVE"),
        );
    }
    if !source.runs() {
        let mut diagnostic = Diagnostic::new(
            codes::REPLICATION_STOPPED,
            name,
            "it does not receive or does not apply what the primary writes",
        )
        .seen(format!(
            "Slave_IO_Running: {}, Slave_SQL_Running: {}",
            source.receives, source.applies
        ))
        .fix("mend what its error says, then START SLAVE; a connection that is being made passes by itself");
        diagnostic.evidence.extend(source.errors.iter().cloned());
        findings.refuse(diagnostic);
    } else if source.delay_seconds == 0
        && source
            .behind_seconds
            .is_none_or(|behind| !WHOLE_LAG.holds_millis(behind * 1_000))
    {
        let behind = source
            .behind_seconds
            .map_or_else(|| "unknown".to_owned(), |seconds| format!("{seconds} s"));
        findings.refuse(
            Diagnostic::new(
                codes::REPLICA_BEHIND,
                name,
                "the replica has not everything that the primary has",
            )
            .seen(format!("Seconds_Behind_Master: {behind}"))
            .fix("wait until it has caught up; if it never does, look at its disk, and at `slave_parallel_threads`"),
        );
    }
    findings
}

/// Transactions of other servers than the primary that the primary has not: only a client that wrote
/// to a replica makes those.
fn errant(set: &Set<'_>, member: &Member<'_>, facts: &MariadbFacts) -> Findings {
    let mut findings = Findings::default();
    let Some((primary, theirs)) = set.primary() else {
        return findings;
    };
    if primary.ordinal == member.ordinal {
        return findings;
    }
    let errant: Vec<String> = facts
        .binlog_state
        .0
        .iter()
        .filter(|gtid| gtid.server != theirs.server_id)
        .filter(|gtid| {
            theirs
                .binlog_state
                .of(gtid.domain, gtid.server)
                .is_none_or(|known| known < gtid.sequence)
        })
        .map(ToString::to_string)
        .collect();
    if !errant.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::ERRANT,
                &member.name,
                "somebody wrote here and not on the primary: its data differs, and once it led nobody could follow it",
            )
            .seen(format!(
                "up to {} in its binary log; {} has {}",
                errant.join(", "),
                primary.name.name,
                theirs.binlog_pos
            ))
            .fix("find out what was written (`mariadb-binlog`), then copy the member anew from the primary"),
        );
    }
    findings
}

/// Half of a semi-synchronous set would make the new primary wait for nobody, or for ever.
fn semi_sync(set: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    if !set.semi_sync() {
        return findings;
    }
    let uneven: Vec<String> = set
        .answers()
        .filter(|(_, facts)| !(facts.semi_sync_source && facts.semi_sync_replica))
        .map(|(member, facts)| {
            format!(
                "{}: rpl_semi_sync_master_enabled {}, rpl_semi_sync_slave_enabled {}",
                member.name.name,
                on(facts.semi_sync_source),
                on(facts.semi_sync_replica)
            )
        })
        .collect();
    if uneven.is_empty() {
        findings.warn(
            Diagnostic::new(
                codes::SEMI_SYNC,
                set.set_name,
                "commits wait for a replica: after the hand-over the first ones wait until one follows the new primary",
            )
            .seen("rpl_semi_sync_master_enabled is ON on every member")
            .fix("nothing to do: the others follow the candidate before it takes writes"),
        );
    } else {
        let mut diagnostic = Diagnostic::new(
            codes::SEMI_SYNC,
            set.set_name,
            "commits wait for a replica, but not whoever leads: the promise would change with the primary",
        )
        .fix("set rpl_semi_sync_master_enabled and rpl_semi_sync_slave_enabled on every member, or on none");
        diagnostic.evidence = uneven;
        findings.refuse(diagnostic);
    }
    findings
}

fn on(is: bool) -> &'static str {
    if is { "ON" } else { "OFF" }
}

fn succession(set: &Set<'_>, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    let Some((primary, _)) = set.primary() else {
        return findings;
    };
    if !scope.hand_over_only && primary.old_node.is_none() {
        return findings;
    }
    if set.candidates().is_empty() {
        findings.refuse(
            Diagnostic::new(codes::NO_CANDIDATE, set.set_name, "nobody could take over")
                .seen("no member copies from the primary without a delay on purpose")
                .fix("add a replica, or take MASTER_DELAY from one"),
        );
    }
    findings
}
