//! Plays the steps and notes what each would break.

mod members;
mod pools;

use super::picture::{Machine, Picture, Set};
use super::{Proof, Violation};
use crate::ids::{DatabaseName, PoolName};
use crate::plan::Plan;
use crate::policy::Strategy;
use crate::step::{Guard, NodeIdentity, Step, StepId, StepKind};
use crate::world::Snapshot;

pub(super) struct Replay<'a> {
    world: &'a Snapshot,
    plan: &'a Plan,
    now: Picture,
    at: Option<StepId>,
    broken: Vec<Violation>,
    proof: Proof,
    machines_at_first: usize,
    played: u32,
}

impl<'a> Replay<'a> {
    pub(super) fn new(world: &'a Snapshot, plan: &'a Plan) -> Self {
        let now = Picture::of(world, plan);
        Self {
            machines_at_first: now.machines.len(),
            world,
            plan,
            now,
            at: None,
            broken: Vec::new(),
            proof: Proof {
                extra_nodes: 0,
                extra_replicas: 0,
                fewest_members: None,
                hand_overs: 0,
                retired: 0,
            },
            played: 0,
        }
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(Violation {
                step: self.at,
                what: what(),
            });
        }
    }

    pub(super) fn step(&mut self, step: &Step) {
        self.played += 1;
        self.at = Some(step.id);
        self.must(step.id.0 == self.played, || {
            "steps are not numbered in order".to_owned()
        });
        self.guards(step);
        match &step.kind {
            StepKind::StartProbe { database, on_pools } => {
                self.start(database, on_pools, |set| {
                    std::mem::replace(&mut set.probing, true) || set.certified
                });
            }
            StepKind::StartAgents { database, on_pools } => {
                self.start(database, on_pools, |set| {
                    std::mem::replace(&mut set.agents, true)
                });
            }
            StepKind::Cordon { nodes } => self.cordon(nodes),
            StepKind::Uncordon { .. } => self.must(false, || {
                "only a rollback uncordons: the old nodes go".to_owned()
            }),
            StepKind::GrowPool {
                pool,
                like,
                zone,
                count,
                version,
            } => self.grow(pool, like, zone, *count, *version),
            StepKind::AddSeat {
                database,
                stateful_set,
                replicas,
                onto_pool,
            } => self.add_seat(database, stateful_set, *replicas, onto_pool),
            StepKind::MoveReplica {
                database,
                pod,
                pod_uid,
                from,
                onto_pool,
            } => self.relocate(database, pod, pod_uid, from, onto_pool),
            StepKind::HandOver {
                database,
                from,
                to,
                terms,
            } => self.hand_over(step.gate.is_some(), database, from, to, terms),
            StepKind::DrainLeaders {
                database,
                pod,
                terms,
            } => self.drain(step.gate.is_some(), database, pod, terms),
            StepKind::ReturnLeaders { database, pace_ms } => {
                self.return_leaders(database, *pace_ms);
            }
            StepKind::RetireNode { node, pool } => self.retire(node, pool),
            StepKind::ShrinkPool { pool, count, keep } => self.shrink(pool, *count, keep),
            StepKind::RemoveSeat {
                database,
                stateful_set,
                replicas,
                ..
            } => self.remove_seat(database, stateful_set, *replicas),
            StepKind::DeletePool { pool } => self.delete(pool),
            StepKind::StopAgents { database } => self.with(database, |set| {
                (!std::mem::replace(&mut set.agents, false))
                    .then(|| "agents are stopped that do not run".to_owned())
            }),
            StepKind::Certify { database } => self.with(database, |set| {
                set.certified = true;
                (!std::mem::replace(&mut set.probing, false))
                    .then(|| "a probe is asked that does not run".to_owned())
            }),
        }
        self.measure();
    }

    /// Guards without which a kind of step is not safe in a world that goes on changing.
    fn guards(&mut self, step: &Step) {
        let target = self.plan.body.target;
        // Where nobody leads there is nobody to ask.
        let peers = match &step.kind {
            StepKind::MoveReplica { database, .. } => {
                let set = self.now.sets.get(database);
                set.is_some_and(|set| set.shards.are_peers())
            }
            _ => false,
        };
        let mut wants = |what: &str, is: &dyn Fn(&Guard) -> bool| {
            let has = step.guards.iter().any(is);
            self.must(has, || format!("no guard checks {what}"));
        };
        match &step.kind {
            StepKind::MoveReplica { pod, .. } => {
                wants("that the member is no primary", &|guard| {
                    peers || matches!(guard, Guard::NotPrimary { pod: p, .. } if p == pod)
                });
                wants(
                    "that the eviction is allowed",
                    &|guard| matches!(guard, Guard::EvictionAllowed { pod: p } if p == pod),
                );
            }
            StepKind::HandOver {
                from, to, terms, ..
            } => {
                if let Some(target) = target {
                    wants("the candidate's version", &|guard| {
                        matches!(guard, Guard::OnVersion { pod, version }
                                 if pod == to && *version == target)
                    });
                }
                wants(
                    "who is the primary",
                    &|guard| matches!(guard, Guard::PrimaryIs { pod, .. } if pod == from),
                );
                // A shard's hand-over restarts no server, and Patroni's own container goes on.
                if terms
                    .postgres()
                    .is_some_and(|terms| terms.patroni.is_none())
                {
                    wants(
                        "that the old primary restarts at once",
                        &|guard| matches!(guard, Guard::RestartUndelayed { pod } if pod == from),
                    );
                }
            }
            StepKind::RetireNode { node, .. } => {
                wants(
                    "that the machine is still the same",
                    &|guard| matches!(guard, Guard::SameMachine { node: n } if n == node),
                );
            }
            StepKind::RemoveSeat { .. } => {
                wants("that the seat is no primary", &|guard| {
                    matches!(guard, Guard::NotPrimary { .. })
                });
            }
            StepKind::DeletePool { pool } => {
                wants(
                    "that the pool is empty",
                    &|guard| matches!(guard, Guard::PoolEmpty { pool: p } if p == pool),
                );
            }
            _ => {}
        }
        if let StepKind::MoveReplica { database, .. }
        | StepKind::HandOver { database, .. }
        | StepKind::DrainLeaders { database, .. }
        | StepKind::ReturnLeaders { database, .. }
        | StepKind::RemoveSeat { database, .. } = &step.kind
        {
            let members = self.now.sets.get(database).map_or(0, |set| set.replicas);
            // The seat goes in the middle of its step, which must be able to go on without it.
            let leaves = matches!(step.kind, StepKind::RemoveSeat { .. });
            let members = members.saturating_sub(u32::from(leaves));
            let has = step.guards.iter().any(|guard| {
                matches!(guard, Guard::AllStreaming { database: d, members: m, .. }
                         if d == database && *m == members)
            });
            self.must(has, || {
                format!("no guard checks that {members} members stream")
            });
        }
    }

    fn with(&mut self, database: &DatabaseName, act: impl FnOnce(&mut Set) -> Option<String>) {
        let wrong = match self.now.sets.get_mut(database) {
            Some(set) => act(set),
            None => Some(format!("the spec has no database {database}")),
        };
        if let Some(wrong) = wrong {
            self.must(false, || wrong);
        }
    }

    fn start(
        &mut self,
        database: &DatabaseName,
        pools: &[PoolName],
        act: impl FnOnce(&mut Set) -> bool,
    ) {
        self.with(database, |set| {
            act(set).then(|| "it is started twice".to_owned())
        });
        self.must(!pools.is_empty(), || "it has no pool to run on".to_owned());
        for pool in pools {
            let steady = self.now.pools.contains(pool) && !self.now.old_pools.contains(pool);
            self.must(steady, || format!("{pool} does not stay for the whole run"));
        }
    }

    /// The machine, if the plan means the one that the snapshot shows and it is still there.
    fn same_machine(&mut self, node: &NodeIdentity) -> Option<Machine> {
        let known = self.world.nodes.get(&node.name);
        let same = known.is_some_and(|found| found.uid == node.uid);
        self.must(same, || format!("{} is not that machine", node.name));
        let machine = Machine::Known(node.name.to_string());
        let there = self.now.machines.contains_key(&machine);
        self.must(there, || format!("{} is gone already", node.name));
        (same && there).then_some(machine)
    }

    fn measure(&mut self) {
        let extra = self
            .now
            .machines
            .len()
            .saturating_sub(self.machines_at_first);
        let extra = u32::try_from(extra).unwrap_or(u32::MAX);
        self.proof.extra_nodes = self.proof.extra_nodes.max(extra);
        let replicas = self
            .now
            .sets
            .values()
            .map(|set| set.replicas.saturating_sub(set.replicas_at_first))
            .max()
            .unwrap_or(0);
        self.proof.extra_replicas = self.proof.extra_replicas.max(replicas);
    }

    pub(super) fn end(mut self) -> Result<Proof, Vec<Violation>> {
        self.at = None;
        let strategy = &self.plan.body.policy.spec.strategy;
        let probes = strategy.probes();
        let wish = match strategy {
            Strategy::HandOver(wish) => Some(wish.clone()),
            Strategy::FerrisWheel(_) => None,
        };
        self.all_old_gone();
        for set in self.now.sets.clone().into_values() {
            let name = &set.name;
            let back = set.replicas == set.replicas_at_first && set.seat.is_none();
            self.must(back, || {
                format!("{name} ends with {} replicas", set.replicas)
            });
            self.must(!set.probing, || format!("the probe of {name} still runs"));
            self.must(!set.agents, || format!("the agents of {name} still run"));
            self.must(!set.shards.led_elsewhere(), || {
                format!("partitions of {name} are not given back")
            });
            self.must(!set.shards.has_moved() || set.certified || !probes, || {
                format!("{name} has no certificate")
            });
            let moved = wish.as_ref().is_none_or(|wish| match &wish.to {
                Some(to) => set.shards.is_led_by_name(to),
                None => !set.shards.is_empty() && set.shards.unmoved().next().is_none(),
            });
            self.must(moved, || format!("the primary of {name} does not move"));
        }
        let peak = &self.plan.body.peak;
        let stated = (peak.extra_nodes, peak.extra_replicas, peak.fewest_members);
        let found = (
            self.proof.extra_nodes,
            self.proof.extra_replicas,
            self.proof.fewest_members.unwrap_or(peak.fewest_members),
        );
        self.must(stated == found, || {
            format!(
                "the peak (nodes, replicas, fewest members) is stated as {stated:?} and is {found:?}"
            )
        });
        if self.broken.is_empty() {
            Ok(self.proof)
        } else {
            Err(self.broken)
        }
    }
}
