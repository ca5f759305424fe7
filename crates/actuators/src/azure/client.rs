//! The client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::credentials::{Login, credential};
use super::ArmError;

/// The stable API that the fields read here belong to.
const API_VERSION: &str = "2026-08-01";

/// Deadline of one request.
const REQUEST: Duration = Duration::from_secs(60);

/// Time between two looks at an operation when ARM gives no hint.
const POLL: Duration = Duration::from_secs(5);

/// Which cluster, and where ARM is.
#[derive(Clone, Debug)]
pub struct ArmSettings {
    /// `https://management.azure.com` or another cloud's.
    pub endpoint: String,
    /// Scope of the tokens.
    pub scope: String,
    /// Subscription id.
    pub subscription: String,
    /// Resource group.
    pub resource_group: String,
    /// Cluster name.
    pub cluster: String,
    /// Further certificate authorities (PEM), for clouds with their own.
    pub extra_ca: Option<Vec<u8>>,
}

/// A resource as it came, with its eTag.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// JSON body.
    pub json: Value,
    /// eTag for a conditional write.
    pub etag: Option<String>,
}

/// A client for one managed cluster.
#[derive(Clone)]
pub struct ArmClient {
    http: reqwest::Client,
    credential: Arc<dyn TokenCredential>,
    settings: ArmSettings,
}

impl fmt::Debug for ArmClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArmClient")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

