//! Rollbacks of the standard wheel: what each step's undo is, and the plan that takes a run back
//! after each of its steps.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

mod support;

use std::collections::BTreeMap;

use ferriswheel_plan::check;
use ferriswheel_plan::diagnostic::Refusal;
use ferriswheel_plan::ids::{NodeName, ObjectRef, PoolName, Uid};
use ferriswheel_plan::plan::{Becomes, Body, Plan};
use ferriswheel_plan::rollback::{self, Past, Progress, Wish};
use ferriswheel_plan::step::{Guard, StepId, StepKind, Undo};
use ferriswheel_plan::world::{RUN_LABEL, Snapshot};
use ferriswheel_plan::{display, planner};
use support::*;

fn made() -> Plan {
    planner::plan(&demo(), &spec()).unwrap_or_else(|e| panic!("{:#?}", e.diagnostics))
}

fn free(world: &Snapshot, pool: &PoolName) -> NodeName {
    let taken = |name: &NodeName| {
        world
            .pods
            .iter()
            .any(|(pod, found)| pod.name.starts_with("pg-") && found.node.as_ref() == Some(name))
    };
    world
        .nodes
        .iter()
        .filter(|(_, node)| node.pool.as_ref() == Some(pool) && !node.unschedulable)
        .map(|(name, _)| name.clone())
        .find(|name| !taken(name))
        .unwrap_or_else(|| panic!("no node of {pool} is free"))
}

/// What a step leaves behind, as a snapshot would show it.
fn play(world: &mut Snapshot, run: &str, kind: &StepKind, serial: u32) {
    match kind {
        StepKind::Cordon { nodes } => {
            for node in nodes {
                world.nodes.get_mut(&node.name).unwrap().unschedulable = true;
            }
        }
        StepKind::GrowPool {
            pool,
            like,
            zone,
            count,
            version,
        } => {
            let mut new = world.pools[like].clone();
            new.zones = vec![zone.clone()];
            new.count = *count;
            new.kubernetes_version = *version;
            world.pools.insert(pool.clone(), new);
            let number = zone.as_str().rsplit('-').next().unwrap().parse().unwrap();
            let (name, node) = node(world, pool.as_str(), number, serial);
            world.nodes.insert(name, node);
        }
        StepKind::AddSeat {
            replicas,
            onto_pool,
            ..
        } => {
            let at = free(world, onto_pool);
            set(world).replicas = *replicas;
            let mut seat = world.pods[&db("pg-1")].clone();
            seat.uid = Uid::new("uid-seat");
            seat.node = Some(at);
            world.pods.insert(db("pg-3"), seat);
            let mut claim = world.claims[&db("data-pg-1")].clone();
            claim.uid = Uid::new("uid-seat-claim");
            claim.labels.insert(RUN_LABEL.to_owned(), run.to_owned());
            world.claims.insert(db("data-pg-3"), claim);
            let member = postgres(world, "orders").members["pg-1"].clone();
            postgres(world, "orders")
                .members
                .insert("pg-3".to_owned(), member);
        }
        StepKind::MoveReplica { pod, onto_pool, .. } => {
            let at = free(world, onto_pool);
            let moved = world.pods.get_mut(pod).unwrap();
            moved.node = Some(at);
            moved.uid = Uid::new(format!("uid-{}-moved", pod.name));
        }
        StepKind::HandOver { from, to, .. } => {
            member(world, &from.name).in_recovery = true;
            member(world, &from.name).streaming_from = Some(to.name.clone());
            member(world, &to.name).in_recovery = false;
        }
        StepKind::RetireNode { node, pool } => {
            world.nodes.remove(&node.name);
            world.pools.get_mut(pool).unwrap().count -= 1;
        }
        StepKind::RemoveSeat { replicas, .. } => {
            set(world).replicas = *replicas;
            world.pods.remove(&db("pg-3"));
            world.claims.remove(&db("data-pg-3"));
            postgres(world, "orders").members.remove("pg-3");
        }
        StepKind::ShrinkPool { pool, count, .. } => {
            let name = free(world, pool);
            world.nodes.remove(&name);
            world.pools.get_mut(pool).unwrap().count = *count;
        }
        StepKind::DeletePool { pool } => {
            world.pools.remove(pool);
        }
        _ => {}
    }
}

/// The world after so many steps, and how far each came.
fn after(plan: &Plan, steps: usize) -> (Snapshot, BTreeMap<StepId, Progress>) {
    let mut world = demo();
    let mut begun = BTreeMap::new();
    for step in plan.body.steps.iter().take(steps) {
        play(&mut world, plan.id.as_str(), &step.kind, 40 + step.id.0);
        begun.insert(step.id, Progress::Done);
    }
    (world, begun)
}

fn back(plan: &Plan, steps: usize, wish: Wish) -> (Snapshot, Result<Plan, Refusal>) {
    let (world, begun) = after(plan, steps);
    let past = Past {
        plan,
        before: &demo(),
        begun: &begun,
    };
    let back = rollback::plan(&world, &past, wish);
    (world, back)
}

