//! The hand-over: rehearse, arm, and the window from PAUSE to RESUME.
//!
//! The straight path is written top-down in [`hand_over`]. Whatever goes wrong after the window
//! opened ends in [`super::recover`], which decides by observation alone, so that the agent, the
//! watchdog and a later run come to the same end.
//!
//! # Invariants
//! - PAUSE is never sent before every session stands and the old primary is armed.
//! - The candidate is never promoted without [`LastRecord::proves_clean_end`].
//! - RESUME is sent on every path, at the latest when the window's budget is spent.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::aftercare::{aftercare, withdraw};
use super::lsn::Lsn;
use super::names::Names;
use super::order::Order;
use super::patroni;
use super::patroni::rest::Rest;
use super::pooler::Pooler;
use super::prepare::{Prepared, prepare};
use super::record::{Log, Moment, Outcome, Reason};
use super::recover::{self, Knowledge};
use super::server::{LOOK, LastRecord, Server, ServerError, Status};

/// Deadline of one statement outside the window: a healthy server answers in milliseconds, a
/// loaded one in tens; 5 s tells "slow" from "gone".
pub const STATEMENT: Duration = Duration::from_secs(5);

/// Deadline of a checkpoint outside the window: it writes every dirty buffer.
pub const CHECKPOINT: Duration = Duration::from_secs(300);

/// The trigger of a promotion is sent again after this time.
///
/// 20 ms: a startup process that lost the first trigger to a receiver restart sleeps the rest of
/// the retry interval; a second one wakes it (docs/patterns/postgres.md).
const TRIGGER_AGAIN: Duration = Duration::from_millis(20);

/// Everybody who takes part.
pub struct Cast {
    /// Primary now.
    pub old: Box<dyn Server>,
    /// Primary afterwards.
    pub candidate: Box<dyn Server>,
    /// Other members, in the order of the order.
    pub others: Vec<Box<dyn Server>>,
    /// Pooler processes, in the order of the order.
    pub poolers: Vec<Box<dyn Pooler>>,
    /// Where names lead.
    pub names: Box<dyn Names>,
    /// Patroni of every server, where it is asked.
    pub patroni: Vec<Rest>,
}

/// Runs a whole hand-over: prepare, window, aftercare.
pub async fn hand_over(order: &Order, cast: &Cast, log: &dyn Log) -> Outcome {
    if let Some(asked) = &order.patroni {
        return patroni::window::hand_over(order, asked, cast, log).await;
    }
    match prepare(order, cast, log).await {
        Ok(prepared) => open_window(order, cast, &prepared, log).await,
        Err(reason) => {
            log.note(Moment::Faltered {
                reason: reason.clone(),
            });
            withdraw(order, cast, log).await;
            Outcome::Undone {
                reason,
                in_place: false,
            }
        }
    }
}

/// PAUSE to RESUME.
pub async fn open_window(
    order: &Order,
    cast: &Cast,
    prepared: &Prepared,
    log: &dyn Log,
) -> Outcome {
    let opened = Instant::now();
    log.note(Moment::PauseSent);
    // The first look at the old primary costs no time of its own while clients are paused.
    let (paused, seen) = futures::future::join(
        pause_all(order, cast),
        cast.old.status(order.forward_budget()),
    )
    .await;
    if let Err(reason) = paused {
        log.note(Moment::Faltered {
            reason: reason.clone(),
        });
        resume_all(order, cast, log).await;
        withdraw(order, cast, log).await;
        return Outcome::Undone {
            reason,
            in_place: false,
        };
    }
    log.note(Moment::Paused);

    let mut known = Knowledge {
        old_started: Some(prepared.old_started.clone()),
        promotion_sent: Some(false),
        stop_sent: Some(false),
        proven: None,
    };
    let seen = seen.ok().filter(|_| opened.elapsed() <= FRESH);
    let failed = match forward(order, cast, opened, seen, &mut known, log).await {
        Ok(()) => {
            aftercare(order, cast, log).await;
            return Outcome::HandedOver { recovered: None };
        }
        Err(reason) => reason,
    };
    log.note(Moment::Faltered {
        reason: failed.clone(),
    });
    recover::recover(order, cast, opened, &known, failed, "agent", log).await
}

pub(super) async fn pause_all(order: &Order, cast: &Cast) -> Result<(), Reason> {
    let budget = order.pause_budget();
    let answers = join_all(cast.poolers.iter().map(|pooler| pooler.pause(budget))).await;
    for (pooler, answer) in cast.poolers.iter().zip(answers) {
        match answer {
            Ok(()) => {}
            Err(ServerError::Timeout { .. }) => {
                return Err(Reason::HeldByTransaction {
                    pooler: pooler.name().to_owned(),
                    transactions: cast.old.open_transactions().await.unwrap_or_default(),
                });
            }
            Err(e) => {
                return Err(Reason::PoolerLost {
                    pooler: pooler.name().to_owned(),
                    cause: e.to_string(),
                });
            }
        }
    }
    Ok(())
}

