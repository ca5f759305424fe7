//! The hand-over of a replica set: look, prove, steer, ask the primary, and watch until a majority
//! agrees.
//!
//! The set elects by itself; what is steered is *who* is elected and *how soon its writes reach a
//! majority*:
//! - The others copy from the candidate beforehand. A primary that has stepped down finds nobody ahead
//!   of itself and looks again a second later; without a member that follows the new primary already,
//!   no write reaches a majority for that second.
//! - The others may not be elected for a minute, and the candidate is asked to stand as soon as the
//!   primary has stepped down. The primary hands the election to whom it likes; if that one may not be
//!   elected and nobody else stands, the set has no primary for the ten seconds of its election timeout.
//!
//! # Invariants
//! - The step-down is ordered once, without force, and only of a primary that a majority names, whose
//!   newest entry a majority has on disk and whose candidate is close behind. The candidate is asked to
//!   stand only once that one has stepped down, or is gone in the candidate's own view.
//! - Nothing in the configuration is changed. What is changed (who may be elected, who copies from
//!   whom) is put back on every path, and ends by itself if this process dies.
//! - An order whose candidate is the primary already is done.
//!
//! # Source
//! `_stepDown`, `_performElectionHandoff` and `getElectionHandoffCandidate` of MongoDB 6.0;
//! `BackgroundSync::_getRetrySleepMS` (1 s); measured in docs/patterns/mongodb.md.

mod election;

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::order::{CATCH_UP_SECONDS, FREEZE_SECONDS, MAX_LAG_SECONDS, Order};
use super::record::{Log, Moment, Outcome, Reason};
use super::server::{By, Hello, Server, ServerError, Status};

/// Deadline of one command before and after the step-down: a healthy server answers in
/// milliseconds; 2 s tells "slow" from "gone".
pub const COMMAND: Duration = Duration::from_secs(2);

/// A majority must have an entry within this time; what docs and drivers use for such a write.
const BARRIER: Duration = Duration::from_secs(10);

/// Everybody should have an entry within this time. A member on purpose behind never has: then it is only
/// two seconds spent before anybody waits.
const FLOW: Duration = Duration::from_secs(2);

/// A member changes whom it copies from when its next batch is there; an idle one after the 5 s for
/// which it waits for a batch at most.
const CHAIN: Duration = Duration::from_secs(8);

/// Pause between two looks at who copies from whom.
const CHAIN_LOOK: Duration = Duration::from_millis(50);

/// One look while there is no primary. A server that stands still must not hide what others say.
const GLANCE: Duration = Duration::from_millis(250);

/// The candidate is asked again to stand after this time: long enough for an election that is under
/// way, far below the election timeout.
const STAND_AGAIN: Duration = Duration::from_secs(1);

/// Members hear of a new primary by the next heartbeat (2 s); more than two of them.
const AGREE: Duration = Duration::from_secs(6);

/// Everybody who takes part.
pub struct Cast {
    /// Primary now.
    pub old: Box<dyn Server>,
    /// Primary afterwards.
    pub candidate: Box<dyn Server>,
    /// Every other member, in the order of the order.
    pub others: Vec<Box<dyn Server>>,
}

impl Cast {
    fn all(&self) -> impl Iterator<Item = &dyn Server> {
        [self.old.as_ref(), self.candidate.as_ref()]
            .into_iter()
            .chain(self.others.iter().map(AsRef::as_ref))
    }

    fn majority(&self) -> usize {
        (2 + self.others.len()) / 2 + 1
    }
}

/// Who is the primary, as the members say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The old primary takes writes, and a majority names it.
    Old,
    /// The candidate takes writes, and a majority names it.
    Candidate,
    /// Another member takes writes.
    Another(String),
    /// Nobody does, or several, or too few answer; what they say.
    Unclear(String),
}

