//! Databases in an operator's charge: recognised by the objects that its controller writes, and refused with its name,
//! what was seen, and its own way to move the role.

#![expect(clippy::unwrap_used, reason = "the fixtures are part of the test")]

mod support;

use std::collections::BTreeMap;

use ferriswheel_plan::codes;
use ferriswheel_plan::diagnostic::Diagnostic;
use ferriswheel_plan::world::{Owner, Snapshot};
use serde::Deserialize;
use support::subject::findings;
use support::*;

#[derive(Deserialize)]
struct Fixture {
    operator: String,
    way: String,
    objects: Vec<Object>,
}

#[derive(Clone, Deserialize)]
struct Object {
    kind: String,
    metadata: Metadata,
}

#[derive(Clone, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default, rename = "ownerReferences")]
    owners: Vec<Reference>,
}

#[derive(Clone, Deserialize)]
struct Reference {
    kind: String,
    name: String,
    #[serde(default)]
    controller: bool,
}

fn fixtures() -> Vec<Fixture> {
    serde_saphyr::from_multiple(include_str!("operators.yaml")).unwrap()
}

impl Metadata {
    fn owner(&self) -> Option<Owner> {
        let owner = self.owners.iter().find(|owner| owner.controller)?;
        Some(Owner {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        })
    }
}

/// The practice cluster with the fixture's objects in it.
fn world(fixture: &Fixture) -> Snapshot {
    let mut world = demo();
    let has_set = fixture.objects.iter().any(|o| o.kind == "StatefulSet");
    if !has_set {
        world.stateful_sets.clear();
        world.pods.retain(|name, _| !name.name.starts_with("pg-"));
    }
    for Object { kind, metadata } in &fixture.objects {
        match kind.as_str() {
            "StatefulSet" => {
                let set = set(&mut world);
                set.labels = metadata.labels.clone();
                set.owner = metadata.owner();
            }
            "Pod" if has_set => {
                pod_of(&mut world, &metadata.name).labels = metadata.labels.clone();
            }
            "Pod" => {
                let mut found = pod(None, &old_node(0), &[], "server");
                found.labels = metadata.labels.clone();
                found.owner = metadata.owner();
                world.pods.insert(db(&metadata.name), found);
            }
            other => panic!("{other}"),
        }
    }
    world
}

fn refusal(world: &Snapshot) -> Diagnostic {
    let found = findings(world, &spec()).refusals;
    let mut said = found.iter().filter(|d| d.code == codes::OTHER_AGENT);
    let first = said.next().unwrap_or_else(|| panic!("{found:#?}")).clone();
    assert_eq!(said.next(), None, "said once");
    first
}

#[test]
fn each_operator_is_named_with_its_evidence_and_its_own_way() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 20, "{}", fixtures.len());
    for fixture in &fixtures {
        let said = refusal(&world(fixture));
        let operator = &fixture.operator;
        assert!(said.message.starts_with(operator), "{operator}: {said:#?}");
        assert!(said.fix.contains(&fixture.way), "{operator}: {said:#?}");
        let first = &fixture.objects[0];
        let object = format!("{} db/{}: metadata.", first.kind, first.metadata.name);
        assert!(
            said.evidence.iter().any(|seen| seen.starts_with(&object)),
            "{operator}: {said:#?}"
        );
        for owner in &first.metadata.owners {
            let named = format!("ownerReferences names {} {}", owner.kind, owner.name);
            assert!(
                said.evidence.iter().any(|seen| seen.contains(&named)),
                "{operator}: {said:#?}"
            );
        }
    }
}

/// A label on a pod alone is enough: some operators let a person choose those of the set.
#[test]
fn a_member_tells_too() {
    let mut world = demo();
    let labels = &mut pod_of(&mut world, "pg-1").labels;
    labels.insert("cnpg.io/cluster".to_owned(), "pg".to_owned());
    let said = refusal(&world);
    assert_eq!(
        said.evidence,
        ["Pod db/pg-1: metadata.labels has cnpg.io/cluster=pg"]
    );
}

/// What many charts write says nothing of an operator.
#[test]
fn ordinary_labels_accuse_nobody() {
    let mut world = demo();
    let labels = [
        ("app.kubernetes.io/managed-by", "Helm"),
        ("app.kubernetes.io/name", "postgresql"),
        ("application", "orders"),
        ("role", "primary"),
        ("cluster-name", "pg"),
    ];
    set(&mut world).labels.extend(map(&labels));
    for name in ["pg-0", "pg-1", "pg-2"] {
        pod_of(&mut world, name).labels.extend(map(&labels));
    }
    assert_eq!(findings(&world, &spec()).refusals, []);
}

/// A set that is simply not there is not taken for an operator's.
#[test]
fn a_missing_set_is_a_missing_set() {
    let mut world = demo();
    world.stateful_sets.clear();
    let found = findings(&world, &spec()).refusals;
    assert!(
        found.iter().any(|d| d.code == codes::SET_MISSING),
        "{found:#?}"
    );
    assert!(
        !found.iter().any(|d| d.code == codes::OTHER_AGENT),
        "{found:#?}"
    );
}
