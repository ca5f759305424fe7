//! The table against data that it was not made from.
//!
//! `judge/discovery.tsv` is what the discovery documents (and, before 1.28, the paths of OpenAPI) in
//! the source tree of each Kubernetes release serve; the table is made from another package's
//! schemas and from lifecycle tags. `cargo xtask deprecations --judge` writes the file.

#![expect(clippy::unwrap_used, reason = "the judge's own data are well formed")]

use std::collections::{BTreeMap, BTreeSet};

use ferriswheel_analysis::deprecations::{COMPONENTS, NEWEST, ROWS, Standing, row};

type Kinds = BTreeMap<(String, String), BTreeSet<u32>>;

fn discovery() -> Kinds {
    let text = include_str!("judge/discovery.tsv");
    let mut kinds = Kinds::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [api, kind, minors] = columns[..] else {
            panic!("{line}");
        };
        let of_kind = kinds.entry((api.to_owned(), kind.to_owned())).or_default();
        for part in minors.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            of_kind.extend(first.parse::<u32>().unwrap()..=last.parse().unwrap());
        }
    }
    kinds
}

/// Kinds that go, by the minor in which they do, for targets that people may still have.
fn gone(kinds: &Kinds) -> BTreeSet<(u32, String, String)> {
    kinds
        .iter()
        .filter_map(|((api, kind), minors)| {
            let removed = minors.last()? + 1;
            (removed <= NEWEST).then(|| (removed, api.clone(), kind.clone()))
        })
        .collect()
}

#[test]
fn every_removal_is_known_with_its_minor_and_none_is_made_up() {
    let judged = gone(&discovery());
    let known: BTreeSet<(u32, String, String)> = ROWS
        .iter()
        .filter_map(|row| {
            let removed = row.removed.filter(|minor| (26..=NEWEST).contains(minor))?;
            Some((removed, row.api(), row.kind.to_owned()))
        })
        .collect();
    assert_eq!(known, judged);
    assert_eq!(judged.len(), 44);
}

#[test]
fn what_a_minor_serves_is_never_called_gone() {
    for ((api, kind), minors) in discovery() {
        let Some(row) = row(&api, &kind) else {
            continue;
        };
        for minor in 25..=NEWEST {
            let standing = row.standing(minor);
            if minors.contains(&minor) {
                assert!(
                    !matches!(standing, Standing::Gone(_) | Standing::NotYet(_)),
                    "{api} {kind} at 1.{minor}: {standing:?}"
                );
            } else if minors.last().is_some_and(|last| *last < minor) {
                let gone = minors.last().map(|last| last + 1);
                assert_eq!(
                    Some(standing),
                    gone.map(Standing::Gone),
                    "{api} {kind} at 1.{minor}"
                );
            }
        }
    }
}

#[test]
fn replacements_are_served_at_the_target() {
    let kinds = discovery();
    let mut judged = 0;
    for row in ROWS {
        for minor in 25..=NEWEST {
            let Standing::Gone(_) = row.standing(minor) else {
                continue;
            };
            if let Some((api, kind)) = row.replacement_at(minor) {
                let served = kinds.get(&(api.clone(), kind.to_owned()));
                assert!(
                    served.is_some_and(|minors| minors.contains(&minor)),
                    "{} {} at 1.{minor}: {api} {kind}",
                    row.api(),
                    row.kind
                );
                judged += 1;
            }
        }
    }
    assert!(judged > 500, "{judged}");
}

/// The removals before the first schema, as the project's migration guide lists them.
#[test]
fn the_removals_before_the_schemas_are_known() {
    let guide: &[(u32, &str, &[&str])] = &[
        (16, "apps/v1beta1", &["Deployment", "StatefulSet"]),
        (
            16,
            "apps/v1beta2",
            &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"],
        ),
        (
            16,
            "extensions/v1beta1",
            &[
                "Deployment",
                "DaemonSet",
                "ReplicaSet",
                "NetworkPolicy",
                "PodSecurityPolicy",
            ],
        ),
        (22, "extensions/v1beta1", &["Ingress"]),
        (
            22,
            "admissionregistration.k8s.io/v1beta1",
            &[
                "ValidatingWebhookConfiguration",
                "MutatingWebhookConfiguration",
            ],
        ),
        (
            22,
            "apiextensions.k8s.io/v1beta1",
            &["CustomResourceDefinition"],
        ),
        (22, "apiregistration.k8s.io/v1beta1", &["APIService"]),
        (22, "authentication.k8s.io/v1beta1", &["TokenReview"]),
        (
            22,
            "authorization.k8s.io/v1beta1",
            &[
                "LocalSubjectAccessReview",
                "SelfSubjectAccessReview",
                "SubjectAccessReview",
            ],
        ),
        (
            22,
            "certificates.k8s.io/v1beta1",
            &["CertificateSigningRequest"],
        ),
        (22, "coordination.k8s.io/v1beta1", &["Lease"]),
        (
            22,
            "networking.k8s.io/v1beta1",
            &["Ingress", "IngressClass"],
        ),
        (
            22,
            "rbac.authorization.k8s.io/v1beta1",
            &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
        ),
        (22, "scheduling.k8s.io/v1beta1", &["PriorityClass"]),
        (
            22,
            "storage.k8s.io/v1beta1",
            &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"],
        ),
        (25, "batch/v1beta1", &["CronJob"]),
        (25, "discovery.k8s.io/v1beta1", &["EndpointSlice"]),
        (25, "events.k8s.io/v1beta1", &["Event"]),
        (25, "autoscaling/v2beta1", &["HorizontalPodAutoscaler"]),
        (
            25,
            "policy/v1beta1",
            &["PodDisruptionBudget", "PodSecurityPolicy"],
        ),
        (25, "node.k8s.io/v1beta1", &["RuntimeClass"]),
    ];
    for (removed, api, kinds) in guide {
        for kind in *kinds {
            let found = row(api, kind).and_then(|row| row.removed);
            assert_eq!(found, Some(*removed), "{api} {kind}");
        }
    }
}

#[test]
fn the_table_can_be_searched() {
    let keys: Vec<_> = ROWS
        .iter()
        .map(|row| (row.kind, row.group, row.version))
        .collect();
    assert!(keys.is_sorted());
    for component in COMPONENTS {
        assert!(
            component.removed.is_some() || component.deprecated.is_some(),
            "{component:?}"
        );
        assert!(
            row(
                &format!("{}/{}", component.group, component.version),
                component.kind
            )
            .is_none()
        );
    }
}
