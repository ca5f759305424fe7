//! The example cluster in namespace `db`: Ferriswheel's and the how-to scripts' database.
//!
//! Every round finds it whole: three members, no container that was restarted in its pod (the kubelet would delay its
//! next start), roles, Service and poolers as after `up.sh`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ferriswheel_probe::config::MemberAddress;
use serde_json::{Value, json};

use crate::error::{Result, unexpected};
use crate::program::{self, Kubectl, until};

/// Its namespace.
pub const NAMESPACE: &str = "db";

/// The members that it has between rounds.
const MEMBERS: usize = 3;

/// A start from nothing takes about 20 s on a busy machine.
const WHOLE: Duration = Duration::from_secs(180);

const LOOK: Duration = Duration::from_millis(200);

/// The set.
pub struct Set {
    kubectl: Kubectl,
    /// The example's script.
    up: PathBuf,
    /// What it gave the poolers.
    pooler_file: String,
    /// Made anew before the next round.
    broken: bool,
    /// The primary is not the one that the database was made on.
    moved: bool,
}

/// A member as it is.
#[derive(Clone, Debug)]
pub struct Member {
    /// Pod.
    pub name: String,
    /// Address.
    pub ip: String,
    ready: bool,
    restarts: u64,
}

impl Member {
    /// Whether the cluster calls it so.
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// A container of it was started again: the kubelet may delay its next start.
    pub const fn has_restarted(&self) -> bool {
        self.restarts > 0
    }
}

