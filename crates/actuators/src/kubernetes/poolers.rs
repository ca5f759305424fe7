//! Finding the processes of a pooler and the file that configures them.

use std::collections::BTreeMap;

use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::world::PoolerConfig;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{RequestError, find, request};

/// PgBouncer's port where the manifest names none.
const DEFAULT_PORT: u16 = 6432;

/// One pooler process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolerPod {
    /// The pod.
    pub pod: ObjectRef,
    /// Its address.
    pub ip: Option<String>,
    /// Port of clients and console.
    pub port: u16,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// Where its configuration comes from.
    pub config: Option<PoolerConfig>,
}

/// Running, not terminating pods of a Deployment or StatefulSet.
pub async fn of_workload(
    client: &kube::Client,
    workload: &ObjectRef,
) -> Result<Vec<PoolerPod>, RequestError> {
    let Some(selector) = selector(client, workload).await? else {
        return Ok(Vec::new());
    };
    let labels = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",");
    let pods: Api<Pod> = Api::namespaced(client.clone(), &workload.namespace);
    let list = request(
        format!("list the pods of {workload}"),
        pods.list(&ListParams::default().labels(&labels)),
    )
    .await?;
    Ok(list
        .items
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter(|pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running"))
        .map(pooler_pod)
        .collect())
}

async fn selector(
    client: &kube::Client,
    workload: &ObjectRef,
) -> Result<Option<BTreeMap<String, String>>, RequestError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &workload.namespace);
    let what = format!("read {workload}");
    if let Some(found) = find(&*what, deployments.get_opt(&workload.name)).await? {
        return Ok(found.spec.selector.match_labels);
    }
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &workload.namespace);
    Ok(find(&*what, sets.get_opt(&workload.name))
        .await?
        .and_then(|found| found.spec.selector.match_labels))
}

fn pooler_pod(pod: &Pod) -> PoolerPod {
    let namespace = pod.namespace().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let port = spec
        .containers
        .iter()
        .flat_map(|c| c.ports.iter().flatten())
        .find_map(|port| u16::try_from(port.container_port).ok())
        .unwrap_or(DEFAULT_PORT);
    PoolerPod {
        pod: ObjectRef::new(&namespace, pod.name_any()),
        ip: pod.status.as_ref().and_then(|s| s.pod_ip.clone()),
        port,
        labels: pod.labels().clone(),
        config: config(&namespace, &spec),
    }
}

/// The ConfigMap key that ends in `.ini` and is mounted as a directory. A `subPath` mount never
/// changes in a running pod, so it is not a usable configuration.
fn config(namespace: &str, spec: &PodSpec) -> Option<PoolerConfig> {
    let maps: BTreeMap<&str, &str> = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|v| Some((v.name.as_str(), v.config_map.as_ref()?.name.as_str())))
        .collect();
    let found = |container: &Container| {
        container.volume_mounts.iter().flatten().find_map(|mount| {
            let map = maps.get(mount.name.as_str())?;
            if mount.sub_path.is_some() {
                return None;
            }
            Some(PoolerConfig {
                config_map: ObjectRef::new(namespace, *map),
                key: "pgbouncer.ini".to_owned(),
                path: format!("{}/pgbouncer.ini", mount.mount_path.trim_end_matches('/')),
                container: container.name.clone(),
            })
        })
    };
    spec.containers.iter().find_map(found)
}

/// The file with every host of `[databases]` that names pod `old` aimed at pod `new`.
///
/// Everything else stays byte for byte. Returns the file and the entries that were changed.
pub fn aim(file: &str, old: &str, new: &str) -> (String, Vec<String>) {
    let mut out = String::with_capacity(file.len());
    let mut changed = Vec::new();
    let mut in_databases = false;
    for line in file.split_inclusive('\n') {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') {
            in_databases = trimmed.trim_end().eq_ignore_ascii_case("[databases]");
        }
        let comment = trimmed.starts_with(';') || trimmed.starts_with('#');
        match line.split_once('=') {
            Some((name, value)) if in_databases && !comment => {
                let aimed = aim_value(value, old, new);
                if aimed != value {
                    changed.push(name.trim().to_owned());
                }
                out.push_str(name);
                out.push('=');
                out.push_str(&aimed);
            }
            _ => out.push_str(line),
        }
    }
    (out, changed)
}

fn aim_value(value: &str, old: &str, new: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for word in value.split_inclusive(char::is_whitespace) {
        match word.strip_prefix("host=") {
            Some(host) => {
                out.push_str("host=");
                let quoted = host.strip_prefix('\'').unwrap_or(host);
                out.push_str(&host[..host.len() - quoted.len()]);
                let label_end = quoted
                    .find(|c: char| c == '.' || c == '\'' || c.is_whitespace())
                    .unwrap_or(quoted.len());
                if &quoted[..label_end] == old {
                    out.push_str(new);
                    out.push_str(&quoted[label_end..]);
                } else {
                    out.push_str(quoted);
                }
            }
            None => out.push_str(word),
        }
    }
    out
}

/// Whether a host names this pod of a set.
pub fn names_pod(host: &str, pod: &str) -> bool {
    host.split('.').next() == Some(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_the_old_primary_change() {
        let file = "; host=pg-0\n[databases]\napp = host=pg-0.pg.db.svc port=5432 dbname=app\n\
                    other = host=elsewhere port=5432\n quoted = host='pg-0.pg' dbname=x\n\
                    [pgbouncer]\nlisten_addr = host=pg-0\n";
        let (aimed, changed) = aim(file, "pg-0", "pg-1");
        assert_eq!(
            aimed,
            "; host=pg-0\n[databases]\napp = host=pg-1.pg.db.svc port=5432 dbname=app\n\
             other = host=elsewhere port=5432\n quoted = host='pg-1.pg' dbname=x\n\
             [pgbouncer]\nlisten_addr = host=pg-0\n"
        );
        assert_eq!(changed, ["app", "quoted"]);
        assert_eq!(aim(&aimed, "pg-1", "pg-0").0, file);
    }

    #[test]
    fn a_longer_name_is_another_pod() {
        let file = "[databases]\napp = host=pg-01 dbname=app\n";
        assert_eq!(aim(file, "pg-0", "pg-1").0, file);
    }
}
