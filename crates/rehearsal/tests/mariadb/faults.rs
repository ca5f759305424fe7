//! Members that stand still or end in the middle of a hand-over, and clients that are in its way.

use std::time::Duration;

use ferriswheel_engine::driver::Outcome;
use ferriswheel_engine::faults::Fault;
use ferriswheel_rehearsal::mariadb::set::Set;
use ferriswheel_rehearsal::mariadb::stage::{Clients, Stage};

use super::{WAYS, assert_moved_once, carry_on, successor, tail, virtual_time};

/// The old primary is locked.
fn locked(set: &Set) -> bool {
    set.nodes[0].lock.is_some_and(|lock| lock.held)
}

/// It takes no writes any more, and nobody else does yet.
fn closed(set: &Set) -> bool {
    set.nodes.iter().all(|node| node.read_only)
}

type State = fn(&Set) -> bool;

/// Both moments of a window at which nobody writes.
const STATES: [(&str, State); 2] = [("locked", locked), ("closed", closed)];

/// A stage on which something happens once the set is in a state, and something else after a time.
fn disturbed(
    clients: Clients,
    state: State,
    first: impl FnOnce(&mut Set) + Send + 'static,
    after: Duration,
    then: impl FnOnce(&mut Set) + Send + 'static,
) -> Stage {
    let stage = Stage::new(clients).unwrap();
    stage.set.with(|set| {
        set.when(state, move |set| {
            first(set);
            let due = set.now() + after;
            set.when(move |set| set.now() >= due, then);
        });
    });
    stage
}

fn longest_gap(stage: &Stage) -> Duration {
    let of = |set: &mut Set| set.clients.iter().map(|client| client.longest_gap).max();
    stage.set.with(of).unwrap()
}

/// The code with which the run stopped.
async fn stops(stage: &Stage) -> String {
    let Outcome::Stopped { how, .. } = stage.drive(Fault::None).await.unwrap() else {
        panic!("{:#?}", tail(stage));
    };
    format!("{how:?}")
}

/// Whatever becomes of one member at one moment, for some time: the run ends, or stops and is carried on, with one
/// primary and nothing lost.
fn whatever_happens(
    what: &str,
    first: fn(&mut Set, usize),
    then: fn(&mut Set, usize),
    lasting: &[u64],
) {
    for clients in WAYS {
        for (when, state) in STATES {
            for member in 0..3 {
                for ms in lasting {
                    virtual_time(async {
                        let context = format!("{clients:?}, {when}: {member} {what}, {ms} ms");
                        let stage = disturbed(
                            clients,
                            state,
                            move |set| first(set, member),
                            Duration::from_millis(*ms),
                            move |set| then(set, member),
                        );
                        if stage.drive(Fault::None).await.unwrap() != Outcome::Finished {
                            tokio::time::sleep(Duration::from_secs(40)).await;
                            carry_on(&stage, &context).await;
                        }
                        assert_moved_once(&stage, &context).await;
                    });
                }
            }
        }
    }
}

#[test]
fn a_member_that_stands_still_costs_time_and_nothing_else() {
    whatever_happens(
        "stands still",
        |set, n| set.nodes[n].frozen = true,
        |set, n| set.nodes[n].frozen = false,
        &[30, 400, 3_000, 20_000],
    );
}

#[test]
fn a_member_that_ends_and_comes_back_costs_time_and_nothing_else() {
    whatever_happens(
        "ends",
        Set::kill,
        |set, n| {
            // A run that went on may have brought it back before.
            if !set.nodes[n].runs {
                set.start(n);
            }
        },
        &[30, 400, 3_000, 20_000],
    );
}

/// The lock waits no longer for it than the plan says, and clients wait no longer either.
#[test]
fn a_long_statement_is_not_waited_for_beyond_the_budget() {
    virtual_time(async {
        let stage = Stage::new(Clients::ByService).unwrap();
        stage.set.with(|set| {
            set.nodes[0].statement_until = Some(set.now() + Duration::from_secs(60));
        });
        let how = stops(&stage).await;
        assert!(how.contains("FW0243"), "{how}");
        assert_eq!(stage.led(), [0]);
        let gap = longest_gap(&stage);
        let budget = Duration::from_millis(2_000);
        assert!(
            gap >= budget && gap < budget + Duration::from_millis(200),
            "{gap:?}"
        );
        tokio::time::sleep(Duration::from_secs(60)).await;
        carry_on(&stage, "the statement has ended").await;
        assert_moved_once(&stage, "the statement has ended").await;
    });
}

/// A model that loses writes is seen by the same checks.
#[test]
fn a_loss_would_be_seen() {
    virtual_time(async {
        let stage = Stage::new(Clients::ByService).unwrap();
        let to = successor(&stage);
        stage.set.with(|set| {
            set.when(closed, move |set| {
                set.nodes[to].log.pop();
                set.nodes[0].log.pop();
            });
        });
        let _ = stage.drive(Fault::None).await.unwrap();
        let flaws = stage.flaws().await.join("\n");
        assert!(flaws.contains("1 lost"), "{flaws}: {:#?}", tail(&stage));
    });
}

/// And so are two that take writes.
#[test]
fn two_primaries_would_be_seen() {
    virtual_time(async {
        let stage = Stage::new(Clients::ByService).unwrap();
        let to = successor(&stage);
        stage.set.with(|set| {
            set.when(
                move |set| !set.nodes[to].read_only,
                |set| set.nodes[0].read_only = false,
            );
        });
        let _ = stage.drive(Fault::None).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let flaws = stage.flaws().await.join("\n");
        assert!(flaws.contains("take writes"), "{flaws}");
    });
}
