//! The hand-over of one shard: look, prove, ask the replica, and watch until every node agrees.
//!
//! Redis holds the clients of the shard itself, from the moment when the primary hears of the
//! failover until the roles have changed or its own time is up. So there is nothing that a crash of
//! this process could leave closed, and nothing to take back: whoever comes later looks, and finds
//! the one or the other primary.
//!
//! # Invariants
//! - Only plain `CLUSTER FAILOVER` is sent, once, and only to a replica whose link is up, that a
//!   majority of the primaries know, that has just acknowledged a write and that answers at once.
//! - No replica is asked while an earlier election of its own may still count: Redis 7 counts those votes again, and
//!   makes it a primary for a moment that no other server knows of, whose writes are lost.
//! - Nothing is sent after it. A failover that does not go through in time is left to the servers,
//!   which end it by themselves.
//! - An order whose candidate is the primary already is done.
//!
//! # Source
//! `clusterHandleManualFailover`, `clusterSendFailoverAuthIfNeeded` and `CLUSTER_MF_TIMEOUT` in
//! `cluster.c` of Redis 7.0; `cluster-manual-failover-timeout` of Valkey 8.1.

use std::time::Duration;

use futures::future::{join, join_all};
use tokio::time::{Instant, sleep};

use super::cluster::{Node, View};
use super::order::Order;
use super::record::{Log, Moment, Outcome, Reason};
use super::server::{Role, Server, ServerError};
use super::slot;

/// Deadline of one command before the hand-over: a healthy server answers in a millisecond; 2 s
/// tells "slow" from "gone".
pub const COMMAND: Duration = Duration::from_secs(2);

/// A write must have reached the replica within this time. 5 s: more than a replica on a loaded
/// machine needs, less than the second ten after which its primary drops it (`repl-timeout` is 60 s,
/// the acknowledgement comes each second).
const BARRIER: Duration = Duration::from_secs(5);

/// Answers that the candidate must give promptly, one after the other. Five: a server that was
/// stopped a moment ago fails the first; one that stalls now and then rarely passes all.
const PINGS: u32 = 5;

/// Pause between two looks at the roles. 2 ms: roles change 4 to 14 ms after the request.
const LOOK: Duration = Duration::from_millis(2);

/// One look while roles change. A server that stands still must not hide what the other one says.
const GLANCE: Duration = Duration::from_millis(250);

/// All members say the same within 5 to 25 ms; 5 s covers a member that has just come back.
const AGREE: Duration = Duration::from_secs(5);

/// The old primary asks for a partial synchronisation at once, and repeats it each second. 30 s
/// covers a full one of a small shard; a longer one is for the step after to wait for.
const REJOIN: Duration = Duration::from_secs(30);

/// Fewest primaries with which an election can be won: with two, both would have to vote, and one
/// of them is the one that is replaced.
///
/// # Source
/// redis/redis#1557: with two primaries a manual failover always times out.
pub const FEWEST_VOTERS: u32 = 3;

/// Everybody who takes part.
pub struct Cast {
    /// Primary now.
    pub old: Box<dyn Server>,
    /// Primary afterwards.
    pub candidate: Box<dyn Server>,
    /// Every other member, in the order of the order.
    pub others: Vec<Box<dyn Server>>,
}

impl Cast {
    fn all(&self) -> impl Iterator<Item = &dyn Server> {
        [self.old.as_ref(), self.candidate.as_ref()]
            .into_iter()
            .chain(self.others.iter().map(AsRef::as_ref))
    }
}

/// Who is the primary, by what the two say themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The old primary, and the candidate is a replica or silent.
    Old,
    /// The candidate, and the old primary is its replica or silent.
    Candidate,
    /// Both, neither, or nobody answers; what they say.
    Unclear(String),
}

