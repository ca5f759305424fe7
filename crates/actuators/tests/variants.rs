//! The hand-over on real servers of other kinds than the usual: synchronous for its length, without
//! `pg_walinspect`, behind TLS.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::sync::Arc;
use std::time::Duration;

use ferriswheel_actuators::databases::postgres::order::Order;
use ferriswheel_actuators::databases::postgres::record::{
    Log, MemoryLog, Moment, Outcome, Reason, Record,
};
use ferriswheel_actuators::databases::postgres::recover::{Knowledge, recover};
use ferriswheel_actuators::databases::postgres::server::{LastRecord, Server, ServerError};
use ferriswheel_actuators::databases::postgres::session::{Credentials, Session};
use ferriswheel_actuators::databases::postgres::tls::Tls;
use ferriswheel_actuators::databases::postgres::window::{STATEMENT, hand_over};
use ferriswheel_actuators::databases::postgres::wire::{ConnInfoTemplate, WireServer};
use ferriswheel_actuators::databases::record::Named;
use ferriswheel_actuators::databases::tls::TlsMode;
use ferriswheel_actuators::dial::{Direct, Target};
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_testbed::authority::Authority;
use ferriswheel_testbed::death::{die, dies};
use ferriswheel_testbed::set::{Set, Wanted};
use ferriswheel_testbed::template::Version;
use ferriswheel_testbed::writers::{Writers, Written, lost};
use nix::sys::signal::{Signal, kill};
use tokio::time::{sleep, timeout};

/// The setting of a member in postgresql.auto.conf, and the one in force.
async fn synchronous_names(set: &Set, n: usize) -> (Option<String>, String) {
    let client = set.connect(n).await;
    let row = client
        .query_one(
            "SELECT (SELECT setting FROM pg_file_settings WHERE name = 'synchronous_standby_names' \
                 AND sourcefile LIKE '%postgresql.auto.conf'), \
             current_setting('synchronous_standby_names')",
            &[],
        )
        .await
        .unwrap();
    (row.get(0), row.get(1))
}

fn crash_safe(set: &Set) -> Order {
    Order {
        crash_safe: true,
        make_synchronous: true,
        ..set.order("test")
    }
}

fn story(record: &Record) -> String {
    record
        .entries
        .iter()
        .map(|e| format!("{:>9} us {:?}\n", e.at_us, e.moment))
        .collect()
}

