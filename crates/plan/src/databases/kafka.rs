//! A Kafka cluster (KRaft): broker by broker, leaderships are led away one partition at a time before
//! the broker leaves its node, the active controller's broker last, and given back at the end.
//!
//! # Source
//! The procedure and its figures: `docs/patterns/kafka.md`.

mod gate;

use std::collections::BTreeSet;
use std::ops::Deref;

use serde_json::{Value, json};

use super::{Act, Change, Drain, Order, Pattern, members};
use crate::diagnostic::Findings;
use crate::estimates;
use crate::ids::ObjectRef;
use crate::plan::Promise;
use crate::policy::KafkaSpec;
use crate::scope::{DatabaseScope, Member, Scope};
use crate::step::{DrainTerms, Lag};
use crate::world::{Kafka, KafkaFacts, Snapshot};

/// Annotation of the set that keeps the order of replicas before the run, from before the first
/// change until the last one was taken back.
pub const ANNOTATION: &str = "ferriswheel.dev/kafka-replicas";

/// A voter of the metadata quorum is caught up if it was so within this time of the leader.
///
/// # Source
/// `controller.quorum.fetch.timeout.ms`, 2 s: a voter that has not fetched for so long is about to
/// call an election.
pub const WHOLE_LAG: Lag = Lag::Millis(2_000);

/// A cluster, with what the spec says of it.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    scope: &'a DatabaseScope<'a>,
    spec: &'a KafkaSpec,
    observed: &'a Kafka,
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
        spec: &'a KafkaSpec,
        observed: &'a Kafka,
    ) -> Self {
        Self {
            scope,
            spec,
            observed,
        }
    }

    fn facts(&self, member: &Member<'_>) -> Option<&'a KafkaFacts> {
        members::facts(&self.observed.members, member)
    }

    fn answers(&self) -> impl Iterator<Item = (&'a Member<'a>, &'a KafkaFacts)> {
        members::answers(self.scope, &self.observed.members)
    }

    /// The first broker's view; [`Pattern::gate`] lets no other differ from it.
    fn model(&self) -> Option<&'a KafkaFacts> {
        self.answers().next().map(|(_, facts)| facts)
    }

    /// The broker that is the active controller, if one of the set is.
    fn controller(&self) -> Option<u32> {
        let leader = self.model()?.quorum.leader?;
        let found = self.answers().find(|(_, facts)| facts.node == leader);
        found.map(|(member, _)| member.ordinal)
    }

    /// Copies of the partition that has the fewest.
    fn fewest_copies(&self) -> usize {
        let partitions = self.model().into_iter().flat_map(KafkaFacts::partitions);
        let copies = partitions.map(|(_, _, partition)| partition.replicas.len());
        copies.min().unwrap_or(0)
    }
}

