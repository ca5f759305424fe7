//! A WebSocket as two queues of messages.
//!
//! One task reads, one writes: a client that sends without reading, or reads without sending, blocks nobody. Pings are
//! answered by the WebSocket layer whenever the reader runs.

use axum::extract::ws::{CloseFrame, Message, close_code};
use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt};
use std::time::Duration;
use tokio::sync::mpsc;

/// 64 messages, at most some 2 MB: enough to keep both ends busy, little enough for backpressure to be felt.
const QUEUE: usize = 64;
/// 30 s: a peer that vanished is noticed by what is sent to it; an idle stream would send nothing.
const PING: Duration = Duration::from_secs(30);
/// 5 min: a client may stand still for a while (a person reading, a machine frozen), but not for ever.
const STUCK: Duration = Duration::from_secs(300);
/// 10 s for the other side to say goodbye: closing earlier, with bytes unread, would reset the connection and take
/// what is still under way with it.
const GOODBYE: Duration = Duration::from_secs(10);

/// Messages from the client; ends with the connection.
pub(super) type Inbound = mpsc::Receiver<Bytes>;
/// Messages to the client; when all senders are gone the connection is closed in order.
pub(super) type Outbound = mpsc::Sender<Bytes>;

/// Serves one connection to its end.
pub(super) async fn serve<S, E, F, W>(socket: S, work: F)
where
    S: Stream<Item = Result<Message, E>> + Sink<Message> + Send + 'static,
    E: Send + 'static,
    F: FnOnce(Inbound, Outbound) -> W,
    W: Future<Output = ()>,
{
    let (sink, stream) = socket.split();
    let (to_work, inbound) = mpsc::channel(QUEUE);
    let (outbound, from_work) = mpsc::channel(QUEUE);
    let mut reader = tokio::spawn(read(stream, to_work));
    let writer = tokio::spawn(write(sink, from_work));
    work(inbound, outbound).await;
    let _ = writer.await;
    if tokio::time::timeout(GOODBYE, &mut reader).await.is_err() {
        reader.abort();
    }
}

async fn read<E>(
    mut stream: impl Stream<Item = Result<Message, E>> + Unpin,
    to: mpsc::Sender<Bytes>,
) {
    while let Some(Ok(message)) = stream.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            // The layer below says goodbye itself, when it is asked for more.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => continue,
        };
        // Nobody listens any more: the rest is read and forgotten, until the client closes.
        let _ = to.send(bytes).await;
    }
}

async fn write(mut sink: impl Sink<Message> + Unpin, mut from: mpsc::Receiver<Bytes>) {
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            bytes = from.recv() => match bytes {
                Some(bytes) => Message::Binary(bytes),
                None => break,
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        if !matches!(
            tokio::time::timeout(STUCK, sink.send(message)).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
    let goodbye = Message::Close(Some(CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    }));
    let _ = tokio::time::timeout(GOODBYE, sink.send(goodbye)).await;
}
