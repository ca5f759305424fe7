//! A plan as a Job in the cluster: `examples/in-cluster`, fitted to the plan.
//!
//! The manifests of the example are read here, not written again: what a run of theirs may do is what
//! its test has tried. Only names are put in, and rights are left out that this plan does not need.
//!
//! Invariants: a right that is not understood here is kept, because a run without it would stop in its
//! middle; nothing is added.

use std::collections::{BTreeMap, BTreeSet};

use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::policy::{DatabaseSpec, Strategy};
use serde_json::{Value, json};

use super::{Content, File, Generated};

const RBAC: &str = include_str!("../../../../examples/in-cluster/rbac.yaml");
const JOB: &str = include_str!("../../../../examples/in-cluster/job.yaml");
const RESULTS: &str = include_str!("../../../../examples/in-cluster/results.yaml");

/// Namespace of the example.
const EXAMPLE: &str = "db";

/// Largest plan that fits: etcd takes 1.5 MiB and the API server no ConfigMap above 1 MiB, names and
/// labels included.
const MAX_PLAN: usize = 1_000_000;

/// What a person adds to the plan.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Where the Job runs; default: the namespace of the first database.
    pub namespace: Option<String>,
    /// Image of this program.
    pub image: String,
    /// ConfigMaps with the configuration of the poolers.
    pub pooler_configs: Vec<String>,
    /// Tenant and client id of the managed identity.
    pub identity: Option<(String, String)>,
    /// StorageClass of the journal's claim; default: that of the example.
    pub storage_class: Option<String>,
}

/// A Job that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WishError {
    /// The plan is larger than a ConfigMap.
    #[error("put the plan into a ConfigMap: it has {0} bytes, and {MAX_PLAN} fit")]
    TooLarge(usize),
    /// Nobody said where the poolers' configuration is.
    #[error(
        "let the run aim the poolers of {0}: say --pooler-config with the ConfigMap that has their configuration"
    )]
    NoPoolerConfig(String),
    /// The plan has no database.
    #[error("fit the rights to the plan: it has no database")]
    NoDatabase,
    /// The plan cannot be written.
    #[error("write the plan as JSON")]
    Write(#[source] serde_json::Error),
}

/// The Job of a plan, with its rights.
///
/// # Errors
/// The plan does not fit, or leaves open what the run may change.
pub fn of_plan(plan: &Plan, wish: &Wish) -> Result<Generated, WishError> {
    let spec = &plan.body.policy.spec;
    let first = spec.databases.first().ok_or(WishError::NoDatabase)?;
    let home = wish
        .namespace
        .clone()
        .unwrap_or_else(|| first.stateful_set().namespace.clone());
    for database in &spec.databases {
        let pooled = database
            .postgres()
            .is_some_and(|postgres| !postgres.poolers.is_empty());
        if pooled && wish.pooler_configs.is_empty() {
            return Err(WishError::NoPoolerConfig(database.name.to_string()));
        }
    }
    let name = format!(
        "ferriswheel-plan-{}",
        plan.id.as_str().get(..10).unwrap_or(plan.id.as_str())
    );
    let text = serde_json::to_string(plan).map_err(WishError::Write)?;
    if text.len() > MAX_PLAN {
        return Err(WishError::TooLarge(text.len()));
    }
    let mut made = Generated::default();
    made.files.push(File {
        name: "rbac.yaml".to_owned(),
        about: vec!["What the run may do, and nothing more; the reason of each rule is in examples/in-cluster/rbac.yaml".to_owned()],
        content: Content::Kubernetes(rights(&spec.databases, &spec.strategy, &home, wish)),
    });
    let mut configs = vec![json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": home, "labels": { "ferriswheel.dev/config": "plan" } },
        "data": { "plan.json": text },
    })];
    match &wish.identity {
        Some((tenant, client)) => configs.push(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "ferriswheel-azure", "namespace": home },
            "data": { "AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": client },
        })),
        None => made.notes.push(format!(
            "the Job waits for the ConfigMap {home}/ferriswheel-azure with AZURE_TENANT_ID and AZURE_CLIENT_ID (--tenant, --client-id)"
        )),
    }
    made.files.push(File {
        name: "plan.yaml".to_owned(),
        about: vec!["The plan, and who the run is to Azure".to_owned()],
        content: Content::Kubernetes(configs),
    });
    made.files.push(File {
        name: "job.yaml".to_owned(),
        about: vec!["The claim of the journal, and the Job; read and approve the plan before: its gates are passed".to_owned()],
        content: Content::Kubernetes(job(&home, &name, wish)),
    });
    made.files.push(File {
        name: "results.yaml".to_owned(),
        about: vec!["Afterwards: brings report, summary and journal out".to_owned()],
        content: Content::Kubernetes(
            documents(RESULTS)
                .into_iter()
                .map(|mut object| {
                    moved(&mut object, &home);
                    imaged(&mut object, &wish.image);
                    object
                })
                .collect(),
        ),
    });
    made.notes.push(
        "a Job that has ended is deleted before the next one: kubectl delete job/ferriswheel; the journal stays on its claim".to_owned(),
    );
    Ok(made)
}

