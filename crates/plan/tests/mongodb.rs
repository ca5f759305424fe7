//! MongoDB replica sets: their plans, what is refused, and what the checker finds.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use ferriswheel_plan::check::{self, Proof};
use ferriswheel_plan::codes;
use ferriswheel_plan::diagnostic::Findings;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::step::StepKind;
use ferriswheel_plan::world::{MongoShardRole, MongoState, Owner, Snapshot};
use ferriswheel_plan::{display, planner};
use support::db;
use support::mongodb::{hand_over_spec, mongo, server, set, spec, views};

fn made(world: &Snapshot, spec: &Upgrade) -> Plan {
    planner::plan(world, spec).unwrap_or_else(|e| panic!("{:#?}", e.diagnostics))
}

fn acts(plan: &Plan) -> Vec<String> {
    plan.body
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::MoveReplica { pod, .. } => Some(format!("move {}", pod.name)),
            StepKind::HandOver { from, to, .. } => Some(format!("{} -> {}", from.name, to.name)),
            _ => None,
        })
        .collect()
}

#[test]
fn secondaries_move_first_and_the_primary_steps_down_once() {
    let world = set(3);
    let plan = made(&world, &spec());
    assert_eq!(
        acts(&plan),
        [
            "move mongo-1",
            "move mongo-2",
            "mongo-0 -> mongo-1",
            "move mongo-0"
        ]
    );
    assert_eq!(
        check::check(&world, &plan).unwrap(),
        Proof {
            extra_nodes: 1,
            extra_replicas: 0,
            fewest_members: Some(2),
            hand_overs: 1,
            retired: 3,
        }
    );
    let text = display::text(&plan);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let crash = &plan.body.peak.if_a_member_crashes;
    assert!(crash.contains("no majority is left"), "{crash}");
    let five = made(&set(5), &spec());
    let crash = &five.body.peak.if_a_member_crashes;
    assert!(crash.contains("a majority is left"), "{crash}");
}

#[test]
fn a_hand_over_alone_goes_to_whom_it_is_told_or_to_the_highest_priority() {
    let mut world = set(3);
    assert_eq!(
        acts(&made(&world, &hand_over_spec(Some("mongo-2")))),
        ["mongo-0 -> mongo-2"]
    );
    assert_eq!(
        made(&world, &hand_over_spec(Some("mongo-0"))).body.steps,
        [],
        "it leads already"
    );
    views(&mut world, 2).for_each(|peer| peer.priority_milli = 2_000);
    assert_eq!(
        acts(&made(&world, &hand_over_spec(None))),
        ["mongo-0 -> mongo-2"]
    );
    // One that cannot lead, or not for long, is not taken for one that leads already.
    let found = planner::findings(&world, &hand_over_spec(Some("mongo-1")));
    let said: Vec<_> = found.refusals.iter().map(|d| d.code.as_str()).collect();
    assert_eq!(said, [codes::NO_CANDIDATE], "mongo-2 has a higher priority");
    // What only a member that moves needs is not asked for.
    let mut world = set(3);
    server(&mut world, 1).oplog_max_bytes = 1 << 20;
    server(&mut world, 1).oplog_seconds = 5;
    let sets = world.stateful_sets.get_mut(&db("mongo")).unwrap();
    sets.claim_templates.clear();
    sets.termination_grace_seconds = 30;
    assert_eq!(
        planner::findings(&world, &hand_over_spec(None)).refusals,
        []
    );
}

#[test]
fn a_plan_is_read_back_as_it_was_written() {
    let plan = made(&set(3), &spec());
    let text = serde_json::to_string(&plan).unwrap();
    let back: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(back, plan);
    assert!(back.is_intact().unwrap());
}

type Change = fn(&mut Snapshot);

