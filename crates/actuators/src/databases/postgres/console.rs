//! [`Pooler`] over PgBouncer's console, which speaks the simple protocol only.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::pooler::{Entry, Pooler};
use super::server::ServerError;
use super::session::Session;

/// A PgBouncer process behind two console sessions.
///
/// Entries are paused and resumed by name: clients of other databases go on, and `SHOW DATABASES`
/// shows that they are held. A PAUSE without a name is shown nowhere in PgBouncer 1.18, so that
/// nobody who comes later could tell that clients wait.
pub struct Console {
    first: Session,
    second: Session,
    entries: Vec<String>,
}

impl Console {
    /// Both sessions must lead to the same process, which has the entries. Without entries all of
    /// its clients are meant.
    pub fn new(first: Session, second: Session, entries: Vec<String>) -> Self {
        Self {
            first,
            second,
            entries,
        }
    }

    fn each(&self, verb: &str) -> Vec<String> {
        if self.entries.is_empty() {
            return vec![verb.to_owned()];
        }
        self.entries
            .iter()
            .map(|entry| format!("{verb} {}", identifier(entry)))
            .collect()
    }
}

/// RESUME for one entry. "Not paused" is a success.
pub async fn resume(session: &Session, entry: &str, deadline: Duration) -> Result<(), ServerError> {
    run_resume(session, &format!("RESUME {}", identifier(entry)), deadline).await
}

async fn run_resume(
    session: &Session,
    command: &str,
    deadline: Duration,
) -> Result<(), ServerError> {
    match session.run(command, deadline).await {
        Ok(_) => Ok(()),
        Err(e) if says(&e, "not paused") => Ok(()),
        Err(e) => Err(e),
    }
}

/// A name as the console reads it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[async_trait]
impl Pooler for Console {
    fn name(&self) -> &str {
        self.first.name()
    }

    async fn reconnect(&self, deadline: Duration) -> Result<(), ServerError> {
        self.first.open(deadline).await?;
        self.second.open(deadline).await?;
        self.second.run("SHOW VERSION", deadline).await.map(|_| ())
    }

    async fn pause(&self, deadline: Duration) -> Result<(), ServerError> {
        let end = Instant::now() + deadline;
        for command in self.each("PAUSE") {
            let left = end.saturating_duration_since(Instant::now());
            match self.first.run(&command, left).await {
                Ok(_) => {}
                Err(e) if says(&e, "already suspended/paused") => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    async fn resume(&self, deadline: Duration) -> Result<(), ServerError> {
        for command in self.each("RESUME") {
            run_resume(&self.second, &command, deadline).await?;
        }
        Ok(())
    }

    async fn reload(&self, deadline: Duration) -> Result<(), ServerError> {
        self.second.run("RELOAD", deadline).await.map(|_| ())
    }

    async fn kept_addresses(
        &self,
        host: &str,
        deadline: Duration,
    ) -> Result<Vec<String>, ServerError> {
        let rows = self.second.run_named("SHOW DNS_HOSTS", deadline).await?;
        Ok(kept(&rows, host))
    }

    async fn entries(&self, deadline: Duration) -> Result<Vec<Entry>, ServerError> {
        entries(&self.second, deadline).await
    }
}

/// The addresses of a host name in `SHOW DNS_HOSTS`, unless they have expired.
///
/// # Source
/// PgBouncer's `dnslookup.c`: a name that is done is used until its time is over, then asked anew.
fn kept(rows: &[BTreeMap<String, Option<String>>], host: &str) -> Vec<String> {
    let get = |row: &BTreeMap<String, Option<String>>, name: &str| -> Option<String> {
        row.get(name).cloned().flatten()
    };
    rows.iter()
        .filter(|row| get(row, "hostname").as_deref() == Some(host))
        .filter(|row| {
            get(row, "ttl")
                .and_then(|ttl| ttl.parse::<i64>().ok())
                .is_none_or(|ttl| ttl > 0)
        })
        .filter_map(|row| get(row, "addrs"))
        .flat_map(|addresses| {
            addresses
                .split(',')
                .map(|address| address.trim().to_owned())
                .filter(|address| !address.is_empty())
                .collect::<Vec<_>>()
        })
        // Some versions write the port that was asked for, which is none.
        .map(|address| match address.strip_suffix(":0") {
            Some(bare) => bare.to_owned(),
            None => address,
        })
        .collect()
}

/// `SHOW DATABASES`, without the console's own entry.
///
/// # Source
/// PgBouncer's columns differ between versions, so they are found by name. `pool_mode` is empty
/// where an entry takes the default: then `SHOW CONFIG` has it.
pub async fn entries(session: &Session, deadline: Duration) -> Result<Vec<Entry>, ServerError> {
    let default = config(session, "pool_mode", deadline)
        .await?
        .unwrap_or_default();
    let rows = session.run_named("SHOW DATABASES", deadline).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let get = |name: &str| row.get(name).cloned().flatten();
            let entry = Entry {
                name: get("name")?,
                host: get("host"),
                port: get("port")?.parse().ok()?,
                dbname: get("database")?,
                pool_mode: get("pool_mode").unwrap_or_else(|| default.clone()),
                paused: get("paused").as_deref() == Some("1"),
            };
            (entry.name != "pgbouncer").then_some(entry)
        })
        .collect())
}

/// One setting of the running process.
pub async fn config(
    session: &Session,
    key: &str,
    deadline: Duration,
) -> Result<Option<String>, ServerError> {
    let rows = session.run_named("SHOW CONFIG", deadline).await?;
    Ok(rows
        .into_iter()
        .find(|row| row.get("key").cloned().flatten().as_deref() == Some(key))
        .and_then(|row| row.get("value").cloned().flatten()))
}

fn says(error: &ServerError, text: &str) -> bool {
    matches!(error, ServerError::Sql { message, .. } if message.contains(text))
}