impl Pattern for Cluster<'_> {
    fn gate(&self, _: &Snapshot, scope: &Scope<'_>, _: bool) -> Findings {
        gate::gate(self, scope)
    }

    /// No broker leads the set: each leads partitions, which are led away before it moves.
    fn leaders(&self) -> Vec<u32> {
        Vec::new()
    }

    fn leader_of(&self, _: u32) -> Option<u32> {
        None
    }

    fn follows(&self, member: &Member<'_>) -> bool {
        self.facts(member).is_some()
    }

    /// Brokers by zone, then by ordinal; the active controller's last, so that the role moves once.
    fn order(&self) -> Option<Order> {
        let controller = self.controller();
        let is_last = |member: &Member<'_>| Some(member.ordinal) == controller;
        let mut acts = members::moves(self.moving().filter(|member| !is_last(member)));
        acts.extend(members::moves(self.moving().filter(|m| is_last(m))));
        Some(Order {
            beside: controller.unwrap_or(0),
            acts,
        })
    }

    fn hand_overs(&self, _: Option<&str>) -> Vec<(u32, u32)> {
        Vec::new()
    }

    fn change(&self, _: &ObjectRef, _: &ObjectRef) -> Option<Change> {
        None
    }

    /// Leaderships go to brokers that have moved already, so that they stay there until they are given
    /// back; of the first broker to the one that moves last.
    fn drain(&self, leaving: u32, settled: &BTreeSet<u32>) -> Option<Drain> {
        let name = |ordinal: &u32| Some(self.members.get(ordinal)?.name.clone());
        let order: Vec<u32> = self
            .order()?
            .acts
            .iter()
            .filter_map(|act| match act {
                Act::Move(ordinal) => Some(*ordinal),
                Act::HandOver { .. } => None,
            })
            .collect();
        let stays = |ordinal: &&u32| settled.contains(ordinal) || !order.contains(ordinal);
        let others = self.members.keys().filter(|ordinal| **ordinal != leaving);
        let (settled, waiting): (Vec<&u32>, Vec<&u32>) = others.partition(stays);
        let mut later: Vec<&u32> = order.iter().filter(|o| waiting.contains(o)).collect();
        later.reverse();
        let member = self.members.get(&leaving)?;
        let node = self.facts(member)?.node;
        Some(Drain {
            terms: DrainTerms {
                pace_ms: self.spec.pace.0,
                settled: settled.into_iter().filter_map(name).collect(),
                later: later.into_iter().filter_map(name).collect(),
            },
            partitions: self.model()?.led_by(node),
            of_all: self.model()?.partitions().count(),
        })
    }

    fn takes_seat(&self) -> bool {
        false
    }

    fn remembers(&self, _: &str) -> bool {
        false
    }

    /// Each act is one request to the controller, which carries it out as a whole or not at all.
    fn needs_agents(&self) -> bool {
        false
    }

    fn whole_lag(&self) -> Lag {
        WHOLE_LAG
    }

    fn if_one_crashes(&self, whole: u32, _: bool) -> String {
        let copies = self.fewest_copies();
        let voters = self.model().map_or(0, |facts| facts.quorum.voters.len());
        let left = copies.saturating_sub(2);
        let stops = self.model().is_some_and(|facts| {
            facts.partitions().any(|(_, topic, partition)| {
                let left = u32::try_from(partition.replicas.len().saturating_sub(2)).unwrap_or(0);
                left < topic.min_isr
            })
        });
        format!(
            "{whole} brokers are whole while one moves; if another one crashes then, {left} {} of a partition of both {}{}{}",
            if left == 1 { "copy" } else { "copies" },
            if left == 1 { "is left" } else { "are left" },
            if stops {
                ": writes that wait for min.insync.replicas stop until one of the two is back, and none that was acknowledged is lost"
            } else {
                ""
            },
            if voters == 3 {
                "; two of three voters would be away, and with them changes of leaders"
            } else {
                ""
            },
        )
    }

    fn promise(&self) -> Promise {
        Promise {
            database: self.name.clone(),
            limits: self.scope.spec.limits.clone(),
            durability: "no write that was acknowledged with acks=all is lost: a leadership goes only to a \
                         copy that is in sync, and a broker leaves only while every copy is. Clients with \
                         acks=1 or acks=0 may lose what no other copy had, at any time"
                .to_owned(),
            clients: clients(),
        }
    }

    fn decided_by(&self, member: &Member<'_>) -> Value {
        json!(self.facts(member).map(|facts| (
            facts.node,
            &facts.cluster,
            facts.program,
            facts.metadata_version,
            facts.quorum.voters.keys().collect::<Vec<_>>(),
        )))
    }

    fn decided_by_others(&self) -> Vec<(String, Value)> {
        Vec::new()
    }
}

fn clients() -> String {
    format!(
        "Clients ask for the new leader of a partition and go on: the writes of one partition pause for about {} ms \
         (longest measured), twice (away and back), the others go on; connections to a broker are cut once, when it moves.",
        estimates::PARTITION_STALL_MS
    )
}
