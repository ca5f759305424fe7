//! One session with one server: the text protocol on one connection, with a deadline on every
//! statement.
//!
//! No driver stands between: drivers make connections by themselves, and here each server is asked
//! for its own view through whatever reaches its pod, a port-forward if need be.
//!
//! # Source
//! "Clients & Utilities / Protocol" of MariaDB's documentation: connection phase of version 10,
//! `mysql_native_password`, `COM_QUERY` and its result sets.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::ServerError;
use crate::databases::session::{Slot, Way};
use crate::databases::tls::Secured;
use crate::dial::{Dial, Stream, Target};

/// Version of the connection phase, the first byte of a greeting.
const VERSION: u8 = 10;

/// What this client can: long passwords and flags, the protocol of 4.1, transactions, passwords as
/// hashes, named plugins.
const CAPABILITIES: u32 = 0x1 | 0x4 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;

/// The session goes on by TLS.
const BY_TLS: u32 = 0x800;

/// `utf8mb4_general_ci`.
const CHARSET: u8 = 45;

/// The only way of login that is spoken; it sends no password.
const NATIVE: &str = "mysql_native_password";

/// Bytes of a packet's header.
const HEADER: usize = 4;

/// A packet of this length is continued by the next one; no answer here is nearly so long.
const LONGEST: usize = 0xff_ffff;

const COM_QUERY: u8 = 3;

/// Code of a login that was refused.
const ACCESS_DENIED: u16 = 1045;

/// How a session says who it is.
#[derive(Clone, Default)]
pub struct Credentials {
    /// User.
    pub user: String,
    /// Password; never printed.
    pub password: String,
    /// TLS; `None`: plain text.
    pub tls: Option<Secured>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("password", &"***")
            .field("tls", &self.tls)
            .finish()
    }
}

/// A result set; empty for a statement that returns none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

/// One row, by names: which columns a server shows, and in which order, differs between versions.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Option<String>],
}

impl Rows {
    /// Rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row {
            columns: &self.columns,
            values,
        })
    }

    /// The first one.
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }
}

impl<'a> Row<'a> {
    /// The value of a column; `None` for NULL and for a column that is not there.
    pub fn get(&self, column: &str) -> Option<&'a str> {
        let at = self
            .columns
            .iter()
            .position(|name| name.eq_ignore_ascii_case(column))?;
        self.values.get(at)?.as_deref()
    }

    /// The same, empty for nothing.
    pub fn text(&self, column: &str) -> &'a str {
        self.get(column).unwrap_or_default()
    }

    /// The same as a number.
    pub fn number(&self, column: &str) -> Option<u64> {
        self.get(column)?.parse().ok()
    }

    /// The same as a switch: `ON`, `YES` or 1.
    pub fn is(&self, column: &str) -> bool {
        ["1", "ON", "YES"]
            .iter()
            .any(|word| self.text(column).eq_ignore_ascii_case(word))
    }
}

struct Open {
    stream: Box<dyn Stream>,
}

/// A session that is opened when it is first needed and again when it broke.
pub struct Session {
    way: Way,
    credentials: Credentials,
    open: Slot<Open>,
    /// The server's number of the newest session, also after it broke; 0: there was none.
    id: AtomicU64,
}

impl Session {
    /// A session that is not open yet.
    pub fn new(
        name: impl Into<String>,
        target: Target,
        dial: Arc<dyn Dial>,
        credentials: Credentials,
    ) -> Self {
        Self {
            way: Way::new(name.into(), target, dial),
            credentials,
            open: Slot::empty(),
            id: AtomicU64::new(0),
        }
    }

