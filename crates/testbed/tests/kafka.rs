//! The set of these tests is what its page says: three real servers that survive one of them.

use ferriswheel_testbed::kafka::{Set, Writers};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_killed_and_nothing_is_lost() {
    // A dead broker is noticed after 9 s by default; a test waits for it.
    let set = Set::with(&["broker.session.timeout.ms=2000"]).await;
    let replicas: [&[i32]; 3] = [&[0, 1, 2], &[1, 2, 0], &[2, 0, 1]];
    set.create_topic("written", &replicas, &[]).await;
    assert_eq!(set.leaders("written").await, [0, 1, 2]);
    let writers = Writers::start(&set, "written", 3);
    set.until("some are acknowledged", async || writers.acked() > 100)
        .await;
    set.kill(1).await;
    set.until("another one leads", async || {
        !set.leaders("written").await.contains(&1)
    })
    .await;
    let before = writers.acked();
    set.until("writes go on", async || writers.acked() > before + 100)
        .await;
    set.start_again(1);
    set.settle().await;
    let written = writers.stop().await;
    assert_eq!(written.lost(&set).await, 0);
    assert!(written.acked.iter().all(|acked| !acked.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_disk_copies_everything() {
    let set = Set::start().await;
    set.create_topic("written", &[&[0, 1, 2]], &[]).await;
    let controller = set.controller().await.unwrap();
    let lost = (controller + 1) % 3;
    set.stop(lost).await;
    set.start_empty(lost).await;
    set.settle().await;
    assert_eq!(
        set.topic(lost, "written").await.partitions[0]
            .isr_nodes
            .len(),
        3
    );
}
