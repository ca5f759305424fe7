//! A MariaDB set with asynchronous GTID replication: replicas move one at a time, the primary is
//! locked, its last position awaited on the successor, and the roles change once.
//!
//! # Source
//! The procedure and its figures: `docs/patterns/mariadb.md`.

mod gate;
mod replication;

use std::ops::Deref;

use serde_json::{Value, json};

use super::{Change, Order, Pattern, members};
use crate::diagnostic::Findings;
use crate::estimates;
use crate::ids::ObjectRef;
use crate::plan::Promise;
use crate::policy::MariadbSpec;
use crate::scope::{DatabaseScope, Member, Scope};
use crate::step::{HandOverTerms, Lag, MariadbTerms};
use crate::world::{Mariadb, MariadbFacts, Snapshot};

/// A replica counts as whole if it has everything that its primary had so long ago. One second: a
/// replica that keeps up is behind by a commit or two.
pub const WHOLE_LAG: Lag = Lag::Millis(1_000);

/// A set, with what the spec says of it.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    scope: &'a DatabaseScope<'a>,
    spec: &'a MariadbSpec,
    observed: &'a Mariadb,
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
        spec: &'a MariadbSpec,
        observed: &'a Mariadb,
    ) -> Self {
        Self {
            scope,
            spec,
            observed,
        }
    }

    /// What a member's server said.
    fn facts(&self, member: &Member<'_>) -> Option<&'a MariadbFacts> {
        members::facts(&self.observed.members, member)
    }

    /// Members that answered, with their answers.
    fn answers(&self) -> impl Iterator<Item = (&'a Member<'a>, &'a MariadbFacts)> {
        members::answers(self.scope, &self.observed.members)
    }

    /// The only member that copies from nobody.
    fn primary(&self) -> Option<(&'a Member<'a>, &'a MariadbFacts)> {
        members::only(self.answers().filter(|(_, facts)| facts.leads()))
    }

    /// Replicas that may lead: not held back on purpose, those closest to the primary first, then by
    /// ordinal.
    fn candidates(&self) -> Vec<&'a Member<'a>> {
        let mut found: Vec<_> = self
            .answers()
            .filter(|(_, facts)| {
                !facts.leads() && facts.sources.iter().all(|source| source.delay_seconds == 0)
            })
            .map(|(member, facts)| {
                let behind = facts.sources.iter().filter_map(|s| s.behind_seconds).max();
                (behind, member.ordinal, member)
            })
            .collect();
        found.sort_by_key(|(behind, ordinal, _)| (*behind, *ordinal));
        found.into_iter().map(|(_, _, member)| member).collect()
    }

    /// Commits of this set wait for a replica.
    fn semi_sync(&self) -> bool {
        self.answers().any(|(_, facts)| facts.semi_sync_source)
    }
}

impl Pattern for Set<'_> {
    fn gate(&self, _: &Snapshot, scope: &Scope<'_>, _: bool) -> Findings {
        gate::gate(self, scope)
    }

    fn leaders(&self) -> Vec<u32> {
        self.answers()
            .filter(|(_, facts)| facts.leads())
            .map(|(member, _)| member.ordinal)
            .collect()
    }

    fn leader_of(&self, _: u32) -> Option<u32> {
        Some(self.primary()?.0.ordinal)
    }

    fn follows(&self, member: &Member<'_>) -> bool {
        self.facts(member)
            .is_some_and(|facts| !facts.leads() && facts.sources.iter().all(|s| s.runs()))
    }

    /// Replicas by zone, then by ordinal; the primary last, once it has handed over to the first of
    /// the candidates.
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
        let chosen = self
            .candidates()
            .into_iter()
            .find(|member| wanted.is_none_or(|pod| member.name.name == pod));
        chosen
            .map(|member| (primary.ordinal, member.ordinal))
            .into_iter()
            .collect()
    }

    fn change(&self, _: &ObjectRef, _: &ObjectRef) -> Option<Change> {
        Some(Change {
            terms: HandOverTerms::Mariadb(MariadbTerms {
                lock_budget_ms: self.spec.transaction.0,
                window_budget_ms: self.spec.window.0,
                semi_sync: self.semi_sync(),
            }),
            max_lag: WHOLE_LAG,
            guards: Vec::new(),
            gate: format!("hand-over-{}", self.name),
            of_what: self.name.to_string(),
            clients: clients(self.spec.service.is_some()),
        })
    }

    /// A member more is a copy of everything; a set is kept whole by moving one member at a time.
    fn takes_seat(&self) -> bool {
        false
    }

    /// A primary keeps no list of its replicas.
    fn remembers(&self, _: &str) -> bool {
        false
    }

    /// The lock on the old primary is of one session and ends with it: whoever hands over and dies
    /// before the decision leaves a primary that goes on.
    fn needs_agents(&self) -> bool {
        false
    }

    fn whole_lag(&self) -> Lag {
        WHOLE_LAG
    }

    fn if_one_crashes(&self, whole: u32, _: bool) -> String {
        let others = whole.saturating_sub(1);
        format!(
            "{whole} members are whole while one moves as a replica; if the primary crashes then, writes stop \
             until it is back (nobody promotes another one by itself), and what none of the {others} other \
             members had yet is on its disk only"
        )
    }

    fn promise(&self) -> Promise {
        Promise {
            database: self.name.clone(),
            limits: self.scope.spec.limits.clone(),
            durability: format!(
                "no acknowledged write is lost by the hand-over: nobody is promoted before it has everything. A \
                 crash of the primary's disk may lose what no replica had yet, as at any other time{}",
                if self.semi_sync() {
                    "; commits wait for a replica (semi-synchronous replication)"
                } else {
                    ""
                }
            ),
            clients: clients(self.spec.service.is_some()),
        }
    }

    fn decided_by(&self, member: &Member<'_>) -> Value {
        json!(self.facts(member).map(|facts| {
            (
                &facts.version,
                facts.server_id,
                facts.read_only,
                facts.semi_sync_source,
                facts
                    .sources
                    .iter()
                    .map(|source| (&source.connection, &source.host, source.port))
                    .collect::<Vec<_>>(),
            )
        }))
    }

    fn decided_by_others(&self) -> Vec<(String, Value)> {
        self.spec
            .service
            .as_ref()
            .map(|service| {
                (
                    format!("service {service}"),
                    json!(self.observed.service.as_ref().map(|seen| &seen.role_labels)),
                )
            })
            .into_iter()
            .collect()
    }
}

fn clients(by_service: bool) -> String {
    let way = if by_service {
        "connect again, and the Service leads to the new primary"
    } else {
        "must find the new primary by themselves, because no Service follows it"
    };
    format!(
        "Writes wait and are then cut with their connection, once; clients {way}. The pause was at most {} ms \
         where it was measured. Reads from the other members go on.",
        estimates::GTID_STALL_MS
    )
}
