//! Every reason to refuse, each from the practice cluster with one thing wrong.

#![expect(clippy::unwrap_used, reason = "a test's own world is well formed")]

mod support;

use std::collections::BTreeSet;

use ferriswheel_plan::codes;
use ferriswheel_plan::diagnostic::Findings;
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::planner;
use ferriswheel_plan::policy::{Strategy, Upgrade};
use ferriswheel_plan::world::{Owner, PrimaryService, Snapshot};
use support::subject::{each_row_is_said, findings};
use support::*;

type Change = fn(&mut Snapshot, &mut Upgrade);

fn found(change: Change) -> Findings {
    let (mut world, mut spec) = (demo(), spec());
    change(&mut world, &mut spec);
    findings(&world, &spec)
}

fn pg(spec: &mut Upgrade) -> &mut ferriswheel_plan::policy::PostgresSpec {
    postgres_of(&mut spec.spec.databases[0])
}

fn wheel(spec: &mut Upgrade) -> &mut ferriswheel_plan::policy::FerrisWheel {
    let Strategy::FerrisWheel(wheel) = &mut spec.spec.strategy else {
        panic!("the spec is a wheel's")
    };
    wheel
}

fn bystander(world: &mut Snapshot) -> &mut ferriswheel_plan::world::Pod {
    let name = ObjectRef::new("shop", "cart-1");
    let pod = pod(
        Some(("ReplicaSet", "cart")),
        &old_node(1),
        &[("app", "cart")],
        "cart",
    );
    world.pods.entry(name).or_insert(pod)
}

/// The spec names a Service; `None`: it is not there. Else these members have the label that it
/// selects by, if it selects by any.
fn service(world: &mut Snapshot, spec: &mut Upgrade, labelled: Option<&[&str]>) {
    pg(spec).service = Some(db("pg-primary"));
    for name in labelled.into_iter().flatten() {
        let pod = world.pods.get_mut(&db(name)).unwrap();
        pod.labels.insert("role".to_owned(), "primary".to_owned());
    }
    let label = ("role".to_owned(), "primary".to_owned());
    postgres(world, "orders").service = Some(PrimaryService {
        role_labels: labelled.map(|labelled| labelled.iter().map(|_| label.clone()).collect()),
    });
}

