//! Kafka clusters: their plans, what is refused, and what the checker finds.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::collections::BTreeMap;

use ferriswheel_plan::check;
use ferriswheel_plan::codes;
use ferriswheel_plan::databases::kafka::ANNOTATION;
use ferriswheel_plan::policy::parse;
use ferriswheel_plan::rollback::{self, Past, Progress, Wish};
use ferriswheel_plan::step::{Inverse, Step, StepKind, Undo};
use ferriswheel_plan::world::Owner;
use support::kafka::{
    broker, cluster, first, hand_over_spec, kafka, spec, stateful_set, text, views,
};
use support::pod_of;
use support::subject::{Change, Subject, findings, made};

const SUBJECT: Subject = Subject {
    world: || cluster(3),
    spec,
    hand_over: hand_over_spec,
    codes: "FW08",
    refusals: REFUSALS,
    tried_apart: &[
        codes::CONTROLLERS_APART,
        codes::RECORD_LEFT,
        codes::SLOW_FETCH,
        codes::KAFKA_HAND_OVER,
    ],
};

/// Who moves, and what is led away from whom to whom, in order.
fn acts(steps: &[Step]) -> Vec<String> {
    let named = |pods: &[ferriswheel_plan::ids::ObjectRef]| {
        let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
        names.join("+")
    };
    steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::MoveReplica { pod, .. } => Some(format!("move {}", pod.name)),
            StepKind::DrainLeaders { pod, terms, .. } => Some(format!(
                "drain {} to {}|{} each {}",
                pod.name,
                named(&terms.settled),
                named(&terms.later),
                terms.pace_ms
            )),
            StepKind::ReturnLeaders { pace_ms, .. } => Some(format!("return each {pace_ms}")),
            _ => None,
        })
        .collect()
}

#[test]
fn each_broker_is_drained_before_it_moves_and_the_controller_is_last() {
    let plan = SUBJECT.rides_the_wheel(3, 0);
    assert_eq!(
        acts(&plan.body.steps),
        [
            "drain kafka-0 to |kafka-1+kafka-2 each 250",
            "move kafka-0",
            "drain kafka-2 to kafka-0|kafka-1 each 250",
            "move kafka-2",
            "drain kafka-1 to kafka-0+kafka-2| each 250",
            "move kafka-1",
            "return each 250",
        ]
    );
    for step in &plan.body.steps {
        if let StepKind::DrainLeaders { .. } = step.kind {
            let database = "events".into();
            let undo = Undo::Inverse(Inverse::ReturnLeaders { database });
            assert_eq!(step.undo, undo);
            assert_eq!(step.expected_stall_ms, Some(600));
            assert!(
                step.title.starts_with("lead 2 partitions away"),
                "{}",
                step.title
            );
        }
    }
    let crash = &plan.body.peak.if_a_member_crashes;
    assert!(
        crash.contains("1 copy of a partition of both is left"),
        "{crash}"
    );
    assert!(crash.contains("writes that wait"), "{crash}");
}

#[test]
fn a_person_is_asked_before_partitions_are_led_away_where_the_spec_wants_it() {
    let mut spec = spec();
    if let ferriswheel_plan::policy::Strategy::FerrisWheel(wheel) = &mut spec.spec.strategy {
        wheel.approve_hand_over = true;
    }
    let plan = made(&cluster(3), &spec);
    let gates: Vec<&str> = plan
        .body
        .steps
        .iter()
        .filter_map(|step| Some(step.gate.as_ref()?.name.as_str()))
        .collect();
    let asked = [
        "drain-events-kafka-0",
        "drain-events-kafka-2",
        "drain-events-kafka-1",
    ];
    assert_eq!(gates, asked);
}

