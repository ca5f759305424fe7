//! Partitions led away from brokers and given back on real servers, and each branch of it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails says where"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::kafka::drain::{drain, may_leave};
use ferriswheel_actuators::databases::kafka::facts;
use ferriswheel_actuators::databases::kafka::give_back::give_back;
use ferriswheel_actuators::databases::kafka::ledger::{Homes, Ledger, MemoryLedger, NotKept};
use ferriswheel_actuators::databases::kafka::order::Order;
use ferriswheel_actuators::databases::kafka::pace::SLICE;
use ferriswheel_actuators::databases::kafka::record::{
    Log, MemoryLog, Moment, Outcome, Reason, Record,
};
use ferriswheel_actuators::databases::kafka::server::{Name, Server, ServerError, View};
use ferriswheel_actuators::databases::kafka::session::Session;
use ferriswheel_actuators::databases::kafka::wire::WireServer;
use ferriswheel_actuators::databases::record::Named;
use ferriswheel_actuators::dial::{Direct, Target};
use ferriswheel_testbed::death::{die, dies};
use ferriswheel_testbed::kafka::{MEMBERS, Set, Writers};
use nix::sys::signal::Signal;

const TOPIC: &str = "orders";

/// Two partitions whose preferred leader is each of the brokers.
const REPLICAS: [&[i32]; 6] = [
    &[0, 1, 2],
    &[1, 2, 0],
    &[2, 0, 1],
    &[0, 2, 1],
    &[1, 0, 2],
    &[2, 1, 0],
];

/// Deadline of a test's own questions. 15 s: a loaded machine must not decide.
const ASK: Duration = Duration::from_secs(15);

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

fn faulty<F: Fn(&str) + Send + Sync>(fault: F) -> Faulty<F> {
    Faulty {
        log: MemoryLog::new("k"),
        fault,
    }
}

/// A place that cannot be written to.
struct Full;

#[async_trait]
impl Ledger for Full {
    async fn read(&self) -> Result<Homes, NotKept> {
        Ok(Homes::default())
    }

    async fn keep(&self, _: &Homes) -> Result<(), NotKept> {
        Err(NotKept("it is full".to_owned()))
    }

    async fn forget(&self, _: &Homes) -> Result<(), NotKept> {
        Ok(())
    }
}

/// The brokers of a set, and what is kept of them.
struct Cluster {
    set: Arc<Set>,
    ledger: MemoryLedger,
}

impl Cluster {
    async fn start() -> Self {
        let set = Set::start().await;
        set.create_topic(TOPIC, &REPLICAS, &[]).await;
        Self {
            set,
            ledger: MemoryLedger::default(),
        }
    }

    fn session(&self, n: usize) -> Session {
        let (ip, port) = self.set.address(n);
        let name = format!("kafka-{n}");
        let target = Target::at("db", &name, ip.to_string(), port);
        Session::new(name, target, Arc::new(Direct))
    }

    fn servers(&self) -> Vec<WireServer> {
        (0..MEMBERS)
            .map(|n| WireServer::new(self.session(n)))
            .collect()
    }

    async fn drain(&self, order: &Order, ledger: &dyn Ledger, log: &dyn Log) -> Outcome {
        let servers = self.servers();
        let servers = servers.iter().map(|s| s as &dyn Server).collect();
        drain(order, servers, ledger, log).await
    }

    async fn give_back(&self, log: &dyn Log) -> Outcome {
        self.give_back_of(SLICE, &self.ledger, log).await
    }

    async fn give_back_of(&self, slice: Duration, ledger: &dyn Ledger, log: &dyn Log) -> Outcome {
        let servers = self.servers();
        let servers = servers.iter().map(|s| s as &dyn Server).collect();
        give_back(PACE, slice, servers, ledger, log).await
    }

    async fn may_leave(&self, n: usize) -> Result<(), Reason> {
        let servers = self.servers();
        let servers = servers.iter().map(|s| s as &dyn Server).collect();
        may_leave(&format!("kafka-{n}"), servers).await
    }

    /// Everybody's view.
    async fn views(&self) -> Vec<View> {
        let mut views = Vec::new();
        for server in self.servers() {
            server.open(ASK).await.unwrap();
            views.push(server.view(ASK).await.unwrap());
        }
        views
    }

    /// Every broker sees the same of it, and this is what.
    async fn seen(&self) -> View {
        let views = self.views().await;
        assert!(views.windows(2).all(|two| two[0] == two[1]), "{views:#?}");
        views[0].clone()
    }

