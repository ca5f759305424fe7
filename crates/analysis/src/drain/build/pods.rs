//! Pods, and the controllers that put others in their place.

use std::collections::BTreeMap;

use ferriswheel_model::drain::world::{self, Phase, Replaces, ScaleId};
use serde_json::Value;

use super::{Builder, Fields, Key};
use crate::drain::sketch::PodSketch;
use crate::manifest::Object;
use crate::resilience::values::{flag, text};

impl<'a> Builder<'a> {
    pub(super) fn pods(&mut self) {
        let pods = std::mem::take(&mut self.pods);
        let mut by_owner: BTreeMap<Key<'a>, Vec<(&'a Object, &'a PodSketch)>> = BTreeMap::new();
        for (object, pod) in &pods {
            if let Some((_, kind, name)) = &pod.owner {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                by_owner
                    .entry((kind, namespace, name))
                    .or_default()
                    .push((object, pod));
            }
        }
        let mut times: BTreeMap<Key<'a>, Times> = BTreeMap::new();
        let mut ordinals: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for (key, own) in &by_owner {
            times.insert(*key, Times::of(own));
            let replaces = self.controller(*key, own);
            let start = match self.others.get(key) {
                Some(set) if key.0 == "StatefulSet" => set.int("/spec/ordinals/start").unwrap_or(0),
                _ => 0,
            };
            if !matches!(replaces, Replaces::Numbered | Replaces::InOrder) {
                continue;
            }
            for (i, (object, _)) in own.iter().enumerate() {
                let number = object
                    .name
                    .rsplit('-')
                    .next()
                    .and_then(|end| end.parse::<i64>().ok());
                let ordinal = match number {
                    Some(number) if key.0 == "StatefulSet" => u32::try_from(number - start).ok(),
                    _ => u32::try_from(i).ok(),
                };
                let namespace = object.namespace.as_deref().unwrap_or_default();
                ordinals.insert((namespace, &object.name), ordinal.unwrap_or(u32::MAX));
            }
        }
        for (object, pod) in pods {
            let namespace = object.namespace.as_deref().unwrap_or_default();
            let key = pod
                .owner
                .as_ref()
                .map(|(_, kind, name)| (&**kind, namespace, &**name));
            let controller = key.and_then(|key| self.controllers.get(&key).copied());
            let phase = match (&*pod.phase, pod.ready) {
                ("Succeeded" | "Failed", _) => Phase::Finished,
                ("Running", true) => Phase::Ready,
                ("Running", false) => Phase::Unready,
                _ => Phase::Pending,
            };
            let node = pod.node.as_deref();
            let on = node.and_then(|node| self.node_ids.get(node).copied());
            // On a node that the input does not have (a virtual one): it is nowhere that drains.
            if node.is_some() && on.is_none() {
                continue;
            }
            let numbered = ordinals.get(&(namespace, &*object.name)).copied();
            let timing = key
                .and_then(|key| times.get(&key).copied())
                .unwrap_or_default();
            let shape = self.shape(namespace, pod, timing);
            let name = self.built.world.text(&object.name);
            let id = self.built.world.add_pod(world::Pod {
                name,
                shape,
                controller,
                ordinal: numbered.unwrap_or(0),
                node: on,
                phase,
                // A numbered controller deletes what has finished, and makes it again.
                terminating: pod.terminating || (phase == Phase::Finished && numbered.is_some()),
                mirror: pod.mirror,
            });
            self.built.pods.insert(id, object);
        }
    }

