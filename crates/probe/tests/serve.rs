//! A run's life through the HTTP interface, against a real server.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use ferriswheel_probe::controls::find_binaries;
use ferriswheel_probe::controls::server::Server;
use ferriswheel_probe::serve::{ServeConfig, router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const TOKEN: &str = "a-token-for-the-test";

struct Caller {
    router: Router,
    token: &'static str,
}

impl Caller {
    async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .body(body)
            .unwrap_or_else(|e| panic!("{e}"));
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .unwrap_or_else(|e| match e {});
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 16 << 20)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }
}

fn interface(home: &std::path::Path, token: &'static str) -> Caller {
    let token_file = home.join("token");
    std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap_or_else(|e| panic!("{e}"));
    let out = Some(home.join("out"));
    let config = ServeConfig {
        token_file,
        password_file: None,
        out,
        system: ferriswheel_probe::system::SystemKind::Postgres,
        postgres_bin: None,
        redis_bin: None,
        mongodb_bin: None,
        mariadb_bin: None,
        memcached_bin: None,
        kafka_dir: None,
        run: None,
    };
    Caller {
        router: router(config).unwrap_or_else(|e| panic!("{e}")),
        token,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_from_start_to_certificate() {
    let binaries = find_binaries(None).unwrap_or_else(|error| panic!("{error}"));
    let server = Server::create(&binaries).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let caller = interface(home.path(), TOKEN);
    let (status, _) = caller.call("GET", "/v1/status", Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let (status, _) = caller.call("GET", "/v1/controls", Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let controls = caller.ok("POST", "/v1/controls", Value::Null).await;
    assert_eq!(controls["state"], "running");

    let config = json!({
        "subject": "orders",
        "run": "0198d6f0-0000-7000-8000-000000000001",
        "dsn": Server::dsn(&[&server]),
        "limits": { "write_stall_ms": 60000 },
    });
    // Nothing is measured while servers are harmed on the same machine.
    let (status, _) = caller
        .call("POST", "/v1/start", json!({ "config": config }))
        .await;
    assert_eq!(status, StatusCode::CONFLICT);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(120);
    while caller.ok("GET", "/v1/controls", Value::Null).await["state"] == "running" {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let started = caller
        .ok("POST", "/v1/start", json!({ "config": config }))
        .await;
    assert_eq!(started["state"], "running");
    // Asked for again they are not repeated beside the run.
    let controls = caller.ok("POST", "/v1/controls", Value::Null).await;
    assert_eq!(controls["state"], "done");
    // The reply was lost and the caller asks again: the same run.
    let again = caller
        .ok("POST", "/v1/start", json!({ "config": config }))
        .await;
    assert_eq!(again["started"], started["started"]);
    let mut other = config.clone();
    other["run"] = json!("0198d6f0-0000-7000-8000-000000000002");
    let (status, _) = caller
        .call("POST", "/v1/start", json!({ "config": other }))
        .await;
    assert_eq!(status, StatusCode::CONFLICT);

    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let status = caller.ok("GET", "/v1/status", Value::Null).await;
        if status["acked"].as_u64().unwrap() > 100 {
            assert!(status["current_gap_ms"].is_number());
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status}");
    }
    let mark = caller
        .ok("POST", "/v1/mark", json!({ "name": "hand over" }))
        .await;
    assert_eq!(mark["name"], "hand over");

    let member = server.member("pg-0");
    let finish = json!({ "members": [member], "controls": [{
        "name": "freeze", "expected": "a gap", "observed": "a gap", "detected": true,
    }]});
    let certificate = caller.ok("POST", "/v1/finish", finish.clone()).await;
    assert_eq!(certificate["verdict"], "pass", "{}", certificate["reasons"]);
    assert_eq!(certificate["subject"], "orders");
    let controls = certificate["controls"].as_array().unwrap();
    assert_eq!(controls.len(), 2 + 1 + 3);
    assert!(
        controls.iter().all(|control| control["detected"] == true),
        "{controls:?}"
    );
    let server = controls[0]["server"].as_str().unwrap();
    assert!(server.contains("PostgreSQL"), "{server}");
    assert_eq!(caller.ok("POST", "/v1/finish", finish).await, certificate);
    assert_eq!(
        caller.ok("GET", "/v1/certificate", Value::Null).await,
        certificate
    );
    let timeline = caller.ok("GET", "/v1/timeline", Value::Null).await;
    assert_eq!(timeline["marks"][0]["name"], "hand over");
    let written = std::fs::read_to_string(home.path().join("out/certificate.json")).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&written).unwrap(),
        certificate
    );
}

#[tokio::test]
async fn without_the_token_nothing_but_health_is_told() {
    let home = tempfile::tempdir().unwrap();
    for token in ["wrong", ""] {
        let caller = interface(home.path(), token);
        for (method, path) in [
            ("GET", "/v1/status"),
            ("POST", "/v1/start"),
            ("POST", "/v1/finish"),
        ] {
            let (status, answer) = caller.call(method, path, Value::Null).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            assert!(answer["error"].is_string());
        }
        assert_eq!(
            caller.call("GET", "/v1/healthz", Value::Null).await.0,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn a_misspelt_or_impossible_run_is_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let caller = interface(home.path(), TOKEN);
    let misspelt = json!({ "config": { "dsn": "host=h", "writer": 3 } });
    let (status, answer) = caller.call("POST", "/v1/start", misspelt).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        answer["error"].as_str().unwrap().contains("writer"),
        "{answer}"
    );
    let password = json!({ "config": { "dsn": "postgres://u:hunter2@h/d" } });
    let (status, answer) = caller.call("POST", "/v1/start", password).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!answer.to_string().contains("hunter2"), "{answer}");
}

/// The pod is replaced in the middle of a run: the run goes on, and the certificate owns up.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_outlives_its_probe_is_inconclusive_and_accuses_nobody() {
    let binaries = find_binaries(None).unwrap_or_else(|error| panic!("{error}"));
    let server = Server::create(&binaries).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let start = json!({ "config": {
        "run": "0198d6f0-0000-7000-8000-000000000003",
        "dsn": Server::dsn(&[&server]),
        "limits": { "write_stall_ms": 60000 },
    }});
    for _ in 0..2 {
        let caller = interface(home.path(), TOKEN);
        caller.ok("POST", "/v1/start", start.clone()).await;
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while caller.ok("GET", "/v1/status", Value::Null).await["acked"].as_u64() < Some(50) {
            assert!(tokio::time::Instant::now() < deadline);
        }
    }
    let caller = interface(home.path(), TOKEN);
    caller.ok("POST", "/v1/start", start).await;
    let finish = json!({ "members": [server.member("a")] });
    while caller.ok("GET", "/v1/status", Value::Null).await["acked"].as_u64() == Some(0) {}
    let certificate = caller.ok("POST", "/v1/finish", finish).await;
    assert_eq!(certificate["verdict"], "inconclusive");
    assert_eq!(certificate["phantoms"], 0);
    let reason = certificate["reasons"][0].as_str().unwrap();
    assert!(
        reason.starts_with("2 earlier probe(s) of this run"),
        "{reason}"
    );
}
