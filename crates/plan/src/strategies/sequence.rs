//! Steps in the making: numbered, with their estimates, and the ones that every strategy has.

use crate::databases;
use crate::estimates::estimate;
use crate::ids::PoolName;
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
        let (kind, guards, gate) =
            databases::of(database).hand_over(scope, &from.name, &to.name, members, ask);
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
        max_lag_bytes: databases::of(database).whole_lag_bytes(),
    }
}