impl Set {
    /// Puts the example into the sandbox.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn up(kubectl: &Kubectl, repository: &Path) -> Result<Self> {
        let up = repository.join("examples/postgres/up.sh");
        program::succeed(kubectl.script(&up, &[]), None, 2 * WHOLE).await?;
        let map = kubectl
            .get(NAMESPACE, &["configmap", "pgbouncer-config"])
            .await?;
        let pooler_file = map["data"]["pgbouncer.ini"]
            .as_str()
            .ok_or_else(|| unexpected("pgbouncer-config has no pgbouncer.ini"))?
            .to_owned();
        Ok(Self {
            kubectl: kubectl.clone(),
            up,
            pooler_file,
            broken: false,
            moved: false,
        })
    }

    /// The next round needs it from nothing.
    pub fn is_spoilt(&mut self) {
        self.broken = true;
    }

    /// A hand-over was begun.
    pub fn is_moved(&mut self) {
        self.moved = true;
    }

    /// Whole, and never handed over: the controlled failover's check of the lag asks the primary, and one that was a
    /// standby before has an answer, so the script refuses to go on.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn whole_and_original(&mut self) -> Result<(Member, Vec<Member>)> {
        self.broken |= self.moved;
        self.whole().await
    }

    /// Whole, with fresh pods where a container was restarted; gives the primary and its standbys in the order of their
    /// numbers, beginning after the primary's.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn whole(&mut self) -> Result<(Member, Vec<Member>)> {
        if !self.broken {
            match self.refreshed().await {
                Ok(found) => return Ok(found),
                Err(error) => tracing::warn!(%error, "the set is made anew"),
            }
        }
        self.broken = true;
        self.rebuild().await?;
        self.broken = false;
        self.moved = false;
        self.refreshed().await
    }

    /// Whole, and its poolers aimed at the primary.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn whole_with_poolers(&mut self) -> Result<(Member, Vec<Member>)> {
        let (primary, standbys) = self.whole().await?;
        self.aim_poolers(&primary).await?;
        Ok((primary, standbys))
    }

    async fn refreshed(&self) -> Result<(Member, Vec<Member>)> {
        // The primary was restarted by nobody, or the round before went wrong.
        for member in self.members().await? {
            if member.restarts > 0 {
                self.kubectl
                    .call_within(NAMESPACE, &["delete", "pod", &member.name], WHOLE)
                    .await?;
            }
        }
        until(
            "the set to be whole",
            Duration::from_secs(60),
            LOOK,
            async || self.look().await,
        )
        .await
    }

    async fn look(&self) -> Result<Option<(Member, Vec<Member>)>> {
        let members = self.members().await?;
        if members.len() != MEMBERS || !members.iter().all(|m| m.ready && m.restarts == 0) {
            return Ok(None);
        }
        // A member that just became ready does not always answer.
        for (number, member) in members.iter().enumerate() {
            let said = self
                .sql(
                    &member.name,
                    "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE \
                     (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming')::text END",
                )
                .await
                .unwrap_or_default();
            if said == "standby" {
                continue;
            }
            if said != (MEMBERS - 1).to_string() {
                return Ok(None);
            }
            let mut standbys = members.clone();
            standbys.rotate_left(number);
            let primary = standbys.remove(0);
            return Ok(Some((primary, standbys)));
        }
        Ok(None)
    }

    /// All members by their addresses.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn members(&self) -> Result<Vec<Member>> {
        let list = self
            .kubectl
            .get(NAMESPACE, &["pods", "--selector", "app=pg"])
            .await?;
        let mut members: Vec<Member> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(member)
            .collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(members)
    }

    /// Whether a member accepts writes.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn is_primary(&self, member: &str) -> Result<bool> {
        Ok(self.sql(member, "SELECT pg_is_in_recovery()").await? == "f")
    }

    /// Of the server itself.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn version(&self) -> Result<String> {
        self.sql("pg-0", "SHOW server_version").await
    }

    async fn sql(&self, member: &str, sql: &str) -> Result<String> {
        sql_in(&self.kubectl, NAMESPACE, member, "postgres", sql).await
    }

    /// Gives the set a fourth member.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn grow(&self) -> Result<()> {
        self.kubectl
            .call(NAMESPACE, &["scale", "statefulset/pg", "--replicas=4"])
            .await?;
        self.wait_ready(4).await
    }

    async fn wait_ready(&self, members: usize) -> Result<()> {
        let ready = format!("--for=jsonpath={{.status.readyReplicas}}={members}");
        let arguments = ["wait", &ready, "statefulset/pg", "--timeout=170s"];
        self.kubectl
            .call_within(NAMESPACE, &arguments, WHOLE)
            .await
            .map(drop)
    }

    /// From empty disks: what a how-to script or a failed round left is given up, so nobody waits for it to end well.
    async fn rebuild(&self) -> Result<()> {
        self.kubectl
            .call(NAMESPACE, &["scale", "statefulset/pg", "--replicas=0"])
            .await?;
        // Paused by a hand-over that failed, or not: fresh poolers are as they should be.
        self.write_pooler_file("pg-0").await?;
        self.end_pods("app=pg").await?;
        let mut disks = vec!["delete", "--ignore-not-found", "pvc"];
        disks.extend(["data-pg-0", "data-pg-1", "data-pg-2", "data-pg-3"]);
        self.kubectl.call_within(NAMESPACE, &disks, WHOLE).await?;
        self.kubectl
            .call(NAMESPACE, &["scale", "statefulset/pg", "--replicas=3"])
            .await?;
        self.wait_ready(MEMBERS).await?;
        // Nobody has moved the primary yet: it is where the database was made.
        let label = ["label", "--overwrite", "pod", "pg-0", "role=primary"];
        self.kubectl.call(NAMESPACE, &label).await?;
        let selector = json!({"spec": {"selector": {
            "app": "pg", "role": "primary", "statefulset.kubernetes.io/pod-name": null,
        }}});
        let patch = selector.to_string();
        let arguments = [
            "patch",
            "service",
            "pg-primary",
            "--type=merge",
            "--patch",
            &patch,
        ];
        self.kubectl.call(NAMESPACE, &arguments).await?;
        // The new database has other verifiers of the same passwords.
        let users = ["delete", "--ignore-not-found", "secret", "pgbouncer-users"];
        self.kubectl.call(NAMESPACE, &users).await?;
        let script = self.kubectl.script(&self.up, &[]);
        program::succeed(script, None, 2 * WHOLE).await?;
        self.end_pods("app=pgbouncer").await?;
        let rollout = ["rollout", "status", "deployment/pgbouncer", "--timeout=60s"];
        self.kubectl.call_within(NAMESPACE, &rollout, WHOLE).await?;
        Ok(())
    }

    async fn end_pods(&self, selector: &str) -> Result<()> {
        let end = ["delete", "pod", "--selector", selector, "--grace-period=1"];
        self.kubectl
            .call_within(NAMESPACE, &end, WHOLE)
            .await
            .map(drop)
    }

    /// The poolers' file leads to this member; whether it was changed.
    async fn write_pooler_file(&self, primary: &str) -> Result<bool> {
        let wanted = self
            .pooler_file
            .replace("host=pg-0.pg.", &format!("host={primary}.pg."));
        let map = self
            .kubectl
            .get(NAMESPACE, &["configmap", "pgbouncer-config"])
            .await?;
        if map["data"]["pgbouncer.ini"].as_str() == Some(wanted.as_str()) {
            return Ok(false);
        }
        let patch = json!({"data": {"pgbouncer.ini": wanted}}).to_string();
        let arguments = [
            "patch",
            "configmap",
            "pgbouncer-config",
            "--type=merge",
            "--patch",
            &patch,
        ];
        self.kubectl.call(NAMESPACE, &arguments).await?;
        Ok(true)
    }

    /// A round without poolers moved the primary behind their back.
    async fn aim_poolers(&self, primary: &Member) -> Result<()> {
        self.write_pooler_file(&primary.name).await?;
        let list = self
            .kubectl
            .get(NAMESPACE, &["pods", "--selector", "app=pgbouncer"])
            .await?;
        for pod in list["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            self.reload_pooler(name, &primary.name).await?;
        }
        Ok(())
    }

    /// Waits for the file, and has it read if the pooler was aimed elsewhere.
    async fn reload_pooler(&self, pooler: &str, primary: &str) -> Result<()> {
        let script = format!(
            "grep -q 'host={primary}\\.' /etc/pgbouncer/pgbouncer.ini && kill -HUP 1 && \
             getent ahosts {primary}.pg.db.svc.cluster.local >/dev/null"
        );
        let mut nudge = 0_u32;
        until(
            "the pooler's file to arrive",
            WHOLE,
            Duration::from_millis(300),
            async || {
                let command = self
                    .kubectl
                    .command(NAMESPACE, &["exec", pooler, "--", "/bin/sh", "-c", &script]);
                if program::run(command, None, program::CALL).await?.success {
                    return Ok(Some(()));
                }
                // The kubelet looks at the pod's files when the pod changes; where its watch was later, once more.
                if nudge.is_multiple_of(8) {
                    let stamp = format!(
                        "bench.ferriswheel.dev/nudge={}",
                        jiff::Timestamp::now().as_millisecond()
                    );
                    self.kubectl
                        .call(
                            NAMESPACE,
                            &["annotate", "--overwrite", "pod", pooler, &stamp],
                        )
                        .await?;
                }
                nudge += 1;
                Ok(None)
            },
        )
        .await
    }
}

