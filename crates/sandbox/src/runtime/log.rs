//! A container's output: to its log file in the CRI's format, and to whoever is attached.
//!
//! One line is `<RFC 3339 time with nanoseconds> <stdout|stderr> <P|F> <text>`; `P` marks a piece of a line that
//! goes on in the next record.

use bytes::Bytes;
use std::path::{Path, PathBuf};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{broadcast, mpsc};

/// 16 KiB: the length at which the usual runtimes split a line into pieces.
const PIECE: usize = 16 * 1024;

/// A piece of output for those attached.
#[derive(Clone, Debug)]
pub struct LogChunk {
    /// From standard error.
    pub stderr: bool,
    /// The bytes, as written.
    pub bytes: Bytes,
}

/// Copies one stream until its end.
pub(super) async fn pump(
    mut from: impl AsyncRead + Unpin,
    stderr: bool,
    file: mpsc::Sender<Vec<u8>>,
    live: broadcast::Sender<LogChunk>,
) {
    let mut rest: Vec<u8> = Vec::new();
    let mut buffer = vec![0_u8; PIECE];
    loop {
        // A terminal's last reader sees an error instead of the end.
        let n = from.read(&mut buffer).await.unwrap_or(0);
        if n == 0 {
            break;
        }
        if live.receiver_count() > 0 {
            let _ = live.send(LogChunk {
                stderr,
                bytes: Bytes::copy_from_slice(&buffer[..n]),
            });
        }
        rest.extend_from_slice(&buffer[..n]);
        let now = now();
        let mut records = Vec::new();
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            record(&mut records, &now, stderr, true, &rest[..end]);
            rest.drain(..=end);
        }
        while rest.len() >= PIECE {
            record(&mut records, &now, stderr, false, &rest[..PIECE]);
            rest.drain(..PIECE);
        }
        if !records.is_empty() && file.send(records).await.is_err() {
            return;
        }
    }
    if !rest.is_empty() {
        let mut records = Vec::new();
        record(&mut records, &now(), stderr, true, &rest);
        let _ = file.send(records).await;
    }
}

/// Writes records in the order in which they come. Ends when all pumps have.
pub(super) async fn write(path: PathBuf, mut records: mpsc::Receiver<Vec<u8>>) {
    let mut file = match open(&path).await {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no log file");
            while records.recv().await.is_some() {}
            return;
        }
    };
    while let Some(record) = records.recv().await {
        if let Err(error) = file.write_all(&record).await {
            tracing::warn!(path = %path.display(), %error, "log line lost");
        }
        let _ = file.flush().await;
    }
}

async fn open(path: &Path) -> std::io::Result<File> {
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .await
}

fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

fn record(out: &mut Vec<u8>, now: &str, stderr: bool, full: bool, text: &[u8]) {
    out.extend_from_slice(now.as_bytes());
    out.extend_from_slice(if stderr { b" stderr " } else { b" stdout " });
    out.extend_from_slice(if full { b"F " } else { b"P " });
    out.extend_from_slice(text);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_carry_time_stream_and_tag() {
        let (file, mut records) = mpsc::channel(4);
        let (live, _) = broadcast::channel(4);
        let long = "x".repeat(PIECE);
        let input = format!("one\n{long}tail");
        pump(input.as_bytes(), true, file, live).await;
        let mut all = Vec::new();
        while let Some(record) = records.recv().await {
            all.extend(record);
        }
        let text = String::from_utf8(all).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.splitn(4, ' ').collect()).collect();
        assert_eq!(
            (lines[0][1], lines[0][2], lines[0][3]),
            ("stderr", "F", "one")
        );
        assert_eq!((lines[1][2], lines[1][3].len()), ("P", PIECE));
        assert_eq!((lines[2][2], lines[2][3]), ("F", "tail"));
        assert!(
            lines[0][0].len() == "2026-01-02T03:04:05.123456789Z".len(),
            "{}",
            lines[0][0]
        );
    }
}
