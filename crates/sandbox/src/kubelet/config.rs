//! What a node agent is started with.
//!
//! Written by the sandbox as one JSON file per machine, read once by the agent when the machine boots. A machine that
//! is created again gets a new file: nothing here outlives a machine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The identity, the addresses and the places of one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeConfig {
    /// Name of the Node, `aks-dbpool-12345678-vmss000000`; also its host name.
    pub node_name: String,
    /// Name of the node pool.
    pub pool: String,
    /// Mode of the node pool as the label has it, `system` or `user`.
    pub mode: String,
    /// Zone as the labels have it, `eastus-1`; none for a pool without zones.
    pub zone: Option<String>,
    /// Region, `eastus`.
    pub region: String,
    /// Machine size, `Standard_D2s_v5`.
    pub instance_type: String,
    /// `spec.providerID`.
    pub provider_id: String,
    /// `status.nodeInfo.kubeletVersion`, `v1.35.4`.
    pub kubelet_version: String,
    /// Node image, `AKSUbuntu-2204gen2containerd-202610.19.0`.
    pub node_image_version: String,
    /// Every label that the Node registers with. Complete: includes hostname, os, arch, region, zone and pool.
    pub labels: BTreeMap<String, String>,
    /// Taints that the Node registers with.
    pub taints: Vec<Taint>,
    /// Address of eth0, the node's InternalIP.
    pub node_ip: Ipv4Addr,
    /// Pod range of the node, `10.244.3.0/24`. The bridge `cbr0` with the first address exists already in the
    /// agent's network namespace; the agent adds a veth pair per pod.
    pub pod_cidr: String,
    /// Address of the cluster's DNS Service, `10.0.0.10`.
    pub cluster_dns: Ipv4Addr,
    /// Domain of the cluster, `cluster.local`.
    pub cluster_domain: String,
    /// Kubeconfig with the identity `system:node:<name>`; its server is reachable from the node's namespace.
    pub kubeconfig: PathBuf,
    /// The machine's local disk: empty when the machine boots for the first time, deleted with the machine.
    pub root_dir: PathBuf,
    /// Where the disks of the cluster are: one directory a volume, named by the last segment of its volumeHandle.
    /// Shared by all nodes; only an attached disk may be mounted.
    pub disks_dir: PathBuf,
    /// Capacity of the machine.
    pub capacity: Capacity,
    /// Certificate of the agent's own HTTPS server.
    pub server: ServerIdentity,
    /// The binary that a container of the image `ferriswheel` runs, and that the agent re-executes itself by.
    pub ferriswheel_binary: PathBuf,
    /// `status.nodeInfo.bootID`; new with each boot.
    pub boot_id: String,
    /// `status.nodeInfo.machineID`; new with each machine.
    pub machine_id: String,
}

/// A taint as the Node has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// What a machine has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Virtual processors.
    pub cpu: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Most pods.
    pub pods: u32,
}

/// Files of the agent's HTTPS server (port 10250).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerIdentity {
    /// Certificate, PEM; valid for the node's name and address.
    pub cert: PathBuf,
    /// Key, PEM.
    pub key: PathBuf,
    /// Certificate authority that callers must have a client certificate from: the API server.
    pub client_ca: PathBuf,
}

/// The configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is not there or not readable.
    #[error("read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a node configuration.
    #[error("parse {path}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl NodeConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// The file is missing, unreadable or malformed.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let bytes = std::fs::read(path).map_err(|source| ReadError::Io {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&bytes).map_err(|source| ReadError::Json {
            path: path.to_owned(),
            source,
        })
    }
}
