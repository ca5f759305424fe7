//! What a run has left behind, found in the world as it is now.

use std::collections::{BTreeMap, BTreeSet};

use super::{Past, Wish};
use crate::codes;
use crate::databases;
use crate::diagnostic::Diagnostic;
use crate::ids::{DatabaseName, NodeName, ObjectRef, PoolName, Uid};
use crate::scope::{DatabaseScope, Member, Scope};
use crate::step::{ClaimIdentity, NodeIdentity, StepKind};
use crate::world::{Node, RUN_LABEL, Snapshot};

/// What is left of a run.
#[derive(Debug)]
pub(super) struct Left {
    /// Machines that the run made, by node.
    pub(super) machines: BTreeMap<NodeName, NodeIdentity>,
    /// Pools that the run made.
    pub(super) pools: BTreeSet<PoolName>,
    /// Pool of each machine.
    pub(super) pool_of: BTreeMap<NodeName, PoolName>,
    /// Machines of the run that carry a member which stays.
    pub(super) kept: BTreeMap<NodeName, ObjectRef>,
    /// Nodes to uncordon.
    pub(super) closed: Vec<NodeIdentity>,
    /// Their pools.
    pub(super) closed_pools: BTreeSet<PoolName>,
    /// Nodes that somebody else has cordoned, before the run or since.
    pub(super) cordoned_by_others: BTreeSet<NodeName>,
    /// Members that move back.
    pub(super) returns: Vec<Return>,
    /// Seats that are still there, or a part of them.
    pub(super) seats: BTreeMap<DatabaseName, Seat>,
    /// Who led before the run handed over.
    pub(super) led_before: BTreeMap<DatabaseName, Vec<ObjectRef>>,
}

/// A member that moves back.
#[derive(Clone, Debug)]
pub(super) struct Return {
    pub(super) database: DatabaseName,
    pub(super) pod: ObjectRef,
    pub(super) pod_uid: Uid,
    pub(super) from: NodeIdentity,
    pub(super) to: NodeIdentity,
    pub(super) onto_pool: PoolName,
}

/// A seat.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) pod: ObjectRef,
    /// Replicas before the run.
    pub(super) replicas: u32,
    pub(super) claims: Vec<ClaimIdentity>,
    /// Replicas now.
    pub(super) replicas_now: u32,
    pub(super) ready: bool,
}

impl Left {
    pub(super) fn find(world: &Snapshot, scope: &Scope<'_>, past: &Past<'_>) -> Self {
        let mut left = Self {
            machines: BTreeMap::new(),
            pools: BTreeSet::new(),
            pool_of: BTreeMap::new(),
            kept: BTreeMap::new(),
            closed: Vec::new(),
            closed_pools: BTreeSet::new(),
            cordoned_by_others: past
                .before
                .nodes
                .iter()
                .filter(|(_, node)| node.unschedulable)
                .map(|(name, _)| name.clone())
                .collect(),
            returns: Vec::new(),
            seats: BTreeMap::new(),
            led_before: BTreeMap::new(),
        };
        left.find_machines(world, past);
        for database in &scope.databases {
            left.find_seat(world, past, database);
            left.find_leader(past, database);
        }
        left.find_returns(world, scope, past);
        left.find_kept(world, scope, past);
        left.find_closed(world, past);
        left
    }

    fn find_machines(&mut self, world: &Snapshot, past: &Past<'_>) {
        let known: BTreeSet<&Uid> = past.before.nodes.values().map(|node| &node.uid).collect();
        for kind in past.begun_kinds() {
            let StepKind::GrowPool { pool, .. } = kind else {
                continue;
            };
            if world.pools.contains_key(pool) && !past.before.pools.contains_key(pool) {
                self.pools.insert(pool.clone());
            }
            for (name, node) in &world.nodes {
                if node.pool.as_ref() == Some(pool) && !known.contains(&node.uid) {
                    self.machines.insert(name.clone(), identity(name, node));
                    self.pool_of.insert(name.clone(), pool.clone());
                }
            }
        }
    }

    fn find_seat(&mut self, world: &Snapshot, past: &Past<'_>, database: &DatabaseScope<'_>) {
        let base = past.begun_kinds().find_map(|kind| match kind {
            StepKind::AddSeat {
                database: of,
                replicas,
                ..
            } if of == database.name => Some(replicas.saturating_sub(1)),
            _ => None,
        });
        let Some(base) = base else {
            return;
        };
        let set = database.set_name;
        let pod = set.sibling(format!("{}-{base}", set.name));
        let claims: Vec<ClaimIdentity> = database
            .set
            .claim_templates
            .iter()
            .filter_map(|template| {
                let name = pod.sibling(format!("{template}-{}", pod.name));
                let claim = world.claims.get(&name)?;
                let marked =
                    claim.labels.get(RUN_LABEL).map(String::as_str) == Some(past.plan.id.as_str());
                let older = past
                    .before
                    .claims
                    .get(&name)
                    .is_some_and(|before| before.uid == claim.uid);
                (marked || !older).then(|| ClaimIdentity {
                    name,
                    uid: claim.uid.clone(),
                })
            })
            .collect();
        let slot_left = databases::of(database).remembers(&pod.name);
        let there = world.pods.get(&pod);
        if database.set.replicas > base || there.is_some() || !claims.is_empty() || slot_left {
            let seat = Seat {
                replicas: base,
                claims,
                replicas_now: database.set.replicas,
                ready: there.is_some_and(|found| found.ready),
                pod,
            };
            self.seats.insert(database.name.clone(), seat);
        }
    }

