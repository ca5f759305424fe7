//! The tables: from what somebody wants to a strategy, and from a database to its pattern.
//!
//! # Source
//! The decision tables of "AKS Production Upgrade Strategies" and "Stateful Workload Upgrade
//! Patterns" (Microsoft Learn): their rows, not their figures. Figures are ours, or said to be theirs.

use serde::Serialize;

use super::figures::{Figure, measured};
use super::found::Found;

/// What matters most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Nobody notices.
    ZeroDowntime,
    /// Development, test, production, one after the other.
    MultiEnvironment,
    /// A new minor is tried before it is trusted.
    NewVersion,
    /// A hole is closed within hours.
    SecurityPatch,
    /// Applications live through any upgrade.
    FutureProof,
    /// A database is carried over.
    Database,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Platform.
    Sre,
    /// Databases.
    Dba,
    /// Applications.
    AppDev,
    /// Security.
    Security,
}

impl Role {
    /// What the page sends each of them to, the first first.
    pub fn priorities(self) -> &'static [Priority] {
        match self {
            Self::Sre => &[Priority::ZeroDowntime, Priority::MultiEnvironment],
            Self::Dba => &[Priority::Database],
            Self::AppDev => &[Priority::FutureProof],
            Self::Security => &[Priority::SecurityPatch],
        }
    }
}

/// Who carries a strategy out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// `ferriswheel plan` and `apply`.
    Plan,
    /// The database's operator.
    Operator,
    /// AKS.
    Aks,
    /// People; `plan` refuses it in this version.
    People,
}

impl By {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Plan => "ferriswheel plan",
            Self::Operator => "its operator",
            Self::Aks => "AKS",
            Self::People => "by people",
        }
    }
}

/// A strategy with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Its name, as specs and pages call it.
    pub name: &'static str,
    /// Who carries it out.
    pub by: By,
    /// Why.
    pub reasons: Vec<String>,
    /// What to do.
    pub steps: Vec<String>,
    /// Longest time without a write, measured by us; nothing when we have not measured it.
    pub stall: Option<Figure>,
    /// What the page promises, where we have no figure.
    pub claimed: Option<&'static str>,
    /// How long it takes, and what that rests on.
    pub duration: String,
}

