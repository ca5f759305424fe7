//! The probe against a real Kafka. Without one these tests fail and say what to install; they are never
//! skipped.

use std::path::PathBuf;
use std::time::Duration;

use ferriswheel_probe::certificate::{Role, Verdict};
use ferriswheel_probe::config::RunConfig;
use ferriswheel_probe::controls::kafka::server::{Session, Set};
use ferriswheel_probe::controls::kafka::{find_home, frozen_leader, unclean_election};
use ferriswheel_probe::run::{FinishRequest, Probe};
use uuid::Uuid;

fn home() -> PathBuf {
    find_home(None).unwrap_or_else(|error| panic!("{error}"))
}

async fn until_acked(probe: &Probe, count: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
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
async fn an_unclean_election_is_reported_as_loss() {
    let outcome = unclean_election(&home()).await.unwrap();
    println!("{:?}", outcome.control);
    assert!(outcome.control.detected, "{:?}", outcome.control);
    let certificate = outcome.certificate;
    assert!(certificate.acked_lost.unwrap() >= outcome.harm);
    assert_eq!(
        (
            certificate.phantoms,
            certificate.duplicates,
            certificate.out_of_order
        ),
        (Some(0), Some(0), Some(0))
    );
    assert_eq!(certificate.members[0].name, "broker-1/0");
    assert!(!certificate.members[0].examples.acked_missing.is_empty());
    assert_eq!(certificate.shards[0].acked_lost, certificate.acked_lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_is_a_long_gap_of_its_partition_alone() {
    let outcome = frozen_leader(&home()).await.unwrap();
    println!("{:?}", outcome.control);
    assert!(outcome.control.detected, "{:?}", outcome.control);
    let certificate = outcome.certificate;
    assert_eq!(certificate.errors, 0, "{:?}", certificate.error_kinds);
    let words = certificate.reasons.join("\n");
    assert!(words.contains("of the shard 0"), "{words}");
}

/// A leader is killed while idempotent producers write: they find the other copy. Then that one is frozen
/// until they have given their requests up and sent them again, and takes in all of them at once. They
/// see no error, and nothing is lost, doubled or out of order. At last what is changed behind the probe's back is found.
#[tokio::test(flavor = "multi_thread")]
async fn clients_follow_a_killed_leader_and_every_copy_is_judged() {
    let mut set = Set::start(&home(), Session::Short).await.unwrap();
    let run = Uuid::now_v7();
    let copies: [&[i32]; 2] = [&[0, 1], &[1, 0]];
    // One copy is enough for a while, and no other than one in sync may lead.
    set.create_topic(run, &copies, &[("min.insync.replicas", "1")])
        .await
        .unwrap();
    let mut config = RunConfig::kafka(set.address());
    config.run = Some(run);
    config.readers = 2;
    config.limits.write_stall_ms = 60_000;
    // A kill is noticed after 2 s; on a loaded machine later.
    config.statement_deadline_ms = 60_000;
    let probe = Probe::start(config, None).await.unwrap();
    until_acked(&probe, 300).await;
    set.crash(1);
    let leader = async |set: &Set| set.partition(0, run, 1).await.map(|p| p.leader_id.0);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while leader(&set).await != Some(0) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "nobody took partition 1 over from the killed leader: {:?}",
            set.partition(0, run, 1).await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_acked(&probe, probe.status().acked + 300).await;
    // A try takes 2 s.
    set.freeze(0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    set.thaw(0).unwrap();
    until_acked(&probe, probe.status().acked + 300).await;
    set.start_again(1).unwrap();
    let mut request = FinishRequest::of(set.members(&[0, 1]));
    let certificate = probe.finish(&request).await.certificate;
    assert_eq!(
        (certificate.verdict, &certificate.reasons),
        (Verdict::Pass, &vec![]),
        "{:?}",
        certificate.error_kinds
    );
    assert_eq!(certificate.errors, 0, "{:?}", certificate.error_kinds);
    assert_eq!(certificate.members.len(), 4);
    let member = |name: &str| certificate.members.iter().find(|m| m.name == name).unwrap();
    assert_eq!(member("broker-0/1").role, Some(Role::Leader));
    assert_eq!(member("broker-1/1").role, Some(Role::Replica));
    assert_eq!(member("broker-0/1").digest, member("broker-1/1").digest);
    assert!(certificate.reads.ok > 0);
    assert_eq!(certificate.reads.regressions, 0);
    let acked: u64 = certificate.shards.iter().map(|shard| shard.acked).sum();
    assert_eq!(acked, certificate.acked);

    // Writer 0 writes to partition 0, where the first record says that the probe began: the next two are
    // somebody's first.
    set.append(run, 0, probe.run_id(), &["0/5", "0/99999999"])
        .await
        .unwrap();
    set.forget(run, 0, 3).await.unwrap();
    let certificate = probe.finish(&request).await.certificate;
    assert_eq!(
        (
            certificate.acked_lost,
            certificate.duplicates,
            certificate.phantoms
        ),
        (Some(2), Some(1), Some(1)),
        "{:?}",
        certificate.reasons
    );
    assert_eq!(certificate.verdict, Verdict::Fail);

    // A topic of the probe's own is made for the next run, and goes with it.
    let mut config = RunConfig::kafka(set.address());
    config.writers = 2;
    config.limits.write_stall_ms = 60_000;
    let probe = Probe::start(config, None).await.unwrap();
    until_acked(&probe, 50).await;
    let made = set.partition(0, probe.identity(), 1).await.unwrap();
    assert_eq!(made.replica_nodes.len(), 2);
    request.drop_table = true;
    let certificate = probe.finish(&request).await.certificate;
    assert_eq!(
        certificate.verdict,
        Verdict::Pass,
        "{:?}",
        certificate.reasons
    );
    assert!(set.partition(0, probe.identity(), 1).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_the_controls_say_how_to_get_it() {
    let nowhere = std::path::Path::new("/nonexistent");
    for control in ferriswheel_probe::controls::kafka::run_all(Some(nowhere)).await {
        assert!(!control.detected);
        assert!(control.not_run.unwrap().contains("install-kafka.sh"));
    }
}
