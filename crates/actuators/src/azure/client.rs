//! The client of one managed cluster.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use reqwest::Method;
use serde_json::{Value, json};

use super::ArmError;
use super::credentials::{Login, credential};
use super::operation::follow;
use super::request::{API_VERSION, Answer, Sender, header, http_client};

/// Which cluster, and where ARM is.
#[derive(Clone)]
pub struct ArmSettings {
    /// `https://management.azure.com` or another cloud's.
    pub endpoint: String,
    /// Scope of the tokens.
    pub scope: String,
    /// Subscription id.
    pub subscription: String,
    /// Resource group.
    pub resource_group: String,
    /// Cluster name.
    pub cluster: String,
    /// Further certificate authorities (PEM), for clouds with their own.
    pub extra_ca: Option<Vec<u8>>,
}

impl fmt::Debug for ArmSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArmSettings")
            .field("endpoint", &self.endpoint)
            .field("subscription", &self.subscription)
            .field("resource_group", &self.resource_group)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl ArmSettings {
    /// A cluster in Azure's public cloud.
    pub fn public(subscription: &str, resource_group: &str, cluster: &str) -> Self {
        Self {
            endpoint: "https://management.azure.com".to_owned(),
            scope: "https://management.azure.com/.default".to_owned(),
            subscription: subscription.to_owned(),
            resource_group: resource_group.to_owned(),
            cluster: cluster.to_owned(),
            extra_ca: None,
        }
    }
}

/// A resource as it came, with its eTag.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// JSON body.
    pub json: Value,
    /// eTag for a conditional write.
    pub etag: Option<String>,
}

/// A client for one managed cluster.
#[derive(Clone)]
pub struct ArmClient {
    sender: Sender,
    settings: ArmSettings,
}

