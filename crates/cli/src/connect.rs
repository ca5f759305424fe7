//! Flags and environment that lead to a cluster and its resource manager.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use ferriswheel_actuators::azure::{ArmClient, ArmSettings, Login};
use ferriswheel_actuators::dial::{Dial, Direct, PortForward};
use ferriswheel_actuators::world::Outside;
use ferriswheel_plan::policy::ClusterRef;
use serde::Deserialize;

use crate::failure::Failure;

/// Where the agent of a hand-over stops on purpose; unset outside of tests.
const AGENT_HOLD: &str = "FERRISWHEEL_AGENT_HOLD";

/// How pods are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reach {
    /// Direct inside a cluster, port-forward outside.
    Auto,
    /// Pod addresses.
    Direct,
    /// The API server's port-forward.
    PortForward,
}

/// Where the cluster is.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    /// Use a practice sandbox instead of a real cluster (its name; see `ferriswheel sandbox up`)
    #[arg(long, value_name = "NAME", env = "FERRISWHEEL_SANDBOX")]
    pub sandbox: Option<String>,
    /// Kubeconfig file; default: KUBECONFIG, ~/.kube/config, or the Pod's service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Resource manager of the cloud
    #[arg(
        long,
        value_name = "URL",
        env = "FERRISWHEEL_ARM_ENDPOINT",
        default_value = "https://management.azure.com"
    )]
    pub arm_endpoint: String,
    /// Certificate authority of a private cloud's endpoints (PEM)
    #[arg(long, value_name = "FILE", env = "FERRISWHEEL_ARM_CA")]
    pub arm_ca: Option<PathBuf>,
    /// How pods are reached
    #[arg(long, value_enum, default_value = "auto")]
    pub reach: Reach,
    /// Image of this program for the agents and the probe
    #[arg(
        long,
        value_name = "IMAGE",
        env = "FERRISWHEEL_IMAGE",
        default_value = concat!("ferriswheel:", env!("CARGO_PKG_VERSION"))
    )]
    pub image: String,
}

/// Which managed cluster the resource manager is asked about, by commands that read no spec.
#[derive(Clone, Debug, Args)]
pub struct Managed {
    /// Ask Azure Resource Manager about this cluster too: its resource id, or SUBSCRIPTION/GROUP/NAME
    #[arg(long, value_name = "ID", env = "FERRISWHEEL_CLUSTER", value_parser = cluster_ref)]
    cluster: Option<ClusterRef>,
    /// Ask it about the cluster that this spec of an upgrade names
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
}

impl Managed {
    /// The cluster, if one is named; a sandbox names its own.
    pub fn cluster(&self, connection: &Connection) -> Result<Option<ClusterRef>, Failure> {
        if let Some(path) = &self.spec {
            return Ok(Some(crate::commands::plan::read_spec(path)?.spec.cluster));
        }
        if self.cluster.is_some() {
            return Ok(self.cluster.clone());
        }
        let Some(name) = &connection.sandbox else {
            return Ok(None);
        };
        let arm = sandbox_state(name)?.arm;
        Ok(Some(ClusterRef {
            subscription: arm.subscription_id,
            resource_group: arm.resource_group,
            name: arm.cluster,
        }))
    }
}

/// `/subscriptions/S/resourceGroups/G/providers/Microsoft.ContainerService/managedClusters/N`, whose words come in any
/// case, or `S/G/N`.
fn cluster_ref(text: &str) -> Result<ClusterRef, String> {
    let parts: Vec<&str> = text.trim_matches('/').split('/').collect();
    let is = |part: &str, word: &str| part.eq_ignore_ascii_case(word);
    let (subscription, group, name) = match parts.as_slice() {
        [a, subscription, b, group, c, d, e, name]
            if is(a, "subscriptions")
                && is(b, "resourceGroups")
                && is(c, "providers")
                && is(d, "Microsoft.ContainerService")
                && is(e, "managedClusters") =>
        {
            (subscription, group, name)
        }
        [subscription, group, name] => (subscription, group, name),
        _ => return Err("say the cluster's resource id, or SUBSCRIPTION/GROUP/NAME".to_owned()),
    };
    if [subscription, group, name]
        .iter()
        .any(|part| part.is_empty())
    {
        return Err("a part of it is empty".to_owned());
    }
    Ok(ClusterRef {
        subscription: (*subscription).to_owned(),
        resource_group: (*group).to_owned(),
        name: (*name).to_owned(),
    })
}

