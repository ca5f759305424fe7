//! Plays the steps of a rollback and notes what each would break.

use std::collections::BTreeSet;

use super::picture::{Machine, Picture};
use super::{Proof, Violation};
use crate::ids::{DatabaseName, ObjectRef, PoolName};
use crate::plan::{Plan, Rollback};
use crate::step::{ClaimIdentity, Guard, NodeIdentity, Step, StepId, StepKind};
use crate::world::Snapshot;

pub(super) struct Replay<'a> {
    world: &'a Snapshot,
    plan: &'a Plan,
    rollback: &'a Rollback,
    now: Picture,
    at: Option<StepId>,
    broken: Vec<Violation>,
    proof: Proof,
    /// Pools of the run that are not deleted yet.
    pools: BTreeSet<PoolName>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(world: &'a Snapshot, plan: &'a Plan, rollback: &'a Rollback) -> Self {
        Self {
            now: Picture::of(world, plan),
            world,
            plan,
            rollback,
            at: None,
            broken: Vec::new(),
            proof: Proof {
                extra_nodes: 0,
                extra_replicas: 0,
                fewest_members: None,
                hand_overs: 0,
                retired: 0,
            },
            pools: rollback.pools.iter().cloned().collect(),
        }
    }

    pub(super) fn play(mut self) -> Result<Proof, Vec<Violation>> {
        self.marks();
        for (index, step) in self.plan.body.steps.iter().enumerate() {
            self.at = Some(step.id);
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            self.must(step.id.0 == number, || {
                "steps are not numbered in order".to_owned()
            });
            self.guards(step);
            self.step(step);
        }
        self.at = None;
        self.end();
        if self.broken.is_empty() {
            Ok(self.proof)
        } else {
            Err(self.broken)
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

    /// What is said to be the run's must look like it: at the target, in a pool at the target.
    fn marks(&mut self) {
        let target = self
            .plan
            .body
            .policy
            .spec
            .target
            .as_ref()
            .map(|target| target.kubernetes_version);
        for machine in &self.rollback.machines {
            let node = self.world.nodes.get(&machine.name);
            let fits = node.is_some_and(|node| {
                node.uid == machine.uid && target == Some(node.kubelet_version)
            });
            self.must(fits, || {
                format!("{} does not look like a machine of the run", machine.name)
            });
        }
        for pool in &self.rollback.pools {
            let fits = self
                .world
                .pools
                .get(pool)
                .is_some_and(|found| target == Some(found.kubernetes_version));
            self.must(fits, || {
                format!("{pool} does not look like a pool of the run")
            });
        }
        self.must(self.plan.body.parent.is_some(), || {
            "it does not say which run it takes back".to_owned()
        });
    }

    fn guards(&mut self, step: &Step) {
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
                wants("that the others are whole", &|guard| {
                    matches!(guard, Guard::AllStreaming { .. })
                });
            }
            StepKind::HandOver { from, terms, .. } => {
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
                wants("that the others are whole", &|guard| {
                    matches!(guard, Guard::AllStreaming { .. })
                });
            }
            StepKind::DrainLeaders { .. } | StepKind::ReturnLeaders { .. } => {
                wants("that the others are whole", &|guard| {
                    matches!(guard, Guard::AllStreaming { .. })
                });
            }
            StepKind::RetireNode { node, .. } => wants(
                "that the machine is still the same",
                &|guard| matches!(guard, Guard::SameMachine { node: n } if n == node),
            ),
            StepKind::RemoveSeat { replicas, .. } => {
                wants("that the seat is no primary", &|guard| {
                    matches!(guard, Guard::NotPrimary { .. })
                });
                wants(
                    "that the others are whole",
                    &|guard| matches!(guard, Guard::AllStreaming { members, .. } if members == replicas),
                );
            }
            StepKind::DeletePool { pool } => wants(
                "that the pool is empty",
                &|guard| matches!(guard, Guard::PoolEmpty { pool: p } if p == pool),
            ),
            _ => {}
        }
    }

    fn step(&mut self, step: &Step) {
        match &step.kind {
            StepKind::Uncordon { nodes } => self.close(nodes, false),
            StepKind::Cordon { nodes } => self.close(nodes, true),
            StepKind::StartProbe { database, .. } => {
                if let Some(set) = self.now.sets.get_mut(database) {
                    set.probing = true;
                }
            }
            StepKind::StartAgents { database, .. } => {
                if let Some(set) = self.now.sets.get_mut(database) {
                    set.agents = true;
                }
            }
            StepKind::StopAgents { database } => {
                if let Some(set) = self.now.sets.get_mut(database) {
                    set.agents = false;
                }
            }
            StepKind::Certify { database } => {
                let probing = self
                    .now
                    .sets
                    .get_mut(database)
                    .is_some_and(|set| std::mem::replace(&mut set.probing, false));
                self.must(probing, || "a probe is asked that does not run".to_owned());
            }
            StepKind::MoveReplica {
                database,
                pod,
                pod_uid,
                from,
                onto_pool,
            } => {
                let same = self
                    .world
                    .pods
                    .get(pod)
                    .is_some_and(|found| found.uid == *pod_uid);
                self.must(same, || format!("{pod} is another pod"));
                self.back(database, pod, from, onto_pool);
            }
            StepKind::HandOver {
                database, from, to, ..
            } => self.hand_back(database, from, to, step.gate.is_some()),
            StepKind::DrainLeaders {
                database,
                pod,
                terms,
            } => {
                let to = terms.settled.first().or(terms.later.first());
                let set = self.now.sets.get_mut(database);
                for wrong in set.map_or_else(Vec::new, |set| set.shards.lead_away(pod, to)) {
                    self.must(false, || wrong);
                }
            }
            StepKind::ReturnLeaders { database, .. } => {
                if let Some(set) = self.now.sets.get_mut(database) {
                    set.shards.lead_back();
                }
            }
            StepKind::RemoveSeat {
                database,
                replicas,
                claims,
                ..
            } => self.remove_seat(database, *replicas, claims),
            StepKind::RetireNode { node, pool } => self.retire(node, pool),
            StepKind::DeletePool { pool } => self.delete(pool),
            StepKind::GrowPool { .. } | StepKind::AddSeat { .. } | StepKind::ShrinkPool { .. } => {
                self.must(false, || format!("{} is no way back", step.kind.name()))
            }
        }
    }

    fn machine(&mut self, node: &NodeIdentity) -> Machine {
        let same = self
            .world
            .nodes
            .get(&node.name)
            .is_some_and(|found| found.uid == node.uid);
        self.must(same, || format!("{} is not that machine", node.name));
        Machine::Known(node.name.to_string())
    }

    fn is_of_the_run(&self, machine: &Machine) -> bool {
        self.rollback
            .machines
            .iter()
            .any(|node| Machine::Known(node.name.to_string()) == *machine)
    }

    fn close(&mut self, nodes: &[NodeIdentity], closed: bool) {
        for node in nodes {
            let machine = self.machine(node);
            let ours = self.is_of_the_run(&machine);
            self.must(ours || !closed, || {
                format!(
                    "{} is not a machine of the run and would be closed",
                    node.name
                )
            });
            let before = self.rollback.cordoned_by_others.contains(&node.name);
            self.must(closed || !before, || {
                format!("{} was closed by somebody else", node.name)
            });
            if let Some(state) = self.now.machines.get_mut(&machine) {
                state.cordoned = closed;
            }
        }
    }

    fn back(
        &mut self,
        database: &DatabaseName,
        pod: &ObjectRef,
        from: &NodeIdentity,
        onto: &PoolName,
    ) {
        let here = self.machine(from);
        let ours = self.is_of_the_run(&here);
        self.must(ours, || {
            format!("{} is not a machine of the run", from.name)
        });
        let closed = self.now.machines.get(&here).is_some_and(|m| m.cordoned);
        self.must(closed, || {
            format!("{} is open: {pod} could land there again", from.name)
        });
        let zone = self.now.machines.get(&here).and_then(|m| m.zone.clone());
        let free = self
            .now
            .in_pool(onto)
            .filter(|(machine, state)| !state.cordoned && !self.is_of_the_run(machine))
            .filter(|(_, state)| state.zone == zone)
            .map(|(machine, _)| machine.clone())
            .find(|machine| self.now.on(machine).is_empty());
        self.must(free.is_some(), || {
            format!("no old machine of {onto} is free for {pod}")
        });
        let Some(set) = self.now.sets.get(database).cloned() else {
            self.must(false, || format!("the spec has no database {database}"));
            return;
        };
        self.must(set.members.get(pod) == Some(&here), || {
            format!("{pod} is not on {}", from.name)
        });
        self.must(!set.shards.is_led_by(pod), || {
            format!("{pod} is the primary")
        });
        let probes = self.plan.body.policy.spec.strategy.probes();
        self.must(set.probing || !probes, || "nobody measures yet".to_owned());
        let whole = self.members(database, set.replicas).saturating_sub(1);
        let promised = self.plan.body.peak.fewest_members;
        let wanted = self
            .plan
            .body
            .policy
            .spec
            .databases
            .iter()
            .find(|spec| spec.name == *database)
            .and_then(crate::policy::DatabaseSpec::min_members)
            .unwrap_or(0)
            .max(promised);
        self.must(whole >= wanted, || {
            format!("{whole} members would be whole, {wanted} are promised")
        });
        let fewest = self.proof.fewest_members.map_or(whole, |f| f.min(whole));
        self.proof.fewest_members = Some(fewest);
        if let (Some(set), Some(machine)) = (self.now.sets.get_mut(database), free) {
            set.members.insert(pod.clone(), machine);
        }
    }

    /// Members that count: a seat that never became Ready does not.
    fn members(&self, database: &DatabaseName, replicas: u32) -> u32 {
        let seat = self
            .plan
            .body
            .steps
            .iter()
            .find_map(|step| match &step.kind {
                StepKind::RemoveSeat {
                    database: of,
                    stateful_set,
                    replicas,
                    ..
                } if of == database => Some(ObjectRef::new(
                    stateful_set.namespace.clone(),
                    format!("{}-{replicas}", stateful_set.name),
                )),
                _ => None,
            });
        let idle = seat.is_some_and(|seat| {
            let there = self.now.sets.get(database).is_some_and(|set| {
                seat.name == format!("{}-{}", set.name.name, replicas.saturating_sub(1))
            });
            there && !self.world.pods.get(&seat).is_some_and(|found| found.ready)
        });
        replicas - u32::from(idle)
    }

    fn hand_back(&mut self, database: &DatabaseName, from: &ObjectRef, to: &ObjectRef, asks: bool) {
        self.proof.hand_overs += 1;
        self.must(self.rollback.hand_back, || {
            "nobody asked for the primary to move".to_owned()
        });
        let strategy = &self.plan.body.policy.spec.strategy;
        self.must(!strategy.asks() || asks, || {
            "nobody is asked, but the spec wants that".to_owned()
        });
        let Some(set) = self.now.sets.get(database).cloned() else {
            self.must(false, || format!("the spec has no database {database}"));
            return;
        };
        self.must(set.agents || !set.wants_agents, || {
            "no agent and no watchdog run".to_owned()
        });
        let open = set
            .members
            .get(to)
            .and_then(|machine| self.now.machines.get(machine))
            .is_some_and(|machine| !machine.cordoned);
        self.must(open, || format!("{to} is not on a node that stays"));
        let set = self.now.sets.get_mut(database);
        for wrong in set.map_or_else(Vec::new, |set| set.shards.hand_over(from, to)) {
            self.must(false, || wrong);
        }
    }

    fn remove_seat(&mut self, database: &DatabaseName, replicas: u32, claims: &[ClaimIdentity]) {
        for claim in claims {
            let same = self
                .world
                .claims
                .get(&claim.name)
                .is_some_and(|found| found.uid == claim.uid);
            self.must(same, || format!("{} is another claim", claim.name));
        }
        let Some(set) = self.now.sets.get(database).cloned() else {
            self.must(false, || format!("the spec has no database {database}"));
            return;
        };
        self.must(
            set.replicas == replicas || set.replicas == replicas + 1,
            || format!("{} replicas would become {replicas}", set.replicas),
        );
        let seat = ObjectRef::new(
            set.name.namespace.clone(),
            format!("{}-{replicas}", set.name.name),
        );
        self.must(!set.shards.is_led_by(&seat), || {
            format!("{seat} is the primary")
        });
        if let Some(set) = self.now.sets.get_mut(database) {
            set.members.remove(&seat);
            set.replicas = replicas;
        }
    }

    fn retire(&mut self, node: &NodeIdentity, pool: &PoolName) {
        let machine = self.machine(node);
        let ours = self.is_of_the_run(&machine) && self.now.pool_of(&machine) == Some(pool);
        self.must(ours, || {
            format!("{} is not a machine of the run in {pool}", node.name)
        });
        let left: Vec<String> = self
            .now
            .on(&machine)
            .iter()
            .map(ToString::to_string)
            .collect();
        self.must(left.is_empty(), || {
            format!("{} still carries {}", node.name, left.join(", "))
        });
        self.now.machines.remove(&machine);
        self.proof.retired += 1;
    }

    fn delete(&mut self, pool: &PoolName) {
        let ours = self.pools.remove(pool);
        self.must(ours, || format!("{pool} is not a pool of the run"));
        let left = self.now.in_pool(pool).count();
        self.must(left == 0, || {
            format!("{left} machines of {pool} were not retired")
        });
    }

    fn end(&mut self) {
        let closed: Vec<String> = self
            .now
            .machines
            .iter()
            .filter(|(_, state)| state.cordoned)
            .filter_map(|(machine, _)| match machine {
                Machine::Known(name) => Some(name.clone()),
                Machine::Made(..) => None,
            })
            .filter(|name| {
                !self
                    .rollback
                    .cordoned_by_others
                    .iter()
                    .any(|before| before.as_str() == name)
            })
            .collect();
        self.must(closed.is_empty(), || {
            format!("nodes stay closed: {}", closed.join(", "))
        });
        for set in self.now.sets.clone().into_values() {
            let name = &set.name;
            self.must(!set.probing, || format!("the probe of {name} still runs"));
            self.must(!set.agents, || format!("the agents of {name} still run"));
            self.must(!set.shards.led_elsewhere(), || {
                format!("partitions of {name} are not given back")
            });
            let nowhere = set
                .members
                .iter()
                .find(|(_, machine)| !self.now.machines.contains_key(machine))
                .map(|(pod, _)| pod.to_string());
            self.must(nowhere.is_none(), || {
                format!("{nowhere:?} has lost its machine")
            });
        }
        let fewest = self.proof.fewest_members;
        let peak = &self.plan.body.peak;
        let stated = (peak.extra_nodes, peak.extra_replicas, peak.fewest_members);
        let found = (0, 0, fewest.unwrap_or(peak.fewest_members));
        self.must(stated == found, || {
            format!("the peak is stated as {stated:?} and is {found:?}")
        });
    }
}
