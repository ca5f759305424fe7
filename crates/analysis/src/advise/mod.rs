//! What to do with this cluster: the strategy for what matters most, the pattern of each database, what
//! must be put right first, and a spec to start from.
//!
//! Invariants: every choice names its reasons; a figure is measured by us, or it says whose it is; what
//! `plan` of this version cannot carry out is never called carried out by it.
//!
//! What this module must not know: where the input comes from, and how it is shown.

mod choose;
mod figures;
mod found;
mod spec;

pub use choose::{By, Choice, Priority, Role};
pub use figures::Figure;
pub use found::Found;
pub use spec::{Draft, Wish};

use serde::Serialize;

use crate::check::{Scope, check};
use crate::deprecations::Target;
use crate::findings::{Finding, Severity, Skipped};
use crate::manifest::Reading;
use crate::resilience::Settings;
use crate::resilience::scene::Scene;

/// Name of the document that `--output json` prints.
pub const SCHEMA: &str = "ferriswheel.advice.v1";

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What matters most, if it was said.
    pub priority: Option<Priority>,
    /// Who asks, if it was said.
    pub role: Option<Role>,
    /// The version to go to.
    pub target: Target,
    /// What the checks are told.
    pub settings: Settings,
    /// What the spec is told.
    pub wish: Wish,
}

/// The whole advice.
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What matters most, and why that was taken.
    pub priority: Priority,
    /// Why.
    pub because: String,
    /// For the cluster.
    pub cluster: Choice,
    /// For each database.
    pub databases: Vec<Database>,
    /// What stops any upgrade of this cluster: findings that break or block, of other objects.
    pub first: Vec<First>,
    /// A spec to start from.
    pub spec: Option<Draft>,
    /// What could not be read.
    pub skipped: Vec<Skipped>,
}

/// A database with its pattern.
#[derive(Clone, Debug, Serialize)]
pub struct Database {
    /// What was found.
    pub found: Found,
    /// What to do with it.
    pub choice: Choice,
    /// What must be put right first.
    pub first: Vec<First>,
}

/// Something to put right, as `check` finds it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct First {
    /// Code of the finding.
    pub code: &'static str,
    /// How grave.
    pub severity: Severity,
    /// What it is about.
    pub object: String,
    /// What is wrong.
    pub message: String,
    /// What clears it.
    pub fix: String,
}

/// The port that clients of a system use.
fn usual_port(system: &str) -> Option<i64> {
    crate::generate::probes::usual_port(system)
}

/// The advice.
pub fn advise(reading: Reading, ask: &Ask) -> Advice {
    let scene = Scene::of(&reading.objects);
    let found = found::databases(&scene, &reading.objects);
    let mut wish = ask.wish.clone();
    if wish.cluster.is_none() {
        wish.cluster = cluster_of(&scene);
    }
    drop(scene);
    let scope = Scope {
        api_versions: true,
        resilience: Some(ask.settings),
        drain: None,
    };
    let report = check(reading, &ask.target, &scope);
    let (priority, because) = priority(ask, &found);
    let mut rest: Vec<&Finding> = report.findings.iter().collect();
    let databases: Vec<Database> = found
        .iter()
        .map(|one| {
            let (own, others): (Vec<&Finding>, Vec<&Finding>) =
                rest.iter().partition(|finding| is_about(finding, one));
            rest = others;
            Database {
                found: one.clone(),
                choice: choose::database(one),
                first: own
                    .into_iter()
                    .filter(|finding| hurts(finding, one))
                    .map(first)
                    .collect(),
            }
        })
        .collect();
    Advice {
        schema: SCHEMA,
        priority,
        because,
        cluster: choose::cluster(priority, &found),
        databases,
        first: rest
            .into_iter()
            .filter(|finding| finding.severity <= Severity::Blocks)
            .map(first)
            .collect(),
        spec: spec::draft(&found, &wish),
        skipped: report.skipped,
    }
}