/// What a sandbox says of itself, as far as it is needed here.
#[derive(Debug, Deserialize)]
struct SandboxState {
    kubeconfig: PathBuf,
    arm: SandboxArm,
}

#[derive(Debug, Deserialize)]
struct SandboxArm {
    endpoint: String,
    ca_file: PathBuf,
    tenant_id: String,
    client_id: String,
    client_secret_file: PathBuf,
    subscription_id: String,
    resource_group: String,
    cluster: String,
}

impl Connection {
    /// Clients for the cluster that a spec names.
    pub async fn outside(
        &self,
        cluster: &ClusterRef,
        artifacts: PathBuf,
    ) -> Result<Outside, Failure> {
        let sandbox = self.sandbox.as_deref().map(sandbox_state).transpose()?;
        let kubeconfig = sandbox
            .as_ref()
            .map(|state| state.kubeconfig.clone())
            .or_else(|| self.kubeconfig.clone());
        let (kube, inside) = kube_client(kubeconfig).await?;
        let arm = self.arm(cluster, sandbox.as_ref())?;
        let direct = match self.reach {
            Reach::Auto => inside,
            Reach::Direct => true,
            Reach::PortForward => false,
        };
        let dial: Arc<dyn Dial> = if direct {
            Arc::new(Direct)
        } else {
            Arc::new(PortForward::new(kube.clone()))
        };
        Ok(Outside {
            kube,
            arm,
            dial,
            image: self.image.clone(),
            artifacts,
            agent_hold: std::env::var(AGENT_HOLD).ok(),
        })
    }

    /// A client for the cluster alone.
    pub async fn kube(&self) -> Result<kube::Client, Failure> {
        let sandbox = self.sandbox.as_deref().map(sandbox_state).transpose()?;
        let kubeconfig = sandbox
            .map(|state| state.kubeconfig)
            .or_else(|| self.kubeconfig.clone());
        Ok(kube_client(kubeconfig).await?.0)
    }

    /// A client for the resource manager alone.
    pub fn arm_of(&self, cluster: &ClusterRef) -> Result<ArmClient, Failure> {
        let sandbox = self.sandbox.as_deref().map(sandbox_state).transpose()?;
        self.arm(cluster, sandbox.as_ref())
    }

    /// This process runs in a Pod of the cluster that it works on.
    pub fn is_inside(&self) -> bool {
        self.sandbox.is_none() && self.kubeconfig.is_none() && kube::Config::incluster().is_ok()
    }

    fn arm(
        &self,
        cluster: &ClusterRef,
        sandbox: Option<&SandboxState>,
    ) -> Result<ArmClient, Failure> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|e| {
                Failure::input(format!("{} cannot be read: {e}", path.display()))
                    .fix("check the path and its permissions")
            })
        };
        let (endpoint, ca, login) = match sandbox {
            Some(state) => {
                let secret = read(&state.arm.client_secret_file)?;
                let login = Login::ServicePrincipal {
                    tenant: state.arm.tenant_id.clone(),
                    client_id: state.arm.client_id.clone(),
                    client_secret: String::from_utf8_lossy(&secret).trim().to_owned(),
                    authority_host: Some(state.arm.endpoint.clone()),
                };
                (
                    state.arm.endpoint.clone(),
                    Some(read(&state.arm.ca_file)?),
                    login,
                )
            }
            None => (
                self.arm_endpoint.clone(),
                self.arm_ca.as_ref().map(read).transpose()?,
                login_from_environment(),
            ),
        };
        let settings = ArmSettings {
            scope: format!("{}/.default", endpoint.trim_end_matches('/')),
            endpoint,
            subscription: cluster.subscription.clone(),
            resource_group: cluster.resource_group.clone(),
            cluster: cluster.name.clone(),
            extra_ca: ca,
        };
        ArmClient::new(settings, &login).map_err(|e| {
            Failure::unexpected(&e).fix("check AZURE_TENANT_ID and AZURE_CLIENT_ID, or `az login`")
        })
    }
}

