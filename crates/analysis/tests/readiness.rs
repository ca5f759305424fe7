//! Readiness of a stored world.

#![expect(clippy::unwrap_used, reason = "a stored world is well formed")]

use ferriswheel_analysis::upgrade_readiness;
use ferriswheel_plan::policy::{Upgrade, parse};
use ferriswheel_plan::world::Snapshot;
use ferriswheel_plan::{codes, planner};

/// The practice cluster, as a program stored it in format 1.
const WORLD: &str = include_str!("../../plan/tests/worlds/practice-v1.json");
const SPEC: &str = include_str!("../../../examples/postgres/upgrade.yaml");

fn stored() -> (Snapshot, Upgrade) {
    let world = serde_json::from_str(WORLD).unwrap();
    (world, parse("upgrade.yaml", SPEC).unwrap())
}

#[test]
fn a_ready_cluster_has_a_plan() {
    let (world, spec) = stored();
    assert!(upgrade_readiness(&world, &spec).refusals.is_empty());
    assert!(planner::plan(&world, &spec).is_ok());
}

#[test]
fn what_is_wrong_is_said_as_the_planner_says_it() {
    let (mut world, spec) = stored();
    world
        .pools
        .values_mut()
        .filter(|pool| !pool.system)
        .for_each(|pool| pool.autoscaling = true);
    let found = upgrade_readiness(&world, &spec);
    assert_eq!(found.refusals.len(), 1);
    assert_eq!(found.refusals[0].code, codes::AUTOSCALER);
    let refusal = planner::plan(&world, &spec).unwrap_err();
    assert_eq!(refusal.diagnostics, found.refusals);
}
