//! Will what runs here live through an upgrade: what is asked of budgets, replicas, probes, volumes,
//! webhooks and connections, each with the patch that makes it so.
//!
//! One file a family. Each check is a function of the [`Scene`] that adds findings; it concludes only
//! from what the input shows (a dump without pods says nothing of pods) and never from the absence of
//! an object that the input may simply not hold, unless it says so.
//!
//! # Source
//! Eviction and disruption semantics: `pkg/registry/core/pod/storage/eviction.go` and
//! `pkg/controller/disruption/disruption.go` of Kubernetes.

mod aks;
mod aks_nodes;
mod aks_room;
mod arithmetic;
mod behaviour;
mod brief;
mod budgets;
mod capacity;
mod connections;
pub(crate) mod databases;
mod draft;
mod live_budgets;
pub(crate) mod operators;
mod pods;
mod practices;
mod probes;
mod replicas;
mod rollout;
pub(crate) mod scene;
pub(crate) mod select;
mod settings;
mod shutdown;
mod spread;
mod storage;
pub(crate) mod values;
mod webhooks;

pub(crate) use aks::surge;
pub use aks_nodes::days;
pub use brief::PodBrief;
pub(crate) use connections::mentions;
use scene::Scene;

use crate::findings::{Finding, Practice};
use crate::manifest::Object;

/// What the checks are told beside the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Minor of Kubernetes that the upgrade goes to.
    pub minor: u32,
    /// Today, in days since 1970-01-01, where the age of something counts.
    pub today: Option<i64>,
    /// How long the upgrade waits for a node to drain, in seconds.
    pub drain_timeout: i64,
}

impl Default for Settings {
    /// AKS waits 30 minutes when a pool says nothing else.
    fn default() -> Self {
        Self {
            minor: crate::deprecations::NEWEST,
            today: None,
            drain_timeout: 30 * 60,
        }
    }
}

/// Everything that the families find, and the best practices.
pub(crate) fn check<'a>(
    objects: impl IntoIterator<Item = &'a Object>,
    settings: &Settings,
) -> (Vec<Finding>, Vec<Practice>) {
    let scene = Scene::of(objects);
    let mut findings = Vec::new();
    probes::check(&scene, &mut findings);
    replicas::check(&scene, &mut findings);
    budgets::check(&scene, &mut findings);
    live_budgets::check(&scene, &mut findings);
    spread::check(&scene, &mut findings);
    rollout::check(&scene, &mut findings);
    shutdown::check(&scene, settings, &mut findings);
    pods::check(&scene, &mut findings);
    storage::check(&scene, &mut findings);
    webhooks::check(&scene, &mut findings);
    capacity::check(&scene, &mut findings);
    connections::check(&scene, &mut findings);
    behaviour::check(&scene, settings, &mut findings);
    aks::check(&scene, settings, &mut findings);
    aks_room::check(&scene, &mut findings);
    let mut more = Vec::new();
    let practices = practices::check(&scene, &findings, &mut more);
    findings.append(&mut more);
    (findings, practices)
}
