//! The hand-over: lock the old primary, wait for its last position on the candidate, change the roles,
//! lead clients over.
//!
//! # Invariants
//! - Nobody is promoted before it has applied the last position that the locked primary named.
//! - The old primary is closed (`read_only`) before the candidate is opened: at no moment, whoever
//!   dies, do two members take writes.
//! - Before anything is decided, all that holds clients is a lock of one session, which ends with the
//!   session: with this process, or by the server's own limit when nobody hears of us.
//! - The old primary remembers the candidate as its source before the lock: after a restart at any
//!   later moment it is a replica that waits, never a second primary.
//! - An order whose candidate is the primary already is done.
//!
//! # Source
//! `PlannedReparentShard` of Vitess for the order of the steps and the fresh deadline of the way back;
//! docs/patterns/mariadb.md for what was measured.

use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_plan::world::GtidPosition;
use futures::future::{join, join_all};
use tokio::time::{Instant, sleep, timeout};

use super::order::Order;
use super::prepare::{Standing, Views, prepare};
use super::record::{Log, Moment, Outcome, Reason};
use super::recover;
use super::server::{Clients, Server, ServerError, Since, Source};

/// Deadline of one statement outside of the window: a healthy server answers in milliseconds, a
/// loaded one in tens; 5 s tells "slow" from "gone".
pub const STATEMENT: Duration = Duration::from_secs(5);

/// The lock outlives the window's budget by this: what ends it then is the server, because nobody
/// else did.
const HOLD: Duration = Duration::from_secs(2);

/// Clients that come to the old primary after the change are cut for this long after the route has
/// changed. 1.2 s: kube-proxy writes its rules at most once a second.
const STRAGGLERS: Duration = Duration::from_millis(1_200);

/// Pause between two looks for them: what such a client waits in vain.
const CUT_AGAIN: Duration = Duration::from_millis(20);

/// Members follow and have caught up within this time: they reconnect at once, and have little to
/// copy.
const SETTLE: Duration = Duration::from_secs(10);

/// Where new clients are led.
#[async_trait]
pub trait Route: Send + Sync {
    /// There is something that leads them.
    fn is_there(&self) -> bool;

    /// To the candidate from now on.
    async fn to_candidate(&self) -> Result<(), String>;

    /// To the old primary again.
    async fn to_old(&self) -> Result<(), String>;
}

/// Clients find the primary by themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRoute;

#[async_trait]
impl Route for NoRoute {
    fn is_there(&self) -> bool {
        false
    }

    async fn to_candidate(&self) -> Result<(), String> {
        Ok(())
    }

