//! MongoDB replica sets: their plans, what is refused, and what the checker finds.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use ferriswheel_plan::codes;
use ferriswheel_plan::world::{MongoShardRole, MongoState, Owner};
use support::mongodb::{hand_over_spec, mongo, server, set, spec, stateful_set, views};
use support::subject::{Change, Subject, acts, assert_said, findings, made};

const SUBJECT: Subject = Subject {
    world: || set(3),
    spec,
    hand_over: hand_over_spec,
    codes: "FW06",
    refusals: REFUSALS,
    tried_apart: &[codes::WRITE_CONCERN],
};

#[test]
fn secondaries_move_first_and_the_primary_steps_down_once() {
    let plan = SUBJECT.rides_the_wheel(3, 1);
    assert_eq!(
        acts(&plan),
        [
            "move mongo-1",
            "move mongo-2",
            "mongo-0 -> mongo-1",
            "move mongo-0"
        ]
    );
    let crash = &plan.body.peak.if_a_member_crashes;
    assert!(crash.contains("no majority is left"), "{crash}");
    let five = made(&set(5), &spec());
    let crash = &five.body.peak.if_a_member_crashes;
    assert!(crash.contains("a majority is left"), "{crash}");
}

#[test]
fn a_hand_over_alone_goes_to_whom_it_is_told_or_to_the_highest_priority() {
    SUBJECT.goes_where_it_is_told("mongo-0", "mongo-2");
    let second: Change = |w| views(w, 2).for_each(|peer| peer.priority_milli = 2_000);
    assert_eq!(SUBJECT.handed_over(second), ["mongo-0 -> mongo-2"]);
    // One that cannot lead, or not for long, is not taken for one that leads already.
    let mut world = set(3);
    second(&mut world);
    let found = findings(&world, &hand_over_spec(Some("mongo-1")));
    let said: Vec<_> = found.refusals.iter().map(|d| d.code.as_str()).collect();
    assert_eq!(said, [codes::NO_CANDIDATE], "mongo-2 has a higher priority");
    SUBJECT.a_hand_over_alone_needs_less(|w| {
        server(w, 1).oplog_max_bytes = 1 << 20;
        server(w, 1).oplog_seconds = 5;
        stateful_set(w).claim_templates.clear();
        stateful_set(w).termination_grace_seconds = 30;
    });
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
        stateful_set(w).claim_templates.clear();
    }),
    (codes::MONGO_VERSION, |w| {
        server(w, 0).version = "4.2.24".to_owned();
    }),
    (codes::TAKEOVER, |w| {
        views(w, 0).for_each(|peer| peer.priority_milli = 2_000);
    }),
    (codes::QUIESCE, |w| {
        stateful_set(w).termination_grace_seconds = 30;
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
        stateful_set(w).replicas = 4;
    }),
    (codes::OTHER_AGENT, |w| {
        stateful_set(w).owner = Some(Owner {
            kind: "PerconaServerMongoDB".to_owned(),
            name: "mongo".to_owned(),
        });
    }),
];

#[test]
fn a_weak_write_concern_and_a_short_grace_are_warned_of() {
    let weak: Change = |w| {
        server(w, 0).default_write_concern = "1".to_owned();
        stateful_set(w).termination_grace_seconds = 60;
    };
    SUBJECT.warns(&[codes::WRITE_CONCERN, codes::QUIESCE], weak);
    let mut world = set(3);
    weak(&mut world);
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
    let young: Change = |w| {
        for n in 0..3 {
            let facts = server(w, n);
            facts.oplog_seconds = 30;
            facts.oplog_bytes = 1 << 20;
        }
    };
    assert_eq!(SUBJECT.findings(young).refusals, []);
    let found = SUBJECT.findings(|w| {
        young(w);
        server(w, 1).oplog_bytes = 512 << 20;
    });
    assert_said(&found.refusals, codes::OPLOG_SHORT);
}

#[test]
fn the_checker_knows_the_set() {
    SUBJECT.a_missing_hand_over_is_seen("mongo-0");
}
