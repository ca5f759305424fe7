//! From evidence to a verdict. Pure: the same evidence gives the same certificate.
//!
//! # Guarantees
//! - A broken promise is a fail, also when other evidence is missing.
//! - Missing evidence is never a pass: no writes, no leader, a member that could not be read, a
//!   required control that did not run, a control that was not detected.

mod cache;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::accounting::Recorder;
use crate::accounting::gaps::Gaps;
use crate::accounting::histogram::Histogram;
use crate::accounting::ledger::WriterLedger;
use crate::accounting::presence::{Findings, Key, Presence};
use crate::accounting::recorder::shard_of;
use crate::certificate::{
    CacheRecord, Certificate, Control, Latency, Limits, Member, Reads, Role, SCHEMA, ShardRecord,
    Verdict, millis,
};

/// A part of the database with a leader of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its name; empty where one leader has everything.
    pub name: String,
    /// Writers that wrote to it.
    pub writers: Vec<usize>,
}

impl Shard {
    /// The shards of these names for so many writers; without a name one shard that is the whole.
    #[must_use]
    pub fn split(names: &[String], writers: usize) -> Vec<Self> {
        if names.is_empty() {
            return vec![Self {
                name: String::new(),
                writers: (0..writers).collect(),
            }];
        }
        names
            .iter()
            .enumerate()
            .map(|(at, name)| Self {
                name: name.clone(),
                writers: (0..writers)
                    .filter(|writer| shard_of(*writer, names.len()) == Some(at))
                    .collect(),
            })
            .collect()
    }
}

/// What was seen of one member after the run.
#[derive(Clone, Debug, Default)]
pub struct MemberEvidence {
    /// Its name.
    pub name: String,
    /// Leader or replica.
    pub role: Option<Role>,
    /// Which shard of the evidence's it belongs to; `None`: unknown.
    pub shard: Option<usize>,
    /// Position in the log.
    pub position: Option<String>,
    /// Timeline of the log.
    pub timeline: Option<u64>,
    /// Identity of the database system.
    pub system_identifier: Option<String>,
    /// The comparison of its rows with the ledger, and their digest.
    pub rows: Option<(Findings, String)>,
    /// Why it could not be judged.
    pub problem: Option<String>,
}

/// Everything the judge looks at.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// Identity of the run.
    pub run: String,
    /// What was measured.
    pub subject: String,
    /// Wall clock at the recorder's instant zero.
    pub anchor: Timestamp,
    /// Wall clock of the stop.
    pub finished: Timestamp,
    /// The counts.
    pub recorder: &'a Recorder,
    /// Concurrent readers.
    pub readers: usize,
    /// Parts with a leader of their own; one for a database that has no parts.
    pub shards: Vec<Shard>,
    /// The members.
    pub members: Vec<MemberEvidence>,
    /// What clients of a cache found, if a cache was measured: then nothing was looked up.
    pub cache: Option<CacheRecord>,
    /// Controls run elsewhere.
    pub controls: Vec<Control>,
    /// Whether controls on real servers must be among them.
    pub controls_required: bool,
    /// Probes that began this run before and ended without a certificate.
    pub earlier_probes: u64,
    /// What was promised.
    pub limits: Limits,
}

