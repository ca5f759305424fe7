//! What did not go straight: taken back, or finished, by what the members say.
//!
//! # Invariants
//! - The old primary is opened again only when the candidate itself says that it takes no writes, and
//!   nothing that was sent to it can be under way any more.
//! - Every way back has a deadline of its own: that of the window is spent.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::order::Order;
use super::prepare::{Standing, Views};
use super::record::{Log, Moment, Outcome, Reason};
use super::server::{ServerError, Since, Source};
use super::window::{Cast, STATEMENT, finish, note, settled, undone};

/// So long the candidate is asked what became of its promotion. 10 s: a stalled disk passes; who is
/// gone for longer is for a person to judge.
const ASK: Duration = Duration::from_secs(10);

/// Pause between two questions.
const AGAIN: Duration = Duration::from_millis(100);

/// The candidate was told nothing: clients go on where they are. If the old primary died meanwhile, it
/// is waited for, and what it is then decides.
pub(super) async fn undo(order: &Order, cast: &Cast, reason: Reason, log: &dyn Log) -> Outcome {
    let reopened = async {
        cast.old.open(STATEMENT).await?;
        let status = cast.old.status(STATEMENT).await?;
        if !status.rests() {
            return Err(ServerError::Unexpected {
                server: order.old.name.clone(),
                what: "it has restarted, and copies".to_owned(),
            });
        }
        cast.old.open_writes(STATEMENT).await?;
        cast.old.unlock(STATEMENT).await
    };
    match reopened.await {
        Ok(()) => log.note(Moment::Reopened),
        Err(e) => {
            note(log, format!("{reason}; then {}: {e}", order.old.name));
            if let Some(outcome) = wait_for_the_old(order, cast, &reason, log).await {
                return outcome;
            }
        }
    }
    route_back(cast, log).await;
    tidy(order, cast, log).await;
    follow_again(order, cast, log).await;
    undone(reason, true, log)
}

/// Until the members say who takes writes, or that nobody does. `None`: the old primary, as before.
async fn wait_for_the_old(
    order: &Order,
    cast: &Cast,
    reason: &Reason,
    log: &dyn Log,
) -> Option<Outcome> {
    let end = Instant::now() + ASK;
    loop {
        let views = Views::of(cast).await;
        let what = match views.standing(cast) {
            Standing::Old => return None,
            Standing::Candidate => return Some(already(order, cast, &views, log).await),
            Standing::Nobody(what) => {
                return Some(Box::pin(nobody(order, cast, &views, what, log)).await);
            }
            Standing::Another(what) | Standing::Unclear(what) => what,
        };
        if Instant::now() >= end {
            let reason = Reason::Unclear(format!("{reason}; then {what}"));
            log.note(Moment::Faltered {
                reason: reason.clone(),
            });
            return Some(Outcome::Unresolved { reason });
        }
        sleep(AGAIN).await;
    }
}

/// The old primary remembers no source.
pub(super) async fn tidy(order: &Order, cast: &Cast, log: &dyn Log) {
    let tidied = async {
        cast.old.open(STATEMENT).await?;
        let status = cast.old.status(STATEMENT).await?;
        if status.leads() && !status.sources.is_empty() {
            cast.old.detach(STATEMENT).await?;
        }
        Ok::<_, ServerError>(())
    };
    if let Err(e) = tidied.await {
        let old = &order.old.name;
        note(
            log,
            format!("{old} would be a replica after a restart: {e}"),
        );
    }
}

async fn route_back(cast: &Cast, log: &dyn Log) {
    if !cast.route.is_there() {
        return;
    }
    match cast.route.to_old().await {
        Ok(()) => log.note(Moment::RoutedBack),
        Err(why) => note(log, format!("new clients still go to the candidate: {why}")),
    }
}

/// Replicas that were told to leave the old primary come back to it.
async fn follow_again(order: &Order, cast: &Cast, log: &dyn Log) {
    let views = Views::of(cast).await;
    let source = Source {
        member: order.old.clone(),
        link: views.link(),
    };
    let replicas = std::iter::once((cast.candidate.as_ref(), &views.candidate))
        .chain(cast.others.iter().map(AsRef::as_ref).zip(&views.others));
    for (server, view) in replicas {
        let Ok(status) = view else { continue };
        if status.read_only && !status.follows(&order.old) {
            let followed = server.follow(&source, Since::Everything, STATEMENT).await;
            if let Err(e) = followed {
                note(log, format!("{} does not follow yet: {e}", server.name()));
            }
        }
    }
}

