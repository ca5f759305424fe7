//! A set under Patroni: recognised, asked, and refused where Patroni's own view speaks against it.

#![expect(clippy::unwrap_used, reason = "a test's own world is well formed")]

mod support;

use std::collections::BTreeMap;

use ferriswheel_plan::policy::{PatroniSpec, Upgrade};
use ferriswheel_plan::step::{Guard, PatroniTerms, StepKind};
use ferriswheel_plan::world::{
    Patroni, PatroniFacts, PatroniMember, PatroniPeer, PatroniSettings, PatroniView, Snapshot,
};
use ferriswheel_plan::{check, codes, planner};
use support::subject::{acts, each_row_is_said, findings, first_hand_over, made, screen};
use support::*;

type Change = fn(&mut Snapshot, &mut Upgrade);

const MEMBERS: [&str; 3] = ["pg-0", "pg-1", "pg-2"];

fn peer(name: &str, role: &str) -> PatroniPeer {
    PatroniPeer {
        name: name.to_owned(),
        role: role.to_owned(),
        state: if role == "leader" {
            "running"
        } else {
            "streaming"
        }
        .to_owned(),
        timeline: Some(1),
        lag: (role != "leader").then_some(0),
        api_url: format!("http://{name}.pg:8008/patroni"),
        barred_by: Vec::new(),
        scheduled_restart: None,
    }
}

/// The practice cluster, with its PostgreSQL under Patroni.
fn world() -> Snapshot {
    let mut world = demo();
    set(&mut world)
        .entrypoint_text
        .push("exec patroni /etc/patroni/patroni.yml".to_owned());
    for name in MEMBERS {
        // Patroni proves nothing by it.
        member(&mut world, name).walinspect = false;
    }
    let view = PatroniView {
        paused: false,
        scheduled: None,
        members: vec![
            peer("pg-0", "leader"),
            peer("pg-1", "replica"),
            peer("pg-2", "replica"),
        ],
    };
    let one = PatroniMember {
        unreachable: None,
        facts: Some(PatroniFacts {
            version: "4.1.5".to_owned(),
            scope: "pg".to_owned(),
            view,
        }),
    };
    postgres(&mut world, "orders").patroni = Some(Patroni {
        evidence: vec!["Patroni is connected to pg-0".to_owned()],
        members: MEMBERS
            .iter()
            .map(|name| ((*name).to_owned(), one.clone()))
            .collect::<BTreeMap<_, _>>(),
        settings: Some(PatroniSettings {
            ttl: 30,
            loop_wait: 10,
            maximum_lag_on_failover: 1_048_576,
            synchronous: false,
            standby_cluster: false,
        }),
    });
    world
}

/// A spec that gives Patroni the time that it takes.
fn patient(mut spec: Upgrade) -> Upgrade {
    spec.spec.databases[0].limits.write_stall = "5s".parse().unwrap();
    spec
}

fn patroni(world: &mut Snapshot) -> &mut Patroni {
    postgres(world, "orders").patroni.as_mut().unwrap()
}

fn everywhere(world: &mut Snapshot, change: impl Fn(&mut PatroniView)) {
    for member in patroni(world).members.values_mut() {
        change(&mut member.facts.as_mut().unwrap().view);
    }
}

fn peers(world: &mut Snapshot, name: &str, change: impl Fn(&mut PatroniPeer)) {
    everywhere(world, |view| {
        change(view.members.iter_mut().find(|p| p.name == name).unwrap());
    });
}