/// Documents of a manifest of the example.
#[expect(
    clippy::expect_used,
    reason = "the manifests are compiled in, and a test reads them"
)]
fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).expect("the example is YAML")
}

/// Puts an object into another namespace.
fn moved(object: &mut Value, home: &str) {
    for path in ["/metadata/namespace", "/subjects/0/namespace"] {
        if let Some(found) = object.pointer_mut(path)
            && *found == EXAMPLE
        {
            *found = json!(home);
        }
    }
}

/// Puts the image into every container.
fn imaged(object: &mut Value, image: &str) {
    let containers = object.pointer_mut("/spec/template/spec/containers");
    for container in containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(found) = container.get_mut("image") {
            *found = json!(image);
        }
    }
}

fn job(home: &str, plan: &str, wish: &Wish) -> Vec<Value> {
    let mut objects = documents(JOB);
    for object in &mut objects {
        moved(object, home);
        imaged(object, &wish.image);
        let volumes = object.pointer_mut("/spec/template/spec/volumes");
        for volume in volumes.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(name) = volume.pointer_mut("/configMap/name")
                && *name == "ferriswheel-plan"
            {
                *name = json!(plan);
            }
        }
        if let (Some(class), Some(found)) = (
            &wish.storage_class,
            object.pointer_mut("/spec/storageClassName"),
        ) {
            *found = json!(class);
        }
    }
    objects
}

/// Account, rights over machines, and rights in each namespace with a database.
fn rights(databases: &[DatabaseSpec], strategy: &Strategy, home: &str, wish: &Wish) -> Vec<Value> {
    let mut sets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for database in databases {
        let set = database.stateful_set();
        sets.entry(&set.namespace).or_default().insert(&set.name);
    }
    let pooled = databases
        .iter()
        .filter_map(DatabaseSpec::postgres)
        .flat_map(|postgres| &postgres.poolers)
        .map(|pooler| pooler.namespace.as_str())
        .collect::<BTreeSet<_>>();
    // Agents and the probe run in the Job's namespace if that is another than the databases'.
    sets.entry(home).or_default();
    let machines = matches!(strategy, Strategy::FerrisWheel(_));
    let mut made = Vec::new();
    for object in documents(RBAC) {
        match object.pointer("/kind").and_then(Value::as_str) {
            Some("Role") => {
                for (namespace, names) in &sets {
                    let mut role = object.clone();
                    moved(&mut role, namespace);
                    let pooled = pooled.contains(namespace);
                    let fit = |rule| fitted(rule, names, machines, pooled, &wish.pooler_configs);
                    rules(&mut role, fit);
                    made.push(role);
                }
            }
            Some("RoleBinding") => {
                for namespace in sets.keys() {
                    let mut binding = object.clone();
                    moved(&mut binding, home);
                    if let Some(found) = binding.pointer_mut("/metadata/namespace") {
                        *found = json!(namespace);
                    }
                    made.push(binding);
                }
            }
            kind => {
                let mut object = object.clone();
                let binding = kind == Some("ClusterRoleBinding");
                moved(&mut object, home);
                // Two runs in two namespaces have a binding each.
                if let Some(name) = object.pointer_mut("/metadata/name").filter(|_| binding) {
                    *name = json!(format!("ferriswheel-{home}"));
                }
                rules(&mut object, |rule| {
                    (machines || !for_machines(&rule)).then_some(rule)
                });
                made.push(object);
            }
        }
    }
    made
}

