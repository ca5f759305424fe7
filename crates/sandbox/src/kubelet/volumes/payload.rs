//! What goes into a ConfigMap, Secret, downward or projected volume.

use super::atomic::{File, Payload};
use super::{Context, VolumeError};
use crate::kubelet::cluster::call;
use crate::kubelet::env::EnvError;
use crate::kubelet::fields;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccount,
    ServiceAccountTokenProjection, Volume,
};
use kube::api::{Api, PostParams};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// 0644: the default of every such volume.
const MODE: i32 = 0o644;
/// One hour: the default life of a projected token.
const TOKEN_LIFE: i64 = 3600;

/// Tokens held for a pod, by volume and path.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    held: BTreeMap<(String, String), Token>,
}

#[derive(Debug)]
struct Token {
    text: String,
    renew: Timestamp,
}

/// Gathers a volume's files; none for a volume of another kind.
pub(super) async fn gather(
    context: &Context<'_>,
    tokens: &mut Tokens,
    volume: &Volume,
) -> Result<Option<Payload>, VolumeError> {
    let mut payload = Payload::new();
    let namespace = context.namespace();
    if let Some(source) = &volume.config_map {
        let optional = source.optional == Some(true);
        let map = context
            .objects
            .config_map(namespace, &source.name, optional)
            .await?;
        let all = map.map(|m| config_map_keys(&m)).unwrap_or_default();
        select(
            &mut payload,
            &all,
            source.items.as_deref(),
            source.default_mode,
            optional,
            &source.name,
        )?;
    } else if let Some(source) = &volume.secret {
        let optional = source.optional == Some(true);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let secret = context.objects.secret(namespace, name, optional).await?;
        let all = secret.map(|s| secret_keys(&s)).unwrap_or_default();
        select(
            &mut payload,
            &all,
            source.items.as_deref(),
            source.default_mode,
            optional,
            name,
        )?;
    } else if let Some(source) = &volume.downward_api {
        downward(
            &mut payload,
            context,
            source.items.as_deref().unwrap_or_default(),
            source.default_mode,
        )?;
    } else if let Some(source) = &volume.projected {
        let mode = source.default_mode;
        for part in source.sources.iter().flatten() {
            if let Some(p) = &part.config_map {
                let optional = p.optional == Some(true);
                let map = context
                    .objects
                    .config_map(namespace, &p.name, optional)
                    .await?;
                let all = map.map(|m| config_map_keys(&m)).unwrap_or_default();
                select(
                    &mut payload,
                    &all,
                    p.items.as_deref(),
                    mode,
                    optional,
                    &p.name,
                )?;
            }
            if let Some(p) = &part.secret {
                let optional = p.optional == Some(true);
                let secret = context.objects.secret(namespace, &p.name, optional).await?;
                let all = secret.map(|s| secret_keys(&s)).unwrap_or_default();
                select(
                    &mut payload,
                    &all,
                    p.items.as_deref(),
                    mode,
                    optional,
                    &p.name,
                )?;
            }
            if let Some(p) = &part.downward_api {
                downward(
                    &mut payload,
                    context,
                    p.items.as_deref().unwrap_or_default(),
                    mode,
                )?;
            }
            if let Some(p) = &part.service_account_token {
                let text = token(context, tokens, &volume.name, p).await?;
                let uid = context.pod.spec.as_ref().and_then(one_user);
                // Readable by its user alone where the pod has one user; else by all in the container.
                let mode = if uid.is_some() {
                    0o600
                } else {
                    mode.unwrap_or(MODE)
                };
                payload.insert(PathBuf::from(&p.path), file(text.into_bytes(), mode, uid));
            }
        }
    } else {
        return Ok(None);
    }
    Ok(Some(payload))
}

