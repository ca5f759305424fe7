//! The channel protocol of exec and attach: `v5.channel.k8s.io` and `v4.channel.k8s.io`.
//!
//! Each message starts with its channel's number. The end of the program is a `metav1.Status` on the error channel,
//! after all output.
//!
//! # Source
//! `k8s.io/apimachinery/pkg/util/remotecommand` and KEP-4006: v5 adds the close signal, `[255, channel]`.

use super::socket::{Inbound, Outbound};
use super::{Reader, Session, Terminal, Writer};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// The protocols in the order in which they are preferred.
pub(super) const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// 32 KiB: what clients copy by, too.
const PIECE: usize = 32 * 1024;
/// 16 pieces wait for a program that is slow to read.
const QUEUE: usize = 16;
/// 1 s: what an ended program wrote is in its pipes already. A child that it left behind may hold them open for ever;
/// a second of silence after the end is the end of the output.
const SILENCE: Duration = Duration::from_secs(1);

/// Carries a program's streams until it ends or the client goes.
pub(super) async fn carry(session: Session, inbound: Inbound, outbound: Outbound) {
    let Session {
        stdin,
        stdout,
        stderr,
        terminal,
        exit,
    } = session;
    let (over, is_over) = watch::channel(false);
    let outputs = [(STDOUT, stdout), (STDERR, stderr)].into_iter();
    let outputs: Vec<(u8, Reader)> = outputs.filter_map(|(c, r)| r.map(|r| (c, r))).collect();
    if let Some((channel, _)) = outputs.first() {
        // Tells the client that the program runs, before it says anything.
        let _ = outbound.send(Bytes::copy_from_slice(&[*channel])).await;
    }
    let mut copies = JoinSet::new();
    for (channel, reader) in outputs {
        copies.spawn(copy_out(channel, reader, outbound.clone(), is_over.clone()));
    }
    let mut inputs = JoinSet::new();
    let (to_stdin, pieces) = mpsc::channel(QUEUE);
    if let Some(stdin) = stdin {
        inputs.spawn(copy_in(stdin, pieces));
    } else {
        drop(pieces);
    }
    let ended = async {
        let code = exit.await;
        let _ = over.send(true);
        while copies.join_next().await.is_some() {}
        code
    };
    tokio::select! {
        code = ended => {
            let mut message = vec![STATUS];
            message.extend(status(code).to_string().into_bytes());
            let _ = outbound.send(message.into()).await;
        }
        // The client is gone: dropping the rest ends the program.
        () = demultiplex(inbound, to_stdin, terminal) => {}
    }
}

