//! How sessions with servers and poolers are secured.

use serde::{Deserialize, Serialize};

use crate::ids::ObjectRef;

/// TLS of the sessions of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tls {
    /// What is demanded.
    #[serde(default)]
    pub mode: TlsMode,
    /// Secret with the key `ca.crt`, beside the set; for the modes that verify.
    #[serde(default)]
    pub ca: Option<ObjectRef>,
    /// Name that the certificates must have, for `verify-full`; `$(POD)` stands for the pod's.
    #[serde(default)]
    pub server_name: Option<String>,
}

impl Tls {
    /// Nothing of a session goes over in the clear.
    pub fn encrypts(&self) -> bool {
        !matches!(self.mode, TlsMode::Disable | TlsMode::Prefer)
    }
}

/// libpq's `sslmode`.
///
/// # Source
/// libpq, "SSL Support", the table of modes. `allow` is missing: it prefers plain text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plain text.
    Disable,
    /// TLS where the server speaks it.
    #[default]
    Prefer,
    /// TLS, with whomever.
    Require,
    /// TLS, with a certificate of the authority.
    VerifyCa,
    /// TLS, with a certificate of the authority that has the name.
    VerifyFull,
}

impl TlsMode {
    const ALL: [Self; 5] = [
        Self::Disable,
        Self::Prefer,
        Self::Require,
        Self::VerifyCa,
        Self::VerifyFull,
    ];

    /// As libpq and the spec write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// A certificate authority is needed.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

impl std::fmt::Display for TlsMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for TlsMode {
    type Err = NotAMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| NotAMode(text.to_owned()))
    }
}

/// The text is not a mode.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is none of disable, prefer, require, verify-ca, verify-full")]
pub struct NotAMode(String);
