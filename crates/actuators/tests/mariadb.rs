//! The hand-over of a MariaDB set on real servers, and each of its branches.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails says where"
)]

use std::time::Duration;

use ferriswheel_actuators::databases::mariadb::facts;
use ferriswheel_actuators::databases::mariadb::order::Order;
use ferriswheel_actuators::databases::mariadb::record::{Log, MemoryLog, Moment, Outcome, Record};
use ferriswheel_actuators::databases::mariadb::recover::settle;
use ferriswheel_actuators::databases::mariadb::window::hand_over;
use ferriswheel_actuators::databases::record::Named;
use ferriswheel_testbed::authority::Authority;
use ferriswheel_testbed::death::{die, dies};
use ferriswheel_testbed::mariadb::{Set, Writers, Written};
use nix::sys::signal::Signal;

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

fn told(record: &Record, outcome: &Outcome) {
    for entry in &record.entries {
        println!("{:>9} us {:?}", entry.at_us, entry.moment);
    }
    println!("{outcome:?}");
}

async fn carry_out(
    set: &Set,
    order: &Order,
    fault: impl Fn(&str) + Send + Sync,
) -> (Outcome, Record) {
    let log = Faulty {
        log: MemoryLog::new(&order.key),
        fault,
    };
    let outcome = hand_over(order, &set.cast(order), &log).await;
    let record = log.log.record();
    told(&record, &outcome);
    (outcome, record)
}

/// Cuts a hand-over short at a moment, as a process that is killed there.
async fn cut_short(set: &Set, order: &Order, at: &str) {
    let log = Faulty {
        log: MemoryLog::new(&order.key),
        fault: |moment: &str| {
            if moment == at {
                die();
            }
        },
    };
    dies(hand_over(order, &set.cast(order), &log)).await;
}

async fn settled(set: &Set, order: &Order) -> Outcome {
    let log = MemoryLog::new(&order.key);
    let outcome = settle(order, &set.cast(order), &log).await;
    told(&log.record(), &outcome);
    outcome
}

fn handed_over(already: bool) -> Outcome {
    Outcome::HandedOver {
        already,
        unsettled: Vec::new(),
    }
}

fn undone(outcome: &Outcome) -> (&'static str, bool) {
    match outcome {
        Outcome::Undone { reason, locked } => (reason.code(), *locked),
        other => panic!("{other:?}"),
    }
}

async fn written_more(set: &Set, writers: &Writers) {
    let before = writers.acked();
    set.until("clients write", async || writers.acked() > before + 100)
        .await;
}

async fn nothing_lost(set: &Set, written: &Written) {
    println!(
        "{} acknowledged, {} errors, longest {:?}",
        written.acked.len(),
        written.errors,
        written.longest
    );
    for n in 0..3 {
        set.until("every member has everything", async || {
            written.lost_on(set, n).await == 0
        })
        .await;
    }
}

/// One member takes writes, both others are closed to them and follow it.
async fn led_by(set: &Set, leader: usize) {
    set.until("both others follow", async || {
        let mut well = true;
        for n in 0..3 {
            let status = set.status(n).await.unwrap();
            let source = status.sources.first();
            well &= if n == leader {
                !status.read_only && source.is_none()
            } else {
                let host = set.order("", leader, n).old.host;
                status.read_only && source.is_some_and(|s| s.runs() && s.host == host)
            };
        }
        well
    })
    .await;
}

