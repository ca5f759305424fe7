//! MariaDB sets, by a driver that applications use, one connection for each writer.
//!
//! A write is an INSERT of a key of its own, committed by itself. Nothing is tried again: the table has
//! no unique key of the probe's, so that a proxy that repeats a statement leaves two rows to be found.
//! A server that is read-only (1290) is left for a new connection, as drivers do that are told to reject
//! such servers.

mod address;
mod examine;

use std::time::Duration;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use tokio::sync::OnceCell;
use tokio::time::timeout;

pub use address::{Address, AddressError};

use crate::accounting::ledger::{Outcome, Sequence};
use crate::config::RunConfig;
use crate::judge::MemberEvidence;
use crate::run::StartError;
use crate::secret::Password;
use crate::system::{Client, Examination, Prepared, RunNames, System, Trouble, WriteKey};

/// Largest packet that is sent or taken: told, so that no connection asks the server for it first.
const PACKET: usize = 4 << 20;

/// Idle time of a connection, in seconds; told for the same reason. It is never reached.
const IDLE_SECONDS: usize = 3_600;

/// `ER_OPTION_PREVENTS_STATEMENT`: the server is read-only.
const READ_ONLY: u16 = 1290;

/// A wrong password, a missing right, an unknown database: no waiting helps.
const HOPELESS: [u16; 4] = [1044, 1045, 1049, 1142];

/// Connection killed, query interrupted, server going away: the write may have been carried out.
const UNKNOWN: [u16; 4] = [1927, 1317, 1053, 1969];

/// Tables of the writes and of the runs. The first has no unique key beside a number that the server
/// gives.
const CREATE: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS ferriswheel_probe ( \
         id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, \
         run VARCHAR(64) CHARACTER SET ascii NOT NULL, \
         writer INT NOT NULL, \
         seq BIGINT NOT NULL, \
         KEY by_key (run, writer, seq)) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS ferriswheel_probe_runs ( \
         run VARCHAR(64) CHARACTER SET ascii PRIMARY KEY, \
         identity VARCHAR(64) CHARACTER SET ascii NOT NULL) ENGINE = InnoDB",
];

/// A set behind an address of its clients.
pub(crate) struct Mariadb {
    address: Address,
    read_address: Address,
    password: Option<Password>,
    connect_deadline: Duration,
    deadline: Duration,
    prepared: OnceCell<()>,
}

impl Mariadb {
    /// Takes the addresses apart.
    pub(crate) fn new(config: &RunConfig, password: Option<&Password>) -> Result<Self, StartError> {
        let parse = |text: &str, what| {
            Address::parse(text).map_err(|source| StartError::Address {
                what,
                source: Box::new(source),
            })
        };
        let address = parse(&config.dsn, "read the clients' address")?;
        let read_address = match &config.read_dsn {
            Some(text) => parse(text, "read the readers' address")?,
            None => address.clone(),
        };
        Ok(Self {
            address,
            read_address,
            password: password.cloned(),
            connect_deadline: config.connect_deadline(),
            deadline: config.statement_deadline(),
            prepared: OnceCell::new(),
        })
    }

    /// A connection to one server.
    async fn open(&self, address: &Address, host: &str, port: u16) -> Result<Conn, Trouble> {
        let options = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(address.user.clone())
            .pass(
                self.password
                    .as_ref()
                    .map(|password| password.reveal().to_owned()),
            )
            .db_name(Some(&address.database))
            .prefer_socket(false)
            .max_allowed_packet(Some(PACKET))
            .wait_timeout(Some(IDLE_SECONDS))
            .stmt_cache_size(0)
            .tcp_nodelay(true);
        within(self.connect_deadline, "connect", Conn::new(options))
            .await
            .map_err(|mut trouble| {
                // Nothing was written yet.
                trouble.outcome = Outcome::Refused;
                trouble
            })
    }

    /// A connection as clients of this address get it.
    async fn through(&self, address: &Address, to_write: bool) -> Result<Conn, Trouble> {
        if let [(host, port)] = &address.hosts[..] {
            return self.open(address, host, *port).await;
        }
        let mut last = None;
        for (host, port) in &address.hosts {
            match self.open(address, host, *port).await {
                Ok(mut open) => {
                    if !to_write || !is_read_only(&mut open, self.deadline).await? {
                        return Ok(open);
                    }
                }
                Err(trouble) => last = Some(trouble),
            }
        }
        Err(last.unwrap_or_else(|| Trouble {
            kind: "no server takes writes".to_owned(),
            detail: "every server of the address is read-only".to_owned(),
            outcome: Outcome::Refused,
            broken: true,
            hopeless: false,
        }))
    }
}

async fn is_read_only(open: &mut Conn, deadline: Duration) -> Result<bool, Trouble> {
    let question = open.query_first::<u8, _>("SELECT @@global.read_only");
    let answer = within(deadline, "statement", question).await?;
    Ok(answer == Some(1))
}