/// Age up to which a look at the old primary stands for the present: twice a usual PAUSE. A PAUSE
/// that a transaction held up takes up to its budget, and a stream may have broken meanwhile.
const FRESH: Duration = Duration::from_millis(50);

/// Stop, prove, promote, re-point, commit, reload, resume.
async fn forward(
    order: &Order,
    cast: &Cast,
    opened: Instant,
    seen: Option<Status>,
    known: &mut Knowledge,
    log: &dyn Log,
) -> Result<(), Reason> {
    let limit = opened + order.forward_budget();
    let before = match seen {
        Some(seen) => seen,
        None => cast
            .old
            .status(left(limit))
            .await
            .map_err(|e| Reason::StopFailed(e.to_string()))?,
    };
    let streaming = before
        .followers
        .iter()
        .any(|f| f.name == cast.candidate.name() && f.streaming);
    if !streaming {
        // A fast shutdown waits only for connected standbys.
        return Err(Reason::NotProven(
            "the candidate's stream broke before the stop".to_owned(),
        ));
    }
    let flush = before.flush.unwrap_or_default();
    known.stop_sent = Some(true);
    log.note(Moment::StopSent { flush });
    match cast.old.stop_armed().await {
        // The session ends with the server; that is the expected reply.
        Ok(()) | Err(ServerError::Disconnected { .. } | ServerError::NotReady { .. }) => {}
        Err(e) => return Err(Reason::StopFailed(e.to_string())),
    }

    let proof = prove(cast, flush, limit).await?;
    known.proven = Some(proof.end);
    log.note(Moment::Proven {
        start: proof.start,
        end: proof.end,
    });

    if Instant::now() >= limit {
        return Err(Reason::NotProven(
            "the proof came after the forward budget".to_owned(),
        ));
    }
    known.promotion_sent = Some(true);
    log.note(Moment::PromoteSent);
    let waited_for = before
        .followers
        .iter()
        .any(|f| matches!(f.sync_state.as_str(), "sync" | "quorum"));
    if waited_for {
        // The first commit waits for a standby, so the standbys are brought over meanwhile.
        let (promoted, ()) = futures::future::join(
            promote(cast.candidate.as_ref(), limit),
            repoint(order, cast, log),
        )
        .await;
        let triggers = promoted?;
        log.note(Moment::Promoted { triggers });
        return finish_forward(order, cast, opened, log).await;
    }
    // Nobody waits for the others: their settings are written when neither the promotion nor the
    // clients' first commits need the disks any more.
    let triggers = promote(cast.candidate.as_ref(), limit).await?;
    log.note(Moment::Promoted { triggers });
    let clients = finish_forward(order, cast, opened, log).await;
    sleep(FIRST_COMMITS).await;
    repoint(order, cast, log).await;
    clients
}

/// From "the candidate is a primary" to "clients go on". Idempotent; used by the recovery too.
///
/// The marker is committed beside RELOAD and RESUME, not before them: nothing would be undone if
/// it failed, and the clients' own commits wait for the same disk.
pub(super) async fn finish_forward(
    order: &Order,
    cast: &Cast,
    opened: Instant,
    log: &dyn Log,
) -> Result<(), Reason> {
    let limit = opened + order.window_budget();
    let commit = async {
        let lsn = cast
            .candidate
            .commit_marker("ferriswheel: first commit of the new primary", left(limit))
            .await
            .map_err(|e| Reason::NoCommit(e.to_string()))?;
        log.note(Moment::Committed { lsn });
        Ok(())
    };
    let release = async {
        // A console that was never opened, or broke, is opened once: whoever carries a window on has none yet.
        let reloads = join_all(cast.poolers.iter().map(|pooler| async move {
            match pooler.reload(left(limit)).await {
                Ok(()) => Ok(()),
                Err(_) => {
                    pooler.reconnect(left(limit)).await?;
                    pooler.reload(left(limit)).await
                }
            }
        }))
        .await;
        note_failures(cast, &reloads, "RELOAD", log);
        log.note(Moment::Reloaded);
        resume_all(order, cast, log).await;
    };
    let (committed, ()) = futures::future::join(commit, release).await;
    committed
}