/// Writes the certificate.
#[must_use]
pub fn judge(evidence: Evidence<'_>) -> Certificate {
    let recorder = evidence.recorder;
    let ledger = recorder.ledger();
    let leaders: Vec<Option<&Findings>> = (0..evidence.shards.len())
        .map(|shard| leader_rows(&evidence.members, shard))
        .collect();
    let total = |count: fn(&Findings) -> u64| -> Option<u64> {
        leaders.iter().map(|found| found.map(count)).sum()
    };
    let longest = recorder.gaps().ranked().first();
    let mut certificate = Certificate {
        schema: SCHEMA.to_owned(),
        run: evidence.run,
        subject: evidence.subject,
        started: evidence.anchor,
        finished: evidence.finished,
        writers: ledger.writers().len() as u64,
        attempted: ledger.attempted(),
        acked: ledger.acked(),
        errors: recorder.errors().total(),
        indeterminate: ledger.indeterminate(),
        indeterminate_committed: total(|f| f.indeterminate_present),
        acked_lost: total(|f| f.acked_missing),
        phantoms: total(|f| f.phantoms),
        duplicates: total(|f| f.duplicates),
        out_of_order: leaders
            .iter()
            .map(|found| found.and_then(|found| found.out_of_order))
            .sum(),
        longest_ack_gap_ms: longest.map(|gap| millis(gap.length())),
        longest_ack_gap_at: began(recorder.gaps(), evidence.anchor),
        worst_latency_ms: millis(recorder.worst()),
        latency_ms: latency(recorder.latency()),
        reads: reads(recorder, evidence.readers),
        members: evidence
            .members
            .iter()
            .map(|one| member(one, &evidence.shards))
            .collect(),
        shards: shard_records(recorder, &evidence.shards, &leaders, evidence.anchor),
        controls: evidence.controls,
        cache: evidence.cache,
        limits: evidence.limits,
        error_kinds: recorder.errors().kinds().clone(),
        verdict: Verdict::Inconclusive,
        reasons: Vec::new(),
    };
    let controls = match evidence.controls_required {
        false => Controls::Optional,
        true if certificate.controls.is_empty() => Controls::Missing,
        true => Controls::Required,
    };
    certificate.controls.extend(match certificate.cache {
        Some(_) => cache::planted_controls(),
        None => planted_controls(),
    });

    let (broken, mut missing) = match &certificate.cache {
        Some(found) => (
            cache::broken_promises(&certificate, found),
            cache::missing_evidence(&certificate, found, &evidence.members),
        ),
        None => (
            broken_promises(&certificate, &evidence.members, &evidence.shards),
            missing_evidence(&certificate, &evidence.members, &evidence.shards),
        ),
    };
    missing.extend(undetected(&certificate, controls));
    if evidence.earlier_probes > 0 {
        missing.push(format!(
            "{} earlier probe(s) of this run ended without a certificate; their writes are not judged",
            evidence.earlier_probes
        ));
    }
    certificate.verdict = if !broken.is_empty() {
        Verdict::Fail
    } else if !missing.is_empty() {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    };
    certificate.reasons = broken.into_iter().chain(missing).collect();
    certificate
}

/// Whether controls on real servers had to be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Controls {
    /// They are welcome.
    Optional,
    /// They had to be.
    Required,
    /// They had to be, and there is none.
    Missing,
}

/// What the one leader of a shard holds.
fn leader_rows(members: &[MemberEvidence], shard: usize) -> Option<&Findings> {
    let mut leaders = leaders_of(members, shard);
    let leader = leaders.next().filter(|_| leaders.next().is_none())?;
    leader.rows.as_ref().map(|(findings, _)| findings)
}

fn leaders_of(members: &[MemberEvidence], shard: usize) -> impl Iterator<Item = &MemberEvidence> {
    members
        .iter()
        .filter(move |m| m.role == Some(Role::Leader) && m.shard == Some(shard))
}

fn began(gaps: &Gaps, anchor: Timestamp) -> Option<Timestamp> {
    let from = SignedDuration::try_from(gaps.ranked().first()?.from).ok()?;
    anchor.checked_add(from).ok()
}

fn shard_records(
    recorder: &Recorder,
    shards: &[Shard],
    leaders: &[Option<&Findings>],
    anchor: Timestamp,
) -> Vec<ShardRecord> {
    recorder
        .shards()
        .iter()
        .zip(shards)
        .zip(leaders)
        .map(|((gaps, shard), leader)| ShardRecord {
            name: shard.name.clone(),
            writers: shard.writers.len() as u64,
            acked: shard
                .writers
                .iter()
                .filter_map(|writer| recorder.ledger().writers().get(*writer))
                .map(WriterLedger::acked)
                .sum(),
            longest_ack_gap_ms: gaps.ranked().first().map(|gap| millis(gap.length())),
            longest_ack_gap_at: began(gaps, anchor),
            acked_lost: leader.map(|found| found.acked_missing),
        })
        .collect()
}

/// ` of the shard NAME`, or nothing where there is one shard without a name.
fn of(shard: &Shard) -> String {
    if shard.name.is_empty() {
        String::new()
    } else {
        format!(" of the shard {}", shard.name)
    }
}

