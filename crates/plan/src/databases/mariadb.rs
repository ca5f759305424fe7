//! A MariaDB set with asynchronous GTID replication: replicas move one at a time, the primary is
//! locked, its last position awaited on the successor, and the roles change once.
//!
//! # Source
//! The procedure and its figures: `docs/patterns/mariadb.md`.

mod gate;
mod replication;

use std::ops::Deref;

use serde_json::{Value, json};

use super::{Act, Order, Pattern};
use crate::diagnostic::Findings;
use crate::estimates;
use crate::ids::ObjectRef;
use crate::plan::Promise;
use crate::policy::MariadbSpec;
use crate::scope::{DatabaseScope, Member, Scope};
use crate::step::{Gate, Guard, HandOverTerms, MariadbTerms, StepKind};
use crate::world::{Mariadb, MariadbFacts, Snapshot};

/// A replica counts as whole if it has everything that its primary had so long ago, in the unit of
/// guards, which compare milliseconds for a system that counts in time. One second: a replica that
/// keeps up is behind by a commit or two.
pub const WHOLE_LAG_MS: u64 = 1_000;

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
        self.observed.members.get(&member.name.name)?.facts.as_ref()
    }

    /// Members that answered, with their answers.
    fn answers(&self) -> impl Iterator<Item = (&'a Member<'a>, &'a MariadbFacts)> {
        self.scope
            .members
            .values()
            .filter_map(|member| Some((member, self.facts(member)?)))
    }

    /// The only member that copies from nobody.
    fn primary(&self) -> Option<(&'a Member<'a>, &'a MariadbFacts)> {
        let mut leading = self.answers().filter(|(_, facts)| facts.leads());
        match (leading.next(), leading.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
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
        let mut replicas: Vec<&Member<'_>> = self
            .scope
            .moving()
            .filter(|member| member.ordinal != primary.ordinal)
            .collect();
        replicas.sort_by(|a, b| (&a.disk_zone, a.ordinal).cmp(&(&b.disk_zone, b.ordinal)));
        let mut acts: Vec<Act> = replicas
            .iter()
            .map(|member| Act::Move(member.ordinal))
            .collect();
        if primary.old_node.is_some() {
            acts.push(Act::HandOver {
                from: primary.ordinal,
                to: self.candidates().first()?.ordinal,
            });
            acts.push(Act::Move(primary.ordinal));
        }
        Some(Order {
            beside: primary.ordinal,
            acts,
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

    fn hand_over(
        &self,
        scope: &Scope<'_>,
        from: &ObjectRef,
        to: &ObjectRef,
        members: u32,
        ask: bool,
    ) -> (StepKind, Vec<Guard>, Option<Gate>) {
        let name = self.name;
        let mut guards = vec![
            Guard::PrimaryIs {
                database: name.clone(),
                pod: from.clone(),
            },
            Guard::AllStreaming {
                database: name.clone(),
                members,
                max_lag_bytes: WHOLE_LAG_MS,
            },
        ];
        if let Some(version) = scope.target {
            guards.push(Guard::OnVersion {
                pod: to.clone(),
                version,
            });
        }
        let gate = ask.then(|| Gate {
            name: format!("hand-over-{name}"),
            question: format!(
                "Move the primary of {name} from {} to {}? {}",
                from.name,
                to.name,
                clients(self.spec.service.is_some())
            ),
        });
        let kind = StepKind::HandOver {
            database: name.clone(),
            from: from.clone(),
            to: to.clone(),
            terms: HandOverTerms::Mariadb(MariadbTerms {
                lock_budget_ms: self.spec.transaction.0,
                window_budget_ms: self.spec.window.0,
                semi_sync: self.semi_sync(),
            }),
        };
        (kind, guards, gate)
    }

    /// A member more is a copy of everything; a set is kept whole by moving one member at a time.
    fn takes_seat(&self) -> bool {
        false
    }

    fn retire(&self, seat: &ObjectRef, replicas: u32) -> (StepKind, Vec<Guard>) {
        (
            StepKind::RemoveSeat {
                database: self.name.clone(),
                stateful_set: self.set_name.clone(),
                replicas,
                claims: Vec::new(),
            },
            vec![Guard::NotPrimary {
                database: self.name.clone(),
                pod: seat.clone(),
            }],
        )
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

    fn whole_lag_bytes(&self) -> u64 {
        WHOLE_LAG_MS
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
