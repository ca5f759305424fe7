//! kubectl on the members of a database: deleting them, waiting for them, scaling them.

use serde_json::Value;

use super::kubectl::of_database;
use super::shell::disturbs_others;
use super::{is_database, looks, ordinal};
use crate::lint::kubectl::Kubectl;
use crate::lint::{Findings, Runbook, codes};

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    // Members that were promoted so far, as set and number.
    let mut promoted: Vec<(String, u32)> = Vec::new();
    for (index, call) in book.commands.calls.iter().enumerate() {
        if call.name() == "pg_ctl"
            && call.small().contains(" promote")
            && let Some((set, number)) = call.pod.as_ref().and_then(|pod| ordinal(&pod.text))
        {
            promoted.push((set.to_owned(), number));
        }
        let Some(command) = Kubectl::of(call) else {
            continue;
        };
        deletes(book, &command, found);
        ready(book, index, &command, found);
        scales(&command, &promoted, found);
        restarts(&command, found);
    }
}

fn deletes(book: &Runbook<'_>, command: &Kubectl<'_>, found: &mut Findings) {
    let (kind, names) = command.objects();
    if command.verb != "delete" || kind != "pod" {
        return;
    }
    let call = command.call;
    let of_member = names.iter().any(|name| book.is_member(call, name)) || of_database(command);
    let forced =
        command.is_on(&["--force", "--now"]) || command.value(&["--grace-period"]) == Some("0");
    if forced && (of_member || names.iter().any(|name| ordinal(name).is_some())) {
        found.push(
            codes::FORCED,
            call.place(),
            "the name is free at once, while the old process may still run and write: two members with one name, and no time to hand over",
            "evict the pod and wait for it to be gone; force only when the node is known to be off",
        );
    } else if of_member {
        found.push(
            codes::DELETED,
            call.place(),
            "a delete asks no disruption budget: it goes through also when this is the last healthy member",
            "evict it: `kubectl create --raw /api/v1/namespaces/NS/pods/POD/eviction -f -`, or drain its node",
        );
    }
}

fn ready(book: &Runbook<'_>, index: usize, command: &Kubectl<'_>, found: &mut Findings) {
    let call = command.call;
    let condition = command.value(&["--for"]).unwrap_or_default();
    if command.verb != "wait"
        || !condition
            .to_ascii_lowercase()
            .starts_with("condition=ready")
    {
        return;
    }
    let (kind, names) = command.objects();
    if kind != "pod"
        || !(names.iter().any(|name| book.is_member(call, name)) || of_database(command))
    {
        return;
    }
    let mut next = None;
    for after in book.after(index) {
        if looks(after) {
            return;
        }
        if disturbs_others(after, &names)
            || (!after.loops.is_empty() && disturbs_others(after, &[]))
        {
            next = Some(after);
            break;
        }
    }
    let what = match next {
        Some(next) => format!(
            "before `{}`",
            next.words
                .iter()
                .take(4)
                .map(|w| w.text.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        ),
        None => "before the end".to_owned(),
    };
    found.push(
        codes::READY,
        call.place(),
        format!("Ready says that the server answers, not that it has the data: nothing looks at replication {what}"),
        "ask the server: positions in pg_stat_replication, master_link_status, rs.status(), cluster health, under-replicated partitions",
    );
}

/// The number of replicas that a command asks for, with the set's name.
fn replicas<'a>(command: &Kubectl<'a>) -> Option<(&'a str, u64)> {
    let (kind, names) = command.objects();
    if kind != "statefulset" {
        return None;
    }
    let count = match command.verb.as_str() {
        "scale" => command.value(&["--replicas"])?.parse().ok()?,
        "patch" => command.patch()?.pointer("/spec/replicas")?.as_u64()?,
        _ => return None,
    };
    Some((names.first()?, count))
}

fn scales(command: &Kubectl<'_>, promoted: &[(String, u32)], found: &mut Findings) {
    let Some((set, count)) = replicas(command) else {
        return;
    };
    let gone = promoted
        .iter()
        .rev()
        .find(|(of, number)| of == set && u64::from(*number) >= count);
    if let Some((_, number)) = gone {
        found.push(
            codes::REMOVES_PRIMARY,
            command.call.place(),
            format!("a StatefulSet of {count} keeps the members 0 to {}: {set}-{number}, which was promoted, goes", count.saturating_sub(1)),
            "hand the role back to a member that stays, and verify it, before scaling down",
        );
    }
}

fn restarts(command: &Kubectl<'_>, found: &mut Findings) {
    let (kind, names) = command.objects();
    let Some(patch) = command.patch() else {
        return;
    };
    let held = patch.pointer("/spec/updateStrategy/type") == Some(&Value::from("OnDelete"))
        || patch
            .pointer("/spec/updateStrategy/rollingUpdate/partition")
            .is_some();
    if kind == "statefulset"
        && names.iter().any(|name| is_database(name))
        && patch.pointer("/spec/template").is_some()
        && !held
    {
        found.push(
            codes::RESTARTS_ALL,
            command.call.place(),
            "a change of the pod template restarts every member, the primary too, each as soon as the one before is Ready",
            "set updateStrategy OnDelete (or a partition) first, and let members go one by one",
        );
    }
}
