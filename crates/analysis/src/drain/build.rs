//! A world for the simulation out of what was read.
//!
//! Where the input does not say how long something takes, a figure with its argument stands in
//! ([`Times`]). Must not know: files, and how findings look.

use std::collections::BTreeMap;

use ferriswheel_model::drain::world::{
    self, Amount, AnyOf, BudgetId, ControllerId, Effect, Is, Labels, Limit, NAME_FIELD, Near,
    NodeId, OLD, Phase, PodId, Port, Replaces, Requirement, ScaleId, Selector, Shape, ShapeId,
    Spread, Text, UNSCHEDULABLE, World,
};
use serde_json::Value;

use super::sketch::{PodSketch, Sketch, amounts};
use crate::manifest::{Object, Origin};
use crate::resilience::values::{flag, int, list, text};

/// Milliseconds of a second.
const SECOND: u64 = 1_000;
/// From its place on a node until a container runs, where no pod of the workload shows it: an image
/// that is not on a fresh node yet.
const START: u64 = 10;
/// A disk that has to be detached from one node and attached to another takes this long on Azure.
const ATTACH: u64 = 20;
/// An operator that sees the cordon hands over within this time: its resync, and the promotion.
const HAND_OVER: u64 = 30;
/// A kubelet's limit where the node does not say.
const MAX_PODS: u64 = 110;

/// The labels that name a node's pool, by cloud.
const POOL_LABELS: &[&str] = &[
    "kubernetes.azure.com/agentpool",
    "agentpool",
    "eks.amazonaws.com/nodegroup",
    "cloud.google.com/gke-nodepool",
    "karpenter.sh/nodepool",
];
/// Nodes that belong to no pool are one.
pub(crate) const NO_POOL: &str = "nodes";

/// The world, and what of the input each part of it is.
pub(crate) struct Built<'a> {
    pub(crate) world: World,
    /// Nodes of each pool in the order of their names.
    pub(crate) pools: BTreeMap<String, Vec<NodeId>>,
    pub(crate) nodes: BTreeMap<NodeId, &'a Object>,
    pub(crate) pods: BTreeMap<PodId, &'a Object>,
    pub(crate) budgets: BTreeMap<BudgetId, &'a Object>,
    /// What the cluster itself reported of its budgets.
    pub(crate) reported: BTreeMap<BudgetId, Reported>,
}

/// A budget's status in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) expected: i64,
    pub(crate) desired: i64,
    pub(crate) healthy: i64,
    pub(crate) allowed: i64,
}

/// An object and its fields by path.
struct Fields<'a> {
    object: &'a Object,
    fields: Value,
}

impl Fields<'_> {
    fn get(&self, path: &str) -> Option<&Value> {
        self.fields.get(path)
    }

    fn int(&self, path: &str) -> Option<i64> {
        self.get(path).and_then(Value::as_i64)
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }
}

/// Kind, namespace and name.
type Key<'a> = (&'a str, &'a str, &'a str);

struct Builder<'a> {
    built: Built<'a>,
    pods: Vec<(&'a Object, &'a PodSketch)>,
    others: BTreeMap<Key<'a>, Fields<'a>>,
    /// Custom kinds with whether they have a scale, by group and kind.
    customs: BTreeMap<(String, String), bool>,
    namespaces: BTreeMap<Text, Labels>,
    node_ids: BTreeMap<&'a str, NodeId>,
    controllers: BTreeMap<Key<'a>, ControllerId>,
    templates: BTreeMap<(&'a str, &'a str), Shape>,
    deployments: BTreeMap<Key<'a>, ScaleId>,
}

/// The cluster as the simulation takes it, or why there is none.
///
/// # Errors
/// The input has no nodes, or no pods on them.
pub fn build_world<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Result<World, String> {
    build(objects).map(|built| built.world)
}

