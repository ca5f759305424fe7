//! What a run leaves: every round as it was, and the figures over them.

use std::collections::BTreeMap;

use ferriswheel_probe::certificate::{Certificate, Latency};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::method::Method;
use crate::window::Window;

/// Format of the raw data.
pub const SCHEMA: &str = "ferriswheel.bench-postgres.v1";

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: String,
    /// Where and when.
    pub machine: Machine,
    /// In the order in which they were run.
    pub rounds: Vec<Round>,
}

/// One hand-over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// By which method.
    pub method: Method,
    /// Its number, from 1.
    pub number: u32,
    /// Wall clock of the beginning, preparation included.
    pub began: Timestamp,
    /// Wall clock of the act.
    pub acted: Option<Timestamp>,
    /// How long the act took, in seconds.
    pub act_s: Option<f64>,
    /// How long the round took, preparation included, in seconds.
    pub took_s: f64,
    /// From which member.
    pub from: Option<String>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// What the judge measured.
    pub certificate: Option<Measured>,
    /// The agent's record, of Ferriswheel's rounds.
    pub window: Option<Window>,
}

/// A round that did not go as it should.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Where: `preparation` (the harness's own), `act`, `outcome` or `measurement`.
    pub stage: Stage,
    /// What was said.
    pub detail: String,
}

/// Part of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before the act; the method is not to blame.
    Preparation,
    /// The method itself reported a failure or took too long.
    Act,
    /// The primary did not move, or writes did not come back.
    Outcome,
    /// The judge did not answer.
    Measurement,
}

/// The certificate's figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Identity of the probe's run.
    pub run: String,
    /// Writes sent.
    pub attempted: u64,
    /// Writes acknowledged.
    pub acked: u64,
    /// Errors that clients saw.
    pub errors: u64,
    /// Errors by kind.
    pub error_kinds: BTreeMap<String, u64>,
    /// Writes whose reply never came.
    pub indeterminate: u64,
    /// Of these, committed.
    pub indeterminate_committed: Option<u64>,
    /// Acknowledged writes that the primary does not have; null when no single primary was read.
    pub acked_lost: Option<u64>,
    /// Rows that nobody sent.
    pub phantoms: Option<u64>,
    /// Rows beyond the first of their key.
    pub duplicates: Option<u64>,
    /// The longest gap.
    pub longest_ack_gap_ms: Option<f64>,
    /// When it began.
    pub longest_ack_gap_at: Option<Timestamp>,
    /// Longest wait for any reply.
    pub worst_latency_ms: f64,
    /// Latency of acknowledged writes.
    pub latency_ms: Latency,
    /// Members that were looked at, with their rows; null for one that could not be read.
    pub members: BTreeMap<String, Option<u64>>,
    /// Each part of the database with a leader of its own; empty where one leader has all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shards: BTreeMap<String, Share>,
    /// What clients of a cache found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
}

/// The certificate's figures of a cache, in percent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// Hits of all questions.
    pub hit_rate: f64,
    /// Hits in the worst second; null when no second had questions enough.
    pub lowest: Option<f64>,
    /// Lowest allowed in any second.
    pub bound: f64,
    /// Most loads from the backend within a second.
    pub most_loads_a_second: u64,
    /// Answers that were not the key's current value.
    pub wrong_values: u64,
    /// Requests that another server answered because the first one hung up.
    pub failed_over: u64,
}

/// The certificate's figures of one shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Writes acknowledged.
    pub acked: u64,
    /// Acknowledged writes that its leader does not have; null when it was not read.
    pub acked_lost: Option<u64>,
    /// Its longest gap.
    pub longest_ack_gap_ms: Option<f64>,
    /// When that began.
    pub longest_ack_gap_at: Option<Timestamp>,
}

impl From<&Certificate> for Measured {
    fn from(certificate: &Certificate) -> Self {
        let c = certificate.clone();
        Self {
            run: c.run,
            attempted: c.attempted,
            acked: c.acked,
            errors: c.errors,
            error_kinds: c.error_kinds,
            indeterminate: c.indeterminate,
            indeterminate_committed: c.indeterminate_committed,
            acked_lost: c.acked_lost,
            phantoms: c.phantoms,
            duplicates: c.duplicates,
            longest_ack_gap_ms: c.longest_ack_gap_ms,
            longest_ack_gap_at: c.longest_ack_gap_at,
            worst_latency_ms: c.worst_latency_ms,
            latency_ms: c.latency_ms,
            members: c.members.into_iter().map(|m| (m.name, m.rows)).collect(),
            shards: c
                .shards
                .into_iter()
                .map(|shard| {
                    let share = Share {
                        acked: shard.acked,
                        acked_lost: shard.acked_lost,
                        longest_ack_gap_ms: shard.longest_ack_gap_ms,
                        longest_ack_gap_at: shard.longest_ack_gap_at,
                    };
                    (shard.name, share)
                })
                .collect(),
            cache: c.cache.map(|cache| Cache {
                hit_rate: cache.hit_rate,
                lowest: cache.lowest.map(|second| second.hit_rate),
                bound: cache.bound,
                most_loads_a_second: cache.most_loads_a_second,
                wrong_values: cache.wrong_values,
                failed_over: cache.failed_over,
            }),
        }
    }
}

