//! What a driver does around the agent's window, over the modelled world.

use std::time::Duration;

use ferriswheel_actuators::databases::postgres::order::{Member, Order, PoolerAddress};
use ferriswheel_actuators::databases::postgres::record::{Outcome, Reason, Record};
use ferriswheel_actuators::databases::postgres::window::streams_from;
use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey};
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::step::PostgresTerms;
use tokio::time::{Instant, sleep};

use crate::actuator::{AGENT, Outside, WATCHDOG, ack, done, primary, slot_name, waiting};
use crate::agents;
use crate::postgres::server::status;
use crate::world::{Inner, NAMESPACE};

/// Longest wait for the agent's record to be closed.
const CLOSED: Duration = Duration::from_secs(900);

/// A configuration file reaches running pods after this time.
const FILE_SYNC: Duration = Duration::from_secs(1);

pub(crate) fn observe(world: &Inner, from: &ObjectRef, to: &ObjectRef) -> Observed {
    if let Some(record) = running_window(world) {
        return Observed::InFlight(waiting(
            to,
            format!("a window is under way: {}", last_moment(&record)),
            "the agent has closed its record",
        ));
    }
    let Some(leader) = primary(world) else {
        return Observed::NotReady(waiting(
            from,
            "no single primary answers",
            "exactly one primary answers",
        ));
    };
    if leader == from.name {
        return Observed::Ready;
    }
    if leader != to.name {
        return Observed::Diverged {
            expected: format!("{from} or {to} as the primary"),
            found: format!("{leader} is the primary"),
        };
    }
    for pod in world
        .postgres
        .processes
        .keys()
        .filter(|pod| **pod != to.name)
    {
        let streams =
            status(&world.postgres, pod).is_some_and(|status| streams_from(&status, &to.name));
        if !streams {
            return Observed::InFlight(waiting(
                pod,
                format!("it does not stream from {to} yet"),
                "its stream is up",
            ));
        }
    }
    let members = world
        .cluster
        .sets()
        .values()
        .map(|set| set.replicas)
        .sum::<u32>();
    if world.postgres.processes.len() < usize::try_from(members).unwrap_or(usize::MAX) {
        return Observed::InFlight(waiting(to, "a member is missing", "every member serves"));
    }
    if world
        .postgres
        .clients
        .poolers
        .values()
        .any(|pooler| pooler.paused || pooler.aimed != to.name)
    {
        return Observed::Ready;
    }
    if left_temporary(world) {
        return Observed::Ready;
    }
    done(format!(
        "{to} is the primary, {} standbys stream from it, every pooler aims at it",
        world.postgres.processes.len() - 1
    ))
}

pub(crate) async fn act(
    outside: &Outside,
    from: &ObjectRef,
    to: &ObjectRef,
    terms: &PostgresTerms,
    key: &OperationKey,
) -> Result<Ack, ActError> {
    let world = &outside.world;
    world.with(|inner| inner.count(format!("hand over to {}", to.name)));
    if world.with(|inner| primary(inner)).as_deref() == Some(&to.name) {
        return finish(outside, to).await;
    }
    let order = world.with(|inner| order(inner, from, to, terms, key));
    aim(outside, to).await;
    let (agent, watchdog) = world.with(|inner| {
        let uid = |pod: &str| {
            inner
                .cluster
                .pods()
                .get(pod)
                .filter(|pod| pod.ready)
                .map(|pod| pod.uid.clone())
        };
        (uid(AGENT), uid(WATCHDOG))
    });
    let (Some(agent), Some(watchdog)) = (agent, watchdog) else {
        return Err(ActError::Replan {
            expected: "agent and watchdog".to_owned(),
            found: "one of them is not there".to_owned(),
        });
    };
    agents::watch(world, &watchdog, &order, &outside.faults);
    agents::order(world, &agent, &order, &outside.faults);
    let record = closed(outside, &order).await?;
    conclude(outside, from, to, record).await
}

/// Waits until agent or watchdog has closed the record of an order.
async fn closed(outside: &Outside, order: &Order) -> Result<Record, ActError> {
    let end = Instant::now() + CLOSED;
    while Instant::now() < end {
        let (closed, lost) = outside.world.with(|inner| {
            let closed = ["agent", "watchdog"].iter().find_map(|task| {
                let record = inner.agents.get(*task)?.log.record();
                (record.key == order.key && record.outcome.is_some()).then_some(record)
            });
            let agent = inner.agents.get("agent");
            let watchdog_works = inner.agents.get("watchdog").is_some_and(|watchdog| {
                watchdog.is_alive() && agent.is_some_and(|a| a.log.record().window_is_open())
            });
            let lost = agent.is_none_or(|agent| !agent.is_alive()) && !watchdog_works;
            (closed, lost)
        });
        if let Some(record) = closed {
            return Ok(record);
        }
        if lost {
            return Err(ActError::Retry {
                after: Duration::from_secs(1),
                cause: "the agent does not answer".to_owned(),
            });
        }
        sleep(Duration::from_millis(20)).await;
    }
    Err(ActError::Retry {
        after: Duration::from_secs(1),
        cause: "the window is still under way".to_owned(),
    })
}