async fn prove(cast: &Cast, since: Lsn, limit: Instant) -> Result<LastRecord, Reason> {
    let mut last = String::from("no answer yet");
    let mut replayed = since;
    let mut look_at_old = Instant::now() + LOOK_AT_OLD;
    while Instant::now() < limit {
        match tokio::time::timeout_at(limit, cast.candidate.last_record(since)).await {
            Ok(Ok(record)) if record.proves_clean_end() => return Ok(record),
            Ok(Ok(record)) => {
                last = format!(
                    "last record ends at {}, received {}, replayed {}, clean shutdown {}",
                    record.end, record.receive, record.replay, record.shutdown_checkpoint
                );
                replayed = record.replay;
            }
            Ok(Err(ServerError::Disconnected { cause, .. })) => {
                return Err(Reason::CandidateLost(cause));
            }
            Ok(Err(e)) => last = e.to_string(),
            Err(_) => break,
        }
        if Instant::now() >= look_at_old {
            look_at_old = Instant::now() + LOOK_AT_OLD;
            // A standby that was the primary sends no shutdown checkpoint any more: whatever the
            // candidate lacks now will not come.
            if let Ok(status) = cast.old.reconnect(LOOK_AT_OLD).await
                && status.in_recovery
            {
                return Err(Reason::NotProven(format!(
                    "{last}; the old primary is back as a standby"
                )));
            }
        }
        let waited = cast
            .candidate
            .replays_after(replayed, LOOK_AGAIN, left(limit));
        if waited.await.is_err() {
            // The next question finds out what is wrong.
            sleep(LOOK).await;
        }
    }
    Err(Reason::NotProven(last))
}

/// Longest wait for the candidate's replay before its log is looked at all the same. 20 ms: what is
/// waited for comes after 10 to 40 ms, and a look costs the server one of them.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Time that the clients have the disks for themselves. 100 ms: their sessions are opened anew and
/// have committed after 15 to 50 ms; for as long the other standbys lag, which an asynchronous set
/// allows.
const FIRST_COMMITS: Duration = Duration::from_millis(100);

/// Time between two looks whether the old primary is back. The proof takes a few milliseconds
/// when all is well, so these looks cost only a window that went wrong.
const LOOK_AT_OLD: Duration = Duration::from_millis(100);

/// Triggers the promotion until the server says that it is a primary.
pub(super) async fn promote(server: &dyn Server, limit: Instant) -> Result<u32, Reason> {
    let mut triggers = 0;
    let mut next = Instant::now();
    let mut last = String::from("still in recovery");
    while Instant::now() < limit {
        if Instant::now() >= next {
            triggers += 1;
            next = Instant::now() + TRIGGER_AGAIN;
            match server.promote().await {
                Ok(()) => {}
                Err(ServerError::Disconnected { cause, .. }) => {
                    return Err(Reason::CandidateLost(cause));
                }
                Err(e) => last = e.to_string(),
            }
        }
        let patience = next.saturating_duration_since(Instant::now());
        match server.becomes_primary(patience, left(limit)).await {
            Ok(true) => return Ok(triggers),
            Ok(false) => continue,
            Err(ServerError::Disconnected { cause, .. }) => {
                return Err(Reason::CandidateLost(cause));
            }
            Err(e) => last = e.to_string(),
        }
        sleep(LOOK).await;
    }
    Err(Reason::PromotionUnseen(last))
}

/// The other standbys follow the candidate. A standby that cannot be told now is told by the
/// aftercare; it must not hold up the clients.
pub(super) async fn repoint(order: &Order, cast: &Cast, log: &dyn Log) {
    let told = join_all(
        cast.others
            .iter()
            .zip(&order.others)
            .map(|(server, member)| async move {
                (
                    server.name(),
                    server.follow(&order.upstream_for(member)).await,
                )
            }),
    )
    .await;
    for (name, answer) in told {
        if let Err(e) = answer {
            log.note(Moment::Note {
                text: format!("{name} could not be re-pointed inside the window: {e}"),
            });
        }
    }
    log.note(Moment::Repointed);
}

/// RESUME on every pooler, opening a broken console once.
pub(super) async fn resume_all(order: &Order, cast: &Cast, log: &dyn Log) {
    let answers = join_all(cast.poolers.iter().map(|pooler| async move {
        match pooler.resume(STATEMENT).await {
            Ok(()) => Ok(()),
            Err(_) => {
                pooler.reconnect(STATEMENT).await?;
                pooler.resume(STATEMENT).await
            }
        }
    }))
    .await;
    note_failures(cast, &answers, "RESUME", log);
    debug_assert_eq!(order.poolers.len(), cast.poolers.len());
    log.note(Moment::Resumed);
}

fn note_failures(cast: &Cast, answers: &[Result<(), ServerError>], what: &str, log: &dyn Log) {
    for (pooler, answer) in cast.poolers.iter().zip(answers) {
        if let Err(e) = answer {
            log.note(Moment::Note {
                text: format!("{what} on {}: {e}", pooler.name()),
            });
        }
    }
}

/// Whether a standby's upstream is this pod: the first label of a host name is the pod's name.
pub fn streams_from(status: &Status, pod: &str) -> bool {
    status
        .streaming_from
        .as_deref()
        .is_some_and(|host| host.split('.').next() == Some(pod))
}

fn left(limit: Instant) -> Duration {
    limit.saturating_duration_since(Instant::now())
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
