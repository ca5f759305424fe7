//! MongoDB replica sets, by the official driver at its defaults: what applications have.
//!
//! A write is an upsert that adds 1 to a document of its own: one that was carried out twice leaves a
//! 2 and is found as a duplicate. Retryable writes are on, as they are by default: the driver tries
//! a write once more under the same number, and the server carries it out once. What its caller sees
//! after that is what counts. Writes wait for a majority unless the address says otherwise
//! (`w=1`).

mod address;
mod examine;

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, Credential, WriteConcern};
use tokio::sync::OnceCell;
use tokio::time::timeout;

pub use address::{Address, AddressError};

use crate::accounting::ledger::{Outcome, Sequence};
use crate::config::RunConfig;
use crate::judge::MemberEvidence;
use crate::run::StartError;
use crate::secret::Password;
use crate::system::{Client, Examination, Prepared, RunNames, System, Trouble, WriteKey};

/// Collection of the writes.
const WRITES: &str = "ferriswheel_probe";

/// Collection of the runs.
const RUNS: &str = "ferriswheel_probe_runs";

/// `AuthenticationFailed`, `Unauthorized`: no waiting helps.
const HOPELESS: [i32; 2] = [18, 13];

/// A replica set behind the addresses of its members.
pub(crate) struct Mongo {
    address: Address,
    read_address: Address,
    password: Option<Password>,
    connect_deadline: Duration,
    deadline: Duration,
    /// Applications share one client among their tasks; so do the writers.
    writers: OnceCell<mongodb::Client>,
    readers: OnceCell<mongodb::Client>,
    written: OnceCell<(String, String)>,
}

impl Mongo {
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
            writers: OnceCell::new(),
            readers: OnceCell::new(),
            written: OnceCell::new(),
        })
    }

    /// A client of the driver; connects to nobody yet.
    async fn client(
        &self,
        address: &Address,
        host: Option<&str>,
    ) -> Result<mongodb::Client, Trouble> {
        let uri = match host {
            Some(host) => address.direct(host),
            None => address.uri(),
        };
        let mut options = ClientOptions::parse(uri).await.map_err(|e| trouble(&e))?;
        if let (Some(user), Some(password)) = (&address.user, &self.password) {
            options.credential = Some(
                Credential::builder()
                    .username(user.clone())
                    .password(password.reveal().to_owned())
                    .source(Some("admin".to_owned()))
                    .build(),
            );
        }
        if options.write_concern.is_none() {
            options.write_concern = Some(WriteConcern::majority());
        }
        mongodb::Client::with_options(options).map_err(|e| trouble(&e))
    }

    async fn writing(&self) -> Result<mongodb::Database, Trouble> {
        let client = self
            .writers
            .get_or_try_init(|| self.client(&self.address, None))
            .await?;
        Ok(client.database(&self.address.database))
    }
}

#[async_trait]
impl System for Mongo {
    async fn prepare(&self, names: RunNames<'_>) -> Result<Prepared, Trouble> {
        let database = self.writing().await?;
        let runs = database.collection::<Document>(RUNS);
        let known = within(self.connect_deadline.max(self.deadline), async {
            let id = format!("{}/{}", names.identity, names.run);
            let entry = doc! { "$set": { "identity": names.identity } };
            runs.update_one(doc! { "_id": id }, entry)
                .upsert(true)
                .await?;
            runs.count_documents(doc! { "identity": names.identity })
                .await
        })
        .await?;
        let names = (names.identity.to_owned(), names.run.to_owned());
        let _ = self.written.set(names);
        Ok(Prepared {
            earlier_probes: known.saturating_sub(1),
            shards: Vec::new(),
        })
    }

    async fn connect(&self) -> Result<Box<dyn Client>, Trouble> {
        Ok(Box::new(Application {
            writes: self.writing().await?.collection(WRITES),
            deadline: self.deadline,
        }))
    }

    async fn connect_reader(&self) -> Result<Box<dyn Client>, Trouble> {
        let client = self
            .readers
            .get_or_try_init(|| self.client(&self.read_address, None))
            .await?;
        Ok(Box::new(Application {
            writes: client
                .database(&self.read_address.database)
                .collection(WRITES),
            deadline: self.deadline,
        }))
    }

    async fn examine(&self, what: &Examination<'_>) -> Vec<MemberEvidence> {
        examine::Visit { mongo: self, what }.run().await
    }

    async fn drop_everything(&self) -> Result<(), Trouble> {
        let Some((identity, run)) = self.written.get() else {
            return Ok(());
        };
        let database = self.writing().await?;
        let writes = database.collection::<Document>(WRITES);
        let runs = database.collection::<Document>(RUNS);
        within(DROP, async {
            writes.delete_many(of_run(run)).await?;
            runs.delete_many(doc! { "identity": identity }).await
        })
        .await
        .map(drop)
    }
}

