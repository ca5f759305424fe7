//! The hand-over of a replica set on real servers, and each of its branches.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails says where"
)]

use std::time::Duration;

use bson::doc;
use ferriswheel_actuators::databases::mongodb::facts;
use ferriswheel_actuators::databases::mongodb::order::Order;
use ferriswheel_actuators::databases::mongodb::parting::part_with;
use ferriswheel_actuators::databases::mongodb::record::{Log, MemoryLog, Moment, Outcome, Record};
use ferriswheel_actuators::databases::mongodb::window::{Standing, hand_over, look};
use ferriswheel_actuators::databases::record::Named;
use ferriswheel_plan::world::MongoState;
use ferriswheel_testbed::authority::Authority;
use ferriswheel_testbed::death::{die, dies};
use ferriswheel_testbed::mongodb::{Set, Writers, Written};
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
    for entry in &record.entries {
        println!("{:>9} us {:?}", entry.at_us, entry.moment);
    }
    println!("{outcome:?}");
    (outcome, record)
}

fn handed_over(already: bool) -> Outcome {
    Outcome::HandedOver {
        already,
        unsettled: Vec::new(),
    }
}

async fn nothing_lost(set: &Set, written: &Written) {
    println!(
        "{} acknowledged, longest {:?}",
        written.acked.len(),
        written.longest
    );
    assert!(written.acked.len() > 50, "{}", written.acked.len());
    for n in 0..3 {
        set.until("every member has everything", async || {
            written.lost_on(set, n).await == 0
        })
        .await;
    }
}

/// There and back, and asked twice: the wanted one wins, once, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_handed_over_under_writes_loses_nothing_and_the_wanted_one_wins() {
    let set = Set::start().await;
    let before = set.settings().await;
    // The last one, which a primary that chooses by itself rarely takes.
    let order = set.order("there", 0, 2);
    let writers = Writers::start(&set);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (outcome, record) = carry_out(&set, &order, |_| {}).await;
    assert_eq!(outcome, handed_over(false));
    for moment in [
        "ready",
        "chained",
        "frozen",
        "barrier",
        "asked",
        "elected",
        "committed",
        "agreed",
        "thawed",
    ] {
        assert!(record.at(moment).is_some(), "{moment}");
    }
    // Whoever asks again finds it done.
    let (again, _) = carry_out(&set, &order, |_| {}).await;
    assert_eq!(again, handed_over(true));
    assert_eq!(look(&set.cast(&order)).await, Standing::Candidate);

    // Back at once, which needs that the old primary may be elected again before its minute is over.
    let (outcome, _) = carry_out(&set, &set.order("back", 2, 0), |_| {}).await;
    assert_eq!(outcome, handed_over(false));

    // The third member stands still from the request on: the two others are a majority.
    let (outcome, record) = carry_out(&set, &set.order("third frozen", 0, 1), |moment| {
        if moment == "asked" {
            set.signal(2, Signal::SIGSTOP);
        }
    })
    .await;
    set.signal(2, Signal::SIGCONT);
    let unsettled = vec!["mongo-2".to_owned()];
    assert_eq!(
        outcome,
        Outcome::HandedOver {
            already: false,
            unsettled
        }
    );
    assert!(record.at("committed").is_some() && record.at("agreed").is_some());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let written = writers.stop().await;
    nothing_lost(&set, &written).await;
    assert_eq!(set.settings().await, before);

    let facts = facts::collect(&opened(&set, 1).await).await.unwrap();
    assert_eq!(facts.version, "6.0.5");
    assert_eq!(facts.state, MongoState::Primary);
    assert_eq!((facts.set.as_deref(), facts.peers.len()), (Some("rs0"), 3));
    assert_eq!(facts.default_write_concern, "majority");
    assert_eq!((facts.index_builds, facts.backup.as_ref()), (0, None));
    assert!(facts.sharding.is_none() && facts.chaining);
    assert!(facts.oplog_max_bytes > facts.oplog_bytes && facts.oplog_bytes > 0);
    assert_eq!((facts.user.as_str(), facts.forbidden.len()), ("admin", 0));
    assert!(facts.peers.values().all(|p| p.healthy && p.is_electable()));
}

