//! The ten best practices for upgrades under databases, each with a verdict: yes, no, or cannot know
//! and why. Nothing is called kept because nothing speaks against it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::databases::{self, Database};
use super::draft::{Draft, Edit};
use super::operators;
use super::scene::{Makes, Scene, Workload};
use super::values::{has, int, list, text, texts};
use crate::codes;
use crate::findings::{Finding, Practice, Severity, Verdict};

/// Findings about budgets that let a database down.
const BUDGETS: &[&str] = &[
    codes::NO_BUDGET,
    codes::BUDGET_CLOSED,
    codes::BUDGET_AT_MINIMUM,
    codes::SEVERAL_BUDGETS,
    codes::BUDGET_WITHOUT_SCALE,
    codes::BUDGET_OPEN,
    codes::BUDGET_REFUSED,
];

/// A workload that runs a database which keeps data.
struct Found<'s, 'a> {
    workload: &'s Workload<'a>,
    database: Database,
}

/// The practices, if there is a database at all; and the findings of those that are not kept.
///
/// `before` is what the other checks found.
pub(crate) fn check(
    scene: &Scene<'_>,
    before: &[Finding],
    findings: &mut Vec<Finding>,
) -> Vec<Practice> {
    let all: Vec<Found<'_, '_>> = scene
        .workloads
        .iter()
        .filter(|workload| workload.makes.scales())
        .filter_map(|workload| {
            let database = databases::of(workload).filter(|found| found.durable)?;
            Some(Found { workload, database })
        })
        .collect();
    let operated = scene
        .budgets
        .iter()
        .any(|budget| operators::of(budget, scene).is_some());
    if all.is_empty() && !operated {
        return Vec::new();
    }
    vec![
        replicas_first(&all, operated),
        one_stays(&all, findings),
        synchronous(scene, &all, findings),
        practice(
            4,
            "failover is tested",
            Verdict::CannotKnow,
            "no run is in the input: rehearse the plan, and keep the certificates of the runs",
        ),
        lag_is_watched(scene, &all, findings),
        way_back(scene, &all, findings),
        budgets_fit(&all, before),
        practice(
            8,
            "it happens when there is little traffic",
            Verdict::CannotKnow,
            "traffic is not in the input: give the spec windows, and look at the maintenance configuration of the cluster",
        ),
        own_pool(&all, findings),
        retained(scene, &all, findings),
    ]
}

fn practice(number: u8, title: &'static str, verdict: Verdict, why: impl Into<String>) -> Practice {
    Practice {
        number,
        title,
        verdict,
        why: why.into(),
    }
}

fn names(all: &[&Found<'_, '_>]) -> String {
    let names: Vec<String> = all.iter().map(|found| found.workload.name()).collect();
    names.join(", ")
}

/// Kubernetes knows ordinals and no roles.
fn replicas_first(all: &[Found<'_, '_>], operated: bool) -> Practice {
    let title = "replicas are upgraded before primaries";
    let plain: Vec<&Found<'_, '_>> = all
        .iter()
        .filter(|found| found.workload.makes == Makes::StatefulSet)
        .collect();
    if plain.is_empty() && operated {
        return practice(
            1,
            title,
            Verdict::Yes,
            "an operator owns the database and moves its primary",
        );
    }
    practice(
        1,
        title,
        Verdict::CannotKnow,
        format!(
            "a drain takes pods by node, and a rollout by ordinal; neither asks for the role ({}). A plan does: ferriswheel plan",
            names(&plain)
        ),
    )
}

