//! MariaDB sets: their plans, what is refused, and what the checker finds.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use ferriswheel_plan::check::{self, Proof};
use ferriswheel_plan::codes;
use ferriswheel_plan::diagnostic::Findings;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::step::StepKind;
use ferriswheel_plan::world::{GtidState, Owner, Snapshot};
use ferriswheel_plan::{display, planner};
use support::mariadb::{hand_over_spec, mariadb, server, set, source_of, spec, stateful_set};

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
fn replicas_move_first_and_the_primary_hands_over_once() {
    let world = set();
    let plan = made(&world, &spec());
    assert_eq!(
        acts(&plan),
        [
            "move mariadb-1",
            "move mariadb-2",
            "mariadb-0 -> mariadb-1",
            "move mariadb-0"
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
    assert!(display::detail(&plan).contains("1000 ms behind"));
}

#[test]
fn a_hand_over_alone_goes_to_whom_it_is_told_or_to_the_closest() {
    let mut world = set();
    assert_eq!(
        acts(&made(&world, &hand_over_spec(Some("mariadb-2")))),
        ["mariadb-0 -> mariadb-2"]
    );
    assert_eq!(
        made(&world, &hand_over_spec(Some("mariadb-0"))).body.steps,
        [],
        "it leads already"
    );
    source_of(&mut world, 1).behind_seconds = Some(1);
    assert_eq!(
        acts(&made(&world, &hand_over_spec(None))),
        ["mariadb-0 -> mariadb-2"]
    );
    // One that lags on purpose is never chosen, and not refused for it.
    let mut world = set();
    source_of(&mut world, 1).delay_seconds = 3_600;
    source_of(&mut world, 1).behind_seconds = Some(3_600);
    assert_eq!(
        acts(&made(&world, &hand_over_spec(None))),
        ["mariadb-0 -> mariadb-2"]
    );
    // What only a member that moves needs is not asked for.
    let mut world = set();
    server(&mut world, 1).binlog_kept_seconds = 60;
    let set = stateful_set(&mut world);
    set.claim_templates.clear();
    set.entrypoint_text.clear();
    set.termination_grace_seconds = 30;
    assert_eq!(
        planner::findings(&world, &hand_over_spec(None)).refusals,
        []
    );
}

#[test]
fn a_plan_is_read_back_as_it_was_written() {
    let plan = made(&set(), &spec());
    let text = serde_json::to_string(&plan).unwrap();
    let back: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(back, plan);
    assert!(back.is_intact().unwrap());
}

type Change = fn(&mut Snapshot);

const REFUSALS: &[(&str, Change)] = &[
    (codes::REPLICATION_STOPPED, |w| {
        source_of(w, 1).applies = "No".to_owned();
        source_of(w, 1).errors = vec!["Duplicate entry '7'".to_owned()];
    }),
    (codes::REPLICATION_STOPPED, |w| {
        source_of(w, 2).receives = "Connecting".to_owned();
    }),
    (codes::REPLICA_BEHIND, |w| {
        source_of(w, 2).behind_seconds = Some(2)
    }),
    (codes::REPLICA_BEHIND, |w| {
        source_of(w, 2).behind_seconds = None
    }),
    (codes::NOT_GTID, |w| source_of(w, 1).gtid = "No".to_owned()),
    (codes::NO_BINLOG, |w| server(w, 2).log_bin = false),
    (codes::NO_SLAVE_UPDATES, |w| {
        server(w, 1).log_slave_updates = false
    }),
    (codes::REPLICA_WRITABLE, |w| server(w, 2).read_only = false),
    (codes::ERRANT, |w| {
        server(w, 1).binlog_state = GtidState::parse("0-101-901,0-100-1000").unwrap();
    }),
    (codes::ERRANT, |w| {
        server(w, 2).binlog_state = GtidState::parse("0-102-1001,0-100-1000").unwrap();
    }),
    (codes::REPLICATION_FILTER, |w| {
        source_of(w, 1).filters = vec!["Replicate_Do_DB = shop".to_owned()];
    }),
    (codes::REPLICATION_FILTER, |w| {
        server(w, 0).binlog_filters = vec!["binlog_ignore_db = logs".to_owned()];
    }),
    (codes::SEMI_SYNC, |w| server(w, 0).semi_sync_source = true),
    (codes::GALERA, |w| server(w, 1).wsrep_on = true),
    (codes::GROUP_REPLICATION, |w| {
        server(w, 1).version = "8.4.2".to_owned();
        server(w, 1).group = true;
    }),
    (codes::OPEN_TRANSACTION, |w| {
        server(w, 0).longest.as_mut().unwrap().ms = 2_001;
    }),
    (codes::SERVER_LOCKED, |w| {
        server(w, 2).locked = Some("a backup is under way".to_owned());
    }),
    (codes::MARIADB_VERSION, |w| {
        server(w, 0).version = "10.4.34-MariaDB".to_owned();
    }),
    (codes::OTHER_SOURCE, |w| {
        source_of(w, 2).host = "mariadb-1.mariadb.db.svc.cluster.local".to_owned();
    }),
    (codes::OTHER_SOURCE, |w| {
        let mut second = source_of(w, 2).clone();
        second.connection = "reports".to_owned();
        server(w, 2).sources.push(second);
    }),
    (codes::SERVER_IDS, |w| server(w, 2).server_id = 101),
    (codes::MARIADB_RIGHTS, |w| {
        server(w, 0).forbidden = vec!["READ_ONLY ADMIN".to_owned()];
    }),
    (codes::FENCED, |w| server(w, 0).read_only = true),
    (codes::UNFENCED_USER, |w| {
        server(w, 1).unfenced_users.push("app".to_owned());
    }),
    (codes::BINLOG_SHORT, |w| {
        server(w, 1).binlog_kept_seconds = 600
    }),
    (codes::XA_PREPARED, |w| server(w, 0).prepared = 1),
    (codes::RESTART_ROLE, |w| {
        stateful_set(w).entrypoint_text = vec!["exec mariadbd".to_owned()];
    }),
    (codes::NO_CLAIM, |w| stateful_set(w).claim_templates.clear()),
    (codes::NO_CANDIDATE, |w| {
        for n in 1..3 {
            source_of(w, n).delay_seconds = 60;
        }
    }),
    (codes::SERVICE, |w| {
        mariadb(w).service.as_mut().unwrap().role_labels = None;
    }),
    (codes::SERVICE, |w| {
        for pod in w.pods.values_mut() {
            pod.labels.insert("role".to_owned(), "primary".to_owned());
        }
    }),
    (codes::NO_PRIMARY, |w| {
        let source = source_of(w, 1).clone();
        server(w, 0).sources = vec![source];
    }),
    (codes::TWO_PRIMARIES, |w| server(w, 1).sources.clear()),
    (codes::UNREACHABLE, |w| {
        let member = mariadb(w).members.get_mut("mariadb-1").unwrap();
        member.facts = None;
        member.unreachable = Some("connection refused".to_owned());
    }),
    (codes::TOO_FEW_MEMBERS, |w| stateful_set(w).replicas = 4),
    (codes::OTHER_AGENT, |w| {
        stateful_set(w).owner = Some(Owner {
            kind: "MariaDB".to_owned(),
            name: "mariadb".to_owned(),
        });
    }),
];

fn findings(change: Change) -> Findings {
    let mut world = set();
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
        .filter(|(code, _)| code.starts_with("FW07"))
        .filter(|(code, _)| {
            !REFUSALS.iter().any(|(tried, _)| tried == code) && *code != codes::NOT_STRICT
        })
        .collect();
    assert!(untried.is_empty(), "{untried:?}");
}

#[test]
fn what_does_not_stop_the_run_is_warned_of() {
    let mut world = set();
    for n in 0..3 {
        let facts = server(&mut world, n);
        facts.strict = false;
        facts.semi_sync_source = true;
        facts.semi_sync_replica = true;
    }
    stateful_set(&mut world).termination_grace_seconds = 30;
    let found = planner::findings(&world, &spec());
    assert_eq!(found.refusals, []);
    for code in [codes::NOT_STRICT, codes::SEMI_SYNC, codes::GRACE] {
        assert!(found.warnings.iter().any(|d| d.code == code), "{code}");
    }
    // The others follow first, because the first commits wait for one of them.
    let plan = made(&world, &spec());
    assert!(
        plan.body.promises[0]
            .durability
            .contains("wait for a replica")
    );
    let terms = plan.body.steps.iter().find_map(|step| match &step.kind {
        StepKind::HandOver { terms, .. } => terms.mariadb(),
        _ => None,
    });
    assert!(terms.unwrap().semi_sync);
}

/// The primary goes on writing while its replicas are asked: that is no errant transaction.
#[test]
fn a_replica_that_was_asked_later_is_not_errant() {
    let mut world = set();
    server(&mut world, 1).binlog_state = GtidState::parse("0-101-900,0-100-1005").unwrap();
    assert_eq!(planner::findings(&world, &spec()).refusals, []);
}

#[test]
fn the_checker_knows_the_set() {
    let world = set();
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
        text.contains("db/mariadb-0 is the primary at that time"),
        "{text}"
    );
}
