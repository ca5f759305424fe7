//! Which disruptions are unsafe now, and why: budgets, bare pods, pinned pods, back-off, and where
//! the scheduler would put a member.
//!
//! Judges Kubernetes objects only; what the servers say is judged in `databases`.

mod budgets;
mod placement;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::ids::{NodeName, ObjectRef};
use crate::layout::Layout;
use crate::scope::{DatabaseScope, Member, Scope, join};
use crate::world::{RUN_LABEL, Snapshot};

/// A container that ran this long starts again without delay.
///
/// # Source
/// The kubelet forgets a container's back-off after twice its longest delay of 5 minutes.
const BACKOFF_FORGOTTEN: SignedDuration = SignedDuration::from_mins(10);

/// Shorter grace than this is short for a database: its shutdown checkpoint must fit.
///
/// 30 s is the default that nobody chose; a fast stop with a warm checkpoint takes a second, one
/// after a crash of the pre-checkpoint can take minutes.
const SHORT_GRACE_SECONDS: u64 = 31;

const POOL_LABELS: [&str; 2] = ["agentpool", "kubernetes.azure.com/agentpool"];
const HOST_LABEL: &str = "kubernetes.io/hostname";

/// Labels that every AKS machine has of its own accord.
const PLATFORM_PREFIXES: [&str; 5] = [
    "topology.kubernetes.io/",
    "topology.disk.csi.azure.com/",
    "kubernetes.io/",
    "node.kubernetes.io/",
    "kubernetes.azure.com/",
];

/// Looks at everything that is moved or evicted.
pub fn gate(world: &Snapshot, scope: &Scope<'_>, layout: &Layout, seat: bool) -> Findings {
    let mut findings = Findings::default();
    for database in scope.concerned() {
        for member in database.members.values() {
            findings.absorb(member_now(world, database, member));
        }
        if scope.hand_over_only {
            // The server restarts in its pod: no template, node or disk is asked for anew.
            findings.absorb(seat_of_another_run(world, database));
            continue;
        }
        findings.absorb(set(world, scope, database, seat));
        findings.absorb(placement::gate(world, scope, layout, database));
        for member in database.moving() {
            findings.absorb(disk(world, scope, database, member));
            findings.absorb(budgets::gate(
                world,
                &member.name,
                member.pod,
                i32::from(seat),
            ));
        }
    }
    findings.absorb(sharing(scope));
    findings.absorb(bystanders(world, scope));
    findings
}

fn set(world: &Snapshot, scope: &Scope<'_>, database: &DatabaseScope<'_>, seat: bool) -> Findings {
    let mut findings = Findings::default();
    let (name, set) = (database.set_name, database.set);
    if set.current_revision != set.update_revision {
        findings.refuse(
            Diagnostic::new(
                codes::ROLLOUT_PENDING,
                name,
                "a member that is made again would get another template",
            )
            .seen(format!("currentRevision {}", set.current_revision))
            .seen(format!("updateRevision {}", set.update_revision))
            .fix("finish the rollout, or take the change back, before the upgrade"),
        );
    }
    for (key, values) in &set.node_requirements {
        let old_pool = POOL_LABELS.contains(&key.as_str())
            && values
                .iter()
                .any(|value| scope.pools.contains(&value.as_str().into()));
        if old_pool || key == HOST_LABEL {
            findings.refuse(
                Diagnostic::new(
                    codes::PINNED_TO_POOL,
                    name,
                    "its members cannot leave the nodes that they are on",
                )
                .seen(format!("the template requires {key} = {}", values.join(" or ")))
                .fix("require a label that says what the pool is for (`workload: database`) and give it to the pool: `az aks nodepool update --labels workload=database ...`"),
            );
        }
    }
    if seat {
        for template in &set.claim_templates {
            let seat = database.seat();
            let claim = seat.sibling(format!("{template}-{}", seat.name));
            if let Some(found) = world.claims.get(&claim) {
                findings.refuse(
                    Diagnostic::new(
                        codes::SEAT_CLAIM,
                        &claim,
                        "the extra seat would start with somebody else's data",
                    )
                    .seen(format!(
                        "claim with uid {}, volume {}",
                        found.uid,
                        found.volume.as_deref().unwrap_or("none")
                    ))
                    .fix(format!(
                        "look what is on it; if it is left over: `kubectl -n {} delete pvc {}`",
                        claim.namespace, claim.name
                    )),
                );
            }
        }
    }
    findings.absorb(seat_of_another_run(world, database));
    if !set.one_per_node {
        findings.warn(
            Diagnostic::new(
                codes::NOT_SPREAD,
                name,
                "the template allows two members on one node",
            )
            .seen("no required anti-affinity by hostname")
            .fix("add podAntiAffinity with topologyKey kubernetes.io/hostname"),
        );
    }
    if set.termination_grace_seconds < SHORT_GRACE_SECONDS {
        findings.warn(
            Diagnostic::new(
                codes::GRACE,
                name,
                "a slow stop would end in SIGKILL and crash recovery",
            )
            .seen(format!(
                "terminationGracePeriodSeconds is {}",
                set.termination_grace_seconds
            ))
            .fix("give members 120 s"),
        );
    }
    let protected = database.members.values().all(|member| {
        budgets::selecting(world, &member.name, member.pod)
            .next()
            .is_some()
    });
    if !protected {
        findings.warn(
            Diagnostic::new(
                codes::NO_BUDGET,
                name,
                "other people's drains may take several members at once",
            )
            .seen("no disruption budget selects every member")
            .fix("add a PodDisruptionBudget with maxUnavailable: 1"),
        );
    }
    findings
}

