//! Clusters of Redis and Valkey: their plans, what is refused, and what the checker finds.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use ferriswheel_plan::check::{self, Proof};
use ferriswheel_plan::codes;
use ferriswheel_plan::diagnostic::Findings;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::policy::{self, Upgrade};
use ferriswheel_plan::step::{Guard, HandOverTerms, StepKind};
use ferriswheel_plan::world::{Owner, RedisRole, Snapshot};
use ferriswheel_plan::{display, planner};
use support::redis::{SPEC, cluster, everybody, hand_over_spec, id, redis as set_of, server, spec};
use support::*;

fn made(world: &Snapshot, spec: &Upgrade) -> Plan {
    planner::plan(world, spec).unwrap_or_else(|e| panic!("{:#?}", e.diagnostics))
}

#[test]
fn a_cluster_rides_the_wheel() {
    let world = cluster(6);
    let plan = made(&world, &spec());
    let text = display::text(&plan);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    insta::assert_snapshot!("cluster on the wheel", text);
    assert_eq!(
        check::check(&world, &plan).unwrap(),
        Proof {
            extra_nodes: 1,
            extra_replicas: 0,
            fewest_members: Some(5),
            hand_overs: 3,
            retired: 6,
        }
    );
}

#[test]
fn every_shard_is_handed_over_alone() {
    let world = cluster(6);
    let plan = made(&world, &hand_over_spec(None));
    insta::assert_snapshot!("cluster handed over", display::detail(&plan));
    assert_eq!(check::check(&world, &plan).unwrap().hand_overs, 3);

    let one = made(&world, &hand_over_spec(Some("redis-4")));
    let ends: Vec<_> = hand_overs(&one);
    assert_eq!(ends, [("redis-1".to_owned(), "redis-4".to_owned())]);
    let none = made(&world, &hand_over_spec(Some("redis-2")));
    assert_eq!(none.body.steps, [], "it leads already");
}

fn hand_overs(plan: &Plan) -> Vec<(String, String)> {
    plan.body
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::HandOver { from, to, .. } => Some((from.name.clone(), to.name.clone())),
            _ => None,
        })
        .collect()
}

