//! The members of the example cluster, asked by the client that its image has.

use super::{Practice, until};

/// Names of the members.
pub const MEMBERS: [&str; 3] = ["pg-0", "pg-1", "pg-2"];

/// `NAME.pg.db.svc.cluster.local`.
fn host(member: &str) -> String {
    format!("{member}.pg.db.svc.cluster.local")
}

impl Practice {
    /// One statement on one member; `None` if it does not answer.
    pub fn ask(&self, member: &str, sql: &str) -> Option<String> {
        let output = self.kubectl_output(&[
            "-n", "db", "exec", member, "-c", "postgres", "--", "psql", "-XAtqc", sql, "postgres",
        ]);
        output
            .status
            .success()
            .then(|| super::text(&output.stdout).trim().to_owned())
    }

    /// The members that say that they are a primary.
    pub fn primaries(&self) -> Vec<&'static str> {
        MEMBERS
            .into_iter()
            .filter(|member| self.ask(member, "SELECT pg_is_in_recovery()").as_deref() == Some("f"))
            .collect()
    }

    /// Pods of the poolers.
    pub fn poolers(&self) -> Vec<String> {
        self.kubectl(&[
            "-n",
            "db",
            "get",
            "pods",
            "-l",
            "app=pgbouncer",
            "-o",
            "name",
        ])
        .lines()
        .map(str::to_owned)
        .collect()
    }

    fn field(&self, object: &str, path: &str) -> String {
        let path = format!("jsonpath={path}");
        self.kubectl(&["-n", "db", "get", object, "-o", &path])
    }

    /// Makes the pods of members that were started again anew: the kubelet's crash back-off is
    /// real, and forgets a restart after ten minutes only. Returns when the set is whole and the
    /// name servers know the new addresses.
    pub fn refresh_members(&self) {
        const RESTARTS: &str = "{.status.containerStatuses[0].restartCount}";
        let restarted: Vec<_> = MEMBERS
            .into_iter()
            .filter(|member| self.field(&format!("pod/{member}"), RESTARTS) != "0")
            .collect();
        for member in &restarted {
            self.kubectl(&["-n", "db", "delete", "pod", member]);
        }
        self.wait_until_whole();
        for member in restarted {
            let address = self.field(&format!("pod/{member}"), "{.status.podIP}");
            for pooler in self.poolers() {
                self.wait_for_name(&pooler, member, &address);
            }
        }
    }

    /// Two name servers keep an answer for up to half a minute, each its own.
    fn wait_for_name(&self, pooler: &str, member: &str, address: &str) {
        let script = format!(
            "for i in 1 2 3 4 5 6 7 8; do getent hosts {} || echo nobody; done | cut -d' ' -f1 | sort -u",
            host(member)
        );
        until(&format!("{member} at {address} by name"), || {
            let output =
                self.kubectl_output(&["-n", "db", "exec", pooler, "--", "sh", "-c", &script]);
            (super::text(&output.stdout).trim() == address).then_some(())
        });
    }

    /// Waits until there is one primary and the others stream from it.
    pub fn wait_until_whole(&self) {
        for member in MEMBERS {
            until(&format!("a Ready {member}"), || {
                let output = self.kubectl_output(&[
                    "-n",
                    "db",
                    "wait",
                    "--for=condition=Ready",
                    &format!("pod/{member}"),
                    "--timeout=60s",
                ]);
                output.status.success().then_some(())
            });
        }
        until("one primary with two standbys", || {
            let [primary] = self.primaries()[..] else {
                return None;
            };
            self.streams(primary).then_some(())
        });
    }

    fn streams(&self, primary: &str) -> bool {
        self.ask(
            primary,
            "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'",
        )
        .as_deref()
            == Some("2")
    }

    /// The end that every round must have: this member is the one primary, everybody else streams
    /// from it, every pooler serves it and holds nobody, the label is its alone, and nothing that
    /// was meant for the window is left.
    pub fn assert_settled_on(&self, primary: &str) {
        assert_eq!(self.primaries(), [primary]);
        assert!(self.streams(primary), "two standbys stream from {primary}");
        let left = self.ask(
            primary,
            "SELECT (pg_stat_file(current_setting('data_directory') || '/standby.signal', true)).size IS NULL \
             AND NOT EXISTS (SELECT FROM pg_file_settings \
                 WHERE name = 'wal_retrieve_retry_interval' AND setting = '10ms')",
        );
        assert_eq!(left.as_deref(), Some("t"), "{primary} is left armed");
        let idle = self.ask(
            primary,
            "SELECT coalesce(string_agg(slot_name, ' '), '') FROM pg_replication_slots WHERE NOT active",
        );
        assert_eq!(
            idle.as_deref(),
            Some(""),
            "slots that pin the log of {primary}"
        );
        let labelled = self.kubectl(&[
            "-n",
            "db",
            "get",
            "pods",
            "-l",
            "app=pg,role=primary",
            "-o",
            "name",
        ]);
        assert_eq!(labelled.trim(), format!("pod/{primary}"));
        for (pooler, entry) in self.pooler_entries() {
            assert!(
                entry.contains(&host(primary)),
                "{pooler} is not aimed at {primary}: {entry}"
            );
            assert!(!is_paused(&entry), "{pooler} holds its clients: {entry}");
        }
    }

    /// `SHOW DATABASES` of every pooler: the application's entry.
    fn pooler_entries(&self) -> Vec<(String, String)> {
        let password = self.kubectl(&[
            "-n",
            "db",
            "get",
            "secret",
            "pg-superuser",
            "-o",
            "go-template={{.data.password | base64decode}}",
        ]);
        let login = format!("PGPASSWORD={password}");
        self.poolers()
            .into_iter()
            .map(|pooler| {
                let shown = self.kubectl(&[
                    "-n",
                    "db",
                    "exec",
                    &pooler,
                    "--",
                    "env",
                    &login,
                    "psql",
                    "-h",
                    "127.0.0.1",
                    "-p",
                    "6432",
                    "-U",
                    "postgres",
                    "-XAtc",
                    "SHOW DATABASES",
                    "pgbouncer",
                ]);
                let entry = shown
                    .lines()
                    .find(|line| line.starts_with("app|"))
                    .unwrap_or_else(|| panic!("{pooler} has no entry `app`:\n{shown}"));
                (pooler, entry.to_owned())
            })
            .collect()
    }
}

/// The columns end with `paused` and `disabled`.
///
/// # Source
/// PgBouncer 1.18, `admin_show_databases`.
fn is_paused(entry: &str) -> bool {
    entry.rsplit('|').nth(1) == Some("1")
}
