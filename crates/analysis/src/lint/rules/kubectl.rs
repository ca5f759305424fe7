//! kubectl: options, and answers that are taken for something else.

use super::is_database;
use crate::lint::kubectl::Kubectl;
use crate::lint::{Findings, Runbook, codes};

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    for call in &book.commands.calls {
        let Some(command) = Kubectl::of(call) else {
            continue;
        };
        options(&command, found);
        logs(&command, found);
        events(book, &command, found);
        versions(book, &command, found);
        accounts(&command, found);
        fields(&command, found);
        loops(book, &command, found);
        backups(book, &command, found);
        drains(&command, found);
    }
}

fn options(command: &Kubectl<'_>, found: &mut Findings) {
    for flag in &command.flags {
        let known = flag.name.is_empty()
            || !flag.name.starts_with("--")
            || flag.name.contains('$')
            || matches!(flag.name, "--help" | "--no-headers")
            || command.takes(flag.name).is_some();
        if known {
            continue;
        }
        let verb = command.verb.replace('.', " ");
        let fix = command.nearest(flag.name).map_or_else(
            || format!("`kubectl {verb} --help` lists what there is"),
            |near| format!("write {near}"),
        );
        found.push(
            codes::KUBECTL_OPTION,
            flag.word.place,
            format!("kubectl {verb} has no option {}", flag.name),
            fix,
        );
    }
}

fn logs(command: &Kubectl<'_>, found: &mut Findings) {
    if command.verb == "logs"
        && command.flag(&["--selector"]).is_some()
        && command.flag(&["--tail"]).is_none()
        && !command.is_on(&["-f", "--follow"])
    {
        found.push(
            codes::TEN_LINES,
            command.call.place(),
            "with a selector kubectl shows the last ten lines of each pod, whatever `--since` says",
            "add `--tail=-1` (and `--max-log-requests` above five pods)",
        );
    }
}

fn events(book: &Runbook<'_>, command: &Kubectl<'_>, found: &mut Findings) {
    let (kind, _) = command.objects();
    let by_time = command
        .value(&["--sort-by"])
        .is_some_and(|by| by.contains("imestamp") || by.contains("eventTime"));
    if (command.verb == "get" && kind == "event")
        && by_time
        && book
            .next_in_pipe(command.call)
            .is_some_and(|next| next.name() == "head")
    {
        found.push(
            codes::OLDEST,
            command.call.place(),
            "sorted by time the newest events stand last: `head` shows the oldest",
            "write `| tail -20`, or `kubectl events --types=Warning`",
        );
    }
}

fn versions(book: &Runbook<'_>, command: &Kubectl<'_>, found: &mut Findings) {
    let Some(next) = book
        .next_in_pipe(command.call)
        .filter(|next| command.verb == "api-versions" && next.name() == "grep")
    else {
        return;
    };
    let is_release = |text: &str| {
        let text = text.replace('\\', "");
        text.strip_prefix("v1.")
            .is_some_and(|minor| minor.parse::<u8>().is_ok())
    };
    if let Some(word) = next.args().iter().find(|word| is_release(&word.text)) {
        found.push(
            codes::NO_RELEASE,
            word.place,
            format!(
                "API versions are groups and versions such as apps/v1: {} is never among them",
                word.text
            ),
            "the release is in `kubectl version -o json` (serverVersion.gitVersion)",
        );
    }
}

fn accounts(command: &Kubectl<'_>, found: &mut Findings) {
    let Some(flag) = command.flag(&["--as"]) else {
        return;
    };
    let user = flag.value.unwrap_or_default();
    let small = user.to_ascii_lowercase().replace(['-', '_'], "");
    if small.starts_with("serviceaccount:")
        || (small.starts_with("system:serviceaccount")
            && !user.starts_with("system:serviceaccount:"))
    {
        let names: Vec<&str> = user
            .split(':')
            .skip_while(|part| !part.to_ascii_lowercase().ends_with("account"))
            .skip(1)
            .collect();
        found.push(
            codes::NO_ACCOUNT,
            flag.word.place,
            format!("no service account has the user name {user:?}: the answer is about a user that does not exist"),
            format!("write --as=system:serviceaccount:{}", names.join(":")),
        );
    }
}

