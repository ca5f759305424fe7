//! Memcached pools: their plans, what is refused, and what the checker finds.

#![expect(clippy::expect_used, reason = "a test that fails says where")]

mod support;

use ferriswheel_plan::policy::parse;
use ferriswheel_plan::step::{Guard, Lag, StepKind};
use ferriswheel_plan::world::{Absence, MemcachedCounts, Owner, Snapshot};
use ferriswheel_plan::{codes, display};
use support::memcached::{
    hand_over_spec, memcached, pool, server, spec, spec_with, stateful_set, text,
};
use support::subject::{Change, Subject, acts, assert_said, findings, made};

const SUBJECT: Subject = Subject {
    world: pool,
    spec,
    hand_over: hand_over_spec,
    codes: "FW10",
    refusals: REFUSALS,
    tried_apart: &[
        codes::CACHE_FEW,
        codes::CACHE_DISTRIBUTION,
        codes::CACHE_HIT_RATE,
        codes::CACHE_BACKEND,
        codes::CACHE_FULL,
        codes::CACHE_NAMES,
    ],
};

const REFUSALS: &[(&str, Change)] = &[
    (codes::CACHE_REFILLING, |w| server(w, 1).lately.hits = 850),
    (codes::CACHE_REFILLING, |w| {
        idle(w);
        server(w, 2).items = 19_000;
    }),
    (codes::CACHE_VERSIONS, |w| {
        server(w, 2).version = "1.6.29".to_owned();
    }),
    (codes::MEMCACHED_VERSION, |w| {
        server(w, 0).version = "1.4.25".to_owned();
    }),
    (codes::CACHE_DUMP, |w| server(w, 1).dump_enabled = false),
    (codes::UNREACHABLE, |w| {
        let member = memcached(w)
            .members
            .get_mut("memcached-1")
            .expect("it is there");
        member.facts = None;
        member.unreachable = Some("it asks for a password".to_owned());
    }),
    (codes::OTHER_AGENT, |w| {
        stateful_set(w).owner = Some(Owner {
            kind: "Memcached".to_owned(),
            name: "pages".to_owned(),
        });
    }),
];

/// Next to nobody asks at this moment.
fn idle(world: &mut Snapshot) {
    for n in 0..3 {
        server(world, n).lately = MemcachedCounts::default();
    }
}

#[test]
fn one_member_moves_at_a_time_and_waits_for_its_keys() {
    let plan = SUBJECT.rides_the_wheel(3, 0);
    assert_eq!(
        acts(&plan),
        ["move memcached-0", "move memcached-1", "move memcached-2"]
    );
    let moves = plan
        .body
        .steps
        .iter()
        .filter(|step| matches!(step.kind, StepKind::MoveReplica { .. }));
    for step in moves {
        // Ten minutes to be back and ten to refill, and the soak.
        assert_eq!(step.deadline_ms - step.soak_ms, 1_200_000);
        let awaited = step.guards.iter().any(|guard| {
            matches!(
                guard,
                Guard::AllStreaming {
                    members: 3,
                    max_lag: Lag::Points(10),
                    ..
                }
            )
        });
        assert!(awaited, "{:?}", step.guards);
        let asked = |guard: &Guard| matches!(guard, Guard::NotPrimary { .. });
        assert!(!step.guards.iter().any(asked), "nobody leads");
    }
    let detail = display::detail(&plan);
    assert!(detail.contains("10 points behind"), "{detail}");
    let [promise] = &plan.body.promises[..] else {
        panic!("{:?}", plan.body.promises)
    };
    assert!(promise.durability.starts_with("none"), "{promise:?}");
    let screen = display::text(&plan);
    assert!(!screen.contains("lost writes"), "{screen}");
}

#[test]
fn the_limits_of_the_spec_are_in_the_plan() {
    let plan = made(&pool(), &spec_with(&["refillWithin: 5", "refillLimit: 2m"]));
    let detail = display::detail(&plan);
    assert!(detail.contains("5 points behind"), "{detail}");
    let longest = plan
        .body
        .steps
        .iter()
        .filter(|step| matches!(step.kind, StepKind::MoveReplica { .. }))
        .map(|step| step.deadline_ms - step.soak_ms)
        .max();
    assert_eq!(longest, Some(720_000));
}

