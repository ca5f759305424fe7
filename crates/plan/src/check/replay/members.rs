//! Members: the seat, the moves, the hand-over.

use std::collections::BTreeSet;

use super::Replay;
use crate::check::shards::same_terms;
use crate::ids::{DatabaseName, ObjectRef, PoolName, Uid, Zone};
use crate::policy::{DatabaseSpec, Strategy};
use crate::step::{DrainTerms, HandOverTerms, NodeIdentity};

impl Replay<'_> {
    fn wish(&self, database: &DatabaseName) -> Option<&DatabaseSpec> {
        let databases = &self.plan.body.policy.spec.databases;
        databases.iter().find(|spec| spec.name == *database)
    }

    /// The run is to measure itself.
    fn probes(&self) -> bool {
        self.plan.body.policy.spec.strategy.probes()
    }

    pub(super) fn add_seat(
        &mut self,
        database: &DatabaseName,
        stateful_set: &ObjectRef,
        replicas: u32,
        onto: &PoolName,
    ) {
        let Some(set) = self.now.sets.get(database).cloned() else {
            self.must(false, || format!("the spec has no database {database}"));
            return;
        };
        self.must(set.name == *stateful_set, || "it is another set".to_owned());
        self.must(set.probing || !self.probes(), || {
            "nobody measures yet".to_owned()
        });
        self.must(set.seat.is_none() && replicas == set.replicas + 1, || {
            format!(
                "one seat is added to {} replicas, not {replicas}",
                set.replicas
            )
        });
        let loose = set
            .members
            .values()
            .find(|machine| {
                let cordoned = self.now.machines.get(machine).is_some_and(|m| m.cordoned);
                self.now.is_old(machine) && !cordoned
            })
            .cloned();
        self.must(loose.is_none(), || {
            format!("an old node is not cordoned: {loose:?}")
        });
        let seat = ObjectRef::new(
            set.name.namespace.clone(),
            format!("{}-{}", set.name.name, set.replicas),
        );
        let claims: Vec<String> = self
            .world
            .stateful_sets
            .get(stateful_set)
            .into_iter()
            .flat_map(|found| &found.claim_templates)
            .map(|template| {
                ObjectRef::new(seat.namespace.clone(), format!("{template}-{}", seat.name))
            })
            .filter(|claim| self.world.claims.contains_key(claim))
            .map(|claim| claim.to_string())
            .collect();
        self.must(claims.is_empty(), || {
            format!("claims of the seat exist already: {}", claims.join(", "))
        });
        let machine = self.now.free(onto, None);
        self.must(machine.is_some(), || {
            format!("no machine of {onto} is free")
        });
        if let (Some(set), Some(machine)) = (self.now.sets.get_mut(database), machine) {
            set.members.insert(seat.clone(), machine);
            set.replicas = replicas;
            set.shards.join(&seat);
            set.seat = Some(seat);
        }
    }

    fn disk_zones(&self, pod: &ObjectRef) -> Vec<Zone> {
        self.world
            .pods
            .get(pod)
            .into_iter()
            .flat_map(|found| &found.claims)
            .filter_map(|claim| {
                let name = ObjectRef::new(pod.namespace.clone(), claim.clone());
                self.world.claims.get(&name)?.zone.clone()
            })
            .collect()
    }

    pub(super) fn relocate(
        &mut self,
        database: &DatabaseName,
        pod: &ObjectRef,
        uid: &Uid,
        from: &NodeIdentity,
        onto: &PoolName,
    ) {
        let Some(set) = self.now.sets.get(database).cloned() else {
            self.must(false, || format!("the spec has no database {database}"));
            return;
        };
        let is_it = self
            .world
            .pods
            .get(pod)
            .is_some_and(|found| found.uid == *uid);
        self.must(is_it, || format!("{pod} is another pod"));
        self.must(set.probing || !self.probes(), || {
            "nobody measures yet".to_owned()
        });
        self.must(!set.shards.is_led_by(pod), || {
            format!("{pod} is the primary at that time")
        });
        self.must(set.shards.has(pod), || {
            format!("{pod} follows nobody: nobody knows who has its data meanwhile")
        });
        let here = self.same_machine(from);
        let is_here = here.is_some() && set.members.get(pod) == here.as_ref();
        self.must(is_here, || format!("{pod} is not on {}", from.name));
        let leaves_old = here.as_ref().is_some_and(|here| {
            let cordoned = self.now.machines.get(here).is_some_and(|m| m.cordoned);
            cordoned && self.now.is_old(here)
        });
        self.must(leaves_old, || {
            format!("{} is not a cordoned old node", from.name)
        });
        let zones = self.disk_zones(pod);
        let machine = self.now.free(onto, zones.first());
        self.must(machine.is_some(), || {
            format!("no machine of {onto} is free where the disk of {pod} is")
        });
        let target = self.plan.body.target;
        let fits = machine
            .as_ref()
            .and_then(|machine| self.now.machines.get(machine))
            .is_some_and(|state| {
                Some(state.version) == target
                    && zones.iter().all(|zone| state.zone.as_ref() == Some(zone))
            });
        self.must(fits, || {
            format!("the machine in {onto} is not at the target, or not where every disk is")
        });
        self.whole(database, set.replicas.saturating_sub(1));
        if let (Some(set), Some(machine)) = (self.now.sets.get_mut(database), machine) {
            set.members.insert(pod.clone(), machine);
        }
    }

    /// This many members are whole while one is away.
    fn whole(&mut self, database: &DatabaseName, whole: u32) {
        let fewest = self.proof.fewest_members.map_or(whole, |f| f.min(whole));
        self.proof.fewest_members = Some(fewest);
        let wanted = self
            .wish(database)
            .and_then(DatabaseSpec::min_members)
            .unwrap_or(0)
            .max(self.plan.body.peak.fewest_members);
        self.must(whole >= wanted, || {
            format!("{whole} members would be whole, {wanted} are promised")
        });
    }

    pub(super) fn hand_over(
        &mut self,
        asks: bool,
        database: &DatabaseName,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
    ) {
        self.proof.hand_overs += 1;
        let Some(set) = self.now.sets.get(database).cloned() else {
            self.must(false, || format!("the spec has no database {database}"));
            return;
        };
        self.must(set.probing || !self.probes(), || {
            "nobody measures".to_owned()
        });
        self.must(set.agents || !set.wants_agents, || {
            "no agent and no watchdog run".to_owned()
        });
        self.must(to != from && set.seat.as_ref() != Some(to), || {
            format!("{to} is the seat, or the primary itself")
        });
        let target = self.plan.body.target;
        let upgraded = set
            .members
            .get(to)
            .and_then(|machine| self.now.machines.get(machine))
            .is_some_and(|machine| {
                target.is_none_or(|t| machine.version == t) && !machine.cordoned
            });
        self.must(upgraded, || {
            format!("{to} is not on an upgraded, schedulable node")
        });
        let same = self
            .wish(database)
            .is_some_and(|spec| same_terms(spec, terms));
        self.must(same, || "the terms are not the spec's".to_owned());
        let strategy = &self.plan.body.policy.spec.strategy;
        self.must(!strategy.asks() || asks, || {
            "nobody is asked, but the spec wants that".to_owned()
        });
        if let Strategy::HandOver(wish) = strategy {
            let asked = wish.to.as_ref().is_none_or(|pod| *pod == to.name);
            self.must(asked, || format!("{to} is not who the spec names"));
        }
        let set = self.now.sets.get_mut(database);
        for wrong in set.map_or_else(Vec::new, |set| set.shards.hand_over(from, to)) {
            self.must(false, || wrong);
        }
    }

    pub(super) fn drain(
        &mut self,
        asks: bool,
        database: &DatabaseName,
        pod: &ObjectRef,
        terms: &DrainTerms,
    ) {
        let Some(set) = self.now.sets.get(database).cloned() else {
            self.must(false, || format!("the spec has no database {database}"));
            return;
        };
        self.must(set.probing || !self.probes(), || {
            "nobody measures".to_owned()
        });
        let pace = self.wish(database).and_then(DatabaseSpec::kafka);
        let same = pace.is_some_and(|spec| spec.pace.0 == terms.pace_ms);
        self.must(same, || "the pace is not the spec's".to_owned());
        let strategy = &self.plan.body.policy.spec.strategy;
        self.must(!strategy.asks() || asks, || {
            "nobody is asked, but the spec wants that".to_owned()
        });
        for settled in &terms.settled {
            let machine = set.members.get(settled);
            let stays = machine.is_some_and(|machine| !self.now.is_old(machine));
            self.must(stays, || format!("{settled} has to move yet"));
        }
        let others: BTreeSet<&ObjectRef> = terms
            .settled
            .iter()
            .chain(&terms.later)
            .chain([pod])
            .collect();
        let everybody: BTreeSet<&ObjectRef> = set.members.keys().collect();
        self.must(others == everybody, || {
            "it does not name every other broker once".to_owned()
        });
        let to = terms.settled.first().or(terms.later.first());
        let set = self.now.sets.get_mut(database);
        for wrong in set.map_or_else(Vec::new, |set| set.shards.lead_away(pod, to)) {
            self.must(false, || wrong);
        }
    }

    pub(super) fn return_leaders(&mut self, database: &DatabaseName, pace_ms: u64) {
        let pace = self.wish(database).and_then(DatabaseSpec::kafka);
        let same = pace.is_some_and(|spec| spec.pace.0 == pace_ms);
        self.must(same, || "the pace is not the spec's".to_owned());
        let waiting = self.now.sets.get(database).and_then(|set| {
            let mut members = set.members.iter();
            members
                .find(|(_, machine)| self.now.is_old(machine))
                .map(|(pod, _)| pod.clone())
        });
        self.must(waiting.is_none(), || {
            format!("{waiting:?} has to move yet, and would get its partitions back")
        });
        if let Some(set) = self.now.sets.get_mut(database) {
            set.shards.lead_back();
        }
    }

    pub(super) fn remove_seat(
        &mut self,
        database: &DatabaseName,
        stateful_set: &ObjectRef,
        replicas: u32,
    ) {
        let Some(set) = self.now.sets.get(database).cloned() else {
            self.must(false, || format!("the spec has no database {database}"));
            return;
        };
        self.must(set.name == *stateful_set, || "it is another set".to_owned());
        let highest = ObjectRef::new(
            set.name.namespace.clone(),
            format!("{}-{}", set.name.name, set.replicas.saturating_sub(1)),
        );
        self.must(set.seat.as_ref() == Some(&highest), || {
            format!("{highest} is not the seat that the run added")
        });
        self.must(replicas + 1 == set.replicas, || {
            format!("{} replicas would become {replicas}", set.replicas)
        });
        self.must(!set.shards.is_led_by(&highest), || {
            format!("{highest} is the primary")
        });
        let waiting: Vec<String> = set
            .members
            .iter()
            .filter(|(_, machine)| self.now.is_old(machine))
            .map(|(pod, _)| pod.to_string())
            .collect();
        self.must(waiting.is_empty(), || {
            format!("{} did not move yet", waiting.join(", "))
        });
        if let Some(set) = self.now.sets.get_mut(database) {
            set.members.remove(&highest);
            set.replicas = replicas;
            set.seat = None;
        }
    }
}
