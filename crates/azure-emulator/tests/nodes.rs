//! What operations do to Nodes and pods, against a real kube-apiserver: labels, cordons, evictions, budgets, and the
//! Node objects of machines that are gone. The machines are Node objects without a kubelet.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

mod common;
#[path = "common/control_plane.rs"]
mod control_plane;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use axum::body::Body;
use ferriswheel_azure_emulator::{
    Clock, Emulator, Machine, MachineError, MachineSpec, Machines, Mode, PoolSeed, Seed,
};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tower::ServiceExt;

use control_plane::ControlPlane;

/// A clock that runs a hundred times as fast: the shortest drain timeout that AKS allows is five minutes.
struct Fast {
    start: Timestamp,
}

const SPEED: u32 = 100;

#[async_trait]
impl Clock for Fast {
    fn now(&self) -> Timestamp {
        let passed = Timestamp::now().duration_since(self.start);
        self.start + passed * i32::try_from(SPEED).unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration / SPEED).await;
    }
}

/// Machines that register a Ready Node, or one that never gets ready.
struct Registering {
    client: kube::Client,
    machines: Mutex<BTreeMap<String, MachineSpec>>,
    broken: Mutex<bool>,
}

#[async_trait]
impl Machines for Registering {
    async fn create(&self, machine: MachineSpec) -> Result<(), MachineError> {
        let taints: Vec<Value> = machine
            .taints
            .iter()
            .map(|taint| json!({"key": taint.key, "value": taint.value, "effect": taint.effect}))
            .collect();
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": machine.node_name, "labels": machine.labels},
            "spec": {"providerID": machine.provider_id, "taints": taints},
        }))
        .map_err(|error| MachineError::Failed(error.to_string()))?;
        let ready = if *self.broken.lock().unwrap() {
            "False"
        } else {
            "True"
        };
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let api: Api<Node> = Api::all(self.client.clone());
        let failed = |error: kube::Error| MachineError::Failed(error.to_string());
        api.create(&PostParams::default(), &node)
            .await
            .map_err(failed)?;
        let params = PatchParams::default();
        api.patch_status(&machine.node_name, &params, &Patch::Merge(&status))
            .await
            .map_err(failed)?;
        self.machines
            .lock()
            .unwrap()
            .insert(machine.node_name.clone(), machine);
        Ok(())
    }

    async fn delete(&self, node_name: &str) -> Result<(), MachineError> {
        self.machines.lock().unwrap().remove(node_name);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Machine>, MachineError> {
        let machines = self.machines.lock().unwrap();
        let machine = |spec: &MachineSpec| Machine {
            node_name: spec.node_name.clone(),
            pool: spec.pool.clone(),
            zone: spec.zone.clone(),
            instance_id: spec.instance_id,
            address: None,
        };
        Ok(machines.values().map(machine).collect())
    }
}

struct World {
    client: kube::Client,
    emulator: Emulator,
    machines: Arc<Registering>,
    seed: Seed,
    token: String,
    _control_plane: ControlPlane,
}

