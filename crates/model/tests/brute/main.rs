//! The drain simulation against a naive play of its rules, eviction by eviction, on random clusters.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

mod bounds;
mod clusters;
mod naive;

use std::collections::BTreeMap;

use clusters::{Dice, cluster, to_world};
use ferriswheel_model::drain::{Outcome, Why, simulate};
use naive::{Log, Play};

/// As many as the claim says.
const CLUSTERS: u64 = 10_000;
/// Two cores are what there is; more threads than that do no harm.
const THREADS: u64 = 4;

fn log(outcome: &Outcome) -> Log {
    let why = |why: &Why| match why {
        Why::Budget { budget, status, .. } => {
            let numbers = (
                status.expected,
                status.desired,
                status.healthy,
                status.allowed,
                status.failed,
            );
            format!("budget {} {numbers:?}", budget.0)
        }
        Why::TwoBudgets(a, b) => format!("two budgets {} {}", a.0, b.0),
        Why::Stopping => "stopping".to_owned(),
    };
    Log {
        drains: outcome
            .drains
            .iter()
            .map(|drain| {
                let blocked = drain.blocked.iter();
                (
                    drain.node.at(),
                    drain.started,
                    drain.ended,
                    drain.evictions,
                    blocked.map(|b| (b.pod.at(), why(&b.why))).collect(),
                )
            })
            .collect(),
        evictions: outcome
            .evictions
            .iter()
            .map(|e| (e.at, e.node.at(), e.pod.at(), e.origin.at()))
            .collect(),
        placements: outcome
            .placements
            .iter()
            .map(|p| (p.at, p.pod.at(), p.node.at()))
            .collect(),
        homeless: outcome.homeless.iter().map(|h| h.pod.at()).collect(),
    }
}

/// What a run of clusters met, so that the comparison is not about nothing.
type Met = BTreeMap<&'static str, u64>;

fn compare(seed: u64, met: &mut Met) {
    let (naive, plan) = cluster(&mut Dice::new(seed));
    let (world, options) = to_world(&naive, &plan);
    let outcome = simulate(&world, &options);
    let fast = log(&outcome);
    let play = Play::new(naive.clone(), plan.clone(), seed.is_multiple_of(20));
    let slow = play.play();
    for (i, (a, b)) in fast.evictions.iter().zip(&slow.evictions).enumerate() {
        assert_eq!(a, b, "seed {seed}: eviction {i}; {plan:?}\n{naive:#?}");
    }
    assert_eq!(fast, slow, "seed {seed}; {plan:?}\n{naive:#?}");
    let mut meet = |what, many: usize| *met.entry(what).or_default() += many as u64;
    meet("evictions", fast.evictions.len());
    meet("placements", fast.placements.len());
    meet("homeless", fast.homeless.len());
    meet(
        "again",
        fast.evictions
            .iter()
            .filter(|e| e.2 >= naive.pods.len())
            .count(),
    );
    let starts: BTreeMap<usize, u64> = fast.drains.iter().map(|d| (d.0, d.1)).collect();
    let late = fast.evictions.iter().filter(|e| e.0 > starts[&e.1]);
    meet("refused, then let go", late.count());
    for drain in &fast.drains {
        meet("drained", usize::from(drain.4.is_empty()));
        for (_, why) in &drain.4 {
            let kind = ["budget", "two budgets", "stopping"]
                .into_iter()
                .find(|kind| why.starts_with(kind));
            meet(kind.unwrap(), 1);
        }
    }
}

#[test]
fn every_eviction_is_the_naive_one() {
    let met: Vec<Met> = std::thread::scope(|scope| {
        let work = |thread| {
            move || {
                let mut met = Met::new();
                for seed in (thread..CLUSTERS).step_by(THREADS as usize) {
                    compare(seed, &mut met);
                }
                met
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|t| scope.spawn(work(t))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let mut sum = Met::new();
    for (what, many) in met.into_iter().flatten() {
        *sum.entry(what).or_default() += many;
    }
    println!("{sum:?}");
    for what in [
        "evictions",
        "placements",
        "homeless",
        "again",
        "refused, then let go",
        "drained",
        "budget",
        "two budgets",
        "stopping",
    ] {
        let many = sum.get(what).copied().unwrap_or(0);
        assert!(many >= CLUSTERS / 50, "too few of {what}: {sum:?}");
    }
}
