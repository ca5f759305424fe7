//! What the agents' records say: whether a window is open, what it left, and what happened in it.

use ferriswheel_engine::actuator::OperationKey;
use ferriswheel_plan::ids::DatabaseName;
use ferriswheel_plan::policy::PostgresSpec;

use crate::agent::RECOVERY;
use crate::databases::postgres::record::{Outcome, Reason, Record};
use crate::kubernetes::pods::Home;
use crate::steps::agents;
use crate::steps::hand_over::receives_from;
use crate::systems::primary;
use crate::world::{AskError, LOOK, World};

/// The record of a window that somebody is on, agent or watchdog.
///
/// # Errors
/// Nobody can tell: the agent does not answer, and its watchdog has not ended the window.
pub(super) async fn running_window(
    world: &World,
    spec: &PostgresSpec,
) -> Result<Option<Record>, AskError> {
    let home = world.home(&spec.stateful_set);
    let (agent, watchdog) = futures::future::join(
        record_of(world, &home, "agent"),
        record_of(world, &home, "watchdog"),
    )
    .await;
    // A watchdog that does not answer does nothing that the agent's record would not show.
    let watchdog = watchdog.ok().flatten();
    if let Some(seen) = &watchdog
        && seen.is_under_way()
    {
        return Ok(watchdog);
    }
    let ended = |key: &str| {
        watchdog
            .as_ref()
            .is_some_and(|seen| seen.key == key && seen.outcome.is_some())
    };
    let watched = |key: &str| {
        watchdog
            .as_ref()
            .is_some_and(|seen| seen.key == key && seen.outcome.is_none())
    };
    match agent {
        Ok(None) => Ok(None),
        Ok(Some(record)) => {
            let open = !record.key.is_empty() && record.outcome.is_none() && !ended(&record.key);
            // What an earlier process of the agent left open is the watchdog's, if it watched.
            let somebody = !record.abandoned || watched(&record.key);
            Ok((open && somebody).then_some(record))
        }
        Err(_) if watchdog.as_ref().is_some_and(|seen| ended(&seen.key)) => Ok(None),
        Err(e) => Err(e),
    }
}

pub(super) async fn record_of(
    world: &World,
    home: &Home,
    task: &str,
) -> Result<Option<Record>, AskError> {
    Ok(match world.agent(home, task).await? {
        Some(agent) => Some(agent.record().await?),
        None => None,
    })
}

/// What a window that is over left behind: an armed primary, a short retry interval, a standby that
/// follows a server which is none, or whatever an agent had that ended before it took things back.
pub(super) async fn untidy(
    world: &World,
    database: &DatabaseName,
    spec: &PostgresSpec,
) -> Result<Option<String>, AskError> {
    let home = world.home(&spec.stateful_set);
    let mut records = Vec::new();
    for task in agents::TASKS {
        // A record that cannot be had is made up for by what the servers show.
        if let Ok(Some(record)) = record_of(world, &home, task).await {
            records.push(record);
        }
    }
    let restored = records.iter().any(|record| record.at("restored").is_some());
    let ended = records
        .iter()
        .find(|record| !record.entries.is_empty() && record.outcome.is_some());
    if let (Some(record), false) = (ended, restored) {
        return Ok(Some(format!(
            "its record ends with {}",
            last_moment(record)
        )));
    }
    let superuser = world.superuser(spec).await?;
    let states = world.states(database).await?;
    for state in &states {
        // A standby that is away is waited for elsewhere.
        let Ok(status) = &state.status else {
            continue;
        };
        let server = world.server(database, spec, &state.member, &superuser);
        if let Some(what) = server.left_over(LOOK).await?.first() {
            return Ok(Some(format!("{}: {what}", state.member.pod)));
        }
        if let Some((leader, _)) = primary(&states)
            && let Some(host) = &status.streaming_from
            && !receives_from(status, &states, leader)
        {
            return Ok(Some(format!(
                "{} streams from {host}, and {leader} is the primary",
                state.member.pod
            )));
        }
    }
    Ok(None)
}

/// Whether somebody has seen the end of this order: a record that a living process closed, of the hand-over or of its
/// recovery.
pub(super) async fn waited_for(
    world: &World,
    spec: &PostgresSpec,
    key: &OperationKey,
) -> Result<bool, AskError> {
    let home = world.home(&spec.stateful_set);
    for task in agents::TASKS {
        let Ok(Some(record)) = record_of(world, &home, task).await else {
            continue;
        };
        let lost = matches!(
            record.outcome,
            None | Some(Outcome::Unresolved {
                reason: Reason::AgentLost(_)
            })
        );
        if !lost && (record.key == key.0 || record.key == format!("{}{RECOVERY}", key.0)) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn last_moment(record: &Record) -> &'static str {
    record
        .entries
        .last()
        .map_or("accepted", |entry| entry.name())
}

/// The record as evidence: every moment with its time relative to PAUSE.
pub(super) fn lines(record: &Record) -> Vec<String> {
    let origin = record.at("pauseSent").unwrap_or(0);
    let mut lines: Vec<String> = record
        .window()
        .map(|window| format!("window {:.1} ms", window.as_secs_f64() * 1_000.0))
        .into_iter()
        .collect();
    for entry in &record.entries {
        let sign = if entry.at_us < origin { "-" } else { "+" };
        let distance = entry.at_us.abs_diff(origin);
        lines.push(format!(
            "{} {sign}{}.{:03} ms at {}",
            entry.name(),
            distance / 1_000,
            distance % 1_000,
            entry.wall
        ));
    }
    lines
}