/// Hands the set over.
pub async fn hand_over(order: &Order, cast: &Cast, log: &dyn Log) -> Outcome {
    let before = match prepare(order, cast, log).await {
        Ok(Prepared::AlreadyDone) => {
            // A process that died after the election may have left it so.
            thaw(cast, log).await;
            return Outcome::HandedOver {
                already: true,
                unsettled: Vec::new(),
            };
        }
        Ok(Prepared::Ready(before)) => before,
        Err(reason) => return undone(reason, false, log),
    };
    let outcome = steered(order, cast, &before, log).await;
    thaw(cast, log).await;
    if order.chain && matches!(outcome, Outcome::Undone { .. }) {
        // A member that copies from another secondary is as safe; only its way is longer.
        for other in &cast.others {
            let put_back = other.copy_from(&before.old, COMMAND).await;
            note_failure(
                log,
                other.as_ref(),
                "copies from another secondary still",
                put_back,
            );
        }
    }
    outcome
}

/// Takes back what a hand-over that was cut short may hold: who may be elected.
pub async fn release(cast: &Cast, log: &dyn Log) {
    // Opens every session, with more time than a glance has.
    look(cast).await;
    thaw(cast, log).await;
}

async fn steered(order: &Order, cast: &Cast, before: &Before, log: &dyn Log) -> Outcome {
    if order.chain {
        if chain(cast, before).await {
            log.note(Moment::Chained);
        } else {
            log.note(Moment::Note {
                text:
                    "the others do not copy from the successor: the pause will be a second longer"
                        .to_owned(),
            });
        }
    }
    let frozen = join_all(
        cast.others
            .iter()
            .map(|other| other.freeze(FREEZE_SECONDS, COMMAND)),
    );
    for (other, answer) in cast.others.iter().zip(frozen.await) {
        if let Err(e) = answer {
            let reason = Reason::NotReady(format!("{} could be elected: {e}", other.name()));
            return undone(reason, false, log);
        }
    }
    log.note(Moment::Frozen);
    // A member that has just changed whom it copies from may need a second until it follows again: before
    // the clients wait, and not while they do.
    let everybody = By::Members(cast.all().count());
    let flows = cast.old.barrier(&order.key, everybody, FLOW).await;
    note_failure(log, cast.old.as_ref(), "has a slow member", flows);
    // Last, so that nobody is behind when the clients wait.
    if let Err(e) = cast.old.barrier(&order.key, By::Majority, BARRIER).await {
        return undone(Reason::Behind(e.to_string()), false, log);
    }
    log.note(Moment::Barrier);

    let asked = Instant::now();
    log.note(Moment::Asked);
    let patience = Duration::from_secs(u64::from(CATCH_UP_SECONDS)) + COMMAND;
    let answer = cast
        .old
        .step_down(FREEZE_SECONDS, CATCH_UP_SECONDS, patience)
        .await;
    match answer {
        Ok(()) => log.note(Moment::SteppedDown),
        Err(ServerError::Refused { code, message, .. }) => {
            let reason = Reason::NotSteppedDown(format!("{message} ({code})"));
            return match look(cast).await {
                Standing::Old => undone(reason, true, log),
                // It stepped down for another reason meanwhile; what follows is seen.
                _ => elected(order, cast, before, asked, log).await,
            };
        }
        // It may have heard it: what follows is seen, not assumed.
        Err(e) => log.note(Moment::Note {
            text: format!("the order was sent, its answer is not known: {e}"),
        }),
    }
    elected(order, cast, before, asked, log).await
}

async fn elected(
    order: &Order,
    cast: &Cast,
    before: &Before,
    asked: Instant,
    log: &dyn Log,
) -> Outcome {
    if let Err(outcome) = election::watch(order, cast, before, asked, log).await {
        return outcome;
    }
    match cast
        .candidate
        .barrier(&order.key, By::Majority, BARRIER)
        .await
    {
        Ok(()) => log.note(Moment::Committed),
        Err(e) => log.note(Moment::Note {
            text: format!("no majority has the new primary's first entry yet: {e}"),
        }),
    }
    Outcome::HandedOver {
        already: false,
        unsettled: agree(cast, before, log).await,
    }
}

