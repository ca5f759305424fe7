//! The hand-over of one shard as a step does it: looked at, carried out, settled.
//!
//! Knows servers and pods, and neither Kubernetes nor RESP: a rehearsal brings modelled ones.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey, WaitingOn};
use ferriswheel_plan::databases::redis::WHOLE_LAG;
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::step::{Lag, RedisTerms};
use tokio::time::{Instant, sleep};

use super::super::Standing;
use super::super::attempts::{AGAIN, Attempts, acknowledge, ask};
use super::look::{self, Look};
use crate::databases::redis::order::{Member, Order, SETTLE_MS};
use crate::databases::redis::record::{MemoryLog, Outcome, Record};
use crate::databases::redis::server::Server;
use crate::databases::redis::window::{self, Cast};
use crate::steps::{class, done, waiting};
use crate::world::{AskError, LOOK, MemberPod};

/// Pause between two looks at a failover that was ordered and whose end nobody saw.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The members of a cluster, and ways to them.
#[async_trait]
pub trait Servers: Send + Sync {
    /// Members by ordinal, each with a session that is kept from one look to the next.
    async fn everybody(&self) -> Result<Vec<(MemberPod, Arc<dyn Server>)>, AskError>;

    /// Sessions of their own, for one hand-over, in the order of the members.
    async fn apart(&self, members: &[&MemberPod]) -> Result<Vec<Box<dyn Server>>, AskError>;

    /// Port of clients.
    fn port(&self) -> u16;

    /// Keeps the record of an attempt for the report; the journal carries the same moments as evidence.
    fn keep(&self, from: &ObjectRef, record: &Record);
}

/// How every member stands now, asked at the same time.
///
/// # Errors
/// The members are not known; a server that does not answer is an answer.
pub async fn standing(servers: &dyn Servers, max_lag: Option<Lag>) -> Result<Standing, AskError> {
    Ok(look::standing(&looks(servers).await?, max_lag))
}

async fn looks(servers: &dyn Servers) -> Result<Vec<Look>, AskError> {
    let asked = servers
        .everybody()
        .await?
        .into_iter()
        .map(|(member, server)| look::look(member, server));
    Ok(futures::future::join_all(asked).await)
}

/// Is the hand-over done, possible, under way? Not possible while an election that the successor may have been part of
/// still counts: that passes by itself.
///
/// # Errors
/// As [`standing`].
pub async fn observe(
    servers: &dyn Servers,
    from: &ObjectRef,
    to: &ObjectRef,
) -> Result<Observed, AskError> {
    let standing = standing(servers, Some(WHOLE_LAG)).await?;
    let (old, new) = (standing.leader_of(from), standing.leader_of(to));
    if new == Some(from) && old == Some(from) {
        let unrested = unrested(servers, to).await?;
        return Ok(unrested.map_or(Observed::Ready, Observed::InFlight));
    }
    if new == Some(to) && old == Some(to) {
        // Every node says so, and the old primary follows.
        if let Some(waiting) = standing.awaited(&[to, from]) {
            return Ok(Observed::InFlight(waiting));
        }
        return Ok(done(format!(
            "{to} is the primary in the view of every node, {from} follows it"
        )));
    }
    if let Some(other) = new.filter(|leader| *leader != to && *leader != from) {
        return Ok(Observed::Diverged {
            expected: format!("{from} or {to} as the primary"),
            found: format!("{other} is the primary"),
        });
    }
    Ok(Observed::InFlight(waiting(
        to,
        format!(
            "{from} and {to} do not agree yet: {}, {}",
            old.map_or_else(|| "no answer".to_owned(), |pod| format!("{pod} leads")),
            new.map_or_else(|| "no answer".to_owned(), |pod| format!("{pod} leads")),
        ),
        "both say the same",
    )))
}

/// What the successor waits for, if an election of its own may still count.
async fn unrested(servers: &dyn Servers, to: &ObjectRef) -> Result<Option<WaitingOn>, AskError> {
    let everybody = servers.everybody().await?;
    let Some((_, server)) = everybody.iter().find(|(member, _)| member.pod == *to) else {
        return Ok(None);
    };
    // Who does not say it is refused by the hand-over itself, with the reason.
    let tenure = server.tenure(LOOK).await;
    let rest = tenure.map_or(Duration::ZERO, |tenure| tenure.rest());
    let words = format!(
        "an election that it may have been part of counts for {} s more",
        rest.as_secs()
    );
    Ok((!rest.is_zero()).then(|| waiting(to, words, "the servers have forgotten it")))
}

