//! Disruption budgets by topology: one for each set of pods that stand in for one another.
//!
//! # Guarantees
//! No pod of the input has two budgets afterwards, counting those that are there: the eviction API
//! answers such a pod with 500 and no drain gets past it. So a database has one budget for all of its
//! members and none for a role: roles move between pods, and a budget that selects the role beside
//! one that selects the set is exactly the second one.
//!
//! # Source
//! `pkg/registry/core/pod/storage/eviction.go`, `pkg/controller/disruption/disruption.go`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Content, File, Generated, metadata};
use crate::manifest::Object;
use crate::resilience::databases::{self, Database};
use crate::resilience::scene::{Scene, Workload};
use crate::resilience::select::Selector;
use crate::resilience::values::has;

/// From so many pods on, a tenth of them may go at once; below, one. A tenth of ten is the first that
/// is not less than one, and percentages round up.
const MANY: i64 = 10;

/// What a person says of a set of pods that is not in any input.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Namespace.
    pub namespace: String,
    /// Name of the budget.
    pub name: String,
    /// Labels of the pods.
    pub selector: BTreeMap<String, String>,
    /// How many pods there are.
    pub members: i64,
    /// Name of the database, as images are called (`postgres`, `mongo`); nothing for a service.
    pub database: Option<String>,
}

/// A wish that cannot be fulfilled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WishError {
    /// No budget is right for it.
    #[error("make a budget for {members} pods: {reason}")]
    NoBudget {
        /// Pods.
        members: i64,
        /// Why not.
        reason: &'static str,
    },
    /// Not a database that is known.
    #[error("recognise the database {0:?}: name it as its image is called, such as postgres")]
    Database(String),
    /// It would select every pod of the namespace.
    #[error("make a budget without labels: it would select every pod of the namespace")]
    NoLabels,
}

/// The rule of a budget for pods of this kind.
fn rule(members: i64, database: Option<&Database>) -> Result<Value, &'static str> {
    let durable = database.is_some_and(|found| found.durable);
    match database {
        _ if members < 2 => Err(
            "a single pod: a budget would hold every drain, or protect nothing; give it a second one first",
        ),
        Some(found) if found.quorum && members < 3 => {
            Err("two members of a majority: neither may go; give it a third first")
        }
        // One at a time, whatever the majority could spare: the next one goes when this one has
        // caught up and is Ready. Unhealthy ones count (IfHealthyBudget, the default): a member that
        // still copies its data holds the next eviction.
        _ if durable => Ok(json!({ "maxUnavailable": 1 })),
        // A pod that never becomes Ready serves nobody and must not hold a drain.
        _ if members < MANY => {
            Ok(json!({ "maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow" }))
        }
        _ => Ok(json!({ "maxUnavailable": "10%", "unhealthyPodEvictionPolicy": "AlwaysAllow" })),
    }
}

fn budget(name: &str, namespace: Option<&str>, selector: &Value, mut spec: Value) -> Value {
    if let Some(fields) = spec.as_object_mut() {
        fields.insert("selector".to_owned(), selector.clone());
    }
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(name, namespace),
        "spec": spec,
    })
}

/// A budget by what a person says.
///
/// # Errors
/// There is no budget that would be right.
pub fn of_wish(wish: &Wish) -> Result<Generated, WishError> {
    if wish.selector.is_empty() {
        return Err(WishError::NoLabels);
    }
    let database = match &wish.database {
        None => None,
        Some(name) => {
            Some(databases::by_name(name).ok_or_else(|| WishError::Database(name.clone()))?)
        }
    };
    let spec = rule(wish.members, database.as_ref()).map_err(|reason| WishError::NoBudget {
        members: wish.members,
        reason,
    })?;
    let selector = json!({ "matchLabels": wish.selector });
    let mut made = Generated::of(file(vec![budget(
        &wish.name,
        Some(&wish.namespace),
        &selector,
        spec,
    )]));
    made.notes.push(format!(
        "see that no other budget selects these pods: kubectl -n {} get pdb; with --from this is checked",
        wish.namespace
    ));
    Ok(made)
}

/// A budget for everything in the input that wants one and has none.
pub fn of_objects<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Generated {
    let scene = Scene::of(objects);
    let mut made = Generated::default();
    let mut budgets = Vec::new();
    let mut taken: BTreeSet<(String, String)> = scene
        .budgets
        .iter()
        .map(|known| {
            let name = known.object.name.to_string();
            (
                crate::resilience::scene::namespace(known.object).to_owned(),
                name,
            )
        })
        .collect();
    for (at, workload) in scene.workloads.iter().enumerate() {
        // DaemonSets are not evicted, Jobs and lone pods have no second one.
        if !workload.makes.scales() {
            continue;
        }
        let name = workload.name();
        match one(&scene, at, workload) {
            Err(reason) => made.leave_out(name, reason),
            Ok((selector, spec)) => {
                let within = workload.namespace();
                let mut called = workload.object.name.to_string();
                if !taken.insert((within.to_owned(), called.clone())) {
                    called = format!("{called}-{}", workload.object.kind.to_ascii_lowercase());
                    taken.insert((within.to_owned(), called.clone()));
                }
                let namespace = workload.object.namespace.as_deref();
                budgets.push(budget(&called, namespace, &selector, spec));
            }
        }
    }
    if !budgets.is_empty() {
        made.files.push(file(budgets));
    }
    made.left_out.sort();
    made
}