/// Rows of the benchmark that choices rest on.
#[cfg(test)]
pub(super) const ROWS: &[(&str, &str)] = &[
    ("bench-postgres", "Ferriswheel, pooled, from outside"),
    ("bench-postgres", "Ferriswheel, no pooler"),
    ("bench-redis", "Ferriswheel"),
    ("bench-mongodb", "Ferriswheel"),
    ("bench-mariadb", "Ferriswheel"),
];

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The strategy for the cluster as a whole.
pub(super) fn cluster(priority: Priority, found: &[Found]) -> Choice {
    let carried: Vec<&Found> = found
        .iter()
        .filter(|one| database(one).by == By::Plan)
        .collect();
    let wheel = |mut reasons: Vec<String>| {
        reasons.push(format!(
            "{} of {} databases can ride the wheel: replicas first, the primary once, by a plan that is checked",
            carried.len(),
            found.len()
        ));
        Choice {
            name: "ferrisWheel",
            by: By::Plan,
            reasons,
            steps: strings(&[
                "ferriswheel plan SPEC --out plan.json",
                "ferriswheel apply plan.json",
                "pools without databases: az aks nodepool upgrade with surge nodes, after `ferriswheel check` finds no drain blocked",
            ]),
            stall: None,
            claimed: None,
            duration: "see each database".to_owned(),
        }
    };
    match priority {
        Priority::ZeroDowntime if !carried.is_empty() => wheel(vec![
            "the table says blue-green, but a second cluster would need a copy of the data and a hand-over between clusters: \
             where a database lives in the cluster, its nodes are replaced under it"
                .to_owned(),
        ]),
        Priority::Database if !carried.is_empty() => wheel(Vec::new()),
        Priority::ZeroDowntime => Choice {
            name: "blueGreen",
            by: By::People,
            reasons: strings(&[
                "nobody may notice, and no database of the input ties the traffic to this cluster",
                "the old cluster stays whole until the new one is proven, so the way back is a switch of traffic",
            ]),
            steps: strings(&[
                "make the second cluster at the target, from the same manifests: ferriswheel check --from manifests/ --target VERSION",
                "move the traffic by weights from 1 to 1000 and a disabled endpoint, never by weight 0; lower the TTL a day before",
                "ferriswheel lint finds what is wrong in the commands of your runbook",
            ]),
            stall: None,
            claimed: Some("< 2 minutes"),
            duration: "45 to 60 minutes by the page; not measured here".to_owned(),
        },
        Priority::MultiEnvironment => Choice {
            name: "stagedFleet",
            by: By::Aks,
            reasons: strings(&["clusters are upgraded in stages, with a wait and an approval between them"]),
            steps: strings(&[
                "az fleet updatestrategy create with development, test and production as stages, afterStageWaitInSeconds between them",
                "a gate before production; a run that is Completed says nothing of each member: look at them",
                "databases in each cluster: their own plan, after its control plane",
            ]),
            stall: None,
            claimed: Some("planned windows"),
            duration: "2 to 4 hours by the page; not measured here".to_owned(),
        },
        Priority::NewVersion => Choice {
            name: "canary",
            by: By::People,
            reasons: strings(&["a new minor may break what asks for old API versions and behaviour: try it with a part of the traffic first"]),
            steps: strings(&[
                "ferriswheel check --from dump/ --target VERSION: what breaks, who owns it, the converted manifests (--fix)",
                "ferriswheel generate feature-check --target VERSION: the same every night until the upgrade",
                "a pool at the target and a part of the replicas on it; a Service's selector moves all of the traffic or none",
            ]),
            stall: None,
            claimed: Some("low risk"),
            duration: "3 to 6 hours by the page; not measured here".to_owned(),
        },
        Priority::SecurityPatch => Choice {
            name: "securityPatch",
            by: By::Aks,
            reasons: strings(&["the node image has the patches: a node image upgrade is the shortest way that drains nodes by their budgets"]),
            steps: strings(&[
                "ferriswheel emergency --from dump/: what has to be safe first",
                "az aks nodepool upgrade --node-image-only, set --max-surge before; the channel SecurityPatch is set on the cluster, not on a pool",
                "databases: their own pool last, by a plan",
            ]),
            stall: None,
            claimed: Some("< 4 hours until all nodes are patched"),
            duration: "30 to 90 minutes by the page; not measured here".to_owned(),
        },
        Priority::FutureProof => Choice {
            name: "resilientArchitecture",
            by: By::People,
            reasons: strings(&["probes, budgets and shutdown decide what any upgrade does to an application"]),
            steps: strings(&[
                "ferriswheel check --from dump/ --target VERSION --only resilience",
                "ferriswheel generate budgets, probes, monitoring",
            ]),
            stall: None,
            claimed: Some("zero impact"),
            duration: "ongoing".to_owned(),
        },
        Priority::Database => Choice {
            name: "perDatabase",
            by: By::People,
            reasons: strings(&["no database of the input can ride the wheel as it is: each has its own way below"]),
            steps: strings(&["see each database"]),
            stall: None,
            claimed: None,
            duration: "see each database".to_owned(),
        },
    }
}