fn broken_promises(
    certificate: &Certificate,
    members: &[MemberEvidence],
    shards: &[Shard],
) -> Vec<String> {
    let limits = &certificate.limits;
    let mut broken = Vec::new();
    if let Some(lost) = certificate
        .acked_lost
        .filter(|lost| *lost > limits.acked_loss)
    {
        broken.push(format!(
            "{lost} acknowledged writes are not on the leader, {} may be lost",
            limits.acked_loss
        ));
    }
    if let Some(phantoms) = certificate.phantoms.filter(|n| *n > 0) {
        broken.push(format!(
            "{phantoms} rows on the leader were never sent or had been refused"
        ));
    }
    if let Some(duplicates) = certificate.duplicates.filter(|n| *n > 0) {
        broken.push(format!(
            "{duplicates} rows on the leader repeat a key that was sent once"
        ));
    }
    if let Some(out) = certificate.out_of_order.filter(|n| *n > 0) {
        broken.push(format!(
            "{out} acknowledged rows on the leader stand behind a later one of their writer"
        ));
    }
    if let Some(gap) = certificate
        .longest_ack_gap_ms
        .filter(|g| *g > limits.write_stall_ms as f64)
    {
        broken.push(format!(
            "no write was acknowledged for {gap:.0} ms, the limit is {} ms",
            limits.write_stall_ms
        ));
    }
    for shard in &certificate.shards {
        if let Some(gap) = shard
            .longest_ack_gap_ms
            .filter(|gap| *gap > limits.write_stall_ms as f64)
        {
            broken.push(format!(
                "no write of the shard {} was acknowledged for {gap:.0} ms, the limit is {} ms",
                shard.name, limits.write_stall_ms
            ));
        }
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
    if certificate.reads.regressions > 0 {
        broken.push(format!(
            "{} reads went back in time behind an earlier read of the same reader",
            certificate.reads.regressions
        ));
    }
    for (at, shard) in shards.iter().enumerate() {
        let leaders: Vec<&str> = leaders_of(members, at).map(|m| m.name.as_str()).collect();
        if leaders.len() > 1 {
            broken.push(format!(
                "more than one member{} accepts writes: {}",
                of(shard),
                leaders.join(", ")
            ));
        }
    }
    for member in members.iter().filter(|m| m.role == Some(Role::Replica)) {
        if let Some((findings, _)) = &member.rows
            && findings.acked_missing > limits.acked_loss
        {
            broken.push(format!(
                "{} acknowledged writes are not on the replica {} although it has caught up",
                findings.acked_missing, member.name
            ));
        }
    }
    for (at, shard) in shards.iter().enumerate() {
        let digests: BTreeSet<&str> = members
            .iter()
            .filter(|m| m.shard == Some(at))
            .filter_map(|m| m.rows.as_ref())
            .map(|(_, digest)| digest.as_str())
            .collect();
        if digests.len() > 1 {
            broken.push(format!(
                "the members{} hold {} different tables",
                of(shard),
                digests.len()
            ));
        }
    }
    let systems: BTreeSet<&str> = members
        .iter()
        .filter_map(|m| m.system_identifier.as_deref())
        .collect();
    if systems.len() > 1 {
        broken.push("the members do not belong to one database system".to_owned());
    }
    broken
}

fn missing_evidence(
    certificate: &Certificate,
    members: &[MemberEvidence],
    shards: &[Shard],
) -> Vec<String> {
    let mut missing = Vec::new();
    if certificate.acked == 0 {
        missing.push("no write was acknowledged".to_owned());
    }
    if members.is_empty() {
        missing.push("no member was looked at".to_owned());
    } else {
        for (at, shard) in shards.iter().enumerate() {
            if leaders_of(members, at).next().is_none() {
                missing.push(format!("no member{} accepts writes", of(shard)));
            }
        }
    }
    for shard in certificate.shards.iter().filter(|shard| shard.acked == 0) {
        missing.push(format!(
            "no write of the shard {} was acknowledged",
            shard.name
        ));
    }
    for member in members {
        if let Some(problem) = &member.problem {
            missing.push(format!("{} could not be judged: {problem}", member.name));
        } else if member.rows.is_none() {
            missing.push(format!("{} could not be judged", member.name));
        }
    }
    missing
}

/// Controls that had to be carried out, and those that saw nothing.
fn undetected(certificate: &Certificate, controls: Controls) -> Vec<String> {
    let mut missing = Vec::new();
    if controls == Controls::Missing {
        missing.push("the negative controls did not run and are required".to_owned());
    }
    if controls != Controls::Optional {
        for control in &certificate.controls {
            if let Some(why) = &control.not_run {
                missing.push(format!(
                    "the negative control \"{}\" is required and could not be carried out: {why}",
                    control.name
                ));
            }
        }
    }
    let carried_out = certificate.controls.iter().filter(|c| c.not_run.is_none());
    for control in carried_out.filter(|c| !c.detected) {
        missing.push(format!(
            "the negative control \"{}\" was not detected: expected {}, observed {}",
            control.name, control.expected, control.observed
        ));
    }
    missing
}

fn member(evidence: &MemberEvidence, shards: &[Shard]) -> Member {
    let findings = evidence.rows.as_ref().map(|(findings, _)| findings);
    Member {
        name: evidence.name.clone(),
        digest: evidence.rows.as_ref().map(|(_, digest)| digest.clone()),
        position: evidence.position.clone(),
        role: evidence.role,
        shard: evidence
            .shard
            .and_then(|at| shards.get(at))
            .map(|shard| shard.name.clone())
            .filter(|name| !name.is_empty()),
        timeline: evidence.timeline,
        system_identifier: evidence.system_identifier.clone(),
        rows: findings.map(|f| f.rows),
        acked_missing: findings.map(|f| f.acked_missing),
        examples: findings.map(|f| f.examples.clone()).unwrap_or_default(),
        problem: evidence.problem.clone(),
    }
}

fn latency(histogram: &Histogram) -> Latency {
    Latency {
        p50: millis(histogram.quantile(500)),
        p99: millis(histogram.quantile(990)),
    }
}

fn reads(recorder: &Recorder, readers: usize) -> Reads {
    let reads = recorder.reads();
    Reads {
        readers: readers as u64,
        attempted: reads.attempted,
        ok: reads.ok,
        errors: reads.errors,
        stale: reads.stale,
        regressions: reads.regressions,
        latency_ms: latency(&reads.latency),
        worst_latency_ms: millis(reads.latency.max()),
    }
}

/// Three harms planted into a small ledger, run with every certificate: an accounting that could
/// not see them would say so in the certificate itself.
fn planted_controls() -> Vec<Control> {
    let mut recorder = Recorder::new(1);
    let at = std::time::Duration::ZERO;
    for _ in 0..3 {
        let seq = recorder.attempt(0);
        recorder.acked(0, seq, at, at);
    }
    let found = |seqs: &[i64]| {
        let mut presence = Presence::new(recorder.ledger());
        for seq in seqs {
            presence.row(
                recorder.ledger(),
                Key {
                    writer: 0,
                    seq: *seq,
                },
            );
        }
        let findings = presence.compare(recorder.ledger());
        (
            findings.acked_missing,
            findings.phantoms,
            findings.duplicates,
        )
    };
    let planted = |name: &str, expected: (u64, u64, u64), seqs: &[i64]| {
        let observed = found(seqs);
        let words = |(lost, phantoms, duplicates): (u64, u64, u64)| {
            format!("{lost} lost, {phantoms} phantoms, {duplicates} duplicates")
        };
        Control {
            name: name.to_owned(),
            expected: words(expected),
            observed: words(observed),
            detected: observed == expected,
            not_run: None,
            server: None,
            at: None,
        }
    };
    vec![
        planted(
            "planted in the accounting: one acknowledged key removed",
            (1, 0, 0),
            &[0, 2],
        ),
        planted(
            "planted in the accounting: one key that was never sent",
            (0, 1, 0),
            &[0, 1, 2, 3],
        ),
        planted(
            "planted in the accounting: one key twice",
            (0, 0, 1),
            &[0, 1, 1, 2],
        ),
    ]
}

#[cfg(test)]
mod tests;
