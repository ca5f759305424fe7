//! A connection with one broker: one request at a time, each with its deadline.
//!
//! A connection whose request did not come to its end is of no more use: an answer that is still on its
//! way belongs to nobody. The codecs are those of `kafka-protocol`; nothing is compressed.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, FetchRequest, FetchResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
    MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, encode_request_header_into_buffer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How a client of this program names itself.
const CLIENT: &str = "ferriswheel-probe";

/// A longer answer is none: what the requests of this program ask for is a tenth of it.
const LONGEST: usize = 64 << 20;

/// A request with its number, the version that is spoken, and its answer.
pub(crate) trait Call: Encodable {
    /// Number.
    const KEY: ApiKey;
    /// Version. Every one here is spoken by brokers from 3.7 on, and the topics go by their names.
    const VERSION: i16;
    /// Answer.
    type Answer: Decodable + HeaderVersion;
}

macro_rules! calls {
    ($($request:ty, $answer:ty, $key:ident, $version:literal;)*) => {
        $(impl Call for $request {
            const KEY: ApiKey = ApiKey::$key;
            const VERSION: i16 = $version;
            type Answer = $answer;
        })*
    };
}

calls! {
    // From 10 on, whoever no longer leads says who does.
    ProduceRequest, ProduceResponse, Produce, 10;
    // From 11 on, followers answer consumers.
    FetchRequest, FetchResponse, Fetch, 12;
    ListOffsetsRequest, ListOffsetsResponse, ListOffsets, 7;
    MetadataRequest, MetadataResponse, Metadata, 12;
    InitProducerIdRequest, InitProducerIdResponse, InitProducerId, 4;
    CreateTopicsRequest, CreateTopicsResponse, CreateTopics, 7;
    DeleteTopicsRequest, DeleteTopicsResponse, DeleteTopics, 6;
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecords, 2;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// Nobody was reached; nothing was sent.
    #[error("connect to {address}: {source}")]
    Unreachable {
        /// Whom.
        address: String,
        /// Cause.
        source: io::Error,
    },
    /// The connection broke while an answer was awaited.
    #[error("{address} hung up: {source}")]
    Lost {
        /// Who.
        address: String,
        /// Cause.
        source: io::Error,
    },
    /// No answer in time.
    #[error("{address} did not answer within {} ms", after.as_millis())]
    Silent {
        /// Who.
        address: String,
        /// Waited.
        after: Duration,
    },
    /// What came, or was to be sent, is not of the protocol.
    #[error("{key:?} with {address}: {detail}")]
    Unreadable {
        /// Of what.
        key: ApiKey,
        /// With whom.
        address: String,
        /// What is wrong.
        detail: String,
    },
}

impl WireError {
    /// The request may have been carried out.
    pub(crate) const fn may_have_been_done(&self) -> bool {
        !matches!(self, Self::Unreachable { .. })
    }

    /// One word for counting.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Unreachable { source, .. } => format!("connect: {}", source.kind()),
            Self::Lost { .. } => "connection lost".to_owned(),
            Self::Silent { .. } => "request deadline".to_owned(),
            Self::Unreadable { .. } => "protocol".to_owned(),
        }
    }
}

/// A connection with a broker.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    address: String,
    next: i32,
    /// A request was sent whose answer has not been read.
    busy: bool,
}

