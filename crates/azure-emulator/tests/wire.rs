//! The wire protocol as a client meets it: long-running operations, eTags, refusals, limits and faults.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken assumption fails the test"
)]

mod common;

use std::time::Duration;

use axum::body::Body;
use ferriswheel_azure_emulator::{Emulator, Fault, Seed};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

const VERSION: &str = "api-version=2026-08-01";

struct Client {
    router: axum::Router,
    token: String,
    cluster: String,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

impl Answer {
    /// The code of an error, wrapped or flat.
    fn code(&self) -> &str {
        self.json
            .pointer("/error/code")
            .or_else(|| self.json.get("code"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl Client {
    async fn new(emulator: &Emulator, seed: &Seed) -> Self {
        let router = emulator.router();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fx%2F.default",
            seed.client_id, seed.client_secret
        );
        let request = Request::post(format!("/{}/oauth2/v2.0/token", seed.tenant_id))
            .body(Body::from(form))
            .unwrap();
        let answer = read(router.clone().oneshot(request).await.unwrap()).await;
        let token = answer.json["access_token"]
            .as_str()
            .expect("a token")
            .to_owned();
        Self {
            router,
            token,
            cluster: emulator.cluster_id(),
        }
    }

    async fn call(
        &self,
        method: Method,
        url: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header("host", "practice:443");
        request = request.header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |json| Body::from(json.to_string()));
        read(
            self.router
                .clone()
                .oneshot(request.body(body).unwrap())
                .await
                .unwrap(),
        )
        .await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}?{VERSION}", self.cluster)
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, &self.url(path), None, &[]).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, &self.url(path), Some(body), &[])
            .await
    }

    /// Follows Azure-AsyncOperation to its end and gives the status document.
    async fn finish(&self, started: &Answer) -> Value {
        let url = started.header("azure-asyncoperation").to_owned();
        let path = url
            .strip_prefix("https://practice:443")
            .expect("a URL of this host");
        // Virtual time would be ended by the tasks' own waits; a real one of some seconds is plenty.
        for _ in 0..600 {
            let answer = self.call(Method::GET, path, None, &[]).await;
            assert_eq!(answer.status, StatusCode::OK);
            if answer.json["status"] != "InProgress" {
                return answer.json;
            }
            assert_eq!(answer.header("retry-after"), "1");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the operation does not end");
    }
}

async fn read(response: axum::response::Response) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer {
        status: parts.status,
        headers: parts.headers,
        json,
    }
}

async fn practice() -> (Client, Emulator, std::sync::Arc<common::InMemory>) {
    with(common::seed()).await
}

async fn with(seed: Seed) -> (Client, Emulator, std::sync::Arc<common::InMemory>) {
    let (emulator, machines) = common::emulator(seed.clone()).await.unwrap();
    (Client::new(&emulator, &seed).await, emulator, machines)
}

