//! Reads a container's log file as `kubectl logs` asks for it.
//!
//! # Source
//! `pkg/kubelet/kuberuntime/logs` of 1.36: the tail counts records of the file, times are put before whole lines, the
//! limit counts bytes that are sent.

use super::Log;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

/// 64 KiB are read at a time.
const PIECE: usize = 64 * 1024;
/// 50 ms: a followed log is looked at this often; a person sees no delay, and nobody pays for logs not followed.
const LOOK: Duration = Duration::from_millis(50);

/// What is wanted of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail: Option<u64>,
    pub since: Option<Timestamp>,
    pub limit: Option<u64>,
    /// Only this stream, `stdout` or `stderr`.
    pub stream: Option<&'static str>,
}

impl Options {
    /// Reads them from a query.
    ///
    /// # Errors
    /// A value is not what it should be; the text names it.
    pub(super) fn parse(query: &[(String, String)], now: Timestamp) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in query {
            let bad = || format!("invalid {name}: {value:?}");
            let number = || value.parse::<u64>().map_err(|_| bad());
            let truth = || match value.as_str() {
                "true" | "1" | "" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(bad()),
            };
            match name.as_str() {
                "follow" => options.follow = truth()?,
                "previous" => options.previous = truth()?,
                "timestamps" => options.timestamps = truth()?,
                "tailLines" => options.tail = Some(number()?),
                "limitBytes" => options.limit = Some(number()?),
                "sinceSeconds" => {
                    let seconds = i64::try_from(number()?).map_err(|_| bad())?;
                    options.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
                }
                "sinceTime" => options.since = Some(value.parse().map_err(|_| bad())?),
                "stream" => {
                    options.stream = match value.as_str() {
                        "All" | "" => None,
                        "Stdout" => Some("stdout"),
                        "Stderr" => Some("stderr"),
                        _ => return Err(bad()),
                    };
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

/// Sends a log until its end, or the client's.
pub(super) async fn send(
    log: Log,
    options: Options,
    to: mpsc::Sender<Bytes>,
) -> std::io::Result<()> {
    let Log { path, mut ended } = log;
    let mut is_over = !options.follow;
    let mut file = None;
    let mut filter = Filter::new(&options);
    let mut rest: Vec<u8> = Vec::new();
    let mut buffer = vec![0_u8; PIECE];
    loop {
        if file.is_none() {
            file = open(&path, options.tail).await?;
        }
        let n = match &mut file {
            Some(file) => file.read(&mut buffer).await?,
            None => 0,
        };
        if n > 0 {
            rest.extend_from_slice(&buffer[..n]);
            let mut out = Vec::new();
            let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
            for record in rest[..whole].split_inclusive(|b| *b == b'\n') {
                filter.take(record, &mut out);
            }
            rest.drain(..whole);
            if !out.is_empty() && to.send(out.into()).await.is_err() {
                return Ok(());
            }
            if filter.is_full() {
                return Ok(());
            }
            continue;
        }
        if is_over {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = to.closed() => return Ok(()),
            // The log is complete now: once more to its end.
            () = &mut ended => is_over = true,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Opens the file where the tail begins; none if it is not there yet.
async fn open(path: &Path, tail: Option<u64>) -> std::io::Result<Option<File>> {
    let mut file = match File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if let Some(lines) = tail {
        let start = tail_start(&mut file, lines).await?;
        file.seek(SeekFrom::Start(start)).await?;
    }
    Ok(Some(file))
}

/// Where the last so many lines begin.
async fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(end);
    }
    // The newline that ends the last line is not the one before it.
    let mut missing = lines.saturating_add(1);
    let mut buffer = vec![0_u8; PIECE];
    while end > 0 {
        let start = end.saturating_sub(PIECE as u64);
        let size = usize::try_from(end - start).unwrap_or(PIECE);
        file.seek(SeekFrom::Start(start)).await?;
        let piece = &mut buffer[..size];
        file.read_exact(piece).await?;
        for index in (0..size).rev().filter(|i| piece[*i] == b'\n') {
            missing -= 1;
            if missing == 0 {
                return Ok(start + index as u64 + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

/// Turns records into what is sent.
struct Filter {
    timestamps: bool,
    since: Option<Timestamp>,
    stream: Option<&'static str>,
    room: Option<u64>,
    /// A line of standard output, or error, goes on in the next record.
    goes_on: [bool; 2],
}

impl Filter {
    fn new(options: &Options) -> Self {
        Self {
            timestamps: options.timestamps,
            since: options.since,
            stream: options.stream,
            room: options.limit,
            goes_on: [false; 2],
        }
    }

    fn is_full(&self) -> bool {
        self.room == Some(0)
    }

    fn take(&mut self, record: &[u8], out: &mut Vec<u8>) {
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let mut parts = record.splitn(4, |b| *b == b' ');
        let (Some(time), Some(stream), Some(tag), Some(text)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        if self.stream.is_some_and(|s| s.as_bytes() != stream) {
            return;
        }
        if let Some(since) = self.since {
            let time = std::str::from_utf8(time)
                .ok()
                .and_then(|t| t.parse::<Timestamp>().ok());
            if time.is_none_or(|t| t < since) {
                return;
            }
            // Records are in order: all that follow are late enough, too.
            self.since = None;
        }
        let whole = tag == b"F";
        let goes_on =
            std::mem::replace(&mut self.goes_on[usize::from(stream == b"stderr")], !whole);
        let start = out.len();
        if self.timestamps && !goes_on {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(text);
        if whole {
            out.push(b'\n');
        }
        if let Some(room) = &mut self.room {
            let kept = usize::try_from(*room)
                .unwrap_or(usize::MAX)
                .min(out.len() - start);
            out.truncate(start + kept);
            *room -= kept as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::io::Write;

    const LOG: &str = "2026-01-02T03:04:05.000000001Z stdout F one\n\
                       2026-01-02T03:04:06.000000002Z stderr F two\n\
                       2026-01-02T03:04:07.000000003Z stdout P thr\n\
                       2026-01-02T03:04:07.000000004Z stdout F ee\n\
                       2026-01-02T03:04:08.000000005Z stdout F \n";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    async fn read(text: &str, query: &[(&str, &str)]) -> String {
        let file = file(text);
        let query: Vec<_> = query
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let now = "2026-01-02T03:04:08Z".parse().unwrap();
        let options = Options::parse(&query, now).unwrap();
        let log = Log {
            path: file.path().to_owned(),
            ended: async {}.boxed(),
        };
        let (to, mut from) = mpsc::channel(64);
        let sent = tokio::spawn(send(log, options, to));
        let mut all = Vec::new();
        while let Some(bytes) = from.recv().await {
            all.extend_from_slice(&bytes);
        }
        sent.await.unwrap().unwrap();
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn options_choose_what_is_read() {
        assert_eq!(read(LOG, &[]).await, "one\ntwo\nthree\n\n");
        assert_eq!(
            read(LOG, &[("follow", "true")]).await,
            "one\ntwo\nthree\n\n"
        );
        assert_eq!(read(LOG, &[("tailLines", "1")]).await, "\n");
        assert_eq!(read(LOG, &[("tailLines", "4")]).await, "two\nthree\n\n");
        assert_eq!(read(LOG, &[("tailLines", "0")]).await, "");
        assert_eq!(
            read(LOG, &[("tailLines", "99")]).await,
            "one\ntwo\nthree\n\n"
        );
        assert_eq!(read(LOG, &[("sinceSeconds", "1")]).await, "three\n\n");
        assert_eq!(
            read(LOG, &[("sinceTime", "2026-01-02T03:04:06Z")]).await,
            "two\nthree\n\n"
        );
        assert_eq!(read(LOG, &[("limitBytes", "6")]).await, "one\ntw");
        assert_eq!(read(LOG, &[("stream", "Stderr")]).await, "two\n");
        assert_eq!(
            read(LOG, &[("timestamps", "true"), ("tailLines", "3")]).await,
            "2026-01-02T03:04:07.000000003Z three\n2026-01-02T03:04:08.000000005Z \n"
        );
    }

    #[tokio::test]
    async fn a_long_log_has_the_right_tail() {
        let text: String = (0..20_000)
            .map(|n| format!("2026-01-02T03:04:05Z stdout F line {n}\n"))
            .collect();
        let expected: String = (5_000..20_000).map(|n| format!("line {n}\n")).collect();
        assert!(read(&text, &[("tailLines", "15000")]).await == expected);
    }

    #[test]
    fn a_wrong_value_is_named() {
        let query = [("tailLines".to_owned(), "many".to_owned())];
        assert_eq!(
            Options::parse(&query, Timestamp::UNIX_EPOCH),
            Err("invalid tailLines: \"many\"".to_owned())
        );
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_until_the_container_ends() {
        let mut file = file(LOG);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let log = Log {
            path: file.path().to_owned(),
            ended: ended.map(|_| ()).boxed(),
        };
        let options = Options {
            follow: true,
            tail: Some(1),
            ..Options::default()
        };
        let (to, mut from) = mpsc::channel(64);
        tokio::spawn(send(log, options, to));
        assert_eq!(from.recv().await.unwrap(), "\n");
        file.write_all(b"2026-01-02T03:04:09Z stdout F four\n")
            .unwrap();
        assert_eq!(from.recv().await.unwrap(), "four\n");
        file.write_all(b"2026-01-02T03:04:10Z stdout F last\n")
            .unwrap();
        end.send(()).unwrap();
        assert_eq!(from.recv().await.unwrap(), "last\n");
        assert_eq!(from.recv().await, None);
    }
}
