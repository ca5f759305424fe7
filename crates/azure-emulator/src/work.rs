//! What operations do: create machines, drain and delete them, relabel nodes, upgrade the control plane.
//!
//! Every loop looks at the stop signal between two acts and never inside one, so an aborted operation leaves whole
//! machines behind, as the real service does.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use crate::drain::DrainError;
use crate::emulator::{Failure, Inner};
use crate::machines::{MachineError, MachineSpec};
use crate::nodes::Restyle;
use crate::state::{Instance, Operation, Pool};
use crate::throttle::PlannedFailure;
use crate::versions::Version;

/// Creating or deleting one machine. The sandbox does either within a second or two; a minute means that it hangs.
const MACHINE: Duration = Duration::from_secs(60);

impl Inner {
    async fn pause(&self, operation: &Operation, duration: Duration) -> Result<(), Failure> {
        tokio::select! {
            () = operation.stop.cancelled() => Err(Failure::Stopped),
            () = self.clock.sleep(duration) => Ok(()),
        }
    }

    fn planned_failure(&self, pool: Option<&str>) -> Option<PlannedFailure> {
        self.world().faults.operation_failure(pool)
    }

    fn progress(&self, operation: &Operation, done: usize, of: usize) {
        if let Some(record) = self.world().operations.get_mut(&operation.id) {
            record.percent = u32::try_from(done * 100 / of.max(1)).unwrap_or(100);
        }
    }

    /// Creates, scales or restyles a pool until it is what its settings say.
    pub(crate) async fn reconcile(
        self: Arc<Self>,
        operation: Operation,
        pool: String,
        restyle: Restyle,
    ) -> Result<(), Failure> {
        self.pause(&operation, self.seed.timings.accept).await?;
        let planned = self.planned_failure(Some(&pool));
        let budget = planned.as_ref().map(|p| p.after_machines as usize);
        if !restyle.is_empty() && budget.is_none() {
            let names = self.node_names(&pool);
            for name in &names {
                self.nodes(&operation.stop)
                    .restyle(name, &restyle)
                    .await
                    .map_err(|why| {
                        Failure::new(
                            "NodesNotUpdated",
                            format!("failed to update labels or taints of {name}: {why}"),
                        )
                    })?;
            }
        }
        let (have, want) = self.have_and_want(&pool);
        if want > have {
            self.grow(
                &operation,
                &pool,
                (want - have).min(budget.unwrap_or(usize::MAX)),
            )
            .await?;
        } else if have > want {
            self.shrink(
                &operation,
                &pool,
                (have - want).min(budget.unwrap_or(usize::MAX)),
            )
            .await?;
        }
        match planned {
            Some(p) => Err(Failure::new(&p.code, p.message)),
            None => Ok(()),
        }
    }

    fn node_names(&self, pool: &str) -> Vec<String> {
        let world = self.world();
        world
            .pools
            .get(pool)
            .map(|p| p.instances.values().map(|i| i.node_name.clone()).collect())
            .unwrap_or_default()
    }

    fn have_and_want(&self, pool: &str) -> (usize, usize) {
        let world = self.world();
        world
            .pools
            .get(pool)
            .map_or((0, 0), |p| (p.instances.len(), p.count() as usize))
    }

