//! The primary moves, once: what the engine does around the agent's window.
//!
//! Before the window the poolers' configuration file is aimed at the candidate: PgBouncer reads
//! it only on RELOAD, which the agent sends after the promotion. A pooler that is started again
//! between the two comes up aimed at the candidate.

mod poolers;
mod records;

use std::time::Duration;

use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey};
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::policy::PostgresSpec;
use ferriswheel_plan::step::PostgresTerms;
use tokio::time::{Instant, sleep};

use poolers::{aim_poolers, console, console_entries, holds, pooler_admin};
use records::{last_moment, lines, running_window, untidy, waited_for};

use super::seat::slot_name;
use super::{agents, class, done, roles, waiting};
use crate::agent::client::AgentClient;
use crate::agent::{PORT, Watch};
use crate::databases::postgres::console::resume;
use crate::databases::postgres::facts;
use crate::databases::postgres::order::{Order, PoolerAddress};
use crate::databases::postgres::patroni::Asked;
use crate::databases::postgres::record::{Outcome, Reason, Record};
use crate::databases::postgres::server::Status;
use crate::databases::postgres::session::Session;
use crate::databases::postgres::window::streams_from;
use crate::dial::Target;
use crate::kubernetes::poolers::names_pod;
use crate::systems::primary;
use crate::world::{AskError, LOOK, MemberState, World};

/// Longest wait for the agent's record to be closed: rehearsal, checkpoints, window, rejoin.
const AGENT: Duration = Duration::from_secs(900);

/// The candidate may lag this far when the window opens: less than a WAL page is replayed within
/// a millisecond.
const MAX_LAG_BYTES: u64 = 64 * 1024;

pub(crate) async fn observe(
    world: &World,
    database: &DatabaseName,
    from: &ObjectRef,
    to: &ObjectRef,
) -> Result<Observed, AskError> {
    let spec = world.postgres(database)?;
    if let Some(record) = running_window(world, spec).await? {
        return Ok(Observed::InFlight(waiting(
            to,
            format!("a window is under way: {}", last_moment(&record)),
            "the agent has closed its record",
        )));
    }
    let states = world.states(database).await?;
    let Some((leader, _)) = primary(&states) else {
        return Ok(Observed::NotReady(waiting(
            from,
            "no single primary answers",
            "exactly one primary answers",
        )));
    };
    if leader == from {
        return Ok(Observed::Ready);
    }
    if leader != to {
        return Ok(Observed::Diverged {
            expected: format!("{from} or {to} as the primary"),
            found: format!("{leader} is the primary"),
        });
    }
    if let Some(open) = unfinished(world, spec, &states, to).await? {
        return Ok(open);
    }
    if untidy(world, database, spec).await?.is_some() {
        return Ok(Observed::Ready);
    }
    Ok(done(format!(
        "{to} is the primary, {} standbys stream from it, every pooler aims at it",
        states.len() - 1
    )))
}

/// The candidate is the primary; what is still missing?
async fn unfinished(
    world: &World,
    spec: &PostgresSpec,
    states: &[MemberState],
    to: &ObjectRef,
) -> Result<Option<Observed>, AskError> {
    for state in states.iter().filter(|state| state.member.pod != *to) {
        let streams = state
            .status
            .as_ref()
            .is_ok_and(|status| receives_from(status, states, to));
        let elsewhere = state.status.as_ref().is_ok_and(|status| {
            status.streaming_from.is_some() && !receives_from(status, states, to)
        });
        if elsewhere {
            // It will not come by itself: nobody is on the window any more.
            return Ok(Some(Observed::Ready));
        }
        if !streams {
            return Ok(Some(Observed::InFlight(waiting(
                &state.member.pod,
                format!("it does not stream from {to} yet"),
                "its stream is up",
            ))));
        }
    }
    let admin = pooler_admin(world, spec).await?;
    for pooler in world.poolers(spec).await? {
        for entry in console_entries(world, &pooler, &admin).await? {
            let aimed_at_set = entry.host.as_deref().is_some_and(|host| {
                states
                    .iter()
                    .any(|state| names_pod(host, &state.member.pod.name))
            });
            let aimed = entry
                .host
                .as_deref()
                .is_some_and(|host| names_pod(host, &to.name));
            if aimed_at_set && (!aimed || entry.paused) {
                return Ok(Some(Observed::Ready));
            }
        }
    }
    if !roles::are_settled(world, spec, states, to).await? {
        return Ok(Some(Observed::Ready));
    }
    Ok(None)
}

