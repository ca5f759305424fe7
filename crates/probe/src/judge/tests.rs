use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::accounting::Failure;
use crate::accounting::ledger::Outcome;

const STEP: Duration = Duration::from_millis(2);

/// A run of one writer that was acknowledged `acked` times, then stopped.
fn run(acked: u64) -> Recorder {
    let mut recorder = Recorder::new(1);
    let mut at = Duration::ZERO;
    for _ in 0..acked {
        let seq = recorder.attempt(0);
        recorder.acked(0, seq, at, at + STEP);
        at += STEP;
    }
    recorder.stop(at);
    recorder.close();
    recorder
}

fn holding(recorder: &Recorder, name: &str, role: Role, seqs: &[i64]) -> MemberEvidence {
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
    MemberEvidence {
        name: name.to_owned(),
        role: Some(role),
        shard: Some(0),
        position: Some("0/3000148".to_owned()),
        rows: Some((presence.compare(recorder.ledger()), format!("{seqs:?}"))),
        ..MemberEvidence::default()
    }
}

fn judged(recorder: &Recorder, members: Vec<MemberEvidence>) -> Certificate {
    judge(evidence(recorder, members))
}

fn evidence(recorder: &Recorder, members: Vec<MemberEvidence>) -> Evidence<'_> {
    Evidence {
        run: "00000000-0000-0000-0000-000000000000".to_owned(),
        subject: "test".to_owned(),
        anchor: Timestamp::UNIX_EPOCH,
        finished: Timestamp::UNIX_EPOCH,
        recorder,
        readers: 0,
        shards: Shard::split(&[], recorder.ledger().writers().len()),
        members,
        cache: None,
        controls: Vec::new(),
        controls_required: false,
        earlier_probes: 0,
        limits: Limits::default(),
    }
}

#[test]
fn a_clean_run_passes_and_gives_no_reasons() {
    let recorder = run(3);
    let members = vec![
        holding(&recorder, "a", Role::Leader, &[0, 1, 2]),
        holding(&recorder, "b", Role::Replica, &[0, 1, 2]),
    ];
    let certificate = judged(&recorder, members);
    assert_eq!(
        (certificate.verdict, certificate.reasons),
        (Verdict::Pass, vec![])
    );
    assert_eq!(certificate.acked_lost, Some(0));
}

#[test]
fn each_harm_fails_alone_and_is_named() {
    let recorder = run(3);
    let cases: [(&[i64], &str); 3] = [
        (&[0, 2], "acknowledged writes are not on the leader"),
        (&[0, 1, 2, 9], "never sent"),
        (&[0, 1, 2, 2], "repeat a key"),
    ];
    for (seqs, words) in cases {
        let certificate = judged(&recorder, vec![holding(&recorder, "a", Role::Leader, seqs)]);
        assert_eq!(certificate.verdict, Verdict::Fail, "{seqs:?}");
        assert!(
            certificate.reasons[0].contains(words),
            "{:?}",
            certificate.reasons
        );
    }
}

#[test]
fn a_replica_that_lacks_a_write_fails_although_the_leader_has_it() {
    let recorder = run(3);
    let members = vec![
        holding(&recorder, "a", Role::Leader, &[0, 1, 2]),
        holding(&recorder, "b", Role::Replica, &[0, 1]),
    ];
    let certificate = judged(&recorder, members);
    assert_eq!(certificate.verdict, Verdict::Fail);
    assert_eq!(certificate.acked_lost, Some(0));
    assert!(
        certificate.reasons[0].contains("replica b"),
        "{:?}",
        certificate.reasons
    );
}

#[test]
fn two_leaders_fail_and_leave_the_loss_unknown() {
    let recorder = run(2);
    let members = vec![
        holding(&recorder, "a", Role::Leader, &[0, 1]),
        holding(&recorder, "b", Role::Leader, &[0, 1]),
    ];
    let certificate = judged(&recorder, members);
    assert_eq!(
        (certificate.verdict, certificate.acked_lost),
        (Verdict::Fail, None)
    );
}

#[test]
fn an_error_counts_even_when_nothing_was_lost() {
    let mut recorder = Recorder::new(1);
    let seq = recorder.attempt(0);
    recorder.acked(0, seq, Duration::ZERO, STEP);
    let seq = recorder.attempt(0);
    let failure = Failure {
        outcome: Outcome::Indeterminate,
        kind: "connection closed",
        detail: "",
    };
    recorder.failed(0, seq, STEP, STEP, failure);
    recorder.connect_failed(STEP, "connect refused", "");
    recorder.stop(STEP);
    recorder.close();
    let certificate = judged(
        &recorder,
        vec![holding(&recorder, "a", Role::Leader, &[0, 1])],
    );
    assert_eq!((certificate.errors, certificate.indeterminate), (2, 1));
    assert_eq!(certificate.indeterminate_committed, Some(1));
    assert_eq!(certificate.verdict, Verdict::Fail);
}

