//! Steps in the making: numbered, with their estimates, and the ones that every strategy has.

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
