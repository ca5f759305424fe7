//! ConfigMaps and Secrets that pods of this node refer to.
//!
//! Read when a pod needs them, one object a request: what the Node authorizer allows a kubelet.

use super::cluster::{Cluster, call};
use super::env::EnvError;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

/// Reads ConfigMaps and Secrets.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub cluster: Arc<Cluster>,
}

impl Objects {
    /// A ConfigMap; none if it may be missing and is.
    pub(super) async fn config_map(
        &self,
        namespace: &str,
        name: &str,
        optional: bool,
    ) -> Result<Option<ConfigMap>, EnvError> {
        self.get(namespace, name, optional, "configmap").await
    }

    /// A Secret; none if it may be missing and is.
    pub(super) async fn secret(
        &self,
        namespace: &str,
        name: &str,
        optional: bool,
    ) -> Result<Option<Secret>, EnvError> {
        self.get(namespace, name, optional, "secret").await
    }

    async fn get<K>(
        &self,
        namespace: &str,
        name: &str,
        optional: bool,
        kind: &str,
    ) -> Result<Option<K>, EnvError>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.cluster.client(), namespace);
        match call(api.get_opt(name)).await {
            Ok(Some(object)) => Ok(Some(object)),
            Ok(None) if optional => Ok(None),
            Ok(None) => Err(EnvError::Missing(format!("{kind} {name:?} not found"))),
            Err(error) => Err(EnvError::Unread(format!(
                "get {kind} {namespace}/{name}: {error}"
            ))),
        }
    }
}
