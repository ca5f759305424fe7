//! What the platform must be before anything is touched: versions, operations, channels, zones.

use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::ids::PoolName;
use crate::scope::{Scope, hosts_anybody, join};
use crate::version::KubernetesVersion;
use crate::world::{Pool, Snapshot};

/// Minors that a kubelet may be behind its API server.
///
/// # Source
/// Kubernetes and AKS version skew policy since 1.28: three minors, never ahead.
const MOST_MINORS_BEHIND: i64 = 3;

/// Looks at the cluster and the pools.
pub fn gate(world: &Snapshot, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    if let Some(version) = scope.target {
        findings.absorb(target(world, scope, version));
    }
    findings.absorb(operations(world, scope));
    findings.absorb(others_at_work(world, scope));
    findings.absorb(machines(world, scope));
    if scope.steady_pools.is_empty() && !scope.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::NO_STEADY_POOL,
                &world.cluster.id,
                "no pool that stays has two Ready, schedulable, untainted nodes for the probe and the agents",
            )
            .seen(format!("pools that are upgraded: {}", join(&scope.pools)))
            .seen(format!(
                "usable nodes elsewhere: {}",
                world
                    .nodes
                    .values()
                    .filter(|node| hosts_anybody(node)
                        && node.pool.as_ref().is_none_or(|p| !scope.pools.contains(p)))
                    .count()
            ))
            .fix("scale a pool that is not upgraded to two nodes: `az aks nodepool scale --node-count 2 ...`"),
        );
    }
    findings
}

fn target(world: &Snapshot, scope: &Scope<'_>, target: KubernetesVersion) -> Findings {
    let mut findings = Findings::default();
    let control_plane = world.cluster.kubernetes_version;
    if target > control_plane {
        findings.refuse(
            Diagnostic::new(
                codes::ABOVE_CONTROL_PLANE,
                &world.cluster.id,
                format!("nodes at {target} would be ahead of the control plane"),
            )
            .seen(format!("the control plane runs {control_plane}"))
            .fix(format!(
                "upgrade the control plane first: `az aks upgrade --control-plane-only --kubernetes-version {target} ...`, or lower the target"
            )),
        );
    }
    if target.minors_behind(control_plane) > MOST_MINORS_BEHIND {
        findings.refuse(too_far(&world.cluster.id, target, control_plane));
    }
    for name in &scope.pools {
        let Some(pool) = world.pools.get(name) else {
            continue;
        };
        findings.absorb(pool_version(world, name, pool, target));
    }
    for (name, node) in &world.nodes {
        let at_target = node
            .pool
            .as_ref()
            .and_then(|pool| world.pools.get(pool))
            .is_some_and(|pool| pool.kubernetes_version == target);
        if at_target && node.kubelet_version < target {
            findings.refuse(
                Diagnostic::new(
                    codes::MIXED_VERSIONS,
                    name,
                    format!("its pool is said to be at {target}, the node is not"),
                )
                .seen(format!("kubelet {}", node.kubelet_version))
                .fix("finish the earlier upgrade of that pool: put it again at the same version, `az aks nodepool upgrade ...`"),
            );
        }
    }
    findings
}

fn pool_version(
    world: &Snapshot,
    name: &PoolName,
    pool: &Pool,
    target: KubernetesVersion,
) -> Findings {
    let mut findings = Findings::default();
    let control_plane = world.cluster.kubernetes_version;
    let runs = pool.kubernetes_version;
    if runs > target {
        findings.refuse(
            Diagnostic::new(
                codes::DOWNGRADE,
                name,
                format!("the pool runs {runs} already"),
            )
            .seen(format!("target {target}"))
            .fix("choose a newer target, or leave the pool out of `spec.target.pools`"),
        );
        return findings;
    }
    if runs.minors_behind(control_plane) > MOST_MINORS_BEHIND {
        findings.refuse(too_far(name, runs, control_plane));
    }
    // A version that another pool of the cluster runs is one that AKS gives out.
    let runs_elsewhere = world
        .pools
        .values()
        .any(|other| other.kubernetes_version == target);
    if !pool.upgrades.contains(&target) && !runs_elsewhere && target <= control_plane {
        findings.refuse(
            Diagnostic::new(
                codes::NOT_OFFERED,
                name,
                format!("AKS does not offer {target} for this pool"),
            )
            .seen(format!("offered: {}", join(&pool.upgrades)))
            .fix("choose one of the offered versions: `az aks nodepool get-upgrades ...`"),
        );
    }
    findings
}

fn too_far(
    subject: impl std::fmt::Display,
    version: KubernetesVersion,
    control_plane: KubernetesVersion,
) -> Diagnostic {
    Diagnostic::new(
        codes::TOO_FAR_BEHIND,
        subject,
        format!(
            "{version} is {} minors behind the control plane",
            version.minors_behind(control_plane)
        ),
    )
    .seen(format!("the control plane runs {control_plane}"))
    .fix("a kubelet may be at most three minors behind: bring it closer first, without a database on it")
}