/// Hands a shard over.
pub async fn hand_over(order: &Order, cast: &Cast, log: &dyn Log) -> Outcome {
    let before = match prepare(order, cast, log).await {
        Ok(Prepared::AlreadyDone) => {
            return Outcome::HandedOver {
                already: true,
                late_ms: None,
                unsettled: Vec::new(),
            };
        }
        Ok(Prepared::Ready { epoch }) => epoch,
        Err(reason) => return undone(reason, false, log),
    };

    let asked = Instant::now();
    log.note(Moment::Asked);
    match cast.candidate.take_over(COMMAND).await {
        Ok(()) => log.note(Moment::Accepted),
        Err(e @ ServerError::Refused { .. }) => {
            return undone(Reason::NotAccepted(e.to_string()), false, log);
        }
        // It may have heard it: what follows is seen, not assumed.
        Err(e) => log.note(Moment::Note {
            text: format!("the request was sent, its answer is not known: {e}"),
        }),
    }

    let mut flipped = None;
    let mut followed = false;
    let mut last = Standing::Unclear("no answer yet".to_owned());
    while asked.elapsed() < order.settle() {
        let (old, candidate) =
            join(glance(cast.old.as_ref()), glance(cast.candidate.as_ref())).await;
        if flipped.is_none() && matches!(candidate, Ok(Role::Primary { .. })) {
            flipped = Some(asked.elapsed());
            log.note(Moment::Flipped);
        }
        if !followed && matches!(old, Ok(Role::Replica { .. })) {
            followed = true;
            log.note(Moment::Followed);
        }
        last = standing(&old, &candidate);
        if flipped.is_some() && followed {
            break;
        }
        sleep(LOOK).await;
    }
    // One that was a primary for a moment, and is a replica again, has not taken over.
    let flipped = match (flipped, &last) {
        (Some(flipped), Standing::Candidate) => flipped,
        _ => {
            let reason = Reason::NotFlipped {
                after_ms: millis(asked.elapsed()),
                seen: describe(&last),
            };
            if last == Standing::Old {
                return undone(reason, true, log);
            }
            log.note(Moment::Faltered {
                reason: reason.clone(),
            });
            return Outcome::Unresolved { reason };
        }
    };
    let unsettled = agree(order, cast, before, log).await;
    if rejoined(cast.old.as_ref()).await {
        log.note(Moment::Rejoined);
    } else {
        log.note(Moment::Note {
            text: format!("{} does not follow the new primary yet", cast.old.name()),
        });
    }
    Outcome::HandedOver {
        already: false,
        late_ms: (flipped > order.flip()).then(|| millis(flipped)),
        unsettled,
    }
}

/// Who is the primary. Looks only, and opens sessions that are not open.
pub async fn look(cast: &Cast) -> Standing {
    let (old, candidate) = join(opened(cast.old.as_ref()), opened(cast.candidate.as_ref())).await;
    standing(&old, &candidate)
}

async fn opened(server: &dyn Server) -> Result<Role, ServerError> {
    server.open(COMMAND).await?;
    server.role(COMMAND).await
}

async fn glance(server: &dyn Server) -> Result<Role, ServerError> {
    match server.role(GLANCE).await {
        Err(ServerError::Disconnected { .. }) => {
            server.open(GLANCE).await?;
            server.role(GLANCE).await
        }
        answer => answer,
    }
}

fn standing(old: &Result<Role, ServerError>, candidate: &Result<Role, ServerError>) -> Standing {
    match (old, candidate) {
        (Ok(Role::Primary { .. }), Ok(Role::Replica { .. }) | Err(_)) => Standing::Old,
        (Ok(Role::Replica { .. }) | Err(_), Ok(Role::Primary { .. })) => Standing::Candidate,
        (old, candidate) => Standing::Unclear(format!(
            "the old primary: {}; the replica: {}",
            word(old),
            word(candidate)
        )),
    }
}

fn word(role: &Result<Role, ServerError>) -> String {
    match role {
        Ok(Role::Primary { .. }) => "a primary".to_owned(),
        Ok(Role::Replica { ip, port, link, .. }) => format!("a replica of {ip}:{port}, {link}"),
        Err(e) => e.to_string(),
    }
}

fn describe(standing: &Standing) -> String {
    match standing {
        Standing::Old => "the old primary goes on by itself".to_owned(),
        Standing::Candidate => "the replica is the primary".to_owned(),
        Standing::Unclear(what) => what.clone(),
    }
}

fn undone(reason: Reason, asked: bool, log: &dyn Log) -> Outcome {
    log.note(Moment::Faltered {
        reason: reason.clone(),
    });
    Outcome::Undone { reason, asked }
}

enum Prepared {
    AlreadyDone,
    /// Every check holds; the shard's configuration epoch.
    Ready {
        epoch: u64,
    },
}

async fn prepare(order: &Order, cast: &Cast, log: &dyn Log) -> Result<Prepared, Reason> {
    let not_ready = |e: ServerError| Reason::NotReady(e.to_string());
    let opened = join_all(cast.all().map(|server| server.open(COMMAND))).await;
    // The candidate alone says whether there is anything to do.
    if let Some(Err(e)) = opened.get(1) {
        return Err(not_ready(e.clone()));
    }
    let candidate = view_of(cast.candidate.as_ref(), &order.candidate.node_id).await?;
    if candidate.myself().is_some_and(Node::is_primary) {
        return if is_done(order, cast, &candidate).await {
            Ok(Prepared::AlreadyDone)
        } else {
            Err(Reason::NotItsReplica {
                name: order.candidate.name.clone(),
                old: order.old.name.clone(),
                found: "it is a primary itself".to_owned(),
            })
        };
    }
    for answer in opened {
        answer.map_err(not_ready)?;
    }
    let old = view_of(cast.old.as_ref(), &order.old.node_id).await?;
    let epoch = check_shard(order, &old, &candidate)?;
    let (known_by, voters) = check_votes(order, cast, &old).await?;
    let lag_bytes = check_offsets(order, cast).await?;
    check_rested(order, cast).await?;
    log.note(Moment::Ready {
        lag_bytes,
        known_by,
        voters,
    });
    barrier(order, cast, &old, log).await?;
    prompt(order, cast, log).await?;
    Ok(Prepared::Ready { epoch })
}