const REFUSALS: &[(&str, Change)] = &[
    (codes::PATRONI_SILENT, |w, _| {
        let member = patroni(w).members.get_mut("pg-2").unwrap();
        member.facts = None;
        member.unreachable = Some("connection refused".to_owned());
    }),
    (codes::PATRONI_SILENT, |w, _| {
        patroni(w).members.remove("pg-1");
    }),
    (codes::PATRONI_SILENT, |w, _| patroni(w).settings = None),
    (codes::PATRONI_OLD, |w, _| {
        let member = patroni(w).members.get_mut("pg-1").unwrap();
        member.facts.as_mut().unwrap().version = "2.1.7".to_owned();
    }),
    (codes::PATRONI_VIEW, |w, _| {
        let member = patroni(w).members.get_mut("pg-1").unwrap();
        member.facts.as_mut().unwrap().scope = "other".to_owned();
    }),
    (codes::PATRONI_VIEW, |w, _| {
        everywhere(w, |view| view.members.push(peer("pg-9", "replica")));
    }),
    (codes::PATRONI_VIEW, |w, _| {
        // One that has not read its store since the last change.
        let member = patroni(w).members.get_mut("pg-2").unwrap();
        let view = &mut member.facts.as_mut().unwrap().view;
        view.members[0].role = "replica".to_owned();
        view.members[1].role = "leader".to_owned();
    }),
    (codes::PATRONI_VIEW, |w, _| {
        peers(w, "pg-0", |p| p.role = "standby_leader".to_owned());
    }),
    (codes::PATRONI_VIEW, |w, _| {
        patroni(w).settings.as_mut().unwrap().standby_cluster = true;
    }),
    (codes::PATRONI_PAUSED, |w, _| {
        everywhere(w, |view| view.paused = true)
    }),
    (codes::PATRONI_SCHEDULED, |w, _| {
        everywhere(w, |view| {
            view.scheduled = Some("2026-11-23T04:00:00+00:00 to pg-2".to_owned());
        });
    }),
    (codes::PATRONI_SCHEDULED, |w, _| {
        peers(w, "pg-1", |p| {
            p.scheduled_restart = Some("2026-11-23T04:00:00+00:00".to_owned());
        });
    }),
    (codes::PATRONI_MEMBER, |w, _| {
        peers(w, "pg-2", |p| p.state = "start failed".to_owned());
    }),
    (codes::PATRONI_MEMBER, |w, _| {
        peers(w, "pg-2", |p| p.lag = Some(64 * 1024 * 1024));
    }),
    (codes::PATRONI_MEMBER, |w, _| {
        peers(w, "pg-2", |p| p.lag = None)
    }),
    (codes::PATRONI_MEMBER, |w, _| {
        peers(w, "pg-2", |p| p.timeline = Some(7));
    }),
    (codes::PATRONI_CANDIDATE, |w, _| {
        for name in ["pg-1", "pg-2"] {
            peers(w, name, |p| p.barred_by = vec!["nofailover".to_owned()]);
        }
    }),
    (codes::PATRONI_CANDIDATE, |w, _| {
        patroni(w).settings.as_mut().unwrap().synchronous = true;
    }),
    (codes::PATRONI_SYNCHRONOUS, |_, s| {
        let spec = postgres_of(&mut s.spec.databases[0]);
        spec.crash_safe = true;
    }),
    (codes::PATRONI_SYNCHRONOUS, |_, s| {
        let spec = postgres_of(&mut s.spec.databases[0]);
        spec.crash_safe = true;
        spec.make_synchronous = true;
    }),
    (codes::PATRONI_SLOW, |_, s| {
        s.spec.databases[0].limits.write_stall = "1s".parse().unwrap();
    }),
    (codes::PATRONI_SLOW, |_, s| {
        postgres_of(&mut s.spec.databases[0]).window = "2500ms".parse().unwrap();
    }),
    // It would act beside Patroni.
    (codes::OTHER_AGENT, |w, _| {
        postgres(w, "orders").other_agent = Some("repmgrd is connected to pg-0".to_owned());
    }),
    // Its operator decides, not the Patroni inside.
    (codes::OTHER_AGENT, |w, _| {
        let labels = &mut set(w).labels;
        labels.insert("application".to_owned(), "spilo".to_owned());
    }),
    // Nobody has asked it: a snapshot of a version that did not.
    (codes::OTHER_AGENT, |w, _| {
        postgres(w, "orders").patroni = None
    }),
];

