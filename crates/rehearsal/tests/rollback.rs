//! Rollbacks on the model: a run that ended after any of its records is taken back, whatever it
//! left half-done, and so is one whose rollback is killed at every record.
//!
//! At the end the world is whole: as many members as before, no living node closed, no seat, no
//! slot, no pod of the run, and never fewer members on the way than promised.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use ferriswheel_engine::faults::Fault;
use ferriswheel_plan::plan::Becomes;
use ferriswheel_plan::rollback::Wish;
use ferriswheel_rehearsal::runner::Rehearsal;
use ferriswheel_rehearsal::scenario::Choices;

use support::{carry_on, tail, virtual_time};

/// Runs a case for each number, on two threads, each in its own virtual time.
fn each<F>(numbers: Vec<u64>, case: impl Fn(u64) -> F + Sync)
where
    F: Future<Output = ()>,
{
    let (even, odd): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(|n| n % 2 == 0);
    std::thread::scope(|scope| {
        for half in [even, odd] {
            scope.spawn(|| {
                for n in half {
                    virtual_time(case(n));
                }
            });
        }
    });
}

/// Numbers of all records of an undisturbed run, and of those that end a step.
fn records(choices: Choices) -> (Vec<u64>, Vec<u64>) {
    virtual_time(async {
        let rehearsal = Rehearsal::new(choices).unwrap();
        rehearsal.drive(Fault::None).await.unwrap();
        let records = rehearsal.records();
        let all = records.iter().map(|record| record.seq).collect();
        let ends = records
            .iter()
            .filter(|record| record.entry.name() == "verified")
            .map(|record| record.seq)
            .collect();
        (all, ends)
    })
}

/// Number of the record that ends the first step of a kind.
fn end_of(choices: Choices, kind: &str) -> u64 {
    virtual_time(async {
        let rehearsal = Rehearsal::new(choices).unwrap();
        rehearsal.drive(Fault::None).await.unwrap();
        let steps = &rehearsal.plan.body.steps;
        let step = steps.iter().find(|step| step.kind.name() == kind).unwrap();
        let records = rehearsal.records();
        let ends = |record: &&ferriswheel_engine::record::Record| {
            record.entry.name() == "verified" && record.entry.step() == Some(step.id)
        };
        records.iter().find(ends).unwrap().seq
    })
}

/// A run that was killed after a record and given up.
async fn given_up(choices: Choices, record: u64) -> Rehearsal {
    let rehearsal = Rehearsal::new(choices).unwrap();
    let killed = rehearsal.drive(Fault::CrashAfterRecord(record)).await;
    assert!(killed.is_err(), "after record {record}: {killed:?}");
    // The operator's machine comes back a little later.
    tokio::time::sleep(Duration::from_millis(record * 37 % 3_000)).await;
    rehearsal.give_up().await.unwrap();
    rehearsal
}

async fn assert_back(back: &Rehearsal, context: &str) {
    assert_eq!(
        back.flaws_after_rollback().await,
        Vec::<String>::new(),
        "{context}: {:#?}\n{}",
        tail(back),
        ferriswheel_plan::display::detail(&back.plan)
    );
    assert_eq!(back.client_errors(), Vec::<String>::new(), "{context}");
}

#[test]
fn a_run_that_ended_after_any_record_is_taken_back() {
    for choices in [
        Choices::default(),
        Choices {
            extra_seat: false,
            ..Choices::default()
        },
    ] {
        let (all, ends) = records(choices);
        // Without the seat the steps are the same: their ends are enough.
        let numbers = if choices.extra_seat { all } else { ends };
        let kinds = std::sync::Mutex::new(BTreeSet::new());
        each(numbers, |n| {
            let kinds = &kinds;
            async move {
                let context = format!("{choices:?}, ended after record {n}");
                let run = given_up(choices, n).await;
                let moves = run.promotions().len();
                let back = run.rollback(Wish::default()).unwrap();
                carry_on(&back, &context).await;
                assert_back(&back, &context).await;
                // The primary stays where it is unless somebody asks.
                assert_eq!(back.promotions().len(), moves, "{context}");
                run.rolled_back(&back).unwrap();
                kinds
                    .lock()
                    .unwrap()
                    .extend(back.plan.body.steps.iter().map(|step| step.kind.name()));
            }
        });
        let mut wanted = vec![
            "certify",
            "cordon",
            "deletePool",
            "moveReplica",
            "retireNode",
            "startProbe",
            "stopAgents",
            "uncordon",
        ];
        if choices.extra_seat {
            wanted.push("removeSeat");
            wanted.sort_unstable();
        }
        let seen: Vec<_> = kinds.into_inner().unwrap().into_iter().collect();
        assert_eq!(seen, wanted, "a kind of step that no rollback had");
    }
}