/// There and back, and asked twice: nothing is lost, and the settings are what they were.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_handed_over_under_writes_loses_nothing() {
    let set = Set::start(&[]).await;
    let mut before = Vec::new();
    for n in 0..3 {
        before.push(set.settings(n).await);
    }
    let order = set.order("there", 0, 2);
    let writers = Writers::start(&set);
    written_more(&set, &writers).await;
    let (outcome, record) = carry_out(&set, &order, |_| {}).await;
    assert_eq!(outcome, handed_over(false));
    for moment in [
        "ready",
        "aimed",
        "lockAsked",
        "locked",
        "caughtUp",
        "closed",
        "promoted",
        "cut",
        "released",
        "followed",
        "repointed",
        "settled",
    ] {
        assert!(record.at(moment).is_some(), "{moment}");
    }
    led_by(&set, 2).await;
    written_more(&set, &writers).await;
    let (again, _) = carry_out(&set, &order, |_| {}).await;
    assert_eq!(again, handed_over(true));
    assert_eq!(settled(&set, &order).await, handed_over(true));

    let (outcome, _) = carry_out(&set, &set.order("back", 2, 0), |_| {}).await;
    assert_eq!(outcome, handed_over(false));
    written_more(&set, &writers).await;
    let written = writers.stop().await;
    led_by(&set, 0).await;
    nothing_lost(&set, &written).await;
    for (n, before) in before.iter().enumerate() {
        assert_eq!(&set.settings(n).await, before);
    }

    let facts = facts::collect(&set.session(0)).await.unwrap();
    assert!(facts.version.starts_with("10.11."), "{}", facts.version);
    assert!(facts.leads() && !facts.read_only && facts.strict && facts.log_slave_updates);
    assert_eq!((facts.server_id, facts.prepared), (101, 0));
    assert_eq!((facts.locked.as_ref(), facts.forbidden.len()), (None, 0));
    let unfenced = &facts.unfenced_users;
    assert!(unfenced.contains(&"admin".to_owned()) && !unfenced.contains(&"app".to_owned()));
    let replica = facts::collect(&set.session(1)).await.unwrap();
    assert!(replica.read_only && replica.sources[0].runs());
    assert_eq!(replica.sources[0].gtid, "Slave_Pos");
    assert!(
        facts.binlog_state.of(0, 103).is_some(),
        "{:?}",
        facts.binlog_state
    );
}

/// Whatever goes wrong before the candidate was told anything: the old primary goes on, clients have
/// seen no error, and nothing is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_well_is_refused_or_taken_back() {
    let set = Set::start(&[]).await;
    let writers = Writers::start(&set);
    written_more(&set, &writers).await;

    // A primary that is somebody else.
    let (outcome, _) = carry_out(&set, &set.order("another", 1, 2), |_| {}).await;
    assert_eq!(undone(&outcome), ("FW0241", false));

    // A server with a certificate of somebody else is told nothing.
    let stranger = Authority::new(["elsewhere".to_owned()]);
    let session = set.session_by(0, &stranger);
    let refused = session.open(Duration::from_secs(15)).await.unwrap_err();
    assert!(
        refused.to_string().contains("invalid peer certificate"),
        "{refused}"
    );

    // One that does not apply: everybody must follow before anybody waits.
    set.run(2, "STOP SLAVE SQL_THREAD").await.unwrap();
    let (outcome, record) = carry_out(&set, &set.order("stopped", 0, 1), |_| {}).await;
    assert_eq!(undone(&outcome), ("FW0241", false));
    assert!(record.at("lockAsked").is_none());
    set.run(2, "START SLAVE SQL_THREAD").await.unwrap();
    led_by(&set, 0).await;

    // A backup is under way: the lock is not had, and is not waited for any longer.
    let backup = set.session(0);
    backup.open(Duration::from_secs(5)).await.unwrap();
    for stage in ["START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT"] {
        let statement = format!("BACKUP STAGE {stage}");
        backup
            .run(&statement, Duration::from_secs(15))
            .await
            .unwrap();
    }
    let facts = facts::collect(&set.session(0)).await.unwrap();
    assert!(facts.locked.is_some());
    let (outcome, _) = carry_out(&set, &set.order("backup", 0, 1), |_| {}).await;
    assert_eq!(undone(&outcome), ("FW0243", true));
    backup.close().await;
    written_more(&set, &writers).await;
    led_by(&set, 0).await;

    // The candidate stands still once clients wait: they go on where they were.
    let (outcome, record) = carry_out(&set, &set.order("frozen", 0, 1), |moment| {
        if moment == "lockAsked" {
            set.signal(1, Signal::SIGSTOP);
        }
    })
    .await;
    assert_eq!(undone(&outcome), ("FW0244", true));
    assert!(record.at("reopened").is_some() && record.at("closed").is_none());
    set.signal(1, Signal::SIGCONT);
    written_more(&set, &writers).await;
    led_by(&set, 0).await;

    let written = writers.stop().await;
    assert_eq!(written.errors, 0, "clients waited, and saw no error");
    nothing_lost(&set, &written).await;
}