fn one_user(spec: &k8s_openapi::api::core::v1::PodSpec) -> Option<u32> {
    let pod = spec.security_context.as_ref().and_then(|c| c.run_as_user);
    let of = |c: &k8s_openapi::api::core::v1::Container| {
        c.security_context
            .as_ref()
            .and_then(|s| s.run_as_user)
            .or(pod)
    };
    let mut users = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(of);
    let first = users.next()??;
    users
        .all(|u| u == Some(first))
        .then(|| u32::try_from(first).ok())?
}

fn file(content: Vec<u8>, mode: i32, uid: Option<u32>) -> File {
    File {
        content,
        mode: u32::try_from(mode).unwrap_or(0o644) & 0o777,
        uid,
    }
}

fn config_map_keys(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map
        .binary_data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()));
    text.chain(binary).collect()
}

fn secret_keys(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()))
        .collect()
}

fn select(
    payload: &mut Payload,
    all: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
    name: &str,
) -> Result<(), VolumeError> {
    let mode = default_mode.unwrap_or(MODE);
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        payload.extend(
            all.iter()
                .map(|(key, bytes)| (PathBuf::from(key), file(bytes.clone(), mode, None))),
        );
        return Ok(());
    };
    for item in items {
        match all.get(&item.key) {
            Some(bytes) => {
                payload.insert(
                    PathBuf::from(&item.path),
                    file(bytes.clone(), item.mode.unwrap_or(mode), None),
                );
            }
            None if optional => {}
            None => {
                return Err(EnvError::Missing(format!(
                    "{name:?} references non-existent key: {}",
                    item.key
                ))
                .into());
            }
        }
    }
    Ok(())
}

fn downward(
    payload: &mut Payload,
    context: &Context<'_>,
    items: &[DownwardAPIVolumeFile],
    mode: Option<i32>,
) -> Result<(), VolumeError> {
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(r), _) => fields::field(context.pod, context.place, &r.field_path),
            (None, Some(r)) => context
                .pod
                .spec
                .iter()
                .flat_map(|s| &s.containers)
                .find(|c| Some(&c.name) == r.container_name.as_ref())
                .and_then(|c| fields::resource(c, context.place, r)),
            (None, None) => None,
        };
        let text = text.ok_or_else(|| {
            EnvError::Missing(format!("unsupported downward API item {:?}", item.path))
        })?;
        payload.insert(
            PathBuf::from(&item.path),
            file(text.into_bytes(), item.mode.or(mode).unwrap_or(MODE), None),
        );
    }
    Ok(())
}

async fn token(
    context: &Context<'_>,
    tokens: &mut Tokens,
    volume: &str,
    projection: &ServiceAccountTokenProjection,
) -> Result<String, VolumeError> {
    let key = (volume.to_owned(), projection.path.clone());
    let now = Timestamp::now();
    if let Some(held) = tokens.held.get(&key).filter(|t| now < t.renew) {
        return Ok(held.text.clone());
    }
    let Pod { metadata, spec, .. } = context.pod;
    let account = spec
        .as_ref()
        .and_then(|s| s.service_account_name.as_deref())
        .unwrap_or("default");
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: projection.audience.clone().map(|a| vec![a]),
            expiration_seconds: Some(projection.expiration_seconds.unwrap_or(TOKEN_LIFE)),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: metadata.name.clone(),
                uid: metadata.uid.clone(),
            }),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> =
        Api::namespaced(context.objects.cluster.client(), context.namespace());
    let granted = call(api.create_token_request(account, &PostParams::default(), &request)).await;
    let granted = granted.map_err(|e| VolumeError::Setup(format!("failed to fetch token: {e}")))?;
    let status = granted.status.unwrap_or_default();
    let (Some(text), Some(expires)) = (status.token, status.expiration_timestamp) else {
        return Err(VolumeError::Setup(
            "failed to fetch token: empty answer".to_owned(),
        ));
    };
    // A kubelet renews when 80 % of the life is over.
    let life = expires.0.duration_since(now);
    let renew = now + SignedDuration::from_secs(life.as_secs() * 8 / 10);
    tokens.held.insert(
        key,
        Token {
            text: text.clone(),
            renew,
        },
    );
    Ok(text)
}
