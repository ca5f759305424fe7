//! Steps in the making: numbered, with their estimates, and the ones that every strategy has.

use std::collections::BTreeSet;

use crate::databases;
use crate::estimates::estimate;
use crate::ids::{ObjectRef, PoolName};
use crate::scope::{DatabaseScope, Member, Scope};
use crate::step::{Gate, Guard, Inverse, Step, StepId, StepKind, Undo};

/// Steps in order.
#[derive(Debug)]
pub(crate) struct Sequence {
    soak_ms: u64,
    steps: Vec<Step>,
}

impl Sequence {
    /// An empty sequence whose results must hold for so many seconds.
    pub(crate) fn new(soak_seconds: u64) -> Self {
        Self {
            soak_ms: soak_seconds * 1_000,
            steps: Vec::new(),
        }
    }

    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    pub(crate) fn push(&mut self, title: String, kind: StepKind, guards: Vec<Guard>, undo: Undo) {
        self.push_gated(title, kind, guards, None, undo);
    }

    pub(crate) fn push_gated(
        &mut self,
        title: String,
        kind: StepKind,
        guards: Vec<Guard>,
        gate: Option<Gate>,
        undo: Undo,
    ) {
        let estimate = estimate(&kind);
        // Results that could break again soon after they were reached.
        let soaks = matches!(
            kind,
            StepKind::AddSeat { .. }
                | StepKind::MoveReplica { .. }
                | StepKind::HandOver { .. }
                | StepKind::RemoveSeat { .. }
        );
        let soak_ms = if soaks { self.soak_ms } else { 0 };
        let id = u32::try_from(self.steps.len() + 1).unwrap_or(u32::MAX);
        self.steps.push(Step {
            id: StepId(id),
            title,
            kind,
            guards,
            gate,
            undo,
            soak_ms,
            deadline_ms: estimate.deadline_ms + soak_ms,
            expected_ms: estimate.expected_ms + soak_ms,
            expected_stall_ms: estimate.stall_ms,
        });
    }

    /// A member leaves its node; where members lead others, it must not be one that leads.
    pub(crate) fn move_member(
        &mut self,
        database: &DatabaseScope<'_>,
        title: String,
        kind: StepKind,
        guards: Vec<Guard>,
        undo: Undo,
    ) {
        let pattern = databases::of(database);
        let led = match &kind {
            StepKind::MoveReplica { database, pod, .. } if pattern.leads() => {
                Some(Guard::NotPrimary {
                    database: database.clone(),
                    pod: pod.clone(),
                })
            }
            _ => None,
        };
        self.push(title, kind, led.into_iter().chain(guards).collect(), undo);
        if let (Some(limit), Some(step)) = (pattern.move_limit_ms(), self.steps.last_mut()) {
            step.deadline_ms = limit + step.soak_ms;
        }
    }

    pub(crate) fn start_probe(&mut self, database: &DatabaseScope<'_>, on_pools: &[PoolName]) {
        self.push(
            format!(
                "start the probe of {}, which writes until the end",
                database.name
            ),
            StepKind::StartProbe {
                database: database.name.clone(),
                on_pools: on_pools.to_vec(),
            },
            vec![streaming(database, database.set.replicas)],
            Undo::Inverse(Inverse::Certify {
                database: database.name.clone(),
            }),
        );
    }

    /// Nothing, if the database needs none.
    pub(crate) fn start_agents(&mut self, database: &DatabaseScope<'_>, on_pools: &[PoolName]) {
        if !databases::of(database).needs_agents() {
            return;
        }
        self.push(
            format!("start agent and watchdog of {} on two nodes", database.name),
            StepKind::StartAgents {
                database: database.name.clone(),
                on_pools: on_pools.to_vec(),
            },
            Vec::new(),
            Undo::Inverse(Inverse::StopAgents {
                database: database.name.clone(),
            }),
        );
    }

    pub(crate) fn hand_over(
        &mut self,
        scope: &Scope<'_>,
        database: &DatabaseScope<'_>,
        (from, to): (&Member<'_>, &Member<'_>),
        members: u32,
        ask: bool,
    ) {
        let Some(change) = databases::of(database).change(&from.name, &to.name) else {
            return;
        };
        let kind = StepKind::HandOver {
            database: database.name.clone(),
            from: from.name.clone(),
            to: to.name.clone(),
            terms: change.terms,
        };
        let mut guards = vec![
            Guard::PrimaryIs {
                database: database.name.clone(),
                pod: from.name.clone(),
            },
            Guard::AllStreaming {
                database: database.name.clone(),
                members,
                max_lag: change.max_lag,
            },
        ];
        guards.extend(change.guards);
        if let Some(version) = scope.target {
            guards.push(Guard::OnVersion {
                pod: to.name.clone(),
                version,
            });
        }
        let gate = ask.then(|| Gate {
            name: change.gate,
            question: format!(
                "Move the primary of {} from {} to {}? {}",
                change.of_what, from.name.name, to.name.name, change.clients
            ),
        });
        self.push_gated(
            format!(
                "hand over {}: {} -> {}",
                database.name, from.name.name, to.name.name
            ),
            kind,
            guards,
            gate,
            Undo::Inverse(Inverse::HandBack {
                from: to.name.clone(),
                to: from.name.clone(),
            }),
        );
    }

