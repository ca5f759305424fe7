//! Where tokens come from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};

use super::request::http_client;

/// How the tool logs in to Azure.
#[derive(Clone)]
pub enum Login {
    /// A service principal with a secret.
    ClientSecret {
        /// Tenant.
        tenant: String,
        /// Client (application) id.
        client: String,
        /// The secret.
        secret: Secret,
    },
    /// A Kubernetes service account that Azure trusts. What is absent comes from the environment
    /// that the workload-identity webhook sets.
    WorkloadIdentity {
        /// Tenant.
        tenant: Option<String>,
        /// Client id.
        client: Option<String>,
        /// File of the service account's token.
        token_file: Option<PathBuf>,
    },
    /// Whoever is logged in to the az CLI.
    AzureCli {
        /// Tenant; the CLI's own if absent.
        tenant: Option<String>,
    },
    /// The identity of the machine.
    ManagedIdentity {
        /// Client id of a user-assigned identity; the system's own if absent.
        client: Option<String>,
    },
}

/// No credential could be made.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The settings are incomplete or unusable.
    #[error("the Azure login cannot be used")]
    Login(#[source] azure_core::Error),
    /// The extra certificate authority is none.
    #[error("the certificate authority for Azure cannot be used")]
    Authority(#[source] reqwest::Error),
}

impl Login {
    /// What the variables of Microsoft's SDKs say: a secret, else a federated token file, else the
    /// az CLI. `variable` looks a variable up.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (tenant, client) = (set("AZURE_TENANT_ID"), set("AZURE_CLIENT_ID"));
        if let (Some(tenant), Some(client), Some(secret)) =
            (&tenant, &client, set("AZURE_CLIENT_SECRET"))
        {
            return Self::ClientSecret {
                tenant: tenant.clone(),
                client: client.clone(),
                secret: Secret::new(secret),
            };
        }
        if let Some(file) = set("AZURE_FEDERATED_TOKEN_FILE") {
            return Self::WorkloadIdentity {
                tenant,
                client,
                token_file: Some(PathBuf::from(file)),
            };
        }
        Self::AzureCli { tenant }
    }

    /// A source of tokens. `authority` is the login host of another cloud (https only); `extra_ca`
    /// (PEM) is trusted beside the system's authorities. Nothing is called yet.
    pub fn credential(
        &self,
        authority: Option<&str>,
        extra_ca: Option<&[u8]>,
    ) -> Result<Arc<dyn TokenCredential>, CredentialError> {
        let client_options = client_options(authority, extra_ca)?;
        let made: azure_core::Result<Arc<dyn TokenCredential>> = match self.clone() {
            Self::ClientSecret {
                tenant,
                client,
                secret,
            } => {
                let options = ClientSecretCredentialOptions { client_options };
                ClientSecretCredential::new(&tenant, client, secret, Some(options))
                    .map(|c| c as Arc<dyn TokenCredential>)
            }
            Self::WorkloadIdentity {
                tenant,
                client,
                token_file,
            } => {
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    client_id: client,
                    tenant_id: tenant,
                    token_file_path: token_file,
                };
                WorkloadIdentityCredential::new(Some(options))
                    .map(|c| c as Arc<dyn TokenCredential>)
            }
            Self::AzureCli { tenant } => {
                let options = AzureCliCredentialOptions {
                    tenant_id: tenant,
                    ..Default::default()
                };
                AzureCliCredential::new(Some(options)).map(|c| c as Arc<dyn TokenCredential>)
            }
            Self::ManagedIdentity { client } => {
                let options = ManagedIdentityCredentialOptions {
                    user_assigned_id: client.map(UserAssignedId::ClientId),
                    client_options,
                };
                ManagedIdentityCredential::new(Some(options)).map(|c| c as Arc<dyn TokenCredential>)
            }
        };
        made.map_err(CredentialError::Login)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, client) = match self {
            Self::ClientSecret { client, .. } => ("ClientSecret", Some(client)),
            Self::WorkloadIdentity { client, .. } => ("WorkloadIdentity", client.as_ref()),
            Self::AzureCli { .. } => ("AzureCli", None),
            Self::ManagedIdentity { client } => ("ManagedIdentity", client.as_ref()),
        };
        f.debug_struct(kind)
            .field("client", &client)
            .finish_non_exhaustive()
    }
}

fn client_options(
    authority: Option<&str>,
    extra_ca: Option<&[u8]>,
) -> Result<ClientOptions, CredentialError> {
    let mut options = ClientOptions::default();
    if let Some(authority) = authority {
        let mut custom = CustomConfiguration::default();
        authority
            .trim_end_matches('/')
            .clone_into(&mut custom.authority_host);
        options.cloud = Some(Arc::new(CloudConfiguration::from(custom)));
    }
    if extra_ca.is_some() {
        let client = http_client(extra_ca).map_err(CredentialError::Authority)?;
        options.transport = Some(Transport::new(Arc::new(client)));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::Login;

    #[test]
    fn a_login_does_not_show_its_secret() {
        let login = Login::from_environment(|name| {
            let value = match name {
                "AZURE_TENANT_ID" => "tenant",
                "AZURE_CLIENT_ID" => "me",
                "AZURE_CLIENT_SECRET" => "hush",
                _ => return None,
            };
            Some(value.to_owned())
        });
        assert!(matches!(login, Login::ClientSecret { .. }));
        let shown = format!("{login:?}");
        assert!(shown.contains("me") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn the_environment_falls_back_to_the_cli() {
        let login = Login::from_environment(|_| None);
        assert!(matches!(login, Login::AzureCli { tenant: None }));
        let federated = Login::from_environment(|name| {
            (name == "AZURE_FEDERATED_TOKEN_FILE").then(|| "/run/token".to_owned())
        });
        assert!(matches!(federated, Login::WorkloadIdentity { .. }));
    }
}