/// The world of the objects, or what it lacks.
pub(crate) fn build<'a>(
    objects: impl IntoIterator<Item = &'a Object>,
) -> Result<Built<'a>, String> {
    let mut builder = Builder {
        built: Built {
            world: World::new(),
            pools: BTreeMap::new(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            budgets: BTreeMap::new(),
            reported: BTreeMap::new(),
        },
        pods: Vec::new(),
        others: BTreeMap::new(),
        customs: BTreeMap::new(),
        namespaces: BTreeMap::new(),
        node_ids: BTreeMap::new(),
        controllers: BTreeMap::new(),
        templates: BTreeMap::new(),
        deployments: BTreeMap::new(),
    };
    // Tolerations and rules compare with these, whether or not any object has them.
    for text in ["", NAME_FIELD, UNSCHEDULABLE, OLD] {
        builder.built.world.text(text);
    }
    builder.take(objects);
    builder.nodes();
    builder.pods();
    builder.budgets();
    let built = builder.built;
    if built.nodes.is_empty() {
        return Err("the input has no nodes (kubectl get nodes -o json)".to_owned());
    }
    if !built.world.pods.iter().any(|pod| pod.node.is_some()) {
        return Err("the input has no pods on its nodes (kubectl get pods -A -o json)".to_owned());
    }
    Ok(built)
}

impl Built<'_> {
    pub(crate) fn node_name(&self, id: NodeId) -> &str {
        self.nodes.get(&id).map_or("", |object| &object.name)
    }

    pub(crate) fn pod_name(&self, id: PodId) -> String {
        self.pods
            .get(&id)
            .map_or_else(String::new, |object| named(object))
    }

    pub(crate) fn budget_name(&self, id: BudgetId) -> String {
        self.budgets
            .get(&id)
            .map_or_else(String::new, |object| named(object))
    }
}

fn named(object: &Object) -> String {
    match &object.namespace {
        Some(namespace) => format!("{namespace}/{}", object.name),
        None => object.name.to_string(),
    }
}

impl<'a> Builder<'a> {
    fn take(&mut self, objects: impl IntoIterator<Item = &'a Object>) {
        let mut pods: BTreeMap<(&str, &str), (&'a Object, &'a PodSketch)> = BTreeMap::new();
        for object in objects {
            let Some(sketch) = object.sketch.as_deref() else {
                continue;
            };
            let namespace = object.namespace.as_deref().unwrap_or_default();
            let live = object.origin == Origin::Live;
            match sketch {
                Sketch::Pod(pod) => {
                    // A manifest of a pod is not a pod that runs.
                    if live || pod.node.is_some() {
                        pods.insert((namespace, &object.name), (object, pod));
                    }
                }
                Sketch::Fields(text) => {
                    let Ok(fields) = serde_json::from_str::<Value>(text) else {
                        continue;
                    };
                    let key = (&*object.kind, namespace, &*object.name);
                    let known = self.others.get(&key);
                    // What a cluster answered stands before the manifest that it came from.
                    if known.is_none_or(|known| live || known.object.origin != Origin::Live) {
                        self.others.insert(key, Fields { object, fields });
                    }
                }
            }
        }
        self.pods = pods.into_values().collect();
        let world = &mut self.built.world;
        for ((kind, _, name), fields) in &self.others {
            match *kind {
                "Namespace" => {
                    let mut own = labels(world, fields.get("/metadata/labels"));
                    let key = world.text("kubernetes.io/metadata.name");
                    let name = world.text(name);
                    own.retain(|(known, _)| *known != key);
                    own.push((key, name));
                    own.sort_unstable();
                    self.namespaces.insert(name, own);
                }
                "CustomResourceDefinition" => {
                    let versions = fields.get("/spec/versions").and_then(Value::as_array);
                    let scales = versions
                        .into_iter()
                        .flatten()
                        .any(|version| version.pointer("/subresources/scale").is_some());
                    let of = |path| fields.text(path).unwrap_or_default().to_owned();
                    self.customs
                        .insert((of("/spec/group"), of("/spec/names/kind")), scales);
                }
                _ => {}
            }
        }
    }

