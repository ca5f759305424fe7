//! The server's side of a SPDY connection that carries port-forwards.

use super::frame::{self, Decoder, Encoder, Frame};
use crate::kubelet::server::forward::{Dial, QUEUE, copy};
use crate::kubelet::server::socket::{Inbound, Outbound};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// Carries connections until the client goes.
pub(in super::super) async fn carry(dial: Dial, mut inbound: Inbound, outbound: Outbound) {
    let mut session = Session {
        dial,
        outbound,
        encoder: Encoder::default(),
        halves: BTreeMap::new(),
        open: BTreeMap::new(),
        connections: JoinSet::new(),
    };
    let mut decoder = Decoder::new();
    while let Some(bytes) = inbound.recv().await {
        decoder.push(&bytes);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => session.take(frame).await,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "a port-forward broke the protocol");
                    return;
                }
            }
        }
        while session.connections.try_join_next().is_some() {}
    }
}

struct Session {
    dial: Dial,
    outbound: Outbound,
    encoder: Encoder,
    /// Connections of which one stream has come, by request id.
    halves: BTreeMap<String, Half>,
    /// Data streams whose client has not ended its side.
    open: BTreeMap<u32, Lane>,
    /// Dropped with the session: what was forwarded ends with it.
    connections: JoinSet<()>,
}

#[derive(Default)]
struct Half {
    error: Option<u32>,
    data: Option<(u32, u16, mpsc::Receiver<Bytes>)>,
}

struct Lane {
    pieces: mpsc::Sender<Bytes>,
    connection: Option<AbortHandle>,
}

impl Session {
    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::SynStream {
                stream,
                headers,
                fin,
            } => {
                let reply = self.encoder.syn_reply(stream);
                let _ = self.outbound.send(reply).await;
                self.begin(stream, &headers);
                if fin {
                    self.open.remove(&stream);
                }
            }
            Frame::Data { stream, bytes, fin } => {
                if let Some(lane) = self.open.get(&stream)
                    && !bytes.is_empty()
                {
                    // A connection that is over takes nothing more; the client will hear of its end.
                    let _ = lane.pieces.send(bytes).await;
                }
                if fin {
                    self.open.remove(&stream);
                }
            }
            Frame::Reset { stream } => {
                if let Some(connection) = self.open.remove(&stream).and_then(|l| l.connection) {
                    connection.abort();
                }
            }
            Frame::Ping { id } => {
                let _ = self.outbound.send(frame::pong(id)).await;
            }
            Frame::GoAway | Frame::Other => {}
        }
    }

    fn begin(&mut self, stream: u32, headers: &[(String, String)]) {
        let header = |name: &str| {
            headers
                .iter()
                .find(|(n, _)| n == name)
                .map_or("", |(_, v)| v)
        };
        let request = header("requestid").to_owned();
        let half = self.halves.entry(request.clone()).or_default();
        match header("streamtype") {
            "error" => half.error = Some(stream),
            "data" => {
                let (pieces, receiver) = mpsc::channel(QUEUE);
                let lane = Lane {
                    pieces,
                    connection: None,
                };
                self.open.insert(stream, lane);
                // Port 0 is nobody's: dialling it says so on the error stream.
                half.data = Some((stream, header("port").parse().unwrap_or(0), receiver));
            }
            _ => {}
        }
        if let Half {
            error: Some(error),
            data: Some((data, port, pieces)),
        } = half.take_if_whole()
        {
            self.halves.remove(&request);
            let connection = connect(
                Arc::clone(&self.dial),
                port,
                data,
                error,
                pieces,
                self.outbound.clone(),
            );
            let handle = self.connections.spawn(connection);
            if let Some(lane) = self.open.get_mut(&data) {
                lane.connection = Some(handle);
            }
        }
    }
}

impl Half {
    fn take_if_whole(&mut self) -> Self {
        if self.error.is_some() && self.data.is_some() {
            std::mem::take(self)
        } else {
            Self::default()
        }
    }
}