#[test]
fn a_spec_that_asks_for_what_cannot_be_is_refused() {
    let good = text();
    let with = |line: &str| {
        let set = "        statefulSet: db/kafka\n";
        let text = good.replace(set, &format!("{set}        {line}\n"));
        assert_ne!(text, good);
        parse("upgrade.yaml", &text)
    };
    let longest = format!("topic: {}", "t".repeat(212));
    for line in ["pace: 1m", "topic: probe_1.of-Orders", longest.as_str()] {
        assert!(with(line).is_ok(), "{line}");
    }
    let too_long = format!("topic: {}", "t".repeat(213));
    for (line, fix) in [
        ("pace: 60001ms", "choose at most 1m"),
        ("topic: \"\"", "use letters"),
        ("topic: probe/orders", "use letters"),
        ("topic: probe orders", "use letters"),
        (too_long.as_str(), "use letters"),
    ] {
        let problems = with(line).unwrap_err();
        assert_eq!(problems.len(), 1, "{line}: {problems:#?}");
        assert_eq!(problems[0].code, codes::SPEC_VALUE, "{line}");
        assert!(problems[0].fix.starts_with(fix), "{line}: {problems:#?}");
        assert!(problems[0].place.is_some(), "{line}: {problems:#?}");
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

const REFUSALS: &[(&str, Change)] = &[
    (codes::ZOOKEEPER, |w| broker(w, 0).zookeeper = true),
    (codes::KAFKA_VIEWS_DIFFER, |w| {
        broker(w, 2).cluster = "another".to_owned();
    }),
    (codes::KAFKA_VIEWS_DIFFER, |w| {
        broker(w, 2).quorum.leader = Some(0)
    }),
    (codes::KAFKA_VIEWS_DIFFER, |w| {
        let topic = broker(w, 1).topics.get_mut("orders").unwrap();
        topic.partitions.get_mut(&2).unwrap().leader = Some(0);
    }),
    (codes::KAFKA_VIEWS_DIFFER, |w| {
        broker(w, 2).topics.remove("payments");
    }),
    // A server.properties that not every broker has yet.
    (codes::KAFKA_VIEWS_DIFFER, |w| {
        broker(w, 2).topics.get_mut("orders").unwrap().min_isr = 1;
    }),
    (codes::KAFKA_VIEWS_DIFFER, |w| {
        broker(w, 1).topics.get_mut("orders").unwrap().unclean = true;
    }),
    (codes::KAFKA_VERSIONS, |w| broker(w, 2).program = 30),
    (codes::KAFKA_STRANGERS, |w| {
        for facts in views(w) {
            let peer = facts.brokers[&0].clone();
            facts.brokers.insert(9, peer);
        }
    }),
    (codes::BROKER_FENCED, |w| {
        views(w).for_each(|facts| facts.brokers.get_mut(&2).unwrap().fenced = true);
    }),
    (codes::BROKER_FENCED, |w| {
        for facts in views(w) {
            facts.brokers.remove(&2);
        }
    }),
    (codes::BROKER_ADDRESS, |w| {
        let host = "10.244.0.7";
        views(w).for_each(|facts| facts.brokers.get_mut(&1).unwrap().host = host.to_owned());
    }),
    (codes::QUORUM_BEHIND, |w| {
        views(w).for_each(|facts| facts.quorum.leader = None);
    }),
    (codes::QUORUM_BEHIND, |w| {
        for facts in views(w) {
            facts.quorum.voters.insert(2, 2_001);
        }
    }),
    (codes::FEW_VOTERS, |w| {
        for facts in views(w) {
            facts.quorum.voters.remove(&2);
        }
    }),
    (codes::UNDER_REPLICATED, |w| {
        for partition in first(w) {
            partition.isr.pop();
        }
    }),
    (codes::UNDER_REPLICATED, |w| {
        first(w).for_each(|partition| partition.leader = None);
    }),
    (codes::SINGLE_COPY, |w| {
        first(w).for_each(|partition| {
            partition.replicas.truncate(1);
            partition.isr.truncate(1);
        });
    }),
    (codes::MIN_ISR, |w| {
        views(w).for_each(|facts| facts.topics.get_mut("orders").unwrap().min_isr = 3);
    }),
    (codes::UNCLEAN, |w| {
        views(w).for_each(|facts| facts.topics.get_mut("orders").unwrap().unclean = true);
    }),
    (codes::REASSIGNING, |w| {
        views(w).for_each(|facts| facts.reassigned.push("orders-1".to_owned()));
    }),
    (codes::ABRUPT, |w| {
        let settings = &mut broker(w, 1).settings;
        settings.insert("controlled.shutdown.enable".to_owned(), "false".to_owned());
    }),
    (codes::KAFKA_NO_CLAIM, |w| {
        stateful_set(w).claim_templates.clear();
    }),
    (codes::KAFKA_GRACE, |w| {
        stateful_set(w).termination_grace_seconds = 29;
    }),
    (codes::UNREACHABLE, |w| {
        let member = kafka(w).members.get_mut("kafka-1").unwrap();
        member.facts = None;
        member.unreachable = Some("connection refused".to_owned());
    }),
    (codes::TOO_FEW_MEMBERS, |w| stateful_set(w).replicas = 4),
    (codes::OTHER_AGENT, |w| {
        stateful_set(w).owner = Some(Owner {
            kind: "Kafka".to_owned(),
            name: "events".to_owned(),
        });
    }),
    (codes::OTHER_AGENT, |w| {
        let labels = &mut pod_of(w, "kafka-0").labels;
        labels.insert("strimzi.io/cluster".to_owned(), "events".to_owned());
    }),
];

#[test]
fn what_does_no_harm_is_said_and_stops_nothing() {
    SUBJECT.warns(&[codes::SLOW_FETCH, codes::KAFKA_GRACE], |w| {
        for facts in views(w) {
            let backoff = "replica.fetch.backoff.ms".to_owned();
            facts.settings.insert(backoff, "1000".to_owned());
        }
        stateful_set(w).termination_grace_seconds = 60;
    });
    let found = SUBJECT.findings(|w| {
        let wait = "replica.fetch.wait.max.ms".to_owned();
        broker(w, 1).settings.insert(wait, "500".to_owned());
    });
    let said: Vec<_> = found
        .warnings
        .iter()
        .map(|d| (d.code.as_str(), d.evidence.join(", ")))
        .collect();
    let wait = "replica.fetch.wait.max.ms=500".to_owned();
    assert_eq!(said, [(codes::SLOW_FETCH, wait)]);
    SUBJECT.warns(&[codes::CONTROLLERS_APART], |w| {
        for facts in views(w) {
            facts.quorum.voters = (10..13).map(|voter| (voter, 3)).collect();
            facts.quorum.leader = Some(10);
        }
    });
    SUBJECT.warns(&[codes::RECORD_LEFT], |w| {
        let record = r#"{"orders":{"0":{"r":[0,1,2]}}}"#.to_owned();
        stateful_set(w)
            .annotations
            .insert(ANNOTATION.to_owned(), record);
    });
}

/// Controllers of their own: any broker may be the last.
#[test]
fn with_controllers_apart_brokers_go_in_order() {
    let mut world = cluster(3);
    for facts in views(&mut world) {
        facts.quorum.voters = (10..13).map(|voter| (voter, 3)).collect();
        facts.quorum.leader = Some(10);
    }
    let plan = made(&world, &spec());
    let moves: Vec<String> = acts(&plan.body.steps);
    let moves: Vec<&String> = moves.iter().filter(|act| act.starts_with("move")).collect();
    assert_eq!(moves, ["move kafka-0", "move kafka-1", "move kafka-2"]);
}

#[test]
fn there_is_nothing_to_hand_over() {
    let found = findings(&cluster(3), &hand_over_spec(None));
    let said: Vec<_> = found.refusals.iter().map(|d| d.code.as_str()).collect();
    assert_eq!(said, [codes::KAFKA_HAND_OVER]);
}

#[test]
fn the_checker_knows_who_leads_what() {
    let without = |is: fn(&StepKind) -> bool| {
        SUBJECT.violations(|plan| {
            let at = plan.body.steps.iter().position(|step| is(&step.kind));
            plan.body.steps.remove(at.unwrap());
        })
    };
    let text = without(|kind| matches!(kind, StepKind::DrainLeaders { .. }));
    assert!(
        text.contains("db/kafka-0 is the primary at that time"),
        "{text}"
    );
    let text = without(|kind| matches!(kind, StepKind::ReturnLeaders { .. }));
    assert!(
        text.contains("partitions of db/kafka are not given back"),
        "{text}"
    );
    let text = SUBJECT.violations(|plan| {
        for step in &mut plan.body.steps {
            if let StepKind::DrainLeaders { terms, .. } = &mut step.kind {
                terms.pace_ms = 1;
                let first = terms.later.pop();
                terms.settled.extend(first);
            }
        }
    });
    assert!(text.contains("the pace is not the spec's"), "{text}");
    assert!(text.contains("has to move yet"), "{text}");
}

/// Whatever a run has led away goes back when it is taken back.
#[test]
fn a_rollback_gives_back_what_was_led_away() {
    let before = cluster(3);
    let plan = made(&before, &spec());
    let at = |kind: &dyn Fn(&StepKind) -> bool| {
        plan.body
            .steps
            .iter()
            .position(|step| kind(&step.kind))
            .unwrap()
    };
    let drained = at(&|kind| matches!(kind, StepKind::DrainLeaders { .. }));
    let mut world = before.clone();
    let closed = plan.body.steps.iter().find_map(|step| match &step.kind {
        StepKind::Cordon { nodes } => Some(nodes.clone()),
        _ => None,
    });
    for node in closed.unwrap() {
        world.nodes.get_mut(&node.name).unwrap().unschedulable = true;
    }
    let begun: BTreeMap<_, _> = plan.body.steps[..=drained]
        .iter()
        .map(|step| (step.id, Progress::Done))
        .collect();
    let past = Past {
        plan: &plan,
        before: &before,
        begun: &begun,
    };
    let back = rollback::plan(&world, &past, Wish::default()).unwrap();
    assert_eq!(acts(&back.body.steps), ["return each 250"]);
    assert!(check::check(&world, &back).is_ok());
}
