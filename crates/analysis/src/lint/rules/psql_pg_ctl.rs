//! psql, pg_ctl, pg_restore, and the pooler before them.

use super::is_database;
use crate::lint::kubectl::Kubectl;
use crate::lint::shell::Call;
use crate::lint::{Findings, Runbook, codes};

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    for (index, call) in book.commands.calls.iter().enumerate() {
        let small = call.small();
        match call.name() {
            "pg_ctl" if small.contains(" promote") => promote(book, index, call, found),
            "psql" => {
                if small.contains("pg_promote") {
                    promote(book, index, call, found);
                }
                asks(book, index, call, &small, found);
            }
            "pg_restore" => restore(call, found),
            _ => {}
        }
        recovery(call, &small, found);
        poolers(book, index, call, found);
    }
}

/// Does a call stop the old primary, or keep it from writing?
fn fences(call: &Call) -> bool {
    let small = call.small();
    let stops = call.name() == "pg_ctl" && small.contains(" stop")
        || call.name() == "kill"
        || small.contains("pg_ctl stop");
    stops
        || small.contains("kill -int 1")
        || small.contains("default_transaction_read_only")
        || small.contains("patronictl switchover")
        || small.contains("fence")
}

fn promote(book: &Runbook<'_>, index: usize, call: &Call, found: &mut Findings) {
    let before = book.commands.calls.iter().take(index);
    if before
        .filter(|before| before.script == call.script)
        .any(fences)
    {
        return;
    }
    found.push(
        codes::NOT_FENCED,
        call.place(),
        "the old primary still takes writes: from here on there are two, and what the old one acknowledges is lost",
        "stop the old primary first (SIGINT to its postmaster), prove that the replica has its last record, then promote",
    );
}

fn asks(book: &Runbook<'_>, index: usize, call: &Call, small: &str, found: &mut Findings) {
    let pod = call.pod.as_ref().map_or("", |pod| pod.text.as_str());
    let is_primary = pod.contains("primary") || pod.contains("master");
    if small.contains("pg_last_xact_replay_timestamp") {
        if is_primary {
            found.push(
                codes::WRONG_MEMBER,
                call.place(),
                format!("{pod} is the primary: it replays nothing and answers NULL, and an empty lag passes the test"),
                "ask the primary for pg_stat_replication, or the replica for its own positions",
            );
        }
        found.push(
            codes::LAG_BY_CLOCK,
            call.place(),
            "the time since the last replayed transaction grows on an idle replica that has everything, and is NULL on a primary",
            "compare positions: pg_wal_lsn_diff(pg_current_wal_flush_lsn(), replay_lsn) in pg_stat_replication on the primary",
        );
    }
    // A server that is promoted later is a replica now.
    let later = book.commands.calls.iter().skip(index + 1).any(|next| {
        next.name() == "pg_ctl"
            && next.small().contains(" promote")
            && next.pod.as_ref().is_some_and(|other| other.text == pod)
    });
    let earlier = book.commands.calls.iter().take(index).any(|before| {
        before.script == call.script
            && before.small().contains(" promote")
            && before.pod.as_ref().is_some_and(|other| other.text == pod)
    });
    if small.contains("pg_stat_replication") && !pod.is_empty() && later && !earlier {
        found.push(
            codes::WRONG_MEMBER,
            call.place(),
            format!("{pod} is a replica here: pg_stat_replication lists the replicas of the server that is asked, and is empty"),
            "ask the primary, or ask the replica for pg_stat_wal_receiver",
        );
    }
    let compact: String = small.chars().filter(|c| !c.is_whitespace()).collect();
    if compact.contains("sync_state='sync'") && !compact.contains("quorum") {
        found.push(
            codes::QUORUM_NOT_COUNTED,
            call.place(),
            "with ANY n (...) the replicas are 'quorum', not 'sync': the count is 0 where replication is synchronous",
            "write sync_state IN ('sync', 'quorum')",
        );
    }
    if compact.contains("pg_reload_conf()") {
        let changed = book
            .commands
            .calls
            .iter()
            .take(index)
            .filter(|before| before.script == call.script)
            .any(|before| {
                let small = before.small();
                small.contains("alter system")
                    || small.contains("alter role")
                    || small.contains(".conf")
                    || small.contains("configmap")
            });
        if !changed && !compact.contains("altersystem") {
            found.push(
                codes::RELOADS_NOTHING,
                call.place(),
                "nothing was changed before: a reload stops no writes",
                "pause the pooler, or ALTER SYSTEM SET default_transaction_read_only = on before the reload, and verify that a write fails",
            );
        }
    }
}

/// Configuration of before version 12.
fn recovery(call: &Call, small: &str, found: &mut Findings) {
    let writes = call
        .output
        .as_deref()
        .is_some_and(|output| output.ends_with("recovery.conf"));
    let tees = call.name() == "tee" && small.contains("recovery.conf");
    if writes || tees {
        found.push(
            codes::RECOVERY_CONF,
            call.place(),
            "from version 12 on a server with a recovery.conf does not start",
            "create standby.signal and ALTER SYSTEM SET primary_conninfo (pg_basebackup -R and pg_rewind -R do both)",
        );
    }
}

fn restore(call: &Call, found: &mut Findings) {
    let into = call
        .args()
        .iter()
        .any(|word| matches!(word.text.as_str(), "-d") || word.text.starts_with("--dbname"));
    let careful = call.args().iter().any(|word| {
        let text = word.text.as_str();
        [
            "--exit-on-error",
            "--single-transaction",
            "--list",
            "--create",
            "--clean",
        ]
        .iter()
        .any(|option| text.starts_with(option))
            || (text.starts_with('-')
                && !text.starts_with("--")
                && text.contains(['e', '1', 'l', 'C']))
    });
    if into && !careful {
        found.push(
            codes::RESTORE_GOES_ON,
            call.place(),
            "pg_restore goes on after errors: into a database that has these tables it leaves a mixture of old and new rows",
            "restore into a new database with --exit-on-error (or --single-transaction), verify it, then switch",
        );
    }
}

fn poolers(book: &Runbook<'_>, index: usize, call: &Call, found: &mut Findings) {
    let Some(command) = Kubectl::of(call) else {
        return;
    };
    let (kind, _) = command.objects();
    if kind != "configmap" {
        return;
    }
    let Some(patch) = command.patch() else { return };
    let text = patch.to_string();
    if !text.contains("pgbouncer") && !text.contains("pool_mode") {
        return;
    }
    if !is_database(&text) && !text.contains("[databases]") {
        return;
    }
    let unlimited = [
        "max_db_connections=0",
        "max_db_connections = 0",
        "max_user_connections=0",
    ];
    if unlimited.iter().any(|limit| text.contains(limit)) {
        found.push(
            codes::NO_PAUSE,
            call.place(),
            "in PgBouncer a limit of 0 means no limit: nothing is paused",
            "PAUSE the database on the admin console of every pooler, and RESUME it after the switch",
        );
    }
    let reloaded = book.commands.calls.iter().skip(index + 1).any(|next| {
        let small = next.small();
        next.script == call.script
            && (small.contains("reload")
                || small.contains("rollout restart")
                || small.contains("kill -hup"))
    });
    if !reloaded {
        found.push(
            codes::NOT_RELOADED,
            call.place(),
            "a pooler does not read a changed ConfigMap: the file follows after a minute or so, and RELOAD is up to you",
            "use PAUSE, RELOAD and RESUME on the admin console; a ConfigMap cannot hold a switch together",
        );
    }
}