    /// Partitions are led away from a member before it moves; `false` if the database has none.
    pub(crate) fn drain(
        &mut self,
        database: &DatabaseScope<'_>,
        member: &Member<'_>,
        settled: &BTreeSet<u32>,
        members: u32,
        ask: bool,
    ) -> bool {
        let Some(drain) = databases::of(database).drain(member.ordinal, settled) else {
            return false;
        };
        let pace = drain.terms.pace_ms;
        let gate = ask.then(|| Gate {
            name: format!("drain-{}-{}", database.name, member.name.name),
            question: format!(
                "Lead {} partitions of {} away from {}? {}",
                drain.partitions,
                database.name,
                member.name.name,
                databases::of(database).promise().clients
            ),
        });
        self.push_gated(
            format!(
                "lead {} partitions away from {}, one each {pace} ms",
                drain.partitions, member.name.name
            ),
            StepKind::DrainLeaders {
                database: database.name.clone(),
                pod: member.name.clone(),
                terms: drain.terms,
            },
            vec![streaming(database, members)],
            gate,
            Undo::Inverse(Inverse::ReturnLeaders {
                database: database.name.clone(),
            }),
        );
        self.paced(drain.partitions, pace);
        true
    }

    /// What was led away goes back. Of `members` all must be whole.
    pub(crate) fn return_leaders(&mut self, database: &DatabaseScope<'_>, members: u32) {
        let any = database.members.keys().next();
        let drain = any.and_then(|any| databases::of(database).drain(*any, &BTreeSet::new()));
        let Some(drain) = drain else {
            return;
        };
        let pace = drain.terms.pace_ms;
        self.push(
            format!(
                "give the partitions of {} their leaders back, one each {pace} ms",
                database.name
            ),
            StepKind::ReturnLeaders {
                database: database.name.clone(),
                pace_ms: pace,
            },
            vec![streaming(database, members)],
            Undo::Nothing,
        );
        self.paced(drain.of_all, pace);
    }

    /// The last step takes a span for each partition, and as long again before it is given up.
    fn paced(&mut self, partitions: usize, pace_ms: u64) {
        let all = u64::try_from(partitions)
            .unwrap_or(u64::MAX)
            .saturating_mul(pace_ms);
        if let Some(step) = self.steps.last_mut() {
            step.expected_ms = step.expected_ms.saturating_add(all);
            step.deadline_ms = step.deadline_ms.saturating_add(all.saturating_mul(2));
        }
    }

    /// Nothing, if the database needs none.
    pub(crate) fn stop_agents(&mut self, database: &DatabaseScope<'_>) {
        if !databases::of(database).needs_agents() {
            return;
        }
        self.push(
            format!("stop agent and watchdog of {}", database.name),
            StepKind::StopAgents {
                database: database.name.clone(),
            },
            Vec::new(),
            Undo::Nothing,
        );
    }

    pub(crate) fn certify(&mut self, database: &DatabaseScope<'_>) {
        self.push(
            format!("stop the probe of {} and certify", database.name),
            StepKind::Certify {
                database: database.name.clone(),
            },
            Vec::new(),
            Undo::Nothing,
        );
    }
}

/// So many members are whole.
pub(crate) fn streaming(database: &DatabaseScope<'_>, members: u32) -> Guard {
    Guard::AllStreaming {
        database: database.name.clone(),
        members,
        max_lag: databases::of(database).whole_lag(),
    }
}

/// How the extra seat leaves, and what is checked right before.
pub(crate) fn seat_leaves(
    database: &DatabaseScope<'_>,
    seat: &ObjectRef,
    replicas: u32,
) -> (StepKind, Vec<Guard>) {
    let kind = StepKind::RemoveSeat {
        database: database.name.clone(),
        stateful_set: database.set_name.clone(),
        replicas,
        claims: Vec::new(),
    };
    let not_primary = Guard::NotPrimary {
        database: database.name.clone(),
        pod: seat.clone(),
    };
    // Not one more for the seat: it is gone when the second half of the step, its claim and slot, comes to its turn. The
    // act itself asks for the other members first.
    (kind, vec![not_primary, streaming(database, replicas)])
}
