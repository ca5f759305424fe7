//! Servers that stand still or end in the middle of a failover.

use std::time::Duration;

use ferriswheel_engine::driver::Outcome;
use ferriswheel_engine::faults::Fault;
use ferriswheel_rehearsal::redis::cluster::Cluster;
use ferriswheel_rehearsal::redis::stage::Stage;

use super::{assert_moved_once, assert_whole, carry_on, tail, virtual_time};

/// The first shard's clients are held.
fn held(cluster: &Cluster) -> bool {
    cluster.nodes[0].held_until.is_some()
}

fn longest_gap(stage: &Stage) -> Duration {
    stage.cluster.with(|cluster| cluster.clients[0].longest_gap)
}

/// A stage on which something happens as soon as the first shard's clients are held, and something else after a time.
fn disturbed(
    first: impl FnOnce(&mut Cluster) + Send + 'static,
    after: Duration,
    then: impl FnOnce(&mut Cluster) + Send + 'static,
) -> Stage {
    let stage = Stage::new().unwrap();
    stage.cluster.with(|cluster| {
        cluster.when(held, move |cluster| {
            first(cluster);
            let due = cluster.now() + after;
            cluster.when(move |cluster| cluster.now() >= due, then);
        });
    });
    stage
}

/// The code with which the run stopped.
async fn stops(stage: &Stage) -> String {
    let Outcome::Stopped { how, .. } = stage.drive(Fault::None).await.unwrap() else {
        panic!("{:#?}", tail(stage));
    };
    format!("{how:?}")
}

#[test]
fn a_candidate_that_stands_still_for_a_moment_takes_over_late() {
    virtual_time(async {
        let stage = disturbed(
            |cluster| cluster.nodes[3].frozen = true,
            Duration::from_millis(300),
            |cluster| cluster.nodes[3].frozen = false,
        );
        assert_eq!(stage.drive(Fault::None).await.unwrap(), Outcome::Finished);
        assert_moved_once(&stage, "frozen for 300 ms").await;
        let gap = longest_gap(&stage);
        assert!(gap >= Duration::from_millis(300), "{gap:?}");
    });
}

/// The servers end it by themselves after 5 s, and the run says so and touches nothing more. What was tried and given
/// up by the servers can be tried again.
#[test]
fn a_candidate_that_stands_still_for_long_leaves_the_old_primary() {
    virtual_time(async {
        let stage = disturbed(
            |cluster| cluster.nodes[3].frozen = true,
            Duration::from_secs(20),
            |cluster| cluster.nodes[3].frozen = false,
        );
        let how = stops(&stage).await;
        assert!(how.contains("FW0226"), "{how}");
        assert_eq!(stage.promotions(), Vec::<usize>::new());
        let gap = longest_gap(&stage);
        let limit = Duration::from_millis(5_100);
        assert!(gap > Duration::from_secs(4) && gap < limit, "{gap:?}");
        tokio::time::sleep(Duration::from_secs(20)).await;
        carry_on(&stage, "thawed").await;
        assert_moved_once(&stage, "thawed").await;
    });
}

#[test]
fn a_candidate_that_dies_leaves_the_old_primary() {
    virtual_time(async {
        let stage = disturbed(
            |cluster| cluster.kill(3),
            Duration::from_secs(2),
            |cluster| cluster.start(3),
        );
        let how = stops(&stage).await;
        assert!(how.contains("FW0226"), "{how}");
        assert_eq!(stage.promotions(), Vec::<usize>::new());
        carry_on(&stage, "started again").await;
        assert_moved_once(&stage, "started again").await;
    });
}

/// Whether the replica knew already what it had to have, it takes over; else the old one goes on when it is back. Its
/// clients see errors either way, and nothing that was acknowledged is lost.
#[test]
fn an_old_primary_that_dies_while_it_holds_its_clients_loses_nothing() {
    for late in 0..8 {
        virtual_time(async {
            let context = format!("killed {late} ms after it began to hold");
            let stage = disturbed(
                move |cluster| {
                    let due = cluster.now() + Duration::from_millis(late);
                    cluster.when(
                        move |cluster| cluster.now() >= due,
                        |cluster| cluster.kill(0),
                    );
                },
                Duration::from_secs(3),
                |cluster| cluster.start(0),
            );
            if stage.drive(Fault::None).await.unwrap() != Outcome::Finished {
                tokio::time::sleep(Duration::from_secs(40)).await;
                carry_on(&stage, &context).await;
            }
            assert_eq!(stage.promotions(), [3, 4, 5], "{context}");
            stage
                .cluster
                .with(|cluster| cluster.clients.iter_mut().for_each(|c| c.errors = 0));
            assert_whole(&stage, &context).await;
        });
    }
}

/// A shard that came back a moment ago: its successor has votes that count again, so the run waits until they do not.
#[test]
fn a_shard_is_handed_over_again_once_its_last_election_is_forgotten() {
    virtual_time(async {
        let stage = Stage::new().unwrap();
        there_and_back(&stage).await;
        let began = tokio::time::Instant::now();
        assert_eq!(stage.drive(Fault::None).await.unwrap(), Outcome::Finished);
        let waited = began.elapsed();
        assert!(waited > Duration::from_secs(40), "{waited:?}");
        assert_eq!(stage.promotions(), [3, 0, 3, 4, 5]);
        assert_whole(&stage, "once more").await;
    });
}

/// Why it waits: the servers themselves lead a primary up that nobody knows of.
#[test]
fn an_election_that_counts_twice_makes_a_primary_for_a_moment() {
    virtual_time(async {
        let stage = Stage::new().unwrap();
        there_and_back(&stage).await;
        stage
            .cluster
            .with(|cluster| cluster.begin_failover(3).unwrap());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(stage.promotions(), [3, 0, 3]);
        stage.cluster.with(|cluster| {
            assert_eq!(
                (cluster.nodes[0].upstream, cluster.nodes[3].upstream),
                (None, Some(0))
            );
        });
    });
}

/// The first shard's roles change and change back, within seconds, in a cluster that has stood for a while.
async fn there_and_back(stage: &Stage) {
    tokio::time::sleep(Duration::from_secs(60)).await;
    for n in [3, 0] {
        stage
            .cluster
            .with(|cluster| cluster.begin_failover(n).unwrap());
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage
            .cluster
            .with(|cluster| assert_eq!(cluster.nodes[n].upstream, None));
    }
}

/// A model that loses writes is seen by the same checks: a replica that is promoted without what its primary
/// acknowledged.
#[test]
fn a_loss_would_be_seen() {
    virtual_time(async {
        let stage = Stage::new().unwrap();
        stage.cluster.with(|cluster| {
            cluster.when(held, |cluster| {
                cluster.nodes[3].log.pop();
                let shorter = cluster.nodes[3].log.len();
                cluster.nodes[0].log.truncate(shorter);
            });
        });
        let _ = stage.drive(Fault::None).await.unwrap();
        let flaws = stage.flaws().await.join("\n");
        assert!(flaws.contains("lost"), "{flaws}");
    });
}
