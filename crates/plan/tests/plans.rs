//! Plans of known worlds: order, peak, one screen each.

mod support;

use ferriswheel_plan::check::{self, Proof};
use ferriswheel_plan::diff::diff;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::policy::Strategy;
use ferriswheel_plan::step::StepKind;
use ferriswheel_plan::world::Snapshot;
use ferriswheel_plan::{display, planner};
use support::*;

fn made(world: &Snapshot) -> Plan {
    subject::made(world, &spec())
}

#[test]
fn the_practice_cluster_on_one_screen() {
    let plan = made(&demo());
    let text = subject::screen(&plan);
    assert!(text.lines().count() <= 50, "{text}");
    insta::assert_snapshot!("practice cluster", text);
    insta::assert_snapshot!("practice cluster in detail", display::detail(&plan));
}

#[test]
fn without_the_seat() {
    let mut spec = spec();
    let Strategy::FerrisWheel(wheel) = &mut spec.spec.strategy else {
        panic!("the spec is a wheel's")
    };
    wheel.extra_seat = false;
    wheel.approve_hand_over = true;
    let plan = planner::plan(&demo(), &spec).unwrap();
    insta::assert_snapshot!("practice cluster without the seat", display::text(&plan));
    assert_eq!(
        check::check(&demo(), &plan).unwrap(),
        Proof {
            extra_nodes: 1,
            extra_replicas: 0,
            fewest_members: Some(2),
            hand_overs: 1,
            retired: 3,
        }
    );
}

#[test]
fn a_hand_over_alone() {
    let plan = planner::plan(&demo(), &hand_over_spec(None)).unwrap();
    insta::assert_snapshot!("a hand-over alone", display::detail(&plan));
    let proof = check::check(&demo(), &plan).unwrap();
    assert_eq!(
        (proof.hand_overs, proof.retired, proof.extra_nodes),
        (1, 0, 0)
    );

    let mut unmeasured = hand_over_spec(Some("pg-2"));
    let Strategy::HandOver(wish) = &mut unmeasured.spec.strategy else {
        panic!("the spec is a hand-over's")
    };
    wish.probe = false;
    let plan = planner::plan(&demo(), &unmeasured).unwrap();
    let kinds: Vec<_> = plan.body.steps.iter().map(|s| s.kind.name()).collect();
    assert_eq!(kinds, ["startAgents", "handOver", "stopAgents"]);
    assert!(plan.body.steps[1].title.ends_with("pg-0 -> pg-2"));

    let there = planner::plan(&demo(), &hand_over_spec(Some("pg-0"))).unwrap();
    assert!(there.body.steps.is_empty());
    assert!(display::text(&there).contains("every primary is where it shall be"));
}

#[test]
fn a_wheel_that_somebody_else_measures() {
    let mut unmeasured = spec();
    let Strategy::FerrisWheel(wheel) = &mut unmeasured.spec.strategy else {
        panic!("the spec is a wheel's")
    };
    wheel.probe = false;
    let plan = planner::plan(&demo(), &unmeasured).unwrap();
    let kinds: Vec<_> = plan.body.steps.iter().map(|s| s.kind.name()).collect();
    assert!(!kinds.contains(&"startProbe") && !kinds.contains(&"certify"));
    assert!(kinds.contains(&"handOver") && kinds.contains(&"moveReplica"));
    assert_eq!(check::check(&demo(), &plan).unwrap().hand_overs, 1);
    // Where it is as usual nothing is said of it: plans that were made before are the same bytes.
    let said = serde_json::to_string(&made(&demo()).body.policy).unwrap();
    assert!(!said.contains("probe"), "{said}");
    assert!(
        serde_json::to_string(&plan.body.policy)
            .unwrap()
            .contains("\"probe\":false")
    );
}

#[test]
fn the_same_world_gives_the_same_bytes() {
    let (one, two) = (made(&demo()), made(&demo()));
    assert_eq!(
        serde_json::to_string(&one).unwrap(),
        serde_json::to_string(&two).unwrap()
    );
    assert!(one.is_intact().unwrap());
    let back: Plan = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    assert_eq!(back, one);
    assert!(back.is_intact().unwrap());
}

