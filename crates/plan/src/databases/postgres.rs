//! PostgreSQL with streaming replication under a plain StatefulSet, led by nobody or by Patroni.
//!
//! # Source
//! The procedure and its figures: `docs/patterns/postgres.md`.

mod agents;
mod entrypoint;
mod patroni;
mod poolers;
mod servers;

use std::collections::BTreeMap;
use std::ops::Deref;

use serde_json::{Value, json};

use super::{Change, Order, Pattern, members, service};
use crate::diagnostic::Findings;
use crate::estimates;
use crate::ids::ObjectRef;
use crate::plan::Promise;
use crate::policy::PostgresSpec;
use crate::scope::{DatabaseScope, Member, Scope};
use crate::step::{Guard, HandOverTerms, Lag, PostgresTerms};
use crate::world::{Postgres, PostgresFacts, Snapshot};

/// A replica counts as whole up to this lag.
///
/// 16 MiB, one WAL segment: a loaded replica is behind by less at any moment, and catching up
/// takes a fraction of a second.
pub const WHOLE_LAG: Lag = Lag::Bytes(16 * 1024 * 1024);

/// The candidate of the hand-over may be this far behind when the step begins; the window itself
/// demands equality.
///
/// 1 MiB: replayed within milliseconds, and more than a busy set is behind between two commits.
pub const CANDIDATE_LAG: Lag = Lag::Bytes(1024 * 1024);

/// Begins the name of a standby that nobody has, in a `synchronous_standby_names` that a hand-over
/// has set for its own length; the rest of the name says what was set before.
pub const TEMPORARY_STANDBY: &str = "ferriswheel.before.";

/// A PostgreSQL set, with what the spec says of it.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    scope: &'a DatabaseScope<'a>,
    spec: &'a PostgresSpec,
    observed: &'a Postgres,
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
        spec: &'a PostgresSpec,
        observed: &'a Postgres,
    ) -> Self {
        Self {
            scope,
            spec,
            observed,
        }
    }

    /// Ordinals of the members that say they are the primary.
    fn primaries(&self) -> Vec<u32> {
        self.members
            .values()
            .filter(|member| self.facts(member).is_some_and(|facts| !facts.in_recovery))
            .map(|member| member.ordinal)
            .collect()
    }

    /// What a member's server said.
    fn facts(&self, member: &Member<'_>) -> Option<&'a PostgresFacts> {
        members::facts(&self.observed.members, member)
    }

    /// Patroni is in charge of the set, and is asked to hand over.
    fn under_patroni(&self) -> bool {
        self.observed.patroni.is_some()
    }

    /// Ordinal of the replica that takes over: a synchronous one if there is one, then the lowest
    /// ordinal. It does not depend on lag, which changes from one second to the next.
    fn candidate(&self, primary: u32) -> Option<u32> {
        self.members
            .values()
            .filter(|member| member.ordinal != primary && patroni::may_lead(self, member))
            .min_by_key(|member| (!is_synchronous(self, member.ordinal), member.ordinal))
            .map(|member| member.ordinal)
    }
}