impl fmt::Debug for ArmClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArmClient")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl ArmClient {
    /// A client; nothing is called yet.
    pub fn new(settings: ArmSettings, login: &Login) -> Result<Self, ArmError> {
        let http = http_client(settings.extra_ca.as_deref())?;
        let credential = credential(login, &http)?;
        let sender = Sender::new(&settings, http, credential)?;
        Ok(Self { sender, settings })
    }

    /// A client with tokens from elsewhere.
    pub fn with_credential(
        settings: ArmSettings,
        credential: Arc<dyn TokenCredential>,
    ) -> Result<Self, ArmError> {
        let http = http_client(settings.extra_ca.as_deref())?;
        let sender = Sender::new(&settings, http, credential)?;
        Ok(Self { sender, settings })
    }

    /// ARM id of the cluster.
    pub fn cluster_id(&self) -> String {
        let s = &self.settings;
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.ContainerService/managedClusters/{}",
            s.subscription, s.resource_group, s.cluster
        )
    }

    /// The managed cluster.
    pub async fn cluster(&self) -> Result<Resource, ArmError> {
        let path = self.cluster_id();
        let answer = self.get("read the cluster", &path).await?;
        Ok(resource(answer))
    }

    /// Versions that the control plane and, by pool, the nodes may be upgraded to.
    pub async fn cluster_upgrades(&self) -> Result<Value, ArmError> {
        let path = format!("{}/upgradeProfiles/default", self.cluster_id());
        Ok(self
            .get("read the upgrades of the cluster", &path)
            .await?
            .json)
    }

    /// Replaces the cluster and waits for the operation: an upgrade of the control plane is a
    /// cluster put back with another `kubernetesVersion` and all pool versions unchanged. The
    /// write fails if the cluster changed since it was read.
    pub async fn put_cluster(
        &self,
        body: &Value,
        etag: &str,
        deadline: Duration,
    ) -> Result<(), ArmError> {
        let url = self.url(&self.cluster_id());
        let condition = [("if-match", etag)];
        self.put("put the cluster", &url, body, &condition, deadline)
            .await
    }

    /// All pools of the cluster.
    pub async fn pools(&self) -> Result<Vec<Value>, ArmError> {
        let path = format!("{}/agentPools", self.cluster_id());
        self.list("list the pools", &path).await
    }

    /// One pool; `None` if it does not exist.
    pub async fn pool(&self, name: &str) -> Result<Option<Resource>, ArmError> {
        let path = self.pool_id(name);
        match self.get(&format!("read pool {name}"), &path).await {
            Ok(answer) => Ok(Some(resource(answer))),
            // The cluster's absence is no answer to a question about a pool.
            Err(ArmError::Refused {
                status: 404, code, ..
            }) if !matches!(
                code.as_str(),
                "ResourceGroupNotFound" | "SubscriptionNotFound" | "ParentResourceNotFound"
            ) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Versions that a pool may be upgraded to.
    pub async fn pool_upgrades(&self, name: &str) -> Result<Value, ArmError> {
        let path = format!("{}/upgradeProfiles/default", self.pool_id(name));
        Ok(self
            .get(&format!("read the upgrades of pool {name}"), &path)
            .await?
            .json)
    }

    /// Machines of a pool.
    pub async fn machines(&self, name: &str) -> Result<Vec<Value>, ArmError> {
        let path = format!("{}/machines", self.pool_id(name));
        self.list(&format!("list the machines of pool {name}"), &path)
            .await
    }

    /// vCPUs in use and their limits in a region, by family and, as `cores`, in total.
    pub async fn vcpu_usages(&self, location: &str) -> Result<Vec<Value>, ArmError> {
        /// The compute provider numbers its API on its own.
        const COMPUTE_API: &str = "2026-04-01";
        let url = format!(
            "{}/subscriptions/{}/providers/Microsoft.Compute/locations/{location}/usages?api-version={COMPUTE_API}",
            self.settings.endpoint.trim_end_matches('/'),
            self.settings.subscription,
        );
        self.pages(&format!("read the vCPU quota of {location}"), url)
            .await
    }

    /// Windows of the cluster's channels.
    pub async fn maintenance_configurations(&self) -> Result<Vec<Value>, ArmError> {
        let path = format!("{}/maintenanceConfigurations", self.cluster_id());
        self.list("list the maintenance configurations", &path)
            .await
    }

    /// Addresses in use and their limits, by subnet of a virtual network.
    pub async fn subnet_usages(&self, network: &str) -> Result<Vec<Value>, ArmError> {
        /// The network provider numbers its API on its own.
        const NETWORK_API: &str = "2026-03-01";
        let url = format!(
            "{}{network}/usages?api-version={NETWORK_API}",
            self.settings.endpoint.trim_end_matches('/'),
        );
        self.pages("read the addresses of the pools' subnets", url)
            .await
    }

    /// The last operation on a pool, or on the cluster itself; `None` when none is known.
    pub async fn latest_operation(&self, pool: Option<&str>) -> Result<Option<Value>, ArmError> {
        /// Previews alone answer it.
        const PREVIEW_API: &str = "2026-07-02-preview";
        let of = pool.map_or_else(|| self.cluster_id(), |name| self.pool_id(name));
        let url = format!(
            "{}{of}/operations/latest?api-version={PREVIEW_API}",
            self.settings.endpoint.trim_end_matches('/'),
        );
        let what = "read the latest operation";
        match self.sender.send(what, Method::GET, &url, None, &[]).await {
            Ok(answer) => Ok(Some(answer.json)),
            Err(ArmError::Refused { status: 404, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Creates or replaces a pool and waits for the operation. With an eTag the write fails if
    /// the pool changed since it was read; without one it fails if the pool exists.
    pub async fn put_pool(
        &self,
        name: &str,
        body: &Value,
        etag: Option<&str>,
        deadline: Duration,
    ) -> Result<(), ArmError> {
        let url = self.url(&self.pool_id(name));
        let condition = match etag {
            Some(etag) => ("if-match", etag),
            None => ("if-none-match", "*"),
        };
        self.put(
            &format!("put pool {name}"),
            &url,
            body,
            &[condition],
            deadline,
        )
        .await
    }

    /// Deletes a pool and waits for the operation. An absent pool is a success.
    ///
    /// # Assumptions
    /// The caller has emptied it: ARM neither cordons nor drains here.
    pub async fn delete_pool(&self, name: &str, deadline: Duration) -> Result<(), ArmError> {
        let what = format!("delete pool {name}");
        let url = self.url(&self.pool_id(name));
        match self
            .sender
            .send(&what, Method::DELETE, &url, None, &[])
            .await
        {
            Ok(answer) => follow(&self.sender, &what, answer, None, deadline).await,
            Err(ArmError::Refused { status: 404, .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Deletes machines of a pool and waits for the operation.
    ///
    /// # Assumptions
    /// The caller has emptied them: ARM drains nothing here.
    pub async fn delete_machines(
        &self,
        pool: &str,
        machines: &[&str],
        deadline: Duration,
    ) -> Result<(), ArmError> {
        let what = format!("delete machines {} of pool {pool}", machines.join(", "));
        let url = self.url(&format!("{}/deleteMachines", self.pool_id(pool)));
        let body = json!({ "machineNames": machines });
        let answer = self
            .sender
            .send(&what, Method::POST, &url, Some(&body), &[])
            .await?;
        follow(&self.sender, &what, answer, None, deadline).await
    }

    /// Stops the operation that runs on a pool, where it is; nothing is rolled back. Without one
    /// it is a success.
    pub async fn abort_pool(&self, pool: &str, deadline: Duration) -> Result<(), ArmError> {
        let what = format!("abort the operation on pool {pool}");
        let url = self.url(&format!("{}/abort", self.pool_id(pool)));
        let answer = self
            .sender
            .send(&what, Method::POST, &url, None, &[])
            .await?;
        follow(&self.sender, &what, answer, None, deadline).await
    }

    fn pool_id(&self, name: &str) -> String {
        format!("{}/agentPools/{name}", self.cluster_id())
    }

    fn url(&self, path: &str) -> String {
        format!(
            "{}{path}?api-version={API_VERSION}",
            self.settings.endpoint.trim_end_matches('/')
        )
    }

    async fn get(&self, what: &str, path: &str) -> Result<Answer, ArmError> {
        self.sender
            .send(what, Method::GET, &self.url(path), None, &[])
            .await
    }

    async fn put(
        &self,
        what: &str,
        url: &str,
        body: &Value,
        headers: &[(&'static str, &str)],
        deadline: Duration,
    ) -> Result<(), ArmError> {
        let answer = self
            .sender
            .send(what, Method::PUT, url, Some(body), headers)
            .await?;
        follow(&self.sender, what, answer, Some(url), deadline).await
    }

    async fn list(&self, what: &str, path: &str) -> Result<Vec<Value>, ArmError> {
        self.pages(what, self.url(path)).await
    }

    async fn pages(&self, what: &str, url: String) -> Result<Vec<Value>, ArmError> {
        let mut next = Some(url);
        let mut items = Vec::new();
        while let Some(url) = next {
            let mut answer = self.sender.send(what, Method::GET, &url, None, &[]).await?;
            match answer.json.get_mut("value").map(Value::take) {
                Some(Value::Array(page)) => items.extend(page),
                // A list that cannot be read must not pass for an empty one.
                _ => {
                    return Err(ArmError::Unreadable {
                        what: what.to_owned(),
                        why: "the list has no value".to_owned(),
                    });
                }
            }
            next = answer
                .json
                .get("nextLink")
                .and_then(Value::as_str)
                .filter(|link| !link.is_empty())
                .map(str::to_owned);
        }
        Ok(items)
    }
}

fn resource(answer: Answer) -> Resource {
    // A pool carries its eTag among the properties, a cluster beside them.
    let etag = answer
        .json
        .pointer("/properties/eTag")
        .or_else(|| answer.json.get("eTag"))
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or_else(|| header(&answer.headers, "etag"));
    Resource {
        json: answer.json,
        etag,
    }
}
