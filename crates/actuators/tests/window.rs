//! The hand-over window on real servers, and each of its branches.

#![expect(clippy::print_stdout, reason = "a test that fails says where")]

use std::sync::Arc;
use std::time::Duration;

use ferriswheel_actuators::databases::postgres::record::{Log, MemoryLog, Moment, Outcome, Reason};
use ferriswheel_actuators::databases::postgres::window::hand_over;
use ferriswheel_testbed::set::Set;
use ferriswheel_testbed::writers::{Writers, Written, lost};
use nix::sys::signal::{Signal, kill};

/// A log that does something when a moment is noted: the fault of a test.
struct Faulty<F: Fn(&str) + Send + Sync> {
    log: MemoryLog,
    fault: F,
}

impl<F: Fn(&str) + Send + Sync> Log for Faulty<F> {
    fn note(&self, moment: Moment) {
        let name = moment.name();
        self.log.note(moment);
        (self.fault)(name);
    }
}

struct Result {
    outcome: Outcome,
    written: Written,
    story: String,
}

async fn run(set: &Arc<Set>, fault: impl Fn(&str) + Send + Sync) -> Result {
    let writers = Writers::start(set).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let order = set.order("test");
    set.aim_pooler(1);
    let cast = set.reach().cast(&order);
    let log = Faulty {
        log: MemoryLog::new("test"),
        fault,
    };
    let outcome = hand_over(&order, &cast, &log).await;
    if !matches!(outcome, Outcome::HandedOver { .. }) {
        set.aim_pooler(0);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let written = writers.stop().await;
    let record = log.log.record();
    let story = record
        .entries
        .iter()
        .map(|e| format!("{:>9} us {:?}\n", e.at_us, e.moment))
        .collect();
    println!(
        "window {:?}, longest {:?}, errors {}\n{story}",
        record.window(),
        written.longest,
        written.errors.len()
    );
    Result {
        outcome,
        written,
        story,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_moves_and_nobody_sees_an_error() {
    let set = Arc::new(Set::start().await);
    let result = run(&set, |_| {}).await;
    assert_eq!(
        result.outcome,
        Outcome::HandedOver { recovered: None },
        "{}\n{}",
        result.story,
        set.logs()
    );
    assert_eq!(
        result.written.errors,
        Vec::<String>::new(),
        "{}",
        result.story
    );
    assert_eq!(lost(&set, 1, &result.written).await, []);
    assert!(set.in_recovery(0).await, "the old primary is a standby");
    assert!(!set.in_recovery(1).await);
    assert!(set.in_recovery(2).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_transaction_leaves_everything_where_it_was() {
    let set = Arc::new(Set::start().await);
    let idle = set.client().await.unwrap();
    idle.simple_query("BEGIN").await.unwrap();
    idle.simple_query("SELECT 1").await.unwrap();
    let result = run(&set, |_| {}).await;
    let Outcome::Undone {
        reason: Reason::HeldByTransaction { transactions, .. },
        in_place: false,
    } = &result.outcome
    else {
        panic!("{:?}\n{}", result.outcome, result.story);
    };
    assert_eq!(transactions[0].state, "idle in transaction");
    assert_eq!(result.written.errors, Vec::<String>::new());
    assert!(!set.in_recovery(0).await);
    idle.simple_query("COMMIT").await.unwrap();
    assert_eq!(lost(&set, 0, &result.written).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_candidate_is_promoted_without_the_long_stall() {
    let set = Arc::new(Set::start().await);
    let frozen = Arc::clone(&set);
    let result = run(&set, move |moment| {
        if moment == "proven" {
            let pid = frozen.postmaster(1);
            kill(pid, Signal::SIGSTOP).unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                kill(pid, Signal::SIGCONT).unwrap();
            });
        }
    })
    .await;
    assert_eq!(
        result.outcome,
        Outcome::HandedOver { recovered: None },
        "{}",
        result.story
    );
    assert_eq!(lost(&set, 1, &result.written).await, []);
    assert_eq!(result.written.errors, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_candidate_leaves_the_old_primary_in_charge() {
    let set = Arc::new(Set::start().await);
    let target = Arc::clone(&set);
    let result = run(&set, move |moment| {
        if moment == "stopSent" {
            target.signal_family(1, Signal::SIGKILL);
        }
    })
    .await;
    assert!(
        matches!(
            result.outcome,
            Outcome::Undone {
                in_place: true,
                reason: Reason::CandidateLost(_)
            }
        ),
        "{:?}\n{}",
        result.outcome,
        result.story
    );
    assert!(!set.in_recovery(0).await);
    assert_eq!(lost(&set, 0, &result.written).await, []);
    assert_eq!(result.written.errors, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_is_promoted_in_place() {
    let set = Arc::new(Set::start().await);
    let target = Arc::clone(&set);
    let result = run(&set, move |moment| {
        if moment == "stopSent" {
            target.signal_family(0, Signal::SIGKILL);
        }
    })
    .await;
    assert!(
        matches!(result.outcome, Outcome::Undone { in_place: true, .. }),
        "{:?}\n{}",
        result.outcome,
        result.story
    );
    assert!(!set.in_recovery(0).await);
    assert_eq!(lost(&set, 0, &result.written).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_pooler_does_not_hold_up_the_hand_over() {
    let set = Arc::new(Set::start().await);
    let target = Arc::clone(&set);
    let result = run(&set, move |moment| {
        if moment == "paused" {
            kill(target.pooler_pid(), Signal::SIGKILL).unwrap();
        }
    })
    .await;
    assert!(
        matches!(result.outcome, Outcome::HandedOver { .. }),
        "{:?}\n{}",
        result.outcome,
        result.story
    );
    assert_eq!(lost(&set, 1, &result.written).await, []);
    assert!(
        !result.written.errors.is_empty(),
        "clients of the killed pooler see it"
    );
}