/// The candidate is a primary in the place of the old one: which is its replica by its own word, or
/// is silent and serves nothing.
async fn is_done(order: &Order, cast: &Cast, candidate: &View) -> bool {
    if !candidate.myself().is_some_and(Node::votes) {
        return false;
    }
    match cast.old.view(COMMAND).await {
        Ok(old) => old
            .myself()
            .is_some_and(|me| me.primary.as_deref() == Some(&candidate.me)),
        Err(_) => candidate.nodes.get(&order.old.node_id).is_some_and(|old| {
            !old.votes() && old.primary.as_deref().is_none_or(|id| id == candidate.me)
        }),
    }
}

async fn view_of(server: &dyn Server, id: &str) -> Result<View, Reason> {
    let view = server
        .view(COMMAND)
        .await
        .map_err(|e| Reason::NotReady(e.to_string()))?;
    if view.me == id {
        Ok(view)
    } else {
        Err(Reason::NotReady(format!(
            "{} is the node {} and no longer {id}",
            server.name(),
            view.me
        )))
    }
}

/// Old primary and candidate belong together, and nothing moves between them and others.
fn check_shard(order: &Order, old: &View, candidate: &View) -> Result<u64, Reason> {
    let lost = || Reason::NotReady("a server does not list itself".to_owned());
    let (old_self, candidate_self) = (
        old.myself().ok_or_else(lost)?,
        candidate.myself().ok_or_else(lost)?,
    );
    if candidate_self.primary.as_deref() != Some(&order.old.node_id) {
        return Err(Reason::NotItsReplica {
            name: order.candidate.name.clone(),
            old: order.old.name.clone(),
            found: match &candidate_self.primary {
                Some(id) => format!("it follows {id}"),
                None => "it follows nobody".to_owned(),
            },
        });
    }
    if !old_self.votes() {
        return Err(Reason::NotReady(format!(
            "{} serves no slots",
            order.old.name
        )));
    }
    if let Some(moving) = old_self.moving.first().or(candidate_self.moving.first()) {
        return Err(Reason::NotReady(format!(
            "a slot is on its way between shards: {moving}"
        )));
    }
    Ok(old_self.epoch)
}

/// Enough primaries know the candidate as what it is: they are the ones who vote.
///
/// # Source
/// `clusterSendFailoverAuthIfNeeded`: a primary votes only for a node that it knows as a replica.
async fn check_votes(order: &Order, cast: &Cast, old: &View) -> Result<(u32, u32), Reason> {
    let voters = old.voters().count();
    let views = join_all(cast.all().map(|server| server.view(COMMAND))).await;
    let mut known_by = 0;
    for view in views {
        let view = view.map_err(|e| Reason::NotReady(e.to_string()))?;
        let voter = view.myself().is_some_and(|me| me.votes());
        let knows = view
            .nodes
            .get(&order.candidate.node_id)
            .is_some_and(|node| {
                node.is_well()
                    && (node.linked || view.me == order.candidate.node_id)
                    && node.primary.as_deref() == Some(&order.old.node_id)
            });
        known_by += u32::from(voter && knows);
    }
    let voters = u32::try_from(voters).unwrap_or(u32::MAX);
    let needed = voters / 2 + 1;
    if voters < FEWEST_VOTERS {
        return Err(Reason::NotReady(format!(
            "{voters} primaries serve slots; an election needs {FEWEST_VOTERS}"
        )));
    }
    if known_by < needed {
        return Err(Reason::NoMajority {
            name: order.candidate.name.clone(),
            known_by,
            voters,
            needed,
        });
    }
    Ok((known_by, voters))
}