fn new_pool(count: u32) -> Value {
    json!({"properties": {"count": count, "vmSize": "Standard_D2s_v5", "mode": "User", "availabilityZones": ["2"]}})
}

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
async fn a_pool_is_created_in_the_background_and_blocks_others_meanwhile() {
    let (client, _, machines) = practice().await;
    let created = client.put("/agentPools/dbz2", new_pool(2)).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.json["properties"]["provisioningState"], "Creating");
    assert_eq!(created.json["properties"]["orchestratorVersion"], "1.36.3");
    assert!(
        !created.header("retry-after").is_empty() && !created.header("x-ms-request-id").is_empty()
    );

    let second = client.put("/agentPools/dbz2", new_pool(3)).await;
    assert_eq!(
        (second.status, second.code()),
        (StatusCode::CONFLICT, "OperationNotAllowed")
    );
    let other = client.put("/agentPools/other", new_pool(0)).await;
    assert_eq!(
        other.status,
        StatusCode::CREATED,
        "pools do not stand in each other's way"
    );
    let cluster = client
        .put(
            "",
            json!({"location": "eastus", "tags": {"a": "b"}, "properties": {}}),
        )
        .await;
    assert_eq!(
        cluster.status,
        StatusCode::CONFLICT,
        "a pool's operation stands in the cluster's way"
    );

    // The operation's URL has an api-version of its own and is followed as it came.
    let url = created.header("azure-asyncoperation");
    let bent = url
        .replace("2018-07-31", "2026-08-01")
        .replace("https://practice:443", "");
    assert_eq!(
        client.call(Method::GET, &bent, None, &[]).await.status,
        StatusCode::BAD_REQUEST
    );

    assert_eq!(client.finish(&created).await["status"], "Succeeded");
    let pool = client.get("/agentPools/dbz2").await;
    assert_eq!(pool.json["properties"]["provisioningState"], "Succeeded");
    let specs: Vec<_> = machines
        .machines
        .lock()
        .unwrap()
        .values()
        .filter(|m| m.pool == "dbz2")
        .cloned()
        .collect();
    assert_eq!(specs.len(), 2);
    assert!(
        specs
            .iter()
            .all(|s| s.zone.as_deref() == Some("2") && s.kubernetes_version == "1.36.3")
    );
    assert_eq!(
        specs[0].labels["topology.disk.csi.azure.com/zone"],
        "eastus-2"
    );
    let listed = client.get("/agentPools/dbz2/machines").await;
    assert_eq!(listed.json["value"][0]["name"], specs[0].node_name.as_str());
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
async fn delete_machines_deletes_exactly_the_named_ones() {
    let (client, _, machines) = practice().await;
    let names: Vec<String> = machines
        .machines
        .lock()
        .unwrap()
        .values()
        .filter(|m| m.pool == "dbpool")
        .map(|m| m.node_name.clone())
        .collect();
    let url = client.url("/agentPools/dbpool/deleteMachines");
    let body = json!({"machineNames": [names[0], "no-such-machine"]});
    let answer = client.call(Method::POST, &url, Some(body), &[]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "all or none");
    assert_eq!(machines.machines.lock().unwrap().len(), 5);

    let started = client
        .call(
            Method::POST,
            &url,
            Some(json!({"machineNames": [names[0]]})),
            &[],
        )
        .await;
    assert_eq!(started.status, StatusCode::ACCEPTED);
    assert_eq!(
        client.get("/agentPools/dbpool").await.json["properties"]["provisioningState"],
        "DeletingMachines"
    );
    client.finish(&started).await;
    let location = started
        .header("location")
        .replace("https://practice:443", "");
    assert_eq!(
        client.call(Method::GET, &location, None, &[]).await.status,
        StatusCode::NO_CONTENT
    );
    let pool = client.get("/agentPools/dbpool").await.json;
    assert_eq!(
        (
            &pool["properties"]["count"],
            machines.machines.lock().unwrap().len()
        ),
        (&json!(2), 4)
    );

    let system: Vec<String> = machines
        .machines
        .lock()
        .unwrap()
        .values()
        .filter(|m| m.pool == "syspool")
        .map(|m| m.node_name.clone())
        .collect();
    let url = client.url("/agentPools/syspool/deleteMachines");
    let answer = client
        .call(
            Method::POST,
            &url,
            Some(json!({ "machineNames": system })),
            &[],
        )
        .await;
    assert_eq!(
        answer.code(),
        "InvalidParameter",
        "a System pool keeps a node"
    );
}

#[tokio::test]
async fn instance_names_are_never_used_again() {
    let (client, _, machines) = practice().await;
    let started = client.put("/agentPools/dbz2", new_pool(1)).await;
    client.finish(&started).await;
    let first = only(&machines, "dbz2");
    let body = json!({ "machineNames": [first] });
    let started = client
        .call(
            Method::POST,
            &client.url("/agentPools/dbz2/deleteMachines"),
            Some(body),
            &[],
        )
        .await;
    client.finish(&started).await;
    let started = client.put("/agentPools/dbz2", new_pool(1)).await;
    client.finish(&started).await;
    let second = only(&machines, "dbz2");
    assert!(second.ends_with("000001"), "{second}");
    let started = client
        .call(Method::DELETE, &client.url("/agentPools/dbz2"), None, &[])
        .await;
    assert_eq!(client.finish(&started).await["status"], "Succeeded");
    assert_eq!(
        client.get("/agentPools/dbz2").await.status,
        StatusCode::NOT_FOUND
    );
    let started = client.put("/agentPools/dbz2", new_pool(1)).await;
    client.finish(&started).await;
    assert_ne!(
        only(&machines, "dbz2"),
        first,
        "a pool made anew has another scale set"
    );
}

fn only(machines: &common::InMemory, pool: &str) -> String {
    let machines = machines.machines.lock().unwrap();
    let mut names = machines
        .values()
        .filter(|m| m.pool == pool)
        .map(|m| m.node_name.clone());
    let name = names.next().expect("one machine");
    assert_eq!(names.next(), None);
    name
}

