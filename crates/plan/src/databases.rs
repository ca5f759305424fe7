//! One file per database system, each with the same answers behind [`Pattern`]: `gate` (what must
//! be true before anything is touched), `order` (who moves when), `hand_over` (how a leading
//! member changes), `retire` (how the extra seat leaves) and what the run promises.
//!
//! Whoever orders the steps of a run asks through [`of`] and knows no system by name.

pub mod mariadb;
pub mod mongodb;
pub mod postgres;
pub mod redis;
mod service;

use serde_json::Value;

use crate::diagnostic::Findings;
use crate::ids::ObjectRef;
use crate::plan::Promise;
use crate::scope::{DatabaseScope, Member, Scope, Seen};
use crate::step::{Gate, Guard, StepKind};
use crate::world::Snapshot;

/// How a database is carried.
pub trait Pattern {
    /// What must be true of the servers, and of what stands before them, before anything is
    /// touched. `seat`: one more replica rides along.
    fn gate(&self, world: &Snapshot, scope: &Scope<'_>, seat: bool) -> Findings;

    /// Ordinals of the members that say they lead.
    fn leaders(&self) -> Vec<u32>;

    /// Who leads the set or the shard of a member; itself, if it leads. `None` if nobody, or more
    /// than one.
    fn leader_of(&self, ordinal: u32) -> Option<u32>;

    /// The member follows its leader without a gap.
    fn follows(&self, member: &Member<'_>) -> bool;

    /// Who moves when; `None` if that cannot be said, which [`Pattern::gate`] refuses.
    fn order(&self) -> Option<Order>;

    /// The hand-overs if nothing else moves, as pairs of leader and successor: to the member that
    /// is asked for, or to those that the pattern chooses.
    fn hand_overs(&self, wanted: Option<&str>) -> Vec<(u32, u32)>;

    /// One hand-over, with what is checked right before it and who is asked.
    fn hand_over(
        &self,
        scope: &Scope<'_>,
        from: &ObjectRef,
        to: &ObjectRef,
        members: u32,
        ask: bool,
    ) -> (StepKind, Vec<Guard>, Option<Gate>);

    /// One replica more may ride along, so that no move lowers the redundancy.
    fn takes_seat(&self) -> bool;

    /// How the extra seat leaves, and what is checked right before.
    fn retire(&self, seat: &ObjectRef, replicas: u32) -> (StepKind, Vec<Guard>);

    /// A removed member is still remembered by the servers.
    fn remembers(&self, pod: &str) -> bool;

    /// Hand-overs are carried out by an agent's pod with a watchdog beside it, not by the process
    /// that drives the run.
    fn needs_agents(&self) -> bool;

    /// A replica counts as whole up to this lag.
    fn whole_lag_bytes(&self) -> u64;

    /// What a crash in the middle of a move costs, if so many members are whole then.
    fn if_one_crashes(&self, whole: u32, seat: bool) -> String;

    /// What the run promises.
    fn promise(&self) -> Promise;

    /// What the plan rests on in a member's answers: nothing that changes by itself.
    fn decided_by(&self, member: &Member<'_>) -> Value;

    /// Likewise of what stands before the servers, by a name for people.
    fn decided_by_others(&self) -> Vec<(String, Value)>;
}

/// Who moves when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Ordinal of the member next to which the extra seat is best placed.
    pub beside: u32,
    /// What is done, in order.
    pub acts: Vec<Act>,
}

impl Order {
    /// A leading member changes.
    pub fn hands_over(&self) -> bool {
        self.acts
            .iter()
            .any(|act| matches!(act, Act::HandOver { .. }))
    }
}

/// One thing that is done to a member, by ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It leaves its old node, as a replica.
    Move(u32),
    /// One hands the lead over to the other.
    HandOver {
        /// Leads now.
        from: u32,
        /// Leads afterwards.
        to: u32,
    },
}

/// The pattern of a database.
pub fn of<'a>(database: &'a DatabaseScope<'a>) -> Box<dyn Pattern + 'a> {
    match database.seen {
        Seen::Postgres(spec, observed) => Box::new(postgres::Set::new(database, spec, observed)),
        Seen::Redis(spec, observed) => Box::new(redis::Cluster::new(database, spec, observed)),
        Seen::Mongodb(spec, observed) => Box::new(mongodb::Set::new(database, spec, observed)),
        Seen::Mariadb(spec, observed) => Box::new(mariadb::Set::new(database, spec, observed)),
    }
}