/// Median, nine of ten, longest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many values.
    pub n: usize,
    /// Median.
    pub p50: f64,
    /// Nine of ten are no higher.
    pub p90: f64,
    /// The highest.
    pub max: f64,
}

impl Spread {
    /// By nearest rank: each figure is one that was measured.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let rank = |percent: usize| {
            let rank = (n * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied()
        };
        Some(Self {
            n,
            p50: rank(50)?,
            p90: rank(90)?,
            max: rank(100)?,
        })
    }
}

/// The figures of a method.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub method: Method,
    /// Rounds begun.
    pub rounds: usize,
    /// Rounds that failed.
    pub failed: usize,
    /// Longest gaps of the rounds that did not fail.
    pub gap_ms: Option<Spread>,
    /// Writes acknowledged in all rounds that were measured.
    pub acked: u64,
    /// Errors in these.
    pub errors: u64,
    /// Replies that never came in these.
    pub indeterminate: u64,
    /// Acknowledged writes lost in these.
    pub lost: u64,
    /// Rounds in which writes were lost.
    pub rounds_with_loss: usize,
    /// Rounds in which no single primary could be read.
    pub unread: usize,
    /// Rounds whose longest gap lies outside the window.
    pub gaps_elsewhere: usize,
    /// Phases of the rounds that did not fail.
    pub phases: Vec<(&'static str, Spread)>,
}

impl Results {
    /// One row a method that was run.
    pub fn rows(&self) -> Vec<Row> {
        Method::ALL
            .into_iter()
            .filter_map(|method| {
                let rounds: Vec<&Round> =
                    self.rounds.iter().filter(|r| r.method == method).collect();
                (!rounds.is_empty()).then(|| row(method, &rounds))
            })
            .collect()
    }
}

fn row(method: Method, rounds: &[&Round]) -> Row {
    let good: Vec<&&Round> = rounds.iter().filter(|r| r.failure.is_none()).collect();
    let measured: Vec<&Measured> = rounds
        .iter()
        .filter_map(|r| r.certificate.as_ref())
        .collect();
    let sum = |of: fn(&Measured) -> u64| measured.iter().map(|m| of(m)).sum();
    let phases: Vec<BTreeMap<&'static str, f64>> = good
        .iter()
        .filter_map(|r| Some(r.window.as_ref()?.phases(r.certificate.as_ref())))
        .collect();
    Row {
        method,
        rounds: rounds.len(),
        failed: rounds.len() - good.len(),
        gap_ms: Spread::of(
            good.iter()
                .filter_map(|r| r.certificate.as_ref()?.longest_ack_gap_ms),
        ),
        acked: sum(|m| m.acked),
        errors: sum(|m| m.errors),
        indeterminate: sum(|m| m.indeterminate),
        lost: sum(|m| m.acked_lost.unwrap_or(0)),
        rounds_with_loss: measured.iter().filter(|m| m.acked_lost.unwrap_or(0) > 0).count(),
        unread: measured.iter().filter(|m| m.acked_lost.is_none()).count(),
        gaps_elsewhere: good
            .iter()
            .filter(|r| {
                matches!((&r.window, &r.certificate), (Some(w), Some(m)) if !w.holds_longest_gap(m))
            })
            .count(),
        phases: crate::window::PHASES
            .into_iter()
            .filter_map(|phase| {
                let spread = Spread::of(phases.iter().filter_map(|p| p.get(phase).copied()))?;
                Some((phase, spread))
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_made_of_measured_values() {
        let spread = Spread::of((1..=30).rev().map(f64::from)).unwrap();
        assert_eq!((spread.p50, spread.p90, spread.max), (15.0, 27.0, 30.0));
        let one = Spread::of([7.0]).unwrap();
        assert_eq!((one.n, one.p50, one.p90, one.max), (1, 7.0, 7.0, 7.0));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_failed_round_is_counted_and_its_losses_too() {
        let round = |number, failure, gap, lost| Round {
            method: Method::Direct,
            number,
            began: Timestamp::UNIX_EPOCH,
            acted: None,
            act_s: None,
            took_s: 1.0,
            from: None,
            failure,
            certificate: Some(Measured {
                longest_ack_gap_ms: Some(gap),
                acked_lost: lost,
                errors: 2,
                ..Measured::default()
            }),
            window: None,
        };
        let failure = Some(Failure {
            stage: Stage::Outcome,
            detail: "the primary did not move".to_owned(),
        });
        let results = Results {
            schema: SCHEMA.to_owned(),
            machine: Machine::default(),
            rounds: vec![
                round(1, None, 200.0, Some(0)),
                round(2, failure, 9_000.0, Some(5)),
                round(3, None, 300.0, None),
            ],
        };
        let rows = results.rows();
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((row.rounds, row.failed, row.unread), (3, 1, 1));
        assert_eq!((row.lost, row.rounds_with_loss, row.errors), (5, 1, 6));
        let gap = row.gap_ms.unwrap();
        assert_eq!((gap.n, gap.max), (2, 300.0));
    }
}
