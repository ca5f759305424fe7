//! What a run of one system leaves: every round as it was, and the figures over them.

use std::collections::BTreeMap;

use ferriswheel_probe::certificate::Certificate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::system::{Facts, Method, Scene, Way};
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
        .filter(|(_, shard)| !shard.leader.is_empty())
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
    /// Of a cache.
    pub cache: Option<CacheRow>,
}

/// What clients of a cache found, over the rounds that did not fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CacheRow {
    /// Hit-rate of a round's worst second, in percent: median and lowest.
    pub lowest: (f64, f64),
    /// Points by which it was above its bound: median and least.
    pub above: (f64, f64),
    /// Rounds in which no second had questions enough.
    pub unjudged: usize,
    /// Most loads from the backend within a second.
    pub most_loads_a_second: u64,
    /// Answers that were not the key's current value, of all rounds that were measured.
    pub wrong_values: u64,
    /// Requests that another server answered because the first one hung up, of all rounds that were measured.
    pub failed_over: u64,
}

impl CacheRow {
    fn of(good: &[&&Round], measured: &[&Measured]) -> Option<Self> {
        let caches = || measured.iter().filter_map(|m| m.cache.as_ref());
        caches().next()?;
        let of_good = || {
            let certificates = good.iter().filter_map(|r| r.certificate.as_ref());
            certificates.filter_map(|m| m.cache.as_ref())
        };
        // Median and lowest, as the median and the highest of what is turned around.
        let low = |values: &mut dyn Iterator<Item = f64>| {
            Spread::of(values.map(|value| -value))
                .map_or((f64::NAN, f64::NAN), |s| (-s.p50, -s.max))
        };
        let judged = || of_good().filter_map(|cache| Some((cache.lowest?, cache.bound)));
        Some(Self {
            lowest: low(&mut judged().map(|(lowest, _)| lowest)),
            above: low(&mut judged().map(|(lowest, bound)| lowest - bound)),
            unjudged: of_good().filter(|cache| cache.lowest.is_none()).count(),
            most_loads_a_second: of_good().map(|c| c.most_loads_a_second).max().unwrap_or(0),
            wrong_values: caches().map(|cache| cache.wrong_values).sum(),
            failed_over: caches().map(|cache| cache.failed_over).sum(),
        })
    }
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
                let certificate = round.certificate.as_ref();
                let share = certificate.and_then(|c| c.shards.get(shard_of(name)));
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
        gaps_elsewhere: good.iter().map(|round| elsewhere(round, way)).sum(),
        phases: names
            .filter_map(|phase| {
                let spread = Spread::of(phases.iter().filter_map(|p| p.get(phase).copied()))?;
                Some((phase, spread))
            })
            .collect(),
        cache: CacheRow::of(&good, &measured),
    }
}

/// The shard of a record's name.
fn shard_of(window: &str) -> &str {
    window.split_once('/').map_or(window, |(shard, _)| shard)
}

/// Shards that were handed over, and whose longest gap lies in none of these times.
fn elsewhere(round: &Round, way: &Way) -> usize {
    let shards = round.certificate.iter().flat_map(|c| &c.shards);
    shards
        .filter(|(name, share)| {
            let windows = round.windows.iter();
            let mut own = windows
                .filter(|(window, _)| shard_of(window) == name.as_str())
                .map(|(_, window)| window.gap(share, way))
                .peekable();
            own.peek().is_some() && own.all(|gap| gap.is_none())
        })
        .count()
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
    use crate::results::{Cache, Stage};

    fn plain(method: &str, certificate: Measured) -> Round {
        Round {
            method: method.to_owned(),
            number: 1,
            began: Timestamp::UNIX_EPOCH,
            acted: None,
            act_s: Some(60.0),
            whole_s: None,
            took_s: 70.0,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            failure: None,
            certificate: Some(certificate),
            windows: BTreeMap::new(),
            said: None,
        }
    }

    #[test]
    fn a_gap_is_in_one_of_the_windows_of_its_shard_or_elsewhere() {
        let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
        let window = |opened: i64| Window {
            opened: at(opened),
            moments_ms: [("asked".to_owned(), 0.0), ("flipped".to_owned(), 50.0)].into(),
        };
        let share = |gap: i64| Share {
            longest_ack_gap_ms: Some(80.0),
            longest_ack_gap_at: Some(at(gap)),
            ..Share::default()
        };
        let mut round = plain(
            "ferriswheel",
            Measured {
                shards: [
                    ("0".to_owned(), share(2_000)),
                    ("1".to_owned(), share(9_000)),
                ]
                .into(),
                ..Measured::default()
            },
        );
        for shard in ["0", "1"] {
            round.windows.insert(format!("{shard}/away"), window(1_000));
            round.windows.insert(format!("{shard}/back"), window(2_010));
        }
        assert_eq!(elsewhere(&round, &FACTS.way), 1);
        round.windows.clear();
        assert_eq!(elsewhere(&round, &FACTS.way), 0, "nothing was handed over");
    }

    #[test]
    fn the_worst_second_of_a_cache_is_held_against_its_bound() {
        let facts = &crate::databases::memcached::FACTS;
        let round = |lowest, bound, wrong_values| {
            let cache = Cache {
                lowest,
                bound,
                wrong_values,
                ..Cache::default()
            };
            let measured = Measured {
                cache: Some(cache),
                ..Measured::default()
            };
            plain("ferriswheel", measured)
        };
        let results = Results {
            schema: SCHEMA.to_owned(),
            system: facts.key.to_owned(),
            server: "Memcached".to_owned(),
            machine: Machine::default(),
            rounds: vec![
                round(Some(64.0), 60.0, 0),
                round(Some(58.0), 60.0, 2),
                round(Some(62.0), 59.0, 0),
                round(None, 60.0, 0),
            ],
        };
        let rows = results.rows(facts);
        let cache = rows[0].cache.unwrap();
        assert_eq!(cache.lowest, (62.0, 58.0));
        assert_eq!(cache.above, (3.0, -2.0));
        assert_eq!((cache.unjudged, cache.wrong_values), (1, 2));
    }

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
