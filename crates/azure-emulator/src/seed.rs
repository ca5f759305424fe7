//! The world that the emulator starts from: one tenant, one subscription, one resource group, one cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::machines::{Mode, Taint};
use crate::throttle::Limits;

/// Everything that exists when the emulator starts.
#[derive(Clone)]
pub struct Seed {
    /// Microsoft Entra tenant, a UUID.
    pub tenant_id: String,
    /// Subscription, a UUID.
    pub subscription_id: String,
    /// Display name of the subscription.
    pub subscription_name: String,
    /// The service principal that may log in.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Resource group of the cluster.
    pub resource_group: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Region, `eastus`.
    pub location: String,
    /// Version of the control plane, `1.36.3`.
    pub kubernetes_version: String,
    /// Node pools; at least one System pool.
    pub pools: Vec<PoolSeed>,
    /// Kubernetes versions that the region offers, oldest first.
    pub versions: Vec<String>,
    /// Node image that new nodes get.
    pub node_image_version: String,
    /// vCPU limits by family (`standardDSv5Family`) and for the region (`cores`).
    pub vcpu_limits: BTreeMap<String, u64>,
    /// Request limits of the resource provider.
    pub limits: Limits,
    /// How long operations take.
    pub timings: Timings,
    /// Decides what AKS leaves open: which zone comes next among equals, identifiers, eTags.
    pub random: u64,
}

/// One node pool at the start.
#[derive(Clone, Debug)]
pub struct PoolSeed {
    /// Name; 1 to 12 lower-case letters and digits, a letter first.
    pub name: String,
    /// Mode.
    pub mode: Mode,
    /// Number of nodes.
    pub count: u32,
    /// Zones, `1`, `2`, `3`; empty for none.
    pub zones: Vec<String>,
    /// Kubernetes version of the nodes.
    pub kubernetes_version: String,
    /// Node image of the nodes; the seed's where absent.
    pub node_image_version: Option<String>,
    /// Machine size.
    pub vm_size: String,
    /// Most pods a node.
    pub max_pods: u32,
    /// Labels of the user.
    pub labels: BTreeMap<String, String>,
    /// Taints of the user.
    pub taints: Vec<Taint>,
    /// Azure tags.
    pub tags: BTreeMap<String, String>,
}

/// How long things take, in the clock's time. The real service takes minutes; the shape is the same.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// From the request to the first machine's creation or deletion.
    pub accept: Duration,
    /// A machine's allocation before it is powered on. Machines of one operation are allocated at once.
    pub allocate: Duration,
    /// Longest wait for a new node to become Ready before the operation fails.
    pub ready_deadline: Duration,
    /// An upgrade of the control plane.
    pub control_plane: Duration,
    /// Value of the Retry-After header on operations that are under way.
    pub retry_after: Duration,
}

impl Default for Timings {
    /// Seconds instead of minutes. `retry_after` is whole seconds on the wire, so one second is the shortest that
    /// still makes a client obey it.
    fn default() -> Self {
        Self {
            accept: Duration::from_millis(200),
            allocate: Duration::from_millis(500),
            ready_deadline: Duration::from_secs(120),
            control_plane: Duration::from_secs(3),
            retry_after: Duration::from_secs(1),
        }
    }
}

impl Seed {
    /// A seed with the identity of a practice subscription and no pools.
    #[must_use]
    pub fn practice(cluster: &str, kubernetes_version: &str) -> Self {
        let versions = ["1.34.7", "1.34.8", "1.35.3", "1.35.4", "1.36.2", "1.36.3"]
            .map(str::to_owned)
            .to_vec();
        Self {
            tenant_id: "11111111-1111-4111-8111-111111111111".to_owned(),
            subscription_id: "22222222-2222-4222-8222-222222222222".to_owned(),
            subscription_name: "practice".to_owned(),
            client_id: "33333333-3333-4333-8333-333333333333".to_owned(),
            client_secret: "practice-secret".to_owned(),
            resource_group: "practice-rg".to_owned(),
            cluster: cluster.to_owned(),
            location: "eastus".to_owned(),
            kubernetes_version: kubernetes_version.to_owned(),
            pools: Vec::new(),
            versions,
            node_image_version: "AKSUbuntu-2204gen2containerd-202610.19.0".to_owned(),
            vcpu_limits: [
                ("cores".to_owned(), 100),
                ("standardDSv5Family".to_owned(), 100),
            ]
            .into_iter()
            .collect(),
            limits: Limits::default(),
            timings: Timings::default(),
            random: 1,
        }
    }
}

impl PoolSeed {
    /// A pool of `Standard_D2s_v5` machines without labels or taints.
    #[must_use]
    pub fn new(
        name: &str,
        mode: Mode,
        count: u32,
        zones: &[&str],
        kubernetes_version: &str,
    ) -> Self {
        Self {
            name: name.to_owned(),
            mode,
            count,
            zones: zones.iter().map(|z| (*z).to_owned()).collect(),
            kubernetes_version: kubernetes_version.to_owned(),
            node_image_version: None,
            vm_size: "Standard_D2s_v5".to_owned(),
            max_pods: 110,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            tags: BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seed")
            .field("cluster", &self.cluster)
            .field("pools", &self.pools)
            .finish_non_exhaustive()
    }
}
