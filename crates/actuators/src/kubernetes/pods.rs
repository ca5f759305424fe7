//! Pods of this binary inside the user's cluster: the agents and the probe.
//!
//! They run beside the database, on nodes that the plan does not replace, and carry the plan's id
//! as a label, so that a run finds and removes exactly its own.

use std::time::Duration;

use ferriswheel_plan::ids::{ObjectRef, PlanId, PoolName};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{RequestError, find, request};

/// Label with the plan's id on everything that a run creates.
pub const RUN_LABEL: &str = "ferriswheel.dev/run";
/// Label with the task of a pod.
pub const TASK_LABEL: &str = "ferriswheel.dev/task";
/// Directory of mounted credentials; each Secret is a directory with `username` and `password`.
pub const CREDENTIALS: &str = "/etc/ferriswheel";
/// Directory that a pod may write to.
pub const STATE: &str = "/var/lib/ferriswheel";

/// What a pod of this binary does.
#[derive(Clone, Debug)]
pub struct Task {
    /// Name of the task (`agent`, `watchdog`, `probe`).
    pub name: &'static str,
    /// Arguments of the binary.
    pub args: Vec<String>,
    /// Port that it serves.
    pub port: u16,
    /// Path that answers when it is ready.
    pub ready_path: &'static str,
    /// Secrets to mount, by directory name below [`CREDENTIALS`].
    pub secrets: Vec<(String, String)>,
}

/// Where and as what the pods of a run live.
#[derive(Clone, Debug)]
pub struct Home {
    /// Namespace.
    pub namespace: String,
    /// Plan.
    pub plan: PlanId,
    /// Image of this binary.
    pub image: String,
}

impl Home {
    /// Name of a pod.
    pub fn pod(&self, task: &str) -> ObjectRef {
        ObjectRef::new(
            &self.namespace,
            format!("ferriswheel-{task}-{}", short(&self.plan)),
        )
    }

    /// Name of the Secret with the run's token.
    pub fn token_secret(&self) -> ObjectRef {
        ObjectRef::new(
            &self.namespace,
            format!("ferriswheel-run-{}", short(&self.plan)),
        )
    }

