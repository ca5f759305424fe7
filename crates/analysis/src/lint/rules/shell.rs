//! Habits of scripts, whatever they run.

use super::{Act, act, is_script, looks, ordinal, stops};
use crate::lint::kubectl::Kubectl;
use crate::lint::shell::Call;
use crate::lint::text::{Found, Place};
use crate::lint::{Findings, Runbook, codes};

/// Names of variables that say a role.
const ROLES: [&str; 8] = [
    "master",
    "primary",
    "leader",
    "replica",
    "secondary",
    "slave",
    "standby",
    "follower",
];

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    for (index, call) in book.commands.calls.iter().enumerate() {
        sleep(book, index, call, found);
        never_returns(book, index, call, found);
        empty_filter(book, call, found);
        terminal(book, call, found);
    }
    ordinals(book, found);
    for script in 0..book.scripts.len() {
        goes_on(book, script, found);
    }
    links(book, found);
}

/// A pause before an act, with nothing that looks in between.
fn sleep(book: &Runbook<'_>, index: usize, call: &Call, found: &mut Findings) {
    let polls = call
        .loops
        .last()
        .and_then(|id| book.commands.loops.get(*id))
        .is_some_and(|around| around.over.is_none());
    if call.name() != "sleep" || polls {
        return;
    }
    let says = |call: &Call| {
        matches!(call.name(), "echo" | "printf" | "date" | "log" | ":")
            || Kubectl::of(call).is_some_and(|command| command.verb == "exec")
    };
    let calls = &book.commands.calls;
    let next = calls
        .iter()
        .skip(index + 1)
        .take_while(|next| next.script == call.script)
        .find(|next| !says(next));
    let Some(next) = next.filter(|next| act(next).is_some()) else {
        return;
    };
    let before = calls
        .iter()
        .take(index)
        .rev()
        .take_while(|before| before.script == call.script);
    if before.take_while(|before| act(before).is_none()).any(looks) {
        return;
    }
    found.push(
        codes::SLEEP,
        call.place(),
        format!(
            "`{}` runs after a pause, whether what it needs has happened or not",
            short(next)
        ),
        "wait for the state itself: ask for it in a loop with a deadline, and stop when the deadline passes",
    );
}

/// The start of a command, for a message.
fn short(call: &Call) -> String {
    let line = call.line();
    let mut text: String = line.chars().take(40).collect();
    if text.len() < line.len() {
        text.push_str("...");
    }
    text.replace('\n', " ")
}

fn never_returns(book: &Runbook<'_>, index: usize, call: &Call, found: &mut Findings) {
    let wrapped = |name: &str| call.wrappers.iter().any(|wrapper| wrapper == name);
    let is_endless = wrapped("watch")
        || Kubectl::of(call).is_some_and(|command| {
            matches!(command.verb.as_str(), "port-forward" | "proxy")
                || (command.verb == "get"
                    && command.is_on(&["--watch", "--watch-only"])
                    && command.value(&["--request-timeout"]).is_none())
        });
    let ends = call.background || wrapped("timeout") || call.pipe.is_some() || call.decides;
    if !is_endless || ends || call.inner {
        return;
    }
    let next = book.commands.calls.get(index + 1);
    if next.is_some_and(|next| next.script == call.script) {
        found.push(
            codes::NEVER_RETURNS,
            call.place(),
            "this never returns: what stands after it never runs",
            "wait for a state (`kubectl wait --for=... --timeout=...`, `kubectl rollout status`), or bound it with `timeout`",
        );
    }
}

/// Fields of what kubent prints as JSON.
const KUBENT: [&str; 8] = [
    "Name",
    "Namespace",
    "Kind",
    "ApiVersion",
    "RuleSet",
    "ReplaceWith",
    "Since",
    "Context",
];

fn is_kubent(call: &Call) -> bool {
    let line = call.line();
    ["kubent", "kube-no-trouble", "/knt"]
        .iter()
        .any(|name| line.contains(name))
}

