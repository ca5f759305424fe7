//! The cluster as a whole: its objects, its time, its agenda.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::invariants;
use crate::objects::{
    Behaviour, Budget, Claim, Container, Deployment, Disk, Labels, Node, Owner, Pod, Pool, Signal,
    StatefulSet,
};

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the request to a Ready node.
    pub machine_up: Duration,
    /// From the request to the end of a machine.
    pub machine_down: Duration,
    /// Attaching a disk.
    pub attach: Duration,
    /// Detaching a disk.
    pub detach: Duration,
    /// From a mounted disk to a running process.
    pub start: Duration,
    /// From a plain process to a ready pod.
    pub ready: Duration,
    /// From the stop signal to the exit of a plain process.
    pub stop: Duration,
    /// A process that does not exit is killed after this time.
    pub grace: Duration,
    /// The kubelet's first delay before it starts a container again after an early exit.
    pub backoff: Duration,
}

impl Default for Timing {
    /// A quick cluster: the order of magnitude of AKS for the disk and the container, machines
    /// within seconds so that a storyboard stays short.
    fn default() -> Self {
        Self {
            machine_up: Duration::from_secs(8),
            machine_down: Duration::from_secs(3),
            attach: Duration::from_millis(1_500),
            detach: Duration::from_millis(500),
            start: Duration::from_millis(400),
            ready: Duration::from_secs(1),
            stop: Duration::from_millis(500),
            grace: Duration::from_secs(30),
            // The kubelet restarts at once the first time and then delays by 10 s, doubling.
            backoff: Duration::from_secs(10),
        }
    }
}

/// Something that will happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    MachineUp {
        pool: String,
        node: String,
        zone: String,
    },
    MachineGone {
        node: String,
    },
    PoolGone {
        pool: String,
    },
    Attached {
        uid: String,
    },
    Detached {
        disk: String,
    },
    Started {
        uid: String,
    },
    PlainReady {
        uid: String,
    },
    PlainExit {
        uid: String,
    },
    Killed {
        uid: String,
    },
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) now: Duration,
    pub(crate) timing: Timing,
    pub(crate) serial: u64,
    pub(crate) agenda: BTreeMap<(Duration, u64), Event>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) pools: BTreeMap<String, Pool>,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) pods: BTreeMap<String, Pod>,
    pub(crate) sets: BTreeMap<String, StatefulSet>,
    pub(crate) deployments: BTreeMap<String, Deployment>,
    pub(crate) budgets: BTreeMap<String, Budget>,
    pub(crate) claims: BTreeMap<String, Claim>,
    pub(crate) disks: BTreeMap<String, Disk>,
    violations: Vec<String>,
    changes: u64,
}

impl Cluster {
    /// An empty cluster at time zero.
    pub fn new(timing: Timing) -> Self {
        Self {
            now: Duration::ZERO,
            timing,
            serial: 0,
            agenda: BTreeMap::new(),
            signals: Vec::new(),
            pools: BTreeMap::new(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            sets: BTreeMap::new(),
            deployments: BTreeMap::new(),
            budgets: BTreeMap::new(),
            claims: BTreeMap::new(),
            disks: BTreeMap::new(),
            violations: Vec::new(),
            changes: 0,
        }
    }

    /// Time.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Grows whenever something changed, so that others need not look at everything again.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// When the next thing happens by itself.
    pub fn next_event(&self) -> Option<Duration> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// Moves time forward; everything due happens in order. Time never runs backwards.
    pub fn advance(&mut self, to: Duration) {
        while let Some(entry) = self.agenda.first_entry() {
            let at = entry.key().0;
            if at > to {
                break;
            }
            let event = entry.remove();
            self.now = self.now.max(at);
            self.happen(event);
            self.settle();
        }
        self.now = self.now.max(to);
    }

    /// What happened to applications since the last call, in order.
    pub fn take_signals(&mut self) -> Vec<Signal> {
        std::mem::take(&mut self.signals)
    }

    /// Pools by name.
    pub fn pools(&self) -> &BTreeMap<String, Pool> {
        &self.pools
    }

    /// Nodes by name.
    pub fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.nodes
    }

    /// Pods by namespace and name.
    pub fn pods(&self) -> &BTreeMap<String, Pod> {
        &self.pods
    }

    /// Stateful sets.
    pub fn sets(&self) -> &BTreeMap<String, StatefulSet> {
        &self.sets
    }

    /// Claims.
    pub fn claims(&self) -> &BTreeMap<String, Claim> {
        &self.claims
    }

    /// Disks.
    pub fn disks(&self) -> &BTreeMap<String, Disk> {
        &self.disks
    }

    /// Promises of Kubernetes that the model broke. Always empty, or the model is wrong.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Adds or changes a stateful set.
    pub fn put_set(&mut self, name: &str, set: StatefulSet) {
        self.sets.insert(name.to_owned(), set);
        self.settle();
    }

