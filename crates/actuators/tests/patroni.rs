//! The hand-over by Patroni: real servers under Debian's Patroni with etcd, a real pooler, writers, and what can go wrong
//! once the question is on its way.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails says where"
)]

use std::sync::Arc;
use std::time::Duration;

use ferriswheel_actuators::databases::postgres::order::Order;
use ferriswheel_actuators::databases::postgres::patroni::rest::{Answer, Certainty, RestError};
use ferriswheel_actuators::databases::postgres::record::{
    Log, MemoryLog, Moment, Outcome, Reason, Record,
};
use ferriswheel_actuators::databases::postgres::recover::{Knowledge, recover};
use ferriswheel_actuators::databases::postgres::window::{Cast, STATEMENT, hand_over};
use ferriswheel_actuators::databases::record::Named;
use ferriswheel_testbed::patroni::Patroni;
use ferriswheel_testbed::writers::{Writers, Written, lost};
use nix::sys::signal::Signal;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// When the budget is spent RESUME is sent; its way to the pooler comes on top.
const CLOSING: Duration = Duration::from_millis(500);

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
        log: MemoryLog::new("test"),
        fault,
    }
}

fn story(record: &Record) -> String {
    let lines = record.entries.iter();
    lines
        .map(|e| format!("{:>9} us {:?}\n", e.at_us, e.moment))
        .collect()
}

/// RESUME was sent within the budget, and nobody is held.
async fn assert_let_go(order: &Order, record: &Record, cast: &Cast) {
    let window = record
        .window()
        .unwrap_or_else(|| panic!("{}", story(record)));
    assert!(
        window <= order.window_budget() + CLOSING,
        "{}",
        story(record)
    );
    for pooler in &cast.poolers {
        pooler.reconnect(STATEMENT).await.unwrap();
        let entries = pooler.entries(STATEMENT).await.unwrap();
        assert!(!entries.iter().any(|e| e.paused), "{}", story(record));
    }
}

async fn written(set: &Arc<Patroni>, writers: Writers, record: &Record) -> Written {
    sleep(Duration::from_millis(300)).await;
    let written = writers.stop().await;
    println!(
        "window {:?}, longest {:?}, errors {}\n{}",
        record.window(),
        written.longest,
        written.errors.len(),
        story(record)
    );
    assert!(!written.acked.is_empty(), "{}", set.logs());
    written
}

/// Patroni moves the primary while clients are held; then back, by a driver that is gone as soon as it has asked.
#[tokio::test(flavor = "multi_thread")]
async fn patroni_hands_over_once_and_nobody_sees_an_error() {
    let set = Arc::new(Patroni::start(true).await);
    let before = set.timeline(0).await;

    let order = set.order("there", 0, 1, Duration::from_secs(30));
    let cast = set.reach().cast(&order);
    let writers = Writers::start_on(&set, 0).await;
    sleep(Duration::from_millis(300)).await;
    set.aim_pooler(1);
    let log = faulty(|_| {});
    let outcome = hand_over(&order, &cast, &log).await;
    let record = log.log.record();
    let said = written(&set, writers, &record).await;
    assert_eq!(
        outcome,
        Outcome::HandedOver { recovered: None },
        "{}\n{}",
        story(&record),
        set.logs()
    );
    assert_let_go(&order, &record, &cast).await;
    assert_eq!(said.errors, Vec::<String>::new(), "{}", story(&record));
    assert_eq!(lost(&set, 1, &said).await, []);
    assert_eq!(set.primaries().await, [1]);
    assert_eq!(set.timeline(1).await, before + 1, "exactly one change");
    // In this order: held, asked, seen by both, let go, proven, followed.
    let at = |moment| {
        record
            .at(moment)
            .unwrap_or_else(|| panic!("{moment}\n{}", story(&record)))
    };
    let order_of = [
        "paused",
        "switchoverSent",
        "promoted",
        "leaderSeen",
        "resumed",
        "proven",
        "rejoined",
    ];
    assert!(
        order_of.windows(2).all(|pair| at(pair[0]) <= at(pair[1])),
        "{}",
        story(&record)
    );

    // Back again. The driver is lost right after it has asked: whoever finds the window open asks nobody.
    set.wait_until_whole(1).await;
    let order = set.order("back", 1, 0, Duration::from_secs(30));
    let cast = set.reach().cast(&order);
    let writers = Writers::start_on(&set, 1).await;
    sleep(Duration::from_millis(300)).await;
    set.aim_pooler(0);
    let asked = Notify::new();
    let log = faulty(|moment| {
        if moment == "switchoverSent" {
            asked.notify_one();
        }
    });
    tokio::select! {
        end = hand_over(&order, &cast, &log) => panic!("it has outlived its death: {end:?}"),
        // Time for the question to leave.
        () = async { asked.notified().await; sleep(Duration::from_millis(200)).await } => {}
    }
    let cast = set.reach().cast(&order);
    let after = faulty(|_| {});
    after.log.note(Moment::PauseSent);
    let lost_agent = Reason::AgentLost("killed by the test".to_owned());
    let outcome = recover(
        &order,
        &cast,
        Instant::now(),
        &Knowledge::default(),
        lost_agent.clone(),
        "watchdog",
        &after,
    )
    .await;
    let record = after.log.record();
    let said = written(&set, writers, &record).await;
    assert_eq!(
        outcome,
        Outcome::HandedOver {
            recovered: Some(lost_agent)
        },
        "{}\n{}",
        story(&record),
        set.logs()
    );
    assert_let_go(&order, &record, &cast).await;
    assert!(record.at("switchoverSent").is_none(), "{}", story(&record));
    assert_eq!(said.errors, Vec::<String>::new(), "{}", story(&record));
    assert_eq!(lost(&set, 0, &said).await, []);
    assert_eq!(set.primaries().await, [0]);
    assert_eq!(
        set.timeline(0).await,
        before + 2,
        "one change for one question"
    );
}

