//! A journal in one SQLite file: write-ahead log, every append synced.
//!
//! Each row carries the digest of its content and of the row before, so that a row that was
//! changed or lost in the middle is found. SQLite itself drops a transaction that a crash tore; a
//! last row whose digest does not fit is treated the same way.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ferriswheel_plan::ids::PlanId;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use super::memory::fence;
use super::{AppendError, Journal, ReadError};
use crate::record::{Entry, Record};

/// Format of the file, in `PRAGMA user_version`.
const FORMAT: u32 = 1;

/// Another process holds the file for one append, a millisecond or a slow disk's flush.
const BUSY: Duration = Duration::from_secs(5);

/// The table and the format in one transaction: a crash in between leaves an empty file.
const CREATE: &str = "BEGIN IMMEDIATE; \
    CREATE TABLE IF NOT EXISTS record (\
      seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, driving INTEGER NOT NULL, \
      body TEXT NOT NULL, digest TEXT NOT NULL) STRICT; \
    PRAGMA user_version = 1; \
    COMMIT;";

/// A journal file.
pub struct SqliteJournal {
    connection: Mutex<Connection>,
}

impl SqliteJournal {
    /// Opens a journal, making an empty one if there is none, and checks every record.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let connection = Connection::open(path).map_err(store)?;
        connection.busy_timeout(BUSY).map_err(store)?;
        let found: u32 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(store)?;
        if found > FORMAT {
            return Err(ReadError::TooNew {
                found,
                known: FORMAT,
            });
        }
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .map_err(store)?;
        if found == 0 {
            connection.execute_batch(CREATE).map_err(store)?;
        }
        let journal = Self {
            connection: Mutex::new(connection),
        };
        journal.check()?;
        Ok(journal)
    }

    /// Finds damage; removes a last record that was not written whole.
    fn check(&self) -> Result<(), ReadError> {
        let connection = self.lock();
        let rows = rows(&connection, 0)?;
        let mut previous = String::new();
        let last = rows.len();
        for (at, row) in rows.iter().enumerate() {
            let wanted = u64::try_from(at).unwrap_or(u64::MAX) + 1;
            let why = if row.seq != wanted {
                Some(format!("record {wanted} is missing"))
            } else if digest(&previous, &row.body) != row.digest {
                Some("its digest does not fit".to_owned())
            } else {
                serde_json::from_str::<Record>(&row.body)
                    .err()
                    .map(|e| e.to_string())
            };
            match why {
                None => previous.clone_from(&row.digest),
                Some(_) if at + 1 == last && row.seq == wanted => {
                    tracing::warn!(seq = row.seq, "dropping a last record that is not whole");
                    connection
                        .execute(
                            "DELETE FROM record WHERE seq = ?1",
                            params![signed(row.seq)],
                        )
                        .map_err(store)?;
                }
                Some(why) => {
                    return Err(ReadError::Damaged { seq: row.seq, why });
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for SqliteJournal {
    fn append(
        &self,
        plan: &PlanId,
        epoch: u64,
        at: Timestamp,
        entry: Entry,
    ) -> Result<Record, AppendError> {
        let mut connection = self.lock();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(append)?;
        let last: Option<(i64, String)> = transaction
            .query_row(
                "SELECT seq, digest FROM record ORDER BY seq DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(append)?;
        let in_charge: i64 = transaction
            .query_row(
                "SELECT coalesce(max(epoch), 0) FROM record WHERE driving = 1",
                [],
                |row| row.get(0),
            )
            .map_err(append)?;
        let epoch = fence(&entry, epoch, in_charge.unsigned_abs())?;
        let (seq, previous) = last.map_or((1, String::new()), |(seq, digest)| (seq + 1, digest));
        let driving = entry == Entry::Driving;
        let record = Record {
            seq: seq.unsigned_abs(),
            at,
            plan: plan.clone(),
            epoch,
            entry,
        };
        let body = serde_json::to_string(&record).map_err(|e| AppendError::Corrupt(Box::new(e)))?;
        transaction
            .execute(
                "INSERT INTO record (seq, epoch, driving, body, digest) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![seq, signed(epoch), driving, body, digest(&previous, &body)],
            )
            .map_err(append)?;
        transaction.commit().map_err(append)?;
        Ok(record)
    }

    fn after(&self, seq: u64) -> Result<Vec<Record>, ReadError> {
        rows(&self.lock(), seq)?
            .into_iter()
            .map(|row| {
                serde_json::from_str(&row.body).map_err(|e| ReadError::Damaged {
                    seq: row.seq,
                    why: e.to_string(),
                })
            })
            .collect()
    }
}

struct Row {
    seq: u64,
    body: String,
    digest: String,
}

fn rows(connection: &Connection, after: u64) -> Result<Vec<Row>, ReadError> {
    let mut statement = connection
        .prepare_cached("SELECT seq, body, digest FROM record WHERE seq > ?1 ORDER BY seq")
        .map_err(store)?;
    let found = statement
        .query_map(params![signed(after)], |row| {
            Ok(Row {
                seq: row.get::<_, i64>(0)?.unsigned_abs(),
                body: row.get(1)?,
                digest: row.get(2)?,
            })
        })
        .map_err(store)?;
    let mut rows: Vec<Row> = Vec::new();
    for row in found {
        let next = rows.last().map_or(after, |row| row.seq) + 1;
        rows.push(row.map_err(|e| damaged(next, e))?);
    }
    Ok(rows)
}

/// A page that SQLite cannot make sense of is damage at the record that was to be read.
fn damaged(seq: u64, error: rusqlite::Error) -> ReadError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure) => {
            store(error)
        }
        _ => ReadError::Damaged {
            seq,
            why: error.to_string(),
        },
    }
}

fn digest(previous: &str, body: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(previous.as_bytes());
    hash.update(b"\n");
    hash.update(body.as_bytes());
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn store(error: rusqlite::Error) -> ReadError {
    ReadError::Store(Box::new(error))
}

fn append(error: rusqlite::Error) -> AppendError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            AppendError::Transient(Box::new(error))
        }
        Some(ErrorCode::DiskFull) => AppendError::Full(Box::new(error)),
        _ => AppendError::Corrupt(Box::new(error)),
    }
}
