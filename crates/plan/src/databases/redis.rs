//! Redis and Valkey in cluster mode: every shard's primary is handed over at most once, by a plain
//! `CLUSTER FAILOVER` sent to its replica, and members move as replicas, one at a time.
//!
//! # Source
//! The procedure and its figures: `docs/patterns/redis.md`.

mod gate;

use std::ops::Deref;

use serde_json::{Value, json};

use super::{Act, Change, Order, Pattern, members};
use crate::diagnostic::Findings;
use crate::estimates;
use crate::ids::ObjectRef;
use crate::plan::Promise;
use crate::policy::RedisSpec;
use crate::scope::{DatabaseScope, Member, Scope, join};
use crate::step::{HandOverTerms, Lag, RedisTerms};
use crate::world::{Redis, RedisFacts, RedisRole, SlotRange, Snapshot};

/// A replica counts as whole up to this lag.
///
/// 1 MiB, the backlog that servers keep by default: a replica further behind than that would need
/// a full copy if its link broke now.
pub const WHOLE_LAG: Lag = Lag::Bytes(1024 * 1024);

/// The replica that takes over may be this far behind when the step begins.
///
/// 256 KiB: the primary holds its clients until the replica has everything, and a quarter of a
/// megabyte crosses a network in milliseconds; a busy shard is behind by less between two looks.
pub const CANDIDATE_LAG: Lag = Lag::Bytes(256 * 1024);

/// Slots of a cluster, fixed by its protocol.
pub const SLOTS: u32 = 16_384;

/// A cluster, with what the spec says of it.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    scope: &'a DatabaseScope<'a>,
    spec: &'a RedisSpec,
    observed: &'a Redis,
}

/// A primary with what follows it.
#[derive(Clone, Debug)]
struct Shard<'a> {
    primary: &'a Member<'a>,
    slots: &'a [SlotRange],
    /// By ordinal.
    replicas: Vec<&'a Member<'a>>,
}

impl<'a> Deref for Cluster<'a> {
    type Target = DatabaseScope<'a>;

    fn deref(&self) -> &Self::Target {
        self.scope
    }
}

impl<'a> Cluster<'a> {
    pub(super) fn new(
        scope: &'a DatabaseScope<'a>,
        spec: &'a RedisSpec,
        observed: &'a Redis,
    ) -> Self {
        Self {
            scope,
            spec,
            observed,
        }
    }

    /// What a member's server said.
    fn facts(&self, member: &Member<'_>) -> Option<&'a RedisFacts> {
        members::facts(&self.observed.members, member)
    }

    /// Members that answered, with their answers.
    fn answers(&self) -> impl Iterator<Item = (&'a Member<'a>, &'a RedisFacts)> {
        members::answers(self.scope, &self.observed.members)
    }

    /// Shards as each server says of itself, by the primary's ordinal. A primary without slots
    /// counts too: [`Pattern::gate`] speaks of it.
    fn shards(&self) -> Vec<Shard<'a>> {
        self.answers()
            .filter(|(_, facts)| facts.role == RedisRole::Primary)
            .map(|(primary, facts)| Shard {
                primary,
                slots: facts
                    .nodes
                    .get(&facts.id)
                    .map_or(&[], |myself| &myself.slots),
                replicas: self
                    .answers()
                    .filter(|(_, other)| {
                        other.role == RedisRole::Replica
                            && other.primary_id.as_ref() == Some(&facts.id)
                    })
                    .map(|(member, _)| member)
                    .collect(),
            })
            .collect()
    }

    fn shard_of(&self, ordinal: u32) -> Option<Shard<'a>> {
        self.shards().into_iter().find(|shard| {
            shard.primary.ordinal == ordinal
                || shard
                    .replicas
                    .iter()
                    .any(|member| member.ordinal == ordinal)
        })
    }

    /// Copies of the weakest shard beside the primary's own.
    fn fewest_replicas(&self) -> usize {
        let shards = self.shards();
        shards.iter().map(|s| s.replicas.len()).min().unwrap_or(0)
    }
}

