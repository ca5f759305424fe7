//! One question to one broker, over a connection of its own.

use std::time::Duration;

use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, encode_request_header_into_buffer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One question. 15 s: a loaded machine must not decide.
const QUESTION: Duration = Duration::from_secs(15);

/// It did not answer.
#[derive(Debug)]
pub struct Broken(pub String);

/// Sends a request and reads the answer.
///
/// # Errors
/// The broker is away, or does not understand.
pub async fn ask<Q, A>(address: &str, key: ApiKey, version: i16, request: &Q) -> Result<A, Broken>
where
    Q: Encodable,
    A: Decodable + HeaderVersion,
{
    let frame = frame(key, version, request).map_err(|e| Broken(e.to_string()))?;
    let answer = timeout(QUESTION, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&frame).await?;
        let length = stream.read_i32().await?;
        let mut answer = vec![0; usize::try_from(length).unwrap_or(0)];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    })
    .await
    .map_err(|_| Broken(format!("{address} does not answer")))?
    .map_err(|e| Broken(format!("{address}: {e}")))?;
    let mut answer = bytes::Bytes::from(answer);
    ResponseHeader::decode(&mut answer, A::header_version(version))
        .and_then(|_| A::decode(&mut answer, version))
        .map_err(|e| Broken(format!("{key:?} {version} of {address}: {e}")))
}

fn frame<Q: Encodable>(
    key: ApiKey,
    version: i16,
    request: &Q,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("ferriswheel-testbed")));
    let mut body = bytes::BytesMut::new();
    encode_request_header_into_buffer(&mut body, &header)?;
    request.encode(&mut body, version)?;
    let mut frame = u32::try_from(body.len())?.to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    Ok(frame)
}
