//! The Ferris Wheel: new nodes beside the old ones, replicas first, the primary once, the seat last.
//!
//! # Guarantees
//! - A member leaves its node only when a machine at the target version stands ready in the zone of
//!   its disk.
//! - With the seat, a set never has fewer members than it began with.
//! - An old machine is deleted only after its members have left it.

use std::collections::{BTreeMap, BTreeSet};

use crate::databases::{self, Act};
use crate::ids::{ObjectRef, PoolName};
use crate::layout::{Layout, NewPool};
use crate::plan::Peak;
use crate::policy::FerrisWheel;
use crate::scope::{DatabaseScope, Member, OldNode, Scope};
use crate::step::{Guard, Inverse, StepKind, Undo};
use crate::strategies::Turn;
use crate::strategies::sequence::{Sequence, seat_leaves, streaming};
use crate::version::KubernetesVersion;
use crate::world::Snapshot;

/// Orders the steps. Whatever [`crate::planner`] refuses must be refused before.
pub fn turn(
    world: &Snapshot,
    scope: &Scope<'_>,
    layout: &Layout,
    wheel: &FerrisWheel,
    target: KubernetesVersion,
) -> Turn {
    let mut builder = Builder::new(world, scope, layout, wheel, target);
    let riding: Vec<_> = scope.concerned().collect();
    for database in &riding {
        if wheel.probe {
            builder.steps.start_probe(database, &scope.steady_pools);
        }
        if hands_over(database) {
            builder.steps.start_agents(database, &scope.steady_pools);
        }
    }
    builder.cordon();
    for database in &riding {
        builder.carry(database);
    }
    builder.swap_the_rest();
    for database in riding.iter().filter(|database| hands_over(database)) {
        builder.steps.stop_agents(database);
    }
    builder.delete_old_pools();
    for database in riding.iter().filter(|_| wheel.probe) {
        builder.steps.certify(database);
    }
    builder.finish(&riding)
}

struct Builder<'a> {
    world: &'a Snapshot,
    scope: &'a Scope<'a>,
    layout: &'a Layout,
    wheel: &'a FerrisWheel,
    target: KubernetesVersion,
    steps: Sequence,
    /// Machines and members of each new pool, as the steps so far leave them.
    pools: BTreeMap<PoolName, Fill>,
    /// Members that an earlier run has brought over, by new pool.
    arrived: BTreeMap<PoolName, u32>,
    retired: u32,
    grown: u32,
    shrunk: u32,
    extra_nodes: u32,
    extra_replicas: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fill {
    machines: u32,
    taken: u32,
}

impl<'a> Builder<'a> {
    fn new(
        world: &'a Snapshot,
        scope: &'a Scope<'a>,
        layout: &'a Layout,
        wheel: &'a FerrisWheel,
        target: KubernetesVersion,
    ) -> Self {
        let mut pools: BTreeMap<PoolName, Fill> = layout
            .iter()
            .map(|pool| {
                let fill = Fill {
                    machines: pool.machines,
                    taken: 0,
                };
                (pool.name.clone(), fill)
            })
            .collect();
        // Members that an earlier run has brought over keep their machine.
        for member in scope.databases.iter().flat_map(|d| d.members.values()) {
            let pool = member
                .pod
                .node
                .as_ref()
                .and_then(|node| world.nodes.get(node)?.pool.as_ref());
            if let Some(fill) = pool.and_then(|pool| pools.get_mut(pool)) {
                fill.taken += 1;
            }
        }
        let arrived = pools
            .iter()
            .map(|(name, fill)| (name.clone(), fill.taken))
            .collect();
        Self {
            arrived,
            world,
            scope,
            layout,
            wheel,
            target,
            steps: Sequence::new(wheel.soak_seconds),
            pools,
            retired: 0,
            grown: 0,
            shrunk: 0,
            extra_nodes: 0,
            extra_replicas: 0,
        }
    }