/// The usual variables, most specific first.
fn login_from_environment() -> Login {
    let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(tenant), Some(client_id), Some(client_secret)) = (
        get("AZURE_TENANT_ID"),
        get("AZURE_CLIENT_ID"),
        get("AZURE_CLIENT_SECRET"),
    ) {
        return Login::ServicePrincipal {
            tenant,
            client_id,
            client_secret,
            authority_host: get("AZURE_AUTHORITY_HOST"),
        };
    }
    if get("AZURE_FEDERATED_TOKEN_FILE").is_some() {
        return Login::WorkloadIdentity;
    }
    if get("IDENTITY_ENDPOINT").is_some() {
        return Login::ManagedIdentity;
    }
    Login::AzureCli
}

/// A client, and whether this process runs in a Pod of the cluster.
async fn kube_client(kubeconfig: Option<PathBuf>) -> Result<(kube::Client, bool), Failure> {
    let failed = |what: String| {
        Failure::input(what).fix("name the cluster with --kubeconfig FILE or --sandbox NAME")
    };
    let (mut config, inside) = match kubeconfig {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(&path)
                .map_err(|e| failed(format!("{}: {e}", path.display())))?;
            let config = kube::Config::from_custom_kubeconfig(file, &Default::default())
                .await
                .map_err(|e| failed(format!("{}: {e}", path.display())))?;
            (config, false)
        }
        None => match kube::Config::incluster() {
            Ok(config) => (config, true),
            Err(_) => (
                kube::Config::infer()
                    .await
                    .map_err(|e| failed(format!("no cluster is configured: {e}")))?,
                false,
            ),
        },
    };
    // The client's own retries sit on a refused eviction (429, Retry-After 10 s, 15 times) and
    // repeat acts: what may be tried again is the engine's to say.
    config.default_retry = false;
    let client = kube::Client::try_from(config)
        .map_err(|e| failed(format!("the cluster's client cannot be set up: {e}")))?;
    Ok((client, inside))
}

fn sandbox_state(name: &str) -> Result<SandboxState, Failure> {
    let root = match std::env::var_os("FERRISWHEEL_STATE") {
        Some(root) => PathBuf::from(root),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default())
            .join(".local/state/ferriswheel"),
    };
    let path = root.join("sandboxes").join(name).join("sandbox.json");
    let missing = |what: String| {
        Failure::input(what).fix(format!("start it: ferriswheel sandbox up --name {name}"))
    };
    let bytes = std::fs::read(&path).map_err(|e| {
        missing(format!(
            "sandbox {name} is not up ({}: {e})",
            path.display()
        ))
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|e| missing(format!("{} cannot be read: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::cluster_ref;

    #[test]
    fn a_cluster_is_named_by_its_id_or_by_three_words() {
        let id = "/subscriptions/s/resourcegroups/g/providers/Microsoft.ContainerService/managedClusters/n";
        for text in [id, "s/g/n"] {
            let found = cluster_ref(text).unwrap();
            assert_eq!(
                (&*found.subscription, &*found.resource_group, &*found.name),
                ("s", "g", "n"),
                "{text}"
            );
        }
        for wrong in [
            "",
            "n",
            "g/n",
            "s//n",
            &id.replace("managedClusters", "fleets"),
        ] {
            assert!(cluster_ref(wrong).is_err(), "{wrong}");
        }
    }
}
