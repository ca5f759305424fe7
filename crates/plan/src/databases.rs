//! One file per database system, each with the same answers behind [`Pattern`]: `gate` (what must
//! be true before anything is touched), `order` (who moves when), `change` (how a leading member
//! changes) and what the run promises.
//!
//! Whoever orders the steps of a run asks through [`of`] and knows no system by name.

pub mod kafka;
pub mod mariadb;
mod members;
pub mod memcached;
pub mod mongodb;
pub(crate) mod operators;
pub mod postgres;
pub mod redis;
mod service;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::diagnostic::Findings;
use crate::ids::ObjectRef;
use crate::plan::Promise;
use crate::scope::{DatabaseScope, Member, Scope, Seen};
use crate::step::{DrainTerms, Guard, HandOverTerms, Lag};
use crate::world::Snapshot;

/// How a database is carried.
pub trait Pattern {
    /// What must be true of the servers, and of what stands before them, before anything is
    /// touched. `seat`: one more replica rides along.
    fn gate(&self, world: &Snapshot, scope: &Scope<'_>, seat: bool) -> Findings;

    /// Members lead others. Where nobody does, whatever is said of leaders and of hand-overs is left as it is here.
    fn leads(&self) -> bool {
        true
    }

    /// Ordinals of the members that say they lead.
    fn leaders(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Who leads the set or the shard of a member; itself, if it leads. `None` if nobody, or more
    /// than one.
    fn leader_of(&self, _ordinal: u32) -> Option<u32> {
        None
    }

    /// The member follows its leader without a gap.
    fn follows(&self, _member: &Member<'_>) -> bool {
        false
    }

    /// Who moves when; `None` if that cannot be said, which [`Pattern::gate`] refuses.
    fn order(&self) -> Option<Order>;

    /// The hand-overs if nothing else moves, as pairs of leader and successor: to the member that
    /// is asked for, or to those that the pattern chooses.
    fn hand_overs(&self, _wanted: Option<&str>) -> Vec<(u32, u32)> {
        Vec::new()
    }

    /// One hand-over from one member to another; `None` where none leads the set or a shard of it.
    fn change(&self, _from: &ObjectRef, _to: &ObjectRef) -> Option<Change> {
        None
    }

    /// What is led away from a member before it moves, if every member leads a part; `settled` have
    /// moved already.
    fn drain(&self, _leaving: u32, _settled: &BTreeSet<u32>) -> Option<Drain> {
        None
    }

    /// One replica more may ride along, so that no move lowers the redundancy.
    fn takes_seat(&self) -> bool;

    /// A removed member is still remembered by the servers.
    fn remembers(&self, pod: &str) -> bool;

    /// Hand-overs are carried out by an agent's pod with a watchdog beside it, not by the process
    /// that drives the run.
    fn needs_agents(&self) -> bool;

    /// A replica counts as whole up to this lag.
    fn whole_lag(&self) -> Lag;

    /// Longest that a member may take to leave its node and to be whole again, in milliseconds, where that is not the
    /// same for all systems.
    fn move_limit_ms(&self) -> Option<u64> {
        None
    }

    /// What a crash in the middle of a move costs, if so many members are whole then.
    fn if_one_crashes(&self, whole: u32, seat: bool) -> String;

    /// What the run promises.
    fn promise(&self) -> Promise;

    /// What the plan rests on in a member's answers: nothing that changes by itself.
    fn decided_by(&self, member: &Member<'_>) -> Value;

    /// Likewise of what stands before the servers, by a name for people.
    fn decided_by_others(&self) -> Vec<(String, Value)>;
}

/// How a leading member changes.
#[derive(Clone, Debug)]
pub struct Change {
    /// On what terms.
    pub terms: HandOverTerms,
    /// How far any replica may be behind when it begins.
    pub max_lag: Lag,
    /// What must hold right before, beside what holds for every system.
    pub guards: Vec<Guard>,
    /// Name of the gate, where a person is asked.
    pub gate: String,
    /// Whose primary moves, for the question.
    pub of_what: String,
    /// What clients see of it.
    pub clients: String,
}

/// What is led away from a member.
#[derive(Clone, Debug)]
pub struct Drain {
    /// On what terms.
    pub terms: DrainTerms,
    /// Partitions that it leads now.
    pub partitions: usize,
    /// Partitions of the whole cluster.
    pub of_all: usize,
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
        Seen::Memcached(spec, observed) => Box::new(memcached::Pool::new(database, spec, observed)),
        Seen::Kafka(spec, observed) => Box::new(kafka::Cluster::new(database, spec, observed)),
    }
}