fn one_stays(all: &[Found<'_, '_>], findings: &mut Vec<Finding>) -> Practice {
    let title = "a healthy replica is kept";
    let bare: Vec<&Found<'_, '_>> = all
        .iter()
        .filter(|found| {
            found.workload.fewest().is_some_and(|members| members < 2)
                || found.workload.budgets.is_empty()
        })
        .collect();
    if bare.is_empty() {
        return practice(
            2,
            title,
            Verdict::Yes,
            "every database has members to spare and a budget",
        );
    }
    for found in &bare {
        let members = found.workload.fewest().unwrap_or(1);
        let mut draft = Draft::new(
            codes::PRACTICE_REPLICA,
            Severity::Warning,
            found.workload.object,
            format!(
                "nothing keeps a healthy replica of {} while a node drains",
                found.database.name
            ),
        )
        .saw(
            "workload",
            format!(
                "{members} members, {} budgets",
                found.workload.budgets.len()
            ),
        )
        .fix("two members at least, and a budget that lets one go");
        if members < 2 {
            draft = draft.change(
                found.workload.object,
                Edit::of(found.workload.body).set("/spec/replicas", 3),
            );
        }
        if found.workload.budgets.is_empty()
            && let Some(labels) = found.workload.body.pointer("/spec/selector/matchLabels")
        {
            let mut metadata = serde_json::json!({ "name": &*found.workload.object.name });
            if let (Some(namespace), Some(fields)) =
                (&found.workload.object.namespace, metadata.as_object_mut())
            {
                fields.insert("namespace".to_owned(), Value::from(&**namespace));
            }
            draft = draft.create(serde_json::json!({
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": metadata,
                "spec": { "maxUnavailable": 1, "selector": { "matchLabels": labels } },
            }));
        }
        findings.push(draft.done());
    }
    practice(
        2,
        title,
        Verdict::No,
        format!("one member, or no budget: {}", names(&bare)),
    )
}

/// What is said in the open about acknowledging writes.
fn synchronous(scene: &Scene<'_>, all: &[Found<'_, '_>], findings: &mut Vec<Finding>) -> Practice {
    let title = "replication is synchronous";
    let mut said: Vec<(bool, String)> = Vec::new();
    for (object, body) in scene.kind("Cluster") {
        if !object.api.starts_with("postgresql.cnpg.io/") {
            continue;
        }
        let number = int(body, "/spec/postgresql/synchronous/number")
            .or_else(|| int(body, "/spec/minSyncReplicas"));
        let kept = number.unwrap_or(0) > 0;
        said.push((kept, super::scene::full_name(object)));
        if !kept && int(body, "/spec/instances").unwrap_or(1) > 1 {
            findings.push(
                Draft::new(
                    codes::PRACTICE_SYNCHRONOUS,
                    Severity::Warning,
                    object,
                    "replication is asynchronous: a failover may lose what was acknowledged",
                )
                .saw(
                    "cluster",
                    "neither spec.postgresql.synchronous nor minSyncReplicas",
                )
                .fix("ask for one synchronous standby")
                .change(
                    object,
                    Edit::of(body).set(
                        "/spec/postgresql/synchronous",
                        serde_json::json!({ "method": "any", "number": 1 }),
                    ),
                )
                .done(),
            );
        }
    }
    for source in super::settings::sources(scene) {
        if !speaks_of_sync(&source.name) && !speaks_of_sync(source.text) {
            continue;
        }
        for setting in source.settings() {
            let last = setting
                .plain
                .rsplit('.')
                .next()
                .unwrap_or(&setting.plain)
                .to_owned();
            let value = setting.value.trim().trim_matches(['\'', '"']);
            if last.ends_with("synchronousstandbynames") {
                said.push((!value.is_empty(), source.name.clone()));
            } else if setting.plain.ends_with("min.insync.replicas")
                || last.ends_with("mininsyncreplicas")
            {
                said.push((
                    value.parse::<u32>().is_ok_and(|count| count >= 2),
                    source.name.clone(),
                ));
            }
        }
    }
    let places = |kept: bool| {
        let places: Vec<&str> = said
            .iter()
            .filter(|(k, _)| *k == kept)
            .map(|(_, place)| place.as_str())
            .collect();
        places.join(", ")
    };
    match (said.iter().any(|(kept, _)| !kept), said.is_empty()) {
        (true, _) => practice(3, title, Verdict::No, format!("not in {}", places(false))),
        (false, true) => practice(
            3,
            title,
            Verdict::CannotKnow,
            format!(
                "{} databases say nothing of it in the input: ask the servers",
                all.len()
            ),
        ),
        (false, false) => practice(3, title, Verdict::Yes, places(true)),
    }
}

