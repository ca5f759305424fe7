//! A spec that `plan` accepts, from what was found; what was not found is marked.
//!
//! Invariant: what is written here is read by `policy::parse` without a complaint, and holds no secret:
//! Secrets are named, never read.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::choose::{By, database};
use super::found::Found;

/// A spec with what a person must still put in.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Draft {
    /// YAML.
    pub text: String,
    /// Fields that were not found.
    pub to_fill: Vec<String>,
}

/// What a person adds.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Subscription, resource group and name of the cluster.
    pub cluster: Option<(String, String, String)>,
    /// Version to go to, whole (`1.36.3`); nothing to move the primaries only.
    pub version: Option<String>,
}

/// Stands for a subscription that is not known; it has the form of one.
const NO_SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";

/// Words in the names of Secrets of users that write as applications.
const APPLICATION: [&str; 3] = ["application", "app", "user"];

/// The spec; nothing when `plan` could carry none of the databases.
pub(super) fn draft(found: &[Found], wish: &Wish) -> Option<Draft> {
    let carried: Vec<&Found> = found
        .iter()
        .filter(|one| database(one).by == By::Plan)
        .collect();
    if carried.is_empty() {
        return None;
    }
    let mut to_fill = Vec::new();
    let (subscription, group, cluster) = wish.cluster.clone().unwrap_or_else(|| {
        to_fill.push(
            "spec.cluster: az aks show --resource-group RG --name NAME --query id".to_owned(),
        );
        (
            NO_SUBSCRIPTION.to_owned(),
            "RESOURCE-GROUP".to_owned(),
            "CLUSTER".to_owned(),
        )
    });
    let mut names = std::collections::BTreeSet::new();
    let mut databases = Vec::new();
    for one in carried {
        // Two sets of one name in two namespaces are two databases.
        let mut name = one.name.clone();
        if !names.insert(name.clone()) {
            name = format!("{}-{}", one.namespace, one.name);
            names.insert(name.clone());
        }
        databases.push(entry(one, &name, &mut to_fill));
    }
    let mut spec = json!({
        "cluster": { "subscription": subscription, "resourceGroup": group, "name": cluster },
        "databases": databases,
    });
    if let Some(fields) = spec.as_object_mut() {
        match &wish.version {
            Some(version) => {
                fields.insert("target".to_owned(), json!({ "kubernetesVersion": version }));
                fields.insert("strategy".to_owned(), json!({ "ferrisWheel": {} }));
            }
            None => {
                fields.insert("strategy".to_owned(), json!({ "handOver": {} }));
                to_fill.push("spec.target: without a version this moves the primaries and no machine; say --target 1.36.3".to_owned());
            }
        }
    }
    let name = match &wish.version {
        Some(version) => format!(
            "{}-{}",
            cluster.to_ascii_lowercase(),
            version.replace('.', "-")
        ),
        None => format!("{}-hand-over", cluster.to_ascii_lowercase()),
    };
    let document = json!({
        "apiVersion": ferriswheel_plan::policy::API_VERSION,
        "kind": ferriswheel_plan::policy::KIND,
        "metadata": { "name": name },
        "spec": spec,
    });
    let mut text =
        String::from("# A starting spec. Read it; then: ferriswheel plan FILE --out plan.json\n");
    for field in &to_fill {
        text.push_str(&format!("# put in: {field}\n"));
    }
    text.push_str(&crate::generate::yaml(&document));
    Some(Draft { text, to_fill })
}

fn entry(found: &Found, name: &str, to_fill: &mut Vec<String>) -> Value {
    // A namespace that the manifest leaves to who applies it is the one of kubectl.
    let within = if found.namespace.is_empty() {
        "default"
    } else {
        &found.namespace
    };
    let mut fields = Map::new();
    fields.insert(
        "statefulSet".to_owned(),
        json!(format!("{within}/{}", found.name)),
    );
    let mut named = |field: &str, words: &[&str], placeholder: &str| {
        let known = words
            .iter()
            .find_map(|word| found.secrets.iter().find(|secret| secret.contains(word)));
        known
            .map(|secret| format!("{within}/{secret}"))
            .unwrap_or_else(|| {
                to_fill.push(format!(
                    "databases[{name}].{field}: no Secret of the pods has a name like it"
                ));
                format!("{within}/{placeholder}")
            })
    };
    let system = match found.system {
        "PostgreSQL" => {
            let superuser = named(
                "superuser",
                &["superuser", "admin", "root", "postgres"],
                "SUPERUSER-SECRET",
            );
            let application = named("application", &APPLICATION, "APPLICATION-SECRET");
            fields.insert("superuser".to_owned(), json!(superuser));
            fields.insert("application".to_owned(), json!(application));
            if !found.poolers.is_empty() {
                fields.insert("poolers".to_owned(), json!(found.poolers));
            }
            "postgres"
        }
        "MariaDB" => {
            for (field, words, placeholder) in [
                ("admin", &["admin", "root"][..], "ADMIN-SECRET"),
                ("replication", &["repl"], "REPLICATION-SECRET"),
                ("application", &APPLICATION, "APPLICATION-SECRET"),
            ] {
                let secret = named(field, words, placeholder);
                fields.insert(field.to_owned(), json!(secret));
            }
            "mariadb"
        }
        "MongoDB" => {
            let admin = named("admin", &["admin", "root"], "ADMIN-SECRET");
            let application = named("application", &APPLICATION, "APPLICATION-SECRET");
            fields.insert("admin".to_owned(), json!(admin));
            fields.insert("application".to_owned(), json!(application));
            "mongodb"
        }
        _ => {
            let known = ["auth", "password", "redis", "valkey"]
                .iter()
                .find_map(|word| found.secrets.iter().find(|secret| secret.contains(word)));
            if let Some(secret) = known {
                fields.insert("password".to_owned(), json!(format!("{within}/{secret}")));
            }
            "redis"
        }
    };
    if system != "redis" {
        let database = found.database.clone().unwrap_or_else(|| {
            to_fill.push(format!(
                "databases[{name}].database: the application's database"
            ));
            "DATABASE".to_owned()
        });
        fields.insert("database".to_owned(), json!(database));
    }
    if let Some(service) = &found.service {
        fields.insert("service".to_owned(), json!(service));
    }
    // The default is the name of the public image.
    let usual = if system == "mongodb" { "mongo" } else { system };
    if !found.container.is_empty() && found.container != usual {
        fields.insert("container".to_owned(), json!(found.container));
    }
    if let Some(port) = found.port {
        fields.insert("port".to_owned(), json!(port));
    }
    // An election by itself is longer than a second.
    let stall = if system == "mongodb" { "2s" } else { "1s" };
    json!({ "name": name, system: fields, "limits": { "writeStall": stall, "ackedLoss": 0 } })
}