    /// Changes the number of members. `false`: no such set.
    pub fn scale(&mut self, name: &str, replicas: u32) -> bool {
        let Some(set) = self.sets.get_mut(name) else {
            return false;
        };
        set.replicas = replicas;
        self.settle();
        true
    }

    /// Adds or changes a deployment.
    pub fn put_deployment(&mut self, name: &str, deployment: Deployment) {
        self.deployments.insert(name.to_owned(), deployment);
        self.settle();
    }

    /// Adds or changes a budget.
    pub fn put_budget(&mut self, name: &str, budget: Budget) {
        self.budgets.insert(name.to_owned(), budget);
    }

    /// Creates a pod that belongs to nobody. A pod of this name that exists is left alone.
    pub fn create_pod(&mut self, name: &str, labels: Labels, node_selector: Labels) {
        if self.pods.contains_key(name) {
            return;
        }
        let pod = self.new_pod(Owner::Nobody, labels, node_selector, None, Behaviour::Plain);
        self.pods.insert(name.to_owned(), pod);
        self.settle();
    }

    /// Deletes a pod gracefully. `false`: no such pod.
    pub fn delete_pod(&mut self, name: &str) -> bool {
        let found = self.pods.contains_key(name);
        if found {
            self.stop_pod(name);
            self.settle();
        }
        found
    }

    /// Changes labels of a pod. `false`: no such pod.
    pub fn label_pod(&mut self, name: &str, key: &str, value: &str) -> bool {
        self.pods.get_mut(name).is_some_and(|pod| {
            pod.labels.insert(key.to_owned(), value.to_owned());
            true
        })
    }

    /// Cordons or uncordons a node. `false`: no such node.
    pub fn cordon(&mut self, node: &str, unschedulable: bool) -> bool {
        let Some(found) = self.nodes.get_mut(node) else {
            return false;
        };
        found.unschedulable = unschedulable;
        self.settle();
        true
    }

    /// Marks a claim. `false`: no such claim.
    pub fn label_claim(&mut self, name: &str, key: &str, value: &str) -> bool {
        self.claims.get_mut(name).is_some_and(|claim| {
            claim.labels.insert(key.to_owned(), value.to_owned());
            true
        })
    }

    /// Deletes a claim by UID, and its disk with it. `false`: another claim has this name, or a
    /// pod still mounts it.
    pub fn delete_claim(&mut self, name: &str, uid: &str) -> bool {
        let in_use = self
            .pods
            .values()
            .any(|pod| pod.claim.as_deref() == Some(name));
        if in_use || self.claims.get(name).is_none_or(|claim| claim.uid != uid) {
            return false;
        }
        if let Some(disk) = self.claims.remove(name).and_then(|claim| claim.disk) {
            self.disks.remove(&disk);
            self.signals.push(Signal::DiskDeleted { disk });
        }
        true
    }

    pub(crate) fn new_pod(
        &mut self,
        owner: Owner,
        labels: Labels,
        node_selector: Labels,
        claim: Option<String>,
        behaviour: Behaviour,
    ) -> Pod {
        Pod {
            uid: self.uid("pod"),
            owner,
            labels,
            node_selector,
            node: None,
            claim,
            behaviour,
            container: Container::Waiting,
            restarts: 0,
            started_at: None,
            ready: false,
            terminating: false,
        }
    }

    pub(crate) fn uid(&mut self, kind: &str) -> String {
        self.serial += 1;
        format!("{kind}-{}", self.serial)
    }

    pub(crate) fn plan(&mut self, after: Duration, event: Event) {
        self.serial += 1;
        self.agenda.insert((self.now + after, self.serial), event);
    }

    pub(crate) fn pod_by_uid(&mut self, uid: &str) -> Option<(String, &mut Pod)> {
        self.pods
            .iter_mut()
            .find(|(_, pod)| pod.uid == uid)
            .map(|(name, pod)| (name.clone(), pod))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::MachineUp { pool, node, zone } => self.machine_up(&pool, &node, &zone),
            Event::MachineGone { node } => self.machine_gone(&node),
            Event::PoolGone { pool } => self.pool_gone(&pool),
            Event::Attached { uid } => self.attached(&uid),
            Event::Detached { disk } => {
                if let Some(disk) = self.disks.get_mut(&disk) {
                    disk.attached = None;
                }
            }
            Event::Started { uid } => self.container_starts(&uid),
            Event::PlainReady { uid } => self.set_ready(&uid, true),
            Event::PlainExit { uid } => self.exited(&uid),
            Event::Killed { uid } => self.kill(&uid),
        }
    }

    /// Lets the controllers act until nothing changes, then looks at the result.
    pub(crate) fn settle(&mut self) {
        self.changes += 1;
        while self.controllers() || self.schedule() || self.attach_disks() {}
        let found = invariants::check(self);
        for violation in found {
            if !self.violations.contains(&violation) {
                self.violations.push(violation);
            }
        }
    }
}
