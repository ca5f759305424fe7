//! Node agents: the kubelets of the sandbox.
//!
//! An agent is a client of the API server like any kubelet: it registers its Node, keeps the lease, watches the pods
//! bound to it, runs them with [`crate::runtime`] and reports. It lives in its node's namespaces; its death is the
//! node's.
//!
//! # Guarantees
//! * What the cluster can see happens with a kubelet's delays, not faster: see [`worker`](self) and `backoff`.
//! * An idle node does nothing but its heartbeat: watches, no polling.
//!
//! # Must not know
//! Anything of the machine's maker: pools, upgrades, disks beyond their directory and their VolumeAttachment.

mod action;
mod addresses;
mod backoff;
mod cluster;
pub mod config;
mod ending;
mod env;
mod events;
mod fields;
mod follow;
mod launch;
mod node;
mod objects;
mod preparing;
mod probes;
mod publish;
mod quantity;
mod recipe;
mod registry;
pub mod server;
mod serving;
mod slot;
mod starting;
mod status;
mod volumes;
mod worker;

pub use config::NodeConfig;

use crate::runtime::{Runtime, clear, ensure_bridge};
use addresses::Addresses;
use cluster::Cluster;
use events::Events;
use follow::{Change, Services};
use k8s_openapi::api::core::v1::Pod;
use objects::Objects;
use registry::Registry;
use server::Containers;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;
use volumes::Attachments;
use worker::Update;

/// The port of the agent's HTTPS server, a kubelet's.
pub const PORT: u16 = 10250;

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig is not usable.
    #[error("use the kubeconfig")]
    Kubeconfig(#[source] kube::Error),
    /// The pod range is not one.
    #[error("read the pod range {0:?}")]
    PodRange(String),
    /// The node's network or disk is not usable.
    #[error("ready the machine")]
    Machine(#[source] crate::runtime::Error),
    /// The machine's disk is not usable.
    #[error("ready the machine's disk")]
    Disk(#[source] std::io::Error),
    /// The certificates of the agent's server are not usable.
    #[error("serve logs, exec and port-forward")]
    Server(#[source] server::Error),
}

/// What all pods of a node share.
#[derive(Debug)]
struct Shared {
    config: Arc<NodeConfig>,
    cluster: Arc<Cluster>,
    runtime: Runtime,
    events: Events,
    registry: Arc<Registry>,
    addresses: Addresses,
    objects: Objects,
    services: Arc<Services>,
    attachments: Attachments,
    /// The agent's relists are counted from here.
    began: Instant,
}

/// Runs a node agent until `shutdown`. Its containers are not ended by it: that is the work of the node's PID 1, whose
/// end ends everything.
///
/// # Errors
/// The agent could not begin. Once it runs, it goes on whatever the API server does.
pub async fn run(config: NodeConfig, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let config = Arc::new(config);
    let addresses = Addresses::parse(&config.pod_cidr)
        .ok_or_else(|| Error::PodRange(config.pod_cidr.clone()))?;
    tokio::fs::create_dir_all(&config.root_dir)
        .await
        .map_err(Error::Disk)?;
    ensure_bridge(addresses.gateway(), addresses.prefix())
        .await
        .map_err(Error::Machine)?;
    let cluster = Cluster::connect(&config.kubeconfig)
        .await
        .map_err(Error::Kubeconfig)?;
    let runtime = Runtime {
        binary: config.ferriswheel_binary.clone(),
        root: config.root_dir.clone(),
    };
    clear(&runtime).await.map_err(Error::Machine)?;
    let shared = Arc::new(Shared {
        runtime,
        events: Events::start(Arc::clone(&cluster), config.node_name.clone()),
        registry: Arc::new(Registry::default()),
        addresses,
        objects: Objects::new(Arc::clone(&cluster)),
        services: Services::start(Arc::clone(&cluster)),
        attachments: Attachments::new(Arc::clone(&cluster), config.node_name.clone()),
        began: Instant::now(),
        cluster,
        config,
    });
    let identity = shared.config.server.clone();
    // On every address of the node's namespace, as a kubelet: loopback in it is the node's own.
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let containers: Arc<dyn Containers> = Arc::clone(&shared) as Arc<dyn Containers>;
    tokio::select! {
        () = work(Arc::clone(&shared)) => {}
        served = server::serve(address, &identity, containers) => served.map_err(Error::Server)?,
        () = shutdown => {}
    }
    Ok(())
}

async fn work(shared: Arc<Shared>) {
    let node = node::register(&shared.cluster, &shared.config).await;
    tracing::info!(node = shared.config.node_name, "registered");
    shared
        .events
        .node(&shared.config.node_name, "Starting", "Starting kubelet.");
    let heartbeat = tokio::spawn(node::heartbeat(
        Arc::clone(&shared.cluster),
        Arc::clone(&shared.config),
        node,
    ));
    let mut pods: BTreeMap<String, watch::Sender<Update>> = BTreeMap::new();
    let mut booting = true;
    let name = shared.config.node_name.clone();
    follow::pods(Arc::clone(&shared.cluster), &name, |change| match change {
        Change::Is(pod) => {
            let pod: Arc<Pod> = Arc::from(pod);
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let update = Update::Pod(pod);
            if let Some(known) = pods.get(&uid) {
                known.send_replace(update);
            } else {
                let (sender, receiver) = watch::channel(update);
                pods.insert(uid, sender);
                tokio::spawn(worker::run(Arc::clone(&shared), receiver));
            }
        }
        Change::Gone(uid) => {
            if let Some(known) = pods.remove(&uid) {
                let last = Arc::clone(known.borrow().pod());
                known.send_replace(Update::Gone(last));
            }
        }
        Change::Listed if booting => {
            booting = false;
            let here = pods
                .values()
                .map(|known| Arc::clone(known.borrow().pod()))
                .collect();
            tokio::spawn(detach_unused(Arc::clone(&shared), here));
        }
        Change::Listed => {}
    })
    .await;
    heartbeat.abort();
}

/// Tries until it works: a disk that is left attached here can be used nowhere else.
async fn detach_unused(shared: Arc<Shared>, pods: Vec<Arc<Pod>>) {
    loop {
        let done = async {
            let mut wanted = BTreeSet::new();
            for pod in &pods {
                wanted.extend(volumes::disks_of(&shared.objects, pod).await?);
            }
            shared.attachments.detach_unused(&wanted).await
        };
        match done.await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "unused disks not detached yet"),
        }
        tokio::time::sleep(worker::RETRY).await;
    }
}
