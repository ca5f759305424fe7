//! Draining a pool node after node, in virtual time.
//!
//! # Rules
//! Time goes from event to event. In each instant:
//!
//! 1. What is due happens: nodes come up (in the order of the list), then pods are gone, start to run, become
//!    ready (each in the order of their numbers).
//! 2. Controllers, in the order of the list, make the pods that are missing; new pods get the next
//!    numbers. A pod made in place of an evicted one inherits its origin, first evicted first
//!    replaced. Then the scheduler takes the waiting pods in the order of their numbers and gives
//!    each the best node or none, until a pass places none; within a pass, pods of a shape of which
//!    one found no node are not tried.
//! 3. Soaks that are over end (in the order of the nodes); drains whose time is over end blocked;
//!    drains whose pods are all gone end. A drained node soaks, and is then reimaged, deleted or left, as [`After`] says. Free hands take the next
//!    nodes of the order: each is cordoned and the pods on it are listed, but for those of daemon
//!    sets and static ones. This repeats until nothing changes.
//! 4. Evictions that are due are asked for, by drains in the order of their start, then by the numbers of the pods.
//!    What is accepted stops; what is refused (429) is asked for again after [`Options::retry`];
//!    a pod with two budgets (500) is given up, and its drain ends blocked, 1 ms later
//!    or when the others are gone. A budget that gives way ([`world::Budget::gives_way`]) lets a pod
//!    go that it refused that long ago, if a pod of another number of the same controller is ready
//!    on a node that is not cordoned.
//! 5. Step 2 again.
//!
//! A node that could not be drained is uncordoned and stays as it is; the others go on.
//!
//! # Guarantees
//! The same world and options give the same outcome. Nothing is looked at that did not change: a
//! refused pod is not asked for again before its budget moved, and the outcome is as if it were.

mod batches;
mod budget;
mod near;
mod run;
mod seats;
pub mod world;

pub use batches::{Batches, batches};
pub use budget::Status;
pub use seats::Reason;

use world::{BudgetId, Millis, NodeId, PodId, ShapeId, World};

/// How a pool is drained.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes in the order in which they are drained.
    pub order: Vec<NodeId>,
    /// Nodes drained at the same time; at least 1.
    pub hands: u32,
    /// Absent nodes that come up before the first drain.
    pub surge: Vec<NodeId>,
    /// What becomes of a drained node.
    pub after: After,
    /// Until surge nodes serve; at least 1.
    pub machine_up: Millis,
    /// From the last pod's end until the node is reimaged or deleted.
    pub soak: Millis,
    /// A drain that takes longer is given up.
    pub timeout: Millis,
    /// A refused eviction is asked for again after this.
    pub retry: Millis,
    /// Nodes that are still to be drained carry a `PreferNoSchedule` taint.
    pub shun_old: bool,
}

/// What becomes of a drained node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is reimaged, at least 1 ms, and takes the pods of the next one; deleted when there is no next one.
    Reimage(Millis),
    /// As [`After::Reimage`], and the last ones come back too.
    ReimageAll(Millis),
    /// It is deleted.
    Delete,
    /// It stays, cordoned.
    Leave,
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Drains in the order of their start.
    pub drains: Vec<Drain>,
    /// Accepted evictions in order.
    pub evictions: Vec<Evicted>,
    /// Places given by the scheduler in order.
    pub placements: Vec<Placed>,
    /// Pods that wait for a node at the end, with what the nodes lack.
    pub homeless: Vec<Homeless>,
    /// When the last drain ended.
    pub ended: Millis,
    /// Origins of the pods that the simulation made, from the number of the first on.
    pub origins: Vec<PodId>,
}

/// A node's drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Which node.
    pub node: NodeId,
    /// When it was cordoned.
    pub started: Millis,
    /// When the last pod was gone, or it was given up.
    pub ended: Millis,
    /// Evictions that were accepted.
    pub evictions: u32,
    /// Pods that did not go; none: the node is drained.
    pub blocked: Vec<Blocked>,
}

/// A pod that did not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Which.
    pub pod: PodId,
    /// Why.
    pub why: Why,
}

/// Why a pod did not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The budget did not allow it.
    Budget {
        /// Which.
        budget: BudgetId,
        /// Its numbers when the drain was given up.
        status: Status,
        /// Selected pods that ran and were not ready then.
        unready: Vec<PodId>,
        /// Selected pods that waited for a node then, with what the nodes lacked for the first.
        homeless: Vec<PodId>,
        /// What the nodes lacked for the first of them.
        lacking: Vec<(Reason, u32)>,
    },
    /// Two budgets select it.
    TwoBudgets(BudgetId, BudgetId),
    /// It was still stopping.
    Stopping,
}

/// An accepted eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// When.
    pub at: Millis,
    /// From where.
    pub node: NodeId,
    /// Which pod.
    pub pod: PodId,
    /// The pod of the beginning that it stands for.
    pub origin: PodId,
}

/// A pod got a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// When.
    pub at: Millis,
    /// Which pod.
    pub pod: PodId,
    /// Where.
    pub node: NodeId,
}

/// A pod without a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Homeless {
    /// Which.
    pub pod: PodId,
    /// The pod of the beginning that it stands for.
    pub origin: PodId,
    /// What it is like.
    pub shape: ShapeId,
    /// It waited from the beginning.
    pub already: bool,
    /// What the nodes lack.
    pub lacking: Vec<(Reason, u32)>,
}

/// Plays the drains.
pub fn simulate(world: &World, options: &Options) -> Outcome {
    run::Run::new(world, options).play()
}

impl World {
    /// The status of every budget now.
    pub fn statuses(&self) -> Vec<Status> {
        run::statuses(self)
    }
}