    /// A second session with the same server, not open yet.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            way: self.way.clone(),
            credentials: self.credentials.clone(),
            open: Slot::empty(),
            id: AtomicU64::new(0),
        }
    }

    /// Name of the server, for messages.
    pub fn name(&self) -> &str {
        &self.way.name
    }

    /// User of the session.
    pub fn user(&self) -> &str {
        &self.credentials.user
    }

    /// The server's number of the newest session, also after it broke; 0: there was none.
    pub fn id(&self) -> u64 {
        self.id.load(Ordering::SeqCst)
    }

    /// Opens the session if it is not open or broken.
    ///
    /// # Errors
    /// The server is not reached in time, or does not take the login.
    pub async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        self.open
            .fill(&self.way, deadline, |_| true, self.connect(deadline))
            .await
    }

    /// Ends the session. What it was doing on the server may go on there.
    pub async fn close(&self) {
        self.open.clear().await;
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// No session, no answer in time, or an answer that says no. After the first two the statement
    /// may or may not have been carried out.
    pub async fn run(&self, statement: &str, deadline: Duration) -> Result<Rows, ServerError> {
        let ask = async |open: &mut Open| self.exchange(open, statement).await;
        self.open.ask(&self.way, deadline, ask).await
    }

    async fn connect(&self, deadline: Duration) -> Result<Open, ServerError> {
        let stream = self.way.stream(None, deadline).await?;
        let mut open = Open { stream };
        let (_, greeting) = self.receive(&mut open).await?;
        self.refuse_error(&greeting)?;
        let Some(greeting) = Greeting::read(&greeting) else {
            return Err(self.unexpected("a greeting"));
        };
        let mut capabilities = CAPABILITIES;
        let mut number = 1;
        if let Some(tls) = &self.credentials.tls {
            if !greeting.speaks_tls {
                return Err(self.way.disconnected("the server speaks no TLS"));
            }
            // The beginning of a login, and then the handshake.
            capabilities |= BY_TLS;
            self.send(&mut open, number, &introduction(capabilities))
                .await?;
            number += 1;
            open = Open {
                stream: self.way.secure(tls, open.stream).await?,
            };
        }
        let user = &self.credentials.user;
        let proof = proof(&self.credentials.password, &greeting.salt);
        let mut login = introduction(capabilities);
        login.extend(user.as_bytes());
        login.push(0);
        login.push(u8::try_from(proof.len()).unwrap_or(0));
        login.extend(&proof);
        login.extend(NATIVE.as_bytes());
        login.push(0);
        self.send(&mut open, number, &login).await?;
        let (number, mut answer) = self.receive(&mut open).await?;
        if answer.first() == Some(&0xfe) {
            let (plugin, rest) = until_zero(&answer[1..]).unwrap_or_default();
            if plugin != NATIVE.as_bytes() {
                let plugin = String::from_utf8_lossy(plugin);
                return Err(self.way.refused(
                    ACCESS_DENIED,
                    format!("{user} logs in by {plugin}; {NATIVE} is spoken here"),
                ));
            }
            let salt = rest.strip_suffix(&[0]).unwrap_or(rest);
            let proof = self::proof(&self.credentials.password, salt);
            self.send(&mut open, number.wrapping_add(1), &proof).await?;
            (_, answer) = self.receive(&mut open).await?;
        }
        self.refuse_error(&answer)?;
        if answer.first() != Some(&0) {
            return Err(self.unexpected("an answer to the login"));
        }
        self.id.store(greeting.session, Ordering::SeqCst);
        Ok(open)
    }

    async fn exchange(&self, open: &mut Open, statement: &str) -> Result<Rows, ServerError> {
        let mut command = vec![COM_QUERY];
        command.extend(statement.as_bytes());
        self.send(open, 0, &command).await?;
        let (_, first) = self.receive(open).await?;
        self.refuse_error(&first)?;
        if first.first() == Some(&0) {
            return Ok(Rows::default());
        }
        let unexpected = || self.unexpected("a result set");
        let (count, _) = length(&first).ok_or_else(unexpected)?;
        let mut rows = Rows::default();
        for _ in 0..count {
            let (_, definition) = self.receive(open).await?;
            // Catalogue, schema, table, table's own name, name.
            let mut rest = &definition[..];
            let mut name = None;
            for _ in 0..5 {
                (name, rest) = value(rest).ok_or_else(unexpected)?;
            }
            rows.columns.push(name.unwrap_or_default());
        }
        let (_, end) = self.receive(open).await?;
        if !is_end(&end) {
            return Err(unexpected());
        }
        loop {
            let (_, packet) = self.receive(open).await?;
            if is_end(&packet) {
                return Ok(rows);
            }
            self.refuse_error(&packet)?;
            let mut rest = &packet[..];
            let mut row = Vec::with_capacity(rows.columns.len());
            for _ in 0..rows.columns.len() {
                let (one, after) = value(rest).ok_or_else(unexpected)?;
                row.push(one);
                rest = after;
            }
            rows.rows.push(row);
        }
    }

    async fn send(&self, open: &mut Open, number: u8, payload: &[u8]) -> Result<(), ServerError> {
        let broken = |e: std::io::Error| self.way.disconnected(&e.to_string());
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if payload.len() >= LONGEST {
            return Err(self.unexpected("a statement that is too long"));
        }
        let mut packet = length.to_le_bytes()[..3].to_vec();
        packet.push(number);
        packet.extend(payload);
        open.stream.write_all(&packet).await.map_err(broken)?;
        open.stream.flush().await.map_err(broken)
    }

    async fn receive(&self, open: &mut Open) -> Result<(u8, Vec<u8>), ServerError> {
        let broken = |e: std::io::Error| self.way.disconnected(&e.to_string());
        let mut header = [0; HEADER];
        open.stream.read_exact(&mut header).await.map_err(broken)?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let length = usize::try_from(length).unwrap_or(LONGEST);
        if length >= LONGEST {
            return Err(self.unexpected("an answer in several packets"));
        }
        let mut payload = vec![0; length];
        open.stream.read_exact(&mut payload).await.map_err(broken)?;
        Ok((header[3], payload))
    }

    fn refuse_error(&self, packet: &[u8]) -> Result<(), ServerError> {
        let [0xff, low, high, rest @ ..] = packet else {
            return Ok(());
        };
        // `#` and five characters of SQLSTATE, which a refused connection has not.
        let text = match rest {
            [b'#', _, _, _, _, _, text @ ..] => text,
            text => text,
        };
        Err(self.way.refused(
            u16::from_le_bytes([*low, *high]),
            String::from_utf8_lossy(text).into_owned(),
        ))
    }

    /// An answer that has another shape than documented.
    pub fn unexpected(&self, what: &str) -> ServerError {
        self.way.unexpected(what)
    }
}

