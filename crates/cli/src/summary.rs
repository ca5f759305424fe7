//! What a run came to, in one small document beside the certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ferriswheel_actuators::steps::probe::artifact_paths;
use ferriswheel_plan::ids::DatabaseName;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::world::{Database, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::commands::plan::write_json;
use crate::failure::Failure;
use crate::observer::{Seen, left_by_the_dead};
use crate::runs::Run;

/// `summary.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// `ferriswheel.summary.v1`.
    pub schema: String,
    /// Machines at the target whose Node UID and boot id did not exist before the run.
    pub nodes_upgraded: Option<u32>,
    /// Machines of the upgraded pools that existed before the run and still do.
    pub nodes_left_behind: Option<u32>,
    /// How often a primary was seen to move, over all databases.
    pub primary_moves: u32,
    /// Fewest members seen in any set.
    pub min_members: Option<u32>,
    /// Certificate of the first database.
    pub certificate: Option<Value>,
    /// Certificates by database.
    pub certificates: BTreeMap<String, Value>,
    /// What was seen from the side, by database.
    pub seen: BTreeMap<String, Seen>,
    /// Time that `apply` ran, in seconds, over all its lives.
    pub run_s: f64,
}

impl Summary {
    fn load(run: &Run) -> Self {
        std::fs::read(run.directory.join("summary.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    fn before(run: &Run) -> Option<Snapshot> {
        serde_json::from_slice(&std::fs::read(run.before_file()).ok()?).ok()
    }

    fn store(&self, run: &Run) -> Result<(), Failure> {
        write_json(&run.directory.join("summary.json"), self)
    }

    /// Adds what one life of `apply` saw.
    pub fn update(
        run: &Run,
        seen: Vec<(DatabaseName, Seen)>,
        took: Duration,
    ) -> Result<(), Failure> {
        let mut summary = Self::load(run);
        summary.schema = "ferriswheel.summary.v1".to_owned();
        summary.run_s += took.as_secs_f64();
        let before = Self::before(run);
        for (name, new) in seen {
            let known = summary.seen.entry(name.to_string()).or_default();
            if known.primaries.is_empty()
                && let Some(before) = &before
            {
                known.see(primaries(before, &name));
            }
            known.go_on(new);
        }
        summary.count();
        summary.store(run)
    }

    /// Adds what a life saw that was killed before it could say so.
    pub fn update_for_the_dead(run: &Run, plan: &Plan) -> Result<(), Failure> {
        let databases = &plan.body.policy.spec.databases;
        let lives = databases.iter().filter_map(|database| {
            let life = left_by_the_dead(&run.directory, &database.name)?;
            Some((database.name.clone(), life))
        });
        let (mut seen, mut took) = (Vec::new(), 0.0_f64);
        for (name, life) in lives {
            took = took.max(life.took_s);
            seen.push((name, life.seen));
        }
        if seen.is_empty() {
            return Ok(());
        }
        let took = Duration::try_from_secs_f64(took).unwrap_or_default();
        Self::update(run, seen, took)
    }

    fn count(&mut self) {
        self.primary_moves = self
            .seen
            .values()
            .map(|seen| u32::try_from(seen.moves()).unwrap_or(u32::MAX))
            .sum();
        self.min_members = self
            .seen
            .values()
            .filter_map(|seen| seen.fewest_members)
            .min();
    }

    /// Adds what only a finished run can say.
    pub fn conclude(run: &Run, plan: &Plan, after: Option<&Snapshot>) -> Result<(), Failure> {
        let mut summary = Self::load(run);
        if let (Some(before), Some(after)) = (Self::before(run), after) {
            for database in &plan.body.policy.spec.databases {
                let known = summary.seen.entry(database.name.to_string()).or_default();
                known.fill_in(
                    primaries(&before, &database.name),
                    primaries(after, &database.name),
                );
            }
            summary.count();
            let old_uids: BTreeSet<_> = before.nodes.values().map(|node| &node.uid).collect();
            let old_boots: BTreeSet<_> = before.nodes.values().map(|node| &node.boot_id).collect();
            let new = after
                .nodes
                .values()
                .filter(|node| {
                    Some(node.kubelet_version) == plan.body.target
                        && !old_uids.contains(&node.uid)
                        && !old_boots.contains(&node.boot_id)
                })
                .count();
            let behind = after
                .nodes
                .values()
                .filter(|node| plan.body.target.is_some_and(|t| node.kubelet_version != t))
                .count();
            summary.nodes_upgraded = u32::try_from(new).ok();
            summary.nodes_left_behind = u32::try_from(behind).ok();
        }
        for database in &plan.body.policy.spec.databases {
            let (path, _) = artifact_paths(&run.directory, &database.name);
            if let Some(json) = std::fs::read(path)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            {
                summary.certificate.get_or_insert_with(|| json.clone());
                summary.certificates.insert(database.name.to_string(), json);
            }
        }
        summary.store(run)
    }
}

fn primaries(world: &Snapshot, database: &DatabaseName) -> BTreeSet<String> {
    world
        .databases
        .get(database)
        .map(Database::leaders)
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect()
}
