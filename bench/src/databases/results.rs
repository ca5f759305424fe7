//! What a run of one system leaves: every round as it was, and the figures over them.

use std::collections::BTreeMap;

use ferriswheel_probe::certificate::Certificate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::system::{Facts, Method, Scene};
use super::window::{AFTER, BEFORE, Window};
use crate::machine::Machine;
use crate::results::{Failure, Measured, Share, Spread};

/// Format of the raw data.
pub const SCHEMA: &str = "ferriswheel.bench-databases.v1";

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: String,
    /// Which system.
    pub system: String,
    /// Its servers, with their version.
    pub server: String,
    /// Where and when.
    pub machine: Machine,
    /// In the order in which they were run.
    pub rounds: Vec<Round>,
}

/// Every leader moved once, or so it was meant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// By which method.
    pub method: String,
    /// Its number, from 1.
    pub number: u32,
    /// Wall clock of the beginning, preparation included.
    pub began: Timestamp,
    /// Wall clock of the act.
    pub acted: Option<Timestamp>,
    /// How long the act took, in seconds.
    pub act_s: Option<f64>,
    /// From the end of the act until the database was whole again, in seconds.
    pub whole_s: Option<f64>,
    /// How long the round took, preparation included, in seconds.
    pub took_s: f64,
    /// The leader of each shard before.
    pub before: BTreeMap<String, String>,
    /// The leader of each shard afterwards.
    pub after: BTreeMap<String, String>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// What the judge measured.
    pub certificate: Option<Measured>,
    /// The agent's record of each shard, of Ferriswheel's rounds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub windows: BTreeMap<String, Window>,
    /// The end of what a script said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

/// Leaders of a scene.
pub fn leaders(scene: &Scene) -> BTreeMap<String, String> {
    let shards = scene.shards.iter();
    shards
        .map(|(name, shard)| (name.clone(), shard.leader.clone()))
        .collect()
}

/// What the judge measured. A database without shards is its only one.
pub fn measured(certificate: &Certificate, scene: &Scene) -> Measured {
    let mut measured = Measured::from(certificate);
    if let (true, Some(whole)) = (measured.shards.is_empty(), scene.shards.keys().next()) {
        let share = Share {
            acked: measured.acked,
            acked_lost: measured.acked_lost,
            longest_ack_gap_ms: measured.longest_ack_gap_ms,
            longest_ack_gap_at: measured.longest_ack_gap_at,
        };
        measured.shards.insert(whole.clone(), share);
    }
    measured
}

/// The figures of a method.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub method: &'static Method,
    /// Rounds begun.
    pub rounds: usize,
    /// Rounds that failed.
    pub failed: usize,
    /// Longest gaps of all shards, of the rounds that did not fail.
    pub gap_ms: Option<Spread>,
    /// The same of each shard.
    pub shards: BTreeMap<String, ShardRow>,
    /// How long the act took, in seconds.
    pub act_s: Option<Spread>,
    /// Writes acknowledged in all rounds that were measured.
    pub acked: u64,
    /// Errors in these.
    pub errors: u64,
    /// Replies that never came in these.
    pub indeterminate: u64,
    /// Acknowledged writes lost in these.
    pub lost: u64,
    /// Writes carried out more than once in these.
    pub duplicates: u64,
    /// Rounds in which writes were lost.
    pub rounds_with_loss: usize,
    /// Rounds in which not every leader could be read.
    pub unread: usize,
    /// Shards whose longest gap lies outside the hand-over.
    pub gaps_elsewhere: usize,
    /// Phases of the rounds that did not fail.
    pub phases: Vec<(&'static str, Spread)>,
}

/// The figures of a method and a shard.
#[derive(Debug)]
pub struct ShardRow {
    /// Longest gaps of the rounds that did not fail.
    pub gap_ms: Option<Spread>,
    /// Writes acknowledged.
    pub acked: u64,
    /// Of these, lost.
    pub lost: u64,
}

impl Results {
    /// One row a method that was run, in the order of the table.
    pub fn rows(&self, facts: &'static Facts) -> Vec<Row> {
        facts
            .methods
            .iter()
            .filter_map(|method| {
                let of = self.rounds.iter().filter(|r| r.method == method.key);
                let rounds: Vec<&Round> = of.collect();
                (!rounds.is_empty()).then(|| row(facts, method, &rounds))
            })
            .collect()
    }
}

