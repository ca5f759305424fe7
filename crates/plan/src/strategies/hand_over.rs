//! The hand-over alone: the primary of each database moves once, and no machine is touched.
//!
//! # Guarantees
//! - A database whose primary is where it shall be gets no step.
//! - Nothing is evicted, cordoned, grown or deleted.

use crate::codes;
use crate::databases;
use crate::diagnostic::{Diagnostic, Findings};
use crate::plan::Peak;
use crate::policy::HandOver;
use crate::scope::{DatabaseScope, Member, Scope, join};
use crate::strategies::Turn;
use crate::strategies::sequence::Sequence;
use crate::world::Snapshot;

/// Orders the steps. Whatever [`crate::planner`] refuses must be refused before.
pub(crate) fn turn(scope: &Scope<'_>, wish: &HandOver) -> Turn {
    let mut steps = Sequence::new(wish.soak_seconds);
    let moves: Vec<_> = scope
        .databases
        .iter()
        .map(|database| (database, ends(database, wish)))
        .filter(|(_, ends)| !ends.is_empty())
        .collect();
    for (database, _) in &moves {
        if wish.probe {
            steps.start_probe(database, &scope.steady_pools);
        }
        steps.start_agents(database, &scope.steady_pools);
    }
    for (database, ends) in &moves {
        let members = database.set.replicas;
        for ends in ends {
            steps.hand_over(scope, database, *ends, members, wish.approve_hand_over);
        }
    }
    for (database, _) in &moves {
        steps.stop_agents(database);
    }
    for (database, _) in moves.iter().filter(|_| wish.probe) {
        steps.certify(database);
    }
    let fewest_members = moves
        .iter()
        .map(|(database, _)| database.set.replicas)
        .min()
        .unwrap_or(0);
    Turn {
        steps: steps.into_steps(),
        peak: Peak {
            extra_nodes: 0,
            extra_replicas: 0,
            fewest_members,
            if_a_member_crashes: if moves.is_empty() {
                "nothing to do: every primary is where it shall be".to_owned()
            } else {
                "the hand-over is undone or finished, whichever the members' positions allow"
                    .to_owned()
            },
        },
    }
}

/// Old and new primaries; none if nothing has to move.
fn ends<'s, 'a>(
    database: &'s DatabaseScope<'a>,
    wish: &HandOver,
) -> Vec<(&'s Member<'a>, &'s Member<'a>)> {
    databases::of(database)
        .hand_overs(wish.to.as_deref())
        .into_iter()
        .filter_map(|(from, to)| Some((database.members.get(&from)?, database.members.get(&to)?)))
        .collect()
}

/// What only a hand-over alone must ask: is there somebody to take over, on a node that stays?
pub(crate) fn gate(world: &Snapshot, scope: &Scope<'_>, wish: &HandOver) -> Findings {
    let mut findings = Findings::default();
    for database in &scope.databases {
        if let Some(pod) = &wish.to
            && let Some(member) = database.members.values().find(|m| m.name.name == *pod)
        {
            findings.absorb(takes_over(database, member, wish));
        } else if let Some(pod) = &wish.to {
            findings.refuse(
                Diagnostic::new(
                    codes::NO_CANDIDATE,
                    database.name,
                    format!("`{pod}` is no member of {}", database.set_name),
                )
                .seen(format!(
                    "members: {}",
                    join(database.members.values().map(|m| &m.name.name))
                ))
                .fix("correct `to`, or leave it out"),
            );
        }
        for (_, to) in ends(database, wish) {
            let node = to.pod.node.as_ref();
            let stays = node
                .and_then(|node| world.nodes.get(node))
                .is_some_and(|node| !node.unschedulable);
            if !stays {
                findings.refuse(
                    Diagnostic::new(
                        codes::NO_CANDIDATE,
                        &to.name,
                        "its node is cordoned: the primary would soon have to move again",
                    )
                    .seen(format!("it is on {}", join(node)))
                    .fix("name another member in `to`, or uncordon the node"),
                );
            }
        }
    }
    findings
}

/// A member that leads already has nothing to do, and one that cannot lead must not look like that.
fn takes_over(database: &DatabaseScope<'_>, member: &Member<'_>, wish: &HandOver) -> Findings {
    let mut findings = Findings::default();
    let pattern = databases::of(database);
    let leaders = pattern.leaders();
    let anybody = pattern.hand_overs(None);
    if ends(database, wish).is_empty() && !leaders.contains(&member.ordinal) && !anybody.is_empty()
    {
        let able = anybody
            .iter()
            .filter_map(|(_, to)| database.members.get(to))
            .map(|able| &able.name.name);
        findings.refuse(
            Diagnostic::new(
                codes::NO_CANDIDATE,
                &member.name,
                "it cannot take over, or not for long",
            )
            .seen(format!("the first that could: {}", join(able)))
            .fix("name that one in `to`, or leave it out"),
        );
    }
    findings
}
