//! One session with one server: OP_MSG on one connection, with a deadline on every command.
//!
//! No driver stands between: a driver looks for the primary by itself, keeps connections and retries,
//! and here each server is asked for its own view, once, through a port-forward if need be.
//!
//! # Source
//! The MongoDB wire protocol (OP_MSG, opcode 2013) and its authentication specification.

use std::sync::Arc;
use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::scram::Login;
use super::server::ServerError;
pub use crate::databases::session::Credentials;
use crate::databases::session::{Slot, Way};
use crate::dial::{Dial, Stream, Target};

/// Opcode of OP_MSG.
const OP_MSG: i32 = 2013;

/// Bytes of a message's header.
const HEADER: usize = 16;

/// Largest answer that is read.
///
/// # Source
/// `maxMessageSizeBytes` of every server.
const LARGEST: usize = 48_000_000;

struct Open {
    stream: Box<dyn Stream>,
    next: i32,
}

/// A session that is opened when it is first needed and again when it broke.
pub struct Session {
    way: Way,
    credentials: Credentials,
    open: Slot<Open>,
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
        }
    }

    /// Name of the server, for messages.
    pub fn name(&self) -> &str {
        &self.way.name
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

    /// Runs a command on a database and returns the server's whole answer.
    ///
    /// # Errors
    /// No session, no answer in time, or an answer that says no. After the first two the command may
    /// or may not have been carried out.
    pub async fn run(
        &self,
        database: &str,
        command: Document,
        deadline: Duration,
    ) -> Result<Document, ServerError> {
        let ask = async |open: &mut Open| self.exchange(open, database, command).await;
        let answer = self.open.ask(&self.way, deadline, ask).await?;
        self.judge(answer)
    }

    async fn connect(&self, deadline: Duration) -> Result<Open, ServerError> {
        let tls = self.credentials.tls.as_ref();
        let stream = self.way.stream(tls, deadline).await?;
        let mut open = Open { stream, next: 1 };
        if let (Some(user), Some(password)) = (&self.credentials.user, &self.credentials.password) {
            self.log_in(&mut open, user, password).await?;
        }
        Ok(open)
    }

    async fn log_in(&self, open: &mut Open, user: &str, password: &str) -> Result<(), ServerError> {
        let refused = |message: String| self.way.refused(AUTHENTICATION_FAILED, message);
        let login = Login::new(user, uuid::Uuid::new_v4().simple().to_string());
        let start = doc! {
            "saslStart": 1,
            "mechanism": "SCRAM-SHA-256",
            "payload": bytes(&login.first()),
            "options": { "skipEmptyExchange": true },
        };
        let answer = self.exchange(open, "admin", start).await?;
        let answer = self.judge(answer)?;
        let (second, expected) = login.second(&payload(&answer), password).map_err(refused)?;
        let go_on = |text: &str| {
            doc! {
                "saslContinue": 1,
                "conversationId": answer.get("conversationId").cloned().unwrap_or(Bson::Int32(1)),
                "payload": bytes(text),
            }
        };
        let last = self.exchange(open, "admin", go_on(&second)).await?;
        let last = self.judge(last)?;
        expected.check(&payload(&last)).map_err(refused)?;
        if !last.get_bool("done").unwrap_or(false) {
            let done = self.exchange(open, "admin", go_on("")).await?;
            self.judge(done)?;
        }
        Ok(())
    }

    async fn exchange(
        &self,
        open: &mut Open,
        database: &str,
        mut command: Document,
    ) -> Result<Document, ServerError> {
        command.insert("$db", database);
        let id = open.next;
        open.next = open.next.wrapping_add(1).max(1);
        let body = command
            .to_vec()
            .map_err(|e| self.unexpected(&format!("a command that cannot be written: {e}")))?;
        let length = HEADER + 5 + body.len();
        let mut message = Vec::with_capacity(length);
        for word in [i32::try_from(length).unwrap_or(i32::MAX), id, 0, OP_MSG, 0] {
            message.extend(word.to_le_bytes());
        }
        message.push(0);
        message.extend(body);
        let broken = |e: std::io::Error| self.way.disconnected(&e.to_string());
        open.stream.write_all(&message).await.map_err(broken)?;
        open.stream.flush().await.map_err(broken)?;

        let mut header = [0; HEADER];
        open.stream.read_exact(&mut header).await.map_err(broken)?;
        let word = |n: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&header[n * 4..n * 4 + 4]);
            i32::from_le_bytes(bytes)
        };
        let length = usize::try_from(word(0)).unwrap_or(0);
        if word(3) != OP_MSG || word(2) != id || !(HEADER + 10..=LARGEST).contains(&length) {
            return Err(self.unexpected("an answer that is no OP_MSG to the command"));
        }
        let mut rest = vec![0; length - HEADER];
        open.stream.read_exact(&mut rest).await.map_err(broken)?;
        // Flags (no checksum was asked for), then one section of kind 0.
        match rest.get(4) {
            Some(0) => Document::from_reader(&rest[5..])
                .map_err(|e| self.unexpected(&format!("an answer that is no document: {e}"))),
            _ => Err(self.unexpected("an answer in several sections")),
        }
    }

    fn judge(&self, answer: Document) -> Result<Document, ServerError> {
        if let Some(error) = answer
            .get_document("writeConcernError")
            .ok()
            .filter(|_| number(&answer, "ok") == Some(1))
        {
            return Err(self.way.refused(
                code_of(error),
                error.get_str("errmsg").unwrap_or_default().to_owned(),
            ));
        }
        if number(&answer, "ok") == Some(1) {
            return Ok(answer);
        }
        Err(self.way.refused(
            code_of(&answer),
            answer.get_str("errmsg").unwrap_or_default().to_owned(),
        ))
    }

    /// An answer that has another shape than documented.
    pub fn unexpected(&self, what: &str) -> ServerError {
        self.way.unexpected(what)
    }
}

/// `AuthenticationFailed`.
const AUTHENTICATION_FAILED: i32 = 18;

fn code_of(error: &Document) -> i32 {
    number(error, "code")
        .and_then(|code| i32::try_from(code).ok())
        .unwrap_or(0)
}

fn bytes(text: &str) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: text.as_bytes().to_vec(),
    }
}

fn payload(answer: &Document) -> String {
    match answer.get("payload") {
        Some(Bson::Binary(binary)) => String::from_utf8_lossy(&binary.bytes).into_owned(),
        _ => String::new(),
    }
}

/// A whole number, in whichever type the server chose.
pub fn number(from: &Document, name: &str) -> Option<i64> {
    match from.get(name)? {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "servers write small whole numbers as doubles"
        )]
        Bson::Double(n) => Some(n.round() as i64),
        Bson::Boolean(is) => Some(i64::from(*is)),
        _ => None,
    }
}
