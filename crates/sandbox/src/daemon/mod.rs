//! The process inside the sandbox that holds everything together: control plane, machines, disks, the Azure emulator
//! and the control socket.

mod addons;
mod boot;
mod components;
mod control;
mod control_plane;
mod disks;
mod doors;
mod machines;
mod progress;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferriswheel_azure_emulator::{
    Emulator, MachineError, Mode, PoolSeed, Seed, SeedError, SystemClock, Taint,
};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use crate::binaries::{Binaries, KUBERNETES_VERSION};
use crate::certificates::{self, Authority};
use crate::network;
use crate::pools::Pool;
use crate::state::{ArmFile, StateDir, write};

pub use components::Running;
pub use control::Status;
pub(crate) use control::{Outage, Request, Response, socket_path};
pub use disks::ATTACH_DELAY;
pub use machines::{MachineStatus, Power};
use progress::Progress;
pub(crate) use progress::{Line, Ready};

/// Written by `sandbox up`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DaemonConfig {
    /// Name of the sandbox.
    pub(crate) name: String,
    /// Its directory.
    pub(crate) state: PathBuf,
    /// The program that plays the roles.
    pub(crate) binary: PathBuf,
    /// Programs of the control plane.
    pub(crate) binaries: Binaries,
    /// Node pools.
    pub(crate) pools: Vec<Pool>,
    /// Longest wait for the nodes.
    pub(crate) ready_within: Duration,
    /// Attach delay of disks.
    pub(crate) attach_delay: Duration,
    /// What the Azure emulator leaves to chance.
    pub(crate) seed: u64,
}