async fn demultiplex(
    mut inbound: Inbound,
    to_stdin: mpsc::Sender<Bytes>,
    terminal: Option<Arc<dyn Terminal>>,
) {
    let mut to_stdin = Some(to_stdin);
    while let Some(mut message) = inbound.recv().await {
        if message.is_empty() {
            continue;
        }
        let channel = message.split_to(1)[0];
        match channel {
            STDIN => {
                if let Some(to_stdin) = &to_stdin
                    && !message.is_empty()
                {
                    let _ = to_stdin.send(message).await;
                }
            }
            RESIZE => {
                if let (Some(terminal), Ok(size)) =
                    (&terminal, serde_json::from_slice::<Size>(&message))
                {
                    terminal.resize(size.width, size.height).await;
                }
            }
            CLOSE if message.first() == Some(&STDIN) => to_stdin = None,
            _ => {}
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

async fn copy_in(mut stdin: Writer, mut pieces: mpsc::Receiver<Bytes>) {
    while let Some(piece) = pieces.recv().await {
        let written = async {
            stdin.write_all(&piece).await?;
            stdin.flush().await
        };
        if written.await.is_err() {
            // The program reads no more; what the client still sends goes nowhere.
            while pieces.recv().await.is_some() {}
            return;
        }
    }
    let _ = stdin.shutdown().await;
}

async fn copy_out(channel: u8, mut from: Reader, to: Outbound, mut over: watch::Receiver<bool>) {
    let mut buffer = vec![0_u8; PIECE];
    loop {
        let read = if *over.borrow() {
            tokio::time::timeout(SILENCE, from.read(&mut buffer))
                .await
                .unwrap_or(Ok(0))
        } else {
            tokio::select! {
                biased;
                read = from.read(&mut buffer) => read,
                _ = over.changed() => continue,
            }
        };
        // A terminal's last reader sees an error instead of the end.
        let n = read.unwrap_or(0);
        if n == 0 {
            return;
        }
        let mut message = BytesMut::with_capacity(n + 1);
        message.extend_from_slice(&[channel]);
        message.extend_from_slice(&buffer[..n]);
        if to.send(message.freeze()).await.is_err() {
            return;
        }
    }
}

fn status(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::io::{AsyncRead, AsyncWrite};

    const LARGE: usize = 5 << 20;

    struct Client {
        to: mpsc::Sender<Bytes>,
        from: mpsc::Receiver<Bytes>,
    }

    fn program(
        stdin: impl AsyncWrite + Send + 'static,
        stdout: impl AsyncRead + Send + 'static,
        exit: impl Future<Output = i32> + Send + 'static,
    ) -> Session {
        Session {
            stdin: Some(Box::pin(stdin)),
            stdout: Some(Box::pin(stdout)),
            stderr: None,
            terminal: None,
            exit: exit.boxed(),
        }
    }

    fn connect(session: Session) -> Client {
        let (to, inbound) = mpsc::channel(4);
        let (outbound, from) = mpsc::channel(4);
        tokio::spawn(carry(session, inbound, outbound));
        Client { to, from }
    }

    impl Client {
        async fn send(&self, message: Vec<u8>) {
            self.to.send(message.into()).await.unwrap();
        }

        /// Everything on a channel, and the status.
        async fn rest(mut self, channel: u8) -> (Vec<u8>, Value) {
            let mut all = Vec::new();
            while let Some(message) = self.from.recv().await {
                match message[0] {
                    STATUS => return (all, serde_json::from_slice(&message[1..]).unwrap()),
                    c if c == channel => all.extend_from_slice(&message[1..]),
                    other => panic!("unexpected channel {other}"),
                }
            }
            panic!("no status");
        }
    }

    /// A program that gives back what it gets, through pipes as narrow as the kernel's.
    fn echo() -> Session {
        let (stdin, mut reads) = tokio::io::duplex(65536);
        let (mut writes, stdout) = tokio::io::duplex(65536);
        let ended = tokio::spawn(async move {
            tokio::io::copy(&mut reads, &mut writes).await.unwrap();
        });
        program(stdin, stdout, ended.map(|_| 0))
    }

    #[tokio::test]
    async fn five_megabytes_go_in_and_come_out_unchanged() {
        let client = connect(echo());
        let sent: Vec<u8> = (0..LARGE).map(|i| (i * 31 % 251) as u8).collect();
        let to = client.to.clone();
        let input = sent.clone();
        tokio::spawn(async move {
            for piece in input.chunks(32 * 1024) {
                to.send([&[STDIN], piece].concat().into()).await.unwrap();
            }
            to.send(vec![CLOSE, STDIN].into()).await.unwrap();
        });
        let (received, status) = client.rest(STDOUT).await;
        assert!(received == sent, "{} bytes came back", received.len());
        assert_eq!(status["status"], "Success");
    }

    #[tokio::test]
    async fn an_exit_status_comes_after_all_output() {
        let (stdin, _reads) = tokio::io::duplex(16);
        let client = connect(program(stdin, &b"last words"[..], async { 3 }));
        let (received, status) = client.rest(STDOUT).await;
        assert_eq!(received, b"last words");
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0]["message"], "3");
    }

    #[tokio::test]
    async fn input_that_nobody_reads_does_not_keep_the_status_back() {
        let (stdin, reads) = tokio::io::duplex(16);
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let exit = async move {
            let _ = finished.await;
            drop(reads);
            0
        };
        let client = connect(program(stdin, tokio::io::empty(), exit));
        let to = client.to.clone();
        let flood =
            tokio::spawn(async move { while to.send(vec![STDIN; 4096].into()).await.is_ok() {} });
        tokio::task::yield_now().await;
        finish.send(()).unwrap();
        let (_, status) = client.rest(STDOUT).await;
        assert_eq!(status["status"], "Success");
        flood.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn output_held_open_by_a_child_left_behind_ends_in_silence() {
        let (stdin, _reads) = tokio::io::duplex(16);
        let (mut child, stdout) = tokio::io::duplex(64);
        child.write_all(b"done").await.unwrap();
        let client = connect(program(stdin, stdout, async { 0 }));
        let (received, _) = client.rest(STDOUT).await;
        assert_eq!(received, b"done");
        drop(child);
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_the_program() {
        struct Guard(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Guard {
            fn drop(&mut self) {
                let _ = self.0.take().unwrap().send(());
            }
        }
        let (killed, was_killed) = tokio::sync::oneshot::channel();
        let guard = Guard(Some(killed));
        let exit = async move {
            let _guard = guard;
            std::future::pending::<i32>().await
        };
        let (stdin, _reads) = tokio::io::duplex(16);
        let (_writes, stdout) = tokio::io::duplex(16);
        let client = connect(program(stdin, stdout, exit));
        drop(client);
        was_killed.await.unwrap();
    }

    #[tokio::test]
    async fn sizes_reach_the_terminal() {
        struct Screen(mpsc::UnboundedSender<(u16, u16)>);
        #[async_trait::async_trait]
        impl Terminal for Screen {
            async fn resize(&self, columns: u16, rows: u16) {
                self.0.send((columns, rows)).unwrap();
            }
        }
        let (sizes, mut seen) = mpsc::unbounded_channel();
        let session = Session {
            terminal: Some(Arc::new(Screen(sizes))),
            ..echo()
        };
        let client = connect(session);
        client
            .send([&[RESIZE], &br#"{"Width":120,"Height":40}"#[..]].concat())
            .await;
        assert_eq!(seen.recv().await, Some((120, 40)));
    }
}