/// What stops a plan.
const REFUSALS: &[(&str, Change)] = &[
    (codes::ABOVE_CONTROL_PLANE, |w, _| {
        w.cluster.kubernetes_version = version("1.35.4")
    }),
    (codes::TOO_FAR_BEHIND, |w, _| {
        dbpool(w).kubernetes_version = version("1.32.9");
        for n in 0..3 {
            w.nodes.get_mut(&old_node(n)).unwrap().kubelet_version = version("1.32.9");
        }
    }),
    (codes::NOT_OFFERED, |w, s| {
        w.cluster.kubernetes_version = version("1.36.9");
        s.spec.target.as_mut().unwrap().kubernetes_version = version("1.36.8");
    }),
    (codes::DOWNGRADE, |_, s| {
        s.spec.target.as_mut().unwrap().kubernetes_version = version("1.35.0")
    }),
    (codes::OPERATION_RUNNING, |w, _| {
        dbpool(w).provisioning_state = "Upgrading".to_owned()
    }),
    (codes::OPERATION_RUNNING, |w, _| {
        w.cluster.provisioning_state = "Updating".to_owned()
    }),
    (codes::NOT_SUCCEEDED, |w, _| {
        dbpool(w).provisioning_state = "Failed".to_owned()
    }),
    (codes::AUTOSCALER, |w, _| dbpool(w).autoscaling = true),
    (codes::POOL_UNKNOWN, |_, s| {
        s.spec.target.as_mut().unwrap().pools = vec!["dppool".into()]
    }),
    (codes::SYSTEM_POOL, |w, _| dbpool(w).system = true),
    (codes::NO_ZONE, |w, _| dbpool(w).zones.clear()),
    (codes::NO_ZONE, |w, _| {
        w.nodes.get_mut(&old_node(1)).unwrap().zone = None
    }),
    (codes::NO_STEADY_POOL, |w, _| {
        w.nodes
            .get_mut(&"aks-syspool-12345678-vmss000001".into())
            .unwrap()
            .unschedulable = true;
    }),
    (codes::NO_STEADY_POOL, |w, _| {
        for node in w.nodes.values_mut() {
            node.taints = vec!["gpu=yes:NoSchedule".to_owned()];
        }
    }),
    (codes::COUNT_MISMATCH, |w, _| dbpool(w).count = 4),
    (codes::MIXED_VERSIONS, |w, _| {
        w.nodes
            .get_mut(&"aks-syspool-12345678-vmss000001".into())
            .unwrap()
            .kubelet_version = version("1.35.4");
    }),
    (codes::NO_CANDIDATE, |_, s| {
        *s = hand_over_spec(Some("pg-7"));
    }),
    (codes::NO_CANDIDATE, |w, s| {
        *s = hand_over_spec(Some("pg-2"));
        w.nodes.get_mut(&old_node(2)).unwrap().unschedulable = true;
    }),
    (codes::RESTART_DELAYED, |w, s| {
        *s = hand_over_spec(None);
        let server = &mut pod_of(w, "pg-1").containers[0];
        server.restarts = 1;
        server.started_at = Some(at(NOW));
    }),
    (codes::LAGGING, |w, s| {
        *s = hand_over_spec(None);
        member(w, "pg-1").lag_bytes = Some(1 << 30);
    }),
    (codes::SET_MISSING, |_, s| {
        pg(s).stateful_set = db("postgres")
    }),
    (codes::PINNED_TO_POOL, |w, _| {
        set(w)
            .node_requirements
            .insert("agentpool".to_owned(), vec!["dbpool".to_owned()]);
    }),
    (codes::PINNED_TO_POOL, |w, _| {
        set(w)
            .node_requirements
            .insert("kubernetes.io/hostname".to_owned(), vec!["a".to_owned()]);
    }),
    (codes::ROLLOUT_PENDING, |w, _| {
        set(w).update_revision = "pg-new".to_owned()
    }),
    (codes::SEAT_CLAIM, |w, _| {
        let claim = w.claims[&db("data-pg-2")].clone();
        w.claims.insert(db("data-pg-3"), claim);
    }),
    (codes::ORDINAL_PRIMARY, |w, _| {
        set(w)
            .entrypoint_text
            .push("if [[ ${HOSTNAME##*-} -eq 0 ]]; then exec postgres; fi".to_owned());
    }),
    (codes::BUDGET_NEVER, |w, _| {
        w.budgets.get_mut(&db("pg")).unwrap().max_unavailable = Some("0".to_owned());
    }),
    (codes::BUDGET_NEVER, |w, s| {
        wheel(s).extra_seat = false;
        let budget = w.budgets.get_mut(&db("pg")).unwrap();
        budget.max_unavailable = None;
        budget.min_available = Some("3".to_owned());
    }),
    (codes::TWO_BUDGETS, |w, _| {
        let budget = w.budgets[&db("pg")].clone();
        w.budgets.insert(db("pg-too"), budget);
    }),
    (codes::DISK_ZONE, |w, _| {
        w.claims.get_mut(&db("data-pg-1")).unwrap().zone = Some(zone(9))
    }),
    (codes::DISK_ZONE, |w, _| {
        dbpool(w).zones.remove(1);
    }),
    (codes::DISK_ZONE, |w, _| {
        w.claims.remove(&db("data-pg-1"));
    }),
    (codes::SHARED_NODE, |w, _| {
        pod_of(w, "pg-1").node = Some(old_node(2))
    }),
    (codes::RESTART_DELAYED, |w, _| {
        let container = &mut pod_of(w, "pg-0").containers[0];
        container.restarts = 1;
        container.started_at = Some(at("2026-11-21T07:55:00Z"));
    }),
    (codes::RESTART_DELAYED, |w, _| {
        pod_of(w, "pg-1").containers[0].waiting = Some("CrashLoopBackOff".to_owned());
    }),
    (codes::MEMBER_NOT_READY, |w, _| {
        pod_of(w, "pg-1").ready = false
    }),
    (codes::MEMBER_NOT_READY, |w, _| {
        w.nodes.get_mut(&old_node(1)).unwrap().ready = false
    }),
    (codes::BARE_POD, |w, _| bystander(w).owner = None),
    (codes::POD_PINNED, |w, _| {
        bystander(w).node_selector = map(&[("agentpool", "dbpool")])
    }),
    (codes::SETS_SHARE_NODE, |w, s| {
        let nodes: Vec<_> = (0..3).map(old_node).collect();
        put_set(w, "other", "bills", &nodes, 0);
        let mut second = s.spec.databases[0].clone();
        second.name = "bills".into();
        postgres_of(&mut second).stateful_set = db("other");
        s.spec.databases.push(second);
    }),
    (codes::LABEL_BY_HAND, |w, _| {
        set(w)
            .node_requirements
            .insert("fast".to_owned(), vec!["yes".to_owned()]);
    }),
    (codes::OTHER_POOL_ATTRACTS, |w, _| {
        set(w).node_requirements.clear()
    }),
    (codes::UNREACHABLE, |w, _| {
        let member = postgres(w, "orders").members.get_mut("pg-1").unwrap();
        member.facts = None;
        member.unreachable = Some("connection refused".to_owned());
    }),
    (codes::NO_PRIMARY, |w, _| {
        member(w, "pg-0").in_recovery = true
    }),
    (codes::TWO_PRIMARIES, |w, _| {
        member(w, "pg-1").in_recovery = false
    }),
    (codes::OTHER_SYSTEM, |w, _| {
        member(w, "pg-1").system_identifier = "1".to_owned()
    }),
    (codes::NOT_STREAMING, |w, _| {
        member(w, "pg-1").streaming_from = None
    }),
    (codes::LAGGING, |w, _| {
        member(w, "pg-1").lag_bytes = Some(1 << 30)
    }),
    (codes::REPLAY_PAUSED, |w, _| {
        member(w, "pg-1").replay_paused = true
    }),
    (codes::REPLAY_DELAYED, |w, _| {
        member(w, "pg-1").apply_delay_ms = 60_000
    }),
    (codes::TOO_FEW_MEMBERS, |w, _| set(w).replicas = 4),
    (codes::TOO_FEW_MEMBERS, |_, s| pg(s).min_members = Some(4)),
    (codes::TOO_FEW_MEMBERS, |_, s| {
        wheel(s).extra_seat = false;
        pg(s).min_members = Some(3);
    }),
    (codes::RECOVERY_CONF, |w, _| {
        member(w, "pg-1").recovery_conf = true
    }),
    (codes::LOGICAL_SLOTS, |w, _| {
        member(w, "pg-0").logical_slots_at_risk = vec!["cdc".to_owned()]
    }),
    (codes::PREPARED_TRANSACTIONS, |w, _| {
        member(w, "pg-0").prepared_transactions = vec!["xa-1".to_owned()]
    }),
    (codes::OTHER_AGENT, |w, _| {
        postgres(w, "orders").other_agent = Some("patroni is connected".to_owned())
    }),
    (codes::OTHER_AGENT, |w, _| {
        set(w).owner = Some(Owner {
            kind: "postgresql".to_owned(),
            name: "acid".to_owned(),
        });
    }),
    (codes::OTHER_AGENT, |w, _| {
        set(w)
            .labels
            .insert("cnpg.io/cluster".to_owned(), "pg".to_owned());
    }),
    (codes::OTHER_AGENT, |w, _| {
        set(w)
            .entrypoint_text
            .push("exec patroni /etc/patroni.yml".to_owned())
    }),
    (codes::CAPACITY, |w, _| {
        member(w, "pg-1")
            .capacity
            .insert("max_connections".to_owned(), 100);
    }),
    (codes::WAL_SENDERS, |w, _| {
        member(w, "pg-0").free_wal_senders = 1
    }),
    (codes::WAL_SENDERS, |w, _| {
        member(w, "pg-1").free_wal_senders = 2
    }),
    (codes::SLOTS, |w, _| member(w, "pg-0").free_slots = 0),
    (codes::SLOTS, |w, _| member(w, "pg-1").free_slots = 1),
    (codes::WALINSPECT, |w, _| {
        member(w, "pg-0").walinspect = false
    }),
    (codes::NOT_SUPERUSER, |w, _| {
        member(w, "pg-0").superuser = false
    }),
    (codes::ARCHIVE_BACKLOG, |w, _| {
        member(w, "pg-0").archiving = true;
        member(w, "pg-0").archive_backlog = 40;
    }),
    (codes::BACKUP_RUNNING, |w, _| {
        member(w, "pg-0").backup_running = true
    }),
    (codes::ASYNCHRONOUS, |_, s| pg(s).crash_safe = true),
    (codes::ASYNCHRONOUS, |w, s| {
        pg(s).crash_safe = true;
        pg(s).make_synchronous = true;
        member(w, "pg-0").synchronous_commit = "local".to_owned();
    }),
    (codes::ASYNCHRONOUS, |w, s| {
        pg(s).crash_safe = true;
        pg(s).make_synchronous = true;
        member(w, "pg-0").loose_commits = vec!["role app".to_owned()];
    }),
    (codes::SYNC_FIXED, |w, s| {
        pg(s).crash_safe = true;
        pg(s).make_synchronous = true;
        member(w, "pg-0").synchronous_names_source = "command line".to_owned();
    }),
    (codes::STANDBY_LEFT, |w, _| {
        member(w, "pg-0").synchronous_standby_names =
            "ANY 1 (\"pg-1\", \"ferriswheel.before.unset\")".to_owned();
    }),
    (codes::SESSION_POOLING, |w, _| {
        entry(w).pool_mode = "session".to_owned()
    }),
    (codes::POOLER_UNREACHABLE, |w, _| {
        pooler(w).unreachable = Some("no password".to_owned())
    }),
    (codes::POOLER_PAUSED, |w, _| entry(w).paused = true),
    (codes::POOLER_AIM, |w, _| {
        entry(w).host = Some("pg-primary.db.svc".to_owned())
    }),
    (codes::POOLER_AIM, |w, _| {
        entry(w).host = Some("pg-1.pg.db.svc".to_owned())
    }),
    (codes::POOLER_AIM, |_, s| pg(s).database = "shop".to_owned()),
    (codes::QUERY_WAIT, |w, _| {
        pooler(w).query_wait_timeout_ms = Some(5_000)
    }),
    (codes::POOLER_CONFIG, |w, _| pooler(w).config = None),
    (codes::NO_POOLER, |_, s| pg(s).poolers.clear()),
    (codes::SERVICE, |w, s| service(w, s, None)),
    (codes::SERVICE, |w, s| service(w, s, Some(&[]))),
    (codes::SERVICE, |w, s| service(w, s, Some(&["pg-1"]))),
    (codes::SERVICE, |w, s| {
        service(w, s, Some(&["pg-0", "pg-1"]))
    }),
    (codes::SERVER_VERSIONS, |w, _| {
        member(w, "pg-1").version_num = 150_010
    }),
    (codes::SERVER_VERSIONS, |w, _| {
        for name in ["pg-0", "pg-1", "pg-2"] {
            member(w, name).version_num = 120_022;
        }
    }),
    (codes::POOLER_MISSING, |_, s| {
        pg(s).poolers.push(db("pgcat"))
    }),
    (codes::TIMELINES, |w, _| member(w, "pg-1").timeline = 3),
    (codes::STANDBY_SIGNAL, |w, _| {
        member(w, "pg-0").standby_signal = true
    }),
    (codes::SYNC_NAMES, |w, _| {
        member(w, "pg-0").synchronous_standby_names = "pg-1".to_owned()
    }),
    (codes::POOLER_MOVES, |w, _| {
        pod_of(w, "pgbouncer-6f7-0").node = Some(old_node(0))
    }),
    (codes::SEAT_OF_ANOTHER_RUN, |w, _| {
        let claim = w.claims.get_mut(&db("data-pg-2")).unwrap();
        claim.labels = map(&[("ferriswheel.dev/run", "0123456789abcdef")]);
    }),
];