impl ArmClient {
    /// A client; nothing is called yet.
    pub fn new(settings: ArmSettings, login: &Login) -> Result<Self, ArmError> {
        let unreachable = |source| ArmError::Unreachable {
            what: "set up TLS".to_owned(),
            source,
        };
        let mut builder = reqwest::Client::builder().timeout(REQUEST);
        if let Some(pem) = &settings.extra_ca {
            for certificate in
                reqwest::Certificate::from_pem_bundle(pem).map_err(unreachable)?
            {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let http = builder.build().map_err(unreachable)?;
        Ok(Self {
            credential: credential(login, &http)?,
            http,
            settings,
        })
    }

    /// ARM id of the cluster.
    pub fn cluster_id(&self) -> String {
        let s = &self.settings;
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.ContainerService/managedClusters/{}",
            s.subscription, s.resource_group, s.cluster
        )
    }

    /// The managed cluster.
    pub async fn cluster(&self) -> Result<Resource, ArmError> {
        let path = self.cluster_id();
        let answer = self.get("read the cluster", &path).await?;
        Ok(resource(answer))
    }

    /// All pools of the cluster.
    pub async fn pools(&self) -> Result<Vec<Value>, ArmError> {
        let mut next = Some(self.url(&format!("{}/agentPools", self.cluster_id())));
        let mut pools = Vec::new();
        while let Some(url) = next {
            let answer = self
                .send("list the pools", Method::GET, &url, None, &[])
                .await?;
            if let Some(page) = answer.json.get("value").and_then(Value::as_array) {
                pools.extend(page.iter().cloned());
            }
            next = answer
                .json
                .get("nextLink")
                .and_then(Value::as_str)
                .filter(|link| !link.is_empty())
                .map(str::to_owned);
        }
        Ok(pools)
    }

    /// One pool; `None` if it does not exist.
    pub async fn pool(&self, name: &str) -> Result<Option<Resource>, ArmError> {
        let path = self.pool_id(name);
        match self.get(&format!("read pool {name}"), &path).await {
            Ok(answer) => Ok(Some(resource(answer))),
            Err(ArmError::Refused { status: 404, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Versions that a pool may be upgraded to.
    pub async fn pool_upgrades(&self, name: &str) -> Result<Value, ArmError> {
        let path = format!("{}/upgradeProfiles/default", self.pool_id(name));
        Ok(self
            .get(&format!("read the upgrades of pool {name}"), &path)
            .await?
            .json)
    }

    /// Machines of a pool.
    pub async fn machines(&self, name: &str) -> Result<Vec<Value>, ArmError> {
        let path = format!("{}/machines", self.pool_id(name));
        let answer = self
            .get(&format!("list the machines of pool {name}"), &path)
            .await?;
        Ok(answer
            .json
            .get("value")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default())
    }

    /// Creates or replaces a pool and waits for the operation. With an eTag the write fails if
    /// the pool changed since it was read; without one it fails if the pool exists.
    pub async fn put_pool(
        &self,
        name: &str,
        body: &Value,
        etag: Option<&str>,
        deadline: Duration,
    ) -> Result<(), ArmError> {
        let what = format!("put pool {name}");
        let url = self.url(&self.pool_id(name));
        let condition = match etag {
            Some(etag) => ("if-match", etag),
            None => ("if-none-match", "*"),
        };
        let answer = self
            .send(&what, Method::PUT, &url, Some(body), &[condition])
            .await?;
        self.finish(&what, answer, deadline).await
    }

    /// Deletes a pool and waits for the operation. An absent pool is a success.
    pub async fn delete_pool(&self, name: &str, deadline: Duration) -> Result<(), ArmError> {
        let what = format!("delete pool {name}");
        let url = self.url(&self.pool_id(name));
        match self.send(&what, Method::DELETE, &url, None, &[]).await {
            Ok(answer) => self.finish(&what, answer, deadline).await,
            Err(ArmError::Refused { status: 404, .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Deletes machines of a pool and waits for the operation.
    ///
    /// # Assumptions
    /// The caller has emptied them: ARM drains nothing here.
    pub async fn delete_machines(
        &self,
        pool: &str,
        machines: &[&str],
        deadline: Duration,
    ) -> Result<(), ArmError> {
        let what = format!("delete machines {} of pool {pool}", machines.join(", "));
        let url = self.url(&format!("{}/deleteMachines", self.pool_id(pool)));
        let body = json!({ "machineNames": machines });
        let answer = self
            .send(&what, Method::POST, &url, Some(&body), &[])
            .await?;
        self.finish(&what, answer, deadline).await
    }

    fn pool_id(&self, name: &str) -> String {
        format!("{}/agentPools/{name}", self.cluster_id())
    }

    fn url(&self, path: &str) -> String {
        format!(
            "{}{path}?api-version={API_VERSION}",
            self.settings.endpoint.trim_end_matches('/')
        )
    }

    async fn get(&self, what: &str, path: &str) -> Result<Answer, ArmError> {
        self.send(what, Method::GET, &self.url(path), None, &[])
            .await
    }

    async fn send(
        &self,
        what: &str,
        method: Method,
        url: &str,
        body: Option<&Value>,
        headers: &[(&'static str, &str)],
    ) -> Result<Answer, ArmError> {
        let token = self
            .credential
            .get_token(&[&self.settings.scope], None)
            .await
            .map_err(ArmError::Token)?;
        let mut request = self
            .http
            .request(method, url)
            .bearer_auth(token.token.secret());
        for (name, value) in headers {
            request = request.header(HeaderName::from_static(name), *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |source: reqwest::Error| ArmError::Unreachable {
            what: what.to_owned(),
            source: source.without_url(),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let headers = answer.headers().clone();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        let json: Value = if bytes.is_empty() {
            Value::Null
        } else {
            match serde_json::from_slice(&bytes) {
                Ok(json) => json,
                Err(_) if !status.is_success() => Value::Null,
                Err(e) => {
                    return Err(ArmError::Unreadable {
                        what: what.to_owned(),
                        why: e.to_string(),
                    });
                }
            }
        };
        if status.is_success() {
            return Ok(Answer {
                status,
                headers,
                json,
            });
        }
        let text = |pointer: &str| {
            json.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Err(ArmError::Refused {
            what: what.to_owned(),
            status: status.as_u16(),
            code: text("/error/code"),
            message: text("/error/message"),
            request_id: header(&headers, "x-ms-request-id").unwrap_or_default(),
            retry_after: retry_after(&headers),
        })
    }

    /// Follows a long-running operation to its end.
    ///
    /// # Source
    /// Resource Manager, "Track asynchronous operations": `Azure-AsyncOperation` if present, else
    /// `Location`; `Retry-After`; neither header on a success means that it is finished.
    async fn finish(&self, what: &str, answer: Answer, deadline: Duration) -> Result<(), ArmError> {
        let end = Instant::now() + deadline;
        let operation = header(&answer.headers, "azure-asyncoperation");
        let location = header(&answer.headers, "location");
        let mut wait = retry_after(&answer.headers).unwrap_or(POLL);
        let Some(url) = operation.clone().or(location) else {
            return Ok(());
        };
        debug_assert!(answer.status.is_success());
        loop {
            if Instant::now() + wait > end {
                return Err(ArmError::OperationSlow {
                    what: what.to_owned(),
                    after: deadline,
                });
            }
            sleep(wait).await;
            let answer = match self.send(what, Method::GET, &url, None, &[]).await {
                Ok(answer) => answer,
                Err(e) => match e.retry_after() {
                    Some(after) => {
                        wait = after;
                        continue;
                    }
                    None => return Err(e),
                },
            };
            wait = retry_after(&answer.headers).unwrap_or(POLL);
            if operation.is_some() {
                match answer.json.get("status").and_then(Value::as_str) {
                    Some("Succeeded") => return Ok(()),
                    Some(status @ ("Failed" | "Canceled")) => {
                        return Err(failed(what, status, &answer.json));
                    }
                    _ => {}
                }
            } else if answer.status != StatusCode::ACCEPTED {
                return Ok(());
            }
        }
    }
}

fn failed(what: &str, status: &str, json: &Value) -> ArmError {
    let text = |pointer: &str| {
        json.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    ArmError::OperationFailed {
        what: what.to_owned(),
        status: status.to_owned(),
        code: text("/error/code"),
        message: text("/error/message"),
    }
}

fn resource(answer: Answer) -> Resource {
    let etag = answer
        .json
        .pointer("/properties/eTag")
        .or_else(|| answer.json.get("eTag"))
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or_else(|| header(&answer.headers, "etag"));
    Resource {
        json: answer.json,
        etag,
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    header(headers, "retry-after")?
        .parse()
        .ok()
        .map(Duration::from_secs)
}
