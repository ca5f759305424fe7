//! Drives a plan through the modelled world, with faults, and tells what came of it.

use std::collections::BTreeSet;
use std::time::Duration;

use ferriswheel_engine::clock::{Clock, VirtualClock};
use ferriswheel_engine::driver::{DriveError, Driver, Outcome, conclude};
use ferriswheel_engine::events::Silent;
use ferriswheel_engine::faults::{Fault, FaultyActuator, FaultyJournal};
use ferriswheel_engine::journal::Journal;
use ferriswheel_engine::journal::memory::MemoryJournal;
use ferriswheel_engine::record::{Entry, Record, Request};
use ferriswheel_engine::state::State;
use ferriswheel_plan::diagnostic::Refusal;
use ferriswheel_plan::ids::PoolName;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::policy::DatabaseSpec;
use ferriswheel_plan::rollback::{self, Past, Wish};
use ferriswheel_plan::world::Snapshot;

use crate::actuator::Outside;
use crate::agents::AgentFaults;
use crate::scenario::{self, Choices, Unplanned};
use crate::world::{Inner, World};

/// The held clients of a window are let go within its budget and this much more: the last calls
/// of a recovery that began within the budget.
const MARGIN: Duration = Duration::from_millis(500);

/// A run is not taken back.
#[derive(Debug, thiserror::Error)]
pub enum NotRolledBack {
    /// The planner refused.
    #[error("the planner refused: {0:?}")]
    Refused(Refusal),
    /// The journal does not allow it.
    #[error("the journal does not allow it")]
    Journal(#[from] DriveError),
}

impl From<Refusal> for NotRolledBack {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A world with a plan for it and a journal that outlives drivers.
pub struct Rehearsal {
    /// The world.
    pub world: World,
    /// The plan.
    pub plan: Plan,
    /// The journal.
    pub journal: MemoryJournal,
    /// The clock.
    pub clock: VirtualClock,
    /// Faults of the agents.
    pub faults: AgentFaults,
    /// The world before the run.
    pub before: Snapshot,
}

impl Rehearsal {
    /// Sets the stage. Must be called inside a runtime with its clock paused.
    ///
    /// # Errors
    /// The planner refuses what the scenario shows it.
    pub fn new(choices: Choices) -> Result<Self, Unplanned> {
        let mut inner = scenario::cluster(choices);
        let plan = scenario::plan(&inner, choices)?;
        let before = scenario::snapshot(&inner);
        let window = plan.body.policy.spec.databases.first();
        let window = window.and_then(DatabaseSpec::postgres);
        inner.watch.longest_hold =
            window.map(|database| Duration::from_millis(database.window.0) + MARGIN);
        Ok(Self {
            world: World::new(inner),
            plan,
            journal: MemoryJournal::default(),
            clock: VirtualClock::new(scenario::origin()),
            faults: AgentFaults::default(),
            before,
        })
    }

    /// Drives the plan as a new process would.
    ///
    /// # Errors
    /// As [`Driver::run`].
    pub async fn drive(&self, fault: Fault) -> Result<Outcome, DriveError> {
        let outside = self.outside();
        let journal = FaultyJournal::new(&self.journal, fault);
        let actuator = FaultyActuator::new(&outside, fault);
        Driver {
            plan: &self.plan,
            actuator: &actuator,
            journal: &journal,
            clock: &self.clock,
            listener: &Silent,
        }
        .run()
        .await
    }

    /// Gives the run up, as a new process would.
    ///
    /// # Errors
    /// As [`Driver::give_up`].
    pub async fn give_up(&self) -> Result<Outcome, DriveError> {
        let outside = self.outside();
        Driver {
            plan: &self.plan,
            actuator: &outside,
            journal: &self.journal,
            clock: &self.clock,
            listener: &Silent,
        }
        .give_up()
        .await
    }

    /// The rollback of this run in the same world, and its decision in the run's journal.
    ///
    /// # Errors
    /// The planner refuses, or the run is not over.
    pub fn rollback(&self, wish: Wish) -> Result<Self, NotRolledBack> {
        let begun = State::replay(&self.records())
            .map_err(DriveError::from)?
            .progress();
        let past = Past {
            plan: &self.plan,
            before: &self.before,
            begun: &begun,
        };
        let now = self.world.with(|world| scenario::snapshot(world));
        let plan = rollback::plan(&now, &past, wish)?;
        self.conclude(Entry::RollingBack {
            by: plan.id.clone(),
        })?;
        Ok(Self {
            world: self.world.clone(),
            plan,
            journal: MemoryJournal::default(),
            clock: self.clock,
            faults: AgentFaults::default(),
            before: self.before.clone(),
        })
    }

    /// Writes that the rollback has finished.
    ///
    /// # Errors
    /// It was not decided.
    pub fn rolled_back(&self, back: &Self) -> Result<(), DriveError> {
        self.conclude(Entry::RolledBack {
            by: back.plan.id.clone(),
        })
    }

    fn conclude(&self, entry: Entry) -> Result<(), DriveError> {
        conclude(&self.plan, &self.journal, self.clock.now(), entry)
    }

