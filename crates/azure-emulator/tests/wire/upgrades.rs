//! The control plane's own upgrade.

use http::{Method, StatusCode};
use serde_json::json;

use super::client::{new_pool, with};
use super::common;

#[tokio::test]
async fn the_control_plane_goes_up_one_minor_and_leaves_the_pools() {
    let mut seed = common::seed();
    seed.kubernetes_version = "1.35.4".into();
    for pool in &mut seed.pools {
        pool.kubernetes_version = "1.35.4".into();
    }
    seed.versions.push("1.37.1".into());
    let (client, _, _) = with(seed).await;
    let profile = client.get("/upgradeProfiles/default").await.json;
    let offered: Vec<&str> = profile["properties"]["controlPlaneProfile"]["upgrades"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|u| u["kubernetesVersion"].as_str())
        .collect();
    assert_eq!(offered, ["1.36.2", "1.36.3"]);

    let cluster = client.get("").await.json;
    let mut skip = cluster.clone();
    skip["properties"]["kubernetesVersion"] = json!("1.37.1");
    let answer = client.put("", skip).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::BAD_REQUEST, "OperationNotAllowed")
    );

    let mut upgrade = cluster.clone();
    upgrade["properties"]["kubernetesVersion"] = json!("1.36.3");
    let mut mixed = upgrade.clone();
    mixed["properties"]["agentPoolProfiles"][0]["orchestratorVersion"] = json!("1.36.3");
    assert_eq!(
        client.put("", mixed).await.code(),
        "NotAllAgentPoolOrchestratorVersionSpecifiedAndUnchanged"
    );

    let etag = cluster["eTag"].as_str().unwrap().to_owned();
    let started = client
        .call(
            Method::PUT,
            &client.url(""),
            Some(upgrade),
            &[("if-match", &etag)],
        )
        .await;
    assert_eq!(
        (
            started.status,
            &started.json["properties"]["currentKubernetesVersion"]
        ),
        (StatusCode::OK, &json!("1.35.4"))
    );
    assert_eq!(
        client.put("/agentPools/dbz2", new_pool(1)).await.status,
        StatusCode::CONFLICT
    );
    assert_eq!(client.finish(&started).await["status"], "Succeeded");
    let cluster = client.get("").await.json;
    assert_eq!(cluster["properties"]["currentKubernetesVersion"], "1.36.3");
    assert_eq!(
        cluster["properties"]["agentPoolProfiles"][0]["currentOrchestratorVersion"],
        "1.35.4"
    );
    let upgrades = client
        .get("/agentPools/dbpool/upgradeProfiles/default")
        .await
        .json;
    assert_eq!(
        upgrades["properties"]["upgrades"].as_array().map(Vec::len),
        Some(2)
    );
}
