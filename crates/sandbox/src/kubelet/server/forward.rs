//! Port-forward: one connection's bytes both ways, and the form of it in which each port has a pair of channels.
//!
//! # Source
//! `pkg/kubelet` of 1.36, `portforward/websocket.go`: channel 2i carries the data of the i-th port and 2i+1 its
//! errors; the first message of each is the port's number in two bytes, least significant first.

use super::Refusal;
use super::socket::{Inbound, Outbound};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The protocol of this form: port-forward never had more than the fourth version.
pub(super) const PROTOCOL: &str = "v4.channel.k8s.io";

/// 32 KiB: what clients copy by, too.
const PIECE: usize = 32 * 1024;
/// 256 pieces, at most 8 MB, wait for a server that is slow to read: only then is its client held back, and with it
/// what shares the connection.
pub(super) const QUEUE: usize = 256;
/// 128 ports: data and error channels share the numbers of a byte.
const PORTS: usize = 128;

/// Connects to a port in the pod.
pub(super) type Dial =
    Arc<dyn Fn(u16) -> BoxFuture<'static, Result<TcpStream, Refusal>> + Send + Sync>;

/// Carries one connection until the server ends its side. The client's end is passed on; the answer may come after it.
pub(super) async fn copy(
    server: TcpStream,
    mut from_client: mpsc::Receiver<Bytes>,
    to_client: &Outbound,
    frame: impl Fn(&[u8]) -> Bytes,
) {
    let (mut reader, mut writer) = server.into_split();
    let up = async {
        while let Some(bytes) = from_client.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                // The server reads no more; it may still have something to say.
                while from_client.recv().await.is_some() {}
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    let down = async {
        let mut buffer = vec![0_u8; PIECE];
        loop {
            match reader.read(&mut buffer).await {
                Ok(n) if n > 0 => {
                    if to_client.send(frame(&buffer[..n])).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    tokio::pin!(up, down);
    tokio::select! {
        () = &mut down => {}
        () = &mut up => down.await,
    }
}

/// Carries a fixed set of ports, one connection each, until all servers have ended or the client goes.
pub(super) async fn carry(ports: Vec<u16>, dial: Dial, mut inbound: Inbound, outbound: Outbound) {
    let mut lanes = Vec::new();
    let mut connections = JoinSet::new();
    for (channel, port) in (0..=u8::MAX).step_by(2).zip(ports.into_iter().take(PORTS)) {
        for channel in [channel, channel + 1] {
            let [low, high] = port.to_le_bytes();
            let _ = outbound
                .send(Bytes::copy_from_slice(&[channel, low, high]))
                .await;
        }
        let (lane, pieces) = mpsc::channel(QUEUE);
        lanes.push(lane);
        connections.spawn(connect(
            channel,
            port,
            Arc::clone(&dial),
            pieces,
            outbound.clone(),
        ));
    }
    drop(outbound);
    let ended = async { while connections.join_next().await.is_some() {} };
    let demultiplex = async {
        while let Some(mut message) = inbound.recv().await {
            if message.len() < 2 {
                continue;
            }
            let channel = message.split_to(1)[0];
            if channel.is_multiple_of(2)
                && let Some(lane) = lanes.get(usize::from(channel / 2))
            {
                let _ = lane.send(message).await;
            }
        }
    };
    tokio::select! {
        () = ended => {}
        () = demultiplex => {}
    }
}

async fn connect(
    channel: u8,
    port: u16,
    dial: Dial,
    pieces: mpsc::Receiver<Bytes>,
    outbound: Outbound,
) {
    match dial(port).await {
        Ok(server) => copy(server, pieces, &outbound, |bytes| message(channel, bytes)).await,
        Err(refusal) => {
            let text = refusal.to_string();
            let _ = outbound.send(message(channel + 1, text.as_bytes())).await;
        }
    }
}

fn message(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.extend_from_slice(&[channel]);
    message.extend_from_slice(bytes);
    message.freeze()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::net::TcpListener;

    /// A server in the pod, that handles each connection so.
    pub(in super::super) async fn pod<W>(handle: impl Fn(TcpStream) -> W + Send + 'static) -> Dial
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(handle(stream));
            }
        });
        Arc::new(move |_| {
            let connect = TcpStream::connect(address);
            connect
                .map(|s| s.map_err(|e| Refusal::Failed(e.to_string())))
                .boxed()
        })
    }

    pub(in super::super) async fn echo(mut stream: TcpStream) {
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    }

    #[tokio::test]
    async fn each_channel_begins_with_its_port() {
        let dial = pod(echo).await;
        let (to, inbound) = mpsc::channel(4);
        let (outbound, mut from) = mpsc::channel(16);
        tokio::spawn(carry(vec![8080, 9090], dial, inbound, outbound));
        for (channel, port) in [(0, 8080_u16), (1, 8080), (2, 9090), (3, 9090)] {
            let [low, high] = port.to_le_bytes();
            assert_eq!(from.recv().await.unwrap(), [channel, low, high][..]);
        }
        to.send(Bytes::from_static(b"\x02to the second"))
            .await
            .unwrap();
        assert_eq!(from.recv().await.unwrap(), b"\x02to the second"[..]);
        to.send(Bytes::from_static(b"\x00to the first"))
            .await
            .unwrap();
        assert_eq!(from.recv().await.unwrap(), b"\x00to the first"[..]);
        drop(to);
        assert_eq!(from.recv().await, None);
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_an_error_on_its_channel() {
        let dial: Dial =
            Arc::new(|_| async { Err(Refusal::Failed("connection refused".to_owned())) }.boxed());
        let (_to, inbound) = mpsc::channel(4);
        let (outbound, mut from) = mpsc::channel(16);
        tokio::spawn(carry(vec![1], dial, inbound, outbound));
        let mut all = Vec::new();
        while let Some(message) = from.recv().await {
            all.push(message);
        }
        assert_eq!(all[2..], [&b"\x01connection refused"[..]]);
    }
}
