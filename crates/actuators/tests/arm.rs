//! The ARM client against the emulator, over TLS, with tokens from azure_identity.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

#[path = "../../azure-emulator/tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Duration;

use ferriswheel_actuators::azure::{ArmClient, ArmError, ArmSettings, Class, Login};
use ferriswheel_azure_emulator::{Emulator, Fault, Seed};
use serde_json::{Value, json};

/// Longest wait for an operation of the emulator, whose pools are machines in memory.
const DEADLINE: Duration = Duration::from_secs(60);

struct Practice {
    arm: ArmClient,
    emulator: Emulator,
    machines: Arc<common::InMemory>,
    settings: ArmSettings,
    seed: Seed,
    _server: common::Served,
    _dir: tempfile::TempDir,
}

async fn practice() -> anyhow::Result<Practice> {
    with(common::seed()).await
}

async fn with(seed: Seed) -> anyhow::Result<Practice> {
    let dir = tempfile::tempdir()?;
    let (emulator, machines) = common::emulator(seed.clone()).await?;
    let server = common::serve(emulator.router(), dir.path()).await?;
    let ca = std::fs::read(&server.ca_file)?;
    let endpoint = server.endpoint();
    let login = Login::ServicePrincipal {
        tenant: seed.tenant_id.clone(),
        client_id: seed.client_id.clone(),
        client_secret: seed.client_secret.clone(),
        authority_host: Some(endpoint.clone()),
    };
    let settings = ArmSettings {
        endpoint: endpoint.clone(),
        scope: format!("{endpoint}/.default"),
        subscription: seed.subscription_id.clone(),
        resource_group: seed.resource_group.clone(),
        cluster: seed.cluster.clone(),
        extra_ca: Some(ca),
    };
    Ok(Practice {
        arm: ArmClient::new(settings.clone(), &login)?,
        emulator,
        machines,
        settings,
        seed,
        _server: server,
        _dir: dir,
    })
}