    async fn grow(&self, operation: &Operation, pool: &str, by: usize) -> Result<(), Failure> {
        let booked: Vec<(Instance, MachineSpec)> = {
            let mut world = self.world();
            let world = &mut *world;
            let Some(pool) = world.pools.get_mut(pool) else {
                return Ok(());
            };
            (0..by)
                .map(|_| {
                    let instance = pool.add_instance(&mut world.random);
                    let spec = self.spec(pool, &instance);
                    (instance, spec)
                })
                .collect()
        };
        let outcomes = join_all(booked.into_iter().map(|(instance, spec)| async move {
            let outcome = self.power_on(operation, spec).await;
            if outcome.is_err() {
                self.forget(pool, &instance);
            }
            outcome.map(|()| instance)
        }))
        .await;
        let mut first_failure = None;
        let mut started = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok(instance) => started.push(instance),
                Err(failure) => first_failure = first_failure.or(Some(failure)),
            }
        }
        let deadline = self.seed.timings.ready_deadline;
        let total = started.len();
        let ready = join_all(started.iter().map(|instance| async move {
            let ready = self
                .nodes(&operation.stop)
                .ready(&instance.node_name, deadline)
                .await;
            (instance, ready)
        }))
        .await;
        self.progress(operation, total, total);
        if let Some(failure) = first_failure {
            return Err(failure);
        }
        let Some((late, _)) = ready.iter().find(|(_, ready)| !ready) else {
            return Ok(());
        };
        if operation.stop.is_cancelled() {
            return Err(Failure::Stopped);
        }
        Err(Failure::new(
            "ReconcileVMSSAgentPoolFailed",
            format!(
                "VMExtensionProvisioningError: the machine of {} runs, but its Node did not become Ready within {} s",
                late.node_name,
                deadline.as_secs()
            ),
        ))
    }

    async fn power_on(&self, operation: &Operation, spec: MachineSpec) -> Result<(), Failure> {
        self.pause(operation, self.seed.timings.allocate).await?;
        let zone = spec.zone.clone();
        let name = spec.node_name.clone();
        match tokio::time::timeout(MACHINE, self.machines.create(spec)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(MachineError::NoCapacity(why))) => {
                let code = if zone.is_some() {
                    "ZonalAllocationFailed"
                } else {
                    "AllocationFailed"
                };
                Err(Failure::new(code, format!("Allocation failed. {why}")))
            }
            Ok(Err(MachineError::Failed(why))) => {
                Err(Failure::new("ReconcileVMSSAgentPoolFailed", why))
            }
            Err(_) => Err(Failure::new(
                "ReconcileVMSSAgentPoolFailed",
                format!(
                    "the machine {name} did not start within {} s",
                    MACHINE.as_secs()
                ),
            )),
        }
    }

    fn forget(&self, pool: &str, instance: &Instance) {
        if let Some(pool) = self.world().pools.get_mut(pool) {
            pool.instances.remove(&instance.id);
        }
    }

    /// Cordons, drains and deletes the surplus. Source: the vendor's page on scaling ("nodes are cordoned and drained").
    async fn shrink(&self, operation: &Operation, pool: &str, by: usize) -> Result<(), Failure> {
        let names = self.node_names(pool);
        let cordoned = self
            .nodes(&operation.stop)
            .cordoned(&names)
            .await
            .map_err(away)?;
        let (victims, drain) = {
            let world = self.world();
            let Some(pool) = world.pools.get(pool) else {
                return Ok(());
            };
            (pool.victims(by, &cordoned), drain_timeout(pool))
        };
        for victim in &victims {
            self.nodes(&operation.stop)
                .cordon(&victim.node_name)
                .await
                .map_err(away)?;
        }
        let outcomes = join_all(victims.iter().map(|victim| async move {
            match self
                .nodes(&operation.stop)
                .drain(&victim.node_name, drain)
                .await
            {
                Ok(()) => self.end_machine(pool, victim).await,
                Err(DrainError::Stopped) => Err(Failure::Stopped),
                Err(DrainError::Unanswered(error)) => Err(away(error)),
                // No source gives the code of a scale-down that cannot drain; the text is that of an upgrade.
                Err(DrainError::Blocked(why)) => Err(Failure::new("PodDrainFailure", why)),
            }
        }))
        .await;
        outcomes.into_iter().collect()
    }

    /// Deletes a machine, then its Node object, then the record. In this order: a Node that is removed while its
    /// kubelet lives comes back.
    async fn end_machine(&self, pool: &str, instance: &Instance) -> Result<(), Failure> {
        match tokio::time::timeout(MACHINE, self.machines.delete(&instance.node_name)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return Err(Failure::new(
                    "ReconcileVMSSAgentPoolFailed",
                    error.to_string(),
                ));
            }
            Err(_) => {
                let text = format!(
                    "the machine {} did not end within {} s",
                    instance.node_name,
                    MACHINE.as_secs()
                );
                return Err(Failure::new("ReconcileVMSSAgentPoolFailed", text));
            }
        }
        let never = tokio_util::sync::CancellationToken::new();
        self.nodes(&never)
            .remove(&instance.node_name)
            .await
            .map_err(away)?;
        self.forget(pool, instance);
        Ok(())
    }

    /// Deletes machines and their Node objects. Nothing is cordoned, nothing is drained, no budget is asked.
    ///
    /// Source: AKS "Remove specific VMs in an existing node pool": no cordon and no drain; the count follows.
    pub(crate) async fn delete_machines(
        self: Arc<Self>,
        operation: Operation,
        pool: String,
        victims: Vec<Instance>,
    ) -> Result<(), Failure> {
        self.pause(&operation, self.seed.timings.accept).await?;
        let planned = self.planned_failure(Some(&pool));
        let limit = planned
            .as_ref()
            .map_or(usize::MAX, |p| p.after_machines as usize);
        let total = victims.len();
        for (done, victim) in victims.iter().take(limit).enumerate() {
            if operation.stop.is_cancelled() {
                return Err(Failure::Stopped);
            }
            self.end_machine(&pool, victim).await?;
            if let Some(pool) = self.world().pools.get_mut(&pool) {
                let left = pool.count().saturating_sub(1);
                pool.settings.insert("count".into(), left.into());
            }
            self.progress(&operation, done + 1, total);
        }
        match planned {
            Some(p) => Err(Failure::new(&p.code, p.message)),
            None => Ok(()),
        }
    }

    /// Deletes a pool with its machines. AKS neither cordons nor drains here, but a budget that lets a pod of the pool
    /// go at no price prevents the deletion unless `ignore_budgets` is set.
    ///
    /// Source: AKS "Delete an Azure Kubernetes Service (AKS) node pool", both statements on one page.
    pub(crate) async fn delete_pool(
        self: Arc<Self>,
        operation: Operation,
        pool: String,
        ignore_budgets: bool,
        before: Option<Operation>,
    ) -> Result<(), Failure> {
        if let Some(before) = before {
            before.over.cancelled().await;
        }
        self.pause(&operation, self.seed.timings.accept).await?;
        let planned = self.planned_failure(Some(&pool));
        let names = self.node_names(&pool);
        if !ignore_budgets
            && planned.is_none()
            && let Some(why) = self
                .nodes(&operation.stop)
                .protected(&names)
                .await
                .map_err(away)?
        {
            let text = format!(
                "Pod Disruption Budgets prevent the deletion of node pool {pool}. PDB debug info: {why}"
            );
            return Err(Failure::new("PodDrainFailure", text));
        }
        let limit = planned
            .as_ref()
            .map_or(usize::MAX, |p| p.after_machines as usize);
        let instances: Vec<Instance> = {
            let world = self.world();
            world
                .pools
                .get(&pool)
                .map(|p| p.instances.values().take(limit).cloned().collect())
                .unwrap_or_default()
        };
        join_all(
            instances
                .iter()
                .map(|instance| self.end_machine(&pool, instance)),
        )
        .await
        .into_iter()
        .collect::<Result<(), Failure>>()?;
        match planned {
            Some(p) => Err(Failure::new(&p.code, p.message)),
            None => Ok(()),
        }
    }

    /// Upgrades the control plane, or only settles changed settings when `to` is none.
    pub(crate) async fn update_cluster(
        self: Arc<Self>,
        operation: Operation,
        to: Option<Version>,
    ) -> Result<(), Failure> {
        self.pause(&operation, self.seed.timings.accept).await?;
        if let Some(p) = self.planned_failure(None) {
            return Err(Failure::new(&p.code, p.message));
        }
        let Some(version) = to else { return Ok(()) };
        self.pause(&operation, self.seed.timings.control_plane)
            .await?;
        self.machines
            .upgrade_control_plane(&version.to_string())
            .await
            .map_err(|error| Failure::new("UpgradeFailed", error.to_string()))?;
        self.world().cluster.current = version;
        Ok(())
    }
}

/// `drainTimeoutInMinutes` of the pool; 30 minutes where it is not set, as AKS documents for upgrades.
fn drain_timeout(pool: &Pool) -> Duration {
    let minutes = pool
        .settings
        .get("upgradeSettings")
        .and_then(|s| s.get("drainTimeoutInMinutes"))
        .and_then(|m| m.as_u64());
    Duration::from_secs(60 * minutes.unwrap_or(30))
}

/// The cluster's API did not answer for as long as the service waits, or refused the service itself.
fn away(error: kube::Error) -> Failure {
    Failure::new("KubernetesAPICallFailed", error.to_string())
}