fn fields(command: &Kubectl<'_>, found: &mut Findings) {
    let Some(flag) = command.flag(&["--field-selector"]) else {
        return;
    };
    let mut terms: Vec<(&str, &str)> = flag
        .value
        .unwrap_or_default()
        .split(',')
        .filter(|term| !term.contains("!="))
        .filter_map(|term| term.split_once('='))
        .map(|(key, value)| (key, value.trim_start_matches('=')))
        .collect();
    terms.sort_unstable();
    terms.dedup();
    if terms.windows(2).any(|two| two[0].0 == two[1].0) {
        found.push(
            codes::ALL_TERMS,
            flag.word.place,
            "all terms of a field selector must hold: one field with two values matches nothing",
            "ask once for each value, or filter what comes (`-o json | jq`)",
        );
    }
}

fn loops(book: &Runbook<'_>, command: &Kubectl<'_>, found: &mut Findings) {
    let call = command.call;
    let waits_while = call
        .loops
        .last()
        .and_then(|id| book.commands.loops.get(*id))
        .is_some_and(|around| !around.until);
    let (kind, _) = command.objects();
    let asks_ready = command
        .value(&["--output"])
        .is_some_and(|form| form.contains("Ready"));
    if !(call.polled && waits_while && command.verb == "get" && kind == "node" && asks_ready) {
        return;
    }
    let sought = book
        .next_in_pipe(call)
        .filter(|next| next.name() == "grep")
        .is_some_and(|next| next.args().iter().any(|word| word.text == "False"));
    if sought {
        found.push(
            codes::NOT_BEGUN,
            call.place(),
            "the node is still ready when the loop starts: it ends at once, and a node that is unknown ends it too",
            "wait for what the upgrade leaves behind: the kubelet's new version on that node, and Ready True",
        );
    }
}

fn backups(book: &Runbook<'_>, command: &Kubectl<'_>, found: &mut Findings) {
    let (kind, names) = command.objects();
    if kind != "job"
        || !names
            .iter()
            .any(|name| name.to_ascii_lowercase().contains("backup"))
    {
        return;
    }
    let asks = match command.verb.as_str() {
        "get" => command.value(&["--output"]).is_some_and(|form| {
            form.contains("completionTime")
                || form.contains("succeeded")
                || form.contains("Complete")
        }),
        "wait" => command
            .value(&["--for"])
            .is_some_and(|condition| condition.to_ascii_lowercase().contains("complete")),
        _ => false,
    };
    let verified = book.of(command.call.script).any(|call| {
        let small = call.small();
        [
            "verify",
            "restore",
            "pgbackrest",
            "barman check",
            "validate",
        ]
        .iter()
        .any(|part| small.contains(part))
    });
    if asks && !verified {
        found.push(
            codes::NO_BACKUP,
            command.call.place(),
            "a Job that completed says that a process ended with 0: not that the backup is recent, whole, or can be restored",
            "restore it elsewhere and compare, or run the tool's own check (pg_verifybackup, pgbackrest verify), and test its age",
        );
    }
}

fn drains(command: &Kubectl<'_>, found: &mut Findings) {
    if command.verb != "drain" {
        return;
    }
    for name in ["--disable-eviction", "--force"] {
        if let Some(flag) = command.flag(&[name]).filter(|_| command.is_on(&[name])) {
            let message = if name == "--force" {
                "pods that nobody makes again are deleted with their data"
            } else {
                "pods are deleted instead of evicted: no disruption budget is asked"
            };
            found.push(
                codes::FORCED_DRAIN,
                flag.word.place,
                message,
                format!("leave out {name}; move what blocks the drain first"),
            );
        }
    }
    let bounded = command
        .value(&["--timeout"])
        .is_some_and(|time| !time.starts_with('0'))
        || command.call.wrappers.iter().any(|name| name == "timeout")
        || command.value(&["--dry-run"]).is_some();
    if !bounded {
        found.push(
            codes::ENDLESS_DRAIN,
            command.call.place(),
            "without a timeout the drain waits for ever for a budget that lets nobody go",
            "add `--timeout=...`, longer than the longest grace period on the node",
        );
    }
}

/// Is a selector about a database?
pub(super) fn of_database(command: &Kubectl<'_>) -> bool {
    command.value(&["--selector"]).is_some_and(is_database)
}
