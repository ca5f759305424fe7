//! Machine pools, as a managed cluster's resource manager changes them.

use crate::cluster::{Cluster, Event};
use crate::objects::{Labels, Node, Pool};

/// Label by which a node names its pool.
pub const POOL_LABEL: &str = "agentpool";

/// A request that the resource manager refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// No such pool.
    #[error("there is no pool {0}")]
    Absent(String),
    /// The pool exists.
    #[error("pool {0} exists")]
    Exists(String),
    /// The pool has no such machine.
    #[error("pool {pool} has no machine {machine}")]
    NoMachine {
        /// Pool.
        pool: String,
        /// Machine.
        machine: String,
    },
    /// An operation is in progress (409).
    #[error("pool {pool} is {state}")]
    Busy {
        /// Pool.
        pool: String,
        /// Its state.
        state: String,
    },
    /// The last System pool stays.
    #[error("{0} is the last System pool")]
    LastSystemPool(String),
}

impl Cluster {
    /// Creates a pool; its machines come one after the other, spread over its zones.
    pub fn create_pool(
        &mut self,
        name: &str,
        system: bool,
        zones: &[&str],
        count: u32,
        version: &str,
        labels: Labels,
    ) -> Result<(), PoolError> {
        if self.pools.contains_key(name) {
            return Err(PoolError::Exists(name.to_owned()));
        }
        self.pools.insert(
            name.to_owned(),
            Pool {
                system,
                zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
                count,
                version: version.to_owned(),
                labels,
                state: "Creating".to_owned(),
                serial: 0,
            },
        );
        self.order_machines(name, count);
        Ok(())
    }

    /// Enlarges a pool.
    pub fn grow_pool(&mut self, name: &str, count: u32) -> Result<(), PoolError> {
        let pool = self.idle(name)?;
        let more = count.saturating_sub(pool.count);
        if more == 0 {
            return Ok(());
        }
        pool.count = count;
        pool.state = "Scaling".to_owned();
        self.order_machines(name, more);
        Ok(())
    }

    /// Deletes one machine. Nothing is drained: what runs on it dies with it.
    pub fn delete_machine(&mut self, pool: &str, machine: &str) -> Result<(), PoolError> {
        let has = self
            .nodes
            .get(machine)
            .is_some_and(|node| node.pool == pool && !node.leaving);
        let found = self.idle(pool)?;
        if !has {
            return Err(PoolError::NoMachine {
                pool: pool.to_owned(),
                machine: machine.to_owned(),
            });
        }
        found.count = found.count.saturating_sub(1);
        found.state = "Deleting".to_owned();
        if let Some(node) = self.nodes.get_mut(machine) {
            node.leaving = true;
        }
        let node = machine.to_owned();
        self.plan(self.timing.machine_down, Event::MachineGone { node });
        self.settle();
        Ok(())
    }

    /// Deletes a pool with all its machines.
    pub fn delete_pool(&mut self, name: &str) -> Result<(), PoolError> {
        let others = self
            .pools
            .iter()
            .any(|(other, pool)| other != name && pool.system);
        let pool = self.idle(name)?;
        if pool.system && !others {
            return Err(PoolError::LastSystemPool(name.to_owned()));
        }
        pool.state = "Deleting".to_owned();
        let pool = name.to_owned();
        self.plan(self.timing.machine_down, Event::PoolGone { pool });
        Ok(())
    }

    fn idle(&mut self, name: &str) -> Result<&mut Pool, PoolError> {
        let pool = self
            .pools
            .get_mut(name)
            .ok_or_else(|| PoolError::Absent(name.to_owned()))?;
        if pool.state == "Succeeded" {
            Ok(pool)
        } else {
            Err(PoolError::Busy {
                pool: name.to_owned(),
                state: pool.state.clone(),
            })
        }
    }

    fn order_machines(&mut self, name: &str, count: u32) {
        for _ in 0..count {
            let Some(pool) = self.pools.get_mut(name) else {
                return;
            };
            let serial = pool.serial;
            pool.serial += 1;
            let zones = u32::try_from(pool.zones.len()).unwrap_or(u32::MAX).max(1);
            let at = usize::try_from(serial % zones).unwrap_or(0);
            let zone = pool.zones.get(at).cloned().unwrap_or_default();
            let node = format!("aks-{name}-10000000-vmss{serial:06}");
            let pool = name.to_owned();
            self.plan(
                self.timing.machine_up,
                Event::MachineUp { pool, node, zone },
            );
        }
    }

    pub(crate) fn machine_up(&mut self, name: &str, node: &str, zone: &str) {
        let uid = self.uid("node");
        let Some(pool) = self.pools.get_mut(name) else {
            return;
        };
        let mut labels = pool.labels.clone();
        labels.insert(POOL_LABEL.to_owned(), name.to_owned());
        let new = Node {
            uid,
            pool: name.to_owned(),
            zone: zone.to_owned(),
            version: pool.version.clone(),
            labels,
            ready: true,
            unschedulable: false,
            leaving: false,
        };
        self.nodes.insert(node.to_owned(), new);
        let machines = self.nodes.values().filter(|n| n.pool == name).count();
        if machines >= usize::try_from(pool.count).unwrap_or(usize::MAX) {
            pool.state = "Succeeded".to_owned();
        }
    }

    pub(crate) fn machine_gone(&mut self, node: &str) {
        let Some(gone) = self.nodes.remove(node) else {
            return;
        };
        let on_it: Vec<(String, String)> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.node.as_deref() == Some(node))
            .map(|(name, pod)| (name.clone(), pod.uid.clone()))
            .collect();
        for (name, uid) in on_it {
            if let Some(pod) = self.pods.get_mut(&name) {
                pod.terminating = true;
                pod.ready = false;
            }
            self.kill(&uid);
            self.remove_pod(&name);
        }
        if let Some(pool) = self.pools.get_mut(&gone.pool)
            && pool.state == "Deleting"
            && !self
                .nodes
                .values()
                .any(|n| n.pool == gone.pool && n.leaving)
        {
            pool.state = "Succeeded".to_owned();
        }
    }

    pub(crate) fn pool_gone(&mut self, name: &str) {
        let machines: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.pool == name)
            .map(|(node, _)| node.clone())
            .collect();
        for machine in machines {
            self.machine_gone(&machine);
        }
        self.pools.remove(name);
    }
}
