//! Before the window: every check that can be made and everything that can be armed while clients
//! go on.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::names;
use super::order::Order;
use super::record::{Log, Moment, Reason};
use super::server::{Server, ServerError, Status};
use super::window::{CHECKPOINT, Cast, STATEMENT, micros, millis};
/// Deadline of reading the candidate's catalogs: milliseconds in memory, a second or two from a
/// disk.
pub(super) const WARM: Duration = Duration::from_secs(10);

/// What [`prepare`] found, needed to open the window.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The old primary's start before the window.
    pub old_started: String,
}

/// Everything that can be done before any client waits.
///
/// # Errors
/// A check that does not hold; arming is taken back by [`withdraw`](super::aftercare::withdraw).
pub async fn prepare(order: &Order, cast: &Cast, log: &dyn Log) -> Result<Prepared, Reason> {
    let old = rehearse(order, cast, log).await?;
    names::wait_for_candidate(order, cast, log).await?;
    let not_ready = |what: &str, e: ServerError| Reason::NotReady(format!("{what}: {e}"));
    cast.candidate
        .ensure_slots(&order.slots_at_candidate())
        .await
        .map_err(|e| not_ready("slots on the candidate", e))?;
    cast.candidate
        .arm_promotion()
        .await
        .map_err(|e| not_ready("retry interval on the candidate", e))?;
    log.note(Moment::CandidateArmed);
    if let Err(e) = cast.candidate.warm(WARM).await {
        log.note(Moment::Note {
            text: format!("the candidate's catalogs could not be read beforehand: {e}"),
        });
    }

    cast.old
        .checkpoint(CHECKPOINT)
        .await
        .map_err(|e| not_ready("first checkpoint", e))?;
    settle_latency(cast, log).await;
    if order.crash_safe {
        // Before the second checkpoint: the process that writes it is the one that lets commits
        // wait, and reads its settings when it begins.
        require_candidate(cast, log).await?;
    }
    let began = Instant::now();
    cast.old
        .checkpoint(CHECKPOINT)
        .await
        .map_err(|e| not_ready("second checkpoint", e))?;
    log.note(Moment::Checkpointed {
        second_ms: millis(began.elapsed()),
    });

    cast.old
        .arm_standby(&order.upstream_for(&order.old))
        .await
        .map_err(|e| not_ready("arming the old primary", e))?;
    match cast.old.is_armed().await {
        Ok(true) => log.note(Moment::OldArmed),
        Ok(false) => {
            return Err(Reason::NotReady(
                "the old primary does not show what arming it wrote".to_owned(),
            ));
        }
        Err(e) => return Err(not_ready("reading back the arming", e)),
    }
    wait_until_level(order, cast).await?;
    Ok(Prepared {
        old_started: old.started,
    })
}