    fn nodes(&mut self) {
        let world = &mut self.built.world;
        // Names of machine scale sets count up in base 36, digits first, as strings do.
        for ((_, _, name), fields) in self.others.range(("Node", "", "")..("Node\u{0}", "", "")) {
            if fields.get("virtual").and_then(Value::as_bool) == Some(true) {
                continue;
            }
            let all = amounts(fields.get("/status/allocatable"));
            let mut allocatable = vec![0; world.resources.len()];
            for (resource, amount) in &all {
                if resource == "pods" {
                    continue;
                }
                let at = world.resource(resource);
                if allocatable.len() <= at {
                    allocatable.resize(at + 1, 0);
                }
                if let Some(entry) = allocatable.get_mut(at) {
                    *entry = *amount;
                }
            }
            let taints = taints(world, fields.get("/spec/taints"));
            let cordon = world.text(UNSCHEDULABLE);
            let flagged = fields.get("/spec/unschedulable").and_then(Value::as_bool) == Some(true);
            let own = labels(world, fields.get("/metadata/labels"));
            let pool = fields
                .get("/metadata/labels")
                .and_then(|labels| {
                    POOL_LABELS
                        .iter()
                        .find_map(|key| labels.get(*key)?.as_str())
                })
                .unwrap_or(NO_POOL)
                .to_owned();
            let most = all.get("pods").copied().unwrap_or(MAX_PODS);
            let text = world.text(name);
            let id = world.add_node(world::Node {
                name: text,
                labels: own,
                cordoned: flagged || taints.iter().any(|taint| taint.key == cordon),
                taints: taints
                    .into_iter()
                    .filter(|taint| taint.key != cordon)
                    .collect(),
                allocatable,
                max_pods: u32::try_from(most).unwrap_or(u32::MAX),
                absent: false,
            });
            self.built.nodes.insert(id, fields.object);
            self.built.pools.entry(pool).or_default().push(id);
            self.node_ids.insert(&fields.object.name, id);
        }
    }