    fn find_leader(&mut self, past: &Past<'_>, database: &DatabaseScope<'_>) {
        let former: Vec<ObjectRef> = past
            .begun_kinds()
            .filter_map(|kind| match kind {
                StepKind::HandOver {
                    database: of, from, ..
                } if of == database.name => Some(from.clone()),
                _ => None,
            })
            .collect();
        if !former.is_empty() {
            self.led_before.insert(database.name.clone(), former);
        }
    }

    fn find_returns(&mut self, world: &Snapshot, scope: &Scope<'_>, past: &Past<'_>) {
        for kind in past.begun_kinds() {
            let StepKind::MoveReplica {
                database,
                pod,
                from,
                ..
            } = kind
            else {
                continue;
            };
            let Some((member, old, onto_pool)) = old_machine(world, scope, pod, from) else {
                continue;
            };
            let Some(now) = member
                .pod
                .node
                .as_ref()
                .and_then(|node| self.machines.get(node))
            else {
                continue;
            };
            // Once its deletion was asked for nobody knows how long the machine stays.
            if past.is_leaving(from) {
                continue;
            }
            let taken = members(scope).any(|other| other.pod.node.as_ref() == Some(&from.name));
            if old.ready && !taken && !leads(scope, pod) {
                self.returns.push(Return {
                    database: database.clone(),
                    pod: pod.clone(),
                    pod_uid: member.pod.uid.clone(),
                    from: now.clone(),
                    to: from.clone(),
                    onto_pool,
                });
            }
        }
    }

    fn find_kept(&mut self, world: &Snapshot, scope: &Scope<'_>, past: &Past<'_>) {
        for member in members(scope) {
            let goes = self.seats.values().any(|seat| seat.pod == member.name)
                || self.returns.iter().any(|back| back.pod == member.name);
            if goes {
                continue;
            }
            match &member.pod.node {
                Some(node) if self.machines.contains_key(node) => {
                    self.kept.insert(node.clone(), member.name.clone());
                }
                Some(_) => {}
                None => self.keep_a_place(member, world, past),
            }
        }
    }

    /// A member that is nowhere at the moment keeps a machine where it was to land, unless its old
    /// one is there.
    fn keep_a_place(&mut self, member: &Member<'_>, world: &Snapshot, past: &Past<'_>) {
        let moved = past.begun_kinds().find_map(|kind| match kind {
            StepKind::MoveReplica {
                pod,
                from,
                onto_pool,
                ..
            } if *pod == member.name => Some((from, onto_pool)),
            _ => None,
        });
        let Some((from, onto_pool)) = moved else {
            return;
        };
        if world
            .nodes
            .get(&from.name)
            .is_some_and(|old| old.uid == from.uid && !past.is_leaving(from))
        {
            return;
        }
        let free = self.machines.keys().find(|node| {
            self.pool_of.get(*node) == Some(onto_pool) && !self.kept.contains_key(*node)
        });
        if let Some(node) = free.cloned() {
            self.kept.insert(node, member.name.clone());
        }
    }

    fn find_closed(&mut self, world: &Snapshot, past: &Past<'_>) {
        let mut touched: BTreeSet<NodeIdentity> = BTreeSet::new();
        for kind in past.begun_kinds() {
            match kind {
                StepKind::Cordon { nodes } => touched.extend(nodes.iter().cloned()),
                StepKind::RetireNode { node, .. } => {
                    touched.insert(node.clone());
                }
                _ => {}
            }
        }
        touched.extend(
            self.machines
                .iter()
                .filter(|(name, _)| self.kept.contains_key(*name))
                .map(|(_, machine)| machine.clone()),
        );
        let others = world.nodes.iter().filter(|(name, node)| {
            node.unschedulable
                && !self.machines.contains_key(*name)
                && !touched.contains(&identity(name, node))
        });
        let others: Vec<NodeName> = others.map(|(name, _)| name.clone()).collect();
        self.cordoned_by_others.extend(others);
        self.closed = touched
            .into_iter()
            .filter(|node| {
                let now = world.nodes.get(&node.name);
                now.is_some_and(|now| now.uid == node.uid && now.unschedulable)
                    && !self.cordoned_by_others.contains(&node.name)
            })
            .collect();
        self.closed_pools = self
            .closed
            .iter()
            .filter_map(|node| world.nodes.get(&node.name)?.pool.clone())
            .collect();
    }

