//! The emulator itself: the world under its lock, and the life of a long-running operation.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::build;
use crate::clock::Clock;
use crate::machines::{MachineError, MachineSpec, Machines};
use crate::nodes::Nodes;
use crate::seed::Seed;
use crate::sizes;
use crate::state::{Instance, Leaves, Operation, Pool, State, StoppedAs, World};
use crate::throttle::Fault;

/// Azure Resource Manager with one subscription and one cluster. Cloning gives another handle on the same world.
///
/// # Guarantees
/// - One operation at a time on a pool, and none on any pool while the cluster has one.
/// - A resource in a terminal state has no work left running behind it.
#[derive(Clone)]
pub struct Emulator {
    pub(crate) inner: Arc<Inner>,
}

/// The seed describes something that cannot exist.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Not a Kubernetes version.
    #[error("'{0}' is not a Kubernetes version like 1.36.3")]
    Version(String),
    /// A pool that AKS would refuse.
    #[error("node pool '{pool}' cannot exist: {why}")]
    Pool {
        /// Name of the pool.
        pool: String,
        /// The refusal.
        why: String,
    },
    /// No System pool with a node.
    #[error("a cluster needs a System pool with at least one node")]
    NoSystemPool,
}

pub(crate) struct Inner {
    pub seed: Seed,
    pub machines: Arc<dyn Machines>,
    pub kube: Option<kube::Client>,
    pub clock: Arc<dyn Clock>,
    /// Signs access tokens.
    pub token_key: [u8; 32],
    world: Mutex<World>,
}

/// How a long-running operation ends when it does not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Failed { code: String, message: String },
    Stopped,
}

impl Failure {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self::Failed {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

impl Emulator {
    /// Builds the world of the seed. No machine is created yet: see [`Emulator::boot`].
    ///
    /// Without a Kubernetes client the emulator neither waits for nodes nor drains, labels or removes them.
    ///
    /// # Assumptions
    /// The Kubernetes client does not retry on its own (`kube::Config::default_retry` is false): its retries would
    /// sit on an eviction that a budget refuses.
    pub fn new(
        seed: Seed,
        machines: Arc<dyn Machines>,
        kube: Option<kube::Client>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SeedError> {
        let world = build::world(&seed, clock.now())?;
        let token_key = Sha256::digest(format!("{}/{}", seed.client_secret, seed.random)).into();
        let inner = Inner {
            seed,
            machines,
            kube,
            clock,
            token_key,
            world: Mutex::new(world),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Powers on the machines of the seed's pools, all at once, and returns when they are on. Machines that exist
    /// already are left alone. Does not wait for the Nodes.
    pub async fn boot(&self) -> Result<(), MachineError> {
        let existing = self.inner.machines.list().await?;
        let specs = self.machine_specs();
        let missing = specs
            .into_iter()
            .filter(|spec| !existing.iter().any(|m| m.node_name == spec.node_name));
        futures::future::try_join_all(missing.map(|spec| self.inner.machines.create(spec))).await?;
        Ok(())
    }

    /// What every machine that should exist now is created from.
    #[must_use]
    pub fn machine_specs(&self) -> Vec<MachineSpec> {
        let world = self.inner.world();
        world
            .pools
            .values()
            .flat_map(|pool| {
                pool.instances
                    .values()
                    .map(|instance| self.inner.spec(pool, instance))
            })
            .collect()
    }

    /// Arms a fault; the same as POST `/_faults`.
    pub fn inject(&self, fault: Fault) {
        self.inner.world().faults.add(fault);
    }

    /// Sets what `az aks get-credentials` hands out.
    pub fn set_kubeconfig(&self, kubeconfig: impl Into<String>) {
        self.inner.world().kubeconfig = Some(kubeconfig.into());
    }

    /// Resource ID of the cluster.
    #[must_use]
    pub fn cluster_id(&self) -> String {
        self.inner.cluster_id()
    }

    /// The resource group of the machines, `MC_<group>_<cluster>_<region>`.
    #[must_use]
    pub fn node_resource_group(&self) -> String {
        self.inner.node_resource_group()
    }
}

impl Inner {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        // A panic under the lock leaves consistent data: every change is one assignment.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cluster_id(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.ContainerService/managedClusters/{}",
            self.seed.subscription_id, self.seed.resource_group, self.seed.cluster
        )
    }

    pub(crate) fn node_resource_group(&self) -> String {
        format!(
            "MC_{}_{}_{}",
            self.seed.resource_group, self.seed.cluster, self.seed.location
        )
    }

    pub(crate) fn nodes<'a>(&'a self, stop: &'a CancellationToken) -> Nodes<'a> {
        Nodes {
            kube: self.kube.as_ref(),
            clock: self.clock.as_ref(),
            stop,
        }
    }

    /// The resource ID of a machine, in the group of the nodes.
    pub(crate) fn instance_id(&self, pool: &Pool, instance: &Instance) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Compute/virtualMachineScaleSets/{}/virtualMachines/{}",
            self.seed.subscription_id,
            self.node_resource_group(),
            pool.scale_set,
            instance.id
        )
    }

