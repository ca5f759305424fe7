//! The machines behind a node pool.
//!
//! The emulator decides which machine is created or deleted, as the resource provider of AKS does; what a machine
//! *is* belongs to whoever implements [`Machines`]: the sandbox starts a node agent in namespaces of its own, the
//! rehearsal adds a node to its model. The emulator never reaches into a machine.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Creates and deletes the machines of the cluster.
///
/// # Guarantees the emulator relies on
/// - `create` returns once the machine has been powered on; the kubelet registers the Node on its own, later. The
///   emulator waits for the Node to become Ready itself if it has a Kubernetes client.
/// - `delete` is abrupt and total: processes end without notice, the local disk is gone. It neither drains nor
///   touches the Node object (the emulator removes that, as the cloud controller does on AKS). Deleting a machine
///   that does not exist is `Ok`.
/// - A machine is never reused: the same node name created again has a new machine id, boot id and an empty disk.
#[async_trait]
pub trait Machines: Send + Sync + 'static {
    /// Powers on one machine.
    async fn create(&self, machine: MachineSpec) -> Result<(), MachineError>;

    /// Ends one machine by its node name.
    async fn delete(&self, node_name: &str) -> Result<(), MachineError>;

    /// Every machine that exists now, in any order.
    async fn list(&self) -> Result<Vec<Machine>, MachineError>;

    /// Brings the control plane to another version. Where it cannot be done the operation fails and says so: the
    /// emulator never reports a version that does not run.
    async fn upgrade_control_plane(&self, version: &str) -> Result<(), MachineError> {
        Err(MachineError::Failed(format!(
            "the control plane of this cluster cannot be brought to {version}"
        )))
    }
}

/// What a machine is created from. Complete: nobody has to look anything up again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Name of the Node and host name, `aks-<pool>-<8 digits>-vmss<6 digits in base 36>`.
    pub node_name: String,
    /// Name of the node pool.
    pub pool: String,
    /// Mode of the node pool.
    pub mode: Mode,
    /// Availability zone within the region, `1`, `2` or `3`; none for a pool without zones.
    pub zone: Option<String>,
    /// Region, `eastus`.
    pub region: String,
    /// Name of the scale set, `aks-<pool>-<8 digits>-vmss`.
    pub scale_set: String,
    /// Number of the instance in its scale set; never used twice in the life of a pool.
    pub instance_id: u32,
    /// `spec.providerID` of the Node.
    pub provider_id: String,
    /// Kubernetes version of the kubelet without a leading `v`, `1.35.4`.
    pub kubernetes_version: String,
    /// Node image, `AKSUbuntu-2204gen2containerd-202610.19.0`.
    pub node_image_version: String,
    /// Size of the machine, `Standard_D4s_v5`.
    pub vm_size: String,
    /// Virtual processors of that size.
    pub cpus: u32,
    /// Memory of that size in MiB.
    pub memory_mib: u64,
    /// Most pods that the kubelet accepts.
    pub max_pods: u32,
    /// Every label that the Node registers with, the ones set by Azure and by the user alike.
    /// `kubernetes.io/hostname`, `kubernetes.io/os` and `kubernetes.io/arch` are the kubelet's own and not here.
    pub labels: BTreeMap<String, String>,
    /// Taints that the Node registers with.
    pub taints: Vec<Taint>,
}

/// A machine that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the Node.
    pub node_name: String,
    /// Name of the node pool.
    pub pool: String,
    /// Availability zone, `1`; none for a pool without zones.
    pub zone: Option<String>,
    /// Number of the instance in its scale set.
    pub instance_id: u32,
    /// Address of the machine, where it is known.
    pub address: Option<String>,
}

/// Mode of a node pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Carries the system pods; a cluster always has one such pool.
    System,
    /// Carries applications.
    User,
}

impl Mode {
    /// The value of the label `kubernetes.azure.com/mode`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::User => "User",
        })
    }
}

/// A taint in the notation of AKS, `key=value:Effect`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        write!(f, ":{}", self.effect)
    }
}

impl FromStr for Taint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (left, effect) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("taint '{text}' has no effect"))?;
        if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            return Err(format!("taint '{text}' has the unknown effect '{effect}'"));
        }
        let (key, value) = left.split_once('=').unwrap_or((left, ""));
        if key.is_empty() {
            return Err(format!("taint '{text}' has no key"));
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
            effect: effect.to_owned(),
        })
    }
}

/// A machine could not be created, deleted or listed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The zone or region has no machine of this size left.
    #[error("no capacity: {0}")]
    NoCapacity(String),
    /// Anything else; the text is what the operation reports.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::Taint;

    #[test]
    fn a_taint_reads_back_as_it_was_written() {
        for text in [
            "workload=database:NoSchedule",
            "CriticalAddonsOnly=true:NoSchedule",
            "bare:NoExecute",
        ] {
            assert_eq!(
                text.parse::<Taint>().map(|t| t.to_string()),
                Ok(text.to_owned())
            );
        }
        assert!("workload=database".parse::<Taint>().is_err());
        assert!("workload=database:Never".parse::<Taint>().is_err());
    }
}
