//! What the others need before a member leaves: a source to copy from that stays.
//!
//! A secondary copies from whom it has chosen, often another secondary. When that one stops it has to notice, choose
//! again and begin anew: meanwhile nobody but the primary has anything new, and writes that wait for a majority wait a
//! second or two.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::server::{By, Server, ServerError, Status};
use super::window::COMMAND;

/// Who was told to copy from another one does so after its next batch, or when it has asked for one in vain, which is
/// after a second or two.
const SWITCHED: Duration = Duration::from_secs(5);

/// Pause between two looks.
const AGAIN: Duration = Duration::from_millis(50);

struct Asked<'s> {
    server: &'s dyn Server,
    status: Status,
    writable: bool,
}

/// Lets everybody who copies from the leaving member copy from the primary, and waits until all have what it has. Says
/// who was told, and whether he does now.
///
/// # Errors
/// Somebody refuses, or does not catch up. The member may leave nevertheless: that costs time and nothing else.
pub async fn part_with(servers: &[&dyn Server], leaving: &str) -> Result<Vec<String>, ServerError> {
    // Who does not answer cannot be told anything either.
    let asked = join_all(servers.iter().map(|server| ask(*server))).await;
    let asked: Vec<Asked<'_>> = asked.into_iter().flatten().collect();
    let leaving = asked.iter().find(|one| one.server.name() == leaving);
    let mut leaders = asked.iter().filter(|one| one.writable);
    let (Some(leaving), Some(leader), None) = (leaving, leaders.next(), leaders.next()) else {
        return Ok(Vec::new());
    };
    let (gone, source) = (&leaving.status.me, &leader.status.me);
    let followers: Vec<&Asked<'_>> = asked
        .iter()
        .filter(|one| one.status.copies_from.as_ref() == Some(gone))
        .collect();
    if followers.is_empty() {
        return Ok(Vec::new());
    }
    for one in &followers {
        one.server.copy_from(source, COMMAND).await?;
    }
    let end = Instant::now() + SWITCHED;
    let mut told = Vec::new();
    for one in &followers {
        let mut copies = false;
        while !copies && Instant::now() < end {
            copies = one.server.status(COMMAND).await?.copies_from.as_ref() == Some(source);
            if !copies {
                sleep(AGAIN).await;
            }
        }
        let (follower, leader) = (one.server.name(), leader.server.name());
        told.push(if copies {
            format!("{follower} copies from {leader} now")
        } else {
            format!("{follower} was told to copy from {leader}, and does not yet")
        });
    }
    let left = end.saturating_duration_since(Instant::now()).max(AGAIN);
    let everybody = By::Members(asked.len());
    leader.server.barrier("parting", everybody, left).await?;
    Ok(told)
}

async fn ask(server: &dyn Server) -> Result<Asked<'_>, ServerError> {
    server.open(COMMAND).await?;
    Ok(Asked {
        server,
        writable: server.hello(COMMAND).await?.writable,
        status: server.status(COMMAND).await?,
    })
}
