//! Ending a window by observation alone.
//!
//! Called by the agent when the straight path failed, by the watchdog when the agent is gone, and
//! by a later run that finds a window left open. All three come to the same end because they
//! decide by the same facts, and every act here may be repeated.
//!
//! # Invariants
//! - The candidate is promoted only with proof; the old server is promoted in place only while
//!   the candidate is proven unpromoted.
//! - Clients go on at the latest when the budget is spent.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::aftercare::{aftercare, withdraw};
use super::lsn::Lsn;
use super::order::Order;
use super::patroni;
use super::record::{Log, Moment, Outcome, Reason};
use super::server::{ServerError, Status};
use super::window::{Cast, finish_forward, promote, repoint, resume_all, streams_from};

/// What the caller knows beyond what can be observed.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The old primary's start before the window.
    pub old_started: Option<String>,
    /// Whether a promotion of the candidate was sent; `None`: not known.
    pub promotion_sent: Option<bool>,
    /// Whether the old primary was told to stop; `None`: not known.
    pub stop_sent: Option<bool>,
    /// Where the log of the stopped primary ends, if that was proven before.
    pub proven: Option<Lsn>,
}

/// An old primary that may have been told to stop is in charge only after it has answered as one
/// for this long: it answers for a few milliseconds more while it stops. A fast shutdown ends
/// every session at once, so one that lasts is not stopping.
const STILL_IN_CHARGE: Duration = Duration::from_millis(250);

/// One look at both servers must not take longer: the loop is what waits.
const LOOK: Duration = Duration::from_millis(250);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// A trigger that was sent by somebody who is gone is noticed within this time, or its file is
/// still there to be removed.
const TRIGGER_NOTICED: Duration = Duration::from_millis(100);

/// Finishes or undoes, then lets clients go on.
pub async fn recover(
    order: &Order,
    cast: &Cast,
    opened: Instant,
    known: &Knowledge,
    failed: Reason,
    by: &str,
    log: &dyn Log,
) -> Outcome {
    if let Some(asked) = &order.patroni {
        return patroni::recover(order, asked, cast, opened, failed, by, log).await;
    }
    log.note(Moment::RecoveryBegan { by: by.to_owned() });
    let limit = opened + order.window_budget();
    let mut seen = String::from("nothing yet");
    let mut answers_since: Option<Instant> = None;
    while Instant::now() < limit {
        let (candidate, old) =
            tokio::join!(cast.candidate.reconnect(LOOK), cast.old.reconnect(LOOK),);
        seen = format!(
            "candidate: {}; old primary: {}",
            describe(&candidate),
            describe(&old)
        );
        let answers = match &old {
            Ok(status) if !status.in_recovery => {
                answers_since.get_or_insert_with(Instant::now).elapsed()
            }
            _ => {
                answers_since = None;
                Duration::ZERO
            }
        };
        match (&candidate, &old) {
            (Ok(c), _) if !c.in_recovery => {
                return go_forward(order, cast, opened, failed, log).await;
            }
            (_, Ok(o)) if !o.in_recovery => {
                let in_place = known
                    .old_started
                    .as_ref()
                    .is_some_and(|started| *started != o.started);
                let stopping = known.stop_sent != Some(false) && !in_place;
                if !stopping || answers >= STILL_IN_CHARGE {
                    return go_back(order, cast, failed, in_place, log).await;
                }
            }
            (Ok(_), Ok(o)) => match proof(cast, o).await {
                Some(true) if promote(cast.candidate.as_ref(), limit).await.is_ok() => {
                    return go_forward(order, cast, opened, failed, log).await;
                }
                Some(false)
                    if may_undo(order, opened, known)
                        && promote_in_place(cast, limit, log).await =>
                {
                    return go_back(order, cast, failed, true, log).await;
                }
                _ => {}
            },
            // The old server need not be back: what was proven of it holds for good, and the
            // candidate has had nothing since.
            (Ok(_), Err(_))
                if known.proven.is_some()
                    && end_of_log(cast).await == Some(known.proven)
                    && promote(cast.candidate.as_ref(), limit).await.is_ok() =>
            {
                return go_forward(order, cast, opened, failed, log).await;
            }
            // The candidate is gone and was never asked to become a primary: when it comes back it
            // is a standby, whatever happens here.
            (Err(_), Ok(_))
                if known.promotion_sent == Some(false)
                    && promote(cast.old.as_ref(), limit).await.is_ok() =>
            {
                log.note(Moment::OldPromoted);
                return go_back(order, cast, failed, true, log).await;
            }
            _ => {}
        }
        sleep(PAUSE).await;
    }
    resume_all(order, cast, log).await;
    let reason = Reason::BudgetSpent(format!("{failed}; {seen}"));
    log.note(Moment::Faltered {
        reason: reason.clone(),
    });
    Outcome::Unresolved { reason }
}

/// Somebody who does not know whether a promotion was sent waits until nobody may send one.
fn may_undo(order: &Order, opened: Instant, known: &Knowledge) -> bool {
    known.promotion_sent.is_some() || Instant::now() >= opened + order.forward_budget()
}

