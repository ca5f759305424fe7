//! What becomes of pods when something happens to their machine.

use super::common::*;
use crate::support::Sandbox;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::Api;
use kube::runtime::wait::await_condition;
use serde_json::json;

async fn running(place: &Place) -> (Pod, String) {
    place
        .pod("server", json!({"containers": [shell(IDLE)]}))
        .await;
    let pod = place.ready("server").await;
    let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap();
    (pod, node)
}

/// The node-lifecycle controller takes `Ready` from the pods of a silent node; the node gives it back.
pub(crate) async fn a_silent_node_takes_its_readiness_back(sandbox: &Sandbox, client: &Client) {
    let place = Place::new(client, "partition", &sandbox.directory()).await;
    let (before, node) = running(&place).await;
    sandbox.run(&["fault", "partition", &node]);
    place.wait("server", "unready", |pod| !is_ready(pod)).await;
    sandbox.run(&["fault", "heal", &node]);
    let after = place.ready("server").await;
    assert_eq!(restarts(&after), 0);
    assert_eq!(
        container(&after, 0)["containerID"],
        container(&before, 0)["containerID"]
    );
}

/// Same Node, new boot: the pods are the same objects, their containers new ones.
pub(crate) async fn a_machine_that_boots_runs_its_pods_again(sandbox: &Sandbox, client: &Client) {
    let place = Place::new(client, "boot", &sandbox.directory()).await;
    let (before, node) = running(&place).await;
    let nodes: Api<Node> = Api::all(client.clone());
    let boot = |node: &Node| {
        node.status
            .as_ref()
            .and_then(|s| s.node_info.as_ref())
            .map(|i| i.boot_id.clone())
    };
    let old = nodes.get(&node).await.unwrap();
    sandbox.run(&["fault", "crash", &node]);
    sandbox.run(&["fault", "boot", &node]);
    let again = |n: Option<&Node>| n.is_some_and(|n| boot(n) != boot(&old));
    let new = within("boot", "another boot", await_condition(nodes, &node, again))
        .await
        .unwrap();
    assert_eq!(new.metadata.uid, old.metadata.uid);

    let after = place
        .wait("server", "restarted", |pod| {
            restarts(pod) == 1 && is_ready(pod)
        })
        .await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    let last = &container(&after, 0)["lastState"]["terminated"];
    assert_eq!(
        (&last["exitCode"], &last["containerID"]),
        (&json!(255), &container(&before, 0)["containerID"])
    );
}
