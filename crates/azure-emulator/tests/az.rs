//! The real az CLI against the emulator over TLS: login, and the node-pool commands a user types.
#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

mod common;

use anyhow::ensure;

use common::az::Az;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn az_logs_in_and_manages_node_pools() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let seed = common::seed();
    let (emulator, machines) = common::emulator(seed.clone()).await?;
    emulator.set_kubeconfig("apiVersion: v1\nkind: Config\n");
    let server = common::serve(emulator.router(), dir.path()).await?;
    let az = Az::new(dir.path(), &server.ca_file).await?;

    let endpoint = server.endpoint();
    az.ok(&format!(
        "cloud register --name practice --endpoint-resource-manager {endpoint}"
    ))
    .await?;
    az.ok("cloud set --name practice").await?;
    let login = format!(
        "login --service-principal --username {} --tenant {}",
        seed.client_id, seed.tenant_id
    );
    let refused = az.refused(&format!("{login} --password wrong")).await?;
    ensure!(refused.contains("AADSTS7000215"), "{refused}");
    let accounts = az
        .ok(&format!("{login} --password {}", seed.client_secret))
        .await?;
    assert_eq!(accounts[0]["id"], seed.subscription_id.as_str());

    let scope = "--resource-group practice-rg";
    let cluster = az.ok(&format!("aks show {scope} --name practice")).await?;
    assert_eq!(cluster["currentKubernetesVersion"], "1.36.3");
    assert_eq!(
        cluster["agentPoolProfiles"].as_array().map(Vec::len),
        Some(2)
    );
    let upgrades = az
        .ok(&format!("aks get-upgrades {scope} --name practice"))
        .await?;
    assert_eq!(
        upgrades["controlPlaneProfile"]["kubernetesVersion"],
        "1.36.3"
    );

    let pool = format!("{scope} --cluster-name practice");
    let pools = az.ok(&format!("aks nodepool list {pool}")).await?;
    assert_eq!(pools[0]["name"], "dbpool");
    assert_eq!(pools[0]["currentOrchestratorVersion"], "1.35.4");
    let upgrades = az
        .ok(&format!(
            "aks nodepool get-upgrades {pool} --nodepool-name dbpool"
        ))
        .await?;
    assert_eq!(upgrades["upgrades"][1]["kubernetesVersion"], "1.36.3");

    let added = az
        .ok(&format!(
            "aks nodepool add {pool} --name dbz2 --node-count 1 --zones 2 --node-vm-size Standard_D2s_v5 \
             --kubernetes-version 1.36.3 --labels workload=database --node-taints workload=database:NoSchedule"
        ))
        .await?;
    assert_eq!(added["provisioningState"], "Succeeded");
    assert_eq!(added["nodeLabels"]["workload"], "database");
    let scaled = az
        .ok(&format!(
            "aks nodepool scale {pool} --name dbz2 --node-count 3"
        ))
        .await?;
    assert_eq!(
        (&scaled["count"], &scaled["availabilityZones"][0]),
        (&3.into(), &"2".into())
    );
    let updated =
        az.ok(&format!("aks nodepool update {pool} --name dbz2 --max-surge 50% --labels workload=database tier=1")).await?;
    assert_eq!(updated["upgradeSettings"]["maxSurge"], "50%");
    assert_eq!(updated["nodeLabels"]["tier"], "1");

    let listed = az
        .ok(&format!("aks machine list {pool} --nodepool-name dbz2"))
        .await?;
    let names: Vec<&str> = listed
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|machine| machine["name"].as_str())
        .collect();
    assert_eq!(names.len(), 3);
    let doomed = names[1].to_owned();
    az.ok(&format!(
        "aks nodepool delete-machines {pool} --name dbz2 --machine-names {doomed}"
    ))
    .await?;
    let shown = az
        .ok(&format!("aks nodepool show {pool} --name dbz2"))
        .await?;
    assert_eq!(
        (&shown["count"], &shown["provisioningState"]),
        (&2.into(), &"Succeeded".into())
    );
    assert!(!machines.machines.lock().unwrap().contains_key(&doomed));

    let refused = az
        .refused(&format!("aks nodepool delete {pool} --name syspool"))
        .await?;
    ensure!(
        refused.contains("at least one system agent pool"),
        "{refused}"
    );
    let refused = az
        .refused(&format!(
            "aks nodepool scale {pool} --name dbz2 --node-count 90"
        ))
        .await?;
    ensure!(refused.contains("Insufficient vcpu quota"), "{refused}");
    az.ok(&format!("aks nodepool delete {pool} --name dbz2"))
        .await?;
    let pools = az.ok(&format!("aks nodepool list {pool}")).await?;
    assert_eq!(pools.as_array().map(Vec::len), Some(2));
    assert_eq!(machines.machines.lock().unwrap().len(), 5);

    let kubeconfig = dir.path().join("kubeconfig");
    az.ok(&format!(
        "aks get-credentials {scope} --name practice --file {}",
        kubeconfig.display()
    ))
    .await?;
    ensure!(std::fs::read_to_string(kubeconfig)?.contains("kind: Config"));
    Ok(())
}