/// An aborted run leaves its seat; counted as a member, it would stay for ever.
fn seat_of_another_run(world: &Snapshot, database: &DatabaseScope<'_>) -> Findings {
    let mut findings = Findings::default();
    for member in database.members.values() {
        for template in &database.set.claim_templates {
            let claim = member
                .name
                .sibling(format!("{template}-{}", member.name.name));
            let run = world
                .claims
                .get(&claim)
                .and_then(|found| found.labels.get(RUN_LABEL));
            if let Some(run) = run {
                let (namespace, set) = (&claim.namespace, &database.set_name.name);
                findings.refuse(
                    Diagnostic::new(
                        codes::SEAT_OF_ANOTHER_RUN,
                        &member.name,
                        "it was added for the length of a run that did not end",
                    )
                    .seen(format!("claim {claim} is marked {RUN_LABEL}={run}"))
                    .fix(format!(
                        "finish that run (`ferriswheel apply` with plan {run}), or, if it is not the primary: `kubectl -n {namespace} scale statefulset {set} --replicas={}`, then delete claim {} and its slot",
                        member.ordinal, claim.name
                    )),
                );
            }
        }
    }
    findings
}

fn member_now(world: &Snapshot, database: &DatabaseScope<'_>, member: &Member<'_>) -> Findings {
    let mut findings = Findings::default();
    let pod = member.pod;
    let node = pod.node.as_ref().and_then(|node| world.nodes.get(node));
    let mut seen = Vec::new();
    if !pod.ready || pod.terminating {
        seen.push(format!(
            "pod phase {}, ready {}, terminating {}",
            pod.phase, pod.ready, pod.terminating
        ));
    }
    match node {
        None => seen.push("it is on no known node".to_owned()),
        Some(node) if !node.ready => {
            seen.push(format!("node {} is not Ready", join(pod.node.iter())));
        }
        Some(_) => {}
    }
    if !seen.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::MEMBER_NOT_READY,
            &member.name,
            "the set must be whole before anything is moved",
        )
        .fix(format!(
            "`kubectl -n {} describe pod {}`",
            member.name.namespace, member.name.name
        ));
        diagnostic.evidence = seen;
        findings.refuse(diagnostic);
    }
    for container in &pod.containers {
        let server = container.name == database.spec.container();
        let recent = container
            .started_at
            .filter(|_| container.restarts > 0)
            .or(container.last_finished_at)
            .filter(|at| world.observed_at.duration_since(*at) < BACKOFF_FORGOTTEN);
        if let Some(reason) = &container.waiting {
            findings.refuse(restart_delayed(
                member,
                &container.name,
                format!("it waits: {reason}"),
            ));
        } else if let Some(at) = recent.filter(|_| server) {
            findings.refuse(restart_delayed(
                member,
                &container.name,
                format!("{} restarts, the last around {at}", container.restarts),
            ));
        }
    }
    findings
}

fn restart_delayed(member: &Member<'_>, container: &str, seen: String) -> Diagnostic {
    Diagnostic::new(
        codes::RESTART_DELAYED,
        &member.name,
        format!("the kubelet would delay the next start of container `{container}`"),
    )
    .seen(seen)
    .fix("let it run for 10 minutes; the kubelet then forgets the earlier restarts")
}