    fn outside(&self) -> Outside {
        Outside {
            world: self.world.clone(),
            run: self.plan.run().clone(),
            faults: self.faults.clone(),
        }
    }

    /// What is wrong with the world at the end of a rollback, one line each.
    pub async fn flaws_after_rollback(&self) -> Vec<String> {
        // What was told to stop has stopped by then.
        self.clock.sleep(Duration::from_secs(5)).await;
        let known: BTreeSet<&str> = self.before.nodes.values().map(|n| n.uid.as_str()).collect();
        self.world.with(|world| {
            let mut flaws: Vec<String> = world.watch.broken.iter().cloned().collect();
            for (name, node) in world.cluster.nodes() {
                if node.unschedulable {
                    flaws.push(format!("{name} is closed"));
                }
                let carries = world.cluster.pods().iter().any(|(pod, found)| {
                    pod.starts_with("db/pg-") && found.node.as_ref() == Some(name)
                });
                if !known.contains(node.uid.as_str()) && !carries {
                    flaws.push(format!("{name} was made by the run and carries nobody"));
                }
            }
            for (name, pool) in world.cluster.pools() {
                let new = !self
                    .before
                    .pools
                    .contains_key(&PoolName::from(name.as_str()));
                if new && pool.count == 0 {
                    flaws.push(format!("{name} was made by the run and is empty"));
                }
            }
            flaws.extend(set_flaws(world));
            flaws
        })
    }

    /// A person's request.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn ask(
        &self,
        request: Request,
    ) -> Result<Record, ferriswheel_engine::journal::AppendError> {
        self.journal
            .append(&self.plan.id, 0, self.clock.now(), Entry::Asked { request })
    }

    /// All records so far.
    pub fn records(&self) -> Vec<Record> {
        // A journal in memory can always be read.
        self.journal.after(0).unwrap_or_default()
    }

    /// What is wrong with the world at the end of a finished run, one line each.
    pub async fn flaws(&self) -> Vec<String> {
        // What was told to stop has stopped by then.
        self.clock.sleep(Duration::from_secs(5)).await;
        let target = scenario::TARGET;
        self.world.with(|world| {
            let mut flaws: Vec<String> = world.watch.broken.iter().cloned().collect();
            for (name, node) in world.cluster.nodes() {
                if node.version != target {
                    flaws.push(format!("{name} is at {}", node.version));
                }
                if node.unschedulable {
                    flaws.push(format!("{name} is still cordoned"));
                }
            }
            if world.cluster.pools().contains_key("dbpool") {
                flaws.push("the old pool is still there".to_owned());
            }
            flaws.extend(set_flaws(world));
            if world.certificate.is_none() {
                flaws.push("there is no certificate".to_owned());
            }
            flaws
        })
    }

    /// Errors that clients saw.
    pub fn client_errors(&self) -> Vec<String> {
        self.world
            .with(|world| world.postgres.clients.errors.clone())
    }

    /// Members that were promoted, in order.
    pub fn promotions(&self) -> Vec<String> {
        self.world.with(|world| world.postgres.promotions.clone())
    }
}

/// What is wrong with the set and its poolers when nothing moves.
fn set_flaws(world: &Inner) -> Vec<String> {
    let mut flaws = Vec::new();
    let members = world.postgres.processes.len();
    if members != 3 {
        flaws.push(format!("{members} members serve"));
    }
    for (name, pod) in world.cluster.pods() {
        if name.contains("ferriswheel") {
            flaws.push(format!("{name} was left behind"));
        }
        if !pod.ready {
            flaws.push(format!("{name} is not Ready"));
        }
    }
    let primaries = world.postgres.primaries();
    let [primary] = primaries.as_slice() else {
        flaws.push(format!("{} primaries", primaries.len()));
        return flaws;
    };
    let followers = world.postgres.followers(primary).len();
    if followers != 2 {
        flaws.push(format!("{followers} standbys stream from {primary}"));
    }
    for (pod, process) in &world.postgres.processes {
        let Some(disk) = world.postgres.disk_of(pod) else {
            continue;
        };
        if disk.quick_retry || disk.trigger || disk.required.is_some() {
            flaws.push(format!("{pod} keeps settings of the hand-over"));
        }
        if disk.standby_signal != process.in_recovery {
            flaws.push(format!("the next start of {pod} would change its role"));
        }
        let wanted = if pod == primary { 2 } else { 0 };
        if disk.slots.len() > wanted {
            flaws.push(format!("{pod} keeps slots {:?}", disk.slots));
        }
    }
    for (name, pooler) in &world.postgres.clients.poolers {
        if pooler.paused {
            flaws.push(format!("{name} holds its clients"));
        }
        if pooler.aimed != *primary {
            flaws.push(format!("{name} aims at {}", pooler.aimed));
        }
    }
    if world.cluster.claims().len() != 3 || world.cluster.disks().len() != 3 {
        flaws.push("the seat's claim or disk was left behind".to_owned());
    }
    flaws
}