    async fn led_by(&self, n: usize) -> usize {
        let node = i32::try_from(n).unwrap();
        let views = self.views().await;
        views.iter().map(|view| view.led_by(node)).max().unwrap()
    }
}

const PACE: Duration = Duration::from_millis(30);

fn order(leaving: usize, settled: &[usize], later: &[usize]) -> Order {
    let names = |of: &[usize]| of.iter().map(|n| format!("kafka-{n}")).collect();
    Order {
        leaving: format!("kafka-{leaving}"),
        settled: names(settled),
        later: names(later),
        pace: PACE,
        slice: SLICE,
    }
}

fn done(moved: usize) -> Outcome {
    Outcome::Done {
        moved,
        left: Vec::new(),
    }
}

fn print(record: &Record) {
    for entry in &record.entries {
        println!("{:>9} us {:?}", entry.at_us, entry.moment);
    }
}

fn partition(number: i32) -> Name {
    Name {
        topic: TOPIC.to_owned(),
        number,
    }
}

/// Every broker is stopped and started in turn, the active controller last, while clients write: nobody
/// leads anything when it stops, nothing is lost, and all is as before.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_rolled_under_writes_and_everything_is_as_before() {
    let cluster = Cluster::start().await;
    let set = &cluster.set;
    let controller = set.controller().await.unwrap();
    // One partition is led by another than its preferred one; that is to be so afterwards too.
    let first = cluster.servers().remove(0);
    first.open(ASK).await.unwrap();
    let name = partition(0);
    first.reorder(&name, &[1, 0, 2], ASK).await.unwrap();
    first.elect(&name, ASK).await.unwrap();
    first.reorder(&name, REPLICAS[0], ASK).await.unwrap();
    set.until("everybody knows", async || {
        let views = cluster.views().await;
        views.iter().all(|view| {
            let seen = &view.partitions[&name];
            seen.leader == Some(1) && seen.replicas == REPLICAS[0]
        })
    })
    .await;
    let before = cluster.seen().await;
    let mut settings = Vec::new();
    for n in 0..MEMBERS {
        let facts = facts::collect(&cluster.session(n)).await.unwrap();
        assert_eq!(usize::try_from(facts.node).unwrap(), n);
        assert!(!facts.zookeeper && facts.reassigned.is_empty());
        assert_eq!(facts.brokers.len(), 3);
        assert!(facts.brokers.values().all(|peer| !peer.fenced));
        let leader = i32::try_from(controller).unwrap();
        assert_eq!(facts.quorum.leader, Some(leader));
        assert_eq!(facts.quorum.voters.len(), 3);
        assert!(facts.program >= facts.metadata_version && facts.metadata_version > 0);
        let topic = &facts.topics[TOPIC];
        assert_eq!((topic.min_isr, topic.unclean), (2, false));
        assert_eq!(topic.partitions.len(), REPLICAS.len());
        assert_eq!(facts.settings["controlled.shutdown.enable"], "true");
        assert_eq!(facts.settings["replica.fetch.backoff.ms"], "50");
        settings.push((facts.settings, facts.topics));
    }

    let writers = Writers::start(set, TOPIC, 6);
    let mut turns: Vec<usize> = (0..MEMBERS).filter(|n| *n != controller).collect();
    turns.push(controller);
    let mut moves = 0;
    for (turn, n) in turns.iter().enumerate() {
        let later: Vec<usize> = turns[turn + 1..].iter().rev().copied().collect();
        let order = order(*n, &turns[..turn], &later);
        let log = MemoryLog::new(format!("drain-{n}"));
        let outcome = cluster.drain(&order, &cluster.ledger, &log).await;
        print(&log.record());
        let Outcome::Done { moved, left } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(left.is_empty());
        moves += moved;
        assert_eq!(cluster.led_by(*n).await, 0);
        // Whoever asks again finds it done.
        let again = cluster
            .drain(&order, &cluster.ledger, &MemoryLog::new("again"))
            .await;
        assert_eq!(again, done(0));
        let acked = writers.acked();
        set.stop(*n).await;
        set.start_again(*n);
        set.settle().await;
        set.until("writes go on", async || writers.acked() > acked + 50)
            .await;
    }
    let log = MemoryLog::new("back");
    let outcome = cluster.give_back(&log).await;
    print(&log.record());
    let Outcome::Done { moved, left } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(left.is_empty());
    // Each partition was led away once and given back, but those of the broker that went first: they
    // were lent to the one that went last, and came home when that one left.
    println!("{moves} led away, {moved} given back");
    assert!(moves <= 2 * REPLICAS.len(), "{moves}");
    let written = writers.stop().await;
    println!(
        "{:?} without an acknowledgement at the longest",
        written.longest
    );
    assert_eq!(written.lost(set).await, 0);
    assert!(written.acked.iter().all(|acked| acked.len() > 50));

    assert_eq!(cluster.seen().await, before);
    assert!(cluster.ledger.read().await.unwrap().is_empty());
    for (n, before) in settings.iter().enumerate() {
        let facts = facts::collect(&cluster.session(n)).await.unwrap();
        assert_eq!((facts.settings, facts.topics), *before);
    }
    assert_eq!(cluster.give_back(&MemoryLog::new("again")).await, done(0));
}