fn disk(
    world: &Snapshot,
    scope: &Scope<'_>,
    database: &DatabaseScope<'_>,
    member: &Member<'_>,
) -> Findings {
    let mut findings = Findings::default();
    let node = member.old_node.as_ref().and_then(|n| scope.nodes.get(n));
    let pool = node.and_then(|node| world.pools.get(&node.pool));
    let mut refuse = |seen: String| {
        findings.refuse(
            Diagnostic::new(
                codes::DISK_ZONE,
                &member.name,
                "no new machine could take its disk",
            )
            .seen(seen)
            .fix("bring the disk into a zone of the pool: take a member with a fresh disk there into the set, or add the zone to the pool"),
        );
    };
    for template in &database.set.claim_templates {
        let name = member
            .name
            .sibling(format!("{template}-{}", member.name.name));
        match world.claims.get(&name) {
            None => refuse(format!("claim {name} does not exist")),
            Some(claim) if claim.volume.is_none() => refuse(format!("claim {name} is not bound")),
            Some(claim) => match (&claim.zone, node.and_then(|n| n.zone.as_ref()), pool) {
                (None, ..) => refuse(format!("the zone of the disk of {name} is not known")),
                (Some(zone), Some(at), _) if zone != at => {
                    refuse(format!("the disk is in {zone}, its node in {at}"));
                }
                (Some(zone), _, Some(pool)) if !pool.zones.contains(zone) => refuse(format!(
                    "the disk is in {zone}, the pool in {}",
                    join(&pool.zones)
                )),
                _ => {}
            },
        }
    }
    findings
}

fn sharing(scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    for node in scope.nodes.keys() {
        let here: Vec<&ObjectRef> = scope.members_on(node).map(|m| &m.name).collect();
        if here.len() < 2 {
            continue;
        }
        let sets: BTreeSet<&str> = here
            .iter()
            .filter_map(|name| Some(name.name.rsplit_once('-')?.0))
            .collect();
        let (code, what, fix) = if sets.len() > 1 {
            (
                codes::SETS_SHARE_NODE,
                "members of two databases are on one node",
                "upgrade with one database in the spec per run, each on its own pool",
            )
        } else {
            (
                codes::SHARED_NODE,
                "one machine carries several members",
                "spread them first: required anti-affinity by hostname, then evict one",
            )
        };
        findings.refuse(Diagnostic::new(code, node, what).seen(join(here)).fix(fix));
    }
    findings
}

/// Pods that go with the retirement of their node.
fn bystanders(world: &Snapshot, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut local: BTreeMap<&NodeName, Vec<&ObjectRef>> = BTreeMap::new();
    for (name, pod) in &world.pods {
        let Some(node) = pod.node.as_ref().filter(|n| scope.nodes.contains_key(*n)) else {
            continue;
        };
        let member = scope.members_on(node).any(|member| member.name == *name);
        let kind = pod.owner.as_ref().map_or("", |owner| owner.kind.as_str());
        let over = matches!(pod.phase.as_str(), "Succeeded" | "Failed");
        if member || over || matches!(kind, "DaemonSet" | "Node") {
            continue;
        }
        if kind.is_empty() {
            findings.refuse(
                Diagnostic::new(codes::BARE_POD, name, "nobody would make it again")
                    .seen(format!("no controller owns it; it runs on {node}"))
                    .fix("delete it, or run it by a Deployment or a Job"),
            );
        }
        for label in POOL_LABELS {
            if let Some(pool) = pod
                .node_selector
                .get(label)
                .filter(|pool| scope.pools.contains(&pool.as_str().into()))
            {
                findings.refuse(
                    Diagnostic::new(codes::POD_PINNED, name, "it could not start anywhere else")
                        .seen(format!("nodeSelector {label}={pool}"))
                        .fix("select nodes by what the pool is for, not by its name"),
                );
            }
        }
        if pod.local_data {
            local.entry(node).or_default().push(name);
        }
        findings.absorb(budgets::gate(world, name, pod, 0));
    }
    for (node, pods) in local {
        findings.warn(
            Diagnostic::new(
                codes::LOCAL_DATA,
                node,
                "retiring it destroys what these pods keep in an emptyDir",
            )
            .seen(join(pods))
            .fix("make sure that nothing in it is needed"),
        );
    }
    findings
}
