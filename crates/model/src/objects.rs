//! The objects of the model. Names of namespaced objects are `namespace/name`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Labels and selectors.
pub type Labels = BTreeMap<String, String>;

/// Whether a selector selects labels. An empty selector selects nothing here: the model has no
/// object that means "all".
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty()
        && selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
}

/// A machine pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// System pool.
    pub system: bool,
    /// Zones that its machines are spread over.
    pub zones: Vec<String>,
    /// Machines wanted.
    pub count: u32,
    /// Version of new machines.
    pub version: String,
    /// Labels of its nodes.
    pub labels: Labels,
    /// `Succeeded`, `Creating`, `Scaling`, `Deleting`.
    pub state: String,
    /// Machines ever made; numbers the next one.
    pub serial: u32,
}

/// A node with the machine behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Changes with every machine.
    pub uid: String,
    /// Pool.
    pub pool: String,
    /// Zone.
    pub zone: String,
    /// Kubelet version.
    pub version: String,
    /// Labels.
    pub labels: Labels,
    /// Ready.
    pub ready: bool,
    /// Cordoned.
    pub unschedulable: bool,
    /// The machine is being deleted.
    pub leaving: bool,
}

/// Who made a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Owner {
    /// A stateful set's ordinal.
    Set {
        /// Set.
        name: String,
        /// Ordinal.
        ordinal: u32,
    },
    /// A deployment.
    Deployment(String),
    /// Nobody: it does not come back.
    Nobody,
}

/// How a pod's container behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Behaviour {
    /// Ready some time after its start, gone some time after its stop.
    Plain,
    /// Somebody plays it: signals out, readiness and exits in.
    Application,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Changes with every pod of the same name.
    pub uid: String,
    /// Owner.
    pub owner: Owner,
    /// Labels.
    pub labels: Labels,
    /// Labels that its node must have.
    pub node_selector: Labels,
    /// Node.
    pub node: Option<String>,
    /// Claim that it mounts.
    pub claim: Option<String>,
    /// Behaviour of its container.
    pub behaviour: Behaviour,
    /// Where its container is.
    pub container: Container,
    /// Restarts of the container.
    pub restarts: u32,
    /// Start of the running container.
    pub started_at: Option<Duration>,
    /// Ready.
    pub ready: bool,
    /// Being deleted.
    pub terminating: bool,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Container {
    /// No node, or its disk is not there yet.
    Waiting,
    /// Its disk is being attached.
    Attaching,
    /// The kubelet is about to start it.
    Starting,
    /// Its process runs.
    Running,
    /// It exited and is not started again (the pod is going).
    Exited,
}

/// A stateful set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatefulSet {
    /// Members wanted.
    pub replicas: u32,
    /// Labels of its pods.
    pub labels: Labels,
    /// Node labels that its pods require.
    pub node_selector: Labels,
    /// Name of its claim template.
    pub claim_template: String,
    /// Two members may not share a node.
    pub one_per_node: bool,
}

/// A deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Pods wanted.
    pub replicas: u32,
    /// Labels of its pods.
    pub labels: Labels,
    /// Node labels that its pods require.
    pub node_selector: Labels,
    /// Behaviour of its containers.
    pub behaviour: Behaviour,
}

/// A disruption budget (`maxUnavailable`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Pods that it counts.
    pub selector: Labels,
    /// Pods that may be missing.
    pub max_unavailable: u32,
}

/// A volume claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// UID.
    pub uid: String,
    /// Disk, once the first pod was placed.
    pub disk: Option<String>,
    /// Labels.
    pub labels: Labels,
}

/// A disk, bound to a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Zone.
    pub zone: String,
    /// Node that has it.
    pub attached: Option<String>,
}

/// What whoever plays an application is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The container's process starts.
    Start {
        /// Pod.
        pod: String,
        /// Its UID.
        uid: String,
        /// Disk that is mounted.
        disk: Option<String>,
    },
    /// The stop signal was sent; the process should exit.
    Stop {
        /// Pod.
        pod: String,
        /// Its UID.
        uid: String,
    },
    /// The process is gone without a chance to say goodbye.
    Killed {
        /// Pod.
        pod: String,
        /// Its UID.
        uid: String,
    },
    /// A disk is gone with all that was on it.
    DiskDeleted {
        /// Disk.
        disk: String,
    },
}
