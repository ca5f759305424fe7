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

#[cfg(test)]
mod tests {
    use super::super::{ContainerName, Log, Program, Refusal, Session, Wanted};
    use super::*;
    use crate::certificates::{Authority, Pair};
    use async_trait::async_trait;
    use k8s_openapi::api::core::v1::Pod;
    use std::path::Path;
    use tokio::net::TcpStream;

    /// A node without pods.
    struct Empty;

    #[async_trait]
    impl Containers for Empty {
        fn pods(&self) -> Vec<Arc<Pod>> {
            Vec::new()
        }

        fn log(&self, of: &ContainerName, _: bool) -> Result<Log, Refusal> {
            Err(Refusal::NoPod(of.pod.clone()))
        }

        async fn exec(&self, of: &ContainerName, _: Program) -> Result<Session, Refusal> {
            Err(Refusal::NoPod(of.pod.clone()))
        }

        async fn attach(&self, of: &ContainerName, _: Wanted) -> Result<Session, Refusal> {
            Err(Refusal::NoPod(of.pod.clone()))
        }

        fn reachable(&self, _: &str, pod: &str) -> Result<(), Refusal> {
            Err(Refusal::NoPod(pod.to_owned()))
        }

        async fn dial(&self, _: &str, pod: &str, _: u16) -> Result<TcpStream, Refusal> {
            Err(Refusal::NoPod(pod.to_owned()))
        }
    }

    fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn client(authority: &Authority, own: Option<Pair>) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(authority.certificate().as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
        if let Some(own) = own {
            let pem = format!("{}{}", own.cert, own.key);
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }

    #[tokio::test]
    async fn only_the_clusters_own_are_answered() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let (cluster, other) = (
            Authority::new("cluster").unwrap(),
            Authority::new("other").unwrap(),
        );
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let free = TcpListener::bind(address)
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let server = cluster.server("node", &["node"], &[free.ip()]).unwrap();
        let identity = ServerIdentity {
            cert: write(directory.path(), "cert", &server.cert),
            key: write(directory.path(), "key", &server.key),
            client_ca: write(directory.path(), "ca", &cluster.certificate()),
        };
        tokio::spawn(async move { serve(free, &identity, Arc::new(Empty)).await });

        let ask = async |client: &reqwest::Client, path: &str| {
            client.get(format!("https://{free}{path}")).send().await
        };
        let friend = client(&cluster, Some(cluster.client("apiserver", None).unwrap()));
        let healthy = loop {
            // It may not listen yet.
            match ask(&friend, "/healthz").await {
                Ok(answer) => break answer,
                Err(error) if error.is_connect() => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        };
        assert_eq!(healthy.text().await.unwrap(), "ok");
        let list: serde_json::Value = ask(&friend, "/pods").await.unwrap().json().await.unwrap();
        assert_eq!(list["kind"], "PodList");
        for path in [
            "/containerLogs/db/pg-0/postgres",
            "/exec/db/pg-0/postgres?command=ls",
            "/portForward/db/pg-0",
        ] {
            let answer = ask(&friend, path).await.unwrap();
            assert_eq!(answer.status(), 404, "{path}");
            assert_eq!(answer.text().await.unwrap(), "pod \"pg-0\" not found");
        }
        let impostor = other.client("apiserver", None).unwrap();
        for stranger in [None, Some(impostor)] {
            assert!(ask(&client(&cluster, stranger), "/healthz").await.is_err());
        }
    }
}
