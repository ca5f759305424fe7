//! Rollouts: does a change of the workload itself keep somebody serving.

use serde_json::{Value, json};

use super::draft::{Draft, Edit};
use super::replicas::claims;
use super::scene::{Makes, Scene, Workload};
use super::values::{int, text};
use crate::codes;
use crate::findings::{Finding, Severity};

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for workload in &scene.workloads {
        findings.extend(strategy(workload));
        findings.extend(hasty(workload));
    }
}

fn strategy(workload: &Workload<'_>) -> Option<Finding> {
    let body = workload.body;
    let several = workload.fewest().is_some_and(|fewest| fewest >= 2);
    let all = |path: &str| body.pointer(path).and_then(Value::as_str) == Some("100%");
    let (why, edit) = match workload.makes {
        // One pod with one volume cannot do better.
        Makes::Deployment if several && !claims(workload) => {
            let kind = text(body, "/spec/strategy/type");
            let most = int(body, "/spec/strategy/rollingUpdate/maxUnavailable");
            let everybody = all("/spec/strategy/rollingUpdate/maxUnavailable")
                || most.is_some_and(|most| Some(most) >= workload.fewest());
            if kind != Some("Recreate") && !everybody {
                return None;
            }
            let why = if everybody {
                "rollingUpdate.maxUnavailable takes every pod at once"
            } else {
                "strategy Recreate stops every pod before the first new one starts"
            };
            let value = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } });
            (why, Edit::of(body).set("/spec/strategy", value))
        }
        Makes::StatefulSet if text(body, "/spec/updateStrategy/type") == Some("OnDelete") => (
            "updateStrategy OnDelete: a changed template reaches a pod only when somebody deletes it, such as a drain",
            Edit::of(body).set("/spec/updateStrategy", json!({ "type": "RollingUpdate" })),
        ),
        Makes::DaemonSet if all("/spec/updateStrategy/rollingUpdate/maxUnavailable") => (
            "rollingUpdate.maxUnavailable 100% stops it on every node at once",
            Edit::of(body).set("/spec/updateStrategy/rollingUpdate/maxUnavailable", 1),
        ),
        _ => return None,
    };
    Some(
        Draft::new(codes::ROLLOUT, Severity::Warning, workload.object, why)
            .saw("workload", why)
            .fix("roll one pod at a time")
            .change(workload.object, edit)
            .done(),
    )
}

/// Ready for a moment counts as available.
fn hasty(workload: &Workload<'_>) -> Option<Finding> {
    if !matches!(workload.makes, Makes::Deployment | Makes::StatefulSet)
        || workload.fewest().is_none_or(|fewest| fewest < 2)
        || int(workload.body, "/spec/minReadySeconds").unwrap_or(0) > 0
    {
        return None;
    }
    Some(
        Draft::new(
            codes::HASTY,
            Severity::Info,
            workload.object,
            "minReadySeconds is 0: a pod that is Ready for a moment and then crashes lets a rollout go on",
        )
        .saw("workload", "minReadySeconds is not set")
        .fix("set minReadySeconds")
        .change(workload.object, Edit::of(workload.body).set("/spec/minReadySeconds", 10))
        .done(),
    )
}
