//! The servers: one primary, whole and equal replicas, and nothing that a hand-over would lose.

use std::collections::BTreeSet;

use super::super::members;
use super::{Set, TEMPORARY_STANDBY, WHOLE_LAG, is_synchronous_set, sync_names};
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::ids::ObjectRef;
use crate::policy::Millis;
use crate::scope::join;
use crate::world::PostgresFacts;

/// Segments that may wait for the archiver.
///
/// 8, half a `max_wal_size` of the defaults: more means that the archive has trouble, and the
/// switch of segments at the stop would wait behind it.
const MOST_BACKLOG: u64 = 8;

/// Connections that a clone takes: `pg_basebackup` with streamed WAL.
const CLONE_CONNECTIONS: i64 = 2;

/// `server_version_num` of the oldest servers: from 13 on `primary_conninfo` and
/// `primary_slot_name` take effect by a reload.
const OLDEST: u32 = 130_000;

/// `server_version_num` from which `pg_walinspect` proves the stop; before, the agent reads the end
/// of the log itself.
const WALINSPECT_FROM: u32 = 150_000;

/// Looks at every server.
pub(super) fn gate(database: &Set<'_>, seat: bool) -> Findings {
    let mut findings = members::answered(
        database,
        &database.observed.members,
        "check the pod, the superuser's Secret and pg_hba.conf",
    );
    let answers: Vec<_> = members::answers(database, &database.observed.members)
        .map(|(member, facts)| (member.name.name.as_str(), facts))
        .collect();
    findings.absorb(count(database, seat, answers.len()));
    for (name, facts) in &answers {
        findings.absorb(alone(database, name, facts));
    }
    let primaries: Vec<_> = answers
        .iter()
        .filter(|(_, facts)| !facts.in_recovery)
        .collect();
    match primaries[..] {
        [(name, facts)] => {
            findings.absorb(primary(database, name, facts, seat));
            for (replica, theirs) in answers.iter().filter(|(_, facts)| facts.in_recovery) {
                findings.absorb(related(name, facts, replica, theirs, answers.len(), seat));
            }
        }
        [] => findings.refuse(
            Diagnostic::new(
                codes::NO_PRIMARY,
                database.name,
                "every server is in recovery",
            )
            .seen(format!("asked: {}", join(answers.iter().map(|a| a.0))))
            .fix("bring the database up first; this tool moves a primary, it does not choose one"),
        ),
        _ => findings.refuse(
            Diagnostic::new(
                codes::TWO_PRIMARIES,
                database.name,
                "several servers take writes: split brain, or two databases in one set",
            )
            .seen(join(primaries.iter().map(|(name, facts)| {
                format!("{name} (timeline {})", facts.timeline)
            })))
            .fix("stop the wrong one and find out which writes it has taken"),
        ),
    }
    let systems: BTreeSet<&str> = answers
        .iter()
        .map(|(_, facts)| facts.system_identifier.as_str())
        .collect();
    if systems.len() > 1 {
        findings.refuse(
            Diagnostic::new(
                codes::OTHER_SYSTEM,
                database.set_name,
                "its members do not hold copies of one database",
            )
            .seen(join(answers.iter().map(|(name, facts)| {
                format!("{name} has {}", facts.system_identifier)
            })))
            .fix("clone the stranger from the primary"),
        );
    }
    findings
}

fn count(database: &Set<'_>, seat: bool, answering: usize) -> Findings {
    let mut findings = Findings::default();
    let replicas = database.set.replicas;
    let there = u32::try_from(answering).unwrap_or(u32::MAX);
    let during = if seat {
        replicas
    } else {
        replicas.saturating_sub(1)
    };
    let wanted = database.spec.min_members.unwrap_or(during);
    let diagnostic = if replicas < 2 {
        Some("a primary alone has nobody to hand over to")
    } else if there < replicas {
        Some("members are missing")
    } else if during < wanted {
        Some("each move takes one member away for a minute, and there is no seat for it")
    } else {
        None
    };
    if let Some(message) = diagnostic {
        findings.refuse(
            Diagnostic::new(codes::TOO_FEW_MEMBERS, database.set_name, message)
                .seen(format!("replicas {replicas}, answering {there}"))
                .seen(format!(
                    "fewest during the run {during}, policy needs {wanted}"
                ))
                .fix(if during < wanted && replicas >= 2 {
                    "allow the extra seat (`extraSeat: true`), or lower `minMembers`"
                } else {
                    "scale the set to at least two members and let them catch up"
                }),
        );
    }
    findings
}