/// The pattern of a database.
pub(super) fn database(found: &Found) -> Choice {
    if let Some(operator) = &found.operator {
        return operated(found, operator);
    }
    let members = found.members.unwrap_or(0);
    if found.durable && members < 2 {
        return Choice {
            name: "backupRestore",
            by: By::People,
            reasons: vec![format!(
                "{members} member: nobody can take over, so its node's end is its downtime; a second member first makes it a hand-over"
            )],
            steps: strings(&[
                "better: give it a replica, and ask again",
                "else: take a backup, restore it elsewhere and look at it, then stop, upgrade, start",
            ]),
            stall: None,
            claimed: Some("2-5 minutes"),
            duration: "the time of a backup and a restore of its data".to_owned(),
        };
    }
    match found.system {
        "PostgreSQL" if found.is_set && found.agent.is_none() => postgres(found),
        "PostgreSQL" => Choice {
            name: "switchover",
            by: By::People,
            reasons: vec![match &found.agent {
                Some(agent) => {
                    format!("{agent} decides who leads: working against it makes two leaders")
                }
                None => "its members are not the pods of one StatefulSet".to_owned(),
            }],
            steps: strings(&[
                "patronictl switchover to a member on an upgraded node, one node after the other, the leader's last",
            ]),
            stall: measured("bench-postgres", "Patroni 3.0.2, multi-host"),
            claimed: Some("~30 seconds"),
            duration: minutes(found),
        },
        "Redis" | "Valkey" if found.is_set && found.clustered != Some(false) && members >= 6 => {
            redis(found)
        }
        "Redis" | "Valkey" => Choice {
            name: "rollingReplace",
            by: By::People,
            reasons: vec![format!(
                "{members} members and no sign of a cluster of shards: replicas first, then FAILOVER (or the Sentinel's), the old primary last"
            )],
            steps: strings(&[
                "wait for master_link_status:up on every replica before the next pod",
                "send FAILOVER to the primary of a plain pair, SENTINEL FAILOVER where Sentinel rules",
            ]),
            stall: None,
            claimed: Some("none"),
            duration: minutes(found),
        },
        "MongoDB" if found.is_set => wheel(
            found,
            "a replica set: secondaries move first, then the primary steps down once, without force, for the member that the plan names",
            measured("bench-mongodb", "Ferriswheel"),
            "~10 seconds",
        ),
        "MongoDB" => people(
            found,
            "stepdownCascade",
            "~10 seconds",
            "a majority elects: secondaries first, then rs.stepDown() on the primary, its node last",
            &[
                "no rs.remove and rs.add: that changes the majority twice for each member",
                "wait for SECONDARY and for optimeDate, not for Ready",
            ],
        ),
        "Elasticsearch" | "OpenSearch" => people(
            found,
            "shardRebalancing",
            "none",
            "shards have copies: one node at a time, and green before the next",
            &[
                "cluster.routing.allocation.enable: primaries before a node goes, null when it is back, and look at both",
                "_cluster/health?wait_for_status=green before the next node; masters that are eligible last",
            ],
        ),
        "Kafka" => people(
            found,
            "brokerRotation",
            "none",
            "partitions have replicas: one broker at a time, and none under-replicated before the next",
            &[
                "a controlled shutdown hands leadership over; the controller's broker last",
                "kafka-topics.sh --describe --under-replicated-partitions is empty before the next; min.insync.replicas below the replication factor",
            ],
        ),
        "MariaDB" if found.is_set => wheel(
            found,
            "replicas move first; the primary moves once, behind a lock, when the replica has its last position; `plan` asks the \
             servers whether they replicate by GTID, and refuses otherwise",
            measured("bench-mariadb", "Ferriswheel"),
            "~30 seconds",
        ),
        "MySQL" | "MariaDB" => people(
            found,
            "ferrisWheel",
            "~30 seconds",
            "the table says the wheel; `plan` carries MariaDB in a StatefulSet of its own, and no MySQL",
            &[
                "replicas first; then read_only on the primary, wait for Seconds_Behind_Source 0 and the executed GTID set, promote, point the clients",
            ],
        ),
        "CouchDB" => people(
            found,
            "stepdownCascade",
            "~10 seconds",
            "members are equal: one at a time, and its shards in sync before the next",
            &["GET /_membership and the internal replication jobs before the next node"],
        ),
        "Memcached" => people(
            found,
            "rollingReplace",
            "none",
            "a cache: what goes with a pod is read again from behind it",
            &[
                "one pod at a time, the next when the last one finds its keys again; watch the load of what is behind the cache",
                "a StatefulSet whose clients have a ketama ring: `ferriswheel plan` with `memcached` in the spec does that and measures it (docs/patterns/memcached.md)",
            ],
        ),
        other => people(
            found,
            "rolling",
            "unknown",
            &format!(
                "nothing is known here of {other} that would be better than one member at a time"
            ),
            &["its budget lets one go; wait for its own word that it is whole, not for Ready"],
        ),
    }
}

