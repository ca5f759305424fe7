//! What the run reads from Secrets.

use ferriswheel_plan::ids::ObjectRef;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::AskError;
use crate::kubernetes::find;
use crate::kubernetes::pods::value;

/// The name of a role, which is no secret.
pub async fn user_name(client: &kube::Client, secret: &ObjectRef) -> Result<String, AskError> {
    secret_key(client, secret, "username").await
}

/// The text under a key of a Secret.
pub(crate) async fn secret_key(
    client: &kube::Client,
    secret: &ObjectRef,
    key: &str,
) -> Result<String, AskError> {
    optional_secret_key(client, secret, key)
        .await?
        .ok_or_else(|| AskError::Absent {
            what: format!("key `{key}` of secret {secret}"),
        })
}

/// The text under a key of a Secret, if it has the key.
pub(crate) async fn optional_secret_key(
    client: &kube::Client,
    secret: &ObjectRef,
    key: &str,
) -> Result<Option<String>, AskError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &secret.namespace);
    let found = find(
        format!("read secret {secret}"),
        secrets.get_opt(&secret.name),
    )
    .await?
    .ok_or_else(|| AskError::Absent {
        what: format!("secret {secret}"),
    })?;
    Ok(value(&found, key))
}
