//! What must be true of every member, by its own word, before anything is touched.

use std::collections::BTreeMap;

use super::super::members;
use super::{Set, replication};
use crate::codes;
use crate::databases::service;
use crate::diagnostic::{Diagnostic, Findings};
use crate::scope::{Member, Scope, join};
use crate::world::MariadbFacts;

/// Oldest servers whose behaviour is known: from 10.5 on `read_only` is crossed by one right alone
/// (`READ_ONLY ADMIN`), and the procedure's statements exist.
const OLDEST: (u32, u32) = (10, 5);

/// What the binary log must reach: ten times the 90 s in which a member usually moves, and so more
/// than a disk that takes five minutes to attach.
const BINLOG_SECONDS: u64 = 900;

/// A server with a full buffer pool writes it when it stops; Kubernetes' default of 30 s is short.
const GOOD_GRACE_SECONDS: u64 = 60;

pub(super) fn gate(set: &Set<'_>, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    findings.absorb(members::answered(
        set,
        &set.observed.members,
        "check the pod, the Secret of `admin`, and the user's rights",
    ));
    findings.absorb(members::complete(set));
    findings.absorb(members::unowned(
        set,
        "let the owner hand over (mariadb-operator: `spec.replication.primary.podIndex`), or pause it for the run",
    ));
    let mut foreign = false;
    for (member, facts) in set.answers() {
        let found = kind(member, facts);
        foreign |= !found.refusals.is_empty();
        findings.absorb(found);
    }
    if foreign {
        // What follows speaks of asynchronous replication alone.
        return findings;
    }
    findings.absorb(leader(set));
    for (member, facts) in set.answers() {
        findings.absorb(alone(set, member, facts));
    }
    findings.absorb(numbers(set));
    findings.absorb(replication::gate(set, scope));
    let service = set.spec.service.as_ref().zip(set.observed.service.as_ref());
    let primaries: Vec<u32> = set.primary().map(|(p, _)| p.ordinal).into_iter().collect();
    findings.absorb(service::gate(set, service, &primaries));
    findings.absorb(application(set));
    if !scope.hand_over_only {
        findings.absorb(moving(set));
    }
    findings
}

/// A MariaDB of its own, of a version that is known.
fn kind(member: &Member<'_>, facts: &MariadbFacts) -> Findings {
    let mut findings = Findings::default();
    let name = &member.name;
    if facts.wsrep_on {
        findings.refuse(
            Diagnostic::new(
                codes::GALERA,
                name,
                "every member of a Galera cluster takes writes: there is no primary to hand over",
            )
            .seen("wsrep_on is ON")
            .fix("move its members by hand, one at a time: before each `wsrep_cluster_size` is whole, `wsrep_ready` ON and `wsrep_local_state_comment` Synced on all; never a second one before the first is Synced again"),
        );
    }
    if facts.group || !facts.version.contains("MariaDB") {
        findings.refuse(
            Diagnostic::new(
                codes::GROUP_REPLICATION,
                name,
                "MySQL writes other transaction identifiers than MariaDB, and is not carried yet",
            )
            .seen(if facts.group {
                format!("version {}, a member of a group", facts.version)
            } else {
                format!("version {}", facts.version)
            })
            .fix("by hand: secondaries first; then in a group `SELECT group_replication_set_as_primary(uuid, 30)` to a member of the lowest version, otherwise your own switchover; the old primary last"),
        );
    }
    if !findings.refusals.is_empty() {
        return findings;
    }
    let mut parts = facts.version.split(['.', '-']).map(str::parse);
    let version = match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    };
    if version.is_none_or(|version: (u32, u32)| version < OLDEST) {
        findings.refuse(
            Diagnostic::new(codes::MARIADB_VERSION, name, "the server is too old")
                .seen(facts.version.clone())
                .fix("upgrade the servers to 10.5 or later first"),
        );
    }
    findings
}

