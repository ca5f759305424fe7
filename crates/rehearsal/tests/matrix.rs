//! The crash matrix: the whole wheel, ended and continued at every record.
//!
//! After each crash the same plan is applied again until it ends; then the world must be whole,
//! the primary must have moved once, and nothing may have been promised in vain on the way.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use ferriswheel_engine::driver::{DriveError, Outcome};
use ferriswheel_engine::faults::Fault;
use ferriswheel_engine::journal::AppendError;
use ferriswheel_engine::state::State;
use ferriswheel_rehearsal::runner::Rehearsal;
use ferriswheel_rehearsal::scenario::Choices;

use support::{carry_on, tail, virtual_time};

/// Names of the records of an undisturbed run.
fn straight(choices: Choices) -> Vec<&'static str> {
    virtual_time(async {
        let rehearsal = Rehearsal::new(choices).unwrap();
        let outcome = rehearsal.drive(Fault::None).await.unwrap();
        assert_eq!(outcome, Outcome::Finished);
        names(&rehearsal)
    })
}

fn names(rehearsal: &Rehearsal) -> Vec<&'static str> {
    rehearsal
        .records()
        .iter()
        .map(|record| record.entry.name())
        .collect()
}

async fn assert_whole(rehearsal: &Rehearsal, context: &str) {
    assert_eq!(
        rehearsal.flaws().await,
        Vec::<String>::new(),
        "{context}: {:#?}",
        tail(rehearsal)
    );
    assert!(
        State::replay(&rehearsal.records()).unwrap().over,
        "{context}"
    );
}

async fn assert_moved_once(rehearsal: &Rehearsal, context: &str) {
    assert_whole(rehearsal, context).await;
    assert_eq!(rehearsal.promotions(), ["pg-1"], "{context}");
    assert_eq!(rehearsal.client_errors(), Vec::<String>::new(), "{context}");
}

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

fn up_to(last: usize) -> Vec<u64> {
    (1..=u64::try_from(last).unwrap()).collect()
}

#[test]
fn a_crash_after_any_record_is_continued() {
    let straight = straight(Choices::default());
    let crashed = std::sync::Mutex::new(BTreeSet::new());
    each(up_to(straight.len()), |n| {
        let crashed = &crashed;
        async move {
            let context = format!("crash after record {n}");
            let rehearsal = Rehearsal::new(Choices::default()).unwrap();
            let first = rehearsal.drive(Fault::CrashAfterRecord(n)).await;
            assert!(first.is_err(), "{context}: {first:?}");
            crashed
                .lock()
                .unwrap()
                .insert(*names(&rehearsal).last().unwrap());
            // The operator's machine comes back a little later.
            tokio::time::sleep(Duration::from_millis(n * 37 % 3_000)).await;
            carry_on(&rehearsal, &context).await;
            assert_moved_once(&rehearsal, &context).await;
        }
    });
    let written: BTreeSet<_> = straight.into_iter().collect();
    assert_eq!(
        crashed.into_inner().unwrap(),
        written,
        "a kind of record without a crash after it"
    );
}

#[test]
fn an_act_repeated_or_without_reply_does_no_harm() {
    let acts = straight(Choices::default())
        .iter()
        .filter(|name| **name == "acting")
        .count();
    each(up_to(acts), |n| async move {
        for fault in [
            Fault::ActRepeated(n),
            Fault::ReplyLost(n),
            Fault::RequestLost(n),
        ] {
            let context = format!("{fault:?}");
            let rehearsal = Rehearsal::new(Choices::default()).unwrap();
            match rehearsal.drive(fault).await.unwrap() {
                Outcome::Finished => {}
                _ => carry_on(&rehearsal, &context).await,
            }
            assert_moved_once(&rehearsal, &context).await;
        }
    });
}

#[test]
fn a_stolen_run_is_finished_by_the_thief_alone() {
    let last = straight(Choices::default()).len();
    each(up_to(last - 1), |n| async move {
        let context = format!("stolen after record {n}");
        let rehearsal = Rehearsal::new(Choices::default()).unwrap();
        let fenced = rehearsal.drive(Fault::StolenAfterRecord(n)).await;
        assert!(
            matches!(
                fenced,
                Err(DriveError::Append(AppendError::Conflict { .. }))
            ),
            "{context}: {fenced:?}"
        );
        carry_on(&rehearsal, &context).await;
        assert_moved_once(&rehearsal, &context).await;
    });
}

#[test]
fn a_driver_killed_at_any_time_of_the_hand_over_is_continued() {
    let (from, to) = virtual_time(async {
        let rehearsal = Rehearsal::new(Choices::default()).unwrap();
        rehearsal.drive(Fault::None).await.unwrap();
        let records = rehearsal.records();
        let of_hand_over = |name: &str| {
            let step = rehearsal
                .plan
                .body
                .steps
                .iter()
                .find(|step| step.kind.name() == "handOver")
                .unwrap();
            let found = records
                .iter()
                .find(|r| r.entry.name() == name && r.entry.step() == Some(step.id));
            let since = found.unwrap().at.duration_since(records[0].at);
            u64::try_from(since.as_millis()).unwrap()
        };
        (of_hand_over("acting"), of_hand_over("acted"))
    });
    // The window itself lasts some 30 ms in the middle of this time.
    each((from..to).step_by(13).collect(), |ms| async move {
        let context = format!("killed after {ms} ms");
        let rehearsal = Rehearsal::new(Choices::default()).unwrap();
        let killed =
            tokio::time::timeout(Duration::from_millis(ms), rehearsal.drive(Fault::None)).await;
        assert!(killed.is_err(), "{context}: {killed:?}");
        tokio::time::sleep(Duration::from_millis(ms % 7 * 100)).await;
        carry_on(&rehearsal, &context).await;
        assert_moved_once(&rehearsal, &context).await;
    });
}
