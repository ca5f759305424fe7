//! Nodes and the pools that they belong to.

use ferriswheel_model::drain::world::{self, UNSCHEDULABLE, World};
use serde_json::Value;

use super::Builder;
use super::rules::{effect, labels, list_of};
use crate::drain::sketch::amounts;
use crate::resilience::values::text;

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
const NO_POOL: &str = "nodes";

impl Builder<'_> {
    pub(super) fn nodes(&mut self) {
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