    /// Machines of the run that go.
    pub(super) fn going(&self) -> impl Iterator<Item = (&NodeIdentity, &PoolName)> {
        self.machines
            .iter()
            .filter(|(name, _)| !self.kept.contains_key(*name))
            .filter_map(|(name, machine)| Some((machine, self.pool_of.get(name)?)))
    }

    /// Pools of the run that go with their last machine.
    pub(super) fn going_pools(&self) -> impl Iterator<Item = &PoolName> {
        self.pools.iter().filter(|pool| {
            !self
                .kept
                .keys()
                .any(|node| self.pool_of.get(node) == Some(*pool))
        })
    }

    /// What a reader should know of the state that the rollback ends in.
    pub(super) fn warnings(&self, scope: &Scope<'_>) -> Vec<String> {
        let stay: Vec<&str> = self.kept.values().map(|pod| pod.name.as_str()).collect();
        if stay.is_empty() {
            return Vec::new();
        }
        let mixed = members(scope).any(|member| member.old_node.is_some());
        vec![format!(
            "{} stay{} on the new machines, because the old ones are gone{}; to go on, plan again from there",
            stay.join(", "),
            if stay.len() == 1 { "s" } else { "" },
            if mixed {
                ": the set then runs on nodes of two versions"
            } else {
                ""
            }
        )]
    }
}

impl<'a> Past<'a> {
    /// Kinds of the steps that were begun, newest first.
    pub(super) fn begun_kinds(&self) -> impl Iterator<Item = &'a StepKind> {
        let begun = self.begun;
        self.plan
            .body
            .steps
            .iter()
            .rev()
            .filter(move |step| begun.contains_key(&step.id))
            .map(|step| &step.kind)
    }

    /// The run has begun to retire the machine.
    pub(super) fn is_leaving(&self, machine: &NodeIdentity) -> bool {
        self.begun_kinds()
            .any(|kind| matches!(kind, StepKind::RetireNode { node, .. } if node == machine))
    }
}

/// What a person must decide before anything is taken back.
pub(super) fn gate(scope: &Scope<'_>, left: &Left, wish: Wish) -> Vec<Diagnostic> {
    let mut refusals = Vec::new();
    for database in &scope.databases {
        let back: Vec<&ObjectRef> = left
            .led_before
            .get(database.name)
            .filter(|_| wish.hand_back)
            .into_iter()
            .flatten()
            .collect();
        if let Some(seat) = left.seats.get(database.name) {
            if seat.replicas_now > seat.replicas + 1 {
                refusals.push(
                    Diagnostic::new(
                        codes::OTHER_REPLICAS,
                        database.set_name,
                        "somebody has scaled it since: the run's seat is not its highest member",
                    )
                    .seen(format!(
                        "{} replicas, {} with the seat",
                        seat.replicas_now,
                        seat.replicas + 1
                    ))
                    .fix("scale it back to the run's number first, or keep the seat"),
                );
            }
            if leads(scope, &seat.pod) && back.is_empty() {
                refusals.push(
                    Diagnostic::new(
                        codes::SEAT_LEADS,
                        &seat.pod,
                        "the extra seat is the primary, so that it cannot be removed",
                    )
                    .seen("the run never makes it one: a failover did")
                    .fix("hand over first: a plan with `strategy: { handOver: { to: ... } }`"),
                );
            }
        }
        for back in back.into_iter().filter(|back| !leads(scope, back)) {
            let member = database.members.values().find(|m| m.name == *back);
            let whole = member
                .is_some_and(|member| member.pod.ready && databases::of(database).follows(member));
            if !whole {
                refusals.push(
                    Diagnostic::new(
                        codes::NO_CANDIDATE,
                        back,
                        "the former primary cannot take over: it is no Ready replica that streams",
                    )
                    .fix("leave the primary where it is: without --hand-back"),
                );
            }
        }
    }
    refusals
}

fn identity(name: &NodeName, node: &Node) -> NodeIdentity {
    NodeIdentity {
        name: name.clone(),
        uid: node.uid.clone(),
    }
}

pub(super) fn members<'s, 'a>(scope: &'s Scope<'a>) -> impl Iterator<Item = &'s Member<'a>> {
    scope
        .databases
        .iter()
        .flat_map(|database| database.members.values())
}

/// The member is a primary now.
pub(super) fn leads(scope: &Scope<'_>, pod: &ObjectRef) -> bool {
    scope.databases.iter().any(|database| {
        databases::of(database).leaders().iter().any(|ordinal| {
            database
                .members
                .get(ordinal)
                .is_some_and(|member| member.name == *pod)
        })
    })
}

/// The member and the machine that it left, if that is still there.
fn old_machine<'w, 's, 'a>(
    world: &'w Snapshot,
    scope: &'s Scope<'a>,
    pod: &ObjectRef,
    from: &NodeIdentity,
) -> Option<(&'s Member<'a>, &'w Node, PoolName)> {
    let member = members(scope).find(|member| member.name == *pod)?;
    let node = world.nodes.get(&from.name)?;
    let pool = node.pool.clone()?;
    (node.uid == from.uid).then_some((member, node, pool))
}
