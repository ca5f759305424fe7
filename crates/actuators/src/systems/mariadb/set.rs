//! The hand-over of a set as a step does it: looked at, carried out, settled.
//!
//! Knows servers and pods, and neither Kubernetes nor SQL: a rehearsal brings modelled ones.

use std::sync::Arc;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey};
use ferriswheel_plan::databases::mariadb::WHOLE_LAG;
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::step::{Lag, MariadbTerms};

use super::super::Standing;
use super::super::attempts::{Attempts, acknowledge, ask};
use super::look::{self, Look};
use crate::databases::mariadb::order::Order;
use crate::databases::mariadb::record::{MemoryLog, Outcome, Record};
use crate::databases::mariadb::recover;
use crate::databases::mariadb::server::Server;
use crate::databases::mariadb::window::{self, Cast};
use crate::steps::{class, done, waiting};
use crate::world::{AskError, MemberPod};

/// The members of a set, and ways to them.
#[async_trait]
pub trait Servers: Send + Sync {
    /// Members by ordinal, each with a session that is kept from one look to the next.
    async fn everybody(&self) -> Result<Vec<(MemberPod, Arc<dyn Server>)>, AskError>;

    /// Everybody who takes part in a hand-over, with sessions of their own.
    async fn cast(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &MariadbTerms,
        key: &OperationKey,
    ) -> Result<(Order, Cast), AskError>;

    /// Keeps the record of an attempt for the report; the journal carries the same moments as evidence.
    fn keep(&self, from: &ObjectRef, record: &Record);
}

/// How every member stands now, asked at the same time.
///
/// # Errors
/// The members are not known; a server that does not answer is an answer.
pub async fn standing(servers: &dyn Servers, max_lag: Option<Lag>) -> Result<Standing, AskError> {
    Ok(look::standing(looks(servers).await?, max_lag).await)
}

async fn looks(servers: &dyn Servers) -> Result<Vec<Look>, AskError> {
    let asked = servers
        .everybody()
        .await?
        .into_iter()
        .map(|(member, server)| look::look(member, server));
    Ok(futures::future::join_all(asked).await)
}

/// Is the hand-over done, possible, left in the middle? It runs in the process that asks: what is in the middle nobody
/// is at, and it is not waited for.
///
/// # Errors
/// As [`standing`].
pub async fn observe(
    servers: &dyn Servers,
    from: &ObjectRef,
    to: &ObjectRef,
) -> Result<Observed, AskError> {
    let looks = looks(servers).await?;
    let astray = looks.iter().find(|look| look.is_astray(&to.name));
    let astray = astray.map(|look| look.member.pod.clone());
    let standing = look::standing(looks, Some(WHOLE_LAG)).await;
    if let Some(pod) = astray.filter(|_| standing.leads(to)) {
        return Ok(Observed::NotReady(waiting(
            &pod,
            format!("it does not copy from {to}"),
            "it is told to",
        )));
    }
    let followed = |_| done(format!("{to} is the primary, {from} follows it"));
    if let Some(observed) = standing.of_hand_over(from, to, followed) {
        // A member that was away is left with its old source, and nobody would see it later.
        let everybody: Vec<&ObjectRef> = standing.stands.iter().map(|s| &s.member.pod).collect();
        return Ok(match (observed, standing.awaited(&everybody)) {
            (Observed::Done(_), Some(on)) => Observed::InFlight(on),
            (observed, _) => observed,
        });
    }
    Ok(match standing.leaders.len() {
        0 => Observed::NotReady(waiting(
            to,
            "no member takes writes",
            "the hand-over is brought to an end",
        )),
        several => Observed::Diverged {
            expected: "one member that takes writes".to_owned(),
            found: format!("{several} of them"),
        },
    })
}

/// Hands over; every attempt with every check anew.
///
/// # Errors
/// It did not come about, or nobody knows whether it did.
pub async fn hand_over(
    servers: &dyn Servers,
    from: &ObjectRef,
    to: &ObjectRef,
    terms: &MariadbTerms,
    key: &OperationKey,
) -> Result<Ack, ActError> {
    let mut attempts = Attempts::default();
    while attempts.another().await {
        let (order, cast) = servers.cast(from, to, terms, key).await.map_err(class)?;
        let log = MemoryLog::new(key.0.clone());
        let outcome = window::hand_over(&order, &cast, &log).await;
        log.close(outcome.clone());
        let record = log.record();
        servers.keep(from, &record);
        match outcome {
            Outcome::HandedOver { unsettled, .. } => {
                return Ok(acknowledge(to, &record, "followed", &unsettled));
            }
            Outcome::Undone { reason, .. } => attempts.undone(reason.code(), &reason),
            Outcome::Unresolved { reason } => return Err(ask(reason.code(), &reason)),
        }
    }
    Err(attempts.over(from, "FW0241"))
}

/// Brings what a driver has left to one end or the other, and says who leads.
///
/// # Errors
/// The members do not say, or cannot be asked.
pub async fn settle(
    servers: &dyn Servers,
    from: &ObjectRef,
    to: &ObjectRef,
    terms: &MariadbTerms,
    key: &OperationKey,
) -> Result<Evidence, ActError> {
    let (order, cast) = servers.cast(from, to, terms, key).await.map_err(class)?;
    let log = MemoryLog::new(key.0.clone());
    let leader = match recover::settle(&order, &cast, &log).await {
        Outcome::HandedOver { .. } => to,
        Outcome::Undone { .. } => from,
        Outcome::Unresolved { reason } => return Err(ask(reason.code(), &reason)),
    };
    Ok(Evidence::one(format!(
        "{leader} is the primary, clients go on"
    )))
}
