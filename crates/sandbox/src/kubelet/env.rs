//! The environment of a container, in the order in which later names win: image, Services, `envFrom`, `env`.

use super::fields::{self, Place};
use super::objects::Objects;
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, Service};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a container cannot be configured; the text is what its status shows.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvError {
    /// A ConfigMap or Secret, or a key of it, is not there.
    #[error("{0}")]
    Missing(String),
    /// The API server did not say.
    #[error("{0}")]
    Unread(String),
}

/// The variables that the pod adds to the image's.
pub(super) async fn variables(
    pod: &Pod,
    container: &Container,
    place: &Place,
    objects: &Objects,
    services: &[Arc<Service>],
) -> Result<BTreeMap<String, String>, EnvError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod
        .spec
        .as_ref()
        .and_then(|s| s.enable_service_links)
        .unwrap_or(true);
    let mut env = service_variables(namespace, links, services);

    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        if let Some(r) = &source.config_map_ref
            && let Some(map) = objects
                .config_map(namespace, &r.name, r.optional == Some(true))
                .await?
        {
            env.extend(
                map.data
                    .iter()
                    .flatten()
                    .map(|(k, v)| (format!("{prefix}{k}"), v.clone())),
            );
        }
        if let Some(r) = &source.secret_ref
            && let Some(secret) = objects
                .secret(namespace, &r.name, r.optional == Some(true))
                .await?
        {
            let text = |v: &k8s_openapi::ByteString| String::from_utf8_lossy(&v.0).into_owned();
            env.extend(
                secret
                    .data
                    .iter()
                    .flatten()
                    .map(|(k, v)| (format!("{prefix}{k}"), text(v))),
            );
        }
    }
    for var in container.env.iter().flatten() {
        let value = match &var.value_from {
            Some(source) => referred(pod, container, place, objects, source).await?,
            None => Some(fields::expand(
                var.value.as_deref().unwrap_or_default(),
                |name| env.get(name).cloned(),
            )),
        };
        if let Some(value) = value {
            env.insert(var.name.clone(), value);
        }
    }
    Ok(env)
}

async fn referred(
    pod: &Pod,
    container: &Container,
    place: &Place,
    objects: &Objects,
    source: &EnvVarSource,
) -> Result<Option<String>, EnvError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(r) = &source.field_ref {
        return fields::field(pod, place, &r.field_path)
            .map(Some)
            .ok_or_else(|| EnvError::Missing(format!("unsupported fieldPath: {}", r.field_path)));
    }
    if let Some(r) = &source.resource_field_ref {
        let named = |name: &String| {
            pod.spec
                .iter()
                .flat_map(|s| &s.containers)
                .find(|c| &c.name == name)
        };
        let of = r
            .container_name
            .as_ref()
            .filter(|n| !n.is_empty())
            .and_then(named)
            .unwrap_or(container);
        return fields::resource(of, place, r).map(Some).ok_or_else(|| {
            EnvError::Missing(format!("unsupported container resource: {}", r.resource))
        });
    }
    if let Some(r) = &source.config_map_key_ref {
        let optional = r.optional == Some(true);
        let map = objects.config_map(namespace, &r.name, optional).await?;
        let value = map.and_then(|m| m.data.as_ref().and_then(|d| d.get(&r.key).cloned()));
        return required(value, optional, || {
            format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                r.key, r.name
            )
        });
    }
    if let Some(r) = &source.secret_key_ref {
        let optional = r.optional == Some(true);
        let secret = objects.secret(namespace, &r.name, optional).await?;
        let value = secret.and_then(|m| {
            m.data.as_ref().and_then(|d| {
                d.get(&r.key)
                    .map(|v| String::from_utf8_lossy(&v.0).into_owned())
            })
        });
        return required(value, optional, || {
            format!(
                "couldn't find key {} in Secret {namespace}/{}",
                r.key, r.name
            )
        });
    }
    Err(EnvError::Missing(
        "unknown source of an environment variable".to_owned(),
    ))
}

fn required(
    value: Option<String>,
    optional: bool,
    missing: impl Fn() -> String,
) -> Result<Option<String>, EnvError> {
    if value.is_none() && !optional {
        Err(EnvError::Missing(missing()))
    } else {
        Ok(value)
    }
}

/// `KUBERNETES_SERVICE_HOST` and its kin for the API's Service, and for the namespace's own if links are wanted.
fn service_variables(
    namespace: &str,
    links: bool,
    services: &[Arc<Service>],
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for service in services {
        let (Some(name), Some(spec)) = (&service.metadata.name, &service.spec) else {
            continue;
        };
        let home = service.metadata.namespace.as_deref();
        let master = home == Some("default") && name == "kubernetes";
        let ip = spec
            .cluster_ip
            .as_deref()
            .filter(|ip| !ip.is_empty() && *ip != "None");
        let (Some(ip), Some(ports)) = (ip, &spec.ports) else {
            continue;
        };
        if !(master || links && home == Some(namespace)) || ports.is_empty() {
            continue;
        }
        let upper = name.to_uppercase().replace('-', "_");
        env.insert(format!("{upper}_SERVICE_HOST"), ip.to_owned());
        env.insert(format!("{upper}_SERVICE_PORT"), ports[0].port.to_string());
        for (index, port) in ports.iter().enumerate() {
            if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
                let port_name = port_name.to_uppercase().replace('-', "_");
                env.insert(
                    format!("{upper}_SERVICE_PORT_{port_name}"),
                    port.port.to_string(),
                );
            }
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{ip}:{}", protocol.to_lowercase(), port.port);
            if index == 0 {
                env.insert(format!("{upper}_PORT"), url.clone());
            }
            let base = format!("{upper}_PORT_{}_{protocol}", port.port);
            env.insert(format!("{base}_PROTO"), protocol.to_lowercase());
            env.insert(format!("{base}_PORT"), port.port.to_string());
            env.insert(format!("{base}_ADDR"), ip.to_owned());
            env.insert(base, url);
        }
    }
    env
}