/// Whether a standby's upstream is this member: its host is the pod's name, or its address, as Patroni writes it.
fn receives_from(status: &Status, states: &[MemberState], upstream: &ObjectRef) -> bool {
    let ip = states
        .iter()
        .find(|state| state.member.pod == *upstream)
        .and_then(|state| state.member.ip.as_deref());
    streams_from(status, &upstream.name) || (ip.is_some() && status.streaming_from.as_deref() == ip)
}

pub(crate) async fn act(
    world: &World,
    database: &DatabaseName,
    from: &ObjectRef,
    to: &ObjectRef,
    terms: &PostgresTerms,
    key: &OperationKey,
) -> Result<Ack, ActError> {
    let spec = world.postgres(database).map_err(class)?;
    let states = world.states(database).await.map_err(class)?;
    if primary(&states).is_some_and(|(leader, _)| leader == to) {
        return finish(world, spec, &states, from, to).await;
    }
    let order = order(world, spec, &states, from, to, terms, key)
        .await
        .map_err(class)?;
    aim_poolers(world, spec, from, to).await?;
    let (agent, watchdog) = agents::ensure(world, database).await?;
    let record = match run(world, spec, &order, &agent, &watchdog).await {
        Ok(record) => record,
        Err(e) => {
            // The window may be under way all the same; observation finds it.
            return Err(class(e));
        }
    };
    // For the report; the journal carries the same moments as evidence.
    let path = world
        .outside
        .artifacts
        .join(format!("window-{database}.json"));
    if let Ok(bytes) = serde_json::to_vec_pretty(&record)
        && let Err(e) = std::fs::write(&path, bytes)
    {
        tracing::warn!(path = %path.display(), error = %e, "the window's record could not be kept");
    }
    conclude(world, database, spec, from, to, record).await
}

/// Draws the consequences of a closed record.
async fn conclude(
    world: &World,
    database: &DatabaseName,
    spec: &PostgresSpec,
    from: &ObjectRef,
    to: &ObjectRef,
    record: Record,
) -> Result<Ack, ActError> {
    match &record.outcome {
        Some(Outcome::HandedOver { recovered }) => {
            let states = world.states(database).await.map_err(class)?;
            let mut ack = finish(world, spec, &states, from, to).await?;
            if let Some(what) = untidy(world, database, spec).await.map_err(class)? {
                return Err(ActError::Retry {
                    after: Duration::from_millis(500),
                    cause: format!("the hand-over left something behind: {what}"),
                });
            }
            ack.evidence.0.extend(lines(&record));
            if let Some(reason) = recovered {
                ack.evidence
                    .0
                    .push(format!("recovered on the way: {} {reason}", reason.code()));
            }
            Ok(ack)
        }
        Some(Outcome::Undone { reason, in_place }) => {
            let states = world.states(database).await.map_err(class)?;
            roles::settle(world, spec, &states, from)
                .await
                .map_err(class)?;
            aim_poolers(world, spec, to, from).await?;
            let how = if *in_place {
                "it was stopped and promoted in place"
            } else {
                "it was never stopped"
            };
            Err(ActError::AskHuman {
                code: reason.code().to_owned(),
                cause: format!("the hand-over was undone, {from} is the primary ({how}): {reason}"),
            })
        }
        // Nobody knows what became of it: it is settled by observation, then tried again.
        Some(Outcome::Unresolved {
            reason: Reason::AgentLost(cause),
        }) => Err(ActError::Retry {
            after: Duration::from_secs(1),
            cause: format!("the agent was lost: {cause}"),
        }),
        Some(Outcome::Unresolved {
            reason: reason @ Reason::PatroniElsewhere { leader },
        }) => {
            // Clients follow all the same; why it came so is for a person.
            let leader = from.sibling(leader);
            let states = world.states(database).await.map_err(class)?;
            aim_poolers(world, spec, to, &leader).await?;
            finish(world, spec, &states, from, &leader).await?;
            Err(ActError::AskHuman {
                code: reason.code().to_owned(),
                cause: reason.to_string(),
            })
        }
        Some(Outcome::Unresolved { reason }) => Err(ActError::AskHuman {
            code: reason.code().to_owned(),
            cause: reason.to_string(),
        }),
        None => Err(ActError::Retry {
            after: Duration::from_secs(1),
            cause: format!("the window is under way: {}", last_moment(&record)),
        }),
    }
}