/// Has it `sync` in it, as every key that is looked for here has, whatever stands between the letters of
/// a key (`-` and `_`) and however they are written?
fn speaks_of_sync(text: &str) -> bool {
    let bytes = text.as_bytes();
    let letter = |byte: &&u8| !matches!(byte, b'-' | b'_');
    let is =
        |found: Option<&u8>, wanted: u8| found.is_some_and(|b| b.eq_ignore_ascii_case(&wanted));
    memchr::memchr2_iter(b'y', b'Y', bytes).any(|at| {
        let before = bytes.get(..at).unwrap_or_default();
        let mut after = bytes
            .get(at + 1..)
            .unwrap_or_default()
            .iter()
            .filter(letter);
        is(before.iter().rev().find(letter), b's')
            && is(after.next(), b'n')
            && is(after.next(), b'c')
    })
}

fn lag_is_watched(
    scene: &Scene<'_>,
    all: &[Found<'_, '_>],
    findings: &mut Vec<Finding>,
) -> Practice {
    let title = "replication lag is watched";
    let rules = scene.kind("PrometheusRule");
    let watched = rules.iter().find(|(_, body)| {
        list(body, "/spec/groups")
            .iter()
            .flat_map(|group| list(group, "/rules"))
            .any(|rule| {
                text(rule, "/expr").is_some_and(|expression| {
                    expression.contains("lag") || expression.contains("replay")
                })
            })
    });
    match (watched, rules.first(), all.first()) {
        (Some((object, _)), ..) => {
            practice(5, title, Verdict::Yes, super::scene::full_name(object))
        }
        (None, None, _) | (None, _, None) => practice(
            5,
            title,
            Verdict::CannotKnow,
            "no alerting rules are in the input (those of Azure's managed Prometheus are ARM resources)",
        ),
        (None, Some((object, body)), Some(found)) => {
            let expression = match found.database.name {
                "PostgreSQL" => "pg_replication_lag_seconds > 10",
                "MySQL" | "MariaDB" => "mysql_slave_status_seconds_behind_master > 10",
                "MongoDB" => "mongodb_mongod_replset_member_replication_lag > 10",
                "Kafka" => {
                    "kafka_server_replicamanager_underreplicatedpartitions > 0 # replica lag"
                }
                "Redis" | "Valkey" => "redis_connected_slave_lag_seconds > 10",
                _ => "replication_lag_seconds > 10",
            };
            findings.push(
                Draft::new(
                    codes::PRACTICE_LAG,
                    Severity::Warning,
                    object,
                    format!("there are alerting rules, and none watches the replication lag of {}", found.database.name),
                )
                .saw("rules", format!("{} objects with rules", rules.len()))
                .fix("alert on lag (the metric's name is the exporter's: check it)")
                .change(
                    object,
                    Edit::of(body).push(
                        "/spec/groups",
                        serde_json::json!({
                            "name": "replication-lag",
                            "rules": [{ "alert": "ReplicationLag", "expr": expression, "for": "1m" }],
                        }),
                    ),
                )
                .done(),
            );
            practice(5, title, Verdict::No, "no rule speaks of lag")
        }
    }
}

