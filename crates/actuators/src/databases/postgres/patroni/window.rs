//! The hand-over that Patroni carries out, and the window around it.
//!
//! Nothing is armed and nothing is stopped here: the only act is one question. Until it is sent everything can be taken
//! back by RESUME; once it may have been sent, what became of it is seen, never asked for again.
//!
//! # Invariants
//! - The question is sent once an order, with leader and candidate named, and never as a failover.
//! - The candidate counts as the primary when its server takes writes *and* Patroni's own view names it.
//! - RESUME is sent on every path, at the latest when the window's budget is spent.

use std::time::Duration;

use futures::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::Asked;
use super::afterwards::{aftercare, follow_up};
use super::rest::{Answer, Carried, Certainty, Rest, RestError};
use crate::databases::postgres::lsn::Lsn;
use crate::databases::postgres::names;
use crate::databases::postgres::order::Order;
use crate::databases::postgres::prepare::{WARM, rehearse, settle_latency, wait_until_level};
use crate::databases::postgres::record::{Log, Moment, Outcome, Reason};
use crate::databases::postgres::server::{Server, Status};
use crate::databases::postgres::window::{
    CHECKPOINT, Cast, STATEMENT, finish_forward, millis, pause_all, resume_all,
};

/// Part of the window that is kept for RESUME on its way to every pooler. 300 ms: it takes milliseconds, and the watchdog
/// must not find the window open when its budget is spent.
const RESERVE: Duration = Duration::from_millis(300);

/// Longest wait inside the candidate's session before the others are looked at too.
const LOOK: Duration = Duration::from_millis(100);

/// Patroni answers after `max(10, loop_wait)` looks, a second each and two of them a look: half a minute holds its own
/// longest wait with the default settings. The answer is only told; whether it comes decides nothing.
const ANSWER: Duration = Duration::from_secs(30);

/// An old primary that takes sessions this long after Patroni has said that nothing came of it is not stopping: a fast
/// shutdown ends every session at once.
const STILL_IN_CHARGE: Duration = Duration::from_millis(250);

/// Runs a whole hand-over: look, checkpoint, window, aftercare.
pub(in crate::databases::postgres) async fn hand_over(
    order: &Order,
    asked: &Asked,
    cast: &Cast,
    log: &dyn Log,
) -> Outcome {
    if let Err(reason) = prepare(order, cast, log).await {
        log.note(Moment::Faltered {
            reason: reason.clone(),
        });
        log.note(Moment::Restored);
        return undone(reason);
    }
    let opened = Instant::now();
    log.note(Moment::PauseSent);
    if let Err(reason) = pause_all(order, cast).await {
        return taken_back(order, cast, reason, log).await;
    }
    log.note(Moment::Paused);
    let flush = match last_look(cast).await {
        Ok(flush) => flush,
        Err(reason) => return taken_back(order, cast, reason, log).await,
    };
    match ask(order, cast, opened, flush, log).await {
        Asking::Arrived => {}
        Asking::Refused(reason) => return taken_back(order, cast, reason, log).await,
        Asking::Unclear(reason) => {
            log.note(Moment::Faltered {
                reason: reason.clone(),
            });
            return follow_up(order, asked, cast, opened, Some(flush), reason, log).await;
        }
    }
    if let Err(reason) = finish_forward(order, cast, opened, log).await {
        log.note(Moment::Faltered { reason });
    }
    let outcome = proven(cast, Some(flush), None, log).await;
    aftercare(order, cast, log).await;
    outcome
}

/// What came of the question.
enum Asking {
    /// The candidate leads.
    Arrived,
    /// Patroni will not, or was not reached: nothing was begun.
    Refused(Reason),
    /// Nobody can say within the window.
    Unclear(Reason),
}

/// Everything that can be looked at and written before any client waits. Nothing of it has to be taken back.
async fn prepare(order: &Order, cast: &Cast, log: &dyn Log) -> Result<(), Reason> {
    rehearse(order, cast, log).await?;
    names::wait_for_candidate(order, cast, log).await?;
    let leader = rest_of(cast, &order.old.name)?;
    leader
        .takes_questions(STATEMENT)
        .await
        .map_err(|e| reason_of(&e))?;
    agrees(order, leader).await?;
    if let Err(e) = cast.candidate.warm(WARM).await {
        log.note(Moment::Note {
            text: format!("the candidate's catalogs could not be read beforehand: {e}"),
        });
    }
    let not_ready = |what: &str, e| Reason::NotReady(format!("{what}: {e}"));
    cast.old
        .checkpoint(CHECKPOINT)
        .await
        .map_err(|e| not_ready("first checkpoint", e))?;
    settle_latency(cast, log).await;
    let began = Instant::now();
    cast.old
        .checkpoint(CHECKPOINT)
        .await
        .map_err(|e| not_ready("second checkpoint", e))?;
    log.note(Moment::Checkpointed {
        second_ms: millis(began.elapsed()),
    });
    wait_until_level(order, cast).await?;
    // Minutes may have passed: whoever is asked must still see what was seen.
    agrees(order, leader).await
}