/// What is said beside a plan.
const WARNINGS: &[(&str, Change)] = &[
    (codes::AUTO_UPGRADE, |w, _| {
        w.cluster.upgrade_channel = Some("stable".to_owned())
    }),
    (codes::AUTO_UPGRADE, |w, _| {
        w.cluster.node_os_channel = Some("NodeImage".to_owned())
    }),
    (codes::FORCE_UPGRADE, |w, _| {
        dbpool(w).force_upgrade_until = Some("2026-12-01".to_owned())
    }),
    (codes::NOT_SUCCEEDED, |w, _| {
        w.pools
            .get_mut(&"syspool".into())
            .unwrap()
            .provisioning_state = "Failed".to_owned();
    }),
    (codes::LOCAL_DATA, |w, _| bystander(w).local_data = true),
    (codes::NO_BUDGET, |w, _| w.budgets.clear()),
    (codes::NOT_SPREAD, |w, _| set(w).one_per_node = false),
    (codes::NOT_REWINDABLE, |w, _| {
        member(w, "pg-0").rewindable = false
    }),
    (codes::UNLOGGED, |w, _| {
        member(w, "pg-0").unlogged_tables = 2
    }),
    (codes::LONG_TRANSACTION, |w, _| {
        member(w, "pg-0").oldest_transaction_ms = Some(60_000)
    }),
    (codes::NO_POOLER, |_, s| {
        pg(s).poolers.clear();
        s.spec.databases[0].limits.errors = None;
    }),
    (codes::GRACE, |w, _| set(w).termination_grace_seconds = 30),
    (codes::POOLER_MOVES, |w, s| {
        pod_of(w, "pgbouncer-6f7-0").node = Some(old_node(0));
        s.spec.databases[0].limits.errors = None;
    }),
];

