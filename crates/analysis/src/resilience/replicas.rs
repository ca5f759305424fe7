//! Replicas: is there another one while a node drains.

use super::databases;
use super::draft::{Draft, Edit};
use super::scene::{Makes, Scene, Workload, full_name};
use super::values::{has, int, list};
use crate::codes;
use crate::findings::{Finding, Severity};

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for workload in &scene.workloads {
        if !workload.makes.scales() {
            continue;
        }
        match workload.fewest() {
            Some(1) => findings.push(single(workload)),
            Some(2) => findings.extend(pair(workload)),
            _ => {}
        }
    }
}

/// Does it mount a claim that only one pod may have?
pub(crate) fn claims(workload: &Workload<'_>) -> bool {
    list(workload.pod(), "/spec/volumes")
        .iter()
        .any(|volume| has(volume, "/persistentVolumeClaim"))
}

fn single(workload: &Workload<'_>) -> Finding {
    let database = databases::of(workload);
    let wanted = match database {
        Some(found) if found.quorum => 3,
        _ => 2,
    };
    let draft = Draft::new(
        codes::SINGLE_REPLICA,
        Severity::Warning,
        workload.object,
        match database {
            Some(found) => format!(
                "{} has one member: it is down while its node drains",
                found.name
            ),
            None => format!(
                "{} has one pod: it is down while its node drains",
                workload.name()
            ),
        },
    );
    let draft = match workload.scaler {
        Some((scaler, _)) => draft.saw("scaler", format!("{}: minReplicas 1", full_name(scaler))),
        None => draft.saw("workload", "replicas 1"),
    };
    // A second pod of a Deployment would wait for the first one's volume.
    if claims(workload) && workload.makes != Makes::StatefulSet {
        return draft
            .fix("its volume is one pod's: make it a StatefulSet with a volume a pod, or plan its restart as downtime")
            .done();
    }
    let draft = draft.fix(match workload.makes {
        Makes::StatefulSet => {
            format!("run {wanted}, if the software replicates between its members; if not, plan its restart as downtime")
        }
        _ => format!("run {wanted}"),
    });
    match workload.scaler {
        Some((scaler, body)) => {
            let most = int(body, "/spec/maxReplicas").unwrap_or(wanted).max(wanted);
            draft
                .change(
                    scaler,
                    Edit::of(body)
                        .set("/spec/minReplicas", wanted)
                        .set("/spec/maxReplicas", most),
                )
                .done()
        }
        None => draft
            .change(
                workload.object,
                Edit::of(workload.body).set("/spec/replicas", wanted),
            )
            .done(),
    }
}

/// Two members of something that decides by majority.
fn pair(workload: &Workload<'_>) -> Option<Finding> {
    let database = databases::of(workload).filter(|found| found.quorum)?;
    let draft = Draft::new(
        codes::NO_MAJORITY,
        Severity::Warning,
        workload.object,
        format!(
            "{} has two members: without either of them there is no majority",
            database.name
        ),
    )
    .saw("workload", "replicas 2")
    .fix("run three members");
    Some(match workload.scaler {
        Some((scaler, body)) => draft
            .change(scaler, Edit::of(body).set("/spec/minReplicas", 3))
            .done(),
        None => draft
            .change(
                workload.object,
                Edit::of(workload.body).set("/spec/replicas", 3),
            )
            .done(),
    })
}
