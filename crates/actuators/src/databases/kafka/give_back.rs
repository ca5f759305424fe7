//! What was led away goes back: every partition gets its own order of replicas and its own leader, one
//! after the other, and then nothing is kept of it any more.
//!
//! # Invariants
//! - Only while every broker sees the same and every copy is in sync.
//! - A partition whose copies somebody has given to other brokers meanwhile is left as it is.
//! - What is kept goes last: whoever does it again after a crash finds it, and what is done is not
//!   asked for again.

use std::time::Duration;

use super::ledger::{Home, Ledger};
use super::pace::{Cast, Pace};
use super::record::{Log, Moment, Outcome, Reason};
use super::server::{Name, Partition, Server};

/// Gives everything back.
pub async fn give_back(
    pace: Duration,
    servers: Vec<&dyn Server>,
    ledger: &dyn Ledger,
    log: &dyn Log,
) -> Outcome {
    let mut moved = 0;
    match lead_back(pace, servers, ledger, log, &mut moved).await {
        Ok(left) => {
            log.note(Moment::Finished);
            Outcome::Done { moved, left }
        }
        Err(reason) => {
            log.note(Moment::Faltered {
                reason: reason.clone(),
            });
            Outcome::Stopped { reason, moved }
        }
    }
}

async fn lead_back(
    pace: Duration,
    servers: Vec<&dyn Server>,
    ledger: &dyn Ledger,
    log: &dyn Log,
    moved: &mut usize,
) -> Result<Vec<String>, Reason> {
    let not_kept = |e: super::ledger::NotKept| Reason::NotKept(e.to_string());
    let homes = ledger.read().await.map_err(not_kept)?;
    if homes.is_empty() {
        return Ok(Vec::new());
    }
    let cast = Cast::gather(servers).await?;
    let view = cast.whole().await?;
    let mut left = Vec::new();
    let mut going: Vec<(Name, &Home)> = Vec::new();
    for (name, home) in homes.iter() {
        match view.partitions.get(&name) {
            // The topic was deleted.
            None => {}
            Some(now) if !now.has_copies_of(&home.replicas) => {
                left.push(format!(
                    "{name} has copies on {:?} now and had them on {:?}",
                    now.replicas, home.replicas
                ));
            }
            Some(now) if is_home(now, home) => {}
            Some(_) => going.push((name, home)),
        }
    }
    log.note(Moment::Ready {
        partitions: going.len(),
    });
    let mut pace = Pace::new(pace);
    for (name, home) in going {
        pace.turn().await;
        let Some(leader) = home.leads() else { continue };
        let mut first = vec![leader];
        first.extend(home.replicas.iter().filter(|n| **n != leader));
        cast.lead(&name, &first, log).await?;
        if first != home.replicas {
            cast.order(&name, &home.replicas).await?;
        }
        *moved += 1;
    }
    ledger.forget(&homes).await.map_err(not_kept)?;
    log.note(Moment::Forgotten);
    Ok(left)
}

fn is_home(now: &Partition, home: &Home) -> bool {
    now.replicas == home.replicas && now.leader == home.leads()
}