    fn cordon(&mut self) {
        let nodes: Vec<_> = self
            .scope
            .nodes
            .values()
            .map(|node| node.identity.clone())
            .collect();
        if nodes.is_empty() {
            return;
        }
        let guards = nodes
            .iter()
            .map(|node| Guard::SameMachine { node: node.clone() })
            .collect();
        let undo = Undo::Inverse(Inverse::Uncordon {
            nodes: nodes.clone(),
        });
        self.steps.push(
            format!("cordon {} old nodes", nodes.len()),
            StepKind::Cordon { nodes },
            guards,
            undo,
        );
    }

    fn carry(&mut self, database: &DatabaseScope<'_>) {
        let Some(order) = databases::of(database).order() else {
            return;
        };
        let seat = self.add_seat(database, order.beside);
        let members = database.set.replicas + u32::from(seat.is_some());
        let mut settled = BTreeSet::new();
        let mut drained = false;
        for act in &order.acts {
            match act {
                Act::Move(ordinal) => {
                    if let Some(member) = database.members.get(ordinal) {
                        drained |= self.move_member(database, member, members, &settled);
                        settled.insert(*ordinal);
                    }
                }
                Act::HandOver { from, to } => {
                    let ends = (database.members.get(from), database.members.get(to));
                    if let (Some(from), Some(to)) = ends {
                        let ask = self.wheel.approve_hand_over;
                        self.steps
                            .hand_over(self.scope, database, (from, to), members, ask);
                    }
                }
            }
        }
        if drained {
            self.steps.return_leaders(database, members);
        }
        if let Some(place) = seat {
            self.remove_seat(database, &place);
        }
    }

    /// A machine in the pool for one member more.
    fn room(&mut self, place: &NewPool, for_whom: &str) {
        let Some(fill) = self.pools.get_mut(&place.name) else {
            return;
        };
        fill.taken += 1;
        if fill.machines >= fill.taken {
            return;
        }
        fill.machines = fill.taken;
        let count = fill.machines;
        self.grown += 1;
        self.extra_nodes = self
            .extra_nodes
            .max((self.grown).saturating_sub(self.retired + self.shrunk));
        let exists = count > 1 || self.world.pools.contains_key(&place.name);
        let mut guards = vec![Guard::NoOperation {
            pool: place.like.clone(),
        }];
        if exists {
            guards.push(Guard::NoOperation {
                pool: place.name.clone(),
            });
        }
        self.steps.push(
            format!(
                "grow {} to {count} in {}, for {for_whom}",
                place.name, place.zone
            ),
            StepKind::GrowPool {
                pool: place.name.clone(),
                like: place.like.clone(),
                zone: place.zone.clone(),
                count,
                version: self.target,
            },
            guards,
            Undo::Inverse(if exists {
                Inverse::RetireMachine {
                    pool: place.name.clone(),
                }
            } else {
                Inverse::DeletePool {
                    pool: place.name.clone(),
                }
            }),
        );
    }

    /// The seat goes where the fewest members are, so that a spread over zones still holds; of
    /// several such zones, where the primary is.
    fn seat_place(&self, database: &DatabaseScope<'_>, primary: u32) -> Option<&'a NewPool> {
        let mut members_in: BTreeMap<_, usize> = BTreeMap::new();
        for member in database.members.values() {
            if let Some(zone) = &member.disk_zone {
                *members_in.entry(zone).or_default() += 1;
            }
        }
        let place_of = |member: &Member<'_>| {
            let node = self.scope.nodes.get(member.old_node.as_ref()?)?;
            self.layout.place(&node.pool, node.zone.as_ref()?)
        };
        database
            .moving()
            .filter_map(|member| Some((member, place_of(member)?)))
            .min_by_key(|(member, place)| {
                (
                    members_in.get(&place.zone).copied().unwrap_or(0),
                    member.ordinal != primary,
                    member.ordinal,
                )
            })
            .map(|(_, place)| place)
    }