/// Removing what a run wrote. A minute: a million documents go in half of it.
const DROP: Duration = Duration::from_secs(60);

/// What an application's task holds.
struct Application {
    writes: mongodb::Collection<Document>,
    deadline: Duration,
}

#[async_trait]
impl Client for Application {
    async fn write(&mut self, key: WriteKey<'_>) -> Result<(), Trouble> {
        let id = id_of(key.run, key.writer, key.seq);
        let write = self
            .writes
            .update_one(doc! { "_id": id }, doc! { "$inc": { "n": 1_i64 } })
            .upsert(true);
        within(self.deadline, async { write.await }).await.map(drop)
    }

    async fn highest(
        &mut self,
        run: &str,
        writer: usize,
        promised: Option<Sequence>,
    ) -> Result<Option<Sequence>, Trouble> {
        let Some(promised) = promised else {
            return Ok(None);
        };
        let found = self
            .writes
            .find_one(doc! { "_id": id_of(run, writer, promised) });
        let found = within(self.deadline, async { found.await }).await?;
        Ok(found.map(|_| promised))
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// `RUN/WRITER/SEQUENCE`, padded, so that the order of the text is the order of the numbers.
fn id_of(run: &str, writer: usize, seq: Sequence) -> String {
    format!("{run}/{writer:04}/{seq:012}")
}

/// Writer and sequence of a document; what is no key of ours was never sent.
fn key_of(id: &str) -> (i64, i64) {
    let mut parts = id.rsplit('/');
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    match (number(), number()) {
        (Some(seq), Some(writer)) => (writer, seq),
        _ => (-1, -1),
    }
}

/// All documents of a run. `0` follows `/`.
fn of_run(run: &str) -> Document {
    doc! { "_id": { "$gte": format!("{run}/"), "$lt": format!("{run}0") } }
}

async fn within<T>(
    deadline: Duration,
    what: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    match timeout(deadline, what).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(trouble(&error)),
        Err(_) => Err(Trouble {
            // The driver keeps its connections; the next command is another one.
            broken: false,
            ..Trouble::deadline("statement", deadline)
        }),
    }
}

/// What the driver's error says about the write.
fn trouble(error: &Error) -> Trouble {
    let kind = error.kind.as_ref();
    let code = match kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(mongodb::error::WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(mongodb::error::WriteFailure::WriteConcernError(concern)) => {
            Some(concern.code)
        }
        _ => None,
    };
    // Only what surely never left, or was surely rejected, is no write. A write that was tried again
    // may have been carried out by the first try, and one that too few members have may stay.
    let refused = match kind {
        ErrorKind::ServerSelection { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Write(mongodb::error::WriteFailure::WriteError(_)) => true,
        ErrorKind::Command(_) => !error.contains_label(RETRYABLE),
        _ => false,
    };
    let mut name = match kind {
        ErrorKind::ServerSelection { .. } => "server selection".to_owned(),
        ErrorKind::Authentication { .. } => "authentication".to_owned(),
        ErrorKind::Io(_) => "connection".to_owned(),
        ErrorKind::ConnectionPoolCleared { .. } => "connection pool cleared".to_owned(),
        ErrorKind::Write(mongodb::error::WriteFailure::WriteConcernError(_)) => {
            "write concern".to_owned()
        }
        _ => "command".to_owned(),
    };
    if let Some(code) = code {
        // Writing into a String cannot fail.
        let _ = write!(name, " {code}");
    }
    Trouble {
        kind: name,
        detail: error.to_string(),
        outcome: if refused {
            Outcome::Refused
        } else {
            Outcome::Indeterminate
        },
        broken: false,
        hopeless: matches!(
            kind,
            ErrorKind::Authentication { .. } | ErrorKind::InvalidArgument { .. }
        ) || code.is_some_and(|code| HOPELESS.contains(&code)),
    }
}

/// Label of an error that the driver answers with another try.
const RETRYABLE: &str = "RetryableWriteError";

#[cfg(test)]
mod tests {
    use super::{id_of, key_of};

    #[test]
    fn keys_are_read_back_and_ordered() {
        assert_eq!(key_of(&id_of("a-run/of", 3, 1_234)), (3, 1_234));
        assert!(id_of("r", 1, 9) < id_of("r", 1, 10));
        assert!(id_of("r", 1, 999) < id_of("r", 2, 0));
        assert_eq!(key_of("something else"), (-1, -1));
    }
}
