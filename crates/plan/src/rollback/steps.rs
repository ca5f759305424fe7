//! The steps of a rollback, in order.

use std::collections::{BTreeMap, BTreeSet};

use super::past::{Left, Return, Seat, leads};
use super::{Past, Wish};
use crate::databases;
use crate::ids::{DatabaseName, PoolName};
use crate::plan::Peak;
use crate::scope::{DatabaseScope, Scope};
use crate::step::{Guard, NodeIdentity, Step, StepKind, Undo};
use crate::strategies::sequence::{Sequence, seat_leaves, streaming};

pub(super) struct Built {
    pub(super) steps: Vec<Step>,
    pub(super) peak: Peak,
    /// Databases whose primary moves.
    pub(super) handed_back: BTreeSet<DatabaseName>,
}

pub(super) fn build(scope: &Scope<'_>, past: &Past<'_>, left: &Left, wish: Wish) -> Built {
    let builder = Builder {
        steps: Sequence::new(past.plan.body.policy.spec.strategy.soak_seconds()),
        scope,
        past,
        left,
        fewest: None,
    };
    builder.build(wish)
}

struct Builder<'a> {
    steps: Sequence,
    scope: &'a Scope<'a>,
    past: &'a Past<'a>,
    left: &'a Left,
    fewest: Option<u32>,
}