    fn add_seat(&mut self, database: &DatabaseScope<'_>, primary: u32) -> Option<NewPool> {
        if !self.wheel.extra_seat || !databases::of(database).takes_seat() {
            return None;
        }
        let place = self.seat_place(database, primary)?.clone();
        let seat = database.seat();
        self.room(&place, &format!("the extra seat {}", seat.name));
        let replicas = database.set.replicas + 1;
        self.extra_replicas = self.extra_replicas.max(1);
        self.steps.push(
            format!("add the extra seat {} on {}", seat.name, place.name),
            StepKind::AddSeat {
                database: database.name.clone(),
                stateful_set: database.set_name.clone(),
                replicas,
                onto_pool: place.name.clone(),
            },
            vec![
                Guard::SeatFree {
                    pool: place.name.clone(),
                    stateful_set: database.set_name.clone(),
                },
                streaming(database, database.set.replicas),
            ],
            Undo::Inverse(Inverse::RemoveSeat {
                database: database.name.clone(),
                stateful_set: database.set_name.clone(),
                replicas: database.set.replicas,
            }),
        );
        Some(place)
    }

    /// `true` if partitions were led away from it first.
    fn move_member(
        &mut self,
        database: &DatabaseScope<'_>,
        member: &Member<'_>,
        members: u32,
        settled: &BTreeSet<u32>,
    ) -> bool {
        let Some(node) = member
            .old_node
            .as_ref()
            .and_then(|name| self.scope.nodes.get(name))
        else {
            return false;
        };
        let Some(place) = node
            .zone
            .as_ref()
            .and_then(|zone| self.layout.place(&node.pool, zone))
            .cloned()
        else {
            return false;
        };
        self.room(&place, &member.name.name);
        // Once the machine is there: what a broker does not lead it shall not get again meanwhile.
        let ask = self.wheel.approve_hand_over;
        let drained = self.steps.drain(database, member, settled, members, ask);
        self.steps.move_member(
            database,
            format!(
                "move {} from {} to {}",
                member.name.name, node.identity.name, place.name
            ),
            StepKind::MoveReplica {
                database: database.name.clone(),
                pod: member.name.clone(),
                pod_uid: member.pod.uid.clone(),
                from: node.identity.clone(),
                onto_pool: place.name.clone(),
            },
            vec![
                streaming(database, members),
                Guard::EvictionAllowed {
                    pod: member.name.clone(),
                },
                Guard::SeatFree {
                    pool: place.name.clone(),
                    stateful_set: database.set_name.clone(),
                },
                Guard::SameMachine {
                    node: node.identity.clone(),
                },
            ],
            Undo::Inverse(Inverse::MoveBack {
                pod: member.name.clone(),
                to: node.identity.clone(),
            }),
        );
        self.retire(node, &place);
        drained
    }

    fn retire(&mut self, node: &OldNode, place: &NewPool) {
        self.retired += 1;
        self.steps.push(
            format!("retire {}", node.identity.name),
            StepKind::RetireNode {
                node: node.identity.clone(),
                pool: node.pool.clone(),
            },
            vec![
                Guard::SameMachine {
                    node: node.identity.clone(),
                },
                Guard::NoOperation {
                    pool: node.pool.clone(),
                },
            ],
            Undo::RollForwardOnly(format!(
                "the machine is gone; its successor is in {}",
                place.name
            )),
        );
    }