/// Has commits wait for the candidate where they do not yet, and waits until it counts.
async fn require_candidate(cast: &Cast, log: &dyn Log) -> Result<(), Reason> {
    let candidate = cast.candidate.name();
    let fail = |e: ServerError| Reason::NotReady(format!("making {candidate} synchronous: {e}"));
    let end = Instant::now() + STATEMENT;
    let mut asked = false;
    loop {
        let status = cast.old.status(STATEMENT).await.map_err(fail)?;
        if let Some(state) = synchronous_state(&status, candidate) {
            log.note(Moment::Synchronous {
                state: state.to_owned(),
            });
            return Ok(());
        }
        if !asked {
            asked = true;
            log.note(Moment::StandbyRequired);
            cast.old.require_standby(candidate).await.map_err(fail)?;
        } else if Instant::now() >= end {
            return Err(Reason::NotReady(format!(
                "{candidate} did not become a synchronous standby within {} s",
                STATEMENT.as_secs()
            )));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Commit latency right after a checkpoint is not the latency of every day; wait until a commit
/// is no slower than twice the fastest seen, at most 2 s.
pub(super) async fn settle_latency(cast: &Cast, log: &dyn Log) {
    let mut fastest = Duration::MAX;
    let end = Instant::now() + Duration::from_secs(2);
    let mut calm = 0;
    while Instant::now() < end && calm < 5 {
        let began = Instant::now();
        if let Err(e) = cast
            .old
            .commit_marker("ferriswheel: latency before the window", STATEMENT)
            .await
        {
            log.note(Moment::Note {
                text: format!("latency before the window could not be measured: {e}"),
            });
            return;
        }
        let took = began.elapsed();
        fastest = fastest.min(took);
        calm = if took <= fastest * 2 { calm + 1 } else { 0 };
        sleep(Duration::from_millis(20)).await;
    }
}

/// Every session stands, and every server and pooler is what the order says.
pub(super) async fn rehearse(order: &Order, cast: &Cast, log: &dyn Log) -> Result<Status, Reason> {
    let mut round_trips = Vec::new();
    let ask = async |server: &dyn Server| -> Result<(Status, u64), Reason> {
        let fail = |e: ServerError| Reason::NotReady(e.to_string());
        server.reconnect(STATEMENT).await.map_err(fail)?;
        let began = Instant::now();
        let status = server.status(STATEMENT).await.map_err(fail)?;
        Ok((status, micros(began.elapsed())))
    };
    let (old, rtt) = ask(cast.old.as_ref()).await?;
    round_trips.push((cast.old.name().to_owned(), rtt));
    let (candidate, rtt) = ask(cast.candidate.as_ref()).await?;
    round_trips.push((cast.candidate.name().to_owned(), rtt));
    for other in &cast.others {
        let (status, rtt) = ask(other.as_ref()).await?;
        if !status.in_recovery {
            return Err(Reason::NotReady(format!(
                "{} is not a standby",
                other.name()
            )));
        }
        round_trips.push((other.name().to_owned(), rtt));
    }
    for (pooler, address) in cast.poolers.iter().zip(&order.poolers) {
        let fail = |e: ServerError| Reason::NotReady(e.to_string());
        pooler.reconnect(STATEMENT).await.map_err(fail)?;
        let began = Instant::now();
        let entries = pooler.entries(STATEMENT).await.map_err(fail)?;
        round_trips.push((pooler.name().to_owned(), micros(began.elapsed())));
        for entry in entries.iter().filter(|e| address.entries.contains(&e.name)) {
            if entry.pool_mode == "session" {
                return Err(Reason::NotReady(format!(
                    "{} pools `{}` by session: PAUSE would wait for clients to leave",
                    pooler.name(),
                    entry.name
                )));
            }
            if entry.paused {
                return Err(Reason::NotReady(format!(
                    "{} has `{}` paused already",
                    pooler.name(),
                    entry.name
                )));
            }
        }
    }
    if old.in_recovery {
        return Err(Reason::NotReady(format!(
            "{} is not the primary",
            cast.old.name()
        )));
    }
    if !candidate.in_recovery {
        return Err(Reason::NotReady(format!(
            "{} is not a standby",
            cast.candidate.name()
        )));
    }
    if candidate.timeline != old.timeline {
        return Err(Reason::NotReady(format!(
            "{} is on timeline {}, the primary on {}",
            cast.candidate.name(),
            candidate.timeline,
            old.timeline
        )));
    }
    if order.crash_safe
        && !order.make_synchronous
        && synchronous_state(&old, cast.candidate.name()).is_none()
    {
        return Err(Reason::NotReady(format!(
            "{} is not a synchronous standby, but no loss in a crash is asked for",
            cast.candidate.name()
        )));
    }
    let blockers: Vec<_> = long_transactions(order, cast).await;
    if let Some(first) = blockers.first() {
        return Err(Reason::HeldByTransaction {
            pooler: "(before the window)".to_owned(),
            transactions: vec![first.clone()],
        });
    }
    log.note(Moment::Rehearsed {
        round_trips_us: round_trips,
    });
    Ok(old)
}

/// How commits wait for a standby, if they do.
fn synchronous_state<'a>(primary: &'a Status, standby: &str) -> Option<&'a str> {
    primary
        .followers
        .iter()
        .find(|f| f.name == standby && matches!(f.sync_state.as_str(), "sync" | "quorum"))
        .map(|f| f.sync_state.as_str())
}

async fn long_transactions(order: &Order, cast: &Cast) -> Vec<super::server::OpenTransaction> {
    if order.poolers.is_empty() {
        return Vec::new();
    }
    cast.old
        .open_transactions()
        .await
        .unwrap_or_default()
        .into_iter()
        .filter(|t| t.age_ms > order.pause_budget_ms)
        .collect()
}

/// The candidate streams and has replayed all but the last few bytes.
pub(super) async fn wait_until_level(order: &Order, cast: &Cast) -> Result<(), Reason> {
    let end = Instant::now() + STATEMENT;
    loop {
        let old = cast
            .old
            .status(STATEMENT)
            .await
            .map_err(|e| Reason::NotReady(e.to_string()))?;
        let follower = old
            .followers
            .iter()
            .find(|f| f.name == cast.candidate.name());
        let lag = match (follower, old.flush) {
            (Some(f), Some(flush)) if f.streaming => {
                f.replay.map(|replay| flush.bytes_since(replay))
            }
            _ => None,
        };
        match lag {
            Some(lag) if lag <= order.max_lag_bytes => return Ok(()),
            _ if Instant::now() < end => sleep(Duration::from_millis(10)).await,
            Some(lag) => {
                return Err(Reason::NotReady(format!(
                    "{} lags {lag} bytes",
                    cast.candidate.name()
                )));
            }
            None => {
                return Err(Reason::NotReady(format!(
                    "{} does not stream from the primary",
                    cast.candidate.name()
                )));
            }
        }
    }
}
