//! Reaching a port of a pod: through the API server's port-forward, or directly.

use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_plan::ids::ObjectRef;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection of bytes, whatever carries it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pod.
    pub pod: ObjectRef,
    /// Its address, if known; needed to reach it directly.
    pub ip: Option<String>,
    /// Port.
    pub port: u16,
}

impl Target {
    /// A port of a pod at a known address.
    pub fn at(namespace: &str, name: &str, ip: impl Into<String>, port: u16) -> Self {
        Self {
            pod: ObjectRef::new(namespace, name),
            ip: Some(ip.into()),
            port,
        }
    }
}

/// How pods are reached.
///
/// # Guarantees
/// One call opens one connection and ends within its deadline.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Opens a connection.
    async fn dial(&self, target: &Target, deadline: Duration)
    -> Result<Box<dyn Stream>, DialError>;
}

/// A pod could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The pod's address is not known yet.
    #[error("{0} has no address yet")]
    NoAddress(ObjectRef),
    /// The address refused or the path to it broke.
    #[error("{target} could not be reached")]
    Io {
        /// Address.
        target: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The API server did not forward the port.
    #[error("port {port} of {pod} could not be forwarded")]
    Forward {
        /// Pod.
        pod: ObjectRef,
        /// Port.
        port: u16,
        /// Cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The forwarder gave no stream for the port.
    #[error("port {port} of {pod} was not forwarded")]
    NoStream {
        /// Pod.
        pod: ObjectRef,
        /// Port.
        port: u16,
    },
    /// Too slow.
    #[error("{target} did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// Address.
        target: String,
        /// Deadline.
        after: Duration,
    },
}

/// Straight to the pod's address; for whoever runs inside the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

#[async_trait]
impl Dial for Direct {
    async fn dial(
        &self,
        target: &Target,
        deadline: Duration,
    ) -> Result<Box<dyn Stream>, DialError> {
        let ip = target
            .ip
            .as_deref()
            .ok_or_else(|| DialError::NoAddress(target.pod.clone()))?;
        let address = format!("{ip}:{}", target.port);
        let stream = tokio::time::timeout(deadline, TcpStream::connect(&address))
            .await
            .map_err(|_| DialError::Timeout {
                target: address.clone(),
                after: deadline,
            })?
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|source| DialError::Io {
                target: address,
                source,
            })?;
        Ok(Box::new(stream))
    }
}

/// Through the API server, for whoever runs outside the cluster.
///
/// One port-forward carries one connection. Its stream must not be half-closed: kube's forwarder
/// then drops what the server still sends.
#[derive(Clone)]
pub struct PortForward {
    client: kube::Client,
}

impl PortForward {
    /// Forwards with this client's identity.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Dial for PortForward {
    async fn dial(
        &self,
        target: &Target,
        deadline: Duration,
    ) -> Result<Box<dyn Stream>, DialError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &target.pod.namespace);
        let mut forwarder =
            tokio::time::timeout(deadline, pods.portforward(&target.pod.name, &[target.port]))
                .await
                .map_err(|_| DialError::Timeout {
                    target: target.pod.to_string(),
                    after: deadline,
                })?
                .map_err(|source| DialError::Forward {
                    pod: target.pod.clone(),
                    port: target.port,
                    source: Box::new(source),
                })?;
        let stream = forwarder
            .take_stream(target.port)
            .ok_or_else(|| DialError::NoStream {
                pod: target.pod.clone(),
                port: target.port,
            })?;
        // The forwarder's task lives as long as the stream; joining it would only report the
        // ordinary end of a connection as an error.
        drop(forwarder);
        Ok(Box::new(stream))
    }
}