async fn check_offsets(order: &Order, cast: &Cast) -> Result<u64, Reason> {
    let not_ready = |e: ServerError| Reason::NotReady(e.to_string());
    // The replica first: what the primary writes in between counts as lag and never as a lead.
    let candidate = cast.candidate.role(COMMAND).await.map_err(not_ready)?;
    let old = cast.old.role(COMMAND).await.map_err(not_ready)?;
    match (old, candidate) {
        (Role::Primary { offset: sent, .. }, Role::Replica { link, offset, .. }) => {
            let offset = offset
                .filter(|_| link == "connected")
                .ok_or_else(|| Reason::NotReady(format!("the replica's link is not up: {link}")))?;
            let lag_bytes = sent.saturating_sub(offset);
            if lag_bytes > order.max_lag_bytes {
                return Err(Reason::Lagging {
                    name: order.candidate.name.clone(),
                    lag_bytes,
                    allowed: order.max_lag_bytes,
                });
            }
            Ok(lag_bytes)
        }
        (old, candidate) => Err(Reason::NotReady(describe(&standing(
            &Ok(old),
            &Ok(candidate),
        )))),
    }
}

async fn check_rested(order: &Order, cast: &Cast) -> Result<(), Reason> {
    let tenure = cast
        .candidate
        .tenure(COMMAND)
        .await
        .map_err(|e| Reason::NotReady(e.to_string()))?;
    let rest = tenure.rest();
    if rest.is_zero() {
        return Ok(());
    }
    Err(Reason::NotRested {
        name: order.candidate.name.clone(),
        rest_s: rest.as_secs(),
        forgotten_after_s: tenure.forgotten_after().as_secs(),
    })
}

/// A write of now is on every replica of the shard that is connected, and so on the candidate.
async fn barrier(order: &Order, cast: &Cast, old: &View, log: &dyn Log) -> Result<(), Reason> {
    let no = |what: String| Reason::NoBarrier(what);
    let slots = old.myself().map(|me| me.slots.clone()).unwrap_or_default();
    let connected = match cast.old.role(COMMAND).await {
        Ok(Role::Primary { replicas, .. }) => replicas,
        Ok(Role::Replica { .. }) => return Err(no("the old primary is a replica".to_owned())),
        Err(e) => return Err(no(e.to_string())),
    };
    if connected.is_empty() {
        return Err(no(format!("no replica is connected to {}", order.old.name)));
    }
    let wanted = u32::try_from(connected.len()).unwrap_or(u32::MAX);
    let replicas = cast
        .old
        .barrier(&slots, wanted, BARRIER)
        .await
        .map_err(|e| no(e.to_string()))?;
    if replicas < wanted {
        return Err(no(format!(
            "{replicas} of {wanted} replicas had it in time, slots {}",
            slot::count(&slots)
        )));
    }
    log.note(Moment::Barrier { replicas });
    Ok(())
}

async fn prompt(order: &Order, cast: &Cast, log: &dyn Log) -> Result<(), Reason> {
    let mut slowest = Duration::ZERO;
    for _ in 0..PINGS {
        let began = Instant::now();
        cast.candidate
            .ping(order.prompt())
            .await
            .map_err(|e| Reason::NotPrompt {
                name: order.candidate.name.clone(),
                cause: e.to_string(),
            })?;
        slowest = slowest.max(began.elapsed());
    }
    log.note(Moment::Prompt {
        slowest_us: u64::try_from(slowest.as_micros()).unwrap_or(u64::MAX),
    });
    Ok(())
}

/// Members that do not show the candidate as the primary with a newer configuration.
async fn agree(order: &Order, cast: &Cast, before: u64, log: &dyn Log) -> Vec<String> {
    let limit = Instant::now() + AGREE;
    loop {
        let views = join_all(cast.all().map(|server| async move {
            match server.view(GLANCE).await {
                Err(ServerError::Disconnected { .. }) => {
                    server.open(GLANCE).await?;
                    server.view(GLANCE).await
                }
                answer => answer,
            }
        }))
        .await;
        let mut epoch = 0;
        let mut unsettled = Vec::new();
        for (server, view) in cast.all().zip(&views) {
            let settled = view.as_ref().is_ok_and(|view| {
                let candidate = view.nodes.get(&order.candidate.node_id);
                let old = view.nodes.get(&order.old.node_id);
                epoch = epoch.max(candidate.map_or(0, |node| node.epoch));
                candidate.is_some_and(|node| node.votes() && node.epoch > before)
                    // Its new role is told by itself, with its next message to each member.
                    && old.is_some_and(|node| !node.votes())
            });
            if !settled {
                unsettled.push(server.name().to_owned());
            }
        }
        if unsettled.is_empty() {
            log.note(Moment::Agreed { epoch });
            return unsettled;
        }
        if Instant::now() >= limit {
            return unsettled;
        }
        sleep(LOOK).await;
    }
}

async fn rejoined(old: &dyn Server) -> bool {
    let limit = Instant::now() + REJOIN;
    while Instant::now() < limit {
        if let Ok(Role::Replica { link, .. }) = glance(old).await
            && link == "connected"
        {
            return true;
        }
        sleep(LOOK * 5).await;
    }
    false
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
