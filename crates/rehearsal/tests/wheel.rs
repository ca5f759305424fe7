//! The whole wheel on the model, in virtual time.

use std::time::Duration;

use ferriswheel_engine::driver::Outcome;
use ferriswheel_engine::faults::Fault;
use ferriswheel_rehearsal::runner::Rehearsal;
use ferriswheel_rehearsal::scenario::Choices;
use ferriswheel_rehearsal::story::story;

#[tokio::test(start_paused = true)]
async fn the_wheel_turns() {
    let rehearsal = Rehearsal::new(Choices::default()).unwrap();
    let outcome = rehearsal.drive(Fault::None).await.unwrap();
    let story = story(&rehearsal, &outcome, &mut Default::default());
    assert_eq!(outcome, Outcome::Finished, "{story}");
    assert_eq!(rehearsal.flaws().await, Vec::<String>::new(), "{story}");
    assert_eq!(rehearsal.client_errors(), Vec::<String>::new());
    assert_eq!(rehearsal.promotions().len(), 1, "the primary moves once");
}

/// The invariants can fail: a lagging replica promoted by force loses acknowledged writes, and the
/// old primary that comes back is a second one.
#[tokio::test(start_paused = true)]
async fn the_watch_sees_a_lost_write_and_a_second_primary() {
    let choices = Choices {
        synchronous: 0,
        ..Choices::default()
    };
    let rehearsal = Rehearsal::new(choices).unwrap();
    let world = &rehearsal.world;
    let seconds = |n| tokio::time::sleep(Duration::from_secs(n));
    world.with(|inner| inner.probing = true);
    seconds(1).await;
    world.with(|inner| {
        let until = inner.now() + Duration::from_secs(2);
        inner.postgres.freeze("pg-2", until);
    });
    seconds(1).await;
    world.with(|inner| {
        inner.cluster.kill_container_again("db/pg-0");
        inner.postgres.disk_of_mut("pg-2").unwrap().trigger = true;
    });
    seconds(20).await;
    let flaws = rehearsal.flaws().await;
    for wanted in [
        "pg-2 is the primary and lacks an acknowledged write",
        "two primaries: pg-0, pg-2",
        "2 members serve, 3 are promised",
    ] {
        assert!(
            flaws.iter().any(|flaw| flaw == wanted),
            "{wanted}: {flaws:#?}"
        );
    }
    assert!(!rehearsal.client_errors().is_empty());
}
