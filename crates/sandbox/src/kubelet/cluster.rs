//! The agent's connection to the API server.
//!
//! # Guarantees
//! * Each request has a deadline.
//! * When heartbeats fail, all connections are dropped and made anew, as a kubelet does: after a partition nothing
//!   waits for a dead connection's retransmissions.

use kube::{Client, Config};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// 10 s: a kubelet's own limit for its heartbeat; nothing else that it asks for takes longer.
pub(super) const REQUEST: Duration = Duration::from_secs(10);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server refused, or the connection failed.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// Nothing was heard in time.
    #[error("no answer from the API server within {} s", REQUEST.as_secs())]
    Deadline,
}

impl CallError {
    /// The object is not there.
    pub(super) fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// The object has changed, or is another than the one meant.
    pub(super) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Another object has the name now.
    pub(super) fn is_other_object(&self) -> bool {
        let unmet = |e: &kube::Error| matches!(e, kube::Error::Api(s) if s.message.contains("Precondition failed"));
        self.is_conflict() && matches!(self, Self::Kube(error) if unmet(error))
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

/// Clients that can be replaced.
#[derive(Debug)]
pub(super) struct Cluster {
    config: Config,
    generation: watch::Sender<u64>,
    current: Mutex<Held>,
}

struct Held(Client);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Cluster {
    /// Reads the kubeconfig.
    pub(super) async fn connect(kubeconfig: &Path) -> Result<Arc<Self>, kube::Error> {
        let invalid = |e: kube::config::KubeconfigError| kube::Error::Service(e.into());
        let file = kube::config::Kubeconfig::read_from(kubeconfig).map_err(invalid)?;
        let mut config =
            Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
                .await
                .map_err(invalid)?;
        config.connect_timeout = Some(REQUEST);
        let client = Client::try_from(config.clone())?;
        let (generation, _) = watch::channel(0);
        Ok(Arc::new(Self {
            config,
            generation,
            current: Mutex::new(Held(client)),
        }))
    }

    /// The client of now. Do not keep it for longer than one request or one watch.
    pub(super) fn client(&self) -> Client {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }

    /// Leaves all connections behind; watches start anew.
    pub(super) fn reconnect(&self) {
        match Client::try_from(self.config.clone()) {
            Ok(client) => {
                self.current
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .0 = client;
                self.generation.send_modify(|n| *n += 1);
            }
            Err(error) => tracing::error!(%error, "no new client"),
        }
    }

    /// Tells watches when to start anew.
    pub(super) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

/// A request with its deadline.
pub(super) async fn call<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    tokio::time::timeout(REQUEST, request)
        .await
        .map_err(|_| CallError::Deadline)?
        .map_err(CallError::from)
}