#[test]
fn an_edited_plan_is_noticed() {
    let mut plan = made(&demo());
    plan.body.steps.remove(0);
    assert!(!plan.is_intact().unwrap());
}

#[test]
fn time_and_lag_change_no_decision() {
    let mut later = demo();
    later.observed_at = at("2026-11-21T09:00:00Z");
    member(&mut later, "pg-1").lag_bytes = Some(4_096);
    member(&mut later, "pg-0").oldest_transaction_ms = Some(9);
    let digest = |world: &Snapshot| planner::relevant_digest(world, &spec());
    assert_eq!(digest(&demo()), digest(&later));
    assert_eq!(diff(&made(&demo()), &made(&later)), []);
}

#[test]
fn what_a_plan_rests_on_changes_the_digest() {
    let digest = |world: &Snapshot| planner::relevant_digest(world, &spec());
    type Change = (&'static str, fn(&mut Snapshot));
    let changes: [Change; 8] = [
        ("pool version", |w| {
            dbpool(w).kubernetes_version = version("1.35.5");
        }),
        ("node", |w| {
            w.nodes.get_mut(&old_node(1)).unwrap().uid = "another".into();
        }),
        ("replicas", |w| set(w).replicas = 4),
        ("revision", |w| set(w).update_revision = "pg-9".to_owned()),
        ("disk", |w| {
            w.claims.get_mut(&db("data-pg-1")).unwrap().uid = "another".into();
        }),
        ("pod", |w| pod_of(w, "pg-1").uid = "another".into()),
        ("primary", |w| {
            member(w, "pg-0").in_recovery = true;
            member(w, "pg-1").in_recovery = false;
        }),
        ("pool mode", |w| entry(w).pool_mode = "session".to_owned()),
    ];
    for (what, change) in changes {
        let mut world = demo();
        change(&mut world);
        assert_ne!(digest(&demo()), digest(&world), "{what}");
    }
}

#[test]
fn nothing_to_do_is_a_plan_without_steps() {
    let mut world = demo();
    dbpool(&mut world).kubernetes_version = version("1.36.3");
    for node in world.nodes.values_mut() {
        node.kubelet_version = version("1.36.3");
    }
    let plan = made(&world);
    assert!(plan.body.steps.is_empty());
    assert!(display::text(&plan).contains("Nothing to do"));
}

/// The primary is not the lowest ordinal and stands in another zone; the order follows the roles.
#[test]
fn the_order_follows_roles_not_ordinals() {
    let mut world = demo();
    let nodes: Vec<_> = (0..3).map(old_node).collect();
    put_set(&mut world, "pg", "orders", &nodes, 2);
    let plan = made(&world);
    assert_eq!(
        subject::acts(&plan),
        ["move pg-0", "move pg-1", "pg-2 -> pg-0", "move pg-2"]
    );
}

#[test]
fn a_synchronous_replica_is_preferred() {
    let mut world = demo();
    member(&mut world, "pg-0").synchronous_standby_names =
        "FIRST 1 (\"pg-2\",\"pg-1\",\"pg-0\")".to_owned();
    member(&mut world, "pg-2").sync_state = Some("sync".to_owned());
    let plan = made(&world);
    assert!(
        plan.body
            .steps
            .iter()
            .any(|step| matches!(&step.kind, StepKind::HandOver { to, .. } if to.name == "pg-2"))
    );
    assert!(
        plan.body.promises[0]
            .durability
            .contains("even if a member crashes")
    );
}

/// A machine of the old pool without a member, and a new pool that an earlier run left behind.
#[test]
fn an_interrupted_run_is_taken_up() {
    let mut world = demo();
    world
        .pools
        .insert("dbpool36z2".into(), pool("1.36.3", false, &[2], 1));
    let (name, fresh) = node(&world, "dbpool36z2", 2, 0);
    world.nodes.insert(name.clone(), fresh);
    pod_of(&mut world, "pg-1").node = Some(name);
    world.nodes.get_mut(&old_node(1)).unwrap().unschedulable = true;
    let plan = made(&world);
    insta::assert_snapshot!("an interrupted run", display::text(&plan));
    assert!(
        !plan.body.steps.iter().any(
            |step| matches!(&step.kind, StepKind::MoveReplica { pod, .. } if pod.name == "pg-1")
        )
    );
}

#[test]
fn the_difference_of_two_plans_is_said() {
    let mut spec = spec();
    let Strategy::FerrisWheel(wheel) = &mut spec.spec.strategy else {
        panic!("the spec is a wheel's")
    };
    wheel.extra_seat = false;
    let without = planner::plan(&demo(), &spec).unwrap();
    let lines: Vec<String> = diff(&made(&demo()), &without)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        lines.contains(&"~ extra nodes: 2 -> 1".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"- add the extra seat pg-3 on dbpool36z1".to_owned()),
        "{lines:?}"
    );
}

