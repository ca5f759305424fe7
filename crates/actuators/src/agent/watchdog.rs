//! The second pair of eyes: ends a window whose agent is gone.
//!
//! It watches the agent's record over the pod network. It acts only when the window was seen open
//! and the agent cannot be reached, or when the budget is spent; then it decides by what it
//! observes, as [`crate::databases::postgres::recover`] says.

use std::sync::Arc;
use std::time::Duration;

use ferriswheel_plan::ids::ObjectRef;
use tokio::time::{Instant, sleep};

use super::Watch;
use super::state::Reach;
use crate::databases::postgres::record::{Log, Outcome, Reason, Record};
use crate::databases::postgres::recover::{Knowledge, recover};
use crate::databases::postgres::server::ServerError;
use crate::databases::postgres::window::{Cast, STATEMENT};
use crate::dial::Target;
use crate::http::Endpoint;

/// Pause between two looks at the agent: a lost agent costs clients this and the misses.
const LOOK: Duration = Duration::from_millis(20);

/// Deadline of one look.
const ANSWER: Duration = Duration::from_millis(100);

/// So many looks in a row without an answer mean that the agent is gone: one lost packet must not
/// start a second driver.
const MISSES: u32 = 3;

/// A watch without a window ends after this time: rehearsal and checkpoints may take minutes.
const LONGEST_WATCH: Duration = Duration::from_secs(900);

/// Opens the watchdog's own sessions.
pub async fn ready(watch: &Watch, reach: &Reach) -> Result<Cast, ServerError> {
    let cast = reach.cast(&watch.order);
    cast.old.reconnect(STATEMENT).await?;
    cast.candidate.reconnect(STATEMENT).await?;
    for other in &cast.others {
        other.reconnect(STATEMENT).await?;
    }
    for pooler in &cast.poolers {
        pooler.reconnect(STATEMENT).await?;
    }
    Ok(cast)
}

/// Watches until the agent has ended its window; `Some` if the watchdog had to end it.
pub async fn watch(
    watch: &Watch,
    cast: Cast,
    reach: &Reach,
    token: &str,
    log: &dyn Log,
) -> Option<Outcome> {
    let agent = Endpoint::new(
        Target {
            pod: ObjectRef::new(&watch.order.old.namespace, &watch.agent_pod),
            ip: Some(watch.agent_ip.clone()),
            port: watch.agent_port,
        },
        Arc::clone(&reach.dial),
        token,
    );
    let began = Instant::now();
    let mut opened: Option<Instant> = None;
    let mut known = Knowledge::default();
    let mut misses = 0;
    while began.elapsed() < LONGEST_WATCH {
        match agent.get::<Record>("/v1/record", ANSWER).await {
            Ok(record) if record.key == watch.order.key => {
                misses = 0;
                known.proven = record.proven();
                if record.window_is_open() {
                    opened.get_or_insert_with(Instant::now);
                } else if record.at("resumed").is_some() || record.outcome.is_some() {
                    return None;
                }
            }
            // The agent runs but was not ordered yet, or was started again and knows nothing.
            Ok(_) if opened.is_none() => misses = 0,
            Ok(_) => misses += 1,
            Err(e) => {
                tracing::debug!(error = %e, "agent did not answer");
                misses += 1;
            }
        }
        if misses >= MISSES && (opened.is_some() || held(&cast).await) {
            let opened = opened.unwrap_or_else(Instant::now);
            let reason = Reason::AgentLost(format!("{misses} looks without an answer"));
            return Some(end(watch, &cast, opened, &known, reason, log).await);
        }
        if let Some(opened) = opened
            && opened.elapsed() > watch.order.window_budget()
        {
            let reason = Reason::BudgetSpent("the agent still holds the window open".to_owned());
            return Some(end(watch, &cast, opened, &known, reason, log).await);
        }
        sleep(LOOK).await;
    }
    None
}

/// Some pooler holds its clients although the window was never seen open.
async fn held(cast: &Cast) -> bool {
    for pooler in &cast.poolers {
        if pooler.reconnect(ANSWER).await.is_ok()
            && let Ok(entries) = pooler.entries(ANSWER).await
            && entries.iter().any(|entry| entry.paused)
        {
            return true;
        }
    }
    false
}

async fn end(
    watch: &Watch,
    cast: &Cast,
    opened: Instant,
    known: &Knowledge,
    reason: Reason,
    log: &dyn Log,
) -> Outcome {
    recover(&watch.order, cast, opened, known, reason, "watchdog", log).await
}
