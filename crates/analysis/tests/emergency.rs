//! The checklist of an emergency, on dumps.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use ferriswheel_analysis::advise;
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::emergency::{Ask, Checklist, Part, State, checklist};
use ferriswheel_analysis::manifest::{Want, read};
use ferriswheel_analysis::resilience::Settings;

const SET: &str = "---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: { name: pg, namespace: db, uid: \"1\" }\nspec:\n  replicas: 2\n  \
                   selector: { matchLabels: { app: pg } }\n  template:\n    metadata: { labels: { app: pg } }\n    \
                   spec: { containers: [ { name: postgres, image: \"postgres:15\" } ] }\n";

fn pod(name: &str, node: &str, ready: bool) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: db\n  uid: \"{name}\"\n  labels: {{ app: pg }}\n  \
         ownerReferences: [ {{ apiVersion: apps/v1, kind: StatefulSet, name: pg, uid: \"1\", controller: true }} ]\n\
         spec: {{ nodeName: {node}, containers: [ {{ name: postgres, image: \"postgres:15\" }} ] }}\n\
         status: {{ phase: Running, conditions: [ {{ type: Ready, status: \"{}\" }} ] }}\n",
        if ready { "True" } else { "False" }
    )
}

fn job(name: &str, at: &str) -> String {
    format!(
        "---\napiVersion: batch/v1\nkind: Job\nmetadata: {{ name: {name}, namespace: db, uid: \"{name}\" }}\nspec: {{}}\n\
         status: {{ succeeded: 1, completionTime: \"{at}\" }}\n"
    )
}

fn asked(texts: &[String]) -> Checklist {
    let reading = read("dump.yaml", texts.concat().as_bytes(), Want::Bodies);
    assert_eq!(reading.skipped, []);
    checklist(
        reading,
        &Ask {
            advise: advise::Ask {
                priority: None,
                role: None,
                target: Target::parse(["1.36"]).expect("a target"),
                settings: Settings::default(),
                wish: advise::Wish::default(),
            },
            now: "2026-06-02T00:00:00Z".parse().expect("a time"),
            max_backup_age: 26 * 3600,
        },
    )
}

fn states(checklist: &Checklist, part: Part) -> Vec<State> {
    let items = checklist.items.iter().filter(|item| item.part == part);
    items.map(|item| item.state).collect()
}

fn whole() -> Vec<String> {
    vec![
        SET.to_owned(),
        pod("pg-0", "n1", true),
        pod("pg-1", "n2", true),
    ]
}

#[test]
fn members_are_counted_and_kept_apart() {
    let of = |texts: &[String]| states(&asked(texts), Part::Replicas);
    assert_eq!(of(&whole()), [State::Pass]);
    assert_eq!(
        of(&[
            SET.to_owned(),
            pod("pg-0", "n1", true),
            pod("pg-1", "n2", false)
        ]),
        [State::Fail]
    );
    assert_eq!(
        of(&[
            SET.to_owned(),
            pod("pg-0", "n1", true),
            pod("pg-1", "n1", true)
        ]),
        [State::Fail]
    );
    // A manifest has no pods: nothing is concluded.
    assert_eq!(of(&[SET.to_owned()]), [State::Skipped]);
}

#[test]
fn a_completed_job_is_not_a_backup() {
    let of = |more: &[String]| states(&asked(&[whole(), more.to_vec()].concat()), Part::Backup);
    assert_eq!(of(&[]), [State::Skipped]);
    let fresh = job("pg-backup-1", "2026-06-01T20:00:00Z");
    assert_eq!(of(std::slice::from_ref(&fresh)), [State::Pass, State::Fail]);
    let after = job("pg-restore-test-1", "2026-06-01T21:00:00Z");
    assert_eq!(
        of(&[fresh.clone(), after.clone()]),
        [State::Pass, State::Pass]
    );
    // It restored the one before.
    let before = job("pg-restore-test-1", "2026-06-01T19:00:00Z");
    assert_eq!(of(&[fresh.clone(), before]), [State::Pass, State::Fail]);
    let old = job("pg-backup-1", "2026-05-30T20:00:00Z");
    assert_eq!(of(&[old, after]), [State::Fail, State::Pass]);
    // Somebody else's.
    assert_eq!(
        of(&[job("orders-backup", "2026-06-01T20:00:00Z")]),
        [State::Skipped]
    );
    // Of tomorrow.
    assert_eq!(
        of(&[job("pg-backup-1", "2026-06-03T20:00:00Z")]),
        [State::Fail, State::Fail]
    );
}

#[test]
fn what_was_not_seen_does_not_pass() {
    let fresh = job("pg-backup-1", "2026-06-01T20:00:00Z");
    let after = job("pg-restore-test-1", "2026-06-01T21:00:00Z");
    let checklist = asked(&[whole(), vec![fresh, after]].concat());
    // Everything that a dump can show is well, and still nobody may begin.
    assert!(
        !checklist
            .items
            .iter()
            .any(|item| item.part != Part::Pattern && item.state == State::Fail)
    );
    assert!(!checklist.is_clear());
    for part in [Part::Lag, Part::WayBack, Part::Plan] {
        assert_eq!(states(&checklist, part), [State::Skipped], "{part:?}");
    }
    assert!(checklist.items.is_sorted_by_key(|item| item.part));
}