/// Something to go back to.
fn way_back(scene: &Scene<'_>, all: &[Found<'_, '_>], findings: &mut Vec<Finding>) -> Practice {
    let title = "the way back is ready";
    let kinds = ["VolumeSnapshot", "ScheduledBackup", "Backup", "Schedule"];
    let kind = kinds.iter().find(|kind| !scene.kind(kind).is_empty());
    let job = scene.workloads.iter().find(|workload| {
        workload.makes == Makes::CronJob
            && (workload.object.name.contains("backup") || workload.object.name.contains("dump"))
    });
    let suspended = job.is_some_and(|job| {
        job.body.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true)
    });
    match (kind, job) {
        (_, Some(job)) if suspended => {
            findings.push(
                Draft::new(
                    codes::PRACTICE_BACKUP,
                    Severity::Warning,
                    job.object,
                    "the backup's CronJob is suspended",
                )
                .saw("workload", "spec.suspend true")
                .fix("let it run, and restore one of its backups before the upgrade")
                .change(job.object, Edit::of(job.body).set("/spec/suspend", false))
                .done(),
            );
            practice(
                6,
                title,
                Verdict::No,
                format!("{} is suspended", job.name()),
            )
        }
        (Some(kind), _) => practice(
            6,
            title,
            Verdict::CannotKnow,
            format!("{kind} objects are there; whether one of them restores is not in the input"),
        ),
        (None, Some(job)) => practice(
            6,
            title,
            Verdict::CannotKnow,
            format!(
                "{} makes backups; whether one restores is not in the input (a Completed job is not a backup)",
                job.name()
            ),
        ),
        (None, None) => practice(
            6,
            title,
            Verdict::CannotKnow,
            format!("no backup of {} databases is in the input", all.len()),
        ),
    }
}

/// Findings by a namespace and a name.
type Places<'a> = BTreeMap<(Option<&'a str>, &'a str), Vec<usize>>;

fn budgets_fit(all: &[Found<'_, '_>], before: &[Finding]) -> Practice {
    let title = "budgets fit the topology";
    // By what they are about, and by what they rest on.
    let (mut about, mut resting): (Places<'_>, Places<'_>) = (BTreeMap::new(), BTreeMap::new());
    for (i, finding) in before.iter().enumerate() {
        if !BUDGETS.contains(&finding.code) {
            continue;
        }
        let within = finding.object.namespace.as_deref();
        let name = (within, finding.object.name.as_str());
        about.entry(name).or_default().push(i);
        for seen in &finding.evidence {
            resting.entry((within, &seen.detail)).or_default().push(i);
        }
    }
    let mut covered = Vec::new();
    for found in all {
        let (object, name) = (found.workload.object, found.workload.name());
        let within = object.namespace.as_deref();
        let of_it: BTreeSet<usize> = [
            about.get(&(within, &*object.name)),
            resting.get(&(within, name.as_str())),
        ]
        .into_iter()
        .flatten()
        .flatten()
        .copied()
        .collect();
        let of_it = of_it.into_iter().filter_map(|at| before.get(at));
        covered.extend(of_it.map(|finding| format!("{} of {}", finding.code, finding.object.name)));
    }
    if covered.is_empty() {
        practice(
            7,
            title,
            Verdict::Yes,
            "no finding about the budgets of a database",
        )
    } else {
        practice(7, title, Verdict::No, covered.join(", "))
    }
}