/// Patroni that cannot or will not: clients go on where they are, and it is not asked again.
#[tokio::test(flavor = "multi_thread")]
async fn what_patroni_does_not_do_is_not_done_for_it() {
    let set = Arc::new(Patroni::start(true).await);
    let before = set.timeline(0).await;
    let afterwards = Duration::from_secs(6);
    let order = set.order("one", 0, 1, afterwards);
    let writers = Writers::start_on(&set, 0).await;

    // A login that is wrong is found out before any client waits.
    let mut reach = set.reach();
    reach.patroni = None;
    let log = faulty(|_| {});
    let outcome = hand_over(&order, &reach.cast(&order), &log).await;
    assert_untouched(&log.log.record(), &outcome, "FW1121");
    assert!(format!("{outcome:?}").contains("401"), "{outcome:?}");

    // A Patroni that does not answer is found out too.
    set.signal_patroni(0, Signal::SIGSTOP);
    let log = faulty(|_| {});
    let outcome = hand_over(&order, &set.reach().cast(&order), &log).await;
    set.signal_patroni(0, Signal::SIGCONT);
    assert_untouched(&log.log.record(), &outcome, "FW1122");

    // It will not hand over to a member that is not the leader's successor by name; the answer says that nothing is done.
    let unknown = set.rest(0).switchover("pg-0", "pg-9", STATEMENT).await;
    assert!(
        matches!(&unknown, Ok(Answer::Refused(text)) if text.starts_with("412")),
        "{unknown:?}"
    );
    let stranger = set.rest(1).switchover("pg-2", "pg-1", STATEMENT).await;
    assert!(matches!(&stranger, Ok(Answer::Refused(_))), "{stranger:?}");

    // The candidate dies right before Patroni looks at it.
    set.wait_until_whole(0).await;
    set.aim_pooler(1);
    let cast = set.reach().cast(&order);
    let killed = Notify::new();
    let log = faulty(|moment| {
        if moment == "paused" {
            killed.notify_one();
        }
    });
    let (outcome, ()) = tokio::join!(
        async {
            let outcome = hand_over(&order, &cast, &log).await;
            killed.notify_one();
            outcome
        },
        async {
            killed.notified().await;
            set.kill_member(1).await;
        }
    );
    set.aim_pooler(0);
    let record = log.log.record();
    println!("{}", story(&record));
    assert!(
        matches!(
            outcome,
            Outcome::Undone {
                in_place: false,
                ..
            }
        ),
        "{outcome:?}\n{}\n{}",
        story(&record),
        set.logs()
    );
    assert_let_go(&order, &record, &cast).await;
    assert_eq!(set.primaries().await, [0]);
    assert_eq!(set.timeline(0).await, before, "nobody has moved");

    let said = written(&set, writers, &record).await;
    assert_eq!(said.errors, Vec::<String>::new(), "{}", story(&record));
    assert_eq!(lost(&set, 0, &said).await, []);
}

