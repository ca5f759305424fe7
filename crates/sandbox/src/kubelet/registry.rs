//! The pods that this node runs, for those who ask from outside: logs, exec, attach, port-forward.

use crate::runtime::Container;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// The newest run's log and the one before it (`kubectl logs --previous`): a kubelet keeps one dead container.
const KEPT_LOGS: usize = 2;

/// Pods by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pods: RwLock<BTreeMap<(String, String), Arc<Entry>>>,
}

/// One pod.
#[derive(Debug)]
pub(super) struct Entry {
    pub uid: String,
    pod: RwLock<Arc<Pod>>,
    containers: RwLock<BTreeMap<String, Instances>>,
    network: RwLock<Option<Network>>,
}

/// Where a pod's network is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    pub pause: i32,
}

/// The runs of one container.
#[derive(Clone, Debug, Default)]
pub(super) struct Instances {
    /// The newest, running or ended.
    pub current: Option<Arc<Container>>,
    /// Logs, oldest first; the last is the newest run's.
    pub logs: Vec<PathBuf>,
}

impl Registry {
    pub(super) fn add(&self, namespace: &str, name: &str, pod: Arc<Pod>) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            pod: RwLock::new(pod),
            containers: RwLock::default(),
            network: RwLock::default(),
        });
        let key = (namespace.to_owned(), name.to_owned());
        self.pods
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, Arc::clone(&entry));
        entry
    }

    /// Forgets a pod, unless another of the same name has taken its place.
    pub(super) fn remove(&self, namespace: &str, name: &str, uid: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut pods = self.pods.write().unwrap_or_else(PoisonError::into_inner);
        if pods.get(&key).is_some_and(|e| e.uid == uid) {
            pods.remove(&key);
        }
    }

    /// Every pod, by namespace and name.
    pub(super) fn pods(&self) -> Vec<Arc<Pod>> {
        let pods = self.pods.read().unwrap_or_else(PoisonError::into_inner);
        pods.values().map(|e| e.pod()).collect()
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.pods
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned()
    }
}

impl Entry {
    /// The pod as the API last had it.
    pub(super) fn pod(&self) -> Arc<Pod> {
        Arc::clone(&self.pod.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_pod(&self, pod: Arc<Pod>) {
        *self.pod.write().unwrap_or_else(PoisonError::into_inner) = pod;
    }

    /// Notes a new run. Gives back logs that are too old to be asked for.
    #[must_use]
    pub(super) fn started(&self, name: &str, container: Arc<Container>) -> Vec<PathBuf> {
        let mut all = self
            .containers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let instances = all.entry(name.to_owned()).or_default();
        instances.logs.push(container.spec.log_path.clone());
        instances.current = Some(container);
        let old = instances.logs.len().saturating_sub(KEPT_LOGS);
        instances.logs.drain(..old).collect()
    }

    pub(super) fn container(&self, name: &str) -> Option<Instances> {
        self.containers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    pub(super) fn set_network(&self, network: Option<Network>) {
        *self.network.write().unwrap_or_else(PoisonError::into_inner) = network;
    }

    pub(super) fn network(&self) -> Option<Network> {
        *self.network.read().unwrap_or_else(PoisonError::into_inner)
    }
}
