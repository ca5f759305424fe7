//! The run ended after every record, its acts repeated, lost and unanswered, and taken over by another driver.

use std::collections::BTreeSet;
use std::time::Duration;

use ferriswheel_engine::driver::{DriveError, Outcome};
use ferriswheel_engine::faults::Fault;
use ferriswheel_engine::journal::AppendError;
use ferriswheel_rehearsal::mariadb::stage::{Clients, Stage};

use super::{WAYS, assert_moved_once, carry_on, virtual_time};

fn names(stage: &Stage) -> Vec<&'static str> {
    stage
        .records()
        .iter()
        .map(|record| record.entry.name())
        .collect()
}

/// Names of the records of an undisturbed run.
fn straight(clients: Clients) -> Vec<&'static str> {
    virtual_time(async {
        let stage = Stage::new(clients).unwrap();
        let outcome = stage.drive(Fault::None).await.unwrap();
        assert_eq!(outcome, Outcome::Finished);
        assert_moved_once(&stage, "undisturbed").await;
        names(&stage)
    })
}

#[test]
fn a_crash_after_any_record_is_continued() {
    let straight = straight(Clients::ByService);
    let mut crashed = BTreeSet::new();
    for n in 1..=straight.len() as u64 {
        virtual_time(async {
            let context = format!("crash after record {n}");
            let stage = Stage::new(Clients::ByService).unwrap();
            let first = stage.drive(Fault::CrashAfterRecord(n)).await;
            assert!(first.is_err(), "{context}: {first:?}");
            crashed.insert(*names(&stage).last().unwrap());
            tokio::time::sleep(Duration::from_millis(n * 37 % 3_000)).await;
            carry_on(&stage, &context).await;
            assert_moved_once(&stage, &context).await;
        });
    }
    let written: BTreeSet<_> = straight.into_iter().collect();
    assert_eq!(
        crashed, written,
        "a kind of record without a crash after it"
    );
}

#[test]
fn an_act_repeated_or_without_reply_does_no_harm() {
    let straight = straight(Clients::ByService);
    let acts = straight.iter().filter(|name| **name == "acting").count();
    assert!(acts >= 3, "probe, hand-over, certificate");
    for n in 1..=acts as u64 {
        for fault in [
            Fault::ActRepeated(n),
            Fault::ReplyLost(n),
            Fault::RequestLost(n),
        ] {
            virtual_time(async {
                let context = format!("{fault:?}");
                let stage = Stage::new(Clients::ByService).unwrap();
                if stage.drive(fault).await.unwrap() != Outcome::Finished {
                    carry_on(&stage, &context).await;
                }
                assert_moved_once(&stage, &context).await;
            });
        }
    }
}

#[test]
fn a_stolen_run_is_finished_by_the_thief_alone() {
    for n in 1..straight(Clients::ByService).len() as u64 {
        virtual_time(async {
            let context = format!("stolen after record {n}");
            let stage = Stage::new(Clients::ByService).unwrap();
            let fenced = stage.drive(Fault::StolenAfterRecord(n)).await;
            assert!(
                matches!(
                    fenced,
                    Err(DriveError::Append(AppendError::Conflict { .. }))
                ),
                "{context}: {fenced:?}"
            );
            carry_on(&stage, &context).await;
            assert_moved_once(&stage, &context).await;
        });
    }
}

/// Every moment of the window, and so every one of its branches: the lock ends with its session, what was closed and
/// not opened is brought to one end, clients that were led over are led back or on.
#[test]
fn a_driver_killed_at_any_time_of_a_hand_over_is_continued() {
    for clients in WAYS {
        let (from, to) = virtual_time(async {
            let stage = Stage::new(clients).unwrap();
            stage.drive(Fault::None).await.unwrap();
            let records = stage.records();
            let steps = &stage.plan.body.steps;
            let step = steps.iter().find(|step| step.kind.name() == "handOver");
            let at = |name: &str| {
                let found = records
                    .iter()
                    .find(|r| r.entry.name() == name && r.entry.step() == Some(step.unwrap().id));
                found.unwrap().at.duration_since(records[0].at)
            };
            let micros = |name: &str| u64::try_from(at(name).as_micros()).unwrap();
            (micros("acting"), micros("acted"))
        });
        let moments = (from..=to).step_by(700);
        assert!(moments.clone().count() > 50, "{from} to {to}");
        for us in moments {
            virtual_time(async {
                let context = format!("{clients:?}: killed after {us} us");
                let stage = Stage::new(clients).unwrap();
                let life = Duration::from_micros(us);
                let killed = tokio::time::timeout(life, stage.drive(Fault::None)).await;
                assert!(killed.is_err(), "{context}: {killed:?}");
                tokio::time::sleep(Duration::from_millis(us % 7 * 100)).await;
                carry_on(&stage, &context).await;
                assert_moved_once(&stage, &context).await;
            });
        }
    }
}
