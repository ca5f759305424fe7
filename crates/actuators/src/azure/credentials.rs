//! Who we are to Azure: a service principal, a workload identity, a managed identity, or the
//! person's own login of the az CLI.

use std::fmt;
use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{
    AzureCliCredential, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, WorkloadIdentityCredential,
};

use super::ArmError;

/// How to get tokens.
#[derive(Clone)]
pub enum Login {
    /// A service principal with its secret.
    ServicePrincipal {
        /// Tenant.
        tenant: String,
        /// Application.
        client_id: String,
        /// Secret; never printed.
        client_secret: String,
        /// Authority other than the public cloud's.
        authority_host: Option<String>,
    },
    /// The federated token of a Kubernetes service account, from the usual environment.
    WorkloadIdentity,
    /// The identity of the machine.
    ManagedIdentity,
    /// The az CLI of the person at the keyboard.
    AzureCli,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServicePrincipal {
                tenant, client_id, ..
            } => f
                .debug_struct("ServicePrincipal")
                .field("tenant", tenant)
                .field("client_id", client_id)
                .finish_non_exhaustive(),
            Self::WorkloadIdentity => f.write_str("WorkloadIdentity"),
            Self::ManagedIdentity => f.write_str("ManagedIdentity"),
            Self::AzureCli => f.write_str("AzureCli"),
        }
    }
}

/// A source of tokens. Nothing is called yet.
pub fn credential(
    login: &Login,
    http: &reqwest::Client,
) -> Result<Arc<dyn TokenCredential>, ArmError> {
    Ok(match login {
        Login::ServicePrincipal {
            tenant,
            client_id,
            client_secret,
            authority_host,
        } => {
            let options = ClientSecretCredentialOptions {
                client_options: ClientOptions {
                    transport: Some(Transport::new(Arc::new(http.clone()))),
                    cloud: authority_host.clone().map(|authority_host| {
                        let mut custom = CustomConfiguration::default();
                        custom.authority_host = authority_host;
                        Arc::new(CloudConfiguration::Custom(custom))
                    }),
                    ..ClientOptions::default()
                },
            };
            ClientSecretCredential::new(
                tenant,
                client_id.clone(),
                Secret::new(client_secret.clone()),
                Some(options),
            )
            .map_err(ArmError::Token)?
        }
        Login::WorkloadIdentity => WorkloadIdentityCredential::new(None).map_err(ArmError::Token)?,
        Login::ManagedIdentity => ManagedIdentityCredential::new(None).map_err(ArmError::Token)?,
        Login::AzureCli => AzureCliCredential::new(None).map_err(ArmError::Token)?,
    })
}
