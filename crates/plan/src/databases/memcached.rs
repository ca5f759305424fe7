//! Memcached: the cache is refilled, not replicated. One member moves at a time, and the next one only after it has its
//! keys again; nobody leads and nothing is handed over.
//!
//! # Source
//! The procedure and its figures: `docs/patterns/memcached.md`.

mod gate;

use std::ops::Deref;

use serde_json::{Value, json};

use super::{Order, Pattern, members};
use crate::diagnostic::Findings;
use crate::plan::Promise;
use crate::policy::MemcachedSpec;
use crate::scope::{DatabaseScope, Member, Scope};
use crate::step::Lag;
use crate::world::{Memcached, MemcachedFacts, Snapshot};

/// Time that a member needs to be back, without its keys. 10 min: it has no disk to wait for, but its image may have to
/// come from far.
const AWAY_MS: u64 = 600_000;

/// Members with fewer keys than these are not compared by their number.
///
/// 100: where there is next to nothing, nothing has to be refilled.
pub const FEW_ITEMS: u64 = 100;

/// Points that the hit-rate may be below the share of the members that are left, where the spec sets no limit of its
/// own: keys are not spread evenly within a second.
pub const POINTS_BELOW_SHARE: f64 = 5.0;

/// A pool, with what the spec says of it.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    scope: &'a DatabaseScope<'a>,
    spec: &'a MemcachedSpec,
    observed: &'a Memcached,
}

impl<'a> Deref for Pool<'a> {
    type Target = DatabaseScope<'a>;

    fn deref(&self) -> &Self::Target {
        self.scope
    }
}

impl<'a> Pool<'a> {
    pub(super) fn new(
        scope: &'a DatabaseScope<'a>,
        spec: &'a MemcachedSpec,
        observed: &'a Memcached,
    ) -> Self {
        Self {
            scope,
            spec,
            observed,
        }
    }

    fn facts(&self, member: &Member<'_>) -> Option<&'a MemcachedFacts> {
        members::facts(&self.observed.members, member)
    }

    fn answers(&self) -> impl Iterator<Item = (&'a Member<'a>, &'a MemcachedFacts)> {
        members::answers(self.scope, &self.observed.members)
    }
}

/// What a member may be behind.
pub fn whole_lag(spec: &MemcachedSpec) -> Lag {
    Lag::Points(u64::from(spec.refill_within.get()))
}

impl Pattern for Pool<'_> {
    fn gate(&self, _: &Snapshot, scope: &Scope<'_>, _: bool) -> Findings {
        gate::gate(self, scope)
    }

    fn leads(&self) -> bool {
        false
    }

    fn order(&self) -> Option<Order> {
        Some(Order {
            beside: *self.scope.members.keys().next()?,
            acts: members::moves(self.scope.moving()),
        })
    }

    /// A server more would take keys from all others, and give them back when it goes: two times the misses.
    fn takes_seat(&self) -> bool {
        false
    }

    fn remembers(&self, _: &str) -> bool {
        false
    }

    fn needs_agents(&self) -> bool {
        false
    }

    fn whole_lag(&self) -> Lag {
        whole_lag(self.spec)
    }

    fn move_limit_ms(&self) -> Option<u64> {
        Some(AWAY_MS + self.spec.refill_limit.0)
    }

    fn if_one_crashes(&self, whole: u32, _: bool) -> String {
        let all = whole + 1;
        format!(
            "{whole} of {all} members answer while one moves; if another crashes then, about {} of {all} keys are loaded \
             from the backend, and no request fails for it",
            2.min(all)
        )
    }

    fn promise(&self) -> Promise {
        let limit = match self.spec.min_hit_rate {
            Some(percent) => format!("{percent} %"),
            None => {
                format!(
                    "the share of the keys that the other members have, less {POINTS_BELOW_SHARE} points"
                )
            }
        };
        Promise {
            database: self.name.clone(),
            limits: self.scope.spec.limits.clone(),
            durability: format!(
                "none, as of any cache: each member loses what it holds when it moves, and is refilled from the backend. \
                 The hit-rate stays above {limit}, and nobody reads what an earlier absence left behind"
            ),
            clients: "Clients that know members by names that stay, and take a member that hung up off their ring, see \
                      misses and no errors; connections to a member are cut once, when it moves."
                .to_owned(),
        }
    }

    fn decided_by(&self, member: &Member<'_>) -> Value {
        json!(self.facts(member).map(|facts| &facts.version))
    }

    fn decided_by_others(&self) -> Vec<(String, Value)> {
        Vec::new()
    }
}
