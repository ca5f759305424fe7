//! The legality table, from outside.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

use ferriswheel_engine::actuator::{ActError, Evidence, OperationKey, WaitingOn};
use ferriswheel_engine::record::{Entry, Record, Request, Stop};
use ferriswheel_engine::state::State;
use ferriswheel_plan::ids::PlanId;
use ferriswheel_plan::step::StepId;
use proptest::prelude::*;

fn record(seq: u64, epoch: u64, entry: Entry) -> Record {
    Record {
        seq,
        at: "2026-11-21T00:00:00Z".parse().unwrap(),
        plan: PlanId::new("p"),
        epoch,
        entry,
    }
}

fn replay(entries: &[Entry]) -> Result<State, String> {
    let records: Vec<_> = (1..)
        .zip(entries)
        .map(|(seq, entry)| record(seq, u64::from(seq > 0), entry.clone()))
        .collect();
    State::replay(&records).map_err(|e| e.to_string())
}

const STEP: StepId = StepId(1);

fn key() -> OperationKey {
    OperationKey("p/1/1".to_owned())
}

fn started() -> Entry {
    Entry::Started { step: STEP }
}

fn acting() -> Entry {
    Entry::Acting {
        step: STEP,
        key: key(),
    }
}

fn acted(key: OperationKey) -> Entry {
    Entry::Acted {
        step: STEP,
        key,
        evidence: Evidence::default(),
    }
}

fn not_taken(error: ActError) -> Entry {
    Entry::NotTaken {
        step: STEP,
        key: key(),
        error,
    }
}

fn verified() -> Entry {
    Entry::Verified {
        step: STEP,
        evidence: Evidence::default(),
    }
}

fn settled() -> Entry {
    Entry::Settled {
        step: STEP,
        evidence: Evidence::default(),
    }
}

fn retry() -> ActError {
    ActError::Retry {
        after: std::time::Duration::ZERO,
        cause: String::new(),
    }
}

fn fatal() -> ActError {
    ActError::Fatal {
        code: String::new(),
        cause: String::new(),
    }
}

#[test]
fn the_straight_path_is_legal() {
    let d = Entry::Driving;
    let legal: [&[Entry]; 6] = [
        &[
            d.clone(),
            started(),
            acting(),
            acted(key()),
            verified(),
            Entry::Finished,
        ],
        &[
            d.clone(),
            started(),
            acting(),
            settled(),
            acting(),
            acted(key()),
            acting(),
        ],
        &[d.clone(), started(), acting(), not_taken(fatal()), acting()],
        &[
            d.clone(),
            started(),
            acting(),
            not_taken(retry()),
            settled(),
            acting(),
        ],
        &[d.clone(), started(), acting(), verified(), Entry::Finished],
        &[
            d.clone(),
            Entry::Asked {
                request: Request::Abort,
            },
            Entry::Aborted,
            Entry::Asked {
                request: Request::Pause,
            },
        ],
    ];
    for entries in legal {
        assert!(
            replay(entries).is_ok(),
            "{entries:?}: {:?}",
            replay(entries)
        );
    }
}

#[test]
fn what_no_driver_writes_is_refused_with_the_reason() {
    let d = Entry::Driving;
    let other = OperationKey("p/1/9".to_owned());
    let cases: [(&[Entry], &str); 11] = [
        (&[started()], "not in charge"),
        (&[d.clone(), d.clone()], "higher epoch"),
        (&[d.clone(), acting()], "not started"),
        (&[d.clone(), started(), started()], "the step is Started"),
        (
            &[d.clone(), started(), acting(), acting()],
            "the step is Acting",
        ),
        (
            &[d.clone(), started(), acting(), not_taken(retry()), acting()],
            "the step is Acting",
        ),
        (
            &[d.clone(), started(), acting(), acted(other)],
            "the step is Acting",
        ),
        (
            &[d.clone(), started(), verified(), acting()],
            "the step is Done",
        ),
        (
            &[d.clone(), started(), Entry::Started { step: StepId(2) }],
            "not done",
        ),
        (&[d.clone(), started(), Entry::Finished], "not done"),
        (&[d.clone(), Entry::Aborted], "nobody asked"),
    ];
    for (entries, why) in cases {
        let answer = match entries {
            [first] if *first == started() => {
                State::replay(&[record(1, 1, started())]).map_err(|e| e.to_string())
            }
            _ => replay(entries),
        };
        let refusal = answer.expect_err(&format!("{entries:?} is legal"));
        assert!(refusal.contains(why), "{entries:?}: {refusal}");
    }
    let gap = State::replay(&[record(2, 1, Entry::Driving)]);
    assert!(gap.is_err_and(|e| e.why.contains("gap")));
}

#[test]
fn a_late_request_does_not_spoil_a_finished_journal() {
    let entries = [Entry::Driving, Entry::Finished];
    let mut records: Vec<_> = (1..)
        .zip(entries)
        .map(|(seq, entry)| record(seq, 1, entry))
        .collect();
    records.push(record(
        3,
        1,
        Entry::Asked {
            request: Request::Pause,
        },
    ));
    records.push(record(4, 2, Entry::Driving));
    assert!(State::replay(&records).is_ok_and(|state| state.over));
    records.push(record(5, 2, started()));
    assert!(State::replay(&records).is_err());
}

