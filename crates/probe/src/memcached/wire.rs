//! One connection with one server in the text protocol.
//!
//! # Source
//! `doc/protocol.txt` of Memcached 1.6.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest answer to one command: a value of this probe and what is around it.
const LONGEST: usize = 64 * 1024;

/// What went wrong with a request.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The connection broke, or was not made.
    Broken(io::Error),
    /// No answer in time.
    Late,
    /// The server answered that it would not.
    Refused(String),
}

/// An open connection, with nothing under way.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    deadline: Duration,
}

impl Wire {
    /// Connects, to any address of the name.
    pub(super) async fn connect(
        host: &str,
        port: u16,
        connect: Duration,
        deadline: Duration,
    ) -> Result<Self, Wrong> {
        let stream = timeout(connect, TcpStream::connect((host, port)))
            .await
            .map_err(|_| Wrong::Late)?
            .map_err(Wrong::Broken)?;
        stream.set_nodelay(true).map_err(Wrong::Broken)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            deadline,
        })
    }

    /// The server has hung up already: nothing that is sent now would be answered.
    pub(super) fn is_closed(&self) -> bool {
        let mut byte = [0];
        // Anything but "nothing yet" is an end, an error, or an answer that nobody asked for.
        !matches!(self.stream.try_read(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// The value of a key.
    pub(super) async fn get(&mut self, key: &str) -> Result<Option<String>, Wrong> {
        let answer = self.ask(&format!("get {key}\r\n"), ends_a_get).await?;
        if answer == "END\r\n" {
            return Ok(None);
        }
        let value = answer
            .strip_prefix("VALUE ")
            .and_then(|rest| rest.split_once("\r\n"))
            .and_then(|(_, rest)| rest.strip_suffix("\r\nEND\r\n"));
        match value {
            Some(value) => Ok(Some(value.to_owned())),
            None => Err(Wrong::Refused(answer.trim_end().to_owned())),
        }
    }

    /// Sets a key for so many seconds.
    pub(super) async fn set(&mut self, key: &str, value: &str, seconds: u32) -> Result<(), Wrong> {
        let length = value.len();
        let command = format!("set {key} 0 {seconds} {length}\r\n{value}\r\n");
        match self.ask(&command, ends_a_line).await? {
            answer if answer == "STORED\r\n" => Ok(()),
            answer => Err(Wrong::Refused(answer.trim_end().to_owned())),
        }
    }

    /// Deletes a key, if it is there.
    pub(super) async fn delete(&mut self, key: &str) -> Result<(), Wrong> {
        let answer = self.ask(&format!("delete {key}\r\n"), ends_a_line).await?;
        match answer.as_str() {
            "DELETED\r\n" | "NOT_FOUND\r\n" => Ok(()),
            other => Err(Wrong::Refused(other.trim_end().to_owned())),
        }
    }

    /// `version`, as the server says it.
    pub(super) async fn version(&mut self) -> Result<String, Wrong> {
        let answer = self.ask("version\r\n", ends_a_line).await?;
        match answer.strip_prefix("VERSION ") {
            Some(version) => Ok(version.trim_end().to_owned()),
            None => Err(Wrong::Refused(answer.trim_end().to_owned())),
        }
    }

    /// A connection is of no more use after anything but a whole answer: the caller drops it.
    async fn ask(&mut self, command: &str, whole: fn(&[u8]) -> bool) -> Result<String, Wrong> {
        let deadline = self.deadline;
        timeout(deadline, self.exchange(command, whole))
            .await
            .map_err(|_| Wrong::Late)?
            .map_err(Wrong::Broken)
    }

    async fn exchange(&mut self, command: &str, whole: fn(&[u8]) -> bool) -> io::Result<String> {
        self.buffer.clear();
        self.stream.write_all(command.as_bytes()).await?;
        while !whole(&self.buffer) {
            if self.buffer.len() > LONGEST {
                return Err(io::Error::other("an answer without an end"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        String::from_utf8(self.buffer.clone()).map_err(io::Error::other)
    }
}

fn ends_a_line(answer: &[u8]) -> bool {
    answer.ends_with(b"\r\n")
}

fn ends_a_get(answer: &[u8]) -> bool {
    let refused = [&b"ERROR"[..], b"CLIENT_ERROR", b"SERVER_ERROR"]
        .iter()
        .any(|word| answer.starts_with(word));
    answer == b"END\r\n"
        || (answer.starts_with(b"VALUE ") && answer.ends_with(b"\r\nEND\r\n"))
        || (refused && ends_a_line(answer))
}
