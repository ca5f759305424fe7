//! One session with one broker: the Kafka protocol on one connection, with a deadline on every
//! request.
//!
//! No client library stands between: such a one looks for leaders and for the controller by itself,
//! keeps connections and retries, and here each broker is asked for its own view, once, through a
//! port-forward if need be. What only the controller can do the brokers pass on to it.
//!
//! # Source
//! The Kafka protocol guide: four bytes of length, header and body of the version agreed on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message, StrBytes, VersionRange,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::ServerError;
use crate::databases::session::{Slot, Way};
use crate::dial::{Dial, Stream, Target};

/// Largest answer that is read: the metadata of a hundred thousand partitions is ten megabytes.
const LARGEST: usize = 64 * 1024 * 1024;

/// Name by which the brokers know who asks.
const CLIENT: &str = "ferriswheel";

/// `UNSUPPORTED_VERSION`.
const UNSUPPORTED: i16 = 35;

/// The version of `ApiVersions` that every broker from 2.4 on answers, and that tells the features.
const API_VERSIONS: i16 = 3;

struct Open {
    stream: Box<dyn Stream>,
    next: i32,
    can: Can,
}

/// What a broker said that it can.
#[derive(Clone, Debug, Default)]
pub struct Can {
    requests: BTreeMap<i16, VersionRange>,
    /// Highest `metadata.version` of its program.
    pub program: i16,
    /// `metadata.version` in force.
    pub metadata_version: i16,
}

impl Can {
    /// It knows the request.
    pub fn asks(&self, key: ApiKey) -> bool {
        self.highest(key).is_some()
    }

    /// Highest version of a request that it knows.
    pub fn highest(&self, key: ApiKey) -> Option<i16> {
        Some(self.requests.get(&(key as i16))?.max)
    }
}

/// A session that is opened when it is first needed and again when it broke.
pub struct Session {
    way: Way,
    open: Slot<Open>,
}

impl Session {
    /// A session that is not open yet.
    pub fn new(name: impl Into<String>, target: Target, dial: Arc<dyn Dial>) -> Self {
        Self {
            way: Way::new(name.into(), target, dial),
            open: Slot::empty(),
        }
    }

    /// Name of the broker, for messages.
    pub fn name(&self) -> &str {
        &self.way.name
    }

    /// Opens the session if it is not open or broken.
    ///
    /// # Errors
    /// The broker is not reached in time, or speaks no known version.
    pub async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        self.open
            .fill(&self.way, deadline, |_| true, self.connect(deadline))
            .await
    }

    /// What the broker can.
    ///
    /// # Errors
    /// No session is open.
    pub async fn can(&self, deadline: Duration) -> Result<Can, ServerError> {
        let ask = async |open: &mut Open| Ok(open.can.clone());
        self.open.ask(&self.way, deadline, ask).await
    }

    /// Sends a request in the highest version that both sides know, and reads its answer.
    ///
    /// # Errors
    /// No session, no answer in time, or a broker that does not know the request. After the first two
    /// it may or may not have been carried out.
    pub async fn run<Q, A>(
        &self,
        key: ApiKey,
        request: &Q,
        deadline: Duration,
    ) -> Result<A, ServerError>
    where
        Q: Encodable + Message + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let ask = async |open: &mut Open| {
            let both = open
                .can
                .requests
                .get(&(key as i16))
                .map(|theirs| theirs.intersect(&Q::VERSIONS))
                .filter(|both| !both.is_empty());
            let Some(both) = both else {
                let what = format!("{key:?} is not known to it in a version that is known here");
                return Err(self.way.refused(UNSUPPORTED, what));
            };
            self.exchange(open, key, request, both.max).await
        };
        self.open.ask(&self.way, deadline, ask).await
    }

    async fn connect(&self, deadline: Duration) -> Result<Open, ServerError> {
        let mut open = Open {
            stream: self.way.stream(None, deadline).await?,
            next: 1,
            can: Can::default(),
        };
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer: ApiVersionsResponse = self
            .exchange(&mut open, ApiKey::ApiVersions, &request, API_VERSIONS)
            .await?;
        self.accepted(answer.error_code, "ApiVersions")?;
        open.can.requests = answer
            .api_keys
            .iter()
            .map(|api| {
                let range = VersionRange {
                    min: api.min_version,
                    max: api.max_version,
                };
                (api.api_key, range)
            })
            .collect();
        let known = answer.supported_features.iter();
        open.can.program = known
            .filter(|feature| &*feature.name == "metadata.version")
            .map(|feature| feature.max_version)
            .max()
            .unwrap_or(0);
        let in_force = answer.finalized_features.iter();
        open.can.metadata_version = in_force
            .filter(|feature| &*feature.name == "metadata.version")
            .map(|feature| feature.max_version_level)
            .max()
            .unwrap_or(0);
        Ok(open)
    }

    async fn exchange<Q, A>(
        &self,
        open: &mut Open,
        key: ApiKey,
        request: &Q,
        version: i16,
    ) -> Result<A, ServerError>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let id = open.next;
        open.next = open.next.wrapping_add(1).max(1);
        let mut message = BytesMut::new();
        message.put_i32(0);
        RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(id)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT)))
            .encode(&mut message, Q::header_version(version))
            .and_then(|()| request.encode(&mut message, version))
            .map_err(|e| self.unexpected(&format!("a request that cannot be written: {e}")))?;
        let length = message.len() - 4;
        let length = i32::try_from(length).map_err(|e| self.unexpected(&e.to_string()))?;
        message[..4].copy_from_slice(&length.to_be_bytes());
        let broken = |e: std::io::Error| self.way.disconnected(&e.to_string());
        open.stream.write_all(&message).await.map_err(broken)?;
        open.stream.flush().await.map_err(broken)?;

        let length = open.stream.read_i32().await.map_err(broken)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(4..=LARGEST).contains(&length) {
            return Err(self.unexpected("an answer that is no message of Kafka"));
        }
        let mut rest = vec![0; length];
        open.stream.read_exact(&mut rest).await.map_err(broken)?;
        let mut rest = Bytes::from(rest);
        let unreadable = |e: String| self.unexpected(&format!("{key:?} version {version}: {e}"));
        let header = ResponseHeader::decode(&mut rest, A::header_version(version))
            .map_err(|e| unreadable(e.to_string()))?;
        if header.correlation_id != id {
            return Err(self.unexpected("an answer to another request"));
        }
        let answer = A::decode(&mut rest, version).map_err(|e| unreadable(e.to_string()))?;
        if rest.has_remaining() {
            return Err(unreadable("there is more than was expected".to_owned()));
        }
        Ok(answer)
    }

    /// The answer says yes.
    ///
    /// # Errors
    /// It says no.
    pub fn accepted(&self, code: i16, what: &str) -> Result<(), ServerError> {
        self.accepted_with(code, what, None)
    }

    /// Likewise, of an answer that says why not.
    ///
    /// # Errors
    /// It says no.
    pub fn accepted_with(
        &self,
        code: i16,
        what: &str,
        why: Option<&StrBytes>,
    ) -> Result<(), ServerError> {
        let Some(error) = kafka_protocol::ResponseError::try_from_code(code) else {
            return Ok(());
        };
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        Err(self.way.refused(code, format!("{what}: {error}{why}")))
    }

    /// An answer that has another shape than documented.
    pub fn unexpected(&self, what: &str) -> ServerError {
        self.way.unexpected(what)
    }
}