/// The sandbox did not start.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("read the configuration of the sandbox")]
    Config(#[source] io::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    #[error(transparent)]
    Doors(#[from] doors::Error),
    #[error("make the keys of the Azure endpoint")]
    Certificate(#[from] certificates::Error),
    #[error(transparent)]
    Addons(#[from] addons::Error),
    #[error("describe the cluster to the Azure emulator")]
    Seed(#[from] SeedError),
    #[error("start the machines")]
    Machines(#[from] MachineError),
    #[error("open the control socket")]
    Control(#[source] io::Error),
    #[error("write the files of the sandbox")]
    Io(#[from] io::Error),
    #[error("see {wanted} Ready nodes within {} s; {ready} are", within.as_secs())]
    Nodes {
        wanted: usize,
        ready: usize,
        within: Duration,
    },
}

/// Runs a sandbox until it is ended.
pub(crate) async fn run(file: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let text = std::fs::read(file).map_err(Error::Config)?;
    let config: DaemonConfig = serde_json::from_slice(&text)?;
    let state = StateDir::at(&config.state, &config.name);
    let progress = Progress::open(&state)?;
    match start(config, &state, &progress).await {
        Ok(_kept) => {
            let mut terminate =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            terminate.recv().await;
            tracing::info!("asked to end");
            Ok(())
        }
        Err(error) => {
            progress.failed(&crate::error_chain(&error));
            Err(error.into())
        }
    }
}

/// What must live as long as the sandbox.
struct Kept {
    _components: Arc<components::Components>,
}

async fn start(config: DaemonConfig, state: &StateDir, progress: &Progress) -> Result<Kept, Error> {
    let began = Instant::now();
    let (api_door, arm_door) = doors::inherited()?;
    let api_port = api_door.local_addr()?.port();
    let arm_port = arm_door.local_addr()?.port();
    for directory in [state.logs(), state.nodes(), state.disks(), state.azure()] {
        std::fs::create_dir_all(directory)?;
    }
    network::set_up_outer()?;
    let keys = Arc::new(control_plane::Keys::make(state)?);

    progress.step("starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler");
    let mut components = components::Components::new(&state.logs());
    control_plane::start(&mut components, &config.binaries, &keys, state);
    let components = Arc::new(components);
    tokio::spawn(doors::pass_to_api_server(api_door));
    let api_server = format!("https://127.0.0.1:{api_port}");
    let admin = keys.kubeconfig(&api_server, "ferriswheel-admin", Some("system:masters"))?;
    write(&state.kubeconfig(), admin.as_bytes(), true)?;
    let client = control_plane::client(&keys.kubeconfig_file("admin")).await?;

    let yard = Arc::new(machines::Yard::new(
        boot::Maker {
            state: state.clone(),
            binary: config.binary.clone(),
            binaries: config.binaries.clone(),
            keys: Arc::clone(&keys),
        },
        KUBERNETES_VERSION.to_owned(),
    ));
    let seed = seed(&config);
    let wanted: usize = config.pools.iter().map(|pool| pool.count as usize).sum();
    let emulator = Emulator::new(
        seed.clone(),
        Arc::clone(&yard) as Arc<dyn ferriswheel_azure_emulator::Machines>,
        Some(client.clone()),
        Arc::new(SystemClock),
    )?;
    emulator.set_kubeconfig(&admin);

    control_plane::wait_ready(&client, &state.logs()).await?;
    progress.step("the API is ready; starting the nodes");
    let (booted, applied) = tokio::join!(emulator.boot(), addons::apply(&client));
    booted?;
    applied?;

    let group = format!(
        "/subscriptions/{}/resourceGroups/{}",
        seed.subscription_id,
        emulator.node_resource_group()
    );
    let disks = Arc::new(disks::Disks::new(
        client.clone(),
        state.disks(),
        group,
        Arc::clone(&yard),
        config.attach_delay,
    ));
    tokio::spawn(Arc::clone(&disks).run());
    let arm = open_azure(state, arm_door, arm_port, &seed, &emulator).await?;
    let control = control::Control {
        name: config.name.clone(),
        began,
        client: client.clone(),
        components: Arc::clone(&components),
        yard,
        disks,
        emulator,
    };
    control::listen(state, control).map_err(Error::Control)?;

    wait_nodes(&client, wanted, config.ready_within, progress).await?;
    progress.ready(&Ready {
        api_server,
        arm,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })?;
    Ok(Kept {
        _components: components,
    })
}

/// The practice subscription with the pools that were asked for.
fn seed(config: &DaemonConfig) -> Seed {
    let mut seed = Seed::practice("practice", KUBERNETES_VERSION);
    seed.random = config.seed;
    seed.pools = config
        .pools
        .iter()
        .map(|pool| {
            let zones: Vec<&str> = pool.zones.iter().map(String::as_str).collect();
            let mode = if pool.system {
                Mode::System
            } else {
                Mode::User
            };
            let mut seed = PoolSeed::new(&pool.name, mode, pool.count, &zones, &pool.version);
            seed.labels.clone_from(&pool.labels);
            seed.taints = pool
                .taints
                .iter()
                .map(|taint| Taint {
                    key: taint.key.clone(),
                    value: taint.value.clone(),
                    effect: taint.effect.clone(),
                })
                .collect();
            seed
        })
        .collect();
    seed
}

/// Serves the Azure emulator, to the host and to pods, and writes what its users need.
async fn open_azure(
    state: &StateDir,
    door: tokio::net::TcpListener,
    port: u16,
    seed: &Seed,
    emulator: &Emulator,
) -> Result<ArmFile, Error> {
    // An authority of its own: whoever trusts the practice Azure need not trust the cluster, nor the other way round.
    let authority = Authority::new("ferriswheel-practice-azure-ca")?;
    let identity = authority.server(
        "practice-azure",
        &["localhost"],
        &[
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V4(network::GATEWAY),
        ],
    )?;
    let ca_file = state.azure().join("ca.crt");
    write(&ca_file, authority.certificate().as_bytes(), false)?;
    let client_secret_file = state.azure().join("client-secret");
    write(&client_secret_file, seed.client_secret.as_bytes(), true)?;
    doors::serve_tls(door, &identity, emulator.router())?;
    // Pods are in namespaces of their own, where the host's loopback is not.
    let inside = doors::for_pods().await?;
    doors::serve_tls(inside, &identity, emulator.router())?;
    Ok(ArmFile {
        endpoint: format!("https://127.0.0.1:{port}"),
        endpoint_in_cluster: network::ARM.to_owned(),
        ca_file,
        tenant_id: seed.tenant_id.clone(),
        subscription_id: seed.subscription_id.clone(),
        client_id: seed.client_id.clone(),
        client_secret_file,
        resource_group: seed.resource_group.clone(),
        cluster: seed.cluster.clone(),
    })
}

/// How often the nodes are looked at while they start.
const NODE_POLL: Duration = Duration::from_millis(100);

async fn wait_nodes(
    client: &kube::Client,
    wanted: usize,
    within: Duration,
    progress: &Progress,
) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let until = Instant::now() + within;
    let mut told = 0;
    loop {
        let ready = match nodes.list(&ListParams::default()).await {
            Ok(list) => list.items.iter().filter(|node| is_ready(node)).count(),
            Err(error) => {
                tracing::warn!(%error, "nodes not listed");
                0
            }
        };
        if ready > told {
            progress.step(&format!("{ready} of {wanted} nodes are Ready"));
            told = ready;
        }
        if ready >= wanted {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::Nodes {
                wanted,
                ready,
                within,
            });
        }
        tokio::time::sleep(NODE_POLL).await;
    }
}

/// The node says that it is Ready.
pub(crate) fn is_ready(node: &Node) -> bool {
    node.status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
