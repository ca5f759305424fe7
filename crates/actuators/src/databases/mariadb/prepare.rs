//! Before the window: every session stands, everybody follows, the candidate has just caught up, and
//! the old primary would come back as a replica.
//!
//! Nothing here makes a client wait.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::order::Order;
use super::record::{Log, Moment, Reason};
use super::server::{Link, Server, ServerError, Source, Status};
use super::window::{Cast, STATEMENT};

/// The candidate must catch up with a position of now within this time, with clients writing. 10 s: a
/// replica that needs longer is behind, whatever its lag says.
const CATCH_UP: Duration = Duration::from_secs(10);

/// The lock is asked for when the candidate has just shown that it catches up within this time: what
/// it lacks then is what clients wait for.
const CALM: Duration = Duration::from_millis(30);

/// Such a moment is waited for at most so long; then one that is less calm will do.
const PATIENCE: Duration = Duration::from_secs(10);

/// A candidate that needs longer than this when the patience ends does not keep up: clients would
/// wait for as long.
const KEEPS_UP: Duration = Duration::from_millis(500);

/// Who takes writes, by what all members say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The old primary, and nobody else.
    Old,
    /// The candidate, and nobody else.
    Candidate,
    /// Another member, or several.
    Another(String),
    /// Nobody, and everybody answered.
    Nobody(String),
    /// Too few answer; what they say.
    Unclear(String),
}

/// What everybody says.
#[derive(Debug)]
pub struct Views {
    /// The old primary.
    pub old: Result<Status, ServerError>,
    /// The candidate.
    pub candidate: Result<Status, ServerError>,
    /// The others, in the order of the order.
    pub others: Vec<Result<Status, ServerError>>,
}

impl Views {
    /// Asks everybody at the same time, and opens sessions that are not open.
    pub async fn of(cast: &Cast) -> Self {
        let mut asked = join_all(cast.all().map(|server| async move {
            server.open(STATEMENT).await?;
            server.status(STATEMENT).await
        }))
        .await
        .into_iter();
        let nobody = |server: &dyn Server| {
            Err(ServerError::Unexpected {
                server: server.name().to_owned(),
                what: "nothing was asked".to_owned(),
            })
        };
        Self {
            old: asked.next().unwrap_or_else(|| nobody(cast.old.as_ref())),
            candidate: asked
                .next()
                .unwrap_or_else(|| nobody(cast.candidate.as_ref())),
            others: asked.collect(),
        }
    }

    fn all<'a>(
        &'a self,
        cast: &'a Cast,
    ) -> impl Iterator<Item = (&'a str, &'a Result<Status, ServerError>)> {
        let names = cast.all().map(Server::name);
        names.zip([&self.old, &self.candidate].into_iter().chain(&self.others))
    }

    /// Who takes writes. A silent member may do so as well: then it is unclear.
    pub fn standing(&self, cast: &Cast) -> Standing {
        let leading: Vec<&str> = self
            .all(cast)
            .filter(|(_, view)| view.as_ref().is_ok_and(|status| !status.read_only))
            .map(|(name, _)| name)
            .collect();
        let said = || {
            let all = self.all(cast).map(|(name, view)| match view {
                Ok(status) if status.read_only => format!("{name} is read-only"),
                Ok(_) => format!("{name} takes writes"),
                Err(e) => e.to_string(),
            });
            all.collect::<Vec<_>>().join("; ")
        };
        let silent = [&self.old, &self.candidate]
            .iter()
            .any(|view| view.is_err());
        match leading[..] {
            [only] if only == cast.candidate.name() => Standing::Candidate,
            _ if silent => Standing::Unclear(said()),
            [only] if only == cast.old.name() => Standing::Old,
            [] => Standing::Nobody(said()),
            _ => Standing::Another(said()),
        }
    }

    /// How replicas of the set connect.
    pub fn link(&self) -> Link {
        let mut all = [&self.candidate, &self.old].into_iter().chain(&self.others);
        all.find_map(|view| view.as_ref().ok()?.link.clone())
            .unwrap_or_default()
    }
}

/// Looks, lets the candidate catch up, and aims the old primary.
pub(super) async fn prepare(
    order: &Order,
    cast: &Cast,
    views: &Views,
    log: &dyn Log,
) -> Result<Source, Reason> {
    let not_ready = |e: &ServerError| Reason::NotReady(e.to_string());
    let old = views.old.as_ref().map_err(not_ready)?;
    if !old.leads() {
        return Err(Reason::NotReady(format!(
            "{} takes writes and copies from another member",
            order.old.name
        )));
    }
    let replicas = std::iter::once(&views.candidate).chain(&views.others);
    let names = std::iter::once(&order.candidate).chain(&order.others);
    for (member, view) in names.zip(replicas) {
        let status = view.as_ref().map_err(not_ready)?;
        if !status.follows(&order.old) {
            let sources = status.sources.iter().map(|source| {
                format!(
                    "{}:{} receives {} applies {}",
                    source.host, source.port, source.receives, source.applies
                )
            });
            let sources = sources.collect::<Vec<_>>().join(", ");
            return Err(Reason::NotReady(format!(
                "{} does not follow {} ({sources})",
                member.name, order.old.name
            )));
        }
    }
    // With clients writing, so that little is left for when they wait.
    let behind = |what: String| Reason::Behind(what);
    match cast.candidate.reaches(&old.binlog, CATCH_UP).await {
        Ok(true) => {}
        Ok(false) => {
            return Err(behind(format!(
                "{} has not reached {} within {} s",
                order.candidate.name,
                old.binlog,
                CATCH_UP.as_secs()
            )));
        }
        Err(e) => return Err(behind(e.to_string())),
    }
    log.note(Moment::Ready {
        position: old.binlog.to_string(),
    });
    let source = Source {
        member: order.candidate.clone(),
        link: views.link(),
    };
    cast.old
        .aim(&source, STATEMENT)
        .await
        .map_err(|e| not_ready(&e))?;
    log.note(Moment::Aimed);
    wait_for_a_calm_moment(cast).await?;
    Ok(source)
}

/// A replica applies one commit after the other where its primary makes several at once: it lags in
/// bursts.
async fn wait_for_a_calm_moment(cast: &Cast) -> Result<(), Reason> {
    let behind = |e: ServerError| Reason::Behind(e.to_string());
    let end = Instant::now() + PATIENCE;
    loop {
        let status = cast.old.status(STATEMENT).await.map_err(behind)?;
        let asked = Instant::now();
        let reached = cast
            .candidate
            .reaches(&status.binlog, CATCH_UP)
            .await
            .map_err(behind)?;
        let took = asked.elapsed();
        if reached && took <= CALM {
            return Ok(());
        }
        if Instant::now() >= end {
            return if reached && took <= KEEPS_UP {
                Ok(())
            } else {
                Err(Reason::Behind(format!(
                    "{} needs {} ms for what the primary has written, with clients writing",
                    cast.candidate.name(),
                    took.as_millis()
                )))
            };
        }
    }
}
