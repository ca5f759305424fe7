//! MariaDB sets: their plans, what is refused, and what the checker finds.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use ferriswheel_plan::step::StepKind;
use ferriswheel_plan::world::{GtidState, Owner};
use ferriswheel_plan::{codes, display};
use support::mariadb::{hand_over_spec, mariadb, server, set, source_of, spec, stateful_set};
use support::subject::{Change, Subject, acts, made};

const SUBJECT: Subject = Subject {
    world: set,
    spec,
    hand_over: hand_over_spec,
    codes: "FW07",
    refusals: REFUSALS,
    tried_apart: &[codes::NOT_STRICT],
};

#[test]
fn replicas_move_first_and_the_primary_hands_over_once() {
    let plan = SUBJECT.rides_the_wheel(3, 1);
    assert_eq!(
        acts(&plan),
        [
            "move mariadb-1",
            "move mariadb-2",
            "mariadb-0 -> mariadb-1",
            "move mariadb-0"
        ]
    );
    assert!(display::detail(&plan).contains("1000 ms behind"));
}

#[test]
fn a_hand_over_alone_goes_to_whom_it_is_told_or_to_the_closest() {
    SUBJECT.goes_where_it_is_told("mariadb-0", "mariadb-2");
    let chosen = SUBJECT.handed_over(|w| source_of(w, 1).behind_seconds = Some(1));
    assert_eq!(chosen, ["mariadb-0 -> mariadb-2"]);
    // One that lags on purpose is never chosen, and not refused for it.
    let chosen = SUBJECT.handed_over(|w| {
        source_of(w, 1).delay_seconds = 3_600;
        source_of(w, 1).behind_seconds = Some(3_600);
    });
    assert_eq!(chosen, ["mariadb-0 -> mariadb-2"]);
    SUBJECT.a_hand_over_alone_needs_less(|w| {
        server(w, 1).binlog_kept_seconds = 60;
        let set = stateful_set(w);
        set.claim_templates.clear();
        set.entrypoint_text.clear();
        set.termination_grace_seconds = 30;
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

#[test]
fn what_does_not_stop_the_run_is_warned_of() {
    let weak: Change = |w| {
        for n in 0..3 {
            let facts = server(w, n);
            facts.strict = false;
            facts.semi_sync_source = true;
            facts.semi_sync_replica = true;
        }
        stateful_set(w).termination_grace_seconds = 30;
    };
    SUBJECT.warns(&[codes::NOT_STRICT, codes::SEMI_SYNC, codes::GRACE], weak);
    // The others follow first, because the first commits wait for one of them.
    let mut world = set();
    weak(&mut world);
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
    let found = SUBJECT.findings(|w| {
        server(w, 1).binlog_state = GtidState::parse("0-101-900,0-100-1005").unwrap();
    });
    assert_eq!(found.refusals, []);
}

#[test]
fn the_checker_knows_the_set() {
    SUBJECT.a_missing_hand_over_is_seen("mariadb-0");
}