    fn manifest(&self, task: &Task, pools: &[PoolName]) -> Value {
        let mut volumes = vec![
            json!({"name": "state", "emptyDir": {}}),
            json!({"name": "token", "secret": {"secretName": self.token_secret().name}}),
        ];
        let mut mounts = vec![
            json!({"name": "state", "mountPath": STATE}),
            json!({"name": "token", "mountPath": format!("{CREDENTIALS}/run"), "readOnly": true}),
        ];
        for (directory, secret) in &task.secrets {
            volumes.push(json!({"name": directory, "secret": {"secretName": secret}}));
            mounts.push(json!({
                "name": directory,
                "mountPath": format!("{CREDENTIALS}/{directory}"),
                "readOnly": true,
            }));
        }
        let pools: Vec<&str> = pools.iter().map(PoolName::as_str).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.pod(task.name).name,
                "namespace": self.namespace,
                "labels": {
                    "app.kubernetes.io/name": "ferriswheel",
                    RUN_LABEL: self.plan.as_str(),
                    TASK_LABEL: task.name,
                },
            },
            "spec": {
                // A process that ended is started again: it then serves the record it left.
                "restartPolicy": "Always",
                // An idle process ends at once; one that is inside a window ends after it.
                "terminationGracePeriodSeconds": 30,
                "automountServiceAccountToken": false,
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{
                            "key": super::read::POOL_LABEL, "operator": "In", "values": pools,
                        }]}],
                    }},
                    // Agent and watchdog on two nodes: one crash must not take both.
                    "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                        if task.name == "probe" { json!([]) } else { json!([{
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": {"matchExpressions": [
                                {"key": RUN_LABEL, "operator": "In", "values": [self.plan.as_str()]},
                                {"key": TASK_LABEL, "operator": "In", "values": ["agent", "watchdog"]},
                            ]},
                        }])},
                    },
                },
                "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
                "containers": [{
                    "name": "ferriswheel",
                    "image": self.image,
                    "args": task.args,
                    "ports": [{"containerPort": task.port}],
                    "readinessProbe": {
                        "httpGet": {"path": task.ready_path, "port": task.port},
                        "periodSeconds": 1,
                    },
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                    "volumeMounts": mounts,
                }],
                "volumes": volumes,
            },
        })
    }

    /// Creates a pod unless it is there; `true` if it was created now.
    pub async fn ensure(
        &self,
        client: &kube::Client,
        task: &Task,
        pools: &[PoolName],
    ) -> Result<bool, RequestError> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let manifest: Pod =
            serde_json::from_value(self.manifest(task, pools)).map_err(|e| RequestError::Api {
                what: format!("build the pod of {}", task.name),
                source: Box::new(kube::Error::SerdeError(e)),
            })?;
        match request(
            format!("create pod {}", self.pod(task.name)),
            pods.create(&PostParams::default(), &manifest),
        )
        .await
        {
            Ok(_) => Ok(true),
            Err(e) if e.is_conflict() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The pod of a task, if it is there.
    pub async fn find(
        &self,
        client: &kube::Client,
        task: &str,
    ) -> Result<Option<Pod>, RequestError> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let name = self.pod(task);
        find(format!("read pod {name}"), pods.get_opt(&name.name)).await
    }

    /// Removes the pods of these tasks.
    pub async fn remove(&self, client: &kube::Client, tasks: &[&str]) -> Result<(), RequestError> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        for task in tasks {
            let name = self.pod(task).name;
            match request(
                format!("delete pod {name}"),
                pods.delete(&name, &DeleteParams::default()),
            )
            .await
            {
                Ok(_) => {}
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Pods of this run that are still there.
    pub async fn remaining(&self, client: &kube::Client) -> Result<Vec<String>, RequestError> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let list = request(
            "list the run's pods",
            pods.list(&ListParams::default().labels(&format!("{RUN_LABEL}={}", self.plan))),
        )
        .await?;
        Ok(list.items.iter().map(ResourceExt::name_any).collect())
    }

    /// The run's token, created when it is not there.
    pub async fn token(&self, client: &kube::Client) -> Result<String, RequestError> {
        self.token_beside(client, &json!({})).await
    }

    /// Like [`Home::token`], with what the probe's own file says beside the defaults.
    pub async fn token_beside(
        &self,
        client: &kube::Client,
        probe: &Value,
    ) -> Result<String, RequestError> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &self.namespace);
        let name = self.token_secret();
        if let Some(secret) = find("read the run's token", secrets.get_opt(&name.name)).await?
            && let Some(token) = value(&secret, "token")
        {
            return Ok(token);
        }
        // 122 random bits; the token guards ports that only pods of the cluster reach.
        let token = uuid::Uuid::new_v4().simple().to_string();
        let secret: Secret = Secret {
            metadata: kube::api::ObjectMeta {
                name: Some(name.name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some([(RUN_LABEL.to_owned(), self.plan.as_str().to_owned())].into()),
                ..Default::default()
            },
            string_data: Some(
                [
                    ("token".to_owned(), token.clone()),
                    ("probe.json".to_owned(), probe_config(probe)),
                ]
                .into(),
            ),
            ..Default::default()
        };
        match request(
            "create the run's token",
            secrets.create(&PostParams::default(), &secret),
        )
        .await
        {
            Ok(_) => Ok(token),
            Err(e) if e.is_conflict() => {
                let secret = request("read the run's token", secrets.get(&name.name)).await?;
                Ok(value(&secret, "token").unwrap_or_default())
            }
            Err(e) => Err(e),
        }
    }

    /// Removes the run's token.
    pub async fn remove_token(&self, client: &kube::Client) -> Result<(), RequestError> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &self.namespace);
        let name = self.token_secret().name;
        match request(
            "delete the run's token",
            secrets.delete(&name, &DeleteParams::default()),
        )
        .await
        {
            Ok(_) => Ok(()),
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// The probe's own configuration; it lies beside the token, so that one Secret serves all pods.
fn probe_config(beside: &Value) -> String {
    let mut config = json!({
        "token_file": format!("{CREDENTIALS}/run/token"),
        "password_file": format!("{CREDENTIALS}/application/password"),
        "out": STATE,
    });
    if let (Value::Object(config), Value::Object(beside)) = (&mut config, beside) {
        config.extend(beside.clone());
    }
    config.to_string()
}

/// One value of a Secret as text.
pub fn value(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}

/// A pod that does not answer its readiness probe within this time is worth a look by a person;
/// pulling an image is the longest part.
pub const READY: Duration = Duration::from_secs(120);

fn short(plan: &PlanId) -> &str {
    let text = plan.as_str();
    &text[..text.len().min(8)]
}