/// The process that hands over dies: with the lock it is as if nothing had been; after the decision,
/// whoever comes next carries it on.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_cut_short_is_brought_to_an_end() {
    let set = Set::start(&[]).await;
    let writers = Writers::start(&set);
    written_more(&set, &writers).await;

    let order = set.order("cut short", 0, 1);
    cut_short(&set, &order, "locked").await;
    // Nobody came, and clients go on.
    written_more(&set, &writers).await;
    assert_eq!(undone(&settled(&set, &order).await), ("FW0241", false));
    led_by(&set, 0).await;

    // Nobody takes writes until somebody carries it on.
    cut_short(&set, &order, "closed").await;
    assert!(set.status(0).await.unwrap().read_only);
    assert_eq!(settled(&set, &order).await, handed_over(true));
    led_by(&set, 1).await;
    written_more(&set, &writers).await;

    let back = set.order("back", 1, 0);
    cut_short(&set, &back, "promoted").await;
    assert_eq!(settled(&set, &back).await, handed_over(true));
    led_by(&set, 0).await;
    written_more(&set, &writers).await;
    let written = writers.stop().await;
    nothing_lost(&set, &written).await;
}

/// The old primary's server dies in the middle and is started again: it is a replica that waits, never
/// a second primary.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_killed_in_the_window_comes_back_as_no_second_one() {
    let set = Set::start(&[]).await;
    let writers = Writers::start(&set);
    written_more(&set, &writers).await;

    // With the candidate complete: it is carried through without the old one.
    let order = set.order("killed late", 0, 1);
    let (outcome, _) = carry_out(&set, &order, |moment| {
        if moment == "promoted" {
            set.signal(0, Signal::SIGKILL);
        }
    })
    .await;
    assert!(matches!(outcome, Outcome::HandedOver { .. }), "{outcome:?}");
    set.until("it is back", async || set.status(0).await.is_ok())
        .await;
    assert_eq!(settled(&set, &order).await, handed_over(true));
    led_by(&set, 1).await;
    written_more(&set, &writers).await;
    let written = writers.stop().await;
    nothing_lost(&set, &written).await;

    // Before the decision: it is waited for, and as the candidate is complete, that one leads.
    let order = set.order("killed early", 1, 2);
    let (outcome, record) = carry_out(&set, &order, |moment| {
        if moment == "locked" {
            set.signal(1, Signal::SIGKILL);
        }
    })
    .await;
    assert_eq!(outcome, handed_over(true));
    assert!(record.at("closed").is_none());
    led_by(&set, 2).await;
}

/// Commits that wait for a replica find one.
#[tokio::test(flavor = "multi_thread")]
async fn a_semi_synchronous_set_is_handed_over_as_well() {
    let set = Set::start(&[
        "--rpl-semi-sync-master-enabled=1",
        "--rpl-semi-sync-slave-enabled=1",
        // A replica that nobody copies from waits for nobody once, for so many milliseconds.
        "--rpl-semi-sync-master-timeout=200",
    ])
    .await;
    let writers = Writers::start(&set);
    written_more(&set, &writers).await;
    let mut order = set.order("semi", 0, 1);
    order.semi_sync = true;
    let (outcome, record) = carry_out(&set, &order, |_| {}).await;
    assert_eq!(outcome, handed_over(false));
    assert!(record.at("repointed") < record.at("promoted"));
    written_more(&set, &writers).await;
    let written = writers.stop().await;
    led_by(&set, 1).await;
    nothing_lost(&set, &written).await;
}
