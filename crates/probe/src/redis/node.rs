//! One connection with one node, each call with a deadline, and the meaning of what can go wrong.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::accounting::ledger::Outcome;
use crate::secret::Password;
use crate::system::Trouble;
use crate::tls;

/// What carries a connection.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// How a client says who it is, and how long it waits.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// ACL user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Password>,
    /// Connections are encrypted.
    pub tls: bool,
    /// Deadline of a connect to one address.
    pub connect_deadline: Duration,
    /// Deadline of a command.
    pub deadline: Duration,
}

/// An open connection. Dropping it closes the socket.
pub(crate) struct Node {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    deadline: Duration,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What a node says to a command.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Done.
    Value(Value),
    /// Nothing was done: another node serves the slot.
    Moved(String),
    /// Nothing was done: another node serves this key for now.
    Ask(String),
}

impl Node {
    /// Connects to each address of the host in turn.
    pub(crate) async fn open(host: &str, port: u16, login: &Login) -> Result<Self, Trouble> {
        let connect = |trouble: Trouble| Trouble {
            kind: match trouble.kind.strip_prefix("connect") {
                Some(_) => trouble.kind,
                None => format!("connect: {}", trouble.kind),
            },
            detail: format!("{host}:{port}: {}", trouble.detail),
            // Nothing was sent.
            outcome: Outcome::Refused,
            ..trouble
        };
        let late = || Trouble::deadline("connect", login.connect_deadline);
        let addresses = timeout(login.connect_deadline, lookup_host((host, port)))
            .await
            .map_err(|_| connect(late()))?
            .map_err(|error| connect(io(&error)))?;
        let mut last = late();
        for address in addresses {
            match timeout(login.connect_deadline, Self::try_open(host, address, login)).await {
                Ok(Ok(node)) => return Ok(node),
                Ok(Err(trouble)) => last = trouble,
                Err(_) => last = late(),
            }
        }
        Err(connect(last))
    }

    async fn try_open(
        host: &str,
        address: std::net::SocketAddr,
        login: &Login,
    ) -> Result<Self, Trouble> {
        let stream = TcpStream::connect(address).await.map_err(|e| io(&e))?;
        stream.set_nodelay(true).map_err(|e| io(&e))?;
        let stream: Box<dyn Stream> = if login.tls {
            // The name goes into the greeting alone: nobody's certificate is held against it.
            let name = ServerName::try_from(host.to_owned())
                .unwrap_or_else(|_| ServerName::from(address.ip()));
            let secured = TlsConnector::from(tls::client()).connect(name, stream);
            Box::new(secured.await.map_err(|e| io(&e))?)
        } else {
            Box::new(stream)
        };
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(user) = &login.user {
            info = info.set_username(user);
        }
        if let Some(password) = &login.password {
            info = info.set_password(password.reveal());
        }
        // Deadlines are ours.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| trouble(&error))?;
        Ok(Self {
            connection,
            driver: tokio::spawn(driver),
            deadline: login.deadline,
        })
    }

    /// Whether the peer is known to be gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }

    /// Sends a command once and waits for its answer.
    pub(crate) async fn call(&self, words: &[&str]) -> Result<Reply, Trouble> {
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let mut connection = self.connection.clone();
        let answer = timeout(self.deadline, connection.send_packed_command(&command))
            .await
            .map_err(|_| Trouble::deadline("command", self.deadline))?;
        let error = match answer {
            Ok(Value::ServerError(error)) => RedisError::from(error),
            Ok(value) => return Ok(Reply::Value(value)),
            Err(error) => error,
        };
        // `MOVED 3999 127.0.0.1:6381`: the last word is the address.
        let to = || {
            let detail = error.detail().unwrap_or_default();
            detail.rsplit(' ').next().unwrap_or_default().to_owned()
        };
        match error.code() {
            Some("MOVED") => Ok(Reply::Moved(to())),
            Some("ASK") => Ok(Reply::Ask(to())),
            _ => Err(trouble(&error)),
        }
    }

    /// Like [`Node::call`], where a redirection is an error.
    pub(crate) async fn value(&self, words: &[&str]) -> Result<Value, Trouble> {
        match self.call(words).await? {
            Reply::Value(value) => Ok(value),
            Reply::Moved(to) | Reply::Ask(to) => Err(Trouble {
                kind: "redirected".to_owned(),
                detail: format!("{} leads to {to}", words.join(" ")),
                outcome: Outcome::Refused,
                broken: false,
                hopeless: false,
            }),
        }
    }
}

/// Codes that waiting does not change.
const HOPELESS: [&str; 3] = ["NOAUTH", "WRONGPASS", "NOPERM"];

/// An error of the server means that nothing was done; one of the connection says nothing.
fn trouble(error: &RedisError) -> Trouble {
    let answered = matches!(
        error.kind(),
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed
    );
    let code = error.code().unwrap_or(if answered { "ERR" } else { "io" });
    let detail = error.detail().unwrap_or_default();
    Trouble {
        kind: code.to_owned(),
        detail: match (answered, detail) {
            (true, detail) if !detail.is_empty() => format!("{code} {detail}"),
            _ => error.to_string(),
        },
        outcome: if answered {
            Outcome::Refused
        } else {
            Outcome::Indeterminate
        },
        broken: !answered,
        hopeless: HOPELESS.contains(&code)
            || error.kind() == ErrorKind::AuthenticationFailed
            || detail.contains("cluster support disabled"),
    }
}

fn io(error: &std::io::Error) -> Trouble {
    Trouble {
        kind: error.kind().to_string(),
        detail: error.to_string(),
        outcome: Outcome::Indeterminate,
        broken: true,
        hopeless: false,
    }
}

/// Text of a string, or a number as text.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
