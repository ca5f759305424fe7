//! ConfigMaps and Secrets that pods of this node refer to.
//!
//! Read when a pod needs them, one object a request: what the Node authorizer allows a kubelet.
//!
//! # Guarantees
//! A pod that once had its objects starts again without the API server: what was last read serves while nothing newer
//! can be had, as a kubelet's own store of watched objects does.

use super::cluster::{CallError, Cluster, call};
use super::env::EnvError;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// 1 s: an API server that is there answers in milliseconds; a container's restart does not wait longer for one that
/// is not, if it can do without.
const PATIENCE: Duration = Duration::from_secs(1);
/// 10 s: for so long after a request without an answer, what is remembered is used without asking.
const QUIET: Duration = Duration::from_secs(10);

/// Reads ConfigMaps and Secrets.
#[derive(Debug)]
pub(super) struct Objects {
    pub cluster: Arc<Cluster>,
    config_maps: Store<ConfigMap>,
    secrets: Store<Secret>,
    silent: Mutex<Option<Instant>>,
}

type Store<K> = Mutex<BTreeMap<(String, String), Arc<K>>>;

impl Objects {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            config_maps: Mutex::default(),
            secrets: Mutex::default(),
            silent: Mutex::default(),
        }
    }

    /// A ConfigMap; none if it may be missing and is.
    pub(super) async fn config_map(
        &self,
        namespace: &str,
        name: &str,
        optional: bool,
    ) -> Result<Option<Arc<ConfigMap>>, EnvError> {
        self.get(&self.config_maps, namespace, name, optional, "configmap")
            .await
    }

    /// A Secret; none if it may be missing and is.
    pub(super) async fn secret(
        &self,
        namespace: &str,
        name: &str,
        optional: bool,
    ) -> Result<Option<Arc<Secret>>, EnvError> {
        self.get(&self.secrets, namespace, name, optional, "secret")
            .await
    }

    async fn get<K>(
        &self,
        store: &Store<K>,
        namespace: &str,
        name: &str,
        optional: bool,
        kind: &str,
    ) -> Result<Option<Arc<K>>, EnvError>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let key = (namespace.to_owned(), name.to_owned());
        let remembered = lock(store).get(&key).cloned();
        match self.ask::<K>(namespace, name, remembered.is_some()).await {
            Ok(Some(object)) => {
                let object = Arc::new(object);
                lock(store).insert(key, Arc::clone(&object));
                Ok(Some(object))
            }
            Ok(None) => {
                lock(store).remove(&key);
                let missing = || EnvError::Missing(format!("{kind} {name:?} not found"));
                if optional { Ok(None) } else { Err(missing()) }
            }
            Err(error) => match remembered {
                Some(object) => Ok(Some(object)),
                None => Err(EnvError::Unread(format!(
                    "get {kind} {namespace}/{name}: {error}"
                ))),
            },
        }
    }

    async fn ask<K>(
        &self,
        namespace: &str,
        name: &str,
        dispensable: bool,
    ) -> Result<Option<K>, CallError>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let quiet = lock(&self.silent).is_some_and(|since| since.elapsed() < QUIET);
        if dispensable && quiet {
            return Err(CallError::Deadline);
        }
        let api: Api<K> = Api::namespaced(self.cluster.client(), namespace);
        let asked = call(api.get_opt(name));
        let answer = if dispensable {
            tokio::time::timeout(PATIENCE, asked)
                .await
                .unwrap_or(Err(CallError::Deadline))
        } else {
            asked.await
        };
        *lock(&self.silent) = answer.is_err().then(Instant::now);
        answer
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