fn number_of(plan: &Plan, kind: &str, nth: usize) -> usize {
    let found = plan
        .body
        .steps
        .iter()
        .filter(|step| step.kind.name() == kind)
        .nth(nth);
    usize::try_from(found.unwrap().id.0).unwrap()
}

fn names(plan: &Plan) -> Vec<&'static str> {
    plan.body.steps.iter().map(|s| s.kind.name()).collect()
}

#[test]
fn every_step_says_how_it_is_taken_back() {
    let plan = made();
    let mut seen = BTreeMap::new();
    for step in &plan.body.steps {
        let undo = match &step.undo {
            Undo::Inverse(inverse) => {
                let json = serde_json::to_value(inverse).unwrap();
                json.as_object().unwrap().keys().next().unwrap().clone()
            }
            Undo::RollForwardOnly(_) => "forward only".to_owned(),
            Undo::Nothing => "nothing".to_owned(),
            other => panic!("{other:?}"),
        };
        seen.entry(step.kind.name()).or_insert(undo);
    }
    let wanted = [
        ("addSeat", "removeSeat"),
        ("certify", "nothing"),
        ("cordon", "uncordon"),
        ("deletePool", "forward only"),
        ("growPool", "deletePool"),
        ("handOver", "handBack"),
        ("moveReplica", "moveBack"),
        ("removeSeat", "nothing"),
        ("retireNode", "forward only"),
        ("shrinkPool", "nothing"),
        ("startAgents", "stopAgents"),
        ("startProbe", "certify"),
        ("stopAgents", "nothing"),
    ];
    let wanted: BTreeMap<&str, String> = wanted
        .into_iter()
        .map(|(kind, undo)| (kind, undo.to_owned()))
        .collect();
    assert_eq!(seen, wanted);
}

#[test]
fn a_run_ended_after_each_step_has_a_sound_way_back() {
    let plan = made();
    for hand_back in [false, true] {
        for steps in 0..=plan.body.steps.len() {
            let (world, back) = back(&plan, steps, Wish { hand_back });
            let back = back.unwrap_or_else(|e| panic!("after {steps}: {:#?}", e.diagnostics));
            let proof = check::check(&world, &back).unwrap_or_else(|e| panic!("{steps}: {e:#?}"));
            assert_eq!(back.body.parent.as_ref(), Some(&plan.id));
            let moved = steps >= number_of(&plan, "handOver", 0);
            assert_eq!(proof.hand_overs, u32::from(hand_back && moved), "{steps}");
            assert!(proof.fewest_members.is_none_or(|fewest| fewest >= 3));
            // Every step that was begun and has something to take back has its fate.
            let fates = &back.body.rollback.as_ref().unwrap().fates;
            let wanted = plan
                .body
                .steps
                .iter()
                .take(steps)
                .filter(|step| step.undo != Undo::Nothing)
                .count();
            assert_eq!(fates.len(), wanted, "{steps}");
            let text = display::text(&back);
            let wide = text.lines().find(|line| line.chars().count() > 80);
            assert!(wide.is_none(), "{text}");
        }
    }
}

#[test]
fn a_member_moves_back_while_its_machine_is_there() {
    let plan = made();
    let moved = number_of(&plan, "moveReplica", 0);
    let (_, straight) = back(&plan, moved, Wish::default());
    let straight = straight.unwrap();
    insta::assert_snapshot!(
        "a run given up after its first move",
        display::detail(&straight)
    );
    // Retired, the machine is gone: the member stays, and the plan says so.
    let (_, late) = back(&plan, moved + 1, Wish::default());
    let late = late.unwrap();
    // And it does not go back to one whose deletion was asked for.
    let (world, mut begun) = after(&plan, moved);
    begun.insert(StepId(u32::try_from(moved + 1).unwrap()), Progress::Half);
    let past = Past {
        plan: &plan,
        before: &demo(),
        begun: &begun,
    };
    let leaving = rollback::plan(&world, &past, Wish::default()).unwrap();
    assert!(!names(&leaving).contains(&"moveReplica"));
    assert!(!names(&late).contains(&"moveReplica"));
    let stays = |fate: &&ferriswheel_plan::plan::Fate| matches!(fate.becomes, Becomes::Stays(_));
    let fates = &late.body.rollback.as_ref().unwrap().fates;
    assert_eq!(fates.iter().filter(stays).count(), 3, "{fates:#?}");
    assert!(late.body.warnings[0].contains("two versions"));
}

