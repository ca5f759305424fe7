//! The probe against real MariaDB sets. Without a server these tests fail and say what to install; they
//! are never skipped.

use std::path::PathBuf;

use ferriswheel_probe::certificate::{Role, Verdict};
use ferriswheel_probe::config::RunConfig;
use ferriswheel_probe::controls::mariadb::server::Set;
use ferriswheel_probe::controls::mariadb::{find_binary, frozen_primary, unfenced_promotion};
use ferriswheel_probe::run::{FinishRequest, Probe};

fn binary() -> PathBuf {
    find_binary(None).unwrap_or_else(|error| panic!("{error}"))
}

async fn until_acked(probe: &Probe, count: u64) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while probe.status().acked < count {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}",
            probe.status()
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_without_a_fence_is_reported_as_loss() {
    let outcome = unfenced_promotion(&binary()).await.unwrap();
    println!("{:?}", outcome.control);
    assert!(outcome.control.detected, "{:?}", outcome.control);
    let certificate = outcome.certificate;
    assert!(certificate.acked_lost.unwrap() > 0);
    assert!(!certificate.members[0].examples.acked_missing.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_is_a_long_gap_and_no_loss() {
    let outcome = frozen_primary(&binary()).await.unwrap();
    println!("{:?}", outcome.control);
    assert!(outcome.control.detected, "{:?}", outcome.control);
    assert_eq!(outcome.certificate.errors, 0);
}

/// A healthy run: every member has every write, and what the probe wrote can be removed.
#[tokio::test(flavor = "multi_thread")]
async fn every_member_is_judged() {
    let set = Set::start(&binary()).await.unwrap();
    let mut config = RunConfig::mariadb(set.dsn());
    config.readers = 1;
    config.limits.write_stall_ms = 60_000;
    let probe = Probe::start(config, None).await.unwrap();
    until_acked(&probe, 200).await;
    let request = FinishRequest {
        drop_table: true,
        ..FinishRequest::of(set.members(&[0, 1]))
    };
    let certificate = probe.finish(&request).await.certificate;
    assert_eq!(
        (certificate.errors, certificate.acked_lost),
        (0, Some(0)),
        "{:?}",
        certificate.error_kinds
    );
    assert_ne!(certificate.verdict, Verdict::Fail);
    let roles: Vec<_> = certificate.members.iter().map(|m| m.role).collect();
    assert_eq!(roles, [Some(Role::Leader), Some(Role::Replica)]);
    let digests: Vec<_> = certificate.members.iter().map(|m| &m.digest).collect();
    assert!(
        digests
            .iter()
            .all(|digest| digest.is_some() && *digest == digests[0]),
        "{digests:?}"
    );
}