    async fn to_old(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Everybody who takes part.
pub struct Cast {
    /// Primary now.
    pub old: Box<dyn Server>,
    /// Primary afterwards.
    pub candidate: Box<dyn Server>,
    /// Every other member, in the order of the order.
    pub others: Vec<Box<dyn Server>>,
    /// Where clients are led.
    pub route: Box<dyn Route>,
}

impl Cast {
    pub(super) fn all(&self) -> impl Iterator<Item = &dyn Server> {
        [self.old.as_ref(), self.candidate.as_ref()]
            .into_iter()
            .chain(self.others.iter().map(AsRef::as_ref))
    }
}

/// Hands the set over.
pub async fn hand_over(order: &Order, cast: &Cast, log: &dyn Log) -> Outcome {
    let views = Views::of(cast).await;
    let refused = |reason: Reason| undone(reason, false, log);
    match views.standing(cast) {
        Standing::Candidate => recover::already(order, cast, &views, log).await,
        Standing::Old => match prepare(order, cast, &views, log).await {
            Ok(source) => open_window(order, cast, &source, log).await,
            Err(reason) => {
                recover::tidy(order, cast, log).await;
                refused(reason)
            }
        },
        Standing::Another(what) => refused(Reason::NotReady(what)),
        Standing::Nobody(what) | Standing::Unclear(what) => {
            let reason = Reason::Unclear(what);
            log.note(Moment::Faltered {
                reason: reason.clone(),
            });
            Outcome::Unresolved { reason }
        }
    }
}

pub(super) fn undone(reason: Reason, locked: bool, log: &dyn Log) -> Outcome {
    log.note(Moment::Faltered {
        reason: reason.clone(),
    });
    Outcome::Undone { reason, locked }
}

/// How far a window came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The candidate was told nothing.
    Waiting,
    /// It may have been promoted.
    Promoting,
}

async fn open_window(order: &Order, cast: &Cast, source: &Source, log: &dyn Log) -> Outcome {
    let asked = Instant::now();
    log.note(Moment::LockAsked);
    let hold = order.lock() + order.window() + HOLD;
    let last = match cast.old.lock(order.lock(), hold).await {
        Ok(last) => last,
        Err(e) => {
            let reason = Reason::NotLocked(e.to_string());
            return recover::undo(order, cast, reason, log).await;
        }
    };
    log.note(Moment::Locked {
        position: last.to_string(),
    });
    let mut stage = Stage::Waiting;
    let limit = asked + order.lock() + order.window();
    let (promoted, routed) = join(
        promote(order, cast, source, &last, limit, &mut stage, log),
        lead_over(order, cast, log),
    )
    .await;
    match promoted {
        Ok(()) => {
            let unsettled = finish(order, cast, source, routed, log).await;
            Outcome::HandedOver {
                already: false,
                unsettled,
            }
        }
        Err(reason) if stage == Stage::Waiting => recover::undo(order, cast, reason, log).await,
        Err(reason) => recover::recover(order, cast, source, reason, log).await,
    }
}

/// New clients go to the candidate from here on; until it is promoted it refuses their writes, and
/// what they have opened can write afterwards.
async fn lead_over(order: &Order, cast: &Cast, log: &dyn Log) -> Option<Instant> {
    if !cast.route.is_there() {
        return None;
    }
    match timeout(order.window(), cast.route.to_candidate()).await {
        Ok(Ok(())) => {
            log.note(Moment::Routed);
            Some(Instant::now())
        }
        Ok(Err(why)) => {
            note(
                log,
                format!("new clients still go to the old primary: {why}"),
            );
            None
        }
        Err(_) => {
            note(log, "new clients still go to the old primary".to_owned());
            None
        }
    }
}

async fn promote(
    order: &Order,
    cast: &Cast,
    source: &Source,
    last: &GtidPosition,
    limit: Instant,
    stage: &mut Stage,
    log: &dyn Log,
) -> Result<(), Reason> {
    let within = order.catch_up().min(left(limit));
    match cast.candidate.reaches(last, within).await {
        Ok(true) => log.note(Moment::CaughtUp),
        Ok(false) => {
            return Err(Reason::NotCaughtUp(format!(
                "{} has not reached {last} within {} ms",
                order.candidate.name,
                within.as_millis()
            )));
        }
        Err(e) => return Err(Reason::NotCaughtUp(e.to_string())),
    }
    let failed = |e: ServerError| Reason::NotPromoted(e.to_string());
    cast.old
        .close_locked(left(limit))
        .await
        .map_err(|e| Reason::NotPromoted(format!("the old primary was not closed: {e}")))?;
    log.note(Moment::Closed);
    if Instant::now() >= limit {
        return Err(Reason::NotPromoted(
            "the window's budget is spent".to_owned(),
        ));
    }
    if order.semi_sync {
        // The first commits wait for a replica.
        repoint(order, cast, source, log).await;
    }
    *stage = Stage::Promoting;
    cast.candidate.promote(left(limit)).await.map_err(failed)?;
    log.note(Moment::Promoted);
    Ok(())
}

/// From "the candidate takes writes" to "everybody follows it". Says who does not.
pub(super) async fn finish(
    order: &Order,
    cast: &Cast,
    source: &Source,
    routed: Option<Instant>,
    log: &dyn Log,
) -> Vec<String> {
    let old = async {
        cut(cast, Clients::All, log).await;
        if let Some(routed) = routed {
            while routed.elapsed() < STRAGGLERS {
                sleep(CUT_AGAIN).await;
                if let Err(e) = cast.old.cut_clients(Clients::Waiting, STATEMENT).await {
                    note(log, format!("late clients wait for the lock: {e}"));
                    break;
                }
            }
        }
        match cast.old.unlock(STATEMENT).await {
            Ok(()) => log.note(Moment::Released),
            Err(e) => note(log, format!("the lock ends by the server's own limit: {e}")),
        }
        if routed.is_some() {
            // Who came late and has only read until now would find out at its first write.
            cut(cast, Clients::All, log).await;
        }
        match cast.old.follow(source, Since::Everything, STATEMENT).await {
            Ok(()) => log.note(Moment::Followed),
            Err(e) => note(log, format!("{} does not follow yet: {e}", order.old.name)),
        }
    };
    let others = async {
        if !order.semi_sync {
            repoint(order, cast, source, log).await;
        }
    };
    join(old, others).await;
    settled(order, cast, log).await
}

async fn cut(cast: &Cast, which: Clients, log: &dyn Log) {
    match cast.old.cut_clients(which, STATEMENT).await {
        Ok(sessions) => log.note(Moment::Cut { sessions }),
        Err(e) => note(log, format!("clients of the old primary were not cut: {e}")),
    }
}

/// The others follow the candidate. One that cannot be told now must not hold up the clients.
async fn repoint(order: &Order, cast: &Cast, source: &Source, log: &dyn Log) {
    let told = join_all(
        cast.others
            .iter()
            .map(|other| other.follow(source, Since::Stopped, STATEMENT)),
    );
    for (member, answer) in order.others.iter().zip(told.await) {
        if let Err(e) = answer {
            note(log, format!("{} does not follow yet: {e}", member.name));
        }
    }
    log.note(Moment::Repointed);
}

/// Who does not follow the candidate, or has not what it had, when the time is up; nobody, as a rule.
pub(super) async fn settled(order: &Order, cast: &Cast, log: &dyn Log) -> Vec<String> {
    let end = Instant::now() + SETTLE;
    loop {
        let views = Views::of(cast).await;
        let leader = views.candidate.as_ref().map(|status| &status.binlog);
        let followers = std::iter::once((cast.old.as_ref(), &views.old))
            .chain(cast.others.iter().map(AsRef::as_ref).zip(&views.others));
        let asked = followers.map(|(server, view)| async move {
            let follows = view
                .as_ref()
                .is_ok_and(|status| status.read_only && status.follows(&order.candidate));
            let whole = follows
                && match leader {
                    Ok(position) => server
                        .reaches(position, left(end).min(STATEMENT))
                        .await
                        .unwrap_or(false),
                    Err(_) => false,
                };
            (!whole).then(|| server.name().to_owned())
        });
        let missing: Vec<String> = join_all(asked).await.into_iter().flatten().collect();
        if missing.is_empty() {
            log.note(Moment::Settled);
            return missing;
        }
        if Instant::now() >= end {
            return missing;
        }
        sleep(CUT_AGAIN).await;
    }
}

pub(super) fn note(log: &dyn Log, text: String) {
    log.note(Moment::Note { text });
}

pub(super) fn left(limit: Instant) -> Duration {
    limit.saturating_duration_since(Instant::now())
}
