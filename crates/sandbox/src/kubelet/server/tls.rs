//! Accepts connections over TLS from those who hold a certificate of the cluster's authority.

use super::{Containers, routes};
use crate::kubelet::config::ServerIdentity;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::WebPkiClientVerifier;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// 10 s: a handshake within the sandbox takes milliseconds; a frozen peer must not hold a task for ever.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// 500 ms between attempts to listen or accept: an agent that starts again may find its old socket still open.
const RETRY: Duration = Duration::from_millis(500);

/// Why the server cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key is not readable.
    #[error("read {path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The certificate and the key are no pair, or not usable.
    #[error("use the server's certificate")]
    Identity(#[source] rustls::Error),
    /// The authority is not usable.
    #[error("use the cluster's certificate authority")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Serves for ever.
///
/// # Errors
/// The certificates are not usable. An address that is in use is tried again.
pub async fn serve(
    address: SocketAddr,
    identity: &ServerIdentity,
    containers: Arc<dyn Containers>,
) -> Result<(), Error> {
    let acceptor = acceptor(identity)?;
    let router = routes::router(containers);
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => tracing::warn!(%error, %address, "not listening yet"),
        }
        tokio::time::sleep(RETRY).await;
    };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, "a caller was turned away"),
                Err(_) => return,
            };
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}

fn acceptor(identity: &ServerIdentity) -> Result<TlsAcceptor, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&identity.client_ca)? {
        roots
            .add(certificate)
            .map_err(|e| Error::Authority(Box::new(e)))?;
    }
    let callers = WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .map_err(|e| Error::Authority(Box::new(e)))?;
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|source| Error::Pem {
        path: identity.key.clone(),
        source,
    })?;
    let mut config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(callers)
        .with_single_cert(certificates(&identity.cert)?, key)
        .map_err(Error::Identity)?;
    // An upgrade to a WebSocket is HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| Error::Pem {
        path: path.to_owned(),
        source,
    };
    CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)
}