impl Builder<'_> {
    fn build(mut self, wish: Wish) -> Built {
        let (scope, left) = (self.scope, self.left);
        let handed_back: BTreeSet<DatabaseName> = scope
            .databases
            .iter()
            .filter(|database| wish.hand_back && !self.leaders_to_be(database).is_empty())
            .map(|database| database.name.clone())
            .collect();
        self.open_and_close();
        let measured: Vec<&DatabaseScope<'_>> = scope
            .databases
            .iter()
            .filter(|database| self.is_measured(database, handed_back.contains(database.name)))
            .collect();
        for database in &measured {
            self.start_probe(database);
        }
        let mut drained: BTreeSet<&DatabaseName> = scope
            .databases
            .iter()
            .map(|database| database.name)
            .filter(|name| self.leads_elsewhere(name))
            .collect();
        let mut settled: BTreeMap<&DatabaseName, BTreeSet<u32>> = BTreeMap::new();
        for back in &left.returns {
            if let Some(database) = scope.databases.iter().find(|d| *d.name == back.database) {
                let settled = settled.entry(database.name).or_default();
                if self.move_back(database, back, settled) {
                    drained.insert(database.name);
                }
            }
        }
        for database in &scope.databases {
            if drained.contains(database.name) {
                let members = self.members(database);
                self.steps.return_leaders(database, members);
            }
        }
        for database in &scope.databases {
            if handed_back.contains(database.name) {
                self.hand_back(database);
            }
        }
        for database in &scope.databases {
            if let Some(seat) = left.seats.get(database.name) {
                self.remove_seat(database, seat);
            }
        }
        self.retire_machines();
        for database in &scope.databases {
            let begun = self.past.begun_kinds().any(|kind| {
                matches!(kind, StepKind::StartAgents { database: of, .. } if of == database.name)
            });
            let stopped = self.is_done(
                |kind| matches!(kind, StepKind::StopAgents { database: of } if of == database.name),
            );
            if (begun && !stopped) || handed_back.contains(database.name) {
                self.steps.stop_agents(database);
            }
        }
        for database in &measured {
            self.steps.certify(database);
        }
        let fewest = self.fewest.unwrap_or_else(|| {
            let whole = |database: &DatabaseScope<'_>| {
                left.seats
                    .get(database.name)
                    .map_or(database.set.replicas, |seat| seat.replicas)
            };
            scope.databases.iter().map(whole).min().unwrap_or(0)
        });
        let mut steps = self.steps.into_steps();
        for step in &mut steps {
            // A rollback is not taken back in its turn: the way on is a new plan.
            step.undo = match step.kind {
                StepKind::Certify { .. } => Undo::Nothing,
                _ => Undo::RollForwardOnly("it is a rollback; plan again to go on".to_owned()),
            };
        }
        let if_a_member_crashes = if steps.is_empty() {
            "nothing to take back".to_owned()
        } else if left.returns.is_empty() {
            "no member of a database moves".to_owned()
        } else {
            format!(
                "{fewest} members are whole during each move; if one of them crashes then, {} are left",
                fewest.saturating_sub(1)
            )
        };
        Built {
            steps,
            handed_back,
            peak: Peak {
                extra_nodes: 0,
                extra_replicas: 0,
                fewest_members: fewest,
                if_a_member_crashes,
            },
        }
    }

    fn is_done(&self, is: impl Fn(&StepKind) -> bool) -> bool {
        self.past.plan.body.steps.iter().any(|step| {
            is(&step.kind) && self.past.begun.get(&step.id) == Some(&super::Progress::Done)
        })
    }

    /// The old nodes take pods again, the machines that go take none.
    fn open_and_close(&mut self) {
        let same = |nodes: &[NodeIdentity]| {
            nodes
                .iter()
                .map(|node| Guard::SameMachine { node: node.clone() })
                .collect::<Vec<_>>()
        };
        if !self.left.closed.is_empty() {
            let nodes = self.left.closed.clone();
            let mut guards = same(&nodes);
            // A machine whose deletion is under way is let go first: nobody shall land on it.
            for pool in &self.left.closed_pools {
                guards.push(Guard::NoOperation { pool: pool.clone() });
            }
            self.steps.push(
                format!("uncordon {}", count(nodes.len(), "node")),
                StepKind::Uncordon { nodes },
                guards,
                Undo::Nothing,
            );
        }
        let going: Vec<NodeIdentity> = self.left.going().map(|(node, _)| node.clone()).collect();
        if !going.is_empty() {
            self.steps.push(
                format!("cordon {} of the run", count(going.len(), "machine")),
                StepKind::Cordon {
                    nodes: going.clone(),
                },
                same(&going),
                Undo::Nothing,
            );
        }
    }

    /// Where the run's own pods may be.
    fn pools_of(&self, database: &DatabaseName) -> Vec<PoolName> {
        self.past
            .plan
            .body
            .steps
            .iter()
            .find_map(|step| match &step.kind {
                StepKind::StartProbe {
                    database: of,
                    on_pools,
                }
                | StepKind::StartAgents {
                    database: of,
                    on_pools,
                } if of == database => Some(on_pools.clone()),
                _ => None,
            })
            .unwrap_or_else(|| self.scope.steady_pools.clone())
    }

    /// The run's probe still writes, or the rollback does something that must be measured.
    fn is_measured(&self, database: &DatabaseScope<'_>, handed_back: bool) -> bool {
        if !self.past.plan.body.policy.spec.strategy.probes() {
            return false;
        }
        let begun = self.past.begun_kinds().any(
            |kind| matches!(kind, StepKind::StartProbe { database: of, .. } if of == database.name),
        );
        let certified = self.is_done(
            |kind| matches!(kind, StepKind::Certify { database: of } if of == database.name),
        );
        let moves = self
            .left
            .returns
            .iter()
            .any(|back| back.database == *database.name);
        (begun && !certified) || moves || handed_back || self.left.seats.contains_key(database.name)
    }

    /// The run's own probe goes on if it is there: its certificate then covers run and rollback.
    fn start_probe(&mut self, database: &DatabaseScope<'_>) {
        self.steps.push(
            format!("the probe of {} writes until the end", database.name),
            StepKind::StartProbe {
                database: database.name.clone(),
                on_pools: self.pools_of(database.name),
            },
            Vec::new(),
            Undo::Nothing,
        );
    }

    /// Members that must be whole before one of them leaves.
    fn members(&self, database: &DatabaseScope<'_>) -> u32 {
        match self.left.seats.get(database.name) {
            Some(seat) if !seat.ready => database.set.replicas.min(seat.replicas),
            _ => database.set.replicas,
        }
    }

    /// The run has led partitions away and has not given all of them back.
    fn leads_elsewhere(&self, database: &DatabaseName) -> bool {
        let begun = self.past.begun_kinds().any(
            |kind| matches!(kind, StepKind::DrainLeaders { database: of, .. } if of == database),
        );
        let returned = self.is_done(
            |kind| matches!(kind, StepKind::ReturnLeaders { database: of, .. } if of == database),
        );
        begun && !returned
    }

    /// `true` if partitions are led away from it first.
    fn move_back(
        &mut self,
        database: &DatabaseScope<'_>,
        back: &Return,
        settled: &mut BTreeSet<u32>,
    ) -> bool {
        let members = self.members(database);
        let member = database.members.values().find(|m| m.name == back.pod);
        let drained = member.is_some_and(|member| {
            let asks = self.past.plan.body.policy.spec.strategy.asks();
            let drained = self.steps.drain(database, member, settled, members, asks);
            settled.insert(member.ordinal);
            drained
        });
        let whole = members.saturating_sub(1);
        self.fewest = Some(self.fewest.map_or(whole, |fewest| fewest.min(whole)));
        self.steps.move_member(
            database,
            format!(
                "move {} back from {} to {}",
                back.pod.name, back.from.name, back.onto_pool
            ),
            StepKind::MoveReplica {
                database: back.database.clone(),
                pod: back.pod.clone(),
                pod_uid: back.pod_uid.clone(),
                from: back.from.clone(),
                onto_pool: back.onto_pool.clone(),
            },
            vec![
                streaming(database, members),
                Guard::EvictionAllowed {
                    pod: back.pod.clone(),
                },
                Guard::SeatFree {
                    pool: back.onto_pool.clone(),
                    stateful_set: database.set_name.clone(),
                },
                Guard::SameMachine {
                    node: back.to.clone(),
                },
            ],
            Undo::Nothing,
        );
        drained
    }

    /// Old and new primaries of a hand-back, by ordinal.
    fn leaders_to_be(&self, database: &DatabaseScope<'_>) -> Vec<(u32, u32)> {
        let pattern = databases::of(database);
        let former = self.left.led_before.get(database.name);
        former
            .into_iter()
            .flatten()
            .filter_map(|to| {
                let to = database.members.values().find(|m| m.name == *to)?.ordinal;
                let from = pattern.leader_of(to)?;
                (to != from).then_some((from, to))
            })
            .collect()
    }

    fn hand_back(&mut self, database: &DatabaseScope<'_>) {
        let pools = self.pools_of(database.name);
        self.steps.start_agents(database, &pools);
        let members = self.members(database);
        let asks = self.past.plan.body.policy.spec.strategy.asks();
        for (from, to) in self.leaders_to_be(database) {
            if let (Some(from), Some(to)) = (database.members.get(&from), database.members.get(&to))
            {
                self.steps
                    .hand_over(self.scope, database, (from, to), members, asks);
            }
        }
    }

    fn remove_seat(&mut self, database: &DatabaseScope<'_>, seat: &Seat) {
        let (mut kind, guards) = seat_leaves(database, &seat.pod, seat.replicas);
        if let StepKind::RemoveSeat { claims, .. } = &mut kind {
            claims.clone_from(&seat.claims);
        }
        self.steps.push(
            format!(
                "remove the seat {} with claim, disk and slot",
                seat.pod.name
            ),
            kind,
            guards,
            Undo::Nothing,
        );
    }

    fn retire_machines(&mut self) {
        for (node, pool) in self.left.going() {
            self.steps.push(
                format!("retire {}, which the run made", node.name),
                StepKind::RetireNode {
                    node: node.clone(),
                    pool: pool.clone(),
                },
                vec![
                    Guard::SameMachine { node: node.clone() },
                    Guard::NoOperation { pool: pool.clone() },
                ],
                Undo::Nothing,
            );
        }
        for pool in self.left.going_pools() {
            self.steps.push(
                format!("delete the pool {pool}, which the run made"),
                StepKind::DeletePool { pool: pool.clone() },
                vec![
                    Guard::PoolEmpty { pool: pool.clone() },
                    Guard::NoOperation { pool: pool.clone() },
                ],
                Undo::Nothing,
            );
        }
        debug_assert!(
            self.left
                .returns
                .iter()
                .all(|back| !leads(self.scope, &back.pod))
        );
    }
}

fn count(n: usize, word: &str) -> String {
    if n == 1 {
        format!("1 {word}")
    } else {
        format!("{n} {word}s")
    }
}