const REFUSALS: &[(&str, Change)] = &[
    (codes::NO_REPLICA_SET, |w| server(w, 1).set = None),
    (codes::SHARDED, |w| {
        server(w, 0).sharding = Some(MongoShardRole::Shard);
    }),
    (codes::SHARDED, |w| {
        server(w, 2).sharding = Some(MongoShardRole::Config);
    }),
    (codes::MEMBER_STATE, |w| {
        server(w, 2).state = MongoState::of("STARTUP2");
    }),
    (codes::MEMBER_STATE, |w| {
        server(w, 1).state = MongoState::of("ROLLBACK");
    }),
    (codes::SET_VIEWS_DIFFER, |w| server(w, 2).term = 2),
    (codes::SET_VIEWS_DIFFER, |w| server(w, 2).config_version = 2),
    (codes::SET_VIEWS_DIFFER, |w| {
        let peer = server(w, 1).peers.get_mut(&2).unwrap();
        peer.healthy = false;
    }),
    (codes::SET_VIEWS_DIFFER, |w| {
        let peer = server(w, 1).peers.get_mut(&0).unwrap();
        peer.state = MongoState::Secondary;
    }),
    (codes::SET_VIEWS_DIFFER, |w| {
        let peer = server(w, 0).peers.get_mut(&1).unwrap();
        peer.state = MongoState::of("RECOVERING");
    }),
    (codes::ARBITER, |w| {
        views(w, 2).for_each(|peer| peer.arbiter = true);
    }),
    (codes::VOTES, |w| {
        views(w, 2).for_each(|peer| peer.votes = 0);
    }),
    (codes::MEMBER_ADDRESS, |w| {
        views(w, 1).for_each(|peer| peer.host = "10.244.0.7:27017".to_owned());
        server(w, 1).me = "10.244.0.7:27017".to_owned();
    }),
    (codes::NOT_ELECTABLE, |w| {
        for n in 1..3 {
            views(w, n).for_each(|peer| peer.priority_milli = 0);
        }
    }),
    (codes::NOT_ELECTABLE, |w| {
        views(w, 1).for_each(|peer| peer.hidden = true);
        views(w, 2).for_each(|peer| peer.delay_seconds = 60);
    }),
    (codes::SECONDARY_BEHIND, |w| {
        views(w, 2).for_each(|peer| peer.optime -= 3);
    }),
    (codes::COMMIT_BEHIND, |w| {
        server(w, 0).commit_behind_ms = 2_001;
    }),
    (codes::OPLOG_SHORT, |w| {
        server(w, 1).oplog_seconds = 600;
    }),
    (codes::INDEX_BUILD, |w| server(w, 1).index_builds = 1),
    (codes::SET_BACKUP, |w| {
        server(w, 2).backup = Some("fsyncLock".to_owned());
    }),
    (codes::MONGO_RIGHTS, |w| {
        server(w, 0).forbidden = vec!["replSetStateChange".to_owned()];
    }),
    (codes::SET_STRANGERS, |w| {
        for facts in (0..3).collect::<Vec<_>>() {
            let mut peer = server(w, facts).peers[&1].clone();
            peer.host = "elsewhere.example:27017".to_owned();
            server(w, facts).peers.insert(9, peer);
        }
    }),
    (codes::NO_CLAIM, |w| {
        let set = w.stateful_sets.get_mut(&db("mongo")).unwrap();
        set.claim_templates.clear();
    }),
    (codes::MONGO_VERSION, |w| {
        server(w, 0).version = "4.2.24".to_owned();
    }),
    (codes::TAKEOVER, |w| {
        views(w, 0).for_each(|peer| peer.priority_milli = 2_000);
    }),
    (codes::QUIESCE, |w| {
        let set = w.stateful_sets.get_mut(&db("mongo")).unwrap();
        set.termination_grace_seconds = 30;
    }),
    (codes::NO_PRIMARY, |w| {
        server(w, 0).state = MongoState::Secondary;
    }),
    (codes::TWO_PRIMARIES, |w| {
        server(w, 1).state = MongoState::Primary;
    }),
    (codes::UNREACHABLE, |w| {
        let member = mongo(w).members.get_mut("mongo-1").unwrap();
        member.facts = None;
        member.unreachable = Some("connection refused".to_owned());
    }),
    (codes::TOO_FEW_MEMBERS, |w| {
        w.stateful_sets.get_mut(&db("mongo")).unwrap().replicas = 4;
    }),
    (codes::OTHER_AGENT, |w| {
        w.stateful_sets.get_mut(&db("mongo")).unwrap().owner = Some(Owner {
            kind: "PerconaServerMongoDB".to_owned(),
            name: "mongo".to_owned(),
        });
    }),
];

fn findings(change: Change) -> Findings {
    let mut world = set(3);
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
    let good = findings(|_| {});
    assert_eq!((good.refusals, good.warnings), (vec![], vec![]));
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
        .filter(|(code, _)| code.starts_with("FW06"))
        .filter(|(code, _)| {
            !REFUSALS.iter().any(|(tried, _)| tried == code) && *code != codes::WRITE_CONCERN
        })
        .collect();
    assert!(untried.is_empty(), "{untried:?}");
}

#[test]
fn a_weak_write_concern_and_a_short_grace_are_warned_of() {
    let mut world = set(3);
    server(&mut world, 0).default_write_concern = "1".to_owned();
    world
        .stateful_sets
        .get_mut(&db("mongo"))
        .unwrap()
        .termination_grace_seconds = 60;
    let found = planner::findings(&world, &spec());
    assert_eq!(found.refusals, []);
    for code in [codes::WRITE_CONCERN, codes::QUIESCE] {
        assert!(found.warnings.iter().any(|d| d.code == code), "{code}");
    }
    let plan = made(&world, &spec());
    assert!(
        plan.body.promises[0]
            .durability
            .contains("do not wait for a majority")
    );
}

/// A young oplog reaches as far as it will when it is full.
#[test]
fn an_oplog_that_is_not_full_is_judged_by_its_pace() {
    let mut world = set(3);
    for n in 0..3 {
        let facts = server(&mut world, n);
        facts.oplog_seconds = 30;
        facts.oplog_bytes = 1 << 20;
    }
    assert_eq!(planner::findings(&world, &spec()).refusals, []);
    server(&mut world, 1).oplog_bytes = 512 << 20;
    let found = planner::findings(&world, &spec());
    assert!(found.refusals.iter().any(|d| d.code == codes::OPLOG_SHORT));
}

#[test]
fn the_checker_knows_the_set() {
    let world = set(3);
    let mut plan = made(&world, &spec());
    let at = plan
        .body
        .steps
        .iter()
        .position(|step| matches!(step.kind, StepKind::HandOver { .. }))
        .unwrap();
    plan.body.steps.remove(at);
    let violations = check::check(&world, &plan).unwrap_err();
    let text: String = violations.iter().map(|v| format!("{v}\n")).collect();
    assert!(
        text.contains("db/mongo-0 is the primary at that time"),
        "{text}"
    );
}
