//! The two ports that lead into the sandbox, and the one by which pods reach Azure Resource Manager.
//!
//! The listening sockets of the two were bound on the host and arrived as standard input and output; connections are
//! accepted here, inside.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Pair;
use crate::network::GATEWAY;

/// A door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was inherited is not a listening socket, or the address for pods is taken.
    #[error("take over or open a listening socket")]
    Listen(#[from] std::io::Error),
    /// The certificate is not usable.
    #[error("use the certificate of the Azure endpoint")]
    Tls(#[from] rustls::Error),
    /// The certificate is not PEM.
    #[error("parse the certificate of the Azure endpoint")]
    Pem(#[from] rustls::pki_types::pem::Error),
}

/// A TLS handshake over loopback takes milliseconds; a client that does not finish one must not hold a task.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Pause after a failed accept (out of descriptors): long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listeners of the API and of Azure Resource Manager.
pub(crate) fn inherited() -> Result<(TcpListener, TcpListener), Error> {
    let api = std::io::stdin().as_fd().try_clone_to_owned()?;
    let arm = std::io::stdout().as_fd().try_clone_to_owned()?;
    Ok((listener(api)?, listener(arm)?))
}

fn listener(socket: OwnedFd) -> Result<TcpListener, Error> {
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}

/// The listener for pods: on the control plane's address, at the port that Azure has.
pub(crate) async fn for_pods() -> Result<TcpListener, Error> {
    Ok(TcpListener::bind(SocketAddr::from((GATEWAY, 443))).await?)
}

/// Passes connections on to the API server, byte by byte: TLS ends there.
pub(crate) async fn pass_to_api_server(listener: TcpListener) {
    loop {
        let Some(mut outside) = accept(&listener).await else {
            continue;
        };
        tokio::spawn(async move {
            let inside = SocketAddr::from((GATEWAY, 6443));
            // A refused connection is passed on as one that closes at once.
            if let Ok(mut inside) = TcpStream::connect(inside).await {
                let _ = inside.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
    }
}

/// Serves a router over TLS.
pub(crate) fn serve_tls(
    listener: TcpListener,
    identity: &Pair,
    router: Router,
) -> Result<(), Error> {
    let certificates =
        CertificateDer::pem_slice_iter(identity.cert.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let Some(stream) = accept(&listener).await else {
                continue;
            };
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream));
                let Ok(Ok(stream)) = handshake.await else {
                    return;
                };
                let service = TowerToHyperService::new(router);
                let served = auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "connection to the Azure endpoint ended");
                }
            });
        }
    });
    Ok(())
}

async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => {
            let _ = stream.set_nodelay(true);
            Some(stream)
        }
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