fn rules(object: &mut Value, fit: impl Fn(Value) -> Option<Value>) {
    if let Some(rules) = object.get_mut("rules").and_then(Value::as_array_mut) {
        *rules = std::mem::take(rules).into_iter().filter_map(fit).collect();
    }
}

fn is(rule: &Value, resource: &str, verbs: &[&str]) -> bool {
    rule.get("resources") == Some(&json!([resource])) && rule.get("verbs") == Some(&json!(verbs))
}

/// Of machines, seats and their disks: a hand-over alone touches none.
fn for_machines(rule: &Value) -> bool {
    is(rule, "nodes", &["patch"])
        || is(rule, "pods/eviction", &["create"])
        || is(rule, "persistentvolumes", &["patch"])
        || is(rule, "statefulsets", &["patch"])
        || is(rule, "persistentvolumeclaims", &["patch", "delete"])
}

/// A rule of the namespace's Role with the names of this plan; nothing if the plan needs it not.
fn fitted(
    mut rule: Value,
    sets: &BTreeSet<&str>,
    machines: bool,
    pooled: bool,
    configs: &[String],
) -> Option<Value> {
    if !machines && for_machines(&rule) {
        return None;
    }
    let named: Option<Vec<Value>> = if is(&rule, "statefulsets", &["patch"]) {
        Some(sets.iter().map(|name| json!(name)).collect())
    } else if is(&rule, "configmaps", &["patch"]) {
        Some(if pooled {
            configs.iter().map(|name| json!(name)).collect()
        } else {
            Vec::new()
        })
    } else {
        None
    };
    let of_poolers =
        is(&rule, "pods/exec", &["create", "get"]) || is(&rule, "deployments", &["get"]);
    if of_poolers && !pooled {
        return None;
    }
    if let Some(names) = named {
        // A rule for no names would be a rule for all.
        if names.is_empty() {
            return None;
        }
        if let Some(found) = rule.get_mut("resourceNames") {
            *found = Value::Array(names);
        }
    }
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(strategy: &Value, databases: &Value) -> Plan {
        let target = strategy
            .get("ferrisWheel")
            .map(|_| json!({ "kubernetesVersion": "1.36.3" }));
        serde_json::from_value(json!({
            "schema": "ferriswheel.plan.v1", "id": "0123456789abcdef", "body": {
                "name": "n", "parent": null, "observed_at": "2026-01-01T00:00:00Z", "cluster": "c",
                "target": null, "world_digest": "d", "promises": [], "warnings": [], "steps": [],
                "peak": {"extra_nodes": 0, "extra_replicas": 0, "fewest_members": 3, "if_a_member_crashes": ""},
                "policy": {"apiVersion": "ferriswheel.dev/v1alpha1", "kind": "Upgrade",
                    "metadata": {"name": "n"},
                    "spec": {"cluster": {"subscription": "s", "resourceGroup": "r", "name": "c"},
                        "target": target, "strategy": strategy, "databases": databases}},
            },
        }))
        .unwrap()
    }

    fn example(poolers: &Value) -> Value {
        json!([{ "name": "orders", "postgres": {
            "statefulSet": "db/pg", "poolers": poolers, "superuser": "db/s", "application": "db/a", "database": "app",
        } }])
    }

    fn wish() -> Wish {
        Wish {
            image: "ferriswheel:0.1.0".to_owned(),
            pooler_configs: vec!["pgbouncer-config".to_owned()],
            identity: Some(("t".to_owned(), "c".to_owned())),
            ..Wish::default()
        }
    }

    fn objects(made: &Generated, file: &str) -> Vec<Value> {
        let file = made.files.iter().find(|known| known.name == file).unwrap();
        match &file.content {
            Content::Kubernetes(objects) => objects.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn for_the_set_of_the_example_it_is_the_example() {
        let plan = plan(
            &json!({ "ferrisWheel": {} }),
            &example(&json!(["db/pgbouncer"])),
        );
        let made = of_plan(&plan, &wish()).unwrap();
        let mut rbac = documents(RBAC);
        rbac[2]["metadata"]["name"] = json!("ferriswheel-db");
        assert_eq!(objects(&made, "rbac.yaml"), rbac);
        let mut job = documents(JOB);
        job[1]["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] =
            json!("ferriswheel-plan-0123456789");
        assert_eq!(objects(&made, "job.yaml"), job);
        assert_eq!(objects(&made, "results.yaml"), documents(RESULTS));
        let configs = objects(&made, "plan.yaml");
        let back: Plan =
            serde_json::from_str(configs[0]["data"]["plan.json"].as_str().unwrap()).unwrap();
        assert_eq!(back, plan);
    }

    #[test]
    fn a_hand_over_without_poolers_may_do_less() {
        let plan = plan(&json!({ "handOver": {} }), &example(&json!([])));
        let made = of_plan(
            &plan,
            &Wish {
                pooler_configs: Vec::new(),
                ..wish()
            },
        )
        .unwrap();
        let all = json!(objects(&made, "rbac.yaml")).to_string();
        for gone in [
            "pods/eviction",
            "pods/exec",
            "deployments",
            "pgbouncer-config",
            "persistentvolumeclaims\"],\"verbs\":[\"patch",
        ] {
            assert!(!all.contains(gone), "{gone}");
        }
        // What the run needs all the same.
        for kept in ["\"secrets\"", "\"services\"", "\"nodes\""] {
            assert!(all.contains(kept), "{kept}");
        }
    }

    #[test]
    fn each_namespace_has_its_own_rights_and_the_account_is_one() {
        let databases = json!([
            { "name": "a", "redis": { "statefulSet": "cache/redis" } },
            { "name": "b", "redis": { "statefulSet": "shop/redis" } },
        ]);
        let plan = plan(&json!({ "ferrisWheel": {} }), &databases);
        let made = of_plan(
            &plan,
            &Wish {
                namespace: Some("ops".to_owned()),
                ..wish()
            },
        )
        .unwrap();
        let all = objects(&made, "rbac.yaml");
        let of = |kind: &str| -> Vec<&str> {
            let found = all.iter().filter(|o| o["kind"] == kind);
            found
                .map(|o| o["metadata"]["namespace"].as_str().unwrap())
                .collect()
        };
        assert_eq!(of("Role"), ["cache", "ops", "shop"]);
        assert_eq!(of("RoleBinding"), ["cache", "ops", "shop"]);
        assert_eq!(of("ServiceAccount"), ["ops"]);
        for binding in all
            .iter()
            .filter(|o| o["kind"].as_str().unwrap().ends_with("Binding"))
        {
            assert_eq!(binding["subjects"][0]["namespace"], "ops");
        }
        // No set is in the Job's own namespace: no right to change any there.
        let own = all
            .iter()
            .find(|o| o["kind"] == "Role" && o["metadata"]["namespace"] == "ops")
            .unwrap();
        assert!(!own["rules"].to_string().contains("statefulsets"));
    }

    #[test]
    fn what_is_left_open_is_refused() {
        let plan = plan(
            &json!({ "ferrisWheel": {} }),
            &example(&json!(["db/pgbouncer"])),
        );
        let bare = Wish {
            pooler_configs: Vec::new(),
            ..wish()
        };
        assert!(
            matches!(of_plan(&plan, &bare), Err(WishError::NoPoolerConfig(name)) if name == "orders")
        );
    }
}
