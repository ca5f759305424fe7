//! The verdict on a cache: hit-rate, errors and old values. Nothing is said of durability, which a cache does not have.

use std::time::Duration;

use super::MemberEvidence;
use crate::certificate::{CacheRecord, Certificate, Control};
use crate::memcached::tally::{Found, Tally};

pub(super) fn broken_promises(certificate: &Certificate, found: &CacheRecord) -> Vec<String> {
    let limits = &certificate.limits;
    let mut broken = Vec::new();
    if let Some(lowest) = found
        .lowest
        .as_ref()
        .filter(|lowest| lowest.hit_rate < found.bound)
    {
        broken.push(format!(
            "the hit-rate was {} % over {} ms, {} % is the least allowed; {} % of the keys are left without the server that \
             has most of them",
            lowest.hit_rate, lowest.length_ms, found.bound, found.remaining_share
        ));
    }
    if found.wrong_values > 0 {
        broken.push(format!(
            "{} answers were not the key's current value; {}",
            found.wrong_values,
            found.wrong_example.as_deref().unwrap_or("no example")
        ));
    }
    if let Some(allowed) = limits
        .errors
        .filter(|allowed| certificate.errors > *allowed)
    {
        broken.push(format!(
            "clients saw {} errors, {allowed} are allowed",
            certificate.errors
        ));
    }
    if let Some(gap) = certificate
        .longest_ack_gap_ms
        .filter(|gap| *gap > limits.write_stall_ms as f64)
    {
        broken.push(format!(
            "no request was answered for {gap:.0} ms, the limit is {} ms",
            limits.write_stall_ms
        ));
    }
    broken
}

pub(super) fn missing_evidence(
    certificate: &Certificate,
    found: &CacheRecord,
    members: &[MemberEvidence],
) -> Vec<String> {
    let mut missing = Vec::new();
    if certificate.acked == 0 {
        missing.push("no request was answered".to_owned());
    }
    if found.lowest.is_none() {
        missing.push("too few questions were asked to tell a hit-rate".to_owned());
    }
    for member in members {
        if let Some(problem) = &member.problem {
            missing.push(format!("{} could not be judged: {problem}", member.name));
        }
    }
    missing
}

/// Two harms planted into a small count, with every certificate of a cache.
pub(super) fn planted_controls() -> Vec<Control> {
    let count = |found: fn(u64) -> Found| {
        let mut tally = Tally::default();
        for ms in 0..3_000 {
            tally.asked(Duration::from_millis(ms), found(ms));
        }
        tally.advance(Duration::from_millis(3_000));
        let lowest = tally.lowest().map_or(100.0, |lowest| lowest.hit_rate);
        (format!("{lowest:.0} %"), tally.wrong)
    };
    let planted = |name: &str, expected: (&str, u64), found: fn(u64) -> Found| {
        let (lowest, wrong) = count(found);
        let words = |lowest: &str, wrong: u64| format!("lowest {lowest}, {wrong} wrong values");
        Control {
            name: name.to_owned(),
            expected: words(expected.0, expected.1),
            observed: words(&lowest, wrong),
            detected: lowest == expected.0 && wrong == expected.1,
            not_run: None,
            server: None,
            at: None,
        }
    };
    vec![
        planted(
            "planted in the accounting: a second in which every other key is missed",
            ("50 %", 0),
            |ms| {
                if (1_300..2_300).contains(&ms) && ms.is_multiple_of(2) {
                    Found::Nothing
                } else {
                    Found::Current
                }
            },
        ),
        planted(
            "planted in the accounting: ten values of an earlier time",
            ("99 %", 10),
            |ms| {
                if (1_000..1_010).contains(&ms) {
                    Found::Wrong
                } else {
                    Found::Current
                }
            },
        ),
    ]
}