/// Who is the primary. Looks only, and opens sessions that are not open.
pub async fn look(cast: &Cast) -> Standing {
    let opened = join_all(cast.all().map(|server| async move {
        server.open(COMMAND).await?;
        server.hello(COMMAND).await
    }));
    let answers: Vec<Result<Hello, ServerError>> = opened.await;
    let writable: Vec<usize> = answers
        .iter()
        .enumerate()
        .filter(|(_, answer)| answer.as_ref().is_ok_and(|hello| hello.writable))
        .map(|(n, _)| n)
        .collect();
    let names: Vec<&str> = cast.all().map(Server::name).collect();
    if let [only] = writable[..]
        && let Ok(leader) = &answers[only]
    {
        let named = answers
            .iter()
            .flatten()
            .filter(|hello| hello.primary.as_deref() == Some(&leader.me))
            .count();
        if named >= cast.majority() {
            return match only {
                0 => Standing::Old,
                1 => Standing::Candidate,
                n => Standing::Another(names[n].to_owned()),
            };
        }
    }
    let said = names
        .iter()
        .zip(&answers)
        .map(|(name, answer)| match answer {
            Ok(hello) if hello.writable => format!("{name} takes writes"),
            Ok(hello) => format!(
                "{name} names {}",
                hello.primary.as_deref().unwrap_or("nobody")
            ),
            Err(e) => e.to_string(),
        });
    Standing::Unclear(said.collect::<Vec<_>>().join("; "))
}

fn describe(standing: &Standing) -> String {
    match standing {
        Standing::Old => "the old primary goes on".to_owned(),
        Standing::Candidate => "the successor is the primary".to_owned(),
        Standing::Another(name) => format!("{name} is the primary"),
        Standing::Unclear(what) => what.clone(),
    }
}

async fn glance(server: &dyn Server) -> Result<Hello, ServerError> {
    match server.hello(GLANCE).await {
        Err(ServerError::Disconnected { .. }) => {
            server.open(GLANCE).await?;
            server.hello(GLANCE).await
        }
        answer => answer,
    }
}

fn undone(reason: Reason, asked: bool, log: &dyn Log) -> Outcome {
    log.note(Moment::Faltered {
        reason: reason.clone(),
    });
    Outcome::Undone { reason, asked }
}

/// How the set stood.
struct Before {
    term: i64,
    /// Address of the old primary in the configuration.
    old: String,
    /// Address of the candidate.
    candidate: String,
}

enum Prepared {
    AlreadyDone,
    Ready(Before),
}

async fn prepare(order: &Order, cast: &Cast, log: &dyn Log) -> Result<Prepared, Reason> {
    let not_ready = |e: ServerError| Reason::NotReady(e.to_string());
    match look(cast).await {
        Standing::Candidate => return Ok(Prepared::AlreadyDone),
        Standing::Old => {}
        Standing::Another(name) => return Err(Reason::Another(name)),
        Standing::Unclear(what) => return Err(Reason::Unclear(what)),
    }
    let statuses = join_all(cast.all().map(|server| server.status(COMMAND))).await;
    let statuses: Vec<Status> = statuses
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(not_ready)?;
    let [old, candidate, ..] = &statuses[..] else {
        return Err(Reason::NotReady("nobody to ask".to_owned()));
    };
    for (server, status) in cast.all().zip(&statuses) {
        let primaries: Vec<&str> = status.primaries().collect();
        if primaries != [old.me.as_str()] || status.term != old.term {
            return Err(Reason::NotReady(format!(
                "{} sees {} as the primary in term {}, {} is it in term {}",
                server.name(),
                primaries.join(", "),
                status.term,
                order.old,
                old.term
            )));
        }
        let unwell = status.members.iter().find(|(_, peer)| {
            !peer.healthy || !["PRIMARY", "SECONDARY"].contains(&peer.state.as_str())
        });
        if let Some((host, peer)) = unwell {
            return Err(Reason::NotReady(format!(
                "{} sees {host} as {}",
                server.name(),
                peer.state
            )));
        }
    }
    // Each by its own word: what others know of it is as old as their last heartbeat.
    let newest = |status: &Status| status.members.get(&status.me).map_or(0, |me| me.optime);
    let lag_seconds = newest(old).saturating_sub(newest(candidate));
    if lag_seconds > MAX_LAG_SECONDS {
        return Err(Reason::Behind(format!(
            "{} is {lag_seconds} s behind",
            order.candidate
        )));
    }
    log.note(Moment::Ready {
        term: old.term,
        lag_seconds,
    });
    Ok(Prepared::Ready(Before {
        term: old.term,
        old: old.me.clone(),
        candidate: candidate.me.clone(),
    }))
}