    pub(crate) fn spec(&self, pool: &Pool, instance: &Instance) -> MachineSpec {
        let seed = &self.seed;
        let size = sizes::find(pool.text("vmSize"));
        let zone_label = instance
            .zone
            .as_ref()
            .map(|zone| format!("{}-{zone}", seed.location));
        let mut labels = pool.labels();
        let azure = [
            ("agentpool", pool.name.clone()),
            ("kubernetes.azure.com/agentpool", pool.name.clone()),
            ("kubernetes.azure.com/cluster", self.node_resource_group()),
            ("kubernetes.azure.com/mode", pool.mode().label().to_owned()),
            (
                "kubernetes.azure.com/node-image-version",
                pool.node_image_version.clone(),
            ),
            (
                "kubernetes.azure.com/nodepool-type",
                "VirtualMachineScaleSets".to_owned(),
            ),
            ("kubernetes.azure.com/os-sku", pool.text("osSKU").to_owned()),
            ("kubernetes.azure.com/role", "agent".to_owned()),
            (
                "node.kubernetes.io/instance-type",
                pool.text("vmSize").to_owned(),
            ),
            ("topology.kubernetes.io/region", seed.location.clone()),
            // A pool without zones: the fault domain stands in, and the disk driver's label is empty.
            (
                "topology.kubernetes.io/zone",
                zone_label.clone().unwrap_or_else(|| "0".to_owned()),
            ),
            (
                "topology.disk.csi.azure.com/zone",
                zone_label.unwrap_or_default(),
            ),
        ];
        labels.extend(
            azure
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value)),
        );
        MachineSpec {
            node_name: instance.node_name.clone(),
            pool: pool.name.clone(),
            mode: pool.mode(),
            zone: instance.zone.clone(),
            region: seed.location.clone(),
            scale_set: pool.scale_set.clone(),
            instance_id: instance.id,
            provider_id: format!("azure://{}", self.instance_id(pool, instance)),
            kubernetes_version: pool.current.to_string(),
            node_image_version: pool.node_image_version.clone(),
            vm_size: pool.text("vmSize").to_owned(),
            cpus: size.map_or(2, |s| s.cpus),
            memory_mib: size.map_or(8 * 1024, |s| s.memory_mib),
            max_pods: pool.number("maxPods").unwrap_or(110),
            labels,
            taints: pool.taints(),
        }
    }

    /// Books an operation on the cluster or a pool and moves the resource to `state`.
    pub(crate) fn begin(
        &self,
        world: &mut World,
        pool: Option<&str>,
        state: &'static str,
        leaves: Leaves,
    ) -> Operation {
        let operation = self.book(world, pool, leaves);
        let etag = world.new_etag();
        match pool {
            Some(name) => {
                if let Some(pool) = world.pools.get_mut(name) {
                    pool.state = State::new(state);
                    pool.operation = Some(operation.id.clone());
                    pool.etag = etag;
                }
            }
            None => {
                world.cluster.state = State::new(state);
                world.cluster.operation = Some(operation.id.clone());
                world.cluster.etag = etag;
            }
        }
        operation
    }

    /// Books an operation that has no resource of its own, like the one that watches an abort.
    pub(crate) fn book(&self, world: &mut World, pool: Option<&str>, leaves: Leaves) -> Operation {
        let operation = Operation {
            id: world.random.uuid().to_string(),
            pool: pool.map(str::to_owned),
            status: "InProgress",
            started: self.clock.now(),
            ended: None,
            percent: 0,
            error: None,
            leaves,
            stop: CancellationToken::new(),
            stopped_as: StoppedAs::Aborted,
            over: CancellationToken::new(),
        };
        world
            .operations
            .insert(operation.id.clone(), operation.clone());
        operation
    }

    /// Carries an operation out in the background.
    pub(crate) fn run<F>(self: &Arc<Self>, operation: Operation, work: F)
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = work.await;
            inner.finish(&operation, outcome);
        });
    }

    fn finish(&self, operation: &Operation, outcome: Result<(), Failure>) {
        let now = self.clock.now();
        let mut world = self.world();
        let world = &mut *world;
        let etag = world.new_etag();
        let Some(record) = world.operations.get_mut(&operation.id) else {
            return;
        };
        let (status, state, error) = match outcome {
            Ok(()) => ("Succeeded", "Succeeded", None),
            Err(Failure::Failed { code, message }) => ("Failed", "Failed", Some((code, message))),
            Err(Failure::Stopped) => match record.stopped_as {
                StoppedAs::Aborted => ("Canceled", "Canceled", None),
                StoppedAs::PreemptedByDelete => {
                    let code = "AKSOperationPreemptedByDelete".to_owned();
                    (
                        "Failed",
                        "Failed",
                        Some((
                            code,
                            "Operation has been preempted by a delete operation.".to_owned(),
                        )),
                    )
                }
            },
        };
        record.status = status;
        record.ended = Some(now);
        record.percent = if status == "Succeeded" {
            100
        } else {
            record.percent
        };
        record.error.clone_from(&error);
        tracing::info!(operation = %record.id, pool = record.pool.as_deref(), status, ?error, "operation ended");
        let state = State { name: state, error };
        let mine = |running: &Option<String>| running.as_deref() == Some(operation.id.as_str());
        match &operation.pool {
            Some(name) => {
                let gone = operation.leaves == Leaves::Nothing && status == "Succeeded";
                if let Some(pool) = world
                    .pools
                    .get_mut(name)
                    .filter(|pool| mine(&pool.operation))
                {
                    pool.operation = None;
                    pool.state = state;
                    pool.etag = etag;
                    if gone {
                        world.pools.remove(name);
                    }
                }
            }
            None if mine(&world.cluster.operation) => {
                world.cluster.operation = None;
                world.cluster.state = state;
                world.cluster.etag = etag;
            }
            None => {}
        }
        operation.over.cancel();
    }
}
