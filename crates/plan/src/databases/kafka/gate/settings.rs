//! What one broker's own settings do to a roll.

use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::scope::Member;
use crate::world::KafkaFacts;

/// Settings by which a follower that is led to a new leader waits: before it asks it for data, and
/// while the leader has none for it.
const PAUSES: [&str; 2] = ["replica.fetch.backoff.ms", "replica.fetch.wait.max.ms"];

/// Followers that fetch without a long pause: with more than this a new leader waits for them, and
/// its clients with it.
///
/// # Source
/// Measured: 1.1 to 1.3 s with the defaults (`replica.fetch.backoff.ms` 1000,
/// `replica.fetch.wait.max.ms` 500), 0.2 s with 50 and 100.
const LONGEST_PAUSE_MS: u64 = 100;

pub(super) fn judged(member: &Member<'_>, facts: &KafkaFacts) -> Findings {
    let mut findings = Findings::default();
    let name = &member.name;
    if facts
        .settings
        .get("controlled.shutdown.enable")
        .is_some_and(|value| value == "false")
    {
        findings.refuse(
            Diagnostic::new(
                codes::ABRUPT,
                name,
                "the broker does not say goodbye: clients and followers would wait for its session to end (9 s)",
            )
            .seen("controlled.shutdown.enable=false")
            .fix("controlled.shutdown.enable=true, which is the default"),
        );
    }
    let slow: Vec<String> = PAUSES
        .iter()
        .filter_map(|setting| {
            let ms: u64 = facts.settings.get(*setting)?.parse().ok()?;
            (ms > LONGEST_PAUSE_MS).then(|| format!("{setting}={ms}"))
        })
        .collect();
    if !slow.is_empty() {
        findings.warn(
            Diagnostic::new(
                codes::SLOW_FETCH,
                name,
                "followers pause before they fetch from a new leader, and writes with acks=all wait for them",
            )
            .seen(slow.join(", "))
            .fix("replica.fetch.backoff.ms=50 and replica.fetch.wait.max.ms=100 bring the pause of a partition from about 1.2 s to 0.2 s"),
        );
    }
    findings
}