/// The candidate copies from the primary and the others from the candidate. A server refuses to copy
/// from one that copies from it, so the candidate is first.
async fn chain(cast: &Cast, before: &Before) -> bool {
    let end = Instant::now() + CHAIN;
    follow(cast.candidate.as_ref(), &before.old, end).await && {
        let others = cast
            .others
            .iter()
            .map(|other| follow(other.as_ref(), &before.candidate, end));
        join_all(others).await.into_iter().all(|follows| follows)
    }
}

async fn follow(server: &dyn Server, host: &str, end: Instant) -> bool {
    let mut asked: Option<Instant> = None;
    while Instant::now() < end {
        let Ok(status) = server.status(COMMAND).await else {
            return false;
        };
        if status.copies_from.as_deref() == Some(host) {
            return true;
        }
        if asked.is_none_or(|at| at.elapsed() >= STAND_AGAIN) {
            // What it refuses now (a circle that is about to end) it may take in a second.
            if let Err(e) = server.copy_from(host, COMMAND).await {
                tracing::debug!(error = %e, "asked again");
            }
            asked = Some(Instant::now());
        }
        sleep(CHAIN_LOOK).await;
    }
    false
}

/// Everybody may be elected again. A primary refuses, because nothing holds it.
async fn thaw(cast: &Cast, log: &dyn Log) {
    let thawed = join_all(cast.all().map(|server| async move {
        match glance(server).await {
            Ok(hello) if hello.secondary => server.freeze(0, COMMAND).await,
            Ok(_) => Ok(()),
            Err(e) => Err(e),
        }
    }));
    let mut all = true;
    for (server, answer) in cast.all().zip(thawed.await) {
        all &= answer.is_ok();
        note_failure(log, server, "may not be elected for a minute yet", answer);
    }
    if all {
        log.note(Moment::Thawed);
    }
}

fn note_failure(log: &dyn Log, server: &dyn Server, what: &str, answer: Result<(), ServerError>) {
    if let Err(e) = answer {
        log.note(Moment::Note {
            text: format!("{} {what}: {e}", server.name()),
        });
    }
}

/// Who does not name the candidate in a later term when the time is up; nobody, as a rule.
async fn agree(cast: &Cast, before: &Before, log: &dyn Log) -> Vec<String> {
    let end = Instant::now() + AGREE;
    let mut noted = false;
    loop {
        let statuses = join_all(cast.all().map(|server| async move {
            server.open(COMMAND).await?;
            server.status(COMMAND).await
        }))
        .await;
        let mut term = before.term;
        let mut missing = Vec::new();
        for (server, status) in cast.all().zip(statuses) {
            match status {
                Ok(status)
                    if status.term > before.term
                        && status.primaries().eq([before.candidate.as_str()]) =>
                {
                    term = status.term;
                }
                _ => missing.push(server.name().to_owned()),
            }
        }
        let agreed = cast.all().count() - missing.len();
        if !noted && agreed >= cast.majority() {
            noted = true;
            log.note(Moment::Agreed { term });
        }
        if missing.is_empty() || Instant::now() >= end {
            return missing;
        }
        sleep(CHAIN_LOOK).await;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
