//! PostgreSQL 18, replicating as people set it up: asynchronously, with `ANY 1`, with
//! `remote_apply`. The plan says which promise holds, and the run keeps it under writes.

use serde_json::Value;

use crate::support::members::MEMBERS;
use crate::support::{Practice, until};

#[test]
fn postgres_18_is_handed_over_however_it_replicates() {
    let practice = Practice::up("pg18", &[]);
    practice.example_with(&["--image", "postgres:18"]);
    let version = practice.ask("pg-0", "SHOW server_version_num").unwrap();
    assert!(version.starts_with("18"), "{version}");

    // Asynchronous, and made synchronous for as long as the hand-over takes.
    let run = practice.plan_variant("pg-1", "crashSafe: true, makeSynchronous: true");
    assert!(
        run.1.contains("made to wait for the candidate"),
        "{}",
        run.1
    );
    run.0.finish();
    run.0.assert_moved_once();
    practice.assert_settled_on("pg-1");
    let window = run.0.window();
    let at = |moment| window.at(moment).unwrap();
    assert!(at("standbyRequired") < at("synchronous") && at("synchronous") < at("pauseSent"));
    for member in MEMBERS {
        let left = practice.ask(
            member,
            "SELECT count(*) FROM pg_file_settings WHERE setting LIKE '%ferriswheel%'",
        );
        assert_eq!(left.as_deref(), Some("0"), "{member}");
    }

    for (commit, candidate, from, restarted) in [
        ("on", "pg-2", "pg-1", "pg-0"),
        ("remote_apply", "pg-0", "pg-2", "pg-1"),
    ] {
        // The candidate is made anew: the name servers still know where it was, and the window
        // waits until they do not. A member that was stopped would be started again late.
        practice.kubectl(&["-n", "db", "delete", "pod", candidate, restarted]);
        practice.wait_until_whole();
        if commit == "on" {
            // Not synchronous any more, and without being asked to be: the smaller promise.
            let (_, promise) = practice.plan_variant(candidate, "crashSafe: false");
            assert!(promise.contains("replication is asynchronous"), "{promise}");
        }
        practice.make_synchronous(commit, from);
        let (run, promise) = practice.plan_variant(candidate, "crashSafe: true");
        let wanted = format!("synchronous_commit {commit}");
        assert!(promise.contains(&wanted), "{promise}");
        assert!(promise.contains("ANY 1 (*)"), "{promise}");
        run.finish();
        run.assert_moved_once();
        practice.assert_settled_on(candidate);
        assert!(run.window().at("standbyRequired").is_none());
    }
}

impl Practice {
    /// A plan to move the primary, with more about the database; and what it promises.
    fn plan_variant(&self, to: &str, more: &str) -> (crate::support::runs::Run<'_>, String) {
        let more: String = more
            .split(", ")
            .map(|field| format!("        {field}\n"))
            .collect();
        let spec = self.spec(
            "hand-over.yaml",
            &[
                (
                    "handOver: {}",
                    &format!("handOver: {{ to: {to}, soakSeconds: 0 }}"),
                ),
                ("writeStall: 1s", "writeStall: 5s"),
                (
                    "        database: app\n",
                    &format!("        database: app\n{more}"),
                ),
            ],
        );
        let run = self.plan(spec.clone());
        let plan: Value =
            serde_json::from_slice(&std::fs::read(spec.with_extension("json")).unwrap()).unwrap();
        let promise = plan["body"]["promises"][0]["durability"].to_string();
        (run, promise)
    }

    /// Commits wait for any one standby, on whichever member is the primary; back when they do.
    fn make_synchronous(&self, commit: &str, primary: &str) {
        for member in MEMBERS {
            for sql in [
                "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'",
                &format!("ALTER SYSTEM SET synchronous_commit = {commit}"),
                "SELECT pg_reload_conf()",
            ] {
                self.ask(member, sql).unwrap();
            }
        }
        until("synchronous standbys", || {
            let quorum = self.ask(
                primary,
                "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'",
            )?;
            let commit_now = self.ask(primary, "SHOW synchronous_commit")?;
            (quorum == "2" && commit_now == commit).then_some(())
        });
    }
}
