//! A client of the emulator's own router, with a token, and its answers.

use std::time::Duration;

use axum::body::Body;
use ferriswheel_azure_emulator::{Emulator, Seed};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::common;

pub(super) const VERSION: &str = "api-version=2026-08-01";

pub(super) struct Client {
    pub(super) router: axum::Router,
    token: String,
    pub(super) cluster: String,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) json: Value,
}

impl Answer {
    /// The code of an error, wrapped or flat.
    pub(super) fn code(&self) -> &str {
        self.json
            .pointer("/error/code")
            .or_else(|| self.json.get("code"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> &str {
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

    pub(super) async fn call(
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

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}?{VERSION}", self.cluster)
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, &self.url(path), None, &[]).await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, &self.url(path), Some(body), &[])
            .await
    }

    /// Follows Azure-AsyncOperation to its end and gives the status document.
    pub(super) async fn finish(&self, started: &Answer) -> Value {
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

pub(super) async fn read(response: axum::response::Response) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer {
        status: parts.status,
        headers: parts.headers,
        json,
    }
}

pub(super) async fn practice() -> (Client, Emulator, std::sync::Arc<common::InMemory>) {
    with(common::seed()).await
}

pub(super) async fn with(seed: Seed) -> (Client, Emulator, std::sync::Arc<common::InMemory>) {
    let (emulator, machines) = common::emulator(seed.clone()).await.unwrap();
    (Client::new(&emulator, &seed).await, emulator, machines)
}

pub(super) fn new_pool(count: u32) -> Value {
    json!({"properties": {"count": count, "vmSize": "Standard_D2s_v5", "mode": "User", "availabilityZones": ["2"]}})
}