#[test]
fn each_refusal_is_said() {
    assert_eq!(findings(&world(), &patient(spec())).refusals, []);
    each_row_is_said(REFUSALS, |change: Change| {
        let (mut world, mut spec) = (world(), patient(spec()));
        change(&mut world, &mut spec);
        findings(&world, &spec).refusals
    });
    let untried: Vec<_> = codes::ALL
        .iter()
        .filter(|(code, _)| {
            code.starts_with("FW110") && !REFUSALS.iter().any(|(row, _)| row == code)
        })
        .collect();
    assert!(untried.is_empty(), "{untried:?}");
}

#[test]
fn it_rides_the_wheel_and_is_asked_once() {
    let (world, spec) = (world(), patient(spec()));
    let plan = made(&world, &spec);
    let without = made(&demo(), &patient(support::spec()));
    assert_eq!(acts(&plan), acts(&without), "the same order");
    let step = &plan.body.steps[first_hand_over(&plan)];
    let StepKind::HandOver { terms, .. } = &step.kind else {
        panic!("{step:?}");
    };
    assert_eq!(
        terms.postgres().unwrap().patroni,
        Some(PatroniTerms {
            port: 8008,
            login: None,
            afterwards_ms: 50_000,
        })
    );
    assert_eq!(step.expected_stall_ms, Some(2_700));
    let restarts = |guard: &Guard| matches!(guard, Guard::RestartUndelayed { .. });
    assert!(!step.guards.iter().any(restarts), "{:?}", step.guards);
    let proof = check::check(&world, &plan).expect("it is sound");
    assert_eq!(proof.hand_overs, 1);
    assert!(
        screen(&plan).contains("Patroni hands over"),
        "{}",
        screen(&plan)
    );
    let text = serde_json::to_string(&plan).unwrap();
    let back: ferriswheel_plan::plan::Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(back, plan);
    assert!(back.is_intact().unwrap());
}

#[test]
fn the_candidate_is_one_that_patroni_lets_lead() {
    let handed_over = |world: &Snapshot, to: Option<&str>| {
        let spec = patient(hand_over_spec(to));
        planner::plan(world, &spec).map(|plan| acts(&plan))
    };
    let mut world = world();
    assert_eq!(handed_over(&world, None).unwrap(), ["pg-0 -> pg-1"]);
    peers(&mut world, "pg-1", |p| {
        p.barred_by = vec!["nofailover".to_owned()]
    });
    assert_eq!(handed_over(&world, None).unwrap(), ["pg-0 -> pg-2"]);
    let refused = handed_over(&world, Some("pg-1")).unwrap_err();
    assert_eq!(refused.diagnostics[0].code, codes::NO_CANDIDATE);
    // With synchronous_mode only who has every commit.
    peers(&mut world, "pg-1", |p| p.barred_by = Vec::new());
    patroni(&mut world).settings.as_mut().unwrap().synchronous = true;
    peers(&mut world, "pg-2", |p| p.role = "sync_standby".to_owned());
    assert_eq!(handed_over(&world, None).unwrap(), ["pg-0 -> pg-2"]);
}

#[test]
fn the_spec_says_where_patroni_is_asked() {
    let mut spec = patient(spec());
    let login = db("patroni-rest");
    postgres_of(&mut spec.spec.databases[0]).patroni = Some(PatroniSpec {
        port: 8009,
        login: Some(login.clone()),
    });
    let plan = made(&world(), &spec);
    let step = &plan.body.steps[first_hand_over(&plan)];
    let StepKind::HandOver { terms, .. } = &step.kind else {
        panic!("{step:?}");
    };
    let terms = terms.postgres().unwrap().patroni.as_ref().unwrap();
    assert_eq!((terms.port, &terms.login), (8009, &Some(login)));
}
