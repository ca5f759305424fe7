//! Clusters of Redis and Valkey: their plans, what is refused, and what the checker finds.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use ferriswheel_plan::policy;
use ferriswheel_plan::step::{Guard, HandOverTerms, StepKind};
use ferriswheel_plan::world::{Owner, RedisRole};
use ferriswheel_plan::{check, codes, display, planner};
use support::redis::{
    cluster, everybody, hand_over_spec, id, redis as set_of, server, spec, stateful_set, text,
};
use support::subject::{
    Change, Subject, acts, assert_said, findings, first_hand_over, made, screen,
};
use support::{db, demo};

const SUBJECT: Subject = Subject {
    world: || cluster(6),
    spec,
    hand_over: hand_over_spec,
    codes: "FW05",
    refusals: REFUSALS,
    tried_apart: &[codes::MEMORY_ONLY, codes::REPLICA_MIGRATION],
};

#[test]
fn a_cluster_rides_the_wheel() {
    let plan = SUBJECT.rides_the_wheel(6, 3);
    let text = screen(&plan);
    insta::assert_snapshot!("cluster on the wheel", text);
}

#[test]
fn every_shard_is_handed_over_alone() {
    let world = cluster(6);
    let plan = made(&world, &hand_over_spec(None));
    insta::assert_snapshot!("cluster handed over", display::detail(&plan));
    assert_eq!(check::check(&world, &plan).unwrap().hand_overs, 3);
    SUBJECT.goes_where_it_is_told("redis-1", "redis-4");
    let none = made(&world, &hand_over_spec(Some("redis-2")));
    assert_eq!(none.body.steps, [], "it leads already");
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
    let acts = acts(&plan);
    assert!(
        acts[..6].iter().all(|act| act.starts_with("move ")),
        "{acts:?}"
    );
    assert!(acts[6].contains(" -> "), "{acts:?}");
    assert!(
        plan.body.peak.if_a_member_crashes.contains("no slot stops"),
        "{}",
        plan.body.peak.if_a_member_crashes
    );
}

#[test]
fn a_plan_is_read_back_as_it_was_written() {
    SUBJECT.is_read_back_as_it_was_written();
}

#[test]
fn each_refusal_is_said_with_evidence_and_fix() {
    SUBJECT.each_refusal_is_said();
}

#[test]
fn every_code_is_tried() {
    SUBJECT.every_code_is_tried();
}

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
        stateful_set(w).claim_templates.clear();
    }),
    (codes::NO_ANNOUNCE, |w| server(w, 4).announce_ip = None),
    (codes::REDIS_RIGHTS, |w| {
        server(w, 4).forbidden = vec!["cluster|failover".to_owned()];
    }),
    (codes::FAILBACK, |w| {
        let set = stateful_set(w);
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
        stateful_set(w).replicas = 7;
    }),
    (codes::OTHER_AGENT, |w| {
        stateful_set(w).owner = Some(Owner {
            kind: "RedisCluster".to_owned(),
            name: "redis".to_owned(),
        });
    }),
];

#[test]
fn memory_only_is_a_warning_and_a_part_of_the_promise() {
    let volatile: Change = |w| {
        for facts in everybody(w) {
            facts.persistence.aof = false;
            facts.persistence.save.clear();
        }
    };
    SUBJECT.warns(&[codes::MEMORY_ONLY], volatile);
    let mut world = cluster(6);
    volatile(&mut world);
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
    let found = findings(&world, &spec());
    assert_said(&found.refusals, codes::REPLICA_MIGRATION);
    for facts in everybody(&mut world) {
        facts.replica_migration = false;
    }
    assert_eq!(findings(&world, &spec()).refusals, []);
}

#[test]
fn a_hand_over_alone_needs_no_claim_and_no_announced_address() {
    SUBJECT.a_hand_over_alone_needs_less(|w| {
        stateful_set(w).claim_templates.clear();
        for facts in everybody(w) {
            facts.announce_ip = None;
            facts.min_replicas_to_write = 1;
        }
    });
}

#[test]
fn the_checker_knows_shards() {
    SUBJECT.a_missing_hand_over_is_seen("redis-0");
    // To a replica of another shard.
    let text = SUBJECT.violations(|plan| {
        let at = first_hand_over(plan);
        if let StepKind::HandOver { to, .. } = &mut plan.body.steps[at].kind {
            to.name = "redis-4".to_owned();
        }
    });
    assert!(
        text.contains("db/redis-4 is no replica of db/redis-0"),
        "{text}"
    );
    // Twice.
    let text = SUBJECT.violations(|plan| {
        let at = first_hand_over(plan);
        let mut back = plan.body.steps[at].clone();
        if let StepKind::HandOver { from, to, .. } = &mut back.kind {
            std::mem::swap(from, to);
        }
        plan.body.steps.insert(at + 1, back);
    });
    assert!(text.contains("the primary would move twice"), "{text}");
    // With somebody missing when a member leaves.
    let text = SUBJECT.violations(|plan| {
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
    let text = SUBJECT.violations(|plan| {
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
    let mut plan = made(&demo(), &support::spec());
    let at = first_hand_over(&plan);
    match plan.body.steps.swap_remove(at).kind {
        StepKind::HandOver { terms, .. } => terms,
        other => panic!("{other:?}"),
    }
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
    let spec = text();
    let both = spec.replace(
        "      redis:\n",
        "      postgres: { statefulSet: db/pg, superuser: db/s, application: db/a, database: app }\n      redis:\n",
    );
    let none = spec.replace(
        "      redis:\n        statefulSet: db/redis\n        password: db/redis-password\n",
        "",
    );
    let misspelt = spec.replace("      redis:\n", "      reddis:\n");
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