/// Everybody who takes part, with sessions of their own.
async fn cast(
    servers: &dyn Servers,
    from: &ObjectRef,
    to: &ObjectRef,
    terms: &RedisTerms,
    key: &OperationKey,
) -> Result<(Order, Cast), AskError> {
    let looks = looks(servers).await?;
    let named = |pod: &ObjectRef| {
        looks
            .iter()
            .find(|look| look.member.pod == *pod)
            .ok_or_else(|| AskError::Absent {
                what: pod.to_string(),
            })
    };
    let mut all = vec![named(from)?, named(to)?];
    all.extend(
        looks
            .iter()
            .filter(|look| look.member.pod != *from && look.member.pod != *to),
    );
    let member = |look: &Look| -> Result<Member, AskError> {
        Ok(Member {
            name: look.member.pod.name.clone(),
            namespace: look.member.pod.namespace.clone(),
            node_id: look.id().map_err(|why| AskError::Absent {
                what: format!("the node id of {} ({why})", look.member.pod),
            })?,
            ip: look.member.ip.clone().ok_or_else(|| AskError::Absent {
                what: format!("the address of {}", look.member.pod),
            })?,
            port: servers.port(),
        })
    };
    let others = all[2..]
        .iter()
        .map(|look| member(look))
        .collect::<Result<_, _>>()?;
    let mut order = Order::new(key.0.clone(), member(all[0])?, member(all[1])?, others);
    order.flip_ms = terms.window_budget_ms;
    let pods: Vec<&MemberPod> = all.iter().map(|look| &look.member).collect();
    let mut sessions = servers.apart(&pods).await?.into_iter();
    let mut next = || {
        sessions.next().ok_or_else(|| AskError::Absent {
            what: "a session with each member".to_owned(),
        })
    };
    let cast = Cast {
        old: next()?,
        candidate: next()?,
        others: sessions.collect(),
    };
    Ok((order, cast))
}

/// Hands over; every attempt with every check anew.
///
/// # Errors
/// It did not come about, or nobody knows whether it did.
pub async fn hand_over(
    servers: &dyn Servers,
    from: &ObjectRef,
    to: &ObjectRef,
    terms: &RedisTerms,
    key: &OperationKey,
) -> Result<Ack, ActError> {
    let mut attempts = Attempts::default();
    while attempts.another().await {
        let (order, cast) = cast(servers, from, to, terms, key).await.map_err(class)?;
        let log = MemoryLog::new(key.0.clone());
        let outcome = window::hand_over(&order, &cast, &log).await;
        log.close(outcome.clone());
        let record = log.record();
        servers.keep(from, &record);
        match outcome {
            Outcome::HandedOver {
                late_ms, unsettled, ..
            } => {
                let mut ack = acknowledge(to, &record, "said", &unsettled);
                let late = late_ms.map(|ms| format!("it took {ms} ms, longer than expected"));
                ack.evidence.0.extend(late);
                return Ok(ack);
            }
            Outcome::Undone { reason, asked } => {
                attempts.undone(reason.code(), &reason);
                // The shard's clients have waited for seconds, and the next election would be in vain: this
                // one is in its way for four times `cluster-node-timeout`.
                if asked {
                    attempts.give_up();
                }
            }
            Outcome::Unresolved { reason } => return Err(ask(reason.code(), &reason)),
        }
    }
    Err(attempts.over(from, "FW0201"))
}

/// A failover that was ordered is over after the servers' own time; then both say who leads.
///
/// # Errors
/// They do not agree, or cannot be asked.
pub async fn settle(
    servers: &dyn Servers,
    from: &ObjectRef,
    to: &ObjectRef,
) -> Result<Evidence, ActError> {
    let end = Instant::now() + Duration::from_millis(SETTLE_MS);
    loop {
        let standing = standing(servers, Some(WHOLE_LAG)).await.map_err(class)?;
        let over = Instant::now() >= end;
        match standing.leader_of(to) {
            Some(leader) if leader == to => {
                return Ok(Evidence::one(format!("{to} is the primary, clients go on")));
            }
            Some(leader) if leader == from && over && standing.leads(from) => {
                return Ok(Evidence::one(format!(
                    "{from} is the primary, clients go on"
                )));
            }
            _ if over => {
                return Err(ActError::Retry {
                    after: AGAIN,
                    cause: format!("{from} and {to} do not agree who leads"),
                });
            }
            _ => sleep(LOOK_AGAIN).await,
        }
    }
}