/// What one server says, whatever the others are.
fn alone(database: &Set<'_>, name: &str, facts: &PostgresFacts) -> Findings {
    let mut findings = Findings::default();
    let subject = database.set_name.sibling(name);
    if !facts.superuser {
        findings.refuse(
            Diagnostic::new(
                codes::NOT_SUPERUSER,
                &subject,
                "the hand-over needs a superuser",
            )
            .seen("is_superuser is off for the session")
            .fix("let the Secret `superuser` name one; it arms the old primary by COPY TO a file"),
        );
    }
    if facts.recovery_conf {
        findings.refuse(
            Diagnostic::new(codes::RECOVERY_CONF, &subject, "the server would not start again")
                .seen(format!("{}/recovery.conf", facts.data_directory))
                .fix("move its settings to postgresql.auto.conf and remove the file (PostgreSQL 12 and newer refuse it)"),
        );
    }
    if facts.version_num < OLDEST {
        findings.refuse(
            Diagnostic::new(
                codes::SERVER_VERSIONS,
                &subject,
                "before PostgreSQL 13 a standby takes another upstream only by a restart",
            )
            .seen(format!("server_version_num {}", facts.version_num))
            .fix("upgrade PostgreSQL to 13 or newer first"),
        );
    } else if facts.version_num >= WALINSPECT_FROM && !facts.walinspect && !database.under_patroni()
    {
        findings.refuse(
            Diagnostic::new(codes::WALINSPECT, &subject, "the stop could not be proven")
                .seen("pg_extension of database postgres has no pg_walinspect")
                .fix("on the primary, in database postgres: CREATE EXTENSION pg_walinspect;"),
        );
    }
    if facts.backup_running {
        findings.refuse(
            Diagnostic::new(
                codes::BACKUP_RUNNING,
                &subject,
                "the hand-over would break it",
            )
            .seen("pg_stat_progress_basebackup is not empty")
            .fix("wait for the backup, or plan the run outside of its window"),
        );
    }
    if facts.replay_paused {
        findings.refuse(
            Diagnostic::new(
                codes::REPLAY_PAUSED,
                &subject,
                "it would never be caught up",
            )
            .seen("pg_is_wal_replay_paused() is true")
            .fix("SELECT pg_wal_replay_resume();"),
        );
    }
    if facts.apply_delay_ms > 0 {
        findings.refuse(
            Diagnostic::new(codes::REPLAY_DELAYED, &subject, "it replays late on purpose")
                .seen(format!("recovery_min_apply_delay is {}", Millis(facts.apply_delay_ms)))
                .fix("ALTER SYSTEM RESET recovery_min_apply_delay; SELECT pg_reload_conf(); or keep delayed replicas outside of the set"),
        );
    }
    findings
}

