//! One look at every member of a set, and what follows from all of them together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ferriswheel_engine::actuator::WaitingOn;
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::step::Lag;
use ferriswheel_plan::world::GtidPosition;

use crate::databases::mariadb::server::{Server, ServerError, Status};
use crate::databases::session::chain;
use crate::steps::waiting;
use crate::systems::look::{present, said};
use crate::systems::{Stand, Standing};
use crate::world::{LOOK, MemberPod};

/// A member and what its server says.
pub(super) struct Look {
    pub(super) member: MemberPod,
    server: Arc<dyn Server>,
    said: Result<Status, String>,
}

impl Look {
    /// It will not follow this leader unless it is told to.
    pub(super) fn is_astray(&self, leader: &str) -> bool {
        self.said.as_ref().is_ok_and(|status| {
            let elsewhere = status.sources.iter().any(|source| source.pod() != leader);
            status.read_only && (status.rests() || elsewhere)
        })
    }

    fn leads(&self) -> bool {
        self.said.as_ref().is_ok_and(Status::leads)
    }
}

pub(super) async fn look(member: MemberPod, server: Arc<dyn Server>) -> Look {
    let said = said(&member, ask(server.as_ref())).await;
    Look {
        member,
        server,
        said,
    }
}

async fn ask(server: &dyn Server) -> Result<Status, ServerError> {
    server.open(LOOK).await?;
    server.status(LOOK).await
}

/// What all looks say together. A replica must reach what the primary had at this look within the
/// time given, which is proven by position and not by anybody's clock; no time, no question.
pub(super) async fn standing(looks: Vec<Look>, max_lag: Option<Lag>) -> Standing {
    let mut leading = looks.iter().filter(|look| look.leads());
    let leader = match (leading.next(), leading.next()) {
        (Some(only), None) => only
            .said
            .as_ref()
            .ok()
            .map(|status| (only.member.pod.clone(), status.position())),
        _ => None,
    };
    let leaders = looks
        .iter()
        .filter(|look| look.leads())
        .map(|look| {
            let id = look.said.as_ref().map_or(0, |status| status.server_id);
            (look.member.pod.clone(), id)
        })
        .collect();
    let asked = looks.into_iter().map(|look| {
        let leader = leader.clone();
        async move {
            let whole = whole(&look, leader.as_ref(), max_lag).await;
            Stand {
                answers: look.said.is_ok(),
                member: look.member,
                whole,
            }
        }
    });
    Standing {
        stands: futures::future::join_all(asked).await,
        leaders,
        led_by: BTreeMap::new(),
    }
}

/// The member is Ready; it leads, or it is read-only, follows the leader and nobody else, and has what
/// the leader had.
async fn whole(
    look: &Look,
    leader: Option<&(ObjectRef, GtidPosition)>,
    max_lag: Option<Lag>,
) -> Result<String, WaitingOn> {
    let pod = &look.member.pod;
    let status = present(&look.member, &look.said)?;
    let Some((leader, position)) = leader else {
        return Err(waiting(
            pod,
            "not exactly one member takes writes",
            "one is the primary",
        ));
    };
    if leader == pod {
        return Ok(format!("the primary, at {position}"));
    }
    if !status.read_only {
        return Err(waiting(pod, "it takes writes", "read_only is ON"));
    }
    let source = match &status.sources[..] {
        [source] if source.pod() == leader.name => source,
        [] => {
            return Err(waiting(
                pod,
                "it copies from nobody",
                format!("it follows {leader}"),
            ));
        }
        [source, ..] => {
            return Err(waiting(
                pod,
                format!("it copies from {}", source.host),
                format!("it follows {leader} and nobody else"),
            ));
        }
    };
    if !source.runs() {
        let mut why = format!(
            "it receives: {}, applies: {}",
            source.receives, source.applies
        );
        if let Some(error) = source.errors.first() {
            why = format!("{why}: {error}");
        }
        return Err(waiting(pod, why, "both replication threads run"));
    }
    let most = match max_lag {
        None => return Ok(format!("follows {leader}")),
        Some(Lag::Millis(most)) => Duration::from_millis(most),
        // A bound of another unit holds for nobody.
        Some(Lag::Bytes(_) | Lag::Points(_)) => Duration::ZERO,
    };
    match look.server.reaches(position, most).await {
        Ok(true) => Ok(format!("follows {leader}, has {position}")),
        Ok(false) => Err(waiting(
            pod,
            format!("it has not {position}, {} ms later", most.as_millis()),
            "it has caught up",
        )),
        Err(e) => Err(waiting(pod, chain(&e), "its server answers")),
    }
}
