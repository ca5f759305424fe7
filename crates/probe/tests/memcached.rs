//! Pools of real Memcached servers, seen by the probe.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails says where, and what it saw"
)]

use ferriswheel_probe::certificate::{Certificate, Verdict};
use ferriswheel_probe::config::RunConfig;
use ferriswheel_probe::controls::memcached::server::Server;
use ferriswheel_probe::controls::memcached::{find_binary, frozen_server, killed_servers};
use ferriswheel_probe::run::{FinishRequest, Probe};

/// Answers so many more requests.
async fn more(probe: &Probe, requests: u64) {
    let before = probe.status().acked;
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(120);
    while probe.status().acked < before + requests {
        assert!(tokio::time::Instant::now() < end, "{:?}", probe.status());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn finished(probe: &Probe) -> Certificate {
    let request = FinishRequest {
        drop_table: true,
        ..FinishRequest::of(Vec::new())
    };
    let certificate = probe.finish(&request).await.certificate;
    println!("{}", serde_json::to_string_pretty(&certificate).unwrap());
    certificate
}

/// One server after another is killed and comes back empty at its old name, as one that moves. Each waits until the keys of
/// the one before are back.
#[tokio::test]
async fn members_that_leave_one_by_one_cost_their_share_and_nothing_else() {
    let binary = find_binary(None).expect("apt-get install memcached");
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::start(&binary).await.unwrap());
    }
    let address = Server::address(&servers.iter().collect::<Vec<_>>());
    let mut config = RunConfig::memcached(address);
    // How long anything takes is not this test's.
    config.limits.write_stall_ms = 60_000;
    (config.writers, config.think_ms) = (8, 0);
    let probe = Probe::start(config, None).await.unwrap();
    more(&probe, 3_000).await;
    // Two of the three: the last one has nothing to add.
    for server in &mut servers[..2] {
        server.crash();
        more(&probe, 4_500).await;
        *server = Server::start_at(&binary, server.port()).unwrap();
        more(&probe, 5_500).await;
    }
    let certificate = finished(&probe).await;
    let cache = certificate.cache.as_ref().unwrap();
    assert_eq!(
        certificate.verdict,
        Verdict::Pass,
        "{:?}",
        certificate.reasons
    );
    assert_eq!((certificate.errors, cache.wrong_values), (0, 0));
    let lowest = cache.lowest.as_ref().unwrap();
    assert!(
        lowest.hit_rate >= cache.bound && lowest.hit_rate < 90.0,
        "{lowest:?}"
    );
    let left: Vec<u64> = cache.servers.iter().map(|server| server.left).collect();
    assert_eq!(left, [1, 1, 0]);
    // Nothing is said of durability.
    assert_eq!(certificate.acked_lost, None);
    assert_eq!(certificate.duplicates, None);
}

/// Why leftovers are deleted before a member leaves: while it was away its keys were put on others, and what they have is
/// read again, as old as it is, when it is away once more.
#[tokio::test]
async fn a_second_absence_shows_what_the_first_one_left() {
    let binary = find_binary(None).expect("apt-get install memcached");
    let mut leaving = Server::start(&binary).await.unwrap();
    let others = [
        Server::start(&binary).await.unwrap(),
        Server::start(&binary).await.unwrap(),
    ];
    let mut config = RunConfig::memcached(Server::address(&[&leaving, &others[0], &others[1]]));
    config.limits.write_stall_ms = 60_000;
    (config.writers, config.think_ms) = (8, 0);
    let probe = Probe::start(config, None).await.unwrap();
    leaving.crash();
    more(&probe, 4_500).await;
    leaving = Server::start_at(&binary, leaving.port()).unwrap();
    more(&probe, 9_000).await;
    leaving.crash();
    more(&probe, 4_500).await;
    let certificate = finished(&probe).await;
    assert_eq!(certificate.verdict, Verdict::Fail);
    assert_eq!(certificate.errors, 0);
    let cache = certificate.cache.as_ref().unwrap();
    assert!(cache.wrong_values > 0, "{cache:?}");
    assert!(cache.wrong_example.is_some());
}

#[tokio::test]
async fn killed_servers_are_seen() {
    let binary = find_binary(None).expect("apt-get install memcached");
    let outcome = killed_servers(&binary).await.unwrap();
    assert!(outcome.control.detected, "{:?}", outcome.control);
    assert!(outcome.certificate.reasons[0].contains("the hit-rate was"));
}

#[tokio::test]
async fn old_values_are_seen() {
    let binary = find_binary(None).expect("apt-get install memcached");
    let outcome = frozen_server(&binary).await.unwrap();
    assert!(outcome.control.detected, "{:?}", outcome.control);
    let reasons = outcome.certificate.reasons.join("\n");
    assert!(
        reasons.contains("were not the key's current value"),
        "{reasons}"
    );
}
