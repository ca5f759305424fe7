//! One hand-over by Ferriswheel: a spec, a plan, and its execution from outside or as a Job inside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Result, file, unexpected};
use crate::program::{self, Kubectl, until};
use crate::sandbox::Sandbox;
use crate::window::Window;

/// A plan of this cluster takes a second or two.
const PLAN: Duration = Duration::from_secs(60);

/// Agents, rehearsal, two checkpoints, the window, the old primary's return.
const APPLY: Duration = Duration::from_secs(180);

/// A plan that is ready to be carried out.
pub struct Prepared {
    plan: PathBuf,
    runs: PathBuf,
}

/// Plans what the spec says. The harness's own probe judges, so the plan has none.
///
/// # Errors
/// There is no plan.
pub async fn plan(sandbox: &Sandbox, round: &str, spec: &Value) -> Result<Prepared> {
    let directory = sandbox.work.join("rounds").join(round);
    let runs = directory.join("runs");
    std::fs::create_dir_all(&runs).map_err(file(&runs))?;
    let path = directory.join("spec.yaml");
    let plan = directory.join("plan.json");
    // Every JSON document is a YAML one.
    std::fs::write(&path, spec.to_string()).map_err(file(&path))?;
    let mut command = sandbox.ferriswheel();
    command
        .arg("plan")
        .arg(&path)
        .args(["--sandbox", &sandbox.name, "--out"])
        .arg(&plan);
    program::succeed(command, None, PLAN).await?;
    Ok(Prepared { plan, runs })
}

/// A hand-over of this database; to this member, or to whichever the plan chooses.
pub fn hand_over(sandbox: &Sandbox, to: Option<&str>, database: &Value) -> Value {
    let mut wish = json!({"probe": false, "soakSeconds": 0});
    if let Some(to) = to {
        wish["to"] = to.into();
    }
    spec(sandbox, &json!({"handOver": wish}), database)
}

/// Version of the sandbox's control plane, and of the machines after a wheel.
pub const TARGET: &str = "1.36.3";

/// The upgrade of the machines that carry this database.
pub fn wheel(sandbox: &Sandbox, database: &Value) -> Value {
    let strategy = json!({"ferrisWheel": {"probe": false}});
    let mut spec = spec(sandbox, &strategy, database);
    spec["spec"]["target"] = json!({"kubernetesVersion": TARGET});
    spec
}

fn spec(sandbox: &Sandbox, strategy: &Value, database: &Value) -> Value {
    json!({
        "apiVersion": "ferriswheel.dev/v1alpha1",
        "kind": "Upgrade",
        "metadata": {"name": "bench"},
        "spec": {
            "cluster": {
                "subscription": sandbox.arm.subscription_id,
                "resourceGroup": sandbox.arm.resource_group,
                "name": sandbox.arm.cluster,
            },
            "strategy": strategy,
            "databases": [database],
        },
    })
}

/// The spec that moves the primary of the PostgreSQL example to this member.
pub fn postgres(sandbox: &Sandbox, to: &str, pooled: bool) -> Value {
    let poolers: &[&str] = if pooled { &["db/pgbouncer"] } else { &[] };
    let database = json!({
        "name": "orders",
        "postgres": {
            "statefulSet": "db/pg",
            "poolers": poolers,
            "service": "db/pg-primary",
            "superuser": "db/pg-superuser",
            "application": "db/pg-application",
            "database": "app",
        },
    });
    hand_over(sandbox, Some(to), &database)
}

/// Carries the plan out on this machine, through port-forwards.
///
/// # Errors
/// It failed.
pub async fn apply(sandbox: &Sandbox, prepared: &Prepared) -> Result<()> {
    apply_within(sandbox, prepared, APPLY).await
}

/// The same, with another deadline.
///
/// # Errors
/// It failed.
pub async fn apply_within(sandbox: &Sandbox, prepared: &Prepared, limit: Duration) -> Result<()> {
    let mut command = sandbox.ferriswheel();
    command
        .env("FERRISWHEEL_RUNS", &prepared.runs)
        .arg("apply")
        .arg(&prepared.plan)
        .args(["--sandbox", &sandbox.name, "--yes"]);
    program::succeed(command, None, limit).await.map(drop)
}

/// Carries the plan out as `examples/in-cluster` does.
///
/// # Errors
/// The Job failed.
pub async fn apply_inside(
    sandbox: &Sandbox,
    kubectl: &Kubectl,
    repository: &Path,
    prepared: &Prepared,
) -> Result<()> {
    let azure = sandbox.work.join("azure.env");
    if !azure.exists() {
        let mut script =
            tokio::process::Command::new(repository.join("scripts/azure-for-sandbox.sh"));
        script.arg(sandbox.state().join("sandbox.json"));
        let text = program::succeed(script, None, program::CALL).await?;
        std::fs::write(&azure, text).map_err(file(&azure))?;
    }
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let (plan, azure, ca) = (
        path(&prepared.plan),
        path(&azure),
        path(&sandbox.arm.ca_file),
    );
    let up = kubectl.script(
        &repository.join("examples/in-cluster/up.sh"),
        &[&plan, &azure, &ca],
    );
    program::succeed(up, None, PLAN).await?;
    let done = until("the Job", APPLY, Duration::from_millis(300), async || {
        let job = kubectl.get("db", &["job/ferriswheel"]).await?;
        let is = |what: &str| {
            job["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|c| c["type"] == what && c["status"] == "True")
        };
        Ok(match (is("Complete"), is("Failed")) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        })
    })
    .await;
    let log = kubectl
        .call("db", &["logs", "--tail=15", "job/ferriswheel"])
        .await
        .unwrap_or_default();
    let delete = ["delete", "job/ferriswheel", "--wait"];
    kubectl.call_within("db", &delete, PLAN).await?;
    match done {
        Ok(true) => Ok(()),
        Ok(false) => Err(unexpected(format!("the Job failed: {}", log.trim()))),
        Err(error) => Err(error),
    }
}

/// The agent's record of the window, as `apply` kept it.
pub fn window(sandbox: &Sandbox, prepared: &Prepared) -> Option<Window> {
    // Outside in the directory of the round, inside on the claim's disk.
    let disks = sandbox.state().join("disks");
    let roots = std::iter::once(prepared.runs.clone()).chain(
        directories(&disks).into_iter().flat_map(|disk| {
            let mut within = directories(&disk);
            within.push(disk);
            within
        }),
    );
    let run = prepared.run()?;
    roots
        .map(|root| root.join(&run).join("window-orders.json"))
        .find_map(|path| Window::read(&std::fs::read(path).ok()?))
}

impl Prepared {
    /// Name of the run.
    fn run(&self) -> Option<String> {
        let plan: Value = serde_json::from_slice(&std::fs::read(&self.plan).ok()?).ok()?;
        Some(plan["id"].as_str()?.to_owned())
    }

    /// The record of the window of a shard that this member led, as `apply` on this machine kept it.
    pub fn record(&self, database: &str, leader: &str) -> Option<Vec<u8>> {
        let name = format!("window-{database}-{leader}.json");
        std::fs::read(self.runs.join(self.run()?).join(name)).ok()
    }
}

fn directories(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}