#[test]
fn a_percentage_is_from_0_to_100_and_said_where_it_is_not() {
    let with = |line: &str| parse("upgrade.yaml", &format!("{}        {line}\n", text()));
    for line in [
        "minHitRate: 0",
        "minHitRate: 100",
        "refillWithin: 0",
        "refillWithin: 100",
    ] {
        assert!(with(line).is_ok(), "{line}");
    }
    let last = text().lines().count() + 1;
    for line in ["minHitRate: 101", "refillWithin: 256", "minHitRate: -1"] {
        let problems = with(line).expect_err(line);
        assert_eq!(problems.len(), 1, "{line}: {problems:#?}");
        let problem = &problems[0];
        assert_eq!(problem.code, codes::SPEC_VALUE, "{problem:#?}");
        assert!(problem.fix.contains("from 0 to 100"), "{problem:#?}");
        let place = problem.place.as_ref().expect(line);
        assert_eq!(place.line, last, "{problem:#?}");
        assert!(place.column > 8, "{problem:#?}");
    }
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

#[test]
fn what_the_spec_allows_is_held_against_what_a_missing_member_costs() {
    // 3,000 questions a second, 2,880 found, 1,920 without one member: 64 %, and 1,080 loads.
    for (line, code) in [
        ("minHitRate: 65", codes::CACHE_HIT_RATE),
        ("maxBackendLoad: 1079", codes::CACHE_BACKEND),
        ("distribution: modula", codes::CACHE_DISTRIBUTION),
    ] {
        assert_said(&findings(&pool(), &spec_with(&[line])).refusals, code);
    }
    let borne = spec_with(&["minHitRate: 64", "maxBackendLoad: 1080"]);
    assert_eq!(findings(&pool(), &borne).refusals, []);
    // Nobody asks now: what they found since their start counts, and no load can be told from that.
    let mut world = pool();
    idle(&mut world);
    assert_eq!(findings(&world, &borne).refusals, []);
    let found = findings(&world, &spec_with(&["minHitRate: 65"])).refusals;
    assert_said(&found, codes::CACHE_HIT_RATE);
}

#[test]
fn one_name_for_all_members_is_refused() {
    let text = support::memcached::text().replace("{pod}.db", "memcached.db");
    let found = findings(&pool(), &support::parsed(&text));
    assert_said(&found.refusals, codes::CACHE_NAMES);
}

#[test]
fn one_member_alone_is_refused() {
    let mut world = pool();
    stateful_set(&mut world).replicas = 1;
    world
        .pods
        .retain(|name, _| name.name != "memcached-1" && name.name != "memcached-2");
    memcached(&mut world)
        .members
        .retain(|name, _| name == "memcached-0");
    assert_said(&findings(&world, &spec()).refusals, codes::CACHE_FEW);
}

#[test]
fn a_full_member_is_warned_of() {
    SUBJECT.warns(&[codes::CACHE_FULL], |w| server(w, 1).bytes = 60 << 20);
    SUBJECT.warns(&[codes::CACHE_FULL], |w| server(w, 2).lately.evictions = 3);
}

#[test]
fn nobody_leads_so_nothing_is_handed_over() {
    let found = findings(&pool(), &hand_over_spec(None));
    assert_said(&found.refusals, codes::NO_CANDIDATE);
}

#[test]
fn a_guard_that_is_missing_is_seen_by_the_checker() {
    let text = SUBJECT.violations(|plan| {
        for step in &mut plan.body.steps {
            step.guards
                .retain(|guard| !matches!(guard, Guard::AllStreaming { .. }));
        }
    });
    assert!(text.contains("3 members stream"), "{text}");
}

#[test]
fn a_rate_needs_questions_and_counting_begins_anew_with_the_process() {
    let counts = |gets, hits| MemcachedCounts {
        gets,
        hits,
        evictions: 0,
    };
    assert_eq!(counts(99, 99).hit_rate(), None);
    assert_eq!(counts(200, 150).hit_rate(), Some(75.0));
    assert_eq!(counts(50, 40).since(counts(900, 900)), counts(50, 40));
    assert_eq!(counts(950, 940).since(counts(900, 900)), counts(50, 40));
    assert_eq!(
        Absence::worst(&[counts(10, 10), counts(20, 20)], None),
        None
    );
    let worst = Absence::worst(&[counts(100, 90), counts(100, 50)], Some(500));
    let found = worst.map(|cost| (cost.now, cost.lowest, cost.loads_a_second));
    assert_eq!(found, Some((70.0, 25.0, Some(300))));
}
