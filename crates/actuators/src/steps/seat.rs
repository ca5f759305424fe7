//! The extra seat: one more replica for the length of the run.

use std::time::Duration;

use ferriswheel_engine::actuator::{Ack, ActError, Observed};
use ferriswheel_plan::ids::{DatabaseName, ObjectRef, PoolName};
use ferriswheel_plan::step::ClaimIdentity;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{ack, class, class_request, done, waiting};
use crate::kubernetes::pods::RUN_LABEL;
use crate::kubernetes::{RequestError, find, read, request};
use crate::systems;
use crate::world::{AskError, World};

pub(super) async fn observe_add(
    world: &World,
    database: &DatabaseName,
    set: &ObjectRef,
    replicas: u32,
    onto_pool: &PoolName,
) -> Result<Observed, AskError> {
    let found = world.stateful_set(set).await?;
    if wanted(&found) < replicas {
        return Ok(Observed::Ready);
    }
    let seat = set.sibling(format!("{}-{}", set.name, replicas - 1));
    if claims_of_run(world, set, &found, replicas - 1)
        .await?
        .iter()
        .any(|claim| !belongs_to(claim, world))
    {
        // The claim is there but does not carry the run's mark yet.
        return Ok(Observed::Ready);
    }
    let system = systems::of(world, database)?;
    let standing = system.standing(Some(system.whole_lag())).await?;
    let Some(state) = standing.of(&seat) else {
        return Ok(Observed::InFlight(waiting(
            &seat,
            "the pod does not exist yet",
            "the stateful set makes it",
        )));
    };
    let Some(node) = &state.member.node else {
        return Ok(Observed::InFlight(waiting(
            &seat,
            "no node was found for it yet",
            format!("a node of pool {onto_pool} is schedulable"),
        )));
    };
    let pool = world
        .node(node)
        .await?
        .as_ref()
        .and_then(read::node)
        .and_then(|node| node.pool);
    if pool.as_ref() != Some(onto_pool) {
        return Ok(Observed::Diverged {
            expected: format!("{seat} on a node of pool {onto_pool}"),
            found: format!("on {node}"),
        });
    }
    Ok(match &state.whole {
        Ok(fact) => done(format!("{seat} is on {node}, {fact}")),
        Err(waiting) => Observed::InFlight(waiting.clone()),
    })
}

