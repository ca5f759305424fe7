//! The judge: started before the first disruption, asked for its verdict at the end.
//!
//! The probe shares no code with this crate; its interface is JSON over HTTP, and its certificate
//! is kept as it came.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed};
use ferriswheel_plan::ids::{DatabaseName, ObjectRef, PoolName};
use ferriswheel_plan::policy::{Controls, DatabaseSpec};
use http::StatusCode;
use serde_json::{Value, json};

use super::{ack, class, class_request, done, waiting};
use crate::http::{CallError, Endpoint};
use crate::kubernetes::pods::{CREDENTIALS, Home, Task};
use crate::kubernetes::read;
use crate::systems::{self, System};
use crate::world::{AskError, World};

/// Port of the probe inside its pod.
const PORT: u16 = 8080;
const TASK: &str = "probe";

/// What the probe is busy with before it writes.
const PROVING: &str = "the probe proves on servers of its own that it sees a loss and a stall";

/// Deadline of a short call.
const CALL: Duration = Duration::from_secs(10);

/// Deadline of the verdict: every key is looked up on every member, after each has caught up.
const VERDICT: Duration = Duration::from_secs(600);

/// File names of a database's certificate and timeline.
pub fn artifact_paths(directory: &Path, database: &DatabaseName) -> (PathBuf, PathBuf) {
    (
        directory.join(format!("certificate-{database}.json")),
        directory.join(format!("timeline-{database}.json")),
    )
}

pub(super) async fn observe_start(
    world: &World,
    database: &DatabaseName,
) -> Result<Observed, AskError> {
    let home = world.home(world.database(database)?.stateful_set());
    let Some(pod) = home.find(&world.outside.kube, TASK).await? else {
        return Ok(Observed::Ready);
    };
    if !read::is_ready(&pod) {
        return Ok(Observed::InFlight(waiting(
            home.pod(TASK),
            "the pod is not Ready",
            "its process answers",
        )));
    }
    let Some(probe) = world.endpoint(&home, TASK, PORT).await? else {
        return Ok(Observed::Ready);
    };
    let status: Value = match probe.get("/v1/status", CALL).await {
        Ok(status) => status,
        // Not started yet.
        Err(CallError::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        }) => return not_started(&home, &probe).await,
        Err(e) => return Err(e.into()),
    };
    let acked = status.get("acked").and_then(Value::as_u64).unwrap_or(0);
    Ok(if acked > 0 {
        done(format!("{acked} writes acknowledged so far"))
    } else {
        Observed::InFlight(waiting(
            home.pod(TASK),
            "no write was acknowledged yet",
            "the first one is",
        ))
    })
}

/// The probe does not write yet: it may be busy with its negative controls.
async fn not_started(home: &Home, probe: &Endpoint) -> Result<Observed, AskError> {
    match probe.get::<Value>("/v1/controls", CALL).await {
        Ok(controls) if are_running(&controls) => Ok(Observed::InFlight(waiting(
            home.pod(TASK),
            PROVING,
            "its negative controls have ended",
        ))),
        Ok(_)
        | Err(CallError::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        }) => Ok(Observed::Ready),
        Err(e) => Err(e.into()),
    }
}

fn are_running(controls: &Value) -> bool {
    controls.get("state").and_then(Value::as_str) == Some("running")
}

