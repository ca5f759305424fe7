//! curl on Elasticsearch and OpenSearch.

use super::{Act, act};
use crate::lint::shell::Call;
use crate::lint::{Findings, Runbook, codes};

/// What a call does to the allocation of shards.
fn allocation(call: &Call) -> Option<bool> {
    if call.name() != "curl" {
        return None;
    }
    let text: String = call.line().chars().filter(|c| !c.is_whitespace()).collect();
    let (_, value) = text.split_once("allocation.enable\":")?;
    Some(value.starts_with("null") || value.starts_with("\"all\""))
}

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    for call in &book.commands.calls {
        if allocation(call) == Some(false) {
            off(book, call, found);
        }
        if call.name() == "curl" && call.polled && call.line().contains("_cat/nodes") {
            let whole = book
                .of(call.script)
                .any(|other| other.line().contains("_cluster/health"));
            let rolls = book
                .of(call.script)
                .any(|other| matches!(act(other), Some(Act::Pods(_))));
            if rolls && !whole {
                found.push(
                    codes::BACK_IS_NOT_GREEN,
                    call.place(),
                    "a node that is back has no data yet: the next one takes the only copies with it",
                    "after each node: allocation on again, then _cluster/health?wait_for_status=green&wait_for_no_relocating_shards=true",
                );
            }
        }
    }
}

/// Off before a loop, on after it.
fn off(book: &Runbook<'_>, call: &Call, found: &mut Findings) {
    let goes = |other: &&Call| {
        matches!(act(other), Some(Act::Pods(_)))
            && other.loops.iter().any(|id| !call.loops.contains(id))
    };
    let Some(gone) = book.of(call.script).find(goes) else {
        return;
    };
    let on_inside = book.of(call.script).any(|other| {
        allocation(other) == Some(true)
            && other
                .loops
                .iter()
                .any(|id| gone.loops.contains(id) && !call.loops.contains(id))
    });
    if !on_inside {
        found.push(
            codes::ALLOCATION_OFF,
            call.place(),
            "allocation stays off while one node after the other goes: the second can take the last copy that is in sync",
            "inside the loop: primaries only, restart, wait for the join, allocation on again, wait for green",
        );
    }
}
