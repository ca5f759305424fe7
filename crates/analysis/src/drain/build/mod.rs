//! A world for the simulation out of what was read.
//!
//! Where the input does not say how long something takes, a figure with its argument stands in
//! ([`pods::Times`]). Must not know: files, and how findings look.

mod budgets;
mod nodes;
mod pods;
mod rules;
mod shapes;

use std::collections::BTreeMap;

use ferriswheel_model::drain::world::{
    BudgetId, ControllerId, Labels, NAME_FIELD, NodeId, OLD, PodId, ScaleId, Shape, Text,
    UNSCHEDULABLE, World,
};
use serde_json::Value;

use super::sketch::{PodSketch, Sketch};
use crate::manifest::{Object, Origin};
use rules::labels;

/// Milliseconds of a second.
const SECOND: u64 = 1_000;

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
}
