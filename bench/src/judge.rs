//! The judge of every method alike: one `ferriswheel probe serve` in a pod, reached through a port-forward.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use ferriswheel_probe::certificate::{Certificate, Limits};
use ferriswheel_probe::config::{MemberAddress, RunConfig};
use ferriswheel_probe::run::{FinishRequest, Status};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Result, unexpected};
use crate::program::{Kubectl, until};

/// The namespace of the probe alone.
const NAMESPACE: &str = "bench";

/// A short question. 10 s: it goes through the API server, which a busy machine slows down.
const CALL: Duration = Duration::from_secs(10);

/// A start waits for the database (30 s), a finish for members that restart; each has a deadline of its own inside.
const LONG: Duration = Duration::from_secs(90);

/// Members that restart must have caught up by then to be looked at.
const MEMBERS: Duration = Duration::from_secs(30);

/// Writes go on for this long before the act and after the last sign of trouble.
const CALM: Duration = Duration::from_secs(2);

/// A gap of this length is a sign of trouble: two hundred times the usual one, and shorter than any pause between two
/// troubles of one hand-over that would be worth telling apart.
const TROUBLE_MS: f64 = 250.0;

/// Writes that have not come back by then have failed, and the round with them.
const BACK: Duration = Duration::from_secs(90);

/// The pod, and the way to it.
pub struct Judge {
    kubectl: Kubectl,
    token: String,
    http: reqwest::Client,
    forward: Option<(Child, u16)>,
}

impl Judge {
    /// Starts the pod. Its clients have this password, wherever they write.
    ///
    /// # Errors
    /// The pod does not come up.
    pub async fn start(kubectl: &Kubectl, password: &str) -> Result<Self> {
        let token = uuid::Uuid::new_v4().to_string();
        kubectl
            .apply("", &manifest(&token, password).to_string())
            .await?;
        kubectl
            .call_within(
                NAMESPACE,
                &[
                    "wait",
                    "--for=condition=Ready",
                    "pod/probe",
                    "--timeout=60s",
                ],
                Duration::from_secs(70),
            )
            .await?;
        Ok(Self {
            kubectl: kubectl.clone(),
            token,
            http: reqwest::Client::new(),
            forward: None,
        })
    }

    /// Lets these writers go and waits until they have written in peace for [`CALM`].
    ///
    /// # Errors
    /// The database does not take writes.
    pub async fn begin(&mut self, mut config: RunConfig) -> Result<()> {
        self.end_what_runs().await?;
        // Judged here, over all rounds, and not by the certificate of one.
        config.limits = Limits {
            write_stall_ms: 3_600_000,
            acked_loss: u64::MAX,
            errors: None,
        };
        let _: Status = self
            .post("/v1/start", &json!({ "config": config }), LONG)
            .await?;
        self.calm(CALM + Duration::from_secs(30)).await
    }

    /// Waits until writes have come back and went well for [`CALM`].
    ///
    /// # Errors
    /// They do not.
    pub async fn writes_are_back(&mut self) -> Result<()> {
        self.calm(BACK).await
    }

