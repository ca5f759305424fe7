//! What is answered at once: tokens and API versions, eTags, refusals, and what is only read.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::client::{VERSION, new_pool, practice, read};

#[tokio::test]
async fn a_request_needs_a_token_and_an_api_version() {
    let (client, _, _) = practice().await;
    let bare = Request::get(client.url("")).body(Body::empty()).unwrap();
    let answer = read(client.router.clone().oneshot(bare).await.unwrap()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNAUTHORIZED, "AuthenticationFailed")
    );
    let answer = client
        .call(Method::GET, &client.cluster.clone(), None, &[])
        .await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::BAD_REQUEST, "MissingApiVersionParameter")
    );
    let answer = client
        .call(
            Method::GET,
            &format!("{}?api-version=2031-01-01", client.cluster),
            None,
            &[],
        )
        .await;
    assert_eq!(answer.code(), "NoRegisteredProviderFound");
    let lower = format!("{}?{VERSION}", client.cluster.to_lowercase());
    assert_eq!(
        client.call(Method::GET, &lower, None, &[]).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn an_etag_that_is_stale_is_refused() {
    let (client, _, _) = practice().await;
    let pool = client.get("/agentPools/dbpool").await.json;
    let url = client.url("/agentPools/dbpool");
    let mut body = pool.clone();
    body["properties"]["nodeLabels"]["tier"] = json!("1");
    let etag = pool["properties"]["eTag"].as_str().unwrap().to_owned();
    let updated = client
        .call(
            Method::PUT,
            &url,
            Some(body.clone()),
            &[("if-match", &etag)],
        )
        .await;
    assert_eq!(
        (
            updated.status,
            &updated.json["properties"]["provisioningState"]
        ),
        (StatusCode::OK, &json!("Updating"))
    );
    client.finish(&updated).await;
    let stale = client
        .call(
            Method::PUT,
            &url,
            Some(body.clone()),
            &[("if-match", &etag)],
        )
        .await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    let exists = client
        .call(
            Method::PUT,
            &url,
            Some(body.clone()),
            &[("if-none-match", "*")],
        )
        .await;
    assert_eq!(exists.status, StatusCode::PRECONDITION_FAILED);
    let absent = client.url("/agentPools/absent");
    let absent = client
        .call(
            Method::PUT,
            &absent,
            Some(new_pool(1)),
            &[("if-match", &etag)],
        )
        .await;
    assert_eq!(absent.status, StatusCode::PRECONDITION_FAILED);

    // The same resource put back as it is: nothing to do, no operation.
    let current = client.get("/agentPools/dbpool").await.json;
    let same = client.put("/agentPools/dbpool", current).await;
    assert_eq!(
        (same.status, same.header("azure-asyncoperation")),
        (StatusCode::OK, "")
    );
}

#[tokio::test]
async fn what_aks_refuses_is_refused_before_anything_changes() {
    let (client, _, machines) = practice().await;
    let before = machines.machines.lock().unwrap().clone();
    let with = |key: &str, value: Value| {
        let mut body = new_pool(1);
        body["properties"][key] = value;
        body
    };
    let cases = [
        ("Bad-Name", new_pool(1), "InvalidParameter"),
        ("thirteenchars", new_pool(1), "InvalidParameter"),
        ("db2", with("vmSize", json!("Standard_Z9")), "BadRequest"),
        (
            "db2",
            with("availabilityZones", json!(["4"])),
            "AvailabilityZoneNotSupported",
        ),
        (
            "db2",
            with("orchestratorVersion", json!("1.37.1")),
            "NodePoolMcVersionIncompatible",
        ),
        (
            "db2",
            with("orchestratorVersion", json!("1.32.1")),
            "NodePoolMcVersionIncompatible",
        ),
        (
            "db2",
            with("orchestratorVersion", json!("1.35.99")),
            "AgentPoolK8sVersionNotSupported",
        ),
        (
            "db2",
            with("nodeLabels", json!({"kubernetes.azure.com/mode": "system"})),
            "InvalidParameter",
        ),
        (
            "db2",
            with("nodeTaints", json!(["a=b:Never"])),
            "InvalidParameter",
        ),
        ("db2", with("maxPods", json!(5)), "InvalidParameter"),
        ("db2", with("count", json!(60)), "QuotaExceeded"),
        (
            "db2",
            with("upgradeSettings", json!({"drainTimeoutInMinutes": 4})),
            "InvalidParameter",
        ),
        (
            "db2",
            with(
                "upgradeSettings",
                json!({"maxSurge": "0", "maxUnavailable": "0"}),
            ),
            "InvalidParameter",
        ),
        (
            "db2",
            json!({"properties": {"count": 0, "mode": "System", "vmSize": "Standard_D2s_v5"}}),
            "InvalidParameter",
        ),
        (
            "dbpool",
            with("vmSize", json!("Standard_D4s_v5")),
            "PropertyChangeNotAllowed",
        ),
        (
            "dbpool",
            json!({"properties": {"orchestratorVersion": "1.36.3"}}),
            "NotSupportedByEmulator",
        ),
        (
            "dbpool",
            json!({"properties": {"orchestratorVersion": "1.34.8"}}),
            "OperationNotAllowed",
        ),
        (
            "syspool",
            json!({"properties": {"mode": "User"}}),
            "BadRequest",
        ),
        (
            "syspool",
            json!({"properties": {"count": 0}}),
            "InvalidParameter",
        ),
    ];
    for (name, body, code) in cases {
        let answer = client
            .put(&format!("/agentPools/{name}"), body.clone())
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::BAD_REQUEST, code),
            "{name} {body}"
        );
    }
    let url = client.url("/agentPools/syspool");
    assert_eq!(
        client.call(Method::DELETE, &url, None, &[]).await.code(),
        "BadRequest"
    );
    assert_eq!(*machines.machines.lock().unwrap(), before);
    assert_eq!(
        client.get("/agentPools").await.json["value"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[tokio::test]
async fn versions_and_quota_of_the_region_are_read() {
    let (client, _, _) = practice().await;
    let root = client
        .cluster
        .split("/resourceGroups/")
        .next()
        .unwrap()
        .to_owned();
    let versions = format!(
        "{root}/providers/Microsoft.ContainerService/locations/eastus/kubernetesVersions?{VERSION}"
    );
    let versions = client.call(Method::GET, &versions, None, &[]).await.json;
    assert_eq!(
        versions["values"][1]["patchVersions"]["1.35.4"]["upgrades"],
        json!(["1.36.2", "1.36.3"])
    );
    let usages = format!(
        "{root}/providers/Microsoft.Compute/locations/eastus/usages?api-version=2026-04-01"
    );
    let usages = client.call(Method::GET, &usages, None, &[]).await.json;
    assert_eq!(
        (
            &usages["value"][0]["name"]["value"],
            &usages["value"][0]["currentValue"]
        ),
        (&json!("cores"), &json!(10))
    );
    let latest = client.put("/agentPools/dbz2", new_pool(1)).await;
    client.finish(&latest).await;
    let url = format!(
        "{}/agentPools/dbz2/operations/latest?api-version=2026-07-02-preview",
        client.cluster
    );
    assert_eq!(
        client.call(Method::GET, &url, None, &[]).await.json["percentComplete"],
        100
    );
}
