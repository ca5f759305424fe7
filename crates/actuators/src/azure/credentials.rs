//! Who we are to Azure: a service principal, a workload identity, the identity of a machine, or the
//! person's own login of the az CLI.

use std::fmt;
use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
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
        /// Authority other than the public cloud's; https only.
        authority_host: Option<String>,
    },
    /// The federated token of a Kubernetes service account, from the environment that the
    /// workload-identity webhook sets (`AZURE_TENANT_ID`, `AZURE_CLIENT_ID`,
    /// `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_AUTHORITY_HOST`).
    WorkloadIdentity,
    /// The system-assigned identity of the machine.
    ManagedIdentity,
    /// A user-assigned identity of the machine.
    UserAssignedIdentity {
        /// Its client id.
        client_id: String,
    },
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
            Self::UserAssignedIdentity { client_id } => {
                write!(f, "UserAssignedIdentity({client_id})")
            }
            Self::AzureCli => f.write_str("AzureCli"),
        }
    }
}

/// A source of tokens that asks through `http`, whose certificate authorities count. Nothing is
/// called yet.
///
/// # Errors
/// What azure_identity refuses: a tenant that is none, an authority without https, an environment
/// that lacks a variable.
pub fn credential(
    login: &Login,
    http: &reqwest::Client,
) -> Result<Arc<dyn TokenCredential>, ArmError> {
    let client_options = |authority: Option<&str>| ClientOptions {
        transport: Some(Transport::new(Arc::new(http.clone()))),
        cloud: authority.map(|authority| {
            let mut custom = CustomConfiguration::default();
            authority
                .trim_end_matches('/')
                .clone_into(&mut custom.authority_host);
            Arc::new(CloudConfiguration::from(custom))
        }),
        // Trying again is the engine's to say: the default would sit on a broken login for minutes.
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    };
    let made: azure_core::Result<Arc<dyn TokenCredential>> = match login {
        Login::ServicePrincipal {
            tenant,
            client_id,
            client_secret,
            authority_host,
        } => {
            let options = ClientSecretCredentialOptions {
                client_options: client_options(authority_host.as_deref()),
            };
            let secret = Secret::new(client_secret.clone());
            ClientSecretCredential::new(tenant, client_id.clone(), secret, Some(options))
                .map(|made| made as Arc<dyn TokenCredential>)
        }
        Login::WorkloadIdentity => {
            let options = WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions {
                    client_options: client_options(None),
                },
                ..Default::default()
            };
            WorkloadIdentityCredential::new(Some(options))
                .map(|made| made as Arc<dyn TokenCredential>)
        }
        // The machine's own token service speaks http on a link-local address: no CA of ours.
        Login::ManagedIdentity => {
            ManagedIdentityCredential::new(None).map(|made| made as Arc<dyn TokenCredential>)
        }
        Login::UserAssignedIdentity { client_id } => {
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id: Some(UserAssignedId::ClientId(client_id.clone())),
                ..Default::default()
            };
            ManagedIdentityCredential::new(Some(options))
                .map(|made| made as Arc<dyn TokenCredential>)
        }
        Login::AzureCli => {
            AzureCliCredential::new(None).map(|made| made as Arc<dyn TokenCredential>)
        }
    };
    made.map_err(ArmError::Token)
}

#[cfg(test)]
mod tests {
    use super::Login;

    #[test]
    fn a_login_does_not_show_its_secret() {
        let login = Login::ServicePrincipal {
            tenant: "tenant".to_owned(),
            client_id: "me".to_owned(),
            client_secret: "hush".to_owned(),
            authority_host: None,
        };
        let shown = format!("{login:?}");
        assert!(shown.contains("me") && !shown.contains("hush"), "{shown}");
    }
}