/// The candidate is the primary: poolers aimed and awake, labels right.
async fn finish(
    world: &World,
    spec: &PostgresSpec,
    states: &[MemberState],
    from: &ObjectRef,
    to: &ObjectRef,
) -> Result<Ack, ActError> {
    roles::settle(world, spec, states, to)
        .await
        .map_err(class)?;
    aim_poolers(world, spec, from, to).await?;
    let admin = pooler_admin(world, spec).await.map_err(class)?;
    for pooler in world.poolers(spec).await.map_err(class)? {
        let entries = console_entries(world, &pooler, &admin)
            .await
            .map_err(class)?;
        let stale = entries.iter().any(|entry| {
            entry
                .host
                .as_deref()
                .is_some_and(|host| names_pod(host, &from.name))
        });
        let session = console(world, &pooler, &admin);
        session.open(LOOK).await.map_err(|e| class(e.into()))?;
        if stale {
            session
                .run("RELOAD", LOOK)
                .await
                .map_err(|e| class(e.into()))?;
        }
        for entry in entries.iter().filter(|entry| holds(entry, from, to)) {
            resume(&session, &entry.name, LOOK)
                .await
                .map_err(|e| class(e.into()))?;
        }
    }
    Ok(Ack {
        evidence: Evidence::one(format!("{to} is the primary")),
    })
}

pub(crate) async fn settle(
    world: &World,
    database: &DatabaseName,
    from: &ObjectRef,
    to: &ObjectRef,
    terms: &PostgresTerms,
    key: &OperationKey,
) -> Result<Evidence, ActError> {
    let spec = world.postgres(database).map_err(class)?;
    let end = Instant::now() + AGENT;
    while let Some(record) = running_window(world, spec).await.map_err(class)? {
        if Instant::now() > end {
            return Err(ActError::AskHuman {
                code: "FW0211".to_owned(),
                cause: format!(
                    "the agent holds its record open since {}",
                    last_moment(&record)
                ),
            });
        }
        sleep(Duration::from_millis(200)).await;
    }
    let states = world.states(database).await.map_err(class)?;
    let admin = pooler_admin(world, spec).await.map_err(class)?;
    let mut held = false;
    for pooler in world.poolers(spec).await.map_err(class)? {
        held |= console_entries(world, &pooler, &admin)
            .await
            .map_err(class)?
            .iter()
            .any(|entry| holds(entry, from, to));
    }
    let untidy = untidy(world, database, spec)
        .await
        .map_err(class)?
        .is_some();
    // Patroni may still do what it was asked, unless somebody has waited for it.
    let may_come = terms.patroni.is_some() && !waited_for(world, spec, key).await.map_err(class)?;
    match primary(&states) {
        Some((leader, _)) if leader == to && !untidy => {
            finish(world, spec, &states, from, to).await?;
            return Ok(Evidence::one(format!("{to} is the primary, clients go on")));
        }
        Some((leader, _)) if leader == from && !held && !untidy && !may_come => {
            roles::settle(world, spec, &states, from)
                .await
                .map_err(class)?;
            aim_poolers(world, spec, to, from).await?;
            return Ok(Evidence::one(format!(
                "{from} is the primary, clients go on"
            )));
        }
        _ => {}
    }
    // A window was left open and nobody is on it: the agent ends it by observation.
    let order = order(world, spec, &states, from, to, terms, key)
        .await
        .map_err(class)?;
    let (agent, _) = agents::ensure(world, database).await?;
    agent.recover(&order).await.map_err(|e| class(e.into()))?;
    Err(ActError::Retry {
        after: Duration::from_millis(500),
        cause: "the agent is ending a window that was left open".to_owned(),
    })
}