/// What every login begins with.
fn introduction(capabilities: u32) -> Vec<u8> {
    let mut words = capabilities.to_le_bytes().to_vec();
    words.extend(u32::try_from(LONGEST).unwrap_or(u32::MAX).to_le_bytes());
    words.push(CHARSET);
    words.extend([0; 23]);
    words
}

/// What a server says first.
struct Greeting {
    session: u64,
    speaks_tls: bool,
    salt: Vec<u8>,
}

impl Greeting {
    fn read(packet: &[u8]) -> Option<Self> {
        let (&version, rest) = packet.split_first()?;
        if version != VERSION {
            return None;
        }
        let (_, rest) = until_zero(rest)?;
        let session = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
        let mut salt = rest.get(4..12)?.to_vec();
        let can = u16::from_le_bytes(rest.get(13..15)?.try_into().ok()?);
        // A zero, capabilities, character set, status, capabilities, length of the salt, ten bytes.
        let second = rest.get(31..)?;
        salt.extend(second.get(..12)?);
        Some(Self {
            session: u64::from(session),
            speaks_tls: u32::from(can) & BY_TLS != 0,
            salt,
        })
    }
}

/// `SHA1(password) XOR SHA1(salt, SHA1(SHA1(password)))`; nothing for no password.
fn proof(password: &str, salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let sha1 = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let once = sha1(password.as_bytes());
    let twice = sha1(once.as_ref());
    let mut salted = salt.to_vec();
    salted.extend(twice.as_ref());
    let mask = sha1(&salted);
    once.as_ref()
        .iter()
        .zip(mask.as_ref())
        .map(|(a, b)| a ^ b)
        .collect()
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// A number whose first byte says how long it is, and what follows.
fn length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let more = match first {
        0..=0xfa => return Some((u64::from(first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let mut number = [0; 8];
    number[..more].copy_from_slice(rest.get(..more)?);
    Some((u64::from_le_bytes(number), &rest[more..]))
}

/// A text with its length before it, or NULL; and what follows.
fn value(bytes: &[u8]) -> Option<(Option<String>, &[u8])> {
    if bytes.first() == Some(&0xfb) {
        return Some((None, &bytes[1..]));
    }
    let (length, rest) = length(bytes)?;
    let length = usize::try_from(length).ok()?;
    let text = rest.get(..length)?;
    Some((
        Some(String::from_utf8_lossy(text).into_owned()),
        &rest[length..],
    ))
}

/// A text as a literal.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::{Greeting, Row, length, proof, quoted, value};

    #[test]
    fn a_greeting_has_the_salt_in_two_parts() {
        let mut packet = vec![10];
        packet.extend(b"5.5.5-10.11.19-MariaDB\0");
        packet.extend(7_u32.to_le_bytes());
        packet.extend(b"abcdefgh\0");
        packet.extend([0; 7]);
        packet.push(21);
        packet.extend([0; 10]);
        packet.extend(b"ijklmnopqrst\0mysql_native_password\0");
        let greeting = Greeting::read(&packet).unwrap();
        assert_eq!(greeting.session, 7);
        assert_eq!(greeting.salt, b"abcdefghijklmnopqrst");
        assert!(Greeting::read(&packet[..40]).is_none());
        assert!(Greeting::read(&[9, 0]).is_none());
    }

    #[test]
    fn a_proof_of_no_password_is_nothing_and_hides_any_other() {
        assert_eq!(proof("", b"salt"), b"");
        let one = proof("secret", b"12345678901234567890");
        assert_eq!(one.len(), 20);
        assert_ne!(one, proof("secret", b"12345678901234567891"));
    }

    #[test]
    fn values_are_read_as_servers_write_them() {
        assert_eq!(length(&[5]).unwrap().0, 5);
        assert_eq!(length(&[0xfc, 1, 1]).unwrap().0, 257);
        assert_eq!(length(&[0xfd, 0, 0, 1]).unwrap().0, 65_536);
        assert!(length(&[0xfc, 1]).is_none());
        let (text, rest) = value(&[2, b'O', b'N', 0xfb]).unwrap();
        assert_eq!(text.as_deref(), Some("ON"));
        assert_eq!(value(rest).unwrap().0, None);
        assert!(value(&[9, b'x']).is_none());
        assert_eq!(quoted("it's \\"), "'it''s \\\\'");
    }

    #[test]
    fn columns_are_found_by_name() {
        let columns = ["Slave_IO_Running".to_owned(), "n".to_owned()];
        let values = [Some("Yes".to_owned()), Some("7".to_owned())];
        let row = Row {
            columns: &columns,
            values: &values,
        };
        assert!(row.is("slave_io_running"));
        assert_eq!((row.number("n"), row.get("other")), (Some(7), None));
    }
}
