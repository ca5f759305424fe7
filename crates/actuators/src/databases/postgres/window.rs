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

use futures::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use super::lsn::Lsn;
use super::names::{self, Names};
use super::order::Order;
use super::pooler::Pooler;
use super::record::{Log, Moment, Outcome, Reason};
use super::recover::{self, Knowledge};
use super::server::{LastRecord, Server, ServerError, Status};

/// Deadline of one statement outside the window: a healthy server answers in milliseconds, a
/// loaded one in tens; 5 s tells "slow" from "gone".
pub const STATEMENT: Duration = Duration::from_secs(5);

/// Deadline of a checkpoint outside the window: it writes every dirty buffer.
pub const CHECKPOINT: Duration = Duration::from_secs(300);

/// Deadline of reading the candidate's catalogs: milliseconds in memory, a second or two from a
/// disk.
const WARM: Duration = Duration::from_secs(10);

/// Pause between two looks at a server inside the window.
///
/// 1 ms: measured hand-overs spend most of their time in PostgreSQL itself; a coarser poll would
/// add its half to each of four waits.
const LOOK: Duration = Duration::from_millis(1);

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
}

/// What [`prepare`] found, needed to open the window.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The old primary's start before the window.
    pub old_started: String,
}

/// Runs a whole hand-over: prepare, window, aftercare.
pub async fn hand_over(order: &Order, cast: &Cast, log: &dyn Log) -> Outcome {
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

/// Everything that can be done before any client waits.
///
/// # Errors
/// A check that does not hold; arming is taken back by [`withdraw`].
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
async fn settle_latency(cast: &Cast, log: &dyn Log) {
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

async fn rehearse(order: &Order, cast: &Cast, log: &dyn Log) -> Result<Status, Reason> {
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
async fn wait_until_level(order: &Order, cast: &Cast) -> Result<(), Reason> {
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

/// PAUSE to RESUME.
pub async fn open_window(
    order: &Order,
    cast: &Cast,
    prepared: &Prepared,
    log: &dyn Log,
) -> Outcome {
    let opened = Instant::now();
    log.note(Moment::PauseSent);
    if let Err(reason) = pause_all(order, cast).await {
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
    };
    let failed = match forward(order, cast, opened, &mut known, log).await {
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

async fn pause_all(order: &Order, cast: &Cast) -> Result<(), Reason> {
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

/// Stop, prove, promote, re-point, commit, reload, resume.
async fn forward(
    order: &Order,
    cast: &Cast,
    opened: Instant,
    known: &mut Knowledge,
    log: &dyn Log,
) -> Result<(), Reason> {
    let limit = opened + order.forward_budget();
    let before = cast
        .old
        .status(left(limit))
        .await
        .map_err(|e| Reason::StopFailed(e.to_string()))?;
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
    match cast.old.stop_fast().await {
        // The session ends with the server; that is the expected reply.
        Ok(()) | Err(ServerError::Disconnected { .. } | ServerError::NotReady { .. }) => {}
        Err(e) => return Err(Reason::StopFailed(e.to_string())),
    }

    let proof = prove(cast, flush, limit).await?;
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
    // Nobody waits for the others: their settings are written when the promotion no longer needs
    // the disks.
    let triggers = promote(cast.candidate.as_ref(), limit).await?;
    log.note(Moment::Promoted { triggers });
    let (clients, ()) = futures::future::join(
        finish_forward(order, cast, opened, log),
        repoint(order, cast, log),
    )
    .await;
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
        let reloads = join_all(cast.poolers.iter().map(|p| p.reload(left(limit)))).await;
        note_failures(cast, &reloads, "RELOAD", log);
        log.note(Moment::Reloaded);
        resume_all(order, cast, log).await;
    };
    let (committed, ()) = futures::future::join(commit, release).await;
    committed
}

async fn prove(cast: &Cast, since: Lsn, limit: Instant) -> Result<LastRecord, Reason> {
    let mut last = String::from("no answer yet");
    let mut look_at_old = Instant::now() + LOOK_AT_OLD;
    while Instant::now() < limit {
        match tokio::time::timeout_at(limit, cast.candidate.last_record(since)).await {
            Ok(Ok(record)) if record.proves_clean_end() => return Ok(record),
            Ok(Ok(record)) => {
                last = format!(
                    "last record ends at {}, received {}, replayed {}, clean shutdown {}",
                    record.end, record.receive, record.replay, record.shutdown_checkpoint
                );
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
        sleep(LOOK).await;
    }
    Err(Reason::NotProven(last))
}

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
        match server.is_primary(left(limit)).await {
            Ok(true) => return Ok(triggers),
            Ok(false) => {}
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

/// Takes back what [`prepare`] wrote. Best effort: what is left is named in the record.
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
