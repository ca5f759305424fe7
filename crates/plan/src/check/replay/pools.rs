//! Machines and pools: cordon, grow, retire, shrink, delete.

use super::Replay;
use crate::check::picture::Machine;
use crate::ids::{ObjectRef, PoolName, Zone};
use crate::step::NodeIdentity;
use crate::version::KubernetesVersion;

impl Replay<'_> {
    pub(super) fn cordon(&mut self, nodes: &[NodeIdentity]) {
        for node in nodes {
            let Some(machine) = self.same_machine(node) else {
                continue;
            };
            let old = self.now.is_old(&machine);
            self.must(old, || format!("{} is not an old node", node.name));
            if let Some(state) = self.now.machines.get_mut(&machine) {
                state.cordoned = true;
            }
        }
    }

    pub(super) fn grow(
        &mut self,
        pool: &PoolName,
        like: &PoolName,
        zone: &Zone,
        count: u32,
        version: KubernetesVersion,
    ) {
        let name = pool.as_str();
        let legal = name.len() <= 12
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        self.must(legal, || format!("AKS accepts no pool named {pool}"));
        let target = self.plan.body.target;
        self.must(Some(version) == target, || {
            format!("{version} is not the target")
        });
        let old = self.now.old_pools.contains(pool);
        self.must(!old, || format!("{pool} is an old pool"));
        let world = self.world;
        let model = world.pools.get(like);
        let in_zone = model.is_some_and(|model| model.zones.contains(zone));
        self.must(in_zone, || format!("{like} is not in {zone}"));
        if let Some(existing) = world.pools.get(pool) {
            let fits = existing.zones == [zone.clone()]
                && existing.kubernetes_version == version
                && model.is_some_and(|model| {
                    model.vm_size == existing.vm_size && model.node_labels == existing.node_labels
                });
            self.must(fits, || {
                format!("{pool} exists and is another kind of pool")
            });
        }
        let has = u32::try_from(self.now.in_pool(pool).count()).unwrap_or(u32::MAX);
        self.must(count == has.saturating_add(1), || {
            format!("{pool} has {has} machines and one at a time is added, not {count}")
        });
        self.now.pools.insert(pool.clone());
        for _ in has..count {
            self.now.make(pool, zone, version);
        }
    }

    pub(super) fn retire(&mut self, node: &NodeIdentity, pool: &PoolName) {
        let Some(machine) = self.same_machine(node) else {
            return;
        };
        let in_pool = self.now.pool_of(&machine) == Some(pool);
        self.must(in_pool, || format!("{} is not in {pool}", node.name));
        let old = self.now.is_old(&machine);
        self.must(old, || format!("{} is not an old node", node.name));
        let cordoned = self
            .now
            .machines
            .get(&machine)
            .is_some_and(|found| found.cordoned);
        self.must(cordoned, || format!("{} is not cordoned", node.name));
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

    /// Only a seat's machine may go in this way: one, at the target, that carries no member.
    pub(super) fn shrink(&mut self, pool: &PoolName, count: u32, keep: &[ObjectRef]) {
        let old = self.now.old_pools.contains(pool);
        self.must(!old, || format!("{pool} is an old pool"));
        let machines: Vec<Machine> = self.now.in_pool(pool).map(|(m, _)| m.clone()).collect();
        let has = u32::try_from(machines.len()).unwrap_or(u32::MAX);
        let empty = machines
            .into_iter()
            .filter(|machine| self.now.on(machine).is_empty())
            // A machine that the run made goes before one that it found.
            .max();
        self.must(count.saturating_add(1) == has, || {
            format!("{pool} has {has} machines and one at a time goes, not down to {count}")
        });
        self.must(empty.is_some(), || {
            format!("every machine of {pool} carries a member")
        });
        let unprotected = self
            .now
            .sets
            .values()
            .find(|set| {
                !keep.contains(&set.name)
                    && set
                        .members
                        .values()
                        .any(|machine| self.now.pool_of(machine) == Some(pool))
            })
            .map(|set| set.name.to_string());
        self.must(unprotected.is_none(), || {
            format!("members of {unprotected:?} could lose their machine")
        });
        if let Some(machine) = empty {
            self.now.machines.remove(&machine);
        }
    }

    pub(super) fn delete(&mut self, pool: &PoolName) {
        let old = self.now.old_pools.contains(pool);
        self.must(old, || format!("{pool} is not an old pool"));
        let left = self.now.in_pool(pool).count();
        self.must(left == 0, || {
            format!("{left} machines of {pool} were never retired")
        });
        let world = self.world;
        let is_system = |name: &PoolName| world.pools.get(name).is_some_and(|pool| pool.system);
        let others = self
            .now
            .pools
            .iter()
            .any(|name| name != pool && is_system(name));
        self.must(!is_system(pool) || others, || {
            format!("{pool} is the last System pool")
        });
        self.now.pools.remove(pool);
    }

    pub(super) fn all_old_gone(&mut self) {
        let left: Vec<String> = self
            .now
            .machines
            .keys()
            .filter(|machine| self.now.is_old(machine))
            .map(|machine| format!("{machine:?}"))
            .collect();
        self.must(left.is_empty(), || {
            format!("old machines remain: {}", left.join(", "))
        });
        let pools: Vec<String> = self
            .now
            .old_pools
            .intersection(&self.now.pools)
            .map(ToString::to_string)
            .collect();
        self.must(pools.is_empty(), || {
            format!("old pools remain: {}", pools.join(", "))
        });
        let target = self.plan.body.target;
        let new = self
            .now
            .machines
            .values()
            .filter(|machine| Some(machine.version) == target)
            .count();
        let retired = usize::try_from(self.proof.retired).unwrap_or(usize::MAX);
        self.must(new >= retired, || {
            format!("{retired} machines go and only {new} are at the target")
        });
    }
}
