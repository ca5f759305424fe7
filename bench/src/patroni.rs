//! Patroni's clusters, each in a namespace of its own, from `bench/postgres/patroni`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::error::{Result, unexpected};
use crate::program::{self, Kubectl, until};
use crate::set::{Member, member};

/// An old leader is a standby again with the second look of its loop at the latest, each 10 s.
const WHOLE: Duration = Duration::from_secs(120);

/// One cluster.
pub struct Patroni {
    kubectl: Kubectl,
    namespace: &'static str,
    scripts: PathBuf,
}

impl Patroni {
    /// Starts it with this password of `app`.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn up(
        kubectl: &Kubectl,
        repository: &Path,
        namespace: &'static str,
        image: &str,
        password: &str,
    ) -> Result<Self> {
        let fresh = || uuid::Uuid::new_v4().simple().to_string();
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "patroni", "namespace": namespace},
                "stringData": {
                    "username": "app", "application": password, "superuser": fresh(), "replication": fresh(),
                },
            },
        ]});
        kubectl.apply("", &objects.to_string()).await?;
        let scripts = repository.join("bench/postgres/patroni");
        let up = kubectl.script(&scripts.join("up.sh"), &[namespace, image, "haproxy"]);
        program::succeed(up, None, Duration::from_secs(360)).await?;
        Ok(Self {
            kubectl: kubectl.clone(),
            namespace,
            scripts,
        })
    }

    /// Waits until it is whole; gives the members and the name of the leader.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn whole(&self) -> Result<(Vec<Member>, String)> {
        until(
            &format!("{} to be whole", self.namespace),
            WHOLE,
            Duration::from_millis(300),
            async || self.look().await,
        )
        .await
    }

    async fn look(&self) -> Result<Option<(Vec<Member>, String)>> {
        let Ok(cluster) = self.cluster().await else {
            return Ok(None);
        };
        let said = cluster["members"].as_array().cloned().unwrap_or_default();
        let of = |m: &Value, key: &str| m[key].as_str().unwrap_or_default().to_owned();
        let leaders: Vec<&Value> = said.iter().filter(|m| of(m, "role") == "leader").collect();
        let [leader] = leaders[..] else {
            return Ok(None);
        };
        let level = said.iter().all(|m| {
            matches!(of(m, "state").as_str(), "running" | "streaming")
                && m["timeline"] == leader["timeline"]
                && (m["lag"].as_u64() == Some(0) || of(m, "role") == "leader")
        });
        if said.len() != 3 || !level {
            return Ok(None);
        }
        let list = self
            .kubectl
            .get(self.namespace, &["pods", "--selector", "app=patroni"])
            .await?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let members: Vec<Member> = pods.iter().map(member).collect();
        let leader = of(leader, "name");
        let streaming = crate::set::sql_in(
            &self.kubectl,
            self.namespace,
            &leader,
            "patroni",
            "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'",
        )
        .await
        .unwrap_or_default();
        Ok((streaming == "2").then_some((members, leader)))
    }

    /// Who leads now.
    ///
    /// # Errors
    /// Nobody says.
    pub async fn leader(&self) -> Result<String> {
        let cluster = self.cluster().await?;
        cluster["members"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|m| m["role"] == "leader")
            .and_then(|m| m["name"].as_str())
            .map(str::to_owned)
            .ok_or_else(|| unexpected(format!("{} has no leader", self.namespace)))
    }

    async fn cluster(&self) -> Result<Value> {
        let path = format!(
            "/api/v1/namespaces/{}/pods/pg-0:8008/proxy/cluster",
            self.namespace
        );
        let text = self
            .kubectl
            .call(self.namespace, &["get", "--raw", &path])
            .await?;
        serde_json::from_str(&text).map_err(|e| unexpected(format!("{path}: {e}")))
    }

    /// Its own planned switchover; Patroni chooses the candidate.
    pub fn switchover(&self) -> Command {
        self.kubectl
            .script(&self.scripts.join("switchover.sh"), &[self.namespace])
    }

    /// Clients by HAProxy.
    pub fn by_haproxy(&self) -> String {
        format!(
            "host=haproxy.{}.svc.cluster.local port=5000 user=app dbname=app",
            self.namespace
        )
    }
}