impl Pattern for Set<'_> {
    fn gate(&self, world: &Snapshot, scope: &Scope<'_>, seat: bool) -> Findings {
        let mut findings = Findings::default();
        findings.absorb(agents::gate(self));
        findings.absorb(servers::gate(self, seat));
        findings.absorb(poolers::gate(world, scope, self));
        if !self.under_patroni() {
            // Patroni decides who leads, whatever its entrypoint says.
            findings.absorb(entrypoint::gate(self));
        }
        let service = self
            .spec
            .service
            .as_ref()
            .zip(self.observed.service.as_ref());
        findings.absorb(service::gate(self, service, &self.primaries()));
        findings
    }

    fn leaders(&self) -> Vec<u32> {
        self.primaries()
    }

    fn leader_of(&self, _: u32) -> Option<u32> {
        match self.primaries()[..] {
            [primary] => Some(primary),
            _ => None,
        }
    }

    fn follows(&self, member: &Member<'_>) -> bool {
        self.facts(member)
            .is_some_and(|facts| facts.in_recovery && facts.streaming_from.is_some())
    }

    /// The replicas by zone, then by ordinal; then the primary, if it must leave its node.
    fn order(&self) -> Option<Order> {
        let primary = self.leader_of(0)?;
        members::replicas_first(self.scope, primary, || self.candidate(primary))
    }

    fn hand_overs(&self, wanted: Option<&str>) -> Vec<(u32, u32)> {
        let Some(primary) = self.leader_of(0) else {
            return Vec::new();
        };
        let to = match wanted {
            Some(pod) => self
                .members
                .values()
                .find(|member| {
                    member.name.name == pod
                        && member.ordinal != primary
                        && patroni::may_lead(self, member)
                })
                .map(|member| member.ordinal),
            None => self.candidate(primary),
        };
        to.map(|to| (primary, to)).into_iter().collect()
    }

    fn change(&self, from: &ObjectRef, _: &ObjectRef) -> Option<Change> {
        let spec = self.spec;
        let patroni = patroni::terms(self);
        // Patroni starts the old primary again inside its own container.
        let guards = match patroni {
            Some(_) => Vec::new(),
            None => vec![Guard::RestartUndelayed { pod: from.clone() }],
        };
        Some(Change {
            terms: HandOverTerms::Postgres(PostgresTerms {
                poolers: spec.poolers.clone(),
                pause_budget_ms: spec.pause.0,
                window_budget_ms: spec.window.0,
                crash_safe: spec.crash_safe,
                make_synchronous: spec.crash_safe && spec.make_synchronous,
                service: spec.service.clone(),
                patroni,
            }),
            max_lag: CANDIDATE_LAG,
            guards,
            gate: format!("hand-over-{}", self.name),
            of_what: self.name.to_string(),
            clients: clients(self),
        })
    }

    fn takes_seat(&self) -> bool {
        true
    }

    /// By its replication slot, which Patroni drops by itself.
    fn remembers(&self, pod: &str) -> bool {
        if self.under_patroni() {
            return false;
        }
        let slot = pod.replace(['-', '.'], "_");
        self.members
            .values()
            .filter_map(|member| self.facts(member))
            .any(|facts| !facts.in_recovery && facts.physical_slots.contains_key(&slot))
    }

    fn needs_agents(&self) -> bool {
        true
    }

    fn whole_lag(&self) -> Lag {
        WHOLE_LAG
    }

    fn if_one_crashes(&self, whole: u32, seat: bool) -> String {
        let left = whole.saturating_sub(1);
        let cost = match (seat, left) {
            (_, 0) => "no member would be left until it restarts: writes would stop".to_owned(),
            (_, 1) => "1 member would be left, without a copy until the moved one is back (about a minute)".to_owned(),
            (_, 2) => "2 members would be left, a primary and 1 replica".to_owned(),
            (_, n) => format!("{n} members would be left, a primary and {} replicas", n - 1),
        };
        format!("{whole} members are whole during each move; if one of them crashes then, {cost}")
    }

    fn promise(&self) -> Promise {
        Promise {
            database: self.name.clone(),
            limits: self.scope.spec.limits.clone(),
            durability: durability(self),
            clients: clients(self),
        }
    }

    fn decided_by(&self, member: &Member<'_>) -> Value {
        json!(
            self.facts(member)
                .map(|f| (f.in_recovery, &f.system_identifier, f.version_num))
        )
    }

    fn decided_by_others(&self) -> Vec<(String, Value)> {
        let entries = |pooler: &crate::world::Pooler| {
            let entries: BTreeMap<_, _> = pooler
                .databases
                .iter()
                .map(|(entry, db)| (entry, (&db.host, db.port, &db.pool_mode)))
                .collect();
            json!(entries)
        };
        let patroni = self.observed.patroni.iter().map(|patroni| {
            let scope = patroni.members.values().find_map(|m| m.facts.as_ref());
            (
                format!("patroni of {}", self.set_name),
                json!([scope.map(|facts| &facts.scope), patroni.settings]),
            )
        });
        self.observed
            .poolers
            .iter()
            .map(|(name, pooler)| (format!("pooler {name}"), entries(pooler)))
            .chain(patroni)
            .collect()
    }
}

