//! What becomes of a question whose answer nobody has: seen, by whoever is there to look.
//!
//! Called by the agent when the window's budget is spent, by the watchdog when the agent is gone, and by a later run that
//! finds a window left open. None of them asks Patroni to do anything: a switchover that was asked for is carried out or
//! dropped by Patroni itself, and all that is left to do is to let clients go on where the primary is.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::Asked;
use super::window::{ANSWER_IN_WINDOW, another_leads, is_primary, leads, proven, sees_leader};
use crate::databases::postgres::lsn::Lsn;
use crate::databases::postgres::order::Order;
use crate::databases::postgres::record::{Log, Moment, Outcome, Reason};
use crate::databases::postgres::window::{CHECKPOINT, Cast, STATEMENT, finish_forward, resume_all};

/// Pause between two looks while clients go on.
const PAUSE: Duration = Duration::from_millis(250);

/// Longest wait inside the candidate's session while clients are held.
const LOOK: Duration = Duration::from_millis(100);

/// A window with less than this left is over: who finds the candidate in charge then gives RELOAD a deadline of its own,
/// or clients would go on to the old primary. It takes a millisecond.
const RELOAD: Duration = Duration::from_millis(200);

/// Longest wait for the old primary to follow: Patroni stops it, waits 2 s, looks whether it must be rewound, and starts it
/// with the next look of its loop, 10 s by default.
const REJOIN: Duration = Duration::from_secs(60);

/// Ends a window whose agent is gone, or that an earlier run left open.
pub(in crate::databases::postgres) async fn recover(
    order: &Order,
    asked: &Asked,
    cast: &Cast,
    opened: Instant,
    failed: Reason,
    by: &str,
    log: &dyn Log,
) -> Outcome {
    log.note(Moment::RecoveryBegan { by: by.to_owned() });
    // Whoever is gone may have asked right before: a switchover that is under way has stopped the old primary, or brought
    // the candidate up, by then.
    let enough = opened + order.forward_budget();
    // A primary that is stopping comes back somewhere: clients wait for it as long as they may.
    let limit = opened + order.window_budget().saturating_sub(RELOAD);
    let changed = async {
        loop {
            let arrived = leads(cast.candidate.as_ref(), LOOK).await
                && sees_leader(cast, &order.candidate.name).await;
            let old = cast.old.reconnect(ANSWER_IN_WINDOW).await.ok();
            let stays = is_primary(old.as_ref()) && Instant::now() >= enough;
            if arrived || stays || another_leads(cast).await.is_some() {
                return;
            }
        }
    };
    let _ = timeout_at(limit, changed).await;
    follow_up(order, asked, cast, opened, None, failed, log).await
}

async fn arrived(order: &Order, cast: &Cast) -> bool {
    leads(cast.candidate.as_ref(), Duration::ZERO).await
        && sees_leader(cast, &order.candidate.name).await
}

/// Lets clients go on, and goes on looking for as long as Patroni may still do what it was asked.
pub(super) async fn follow_up(
    order: &Order,
    asked: &Asked,
    cast: &Cast,
    opened: Instant,
    flush: Option<Lsn>,
    failed: Reason,
    log: &dyn Log,
) -> Outcome {
    let mut resumed = false;
    let end = Instant::now() + Duration::from_millis(asked.afterwards_ms);
    loop {
        let budget = (opened + order.window_budget()).max(Instant::now() + RELOAD);
        // Who does not answer must not keep clients from going on.
        let arrived = if resumed {
            arrived(order, cast).await
        } else {
            let look = timeout_at(budget, arrived(order, cast)).await;
            look.unwrap_or(false)
        };
        if arrived {
            // RELOAD first: the poolers' file is aimed at it.
            let late = resumed || opened + order.window_budget() < Instant::now() + RELOAD;
            let from = if late { Instant::now() } else { opened };
            if let Err(reason) = finish_forward(order, cast, from, log).await {
                log.note(Moment::Faltered { reason });
            }
            let outcome = proven(cast, flush, Some(failed), log).await;
            aftercare(order, cast, log).await;
            return outcome;
        }
        if !resumed {
            resumed = true;
            resume_all(order, cast, log).await;
        }
        if let Some(leader) = another_leads(cast).await {
            let reason = Reason::PatroniElsewhere { leader };
            log.note(Moment::Faltered {
                reason: reason.clone(),
            });
            log.note(Moment::Restored);
            return Outcome::Unresolved { reason };
        }
        if Instant::now() >= end {
            break;
        }
        sleep(PAUSE).await;
    }
    log.note(Moment::Restored);
    let old = cast.old.reconnect(STATEMENT).await.ok();
    if is_primary(old.as_ref()) && sees_leader(cast, &order.old.name).await {
        return Outcome::Undone {
            reason: failed,
            in_place: false,
        };
    }
    let reason = Reason::BudgetSpent(format!(
        "{failed}; Patroni was given {} s more",
        asked.afterwards_ms / 1_000
    ));
    log.note(Moment::Faltered {
        reason: reason.clone(),
    });
    Outcome::Unresolved { reason }
}

/// The old primary follows, and the new one's log is in its data files. Nothing here delays clients, and nothing changes
/// the outcome: the step's observation demands the same facts.
pub(super) async fn aftercare(order: &Order, cast: &Cast, log: &dyn Log) {
    let end = Instant::now() + REJOIN;
    let mut rejoined = false;
    while !rejoined && Instant::now() < end {
        rejoined = follows(order, cast).await;
        if !rejoined {
            sleep(PAUSE).await;
        }
    }
    if rejoined {
        log.note(Moment::Rejoined);
    } else {
        log.note(Moment::Note {
            text: format!(
                "the old primary did not rejoin within {} s",
                REJOIN.as_secs()
            ),
        });
    }
    if let Err(e) = cast.candidate.checkpoint(CHECKPOINT).await {
        log.note(Moment::Note {
            text: format!("checkpoint of the new primary: {e}"),
        });
    }
    log.note(Moment::Restored);
}

/// The old primary is a standby on the new timeline, and the new primary sees it receive.
async fn follows(order: &Order, cast: &Cast) -> bool {
    let (Ok(old), Ok(new)) = (
        cast.old.reconnect(STATEMENT).await,
        cast.candidate.reconnect(STATEMENT).await,
    ) else {
        return false;
    };
    old.in_recovery
        && old.timeline == new.timeline
        && new
            .followers
            .iter()
            .any(|f| f.name == order.old.name && f.streaming)
}