    fn pods(&mut self) {
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

    fn shape(&mut self, namespace: &'a str, pod: &'a PodSketch, times: Times) -> ShapeId {
        let common = match self.templates.get(&(namespace, &*pod.template)) {
            Some(shape) => shape.clone(),
            None => {
                let shape = self.template(namespace, &pod.template);
                self.templates
                    .insert((namespace, &pod.template), shape.clone());
                shape
            }
        };
        let mut shape = common;
        let own = serde_json::from_str::<Value>(&pod.labels).ok();
        shape.labels = labels(&mut self.built.world, own.as_ref());
        let mut disk = false;
        for claim in &pod.claims {
            disk = true;
            let key = ("PersistentVolumeClaim", namespace, &**claim);
            let volume = self
                .others
                .get(&key)
                .and_then(|claim| claim.text("/spec/volumeName"));
            let volume = volume.and_then(|name| self.others.get(&("PersistentVolume", "", name)));
            if let Some(volume) = volume {
                let rules = volume_rules(&mut self.built.world, volume);
                shape.node_rules.extend(rules);
            }
        }
        shape.node_rules.sort();
        shape.node_rules.dedup();
        let (start, ready) = match times.observed {
            Some(all) => (all / 2 * SECOND, (all - all / 2) * SECOND),
            None => {
                let attach = if disk { ATTACH } else { 0 };
                // Until here the template's own figure stands in `ready`.
                ((START + attach) * SECOND, shape.ready.unwrap_or(1))
            }
        };
        shape.start = start.max(1);
        shape.ready = (!times.sick).then_some(ready.max(1));
        self.built.world.shape(shape)
    }

    /// What a template says, without labels and volumes.
    fn template(&mut self, namespace: &str, template: &str) -> Shape {
        let fields = serde_json::from_str::<Value>(template).unwrap_or(Value::Null);
        let field = |path: &str| fields.get(path);
        let near = |kind: &str| {
            let path =
                format!("/spec/affinity/{kind}/requiredDuringSchedulingIgnoredDuringExecution");
            field(&path)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let (friends, foes) = (near("podAffinity"), near("podAntiAffinity"));
        let world = &mut self.built.world;
        let own = world.text(namespace);
        let mut node_rules = Vec::new();
        if let Some(wanted) = field("/spec/nodeSelector").and_then(Value::as_object) {
            let wanted: Selector = wanted
                .iter()
                .filter_map(|(key, value)| {
                    Some(Requirement {
                        key: world.text(key),
                        is: Is::In(vec![world.text(value.as_str()?)]),
                    })
                })
                .collect();
            if !wanted.is_empty() {
                node_rules.push(vec![wanted]);
            }
        }
        let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        if let Some(terms) = field(terms) {
            node_rules.push(any_of(world, terms));
        }
        let number = |name: &str| fields.get(name).and_then(Value::as_u64);
        let load = |i: usize| {
            fields
                .pointer(&format!("/load/{i}"))
                .and_then(Value::as_u64)
        };
        let mut requests: Vec<(usize, u64)> = fields
            .get("requests")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(name, amount)| {
                let amount = amount.as_u64().filter(|amount| *amount > 0)?;
                Some((world.resource(name), amount))
            })
            .collect();
        requests.sort_unstable();
        let ports = list(&fields, "/ports").iter().filter_map(|port| {
            let [protocol, address, number] = port.as_array()?.as_slice() else {
                return None;
            };
            let address = address.as_str().unwrap_or_default();
            let any = address.is_empty() || address == "0.0.0.0";
            Some(Port {
                protocol: world.text(protocol.as_str()?),
                address: (!any).then(|| world.text(address)),
                number: u16::try_from(number.as_u64()?).ok()?,
            })
        });
        let ports = ports.collect();
        let tolerations = tolerations(world, field("/spec/tolerations"));
        let spread = list_of(field("/spec/topologySpreadConstraints"))
            .iter()
            .filter(|spread| text(spread, "/whenUnsatisfiable") == Some("DoNotSchedule"))
            .filter_map(|about| spread(world, about))
            .collect();
        Shape {
            namespace: own,
            labels: Vec::new(),
            requests,
            load: (load(0).unwrap_or(0), load(1).unwrap_or(0)),
            node_rules,
            tolerations,
            near: self.near(own, &friends),
            apart: self.near(own, &foes),
            spread,
            ports,
            start: 1,
            ready: Some((number("probe").unwrap_or(1) * SECOND).max(1)),
            stop: (number("stop").unwrap_or(1) * SECOND).max(1),
        }
    }

    fn near(&mut self, own: Text, terms: &[Value]) -> Vec<Near> {
        let mut found = Vec::new();
        for term in terms {
            let world = &mut self.built.world;
            let Some(topology) = text(term, "/topologyKey") else {
                continue;
            };
            let topology = world.text(topology);
            let selector = selector(world, term.pointer("/labelSelector"));
            let mut names: Vec<Text> = list(term, "/namespaces")
                .iter()
                .filter_map(|name| Some(world.text(name.as_str()?)))
                .collect();
            let by_label = term
                .pointer("/namespaceSelector")
                .filter(|value| !value.is_null());
            let everywhere = by_label
                .and_then(Value::as_object)
                .is_some_and(serde_json::Map::is_empty);
            if let Some(wanted) = self::selector(world, by_label) {
                let all = self.namespaces.iter();
                let picked = all.filter(|(_, labels)| world.selects(&wanted, labels));
                names.extend(picked.map(|(name, _)| *name));
            } else if names.is_empty() {
                names.push(own);
            }
            names.sort_unstable();
            names.dedup();
            found.push(Near {
                namespaces: (!everywhere).then_some(names),
                selector,
                topology,
            });
        }
        found
    }

    fn budgets(&mut self) {
        let range = ("PodDisruptionBudget", "", "")..("PodDisruptionBudget\u{0}", "", "");
        for ((_, namespace, name), fields) in self.others.range(range) {
            let spec = fields.get("/spec").unwrap_or(&Value::Null);
            let limit = match (spec.get("maxUnavailable"), spec.get("minAvailable")) {
                (Some(most), _) => amount(most).map(Limit::MaxUnavailable),
                (None, Some(least)) => amount(least).map(Limit::MinAvailable),
                // Neither: nothing is expected, and nothing allowed.
                (None, None) => Some(Limit::MinAvailable(Amount::Percent(100))),
            };
            let Some(limit) = limit else { continue };
            let old = fields.object.api.ends_with("/v1beta1");
            let world = &mut self.built.world;
            let mut picks = selector(world, spec.get("selector"));
            // In policy/v1beta1 an empty selector picks nothing.
            if old && picks.as_ref().is_some_and(Vec::is_empty) {
                picks = None;
            }
            let (namespace, text_name) = (world.text(namespace), world.text(name));
            let id = world.add_budget(world::Budget {
                namespace,
                name: text_name,
                selector: picks,
                limit,
                always_allow: text(spec, "/unhealthyPodEvictionPolicy") == Some("AlwaysAllow"),
                gives_way: hands_over(fields, name).then_some(HAND_OVER * SECOND),
            });
            self.built.budgets.insert(id, fields.object);
            if let Some(status) = fields.get("/status") {
                let of = |path| int(status, path).unwrap_or(0);
                let reported = Reported {
                    expected: of("/expectedPods"),
                    desired: of("/desiredHealthy"),
                    healthy: of("/currentHealthy"),
                    allowed: of("/disruptionsAllowed"),
                };
                self.built.reported.insert(id, reported);
            }
        }
    }
}

/// How long pods of a controller take.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// The median of what its pods took from their place to readiness, in seconds.
    observed: Option<u64>,
    /// None of its pods is ready: neither will the next be.
    sick: bool,
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

/// CloudNativePG keeps a budget over its primary that allows nothing, and switches over when the node
/// is cordoned.
fn hands_over(fields: &Fields<'_>, name: &str) -> bool {
    let owners = list_of(fields.get("/metadata/ownerReferences"));
    let own = |owner: &Value| {
        text(owner, "/apiVersion").is_some_and(|api| api.starts_with("postgresql.cnpg.io/"))
    };
    name.ends_with("-primary") && owners.iter().any(own)
}

fn size(replicas: Option<i64>) -> u32 {
    replicas.map_or(1, |size| u32::try_from(size).unwrap_or(0))
}

fn list_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn labels(world: &mut World, value: Option<&Value>) -> Labels {
    let given = value.and_then(Value::as_object);
    let mut found: Labels = given
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((world.text(key), world.text(value.as_str()?))))
        .collect();
    found.sort_unstable();
    found
}