#[test]
fn a_silence_at_the_end_of_the_run_counts_as_a_gap() {
    let mut recorder = Recorder::new(1);
    let seq = recorder.attempt(0);
    recorder.acked(0, seq, Duration::ZERO, STEP);
    recorder.stop(STEP + Duration::from_millis(1_500));
    recorder.close();
    let certificate = judged(&recorder, vec![holding(&recorder, "a", Role::Leader, &[0])]);
    assert_eq!(certificate.longest_ack_gap_ms, Some(1_500.0));
    assert_eq!(certificate.verdict, Verdict::Fail);
}

#[test]
fn missing_evidence_is_never_a_pass() {
    let (recorder, silent) = (run(3), run(0));
    let whole = || holding(&recorder, "a", Role::Leader, &[0, 1, 2]);
    let behind = MemberEvidence {
        name: "b".to_owned(),
        problem: Some("not caught up within 30 s".to_owned()),
        ..MemberEvidence::default()
    };
    let undetected = control(false, None);
    let verdicts = [
        judged(&recorder, vec![]),
        judged(
            &recorder,
            vec![holding(&recorder, "a", Role::Replica, &[0, 1, 2])],
        ),
        judged(&recorder, vec![whole(), behind]),
        judged(&silent, vec![holding(&silent, "a", Role::Leader, &[])]),
        judge(Evidence {
            controls_required: true,
            ..evidence(&recorder, vec![whole()])
        }),
        judge(Evidence {
            earlier_probes: 1,
            ..evidence(&recorder, vec![whole()])
        }),
        judge(Evidence {
            cache: None,
            controls: vec![undetected],
            ..evidence(&recorder, vec![whole()])
        }),
        judge(Evidence {
            controls: vec![control(true, None), control(false, Some("no server"))],
            controls_required: true,
            ..evidence(&recorder, vec![whole()])
        }),
    ];
    for certificate in verdicts {
        assert_eq!(
            certificate.verdict,
            Verdict::Inconclusive,
            "{:?}",
            certificate.reasons
        );
        assert!(!certificate.reasons.is_empty());
    }
}

#[test]
fn a_control_that_is_not_required_and_could_not_run_is_named_and_not_held_against_the_run() {
    let recorder = run(3);
    let certificate = judge(Evidence {
        controls: vec![control(false, Some("no server"))],
        ..evidence(
            &recorder,
            vec![holding(&recorder, "a", Role::Leader, &[0, 1, 2])],
        )
    });
    assert_eq!(
        (certificate.verdict, certificate.reasons),
        (Verdict::Pass, vec![])
    );
    assert_eq!(
        certificate.controls[0].not_run.as_deref(),
        Some("no server")
    );
}

fn control(detected: bool, not_run: Option<&str>) -> Control {
    Control {
        name: "freeze".to_owned(),
        expected: "a gap".to_owned(),
        observed: "none".to_owned(),
        detected,
        not_run: not_run.map(str::to_owned),
        server: None,
        at: None,
    }
}

#[test]
fn the_planted_controls_are_detected() {
    assert!(planted_controls().iter().all(|control| control.detected));
}

#[test]
fn the_field_names_are_the_contract() {
    let recorder = run(1);
    let certificate = judged(&recorder, vec![holding(&recorder, "a", Role::Leader, &[0])]);
    let json = serde_json::to_value(certificate).unwrap();
    for field in [
        "subject",
        "started",
        "finished",
        "writers",
        "attempted",
        "acked",
        "errors",
        "indeterminate",
        "acked_lost",
        "phantoms",
        "duplicates",
        "longest_ack_gap_ms",
        "worst_latency_ms",
        "latency_ms",
        "reads",
        "members",
        "controls",
        "limits",
        "verdict",
    ] {
        assert!(json.get(field).is_some(), "{field}");
    }
    assert_eq!(json["schema"], "ferriswheel.certificate.v1");
    assert_eq!(json["verdict"], "pass");
    for field in ["name", "digest", "position"] {
        assert!(json["members"][0].get(field).is_some(), "{field}");
    }
    for field in ["name", "expected", "observed", "detected"] {
        assert!(json["controls"][0].get(field).is_some(), "{field}");
    }
    assert!(json["latency_ms"]["p50"].is_number() && json["latency_ms"]["p99"].is_number());
}

proptest! {
    /// Whatever the leader holds: it is a pass exactly when it holds each key once and no other.
    #[test]
    fn only_exactly_the_sent_keys_pass(acked in 1u64..40, rows in prop::collection::vec(0i64..42, 0..60)) {
        let recorder = run(acked);
        let certificate = judged(&recorder, vec![holding(&recorder, "a", Role::Leader, &rows)]);
        let mut sorted = rows;
        sorted.sort_unstable();
        let exact = sorted == (0..i64::try_from(acked).unwrap()).collect::<Vec<_>>();
        prop_assert_eq!(certificate.verdict == Verdict::Pass, exact);
    }
}