#[test]
fn the_practice_cluster_has_no_finding() {
    assert_eq!(found(|_, _| {}), Findings::default());
}

#[test]
fn each_reason_refuses_with_evidence_and_fix() {
    each_row_is_said(REFUSALS, |change| found(change).refusals);
}

#[test]
fn each_warning_is_said_and_the_plan_is_made() {
    each_row_is_said(WARNINGS, |change| {
        let findings = found(change);
        assert_eq!(findings.refusals, []);
        findings.warnings
    });
}

#[test]
fn every_code_is_tried() {
    let tried: BTreeSet<&str> = REFUSALS
        .iter()
        .chain(WARNINGS)
        .map(|(code, _)| *code)
        // Codes of the spec's form, of rollbacks and of clusters have their own files; the checker's
        // disagreement cannot be made from outside.
        .chain(["FW0101", "FW0102", "FW0103", "FW0104", codes::UNSOUND])
        .chain(["FW0193", "FW0194", "FW0195"])
        .collect();
    let untried: Vec<_> = codes::ALL
        .iter()
        .filter(|(code, _)| {
            !tried.contains(code)
                && !["FW05", "FW06", "FW07", "FW08", "FW10", "FW11"]
                    .iter()
                    .any(|theirs| code.starts_with(theirs))
        })
        .collect();
    assert!(untried.is_empty(), "{untried:?}");
}