fn durability(database: &Set<'_>) -> String {
    if is_synchronous_set(database) {
        format!(
            "no acknowledged write is lost, even if a member crashes inside the window ({}, synchronous_commit {}{})",
            sync_names(database).unwrap_or_default(),
            sync_commit(database).unwrap_or_default(),
            if sync_commit(database).as_deref() == Some("remote_apply") {
                ": a commit returns when a replica shows it"
            } else {
                ""
            },
        )
    } else if database.spec.crash_safe && database.spec.make_synchronous {
        "no acknowledged write is lost, even if a member crashes inside the window: commits are \
             made to wait for the candidate from before PAUSE until the hand-over is over; before and \
             after it replication is asynchronous, as it is now"
                .to_owned()
    } else {
        "no acknowledged write is lost by the hand-over; replication is asynchronous, so a \
             machine that crashes may lose what no replica had yet, inside the window as at any \
             other time"
            .to_owned()
    }
}

fn clients(database: &Set<'_>) -> String {
    let spec = database.spec;
    if database.under_patroni() {
        let stall = estimates::PATRONI_STALL_MS;
        return if spec.poolers.is_empty() {
            format!(
                "Patroni hands over. Clients connect directly: their connections are cut once, with errors for as long as its \
                 own loop takes, up to {stall} ms measured."
            )
        } else {
            format!(
                "Patroni hands over, the poolers hold the clients: no error, a pause for as long as its own loop takes, up to \
                 {stall} ms measured, {} at the very most.",
                spec.window
            )
        };
    }
    if spec.poolers.is_empty() {
        let by_service = spec.service.as_ref().map_or_else(String::new, |service| {
            format!(
                " Those that come by the Service {service} wait up to a second more if kube-proxy has just written its \
                 rules, and for as long as this run is not alive to move its labels."
            )
        });
        format!(
            "Clients connect directly: their connections are cut once, with errors for about {} ms (longest measured on a quiet machine).{by_service}",
            estimates::DIRECT_STALL_MS
        )
    } else {
        format!(
            "The poolers hold the clients: no error, a pause of about {} ms (longest measured on a quiet machine), {} at the very most.",
            estimates::POOLED_STALL_MS,
            spec.window
        )
    }
}

fn is_synchronous(database: &Set<'_>, ordinal: u32) -> bool {
    database
        .members
        .get(&ordinal)
        .and_then(|member| database.facts(member))
        .and_then(|facts| facts.sync_state.as_deref())
        .is_some_and(|state| matches!(state, "sync" | "quorum"))
}

/// The primary waits for a replica before it acknowledges a commit.
fn is_synchronous_set(database: &Set<'_>) -> bool {
    let waits = sync_commit(database)
        .is_some_and(|level| matches!(level.as_str(), "on" | "remote_write" | "remote_apply"));
    waits && sync_names(database).is_some_and(|names| !names.trim().is_empty())
}

fn primary_facts<'a>(database: &Set<'a>) -> Option<&'a crate::world::PostgresFacts> {
    let [primary] = database.primaries()[..] else {
        return None;
    };
    database.facts(database.members.get(&primary)?)
}

fn sync_names(database: &Set<'_>) -> Option<String> {
    Some(primary_facts(database)?.synchronous_standby_names.clone())
}

fn sync_commit(database: &Set<'_>) -> Option<String> {
    Some(primary_facts(database)?.synchronous_commit.clone())
}