/// The leader's Patroni freezes as the question arrives. Clients go on within the budget; what becomes of the question
/// when it thaws is seen, whichever it is, and there is one primary in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_nobody_answers_holds_nobody() {
    let set = Arc::new(Patroni::start(false).await);
    let before = set.timeline(0).await;
    let mut order = set.order("frozen", 0, 1, Duration::from_secs(25));
    // Far below the time after which the others would take the leader's key away.
    order.window_budget_ms = 4_000;
    let writers = Writers::start_on(&set, 0).await;
    sleep(Duration::from_millis(300)).await;
    set.aim_pooler(1);
    let cast = set.reach().cast(&order);
    let resumed = Notify::new();
    let log = faulty(|moment| match moment {
        "paused" => set.signal_patroni(0, Signal::SIGSTOP),
        "resumed" => resumed.notify_one(),
        _ => {}
    });
    let (outcome, ()) = tokio::join!(hand_over(&order, &cast, &log), async {
        resumed.notified().await;
        set.signal_patroni(0, Signal::SIGCONT);
    });
    let record = log.log.record();
    let leader = match &outcome {
        Outcome::HandedOver { recovered: Some(_) } => 1,
        Outcome::Undone { .. } => {
            set.aim_pooler(0);
            0
        }
        other => panic!("{other:?}\n{}\n{}", story(&record), set.logs()),
    };
    assert_let_go(&order, &record, &cast).await;
    assert!(record.at("faltered").is_some(), "{}", story(&record));
    let said = written(&set, writers, &record).await;
    set.wait_until_whole(leader).await;
    assert_eq!(set.primaries().await, [leader]);
    assert_eq!(
        set.timeline(leader).await,
        before + i32::try_from(leader).unwrap(),
        "at most one change"
    );
    assert_eq!(lost(&set, leader, &said).await, []);
}

fn assert_untouched(record: &Record, outcome: &Outcome, code: &str) {
    let Outcome::Undone { reason, in_place } = outcome else {
        panic!("{outcome:?}\n{}", story(record));
    };
    assert_eq!((reason.code(), *in_place), (code, false), "{reason}");
    assert!(record.at("pauseSent").is_none(), "{}", story(record));
    assert!(record.at("switchoverSent").is_none(), "{}", story(record));
}

/// What a failure says is right whether it can have arrived or not.
#[tokio::test]
async fn failures_say_whether_the_question_can_have_arrived() {
    use ferriswheel_actuators::databases::postgres::patroni::rest::Rest;
    use ferriswheel_actuators::dial::{Direct, Target};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    let rest = |port| {
        let target = Target::at("db", "pg-0", "127.0.0.1", port);
        Rest::new(target, Arc::new(Direct), None)
    };
    let short = Duration::from_millis(300);
    let ask = async |port| rest(port).switchover("pg-0", "pg-1", short).await;

    // Nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let refused = ask(port).await.unwrap_err();
    assert!(
        matches!(refused, RestError::Unreached { .. }),
        "{refused:?}"
    );
    assert_eq!(refused.certainty(), Certainty::NotDone);

    // One that reads the question, and then answers so.
    let answering = async |answer: Option<&'static str>| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"}") {
                let mut part = [0; 512];
                let n = stream.read(&mut part).await.unwrap();
                seen.extend_from_slice(&part[..n]);
            }
            match answer {
                Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                None => sleep(Duration::from_secs(60)).await,
            }
            String::from_utf8(seen).unwrap()
        });
        let answer = ask(port).await;
        let seen = if server.is_finished() || answer.is_ok() {
            Some(server.await.unwrap())
        } else {
            server.abort();
            None
        };
        (answer, seen)
    };
    let (timeout, _) = answering(None).await;
    assert_eq!(timeout.unwrap_err().certainty(), Certainty::Unknown);
    let (cut, _) = answering(Some("")).await;
    assert_eq!(cut.unwrap_err().certainty(), Certainty::Unknown);
    let (done, seen) = answering(Some(
        "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\nSuccessfully switched over to \"pg-1\"",
    ))
    .await;
    assert!(matches!(done, Ok(Answer::Done(_))), "{done:?}");
    let seen = seen.unwrap();
    assert!(seen.starts_with("POST /switchover HTTP/1.1\r\n"), "{seen}");
    let body: serde_json::Value =
        serde_json::from_str(seen.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"leader": "pg-0", "candidate": "pg-1"})
    );
    for (status, refused) in [
        ("412 Precondition Failed", true),
        ("503 Service Unavailable", false),
    ] {
        let text: &'static str =
            Box::leak(format!("HTTP/1.0 {status}\r\n\r\nSwitchover failed").into_boxed_str());
        let (answer, _) = answering(Some(text)).await;
        match (refused, answer) {
            (true, Ok(Answer::Refused(_))) | (false, Ok(Answer::Unclear(_))) => {}
            (_, other) => panic!("{status}: {other:?}"),
        }
    }
}