/// Patroni's own view allows the hand-over.
async fn agrees(order: &Order, leader: &Rest) -> Result<(), Reason> {
    let view = leader.view(STATEMENT).await.map_err(|e| reason_of(&e))?;
    let against = |what: String| Err(Reason::PatroniSilent(what));
    let (old, candidate) = (order.old.name.as_str(), order.candidate.name.as_str());
    if view.paused {
        return against("it is paused".to_owned());
    }
    if let Some(at) = view.scheduled {
        return against(format!("a switchover is scheduled: {at}"));
    }
    match view.leader() {
        Some(peer) if peer.name == old => {}
        Some(peer) => return against(format!("it sees {} lead, not {old}", peer.name)),
        None => return against("it sees no leader".to_owned()),
    }
    let Some(peer) = view.peer(candidate) else {
        return against(format!("it does not know {candidate}"));
    };
    if !peer.is_whole() {
        return against(format!("{candidate} is {}", peer.state));
    }
    if !peer.barred_by.is_empty() {
        return against(format!(
            "{candidate} has the tag {}",
            peer.barred_by.join(", ")
        ));
    }
    Ok(())
}

/// Where the log ends while nobody writes through a pooler; the primary is still one and the candidate receives.
async fn last_look(cast: &Cast) -> Result<Lsn, Reason> {
    let status = cast
        .old
        .status(ANSWER_IN_WINDOW)
        .await
        .map_err(|e| Reason::NotReady(e.to_string()))?;
    let receives = status
        .followers
        .iter()
        .any(|f| f.name == cast.candidate.name() && f.streaming);
    match (status.flush, receives) {
        (Some(flush), true) => Ok(flush),
        (None, _) => Err(Reason::NotReady(format!(
            "{} is not the primary any more",
            cast.old.name()
        ))),
        (_, false) => Err(Reason::NotReady(format!(
            "{} does not stream from the primary any more",
            cast.candidate.name()
        ))),
    }
}

/// One question, then looks until the candidate leads.
async fn ask(order: &Order, cast: &Cast, opened: Instant, flush: Lsn, log: &dyn Log) -> Asking {
    let limit = opened + order.window_budget().saturating_sub(RESERVE);
    let leader = match rest_of(cast, &order.old.name) {
        Ok(leader) => leader.clone(),
        Err(reason) => return Asking::Refused(reason),
    };
    log.note(Moment::SwitchoverSent { flush });
    let (told, mut answer) = oneshot::channel();
    let (from, to) = (order.old.name.clone(), order.candidate.name.clone());
    // Its own task: it waits for Patroni, and nobody waits for it.
    let _asking = Carried(tokio::spawn(async move {
        let _ = told.send(leader.switchover(&from, &to, ANSWER).await);
    }));
    let mut said: Option<String> = None;
    let seen = timeout_at(limit, look_until(order, cast, &mut answer, &mut said, log)).await;
    seen.unwrap_or_else(|_| {
        let said = said.unwrap_or_else(|| "Patroni has not answered yet".to_owned());
        Asking::Unclear(Reason::PromotionUnseen(said))
    })
}

/// Looks at everybody until it can be said what came of the question.
async fn look_until(
    order: &Order,
    cast: &Cast,
    answer: &mut oneshot::Receiver<Result<Answer, RestError>>,
    said: &mut Option<String>,
    log: &dyn Log,
) -> Asking {
    let mut in_charge_since: Option<Instant> = None;
    let mut promoted = false;
    loop {
        if said.is_none()
            && let Ok(answer) = answer.try_recv()
        {
            match understand(answer) {
                Err(reason) => return Asking::Refused(reason),
                Ok(text) => {
                    log.note(Moment::Answered { text: text.clone() });
                    *said = Some(text);
                }
            }
        }
        if leads(cast.candidate.as_ref(), LOOK).await {
            if !promoted {
                promoted = true;
                log.note(Moment::Promoted { triggers: 1 });
            }
            if sees_leader(cast, &order.candidate.name).await {
                log.note(Moment::LeaderSeen);
                return Asking::Arrived;
            }
            sleep(Duration::from_millis(10)).await;
            continue;
        }
        if let Some(leader) = another_leads(cast).await {
            return Asking::Unclear(Reason::PatroniElsewhere { leader });
        }
        // Said to be over, and the old primary goes on: clients need not wait for the budget.
        let Some(text) = said else {
            continue;
        };
        if !is_primary(cast.old.status(LOOK).await.ok().as_ref()) {
            in_charge_since = None;
        } else if in_charge_since.get_or_insert_with(Instant::now).elapsed() >= STILL_IN_CHARGE {
            return Asking::Unclear(Reason::PromotionUnseen(text.clone()));
        }
    }
}

