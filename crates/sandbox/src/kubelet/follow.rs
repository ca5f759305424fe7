//! Watches that survive a change of the client.

use super::cluster::Cluster;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};

/// Follows all objects that `api` and `config` name, for ever.
async fn follow<K>(
    cluster: Arc<Cluster>,
    api: impl Fn(Client) -> Api<K>,
    config: Config,
    mut handle: impl FnMut(Event<K>),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut generation = cluster.generation();
    loop {
        generation.borrow_and_update();
        let mut events = watcher(api(cluster.client()), config.clone())
            .default_backoff()
            .boxed();
        loop {
            tokio::select! {
                _ = generation.changed() => break,
                event = events.next() => match event {
                    Some(Ok(event)) => handle(event),
                    Some(Err(error)) => tracing::debug!(%error, "a watch was interrupted"),
                    None => break,
                },
            }
        }
    }
}

/// A pod of this node came, changed or went.
#[derive(Debug)]
pub(super) enum Change {
    Is(Box<Pod>),
    Gone(String),
    /// All that there are were named.
    Listed,
}

/// Follows the pods of a node; pods that went while nobody looked are found out.
pub(super) async fn pods(cluster: Arc<Cluster>, node: &str, mut handle: impl FnMut(Change)) {
    let config = Config::default().fields(&format!("spec.nodeName={node}"));
    let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    follow(cluster, Api::<Pod>::all, config, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(pod) => {
            listed.insert(uid(&pod));
            handle(Change::Is(Box::new(pod)));
        }
        Event::InitDone => {
            for gone in known.difference(&listed) {
                handle(Change::Gone(gone.clone()));
            }
            known = std::mem::take(&mut listed);
            handle(Change::Listed);
        }
        Event::Apply(pod) => {
            known.insert(uid(&pod));
            handle(Change::Is(Box::new(pod)));
        }
        Event::Delete(pod) => {
            let uid = uid(&pod);
            known.remove(&uid);
            // Its last state carries the grace period of a deletion by force.
            handle(Change::Is(Box::new(pod)));
            handle(Change::Gone(uid));
        }
    })
    .await;
}

/// All Services, for the variables that containers get.
#[derive(Debug, Default)]
pub(super) struct Services {
    known: RwLock<BTreeMap<String, Arc<Service>>>,
}

impl Services {
    /// Starts following.
    pub(super) fn start(cluster: Arc<Cluster>) -> Arc<Self> {
        let services = Arc::new(Self::default());
        let own = Arc::clone(&services);
        tokio::spawn(async move {
            let key = |s: &Service| {
                let text = |t: &Option<String>| t.clone().unwrap_or_default();
                format!("{}/{}", text(&s.metadata.namespace), text(&s.metadata.name))
            };
            let mut listed = BTreeMap::new();
            follow(cluster, Api::<Service>::all, Config::default(), |event| {
                let mut known = own.known.write().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Event::Init => listed = BTreeMap::new(),
                    Event::InitApply(service) => {
                        listed.insert(key(&service), Arc::new(service));
                    }
                    Event::InitDone => *known = std::mem::take(&mut listed),
                    Event::Apply(service) => {
                        known.insert(key(&service), Arc::new(service));
                    }
                    Event::Delete(service) => {
                        known.remove(&key(&service));
                    }
                }
            })
            .await;
        });
        services
    }

    /// The Services known now.
    pub(super) fn state(&self) -> Vec<Arc<Service>> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}