fn new_pool(count: u32) -> Value {
    json!({"properties": {"count": count, "vmSize": "Standard_D2s_v5", "mode": "User", "availabilityZones": ["3"]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_lives_from_creation_to_deletion() -> anyhow::Result<()> {
    let p = practice().await?;
    let cluster = p.arm.cluster().await?;
    assert_eq!(
        cluster.json["properties"]["currentKubernetesVersion"],
        "1.36.3"
    );
    assert!(cluster.etag.is_some());
    assert_eq!(p.arm.pools().await?.len(), 2);
    assert_eq!(p.arm.pool("dbz3").await?, None);

    p.arm.put_pool("dbz3", &new_pool(2), None, DEADLINE).await?;
    let pool = p.arm.pool("dbz3").await?.unwrap();
    assert_eq!(pool.json["properties"]["provisioningState"], "Succeeded");
    let mut more = pool.json.clone();
    more["properties"]["count"] = json!(3);
    p.arm
        .put_pool("dbz3", &more, pool.etag.as_deref(), DEADLINE)
        .await?;
    let machines = p.arm.machines("dbz3").await?;
    assert_eq!(machines.len(), 3);
    assert_eq!(machines[0]["zones"], json!(["3"]));

    let name = machines[0]["name"].as_str().unwrap();
    p.arm.delete_machines("dbz3", &[name], DEADLINE).await?;
    assert!(!p.machines.machines.lock().unwrap().contains_key(name));
    assert_eq!(p.arm.machines("dbz3").await?.len(), 2);
    p.arm.delete_pool("dbz3", DEADLINE).await?;
    assert_eq!(p.arm.pool("dbz3").await?, None);
    p.arm.delete_pool("dbz3", DEADLINE).await?;
    assert_eq!(p.machines.machines.lock().unwrap().len(), 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_write_is_refused_and_may_be_tried_after_reading_again() -> anyhow::Result<()> {
    let p = practice().await?;
    let pool = p.arm.pool("dbpool").await?.unwrap();
    let mut body = pool.json.clone();
    body["properties"]["nodeLabels"]["tier"] = json!("1");
    p.arm
        .put_pool("dbpool", &body, pool.etag.as_deref(), DEADLINE)
        .await?;
    body["properties"]["nodeLabels"]["tier"] = json!("2");
    let stale = p
        .arm
        .put_pool("dbpool", &body, pool.etag.as_deref(), DEADLINE)
        .await
        .unwrap_err();
    assert!(
        matches!(stale, ArmError::Refused { status: 412, .. }),
        "{stale}"
    );
    assert!(matches!(stale.class(), Class::Retry { .. }));
    let exists = p
        .arm
        .put_pool("dbpool", &body, None, DEADLINE)
        .await
        .unwrap_err();
    assert!(
        matches!(exists, ArmError::Refused { status: 412, .. }),
        "{exists}"
    );
    let labels = &p.arm.pool("dbpool").await?.unwrap().json["properties"]["nodeLabels"];
    assert_eq!(labels, &json!({"tier": "1", "workload": "database"}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_failures_and_refusals_are_told_apart() -> anyhow::Result<()> {
    let p = practice().await?;
    p.emulator.inject(Fault::Throttle {
        times: 1,
        retry_after_seconds: 2,
        method: Some("PUT".into()),
        path: None,
    });
    let throttled = p
        .arm
        .put_pool("dbz3", &new_pool(1), None, DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(throttled.code(), Some("Throttled"));
    let told = Duration::from_secs(2);
    assert_eq!(throttled.class(), Class::Retry { after: told });
    assert!(throttled.to_string().contains("(request "), "{throttled}");
    // Until then nothing is sent, whoever asks: ARM would have taken this one.
    let early = p
        .arm
        .put_pool("dbz3", &new_pool(1), None, DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(early.code(), Some("Throttled"));
    assert_eq!(p.arm.pool("dbz3").await?, None, "reads are counted apart");
    tokio::time::sleep(early.retry_after().unwrap()).await;

    // Polling that is throttled goes on; the operation that then fails says why.
    p.emulator.inject(Fault::Throttle {
        times: 1,
        retry_after_seconds: 1,
        method: None,
        path: Some("/operations/".into()),
    });
    p.emulator.inject(Fault::FailOperation {
        code: "ZonalAllocationFailed".into(),
        message: "zone 3 is full".into(),
        pool: None,
        after_machines: 0,
        times: 1,
    });
    let failed = p
        .arm
        .put_pool("dbz3", &new_pool(1), None, DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(failed.code(), Some("ZonalAllocationFailed"));
    assert_eq!(failed.class(), Class::Ask);
    assert!(failed.to_string().contains("zone 3 is full"), "{failed}");
    let pool = p.arm.pool("dbz3").await?.unwrap();
    assert_eq!(pool.json["properties"]["provisioningState"], "Failed");
    // The same put again recovers it.
    p.arm
        .put_pool("dbz3", &pool.json, pool.etag.as_deref(), DEADLINE)
        .await?;
    assert_eq!(p.arm.machines("dbz3").await?.len(), 1);

    let quota = p
        .arm
        .put_pool("huge", &new_pool(60), None, DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(
        (quota.code(), quota.class()),
        (Some("QuotaExceeded"), Class::Ask)
    );
    let size = json!({"properties": {"vmSize": "Standard_D4s_v5"}});
    let pool = p.arm.pool("dbz3").await?.unwrap();
    let fixed = p
        .arm
        .put_pool("dbz3", &size, pool.etag.as_deref(), DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(
        (fixed.code(), fixed.class()),
        (Some("PropertyChangeNotAllowed"), Class::Fatal)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_leaves_a_pool_that_a_look_finds() -> anyhow::Result<()> {
    let p = practice().await?;
    p.emulator.inject(Fault::LoseReply {
        times: 1,
        method: Some("PUT".into()),
        path: None,
    });
    let lost = p
        .arm
        .put_pool("dbz3", &new_pool(1), None, DEADLINE)
        .await
        .unwrap_err();
    assert!(matches!(lost.class(), Class::Retry { .. }), "{lost}");
    assert!(p.arm.pool("dbz3").await?.is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_outlasts_its_deadline_or_another_is_waited_for() -> anyhow::Result<()> {
    let mut seed = common::seed();
    seed.timings.allocate = Duration::from_secs(3600);
    let p = with(seed).await?;
    let slow = p
        .arm
        .put_pool("dbz3", &new_pool(1), None, Duration::from_millis(1500))
        .await
        .unwrap_err();
    assert!(matches!(slow, ArmError::OperationSlow { .. }), "{slow}");
    let pool = p.arm.pool("dbz3").await?.unwrap();
    let busy = p
        .arm
        .put_pool("dbz3", &pool.json, pool.etag.as_deref(), DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(busy.code(), Some("OperationNotAllowed"));
    assert!(matches!(busy.class(), Class::Wait { .. }));
    p.arm.abort_pool("dbz3", DEADLINE).await?;
    let pool = p.arm.pool("dbz3").await?.unwrap();
    assert_eq!(pool.json["properties"]["provisioningState"], "Canceled");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_is_upgraded_by_putting_the_cluster_back() -> anyhow::Result<()> {
    let mut seed = common::seed();
    seed.kubernetes_version = "1.35.4".into();
    for pool in &mut seed.pools {
        pool.kubernetes_version = "1.35.4".into();
    }
    let p = with(seed).await?;
    let upgrades = p.arm.cluster_upgrades().await?;
    let first = &upgrades["properties"]["controlPlaneProfile"]["upgrades"][0];
    assert_eq!(first["kubernetesVersion"], "1.36.2");
    let cluster = p.arm.cluster().await?;
    let mut body = cluster.json.clone();
    body["properties"]["kubernetesVersion"] = json!("1.36.3");
    p.arm
        .put_cluster(&body, cluster.etag.as_deref().unwrap(), DEADLINE)
        .await?;
    let cluster = p.arm.cluster().await?;
    assert_eq!(
        cluster.json["properties"]["currentKubernetesVersion"],
        "1.36.3"
    );
    let upgrades = p.arm.pool_upgrades("dbpool").await?;
    assert_eq!(
        upgrades["properties"]["upgrades"],
        json!([{"kubernetesVersion": "1.36.2"}, {"kubernetesVersion": "1.36.3"}])
    );
    let usages = p.arm.vcpu_usages("eastus").await?;
    assert_eq!(usages[0]["name"]["value"], "cores");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_and_an_unknown_authority_get_nowhere() -> anyhow::Result<()> {
    let p = practice().await?;
    let login = |secret: &str, authority: &str| Login::ServicePrincipal {
        tenant: p.seed.tenant_id.clone(),
        client_id: p.seed.client_id.clone(),
        client_secret: secret.to_owned(),
        authority_host: Some(authority.to_owned()),
    };
    let endpoint = p.settings.endpoint.clone();
    let refused = ArmClient::new(p.settings.clone(), &login("wrong-secret", &endpoint))?
        .cluster()
        .await
        .unwrap_err();
    assert!(matches!(refused, ArmError::Token(_)), "{refused}");
    let shown = format!("{refused:?}");
    assert!(!shown.contains("wrong-secret"), "{shown}");

    let mut untrusting = p.settings.clone();
    untrusting.extra_ca = None;
    let untrusted = ArmClient::new(untrusting, &login(&p.seed.client_secret, &endpoint))?
        .cluster()
        .await
        .unwrap_err();
    assert!(
        matches!(untrusted, ArmError::Token(_) | ArmError::Unreachable { .. }),
        "{untrusted}"
    );
    let plain = login(&p.seed.client_secret, "http://127.0.0.1:1");
    assert!(ArmClient::new(p.settings.clone(), &plain).is_err());
    Ok(())
}
