//! What would go wrong, asked of manifests, dumps and snapshots alone.
//!
//! Two kinds of questions: what will the target version do with what people keep ([`check`]: over
//! manifests, dumps and Helm releases), and is a cluster ready for the upgrade that a spec asks for
//! ([`upgrade_readiness`]: the planner's own gates, so that a check can never be kinder than the
//! plan).
//!
//! What this crate must not know: where bytes come from, how a snapshot is taken, and how a step is
//! carried out. The same input gives the same bytes.

use ferriswheel_plan::diagnostic::Findings;
use ferriswheel_plan::planner;
use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::world::Snapshot;

pub mod advise;
pub mod check;
pub mod codes;
pub mod convert;
mod crds;
pub mod deprecations;
pub mod diagnose;
pub mod drain;
pub mod emergency;
pub mod findings;
pub mod generate;
pub mod lint;
pub mod manifest;
pub mod resilience;

/// Everything that would stop the upgrade, and everything to know beside it.
///
/// # Guarantees
/// Without refusals, [`planner::plan`] makes a plan of the same snapshot and spec.
pub fn upgrade_readiness(world: &Snapshot, upgrade: &Upgrade) -> Findings {
    planner::findings(world, upgrade)
}