/// The members of any cluster for the judge.
pub fn addresses(members: &[Member]) -> Vec<MemberAddress> {
    members
        .iter()
        .map(|member| MemberAddress {
            name: member.name.clone(),
            host: member.ip.clone(),
            port: 5432,
        })
        .collect()
}

/// Every member in one connection string; libpq's way to find the one that takes writes.
///
/// Addresses and not names: rounds recreate pods more often than name servers forget, and within a round no address
/// changes, for any method.
pub fn multi_host(members: &[Member]) -> String {
    let hosts: Vec<&str> = members.iter().map(|member| member.ip.as_str()).collect();
    let ports = vec!["5432"; hosts.len()];
    format!(
        "host={} port={} user=app dbname=app target_session_attrs=read-write",
        hosts.join(","),
        ports.join(",")
    )
}

/// Asks a server in its own pod.
///
/// # Errors
/// It does not answer.
pub async fn sql_in(
    kubectl: &Kubectl,
    namespace: &str,
    pod: &str,
    container: &str,
    sql: &str,
) -> Result<String> {
    let arguments = [
        "exec",
        pod,
        "--container",
        container,
        "--",
        "psql",
        "-XAtqc",
        sql,
        "postgres",
    ];
    let text = kubectl.call(namespace, &arguments).await?;
    Ok(text.trim().to_owned())
}

/// A member from its pod.
pub fn member(pod: &Value) -> Member {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let conditions = pod["status"]["conditions"].as_array();
    Member {
        name: text(&pod["metadata"]["name"]),
        ip: text(&pod["status"]["podIP"]),
        ready: conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True"),
        restarts: pod["status"]["containerStatuses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c["restartCount"].as_u64())
            .sum(),
    }
}
