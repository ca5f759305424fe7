//! What ARM says of a cluster and of the room around it, for checks that ask nobody afterwards.
//!
//! Reads only, and leaves the answers as they came. A question that is refused does not stop the others: whoever
//! keeps the answers says which are missing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ArmClient, ArmError};

/// The answer to one question.
#[derive(Debug)]
pub struct Part {
    /// What was asked for, such as `arm.agentPools`.
    pub name: &'static str,
    /// Resources, which may be none.
    pub answer: Result<Vec<Value>, ArmError>,
}

/// Cluster, pools, what they may be upgraded to, windows, quota, subnets, and the last operations.
///
/// # Guarantees
/// The first part is the cluster. When it cannot be read there are no others: they would be refused alike.
pub async fn parts(client: &ArmClient) -> Vec<Part> {
    let part = |name, answer| Part { name, answer };
    let cluster = client.cluster().await.map(|found| vec![found.json]);
    let location = match &cluster {
        Ok(found) => found
            .first()
            .and_then(|cluster| cluster.get("location"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        Err(_) => return vec![part("arm.managedClusters", cluster)],
    };
    let pools = client.pools().await;
    let names = names(pools.as_deref().unwrap_or_default());
    let networks = networks(pools.as_deref().unwrap_or_default());
    vec![
        part("arm.managedClusters", cluster),
        part("arm.agentPools", pools),
        part("arm.upgradeProfiles", upgrades(client, &names).await),
        part(
            "arm.maintenanceConfigurations",
            client.maintenance_configurations().await,
        ),
        part("arm.usages", client.vcpu_usages(&location).await),
        part("arm.subnets", subnets(client, &networks).await),
        part("arm.operations", operations(client, &names).await),
    ]
}

fn names(pools: &[Value]) -> Vec<String> {
    pools
        .iter()
        .filter_map(|pool| pool.get("name")?.as_str())
        .map(str::to_owned)
        .collect()
}

/// Ids of the virtual networks that the pools' subnets belong to, each once, whatever the case of its letters.
fn networks(pools: &[Value]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut networks = Vec::new();
    for pool in pools {
        for path in ["/properties/vnetSubnetID", "/properties/podSubnetID"] {
            let Some(id) = pool.pointer(path).and_then(Value::as_str) else {
                continue;
            };
            let Some(end) = id.to_ascii_lowercase().find("/subnets/") else {
                continue;
            };
            let network = id.get(..end).unwrap_or_default();
            if seen.insert(network.to_ascii_lowercase()) {
                networks.push(network.to_owned());
            }
        }
    }
    networks
}

async fn upgrades(client: &ArmClient, pools: &[String]) -> Result<Vec<Value>, ArmError> {
    let mut found = vec![client.cluster_upgrades().await?];
    for pool in pools {
        found.push(client.pool_upgrades(pool).await?);
    }
    Ok(found)
}

async fn subnets(client: &ArmClient, networks: &[String]) -> Result<Vec<Value>, ArmError> {
    let mut found = Vec::new();
    for network in networks {
        found.append(&mut client.subnet_usages(network).await?);
    }
    Ok(found)
}

async fn operations(client: &ArmClient, pools: &[String]) -> Result<Vec<Value>, ArmError> {
    let mut found = Vec::new();
    found.extend(client.latest_operation(None).await?);
    for pool in pools {
        found.extend(client.latest_operation(Some(pool)).await?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::networks;
    use serde_json::json;

    #[test]
    fn a_network_is_asked_once() {
        let pool = |subnet: &str| json!({ "properties": { "vnetSubnetID": subnet } });
        let pools = [
            pool(
                "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/a",
            ),
            pool(
                "/subscriptions/s/resourcegroups/rg/providers/microsoft.network/virtualNetworks/v/SUBNETS/b",
            ),
            json!({ "properties": {} }),
        ];
        assert_eq!(
            networks(&pools),
            ["/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v"]
        );
    }
}