/// Both are standbys: does the candidate hold everything up to a clean end?
///
/// The old server, started again, replays its own log to the end; a candidate with the proof
/// holds at least as much.
async fn proof(cast: &Cast, old: &Status) -> Option<bool> {
    let end_of_old = old.replay.max(old.receive)?;
    let end = end_of_log(cast).await?;
    Some(end.is_some_and(|end| end >= end_of_old))
}

/// Where the candidate's log ends if it ends with a clean shutdown, all of it replayed; the outer
/// `None`: it cannot tell now.
async fn end_of_log(cast: &Cast) -> Option<Option<Lsn>> {
    let candidate = cast.candidate.status(LOOK).await.ok()?;
    let end = candidate.receive.max(candidate.replay)?;
    for since in looks_back(end) {
        match cast.candidate.last_record(since).await {
            Ok(record) => return Some(record.proves_clean_end().then_some(record.end)),
            // No record can be read from there.
            Err(ServerError::Sql { .. } | ServerError::Unexpected { .. }) => {}
            Err(_) => return None,
        }
    }
    Some(None)
}

/// Where to read from so that the last record of the log is found: a little back, and, where that
/// is in the empty rest of a segment, from the page that the log ends in.
///
/// # Source
/// With `archive_mode` a shutdown switches to a new segment before its checkpoint, which is then
/// the first record of that segment (`xlog.c`, `ShutdownXLOG`).
fn looks_back(end: Lsn) -> [Lsn; 2] {
    let page = end.0.saturating_sub(1) / PAGE * PAGE;
    [Lsn(end.0.saturating_sub(PAGE)), Lsn(page)]
}

/// A WAL page. A shutdown checkpoint is 114 bytes; one page covers it and what precedes it.
const PAGE: u64 = 8_192;

async fn promote_in_place(cast: &Cast, limit: Instant, log: &dyn Log) -> bool {
    if cast.candidate.disarm_promotion().await.is_err() {
        return false;
    }
    sleep(TRIGGER_NOTICED).await;
    match cast.candidate.status(LOOK).await {
        Ok(status) if status.in_recovery => {}
        _ => return false,
    }
    if promote(cast.old.as_ref(), limit).await.is_err() {
        return false;
    }
    log.note(Moment::OldPromoted);
    true
}

async fn go_forward(
    order: &Order,
    cast: &Cast,
    opened: Instant,
    failed: Reason,
    log: &dyn Log,
) -> Outcome {
    // A standby that is not reached here is re-pointed by the aftercare.
    repoint(order, cast, log).await;
    if let Err(reason) = finish_forward(order, cast, opened, log).await {
        log.note(Moment::Faltered { reason });
        resume_all(order, cast, log).await;
    }
    aftercare(order, cast, log).await;
    Outcome::HandedOver {
        recovered: Some(failed),
    }
}

async fn go_back(
    order: &Order,
    cast: &Cast,
    reason: Reason,
    in_place: bool,
    log: &dyn Log,
) -> Outcome {
    // Clients that go on must not wait for a candidate that is gone.
    let (_, ()) = futures::future::join(
        async {
            if order.make_synchronous {
                cast.old.release_standby().await
            } else {
                Ok(())
            }
        },
        resume_all(order, cast, log),
    )
    .await;
    withdraw(order, cast, log).await;
    follow_old(order, cast, log).await;
    Outcome::Undone { reason, in_place }
}

/// Standbys that were already re-pointed follow the old primary again.
async fn follow_old(order: &Order, cast: &Cast, log: &dyn Log) {
    let standbys = cast
        .others
        .iter()
        .zip(&order.others)
        .chain(std::iter::once((&cast.candidate, &order.candidate)));
    for (server, member) in standbys {
        let told = async {
            let status = server.reconnect(LOOK).await?;
            if streams_from(&status, &order.old.name) {
                return Ok(());
            }
            server.follow(&order.old_upstream_for(member)).await
        };
        if let Err(e) = told.await {
            log.note(Moment::Note {
                text: format!(
                    "{} could not be told to follow {}: {e}",
                    server.name(),
                    order.old.name
                ),
            });
        }
    }
}

fn describe(answer: &Result<Status, ServerError>) -> String {
    match answer {
        Ok(status) if status.in_recovery => "standby".to_owned(),
        Ok(_) => "primary".to_owned(),
        Err(e) => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Lsn, looks_back};

    #[test]
    fn the_first_record_of_a_segment_is_found() {
        const SEGMENT: u64 = 16 * 1024 * 1024;
        // The record begins after the long header of the segment's first page.
        let end = Lsn(7 * SEGMENT + 40 + 120);
        let [back, page] = looks_back(end);
        assert!(back.0 < 7 * SEGMENT, "in the rest of the segment before");
        assert_eq!(page, Lsn(7 * SEGMENT));
        // A log that ends with its page.
        assert_eq!(looks_back(Lsn(SEGMENT))[1], Lsn(SEGMENT - 8_192));
    }
}
