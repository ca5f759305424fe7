//! The part of the world that a plan rests on, as one short text.
//!
//! In it is what a plan names or was decided by. Not in it is what changes all the time without
//! changing any decision: lag, times, counters, pods of others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::databases;
use crate::policy::Upgrade;
use crate::scope::Scope;
use crate::world::Snapshot;

/// Digest of the part of the world that a plan for this spec rests on.
pub fn relevant_digest(world: &Snapshot, upgrade: &Upgrade) -> String {
    let hash = Sha256::digest(relevant(world, upgrade).to_string().as_bytes());
    hash.iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The relevant part itself, by object, for saying what has changed.
pub fn relevant(world: &Snapshot, upgrade: &Upgrade) -> Value {
    let (scope, _) = Scope::find(world, upgrade);
    let mut parts: BTreeMap<String, Value> = BTreeMap::new();
    parts.insert(
        format!("cluster {}", world.cluster.id),
        json!(world.cluster.kubernetes_version),
    );
    for (name, pool) in &world.pools {
        parts.insert(
            format!("pool {name}"),
            json!([
                pool.kubernetes_version,
                pool.count,
                pool.zones,
                pool.system,
                pool.vm_size,
                pool.autoscaling
            ]),
        );
    }
    for (name, node) in &scope.nodes {
        parts.insert(
            format!("node {name}"),
            json!([node.identity.uid, node.pool, node.zone]),
        );
    }
    for database in &scope.databases {
        let pattern = databases::of(database);
        let set = database.set;
        parts.insert(
            format!("set {}", database.set_name),
            json!([
                set.uid,
                set.replicas,
                set.current_revision,
                set.update_revision
            ]),
        );
        for member in database.members.values() {
            parts.insert(
                format!("member {}", member.name),
                json!([member.pod.uid, member.pod.node, pattern.decided_by(member),]),
            );
        }
        for (name, claim) in &world.claims {
            let ours = name.namespace == database.set_name.namespace
                && set.claim_templates.iter().any(|template| {
                    name.name
                        .starts_with(&format!("{template}-{}-", database.set_name.name))
                });
            if let (true, Entry::Vacant(slot)) = (ours, parts.entry(format!("claim {name}"))) {
                slot.insert(json!([claim.uid, claim.volume, claim.zone]));
            }
        }
        parts.extend(pattern.decided_by_others());
    }
    json!(parts)
}