#[test]
fn a_rollback_killed_at_any_record_goes_on() {
    let choices = Choices::default();
    let (_, ends) = records(choices);
    // Together these have every kind of step that a rollback has.
    let chosen = ["addSeat", "moveReplica", "handOver", "removeSeat"]
        .iter()
        .map(|kind| end_of(choices, kind))
        .filter(|n| ends.contains(n))
        .collect::<Vec<_>>();
    assert_eq!(chosen.len(), 4);
    each(chosen, |n| async move {
        let straight = {
            let run = given_up(choices, n).await;
            let back = run.rollback(Wish::default()).unwrap();
            carry_on(&back, "straight").await;
            back.records().len()
        };
        for m in 1..u64::try_from(straight).unwrap() {
            let context = format!("run ended after record {n}, rollback killed after {m}");
            let run = given_up(choices, n).await;
            let back = run.rollback(Wish::default()).unwrap();
            let killed = back.drive(Fault::CrashAfterRecord(m)).await;
            assert!(killed.is_err(), "{context}: {killed:?}");
            tokio::time::sleep(Duration::from_millis(m * 37 % 3_000)).await;
            if m % 5 == 0 {
                // Given up and planned again, from what the first one left.
                back.give_up().await.unwrap();
                let again = run.rollback(Wish::default()).unwrap();
                carry_on(&again, &context).await;
                assert_back(&again, &context).await;
            } else {
                carry_on(&back, &context).await;
                assert_back(&back, &context).await;
            }
        }
    });
}

#[test]
fn the_primary_goes_back_only_if_asked() {
    let choices = Choices::default();
    let (_, ends) = records(choices);
    let handed_back = std::sync::Mutex::new(0);
    // One before the hand-over, where nothing moves, and all after it.
    let first = end_of(choices, "handOver");
    let from = ends.iter().position(|n| *n == first).unwrap() - 1;
    each(ends[from..].to_vec(), |n| {
        let handed_back = &handed_back;
        async move {
            let context = format!("ended after record {n}, handed back");
            let run = given_up(choices, n).await;
            let moved = run.promotions().len() == 1;
            let back = run.rollback(Wish { hand_back: true }).unwrap();
            // Without the seat, two serve while the primary of before starts as a standby.
            back.world.with(|world| world.watch.members = 2);
            // The member that was the primary has served for less than the kubelet's memory.
            tokio::time::sleep(Duration::from_secs(660)).await;
            carry_on(&back, &context).await;
            assert_back(&back, &context).await;
            if moved {
                assert_eq!(back.promotions(), ["pg-1", "pg-0"], "{context}");
                *handed_back.lock().unwrap() += 1;
            } else {
                assert_eq!(back.promotions(), Vec::<String>::new(), "{context}");
            }
        }
    });
    assert!(handed_back.into_inner().unwrap() >= 3);
}

#[test]
fn what_stays_is_said() {
    let choices = Choices::default();
    let (_, ends) = records(choices);
    let last = *ends.last().unwrap();
    virtual_time(async {
        let run = given_up(choices, last).await;
        let back = run.rollback(Wish::default()).unwrap();
        let rollback = back.plan.body.rollback.as_ref().unwrap();
        let stays: Vec<&str> = rollback
            .fates
            .iter()
            .filter(|fate| matches!(fate.becomes, Becomes::Stays(_)))
            .map(|fate| fate.title.as_str())
            .collect();
        for wanted in ["hand over orders", "delete the empty pool dbpool", "retire"] {
            assert!(
                stays.iter().any(|title| title.starts_with(wanted)),
                "{wanted}: {stays:#?}"
            );
        }
        let text = ferriswheel_plan::display::text(&back.plan);
        assert!(text.contains("--hand-back"), "{text}");
    });
}

/// The flaws can be seen: a run that is given up and not taken back has them.
#[test]
fn a_run_that_is_only_given_up_is_not_whole() {
    let (_, ends) = records(Choices::default());
    virtual_time(async {
        let run = given_up(Choices::default(), ends[4]).await;
        let flaws = run.flaws_after_rollback().await;
        for wanted in ["is closed", "ferriswheel", "members serve"] {
            assert!(
                flaws.iter().any(|flaw| flaw.contains(wanted)),
                "{wanted}: {flaws:#?}"
            );
        }
    });
}