pub(super) async fn add(world: &World, set: &ObjectRef, replicas: u32) -> Result<Ack, ActError> {
    /// The controller makes the claim together with the pod, at once.
    const CLAIM: Duration = Duration::from_secs(10);
    let found = world.stateful_set(set).await.map_err(class)?;
    if wanted(&found) < replicas {
        scale(world, set, &found, replicas)
            .await
            .map_err(class_request)?;
    }
    let end = tokio::time::Instant::now() + CLAIM;
    loop {
        let claims = claims_of_run(world, set, &found, replicas - 1)
            .await
            .map_err(class)?;
        if !claims.is_empty() {
            for claim in &claims {
                mark(world, claim).await.map_err(class_request)?;
            }
            return Ok(ack(format!("{set} has {replicas} replicas")));
        }
        if tokio::time::Instant::now() >= end {
            return Err(ActError::Retry {
                after: Duration::from_secs(1),
                cause: format!("{set} has not made the claim of its new member yet"),
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub(super) async fn observe_remove(
    world: &World,
    database: &DatabaseName,
    set: &ObjectRef,
    replicas: u32,
) -> Result<Observed, AskError> {
    let found = world.stateful_set(set).await?;
    if wanted(&found) > replicas {
        return Ok(Observed::Ready);
    }
    let seat = set.sibling(format!("{}-{replicas}", set.name));
    if world
        .members(set)
        .await?
        .iter()
        .any(|member| member.pod == seat)
    {
        return Ok(Observed::InFlight(waiting(
            &seat,
            "its server is stopping",
            "the pod is gone",
        )));
    }
    if !claims_of_run(world, set, &found, replicas)
        .await?
        .is_empty()
    {
        return Ok(Observed::Ready);
    }
    let system = systems::of(world, database)?;
    let standing = system.standing(Some(system.whole_lag())).await?;
    let members = standing.stands.iter().filter(|s| s.answers).count();
    Ok(done(format!(
        "{seat}, its claim and its slot are gone; {members} members answer"
    )))
}

pub(super) async fn remove(
    world: &World,
    database: &DatabaseName,
    set: &ObjectRef,
    replicas: u32,
    meant: &[ClaimIdentity],
) -> Result<Ack, ActError> {
    let found = world.stateful_set(set).await.map_err(class)?;
    let seat = set.sibling(format!("{}-{replicas}", set.name));
    let system = systems::of(world, database).map_err(class)?;
    let standing = system
        .standing(Some(system.whole_lag()))
        .await
        .map_err(class)?;
    let Some(leader) = standing.leader_of(&seat) else {
        return Err(ActError::Wait(waiting(
            set,
            "no single primary answers",
            "exactly one primary answers",
        )));
    };
    if *leader == seat {
        return Err(ActError::Replan {
            expected: format!("{seat} as a replica"),
            found: "it is the primary".to_owned(),
        });
    }
    let leader = leader.clone();
    if wanted(&found) > replicas {
        // Whoever stays must be whole without the seat.
        let others = standing
            .stands
            .iter()
            .filter(|stand| stand.member.pod != seat);
        for stand in others {
            stand.whole.clone().map_err(ActError::Wait)?;
        }
        scale(world, set, &found, replicas)
            .await
            .map_err(class_request)?;
    }
    if world
        .members(set)
        .await
        .map_err(class)?
        .iter()
        .any(|member| member.pod == seat)
    {
        return Err(ActError::Retry {
            after: Duration::from_millis(500),
            cause: format!("{seat} is stopping"),
        });
    }
    // The slot before the claims: while one of them is left the step is not done, and a slot that
    // is left behind holds WAL for ever.
    system.forget(&leader, &seat).await.map_err(class)?;
    for claim in claims_of_run(world, set, &found, replicas)
        .await
        .map_err(class)?
    {
        let is_meant = |claim: &PersistentVolumeClaim| {
            let uid = claim.uid().unwrap_or_default();
            meant.iter().any(|meant| meant.uid.as_str() == uid)
        };
        if !belongs_to(&claim, world) && !is_meant(&claim) {
            return Err(ActError::AskHuman {
                code: "FW0303".to_owned(),
                cause: format!(
                    "claim {} does not carry the mark of this run; it was not deleted",
                    claim.name_any()
                ),
            });
        }
        delete_claim(world, &claim).await.map_err(class_request)?;
    }
    Ok(ack(format!("{seat} was removed with its claim and slot")))
}

/// The slot of a member: its pod's name in the letters that slot names may have.
pub(crate) fn slot_name(pod: &str) -> String {
    pod.replace(['-', '.'], "_")
}

fn wanted(set: &StatefulSet) -> u32 {
    u32::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0)
}

async fn scale(
    world: &World,
    set: &ObjectRef,
    found: &StatefulSet,
    replicas: u32,
) -> Result<(), RequestError> {
    let sets: Api<StatefulSet> = Api::namespaced(world.kube(), &set.namespace);
    // The version read belongs to the decision: a set changed in between is read again.
    let patch = json!({
        "metadata": {"resourceVersion": found.resource_version()},
        "spec": {"replicas": replicas},
    });
    request(
        format!("scale {set} to {replicas}"),
        sets.patch(&set.name, &PatchParams::default(), &Patch::Merge(&patch)),
    )
    .await
    .map(|_| ())
}

/// Claims that the set's templates make for an ordinal.
async fn claims_of_run(
    world: &World,
    set: &ObjectRef,
    found: &StatefulSet,
    ordinal: u32,
) -> Result<Vec<PersistentVolumeClaim>, AskError> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.kube(), &set.namespace);
    let mut all = Vec::new();
    for template in found.spec.volume_claim_templates.iter().flatten() {
        let name = format!("{}-{}-{ordinal}", template.name_any(), set.name);
        if let Some(claim) = find(format!("read claim {name}"), claims.get_opt(&name)).await?
            && claim.metadata.deletion_timestamp.is_none()
        {
            all.push(claim);
        }
    }
    Ok(all)
}

fn belongs_to(claim: &PersistentVolumeClaim, world: &World) -> bool {
    claim.labels().get(RUN_LABEL).map(String::as_str) == Some(world.plan.run().as_str())
}

async fn mark(world: &World, claim: &PersistentVolumeClaim) -> Result<(), RequestError> {
    if belongs_to(claim, world) {
        return Ok(());
    }
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(world.kube(), &claim.namespace().unwrap_or_default());
    let patch = json!({
        "metadata": {
            "uid": claim.uid(),
            "labels": {RUN_LABEL: world.plan.run().as_str()},
        },
    });
    request(
        format!("mark claim {}", claim.name_any()),
        claims.patch(
            &claim.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        ),
    )
    .await
    .map(|_| ())
}

/// Deletes a claim of the run, by UID, and its disk with it.
async fn delete_claim(world: &World, claim: &PersistentVolumeClaim) -> Result<(), RequestError> {
    if let Some(volume) = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.clone())
    {
        // The disk was made by this run and holds a copy; a class that retains disks would leave
        // it behind for ever.
        let volumes: Api<PersistentVolume> = Api::all(world.kube());
        let patch = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
        match request(
            format!("release disk {volume}"),
            volumes.patch(&volume, &PatchParams::default(), &Patch::Merge(&patch)),
        )
        .await
        {
            Ok(_) => {}
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
    }
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(world.kube(), &claim.namespace().unwrap_or_default());
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: claim.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match request(
        format!("delete claim {}", claim.name_any()),
        claims.delete(&claim.name_any(), &params),
    )
    .await
    {
        Ok(_) => Ok(()),
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(e),
    }
}