#[test]
fn a_node_that_was_closed_before_stays_closed() {
    let plan = made();
    let (world, begun) = after(&plan, number_of(&plan, "cordon", 0));
    let mut before = demo();
    before.nodes.get_mut(&old_node(1)).unwrap().unschedulable = true;
    let past = Past {
        plan: &plan,
        before: &before,
        begun: &begun,
    };
    let back = rollback::plan(&world, &past, Wish::default()).unwrap();
    let StepKind::Uncordon { nodes } = &back.body.steps[0].kind else {
        panic!("{:?}", names(&back))
    };
    assert!(nodes.iter().all(|node| node.name != old_node(1)));
    assert_eq!(nodes.len(), 2);
}

#[test]
fn what_a_person_must_decide_is_refused() {
    let plan = made();
    let seat = number_of(&plan, "addSeat", 0);
    let refused = |world: &Snapshot, begun: &BTreeMap<StepId, Progress>, wish: Wish| {
        let past = Past {
            plan: &plan,
            before: &demo(),
            begun,
        };
        let refusal = rollback::plan(world, &past, wish).unwrap_err();
        refusal.diagnostics[0].code.clone()
    };
    let (mut world, begun) = after(&plan, seat);
    member(&mut world, "pg-0").in_recovery = true;
    member(&mut world, "pg-3").in_recovery = false;
    assert_eq!(refused(&world, &begun, Wish::default()), "FW0193");

    let (mut world, begun) = after(&plan, seat);
    set(&mut world).replicas = 5;
    assert_eq!(refused(&world, &begun, Wish::default()), "FW0194");

    let (mut world, begun) = after(&plan, number_of(&plan, "handOver", 0));
    pod_of(&mut world, "pg-0").ready = false;
    assert_eq!(refused(&world, &begun, Wish { hand_back: true }), "FW0189");

    let (world, again) = back(&plan, seat, Wish::default());
    let again = again.unwrap();
    let past = Past {
        plan: &again,
        before: &demo(),
        begun: &BTreeMap::new(),
    };
    let refusal = rollback::plan(&world, &past, Wish::default()).unwrap_err();
    assert_eq!(refusal.diagnostics[0].code, "FW0195");
}

/// Breaks a sound rollback in one place.
fn broken(body: &Body, how: impl FnOnce(&mut Body)) -> Plan {
    let mut body = body.clone();
    how(&mut body);
    for (index, step) in body.steps.iter_mut().enumerate() {
        step.id = StepId(u32::try_from(index + 1).unwrap());
    }
    Plan::seal(body).unwrap()
}

type Break = fn(&mut Body);

#[test]
fn the_checker_finds_each_broken_promise() {
    let plan = made();
    let moved = number_of(&plan, "moveReplica", 0);
    let (world, sound) = back(&plan, moved, Wish::default());
    let sound = sound.unwrap();
    let without = |kind: &'static str| {
        move |body: &mut Body| body.steps.retain(|step| step.kind.name() != kind)
    };
    let mut cases: Vec<(&str, Plan)> = [
        ("stay closed", "uncordon"),
        ("is open", "cordon"),
        ("nobody measures", "startProbe"),
        ("still carries", "moveReplica"),
        ("still runs", "certify"),
        ("were not retired", "retireNode"),
    ]
    .into_iter()
    .map(|(what, kind)| (what, broken(&sound.body, without(kind))))
    .collect();
    let others: [(&str, Break); 6] = [
        ("no guard checks", |body| {
            for step in &mut body.steps {
                step.guards
                    .retain(|guard| !matches!(guard, Guard::NotPrimary { .. }));
            }
        }),
        ("not a machine of the run", |body| {
            if let Some(rollback) = &mut body.rollback {
                rollback.machines.clear();
            }
        }),
        ("not a pool of the run", |body| {
            if let Some(rollback) = &mut body.rollback {
                rollback.pools.clear();
            }
        }),
        ("closed by somebody else", |body| {
            if let Some(rollback) = &mut body.rollback {
                rollback.cordoned_by_others.push(old_node(1));
            }
        }),
        ("another claim", |body| {
            for step in &mut body.steps {
                if let StepKind::RemoveSeat { claims, .. } = &mut step.kind {
                    claims[0].uid = Uid::new("other");
                }
            }
        }),
        ("the peak", |body| body.peak.fewest_members = 2),
    ];
    for (what, how) in others {
        cases.push((what, broken(&sound.body, how)));
    }
    for (what, plan) in cases {
        let found = match check::check(&world, &plan) {
            Ok(_) => String::new(),
            Err(violations) => violations.iter().map(|v| format!("{v}\n")).collect(),
        };
        assert!(found.contains(what), "{what}: {found}");
    }
    // And the primary does not move unless somebody asks.
    let (world, sound) = back(
        &plan,
        number_of(&plan, "handOver", 0),
        Wish { hand_back: true },
    );
    let unasked = broken(&sound.unwrap().body, |body| {
        if let Some(rollback) = &mut body.rollback {
            rollback.hand_back = false;
        }
    });
    let found = check::check(&world, &unasked).unwrap_err();
    assert!(found.iter().any(|v| v.what.contains("nobody asked")));
    let _: ObjectRef = db("pg-0");
}