#[test]
fn with_two_replicas_a_shard_all_of_them_move_before_its_primary() {
    let mut world = cluster(9);
    // redis-6, -7 and -8 follow as well.
    for facts in everybody(&mut world) {
        for n in 6..9 {
            let peer = facts.nodes.get_mut(&id(n)).unwrap();
            peer.primary = Some(id(n - 6));
            peer.config_epoch = (n % 3) as u64 + 1;
        }
    }
    for n in 6..9 {
        server(&mut world, n).primary_id = Some(id(n - 6));
    }
    let plan = made(&world, &spec());
    let moves: Vec<String> = plan
        .body
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::MoveReplica { pod, .. } => Some(pod.name.clone()),
            StepKind::HandOver { .. } => Some("hand over".to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(moves[..6].iter().filter(|m| *m != "hand over").count(), 6);
    assert_eq!(moves[6], "hand over");
    assert!(
        plan.body.peak.if_a_member_crashes.contains("no slot stops"),
        "{}",
        plan.body.peak.if_a_member_crashes
    );
}

#[test]
fn a_plan_is_read_back_as_it_was_written() {
    let plan = made(&cluster(6), &spec());
    let text = serde_json::to_string(&plan).unwrap();
    let back: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(back, plan);
    assert!(back.is_intact().unwrap());
}

type Change = fn(&mut Snapshot);

const REFUSALS: &[(&str, Change)] = &[
    (codes::NO_CLUSTER, |w| {
        server(w, 3).cluster_enabled = false;
    }),
    (codes::CLUSTER_NOT_OK, |w| server(w, 1).cluster_ok = false),
    (codes::CLUSTER_NOT_OK, |w| server(w, 4).slots_pfail = 1),
    (codes::CLUSTER_NOT_OK, |w| server(w, 4).slots_ok = 16_383),
    (codes::CLUSTER_NOT_OK, |w| {
        let peer = server(w, 2).nodes.get_mut(&id(5)).unwrap();
        peer.flags.insert("fail?".to_owned());
    }),
    (codes::CLUSTER_NOT_OK, |w| {
        server(w, 2).nodes.get_mut(&id(0)).unwrap().connected = false;
    }),
    (codes::VIEWS_DIFFER, |w| {
        server(w, 5).nodes.get_mut(&id(1)).unwrap().config_epoch = 9;
    }),
    (codes::VIEWS_DIFFER, |w| {
        let peer = server(w, 5).nodes.get_mut(&id(1)).unwrap();
        peer.slots[0].last -= 1;
    }),
    (codes::VIEWS_DIFFER, |w| server(w, 2).current_epoch = 7),
    (codes::VIEWS_DIFFER, |w| {
        server(w, 3).nodes.remove(&id(4));
        server(w, 3).known_nodes = 5;
    }),
    (codes::SLOTS_MOVING, |w| {
        server(w, 0).slots_moving = vec![format!("[93->-{}]", id(1))];
    }),
    (codes::NO_REPLICA, |w| {
        // redis-3 has gone over to redis-1.
        for facts in everybody(w) {
            facts.nodes.get_mut(&id(3)).unwrap().primary = Some(id(1));
        }
        server(w, 3).primary_id = Some(id(1));
    }),
    (codes::REPLICA_NOT_WHOLE, |w| {
        server(w, 3).link_up = Some(false);
    }),
    (codes::REPLICA_NOT_WHOLE, |w| server(w, 3).syncing = true),
    (codes::REPLICA_NOT_WHOLE, |w| server(w, 3).loading = true),
    (codes::REPLICA_NOT_WHOLE, |w| {
        server(w, 0).offset += 2 * 1024 * 1024;
    }),
    (codes::REDIS_SAVING, |w| server(w, 2).rdb_saving = true),
    (codes::REDIS_SAVING, |w| server(w, 2).aof_rewriting = true),
    (codes::NODES_CONF, |w| {
        let set = w.stateful_sets.get_mut(&db("redis")).unwrap();
        set.claim_templates.clear();
    }),
    (codes::NO_ANNOUNCE, |w| server(w, 4).announce_ip = None),
    (codes::REDIS_RIGHTS, |w| {
        server(w, 4).forbidden = vec!["cluster|failover".to_owned()];
    }),
    (codes::FAILBACK, |w| {
        let set = w.stateful_sets.get_mut(&db("redis")).unwrap();
        set.entrypoint_text.push(
            "while sleep 30; do\n  redis-cli role | grep -q slave && redis-cli CLUSTER FAILOVER\ndone"
                .to_owned(),
        );
    }),
    (codes::FEW_PRIMARIES, |w| {
        // redis-2 gives its slots to redis-1.
        for facts in everybody(w) {
            facts.nodes.get_mut(&id(2)).unwrap().slots.clear();
            facts.nodes.get_mut(&id(1)).unwrap().slots[0].last = 16_383;
        }
    }),
    (codes::SHARD_ON_ONE_NODE, |w| {
        let node = w.pods[&db("redis-0")].node.clone();
        w.pods.get_mut(&db("redis-3")).unwrap().node = node;
    }),
    (codes::MIN_REPLICAS, |w| {
        server(w, 1).min_replicas_to_write = 1;
    }),
    (codes::STRANGERS, |w| {
        for facts in everybody(w) {
            let mut stranger = facts.nodes[&id(5)].clone();
            stranger.flags.remove("myself");
            facts.nodes.insert(id(11), stranger);
            facts.known_nodes = 7;
        }
    }),
    (codes::REDIS_VERSION, |w| {
        server(w, 0).version = "6.2.14".to_owned();
    }),
    (codes::UNREACHABLE, |w| {
        let member = set_of(w).members.get_mut("redis-1").unwrap();
        member.facts = None;
        member.unreachable = Some("connection refused".to_owned());
    }),
    (codes::TOO_FEW_MEMBERS, |w| {
        w.stateful_sets.get_mut(&db("redis")).unwrap().replicas = 7;
    }),
    (codes::OTHER_AGENT, |w| {
        w.stateful_sets.get_mut(&db("redis")).unwrap().owner = Some(Owner {
            kind: "RedisCluster".to_owned(),
            name: "redis".to_owned(),
        });
    }),
];

fn findings(change: Change) -> Findings {
    let mut world = cluster(6);
    change(&mut world);
    let found = planner::findings(&world, &spec());
    if let Err(refusal) = planner::plan(&world, &spec()) {
        assert_eq!(refusal.diagnostics, found.refusals);
    } else {
        assert!(found.refusals.is_empty());
    }
    found
}

#[test]
fn each_refusal_is_said_with_evidence_and_fix() {
    assert_eq!(findings(|_| {}).refusals, []);
    for (code, change) in REFUSALS {
        let found = findings(*change);
        let said = found
            .refusals
            .iter()
            .find(|diagnostic| diagnostic.code == *code)
            .unwrap_or_else(|| panic!("{code}: {found:#?}"));
        assert!(
            !said.evidence.is_empty() && !said.fix.is_empty(),
            "{said:#?}"
        );
    }
}

#[test]
fn every_code_is_tried() {
    let untried: Vec<_> = codes::ALL
        .iter()
        .filter(|(code, _)| code.starts_with("FW05"))
        .filter(|(code, _)| {
            !REFUSALS.iter().any(|(tried, _)| tried == code)
                && ![codes::MEMORY_ONLY, codes::REPLICA_MIGRATION].contains(code)
        })
        .collect();
    assert!(untried.is_empty(), "{untried:?}");
}

#[test]
fn memory_only_is_a_warning_and_a_part_of_the_promise() {
    let mut world = cluster(6);
    for facts in everybody(&mut world) {
        facts.persistence.aof = false;
        facts.persistence.save.clear();
    }
    let found = planner::findings(&world, &spec());
    assert_eq!(found.refusals, []);
    assert!(found.warnings.iter().any(|d| d.code == codes::MEMORY_ONLY));
    let plan = made(&world, &spec());
    assert!(plan.body.promises[0].durability.contains("memory only"));
}

#[test]
fn replicas_that_could_change_shards_are_refused_where_one_is_alone() {
    let mut world = cluster(7);
    for facts in everybody(&mut world) {
        facts.nodes.get_mut(&id(6)).unwrap().primary = Some(id(0));
        facts.nodes.get_mut(&id(6)).unwrap().config_epoch = 1;
    }
    server(&mut world, 6).primary_id = Some(id(0));
    let found = planner::findings(&world, &spec());
    assert!(
        found
            .refusals
            .iter()
            .any(|d| d.code == codes::REPLICA_MIGRATION),
        "{found:#?}"
    );
    for facts in everybody(&mut world) {
        facts.replica_migration = false;
    }
    assert_eq!(planner::findings(&world, &spec()).refusals, []);
}

/// What is asked of a member that moves is not asked where none does.
#[test]
fn a_hand_over_alone_needs_no_claim_and_no_announced_address() {
    let mut world = cluster(6);
    world
        .stateful_sets
        .get_mut(&db("redis"))
        .unwrap()
        .claim_templates
        .clear();
    for facts in everybody(&mut world) {
        facts.announce_ip = None;
        facts.min_replicas_to_write = 1;
    }
    let found = planner::findings(&world, &hand_over_spec(None));
    assert_eq!(found.refusals, []);
}

fn broken(change: impl FnOnce(&mut Plan)) -> String {
    let world = cluster(6);
    let mut plan = made(&world, &spec());
    change(&mut plan);
    let violations = check::check(&world, &plan).unwrap_err();
    violations.iter().map(|v| format!("{v}\n")).collect()
}

fn position(plan: &Plan, is: impl Fn(&StepKind) -> bool) -> usize {
    plan.body.steps.iter().position(|s| is(&s.kind)).unwrap()
}

#[test]
fn the_checker_knows_shards() {
    let hands_over = |kind: &StepKind| matches!(kind, StepKind::HandOver { .. });
    // A primary moves without having handed over.
    let text = broken(|plan| {
        let at = position(plan, hands_over);
        plan.body.steps.remove(at);
    });
    assert!(
        text.contains("db/redis-0 is the primary at that time"),
        "{text}"
    );
    // To a replica of another shard.
    let text = broken(|plan| {
        let at = position(plan, hands_over);
        if let StepKind::HandOver { to, .. } = &mut plan.body.steps[at].kind {
            to.name = "redis-4".to_owned();
        }
    });
    assert!(
        text.contains("db/redis-4 is no replica of db/redis-0"),
        "{text}"
    );
    // Twice.
    let text = broken(|plan| {
        let at = position(plan, hands_over);
        let mut back = plan.body.steps[at].clone();
        if let StepKind::HandOver { from, to, .. } = &mut back.kind {
            std::mem::swap(from, to);
        }
        plan.body.steps.insert(at + 1, back);
    });
    assert!(text.contains("the primary would move twice"), "{text}");
    // With somebody missing when a member leaves.
    let text = broken(|plan| {
        for step in &mut plan.body.steps {
            step.guards
                .retain(|guard| !matches!(guard, Guard::AllStreaming { .. }));
        }
    });
    assert!(
        text.contains("no guard checks that 6 members stream"),
        "{text}"
    );
    // By the terms of another system.
    let text = broken(|plan| {
        let mut other = hand_over_terms();
        for step in &mut plan.body.steps {
            if let StepKind::HandOver { terms, .. } = &mut step.kind {
                std::mem::swap(terms, &mut other);
            }
        }
    });
    assert!(text.contains("the terms are not the spec's"), "{text}");
}

fn hand_over_terms() -> HandOverTerms {
    let plan = planner::plan(&demo(), &support::spec()).unwrap();
    let terms = plan
        .body
        .steps
        .into_iter()
        .find_map(|step| match step.kind {
            StepKind::HandOver { terms, .. } => Some(terms),
            _ => None,
        });
    terms.unwrap()
}

#[test]
fn the_world_digest_sees_who_leads() {
    let world = cluster(6);
    let before = planner::relevant_digest(&world, &spec());
    let mut other = cluster(6);
    server(&mut other, 0).offset += 1_000;
    assert_eq!(planner::relevant_digest(&other, &spec()), before);
    server(&mut other, 0).role = RedisRole::Replica;
    assert_ne!(planner::relevant_digest(&other, &spec()), before);
}

#[test]
fn a_database_is_of_one_system() {
    let both = SPEC.replace(
        "      redis:\n",
        "      postgres: { statefulSet: db/pg, superuser: db/s, application: db/a, database: app }\n      redis:\n",
    );
    let none = SPEC.replace(
        "      redis:\n        statefulSet: db/redis\n        password: db/redis-password\n",
        "",
    );
    let misspelt = SPEC.replace("      redis:\n", "      reddis:\n");
    for (text, code, says) in [
        (both, "FW0104", "more than one system"),
        (none, "FW0104", "says no system"),
        (misspelt, "FW0102", "unknown field `reddis`"),
    ] {
        let problems = policy::parse("upgrade.yaml", &text).unwrap_err();
        let [problem] = &problems[..] else {
            panic!("{problems:#?}")
        };
        let shown = format!("{problem:#?}");
        assert_eq!(problem.code, code, "{shown}");
        assert!(shown.contains(says), "{shown}");
        let place = problem.place.unwrap_or_else(|| panic!("{shown}"));
        let line = text.lines().nth(place.line - 1).unwrap();
        assert!(
            line.contains("cache") || line.contains("reddis"),
            "{place:?} is {line:?}"
        );
    }
}