impl Pattern for Cluster<'_> {
    fn gate(&self, _: &Snapshot, scope: &Scope<'_>, _: bool) -> Findings {
        gate::gate(self, scope)
    }

    fn leaders(&self) -> Vec<u32> {
        let shards = self.shards();
        shards.iter().map(|shard| shard.primary.ordinal).collect()
    }

    fn leader_of(&self, ordinal: u32) -> Option<u32> {
        Some(self.shard_of(ordinal)?.primary.ordinal)
    }

    fn follows(&self, member: &Member<'_>) -> bool {
        self.facts(member).is_some_and(|facts| {
            facts.role == RedisRole::Replica && facts.link_up == Some(true) && !facts.syncing
        })
    }

    /// All replicas by zone, then by ordinal; then shard by shard the primary, if it must leave its
    /// node. The replica with the lowest ordinal takes over: all of a shard have moved by then, and
    /// who is ahead changes from one second to the next.
    fn order(&self) -> Option<Order> {
        let shards = self.shards();
        let replicas = shards.iter().flat_map(|shard| &shard.replicas);
        let mut acts = members::moves(replicas.copied().filter(|member| member.old_node.is_some()));
        for shard in shards.iter().filter(|s| s.primary.old_node.is_some()) {
            let from = shard.primary.ordinal;
            let to = shard.replicas.first()?.ordinal;
            acts.push(Act::HandOver { from, to });
            acts.push(Act::Move(from));
        }
        Some(Order {
            beside: shards.first()?.primary.ordinal,
            acts,
        })
    }

    fn hand_overs(&self, wanted: Option<&str>) -> Vec<(u32, u32)> {
        let shards = self.shards();
        let chosen = shards.iter().filter_map(|shard| {
            let to = shard.replicas.iter().find(|member| match wanted {
                Some(pod) => member.name.name == pod,
                None => true,
            })?;
            Some((shard.primary.ordinal, to.ordinal))
        });
        chosen.collect()
    }

    fn change(&self, from: &ObjectRef, _: &ObjectRef) -> Option<Change> {
        let slots = self
            .shards()
            .iter()
            .find(|shard| {
                let names = shard.replicas.iter().chain([&shard.primary]);
                names.into_iter().any(|member| member.name == *from)
            })
            .map_or_else(String::new, |shard| join(shard.slots));
        Some(Change {
            max_lag: CANDIDATE_LAG,
            guards: Vec::new(),
            gate: format!("hand-over-{}-{}", self.name, from.name),
            of_what: format!("slots {slots} of {}", self.name),
            clients: clients(),
            terms: HandOverTerms::Redis(RedisTerms {
                slots,
                window_budget_ms: self.spec.window.0,
            }),
        })
    }

    /// A member more would have to be taken into the cluster and out of it again, and the servers
    /// remember whom they forgot for a minute; a shard is kept whole by moving one member at a time.
    fn takes_seat(&self) -> bool {
        false
    }

    fn remembers(&self, _: &str) -> bool {
        false
    }

    /// The servers carry a failover through by themselves once it is ordered, and the primary takes
    /// writes again if it does not come about: nobody has to stand by.
    fn needs_agents(&self) -> bool {
        false
    }

    fn whole_lag(&self) -> Lag {
        WHOLE_LAG
    }

    fn if_one_crashes(&self, whole: u32, _: bool) -> String {
        let cost = match self.fewest_replicas() {
            0 | 1 => "its shard has no other copy meanwhile (about a minute): if its primary crashes then, \
                      its slots take no writes until it or the moved one is back"
                .to_owned(),
            n => format!("its shard has {} meanwhile: if one of them crashes then, no slot stops", copies(n)),
        };
        format!("{whole} members are whole while one moves as a replica; {cost}")
    }

    fn promise(&self) -> Promise {
        let memory = self
            .answers()
            .any(|(_, facts)| facts.persistence.memory_only());
        Promise {
            database: self.name.clone(),
            limits: self.scope.spec.limits.clone(),
            durability: format!(
                "no acknowledged write is lost by a hand-over: the primary holds its clients until the replica \
                 has everything. Replication is asynchronous, so a primary that crashes may lose what no replica \
                 had yet, at any time{}{}",
                if self.fewest_replicas() < 2 {
                    "; while the only replica of a shard moves (about a minute), what its primary writes has no other copy"
                } else {
                    ""
                },
                if memory {
                    "; some servers keep their data in memory only, so that a moved one gets it again from its primary"
                } else {
                    ""
                },
            ),
            clients: clients(),
        }
    }

    fn decided_by(&self, member: &Member<'_>) -> Value {
        json!(self.facts(member).map(|facts| (
            facts.role,
            &facts.id,
            &facts.primary_id,
            &facts.version
        )))
    }

    fn decided_by_others(&self) -> Vec<(String, Value)> {
        Vec::new()
    }
}

fn clients() -> String {
    format!(
        "Clients that know the cluster follow its redirections: the writes of one shard pause for about {} ms \
         (longest measured), the others go on; connections to a member are cut once, when it moves.",
        estimates::SHARD_STALL_MS
    )
}

fn copies(n: usize) -> String {
    format!("{n} other copies")
}
