//! Drives a plan through the modelled world, with faults, and tells what came of it.

use std::time::Duration;

use ferriswheel_engine::clock::{Clock, VirtualClock};
use ferriswheel_engine::driver::{DriveError, Driver, Outcome};
use ferriswheel_engine::events::Silent;
use ferriswheel_engine::faults::{Fault, FaultyActuator, FaultyJournal};
use ferriswheel_engine::journal::Journal;
use ferriswheel_engine::journal::memory::MemoryJournal;
use ferriswheel_engine::record::{Entry, Record, Request};
use ferriswheel_plan::plan::Plan;

use crate::actuator::Outside;
use crate::agents::AgentFaults;
use crate::scenario::{self, Choices, Unplanned};
use crate::world::World;

/// The held clients of a window are let go within its budget and this much more: the last calls
/// of a recovery that began within the budget.
const MARGIN: Duration = Duration::from_millis(500);

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
}

impl Rehearsal {
    /// Sets the stage. Must be called inside a runtime with its clock paused.
    ///
    /// # Errors
    /// The planner refuses what the scenario shows it.
    pub fn new(choices: Choices) -> Result<Self, Unplanned> {
        let mut inner = scenario::cluster(choices);
        let plan = scenario::plan(&inner, choices)?;
        let window = plan.body.policy.spec.databases.first();
        inner.watch.longest_hold =
            window.map(|database| Duration::from_millis(database.postgres.window.0) + MARGIN);
        Ok(Self {
            world: World::new(inner),
            plan,
            journal: MemoryJournal::default(),
            clock: VirtualClock::new(scenario::origin()),
            faults: AgentFaults::default(),
        })
    }

    /// Drives the plan as a new process would.
    ///
    /// # Errors
    /// As [`Driver::run`].
    pub async fn drive(&self, fault: Fault) -> Result<Outcome, DriveError> {
        let outside = Outside {
            world: self.world.clone(),
            run: self.plan.id.clone(),
            faults: self.faults.clone(),
        };
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
                if disk.quick_retry || disk.trigger {
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
