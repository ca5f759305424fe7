//! Eviction against a real API server: exactly the pod that was meant, or none.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

#[path = "../../azure-emulator/tests/common/mod.rs"]
mod common;
#[path = "../../azure-emulator/tests/common/control_plane.rs"]
mod control_plane;

use ferriswheel_actuators::kubernetes::evict::{Eviction, evict};
use ferriswheel_plan::ids::{ObjectRef, Uid};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_reaches_the_pod_that_was_meant_and_respects_its_budget() -> anyhow::Result<()>
{
    let api_server = control_plane::ControlPlane::start().await?;
    let client = &api_server.client;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "pg-1", "labels": {"app": "pg"}},
        "spec": {
            "nodeName": "n", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "busybox"}],
        },
    }))?;
    let made = pods.create(&PostParams::default(), &pod).await?;
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let params = PatchParams::default();
    pods.patch_status("pg-1", &params, &Patch::Merge(&running))
        .await?;
    let name = ObjectRef {
        namespace: "default".to_owned(),
        name: "pg-1".to_owned(),
    };
    let uid = Uid::new(made.metadata.uid.unwrap());

    // Another pod had this name when the plan was made: the one that is there now stays.
    let other = Uid::new("11111111-1111-4111-8111-111111111111");
    assert_eq!(evict(client, &name, &other).await?, Eviction::Gone);
    assert!(pods.get_opt("pg-1").await?.is_some());

    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": {"name": "pg"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "pg"}}},
    }))?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), "default");
    let budget = budgets.create(&PostParams::default(), &budget).await?;
    let status = |allowed: u32| {
        json!({"status": {
            "observedGeneration": budget.metadata.generation, "disruptionsAllowed": allowed,
            "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1,
        }})
    };
    budgets
        .patch_status("pg", &params, &Patch::Merge(&status(0)))
        .await?;
    let blocked = evict(client, &name, &uid).await?;
    assert!(matches!(blocked, Eviction::Blocked(_)), "{blocked:?}");

    budgets
        .patch_status("pg", &params, &Patch::Merge(&status(1)))
        .await?;
    assert_eq!(evict(client, &name, &uid).await?, Eviction::Accepted);
    assert_eq!(evict(client, &name, &uid).await?, Eviction::Gone);
    Ok(())
}
