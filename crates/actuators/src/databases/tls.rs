//! TLS of sessions, whatever system speaks inside: whom a server's certificate must be of.
//!
//! Must not know: whom a session is with, beyond the name that is checked.

use std::fmt;
use std::sync::Arc;

pub use ferriswheel_plan::policy::TlsMode;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use crate::dial::Stream;

/// Stands for the name of the pod in the name that a certificate must have.
pub const POD: &str = "$(POD)";

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A mode that verifies needs something to verify with.
    #[error("{0} needs a certificate authority")]
    NoAuthority(TlsMode),
    /// The file of the authority is not one.
    #[error("the certificate authority cannot be read: {0}")]
    Authority(String),
    /// The provider of cryptography does not work.
    #[error("TLS cannot be set up")]
    Provider(#[source] rustls::Error),
}

/// Settings of a client. `authority` is a file of certificates in PEM.
///
/// # Errors
/// See [`TlsError`].
pub fn client(mode: TlsMode, authority: Option<&[u8]>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match mode {
        TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => Arc::new(Anybody {
            provider: Arc::clone(&provider),
        }),
        TlsMode::VerifyCa | TlsMode::VerifyFull => {
            let roots = roots(authority.ok_or(TlsError::NoAuthority(mode))?)?;
            let inner =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|e| TlsError::Authority(e.to_string()))?;
            if mode == TlsMode::VerifyFull {
                inner
            } else {
                Arc::new(AnyName { inner })
            }
        }
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// The name that the certificate of a pod must have.
pub fn name_of(name: Option<&str>, pod: &str) -> String {
    name.map_or_else(|| pod.to_owned(), |name| name.replace(POD, pod))
}

/// TLS with servers whose port speaks nothing else: there is nothing to negotiate.
#[derive(Clone)]
pub struct Secured {
    config: Arc<ClientConfig>,
    name: Option<String>,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Secured {
    /// `None` where the mode is `disable`: plain text.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(
        mode: TlsMode,
        authority: Option<&[u8]>,
        name: Option<String>,
    ) -> Result<Option<Self>, TlsError> {
        if mode == TlsMode::Disable {
            return Ok(None);
        }
        Ok(Some(Self {
            config: Arc::new(client(mode, authority)?),
            name,
        }))
    }

    /// The handshake with one pod.
    pub(super) async fn secure(
        &self,
        pod: &str,
        stream: Box<dyn Stream>,
    ) -> Result<Box<dyn Stream>, String> {
        let name = name_of(self.name.as_deref(), pod);
        let server = ServerName::try_from(name.clone())
            .map_err(|e| format!("`{name}` is not a name that a certificate can have: {e}"))?;
        let secured = TlsConnector::from(Arc::clone(&self.config))
            .connect(server, stream)
            .await
            .map_err(|e| format!("TLS: {e}"))?;
        Ok(Box::new(secured))
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| TlsError::Authority(e.to_string()))?;
        roots
            .add(certificate)
            .map_err(|e| TlsError::Authority(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Authority("it has no certificate".to_owned()));
    }
    Ok(roots)
}

/// Encrypts, and does not ask with whom: what libpq's `prefer` and `require` do.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Whoever has a certificate of the authority, under whatever name: libpq's `verify-ca`.
#[derive(Debug)]
struct AnyName {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .inner
            .verify_server_cert(certificate, intermediates, name, ocsp, now);
        // The name is compared last: the chain and the dates hold when it is what is wrong.
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