fn priority(ask: &Ask, found: &[Found]) -> (Priority, String) {
    let durable = found.iter().filter(|one| one.durable).count();
    match (ask.priority, ask.role) {
        (Some(priority), _) => (priority, "it was asked for".to_owned()),
        (None, Some(role)) => {
            let all = role.priorities();
            let first = all.first().copied().unwrap_or(Priority::ZeroDowntime);
            (first, "where the role table starts".to_owned())
        }
        (None, None) if durable > 0 => (
            Priority::Database,
            format!("nothing was asked for, and {durable} databases keep data here: they decide"),
        ),
        (None, None) => (
            Priority::ZeroDowntime,
            "nothing was asked for, and no database keeps data here".to_owned(),
        ),
    }
}

/// The cluster by what Azure says of it, if the input has one cluster.
fn cluster_of(scene: &Scene<'_>) -> Option<(String, String, String)> {
    let [(object, body)] = scene.kind("ManagedCluster") else {
        return None;
    };
    let id = body.get("id")?.as_str()?;
    let parts: Vec<&str> = id.split('/').collect();
    let after = |name: &str| {
        let at = parts
            .iter()
            .position(|part| part.eq_ignore_ascii_case(name))?;
        parts.get(at + 1).map(|part| (*part).to_owned())
    };
    Some((
        after("subscriptions")?,
        after("resourceGroups")?,
        object.name.to_string(),
    ))
}

/// Is a finding about a database, or about what covers it?
fn is_about(finding: &Finding, found: &Found) -> bool {
    let object = &finding.object;
    let within = object.namespace.as_deref().unwrap_or_default();
    within == found.namespace
        && (format!("{} {within}/{}", object.kind, object.name) == found.object
            || (found.operator.is_some() && object.name.starts_with(&found.name))
            || finding
                .evidence
                .iter()
                .any(|evidence| evidence.detail == found.object))
}

/// Must it be put right before the upgrade of this database?
fn hurts(finding: &Finding, found: &Found) -> bool {
    // A database that waits for a delete is never rolled by ordinal, past its primary: that is right.
    let on_delete = finding.code == crate::codes::ROLLOUT && found.durable && found.is_set;
    !on_delete && !matches!(finding.severity, Severity::Info | Severity::Later)
}