    fn remove_seat(&mut self, database: &DatabaseScope<'_>, place: &NewPool) {
        let seat: ObjectRef = database.seat();
        let (kind, guards) = seat_leaves(database, &seat, database.set.replicas);
        self.steps.push(
            format!("remove the seat {} with claim, disk and slot", seat.name),
            kind,
            guards,
            Undo::Nothing,
        );
        let Some(fill) = self.pools.get_mut(&place.name) else {
            return;
        };
        fill.taken = fill.taken.saturating_sub(1);
        if fill.machines <= fill.taken {
            return;
        }
        fill.machines -= 1;
        self.shrunk += 1;
        let count = fill.machines;
        self.steps.push(
            format!("retire the seat's machine: {} to {count}", place.name),
            StepKind::ShrinkPool {
                pool: place.name.clone(),
                count,
                keep: self
                    .scope
                    .databases
                    .iter()
                    .map(|database| database.set_name.clone())
                    .collect(),
            },
            vec![Guard::NoOperation {
                pool: place.name.clone(),
            }],
            Undo::Nothing,
        );
    }

    /// Old nodes that carry no member: a machine for each, so that other pods find their room.
    ///
    /// Except for a node that an earlier run has emptied: the machine to which its member went
    /// stands there already.
    fn swap_the_rest(&mut self) {
        let rest: Vec<_> = self
            .scope
            .nodes
            .iter()
            .filter(|(name, _)| self.scope.members_on(name).next().is_none())
            .map(|(_, node)| node.clone())
            .collect();
        for node in rest {
            let place = node
                .zone
                .as_ref()
                .and_then(|zone| self.layout.place(&node.pool, zone))
                .cloned();
            let Some(place) = place else {
                continue;
            };
            let successors = self.arrived.entry(place.name.clone()).or_default();
            if *successors > 0 && is_empty(self.world, &node) {
                *successors -= 1;
            } else {
                self.room(&place, "the pods of an old node");
            }
            self.retire(&node, &place);
        }
    }

    fn delete_old_pools(&mut self) {
        for pool in &self.scope.pools {
            let mut guards = vec![
                Guard::PoolEmpty { pool: pool.clone() },
                Guard::NoOperation { pool: pool.clone() },
            ];
            if self.world.pools.get(pool).is_some_and(|pool| pool.system) {
                guards.push(Guard::OtherSystemPool { pool: pool.clone() });
            }
            self.steps.push(
                format!("delete the empty pool {pool}"),
                StepKind::DeletePool { pool: pool.clone() },
                guards,
                Undo::RollForwardOnly(
                    "its settings live on in the new pools; one at the old version can be made like them"
                        .to_owned(),
                ),
            );
        }
    }

    fn finish(self, riding: &[&DatabaseScope<'_>]) -> Turn {
        let seated = |database: &DatabaseScope<'_>| {
            self.wheel.extra_seat && databases::of(database).takes_seat()
        };
        let weakest = riding
            .iter()
            .map(|database| {
                let seat = seated(database);
                (database.set.replicas - u32::from(!seat), seat, database)
            })
            .min_by_key(|(whole, ..)| *whole);
        let (fewest, if_a_member_crashes) = weakest.map_or_else(
            || (0, "no member of a database moves".to_owned()),
            |(whole, seat, database)| (whole, databases::of(database).if_one_crashes(whole, seat)),
        );
        Turn {
            peak: Peak {
                extra_nodes: self.extra_nodes,
                extra_replicas: self.extra_replicas,
                fewest_members: fewest,
                if_a_member_crashes,
            },
            steps: self.steps.into_steps(),
        }
    }
}

/// No pod is left that an eviction would send elsewhere.
fn is_empty(world: &Snapshot, node: &OldNode) -> bool {
    !world.pods.values().any(|pod| {
        let stays = pod
            .owner
            .as_ref()
            .is_some_and(|owner| matches!(owner.kind.as_str(), "DaemonSet" | "Node"));
        let over = matches!(pod.phase.as_str(), "Succeeded" | "Failed");
        pod.node.as_ref() == Some(&node.identity.name) && !stays && !over
    })
}

fn hands_over(database: &DatabaseScope<'_>) -> bool {
    databases::of(database)
        .order()
        .is_some_and(|order| order.hands_over())
}
