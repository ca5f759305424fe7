//! Partitions are led away from a broker that is about to move: look, prove, keep what is there, then
//! one after the other.
//!
//! A broker that stops hands its leaderships on by itself, all at once: every client of it then asks
//! for many new leaders in the same moment, and every follower begins to fetch from many of them.
//! One at a time that costs each partition what it must, and no other partition anything.
//!
//! # Invariants
//! - Before anything is changed, every broker sees the same, every copy is in sync, every partition takes
//!   writes without the broker, and what is there is kept outside of this process.
//! - Who has a copy is never changed, only their order; the broker that leaves comes last in it, so
//!   that a controller which balances leaders by itself does not lead anything back.
//! - Whoever does it again after a crash finds what is left by asking, and keeps the first word. Who
//!   goes on although somebody else has given all back meanwhile stops at the next partition.
//!
//! # Source
//! `ReplicationControlManager.alterPartitionReassignments` and `electLeaders` of Kafka 4.x; measured in
//! docs/patterns/kafka.md.

use std::collections::BTreeMap;

use super::ledger::{Home, Homes, Ledger};
use super::order::Order;
use super::pace::{Cast, Pace};
use super::record::{self, Log, Moment, Outcome, Reason};
use super::server::{Name, Partition, Server};

/// Leads everything away, or as much as a slice holds.
pub async fn drain(
    order: &Order,
    servers: Vec<&dyn Server>,
    ledger: &dyn Ledger,
    log: &dyn Log,
) -> Outcome {
    let mut moved = 0;
    let ended = lead_away(order, servers, ledger, log, &mut moved).await;
    record::ended(ended.map(|remaining| (remaining, Vec::new())), moved, log)
}

/// A broker may be stopped: everybody sees the same, every copy is in sync, and every partition takes writes without it.
///
/// # Errors
/// What is not so.
pub async fn may_leave(leaving: &str, servers: Vec<&dyn Server>) -> Result<(), Reason> {
    let cast = Cast::gather(servers).await?;
    let view = cast.whole().await?;
    cast.bears_absence(&view, cast.node(leaving)?).await
}

/// How many partitions are left.
async fn lead_away(
    order: &Order,
    servers: Vec<&dyn Server>,
    ledger: &dyn Ledger,
    log: &dyn Log,
    moved: &mut usize,
) -> Result<usize, Reason> {
    let cast = Cast::gather(servers).await?;
    let view = cast.whole().await?;
    let nodes = |pods: &[String]| pods.iter().map(|pod| cast.node(pod)).collect();
    let leaving = cast.node(&order.leaving)?;
    let settled: Result<Vec<i32>, Reason> = nodes(&order.settled);
    let later: Result<Vec<i32>, Reason> = nodes(&order.later);
    let (settled, later) = (settled?, later?);
    cast.bears_absence(&view, leaving).await?;
    let mut leads: BTreeMap<i32, usize> = view
        .brokers
        .iter()
        .map(|node| (*node, view.led_by(*node)))
        .collect();
    let going: Vec<(&Name, &Partition)> = view
        .partitions
        .iter()
        .filter(|(_, partition)| partition.leader == Some(leaving))
        .collect();
    log.note(Moment::Ready {
        partitions: going.len(),
    });
    let mut homes = Homes::default();
    for (name, partition) in &going {
        homes.add(name, partition.topic_id, Home::of(partition));
    }
    if going.is_empty() {
        return Ok(0);
    }
    let not_kept = |e: super::ledger::NotKept| Reason::NotKept(e.to_string());
    ledger.keep(&homes).await.map_err(not_kept)?;
    let kept = ledger.read().await.map_err(not_kept)?;
    log.note(Moment::Kept);
    let mut pace = Pace::new(order.pace, order.slice);
    for (at, (name, partition)) in going.iter().enumerate() {
        if !pace.turn().await {
            return Ok(going.len() - at);
        }
        let topic_id = partition.topic_id;
        let now = cast
            .same_copies(name, topic_id, &partition.replicas)
            .await?;
        if now.leader != Some(leaving) {
            continue;
        }
        let home = kept.get(name, topic_id);
        if ledger.read().await.map_err(not_kept)?.get(name, topic_id) != home {
            return Err(Reason::NotKept(format!(
                "{name} is not kept any more: somebody else has given it back meanwhile"
            )));
        }
        let home = home.and_then(Home::leads);
        let next = successor(&now, leaving, home, &settled, &later, &leads);
        let next =
            next.ok_or_else(|| Reason::NotReady(format!("nobody else could lead {name}: {now}")))?;
        let replicas = behind(&now.replicas, next, leaving);
        cast.lead(name, topic_id, &replicas, log).await?;
        *leads.entry(next).or_default() += 1;
        *moved += 1;
    }
    Ok(0)
}

/// Who leads a partition next: the one that led it before the run, if that does not move any more;
/// else of those that do not the one that leads the fewest; else the one that moves last.
fn successor(
    partition: &Partition,
    leaving: i32,
    home: Option<i32>,
    settled: &[i32],
    later: &[i32],
    leads: &BTreeMap<i32, usize>,
) -> Option<i32> {
    let able = |node: &i32| {
        *node != leaving && partition.replicas.contains(node) && partition.isr.contains(node)
    };
    if let Some(home) = home.filter(|home| able(home) && settled.contains(home)) {
        return Some(home);
    }
    let fewest = settled
        .iter()
        .filter(|node| able(node))
        .min_by_key(|node| (leads.get(node).copied().unwrap_or(0), **node));
    fewest
        .or_else(|| later.iter().find(|node| able(node)))
        .copied()
}

/// The same replicas with one first and another last.
fn behind(replicas: &[i32], first: i32, last: i32) -> Vec<i32> {
    let between = replicas.iter().filter(|n| **n != first && **n != last);
    std::iter::once(first)
        .chain(between.copied())
        .chain(replicas.contains(&last).then_some(last))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Partition, behind, successor};

    fn partition(isr: &[i32]) -> Partition {
        Partition {
            leader: Some(1),
            replicas: vec![1, 2, 3],
            isr: isr.to_vec(),
            ..Partition::default()
        }
    }

    #[test]
    fn a_partition_goes_where_it_moves_no_more_and_home_first() {
        let all = partition(&[1, 2, 3]);
        let leads = BTreeMap::from([(2, 5), (3, 1)]);
        let next = |p: &Partition, home, settled: &[i32], later: &[i32]| {
            successor(p, 1, home, settled, later, &leads)
        };
        assert_eq!(next(&all, Some(1), &[], &[3, 2]), Some(3), "moves last");
        assert_eq!(next(&all, Some(1), &[2], &[3]), Some(2), "moves no more");
        assert_eq!(next(&all, Some(2), &[2, 3], &[]), Some(2), "home");
        assert_eq!(next(&all, None, &[2, 3], &[]), Some(3), "leads fewest");
        assert_eq!(next(&partition(&[1, 2]), None, &[], &[3, 2]), Some(2));
        assert_eq!(next(&partition(&[1]), None, &[2], &[3]), None);
    }

    #[test]
    fn who_leaves_is_the_last_choice() {
        assert_eq!(behind(&[1, 2, 3], 3, 1), [3, 2, 1]);
        assert_eq!(behind(&[2, 1, 3], 3, 1), [3, 2, 1]);
        assert_eq!(behind(&[1, 2], 2, 1), [2, 1]);
    }
}
