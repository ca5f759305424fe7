//! The probe against real Redis servers in cluster mode. Without them these tests fail and say what
//! to install; they are never skipped.

use std::path::PathBuf;
use std::time::Duration;

use ferriswheel_probe::certificate::{Role, Verdict};
use ferriswheel_probe::config::RunConfig;
use ferriswheel_probe::controls::redis::server::Server;
use ferriswheel_probe::controls::redis::{find_binary, frozen_server, lagging_takeover};
use ferriswheel_probe::run::{FinishRequest, Probe};

fn binary() -> PathBuf {
    find_binary(None).unwrap_or_else(|error| panic!("{error}"))
}

async fn until_acked(probe: &Probe, count: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while probe.status().acked < count {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}",
            probe.status()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_and_takes_over_is_reported_as_loss() {
    let outcome = lagging_takeover(&binary()).await.unwrap();
    assert!(outcome.control.detected, "{:?}", outcome.control);
    let certificate = outcome.certificate;
    assert!(certificate.acked_lost.unwrap() >= outcome.harm);
    assert_eq!(certificate.phantoms, Some(0));
    assert!(
        certificate.errors > 0,
        "clients of a lost server see errors"
    );
    assert!(!certificate.members[0].examples.acked_missing.is_empty());
    assert_eq!(certificate.shards[0].acked_lost, certificate.acked_lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_is_a_long_gap_of_its_shard_alone() {
    let outcome = frozen_server(&binary()).await.unwrap();
    assert!(outcome.control.detected, "{:?}", outcome.control);
    let certificate = outcome.certificate;
    assert_eq!(certificate.errors, 0, "{:?}", certificate.error_kinds);
    let gap = |shard: usize| certificate.shards[shard].longest_ack_gap_ms.unwrap();
    assert!(gap(1) < gap(0), "{:?}", certificate.shards);
    assert!(certificate.longest_ack_gap_ms.unwrap() < gap(0));
    let words = certificate.reasons.join("\n");
    assert!(words.contains("shard 0-8191"), "{words}");
}

/// A replica takes over from a healthy leader while clients write: they follow, nothing is lost,
/// and the replica that is left is compared with its new leader.
#[tokio::test(flavor = "multi_thread")]
async fn clients_follow_a_takeover_and_every_member_of_each_shard_is_judged() {
    let binary = binary();
    let (a, b, follower) = tokio::try_join!(
        Server::start(&binary),
        Server::start(&binary),
        Server::start(&binary)
    )
    .unwrap();
    Server::join(&[&a, &b]).await.unwrap();
    follower.follow(&a).await.unwrap();
    let mut config = RunConfig::redis(Server::seeds(&[&b]));
    config.readers = 2;
    config.limits.write_stall_ms = 60_000;
    // The old leader must not be sent a write after its last one went to the replica.
    config.limits.errors = None;
    let probe = Probe::start(config, None).await.unwrap();
    until_acked(&probe, 300).await;
    // With two voters only a takeover goes through. The old leader takes no writes until it knows
    // that it is a replica, and the new one has every write before: else they would be lost.
    a.run(&["CLIENT", "PAUSE", "60000", "WRITE"]).await.unwrap();
    // Not WAIT: it asks for what its own connection wrote.
    let offset = async |server: &Server, line: usize| {
        let role = server.run(&["ROLE"]).await.unwrap();
        role.lines().nth(line).unwrap().to_owned()
    };
    while offset(&a, 1).await != offset(&follower, 4).await {}
    follower
        .run(&["CLUSTER", "FAILOVER", "TAKEOVER"])
        .await
        .unwrap();
    while !a.run(&["ROLE"]).await.unwrap().starts_with("slave") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    a.run(&["CLIENT", "UNPAUSE"]).await.unwrap();
    until_acked(&probe, probe.status().acked + 300).await;
    let members = vec![a.member("a"), b.member("b"), follower.member("f")];
    let finished = probe.finish(&FinishRequest::of(members)).await;
    let certificate = finished.certificate;
    assert_eq!(
        (certificate.verdict, &certificate.reasons),
        (Verdict::Pass, &vec![]),
        "{:?}\n{}",
        certificate.error_kinds,
        follower.run(&["CLUSTER", "NODES"]).await.unwrap()
    );
    assert_eq!(certificate.errors, 0, "{:?}", certificate.error_kinds);
    let member = |name: &str| certificate.members.iter().find(|m| m.name == name).unwrap();
    assert_eq!(member("a").role, Some(Role::Replica));
    assert_eq!(member("f").role, Some(Role::Leader));
    assert_eq!(member("a").digest, member("f").digest);
    assert_eq!(member("b").shard.as_deref(), Some("8192-16383"));
    assert!(certificate.reads.ok > 0);
    assert_eq!(certificate.reads.regressions, 0);
    assert_eq!(certificate.shards.len(), 2);
    assert_eq!(
        certificate.shards.iter().map(|s| s.acked).sum::<u64>(),
        certificate.acked
    );
}

/// The keys are where the page says, and what is changed behind the probe's back is found.
#[tokio::test(flavor = "multi_thread")]
async fn keys_removed_doubled_and_planted_behind_the_probes_back_are_found() {
    let server = Server::start(&binary()).await.unwrap();
    Server::join(&[&server]).await.unwrap();
    let mut config = RunConfig::redis(Server::seeds(&[&server]));
    config.writers = 2;
    config.limits.write_stall_ms = 60_000;
    let probe = Probe::start(config, None).await.unwrap();
    until_acked(&probe, 50).await;
    probe.stop().await;
    let key = |writer: u32| format!("ferriswheel_probe:{}:{writer}:0:0", probe.run_id());
    for command in [
        ["HDEL", &key(0), "1", "3"].as_slice(),
        &["HINCRBY", &key(1), "2", "1"],
        &["HSET", &key(1), "99", "1"],
    ] {
        server.run(command).await.unwrap();
    }
    let mut request = FinishRequest::of(vec![server.member("a")]);
    let certificate = probe.finish(&request).await.certificate;
    assert_eq!(certificate.verdict, Verdict::Fail);
    assert_eq!(certificate.acked_lost, Some(2));
    assert_eq!(certificate.duplicates, Some(1));
    assert_eq!(certificate.phantoms, Some(1));

    // Repaired, the run passes and leaves nothing behind.
    for command in [
        ["HSET", &key(0), "1", "1", "3", "1"].as_slice(),
        &["HSET", &key(1), "2", "1"],
        &["HDEL", &key(1), "99"],
    ] {
        server.run(command).await.unwrap();
    }
    request.drop_table = true;
    let certificate = probe.finish(&request).await.certificate;
    assert_eq!(certificate.verdict, Verdict::Pass);
    assert_eq!(server.run(&["DBSIZE"]).await.unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_writers_than_shards_and_a_server_without_a_cluster_are_refused() {
    let binary = binary();
    let (a, b) = tokio::try_join!(Server::start(&binary), Server::start(&binary)).unwrap();
    Server::join(&[&a, &b]).await.unwrap();
    let mut config = RunConfig::redis(Server::seeds(&[&a]));
    config.writers = 1;
    let refused = Probe::start(config, None).await.err().unwrap();
    assert!(refused.to_string().contains("2 shards"), "{refused}");
    let controls =
        ferriswheel_probe::controls::redis::run_all(Some(std::path::Path::new("/nonexistent")))
            .await;
    for control in controls {
        assert!(!control.detected);
        assert!(control.not_run.unwrap().contains("apt-get install"));
    }
}