fn empty_filter(book: &Runbook<'_>, call: &Call, found: &mut Findings) {
    if call.name() != "jq" {
        return;
    }
    let Some(program) = call
        .args()
        .iter()
        .find(|word| word.text.contains("select("))
    else {
        return;
    };
    let before = book.before_in_pipe(call);
    let files: Vec<&str> = before
        .filter(|before| before.name() == "cat")
        .into_iter()
        .flat_map(|before| before.args())
        .chain(call.args())
        .map(|word| word.text.as_str())
        .collect();
    let of_kubent = before.is_some_and(is_kubent)
        || book.commands.calls.iter().any(|call| {
            is_kubent(call)
                && call
                    .output
                    .as_deref()
                    .is_some_and(|output| files.contains(&output))
        });
    let inside = program.text.split("select(").nth(1).unwrap_or_default();
    let field: String = inside
        .trim_start_matches('.')
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    if of_kubent && inside.starts_with('.') && !KUBENT.contains(&field.as_str()) {
        found.push(
            codes::EMPTY_FILTER,
            program.place,
            format!("kubent's findings have no field {field:?}: the filter is always empty, whatever was found"),
            "every element is a finding: `jq -e 'length == 0'`, or run kubent with `--exit-error`",
        );
    }
}

fn terminal(book: &Runbook<'_>, call: &Call, found: &mut Findings) {
    let Some(command) = Kubectl::of(call) else {
        return;
    };
    let is_data =
        call.output.is_some() || call.captured.is_some() || book.next_in_pipe(call).is_some();
    if matches!(command.verb.as_str(), "run" | "exec") && command.is_on(&["--tty"]) && is_data {
        found.push(
            codes::TERMINAL,
            call.place(),
            "with `-t` the output is what a terminal shows: carriage returns, prompts and kubectl's own words are mixed into the data",
            "leave out `-t` where a program reads the output; for `kubectl run` read the pod's logs instead",
        );
    }
}

/// Loops over fixed names in a variable that says a role.
fn ordinals(book: &Runbook<'_>, found: &mut Findings) {
    for around in &book.commands.loops {
        let Some((variable, words)) = &around.over else {
            continue;
        };
        let small = variable.to_ascii_lowercase();
        let role = ROLES.iter().find(|role| small.contains(**role));
        let fixed = words.iter().filter(|word| ordinal(&word.text).is_some());
        if let Some(role) = role
            && !words.is_empty()
            && fixed.count() == words.len()
        {
            found.push(
                codes::ORDINAL,
                around.place,
                format!("which member is a {role} is not in its name: after one failover this list is wrong"),
                "ask the members for their roles now, and loop over the answer",
            );
        }
    }
}

/// Something that can fail, and whose failure should stop what follows.
fn is_wait(call: &Call) -> bool {
    if call.decides || call.captured.is_some() {
        return false;
    }
    if is_script(call) {
        return looks(call);
    }
    Kubectl::of(call)
        .is_some_and(|command| matches!(command.verb.as_str(), "wait" | "rollout.status" | "drain"))
}

fn goes_on(book: &Runbook<'_>, script: usize, found: &mut Findings) {
    let Some(text) = book.scripts.get(script) else {
        return;
    };
    let is_program = match text.found {
        Found::Program => true,
        Found::Block => text.text.starts_with("#!"),
        Found::Guess | Found::Step | Found::Prose => false,
    };
    if !is_program || stops(book, script) {
        return;
    }
    for (index, call) in book.commands.calls.iter().enumerate() {
        if call.script == script
            && is_wait(call)
            && book.after(index).any(|next| act(next).is_some())
        {
            found.push(
                codes::GOES_ON,
                call.place(),
                "when this fails or times out, the script goes on and disturbs the next",
                "start the script with `set -euo pipefail`, or write `|| exit 1` after it",
            );
            return;
        }
    }
}

/// Links whose text promises something else.
fn links(book: &Runbook<'_>, found: &mut Findings) {
    if !book.is_page {
        return;
    }
    for (index, line) in book.text.lines().enumerate() {
        let small = line.to_ascii_lowercase();
        let Some(at) = small.find("cluster snapshot") else {
            continue;
        };
        let link = small
            .get(at..)
            .and_then(|rest| rest.split_once("]("))
            .filter(|(text, _)| !text.contains(['[', ']']));
        if link.is_some_and(|(_, target)| {
            let target = target.split(')').next().unwrap_or_default();
            target.contains("node-pool-snapshot")
        }) {
            found.push(
                codes::WRONG_LINK,
                Place {
                    line: crate::lint::text::line(index),
                    column: crate::lint::text::column(at),
                },
                "a snapshot of a node pool keeps a node image and a version, not a cluster: nothing can be taken back with it",
                "say node-pool snapshot, and name the backup that a cluster is restored from",
            );
        }
    }
}

/// Does it disturb pods other than these?
pub(super) fn disturbs_others(call: &Call, names: &[&str]) -> bool {
    match act(call) {
        Some(Act::Pods(pods)) => !pods.iter().all(|pod| names.contains(pod)),
        Some(Act::Role | Act::Nodes) => true,
        None => false,
    }
}