#[async_trait]
impl System for Mariadb {
    async fn prepare(&self, names: RunNames<'_>) -> Result<Prepared, Trouble> {
        let mut open = self.through(&self.address, true).await?;
        self.prepared
            .get_or_try_init(async || {
                for statement in CREATE {
                    within(self.deadline, "statement", open.query_drop(statement)).await?;
                }
                Ok::<_, Trouble>(())
            })
            .await?;
        let (identity, run) = (quoted(names.identity), quoted(names.run));
        let enter = format!(
            "INSERT IGNORE INTO ferriswheel_probe_runs (run, identity) VALUES ({run}, {identity})"
        );
        within(self.deadline, "statement", open.query_drop(enter)).await?;
        let count = format!(
            "SELECT COUNT(*) FROM ferriswheel_probe_runs WHERE identity = {identity} AND run <> {run}"
        );
        let earlier = open.query_first::<u64, _>(count);
        Ok(Prepared {
            earlier_probes: within(self.deadline, "statement", earlier)
                .await?
                .unwrap_or(0),
            shards: Vec::new(),
        })
    }

    async fn connect(&self) -> Result<Box<dyn Client>, Trouble> {
        Ok(Box::new(Application {
            open: self.through(&self.address, true).await?,
            deadline: self.deadline,
        }))
    }

    async fn connect_reader(&self) -> Result<Box<dyn Client>, Trouble> {
        Ok(Box::new(Application {
            open: self.through(&self.read_address, false).await?,
            deadline: self.deadline,
        }))
    }

    async fn examine(&self, what: &Examination<'_>) -> Vec<MemberEvidence> {
        examine::Visit {
            mariadb: self,
            what,
        }
        .run()
        .await
    }

    async fn drop_everything(&self) -> Result<(), Trouble> {
        let mut open = self.through(&self.address, true).await?;
        let drop = "DROP TABLE IF EXISTS ferriswheel_probe, ferriswheel_probe_runs";
        within(DROP, "statement", open.query_drop(drop)).await
    }
}

/// Removing what a run wrote. A minute: a table of any size goes in seconds.
const DROP: Duration = Duration::from_secs(60);

/// What an application's thread holds.
struct Application {
    open: Conn,
    deadline: Duration,
}

#[async_trait]
impl Client for Application {
    async fn write(&mut self, key: WriteKey<'_>) -> Result<(), Trouble> {
        let statement = format!(
            "INSERT INTO ferriswheel_probe (run, writer, seq) VALUES ({}, {}, {})",
            quoted(key.run),
            key.writer,
            key.seq
        );
        within(self.deadline, "statement", self.open.query_drop(statement)).await
    }

    async fn highest(
        &mut self,
        run: &str,
        writer: usize,
        _: Option<Sequence>,
    ) -> Result<Option<Sequence>, Trouble> {
        let statement = format!(
            "SELECT MAX(seq) FROM ferriswheel_probe WHERE run = {} AND writer = {writer}",
            quoted(run)
        );
        let found = self.open.query_first::<Option<Sequence>, _>(statement);
        Ok(within(self.deadline, "statement", found).await?.flatten())
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// A name of ours as a literal.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "").replace('\'', "''"))
}

async fn within<T>(
    deadline: Duration,
    name: &str,
    what: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    match timeout(deadline, what).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(trouble(&error)),
        Err(_) => Err(Trouble::deadline(name, deadline)),
    }
}

/// What the driver's error says about the write.
fn trouble(error: &Error) -> Trouble {
    let (kind, code) = match error {
        Error::Server(server) => (server.code.to_string(), Some(server.code)),
        Error::Io(_) => ("connection".to_owned(), None),
        Error::Driver(_) => ("driver".to_owned(), None),
        Error::Url(_) | Error::Other(_) => ("client".to_owned(), None),
    };
    // A server that answers no has not carried it out, unless it was interrupted in the middle.
    let refused = code.is_some_and(|code| !UNKNOWN.contains(&code));
    Trouble {
        kind,
        detail: error.to_string(),
        outcome: if refused {
            Outcome::Refused
        } else {
            Outcome::Indeterminate
        },
        broken: code.is_none_or(|code| code == READ_ONLY || UNKNOWN.contains(&code)),
        hopeless: code.is_some_and(|code| HOPELESS.contains(&code)),
    }
}

#[cfg(test)]
mod tests {
    use mysql_async::{Error, ServerError};

    use super::{Outcome, trouble};

    #[test]
    fn an_answer_says_whether_the_write_may_be_there() {
        let said = |code| {
            trouble(&Error::Server(ServerError {
                code,
                message: String::new(),
                state: String::new(),
            }))
        };
        let read_only = said(1290);
        assert!(read_only.broken && read_only.outcome == Outcome::Refused);
        let killed = said(1927);
        assert!(killed.broken && killed.outcome == Outcome::Indeterminate);
        let deadlock = said(1213);
        assert!(!deadlock.broken && deadlock.outcome == Outcome::Refused);
        assert!(said(1045).hopeless && !deadlock.hopeless);
    }
}