/// What an answer means; the error: nothing was begun.
fn understand(answer: Result<Answer, RestError>) -> Result<String, Reason> {
    match answer {
        Ok(Answer::Done(text) | Answer::Unclear(text)) => Ok(text),
        Ok(Answer::Refused(text)) => Err(Reason::SwitchoverRefused(text)),
        Err(e) if e.certainty() == Certainty::NotDone => Err(reason_of(&e)),
        Err(e) => Ok(e.to_string()),
    }
}

/// Why a call that did nothing failed.
fn reason_of(error: &RestError) -> Reason {
    match error {
        RestError::Refused { .. } => Reason::SwitchoverRefused(error.to_string()),
        _ => Reason::PatroniSilent(error.to_string()),
    }
}

/// The server takes writes, as soon as it does, or after `patience`. One that cannot be asked does not.
pub(super) async fn leads(server: &dyn Server, patience: Duration) -> bool {
    // The statement itself waits; what comes on top is its way.
    match server
        .becomes_primary(patience, patience + ANSWER_IN_WINDOW)
        .await
    {
        Ok(leads) => leads,
        Err(_) => {
            let again = server.reconnect(ANSWER_IN_WINDOW).await;
            if again.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
            is_primary(again.ok().as_ref())
        }
    }
}

pub(super) fn is_primary(status: Option<&Status>) -> bool {
    status.is_some_and(|status| !status.in_recovery)
}

/// A member that was neither asked to go nor to come is the primary.
pub(super) async fn another_leads(cast: &Cast) -> Option<String> {
    let looks = join_all(cast.others.iter().map(|other| async move {
        let status = match other.status(LOOK).await {
            Ok(status) => Some(status),
            Err(_) => other.reconnect(ANSWER_IN_WINDOW).await.ok(),
        };
        is_primary(status.as_ref()).then(|| other.name().to_owned())
    }))
    .await;
    looks.into_iter().flatten().next()
}

/// Patroni's view names this member as the leader: its own Patroni's, or, if that does not answer, anybody's.
pub(super) async fn sees_leader(cast: &Cast, name: &str) -> bool {
    let (own, others): (Vec<&Rest>, Vec<&Rest>) =
        cast.patroni.iter().partition(|rest| rest.member() == name);
    for rest in own {
        if let Ok(names) = names_as_leader(rest, name).await {
            return names;
        }
    }
    let told = join_all(others.into_iter().map(|rest| names_as_leader(rest, name))).await;
    told.into_iter().any(|names| names == Ok(true))
}

async fn names_as_leader(rest: &Rest, name: &str) -> Result<bool, RestError> {
    let view = rest.view(ANSWER_IN_WINDOW).await?;
    Ok(view.leader().is_some_and(|peer| peer.name == name))
}

/// Deadline of one look inside the window that may take its time. 500 ms: Patroni reads its store for an answer and is in
/// the middle of a change, and a session that is opened anew hashes a password.
pub(super) const ANSWER_IN_WINDOW: Duration = Duration::from_millis(500);

fn rest_of<'a>(cast: &'a Cast, name: &str) -> Result<&'a Rest, Reason> {
    cast.patroni
        .iter()
        .find(|rest| rest.member() == name)
        .ok_or_else(|| {
            Reason::PatroniSilent(format!("nobody knows where the Patroni of {name} is"))
        })
}

/// The new primary's history begins where nothing acknowledged is missing.
///
/// While every client comes by a pooler that held it, nothing was acknowledged after `flush`; else it is the least that
/// must be there. The fork of the new timeline is where the candidate's log ended.
pub(super) async fn proven(
    cast: &Cast,
    flush: Option<Lsn>,
    recovered: Option<Reason>,
    log: &dyn Log,
) -> Outcome {
    let Some(flush) = flush else {
        return Outcome::HandedOver { recovered };
    };
    match cast.candidate.fork(STATEMENT).await {
        Ok(fork) if fork >= flush => {
            log.note(Moment::Proven {
                start: flush,
                end: fork,
            });
            Outcome::HandedOver { recovered }
        }
        Ok(fork) => unproven(
            format!("its timeline begins at {fork}, and the old primary had flushed {flush}"),
            log,
        ),
        Err(e) => unproven(format!("where its timeline begins is not known: {e}"), log),
    }
}

fn unproven(what: String, log: &dyn Log) -> Outcome {
    let reason = Reason::NotProven(what);
    log.note(Moment::Faltered {
        reason: reason.clone(),
    });
    Outcome::Unresolved { reason }
}

/// Nothing was begun: clients go on where they were.
async fn taken_back(order: &Order, cast: &Cast, reason: Reason, log: &dyn Log) -> Outcome {
    log.note(Moment::Faltered {
        reason: reason.clone(),
    });
    resume_all(order, cast, log).await;
    log.note(Moment::Restored);
    undone(reason)
}

fn undone(reason: Reason) -> Outcome {
    Outcome::Undone {
        reason,
        in_place: false,
    }
}
