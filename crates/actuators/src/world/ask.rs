//! Why the world could not be asked.

use std::path::PathBuf;

use crate::azure::ArmError;
use crate::databases::postgres::server::ServerError;
use crate::databases::session::chain;
use crate::databases::tls::TlsError;
use crate::databases::{kafka, mariadb, memcached, mongodb, redis};
use crate::http::CallError;
use crate::kubernetes::RequestError;

/// The world could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Kubernetes.
    #[error(transparent)]
    Kubernetes(#[from] RequestError),
    /// Azure.
    #[error(transparent)]
    Arm(Box<ArmError>),
    /// A database.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A server of a cluster.
    #[error(transparent)]
    Redis(#[from] redis::server::ServerError),
    /// A server of a replica set.
    #[error(transparent)]
    Mongodb(#[from] mongodb::server::ServerError),
    /// A MariaDB server.
    #[error(transparent)]
    Mariadb(#[from] mariadb::server::ServerError),
    /// A server of a cache.
    #[error(transparent)]
    Memcached(#[from] memcached::session::ServerError),
    /// A broker.
    #[error(transparent)]
    Kafka(#[from] kafka::server::ServerError),
    /// An agent or the probe.
    #[error(transparent)]
    Call(#[from] CallError),
    /// TLS cannot be set up as the spec wants it.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Something that the plan names is not there.
    #[error("{what} is not there")]
    Absent {
        /// What.
        what: String,
    },
    /// A local file.
    #[error("{} cannot be written", path.display())]
    File {
        /// Path.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

impl From<ArmError> for AskError {
    fn from(error: ArmError) -> Self {
        Self::Arm(Box::new(error))
    }
}

impl AskError {
    /// The error with its causes, on one line.
    pub fn line(&self) -> String {
        chain(self)
    }

    /// Asking again may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Kubernetes(e) => e.is_passing(),
            Self::Arm(e) => e.retry_after().is_some(),
            Self::Server(ServerError::Sql { .. } | ServerError::Unexpected { .. }) => false,
            Self::Call(CallError::Refused { status, .. }) => status.is_server_error(),
            Self::Call(CallError::Unreadable { .. })
            | Self::Absent { .. }
            | Self::File { .. }
            | Self::Tls(_) => false,
            Self::Redis(
                redis::server::ServerError::Refused { .. }
                | redis::server::ServerError::Unexpected { .. },
            ) => false,
            Self::Mongodb(
                mongodb::server::ServerError::Refused { .. }
                | mongodb::server::ServerError::Unexpected { .. },
            ) => false,
            Self::Mariadb(
                mariadb::server::ServerError::Refused { .. }
                | mariadb::server::ServerError::Unexpected { .. },
            ) => false,
            Self::Memcached(memcached::session::ServerError::Refused { code, .. }) => {
                *code == memcached::session::No::Busy
            }
            Self::Memcached(memcached::session::ServerError::Unexpected { .. }) => false,
            Self::Kafka(
                kafka::server::ServerError::Refused { .. }
                | kafka::server::ServerError::Unexpected { .. },
            ) => false,
            Self::Server(_)
            | Self::Kafka(_)
            | Self::Redis(_)
            | Self::Mongodb(_)
            | Self::Mariadb(_)
            | Self::Memcached(_)
            | Self::Call(_) => true,
        }
    }
}
