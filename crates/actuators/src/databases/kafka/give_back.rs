//! What was led away goes back: every partition gets its own order of replicas and its own leader, one
//! after the other, and then nothing is kept of it any more.
//!
//! # Invariants
//! - Only while every broker sees the same and every copy is in sync.
//! - A partition whose copies somebody has given to other brokers meanwhile is left as it is, and so is one of a
//!   topic that was deleted and made again.
//! - What is kept goes last: whoever does it again after a crash finds it, and what is done is not
//!   asked for again.

use std::time::Duration;

use super::ledger::{Home, Ledger};
use super::pace::{Cast, Pace};
use super::record::{self, Log, Moment, Outcome, Reason};
use super::server::{Name, Partition, Server};

/// Gives everything back, or as much as a slice holds: one partition in each span of length `pace`.
pub async fn give_back(
    pace: Duration,
    slice: Duration,
    servers: Vec<&dyn Server>,
    ledger: &dyn Ledger,
    log: &dyn Log,
) -> Outcome {
    let mut moved = 0;
    let ended = lead_back(Pace::new(pace, slice), servers, ledger, log, &mut moved).await;
    record::ended(ended, moved, log)
}

/// How many partitions remain, and which are left as they are.
async fn lead_back(
    mut pace: Pace,
    servers: Vec<&dyn Server>,
    ledger: &dyn Ledger,
    log: &dyn Log,
    moved: &mut usize,
) -> Result<(usize, Vec<String>), Reason> {
    let not_kept = |e: super::ledger::NotKept| Reason::NotKept(e.to_string());
    let homes = ledger.read().await.map_err(not_kept)?;
    if homes.is_empty() {
        return Ok((0, Vec::new()));
    }
    let cast = Cast::gather(servers).await?;
    let view = cast.whole().await?;
    let mut left = Vec::new();
    let mut going: Vec<(Name, &Partition, &Home)> = Vec::new();
    for (name, topic_id, home) in homes.iter() {
        match view.partitions.get(&name) {
            // The topic was deleted, and maybe another one made of its name.
            None => {}
            Some(now) if !now.is_of(topic_id) => {}
            Some(now) if !now.has_copies_of(&home.replicas) => {
                left.push(format!(
                    "{name} has copies on {:?} now and had them on {:?}",
                    now.replicas, home.replicas
                ));
            }
            Some(now) if is_home(now, home) => {}
            Some(now) => going.push((name, now, home)),
        }
    }
    log.note(Moment::Ready {
        partitions: going.len(),
    });
    for (at, (name, now, home)) in going.iter().enumerate() {
        if !pace.turn().await {
            return Ok((going.len() - at, left));
        }
        let Some(leader) = home.leads() else { continue };
        let mut first = vec![leader];
        first.extend(home.replicas.iter().filter(|n| **n != leader));
        cast.lead(name, now.topic_id, &first, log).await?;
        if first != home.replicas {
            cast.order(name, now.topic_id, &home.replicas).await?;
        }
        *moved += 1;
    }
    ledger.forget(&homes).await.map_err(not_kept)?;
    log.note(Moment::Forgotten);
    Ok((0, left))
}

fn is_home(now: &Partition, home: &Home) -> bool {
    now.replicas == home.replicas && now.leader == home.leads()
}