#[test]
fn everything_is_said_at_once() {
    let findings = found(|world, spec| {
        dbpool(world).autoscaling = true;
        entry(world).pool_mode = "session".to_owned();
        pg(spec).crash_safe = true;
    });
    assert_eq!(findings.refusals.len(), 3, "{findings:#?}");
}

#[test]
fn a_seat_makes_room_in_a_tight_budget() {
    let findings = found(|world, _| {
        let budget = world.budgets.get_mut(&db("pg")).unwrap();
        budget.max_unavailable = None;
        budget.min_available = Some("3".to_owned());
    });
    assert_eq!(findings.refusals, []);
}

#[test]
fn an_asynchronous_set_is_made_crash_safe_where_that_is_allowed() {
    let findings = found(|_, spec| {
        pg(spec).crash_safe = true;
        pg(spec).make_synchronous = true;
    });
    assert_eq!(findings.refusals, []);
}

/// Before 15 there is no `pg_walinspect` to be missing.
#[test]
fn older_servers_need_no_walinspect() {
    let findings = found(|world, _| {
        for name in ["pg-0", "pg-1", "pg-2"] {
            let member = member(world, name);
            member.version_num = 130_023;
            member.walinspect = false;
        }
    });
    assert_eq!(findings.refusals, []);
}

#[test]
fn a_synchronous_set_is_crash_safe() {
    let findings = found(|world, spec| {
        pg(spec).crash_safe = true;
        let primary = member(world, "pg-0");
        primary.synchronous_standby_names = "ANY 1 (\"pg-0\", \"pg-1\", \"pg-2\")".to_owned();
        primary.synchronous_commit = "remote_apply".to_owned();
        for name in ["pg-1", "pg-2"] {
            member(world, name).sync_state = Some("quorum".to_owned());
        }
    });
    assert_eq!(findings.refusals, []);
}

/// The example's own scripts: ordinal 0 makes the database on empty disks, but everybody asks who
/// the primary is.
#[test]
fn the_example_is_not_suspected() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/postgres/cluster/10-config.yaml"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let maps: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
    let texts: Vec<String> = maps
        .iter()
        .filter_map(|map| map.get("data")?.as_object())
        .flat_map(|data| data.values())
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect();
    assert!(texts.iter().any(|text| text.contains("ordinal == 0")));
    let mut world = demo();
    set(&mut world).entrypoint_text.extend(texts);
    assert_eq!(planner::findings(&world, &spec()), Findings::default());
}
