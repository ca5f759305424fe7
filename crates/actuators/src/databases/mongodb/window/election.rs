//! Between the step-down and the successor's first write, with the clients waiting.
//!
//! # Invariants
//! - Nobody is asked to stand while another one may lead.
//! - A candidate that is not elected soon leaves nobody waiting: the old primary takes over again.
//! - Nobody waits for a silent member where those who answer prove that it can have nothing more.
//!
//! # Source
//! `replSetStepUp`, `replSetAbortPrimaryCatchUp` and `latestKnownOpTimeSinceHeartbeatRestart` of MongoDB 6.0: a
//! member that was elected takes no writes before every other one has answered a heartbeat or failed to
//! (`heartbeatTimeoutSecs`, 10 s).

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::{
    Before, COMMAND, Cast, GLANCE, STAND_AGAIN, Standing, describe, glance, look, millis,
    note_failure, thaw, undone,
};
use crate::databases::mongodb::order::Order;
use crate::databases::mongodb::record::{Log, Moment, Outcome, Reason};
use crate::databases::mongodb::server::Server;

/// Pause between two looks while there is no primary. 2 ms: an election takes 10 to 40 ms.
const LOOK: Duration = Duration::from_millis(2);

/// Who was asked to stand and takes no writes after this time may be elected and wait for a silent
/// member. Several times what an election takes.
const CATCHES_UP: Duration = Duration::from_millis(150);

/// A candidate that is silent for so long after the step-down may be gone, and nobody else may be
/// elected: the old primary takes over again. 1.5 s: six looks without an answer.
const SILENT: Duration = Duration::from_millis(1_500);

/// The same for one that answers and is not elected: five times asked to stand, a hundred times as
/// long as an election takes.
const RETREAT: Duration = Duration::from_secs(5);

/// Watches until the candidate takes writes, and does what helps it to.
///
/// # Errors
/// How it ended otherwise.
pub(super) async fn watch(
    order: &Order,
    cast: &Cast,
    before: &Before,
    asked: Instant,
    log: &dyn Log,
) -> Result<(), Outcome> {
    let mut stood: Option<Instant> = None;
    let mut heard = asked;
    let mut looked = asked;
    let mut old_stays = true;
    let mut retreats = false;
    loop {
        let who = if retreats { &cast.old } else { &cast.candidate };
        if stood.is_none_or(|at| at.elapsed() >= STAND_AGAIN) {
            old_stays = old_may_lead(cast).await;
            if !old_stays {
                let answer = who.stand(COMMAND).await;
                note_failure(log, who.as_ref(), "does not stand yet", answer);
                stood = Some(Instant::now());
            }
        }
        if let Ok(hello) = glance(cast.candidate.as_ref()).await {
            heard = Instant::now();
            if hello.writable {
                log.note(Moment::Elected);
                return Ok(());
            }
        }
        if stood.is_some_and(|at| at.elapsed() >= CATCHES_UP)
            && misses_nothing(cast, who.as_ref()).await
            && who.skip_catch_up(GLANCE).await.is_ok()
        {
            log.note(Moment::Note {
                text: format!("{} is elected and waits for nobody", who.name()),
            });
        }
        if looked.elapsed() >= STAND_AGAIN {
            looked = Instant::now();
            for other in &cast.others {
                if is_writable(other.as_ref()).await {
                    let reason = Reason::Another(other.name().to_owned());
                    log.note(Moment::Faltered {
                        reason: reason.clone(),
                    });
                    return Err(Outcome::Unresolved { reason });
                }
            }
        }
        if retreats && is_writable(cast.old.as_ref()).await {
            let reason = Reason::NotElected {
                after_ms: millis(asked.elapsed()),
                seen: "the old primary has taken over again".to_owned(),
            };
            return Err(undone(reason, true, log));
        }
        if asked.elapsed() >= order.window() {
            let seen = look(cast).await;
            let reason = Reason::NotElected {
                after_ms: millis(asked.elapsed()),
                seen: describe(&seen),
            };
            return Err(match seen {
                Standing::Old if old_stays => undone(reason, true, log),
                _ => {
                    log.note(Moment::Faltered {
                        reason: reason.clone(),
                    });
                    Outcome::Unresolved { reason }
                }
            });
        }
        let overdue = heard.elapsed() >= SILENT || asked.elapsed() >= RETREAT;
        if overdue && !retreats && !old_stays && nobody_leads(cast, before).await {
            retreats = true;
            stood = None;
            log.note(Moment::Note {
                text: "the successor is not elected: the old primary is asked to stand".to_owned(),
            });
            thaw(cast, log).await;
        }
        sleep(LOOK).await;
    }
}

async fn is_writable(server: &dyn Server) -> bool {
    glance(server).await.is_ok_and(|hello| hello.writable)
}

/// Who is elected takes writes once it has heard from everybody that it misses nothing, and waits for
/// ten seconds for one that is silent. If nobody who answers has more than it has, and the old primary
/// answers, there is nothing to miss.
async fn misses_nothing(cast: &Cast, who: &dyn Server) -> bool {
    let answers = join_all(cast.all().map(glance)).await;
    let own = cast
        .all()
        .zip(&answers)
        .find(|(server, _)| server.name() == who.name())
        .and_then(|(_, answer)| answer.as_ref().ok()?.newest);
    let old_answers = answers.first().is_some_and(Result::is_ok);
    old_answers
        && own.is_some()
        && answers
            .iter()
            .flatten()
            .all(|hello| !hello.writable && hello.newest <= own)
}

/// Nobody who answers knows of a primary but the old one, which has stepped down.
async fn nobody_leads(cast: &Cast, before: &Before) -> bool {
    let answers = join_all(cast.all().map(glance)).await;
    answers
        .iter()
        .flatten()
        .all(|hello| !hello.writable && hello.primary.as_ref().is_none_or(|one| *one == before.old))
}

/// Nobody is asked to stand against a primary that has not stepped down: those who vote do not ask
/// whether they still hear one. Of one that is silent here the candidate knows: it hears its
/// heartbeats, and stands by itself when they stay away for the election timeout.
async fn old_may_lead(cast: &Cast) -> bool {
    match glance(cast.old.as_ref()).await {
        Ok(hello) => hello.writable,
        Err(_) => glance(cast.candidate.as_ref())
            .await
            .is_ok_and(|hello| hello.primary.is_some()),
    }
}