    /// Adds a controller of these pods.
    fn controller(&mut self, key: Key<'a>, pods: &[(&'a Object, &'a PodSketch)]) -> Replaces {
        let (kind, namespace, name) = key;
        let known = self.others.get(&key);
        let group = pods
            .first()
            .and_then(|(_, pod)| pod.owner.as_ref())
            .map_or("", |(group, ..)| group);
        let there = pods
            .iter()
            .filter(|(_, pod)| !pod.terminating && !matches!(&*pod.phase, "Succeeded" | "Failed"))
            .count();
        let there = u32::try_from(there).unwrap_or(u32::MAX);
        let wanted = known.map(|known| size(known.int("/spec/replicas")));
        let (replaces, replicas, scale) = match (group, kind) {
            ("apps", "ReplicaSet") => {
                let replicas = wanted.unwrap_or(there);
                let scale = self
                    .deployment(key, pods)
                    .unwrap_or_else(|| self.scale(replicas));
                (Replaces::AtOnce, replicas, Some(scale))
            }
            ("", "ReplicationController") => {
                let replicas = wanted.unwrap_or(there);
                (Replaces::AtOnce, replicas, Some(self.scale(replicas)))
            }
            ("apps", "StatefulSet") => {
                let parallel = known.and_then(|set| set.text("/spec/podManagementPolicy"));
                let replicas = wanted.unwrap_or(there);
                let replaces = match parallel {
                    Some("Parallel") => Replaces::Numbered,
                    _ => Replaces::InOrder,
                };
                (replaces, replicas, Some(self.scale(replicas)))
            }
            ("batch", "Job") => (Replaces::AtOnce, there, None),
            ("apps", "DaemonSet") | ("", "Node") => (Replaces::PerNode, 0, None),
            // An operator makes its pods again under their names.
            _ => {
                let custom = (group.to_owned(), kind.to_owned());
                let scales = self.customs.get(&custom).copied().unwrap_or(true);
                let all = u32::try_from(pods.len()).unwrap_or(u32::MAX);
                (Replaces::Numbered, all, scales.then(|| self.scale(there)))
            }
        };
        let world = &mut self.built.world;
        let controller = world::Controller {
            kind: world.text(kind),
            namespace: world.text(namespace),
            name: world.text(name),
            replaces,
            replicas,
            scale,
        };
        let id = world.add_controller(controller);
        self.controllers.insert(key, id);
        replaces
    }

    fn other<'s>(
        &'s self,
        kind: &'s str,
        namespace: &'s str,
        name: &'s str,
    ) -> Option<&'s Fields<'a>> {
        // As short-lived as its parts: keys of the map live longer.
        let others: &BTreeMap<Key<'s>, Fields<'a>> = &self.others;
        others.get(&(kind, namespace, name))
    }

    fn scale(&mut self, size: u32) -> ScaleId {
        self.built.world.add_scale(size)
    }

    /// The size of the deployment of a replica set: all its replica sets share it.
    fn deployment(
        &mut self,
        key: Key<'a>,
        pods: &[(&'a Object, &'a PodSketch)],
    ) -> Option<ScaleId> {
        let (_, namespace, name) = key;
        let owner = self.others.get(&key).and_then(|set| {
            let owners = set.get("/metadata/ownerReferences")?.as_array()?;
            let owner = owners
                .iter()
                .find(|owner| flag(owner, "/controller") == Some(true))?;
            (text(owner, "/kind") == Some("Deployment")).then(|| text(owner, "/name"))?
        });
        // Without the replica set: its name is its deployment's and the hash of the template.
        let by_name = || {
            let (_, pod) = pods.first()?;
            let labels: Value = serde_json::from_str(&pod.labels).ok()?;
            let hash = text(&labels, "/pod-template-hash")?;
            name.strip_suffix(hash)?.strip_suffix('-')
        };
        let name = owner.or_else(by_name)?;
        let deployment = self.other("Deployment", namespace, name)?;
        let known = ("Deployment", namespace, &*deployment.object.name);
        let size = size(deployment.int("/spec/replicas"));
        if let Some(scale) = self.deployments.get(&known) {
            return Some(*scale);
        }
        let scale = self.built.world.add_scale(size);
        self.deployments.insert(known, scale);
        Some(scale)
    }
}

/// How long pods of a controller take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// The median of what its pods took from their place to readiness, in seconds.
    pub(super) observed: Option<u64>,
    /// None of its pods is ready: neither will the next be.
    pub(super) sick: bool,
}

impl Times {
    fn of(pods: &[(&Object, &PodSketch)]) -> Self {
        let mut took: Vec<u64> = pods.iter().filter_map(|(_, pod)| pod.started_in).collect();
        took.sort_unstable();
        let mut running = pods
            .iter()
            .filter(|(_, pod)| &*pod.phase == "Running" && !pod.terminating)
            .peekable();
        Self {
            observed: took.get(took.len() / 2).copied(),
            sick: running.peek().is_some() && running.all(|(_, pod)| !pod.ready),
        }
    }
}

fn size(replicas: Option<i64>) -> u32 {
    replicas.map_or(1, |size| u32::try_from(size).unwrap_or(0))
}