    async fn calm(&mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let mut since = Instant::now();
        let mut errors = None;
        let mut acked = 0;
        let mut shards = BTreeMap::new();
        loop {
            let status: Status = self.get("/v1/status", CALL).await?;
            // A shard that stands still shows in no other figure: the writers of the others go on.
            let quiet = errors == Some(status.errors)
                && status.acked > acked
                && status
                    .shard_gaps_ms
                    .iter()
                    .all(|(shard, gap)| *gap < TROUBLE_MS || shards.get(shard) == Some(gap))
                && status.current_gap_ms.is_some_and(|gap| gap < TROUBLE_MS);
            if !quiet {
                since = Instant::now();
            }
            errors = Some(status.errors);
            acked = status.acked;
            shards = status.shard_gaps_ms;
            if since.elapsed() >= CALM {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::Deadline {
                    what: format!(
                        "waiting for writes to go well ({})",
                        status.last_error.as_deref().unwrap_or("no error")
                    ),
                    limit,
                });
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops the writers and looks every write up; `cleared`: what they wrote is removed when all of it was found.
    ///
    /// # Errors
    /// The probe does not answer.
    pub async fn finish(
        &mut self,
        members: Vec<MemberAddress>,
        cleared: bool,
    ) -> Result<Certificate> {
        let mut request = FinishRequest::of(members);
        request.drop_table = cleared;
        request.deadline_ms = u64::try_from(MEMBERS.as_millis()).unwrap_or(u64::MAX);
        self.post("/v1/finish", &json!(request), LONG).await
    }

    async fn end_what_runs(&mut self) -> Result<()> {
        let status: Result<Status> = self.get("/v1/status", CALL).await;
        if status.is_ok_and(|status| status.state != "finished") {
            let mut request = FinishRequest::of(Vec::new());
            request.deadline_ms = 1_000;
            let _: Certificate = self.post("/v1/finish", &json!(request), LONG).await?;
        }
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str, limit: Duration) -> Result<T> {
        self.ask(path, None, limit).await
    }

    async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &Value,
        limit: Duration,
    ) -> Result<T> {
        self.ask(path, Some(body), limit).await
    }

    /// A port-forward that was lost is opened again, once: the calls can be repeated.
    async fn ask<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<T> {
        for last in [false, true] {
            let port = self.port().await?;
            let url = format!("http://127.0.0.1:{port}{path}");
            let request = match body {
                Some(body) => self.http.post(&url).json(body),
                None => self.http.get(&url),
            };
            let answer = match request.bearer_auth(&self.token).timeout(limit).send().await {
                Ok(answer) => answer,
                Err(error) if last => return Err(Error::Probe(format!("{path}: {error:?}"))),
                Err(_) => {
                    self.forward = None;
                    continue;
                }
            };
            let status = answer.status();
            let text = answer
                .text()
                .await
                .map_err(|e| Error::Probe(format!("{path}: {e}")))?;
            if !status.is_success() {
                return Err(Error::Probe(format!("{path}: {status} {text}")));
            }
            return serde_json::from_str(&text)
                .map_err(|e| Error::Probe(format!("{path}: {e} in {text}")));
        }
        Err(Error::Probe(path.to_owned()))
    }

    async fn port(&mut self) -> Result<u16> {
        if let Some((child, port)) = &mut self.forward
            && matches!(child.try_wait(), Ok(None))
        {
            return Ok(*port);
        }
        let failed = |why: String| Error::Probe(format!("port-forward: {why}"));
        let mut child = self
            .kubectl
            .command(NAMESPACE, &["port-forward", "pod/probe", ":8080"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| failed("no output".to_owned()))?;
        let mut lines = BufReader::new(stdout).lines();
        let port = timeout(CALL, async {
            while let Ok(Some(line)) = lines.next_line().await {
                let port = line
                    .strip_prefix("Forwarding from 127.0.0.1:")
                    .and_then(|rest| rest.split(' ').next()?.parse().ok());
                if let Some(port) = port {
                    return Ok(port);
                }
            }
            Err(failed("it ended".to_owned()))
        })
        .await
        .map_err(|_| failed("no answer".to_owned()))??;
        // Somebody must read what it says of each connection, or it stops at a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.forward = Some((child, port));
        Ok(port)
    }
}

fn manifest(token: &str, password: &str) -> Value {
    let config = json!({
        "token_file": "/etc/probe/token",
        "password_file": "/etc/probe/password",
    });
    json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "probe", "namespace": NAMESPACE},
                "stringData": {"token": token, "password": password, "probe.json": config.to_string()},
            },
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "probe", "namespace": NAMESPACE},
                "spec": {
                    "nodeSelector": {"kubernetes.azure.com/mode": "system"},
                    "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "probe",
                        "image": "ferriswheel:0.1.0",
                        "args": ["probe", "serve", "--listen=0.0.0.0:8080", "--config=/etc/probe/probe.json"],
                        "readinessProbe": {"httpGet": {"path": "/v1/healthz", "port": 8080}, "periodSeconds": 1},
                        "volumeMounts": [{"name": "probe", "mountPath": "/etc/probe", "readOnly": true}],
                    }],
                    "volumes": [{"name": "probe", "secret": {"secretName": "probe"}}],
                },
            },
        ],
    })
}

/// Waits until a Secret is there and gives one of its values.
///
/// # Errors
/// It is not there.
pub async fn secret(kubectl: &Kubectl, namespace: &str, name: &str, key: &str) -> Result<String> {
    until(
        &format!("secret {name}"),
        Duration::from_secs(10),
        Duration::from_millis(200),
        async || {
            let path = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
            let text = kubectl
                .call(namespace, &["get", "secret", name, "--output", &path])
                .await?;
            if text.is_empty() {
                return Err(unexpected(format!("secret {name} has no {key}")));
            }
            Ok(Some(text))
        },
    )
    .await
}
