//! Kafka's scripts.

use crate::lint::{Findings, Runbook, codes};

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    for call in &book.commands.calls {
        let name = call.name().trim_end_matches(".sh");
        if !name.starts_with("kafka-") {
            continue;
        }
        if name == "kafka-server-stop" && call.pod.is_some() {
            found.push(
                codes::STOPPED_INSIDE,
                call.place(),
                "the kubelet starts the broker again at once: it is going up while the next command takes its pod away",
                "evict the pod: SIGTERM is a controlled shutdown, with a grace period that is long enough (300 s)",
            );
        }
        let has = |option: &str| call.args().iter().any(|word| word.text == option);
        if name == "kafka-reassign-partitions" && has("--verify") && !call.decides {
            found.push(
                codes::REPORT_IS_NO_WAIT,
                call.place(),
                "--verify prints where a reassignment stands and ends: it waits for nothing, and a restart moves no partition",
                "repeat kafka-topics --describe --under-replicated-partitions until it prints nothing",
            );
        }
        if let Some(word) = call.args().iter().find(|word| word.text == "--zookeeper") {
            found.push(
                codes::ZOOKEEPER,
                word.place,
                "Kafka's tools have no --zookeeper any more",
                "write --bootstrap-server with two brokers or more",
            );
        }
    }
}
