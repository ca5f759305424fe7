//! [`Pooler`] over PgBouncer's console, which speaks the simple protocol only.

use std::time::Duration;

use async_trait::async_trait;

use super::pooler::{Entry, Pooler};
use super::server::ServerError;
use super::session::Session;

/// A PgBouncer process behind two console sessions.
pub struct Console {
    first: Session,
    second: Session,
}

impl Console {
    /// Both sessions must lead to the same process.
    pub fn new(first: Session, second: Session) -> Self {
        Self { first, second }
    }
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
        match self.first.run("PAUSE", deadline).await {
            Ok(_) => Ok(()),
            Err(e) if says(&e, "already suspended/paused") => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn resume(&self, deadline: Duration) -> Result<(), ServerError> {
        match self.second.run("RESUME", deadline).await {
            Ok(_) => Ok(()),
            Err(e) if says(&e, "not paused") => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn reload(&self, deadline: Duration) -> Result<(), ServerError> {
        self.second.run("RELOAD", deadline).await.map(|_| ())
    }

    async fn entries(&self, deadline: Duration) -> Result<Vec<Entry>, ServerError> {
        entries(&self.second, deadline).await
    }
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