/// On nodes of its own, which nobody else may use.
fn own_pool(all: &[Found<'_, '_>], findings: &mut Vec<Finding>) -> Practice {
    let title = "databases have a pool of their own";
    let shared: Vec<&Found<'_, '_>> = all
        .iter()
        .filter(|found| {
            let pod = found.workload.pod();
            let tolerates = !list(pod, "/spec/tolerations").is_empty();
            let chooses = has(pod, "/spec/nodeSelector") || has(pod, "/spec/affinity/nodeAffinity");
            !(tolerates && chooses)
        })
        .collect();
    if shared.is_empty() {
        return practice(
            9,
            title,
            Verdict::Yes,
            "every database tolerates a taint and chooses its nodes",
        );
    }
    for found in &shared {
        let workload = found.workload;
        let mut edit = Edit::of(workload.body);
        if list(workload.pod(), "/spec/tolerations").is_empty() {
            edit = edit.push(
                &workload.path("/tolerations"),
                serde_json::json!({ "key": "workload", "operator": "Equal", "value": "stateful", "effect": "NoSchedule" }),
            );
        }
        if !has(workload.pod(), "/spec/nodeSelector")
            && !has(workload.pod(), "/spec/affinity/nodeAffinity")
        {
            edit = edit.set(
                &workload.path("/nodeSelector"),
                serde_json::json!({ "workload": "stateful" }),
            );
        }
        findings.push(
            Draft::new(
                codes::PRACTICE_POOL,
                Severity::Info,
                workload.object,
                format!("{} shares its nodes: every upgrade of any pool's nodes may drain it", found.database.name),
            )
            .saw("workload", "no toleration of a taint, or no choice of nodes")
            .fix("make a pool with the taint workload=stateful:NoSchedule and the label workload=stateful first, then send it there")
            .change(workload.object, edit)
            .done(),
        );
    }
    practice(
        9,
        title,
        Verdict::No,
        format!("on any node: {}", names(&shared)),
    )
}

fn retained(scene: &Scene<'_>, all: &[Found<'_, '_>], findings: &mut Vec<Finding>) -> Practice {
    let title = "disks are retained";
    let mut policies: BTreeMap<&str, &str> = BTreeMap::new();
    for (object, body) in scene.kind("StorageClass") {
        policies.insert(
            &object.name,
            text(body, "/reclaimPolicy").unwrap_or("Delete"),
        );
    }
    let (mut unknown, mut deleted) = (Vec::new(), Vec::new());
    for found in all {
        for claim in list(found.workload.body, "/spec/volumeClaimTemplates") {
            match text(claim, "/spec/storageClassName").and_then(|class| policies.get(class)) {
                Some(&"Retain") => {}
                Some(_) => deleted.push(found),
                None => unknown.push(found),
            }
        }
        let policy = "/spec/persistentVolumeClaimRetentionPolicy";
        if text(found.workload.body, &format!("{policy}/whenDeleted")) == Some("Delete")
            || text(found.workload.body, &format!("{policy}/whenScaled")) == Some("Delete")
        {
            deleted.push(found);
            findings.push(
                Draft::new(
                    codes::PRACTICE_RETAIN,
                    Severity::Warning,
                    found.workload.object,
                    format!(
                        "the claims of {} are deleted with the set, or when it shrinks",
                        found.database.name
                    ),
                )
                .saw("workload", "persistentVolumeClaimRetentionPolicy Delete")
                .fix("retain them")
                .change(
                    found.workload.object,
                    Edit::of(found.workload.body).set(
                        policy,
                        serde_json::json!({ "whenDeleted": "Retain", "whenScaled": "Retain" }),
                    ),
                )
                .done(),
            );
        }
    }
    let volumes = scene.kind("PersistentVolume");
    let deleting = volumes
        .iter()
        .filter(|(_, body)| text(body, "/spec/persistentVolumeReclaimPolicy") == Some("Delete"))
        .count();
    let modes = volumes
        .iter()
        .any(|(_, body)| !texts(body, "/spec/accessModes").is_empty());
    if !deleted.is_empty() || (modes && deleting > 0) {
        return practice(
            10,
            title,
            Verdict::No,
            format!(
                "{} databases by their class or their claims, {deleting} volumes with Delete",
                deleted.len()
            ),
        );
    }
    if !unknown.is_empty() {
        return practice(
            10,
            title,
            Verdict::CannotKnow,
            format!(
                "the storage class of {} is not in the input",
                names(&unknown)
            ),
        );
    }
    practice(
        10,
        title,
        Verdict::Yes,
        "no class, claim or volume of a database is deleted with its user",
    )
}