fn leader(set: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let leading: Vec<_> = set.answers().filter(|(_, facts)| facts.leads()).collect();
    match leading[..] {
        [(primary, facts)] if facts.read_only => findings.refuse(
            Diagnostic::new(
                codes::FENCED,
                &primary.name,
                "it copies from nobody, and read_only holds its clients back",
            )
            .seen("read_only is ON")
            .fix("if it is the primary: `SET GLOBAL read_only = 0`; if it is a replica that was reset: let it follow the primary"),
        ),
        [_] => {}
        [] => findings.refuse(
            Diagnostic::new(
                codes::NO_PRIMARY,
                set.set_name,
                "every member copies from another one",
            )
            .seen(join(set.answers().map(|(member, facts)| {
                let from = facts.sources.iter().map(|source| source.host.as_str());
                format!("{} copies from {}", member.name.name, join(from))
            })))
            .fix("one of them is the primary and has a connection left over: `STOP SLAVE; RESET SLAVE ALL` there, once you know which"),
        ),
        _ => findings.refuse(
            Diagnostic::new(
                codes::TWO_PRIMARIES,
                set.set_name,
                "more than one member copies from nobody",
            )
            .seen(join(leading.iter().map(|(member, _)| &member.name.name)))
            .fix("let all but the primary follow it (CHANGE MASTER TO ... MASTER_USE_GTID = slave_pos)"),
        ),
    }
    for (member, facts) in set.answers() {
        if !facts.leads() && !facts.read_only {
            findings.refuse(
                Diagnostic::new(
                    codes::REPLICA_WRITABLE,
                    &member.name,
                    "a client that comes here by mistake writes what nobody else has",
                )
                .seen("it copies from another member, and read_only is OFF")
                .fix("SET GLOBAL read_only = 1, and the same in what starts a replica"),
            );
        }
    }
    findings
}

/// What one member says of itself.
fn alone(set: &Set<'_>, member: &Member<'_>, facts: &MariadbFacts) -> Findings {
    let mut findings = Findings::default();
    let name = &member.name;
    if !facts.log_bin {
        findings.refuse(
            Diagnostic::new(
                codes::NO_BINLOG,
                name,
                "without a binary log nobody can copy from it",
            )
            .seen("log_bin is OFF")
            .fix("set `log_bin` and restart the member"),
        );
    } else if !facts.log_slave_updates {
        findings.refuse(
            Diagnostic::new(
                codes::NO_SLAVE_UPDATES,
                name,
                "what it copied is not in its own binary log: once it leads, nobody can follow it from there",
            )
            .seen("log_slave_updates is OFF")
            .fix("set `log_slave_updates` and restart the member"),
        );
    }
    if !facts.strict {
        findings.warn(
            Diagnostic::new(
                codes::NOT_STRICT,
                name,
                "a transaction out of order would be logged and not refused: members may differ without a word",
            )
            .seen("gtid_strict_mode is OFF")
            .fix("SET GLOBAL gtid_strict_mode = 1, and the same in the configuration"),
        );
    }
    if let Some(lock) = &facts.locked {
        findings.refuse(
            Diagnostic::new(
                codes::SERVER_LOCKED,
                name,
                "a backup or a lock over the whole server: a move would break it, and the hand-over would wait for it",
            )
            .seen(lock)
            .fix("wait until it is done, then plan again"),
        );
    }
    if facts.prepared > 0 {
        findings.refuse(
            Diagnostic::new(
                codes::XA_PREPARED,
                name,
                "transactions that are prepared and neither committed nor rolled back hold their locks for ever",
            )
            .seen(format!("{} in XA RECOVER", facts.prepared))
            .fix("XA COMMIT or XA ROLLBACK each of them"),
        );
    }
    if !facts.forbidden.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::MARIADB_RIGHTS,
                name,
                "the user may not do what the procedure needs",
            )
            .seen(format!(
                "{} lacks {}",
                facts.user,
                facts.forbidden.join(", ")
            ))
            .fix(format!(
                "GRANT {} ON *.* TO '{}'@'%'",
                facts.forbidden.join(", "),
                facts.user
            )),
        );
    }
    let limit = set.spec.transaction.0;
    if facts.leads()
        && let Some(longest) = &facts.longest
        && longest.ms > limit
    {
        let statement = longest
            .statement
            .as_deref()
            .unwrap_or("(between two statements)");
        findings.refuse(
            Diagnostic::new(
                codes::OPEN_TRANSACTION,
                name,
                "the hand-over would wait for it, and every client with it, or cut it",
            )
            .seen(format!(
                "session {} of {}, open for {} ms: {statement}",
                longest.session, longest.user, longest.ms
            ))
            .fix(format!(
                "let it end, or KILL {}; the limit is `transaction` ({limit} ms)",
                longest.session
            )),
        );
    }
    findings
}