async fn opened(
    set: &Set,
    n: usize,
) -> ferriswheel_actuators::databases::mongodb::session::Session {
    let session = set.session(n);
    session.open(Duration::from_secs(15)).await.unwrap();
    session
}

/// What must not be asked is refused before anything is; what was held is let go.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_well_is_refused_and_put_back() {
    let set = Set::start().await;
    let before = set.settings().await;
    let refusal = async |order: &Order| match carry_out(&set, order, |_| {}).await.0 {
        Outcome::Undone {
            reason,
            asked: false,
        } => reason.code(),
        other => panic!("{other:?}"),
    };
    // A primary that is somebody else.
    assert_eq!(refusal(&set.order("another", 1, 2)).await, "FW0235");

    // A server with a certificate of somebody else is told nothing.
    let stranger = Authority::new(["elsewhere".to_owned()]);
    let session = set.session_by(0, &stranger);
    let refused = session.open(Duration::from_secs(15)).await.unwrap_err();
    assert!(
        refused.to_string().contains("invalid peer certificate"),
        "{refused}"
    );

    // A member that is locked for a backup is seen in its facts; and it copies no more, so that
    // no write of now reaches it.
    set.run(2, doc! { "fsync": 1, "lock": true }).await.unwrap();
    let facts = facts::collect(&opened(&set, 2).await).await.unwrap();
    assert!(facts.backup.is_some());
    set.run(2, doc! { "fsyncUnlock": 1 }).await.unwrap();

    // One that is gone: everybody must be there before anybody is asked.
    set.signal(2, Signal::SIGSTOP);
    let (outcome, record) = carry_out(&set, &set.order("gone", 0, 1), |_| {}).await;
    assert!(
        matches!(&outcome, Outcome::Undone { asked: false, .. }),
        "{outcome:?}"
    );
    assert!(record.at("asked").is_none());
    set.signal(2, Signal::SIGCONT);
    set.until("it follows again", async || {
        set.state(2).await == "SECONDARY"
    })
    .await;

    // The successor stands still once the primary has stepped down, and nobody else may be elected: the
    // old primary takes over again. Nobody writes, so that it chooses the other one by itself.
    let order = Order {
        chain: false,
        ..set.order("silent", 0, 2)
    };
    let (outcome, _) = carry_out(&set, &order, |moment| {
        if moment == "steppedDown" {
            set.signal(2, Signal::SIGSTOP);
        }
    })
    .await;
    assert_eq!(set.state(0).await, "PRIMARY");
    set.signal(2, Signal::SIGCONT);
    match &outcome {
        Outcome::Undone {
            reason,
            asked: true,
        } => assert_eq!(reason.code(), "FW0234"),
        other => panic!("{other:?}"),
    }
    set.until("it follows again", async || {
        set.state(2).await == "SECONDARY"
    })
    .await;

    // Both secondaries stop after the last check: the primary does not step down, and goes on.
    let order = set.order("stopped", 0, 1);
    let (outcome, _) = carry_out(&set, &order, |moment| {
        if moment == "frozen" {
            set.signal(1, Signal::SIGSTOP);
            set.signal(2, Signal::SIGSTOP);
        }
    })
    .await;
    set.signal(1, Signal::SIGCONT);
    set.signal(2, Signal::SIGCONT);
    match &outcome {
        Outcome::Undone { reason, .. } => assert_eq!(reason.code(), "FW0232"),
        other => panic!("{other:?}"),
    }
    set.until("somebody leads and both others follow", async || {
        let mut states = Vec::new();
        for n in 0..3 {
            states.push(set.state(n).await);
        }
        states.sort();
        states == ["PRIMARY", "SECONDARY", "SECONDARY"]
    })
    .await;
    assert_eq!(set.settings().await, before);
}

