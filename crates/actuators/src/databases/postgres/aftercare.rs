//! After the window: what was armed is taken back, the old primary rejoins.

use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use super::order::Order;
use super::record::{Log, Moment};
use super::server::{Server, ServerError};
use super::window::{CHECKPOINT, Cast, STATEMENT, streams_from};
/// Takes back what [`prepare`](super::prepare::prepare) wrote. Best effort: what is left is named in the record.
pub(super) async fn withdraw(order: &Order, cast: &Cast, log: &dyn Log) {
    let _ = cast.old.reconnect(STATEMENT).await;
    // First: clients may wait for a candidate that is gone.
    release_standby(order, cast, log).await;
    for (what, answer) in [
        ("disarming the old primary", cast.old.disarm_standby().await),
        (
            "disarming the candidate",
            cast.candidate.disarm_promotion().await,
        ),
        (
            "dropping the slots of the candidate",
            cast.candidate.drop_slots(&order.slots_at_candidate()).await,
        ),
    ] {
        if let Err(e) = answer {
            log.note(Moment::Note {
                text: format!("{what}: {e}"),
            });
        }
    }
    log.note(Moment::Restored);
}

/// Commits wait for whom they waited for before the hand-over. On every member: one that was cloned
/// meanwhile has the setting of the server that it was cloned from.
pub(super) async fn release_standby(order: &Order, cast: &Cast, log: &dyn Log) {
    if !order.make_synchronous {
        return;
    }
    let servers = [&cast.old, &cast.candidate].into_iter().chain(&cast.others);
    for answer in join_all(servers.map(|server| server.release_standby())).await {
        if let Err(e) = answer {
            log.note(Moment::Note {
                text: format!("taking the synchronous standby back: {e}"),
            });
        }
    }
}

/// After the window: the old primary rejoins, temporary things go. Nothing here delays clients,
/// and nothing here changes the outcome: the step's observation demands the same facts.
pub(super) async fn aftercare(order: &Order, cast: &Cast, log: &dyn Log) {
    /// A container restart takes 1-2 s, a replay after a crash more; then the step's own
    /// observation goes on waiting.
    const REJOIN: Duration = Duration::from_secs(60);
    let end = Instant::now() + REJOIN;
    let mut rejoined = false;
    while Instant::now() < end {
        match cast.old.reconnect(STATEMENT).await {
            Ok(status) if status.in_recovery && streams_from(&status, &order.candidate.name) => {
                rejoined = true;
                break;
            }
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
    if rejoined {
        log.note(Moment::Rejoined);
    } else {
        log.note(Moment::Note {
            text: "the old primary did not rejoin within 60 s".to_owned(),
        });
    }
    release_standby(order, cast, log).await;
    let told = try_join_all(
        cast.others
            .iter()
            .zip(&order.others)
            .map(|(server, member)| server.follow_if_needed(order, member)),
    )
    .await;
    for (what, answer) in [
        ("re-pointing the other standbys", told.map(|_| ())),
        (
            "restoring the retry interval",
            cast.candidate.disarm_promotion().await,
        ),
        (
            "dropping the slots of the old primary",
            cast.old.drop_slots(&order.slots_at_old()).await,
        ),
        (
            "checkpoint of the new primary",
            cast.candidate.checkpoint(CHECKPOINT).await,
        ),
    ] {
        if let Err(e) = answer {
            log.note(Moment::Note {
                text: format!("{what}: {e}"),
            });
        }
    }
    log.note(Moment::Restored);
}

trait FollowIfNeeded {
    async fn follow_if_needed(
        &self,
        order: &Order,
        member: &super::order::Member,
    ) -> Result<(), ServerError>;
}

impl FollowIfNeeded for Box<dyn Server> {
    async fn follow_if_needed(
        &self,
        order: &Order,
        member: &super::order::Member,
    ) -> Result<(), ServerError> {
        let status = self.reconnect(STATEMENT).await?;
        if streams_from(&status, &order.candidate.name) {
            return Ok(());
        }
        self.follow(&order.upstream_for(member)).await
    }
}