async fn order(
    world: &World,
    spec: &PostgresSpec,
    states: &[MemberState],
    from: &ObjectRef,
    to: &ObjectRef,
    terms: &PostgresTerms,
    key: &OperationKey,
) -> Result<Order, AskError> {
    let set = world.stateful_set(&spec.stateful_set).await?;
    let service = set.spec.service_name.clone().unwrap_or_default();
    let superuser = world.superuser(spec).await?;
    let mut slots = false;
    for state in states.iter().filter(|state| state.member.pod != *from) {
        let session = Session::new(
            &state.member.pod.name,
            Target {
                pod: state.member.pod.clone(),
                ip: state.member.ip.clone(),
                port: spec.port,
            },
            std::sync::Arc::clone(&world.outside.dial),
            superuser.clone(),
            "postgres",
        );
        slots |= facts::collect(&session).await?.0.slot.is_some();
    }
    let member = |pod: &ObjectRef| {
        let state = states
            .iter()
            .find(|state| state.member.pod == *pod)
            .ok_or_else(|| AskError::Absent {
                what: pod.to_string(),
            })?;
        let slot = slots.then(|| slot_name(&pod.name));
        world.order_member(spec, &service, &state.member, slot)
    };
    let mut others = Vec::new();
    for state in states {
        if state.member.pod != *from && state.member.pod != *to {
            others.push(member(&state.member.pod)?);
        }
    }
    let mut poolers = Vec::new();
    if !terms.poolers.is_empty() {
        let admin = pooler_admin(world, spec).await?;
        for pooler in world.poolers(spec).await? {
            let entries = console_entries(world, &pooler, &admin).await?;
            poolers.push(PoolerAddress {
                name: pooler.pod.name.clone(),
                namespace: pooler.pod.namespace.clone(),
                ip: pooler.ip.clone().ok_or_else(|| AskError::Absent {
                    what: format!("the address of {}", pooler.pod),
                })?,
                port: pooler.port,
                entries: entries
                    .into_iter()
                    .filter(|entry| {
                        entry.host.as_deref().is_some_and(|host| {
                            names_pod(host, &from.name) || names_pod(host, &to.name)
                        })
                    })
                    .map(|entry| entry.name)
                    .collect(),
            });
        }
    }
    Ok(Order {
        key: key.0.clone(),
        old: member(from)?,
        candidate: member(to)?,
        others,
        poolers,
        pause_budget_ms: terms.pause_budget_ms,
        window_budget_ms: terms.window_budget_ms,
        max_lag_bytes: MAX_LAG_BYTES,
        crash_safe: terms.crash_safe,
        make_synchronous: terms.make_synchronous,
        patroni: terms.patroni.as_ref().map(|patroni| Asked {
            port: patroni.port,
            afterwards_ms: patroni.afterwards_ms,
        }),
    })
}

/// Orders watchdog and agent, and waits until the agent closes its record.
///
/// Where a Service follows the primary, its labels are moved meanwhile.
async fn run(
    world: &World,
    spec: &PostgresSpec,
    order: &Order,
    agent: &AgentClient,
    watchdog: &AgentClient,
) -> Result<Record, AskError> {
    let home = world.home(&spec.stateful_set);
    let agent_ip = home
        .find(&world.outside.kube, "agent")
        .await?
        .and_then(|pod| pod.status?.pod_ip)
        .ok_or_else(|| AskError::Absent {
            what: "the address of the hand-over's agent".to_owned(),
        })?;
    watchdog
        .watch(&Watch {
            order: order.clone(),
            agent_pod: home.pod("agent").name,
            agent_ip,
            agent_port: PORT,
        })
        .await?;
    agent.order(order).await?;
    let mut labels = roles::Labels::of(world, spec, order).await?;
    let end = Instant::now() + AGENT;
    loop {
        let record = agent.glance().await;
        if let Ok(record) = &record {
            labels.follow(world, record, order).await?;
            if record.key == order.key && record.outcome.is_some() {
                return Ok(record.clone());
            }
        }
        if let Ok(seen) = watchdog.glance().await
            && seen.key == order.key
            && seen.outcome.is_some()
        {
            return Ok(seen);
        }
        if Instant::now() > end {
            return record.map_err(Into::into);
        }
        // In the window without a pooler clients wait for the labels, and the labels for this.
        let in_window = record.is_ok_and(|record| record.window_is_open());
        sleep(Duration::from_millis(if in_window { 5 } else { 20 })).await;
    }
}
