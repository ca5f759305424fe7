//! redis-cli and valkey-cli on a cluster.

use super::{ordinal, target};
use crate::lint::shell::Call;
use crate::lint::{Findings, Runbook, codes};

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    for call in &book.commands.calls {
        if !matches!(call.name(), "redis-cli" | "valkey-cli") {
            continue;
        }
        let small = call.small();
        if small.contains("cluster failover") {
            failover(call, &small, found);
        }
        if small.contains("cluster forget") {
            found.push(
                codes::FORGET,
                call.place(),
                "a node that comes back needs no FORGET: it is banned for a minute on the node that is told, the others keep it, and the shard has no replica to promote meanwhile",
                "restart the replica with its nodes.conf and wait until every node lists it with its link up",
            );
        }
        if small.contains("cluster nodes") {
            sought(book, call, found);
        }
    }
}

fn failover(call: &Call, small: &str, found: &mut Findings) {
    for word in call.args() {
        let kind = word.text.to_ascii_lowercase();
        if matches!(kind.as_str(), "force" | "takeover") {
            found.push(
                codes::FORCED_FAILOVER,
                word.place,
                "the master is not asked to wait: writes that it acknowledged and has not replicated are lost",
                "write CLUSTER FAILOVER alone; it moves without loss and gives up by itself when it cannot",
            );
        }
    }
    let to_master = target(call, &["-h"]).is_some_and(|word| {
        let name = word.text.to_ascii_lowercase();
        name.contains("master") || name.contains("primary")
    });
    if to_master && !small.contains("replicaof") {
        found.push(
            codes::FAILOVER_AT_MASTER,
            call.place(),
            "a master refuses this (\"You should send CLUSTER FAILOVER to a replica\") and redis-cli still ends with 0: what follows kills a live master",
            "send it to the replica that is to take over, and ask its ROLE until it is master",
        );
    }
}

fn sought(book: &Runbook<'_>, call: &Call, found: &mut Findings) {
    let Some(next) = book
        .next_in_pipe(call)
        .filter(|next| matches!(next.name(), "grep" | "awk"))
    else {
        return;
    };
    for word in next.args() {
        if word.text.starts_with('-') {
            continue;
        }
        let pods = book.names(next, &word.text);
        if !pods.is_empty() && pods.iter().all(|name| ordinal(name).is_some()) {
            found.push(
                codes::NAME_NOT_SHOWN,
                next.place(),
                "CLUSTER NODES shows addresses, not names of pods: nothing is found and the variable stays empty",
                "ask the member itself for its id: redis-cli -h POD cluster myid",
            );
        }
    }
}