fn row(facts: &'static Facts, method: &'static Method, rounds: &[&Round]) -> Row {
    let way = &facts.way;
    let good: Vec<&&Round> = rounds.iter().filter(|r| r.failure.is_none()).collect();
    let measured: Vec<&Measured> = rounds
        .iter()
        .filter_map(|r| r.certificate.as_ref())
        .collect();
    let sum = |of: fn(&Measured) -> u64| measured.iter().map(|m| of(m)).sum();
    // Each shard of each round that did not fail, with the agent's record of it.
    let handed: Vec<(&Window, Option<&Share>)> = good
        .iter()
        .flat_map(|round| {
            round.windows.iter().map(|(name, window)| {
                let share = round.certificate.as_ref().and_then(|c| c.shards.get(name));
                (window, share)
            })
        })
        .collect();
    let phases: Vec<BTreeMap<&'static str, f64>> = handed
        .iter()
        .map(|(window, share)| window.phases(*share, way))
        .collect();
    let names = std::iter::once(BEFORE)
        .chain(way.phases.iter().map(|(_, phase)| *phase))
        .chain(std::iter::once(AFTER))
        .chain(way.beside.iter().map(|(_, phase)| *phase));
    Row {
        method,
        rounds: rounds.len(),
        failed: rounds.len() - good.len(),
        gap_ms: Spread::of(
            good.iter()
                .filter_map(|r| r.certificate.as_ref())
                .flat_map(|m| m.shards.values())
                .filter_map(|share| share.longest_ack_gap_ms),
        ),
        shards: shards(&good, &measured),
        act_s: Spread::of(good.iter().filter_map(|r| r.act_s)),
        acked: sum(|m| m.acked),
        errors: sum(|m| m.errors),
        indeterminate: sum(|m| m.indeterminate),
        lost: sum(|m| m.acked_lost.unwrap_or(0)),
        duplicates: sum(|m| m.duplicates.unwrap_or(0)),
        rounds_with_loss: measured
            .iter()
            .filter(|m| m.acked_lost.unwrap_or(0) > 0)
            .count(),
        unread: measured.iter().filter(|m| m.acked_lost.is_none()).count(),
        gaps_elsewhere: handed
            .iter()
            .filter(|(window, share)| share.is_some_and(|s| window.gap(s, way).is_none()))
            .count(),
        phases: names
            .filter_map(|phase| {
                let spread = Spread::of(phases.iter().filter_map(|p| p.get(phase).copied()))?;
                Some((phase, spread))
            })
            .collect(),
    }
}

fn shards(good: &[&&Round], measured: &[&Measured]) -> BTreeMap<String, ShardRow> {
    let names = measured.iter().flat_map(|m| m.shards.keys());
    names
        .map(|name| {
            let of = || measured.iter().filter_map(|m| m.shards.get(name));
            let row = ShardRow {
                gap_ms: Spread::of(
                    good.iter()
                        .filter_map(|r| r.certificate.as_ref()?.shards.get(name))
                        .filter_map(|share| share.longest_ack_gap_ms),
                ),
                acked: of().map(|share| share.acked).sum(),
                lost: of().filter_map(|share| share.acked_lost).sum(),
            };
            (name.clone(), row)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::redis::FACTS;
    use crate::results::Stage;

    #[test]
    fn every_shard_of_every_good_round_counts_and_losses_of_all() {
        let share = |gap, lost| Share {
            acked: 100,
            acked_lost: Some(lost),
            longest_ack_gap_ms: Some(gap),
            longest_ack_gap_at: None,
        };
        let round = |number, gaps: [f64; 2], lost, failure| Round {
            method: "page".to_owned(),
            number,
            began: Timestamp::UNIX_EPOCH,
            acted: None,
            act_s: Some(60.0),
            whole_s: None,
            took_s: 70.0,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            failure,
            certificate: Some(Measured {
                acked_lost: Some(lost),
                errors: 3,
                shards: [
                    ("0-1".to_owned(), share(gaps[0], 0)),
                    ("2-3".to_owned(), share(gaps[1], lost)),
                ]
                .into(),
                ..Measured::default()
            }),
            windows: BTreeMap::new(),
            said: None,
        };
        let failure = Failure {
            stage: Stage::Outcome,
            detail: "no".to_owned(),
        };
        let results = Results {
            schema: SCHEMA.to_owned(),
            system: FACTS.key.to_owned(),
            server: "Redis".to_owned(),
            machine: Machine::default(),
            rounds: vec![
                round(1, [10.0, 20.0], 0, None),
                round(2, [9_000.0, 9_000.0], 4, Some(failure)),
                round(3, [30.0, 40.0], 0, None),
            ],
        };
        let rows = results.rows(&FACTS);
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        let gap = row.gap_ms.unwrap();
        assert_eq!((gap.n, gap.p50, gap.max), (4, 20.0, 40.0));
        assert_eq!((row.failed, row.errors, row.lost), (1, 9, 4));
        let shard = &row.shards["2-3"];
        assert_eq!((shard.lost, shard.acked), (4, 300));
        assert_eq!(shard.gap_ms.unwrap().max, 40.0);
    }
}
