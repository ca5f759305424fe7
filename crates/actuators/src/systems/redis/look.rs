//! One look at every node of a cluster, and what follows from all of them together.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferriswheel_engine::actuator::WaitingOn;
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::step::Lag;

use crate::databases::redis::cluster::{Node, View};
use crate::databases::redis::server::{Role, Server, ServerError};
use crate::databases::redis::slot::SLOTS;
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
    view: View,
    role: Role,
    info: BTreeMap<String, String>,
    cluster: BTreeMap<String, String>,
}

impl Look {
    /// Its identity in the cluster.
    pub(super) fn id(&self) -> Result<String, String> {
        self.said
            .as_ref()
            .map(|said| said.view.me.clone())
            .map_err(Clone::clone)
    }
}

pub(super) async fn look(member: MemberPod, server: Arc<dyn Server>) -> Look {
    let said = said(&member, ask(server.as_ref())).await;
    Look { member, said }
}

async fn ask(server: &dyn Server) -> Result<Said, ServerError> {
    server.open(LOOK).await?;
    Ok(Said {
        // Offsets of replicas and primaries are compared: first, so that they are of one moment.
        role: server.role(LOOK).await?,
        view: server.view(LOOK).await?,
        info: server.info(LOOK).await?,
        cluster: server.cluster_info(LOOK).await?,
    })
}

impl Said {
    fn is_primary(&self) -> bool {
        matches!(self.role, Role::Primary { .. })
    }

    fn offset(&self) -> u64 {
        match &self.role {
            Role::Primary { offset, .. } => *offset,
            Role::Replica { offset, .. } => offset.unwrap_or(0),
        }
    }

    /// Identity of who leads its shard, as it says itself.
    fn leader(&self) -> Option<&str> {
        if self.is_primary() {
            Some(&self.view.me)
        } else {
            self.view.myself()?.primary.as_deref()
        }
    }

    fn has(&self, field: &str, value: &str) -> bool {
        self.info.get(field).map(String::as_str) == Some(value)
    }

    /// What is not as it shall be in its own picture of the cluster.
    fn unrest(&self) -> Option<String> {
        let field = |name: &str| self.cluster.get(name).map_or("unknown", String::as_str);
        let slots = SLOTS.to_string();
        let wanted = [
            ("cluster_state", "ok"),
            ("cluster_slots_assigned", slots.as_str()),
            ("cluster_slots_ok", slots.as_str()),
            ("cluster_slots_pfail", "0"),
            ("cluster_slots_fail", "0"),
        ];
        wanted
            .into_iter()
            .find(|(name, value)| field(name) != *value)
            .map(|(name, value)| format!("it says {name} {} instead of {value}", field(name)))
    }
}

/// What all looks say together.
pub(super) fn standing(looks: &[Look], max_lag: Option<Lag>) -> Standing {
    let pods: BTreeMap<&str, &ObjectRef> = looks
        .iter()
        .filter_map(|look| Some((look.said.as_ref().ok()?.view.me.as_str(), &look.member.pod)))
        .collect();
    let led_by = looks
        .iter()
        .filter_map(|look| {
            let leader = look.said.as_ref().ok()?.leader()?;
            Some((look.member.pod.clone(), (*pods.get(leader)?).clone()))
        })
        .collect();
    let leaders = looks
        .iter()
        .filter_map(|look| {
            let said = look.said.as_ref().ok()?;
            let myself = said.view.myself()?;
            (said.is_primary() && !myself.slots.is_empty())
                .then(|| (look.member.pod.clone(), myself.epoch))
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
        led_by,
    }
}

/// The member is Ready, sees the cluster whole, is seen by every other node where it is and as what
/// it is, and follows its primary closely, if it is a replica.
fn whole(looks: &[Look], look: &Look, max_lag: Option<Lag>) -> Result<String, WaitingOn> {
    let pod = &look.member.pod;
    let said = present(&look.member, &look.said)?;
    if let Some(what) = said.unrest() {
        return Err(waiting(pod, what, "it sees the cluster whole"));
    }
    let Some(myself) = said.view.myself() else {
        return Err(waiting(pod, "it does not list itself", "it does"));
    };
    for other in looks.iter().filter(|other| other.member.pod != *pod) {
        let Ok(theirs) = &other.said else { continue };
        if let Err(what) = seen_by(
            &theirs.view,
            &said.view.me,
            myself,
            look.member.ip.as_deref(),
        ) {
            return Err(waiting(
                pod,
                format!("{} {what}", other.member.pod.name),
                "every node sees it as it is",
            ));
        }
    }
    if said.is_primary() {
        return Ok(match &myself.slots[..] {
            [] => "a primary without slots".to_owned(),
            slots => format!(
                "the primary of slots {}",
                slots
                    .iter()
                    .map(|(first, last)| format!("{first}-{last}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        });
    }
    follows(looks, pod, said, max_lag)
}

fn seen_by(view: &View, id: &str, myself: &Node, ip: Option<&str>) -> Result<(), String> {
    let Some(seen) = view.nodes.get(id) else {
        return Err("does not know it".to_owned());
    };
    if !seen.is_well() {
        let flags: Vec<&str> = seen.flags.iter().map(String::as_str).collect();
        return Err(format!("has it as {}", flags.join(",")));
    }
    if !seen.linked {
        return Err("has no link to it".to_owned());
    }
    if ip.is_some_and(|ip| ip != seen.ip) {
        return Err(format!("has it at {}", seen.ip));
    }
    let same = seen.is_primary() == myself.is_primary()
        && seen.primary == myself.primary
        && seen.slots == myself.slots;
    if same {
        Ok(())
    } else {
        Err("sees it in another role than it does itself".to_owned())
    }
}

fn follows(
    looks: &[Look],
    pod: &ObjectRef,
    said: &Said,
    max_lag: Option<Lag>,
) -> Result<String, WaitingOn> {
    if !said.has("master_link_status", "up") || said.has("master_sync_in_progress", "1") {
        return Err(waiting(
            pod,
            "its link to its primary is not up",
            "its link is up and it has copied everything",
        ));
    }
    if said.has("loading", "1") {
        return Err(waiting(pod, "it is loading", "it has loaded its data"));
    }
    let leader = said.leader().and_then(|id| {
        looks.iter().find_map(|look| {
            let theirs = look.said.as_ref().ok()?;
            (theirs.view.me == id && theirs.is_primary()).then_some((&look.member.pod, theirs))
        })
    });
    let Some((leader, theirs)) = leader else {
        return Err(waiting(
            pod,
            "its primary does not answer as one",
            "its primary answers",
        ));
    };
    let lag = theirs.offset().saturating_sub(said.offset());
    if max_lag.is_some_and(|most| !most.holds_bytes(lag)) {
        return Err(waiting(
            pod,
            format!("{lag} bytes behind"),
            "it has caught up",
        ));
    }
    Ok(format!("follows {leader}, {lag} bytes behind"))
}