async fn hand_over_under_writes(set: &Arc<Set>, order: &Order) -> (Outcome, Record, Written) {
    let writers = Writers::start(set).await;
    sleep(Duration::from_millis(300)).await;
    set.aim_pooler(1);
    let cast = set.reach().cast(order);
    let log = MemoryLog::new("test");
    let outcome = hand_over(order, &cast, &log).await;
    if !matches!(outcome, Outcome::HandedOver { .. }) {
        set.aim_pooler(0);
    }
    sleep(Duration::from_millis(300)).await;
    (outcome, log.record(), writers.stop().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asynchronous_candidate_is_synchronous_through_the_window_and_not_afterwards() {
    let set = Arc::new(Set::start().await);
    // An explicit empty value is not the same as none.
    let admin = set.connect(0).await;
    admin
        .simple_query("ALTER SYSTEM SET synchronous_standby_names = ''")
        .await
        .unwrap();
    // Somebody holds a transaction open: everything is taken back.
    let idle = set.client().await.unwrap();
    idle.simple_query("BEGIN").await.unwrap();
    idle.simple_query("SELECT 1").await.unwrap();
    let patient = Order {
        // Longer than the way to PAUSE takes on a busy machine: an older transaction would be found
        // before anything is touched.
        pause_budget_ms: 5_000,
        window_budget_ms: 12_000,
        ..crash_safe(&set)
    };
    let cast = set.reach().cast(&patient);
    let log = MemoryLog::new("first");
    let undone = hand_over(&patient, &cast, &log).await;
    let told = story(&log.record());
    assert!(
        matches!(
            undone,
            Outcome::Undone {
                reason: Reason::HeldByTransaction { .. },
                ..
            }
        ),
        "{undone:?}\n{told}"
    );
    assert!(told.contains("Synchronous"), "{told}");
    let untouched = (Some(String::new()), String::new());
    assert_eq!(synchronous_names(&set, 0).await, untouched, "{told}");
    idle.simple_query("COMMIT").await.unwrap();

    let (outcome, record, written) = hand_over_under_writes(&set, &crash_safe(&set)).await;
    let told = story(&record);
    assert_eq!(outcome, Outcome::HandedOver { recovered: None }, "{told}");
    let at = |moment| record.at(moment).unwrap();
    assert!(at("standbyRequired") < at("synchronous"), "{told}");
    assert!(at("synchronous") < at("pauseSent"), "{told}");
    assert_eq!(written.errors, Vec::<String>::new(), "{told}");
    assert_eq!(lost(&set, 1, &written).await, []);
    assert_eq!(synchronous_names(&set, 0).await, untouched, "{told}");
    for n in [1, 2] {
        assert_eq!(synchronous_names(&set, n).await.1, "", "pg-{n}\n{told}");
    }
    // Nobody waits for anybody any more.
    let app = set.connect_app(1).await;
    set.signal_family(0, Signal::SIGSTOP);
    set.signal_family(2, Signal::SIGSTOP);
    let committed = timeout(
        Duration::from_secs(10),
        app.simple_query("INSERT INTO written VALUES (99, 1)"),
    )
    .await;
    set.signal_family(0, Signal::SIGCONT);
    set.signal_family(2, Signal::SIGCONT);
    committed.unwrap().unwrap();
}

/// A log whose owner dies at a moment.
struct LastWords(&'static str);

impl Log for LastWords {
    fn note(&self, moment: Moment) {
        if moment.name() == self.0 {
            die();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_wait_for_the_candidate_until_a_later_run_has_tidied_up() {
    let set = Arc::new(Set::start().await);
    let order = crash_safe(&set);
    // An agent that is killed right before the window.
    let cast = set.reach().cast(&order);
    dies(hand_over(&order, &cast, &LastWords("oldArmed"))).await;
    drop(cast);

    // The promise is kept by the server, not by the agent: what the candidate does not have is not
    // acknowledged.
    let cast = set.reach().cast(&order);
    cast.old.reconnect(STATEMENT).await.unwrap();
    set.signal_family(1, Signal::SIGSTOP);
    let waited = cast
        .old
        .commit_marker("test", Duration::from_millis(500))
        .await;
    set.signal_family(1, Signal::SIGCONT);
    assert!(
        matches!(waited, Err(ServerError::Timeout { .. })),
        "{waited:?}"
    );

    let log = MemoryLog::new("later");
    let outcome = recover(
        &order,
        &cast,
        tokio::time::Instant::now(),
        &Knowledge::default(),
        Reason::AgentLost("test".to_owned()),
        "a later run",
        &log,
    )
    .await;
    let told = story(&log.record());
    assert!(
        matches!(outcome, Outcome::Undone { .. }),
        "{outcome:?}\n{told}"
    );
    assert_eq!(
        synchronous_names(&set, 0).await,
        (None, String::new()),
        "{told}"
    );
    cast.old.commit_marker("test", STATEMENT).await.unwrap();
}

fn session(set: &Set, n: usize, credentials: Credentials) -> Session {
    let member = set.member(n);
    let target = Target {
        pod: ObjectRef::new("db", &member.name),
        ip: Some(member.ip),
        port: member.port,
    };
    Session::new(
        member.name,
        target,
        Arc::new(Direct),
        credentials,
        "postgres",
    )
}

/// Both readers of the log on a stopped primary's standby.
async fn both_readers(version: Version, switch: bool) -> (LastRecord, LastRecord) {
    let set = Set::of(Wanted {
        version,
        members: 2,
        pooler: false,
        restart: None,
    })
    .await;
    let standby = WireServer::new(
        session(&set, 1, set.superuser()),
        ConnInfoTemplate::default(),
    );
    standby.reconnect(STATEMENT).await.unwrap();
    let admin = set.connect(0).await;
    admin
        .simple_query("INSERT INTO rows SELECT generate_series(1, 10000)")
        .await
        .unwrap();
    let since = standby.status(STATEMENT).await.unwrap().replay.unwrap();
    let running = standby.last_record_by_bytes(since).await;
    assert!(
        running.as_ref().is_ok_and(|r| !r.shutdown_checkpoint) || running.is_err(),
        "{running:?}"
    );
    if switch {
        // The shutdown checkpoint is then among the first records of a segment.
        admin.simple_query("SELECT pg_switch_wal()").await.unwrap();
    }
    drop(admin);
    kill(set.postmaster(0), Signal::SIGINT).unwrap();
    for _ in 0..3_000 {
        if let Ok(theirs) = standby.last_record(since).await
            && theirs.proves_clean_end()
        {
            let ours = standby.last_record_by_bytes(since).await.unwrap();
            return (ours, theirs);
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!(
        "the standby never held the shutdown checkpoint:\n{}",
        set.logs()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_log_is_read_from_its_bytes_as_the_server_reads_it() {
    for (version, switch) in [
        (Version::Fifteen, false),
        (Version::Fifteen, true),
        (Version::Eighteen, false),
    ] {
        let (ours, theirs) = both_readers(version, switch).await;
        assert_eq!(ours, theirs, "{version:?}, switch {switch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_cannot_read_their_log_are_handed_over_with_the_same_proof() {
    let set = Arc::new(Set::start().await);
    let admin = set.connect(0).await;
    admin
        .simple_query("DROP EXTENSION IF EXISTS pg_walinspect")
        .await
        .unwrap();
    let (outcome, record, written) = hand_over_under_writes(&set, &set.order("test")).await;
    let told = story(&record);
    assert_eq!(
        outcome,
        Outcome::HandedOver { recovered: None },
        "{told}\n{}",
        set.logs()
    );
    assert!(record.at("proven") < record.at("promoteSent"), "{told}");
    assert_eq!(written.errors, Vec::<String>::new(), "{told}");
    assert_eq!(lost(&set, 1, &written).await, []);
}

fn authority() -> Authority {
    Authority::new(["pg-0.pg", "pg-1.pg", "pg-2.pg"].map(str::to_owned))
}

fn tls_of(authority: &Authority, mode: TlsMode, name: &str) -> Tls {
    let ca = mode.verifies().then_some(authority.ca.as_bytes());
    Tls::new(mode, ca, Some(name.to_owned())).unwrap()
}

/// Writes a file that the user postgres may read, and nobody else.
fn secret(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
    nix::unistd::chown(path, Some(user.uid), Some(user.gid)).unwrap();
}

/// Every member speaks TLS, and takes the superuser and everybody else by TLS alone.
async fn demand_tls(set: &Set, authority: &Authority) {
    let directory = set.pooler_ini().parent().unwrap().to_owned();
    let (certificate, key) = (directory.join("server.crt"), directory.join("server.key"));
    secret(&certificate, &authority.certificate);
    secret(&key, &authority.key);
    let hba = directory.join("hostssl.conf");
    secret(
        &hba,
        "hostssl all all 127.0.0.0/8 scram-sha-256\nhostssl replication all 127.0.0.0/8 scram-sha-256\n",
    );
    for n in 0..3 {
        let admin = set.connect(n).await;
        for (name, value) in [
            ("ssl_cert_file", certificate.to_str().unwrap()),
            ("ssl_key_file", key.to_str().unwrap()),
            ("ssl", "on"),
        ] {
            let sql = format!("ALTER SYSTEM SET {name} = '{value}'");
            admin.simple_query(&sql).await.unwrap();
        }
        let row = admin.query_one("SHOW hba_file", &[]).await.unwrap();
        let command = format!("cp {} {}", hba.display(), row.get::<_, String>(0));
        // In the server's own view of the file system.
        admin
            .simple_query(&format!("COPY (SELECT) TO PROGRAM '{command}'"))
            .await
            .unwrap();
        admin.simple_query("SELECT pg_reload_conf()").await.unwrap();
    }
    let ini = set.pooler_ini();
    let mut file = std::fs::read_to_string(&ini).unwrap();
    file.push_str(&format!(
        "client_tls_sslmode = require\nclient_tls_cert_file = {}\nclient_tls_key_file = {}\n",
        certificate.display(),
        key.display()
    ));
    std::fs::write(&ini, file).unwrap();
    kill(set.pooler_pid(), Signal::SIGKILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_poolers_that_demand_tls_are_handed_over() {
    let set = Set::start().await;
    let authority = authority();
    let with = |tls: Tls| Credentials {
        tls,
        ..set.superuser()
    };
    let open = async |n: usize, tls: Tls| {
        let session = session(&set, n, with(tls));
        session.open(STATEMENT).await?;
        let rows = session
            .run(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                STATEMENT,
            )
            .await?;
        Ok::<_, ServerError>(rows[0][0].clone().unwrap())
    };
    // A server without TLS: in the clear only where that is allowed.
    let prefer = tls_of(&authority, TlsMode::Prefer, "$(POD).pg");
    assert_eq!(open(0, prefer.clone()).await, Ok("f".to_owned()));
    let refused = open(0, tls_of(&authority, TlsMode::Require, "$(POD).pg")).await;
    assert!(refused.is_err(), "{refused:?}");

    demand_tls(&set, &authority).await;
    // The postmaster reads its settings when it comes to it.
    for n in 0..3 {
        for attempt in 0.. {
            let plain = open(n, tls_of(&authority, TlsMode::Disable, "")).await;
            match plain {
                Err(ServerError::Sql { sqlstate, .. }) if sqlstate == "28000" => break,
                _ if attempt < 500 => sleep(Duration::from_millis(20)).await,
                other => panic!("pg-{n} lets a plain session in: {other:?}"),
            }
        }
    }
    for mode in [
        TlsMode::Prefer,
        TlsMode::Require,
        TlsMode::VerifyCa,
        TlsMode::VerifyFull,
    ] {
        let opened = open(1, tls_of(&authority, mode, "$(POD).pg")).await;
        assert_eq!(opened, Ok("t".to_owned()), "{mode}");
    }
    let other_name = open(0, tls_of(&authority, TlsMode::VerifyCa, "elsewhere")).await;
    assert_eq!(other_name, Ok("t".to_owned()));
    let other_name = open(0, tls_of(&authority, TlsMode::VerifyFull, "elsewhere")).await;
    assert!(
        format!("{other_name:?}").contains("not valid for name"),
        "{other_name:?}"
    );
    let stranger = open(
        0,
        tls_of(&self::authority(), TlsMode::VerifyCa, "$(POD).pg"),
    )
    .await;
    assert!(
        format!("{stranger:?}").contains("invalid peer certificate"),
        "{stranger:?}"
    );

    let mut reach = set.reach();
    reach.pooler_admin = with(tls_of(&authority, TlsMode::Disable, ""));
    let refused = reach.pooler(&set.pooler()).reconnect(STATEMENT).await;
    assert!(refused.is_err(), "the pooler takes a plain session");
    reach.superuser = with(tls_of(&authority, TlsMode::VerifyFull, "$(POD).pg"));
    reach.pooler_admin = with(tls_of(&authority, TlsMode::VerifyFull, "pg-0.pg"));
    let pooler = reach.pooler(&set.pooler());
    for attempt in 0.. {
        match pooler.reconnect(STATEMENT).await {
            Ok(()) => break,
            Err(_) if attempt < 500 => sleep(Duration::from_millis(20)).await,
            Err(e) => panic!("{e}\n{}", set.logs()),
        }
    }
    set.aim_pooler(1);
    let order = set.order("test");
    let cast = reach.cast(&order);
    let log = MemoryLog::new("test");
    let outcome = hand_over(&order, &cast, &log).await;
    assert_eq!(
        outcome,
        Outcome::HandedOver { recovered: None },
        "{}\n{}",
        story(&log.record()),
        set.logs()
    );
    // The old primary follows, and by TLS: nobody is let in otherwise.
    let status = cast.old.reconnect(STATEMENT).await.unwrap();
    assert!(status.in_recovery);
    assert_eq!(
        status.streaming_from.as_deref(),
        Some("pg-1.pg"),
        "{}\n{}",
        story(&log.record()),
        set.logs()
    );
    assert_eq!(
        pooler.entries(STATEMENT).await.unwrap()[0].host.as_deref(),
        Some("pg-1.pg")
    );
}