impl World {
    async fn start() -> anyhow::Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let client = control_plane.client.clone();
        let mut seed = Seed::practice("practice", "1.36.3");
        seed.pools
            .push(PoolSeed::new("syspool", Mode::System, 1, &["1"], "1.36.3"));
        let mut db = PoolSeed::new("dbpool", Mode::User, 4, &["1", "2"], "1.35.4");
        db.labels.insert("tier".into(), "old".into());
        seed.pools.push(db);
        seed.timings.ready_deadline = Duration::from_secs(60);
        let machines = Arc::new(Registering {
            client: client.clone(),
            machines: Mutex::default(),
            broken: Mutex::new(false),
        });
        let clock = Arc::new(Fast {
            start: Timestamp::now(),
        });
        let emulator = Emulator::new(seed.clone(), machines.clone(), Some(client.clone()), clock)?;
        emulator.boot().await?;
        let mut world = Self {
            client,
            emulator,
            machines,
            seed,
            token: String::new(),
            _control_plane: control_plane,
        };
        let secret = format!("client_secret={}", world.seed.client_secret);
        world.token = world.login(&secret).await?;
        Ok(world)
    }

    /// Logs in with a secret or an assertion.
    async fn login(&self, proof: &str) -> anyhow::Result<String> {
        let form = format!(
            "grant_type=client_credentials&client_id={}&{proof}",
            self.seed.client_id
        );
        let request = Request::post(format!("/{}/oauth2/v2.0/token", self.seed.tenant_id))
            .body(Body::from(form))?;
        let body = self
            .emulator
            .router()
            .oneshot(request)
            .await?
            .into_body()
            .collect()
            .await?
            .to_bytes();
        let json: Value = serde_json::from_slice(&body)?;
        json["access_token"]
            .as_str()
            .map(str::to_owned)
            .with_context(|| json.to_string())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> anyhow::Result<(StatusCode, String, Value)> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = if path.starts_with("/subscriptions") {
            path.to_owned()
        } else {
            format!(
                "{}/agentPools/{path}{separator}api-version=2026-08-01",
                self.emulator.cluster_id()
            )
        };
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("host", "practice")
            .header("authorization", format!("Bearer {}", self.token))
            .body(Body::from(body.to_string()))?;
        let (parts, body) = self.emulator.router().oneshot(request).await?.into_parts();
        let operation = parts
            .headers
            .get("azure-asyncoperation")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let operation = operation.replace("https://practice", "");
        let json = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap_or(Value::Null);
        Ok((parts.status, operation, json))
    }

    /// Makes a request and follows its operation to the end: the status document.
    async fn run(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let (status, operation, json) = self.call(method, path, body).await?;
        ensure!(
            status.is_success() && !operation.is_empty(),
            "{status} {json}"
        );
        for _ in 0..1500 {
            let (_, _, document) = self.call(Method::GET, &operation, Value::Null).await?;
            if document["status"] != "InProgress" {
                return Ok(document);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("the operation does not end")
    }

    async fn nodes(&self, pool: &str) -> anyhow::Result<Vec<Node>> {
        let api: Api<Node> = Api::all(self.client.clone());
        Ok(api
            .list(&kube::api::ListParams::default().labels(&format!("agentpool={pool}")))
            .await?
            .items)
    }

    /// A pod that a kubelet-less node loses at once when it is evicted.
    async fn pod(&self, name: &str, node: &str, app: &str) -> anyhow::Result<()> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": {
                "nodeName": node, "terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "c", "image": "busybox"}],
            },
        }))?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        api.create(&PostParams::default(), &pod).await?;
        let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        Ok(())
    }

    /// A budget that lets nothing go; its status is what the disruption controller would write.
    async fn protect(&self, app: &str) -> anyhow::Result<()> {
        let budget: PodDisruptionBudget = serde_json::from_value(json!({
            "metadata": {"name": app},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": app}}},
        }))?;
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), "default");
        let made = api.create(&PostParams::default(), &budget).await?;
        let status = json!({"status": {
            "observedGeneration": made.metadata.generation, "disruptionsAllowed": 0, "currentHealthy": 1,
            "desiredHealthy": 1, "expectedPods": 1,
        }});
        api.patch_status(app, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        Ok(())
    }

    async fn pod_exists(&self, name: &str) -> anyhow::Result<bool> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        Ok(api.get_opt(name).await?.is_some())
    }
}

