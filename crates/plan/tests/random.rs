//! Worlds by chance: every plan holds its promises, and the same world gives the same plan.

#![expect(clippy::unwrap_used, reason = "a test's own world is well formed")]

mod support;

use ferriswheel_plan::check;
use ferriswheel_plan::ids::NodeName;
use ferriswheel_plan::planner;
use ferriswheel_plan::policy::{Strategy as Wheel, Upgrade};
use ferriswheel_plan::step::StepKind;
use ferriswheel_plan::world::Snapshot;
use proptest::prelude::*;
use support::*;

/// What a world is made from.
#[derive(Clone, Debug)]
struct Shape {
    /// Zones of the members' nodes.
    members: Vec<u32>,
    primary: usize,
    /// Zones of nodes of the old pool without a member.
    idle: Vec<u32>,
    /// Members that an earlier run has brought over, as a bit set.
    moved: u8,
    /// Free machines in a pool that an earlier run left, by zone.
    left_over: Option<u32>,
    pool: String,
    seat: bool,
    /// A second database on a pool of its own.
    second: Option<Vec<u32>>,
    /// A pool that has the plainest new name already and is something else.
    taken: bool,
}

fn shapes() -> impl Strategy<Value = Shape> {
    (
        prop::collection::vec(1_u32..=3, 2..=5),
        any::<prop::sample::Index>(),
        prop::collection::vec(1_u32..=3, 0..=2),
        any::<u8>(),
        prop::option::of(1_u32..=3),
        "[a-z][a-z0-9]{0,11}",
        any::<bool>(),
        prop::option::of(prop::collection::vec(1_u32..=3, 2..=3)),
        any::<bool>(),
    )
        .prop_map(
            |(members, primary, idle, moved, left_over, pool, seat, second, taken)| Shape {
                primary: primary.index(members.len()),
                members,
                idle,
                moved,
                left_over,
                pool,
                seat,
                second,
                taken,
            },
        )
        .prop_filter("pools of the test itself", |shape| {
            !["syspool", "otherpool"].contains(&shape.pool.as_str())
        })
}

/// The plainest name that the planner would give, worked out by the plan itself.
fn plain_name(world: &Snapshot, spec: &Upgrade, zone: u32) -> Option<String> {
    let plan = planner::plan(world, spec).ok()?;
    plan.body.steps.iter().find_map(|step| match &step.kind {
        StepKind::GrowPool { pool, zone: z, .. } if *z == support::zone(zone) => {
            Some(pool.to_string())
        }
        _ => None,
    })
}

fn build(shape: &Shape) -> (Snapshot, Upgrade) {
    let mut world = empty("1.36.3");
    world
        .pools
        .insert("syspool".into(), pool("1.36.3", true, &[1, 2], 2));
    for n in 1..=2 {
        let (name, node) = node(&world, "syspool", n, n - 1);
        world.nodes.insert(name, node);
    }
    let mut spec = spec();
    let Wheel::FerrisWheel(wheel) = &mut spec.spec.strategy else {
        panic!("the spec is a wheel's")
    };
    wheel.extra_seat = shape.seat;

    let nodes = put_pool(&mut world, &shape.pool, &shape.members);
    put_set(&mut world, "pg", "orders", &nodes, shape.primary);
    for zone in &shape.idle {
        let serial = world.pools[&shape.pool.as_str().into()].count;
        let (name, node) = node(&world, &shape.pool, *zone, serial);
        world.nodes.insert(name, node);
        world
            .pools
            .get_mut(&shape.pool.as_str().into())
            .unwrap()
            .count += 1;
    }
    if let Some(zones) = &shape.second {
        let nodes = put_pool(&mut world, "otherpool", zones);
        put_set(&mut world, "other", "bills", &nodes, 0);
        let mut second = spec.spec.databases[0].clone();
        second.name = "bills".into();
        postgres_of(&mut second).stateful_set = db("other");
        spec.spec.databases.push(second);
    }
    if shape.taken
        && let Some(name) = plain_name(&world, &spec, shape.members[0])
    {
        world
            .pools
            .insert(name.as_str().into(), pool("1.34.1", false, &[1, 2, 3], 0));
    }
    earlier_run(&mut world, &spec, shape);
    (world, spec)
}

fn put_pool(world: &mut Snapshot, name: &str, zones: &[u32]) -> Vec<NodeName> {
    let count = u32::try_from(zones.len()).unwrap();
    world
        .pools
        .insert(name.into(), pool("1.35.4", false, &[1, 2, 3], count));
    let mut nodes = Vec::new();
    for (serial, zone) in zones.iter().enumerate() {
        let (name, node) = node(world, name, *zone, u32::try_from(serial).unwrap());
        nodes.push(name.clone());
        world.nodes.insert(name, node);
    }
    nodes
}

/// Members that are over already, each on a machine of the pool that a plan would make for it.
fn earlier_run(world: &mut Snapshot, spec: &Upgrade, shape: &Shape) {
    let over: Vec<usize> = (0..shape.members.len())
        .filter(|n| shape.moved & (1 << n) != 0)
        .take(shape.members.len() - 1)
        .collect();
    let mut names = std::collections::BTreeMap::new();
    for zone in 1..=3 {
        if let Some(name) = plain_name(world, spec, zone) {
            names.insert(zone, name);
        }
    }
    let put = |world: &mut Snapshot, zone: u32| -> Option<NodeName> {
        let name = names.get(&zone)?.clone();
        let model = pool("1.36.3", false, &[zone], 0);
        let key = name.as_str().into();
        let existing = world.pools.entry(key).or_insert(model);
        let serial = existing.count;
        existing.count += 1;
        let (node_name, node) = node(world, &name, zone, serial);
        world.nodes.insert(node_name.clone(), node);
        Some(node_name)
    };
    for ordinal in over {
        if let Some(node) = put(world, shape.members[ordinal]) {
            pod_of(world, &format!("pg-{ordinal}")).node = Some(node);
        }
    }
    if let Some(zone) = shape.left_over {
        put(world, zone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_holds_its_promises(shape in shapes()) {
        let (world, spec) = build(&shape);
        let plan = match planner::plan(&world, &spec) {
            Ok(plan) => plan,
            Err(refusal) => {
                return Err(TestCaseError::fail(format!("{:#?}", refusal.diagnostics)));
            }
        };
        let proof = check::check(&world, &plan)
            .map_err(|violations| TestCaseError::fail(format!("{violations:#?}")))?;
        prop_assert!(proof.extra_nodes <= 2, "{proof:?}");
        prop_assert!(proof.extra_replicas <= 1, "{proof:?}");
        let again = planner::plan(&world, &spec).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(
            serde_json::to_vec(&plan).unwrap(),
            serde_json::to_vec(&again).unwrap()
        );
        let primary_leaves = world.pods[&db(&format!("pg-{}", shape.primary))]
            .node
            .as_ref()
            .is_some_and(|node| node.as_str().contains(&format!("aks-{}-", shape.pool)));
        prop_assert_eq!(
            proof.hand_overs,
            u32::from(primary_leaves) + u32::from(shape.second.is_some())
        );
    }
}
