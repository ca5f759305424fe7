//! The real az CLI against a whole sandbox: what it orders are real nodes, and what it deletes is gone from the cluster.

#[path = "../../../azure-emulator/tests/common/az.rs"]
mod cli;

use std::collections::BTreeMap;
use std::process::Command;

use cli::Az;
use serde_json::Value;

use crate::support::{SYSTEM, Sandbox};

impl Sandbox {
    /// The bridge that all machines are plugged into has the address that its neighbours remember.
    fn bridge_keeps_its_address(&self) {
        let pid = self.file()["pid"].to_string();
        let output = Command::new("nsenter")
            .args(["--target", &pid, "--net", "ip", "-json", "link", "show"])
            .arg("fwbr0")
            .output()
            .unwrap();
        let links: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(links[0]["address"], "02:fe:00:00:00:01", "{links}");
    }

    /// The nodes of a pool as kubectl shows them, by name.
    fn nodes(&self, pool: &str) -> BTreeMap<String, Value> {
        let selector = format!("kubernetes.azure.com/agentpool={pool}");
        let out = self.run(&[
            "kubectl", "--", "get", "nodes", "-l", &selector, "-o", "json",
        ]);
        let list: Value = serde_json::from_str(&out).unwrap();
        let nodes = list["items"].as_array().unwrap().iter();
        nodes
            .map(|node| (text(&node["metadata"]["name"]), node.clone()))
            .collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn is_ready(node: &Value) -> bool {
    node["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[tokio::test]
async fn what_az_orders_and_deletes_are_real_nodes() -> anyhow::Result<()> {
    // The fewest that the commands need.
    let behind = "name=dbpool,mode=User,count=1,zones=2,version=1.35.4";
    let sandbox = Sandbox::up("az", &[SYSTEM, behind]);
    let file = sandbox.file();
    let arm = |key: &str| text(&file["arm"][key]);
    let az = Az::new(sandbox.state(), arm("ca_file").as_ref()).await?;

    az.ok(&format!(
        "cloud register --name practice --endpoint-resource-manager {}",
        arm("endpoint")
    ))
    .await?;
    az.ok("cloud set --name practice").await?;
    let secret = std::fs::read_to_string(arm("client_secret_file"))?;
    az.ok(&format!(
        "login --service-principal --username {} --tenant {} --password {secret}",
        arm("client_id"),
        arm("tenant_id")
    ))
    .await?;

    let scope = format!("--resource-group {}", arm("resource_group"));
    let cluster = az
        .ok(&format!("aks show {scope} --name {}", arm("cluster")))
        .await?;
    let at = text(&cluster["currentKubernetesVersion"]);
    let pool = format!("{scope} --cluster-name {}", arm("cluster"));
    let pools = az.ok(&format!("aks nodepool list {pool}")).await?;
    for listed in pools.as_array().into_iter().flatten() {
        let nodes = sandbox.nodes(&text(&listed["name"]));
        assert_eq!(listed["count"], nodes.len(), "{listed}");
        let version = format!("v{}", text(&listed["currentOrchestratorVersion"]));
        for node in nodes.values() {
            assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], version);
        }
    }
    let upgrades = az
        .ok(&format!(
            "aks nodepool get-upgrades {pool} --nodepool-name dbpool"
        ))
        .await?;
    let offered = upgrades["upgrades"].as_array().into_iter().flatten();
    assert!(
        offered.into_iter().any(|u| u["kubernetesVersion"] == at),
        "{upgrades}"
    );

    // Added: a node of that pool, in that zone, at that version, with label and taint, is there and Ready.
    az.ok(&format!(
        "aks nodepool add {pool} --name dbz2 --node-count 1 --zones 2 --node-vm-size Standard_D2s_v5 \
         --kubernetes-version {at} --labels workload=database --node-taints workload=database:NoSchedule"
    ))
    .await?;
    let first = sandbox.nodes("dbz2");
    let (first_name, node) = first.first_key_value().unwrap();
    assert!(is_ready(node), "{node}");
    let labels = &node["metadata"]["labels"];
    assert_eq!(labels["workload"], "database");
    assert_eq!(labels["topology.kubernetes.io/zone"], "eastus-2");
    assert_eq!(
        node["status"]["nodeInfo"]["kubeletVersion"],
        format!("v{at}")
    );
    assert_eq!(node["spec"]["taints"][0]["key"], "workload");

    // Scaled: two more beside the same first one.
    az.ok(&format!(
        "aks nodepool scale {pool} --name dbz2 --node-count 3"
    ))
    .await?;
    let three = sandbox.nodes("dbz2");
    assert_eq!(three.len(), 3);
    sandbox.bridge_keeps_its_address();
    assert!(three.values().all(is_ready));
    assert_eq!(
        three[first_name]["metadata"]["uid"],
        node["metadata"]["uid"]
    );

    // Updated: the nodes that are there carry the new label, and are the same machines.
    az.ok(&format!(
        "aks nodepool update {pool} --name dbz2 --labels workload=database tier=one"
    ))
    .await?;
    let relabelled = sandbox.nodes("dbz2");
    for (name, node) in &relabelled {
        assert_eq!(node["metadata"]["labels"]["tier"], "one", "{name}");
        assert_eq!(node["metadata"]["uid"], three[name]["metadata"]["uid"]);
    }

    // One machine deleted: that node, and no other.
    az.ok(&format!(
        "aks nodepool delete-machines {pool} --name dbz2 --machine-names {first_name}"
    ))
    .await?;
    let two = sandbox.nodes("dbz2");
    assert_eq!(two.len(), 2);
    assert!(!two.contains_key(first_name));
    let shown = az
        .ok(&format!("aks nodepool show {pool} --name dbz2"))
        .await?;
    assert_eq!(
        (&shown["count"], &shown["provisioningState"]),
        (&2.into(), &"Succeeded".into())
    );

    // Deleted: nothing of it is left, and the others stand.
    az.ok(&format!("aks nodepool delete {pool} --name dbz2"))
        .await?;
    assert_eq!(sandbox.nodes("dbz2").len(), 0);
    sandbox.bridge_keeps_its_address();
    assert!(sandbox.nodes("dbpool").values().all(is_ready));
    assert!(sandbox.nodes("syspool").values().all(is_ready));
    Ok(())
}