/// What only the primary can say.
fn primary(database: &Set<'_>, name: &str, facts: &PostgresFacts, seat: bool) -> Findings {
    let mut findings = Findings::default();
    let subject = database.set_name.sibling(name);
    let spec = database.spec;
    if facts.standby_signal {
        findings.refuse(
            Diagnostic::new(
                codes::STANDBY_SIGNAL,
                &subject,
                "at its next start nobody would be the primary",
            )
            .seen(format!("{}/standby.signal on a primary", facts.data_directory))
            .fix("it is left over from an interrupted hand-over: let that run end (`ferriswheel status`), or remove the file"),
        );
    }
    if !facts.logical_slots_at_risk.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::LOGICAL_SLOTS,
                &subject,
                "their subscribers would silently miss changes",
            )
            .seen(format!("slots without failover: {}", facts.logical_slots_at_risk.join(", ")))
            .fix("PostgreSQL 17 and newer: create them with failover = true and synchronise them; before: drop them and copy anew afterwards"),
        );
    }
    if !facts.prepared_transactions.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::PREPARED_TRANSACTIONS,
                &subject,
                "they survive the hand-over with their locks, and their coordinator does not know",
            )
            .seen(facts.prepared_transactions.join(", "))
            .fix("let the coordinator finish them: COMMIT PREPARED or ROLLBACK PREPARED"),
        );
    }
    if facts.archiving && facts.archive_backlog > MOST_BACKLOG {
        findings.refuse(
            Diagnostic::new(
                codes::ARCHIVE_BACKLOG,
                &subject,
                "the archiver does not keep up",
            )
            .seen(format!("{} segments wait", facts.archive_backlog))
            .fix("repair archive_command and let it catch up (`SELECT * FROM pg_stat_archiver`)"),
        );
    }
    if !facts.rewindable {
        findings.warn(
            Diagnostic::new(
                codes::NOT_REWINDABLE,
                &subject,
                "if a hand-over goes wrong, the old primary must be cloned again",
            )
            .seen("neither wal_log_hints nor data checksums, or full_page_writes is off")
            .fix("ALTER SYSTEM SET wal_log_hints = on, and restart once"),
        );
    }
    if facts.unlogged_tables > 0 {
        findings.warn(
            Diagnostic::new(
                codes::UNLOGGED,
                &subject,
                "they are empty on the new primary",
            )
            .seen(format!("{} unlogged tables", facts.unlogged_tables))
            .fix("ALTER TABLE ... SET LOGGED for those whose content matters"),
        );
    }
    if let Some(age) = facts
        .oldest_transaction_ms
        .filter(|age| *age > spec.pause.0)
    {
        findings.warn(
            Diagnostic::new(
                codes::LONG_TRANSACTION,
                &subject,
                "if it is still open then, the hand-over is put off",
            )
            .seen(format!(
                "open for {}, PAUSE waits {}",
                Millis(age),
                spec.pause
            ))
            .fix("let it end before the hand-over"),
        );
    }
    // Under Patroni its own settings say for whom commits wait, and it names them anew after a change.
    if spec.crash_safe && !is_synchronous_set(database) && !database.under_patroni() {
        findings.absorb(asynchronous(database, &subject, facts));
    }
    let names = sync_names(database).unwrap_or_default();
    if names.contains(TEMPORARY_STANDBY) {
        findings.refuse(
            Diagnostic::new(
                codes::STANDBY_LEFT,
                &subject,
                "commits wait for the candidate of a hand-over that did not end",
            )
            .seen(format!("synchronous_standby_names = '{names}'"))
            .fix("let that run end (`ferriswheel status`); if there is none: ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf();"),
        );
    } else if !database.under_patroni() && waits_for_nobody(&names, database, name) {
        findings.refuse(
            Diagnostic::new(
                codes::SYNC_NAMES,
                &subject,
                "synchronous_standby_names is copied to the candidate, where nobody it names follows",
            )
            .seen(format!("synchronous_standby_names = '{names}'"))
            .fix(format!(
                "name all members: ANY 1 ({})",
                join(database.members.values().map(|m| format!("\"{}\"", m.name.name)))
            )),
        );
    }
    let clone = if seat { CLONE_CONNECTIONS } else { 0 };
    if facts.free_wal_senders < clone {
        findings.refuse(
            Diagnostic::new(
                codes::WAL_SENDERS,
                &subject,
                "the extra seat could not be cloned",
            )
            .seen(format!(
                "{} free, a clone needs {clone}",
                facts.free_wal_senders
            ))
            .fix("raise max_wal_senders (a restart)"),
        );
    }
    if seat && facts.free_slots < 1 {
        findings.refuse(
            Diagnostic::new(codes::SLOTS, &subject, "no slot is left for the extra seat")
                .seen(format!("{} free", facts.free_slots))
                .fix("drop slots that nobody uses, or raise max_replication_slots (a restart)"),
        );
    }
    findings
}

/// No loss in a crash is wanted of a set whose commits wait for nobody.
fn asynchronous(database: &Set<'_>, primary: &ObjectRef, facts: &PostgresFacts) -> Findings {
    let mut findings = Findings::default();
    let names = join(
        database
            .members
            .values()
            .map(|member| format!("\"{}\"", member.name.name)),
    );
    let diagnostic = Diagnostic::new(
        codes::ASYNCHRONOUS,
        database.name,
        "a crash inside the window could lose acknowledged writes",
    )
    .seen(format!(
        "synchronous_standby_names = '{}', synchronous_commit = {}",
        facts.synchronous_standby_names, facts.synchronous_commit
    ));
    if !database.spec.make_synchronous {
        findings.refuse(diagnostic.fix(format!(
            "let commits wait for the candidate while the hand-over lasts (`makeSynchronous: true`), make the set synchronous for good (on the primary: ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ({names})'; SELECT pg_reload_conf();), or take `crashSafe` out: the hand-over itself loses nothing either way"
        )));
        return findings;
    }
    if !matches!(
        facts.synchronous_commit.as_str(),
        "on" | "remote_write" | "remote_apply"
    ) {
        findings.refuse(diagnostic.clone().fix(
            "commits with this setting wait for no standby at all: ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();",
        ));
    }
    if !facts.loose_commits.is_empty() {
        findings.refuse(
            diagnostic
                .seen(format!(
                    "commits do not wait for {}",
                    facts.loose_commits.join(", ")
                ))
                .fix("take synchronous_commit off those settings (ALTER ROLE ... RESET synchronous_commit), or take `crashSafe` out"),
        );
    }
    if facts.synchronous_names_source == "command line" {
        findings.refuse(
            Diagnostic::new(
                codes::SYNC_FIXED,
                primary,
                "the candidate cannot be made synchronous while the server runs",
            )
            .seen("synchronous_standby_names comes from the server's command line, which ALTER SYSTEM does not override")
            .fix("move the setting from the container's arguments to postgresql.conf (a restart), or take `crashSafe` out"),
        );
    }
    findings
}