async fn conclude(
    outside: &Outside,
    from: &ObjectRef,
    to: &ObjectRef,
    record: Record,
) -> Result<Ack, ActError> {
    match &record.outcome {
        Some(Outcome::HandedOver { recovered }) => {
            let mut ack = finish(outside, to).await?;
            if let Some(reason) = recovered {
                ack.evidence
                    .0
                    .push(format!("recovered on the way: {} {reason}", reason.code()));
            }
            Ok(ack)
        }
        Some(Outcome::Undone { reason, in_place }) => {
            aim(outside, from).await;
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

async fn finish(outside: &Outside, to: &ObjectRef) -> Result<Ack, ActError> {
    aim(outside, to).await;
    outside.world.with(|inner| {
        for pooler in inner.postgres.clients.poolers.values_mut() {
            pooler.aimed.clone_from(&to.name);
            pooler.paused = false;
            pooler.held_since = None;
        }
    });
    Ok(ack(format!("{to} is the primary")))
}

pub(crate) async fn settle(
    outside: &Outside,
    from: &ObjectRef,
    to: &ObjectRef,
    terms: &PostgresTerms,
    key: &OperationKey,
) -> Result<Evidence, ActError> {
    let world = &outside.world;
    let end = Instant::now() + CLOSED;
    while let Some(record) = world.with(|inner| running_window(inner)) {
        if Instant::now() > end {
            return Err(ActError::AskHuman {
                code: "FW0211".to_owned(),
                cause: format!("the agent holds its record open: {}", last_moment(&record)),
            });
        }
        sleep(Duration::from_millis(200)).await;
    }
    let (leader, held) = world.with(|inner| (primary(inner), inner.postgres.clients.held()));
    match leader {
        Some(leader) if leader == to.name && !world.with(|inner| left_temporary(inner)) => {
            finish(outside, to).await?;
            return Ok(Evidence::one(format!("{to} is the primary, clients go on")));
        }
        Some(leader)
            if leader == from.name && !held && !world.with(|inner| is_armed(inner, from)) =>
        {
            aim(outside, from).await;
            return Ok(Evidence::one(format!(
                "{from} is the primary, clients go on"
            )));
        }
        _ => {}
    }
    let agent = world.with(|inner| {
        inner
            .cluster
            .pods()
            .get(AGENT)
            .filter(|pod| pod.ready)
            .map(|pod| pod.uid.clone())
    });
    let Some(agent) = agent else {
        return Err(ActError::Retry {
            after: Duration::from_secs(1),
            cause: "the agent is not ready".to_owned(),
        });
    };
    let order = world.with(|inner| order(inner, from, to, terms, key));
    agents::recover_now(world, &agent, &order, &outside.faults);
    Err(ActError::Retry {
        after: Duration::from_millis(500),
        cause: "the agent is ending a window that was left open".to_owned(),
    })
}

/// Aims the poolers' configuration file; the processes read it on RELOAD.
async fn aim(outside: &Outside, to: &ObjectRef) {
    let changed = outside.world.with(|inner| {
        let changed = inner.pooler_file != to.name;
        inner.pooler_file.clone_from(&to.name);
        changed
    });
    if changed {
        sleep(FILE_SYNC).await;
    }
}

/// A record that is not closed, of a process that is there.
fn running_window(world: &Inner) -> Option<Record> {
    let open = |task: &str| {
        let agent = world.agents.get(task).filter(|agent| agent.is_alive())?;
        let record = agent.log.record();
        record.outcome.is_none().then_some(record)
    };
    let watchdog_acts = open("watchdog").filter(|record| record.entries.iter().any(|_| true));
    open("agent").or(watchdog_acts)
}

/// An agent ended after the window and before it took back what was meant for the window only: a
/// short retry interval, and slots at the old primary that would pin its log.
fn left_temporary(world: &Inner) -> bool {
    world.agents.get("agent").is_some_and(|agent| {
        let record = agent.log.record();
        !agent.is_alive() && record.at("resumed").is_some() && record.at("restored").is_none()
    })
}

/// The primary's next start would be a standby's: left so, any restart would end in an outage.
fn is_armed(world: &Inner, pod: &ObjectRef) -> bool {
    world
        .postgres
        .disk_of(&pod.name)
        .is_some_and(|disk| disk.standby_signal)
}

fn order(
    world: &Inner,
    from: &ObjectRef,
    to: &ObjectRef,
    terms: &PostgresTerms,
    key: &OperationKey,
) -> Order {
    let member = |name: &str| Member {
        name: name.to_owned(),
        namespace: NAMESPACE.to_owned(),
        host: format!("{name}.pg.{NAMESPACE}.svc.cluster.local"),
        ip: "10.244.0.10".to_owned(),
        port: 5432,
        slot: Some(slot_name(name)),
    };
    Order {
        key: key.0.clone(),
        old: member(&from.name),
        candidate: member(&to.name),
        others: world
            .cluster
            .pods()
            .keys()
            .filter_map(|pod| pod.parse::<ObjectRef>().ok())
            .filter(|pod| world.postgres.processes.contains_key(&pod.name))
            .filter(|pod| pod != from && pod != to)
            .map(|pod| member(&pod.name))
            .collect(),
        poolers: world
            .postgres
            .clients
            .poolers
            .keys()
            .map(|name| PoolerAddress {
                name: name.clone(),
                namespace: NAMESPACE.to_owned(),
                ip: "10.244.0.20".to_owned(),
                port: 6432,
                entries: vec!["app".to_owned()],
            })
            .collect(),
        pause_budget_ms: terms.pause_budget_ms,
        window_budget_ms: terms.window_budget_ms,
        max_lag_bytes: 64 * 1024,
        crash_safe: terms.crash_safe,
        make_synchronous: terms.make_synchronous,
        patroni: None,
    }
}

fn last_moment(record: &Record) -> &'static str {
    record
        .entries
        .last()
        .map_or("accepted", |entry| entry.name())
}
