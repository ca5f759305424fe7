//! The shells of MongoDB.

use super::{Act, act, ordinal};
use crate::lint::shell::Call;
use crate::lint::{Findings, Runbook, codes};

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    for call in &book.commands.calls {
        if !matches!(call.name(), "mongo" | "mongosh") || call.words.len() < 2 {
            continue;
        }
        if call.name() == "mongo" {
            found.push(
                codes::OLD_MONGO,
                call.place(),
                "servers from 6.0 on and their images have no `mongo`",
                "write mongosh --quiet --eval",
            );
        }
        let small = call.small();
        members(book, call, &small, found);
        step_down(call, &small, found);
        banner(book, call, found);
    }
}

fn members(book: &Runbook<'_>, call: &Call, small: &str, found: &mut Findings) {
    let restarts = || {
        book.of(call.script)
            .any(|call| matches!(act(call), Some(Act::Pods(_))))
    };
    let removes = || {
        book.of(call.script)
            .any(|call| call.small().contains("rs.remove("))
    };
    if (small.contains("rs.remove(") || small.contains("rs.add(")) && removes() && restarts() {
        found.push(
            codes::MEMBER_REMOVED,
            call.place(),
            "a member that restarts stays in the set: taking it out leaves two voters of two, and adding it again may copy everything anew",
            "leave the configuration alone; restart the secondary and wait until it is SECONDARY and has caught up",
        );
    }
}

fn step_down(call: &Call, small: &str, found: &mut Findings) {
    if !small.contains("stepdown") {
        return;
    }
    let compact: String = small.chars().filter(|c| !c.is_whitespace()).collect();
    if compact.contains("force:true") || compact.contains("force:1") {
        found.push(
            codes::FORCED_STEP_DOWN,
            call.place(),
            "with force the primary goes although no secondary has caught up: writes that it acknowledged may be rolled back",
            "leave force out, wait until a secondary has caught up, and step down again",
        );
    }
    if let Some(pod) = &call.pod
        && ordinal(&pod.text).is_some()
    {
        found.push(
            codes::ORDINAL,
            call.place(),
            format!(
                "{} need not be the primary: the number in its name says nothing",
                pod.text
            ),
            "ask a member for the primary (db.hello().primary) and send it there",
        );
    }
}

fn banner(book: &Runbook<'_>, call: &Call, found: &mut Findings) {
    let quiet = call.args().iter().any(|word| word.text == "--quiet");
    let Some(next) = book
        .next_in_pipe(call)
        .filter(|next| next.name() == "grep" && !quiet)
    else {
        return;
    };
    let pattern = next.args().iter().find(|word| !word.text.starts_with('-'));
    if pattern.is_some_and(|word| word.text.len() <= 2) {
        found.push(
            codes::MATCHES_BANNER,
            next.place(),
            "the shell prints its version and the address that it connects to: that text has this character always",
            "use --quiet, print one value, and compare all of it: test \"$(mongosh --quiet --eval ...)\" = SECONDARY",
        );
    }
}
