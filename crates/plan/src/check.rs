//! An independent checker of finished plans.
//!
//! Shares no helper with the planner, on purpose: it reads the snapshot and the plan, plays the
//! steps on a picture of the machines and the members, and says which promise a step would break.
//! What both must know (which pools are old, where a disk is) it works out by itself.

mod picture;
mod replay;
mod rollback;
mod shards;

use std::fmt;

use crate::plan::Plan;
use crate::step::StepId;
use crate::world::Snapshot;

/// What a plan that passed was found to need and to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Proof {
    /// Most machines beyond those of today, at any time.
    pub extra_nodes: u32,
    /// Most replicas beyond those of today, in any set, at any time.
    pub extra_replicas: u32,
    /// Fewest whole members of a set that moves, at any time; `None` if nothing moves.
    pub fewest_members: Option<u32>,
    /// Hand-overs in the whole plan.
    pub hand_overs: u32,
    /// Old machines that are retired.
    pub retired: u32,
}

/// A promise that the plan would break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Step that breaks it; `None`: the end of the plan does.
    pub step: Option<StepId>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "step {step}: {}", self.what),
            None => write!(f, "at the end: {}", self.what),
        }
    }
}

/// Plays a plan on the world that it was made from.
///
/// # Guarantees
/// A plan that passes: moves each primary at most once, to a member of its shard on an upgraded machine
/// that is not the seat; moves a member only from a cordoned old machine to a free one at the target in the
/// zone of its disk; never has fewer whole members than it says; retires an old machine only when no
/// member is on it, and retires every old machine and nothing else; removes the seat as the highest
/// ordinal and never as the primary; deletes a pool only when it is empty and never the last System
/// pool; needs exactly the peak that it states.
///
/// A rollback that passes: moves a primary only if it says so, once; moves a member only from a
/// closed machine of the run to a free, open one that the run did not make; deletes only machines
/// and pools of the run, and none that carries a member; removes the seat as the highest ordinal and
/// never as the primary, with claims that are there under that UID; leaves no node closed that was
/// open before the run, and no probe or agent that it started.
///
/// # Errors
/// Every promise that a step or the end would break.
pub fn check(world: &Snapshot, plan: &Plan) -> Result<Proof, Vec<Violation>> {
    if let Some(rollback) = &plan.body.rollback {
        return rollback::Replay::new(world, plan, rollback).play();
    }
    let mut replay = replay::Replay::new(world, plan);
    for step in &plan.body.steps {
        replay.step(step);
    }
    replay.end()
}