fn names(nodes: &[Node]) -> Vec<String> {
    nodes
        .iter()
        .filter_map(|node| node.metadata.name.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_reach_the_nodes_and_their_pods() -> anyhow::Result<()> {
    let world = World::start().await?;
    let nodes = world.nodes("dbpool").await?;
    assert_eq!(nodes.len(), 4);
    let of = |node: &Node, label: &str| {
        node.metadata
            .labels
            .as_ref()
            .and_then(|l| l.get(label))
            .cloned()
    };
    assert_eq!(
        of(&nodes[0], "kubernetes.azure.com/mode").as_deref(),
        Some("user")
    );
    assert_eq!(
        of(&nodes[0], "kubernetes.azure.com/cluster"),
        Some(world.emulator.node_resource_group())
    );

    // Settings: labels and taints of existing nodes follow, what others put there stays.
    let (_, _, pool) = world.call(Method::GET, "dbpool", Value::Null).await?;
    let mut body = pool.clone();
    body["properties"]["nodeLabels"] = json!({"tier": "new", "extra": "1"});
    body["properties"]["nodeTaints"] = json!(["workload=database:NoSchedule"]);
    assert_eq!(
        world.run(Method::PUT, "dbpool", body).await?["status"],
        "Succeeded"
    );
    for node in world.nodes("dbpool").await? {
        assert_eq!(
            (of(&node, "tier").as_deref(), of(&node, "extra").as_deref()),
            (Some("new"), Some("1"))
        );
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        assert!(
            taints
                .iter()
                .any(|t| t.key == "workload" && t.effect == "NoSchedule")
        );
    }

    // Scale down: the cordoned node goes, its pods are evicted first.
    let all = names(&world.nodes("dbpool").await?);
    let api: Api<Node> = Api::all(world.client.clone());
    api.cordon(&all[1]).await?;
    world.pod("free", &all[1], "free").await?;
    let (_, _, mut pool) = world.call(Method::GET, "dbpool", Value::Null).await?;
    pool["properties"]["count"] = json!(3);
    assert_eq!(
        world.run(Method::PUT, "dbpool", pool.clone()).await?["status"],
        "Succeeded"
    );
    assert!(!names(&world.nodes("dbpool").await?).contains(&all[1]));
    assert!(!world.pod_exists("free").await?);
    assert_eq!(world.machines.machines.lock().unwrap().len(), 4);

    // A budget stops a scale-down after the drain timeout, five minutes at the least.
    world.protect("guarded").await?;
    let left = names(&world.nodes("dbpool").await?);
    for (index, node) in left.iter().enumerate() {
        world
            .pod(&format!("guarded-{index}"), node, "guarded")
            .await?;
    }
    pool["properties"]["count"] = json!(2);
    pool["properties"]["upgradeSettings"]["drainTimeoutInMinutes"] = json!(5);
    let blocked = world.run(Method::PUT, "dbpool", pool.clone()).await?;
    assert_eq!(
        (&blocked["status"], &blocked["error"]["code"]),
        (&json!("Failed"), &json!("PodDrainFailure"))
    );
    assert!(
        blocked["error"]["message"]
            .as_str()
            .unwrap()
            .contains("default/guarded-"),
        "{blocked}"
    );
    assert_eq!(world.nodes("dbpool").await?.len(), 3);

    // deleteMachines asks nobody: the Node is gone and its pod was never evicted.
    let doomed = json!({"machineNames": [left[0]]});
    assert_eq!(
        world
            .run(Method::POST, "dbpool/deleteMachines", doomed)
            .await?["status"],
        "Succeeded"
    );
    assert_eq!(world.nodes("dbpool").await?.len(), 2);
    assert!(world.pod_exists("guarded-0").await?, "no drain");

    // A budget prevents the deletion of the pool, unless the caller says otherwise.
    let refused = world.run(Method::DELETE, "dbpool", Value::Null).await?;
    assert_eq!(
        (&refused["status"], &refused["error"]["code"]),
        (&json!("Failed"), &json!("PodDrainFailure"))
    );
    assert_eq!(world.nodes("dbpool").await?.len(), 2);
    let forced = world
        .run(
            Method::DELETE,
            "dbpool?ignore-pod-disruption-budget=true",
            Value::Null,
        )
        .await?;
    assert_eq!(forced["status"], "Succeeded");
    assert_eq!(names(&world.nodes("dbpool").await?), [""; 0]);

    // A machine whose Node does not get Ready fails the operation.
    *world.machines.broken.lock().unwrap() = true;
    let body = json!({"properties": {"count": 1, "vmSize": "Standard_D2s_v5"}});
    let failed = world.run(Method::PUT, "broken", body).await?;
    assert_eq!(failed["error"]["code"], "ReconcileVMSSAgentPoolFailed");

    // Workload identity: the cluster vouches for its service accounts.
    let account: k8s_openapi::api::core::v1::ServiceAccount =
        serde_json::from_value(json!({"metadata": {"name": "upgrader"}}))?;
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(world.client.clone(), "default");
    accounts.create(&PostParams::default(), &account).await?;
    let request = json!({"spec": {"audiences": ["api://AzureADTokenExchange"]}});
    let request = serde_json::from_value(request)?;
    let issued = accounts
        .create_token_request("upgrader", &PostParams::default(), &request)
        .await?;
    let assertion = issued
        .status
        .and_then(|status| status.token)
        .unwrap_or_default();
    assert!(
        !world
            .login(&format!("client_assertion={assertion}"))
            .await?
            .is_empty()
    );
    assert!(world.login("client_assertion=forged").await.is_err());
    Ok(())
}
