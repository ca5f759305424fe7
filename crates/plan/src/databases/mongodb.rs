//! A MongoDB replica set: secondaries move one at a time, the primary steps down once, without force,
//! in favour of the member that the plan names.
//!
//! # Source
//! The procedure and its figures: `docs/patterns/mongodb.md`.

mod gate;

use std::ops::Deref;

use serde_json::{Value, json};

use super::{Change, Order, Pattern, members};
use crate::diagnostic::Findings;
use crate::estimates;
use crate::ids::ObjectRef;
use crate::plan::Promise;
use crate::policy::MongoSpec;
use crate::scope::{DatabaseScope, Member, Scope};
use crate::step::{HandOverTerms, Lag, MongoTerms};
use crate::world::{Mongo, MongoFacts, MongoState, Snapshot};

/// A secondary counts as whole up to this lag. Two seconds: an idle secondary hears of the newest
/// entry within one heartbeat (2 s), and servers tell positions in whole seconds.
pub const WHOLE_LAG: Lag = Lag::Millis(2_000);

/// A set, with what the spec says of it.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    scope: &'a DatabaseScope<'a>,
    spec: &'a MongoSpec,
    observed: &'a Mongo,
}

impl<'a> Deref for Set<'a> {
    type Target = DatabaseScope<'a>;

    fn deref(&self) -> &Self::Target {
        self.scope
    }
}

impl<'a> Set<'a> {
    pub(super) fn new(
        scope: &'a DatabaseScope<'a>,
        spec: &'a MongoSpec,
        observed: &'a Mongo,
    ) -> Self {
        Self {
            scope,
            spec,
            observed,
        }
    }

    /// What a member's server said.
    fn facts(&self, member: &Member<'_>) -> Option<&'a MongoFacts> {
        members::facts(&self.observed.members, member)
    }

    /// Members that answered, with their answers.
    fn answers(&self) -> impl Iterator<Item = (&'a Member<'a>, &'a MongoFacts)> {
        members::answers(self.scope, &self.observed.members)
    }

    /// The only member that says it is the primary.
    fn primary(&self) -> Option<(&'a Member<'a>, &'a MongoFacts)> {
        members::only(
            self.answers()
                .filter(|(_, facts)| facts.state == MongoState::Primary),
        )
    }

    fn priority(&self, member: &Member<'_>) -> u64 {
        self.facts(member)
            .and_then(MongoFacts::myself)
            .filter(|(_, peer)| peer.is_electable())
            .map_or(0, |(_, peer)| peer.priority_milli)
    }

    /// Secondaries that may lead; those with the highest priority first, then by ordinal.
    fn candidates(&self) -> Vec<&'a Member<'a>> {
        let mut found: Vec<&Member<'_>> = self
            .answers()
            .filter(|(member, facts)| {
                facts.state == MongoState::Secondary && self.priority(member) > 0
            })
            .map(|(member, _)| member)
            .collect();
        found.sort_by_key(|member| (std::cmp::Reverse(self.priority(member)), member.ordinal));
        found
    }
}

impl Pattern for Set<'_> {
    fn gate(&self, _: &Snapshot, scope: &Scope<'_>, _: bool) -> Findings {
        gate::gate(self, scope)
    }

    fn leaders(&self) -> Vec<u32> {
        self.answers()
            .filter(|(_, facts)| facts.state == MongoState::Primary)
            .map(|(member, _)| member.ordinal)
            .collect()
    }

    fn leader_of(&self, _: u32) -> Option<u32> {
        Some(self.primary()?.0.ordinal)
    }

    fn follows(&self, member: &Member<'_>) -> bool {
        self.facts(member)
            .is_some_and(|facts| facts.state == MongoState::Secondary)
    }

    /// Secondaries by zone, then by ordinal; the primary last, once it has handed over to the
    /// electable secondary of the highest priority.
    fn order(&self) -> Option<Order> {
        let (primary, _) = self.primary()?;
        members::replicas_first(self.scope, primary.ordinal, || {
            self.candidates().first().map(|member| member.ordinal)
        })
    }

    fn hand_overs(&self, wanted: Option<&str>) -> Vec<(u32, u32)> {
        let Some((primary, _)) = self.primary() else {
            return Vec::new();
        };
        let candidates = self.candidates();
        // One of a lower priority than another secondary would soon lose the role to it.
        let highest = candidates.first().map(|member| self.priority(member));
        let chosen = candidates
            .into_iter()
            .filter(|member| Some(self.priority(member)) == highest)
            .find(|member| wanted.is_none_or(|pod| member.name.name == pod));
        chosen
            .map(|member| (primary.ordinal, member.ordinal))
            .into_iter()
            .collect()
    }

    fn change(&self, _: &ObjectRef, _: &ObjectRef) -> Option<Change> {
        Some(Change {
            terms: HandOverTerms::Mongodb(MongoTerms {
                window_budget_ms: self.spec.window.0,
                chain: self.primary().is_some_and(|(_, facts)| facts.chaining),
            }),
            max_lag: WHOLE_LAG,
            guards: Vec::new(),
            gate: format!("hand-over-{}", self.name),
            of_what: self.name.to_string(),
            clients: clients(),
        })
    }

    /// A member more is a change of the configuration and an initial sync of everything; a set is
    /// kept whole by moving one member at a time.
    fn takes_seat(&self) -> bool {
        false
    }

    fn remembers(&self, _: &str) -> bool {
        false
    }

    /// The set elects by itself once its primary has stepped down, and one that could not step down
    /// takes writes again: nobody has to stand by.
    fn needs_agents(&self) -> bool {
        false
    }

    fn whole_lag(&self) -> Lag {
        WHOLE_LAG
    }

    fn if_one_crashes(&self, whole: u32, _: bool) -> String {
        let votes: u32 = self.primary().map_or(0, |(_, facts)| {
            facts.peers.values().map(|peer| peer.votes).sum()
        });
        let cost = if whole > votes / 2 + 1 {
            "if another one crashes then, a majority is left and elects within 12 s"
        } else {
            "if another one crashes then, no majority is left: no write until it or the moved one is \
             back, and none that was acknowledged by a majority is lost"
        };
        format!("{whole} members are whole while one moves as a secondary; {cost}")
    }

    fn promise(&self) -> Promise {
        let weak = self
            .primary()
            .is_some_and(|(_, facts)| facts.default_write_concern != "majority");
        Promise {
            database: self.name.clone(),
            limits: self.scope.spec.limits.clone(),
            durability: format!(
                "no write that was acknowledged by a majority is lost, whatever crashes; a planned step-down \
                 loses no other write either, because the successor has everything before the primary \
                 steps down{}",
                if weak {
                    ". Clients of this set do not wait for a majority by default: a crash may lose what only \
                     the primary had, at any time"
                } else {
                    ""
                },
            ),
            clients: clients(),
        }
    }

    fn decided_by(&self, member: &Member<'_>) -> Value {
        json!(self.facts(member).map(|facts| {
            (
                &facts.state,
                &facts.set,
                &facts.me,
                &facts.version,
                facts.chaining,
                facts
                    .myself()
                    .map(|(id, peer)| (id, peer.votes, peer.priority_milli)),
            )
        }))
    }

    fn decided_by_others(&self) -> Vec<(String, Value)> {
        Vec::new()
    }
}

fn clients() -> String {
    format!(
        "Drivers with retryable writes (their default) try once more on the new primary: writes pause for up to \
         {} ms (longest measured); reads from secondaries go on; connections to a member are cut once, when it moves.",
        estimates::ELECTION_STALL_MS
    )
}