/// The negative controls, before the first write: they take the machine for some seconds, which
/// must not be measured. A run that may not end without them ends here, before it disrupts
/// anything, and not at its verdict.
async fn prove(probe: &Endpoint, wanted: Controls) -> Result<(), ActError> {
    if wanted == Controls::Never {
        return Ok(());
    }
    let seen: Value = probe
        .post("/v1/controls", &json!({}), CALL)
        .await
        .map_err(|e| class(e.into()))?;
    if are_running(&seen) {
        return Err(ActError::Retry {
            after: Duration::from_millis(250),
            cause: PROVING.to_owned(),
        });
    }
    let undetected: Vec<String> = seen
        .get("controls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|control| control.get("detected") != Some(&Value::Bool(true)))
        .map(|control| {
            let field = |name| control.get(name).and_then(Value::as_str);
            format!(
                "{}: {}",
                field("name").unwrap_or("a control"),
                field("not_run")
                    .or(field("observed"))
                    .unwrap_or("not detected")
            )
        })
        .collect();
    if wanted == Controls::Required && !undetected.is_empty() {
        return Err(ActError::AskHuman {
            code: "FW0307".to_owned(),
            cause: format!(
                "the probe did not prove that it can see a harm: {}",
                undetected.join("; ")
            ),
        });
    }
    Ok(())
}

pub(super) async fn start(
    world: &World,
    database: &DatabaseName,
    pools: &[PoolName],
) -> Result<Ack, ActError> {
    let spec = world.database(database).map_err(class)?;
    let system = systems::of(world, database).map_err(class)?;
    let home = world.home(spec.stateful_set());
    home.token_beside(&world.outside.kube, &system.probe_file())
        .await
        .map_err(class_request)?;
    let created = home
        .ensure(&world.outside.kube, &pod_task(system.as_ref()), pools)
        .await
        .map_err(class_request)?;
    let Some(probe) = world.endpoint(&home, TASK, PORT).await.map_err(class)? else {
        return Err(ActError::Retry {
            after: Duration::from_millis(500),
            cause: if created {
                "the probe was created".to_owned()
            } else {
                "the probe is not ready yet".to_owned()
            },
        });
    };
    prove(&probe, spec.controls).await?;
    let config = run_config(world, spec, system.as_ref())
        .await
        .map_err(class)?;
    let _: Value = probe
        .post("/v1/start", &config, CALL)
        .await
        .map_err(|e| class(e.into()))?;
    Ok(ack("the probe writes"))
}

fn pod_task(system: &dyn System) -> Task {
    Task {
        name: TASK,
        args: vec![
            "probe".to_owned(),
            "serve".to_owned(),
            format!("--listen=0.0.0.0:{PORT}"),
            format!("--config={CREDENTIALS}/run/probe.json"),
        ],
        port: PORT,
        ready_path: "/v1/healthz",
        secrets: system
            .application()
            .map(|secret| ("application".to_owned(), secret.name.clone()))
            .into_iter()
            .collect(),
    }
}

async fn run_config(
    world: &World,
    spec: &DatabaseSpec,
    system: &dyn System,
) -> Result<Value, AskError> {
    let mut config = system.probe_config().await?;
    config.extend([
        (
            "subject".to_owned(),
            json!(format!("{} ({})", spec.name, spec.stateful_set())),
        ),
        ("run".to_owned(), json!(run_identity(world))),
        (
            "controls_required".to_owned(),
            json!(spec.controls == Controls::Required),
        ),
        (
            "limits".to_owned(),
            json!({
                "write_stall_ms": spec.limits.write_stall.0,
                "acked_loss": spec.limits.acked_loss,
                "errors": spec.limits.errors.or_else(|| system.errors_allowed()),
            }),
        ),
    ]);
    Ok(json!({ "config": config }))
}

/// The probe's run has the plan's identity: a start that is repeated is the same start.
fn run_identity(world: &World) -> uuid::Uuid {
    let number = u64::from_str_radix(world.plan.id.as_str(), 16).unwrap_or(0);
    uuid::Uuid::from_u64_pair(number, 0)
}

/// Members with the names under which they find each other.
pub(crate) async fn member_hosts(
    world: &World,
    set_name: &ObjectRef,
) -> Result<Vec<(String, String)>, AskError> {
    let set = world.stateful_set(set_name).await?;
    let service = set.spec.service_name.clone().unwrap_or_default();
    Ok(world
        .members(set_name)
        .await?
        .iter()
        .map(|member| {
            let name = &member.pod.name;
            let namespace = &member.pod.namespace;
            (
                name.clone(),
                format!("{name}.{service}.{namespace}.svc.cluster.local"),
            )
        })
        .collect())
}

pub(super) fn observe_certify(
    world: &World,
    database: &DatabaseName,
) -> Result<Observed, AskError> {
    let (certificate, _) = artifact_paths(&world.outside.artifacts, database);
    let Ok(bytes) = std::fs::read(&certificate) else {
        return Ok(Observed::Ready);
    };
    let Ok(json) = serde_json::from_slice::<Value>(&bytes) else {
        return Ok(Observed::Ready);
    };
    Ok(Observed::Done(summary(&json)))
}

/// The certificate's figures, one a line.
fn summary(certificate: &Value) -> Evidence {
    const FIGURES: [&str; 7] = [
        "verdict",
        "acked",
        "acked_lost",
        "errors",
        "indeterminate",
        "longest_ack_gap_ms",
        "worst_latency_ms",
    ];
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let mut lines: Vec<String> = FIGURES
        .iter()
        .filter_map(|key| Some(format!("{key} {}", text(certificate.get(key)?))))
        .collect();
    // A cache promises nothing about what it holds.
    if let Some(cache) = certificate.get("cache") {
        lines.retain(|line| !line.ends_with(" null"));
        let field = |path: &str| Some(text(cache.pointer(path)?));
        let figures = [
            ("lowest_hit_rate", "/lowest/hit_rate"),
            ("bound", "/bound"),
            ("wrong_values", "/wrong_values"),
            ("most_loads_a_second", "/most_loads_a_second"),
        ];
        let figures = figures.map(|(name, path)| Some(format!("{name} {}", field(path)?)));
        lines.extend(figures.into_iter().flatten());
    }
    // Each part with a leader of its own.
    let shards = certificate.get("shards").and_then(Value::as_array);
    lines.extend(shards.into_iter().flatten().filter_map(|shard| {
        let field = |key: &str| shard.get(key).map(text);
        Some(format!(
            "shard {}: longest_ack_gap_ms {}, acked_lost {}",
            field("name")?,
            field("longest_ack_gap_ms")?,
            field("acked_lost")?
        ))
    }));
    Evidence(lines)
}

pub(super) async fn certify(world: &World, database: &DatabaseName) -> Result<Ack, ActError> {
    let spec = world.database(database).map_err(class)?;
    let port = systems::of(world, database).map_err(class)?.port();
    let home = world.home(spec.stateful_set());
    let probe = world
        .endpoint(&home, TASK, PORT)
        .await
        .map_err(class)?
        .ok_or_else(|| ActError::Retry {
            after: Duration::from_secs(1),
            cause: "the probe is not ready".to_owned(),
        })?;
    let members: Vec<Value> = member_hosts(world, spec.stateful_set())
        .await
        .map_err(class)?
        .into_iter()
        .map(|(name, host)| json!({"name": name, "host": host, "port": port}))
        .collect();
    let certificate: Value = probe
        .post(
            "/v1/finish",
            &json!({"members": members, "drop_table": true}),
            VERDICT,
        )
        .await
        .map_err(|e| class(e.into()))?;
    let timeline: Value = probe
        .get("/v1/timeline", CALL)
        .await
        .map_err(|e| class(e.into()))?;
    let (certificate_path, timeline_path) = artifact_paths(&world.outside.artifacts, database);
    store(&timeline_path, &timeline).map_err(class)?;
    // The certificate last: its presence means that both are there.
    store(&certificate_path, &certificate).map_err(class)?;
    clean_up(world, &home).await?;
    Ok(Ack {
        evidence: summary(&certificate),
    })
}

async fn clean_up(world: &World, home: &Home) -> Result<(), ActError> {
    home.remove(&world.outside.kube, &[TASK])
        .await
        .map_err(class_request)?;
    home.remove_token(&world.outside.kube)
        .await
        .map_err(class_request)
}

fn store(path: &Path, json: &Value) -> Result<(), AskError> {
    let fail = |source| AskError::File {
        path: path.to_owned(),
        source,
    };
    let bytes = serde_json::to_vec_pretty(json).map_err(|e| fail(std::io::Error::other(e)))?;
    let beside = path.with_extension("json.new");
    std::fs::write(&beside, bytes).map_err(fail)?;
    std::fs::rename(&beside, path).map_err(fail)
}
