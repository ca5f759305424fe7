//! Values of a member's keys that other members still have from an earlier time when it was away.
//!
//! While a member is away, clients put its keys on others. When it is back those stay there, and are not changed any
//! more: the next time that it leaves, clients would read them, as old as they are. So they are deleted right before. To
//! delete from a cache is never wrong, it costs a miss; but by a ring that is not the clients' a third of a pool's keys
//! would go. So every server's keys are listed first, and nothing is deleted unless they are where the ring puts them.
//!
//! # Assumptions
//! Clients have the member on their ring: its keys are not being written elsewhere while they are deleted there.

use std::time::Duration;

use super::ring::Ring;
use super::session::{No, ServerError, Session};

/// Opening a session with a server that answered a moment ago.
const OPEN: Duration = Duration::from_secs(5);

/// Listing the keys of one server: a million a second on one core, ten million behind a slow way.
const LIST: Duration = Duration::from_secs(120);

/// Deleting what was found.
const DELETE: Duration = Duration::from_secs(60);

/// Tries while the server's crawler has other work, which takes it seconds.
const TRIES: u32 = 5;

/// Keys below which shares say nothing.
const FEW: u64 = 100;

/// What was done about the leaving member's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaned {
    /// So many were deleted.
    Deleted(usize),
    /// Nothing was: a server has too many keys that are not where the ring puts them.
    AnotherRing {
        /// Number of the server on the ring.
        server: usize,
        /// Keys that the ring puts there.
        at_home: u64,
        /// Keys that it has.
        all: u64,
    },
}

/// What a server has.
#[derive(Default)]
struct Listed {
    of_the_leaving: Vec<Vec<u8>>,
    at_home: u64,
    all: u64,
}

impl Listed {
    /// After each other member was away once a server has as many keys of others as of its own: each leaves it a share.
    /// By another ring of `servers` it would be a server's share alone. Between a half and a third, 40 %; of two servers
    /// nobody can tell.
    fn fits(&self, servers: usize) -> bool {
        self.all < FEW || (servers > 2 && self.at_home * 5 >= self.all * 2)
    }
}

/// Deletes from `others`, each with its number on the ring of `servers`, what belongs to the server number `leaving`.
///
/// # Errors
/// A server does not answer or refuses. What was deleted until then may be deleted again.
pub async fn delete(
    others: &[(usize, &Session)],
    ring: &Ring,
    servers: usize,
    leaving: usize,
) -> Result<Cleaned, ServerError> {
    let lists = others
        .iter()
        .map(|(own, session)| list(session, ring, *own, leaving));
    let lists = futures::future::try_join_all(lists).await?;
    let odd = others
        .iter()
        .zip(&lists)
        .find(|(_, listed)| !listed.fits(servers));
    if let Some(((server, _), listed)) = odd {
        return Ok(Cleaned::AnotherRing {
            server: *server,
            at_home: listed.at_home,
            all: listed.all,
        });
    }
    let deleted = others
        .iter()
        .zip(&lists)
        .map(|((_, session), listed)| session.delete(&listed.of_the_leaving, DELETE));
    let gone = futures::future::try_join_all(deleted).await?;
    Ok(Cleaned::Deleted(gone.into_iter().sum()))
}

async fn list(
    session: &Session,
    ring: &Ring,
    own: usize,
    leaving: usize,
) -> Result<Listed, ServerError> {
    session.open(OPEN).await?;
    let mut tries = 0;
    loop {
        let mut listed = Listed::default();
        let found = session
            .keys(
                |key| {
                    let home = ring.server_of(key);
                    listed.all += 1;
                    listed.at_home += u64::from(home == Some(own));
                    home == Some(leaving)
                },
                LIST,
            )
            .await;
        match found {
            Err(ServerError::Refused { code: No::Busy, .. }) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            other => {
                listed.of_the_leaving = other?;
                return Ok(listed);
            }
        }
    }
}
