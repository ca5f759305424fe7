//! From a run's evidence and the world as it is now to a plan that takes the run back.
//!
//! # Guarantees
//! - A member moves back only to the very machine that it left; never as the primary.
//! - A primary moves only if a person asks for it: every hand-over is a second move.
//! - Only machines, pools and claims that the run made are deleted, and no machine that carries a
//!   member.
//! - Nodes that somebody else has cordoned stay so.
//! - What cannot be taken back is said in the plan, step by step, with the reason.
//!
//! The order is newest first, with one exception: the old nodes take pods again before anything
//! else, because members return to them.

mod fates;
mod past;
mod steps;

use std::collections::BTreeMap;

use crate::check;
use crate::codes;
use crate::databases;
use crate::databases::kafka::ANNOTATION;
use crate::diagnostic::{Diagnostic, Refusal};
use crate::digest::relevant_digest;
use crate::plan::{Body, Plan, Rollback};
use crate::planner;
use crate::scope::Scope;
use crate::step::{Step, StepId, StepKind};
use crate::world::Snapshot;
use past::Left;

/// What a run did, as its journal shows.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// The world before its first act.
    pub before: &'a Snapshot,
    /// Steps that were begun; a step that is not in here did nothing.
    pub begun: &'a BTreeMap<StepId, Progress>,
}

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// An act was announced; its result was not proven.
    Half,
    /// Done and proven.
    Done,
}

/// What a person asks of a rollback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The former primaries take over again.
    pub hand_back: bool,
}

/// Makes the plan that takes a run back. One without steps means that nothing can be taken back,
/// or nothing has to be.
///
/// # Errors
/// Everything at once that a person must decide first.
pub fn plan(world: &Snapshot, past: &Past<'_>, wish: Wish) -> Result<Plan, Refusal> {
    let upgrade = &past.plan.body.policy;
    let (mut scope, found) = Scope::find(world, upgrade);
    // Members return to where they were: no version is asked for.
    scope.target = None;
    let left = Left::find(world, &scope, past);
    // A pool of the spec that the run has deleted is no mistake.
    let mut refusals: Vec<Diagnostic> = found
        .refusals
        .into_iter()
        .filter(|diagnostic| diagnostic.code != codes::POOL_UNKNOWN)
        .collect();
    refusals.extend(past::gate(&scope, &left, wish));
    if past.plan.body.rollback.is_some() {
        refusals.push(
            Diagnostic::new(
                codes::ROLLBACK_OF_ROLLBACK,
                &past.plan.id,
                "the run is a rollback itself",
            )
            .fix("go on with it (`ferriswheel apply`), or make a new plan from the world as it is"),
        );
    }
    if !refusals.is_empty() {
        return Err(Refusal {
            name: upgrade.metadata.name.clone(),
            diagnostics: refusals,
        });
    }
    let built = steps::build(&scope, past, &left, wish);
    let body = Body {
        name: upgrade.metadata.name.clone(),
        parent: Some(past.plan.id.clone()),
        observed_at: world.observed_at,
        cluster: world.cluster.id.clone(),
        target: None,
        world_digest: relevant_digest(world, upgrade),
        peak: built.peak,
        policy: upgrade.clone(),
        promises: scope
            .databases
            .iter()
            .filter(|database| built.handed_back.contains(database.name))
            .map(|database| databases::of(database).promise())
            .collect(),
        warnings: left.warnings(&scope),
        rollback: Some(Rollback {
            hand_back: wish.hand_back,
            machines: left.machines.values().cloned().collect(),
            pools: left.pools.iter().cloned().collect(),
            cordoned_by_others: left.cordoned_by_others.iter().cloned().collect(),
            fates: fates::of(world, &scope, past, &left, &built.steps),
        }),
        steps: built.steps,
    };
    let unsound = |texts: &[String]| planner::broken(upgrade, texts);
    let plan = Plan::seal(body).map_err(|e| unsound(&[e.to_string()]))?;
    // Does somebody who shares no code with us agree?
    match check::check(world, &plan) {
        Ok(_) => Ok(plan),
        Err(violations) => {
            let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
            Err(unsound(&texts))
        }
    }
}

/// What a person does when a step of a rollback cannot be done.
pub fn runbook(step: &Step) -> String {
    let what = match &step.kind {
        StepKind::Uncordon { nodes } => format!(
            "`kubectl uncordon {}`",
            nodes
                .iter()
                .map(|node| node.name.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        ),
        StepKind::Cordon { nodes } => format!(
            "`kubectl cordon {}`",
            nodes
                .iter()
                .map(|node| node.name.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        ),
        StepKind::MoveReplica { pod, from, .. } => format!(
            "see why {} does not start (`kubectl -n {} describe pod {}`); it may stay on {}, then plan the rollback again",
            pod.name, pod.namespace, pod.name, from.name
        ),
        StepKind::HandOver { to, .. } => format!(
            "the primary may stay where it is: plan the rollback again without --hand-back; {} must be whole to take over",
            to.name
        ),
        StepKind::DrainLeaders { pod, .. } => format!(
            "see which partitions {} leads and why no other copy is in sync (`kafka-topics.sh --describe --under-replicated-partitions`)",
            pod.name
        ),
        StepKind::ReturnLeaders { database, .. } => format!(
            "every broker of {database} must be in sync first; the order of replicas before the run is in the annotation {ANNOTATION} of its stateful set"
        ),
        StepKind::RemoveSeat {
            stateful_set,
            replicas,
            ..
        } => format!(
            "all other members must be whole first; then `kubectl -n {} scale statefulset {} --replicas={replicas}`, and delete the seat's claim and its slot",
            stateful_set.namespace, stateful_set.name
        ),
        StepKind::RetireNode { node, pool } => format!(
            "see what is left on it (`kubectl get pods -A --field-selector spec.nodeName={}`) and which budget holds it; the machine may stay: it belongs to pool {pool}",
            node.name
        ),
        StepKind::ShrinkPool { pool, .. } | StepKind::DeletePool { pool } => format!(
            "see what is left on it and what ARM says (`az aks nodepool show --name {pool}`); an empty pool may be deleted by hand"
        ),
        StepKind::StopAgents { .. } => {
            "`kubectl delete pod -l ferriswheel.dev/task` in the set's namespace".to_owned()
        }
        _ => "read the reason".to_owned(),
    };
    format!("{what}; then run the same command again (docs/runbooks/rollback.md)")
}