fn people(
    found: &Found,
    name: &'static str,
    claimed: &'static str,
    reason: &str,
    steps: &[&str],
) -> Choice {
    Choice {
        name,
        by: By::People,
        reasons: vec![reason.to_owned()],
        steps: strings(steps),
        stall: None,
        claimed: Some(claimed),
        duration: minutes(found),
    }
}

/// What `plan` and `apply` carry out.
fn wheel(found: &Found, reason: &str, stall: Option<Figure>, claimed: &'static str) -> Choice {
    Choice {
        name: "ferrisWheel",
        by: By::Plan,
        reasons: vec![reason.to_owned()],
        steps: strings(&[
            "ferriswheel plan SPEC --out plan.json",
            "ferriswheel apply plan.json",
        ]),
        stall,
        claimed: Some(claimed),
        duration: minutes(found),
    }
}

fn postgres(found: &Found) -> Choice {
    let pooled = !found.poolers.is_empty();
    let row = if pooled {
        "Ferriswheel, pooled, from outside"
    } else {
        "Ferriswheel, no pooler"
    };
    let mut choice = wheel(
        found,
        "a StatefulSet of its own with streaming replication: replicas move first, the primary moves once",
        measured("bench-postgres", row),
        "~30 seconds",
    );
    choice.reasons.push(if pooled {
        format!("{} holds clients while the primary moves: they wait and see no error", found.poolers.join(", "))
    } else {
        "no PgBouncer was found: clients see their connections end and come back; a pooler would hide that".to_owned()
    });
    choice
}

fn redis(found: &Found) -> Choice {
    let mut choice = wheel(
        found,
        "shards of a primary and its replicas: each primary moves at most once, by CLUSTER FAILOVER sent to its replica",
        measured("bench-redis", "Ferriswheel"),
        "none",
    );
    if found.clustered.is_none() {
        choice.reasons.push("that it is a cluster is concluded from six members and more; `plan` asks the servers and refuses otherwise".to_owned());
    }
    choice
}

fn operated(found: &Found, operator: &str) -> Choice {
    let step = match operator {
        "CloudNativePG" => {
            "cordon and drain one node after the other: it switches over when the primary's node is cordoned; watch kubectl cnpg status"
        }
        "Zalando Postgres Operator" => {
            "set node_readiness_label, so that it moves masters off old nodes; else patronictl switchover before each drain"
        }
        "Strimzi" => {
            "install the Drain Cleaner: an eviction becomes a rolling restart that waits for replicas in sync"
        }
        "ECK" => "drain while the cluster is green; its budget lets one node go at a time",
        _ => {
            "ask it to hand over before the primary's node is drained; its own documentation says how"
        }
    };
    Choice {
        name: "operator",
        by: By::Operator,
        reasons: vec![format!(
            "{operator} owns it and decides who leads: ask it, do not work against it"
        )],
        steps: vec![step.to_owned()],
        stall: None,
        claimed: None,
        duration: minutes(found),
    }
}

/// What replacing the nodes of so many members takes on AKS, one after the other.
///
/// The parts are those that a plan expects (`estimates` of the crate `plan`): a node of 3 minutes to
/// begin with and a seat of 2, a move of 1.5 and a retirement of 2 for each member, and 2 at the end.
fn minutes(found: &Found) -> String {
    match found.members {
        Some(members) if members > 0 => {
            let total = (70 + 35 * members).div_euclid(10) + 1;
            format!(
                "about {total} minutes for {members} nodes on AKS, by the plan's estimates; the size of the data comes on top"
            )
        }
        _ => "depends on how many members there are, which the input does not say".to_owned(),
    }
}