/// A plan that somebody wrote by hand, or a planner that errs, does not pass.
#[test]
fn the_checker_finds_each_broken_promise() {
    let world = demo();
    let good = made(&world);
    let find = |plan: &Plan, kind: &str| -> usize {
        plan.body
            .steps
            .iter()
            .position(|step| step.kind.name() == kind)
            .unwrap()
    };
    let renumber = |plan: &mut Plan| {
        for (index, step) in plan.body.steps.iter_mut().enumerate() {
            step.id.0 = u32::try_from(index + 1).unwrap();
        }
    };
    type Spoil<'a> = (&'a str, &'a str, Box<dyn Fn(&mut Plan) + 'a>);
    let spoils: Vec<Spoil<'_>> = vec![
        (
            "not a cordoned old node",
            "cordon left out",
            Box::new(|plan| {
                plan.body.steps.remove(find(plan, "cordon"));
            }),
        ),
        (
            "no machine of dbpool36z1 is free",
            "a machine left out",
            Box::new(|plan| {
                plan.body.steps.remove(find(plan, "growPool"));
            }),
        ),
        (
            "still carries",
            "a node retired before its member moved",
            Box::new(|plan| {
                let (moves, retires) = (find(plan, "moveReplica"), find(plan, "retireNode"));
                plan.body.steps.swap(moves, retires);
            }),
        ),
        (
            "is not on an upgraded, schedulable node",
            "hand-over first",
            Box::new(|plan| {
                let step = plan.body.steps.remove(find(plan, "handOver"));
                let at = find(plan, "growPool");
                plan.body.steps.insert(at, step);
            }),
        ),
        (
            "would move twice",
            "two hand-overs",
            Box::new(|plan| {
                let at = find(plan, "handOver");
                let step = plan.body.steps[at].clone();
                plan.body.steps.insert(at, step);
            }),
        ),
        (
            "the seat, or the primary itself",
            "the seat becomes the primary",
            Box::new(|plan| {
                let at = find(plan, "handOver");
                if let StepKind::HandOver { to, .. } = &mut plan.body.steps[at].kind {
                    *to = db("pg-3");
                }
            }),
        ),
        (
            "old machines remain",
            "a node forgotten",
            Box::new(|plan| {
                plan.body.steps.remove(find(plan, "retireNode"));
            }),
        ),
        (
            "ends with 4 replicas",
            "the seat stays",
            Box::new(|plan| {
                plan.body.steps.remove(find(plan, "removeSeat"));
            }),
        ),
        (
            "did not move yet",
            "the seat goes too early",
            Box::new(|plan| {
                let step = plan.body.steps.remove(find(plan, "removeSeat"));
                let at = find(plan, "handOver");
                plan.body.steps.insert(at, step);
            }),
        ),
        (
            "were never retired",
            "a pool deleted with its machines",
            Box::new(|plan| {
                let step = plan.body.steps.remove(find(plan, "deletePool"));
                let at = find(plan, "retireNode");
                plan.body.steps.insert(at, step);
            }),
        ),
        (
            "is not an old pool",
            "another pool deleted",
            Box::new(|plan| {
                let at = find(plan, "deletePool");
                plan.body.steps[at].kind = StepKind::DeletePool {
                    pool: "syspool".into(),
                };
            }),
        ),
        (
            "is not an old node",
            "another node retired",
            Box::new(|plan| {
                let at = find(plan, "retireNode");
                if let StepKind::RetireNode { node, pool } = &mut plan.body.steps[at].kind {
                    node.name = "aks-syspool-12345678-vmss000000".into();
                    node.uid = "uid-aks-syspool-12345678-vmss000000".into();
                    *pool = "syspool".into();
                }
            }),
        ),
        (
            "is not that machine",
            "another machine of that name",
            Box::new(|plan| {
                let at = find(plan, "retireNode");
                if let StepKind::RetireNode { node, .. } = &mut plan.body.steps[at].kind {
                    node.uid = "another".into();
                }
            }),
        ),
        (
            "is stated as",
            "a smaller peak",
            Box::new(|plan| plan.body.peak.extra_nodes = 1),
        ),
        (
            "no agent and no watchdog",
            "no agents",
            Box::new(|plan| {
                plan.body.steps.remove(find(plan, "startAgents"));
            }),
        ),
        (
            "has no certificate",
            "no certificate",
            Box::new(|plan| {
                plan.body.steps.remove(find(plan, "certify"));
            }),
        ),
        (
            "nobody measures yet",
            "no probe",
            Box::new(|plan| {
                plan.body.steps.remove(find(plan, "startProbe"));
            }),
        ),
        (
            "no guard checks",
            "a guard left out",
            Box::new(|plan| {
                let at = find(plan, "moveReplica");
                plan.body.steps[at].guards.clear();
            }),
        ),
        (
            "is free where the disk",
            "the wrong zone",
            Box::new(|plan| {
                let at = find(plan, "moveReplica");
                if let StepKind::MoveReplica { onto_pool, .. } = &mut plan.body.steps[at].kind {
                    *onto_pool = "dbpool36z1".into();
                }
            }),
        ),
        (
            "AKS accepts no pool named",
            "a bad name",
            Box::new(|plan| {
                let at = find(plan, "growPool");
                if let StepKind::GrowPool { pool, .. } = &mut plan.body.steps[at].kind {
                    *pool = "db-pool-at-1-36".into();
                }
            }),
        ),
    ];
    for (expected, what, spoil) in spoils {
        let mut plan = good.clone();
        spoil(&mut plan);
        renumber(&mut plan);
        let violations = match check::check(&world, &plan) {
            Ok(_) => panic!("{what}: nothing was found"),
            Err(violations) => violations,
        };
        let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(
            texts.iter().any(|text| text.contains(expected)),
            "{what}: {texts:#?}"
        );
    }
}

