//! One session with one server in the text protocol, with a deadline on every command.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};

use crate::databases::session::{self, Slot, Way};
use crate::dial::{Dial, Stream, Target};

/// A server did not do what it was asked.
pub type ServerError = session::ServerError<No>;

/// The first word of an answer that says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum No {
    /// It does not know the command.
    Error,
    /// The command is not as it should be.
    ClientError,
    /// It cannot do it.
    ServerError,
    /// Its crawler has other work, which ends.
    Busy,
}

impl No {
    fn of(word: &str) -> Option<Self> {
        let all = [
            Self::Error,
            Self::ClientError,
            Self::ServerError,
            Self::Busy,
        ];
        all.into_iter().find(|no| no.word() == word)
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::ClientError => "CLIENT_ERROR",
            Self::ServerError => "SERVER_ERROR",
            Self::Busy => "BUSY",
        }
    }
}

impl fmt::Display for No {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Longest line that a server sends: a key of 250 bytes, each written as three, and what is said of it.
const LINE: u64 = 4_096;

struct Open(BufStream<Box<dyn Stream>>);

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

    /// Opens the session if it is not open.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        let connect = async {
            let stream = self.way.stream(None, deadline).await?;
            Ok(Open(BufStream::new(stream)))
        };
        self.open.fill(&self.way, deadline, |_| true, connect).await
    }

    /// Closes it: the next question begins with a new one.
    pub async fn close(&self) {
        self.open.clear().await;
    }

    /// `version`.
    ///
    /// # Errors
    /// No session, no answer in time, or an answer that says no.
    pub async fn version(&self, deadline: Duration) -> Result<String, ServerError> {
        self.ask(deadline, async |open| {
            self.send(open, "version\r\n").await?;
            let line = self.line(open).await?;
            line.strip_prefix("VERSION ")
                .map(str::to_owned)
                .ok_or_else(|| self.said_no(&line))
        })
        .await
    }

    /// `stats`, or one of its parts.
    ///
    /// # Errors
    /// As [`Session::version`].
    pub async fn stats(
        &self,
        part: &str,
        deadline: Duration,
    ) -> Result<BTreeMap<String, String>, ServerError> {
        let command = format!("{}\r\n", format!("stats {part}").trim_end());
        self.ask(deadline, async |open| {
            self.send(open, &command).await?;
            let mut stats = BTreeMap::new();
            loop {
                let line = self.line(open).await?;
                if line == "END" {
                    return Ok(stats);
                }
                let (name, value) = line
                    .strip_prefix("STAT ")
                    .and_then(|stat| stat.split_once(' '))
                    .ok_or_else(|| self.said_no(&line))?;
                stats.insert(name.to_owned(), value.to_owned());
            }
        })
        .await
    }

    /// Its keys of which `keep` says yes: `lru_crawler metadump all`. The answer is as long as the cache is large, and
    /// is not kept.
    ///
    /// # Errors
    /// As [`Session::version`]; `BUSY` while the crawler has other work.
    pub async fn keys(
        &self,
        mut keep: impl FnMut(&[u8]) -> bool,
        deadline: Duration,
    ) -> Result<Vec<Vec<u8>>, ServerError> {
        self.ask(deadline, async |open| {
            self.send(open, "lru_crawler metadump all\r\n").await?;
            let mut keys = Vec::new();
            loop {
                let line = self.line(open).await?;
                if line == "END" {
                    return Ok(keys);
                }
                let key = line
                    .strip_prefix("key=")
                    .and_then(|rest| rest.split(' ').next())
                    .ok_or_else(|| self.said_no(&line))?;
                let key = decoded(key);
                if keep(&key) {
                    keys.push(key);
                }
            }
        })
        .await
    }

    /// Deletes keys; how many of them were still there.
    ///
    /// # Errors
    /// As [`Session::version`].
    pub async fn delete(&self, keys: &[Vec<u8>], deadline: Duration) -> Result<usize, ServerError> {
        /// Commands on their way at one time: their answers fit into any socket's buffer.
        const AT_ONCE: usize = 200;
        self.ask(deadline, async |open| {
            let mut gone = 0;
            for some in keys.chunks(AT_ONCE) {
                let mut command = Vec::new();
                for key in some {
                    command.extend_from_slice(&deletion(key));
                }
                self.send_bytes(open, &command).await?;
                for _ in some {
                    let line = self.line(open).await?;
                    match line.as_str() {
                        "DELETED" | "HD" => gone += 1,
                        "NOT_FOUND" | "NF" => {}
                        _ => return Err(self.said_no(&line)),
                    }
                }
            }
            Ok(gone)
        })
        .await
    }

    async fn ask<A>(
        &self,
        deadline: Duration,
        ask: impl AsyncFnOnce(&mut Open) -> Result<A, ServerError>,
    ) -> Result<A, ServerError> {
        self.open.ask(&self.way, deadline, ask).await
    }

    async fn send(&self, open: &mut Open, command: &str) -> Result<(), ServerError> {
        self.send_bytes(open, command.as_bytes()).await
    }

    async fn send_bytes(&self, open: &mut Open, command: &[u8]) -> Result<(), ServerError> {
        let lost = |e: std::io::Error| self.way.disconnected(&e.to_string());
        open.0.write_all(command).await.map_err(lost)?;
        open.0.flush().await.map_err(lost)
    }

    /// One line without its end.
    async fn line(&self, open: &mut Open) -> Result<String, ServerError> {
        let mut line = Vec::new();
        (&mut open.0)
            .take(LINE)
            .read_until(b'\n', &mut line)
            .await
            .map_err(|e| self.way.disconnected(&e.to_string()))?;
        if line.is_empty() {
            return Err(self.way.disconnected("the server hung up"));
        }
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err(self.way.unexpected("a line without an end"));
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        String::from_utf8(line.to_vec()).map_err(|e| self.way.unexpected(&e.to_string()))
    }

    fn said_no(&self, line: &str) -> ServerError {
        let (word, message) = line.split_once(' ').unwrap_or((line, ""));
        match No::of(word) {
            Some(no) => self.way.refused(no, message),
            None => self.way.unexpected(line),
        }
    }
}

