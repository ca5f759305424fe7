//! Where this process runs, if that is a Pod of the cluster: its own plan must not take the machine from under it.
//!
//! # Invariants
//! - A run is never driven from a machine that its plan cordons, retires or deletes with its pool.

use std::path::Path;

use ferriswheel_plan::ids::NodeName;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::step::StepKind;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, ResourceExt};

use crate::exit::Exit;
use crate::failure::Failure;

/// Where every Pod finds its namespace.
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Label that names a node's pool.
const POOL_LABEL: &str = "kubernetes.azure.com/agentpool";

/// Refuses to drive a plan from a machine that the plan takes away. For a process in a Pod of the cluster.
pub async fn refuse_doomed(plan: &Plan, client: &kube::Client) -> Result<(), Failure> {
    if !takes_machines(plan) {
        return Ok(());
    }
    let (pod, node) = own(client, Path::new(NAMESPACE)).await?;
    let pool = node.labels().get(POOL_LABEL).map(String::as_str);
    let name = NodeName::new(node.name_any());
    match doom(plan, &name, pool) {
        None => Ok(()),
        Some(step) => Err(Failure::one(
            Exit::Refused,
            "FW0413",
            "this process runs on a machine that its own plan takes away",
        )
        .evidence(format!(
            "pod {pod} is on {name}, pool {}",
            pool.unwrap_or("(none)")
        ))
        .evidence(format!("step {step}"))
        .fix("let the Job run on a pool that the plan does not touch: change its nodeSelector")),
    }
}

fn takes_machines(plan: &Plan) -> bool {
    plan.body.steps.iter().any(|step| {
        matches!(
            step.kind,
            StepKind::Cordon { .. }
                | StepKind::RetireNode { .. }
                | StepKind::ShrinkPool { .. }
                | StepKind::DeletePool { .. }
        )
    })
}

/// The first step that takes the machine away.
fn doom(plan: &Plan, node: &NodeName, pool: Option<&str>) -> Option<String> {
    let step = plan.body.steps.iter().find(|step| match &step.kind {
        StepKind::Cordon { nodes } => nodes.iter().any(|cordoned| cordoned.name == *node),
        StepKind::RetireNode { node: retired, .. } => retired.name == *node,
        StepKind::ShrinkPool { pool: shrunk, .. } => pool == Some(shrunk.as_str()),
        StepKind::DeletePool { pool: deleted } => pool == Some(deleted.as_str()),
        _ => false,
    })?;
    Some(format!("{}: {}", step.id, step.title))
}

/// The Pod that this process runs in, and its machine.
async fn own(client: &kube::Client, namespace: &Path) -> Result<(String, Node), Failure> {
    let unknown = |what: String| {
        Failure::one(
            Exit::Refused,
            "FW0413",
            "it cannot be told which machine this process runs on",
        )
        .evidence(what)
        .fix("set POD_NAME from the downward API (examples/in-cluster/job.yaml), and allow `get` of pods and nodes")
    };
    let namespace = std::fs::read_to_string(namespace)
        .map_err(|e| unknown(format!("{}: {e}", namespace.display())))?;
    // A Pod's host name is its own name unless the Pod says otherwise.
    let name = ["POD_NAME", "HOSTNAME"]
        .iter()
        .find_map(|variable| std::env::var(variable).ok())
        .ok_or_else(|| unknown("neither POD_NAME nor HOSTNAME is set".to_owned()))?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace.trim());
    let pod = pods
        .get(&name)
        .await
        .map_err(|e| unknown(format!("pod {}/{name}: {e}", namespace.trim())))?;
    let node = pod
        .spec
        .and_then(|spec| spec.node_name)
        .ok_or_else(|| unknown(format!("pod {name} has no node")))?;
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes
        .get(&node)
        .await
        .map_err(|e| unknown(format!("node {node}: {e}")))?;
    Ok((name, node))
}

#[cfg(test)]
mod tests {
    use super::doom;
    use ferriswheel_plan::ids::NodeName;
    use ferriswheel_plan::plan::Plan;

    /// The golden plan of the practice cluster would do as well; only its steps matter here.
    fn plan() -> Plan {
        let steps = serde_json::json!([
            {"id": 1, "title": "retire a", "guards": [], "gate": null, "undo": "nothing", "soak_ms": 0,
             "deadline_ms": 1, "expected_ms": 1, "expected_stall_ms": null,
             "kind": {"retireNode": {"node": {"name": "a", "uid": "1"}, "pool": "dbpool"}}},
            {"id": 2, "title": "delete dbpool", "guards": [], "gate": null, "undo": "nothing", "soak_ms": 0,
             "deadline_ms": 1, "expected_ms": 1, "expected_stall_ms": null,
             "kind": {"deletePool": {"pool": "dbpool"}}},
        ]);
        serde_json::from_value(serde_json::json!({
            "schema": "ferriswheel.plan.v1", "id": "0", "body": {
                "name": "n", "parent": null, "observed_at": "2026-01-01T00:00:00Z", "cluster": "c",
                "target": null, "world_digest": "d", "promises": [], "warnings": [], "steps": steps,
                "peak": {"extra_nodes": 0, "extra_replicas": 0, "fewest_members": 3, "if_a_member_crashes": ""},
                "policy": {"apiVersion": "ferriswheel.dev/v1alpha1", "kind": "Upgrade",
                    "metadata": {"name": "n"},
                    "spec": {"cluster": {"subscription": "s", "resourceGroup": "r", "name": "c"}, "databases": []}},
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_machine_is_doomed_by_its_name_or_with_its_pool() {
        let plan = plan();
        let by_name = doom(&plan, &NodeName::new("a"), Some("dbpool")).unwrap();
        assert_eq!(by_name, "1: retire a");
        let by_pool = doom(&plan, &NodeName::new("b"), Some("dbpool")).unwrap();
        assert_eq!(by_pool, "2: delete dbpool");
        assert_eq!(doom(&plan, &NodeName::new("c"), Some("syspool")), None);
        assert_eq!(doom(&plan, &NodeName::new("c"), None), None);
    }
}