fn file(budgets: Vec<Value>) -> File {
    File {
        name: "budgets.yaml".to_owned(),
        about: vec![
            "One budget for each set of pods that stand in for one another; kubectl apply -f FILE"
                .to_owned(),
        ],
        content: Content::Kubernetes(budgets),
    }
}

/// Selector and rule for a workload.
fn one(scene: &Scene<'_>, at: usize, workload: &Workload<'_>) -> Result<(Value, Value), String> {
    if let Some(known) = covering(scene, at, workload) {
        return Err(format!("has the budget {known}"));
    }
    if has(workload.body, "/metadata/ownerReferences/0") {
        return Err("belongs to another object, whose owner keeps its budget".to_owned());
    }
    let members = workload.fewest().unwrap_or(1);
    if members == 0 {
        return Err("is scaled to nothing".to_owned());
    }
    let database = databases::of(workload);
    let spec = rule(members, database.as_ref()).map_err(str::to_owned)?;
    let own = workload.body.pointer("/spec/selector").cloned();
    let own =
        own.filter(|selector| has(selector, "/matchLabels") || has(selector, "/matchExpressions"));
    // Labels of the template are as many as there are: the narrowest that can be said.
    let narrow = workload
        .labels()
        .map(|labels| json!({ "matchLabels": labels }));
    let mut others = String::new();
    for selector in own.into_iter().chain(narrow) {
        match strangers(scene, at, workload, &selector) {
            None => return Ok((selector, spec)),
            Some(found) => others = found,
        }
    }
    if others.is_empty() {
        return Err("has no labels to select its pods by".to_owned());
    }
    Err(format!(
        "its labels are also those of {others}: a budget would count both; give one of them a label of its own"
    ))
}

/// A budget that is there already, for the workload or for any of its pods.
fn covering(scene: &Scene<'_>, at: usize, workload: &Workload<'_>) -> Option<String> {
    let known = scene.budgets.iter().find(|budget| {
        budget.workloads.contains(&at) || workload.pods.iter().any(|pod| budget.pods.contains(pod))
    })?;
    Some(known.object.name.to_string())
}