/// The command that deletes a key. Other protocols let a key have bytes that end a word or a command of this one: such a
/// key is named in base64, as the meta commands allow.
///
/// # Source
/// `doc/protocol.txt` of Memcached 1.6, "Meta Delete", flag `b`.
fn deletion(key: &[u8]) -> Vec<u8> {
    let ends = |byte: &u8| matches!(byte, 0 | b' ' | b'\r' | b'\n' | b'\t');
    if key.is_empty() || key.iter().any(ends) {
        return format!("md {} b\r\n", BASE64_STANDARD.encode(key)).into_bytes();
    }
    [b"delete ", key, b"\r\n"].concat()
}

/// The key as it is, from how a dump writes it: bytes beside letters, digits and `-._~` as `%XX`.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut key = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let pair = (byte == b'%').then(|| {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let mut ahead = bytes.clone();
            Some((digit(ahead.next())? * 16 + digit(ahead.next())?, ahead))
        });
        match pair.flatten() {
            Some((value, ahead)) => {
                key.push(u8::try_from(value).unwrap_or(b'?'));
                bytes = ahead;
            }
            None => key.push(byte),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::{decoded, deletion};

    #[test]
    fn a_key_is_one_word_of_a_command_whatever_is_in_it() {
        assert_eq!(deletion(b"user:7"), b"delete user:7\r\n");
        let odd = deletion(b"x\r\nflush_all");
        assert_eq!(odd, b"md eA0KZmx1c2hfYWxs b\r\n");
        assert_eq!(deletion(b"a noreply"), b"md YSBub3JlcGx5 b\r\n");
    }

    #[test]
    fn a_dump_writes_keys_as_addresses_are_written() {
        assert_eq!(decoded("user%3A7"), b"user:7");
        assert_eq!(decoded("plain-key_1.~"), b"plain-key_1.~");
        assert_eq!(decoded("%c3%A4"), "ä".as_bytes());
        assert_eq!(decoded("100%"), b"100%");
        assert_eq!(decoded("%zz"), b"%zz");
    }
}
