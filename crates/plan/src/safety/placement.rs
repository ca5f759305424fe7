//! Where the scheduler would put a member that leaves its node.

use std::collections::BTreeSet;

use super::PLATFORM_PREFIXES;
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::ids::Zone;
use crate::layout::{Layout, usable};
use crate::scope::{DatabaseScope, Scope, join};
use crate::world::{Node, Snapshot};

/// Refuses where a member would not land on one of the new machines.
pub(super) fn gate(
    world: &Snapshot,
    scope: &Scope<'_>,
    layout: &Layout,
    database: &DatabaseScope<'_>,
) -> Findings {
    let mut findings = Findings::default();
    let set = database.set;
    let pools: BTreeSet<_> = database
        .moving()
        .filter_map(|member| scope.nodes.get(member.old_node.as_ref()?))
        .map(|node| &node.pool)
        .collect();
    for pool_name in pools {
        let Some(pool) = world.pools.get(pool_name) else {
            continue;
        };
        for (key, values) in &set.node_requirements {
            let own = PLATFORM_PREFIXES.iter().any(|p| key.starts_with(p)) || key == "agentpool";
            let given = pool
                .node_labels
                .get(key)
                .is_some_and(|value| values.contains(value));
            if !own && !given {
                findings.refuse(
                    Diagnostic::new(
                        codes::LABEL_BY_HAND,
                        pool_name,
                        format!("machines made from this pool would not have `{key}`, which {} requires", database.set_name),
                    )
                    .seen(format!("nodeLabels of the pool: {}", join(pool.node_labels.iter().map(|(k, v)| format!("{k}={v}")))))
                    .fix(format!("give the label to the pool: `az aks nodepool update --labels {key}={} ...`", values.join("|"))),
                );
            }
        }
    }
    let zones: BTreeSet<&Zone> = database
        .moving()
        .filter_map(|member| member.disk_zone.as_ref())
        .collect();
    for (name, node) in &world.nodes {
        let elsewhere = node
            .pool
            .as_ref()
            .is_none_or(|pool| !scope.pools.contains(pool) && !layout.contains(pool));
        let near = node.zone.as_ref().is_some_and(|zone| zones.contains(zone));
        let occupied = database
            .members
            .values()
            .any(|member| member.pod.node.as_ref() == Some(name));
        if elsewhere
            && near
            && usable(node)
            && accepts(node, database)
            && !(occupied && set.one_per_node)
        {
            findings.refuse(
                Diagnostic::new(
                    codes::OTHER_POOL_ATTRACTS,
                    name,
                    format!("a member of {} could land on this node instead of a new one", database.set_name),
                )
                .seen(format!(
                    "pool {}, schedulable, its labels and taints suit the template",
                    node.pool.as_ref().map_or("none", |pool| pool.as_str())
                ))
                .fix(format!("cordon it for the run (`kubectl cordon {name}`), or taint the database's pool and let the template require its label")),
            );
        }
    }
    findings
}

fn accepts(node: &Node, database: &DatabaseScope<'_>) -> bool {
    let labels = database.set.node_requirements.iter().all(|(key, values)| {
        node.labels
            .get(key)
            .is_some_and(|value| values.contains(value))
    });
    let taints = node.taints.iter().all(|taint| {
        taint.ends_with(":PreferNoSchedule")
            || database
                .set
                .tolerations
                .iter()
                .any(|toleration| tolerates(toleration, taint))
    });
    labels && taints
}

/// `key=value:Effect` of a taint against `key=value:Effect`, `key:Effect` or `*` of a toleration;
/// an empty effect tolerates every effect.
fn tolerates(toleration: &str, taint: &str) -> bool {
    if toleration == "*" {
        return true;
    }
    let (Some((what, effect)), Some((subject, taint_effect))) =
        (toleration.rsplit_once(':'), taint.rsplit_once(':'))
    else {
        return false;
    };
    let same = if what.contains('=') {
        what == subject || (what.ends_with('=') && what.trim_end_matches('=') == subject)
    } else {
        subject.split('=').next() == Some(what)
    };
    same && (effect.is_empty() || effect == taint_effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_match_like_the_scheduler() {
        for (toleration, taint, expected) in [
            ("*", "a=b:NoSchedule", true),
            ("a=b:NoSchedule", "a=b:NoSchedule", true),
            ("a=c:NoSchedule", "a=b:NoSchedule", false),
            ("a:NoSchedule", "a=b:NoSchedule", true),
            ("a:", "a=b:NoExecute", true),
            ("a=b:", "a=b:NoExecute", true),
            ("a=b:NoSchedule", "a=b:NoExecute", false),
            ("ab:", "a=b:NoExecute", false),
        ] {
            assert_eq!(
                tolerates(toleration, taint),
                expected,
                "{toleration} {taint}"
            );
        }
    }
}
