//! The hand-over window on real servers, and each of its branches.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that fails says where"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ferriswheel_actuators::agent::state::Reach;
use ferriswheel_actuators::databases::postgres::names::Names;
use ferriswheel_actuators::databases::postgres::order::Order;
use ferriswheel_actuators::databases::postgres::record::{Log, MemoryLog, Moment, Outcome, Reason};
use ferriswheel_actuators::databases::postgres::window::{Cast, STATEMENT, hand_over};
use ferriswheel_actuators::databases::record::Named;
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
    window: Duration,
    story: String,
}

async fn run(set: &Arc<Set>, fault: impl Fn(&str) + Send + Sync) -> Result {
    run_order(set, set.order("test"), set.reach(), fault).await
}

async fn run_order(
    set: &Arc<Set>,
    order: Order,
    reach: Reach,
    fault: impl Fn(&str) + Send + Sync,
) -> Result {
    let writers = Writers::start(set).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    set.aim_pooler(1);
    let cast = reach.cast(&order);
    let log = Faulty {
        log: MemoryLog::new("test"),
        fault,
    };
    let outcome = hand_over(&order, &cast, &log).await;
    let held = held(&cast).await;
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
    // Whatever happened in between: RESUME was sent within the budget, to everybody.
    let window = record.window().expect("the window was closed");
    assert!(window <= order.window_budget() + CLOSING, "{story}");
    assert_eq!(held, [""; 0], "{story}");
    Result {
        outcome,
        written,
        window,
        story,
    }
}

/// When the budget is spent RESUME is sent; its way to the pooler comes on top.
const CLOSING: Duration = Duration::from_millis(500);

/// Entries whose clients are held.
async fn held(cast: &Cast) -> Vec<String> {
    let mut held = Vec::new();
    for pooler in &cast.poolers {
        pooler.reconnect(STATEMENT).await.unwrap();
        let entries = pooler.entries(STATEMENT).await.unwrap();
        held.extend(entries.into_iter().filter(|e| e.paused).map(|e| e.name));
    }
    held
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

/// Name servers that keep an old address for some looks.
struct Stale {
    looks: AtomicU32,
    names: Arc<dyn Names>,
}

#[async_trait::async_trait]
impl Names for Stale {
    async fn addresses(&self, host: &str) -> std::result::Result<BTreeSet<IpAddr>, String> {
        let left = |looks: u32| looks.checked_sub(1);
        match self.looks.fetch_update(Relaxed, Relaxed, left) {
            Ok(_) => Ok(BTreeSet::from([IpAddr::from([192, 0, 2, 1])])),
            Err(_) => self.names.addresses(host).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_where_the_candidate_was() {
    let set = Arc::new(Set::start().await);
    // What the pooler itself keeps is seen too.
    let pooler = set.reach().pooler(&set.pooler());
    pooler.reconnect(STATEMENT).await.unwrap();
    let kept = pooler.kept_addresses("pg-0.pg", STATEMENT).await.unwrap();
    assert_eq!(kept, [set.member(0).ip]);
    let kept = pooler.kept_addresses("pg-1.pg", STATEMENT).await.unwrap();
    assert_eq!(kept, [""; 0]);

    let mut reach = set.reach();
    reach.names = Arc::new(Stale {
        looks: AtomicU32::new(2),
        names: reach.names,
    });
    let result = run_order(&set, set.order("test"), reach, |_| {}).await;
    assert_eq!(
        result.outcome,
        Outcome::HandedOver { recovered: None },
        "{}",
        result.story
    );
    let position = |moment: &str| result.story.find(moment).unwrap();
    assert!(
        position("NameAwaited") < position("CandidateArmed"),
        "{}",
        result.story
    );
    assert!(result.story.contains("192.0.2.1"), "{}", result.story);
    assert_eq!(result.written.errors, Vec::<String>::new());
    assert_eq!(lost(&set, 1, &result.written).await, []);
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

/// `wal_retrieve_retry_interval`: what a promotion waits for that finds its standby between two
/// attempts, if nothing is done against it.
const LONG_STALL: Duration = Duration::from_secs(5);

async fn frozen_candidate(period: Duration) {
    let set = Arc::new(Set::start().await);
    let frozen = Arc::clone(&set);
    let result = run(&set, move |moment| {
        if moment == "proven" {
            let pid = frozen.postmaster(1);
            kill(pid, Signal::SIGSTOP).unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(period);
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
    assert!(result.window < LONG_STALL, "{}", result.story);
    assert_eq!(lost(&set, 1, &result.written).await, []);
    assert_eq!(result.written.errors, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_frozen_for_30_ms_is_promoted_without_the_long_stall() {
    frozen_candidate(Duration::from_millis(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_frozen_for_200_ms_is_promoted_without_the_long_stall() {
    frozen_candidate(Duration::from_millis(200)).await;
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
        matches!(
            result.outcome,
            Outcome::Undone {
                in_place: true,
                reason: Reason::NotProven(_) | Reason::StopFailed(_)
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