/// The candidate may have been promoted: it is asked until it says so or not.
pub(super) async fn recover(
    order: &Order,
    cast: &Cast,
    source: &Source,
    reason: Reason,
    log: &dyn Log,
) -> Outcome {
    note(log, reason.to_string());
    let end = Instant::now() + ASK;
    let mut seen = String::from("nothing");
    while Instant::now() < end {
        // A statement that was cut short could still be carried out after the answer.
        let asked = async {
            cast.candidate.quiet(STATEMENT).await?;
            cast.candidate.status(STATEMENT).await
        };
        match asked.await {
            Ok(status) if !status.read_only => {
                log.note(Moment::Promoted);
                let routed = cast.route.is_there().then(Instant::now);
                let unsettled = finish(order, cast, source, routed, log).await;
                return Outcome::HandedOver {
                    already: false,
                    unsettled,
                };
            }
            Ok(_) => return undo(order, cast, reason, log).await,
            Err(e) => seen = e.to_string(),
        }
        sleep(AGAIN).await;
    }
    let reason = Reason::Unclear(format!("{reason}; {}: {seen}", order.candidate.name));
    log.note(Moment::Faltered {
        reason: reason.clone(),
    });
    Outcome::Unresolved { reason }
}

/// The candidate is the primary: what is left to do is done.
pub(super) async fn already(order: &Order, cast: &Cast, views: &Views, log: &dyn Log) -> Outcome {
    let source = Source {
        member: order.candidate.clone(),
        link: views.link(),
    };
    if cast.route.is_there()
        && let Err(why) = cast.route.to_candidate().await
    {
        note(
            log,
            format!("new clients still go to the old primary: {why}"),
        );
    }
    let followers = std::iter::once((cast.old.as_ref(), &views.old))
        .chain(cast.others.iter().map(AsRef::as_ref).zip(&views.others));
    for (server, view) in followers {
        let Ok(status) = view else { continue };
        // By its own last transaction: that is how an old primary follows which has restarted. Its
        // position as a replica is still that of its time before.
        let aimed = status.sources.iter().any(|s| s.gtid == "Current_Pos");
        if status.follows(&order.candidate) && !aimed {
            continue;
        }
        // Of one that copies already its server takes care (`gtid_strict_mode`), and it may have been
        // asked a moment later than the primary.
        let position = status.position();
        let covered = !status.rests()
            || views
                .candidate
                .as_ref()
                .is_ok_and(|leader| leader.position().covers(&position));
        if !covered {
            let reason = Reason::Diverged(format!("{} is at {position}", server.name()));
            log.note(Moment::Faltered {
                reason: reason.clone(),
            });
            return Outcome::Unresolved { reason };
        }
        let told = async {
            server.close_writes(STATEMENT).await?;
            server.follow(&source, Since::Everything, STATEMENT).await
        };
        if let Err(e) = told.await {
            note(log, format!("{} does not follow yet: {e}", server.name()));
        }
    }
    Outcome::HandedOver {
        already: true,
        unsettled: settled(order, cast, log).await,
    }
}

/// Brings a hand-over whose process is gone to one end or the other, by what the members say.
pub async fn settle(order: &Order, cast: &Cast, log: &dyn Log) -> Outcome {
    let views = Views::of(cast).await;
    match views.standing(cast) {
        Standing::Candidate => already(order, cast, &views, log).await,
        Standing::Old => {
            route_back(cast, log).await;
            tidy(order, cast, log).await;
            let reason = Reason::NotReady("its process is gone".to_owned());
            Outcome::Undone {
                reason,
                locked: false,
            }
        }
        Standing::Nobody(what) => nobody(order, cast, &views, what, log).await,
        Standing::Another(what) | Standing::Unclear(what) => {
            let reason = Reason::Unclear(what);
            log.note(Moment::Faltered {
                reason: reason.clone(),
            });
            Outcome::Unresolved { reason }
        }
    }
}

/// The old primary was closed and nobody was opened. Forward if the candidate has everything, else
/// back.
async fn nobody(order: &Order, cast: &Cast, views: &Views, what: String, log: &dyn Log) -> Outcome {
    let (Ok(old), Ok(candidate)) = (&views.old, &views.candidate) else {
        return Outcome::Unresolved {
            reason: Reason::Unclear(what),
        };
    };
    let reason = Reason::NotPromoted("its process is gone".to_owned());
    // It takes no writes: what it has is all there is.
    let last = old.position();
    let caught_up = candidate.position().covers(&last)
        || cast
            .candidate
            .reaches(&last, STATEMENT)
            .await
            .unwrap_or(false);
    if !caught_up {
        // It may have restarted as a replica of the candidate.
        let reopened = async {
            cast.old.detach(STATEMENT).await?;
            cast.old.open_writes(STATEMENT).await
        };
        if let Err(e) = reopened.await {
            let reason = Reason::Unclear(format!("{reason}; then {}: {e}", order.old.name));
            return Outcome::Unresolved { reason };
        }
        log.note(Moment::Reopened);
        route_back(cast, log).await;
        follow_again(order, cast, log).await;
        return undone(reason, true, log);
    }
    log.note(Moment::CaughtUp);
    let source = Source {
        member: order.candidate.clone(),
        link: views.link(),
    };
    match cast.candidate.promote(STATEMENT).await {
        Ok(()) => {
            log.note(Moment::Promoted);
            let views = Views::of(cast).await;
            already(order, cast, &views, log).await
        }
        Err(e) => {
            let reason = Reason::NotPromoted(e.to_string());
            recover(order, cast, &source, reason, log).await
        }
    }
}
