//! What would go wrong, asked of a snapshot alone.
//!
//! Today this holds one question: is a cluster ready for the upgrade that a spec asks for? The
//! answer is the planner's own gates, so that a check can never be kinder than the plan.
//!
//! What this crate must not know: how a snapshot is taken, and how a step is carried out.

use ferriswheel_plan::diagnostic::Findings;
use ferriswheel_plan::planner;
use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::world::Snapshot;

/// Everything that would stop the upgrade, and everything to know beside it.
///
/// # Guarantees
/// Without refusals, [`planner::plan`] makes a plan of the same snapshot and spec.
pub fn upgrade_readiness(world: &Snapshot, upgrade: &Upgrade) -> Findings {
    planner::findings(world, upgrade)
}