impl Connection {
    /// Connects to the first address of a host that answers.
    pub(crate) async fn open(host: &str, port: u16, deadline: Duration) -> Result<Self, WireError> {
        let address = format!("{host}:{port}");
        let unreachable = |source| WireError::Unreachable {
            address: address.clone(),
            source,
        };
        let late = || unreachable(io::Error::from(io::ErrorKind::TimedOut));
        let stream = timeout(deadline, async {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for place in lookup_host((host, port)).await? {
                match TcpStream::connect(place).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
        .await
        .map_err(|_| late())?
        .map_err(unreachable)?;
        // Without it a request may wait for the answer to the one before.
        stream.set_nodelay(true).map_err(unreachable)?;
        Ok(Self {
            stream,
            address,
            next: 0,
            busy: false,
        })
    }

    /// Of no more use.
    pub(crate) const fn is_closed(&self) -> bool {
        self.busy
    }

    /// Sends a request and waits for its answer. After an error the connection is closed.
    pub(crate) async fn call<C: Call>(
        &mut self,
        request: &C,
        deadline: Duration,
    ) -> Result<C::Answer, WireError> {
        let unreadable = |address: &str, detail: String| WireError::Unreadable {
            key: C::KEY,
            address: address.to_owned(),
            detail,
        };
        self.next = self.next.wrapping_add(1);
        let number = self.next;
        let frame = frame(request, number).map_err(|detail| unreadable(&self.address, detail))?;
        self.busy = true;
        let mut answer = match timeout(deadline, exchange(&mut self.stream, &frame)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(source)) => {
                return Err(WireError::Lost {
                    address: self.address.clone(),
                    source,
                });
            }
            Err(_) => {
                return Err(WireError::Silent {
                    address: self.address.clone(),
                    after: deadline,
                });
            }
        };
        let header = ResponseHeader::decode(&mut answer, C::Answer::header_version(C::VERSION))
            .map_err(|error| unreadable(&self.address, error.to_string()))?;
        if header.correlation_id != number {
            let detail = format!("answer {} to request {number}", header.correlation_id);
            return Err(unreadable(&self.address, detail));
        }
        let answer = C::Answer::decode(&mut answer, C::VERSION)
            .map_err(|error| unreadable(&self.address, error.to_string()))?;
        self.busy = false;
        Ok(answer)
    }
}

fn frame<C: Call>(request: &C, number: i32) -> Result<Bytes, String> {
    let header = RequestHeader::default()
        .with_request_api_key(C::KEY as i16)
        .with_request_api_version(C::VERSION)
        .with_correlation_id(number)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT)));
    let mut body = BytesMut::new();
    encode_request_header_into_buffer(&mut body, &header).map_err(|e| e.to_string())?;
    request
        .encode(&mut body, C::VERSION)
        .map_err(|e| e.to_string())?;
    let length = u32::try_from(body.len()).map_err(|e| e.to_string())?;
    let mut frame = BytesMut::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame.freeze())
}

async fn exchange(stream: &mut TcpStream, frame: &[u8]) -> io::Result<Bytes> {
    stream.write_all(frame).await?;
    let length = stream.read_i32().await?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer of no length"))?;
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(Bytes::from(answer))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connection = Connection::open("127.0.0.1", port, Duration::from_secs(5)).await;
        (connection.unwrap(), listener.accept().await.unwrap().0)
    }

    /// Odd peers: each failure has its type, and closes the connection.
    #[tokio::test]
    async fn an_answer_that_is_none_closes_the_connection() {
        let request = MetadataRequest::default();
        let short = [0, 0, 0, 5, 0, 0, 0, 1, 0];
        let of_another = [0, 0, 0, 5, 0, 0, 0, 9, 0];
        let endless = [0x7f, 0xff, 0xff, 0xff];
        for (bytes, wanted) in [
            (&short[..], "protocol"),
            (&of_another, "protocol"),
            (&endless, "connection lost"),
            (&[], "connection lost"),
        ] {
            let (mut connection, mut peer) = pair().await;
            peer.write_all(bytes).await.unwrap();
            peer.shutdown().await.unwrap();
            let error = connection.call(&request, Duration::from_secs(5)).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), wanted, "{error}");
            assert!(error.may_have_been_done() && connection.is_closed());
        }
    }

    #[tokio::test]
    async fn a_peer_that_is_silent_is_given_up_and_one_that_is_away_was_sent_nothing() {
        let (mut connection, _peer) = pair().await;
        let request = MetadataRequest::default();
        let error = connection.call(&request, Duration::from_millis(1)).await;
        assert!(matches!(error, Err(WireError::Silent { .. })), "{error:?}");
        assert!(connection.is_closed());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = Connection::open("127.0.0.1", port, Duration::from_secs(5)).await;
        assert!(!error.unwrap_err().may_have_been_done());
    }
}