/// The process dies after each record, of both directions: whoever comes next ends it, and everything is as
/// before. What must not be begun is refused, and what breaks in the middle is carried on.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_on_the_way_is_carried_on_or_refused() {
    let cluster = Cluster::start().await;
    let set = &cluster.set;
    let before = cluster.seen().await;
    let order = order(0, &[], &[2, 1]);
    for fatal in [
        "ready",
        "kept",
        "reordered",
        "elected",
        "agreed",
        "finished",
    ] {
        let log = faulty(|moment| {
            if moment == fatal {
                die();
            }
        });
        dies(cluster.drain(&order, &cluster.ledger, &log)).await;
        let outcome = cluster
            .drain(&order, &cluster.ledger, &MemoryLog::new("on"))
            .await;
        assert!(
            matches!(outcome, Outcome::Done { .. }),
            "{fatal}: {outcome:?}"
        );
        assert_eq!(cluster.led_by(0).await, 0, "{fatal}");
        let backwards = if fatal == "kept" { "forgotten" } else { fatal };
        let log = faulty(|moment| {
            if moment == backwards {
                die();
            }
        });
        dies(cluster.give_back(&log)).await;
        let outcome = cluster.give_back(&MemoryLog::new("on")).await;
        assert!(
            matches!(outcome, Outcome::Done { .. }),
            "{fatal}: {outcome:?}"
        );
        assert_eq!(cluster.seen().await, before, "{fatal}");
        assert!(cluster.ledger.read().await.unwrap().is_empty());
    }

    one_act_holds_a_slice(&cluster, &order).await;
    assert_eq!(cluster.seen().await, before);
    a_topic_that_was_made_again_is_left_alone(&cluster, &order).await;
    assert_eq!(cluster.seen().await, before);

    let refusal = async |order: &Order, ledger: &dyn Ledger| {
        let log = MemoryLog::new("refused");
        match cluster.drain(order, ledger, &log).await {
            Outcome::Stopped { reason, moved: 0 } => {
                assert!(log.record().at("reordered").is_none());
                println!("{reason}");
                reason.code()
            }
            other => panic!("{other:?}"),
        }
    };
    // What is there cannot be kept.
    assert_eq!(refusal(&order, &Full).await, "FW0253");
    // Somebody that is no member.
    let stranger = Order {
        leaving: "kafka-9".to_owned(),
        ..order.clone()
    };
    assert_eq!(refusal(&stranger, &cluster.ledger).await, "FW0251");
    // Somebody wants more copies in sync than are left, after the plan was made.
    assert_eq!(cluster.may_leave(0).await, Ok(()));
    set.configure_topic(TOPIC, "min.insync.replicas", "3").await;
    set.until("every broker has heard of it", async || {
        cluster.may_leave(0).await.is_err()
    })
    .await;
    assert_eq!(refusal(&order, &cluster.ledger).await, "FW0251");
    let why = cluster.may_leave(0).await.unwrap_err().to_string();
    assert!(why.contains("min.insync.replicas 3 for orders-0"), "{why}");
    set.configure_topic(TOPIC, "min.insync.replicas", "2").await;
    set.until("every broker has heard of that too", async || {
        cluster.may_leave(0).await.is_ok()
    })
    .await;
    assert_eq!(cluster.seen().await, before);

    // A broker stands still in the middle: it ends there, each partition has a leader, and it goes on.
    let log = faulty(|moment| {
        if moment == "agreed" {
            set.signal(1, Signal::SIGSTOP);
        }
    });
    let outcome = cluster.drain(&order, &cluster.ledger, &log).await;
    set.signal(1, Signal::SIGCONT);
    match &outcome {
        Outcome::Stopped { reason, .. } => {
            println!("{reason}");
            assert!(["FW0251", "FW0252"].contains(&reason.code()), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    set.settle().await;
    set.until("it is carried on", async || {
        let log = MemoryLog::new("on");
        let outcome = cluster.drain(&order, &cluster.ledger, &log).await;
        matches!(outcome, Outcome::Done { .. })
    })
    .await;
    assert_eq!(cluster.led_by(0).await, 0);

    // Meanwhile somebody takes a copy of one partition away: that one is left as it is.
    let server = cluster.servers().remove(2);
    server.open(ASK).await.unwrap();
    let name = partition(0);
    // Not by our own request: it takes no copy away, and gives none.
    let refused = server.reorder(&name, &[1, 2], ASK).await.unwrap_err();
    assert!(matches!(refused, ServerError::Refused { .. }), "{refused}");
    set.reassign(TOPIC, 0, &[1, 2]).await;
    set.until("it has two copies", async || {
        let mut views = cluster.views().await.into_iter();
        views.all(|view| view.partitions[&name].replicas == [1, 2])
    })
    .await;
    let Outcome::Done { left, .. } = cluster.give_back(&MemoryLog::new("back")).await else {
        panic!("not given back");
    };
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(
        left[0].starts_with("orders-0 has copies on [1, 2]"),
        "{left:?}"
    );
    let mut after = cluster.seen().await;
    assert_ne!(after, before);
    after
        .partitions
        .insert(name.clone(), before.partitions[&name].clone());
    assert_eq!(after, before, "all others are as before");

    // A partition without another copy cannot be led away.
    set.create_topic("alone", &[&[1]], &[("min.insync.replicas", "1")])
        .await;
    assert_eq!(
        refusal(&self::order(1, &[0], &[2]), &MemoryLedger::default()).await,
        "FW0251"
    );
    // A broker that is away: every copy must be in sync.
    set.stop(2).await;
    assert_eq!(refusal(&order, &cluster.ledger).await, "FW0251");
}

/// An act ends after its slice, so that whoever drives it can stop there; the next one goes on, in both directions.
async fn one_act_holds_a_slice(cluster: &Cluster, order: &Order) {
    let short = Order {
        slice: Duration::ZERO,
        ..order.clone()
    };
    assert_eq!(cluster.led_by(0).await, 2);
    let sliced = Outcome::Sliced {
        moved: 1,
        remaining: 1,
    };
    let ledger = &cluster.ledger;
    let log = MemoryLog::new("slices");
    assert_eq!(cluster.drain(&short, ledger, &log).await, sliced);
    assert_eq!(cluster.led_by(0).await, 1);
    assert_eq!(cluster.drain(&short, ledger, &log).await, done(1));
    assert_eq!(cluster.led_by(0).await, 0);
    let back = async || cluster.give_back_of(Duration::ZERO, ledger, &log).await;
    assert_eq!(back().await, sliced);
    assert!(!ledger.read().await.unwrap().is_empty());
    assert_eq!(back().await, done(1));
    assert!(cluster.ledger.read().await.unwrap().is_empty());
}

/// What is kept of a topic that was deleted is nothing for another one of its name.
async fn a_topic_that_was_made_again_is_left_alone(cluster: &Cluster, order: &Order) {
    let (set, ledger) = (&cluster.set, &cluster.ledger);
    let name = Name {
        topic: "again".to_owned(),
        number: 0,
    };
    set.create_topic(&name.topic, &[&[0, 1, 2]], &[]).await;
    let drained = cluster.drain(order, ledger, &MemoryLog::new("away")).await;
    assert_eq!(drained, done(3));
    let was = cluster.seen().await.partitions[&name].clone();
    assert_eq!(was.replicas.last(), Some(&0));
    set.delete_topic(&name.topic).await;
    set.create_topic(&name.topic, &[&[1, 0, 2]], &[]).await;
    let outcome = cluster.give_back(&MemoryLog::new("back")).await;
    assert_eq!(outcome, done(2));
    let now = cluster.seen().await.partitions[&name].clone();
    assert_ne!(now.topic_id, was.topic_id);
    assert_eq!((now.leader, now.replicas), (Some(1), vec![1, 0, 2]));
    assert!(ledger.read().await.unwrap().is_empty());
    set.delete_topic(&name.topic).await;
}