#[test]
fn a_rollback_is_decided_when_the_run_is_over_and_ends_once() {
    let d = Entry::Driving;
    let asked = Entry::Asked {
        request: Request::Abort,
    };
    let back = |id: &str| Entry::RollingBack {
        by: PlanId::new(id),
    };
    let ended = |id: &str| Entry::RolledBack {
        by: PlanId::new(id),
    };
    let given_up = [d.clone(), started(), asked.clone(), Entry::Aborted];
    let with = |more: &[Entry]| [&given_up[..], more].concat();

    let state = replay(&with(&[back("b"), back("c"), ended("c")])).unwrap();
    assert!(state.rolled_back);
    assert_eq!(state.rolling_back, Some(PlanId::new("c")));
    assert!(replay(&[d.clone(), Entry::Finished, back("b"), ended("b")]).is_ok());

    let open = [d.clone(), started(), acting(), asked, Entry::Aborted];
    let cases: [(Vec<Entry>, &str); 6] = [
        (vec![d.clone(), back("b")], "not over"),
        (with(&[ended("b")]), "not decided"),
        (with(&[back("b"), ended("c")]), "not decided"),
        (with(&[back("b"), ended("b"), ended("b")]), "rolled back"),
        (with(&[back("b"), ended("b"), back("c")]), "rolled back"),
        ([&open[..], &[back("b")]].concat(), "fate"),
    ];
    for (entries, why) in cases {
        let refusal = replay(&entries).expect_err(&format!("{entries:?} is legal"));
        assert!(refusal.contains(why), "{entries:?}: {refusal}");
    }
}

#[test]
fn progress_is_what_did_anything() {
    use ferriswheel_plan::rollback::Progress;
    let of = |entries: &[Entry]| {
        let entries = [&[Entry::Driving], entries].concat();
        replay(&entries).unwrap().progress().get(&STEP).copied()
    };
    assert_eq!(of(&[started()]), None);
    assert_eq!(of(&[started(), acting()]), Some(Progress::Half));
    assert_eq!(of(&[started(), acting(), settled()]), Some(Progress::Half));
    assert_eq!(
        of(&[started(), acting(), acted(key()), verified()]),
        Some(Progress::Done)
    );
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let step = (1u32..4).prop_map(StepId);
    let keys = (1u64..4).prop_map(|n| OperationKey(format!("p/{n}")));
    let error = prop_oneof![Just(retry()), Just(fatal())];
    let on = Just(WaitingOn {
        object: "o".to_owned(),
        reason: "r".to_owned(),
        clears: "c".to_owned(),
    });
    let request = prop_oneof![
        Just(Request::Pause),
        Just(Request::Resume),
        Just(Request::Abort),
        Just(Request::Approve {
            gate: "g".to_owned(),
            by: "b".to_owned()
        }),
    ];
    let evidence = Evidence::default();
    prop_oneof![
        Just(Entry::Driving),
        step.clone().prop_map(|step| Entry::Started { step }),
        step.clone().prop_map({
            let evidence = evidence.clone();
            move |step| Entry::Found {
                step,
                evidence: evidence.clone(),
            }
        }),
        (step.clone(), on).prop_map(|(step, on)| Entry::Waiting { step, on }),
        (step.clone(), keys.clone()).prop_map(|(step, key)| Entry::Acting { step, key }),
        (step.clone(), keys.clone()).prop_map(|(step, key)| Entry::Acted {
            step,
            key,
            evidence: Evidence::default()
        }),
        (step.clone(), keys, error).prop_map(|(step, key, error)| Entry::NotTaken {
            step,
            key,
            error
        }),
        step.clone().prop_map(|step| Entry::Settled {
            step,
            evidence: Evidence::default()
        }),
        step.clone().prop_map(|step| Entry::Verified {
            step,
            evidence: Evidence::default()
        }),
        step.prop_map(|step| Entry::Stopped {
            step,
            how: Stop::Paused
        }),
        request.prop_map(|request| Entry::Asked { request }),
        Just(Entry::Finished),
        Just(Entry::Aborted),
        Just(Entry::RollingBack {
            by: PlanId::new("b")
        }),
        Just(Entry::RolledBack {
            by: PlanId::new("b")
        }),
    ]
}

proptest! {
    /// Whatever is applied, nothing panics; what is refused leaves no trace, and what is accepted
    /// keeps these promises.
    #[test]
    fn any_sequence_keeps_the_invariants(
        entries in proptest::collection::vec((any_entry(), 0u64..3), 0..60)
    ) {
        let mut state = State::default();
        let mut over = false;
        for (entry, epoch) in entries {
            let epoch = if entry == Entry::Driving { state.epoch + epoch } else { state.epoch + epoch / 2 };
            let next = record(state.seq + 1, epoch, entry);
            let Ok(after) = state.clone().apply(&next) else { continue };
            prop_assert!(after.epoch >= state.epoch, "an older driver took over");
            prop_assert!(after.acts >= state.acts);
            for (step, before) in &state.steps {
                if *before == ferriswheel_engine::state::StepState::Done {
                    prop_assert_eq!(&after.steps[step], before, "a step was undone");
                }
            }
            let open = after.steps.values()
                .filter(|s| **s != ferriswheel_engine::state::StepState::Done).count();
            prop_assert!(open <= 1, "two steps at once");
            if over {
                prop_assert_eq!(&after.steps, &state.steps, "something happened after the end");
            }
            over = after.over;
            state = after;
        }
    }
}
