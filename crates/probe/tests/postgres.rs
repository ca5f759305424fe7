//! The probe against real `PostgreSQL` servers. Without them these tests fail and say what to
//! install; they are never skipped.

use std::path::PathBuf;

use ferriswheel_probe::certificate::{Role, Verdict};
use ferriswheel_probe::config::RunConfig;
use ferriswheel_probe::controls::server::Server;
use ferriswheel_probe::controls::{self, find_binaries};
use ferriswheel_probe::run::{FinishRequest, Probe};
use ferriswheel_probe::secret::Password;
use ferriswheel_probe::timeline::decode;

fn binaries() -> PathBuf {
    find_binaries(None).unwrap_or_else(|error| panic!("{error}"))
}

async fn until_acked(probe: &Probe, count: u64) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while probe.status().acked < count {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}",
            probe.status()
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The harm is counted a second time, without any of the probe's accounting.
#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_standby_promoted_by_force_is_reported_as_loss() {
    let outcome = controls::lagging_promotion(&binaries()).await.unwrap();
    assert!(outcome.control.detected, "{:?}", outcome.control);
    let certificate = outcome.certificate;
    assert_eq!(certificate.verdict, Verdict::Fail);
    let rows = certificate.members[0].rows.unwrap();
    let lost = certificate.acked_lost.unwrap();
    let committed = certificate.indeterminate_committed.unwrap();
    assert_eq!(rows, certificate.acked - lost + committed);
    assert!(lost >= outcome.harm);
    assert!(
        certificate.errors > 0,
        "clients of a lost server see errors"
    );
    assert_eq!(certificate.phantoms, Some(0));
    assert!(!certificate.members[0].examples.acked_missing.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_reported_as_a_long_gap_and_loses_nothing() {
    let outcome = controls::frozen_server(&binaries()).await.unwrap();
    assert!(outcome.control.detected, "{:?}", outcome.control);
    assert_eq!(
        outcome.certificate.errors, 0,
        "{:?}",
        outcome.certificate.error_kinds
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_pair_passes_with_equal_digests_and_readers_see_their_writes() {
    let primary = Server::create(&binaries()).await.unwrap();
    let standby = Server::standby_of(&primary).await.unwrap();
    let mut config = RunConfig::new(Server::dsn(&[&standby, &primary]));
    config.readers = 2;
    config.limits.write_stall_ms = 60_000;
    let probe = Probe::start(config, None).await.unwrap();
    until_acked(&probe, 200).await;
    probe.mark("half way");
    until_acked(&probe, 400).await;
    let members = vec![primary.member("a"), standby.member("b")];
    let finished = probe.finish(&FinishRequest::of(members)).await;
    let (certificate, timeline) = (finished.certificate, finished.timeline);

    assert_eq!(
        (certificate.verdict, certificate.reasons),
        (Verdict::Pass, vec![])
    );
    assert_eq!(certificate.attempted, certificate.acked);
    assert_eq!(certificate.members[0].digest, certificate.members[1].digest);
    assert_eq!(certificate.members[0].role, Some(Role::Leader));
    assert_eq!(certificate.members[1].role, Some(Role::Replica));
    assert_eq!(certificate.members[0].timeline, Some(1));
    assert_eq!(certificate.members[1].timeline, Some(1));
    assert!(
        certificate
            .members
            .iter()
            .all(|m| m.system_identifier.is_some())
    );
    assert!(certificate.reads.ok > 0);
    assert_eq!(
        (certificate.reads.stale, certificate.reads.regressions),
        (0, 0)
    );
    let in_buckets: u64 = decode(&timeline.acks).map(u64::from).sum();
    assert_eq!(in_buckets, certificate.acked);
    assert_eq!(timeline.marks[0].name, "half way");

    // An independent count, and a second finish that agrees with the first.
    let sql = format!(
        "SELECT count(DISTINCT (writer, seq)) FROM ferriswheel_probe.writes WHERE run = '{}'",
        probe.run_id()
    );
    assert_eq!(
        standby.sql(&sql).await.unwrap(),
        Some(certificate.acked.to_string())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_planted_removed_and_doubled_behind_the_probes_back_are_found() {
    let server = Server::create(&binaries()).await.unwrap();
    let mut config = RunConfig::new(Server::dsn(&[&server]));
    config.limits.write_stall_ms = 60_000;
    let probe = Probe::start(config, None).await.unwrap();
    until_acked(&probe, 100).await;
    probe.stop().await;
    let run = probe.run_id();
    let table = "ferriswheel_probe.writes";
    for sql in [
        format!("DELETE FROM {table} WHERE run = '{run}' AND writer = 0 AND seq IN (1, 3)"),
        format!(
            "INSERT INTO {table} SELECT * FROM {table} WHERE run = '{run}' AND writer = 1 AND seq < 3"
        ),
        format!("INSERT INTO {table} VALUES ('{run}', 2, 1000000), ('{run}', 99, 0)"),
    ] {
        server.sql(&sql).await.unwrap();
    }
    let certificate = probe
        .finish(&FinishRequest::of(vec![server.member("a")]))
        .await
        .certificate;
    assert_eq!(certificate.verdict, Verdict::Fail);
    assert_eq!(certificate.acked_lost, Some(2));
    assert_eq!(certificate.duplicates, Some(3));
    assert_eq!(certificate.phantoms, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_past_its_deadline_is_an_error_whose_fate_is_looked_up() {
    let server = Server::create(&binaries()).await.unwrap();
    let mut config = RunConfig::new(Server::dsn(&[&server]));
    config.statement_deadline_ms = 300;
    config.connect_deadline_ms = 300;
    config.limits.write_stall_ms = 60_000;
    let probe = Probe::start(config, None).await.unwrap();
    until_acked(&probe, 50).await;
    server.freeze().await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while probe.status().indeterminate < 4 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}",
            probe.status()
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    server.thaw().unwrap();
    let acked = probe.status().acked;
    until_acked(&probe, acked + 20).await;
    let certificate = probe
        .finish(&FinishRequest::of(vec![server.member("a")]))
        .await
        .certificate;
    assert!(certificate.errors >= 4);
    assert!(certificate.indeterminate >= 4);
    // The frozen server had the statements in its sockets and carried them out.
    assert!(
        certificate
            .indeterminate_committed
            .is_some_and(|n| n <= certificate.indeterminate)
    );
    assert_eq!(
        (certificate.acked_lost, certificate.phantoms),
        (Some(0), Some(0))
    );
    assert_eq!(
        certificate.attempted,
        certificate.acked + certificate.indeterminate
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_away_makes_a_clean_run_inconclusive() {
    let server = Server::create(&binaries()).await.unwrap();
    let mut config = RunConfig::new(Server::dsn(&[&server]));
    config.limits.write_stall_ms = 60_000;
    let probe = Probe::start(config, None).await.unwrap();
    until_acked(&probe, 20).await;
    let away = "b=/nonexistent".parse().unwrap();
    let mut request = FinishRequest::of(vec![server.member("a"), away]);
    request.deadline_ms = 200;
    let first = probe.finish(&request).await.certificate;
    assert_eq!(first.verdict, Verdict::Inconclusive);
    assert_eq!(first.acked_lost, Some(0));
    assert!(
        first.reasons[0].starts_with("b could not be judged"),
        "{:?}",
        first.reasons
    );
    request.members.pop();
    request.drop_table = true;
    assert_eq!(
        probe.finish(&request).await.certificate.verdict,
        Verdict::Pass
    );
    let gone = server
        .sql("SELECT to_regnamespace('ferriswheel_probe')")
        .await
        .unwrap();
    assert_eq!(gone, None);
}

/// An ordinary role that may create a schema is enough, and its password is really asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_with_a_password_is_enough() {
    let server = Server::create(&binaries()).await.unwrap();
    let standby = Server::standby_of(&server).await.unwrap();
    for sql in [
        "CREATE ROLE app LOGIN PASSWORD 'correct horse'",
        "CREATE DATABASE orders",
        "GRANT CREATE ON DATABASE orders TO app",
    ] {
        server.sql(sql).await.unwrap();
    }
    for each in [&server, &standby] {
        let rules = each.socket_dir().join("data/pg_hba.conf");
        let ask = "local all app scram-sha-256\nlocal all all trust\nlocal replication all trust\n";
        std::fs::write(rules, ask).unwrap();
        each.sql("SELECT pg_reload_conf()").await.unwrap();
    }
    let dsn = format!(
        "host={} user=app dbname=orders",
        server.socket_dir().display()
    );
    let mut config = RunConfig::new(dsn);
    config.limits.write_stall_ms = 60_000;

    // The new rules hold from some moment after the reload on.
    let wrong = Password::new("wrong");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let refused = loop {
        match Probe::start(config.clone(), Some(&wrong)).await {
            Err(error) => break error,
            Ok(_) => assert!(
                tokio::time::Instant::now() < deadline,
                "a wrong password was taken"
            ),
        }
    };
    assert!(refused.to_string().contains("28P01"), "{refused}");

    let right = Password::new("correct horse");
    let probe = Probe::start(config, Some(&right)).await.unwrap();
    until_acked(&probe, 50).await;
    let members = vec![server.member("a"), standby.member("b")];
    let certificate = probe.finish(&FinishRequest::of(members)).await.certificate;
    assert_eq!(
        (certificate.verdict, certificate.reasons),
        (Verdict::Pass, vec![])
    );
}

#[tokio::test]
async fn a_control_without_servers_to_harm_says_why_it_did_not_run() {
    let controls = controls::run_all(Some(std::path::Path::new("/nonexistent"))).await;
    assert_eq!(controls.len(), 2);
    for control in controls {
        let why = control.not_run.unwrap();
        assert!(why.contains("apt-get install"), "{why}");
        assert!(!control.detected);
    }
}
