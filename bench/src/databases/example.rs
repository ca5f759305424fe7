//! The example of a system in the sandbox: a StatefulSet whose pods have its name as their label `app`, and the script that
//! puts it there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ferriswheel_probe::config::MemberAddress;
use serde_json::Value;
use tokio::task::JoinSet;

use super::system::Scene;
use crate::error::{Result, unexpected};
use crate::program::{self, Kubectl, until};
use crate::set::{Member, member};

/// A start from nothing, with the forming of a cluster.
const START: Duration = Duration::from_secs(300);

/// Pause between two looks at all members.
const LOOK: Duration = Duration::from_millis(300);

/// The example.
pub struct Example {
    /// Reaches the sandbox.
    pub kubectl: Kubectl,
    namespace: &'static str,
    set: &'static str,
    members: usize,
    up: PathBuf,
}

impl Example {
    /// Puts it into the sandbox.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn up(
        kubectl: &Kubectl,
        up: &Path,
        (namespace, set): (&'static str, &'static str),
        members: usize,
    ) -> Result<Self> {
        let example = Self {
            kubectl: kubectl.clone(),
            namespace,
            set,
            members,
            up: up.to_owned(),
        };
        example.form().await?;
        Ok(example)
    }

    async fn form(&self) -> Result<()> {
        let script = self.kubectl.script(&self.up, &[]);
        program::succeed(script, None, START).await.map(drop)
    }

    /// Makes it anew, from empty disks.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn rebuild(&self) -> Result<()> {
        let set = format!("statefulset/{}", self.set);
        let none = ["scale", &set, "--replicas=0"];
        self.kubectl.call(self.namespace, &none).await?;
        let pods = format!("--selector=app={}", self.set);
        let pods = ["delete", "pod", &pods, "--grace-period=1"];
        self.within(&pods).await?;
        self.within(&["delete", "pvc", "--all"]).await?;
        self.form().await
    }

    /// Pods whose containers were started again are made anew, one at a time, with their disks and in their role: the
    /// kubelet would delay their next start, which a plan refuses.
    ///
    /// # Errors
    /// One does not come back.
    pub async fn refresh(&self) -> Result<()> {
        for pod in self.pods().await? {
            let seen = member(&pod);
            if !seen.has_restarted() {
                continue;
            }
            self.within(&["delete", "pod", &seen.name]).await?;
            until("the pod to be ready again", START, LOOK, async || {
                let pods = self.pods().await?;
                let ready = pods.iter().map(member).filter(Member::is_ready).count();
                Ok((ready == self.members).then_some(()))
            })
            .await?;
            if let Some(role) = pod["metadata"]["labels"]["role"].as_str() {
                let role = format!("role={role}");
                self.within(&["label", "pod", &seen.name, "--overwrite", &role])
                    .await?;
            }
        }
        Ok(())
    }

    /// Every pod is on a machine of this version.
    ///
    /// # Errors
    /// One is not, or the API server does not answer.
    pub async fn is_on(&self, version: &str) -> Result<()> {
        let nodes = self.kubectl.get("", &["nodes"]).await?;
        let version_of = |name: &Value| {
            let mut nodes = nodes["items"].as_array().into_iter().flatten();
            let node = nodes.find(|node| node["metadata"]["name"] == *name)?;
            node["status"]["nodeInfo"]["kubeletVersion"].as_str()
        };
        for pod in self.pods().await? {
            let node = &pod["spec"]["nodeName"];
            let found = version_of(node).unwrap_or("no node");
            if found.trim_start_matches('v') != version {
                let name = &pod["metadata"]["name"];
                return Err(unexpected(format!("{name} is on {node}, {found}")));
            }
        }
        Ok(())
    }

    async fn within(&self, arguments: &[&str]) -> Result<()> {
        let called = self.kubectl.call_within(self.namespace, arguments, START);
        called.await.map(drop)
    }

    /// Pods that are not being deleted.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn pods(&self) -> Result<Vec<Value>> {
        let selector = format!("app={}", self.set);
        let asked = ["pods", "--selector", &selector];
        let mut list = self.kubectl.get(self.namespace, &asked).await?;
        let pods = list["items"].as_array_mut().map(std::mem::take);
        let mut pods = pods.unwrap_or_default();
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(pods)
    }

    /// What every member says, asked at the same time; or why not all can be asked.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn everybody<F>(
        &self,
        pods: &[Member],
        ask: impl Fn(Kubectl, String) -> F,
    ) -> Result<Result<Vec<(String, String)>, String>>
    where
        F: Future<Output = Result<String>> + Send + 'static,
    {
        if pods.len() != self.members || !pods.iter().all(Member::is_ready) {
            return Ok(Err("a member is not ready".to_owned()));
        }
        let mut asked = JoinSet::new();
        for pod in pods {
            let (name, said) = (
                pod.name.clone(),
                ask(self.kubectl.clone(), pod.name.clone()),
            );
            asked.spawn(async move { (name, said.await) });
        }
        let mut all = Vec::new();
        while let Some(joined) = asked.join_next().await {
            let (name, said) = joined.map_err(|e| unexpected(format!("a look ended: {e}")))?;
            match said {
                Ok(text) => all.push((name, text)),
                Err(error) => return Ok(Err(format!("{name}: {error}"))),
            }
        }
        all.sort();
        Ok(Ok(all))
    }
}

/// Where the judge finds everybody.
pub fn addresses<'p>(pods: impl IntoIterator<Item = &'p Member>, port: u16) -> Vec<MemberAddress> {
    let address = |pod: &Member| MemberAddress {
        name: pod.name.clone(),
        host: pod.ip.clone(),
        port,
    };
    pods.into_iter().map(address).collect()
}

/// Looks until everybody says the same.
///
/// # Errors
/// Nobody can be asked, or they do not come to say so.
pub async fn agreed(
    within: Duration,
    look: impl AsyncFn() -> Result<Result<Scene, String>>,
) -> Result<Scene> {
    let mut last = String::new();
    let found = until(
        "every member to say the same",
        within,
        LOOK,
        async || match look().await? {
            Ok(scene) => Ok(Some(scene)),
            Err(why) => {
                last = why;
                Ok(None)
            }
        },
    )
    .await;
    found.map_err(|error| unexpected(format!("{error}: {last}")))
}