/// With these names no follower of another primary would count.
fn waits_for_nobody(names: &str, database: &Set<'_>, primary: &str) -> bool {
    let words: BTreeSet<&str> = names
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '.')))
        .filter(|word| !word.is_empty())
        .collect();
    if words.is_empty() || words.contains("*") {
        return false;
    }
    // Whoever of the replicas takes over, the others and the old primary follow it.
    database
        .members
        .values()
        .map(|member| member.name.name.as_str())
        .filter(|name| *name != primary)
        .any(|candidate| {
            !database
                .members
                .values()
                .any(|m| m.name.name != candidate && words.contains(m.name.name.as_str()))
        })
}

/// A replica as seen beside its primary.
fn related(
    primary: &str,
    theirs: &PostgresFacts,
    name: &str,
    facts: &PostgresFacts,
    members: usize,
    seat: bool,
) -> Findings {
    let mut findings = Findings::default();
    match &facts.streaming_from {
        None => findings.refuse(
            Diagnostic::new(codes::NOT_STREAMING, name, format!("it does not stream from {primary}"))
                .seen("pg_stat_wal_receiver has no streaming row")
                .fix("check primary_conninfo, its slot and its log; a member that was promoted once must be cloned again"),
        ),
        Some(_) if facts.lag_bytes.is_none_or(|lag| !WHOLE_LAG.holds_bytes(lag)) => findings.refuse(
            Diagnostic::new(codes::LAGGING, name, "it has not caught up")
                .seen(facts.lag_bytes.map_or_else(
                    || "its lag is not known".to_owned(),
                    |lag| format!("{lag} bytes behind, {WHOLE_LAG} allowed"),
                ))
                .fix("let it catch up; look for a slow disk, a long query on it or a slow network"),
        ),
        Some(_) => {}
    }
    if facts.timeline != theirs.timeline {
        findings.refuse(
            Diagnostic::new(codes::TIMELINES, name, "it follows another history")
                .seen(format!(
                    "timeline {}, {primary} has {}",
                    facts.timeline, theirs.timeline
                ))
                .fix("set recovery_target_timeline = 'latest', or clone it again"),
        );
    }
    let major = |facts: &PostgresFacts| facts.version_num / 10_000;
    if major(facts) != major(theirs) || facts.version_num < theirs.version_num {
        findings.refuse(
            Diagnostic::new(
                codes::SERVER_VERSIONS,
                name,
                "a candidate must not be older than the primary",
            )
            .seen(format!(
                "{} here, {} on {primary}",
                facts.version_num, theirs.version_num
            ))
            .fix("bring all members to one version first, replicas before the primary"),
        );
    }
    let unequal: Vec<String> = theirs
        .capacity
        .iter()
        .filter(|(key, value)| facts.capacity.get(*key) != Some(*value))
        .map(|(key, value)| {
            let here = facts
                .capacity
                .get(key)
                .map_or_else(|| "?".to_owned(), i64::to_string);
            format!("{key}: {here} here, {value} on {primary}")
        })
        .collect();
    if !unequal.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::CAPACITY,
            name,
            "a standby with less than its primary does not start, and the two change places",
        )
        .fix("give all members the same settings");
        diagnostic.evidence = unequal;
        findings.refuse(diagnostic);
    }
    // As the primary it serves all others, the seat among them.
    let followers = i64::try_from(members).unwrap_or(i64::MAX) - 1 + i64::from(seat);
    if facts.free_wal_senders < followers {
        findings.refuse(
            Diagnostic::new(
                codes::WAL_SENDERS,
                name,
                "as the primary it could not serve its followers",
            )
            .seen(format!(
                "{} free, {followers} followers",
                facts.free_wal_senders
            ))
            .fix("raise max_wal_senders (a restart)"),
        );
    }
    let own = i64::try_from(facts.physical_slots.len()).unwrap_or(i64::MAX);
    if facts.free_slots + own < followers {
        findings.refuse(
            Diagnostic::new(
                codes::SLOTS,
                name,
                "as the primary it could not keep a slot for each follower",
            )
            .seen(format!(
                "{} free, {own} there, {followers} followers",
                facts.free_slots
            ))
            .fix("drop slots that nobody uses, or raise max_replication_slots (a restart)"),
        );
    }
    findings
}