fn effect(value: &Value) -> Option<Effect> {
    Some(match text(value, "/effect")? {
        "NoSchedule" => Effect::NoSchedule,
        "PreferNoSchedule" => Effect::PreferNoSchedule,
        "NoExecute" => Effect::NoExecute,
        _ => return None,
    })
}

fn taints(world: &mut World, value: Option<&Value>) -> Vec<world::Taint> {
    let given = list_of(value).iter();
    given
        .filter_map(|taint| {
            Some(world::Taint {
                key: world.text(text(taint, "/key")?),
                value: world.text(text(taint, "/value").unwrap_or_default()),
                effect: effect(taint)?,
            })
        })
        .collect()
}

fn tolerations(world: &mut World, value: Option<&Value>) -> Vec<world::Toleration> {
    let mut found: Vec<world::Toleration> = list_of(value)
        .iter()
        .map(|about| {
            let key = text(about, "/key").filter(|key| !key.is_empty());
            let any = text(about, "/operator") == Some("Exists");
            let value = text(about, "/value").unwrap_or_default();
            world::Toleration {
                key: key.map(|key| world.text(key)),
                value: (!any).then(|| world.text(value)),
                effect: effect(about),
            }
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn requirement(world: &mut World, about: &Value, prefix: &str) -> Option<Requirement> {
    let key = text(about, "/key")?;
    let values: Vec<&str> = list(about, "/values")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let number = || values.first().and_then(|value| value.parse::<i64>().ok());
    let is = match text(about, "/operator")? {
        "In" => Is::In(values.iter().map(|value| world.text(value)).collect()),
        "NotIn" => Is::NotIn(values.iter().map(|value| world.text(value)).collect()),
        "Exists" => Is::Present,
        "DoesNotExist" => Is::Absent,
        "Gt" => Is::Above(number()?),
        "Lt" => Is::Below(number()?),
        _ => return None,
    };
    Some(Requirement {
        key: world.text(&format!("{prefix}{key}")),
        is,
    })
}

/// A label selector; nothing where it is absent, which selects nothing.
fn selector(world: &mut World, value: Option<&Value>) -> Option<Selector> {
    let value = value.filter(|value| !value.is_null())?;
    let mut found = Selector::new();
    let wanted = value.pointer("/matchLabels").and_then(Value::as_object);
    for (key, value) in wanted.into_iter().flatten() {
        found.push(Requirement {
            key: world.text(key),
            is: Is::In(vec![world.text(value.as_str()?)]),
        });
    }
    for about in list(value, "/matchExpressions") {
        found.push(requirement(world, about, "")?);
    }
    found.sort();
    Some(found)
}

/// Terms of which one must hold. A term without conditions holds for no node.
fn any_of(world: &mut World, terms: &Value) -> AnyOf {
    let mut found = AnyOf::new();
    for term in terms.as_array().into_iter().flatten() {
        let mut all = Selector::new();
        let mut understood = true;
        for path in ["/matchExpressions", "/matchFields"] {
            for about in list(term, path) {
                match requirement(world, about, "") {
                    Some(requirement) => all.push(requirement),
                    None => understood = false,
                }
            }
        }
        if understood && !all.is_empty() {
            all.sort();
            found.push(all);
        }
    }
    found
}

fn spread(world: &mut World, about: &Value) -> Option<Spread> {
    let number = |path: &str| int(about, path).and_then(|number| u32::try_from(number).ok());
    Some(Spread {
        max_skew: number("/maxSkew").unwrap_or(1),
        min_domains: number("/minDomains").unwrap_or(1),
        topology: world.text(text(about, "/topologyKey")?),
        selector: selector(world, about.pointer("/labelSelector")),
        ignore_node_rules: text(about, "/nodeAffinityPolicy") == Some("Ignore"),
        honor_taints: text(about, "/nodeTaintsPolicy") == Some("Honor"),
    })
}

/// Where a volume can be mounted.
fn volume_rules(world: &mut World, volume: &Fields<'_>) -> Vec<AnyOf> {
    let mut rules = Vec::new();
    if let Some(terms) = volume.get("/spec/nodeAffinity/required/nodeSelectorTerms") {
        rules.push(any_of(world, terms));
    }
    for key in [
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/zone",
    ] {
        let labels = volume.get("/metadata/labels");
        if let Some(zones) = labels.and_then(|labels| labels.get(key)?.as_str()) {
            let values = zones.split("__").map(|zone| world.text(zone)).collect();
            rules.push(vec![vec![Requirement {
                key: world.text(key),
                is: Is::In(values),
            }]]);
        }
    }
    rules
}

fn amount(value: &Value) -> Option<Amount> {
    match value {
        Value::Number(number) => Some(Amount::Pods(u32::try_from(number.as_i64()?).ok()?)),
        Value::String(text) => match text.strip_suffix('%') {
            Some(percent) => Some(Amount::Percent(percent.parse().ok()?)),
            None => None,
        },
        _ => None,
    }
}