fn operations(world: &Snapshot, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    let states = std::iter::once((
        world.cluster.id.clone(),
        &world.cluster.provisioning_state,
        true,
    ))
    .chain(world.pools.iter().map(|(name, pool)| {
        (
            name.to_string(),
            &pool.provisioning_state,
            scope.pools.contains(name),
        )
    }));
    for (subject, state, ours) in states {
        match state.as_str() {
            "Succeeded" => {}
            "Failed" | "Canceled" if ours => findings.refuse(not_succeeded(&subject, state)),
            "Failed" | "Canceled" => findings.warn(not_succeeded(&subject, state)),
            _ => findings.refuse(
                Diagnostic::new(
                    codes::OPERATION_RUNNING,
                    &subject,
                    "another operation is in progress",
                )
                .seen(format!("provisioningState is {state}"))
                .fix("wait until it ends, then plan again; `az aks operation-abort` ends it early"),
            ),
        }
    }
    findings
}

fn not_succeeded(subject: &str, state: &str) -> Diagnostic {
    Diagnostic::new(
        codes::NOT_SUCCEEDED,
        subject,
        "its last operation did not succeed",
    )
    .seen(format!("provisioningState is {state}"))
    .fix("remove the cause, then repeat the operation at the same version so that AKS reconciles")
}

fn others_at_work(world: &Snapshot, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    let quiet = |channel: &str| {
        matches!(
            channel.to_ascii_lowercase().as_str(),
            "none" | "unmanaged" | ""
        )
    };
    for (what, channel) in [
        ("upgradeChannel", &world.cluster.upgrade_channel),
        ("nodeOSUpgradeChannel", &world.cluster.node_os_channel),
    ] {
        if let Some(channel) = channel.as_deref().filter(|channel| !quiet(channel)) {
            findings.warn(
                Diagnostic::new(
                    codes::AUTO_UPGRADE,
                    &world.cluster.id,
                    "AKS may upgrade nodes by itself while the run is under way",
                )
                .seen(format!("{what} is {channel}"))
                .fix("let no maintenance window fall into the run (`az aks maintenanceconfiguration list ...`)"),
            );
        }
    }
    for name in &scope.pools {
        let Some(pool) = world.pools.get(name) else {
            continue;
        };
        if let Some(until) = &pool.force_upgrade_until {
            findings.warn(
                Diagnostic::new(
                    codes::FORCE_UPGRADE,
                    name,
                    "an upgrade by anybody would pass over disruption budgets",
                )
                .seen(format!("forceUpgrade is on until {until}"))
                .fix("switch it off: `az aks nodepool update --disable-force-upgrade ...`"),
            );
        }
        if pool.autoscaling {
            findings.refuse(
                Diagnostic::new(
                    codes::AUTOSCALER,
                    name,
                    "the cluster autoscaler could add or remove machines during the run",
                )
                .seen("enableAutoScaling is true")
                .fix("pin the pool's size for the run: `az aks nodepool update --disable-cluster-autoscaler ...`"),
            );
        }
    }
    findings
}

fn machines(world: &Snapshot, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    for name in &scope.pools {
        let Some(pool) = world.pools.get(name) else {
            continue;
        };
        if pool.system {
            findings.refuse(
                Diagnostic::new(
                    codes::SYSTEM_POOL,
                    name,
                    "a System pool keeps at least one machine and is not emptied",
                )
                .seen("mode is System")
                .fix("upgrade it by itself (`az aks nodepool upgrade`), and keep databases on User pools"),
            );
        }
        let nodes = scope.nodes.values().filter(|node| node.pool == *name);
        let count = nodes.clone().count();
        if count != usize::try_from(pool.count).unwrap_or(usize::MAX) {
            findings.refuse(
                Diagnostic::new(
                    codes::COUNT_MISMATCH,
                    name,
                    "ARM and Kubernetes do not show the same machines",
                )
                .seen(format!("ARM: {}, Nodes: {count}", pool.count))
                .fix("wait until both agree; delete machines that never joined"),
            );
        }
        for node in nodes.filter(|node| node.zone.is_none()) {
            findings.refuse(no_zone(&node.identity.name, "the node has no zone label"));
        }
        if pool.zones.is_empty() {
            findings.refuse(no_zone(name, "the pool is not in availability zones"));
        }
    }
    findings
}

fn no_zone(subject: impl std::fmt::Display, seen: &str) -> Diagnostic {
    Diagnostic::new(
        codes::NO_ZONE,
        subject,
        "a machine cannot be made where the disk is",
    )
    .seen(seen)
    .fix("this strategy needs pools in availability zones: disks are bound to them")
}