#[tokio::test]
async fn an_operation_that_fails_leaves_the_pool_failed_until_the_same_is_put_again() {
    let (client, emulator, machines) = practice().await;
    emulator.inject(Fault::FailOperation {
        code: "AllocationFailed".into(),
        message: "no capacity in zone 2".into(),
        pool: Some("dbz2".into()),
        after_machines: 1,
        times: 1,
    });
    let started = client.put("/agentPools/dbz2", new_pool(3)).await;
    let status = client.finish(&started).await;
    assert_eq!(
        (&status["status"], &status["error"]["code"]),
        (&json!("Failed"), &json!("AllocationFailed"))
    );
    let pool = client.get("/agentPools/dbz2").await.json;
    assert_eq!(pool["properties"]["provisioningState"], "Failed");
    assert_eq!(
        pool["properties"]["status"]["provisioningError"]["message"],
        "no capacity in zone 2"
    );
    assert_eq!(
        machines.machines.lock().unwrap().len(),
        6,
        "one of three was created"
    );
    let again = client.put("/agentPools/dbz2", new_pool(3)).await;
    assert_eq!(client.finish(&again).await["status"], "Succeeded");
    assert_eq!(machines.machines.lock().unwrap().len(), 8);

    *machines.sold_out.lock().unwrap() = true;
    let started = client.put("/agentPools/dbz2", new_pool(4)).await;
    assert_eq!(
        client.finish(&started).await["error"]["code"],
        "ZonalAllocationFailed"
    );
}

#[tokio::test]
async fn faults_throttle_and_lose_replies() {
    let (client, _, _) = practice().await;
    let fault =
        json!({"fault": "throttle", "retryAfterSeconds": 7, "method": "PUT", "path": "agentpools"});
    assert_eq!(
        client
            .call(Method::POST, "/_faults", Some(fault), &[])
            .await
            .status,
        StatusCode::CREATED
    );
    let answer = client.put("/agentPools/dbz2", new_pool(1)).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::TOO_MANY_REQUESTS, "Throttled")
    );
    assert_eq!(answer.header("retry-after"), "7");
    assert_eq!(
        client.get("/agentPools/dbz2").await.status,
        StatusCode::NOT_FOUND,
        "nothing was done"
    );

    let fault = json!({"fault": "loseReply", "method": "PUT"});
    client
        .call(Method::POST, "/_faults", Some(fault), &[])
        .await;
    let answer = client.put("/agentPools/dbz2", new_pool(1)).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(
        client.get("/agentPools/dbz2").await.status,
        StatusCode::OK,
        "the request was carried out"
    );
    let unknown = client
        .call(
            Method::POST,
            "/_faults",
            Some(json!({"fault": "typo"})),
            &[],
        )
        .await;
    assert_eq!(unknown.code(), "InvalidFault");
}

#[tokio::test]
async fn the_put_bucket_of_aks_empties_after_twenty() {
    let (client, _, _) = practice().await;
    let current = client.get("/agentPools/dbpool").await.json;
    for _ in 0..20 {
        assert_eq!(
            client
                .put("/agentPools/dbpool", current.clone())
                .await
                .status,
            StatusCode::OK
        );
    }
    let answer = client.put("/agentPools/dbpool", current).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::TOO_MANY_REQUESTS, "Throttled")
    );
    assert_eq!(
        client.get("/agentPools").await.status,
        StatusCode::OK,
        "reading goes on"
    );
}

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

#[tokio::test]
async fn an_abort_stops_where_it_is_and_a_delete_preempts() {
    let mut seed = common::seed();
    seed.timings.allocate = Duration::from_secs(3600);
    let (client, _, machines) = with(seed).await;
    let started = client.put("/agentPools/dbz2", new_pool(2)).await;
    let aborted = client
        .call(
            Method::POST,
            &client.url("/agentPools/dbz2/abort"),
            None,
            &[],
        )
        .await;
    assert_eq!(aborted.status, StatusCode::ACCEPTED);
    assert_eq!(client.finish(&started).await["status"], "Canceled");
    assert_eq!(client.finish(&aborted).await["status"], "Succeeded");
    assert_eq!(
        client.get("/agentPools/dbz2").await.json["properties"]["provisioningState"],
        "Canceled"
    );
    let nothing = client
        .call(
            Method::POST,
            &client.url("/agentPools/dbz2/abort"),
            None,
            &[],
        )
        .await;
    assert_eq!(nothing.status, StatusCode::NO_CONTENT);

    let started = client.put("/agentPools/dbz2", new_pool(2)).await;
    let deleted = client
        .call(Method::DELETE, &client.url("/agentPools/dbz2"), None, &[])
        .await;
    assert_eq!(
        client.finish(&started).await["error"]["code"],
        "AKSOperationPreemptedByDelete"
    );
    assert_eq!(client.finish(&deleted).await["status"], "Succeeded");
    assert_eq!(machines.machines.lock().unwrap().len(), 5);
    let gone = client
        .call(Method::DELETE, &client.url("/agentPools/dbz2"), None, &[])
        .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
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