fn first(finding: &Finding) -> First {
    let object = &finding.object;
    First {
        code: finding.code,
        severity: finding.severity,
        object: match &object.namespace {
            Some(namespace) => format!("{} {namespace}/{}", object.kind, object.name),
            None => format!("{} {}", object.kind, object.name),
        },
        message: finding.message.clone(),
        fix: finding.fix.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Want, read};
    use ferriswheel_plan::policy;

    fn reading(texts: &[&str]) -> Reading {
        let mut whole = Reading::default();
        for (i, text) in texts.iter().enumerate() {
            whole.append(read(&format!("{i}.yaml"), text.as_bytes(), Want::Bodies));
        }
        assert_eq!(whole.skipped, []);
        whole
    }

    fn ask(version: Option<&str>) -> Ask {
        Ask {
            priority: None,
            role: None,
            target: Target::parse(["1.36"]).unwrap(),
            settings: Settings::default(),
            wish: Wish {
                cluster: None,
                version: version.map(str::to_owned),
            },
        }
    }

    const POSTGRES: [&str; 2] = [
        include_str!("../../../../examples/postgres/cluster/20-postgres.yaml"),
        include_str!("../../../../examples/postgres/cluster/30-pgbouncer.yaml"),
    ];
    const REDIS: &str = include_str!("../../../../examples/redis/cluster/20-redis.yaml");

    /// What is advised for the examples is what their own specs say.
    #[test]
    fn the_examples_get_their_own_specs() {
        for (texts, name, expected) in [
            (
                &POSTGRES[..],
                "pg",
                include_str!("../../../../examples/postgres/upgrade.yaml"),
            ),
            (
                &[REDIS][..],
                "redis",
                include_str!("../../../../examples/redis/upgrade.yaml"),
            ),
        ] {
            let advice = advise(reading(texts), &ask(Some("1.36.3")));
            let draft = advice.spec.expect("a spec");
            let spec = policy::parse("spec.yaml", &draft.text)
                .unwrap_or_else(|e| panic!("{e:?}\n{}", draft.text));
            let wanted = policy::parse("upgrade.yaml", expected).unwrap();
            assert_eq!(
                spec.spec.databases[0].system,
                wanted.spec.databases[0].system
            );
            assert_eq!(spec.spec.target, wanted.spec.target);
            assert_eq!(spec.spec.strategy, wanted.spec.strategy);
            assert_eq!(spec.spec.databases[0].name.as_str(), name);
            // The examples are ready for their own plans.
            assert_eq!(advice.databases[0].first, []);
            // Only the cluster is not in the manifests.
            assert_eq!(draft.to_fill.len(), 1, "{:?}", draft.to_fill);
            assert_eq!(advice.databases[0].choice.by, By::Plan);
            assert!(advice.databases[0].choice.stall.is_some());
        }
    }

    /// Users' Secrets are not in the manifests of these: they are asked for, and the rest is found.
    #[test]
    fn what_was_not_found_is_asked_for() {
        let mongodb = include_str!("../../../../examples/mongodb/cluster/20-mongodb.yaml");
        let mariadb = include_str!("../../../../examples/mariadb/cluster/20-mariadb.yaml");
        for (text, asked) in [
            (mongodb, &["admin", "application", "database"][..]),
            (mariadb, &["replication", "application", "database"]),
        ] {
            let advice = advise(reading(&[text]), &ask(Some("1.36.3")));
            let draft = advice.spec.expect("a spec");
            let spec = policy::parse("spec.yaml", &draft.text)
                .unwrap_or_else(|e| panic!("{e:?}\n{}", draft.text));
            assert_eq!(spec.spec.databases.len(), 1);
            for field in asked {
                let wanted = format!(".{field}:");
                let is = |one: &&String| one.contains(&wanted);
                assert!(
                    draft.to_fill.iter().any(|one| is(&one)),
                    "{:?}",
                    draft.to_fill
                );
            }
        }
        let advice = advise(reading(&[mariadb]), &ask(None));
        let text = advice.spec.expect("a spec").text;
        assert!(text.contains("service: store/mariadb-primary"), "{text}");
        assert!(text.contains("admin: store/mariadb-root"), "{text}");
    }

    #[test]
    fn a_cluster_that_azure_names_is_put_in() {
        let azure = r#"{"id": "/subscriptions/s-1/resourcegroups/rg/providers/Microsoft.ContainerService/managedClusters/prod",
            "name": "prod", "type": "Microsoft.ContainerService/ManagedClusters", "properties": {}}"#;
        let advice = advise(reading(&[REDIS, azure]), &ask(None));
        let draft = advice.spec.expect("a spec");
        let spec = policy::parse("spec.yaml", &draft.text).unwrap();
        assert_eq!(spec.spec.cluster.subscription, "s-1");
        assert_eq!(spec.spec.cluster.name, "prod");
        // No version: the primaries move, and that is said.
        assert_eq!(spec.spec.strategy.name(), "handOver");
        assert!(draft.to_fill[0].starts_with("spec.target"));
    }

    fn set(name: &str, replicas: u32, image: &str, more: &str) -> String {
        format!(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{ name: {name}, namespace: db{more} }}\nspec:\n  replicas: {replicas}\n  \
             selector: {{ matchLabels: {{ app: {name} }} }}\n  template:\n    metadata: {{ labels: {{ app: {name} }} }}\n    \
             spec: {{ containers: [ {{ name: a, image: \"{image}\" }} ] }}\n"
        )
    }

    #[test]
    fn each_database_has_its_pattern() {
        for (image, members, name, by) in [
            ("postgres:15", 3, "ferrisWheel", By::Plan),
            ("postgres:15", 1, "backupRestore", By::People),
            ("bitnami/postgresql-repmgr:16", 3, "switchover", By::People),
            ("redis:7", 6, "ferrisWheel", By::Plan),
            ("redis:7", 3, "rollingReplace", By::People),
            ("mongo:7", 3, "ferrisWheel", By::Plan),
            ("mariadb:10.11", 3, "ferrisWheel", By::Plan),
            ("elasticsearch:8", 3, "shardRebalancing", By::People),
            ("kafka:3", 3, "brokerRotation", By::People),
            ("mysql:8", 3, "ferrisWheel", By::People),
            ("couchdb:3", 3, "stepdownCascade", By::People),
            ("memcached:1", 2, "rollingReplace", By::People),
            ("vault:1", 3, "rolling", By::People),
        ] {
            let text = set("x", members, image, "");
            let advice = advise(reading(&[&text]), &ask(None));
            let choice = &advice.databases[0].choice;
            assert_eq!((choice.name, choice.by), (name, by), "{image} {members}");
            assert!(!choice.reasons.is_empty() && !choice.steps.is_empty());
            // A spec is written for what `plan` carries and for nothing else.
            assert_eq!(advice.spec.is_some(), by == By::Plan, "{image}");
        }
    }

    #[test]
    fn owners_first() {
        let cluster = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: { name: orders, namespace: db }\nspec: { instances: 3 }\n";
        let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: orders-1\n  namespace: db\n  labels: { cnpg.io/cluster: orders }\n  \
                   ownerReferences: [ { apiVersion: postgresql.cnpg.io/v1, kind: Cluster, name: orders, uid: u, controller: true } ]\n\
                   spec: { nodeName: n1, containers: [ { name: postgres, image: \"ghcr.io/cloudnative-pg/postgresql:16\" } ] }\n\
                   status: { conditions: [ { type: Ready, status: \"True\" } ] }\n";
        let advice = advise(reading(&[cluster, pod]), &ask(Some("1.36.3")));
        let [database] = &advice.databases[..] else {
            panic!("{:?}", advice.databases);
        };
        assert_eq!(database.choice.by, By::Operator);
        assert_eq!(database.found.members, Some(3));
        assert_eq!(database.found.ready, Some(1));
        assert_eq!(advice.spec, None);
    }

    #[test]
    fn priority_and_role_decide_for_the_cluster() {
        let web = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web, namespace: shop }\nspec: { replicas: 3 }\n";
        let with = |text: &str, change: fn(&mut Ask)| {
            let mut ask = ask(None);
            change(&mut ask);
            advise(reading(&[text]), &ask)
        };
        let name = |advice: &Advice| (advice.priority, advice.cluster.name);
        assert_eq!(
            name(&with(web, |_| {})),
            (Priority::ZeroDowntime, "blueGreen")
        );
        assert_eq!(
            name(&with(REDIS, |_| {})),
            (Priority::Database, "ferrisWheel")
        );
        assert_eq!(
            name(&with(web, |a| a.role = Some(Role::Security))),
            (Priority::SecurityPatch, "securityPatch")
        );
        assert_eq!(
            name(&with(REDIS, |a| a.role = Some(Role::Sre))),
            (Priority::ZeroDowntime, "ferrisWheel")
        );
        // What was said stands above who says it.
        let both = with(web, |a| {
            a.role = Some(Role::Sre);
            a.priority = Some(Priority::NewVersion);
        });
        assert_eq!(name(&both), (Priority::NewVersion, "canary"));
    }

    #[test]
    fn what_check_finds_comes_first() {
        let budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: { name: x, namespace: db }\n\
                      spec: { maxUnavailable: 0, selector: { matchLabels: { app: x } } }\n";
        let text = set("x", 3, "postgres:15", "");
        let advice = advise(reading(&[&text, budget]), &ask(None));
        let codes: Vec<&str> = advice.databases[0]
            .first
            .iter()
            .map(|first| first.code)
            .collect();
        assert!(codes.contains(&crate::codes::BUDGET_CLOSED), "{codes:?}");
        // Told once, with its database.
        assert!(
            !advice
                .first
                .iter()
                .any(|first| first.code == crate::codes::BUDGET_CLOSED)
        );
    }
}
