//! What a drain did, by the simulation and by kubectl, in the same words.

use std::collections::{BTreeMap, BTreeSet};

use ferriswheel_model::drain::world::{NodeId, PodId, World};
use ferriswheel_model::drain::{After, Drain, Options, Outcome, Reason, Why, simulate};
use serde_json::Value;

use super::dump::Dump;

/// Milliseconds between two tries of kubectl.
const RETRY: u64 = 5_000;

/// What a drain did, in words that do not depend on which of two alike pods came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) drains: bool,
    /// Refusals before each eviction that was accepted, by workload and ascending.
    pub(super) refusals: BTreeMap<String, Vec<u64>>,
    /// Left, by workload and cause.
    pub(super) left: BTreeMap<(String, &'static str), u32>,
    /// Several go at once and compete for places: who gets which depends on whom the scheduler takes first,
    /// and on whether it does before the next eviction.
    pub(super) crowded: bool,
    /// Waiting for a node afterwards, by workload.
    pub(super) homeless: BTreeMap<String, u32>,
}

impl Told {
    /// Is it what the simulation said? Which pods go, at once or not, is fixed; a machine under load may
    /// need a try more until a replacement is ready, never one less.
    pub(super) fn agrees(&self, ours: &Self) -> bool {
        let tries = self.refusals.len() == ours.refusals.len()
            && self
                .refusals
                .iter()
                .zip(&ours.refusals)
                .all(|((app, real), (other, ours))| {
                    let pairs = || real.iter().zip(ours);
                    app == other
                        && real.len() == ours.len()
                        && pairs().all(|(real, ours)| real >= ours && (*real == 0) == (*ours == 0))
                });
        tries
            && self.drains == ours.drains
            && self.left == ours.left
            && (self.homeless == ours.homeless || ours.crowded)
    }
}

fn app(pod: &Value) -> String {
    pod["metadata"]["labels"]["app"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(super) const TWO: &str = "two budgets";
const BUDGET: &str = "a budget";

pub(super) fn simulated(world: &World, node: NodeId, patience: u64) -> (Outcome, Told) {
    let outcome = simulate(
        world,
        &Options {
            order: vec![node],
            hands: 1,
            surge: Vec::new(),
            after: After::Leave,
            machine_up: 1,
            soak: 0,
            timeout: patience * 1_000,
            retry: RETRY,
            shun_old: false,
        },
    );
    let app = |pod: PodId| {
        let origin = pod
            .at()
            .checked_sub(world.pods.len())
            .map_or(pod, |made| outcome.origins[made]);
        let labels = &world.shapes[world.pods[origin.at()].shape.at()].labels;
        world
            .str(World::label(labels, world.known("app").unwrap()).unwrap())
            .to_owned()
    };
    let drain: &Drain = &outcome.drains[0];
    let mut told = Told {
        drains: drain.blocked.is_empty(),
        ..Told::default()
    };
    for evicted in &outcome.evictions {
        let refusals = (evicted.at - drain.started) / RETRY;
        told.refusals
            .entry(app(evicted.pod))
            .or_default()
            .push(refusals);
    }
    for blocked in &drain.blocked {
        let why = match blocked.why {
            Why::TwoBudgets(..) => TWO,
            Why::Budget { .. } => BUDGET,
            Why::Stopping => panic!("nothing stops that long"),
        };
        *told.left.entry((app(blocked.pod), why)).or_default() += 1;
    }
    let by_order =
        |(reason, _): &(Reason, u32)| matches!(reason, Reason::Full | Reason::Neighbours);
    told.crowded = outcome.evictions.len() > 1
        && outcome
            .homeless
            .iter()
            .any(|pod| pod.lacking.iter().any(by_order));
    for pod in &outcome.homeless {
        *told.homeless.entry(app(pod.pod)).or_default() += 1;
    }
    (outcome, told)
}

pub(super) fn real_told(
    before: &Dump,
    after: &Dump,
    node: &str,
    success: bool,
    said: &str,
) -> Told {
    let mut told = Told {
        drains: success,
        ..Told::default()
    };
    let still: BTreeSet<&str> = after
        .pods
        .iter()
        .map(|pod| pod["metadata"]["uid"].as_str().unwrap())
        .collect();
    for pod in before
        .pods
        .iter()
        .filter(|pod| pod["spec"]["nodeName"] == node)
    {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let about = format!("error when evicting pods/\"{name}\"");
        let told_of = said
            .lines()
            .filter(|line| line.starts_with(&about))
            .collect::<Vec<_>>();
        let two = told_of
            .iter()
            .any(|line| line.contains("more than one PodDisruptionBudget"));
        if still.contains(pod["metadata"]["uid"].as_str().unwrap()) {
            let why = if two { TWO } else { BUDGET };
            *told.left.entry((app(pod), why)).or_default() += 1;
        } else {
            let refusals = told_of.len() as u64;
            told.refusals.entry(app(pod)).or_default().push(refusals);
        }
    }
    told.refusals
        .values_mut()
        .for_each(|all| all.sort_unstable());
    for pod in after
        .pods
        .iter()
        .filter(|pod| pod["spec"]["nodeName"].is_null())
    {
        *told.homeless.entry(app(pod)).or_default() += 1;
    }
    told
}
