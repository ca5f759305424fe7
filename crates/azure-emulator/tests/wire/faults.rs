//! Operations that fail, are aborted or preempted; requests that are throttled or whose reply is lost.

use std::time::Duration;

use ferriswheel_azure_emulator::Fault;
use http::{Method, StatusCode};
use serde_json::json;

use super::client::{new_pool, practice, with};
use super::common;

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
