//! Where the poolers lead, by their files before the window and by their consoles after it.

use std::time::Duration;

use ferriswheel_engine::actuator::ActError;
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::policy::PostgresSpec;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::databases::postgres::console::entries;
use crate::databases::postgres::pooler::Entry;
use crate::databases::postgres::session::{Credentials, Session};
use crate::dial::Target;
use crate::kubernetes::poolers::{PoolerPod, aim, names_pod};
use crate::kubernetes::{exec, request};
use crate::steps::class;
use crate::world::{AskError, LOOK, World};
/// A ConfigMap reaches running pods with the kubelet's next sync at the latest: a minute and a half,
/// and its cache.
const FILE_SYNC: Duration = Duration::from_secs(180);

/// A pod whose annotation changes is synced at once, with the ConfigMap that the kubelet's watch has
/// brought by then; where the watch was later, the next change brings it.
///
/// # Source
/// Kubernetes, "Mounted ConfigMaps are updated automatically": an annotation triggers a refresh.
const NUDGE: Duration = Duration::from_secs(3);

/// When the run last asked the kubelet to look at the pod's files.
const REFRESHED: &str = "ferriswheel.dev/refreshed-at";

/// Aims the poolers' configuration at another member and waits until every process would read it.
pub(super) async fn aim_poolers(
    world: &World,
    spec: &PostgresSpec,
    from: &ObjectRef,
    to: &ObjectRef,
) -> Result<(), ActError> {
    let poolers = world.poolers(spec).await.map_err(class)?;
    for pooler in &poolers {
        let Some(config) = &pooler.config else {
            return Err(ActError::AskHuman {
                code: "FW0304".to_owned(),
                cause: format!(
                    "{} has no configuration file from a ConfigMap that can change while it runs",
                    pooler.pod
                ),
            });
        };
        let maps: Api<ConfigMap> = Api::namespaced(world.kube(), &config.config_map.namespace);
        let map = request(
            format!("read {}", config.config_map),
            maps.get(&config.config_map.name),
        )
        .await
        .map_err(|e| class(e.into()))?;
        let file = map
            .data
            .as_ref()
            .and_then(|data| data.get(&config.key))
            .ok_or_else(|| ActError::Replan {
                expected: format!("key `{}` in {}", config.key, config.config_map),
                found: "no such key".to_owned(),
            })?;
        let (aimed, changed) = aim(file, &from.name, &to.name);
        if !changed.is_empty() {
            let patch = json!({
                "metadata": {"resourceVersion": map.resource_version()},
                "data": {&config.key: aimed},
            });
            request(
                format!("aim {} at {to}", config.config_map),
                maps.patch(
                    &config.config_map.name,
                    &PatchParams::default(),
                    &Patch::Merge(&patch),
                ),
            )
            .await
            .map_err(|e| class(e.into()))?;
        }
        wait_for_file(world, pooler, aimed.as_bytes()).await?;
    }
    Ok(())
}

pub(super) async fn wait_for_file(
    world: &World,
    pooler: &PoolerPod,
    wanted: &[u8],
) -> Result<(), ActError> {
    let Some(config) = &pooler.config else {
        return Ok(());
    };
    let end = Instant::now() + FILE_SYNC;
    let mut nudge_at = Instant::now();
    loop {
        // PgBouncer shows what it has read, never what its file says now: only the file does.
        let seen = exec::output(
            &world.outside.kube,
            &pooler.pod,
            &config.container,
            &["cat", &config.path],
            LOOK,
        )
        .await;
        match seen {
            Ok(bytes) if bytes == wanted => return Ok(()),
            _ if Instant::now() < end => {
                if nudge_at <= Instant::now() {
                    nudge_at = Instant::now() + NUDGE;
                    nudge(world, &pooler.pod).await.map_err(class)?;
                }
                sleep(Duration::from_millis(200)).await;
            }
            Ok(_) => {
                return Err(ActError::AskHuman {
                    code: "FW0305".to_owned(),
                    cause: format!(
                        "{} does not show the new configuration file after {} s",
                        pooler.pod,
                        FILE_SYNC.as_secs()
                    ),
                });
            }
            Err(e) => {
                return Err(ActError::Retry {
                    after: Duration::from_secs(1),
                    cause: e.to_string(),
                });
            }
        }
    }
}

/// Has the kubelet sync the pod now. The pod's template is not touched.
pub(super) async fn nudge(world: &World, pod: &ObjectRef) -> Result<(), AskError> {
    let pods: Api<Pod> = Api::namespaced(world.kube(), &pod.namespace);
    let patch =
        json!({"metadata": {"annotations": {REFRESHED: jiff::Timestamp::now().to_string()}}});
    request(
        format!("annotate {pod}"),
        pods.patch(&pod.name, &PatchParams::default(), &Patch::Merge(&patch)),
    )
    .await?;
    Ok(())
}

pub(super) async fn pooler_admin(
    world: &World,
    spec: &PostgresSpec,
) -> Result<Credentials, AskError> {
    world.pooler_admin(spec).await
}

pub(super) fn console(world: &World, pooler: &PoolerPod, admin: &Credentials) -> Session {
    Session::new(
        &pooler.pod.name,
        Target {
            pod: pooler.pod.clone(),
            ip: pooler.ip.clone(),
            port: pooler.port,
        },
        std::sync::Arc::clone(&world.outside.dial),
        admin.clone(),
        "pgbouncer",
    )
}

pub(super) async fn console_entries(
    world: &World,
    pooler: &PoolerPod,
    admin: &Credentials,
) -> Result<Vec<Entry>, AskError> {
    let session = console(world, pooler, admin);
    session.open(LOOK).await?;
    Ok(entries(&session, LOOK).await?)
}

/// The entry leads to one of the two and its clients wait.
pub(super) fn holds(entry: &Entry, from: &ObjectRef, to: &ObjectRef) -> bool {
    entry.paused
        && entry
            .host
            .as_deref()
            .is_some_and(|host| names_pod(host, &from.name) || names_pod(host, &to.name))
}
