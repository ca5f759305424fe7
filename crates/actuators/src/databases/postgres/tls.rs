//! How sessions are secured: TLS as libpq's `sslmode` means it.
//!
//! # Guarantees
//! - `require` and the verifying modes never send anything of the session in the clear.
//! - `prefer` goes on in the clear only where the server answers that it speaks no TLS.
//!
//! Must not know: whom the session is with, beyond the name that is checked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

pub use ferriswheel_plan::policy::TlsMode;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::dial::Stream;

/// Stands for the name of the pod in the name that a certificate must have.
pub const POD: &str = "$(POD)";

/// How the sessions of one kind are secured.
#[derive(Clone)]
pub struct Tls {
    mode: TlsMode,
    name: Option<String>,
    connect: MakeRustlsConnect,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("mode", &self.mode)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

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

impl Tls {
    /// `authority` is a file of certificates in PEM; `name` is what the server's certificate must
    /// have, with [`POD`] for the name of the pod.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(
        mode: TlsMode,
        authority: Option<&[u8]>,
        name: Option<String>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match mode {
            TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => Arc::new(Anybody {
                provider: Arc::clone(&provider),
            }),
            TlsMode::VerifyCa | TlsMode::VerifyFull => {
                let roots = roots(authority.ok_or(TlsError::NoAuthority(mode))?)?;
                let inner = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                )
                .build()
                .map_err(|e| TlsError::Authority(e.to_string()))?;
                if mode == TlsMode::VerifyFull {
                    inner
                } else {
                    Arc::new(AnyName { inner })
                }
            }
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Provider)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self {
            mode,
            name,
            connect: MakeRustlsConnect::new(config),
        })
    }

    /// What is negotiated.
    pub(super) fn mode(&self) -> SslMode {
        match self.mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        }
    }

    /// The handshake with one pod.
    pub(super) fn connect(
        &self,
        pod: &str,
    ) -> Result<<MakeRustlsConnect as MakeTlsConnect<Carrier>>::TlsConnect, String> {
        let name = self
            .name
            .as_deref()
            .map_or_else(|| pod.to_owned(), |name| name.replace(POD, pod));
        let mut connect = self.connect.clone();
        <MakeRustlsConnect as MakeTlsConnect<Carrier>>::make_tls_connect(&mut connect, &name)
            .map_err(|e| format!("`{name}` is not a name that a certificate can have: {e}"))
    }
}

/// What carries a session. A type without lifetimes, which the traits of the handshake want.
pub(super) struct Carrier(pub(super) Box<dyn Stream>);

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
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
