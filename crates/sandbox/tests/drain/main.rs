//! The drain simulation against the real `kubectl drain` on the real control plane.
//!
//! Random small clusters, each in a namespace with nodes of its own, on one control plane. The nodes are
//! objects that this test keeps alive, and their pods live by its word: they run and become ready a
//! moment after the scheduler placed them, and are gone a moment after they are deleted. Everything
//! else is real: controllers, scheduler, budgets, the eviction handler, kubectl. Before each drain the
//! cluster is read as a user's dump is, and the simulation of that dump has to say what kubectl then does.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that fails says where, and what it saw"
)]

mod cluster;
mod dump;
mod furnish;
mod nodes;
mod told;

use std::sync::Arc;
use std::time::Duration;

use cluster::{Real, Sandbox};
use ferriswheel_model::drain::world::NodeId;
use furnish::{Dice, furnish};
use futures::{StreamExt, stream};
use tokio::task::JoinSet;
use told::{TWO, Told, real_told, simulated};

/// As many as the claim says, and a few that are not comparable.
const CLUSTERS: u64 = 56;
const COMPARED: usize = 50;
/// Clusters that may differ by chance, the first time.
const MOST_AGAIN: usize = 6;
/// Each is drained on so many of its three nodes.
const DRAINS: usize = 2;
/// Processes of kubectl at the same time: a hundred at once would be a test of this machine's patience.
const AT_ONCE: usize = 28;
/// Nothing here takes half of this on a loaded machine; a wait that long is a failure.
const DEADLINE: Duration = Duration::from_secs(180);
/// kubectl is given up after this long where the simulation says that it never ends: two tries.
const PATIENCE: u64 = 6;
/// More than this is said only by a drain that was asked for again and again in vain.
const MOST_SAID: usize = 20_000;
/// In the simulation, and for kubectl where the simulation says that it ends.
const ENOUGH: u64 = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_drains_as_the_simulation_says() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .unwrap();
    let sandbox = Sandbox::up();
    let real = sandbox.api().await;
    let mut life = JoinSet::new();
    life.spawn(real.clone().kubelet());
    let mut compared = round(&real, &mut life, (0..CLUSTERS).collect(), "c").await;
    // The real controllers and this machine's load play together by chance: what differs is made and drained once
    // more. What the simulation gets wrong it gets wrong each time.
    let differ = |(_, drains): &(u64, Compared)| drains.iter().any(|(_, wrong)| wrong.is_some());
    let again: Vec<u64> = compared
        .iter()
        .filter(|one| differ(one))
        .map(|one| one.0)
        .collect();
    assert!(again.len() <= MOST_AGAIN, "more than chance: {again:?}");
    compared.retain(|one| !differ(one));
    println!("drained once more: {again:?}");
    compared.extend(round(&real, &mut life, again, "again").await);
    let compared: Vec<Compared> = compared.into_iter().map(|(_, drains)| drains).collect();
    assert!(
        life.try_join_next().is_none(),
        "nodes and pods were kept alive"
    );
    life.shutdown().await;
    assert!(compared.len() >= COMPARED);
    let wrong = compared
        .iter()
        .flatten()
        .filter_map(|(_, wrong)| wrong.as_deref());
    let wrong: Vec<&str> = wrong.collect();
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    let all: Vec<&Told> = compared.iter().flatten().map(|(told, _)| told).collect();
    let count = |is: &dyn Fn(&Told) -> bool| all.iter().filter(|told| is(told)).count();
    let met = [
        ("drains", count(&|told| told.drains)),
        ("blocked", count(&|told| !told.drains)),
        (
            "two budgets",
            count(&|told| told.left.keys().any(|(_, why)| *why == TWO)),
        ),
        (
            "without a node",
            count(&|told| !told.homeless.is_empty() && !told.crowded),
        ),
        (
            "waited",
            count(&|told| {
                told.refusals
                    .values()
                    .flatten()
                    .any(|refusals| *refusals > 0)
            }),
        ),
    ];
    println!("{} clusters, {} drains: {met:?}", compared.len(), all.len());
    assert!(met.iter().all(|(_, many)| *many >= 2), "{met:?}");
}

/// What was compared of a cluster, drain by drain, and what differed.
type Compared = Vec<(Told, Option<String>)>;

/// Makes clusters, and drains them side by side.
async fn round(
    real: &Real,
    life: &mut JoinSet<()>,
    seeds: Vec<u64>,
    prefix: &str,
) -> Vec<(u64, Compared)> {
    let clusters: Vec<(u64, String, Vec<String>)> = stream::iter(seeds)
        .map(|seed| async move {
            let name = format!("{prefix}{seed}");
            let mut dice = Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let nodes = furnish(real, &name, &mut dice).await;
            (seed, name, nodes)
        })
        .buffered(8)
        .collect()
        .await;
    let nodes = clusters
        .iter()
        .flat_map(|(_, _, nodes)| nodes.clone())
        .collect();
    life.spawn(real.clone().heartbeats(Arc::new(nodes)));
    stream::iter(clusters)
        .map(|(seed, name, nodes)| {
            let drained = tokio::spawn(compare(real.clone(), name, nodes));
            async move { (seed, drained.await.unwrap()) }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// One cluster, drained on some of its nodes.
async fn compare(real: Real, name: String, nodes: Vec<String>) -> Compared {
    let mut compared = Vec::new();
    for node in nodes.iter().take(DRAINS) {
        let (before, world) = real.settled(&name).await;
        let id = world
            .nodes
            .iter()
            .position(|known| world.str(known.name) == node)
            .unwrap();
        let (outcome, told) = simulated(&world, NodeId(id as u32), ENOUGH);
        let left: u32 = told.left.values().sum();
        // What never ends is not waited for, only until nothing goes that may go.
        let patience = if told.drains { ENOUGH } else { PATIENCE };
        let mut said = String::new();
        let (success, after) = loop {
            let (success, more) = real.drain(node, patience).await;
            said.push_str(&more);
            let after = real.calm(&name).await;
            let seen = real_told(&before, &after, node, success, &said);
            let again = !success && seen.left.values().sum::<u32>() > left;
            if !again || said.len() > MOST_SAID {
                break (success, after);
            }
        };
        let seen = real_told(&before, &after, node, success, &said);
        let wrong = (!seen.agrees(&told)).then(|| {
            format!(
                "{name}: {node}\nreal {seen:?}\nours {told:?}\n{said}\n{:?}",
                outcome.drains
            )
        });
        let over = wrong.is_some();
        compared.push((told, wrong));
        if over {
            break;
        }
    }
    compared
}
