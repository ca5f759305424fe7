//! Values of a member's keys that other members still have from an earlier time when it was away.
//!
//! While a member is away, clients put its keys on others. When it is back those stay there, and are not changed any
//! more: the next time that it leaves, clients would read them, as old as they are. So they are deleted right before. To
//! delete from a cache is never wrong; it costs a miss at most.
//!
//! # Assumptions
//! Clients have the member on their ring: its keys are not being written elsewhere while they are deleted there.

use std::time::Duration;

use super::ring::Ring;
use super::session::{ServerError, Session};

/// Listing the keys of one server: a million a second on one core, ten million behind a slow way.
const LIST: Duration = Duration::from_secs(120);

/// Deleting what was found.
const DELETE: Duration = Duration::from_secs(60);

/// Tries while the server's crawler has other work, which takes it seconds.
const TRIES: u32 = 5;

/// Deletes from `others` what belongs to the server number `leaving` of the ring; how many keys that were.
///
/// # Errors
/// A server does not answer or refuses. What was deleted until then may be deleted again.
pub async fn delete(
    others: &[&Session],
    ring: &Ring,
    leaving: usize,
) -> Result<usize, ServerError> {
    let cleaned = others.iter().map(|session| clean(session, ring, leaving));
    let gone = futures::future::try_join_all(cleaned).await?;
    Ok(gone.into_iter().sum())
}

async fn clean(session: &Session, ring: &Ring, leaving: usize) -> Result<usize, ServerError> {
    session.open(LIST).await?;
    let mut tries = 0;
    let keys = loop {
        let found = session
            .keys(|key| ring.server_of(key) == Some(leaving), LIST)
            .await;
        match found {
            Err(ServerError::Refused { code, .. }) if code == "BUSY" && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            other => break other?,
        }
    };
    session.delete(&keys, DELETE).await
}
