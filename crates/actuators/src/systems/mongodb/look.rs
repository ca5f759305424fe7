//! One look at every member of a set, and what follows from all of them together.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferriswheel_engine::actuator::WaitingOn;
use ferriswheel_plan::step::Lag;

use crate::databases::mongodb::server::{Server, ServerError, Status};
use crate::databases::mongodb::wire::WireServer;
use crate::steps::waiting;
use crate::systems::look::{present, said};
use crate::systems::{Stand, Standing};
use crate::world::{LOOK, MemberPod};

/// A member and what its server says.
pub(super) struct Look {
    pub(super) member: MemberPod,
    said: Result<Said, String>,
}

struct Said {
    status: Status,
    /// Takes writes at this moment.
    writable: bool,
}

impl Look {
    /// Name of the set and addresses of its members, as this member has them.
    pub(super) fn set(&self) -> Option<(String, Vec<String>)> {
        let said = self.said.as_ref().ok()?;
        let hosts = said.status.members.keys().cloned().collect();
        Some((said.status.set.clone(), hosts))
    }
}

pub(super) async fn look(member: MemberPod, server: Arc<WireServer>) -> Look {
    let said = said(&member, ask(server.as_ref())).await;
    Look { member, said }
}

async fn ask(server: &dyn Server) -> Result<Said, ServerError> {
    server.open(LOOK).await?;
    Ok(Said {
        writable: server.hello(LOOK).await?.writable,
        status: server.status(LOOK).await?,
    })
}

/// What all looks say together.
pub(super) fn standing(looks: &[Look], max_lag: Option<Lag>) -> Standing {
    let leaders = looks
        .iter()
        .filter_map(|look| {
            let said = look.said.as_ref().ok()?;
            said.writable.then(|| {
                let term = u64::try_from(said.status.term).unwrap_or(0);
                (look.member.pod.clone(), term)
            })
        })
        .collect();
    Standing {
        stands: looks
            .iter()
            .map(|look| Stand {
                member: look.member.clone(),
                answers: look.said.is_ok(),
                whole: whole(looks, look, max_lag),
            })
            .collect(),
        leaders,
        led_by: BTreeMap::new(),
    }
}

/// The member is Ready, primary or secondary in its own view and in everybody's, names the primary
/// that takes writes, and is close behind it.
fn whole(looks: &[Look], look: &Look, max_lag: Option<Lag>) -> Result<String, WaitingOn> {
    let pod = &look.member.pod;
    let said = present(&look.member, &look.said)?;
    let me = &said.status.me;
    let Some(myself) = said.status.members.get(me) else {
        return Err(waiting(pod, "it does not list itself", "it does"));
    };
    if !["PRIMARY", "SECONDARY"].contains(&myself.state.as_str()) {
        return Err(waiting(
            pod,
            format!("it is {}", myself.state),
            "it is SECONDARY",
        ));
    }
    for other in looks.iter().filter(|other| other.member.pod != *pod) {
        let Ok(theirs) = &other.said else { continue };
        let seen = theirs.status.members.get(me);
        if !seen.is_some_and(|seen| seen.healthy && seen.state == myself.state) {
            let seen = seen.map_or("nobody", |seen| seen.state.as_str());
            return Err(waiting(
                pod,
                format!("{} has it as {seen}", other.member.pod.name),
                "every member sees it as it is",
            ));
        }
    }
    let mut leaders = looks.iter().filter_map(|look| {
        let theirs = look.said.as_ref().ok()?;
        theirs
            .writable
            .then_some((&look.member.pod, &theirs.status))
    });
    let (Some((leader, theirs)), None) = (leaders.next(), leaders.next()) else {
        return Err(waiting(
            pod,
            "not exactly one member takes writes",
            "one is the primary",
        ));
    };
    if !said.status.primaries().eq([theirs.me.as_str()]) || said.status.term != theirs.term {
        return Err(waiting(
            pod,
            format!("it does not name {leader} as the primary of its term"),
            "it has heard of the primary",
        ));
    }
    if leader == pod {
        return Ok(format!("the primary of term {}", theirs.term));
    }
    let newest = theirs.members.get(&theirs.me).map_or(0, |peer| peer.optime);
    let lag_ms = newest.saturating_sub(myself.optime).saturating_mul(1_000);
    if max_lag.is_some_and(|most| !most.holds_millis(lag_ms)) {
        return Err(waiting(
            pod,
            format!("{} s behind", lag_ms / 1_000),
            "it has caught up",
        ));
    }
    Ok(format!("follows {leader}, {} s behind", lag_ms / 1_000))
}
