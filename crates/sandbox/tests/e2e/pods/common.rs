//! A sandbox for a test, and a namespace of it as a user's tools see it.

use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Client, Config};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{SYSTEM, Sandbox};

/// Nothing here takes half of this on a loaded machine; a wait that long is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);
pub(crate) fn up() -> Sandbox {
    Sandbox::up(
        "pods",
        &[SYSTEM, "name=work,mode=User,count=2,zones=1,label=for:work"],
    )
}

pub(crate) async fn client(sandbox: &Sandbox) -> Client {
    let file = kube::config::Kubeconfig::read_from(sandbox.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// A namespace of the cluster.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) name: String,
    sandbox: PathBuf,
}

impl Place {
    pub(crate) async fn new(client: &Client, name: &str, sandbox: &Path) -> Self {
        let api: Api<Namespace> = Api::all(client.clone());
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        api.create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
        let exists = |a: Option<&ServiceAccount>| a.is_some();
        within(
            name,
            "the default service account",
            await_condition(accounts, "default", exists),
        )
        .await;
        Self {
            client: client.clone(),
            name: name.to_owned(),
            sandbox: sandbox.to_owned(),
        }
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub(crate) async fn apply(&self, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let types = object.types.clone().unwrap();
        let (group, version) = types
            .api_version
            .split_once('/')
            .unwrap_or(("", &types.api_version));
        let gvk = kube::core::GroupVersionKind::gvk(group, version, &types.kind);
        let plural = format!("{}s", types.kind.to_lowercase());
        let resource = kube::core::ApiResource::from_gvk_with_plural(&gvk, &plural);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.name, &resource);
        let name = object.metadata.name.clone().unwrap();
        api.patch(
            &name,
            &PatchParams::apply("test").force(),
            &Patch::Apply(object),
        )
        .await
        .unwrap();
    }

    pub(crate) async fn pod(&self, name: &str, spec: Value) {
        self.labelled_pod(name, json!({}), spec).await;
    }

    pub(crate) async fn labelled_pod(&self, name: &str, labels: Value, spec: Value) {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1, "nodeSelector": {"for": "work"}},
        });
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        self.apply(object).await;
    }

    pub(crate) async fn wait(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&Pod) -> bool,
    ) -> Pod {
        let holds = |pod: Option<&Pod>| pod.is_some_and(&condition);
        let found = tokio::time::timeout(DEADLINE, await_condition(self.pods(), name, holds)).await;
        match found {
            Ok(pod) => pod.unwrap().unwrap(),
            Err(_) => {
                let pod = self.pods().get_opt(name).await.unwrap();
                let status = serde_json::to_string(&pod.and_then(|p| p.status)).unwrap();
                panic!(
                    "{}/{name}: not {what}: {status}\n{:#?}",
                    self.name,
                    self.events(name).await
                );
            }
        }
    }

    pub(crate) async fn ready(&self, name: &str) -> Pod {
        self.wait(name, "ready", is_ready).await
    }

    pub(crate) async fn succeeded(&self, name: &str) -> Pod {
        let over = |pod: &Pod| matches!(phase(pod), "Succeeded" | "Failed");
        let pod = self.wait(name, "over", over).await;
        assert_eq!(
            phase(&pod),
            "Succeeded",
            "{}/{name}: {:?}\n{}",
            self.name,
            pod.status,
            self.logs(&pod)
        );
        pod
    }

    pub(crate) async fn events(&self, pod: &str) -> Vec<(String, String)> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.name);
        let list = api
            .list(&ListParams::default().fields(&format!("involvedObject.name={pod}")))
            .await
            .unwrap();
        list.items
            .into_iter()
            .map(|e| (e.reason.unwrap_or_default(), e.message.unwrap_or_default()))
            .collect()
    }

    pub(crate) async fn gone(&self, name: &str) {
        let absent = |pod: Option<&Pod>| pod.is_none();
        within(
            &self.name,
            "gone",
            await_condition(self.pods(), name, absent),
        )
        .await;
    }

    pub(crate) fn disk(&self, node: &str) -> PathBuf {
        self.sandbox.join("nodes").join(node).join("disk")
    }

    pub(crate) fn logs(&self, pod: &Pod) -> String {
        let node = pod
            .spec
            .as_ref()
            .and_then(|s| s.node_name.clone())
            .unwrap_or_default();
        let meta = &pod.metadata;
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let name = format!("{}_{}_{}", self.name, text(&meta.name), text(&meta.uid));
        let directory = self.disk(&node).join("log/pods").join(name);
        let mut all = String::new();
        for container in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            for file in std::fs::read_dir(container.path())
                .into_iter()
                .flatten()
                .flatten()
            {
                all.push_str(&std::fs::read_to_string(file.path()).unwrap_or_default());
            }
        }
        all
    }
}

pub(crate) async fn within<T, E: std::fmt::Debug>(
    place: &str,
    what: &str,
    work: impl Future<Output = Result<T, E>>,
) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done.unwrap(),
        Err(_) => panic!("{place}: no {what} within {DEADLINE:?}"),
    }
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or_default()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready")
}

pub(crate) fn condition(pod: &Pod, kind: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == kind && c.status == "True")
}

/// The status of a pod's container as JSON, for paths into it.
pub(crate) fn container(pod: &Pod, index: usize) -> Value {
    serde_json::to_value(
        pod.status
            .as_ref()
            .and_then(|s| s.container_statuses.as_ref())
            .and_then(|c| c.get(index)),
    )
    .unwrap()
}

pub(crate) fn restarts(pod: &Pod) -> i64 {
    container(pod, 0)["restartCount"].as_i64().unwrap_or(0)
}

pub(crate) fn time(value: &Value) -> Timestamp {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no time in {value}"))
        .parse()
        .unwrap()
}

pub(crate) fn shell(script: &str) -> Value {
    json!({"name": "c", "image": "debian", "command": ["bash", "-exc", script]})
}

pub(crate) fn with(mut container: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        container[key] = value.clone();
    }
    container
}

pub(crate) const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
