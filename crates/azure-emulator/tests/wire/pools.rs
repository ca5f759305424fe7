//! Pools and their machines: made and deleted in the background.

use http::{Method, StatusCode};
use serde_json::json;

use super::client::{new_pool, practice};
use super::common;

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