/// A run of two writers, one for each of two shards: the second shard is silent for 900 ms while the
/// first goes on.
fn sharded() -> Recorder {
    let mut recorder = Recorder::sharded(2, 2);
    let at = |step: u32| STEP * step;
    for step in 1..=500 {
        for writer in 0..2 {
            if writer == 1 && (25..475).contains(&step) {
                continue;
            }
            let seq = recorder.attempt(writer);
            recorder.acked(writer, seq, at(step - 1), at(step));
        }
    }
    recorder.stop(at(500));
    recorder.close();
    recorder
}

fn of_shard(recorder: &Recorder, shard: usize, role: Role, stray: Option<Key>) -> MemberEvidence {
    let mut presence = Presence::of_writers(recorder.ledger(), |writer| writer == shard);
    let writer = i64::try_from(shard).unwrap();
    let keys = recorder.ledger().writers()[shard].attempted();
    for seq in 0..i64::try_from(keys).unwrap() {
        presence.row(recorder.ledger(), Key { writer, seq });
    }
    if let Some(key) = stray {
        presence.row(recorder.ledger(), key);
    }
    MemberEvidence {
        name: format!("member of {shard}"),
        role: Some(role),
        shard: Some(shard),
        rows: Some((
            presence.compare(recorder.ledger()),
            format!("{shard}{stray:?}"),
        )),
        ..MemberEvidence::default()
    }
}

fn judged_shards(recorder: &Recorder, limit_ms: u64, members: Vec<MemberEvidence>) -> Certificate {
    let names = ["0-8191".to_owned(), "8192-16383".to_owned()];
    let mut evidence = evidence(recorder, members);
    evidence.shards = Shard::split(&names, 2);
    evidence.limits.write_stall_ms = limit_ms;
    judge(evidence)
}

#[test]
fn a_shard_that_stood_still_fails_however_well_the_other_one_did() {
    let recorder = sharded();
    let both = || {
        vec![
            of_shard(&recorder, 0, Role::Leader, None),
            of_shard(&recorder, 1, Role::Leader, None),
        ]
    };
    let certificate = judged_shards(&recorder, 500, both());
    assert_eq!(certificate.longest_ack_gap_ms, Some(2.0));
    let gaps: Vec<_> = certificate
        .shards
        .iter()
        .map(|shard| shard.longest_ack_gap_ms)
        .collect();
    assert_eq!(gaps, [Some(2.0), Some(902.0)]);
    assert_eq!(certificate.verdict, Verdict::Fail);
    assert_eq!(
        certificate.reasons,
        ["no write of the shard 8192-16383 was acknowledged for 902 ms, the limit is 500 ms"]
    );
    let certificate = judged_shards(&recorder, 1_000, both());
    assert_eq!(certificate.reasons, Vec::<String>::new());
    assert_eq!(certificate.acked_lost, Some(0));
    assert_eq!(
        certificate.shards[0].acked + certificate.shards[1].acked,
        certificate.acked
    );
}

#[test]
fn every_shard_needs_one_leader_and_holds_its_own_keys_only() {
    let recorder = sharded();
    let leader = |shard| of_shard(&recorder, shard, Role::Leader, None);
    let without = judged_shards(&recorder, 1_000, vec![leader(0)]);
    assert_eq!(without.verdict, Verdict::Inconclusive);
    assert_eq!(without.acked_lost, None);
    assert_eq!(
        without.reasons,
        ["no member of the shard 8192-16383 accepts writes"]
    );
    let twice = judged_shards(&recorder, 1_000, vec![leader(0), leader(1), leader(1)]);
    assert_eq!(twice.verdict, Verdict::Fail);
    assert!(twice.reasons[0].starts_with("more than one member of the shard 8192-16383"));
    // A key of the first shard on the leader of the second was not written there.
    let key = Key { writer: 0, seq: 0 };
    let stray = of_shard(&recorder, 1, Role::Leader, Some(key));
    let strayed = judged_shards(&recorder, 1_000, vec![leader(0), stray.clone()]);
    assert_eq!(strayed.phantoms, Some(1));
    // A replica that differs from its leader is found, one of the other shard is not compared.
    let replica = of_shard(&recorder, 1, Role::Replica, None);
    let differs = judged_shards(&recorder, 1_000, vec![leader(0), stray, replica]);
    assert!(
        differs
            .reasons
            .iter()
            .any(|r| r == "the members of the shard 8192-16383 hold 2 different tables"),
        "{:?}",
        differs.reasons
    );
}
