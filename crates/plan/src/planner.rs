//! From the world and the wish to a plan, as a list of decisions.
//!
//! Nothing is decided later than here, and nothing here depends on time or chance: the same
//! snapshot and spec give the same bytes.

use crate::check;
use crate::databases;
use crate::diagnostic::{Findings, Refusal};
pub use crate::digest::relevant_digest;
use crate::layout::Layout;
use crate::plan::{Body, Peak, Plan};
use crate::platform;
use crate::policy::{Strategy, Upgrade};
use crate::safety;
use crate::scope::Scope;
use crate::strategies::{Turn, ferris_wheel, hand_over};
use crate::world::Snapshot;

/// Makes the plan.
///
/// A plan without steps means that there is nothing to do.
///
/// # Errors
/// Everything at once that stops the run, so that a person needs one round to repair it.
pub fn plan(world: &Snapshot, upgrade: &Upgrade) -> Result<Plan, Refusal> {
    // What is it about?
    let (scope, found) = Scope::find(world, upgrade);
    // Which pools take the members over?
    let layout = Layout::choose(world, &scope);
    // Is it safe?
    let findings = look(world, upgrade, &scope, &layout, found);
    if !findings.refusals.is_empty() {
        return Err(refusal(upgrade, findings));
    }
    // In which order?
    let turn = match (&upgrade.spec.strategy, scope.target) {
        (Strategy::FerrisWheel(wheel), Some(target)) if !scope.is_empty() => {
            ferris_wheel::turn(world, &scope, &layout, wheel, target)
        }
        (Strategy::FerrisWheel(_), _) => nothing_to_do(),
        (Strategy::HandOver(wish), _) => hand_over::turn(&scope, wish),
    };
    // What does the run promise?
    let promises = scope
        .concerned()
        .map(|database| databases::of(database).promise())
        .collect();

    let body = Body {
        name: upgrade.metadata.name.clone(),
        parent: None,
        observed_at: world.observed_at,
        cluster: world.cluster.id.clone(),
        target: scope.target,
        world_digest: relevant_digest(world, upgrade),
        peak: turn.peak,
        policy: upgrade.clone(),
        promises,
        warnings: findings.warnings.iter().map(ToString::to_string).collect(),
        steps: turn.steps,
        rollback: None,
    };
    let plan = Plan::seal(body).map_err(|e| broken(upgrade, &[e.to_string()]))?;
    // Does somebody who shares no code with us agree?
    match check::check(world, &plan) {
        Ok(_) => Ok(plan),
        Err(violations) => {
            let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
            Err(broken(upgrade, &texts))
        }
    }
}

/// Everything that would stop or hurt the run, without making a plan.
pub fn findings(world: &Snapshot, upgrade: &Upgrade) -> Findings {
    let (scope, found) = Scope::find(world, upgrade);
    let layout = Layout::choose(world, &scope);
    look(world, upgrade, &scope, &layout, found)
}

fn look(
    world: &Snapshot,
    upgrade: &Upgrade,
    scope: &Scope<'_>,
    layout: &Layout,
    found: Findings,
) -> Findings {
    let mut findings = found;
    let seat = match &upgrade.spec.strategy {
        Strategy::FerrisWheel(wheel) => wheel.extra_seat,
        Strategy::HandOver(wish) => {
            findings.absorb(hand_over::gate(world, scope, wish));
            false
        }
    };
    findings.absorb(platform::gate(world, scope));
    findings.absorb(safety::gate(world, scope, layout, seat));
    for database in scope.concerned() {
        let pattern = databases::of(database);
        let seat = seat && pattern.takes_seat();
        findings.absorb(pattern.gate(world, scope, seat));
    }
    findings
}

fn refusal(upgrade: &Upgrade, findings: Findings) -> Refusal {
    Refusal {
        name: upgrade.metadata.name.clone(),
        diagnostics: findings.refusals,
    }
}

/// The planner and the checker disagree: a defect, said as one.
pub(crate) fn broken(upgrade: &Upgrade, texts: &[String]) -> Refusal {
    let mut diagnostic = crate::diagnostic::Diagnostic::new(
        crate::codes::UNSOUND,
        &upgrade.metadata.name,
        "the plan does not hold what it must; this is a defect of the planner",
    )
    .fix("report it with the snapshot (`ferriswheel plan --snapshot-out FILE`)");
    diagnostic.evidence = texts.to_vec();
    Refusal {
        name: upgrade.metadata.name.clone(),
        diagnostics: vec![diagnostic],
    }
}

fn nothing_to_do() -> Turn {
    Turn {
        steps: Vec::new(),
        peak: Peak {
            extra_nodes: 0,
            extra_replicas: 0,
            fewest_members: 0,
            if_a_member_crashes: "nothing to do: every pool is at the target".to_owned(),
        },
    }
}