fn numbers(set: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut by_number: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for (member, facts) in set.answers() {
        by_number
            .entry(facts.server_id)
            .or_default()
            .push(&member.name.name);
    }
    for (number, names) in by_number {
        if names.len() > 1 {
            findings.refuse(
                Diagnostic::new(
                    codes::SERVER_IDS,
                    set.set_name,
                    "servers that have the same number take each other's transactions for their own",
                )
                .seen(format!("server_id {number}: {}", names.join(", ")))
                .fix("give every member a server_id of its own"),
            );
        }
    }
    findings
}

/// The application is held back by what holds back applications.
fn application(set: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let user = &set.observed.application;
    let unfenced: Vec<&str> = set
        .answers()
        .filter(|(_, facts)| facts.unfenced_users.contains(user))
        .map(|(member, _)| member.name.name.as_str())
        .collect();
    if !unfenced.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::UNFENCED_USER,
                set.set_name,
                "a connection of it that stays on the old primary would go on writing there",
            )
            .seen(format!(
                "{user} has READ_ONLY ADMIN on {}",
                unfenced.join(", ")
            ))
            .fix(format!(
                "REVOKE READ_ONLY ADMIN ON *.* FROM '{user}'@'%' (SUPER as well before 10.11)"
            )),
        );
    }
    findings
}

/// What only the absence of a member brings about.
fn moving(set: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    if set.set.claim_templates.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::NO_CLAIM,
                set.set_name,
                "the data would be lost with the pod: each move would copy everything anew",
            )
            .seen(format!(
                "the set has no volume claim; data in {}",
                join(set.answers().map(|(_, facts)| &facts.directory))
            ))
            .fix("give the set a volume claim and keep the data on it"),
        );
    }
    let text = &set.set.entrypoint_text;
    let decides = ["read_only", "read-only"]
        .iter()
        .any(|word| text.iter().any(|part| part.contains(word)));
    if !decides {
        findings.refuse(
            Diagnostic::new(
                codes::RESTART_ROLE,
                set.set_name,
                "nothing that starts a member sets read_only: a replica that moved would take writes",
            )
            .seen("neither `read_only` nor `read-only` in the commands, arguments and scripts of the template")
            .fix("start members with `--read-only=1` where `master.info` is in the data directory: examples/mariadb shows how"),
        );
    }
    for (member, facts) in set.answers() {
        let kept = facts.binlog_kept_seconds;
        if kept > 0 && kept < BINLOG_SECONDS {
            findings.refuse(
                Diagnostic::new(
                    codes::BINLOG_SHORT,
                    &member.name,
                    "its binary log may be gone when a member that moved comes back: that one would have to be copied anew",
                )
                .seen(format!("binlog_expire_logs_seconds is {kept}; {BINLOG_SECONDS} are wanted"))
                .fix(format!("SET GLOBAL binlog_expire_logs_seconds = {BINLOG_SECONDS}, or more")),
            );
        }
    }
    let grace = set.set.termination_grace_seconds;
    if grace < GOOD_GRACE_SECONDS {
        findings.warn(
            Diagnostic::new(
                codes::GRACE,
                set.set_name,
                "a member with much unwritten data may be killed while it stops",
            )
            .seen(format!("terminationGracePeriodSeconds is {grace}"))
            .fix(format!(
                "give members {GOOD_GRACE_SECONDS} s or more in the template"
            )),
        );
    }
    findings
}