#[test]
fn the_last_system_pool_stays() {
    let mut world = demo();
    let good = made(&world);
    dbpool(&mut world).system = true;
    world.pools.get_mut(&"syspool".into()).unwrap().system = false;
    let violations = check::check(&world, &good).unwrap_err();
    assert!(
        violations
            .iter()
            .any(|violation| violation.what.contains("last System pool")),
        "{violations:?}"
    );
}

/// Snapshots of format 1 stay readable, with fields that this version does not know.
#[test]
fn a_stored_world_is_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worlds/practice-v1.json");
    let text = std::fs::read_to_string(path).unwrap();
    let world: Snapshot = serde_json::from_str(&text).unwrap();
    // Written before anybody asked where the setting comes from.
    let mut wanted = demo();
    for name in ["pg-0", "pg-1", "pg-2"] {
        member(&mut wanted, name).synchronous_names_source.clear();
    }
    assert_eq!(world, wanted);
    let newer = text.replacen('{', "{\"somethingNew\": true,", 1);
    assert_eq!(serde_json::from_str::<Snapshot>(&newer).unwrap(), wanted);
}

/// A plan of format 1 stays readable and intact: runs are continued by newer programs.
#[test]
fn a_stored_plan_is_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worlds/plan-v1.json");
    let text = std::fs::read_to_string(path).unwrap();
    let plan: Plan = serde_json::from_str(&text).unwrap();
    assert!(plan.is_intact().unwrap());
    assert!(check::check(&demo(), &plan).is_ok());
}