/// A secondary that copies from a member which leaves is led to the primary first, and has all by then.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_copies_from_a_member_that_leaves() {
    let set = Set::start().await;
    let cast = set.cast(&set.order("leaves", 0, 1));
    let servers = [&cast.old, &cast.candidate, &cast.others[0]].map(AsRef::as_ref);
    let copies_from = async |n: usize, whom: usize| {
        let command = bson::doc! { "replSetGetStatus": 1 };
        let status = set.run(n, command).await.unwrap();
        status.get_str("syncSourceHost").unwrap() == set.host(whom)
    };
    let writers = Writers::start(&set);
    // A member may choose another source by itself at any moment, before it is told and after.
    let mut parted = false;
    for _ in 0..10 {
        set.run(2, bson::doc! { "replSetSyncFrom": set.host(1) })
            .await
            .unwrap();
        set.until("it copies from the other secondary", async || {
            copies_from(2, 1).await
        })
        .await;
        let told = part_with(&servers, "mongo-1").await.unwrap();
        parted = told == ["mongo-2 copies from mongo-0 now"]
            && !copies_from(2, 1).await
            && part_with(&servers, "mongo-1").await.unwrap().is_empty();
        if parted {
            break;
        }
    }
    assert!(parted, "it was told ten times");
    set.kill(1).await;
    // Two of three are a majority, and clients go on by them.
    let after = Writers::start(&set);
    tokio::time::sleep(Duration::from_millis(500)).await;
    for written in [writers.stop().await, after.stop().await] {
        assert!(!written.acked.is_empty());
        for n in [0, 2] {
            set.until("both others have everything", async || {
                written.lost_on(&set, n).await == 0
            })
            .await;
        }
    }
}

/// The process that hands over dies right after its order: whoever comes next finds a set that has
/// elected, and one of the two as the primary. Then the primary dies, and comes back with nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_cut_short_ends_by_itself() {
    let set = Set::start().await;
    let order = set.order("cut short", 0, 1);
    let log = Faulty {
        log: MemoryLog::new(&order.key),
        fault: |moment: &str| {
            if moment == "steppedDown" {
                die();
            }
        },
    };
    dies(hand_over(&order, &set.cast(&order), &log)).await;
    set.until("the set has a primary", async || {
        matches!(
            look(&set.cast(&order)).await,
            Standing::Old | Standing::Candidate | Standing::Another(_)
        )
    })
    .await;
    let standing = look(&set.cast(&order)).await;
    assert!(
        matches!(standing, Standing::Candidate),
        "the only one that may be elected: {standing:?}"
    );
    let (outcome, _) = carry_out(&set, &order, |_| {}).await;
    assert_eq!(outcome, handed_over(true));
    let writers = Writers::start(&set);
    tokio::time::sleep(Duration::from_millis(500)).await;
    set.together().await;

    // The primary is killed right after it was asked: its successor knows, and stands at once.
    let (outcome, _) = carry_out(&set, &set.order("killed", 1, 2), |moment| {
        if moment == "asked" {
            set.signal(1, Signal::SIGKILL);
        }
    })
    .await;
    let unsettled = vec!["mongo-1".to_owned()];
    assert_eq!(
        outcome,
        Outcome::HandedOver {
            already: false,
            unsettled
        }
    );

    // It comes back with an empty disk: while it copies nobody is asked for anything.
    set.kill(1).await;
    set.start_empty(1, 5).await;
    set.until("it is seen in its initial sync", async || {
        let seen = facts::collect(&opened(&set, 2).await).await.unwrap();
        seen.peers[&1].state == MongoState::of("STARTUP2")
    })
    .await;
    let (outcome, record) = carry_out(&set, &set.order("copying", 2, 0), |_| {}).await;
    match &outcome {
        Outcome::Undone {
            reason,
            asked: false,
        } => assert_eq!(reason.code(), "FW0231"),
        other => panic!("{other:?}"),
    }
    assert!(record.at("asked").is_none());
    set.until("it has everything again", async || {
        set.state(1).await == "SECONDARY"
    })
    .await;
    nothing_lost(&set, &writers.stop().await).await;
}
