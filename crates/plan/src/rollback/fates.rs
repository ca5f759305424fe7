//! What becomes of each step of the run: taken back by which steps, as before, or why it stays.

use std::collections::{BTreeMap, BTreeSet};

use super::Past;
use super::past::{Left, leads, members};
use crate::ids::PoolName;
use crate::plan::{Becomes, Fate};
use crate::scope::{Scope, join};
use crate::step::{NodeIdentity, Step, StepId, StepKind, Undo};
use crate::world::Snapshot;

pub(super) fn of(
    world: &Snapshot,
    scope: &Scope<'_>,
    past: &Past<'_>,
    left: &Left,
    steps: &[Step],
) -> Vec<Fate> {
    let mut telling = Telling {
        world,
        scope,
        past,
        left,
        steps,
        taken: BTreeMap::new(),
    };
    past.plan
        .body
        .steps
        .iter()
        .rev()
        .filter(|step| past.begun.contains_key(&step.id))
        .filter_map(|step| {
            Some(Fate {
                step: step.id,
                title: step.title.clone(),
                becomes: telling.becomes(step)?,
            })
        })
        .collect()
}

struct Telling<'a> {
    world: &'a Snapshot,
    scope: &'a Scope<'a>,
    past: &'a Past<'a>,
    left: &'a Left,
    steps: &'a [Step],
    /// Machines of each pool whose going was told already: the newest growth goes first.
    taken: BTreeMap<PoolName, BTreeSet<StepId>>,
}

impl Telling<'_> {
    fn by(&self, is: impl Fn(&StepKind) -> bool) -> Vec<StepId> {
        self.steps
            .iter()
            .filter(|step| is(&step.kind))
            .map(|step| step.id)
            .collect()
    }

    fn taken_or(&self, is: impl Fn(&StepKind) -> bool, before: &str) -> Becomes {
        let by = self.by(is);
        if by.is_empty() {
            Becomes::AsBefore(before.to_owned())
        } else {
            Becomes::TakenBack(by)
        }
    }

    /// `None` for a step that has nothing to take back.
    fn becomes(&mut self, step: &Step) -> Option<Becomes> {
        Some(match &step.kind {
            StepKind::StartProbe { database, .. } => self.taken_or(
                |kind| matches!(kind, StepKind::Certify { database: of } if of == database),
                "the probe has given its verdict",
            ),
            StepKind::StartAgents { database, .. } => self.taken_or(
                |kind| matches!(kind, StepKind::StopAgents { database: of } if of == database),
                "they are stopped already",
            ),
            StepKind::Cordon { .. } => self.taken_or(
                |kind| matches!(kind, StepKind::Uncordon { .. }),
                "no node that is left was closed by the run",
            ),
            StepKind::GrowPool { pool, .. } => self.growth(pool),
            StepKind::AddSeat { database, .. } => self.taken_or(
                |kind| matches!(kind, StepKind::RemoveSeat { database: of, .. } if of == database),
                "the seat is gone already",
            ),
            StepKind::MoveReplica { pod, from, .. } => {
                let by = self
                    .by(|kind| matches!(kind, StepKind::MoveReplica { pod: p, .. } if p == pod));
                let at = members(self.scope)
                    .find(|member| member.name == *pod)
                    .and_then(|member| member.pod.node.as_ref());
                if !by.is_empty() {
                    Becomes::TakenBack(by)
                } else if at == Some(&from.name) {
                    Becomes::AsBefore(format!("{} is on {}", pod.name, from.name))
                } else if !self.is_there(from) || self.past.is_leaving(from) {
                    Becomes::Stays(format!(
                        "{} stays on {}: the machine that it left is gone, or on its way",
                        pod.name,
                        join(at)
                    ))
                } else if leads(self.scope, pod) {
                    Becomes::Stays(format!(
                        "{} stays on {}: it is the primary, and moving it would be a failover",
                        pod.name,
                        join(at)
                    ))
                } else if at.is_none() {
                    Becomes::AsBefore(format!("{} goes where its disk is", pod.name))
                } else {
                    Becomes::Stays(format!(
                        "{} stays on {}: {} is not free for it",
                        pod.name,
                        join(at),
                        from.name
                    ))
                }
            }
            StepKind::DrainLeaders { database, .. } => self.taken_or(
                |kind| matches!(kind, StepKind::ReturnLeaders { database: of, .. } if of == database),
                "every partition has its leader back",
            ),
            StepKind::HandOver { database, from, .. } => {
                let by = self.by(
                    |kind| matches!(kind, StepKind::HandOver { database: of, .. } if of == database),
                );
                if !by.is_empty() {
                    Becomes::TakenBack(by)
                } else if leads(self.scope, from) {
                    Becomes::AsBefore(format!("{} is the primary", from.name))
                } else {
                    Becomes::Stays(format!(
                        "the primary does not go back to {}: every hand-over is a second move (--hand-back asks for it)",
                        from.name
                    ))
                }
            }
            StepKind::RetireNode { node, .. } => {
                if self.is_there(node) {
                    self.taken_or(
                        |kind| matches!(kind, StepKind::Uncordon { nodes } if nodes.contains(node)),
                        "the machine is there and open",
                    )
                } else {
                    Becomes::Stays(why(step))
                }
            }
            StepKind::DeletePool { pool } => {
                if self.world.pools.contains_key(pool) {
                    Becomes::AsBefore(format!("{pool} is there"))
                } else {
                    Becomes::Stays(why(step))
                }
            }
            StepKind::Uncordon { .. }
            | StepKind::ShrinkPool { .. }
            | StepKind::ReturnLeaders { .. }
            | StepKind::RemoveSeat { .. }
            | StepKind::StopAgents { .. }
            | StepKind::Certify { .. } => return None,
        })
    }

    fn is_there(&self, node: &NodeIdentity) -> bool {
        self.world
            .nodes
            .get(&node.name)
            .is_some_and(|found| found.uid == node.uid)
    }

    fn growth(&mut self, pool: &PoolName) -> Becomes {
        let deleted = self.by(|kind| matches!(kind, StepKind::DeletePool { pool: p } if p == pool));
        let told = self.taken.entry(pool.clone()).or_default().clone();
        let next = self.steps.iter().find(|step| {
            matches!(&step.kind, StepKind::RetireNode { pool: p, .. } if p == pool)
                && !told.contains(&step.id)
        });
        let machine = next.map(|step| step.id);
        if let Some(id) = machine {
            self.taken.entry(pool.clone()).or_default().insert(id);
        }
        let by: Vec<StepId> = machine.into_iter().chain(deleted).collect();
        if !by.is_empty() {
            return Becomes::TakenBack(by);
        }
        let carried = self
            .left
            .kept
            .iter()
            .filter(|(node, _)| self.left.pool_of.get(*node) == Some(pool))
            .map(|(_, pod)| pod.name.as_str());
        let carried = join(carried);
        if carried == "none" {
            Becomes::AsBefore("its machine is gone already".to_owned())
        } else {
            Becomes::Stays(format!("{pool} carries {carried}"))
        }
    }
}

fn why(step: &Step) -> String {
    match &step.undo {
        Undo::RollForwardOnly(why) => why.clone(),
        _ => "it cannot be taken back".to_owned(),
    }
}