/// Somebody else whom the selector would pick too.
fn strangers(
    scene: &Scene<'_>,
    at: usize,
    workload: &Workload<'_>,
    selector: &Value,
) -> Option<String> {
    let selector = Selector::of(Some(selector));
    let within = workload.namespace();
    let other = scene.workloads.iter().enumerate().find(|(i, other)| {
        *i != at
            && other.namespace() == within
            && other.makes.serves()
            && selector.picks(other.labels())
    });
    if let Some((_, other)) = other {
        return Some(other.name());
    }
    let pod = scene.pods.iter().find(|pod| {
        pod.workload != Some(at)
            && crate::resilience::scene::namespace(pod.object) == within
            && !pod.is_finished()
            && selector.picks(pod.labels())
            // A pod that no listed workload makes: of this one's ReplicaSet, in a dump without those.
            && pod.workload.is_some_and(|other| other != at)
    });
    pod.map(|pod| format!("Pod {within}/{}", pod.object.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Want, read};
    use proptest::prelude::*;

    fn made(text: &str) -> Generated {
        let reading = read("a.yaml", text.as_bytes(), Want::Bodies);
        assert_eq!(reading.skipped, []);
        of_objects(&reading.objects)
    }

    fn specs(made: &Generated) -> Vec<(String, Value)> {
        made.files
            .iter()
            .flat_map(|file| match &file.content {
                Content::Kubernetes(all) => all.clone(),
                other => panic!("{other:?}"),
            })
            .map(|budget| {
                let name = budget["metadata"]["name"].as_str().unwrap().to_owned();
                (name, budget["spec"].clone())
            })
            .collect()
    }

    fn set(kind: &str, name: &str, replicas: u32, image: &str, labels: &str) -> String {
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: db }}\nspec:\n  replicas: {replicas}\n  \
             selector: {{ matchLabels: {{ {labels} }} }}\n  template:\n    metadata: {{ labels: {{ {labels} }} }}\n    \
             spec: {{ containers: [ {{ name: a, image: \"{image}\" }} ] }}\n---\n"
        )
    }

    #[test]
    fn the_topology_decides() {
        let text = [
            set("StatefulSet", "pg", 3, "postgres:15", "app: pg"),
            set("StatefulSet", "mongo", 2, "mongo:7", "app: mongo"),
            set("Deployment", "web", 4, "team/web:1", "app: web"),
            set("Deployment", "wide", 40, "team/web:1", "app: wide"),
            set("Deployment", "lone", 1, "team/web:1", "app: lone"),
            set("StatefulSet", "memcached", 3, "memcached:1", "app: mc"),
        ]
        .concat();
        let made = made(&text);
        let specs = specs(&made);
        let of = |name: &str| {
            let found = specs.iter().find(|(known, _)| known == name);
            found.map(|(_, spec)| spec.clone())
        };
        // One for the set, none for the role; unhealthy members count.
        assert_eq!(
            of("pg"),
            Some(json!({ "maxUnavailable": 1, "selector": { "matchLabels": { "app": "pg" } } }))
        );
        assert_eq!(
            of("web").unwrap()["unhealthyPodEvictionPolicy"],
            "AlwaysAllow"
        );
        assert_eq!(of("wide").unwrap()["maxUnavailable"], "10%");
        assert_eq!(
            of("memcached").unwrap()["unhealthyPodEvictionPolicy"],
            "AlwaysAllow"
        );
        assert_eq!(of("mongo"), None);
        assert_eq!(of("lone"), None);
        let left: Vec<&str> = made
            .left_out
            .iter()
            .map(|one| one.object.as_str())
            .collect();
        assert_eq!(left, ["Deployment db/lone", "StatefulSet db/mongo"]);
    }

    #[test]
    fn nothing_is_made_twice_and_nobody_else_is_counted() {
        let budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: { name: all, namespace: db }\n\
                      spec: { maxUnavailable: 1, selector: { matchLabels: { app: pg } } }\n---\n";
        let text = [
            budget.to_owned(),
            set("StatefulSet", "pg", 3, "postgres:15", "app: pg"),
            set("Deployment", "blue", 3, "team/web:1", "app: web"),
            set("Deployment", "green", 3, "team/web:1", "app: web"),
        ]
        .concat();
        let made = made(&text);
        assert_eq!(specs(&made), []);
        let reasons: Vec<&str> = made
            .left_out
            .iter()
            .map(|one| one.reason.as_str())
            .collect();
        assert!(reasons[0].contains("Deployment db/green"), "{reasons:?}");
        assert!(reasons[1].contains("Deployment db/blue"), "{reasons:?}");
        assert_eq!(reasons[2], "has the budget all");
    }

    #[test]
    fn a_wish_is_judged_like_the_rest() {
        let wish = |database: Option<&str>, members| Wish {
            namespace: "db".to_owned(),
            name: "es-data".to_owned(),
            selector: BTreeMap::from([("role".to_owned(), "data".to_owned())]),
            members,
            database: database.map(str::to_owned),
        };
        assert!(of_wish(&wish(Some("elasticsearch"), 3)).is_ok());
        assert!(matches!(
            of_wish(&wish(Some("elasticsearch"), 2)),
            Err(WishError::NoBudget { .. })
        ));
        assert!(matches!(
            of_wish(&wish(Some("oracle"), 3)),
            Err(WishError::Database(_))
        ));
        let mut bare = wish(None, 3);
        bare.selector.clear();
        assert_eq!(of_wish(&bare), Err(WishError::NoLabels));
    }

    proptest! {
        /// Whatever labels workloads share, no pod ends with two budgets.
        #[test]
        fn no_pod_has_two_budgets(labels in proptest::collection::vec((0_u8..3, 0_u8..3, proptest::bool::ANY), 1..6)) {
            let mut text = String::new();
            let mut all = Vec::new();
            for (i, (a, b, budgeted)) in labels.iter().enumerate() {
                let own = format!("a: \"{a}\", b: \"{b}\"");
                // The selector is wider than the labels of the pods: only `a`.
                let set = set("Deployment", &format!("w{i}"), 3, "team/web:1", &own)
                    .replacen(&format!("matchLabels: {{ {own} }}"), &format!("matchLabels: {{ a: \"{a}\" }}"), 1);
                text.push_str(&set);
                all.push((*a, *b));
                if *budgeted {
                    text.push_str(&format!(
                        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{ name: p{i}, namespace: db }}\n\
                         spec: {{ maxUnavailable: 1, selector: {{ matchLabels: {{ b: \"{b}\" }} }} }}\n---\n"
                    ));
                }
            }
            let made = made(&text);
            let existing: BTreeSet<String> = labels.iter().filter(|l| l.2).map(|l| l.1.to_string()).collect();
            for (a, b) in all {
                let (a, b) = (a.to_string(), b.to_string());
                let new = specs(&made).into_iter().filter(|(_, spec)| {
                    let wanted = spec["selector"]["matchLabels"].as_object().unwrap();
                    wanted.iter().all(|(key, value)| match key.as_str() {
                        "a" => value == a.as_str(),
                        "b" => value == b.as_str(),
                        _ => false,
                    })
                }).count();
                prop_assert!(new + usize::from(existing.contains(&b)) <= 1);
            }
        }
    }
}