async fn connect(
    dial: Dial,
    port: u16,
    data: u32,
    error: u32,
    pieces: mpsc::Receiver<Bytes>,
    outbound: Outbound,
) {
    match dial(port).await {
        Ok(server) => copy(server, pieces, &outbound, |bytes| frame::data(data, bytes)).await,
        Err(refusal) => {
            let text = refusal.to_string();
            let _ = outbound.send(frame::data(error, text.as_bytes())).await;
        }
    }
    // Both: the client reads the error stream to its end before it lets the connection go.
    for stream in [data, error] {
        let _ = outbound.send(frame::fin(stream)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::{Peer, reset};
    use super::*;
    use crate::kubelet::server::Refusal;
    use crate::kubelet::server::forward::tests::{echo, pod};
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    struct Client {
        peer: Peer,
        to: mpsc::Sender<Bytes>,
        from: mpsc::Receiver<Bytes>,
        decoder: Decoder,
    }

    impl Client {
        fn connect(dial: Dial) -> Self {
            let (to, inbound) = mpsc::channel(4);
            // Room for the replies to all that a test opens before it reads.
            let (outbound, from) = mpsc::channel(64);
            tokio::spawn(carry(dial, inbound, outbound));
            Self {
                peer: Peer::new(),
                to,
                from,
                decoder: Decoder::new(),
            }
        }

        /// Opens the pair of streams of one connection: `first` for errors, the next odd number for data.
        async fn open(&mut self, first: u32) -> u32 {
            let request = first.to_string();
            for (stream, kind) in [(first, "error"), (first + 2, "data")] {
                let headers = [
                    ("streamtype", kind),
                    ("port", "80"),
                    ("requestid", &request),
                ];
                let frame = self.peer.syn_stream(stream, &headers);
                self.to.send(frame).await.unwrap();
            }
            self.to.send(frame::fin(first)).await.unwrap();
            first + 2
        }

        async fn next(&mut self) -> Option<Frame> {
            loop {
                match self.decoder.next().unwrap() {
                    Some(Frame::Other) => {}
                    Some(frame) => return Some(frame),
                    None => self.decoder.push(&self.from.recv().await?),
                }
            }
        }

        /// What comes on each stream, until all these have ended.
        async fn ended(&mut self, streams: &[u32]) -> BTreeMap<u32, Vec<u8>> {
            let mut all: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            let mut open = streams.to_vec();
            while !open.is_empty() {
                match self.next().await.unwrap() {
                    Frame::Data { stream, bytes, fin } => {
                        all.entry(stream).or_default().extend_from_slice(&bytes);
                        open.retain(|s| !(fin && *s == stream));
                    }
                    other => panic!("{other:?}"),
                }
            }
            all
        }
    }

    #[tokio::test]
    async fn an_answer_after_the_clients_end_arrives() {
        let answers_late = |mut stream: TcpStream| async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            all.reverse();
            stream.write_all(&all).await.unwrap();
        };
        let mut client = Client::connect(pod(answers_late).await);
        let data = client.open(1).await;
        client.to.send(frame::data(data, b"abc")).await.unwrap();
        client.to.send(frame::fin(data)).await.unwrap();
        let all = client.ended(&[1, data]).await;
        assert_eq!(all[&data], b"cba");
        assert_eq!(all[&1], b"");
    }

    #[tokio::test]
    async fn twenty_connections_at_once_keep_apart() {
        let mut client = Client::connect(pod(echo).await);
        let mut streams = Vec::new();
        for number in 0..20_u32 {
            streams.push((number * 4 + 1, client.open(number * 4 + 1).await));
        }
        let to = client.to.clone();
        let data: Vec<u32> = streams.iter().map(|(_, data)| *data).collect();
        let text = |stream: u32, n: u32| format!("{stream} {n};");
        tokio::spawn(async move {
            for n in 0..200 {
                for stream in &data {
                    to.send(frame::data(*stream, text(*stream, n).as_bytes()))
                        .await
                        .unwrap();
                }
            }
            for stream in data {
                to.send(frame::fin(stream)).await.unwrap();
            }
        });
        let all: Vec<u32> = streams.iter().flat_map(|(e, d)| [*e, *d]).collect();
        let received = client.ended(&all).await;
        for (_, stream) in streams {
            let expected: String = (0..200).map(|n| text(stream, n)).collect();
            assert_eq!(received[&stream], expected.as_bytes());
        }
    }

    #[tokio::test]
    async fn five_megabytes_each_way_on_one_connection() {
        let mut client = Client::connect(pod(echo).await);
        let data = client.open(1).await;
        let sent: Vec<u8> = (0..5_usize << 20).map(|i| (i * 31 % 251) as u8).collect();
        let (to, input) = (client.to.clone(), sent.clone());
        tokio::spawn(async move {
            for piece in input.chunks(30_000) {
                to.send(frame::data(data, piece)).await.unwrap();
            }
            to.send(frame::fin(data)).await.unwrap();
        });
        let received = client.ended(&[data]).await;
        assert!(
            received[&data] == sent,
            "{} bytes came back",
            received[&data].len()
        );
    }

    #[tokio::test]
    async fn pings_are_answered_while_a_connection_is_busy() {
        let floods = |mut stream: TcpStream| async move {
            while stream.write_all(&[7; 8192]).await.is_ok() {}
        };
        let mut client = Client::connect(pod(floods).await);
        client.open(1).await;
        client.to.send(frame::pong(11)).await.unwrap();
        loop {
            if let Frame::Ping { id } = client.next().await.unwrap() {
                assert_eq!(id, 11);
                return;
            }
        }
    }

    #[tokio::test]
    async fn a_reset_ends_the_connection_to_the_pod() {
        let (closed, mut was_closed) = mpsc::channel(1);
        let holds = move |mut stream: TcpStream| {
            let closed = closed.clone();
            async move {
                let _ = stream.read_to_end(&mut Vec::new()).await;
                closed.send(()).await.unwrap();
            }
        };
        let mut client = Client::connect(pod(holds).await);
        let data = client.open(1).await;
        client.to.send(frame::data(data, b"x")).await.unwrap();
        client.to.send(reset(data)).await.unwrap();
        was_closed.recv().await.unwrap();
    }

    #[tokio::test]
    async fn nobody_listening_is_said_on_the_error_stream() {
        let dial: Dial =
            Arc::new(|_| async { Err(Refusal::Failed("connection refused".to_owned())) }.boxed());
        let mut client = Client::connect(dial);
        let data = client.open(1).await;
        let all = client.ended(&[1, data]).await;
        assert_eq!(all[&1], b"connection refused");
    }
}
