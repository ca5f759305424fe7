//! Stateful sets, deployments and the scheduler. Each returns whether it changed anything.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::objects::{Behaviour, Claim, Container, Disk, Labels, Owner, Pod, selects};

impl Cluster {
    pub(crate) fn controllers(&mut self) -> bool {
        let sets: Vec<String> = self.sets.keys().cloned().collect();
        let deployments: Vec<String> = self.deployments.keys().cloned().collect();
        sets.iter().any(|name| self.reconcile_set(name))
            || deployments
                .iter()
                .any(|name| self.reconcile_deployment(name))
    }

    /// `OrderedReady`: a member is made when all lower ones are Ready, the highest surplus member
    /// goes when all others are Ready.
    fn reconcile_set(&mut self, name: &str) -> bool {
        let Some(set) = self.sets.get(name).cloned() else {
            return false;
        };
        let (namespace, short) = split(name);
        for ordinal in 0..set.replicas {
            let pod = format!("{name}-{ordinal}");
            match self.pods.get(&pod) {
                Some(found) if found.ready && !found.terminating => {}
                Some(_) => break,
                None => {
                    let claim = format!("{namespace}/{}-{short}-{ordinal}", set.claim_template);
                    if !self.claims.contains_key(&claim) {
                        let uid = self.uid("claim");
                        self.claims.insert(
                            claim.clone(),
                            Claim {
                                uid,
                                disk: None,
                                labels: Labels::new(),
                            },
                        );
                    }
                    let owner = Owner::Set {
                        name: name.to_owned(),
                        ordinal,
                    };
                    let new = self.new_pod(
                        owner,
                        set.labels.clone(),
                        set.node_selector.clone(),
                        Some(claim),
                        Behaviour::Application,
                    );
                    self.pods.insert(pod, new);
                    return true;
                }
            }
        }
        let surplus = self
            .pods
            .iter()
            .filter_map(|(pod, found)| match &found.owner {
                Owner::Set { name: set, ordinal } if set == name => Some((*ordinal, pod, found)),
                _ => None,
            })
            .max_by_key(|(ordinal, _, _)| *ordinal)
            .filter(|(ordinal, _, found)| *ordinal >= set.replicas && !found.terminating)
            .map(|(_, pod, _)| pod.clone());
        match surplus {
            Some(pod) => {
                self.stop_pod(&pod);
                true
            }
            None => false,
        }
    }

    fn reconcile_deployment(&mut self, name: &str) -> bool {
        let Some(deployment) = self.deployments.get(name).cloned() else {
            return false;
        };
        let owner = Owner::Deployment(name.to_owned());
        let alive = self
            .pods
            .values()
            .filter(|pod| pod.owner == owner && !pod.terminating)
            .count();
        if alive >= usize::try_from(deployment.replicas).unwrap_or(usize::MAX) {
            return false;
        }
        let pod = self.new_pod(
            owner,
            deployment.labels.clone(),
            deployment.node_selector.clone(),
            None,
            deployment.behaviour,
        );
        let full = format!("{name}-{}", self.serial);
        self.pods.insert(full, pod);
        true
    }

    /// Places one pod: the fitting node with the fewest pods.
    pub(crate) fn schedule(&mut self) -> bool {
        let waiting: Vec<String> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.node.is_none() && !pod.terminating)
            .map(|(name, _)| name.clone())
            .collect();
        for name in waiting {
            let Some(pod) = self.pods.get(&name).cloned() else {
                continue;
            };
            if let Some(node) = self.fitting(&pod) {
                self.bind(&name, &node);
                return true;
            }
        }
        false
    }

    fn fitting(&self, pod: &Pod) -> Option<String> {
        let zone = pod
            .claim
            .as_ref()
            .and_then(|claim| self.claims.get(claim)?.disk.as_ref())
            .and_then(|disk| self.disks.get(disk))
            .map(|disk| disk.zone.clone());
        let mut load: BTreeMap<&str, usize> = BTreeMap::new();
        for other in self.pods.values() {
            if let Some(node) = &other.node {
                *load.entry(node).or_default() += 1;
            }
        }
        self.nodes
            .iter()
            .filter(|(_, node)| node.ready && !node.unschedulable && !node.leaving)
            .filter(|(_, node)| {
                pod.node_selector.is_empty() || selects(&pod.node_selector, &node.labels)
            })
            .filter(|(_, node)| zone.as_ref().is_none_or(|zone| *zone == node.zone))
            .filter(|(name, _)| !self.has_sibling(pod, name))
            .min_by_key(|(name, _)| (load.get(name.as_str()).copied().unwrap_or(0), *name))
            .map(|(name, _)| name.clone())
    }

    /// Another member of the same set is on the node and the set forbids it.
    pub(crate) fn has_sibling(&self, pod: &Pod, node: &str) -> bool {
        let Owner::Set { name: set, .. } = &pod.owner else {
            return false;
        };
        self.sets.get(set).is_some_and(|set| set.one_per_node)
            && self.pods.values().any(|other| {
                other.uid != pod.uid
                    && other.node.as_deref() == Some(node)
                    && matches!(&other.owner, Owner::Set { name, .. } if name == set)
            })
    }

    fn bind(&mut self, pod: &str, node: &str) {
        let zone = self.nodes.get(node).map(|node| node.zone.clone());
        let disk = self.uid("disk");
        let Some(found) = self.pods.get_mut(pod) else {
            return;
        };
        found.node = Some(node.to_owned());
        if let (Some(claim), Some(zone)) = (
            found
                .claim
                .as_ref()
                .and_then(|name| self.claims.get_mut(name)),
            zone,
        ) && claim.disk.is_none()
        {
            claim.disk = Some(disk.clone());
            self.disks.insert(
                disk,
                Disk {
                    zone,
                    attached: None,
                },
            );
        }
        if found.claim.is_none() {
            found.container = Container::Starting;
            let uid = found.uid.clone();
            self.plan(self.timing.start, crate::cluster::Event::Started { uid });
        }
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("", name))
}
