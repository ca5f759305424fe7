//! A modelled set on the stage: its plan by the real planner, and the engine's actuator over it.
//!
//! The hand-over, what is seen of it and how it is settled are the drivers' own code. Probe and certificate are
//! the model's writers and what became of their writes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::mariadb::order::Order;
use ferriswheel_actuators::databases::mariadb::record::Record as Window;
use ferriswheel_actuators::databases::mariadb::server::Server;
use ferriswheel_actuators::databases::mariadb::window::{Cast, NoRoute, Route};
use ferriswheel_actuators::systems::mariadb::set::{self, Servers};
use ferriswheel_actuators::world::{AskError, MemberPod};
use ferriswheel_engine::actuator::{
    Ack, ActError, Actuator, Evidence, Observed, OperationKey, WaitingOn,
};
use ferriswheel_engine::clock::{Clock, VirtualClock};
use ferriswheel_engine::driver::{DriveError, Driver, Outcome};
use ferriswheel_engine::events::Silent;
use ferriswheel_engine::faults::{Fault, FaultyActuator, FaultyJournal};
use ferriswheel_engine::journal::Journal;
use ferriswheel_engine::journal::memory::MemoryJournal;
use ferriswheel_engine::record::Record;
use ferriswheel_model::cluster as pods;
use ferriswheel_model::objects::{Budget, Signal, StatefulSet};
use ferriswheel_plan::databases::mariadb::WHOLE_LAG;
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::planner;
use ferriswheel_plan::step::{Guard, HandOverTerms, MariadbTerms, Step, StepKind};
use ferriswheel_plan::world as seen;
use serde_json::json;

use super::server::{ModelServer, Shared, member, name, sources};
use super::set::{Set, server_of};
use crate::actuator::{ack, done, waiting};
use crate::scenario::{self, Unplanned, labels, snapshot_of};

/// The set.
const SET: &str = "shop/mariadb";

/// Name of the database.
const DATABASE: &str = "shop";

/// Members.
const MEMBERS: usize = 3;

/// Writers.
const WRITERS: usize = 3;

/// A request to the API server, there and back.
const REQUEST: Duration = Duration::from_millis(5);

/// How clients find who takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// A Service leads them.
    ByService,
    /// They try every member.
    ByName,
}

/// A set with a plan that hands it over, and a journal that outlives drivers.
pub struct Stage {
    /// The set.
    pub set: Shared,
    /// The plan.
    pub plan: Plan,
    journal: MemoryJournal,
    clock: VirtualClock,
    outside: Outside,
}

impl Stage {
    /// Sets the stage. Must be called inside a runtime with its clock paused.
    ///
    /// # Errors
    /// The planner refuses what it is shown.
    pub fn new(clients: Clients) -> Result<Self, Unplanned> {
        let mut set = Set::new(MEMBERS, WRITERS);
        set.service = (clients == Clients::ByService).then_some(0);
        let written = set.write(0);
        debug_assert!(written.is_ok());
        set.advance(Duration::from_millis(100));
        let spec = serde_json::from_value(json!({
            "apiVersion": "ferriswheel.dev/v1alpha1",
            "kind": "Upgrade",
            "metadata": {"name": "hand-over"},
            "spec": {
                "cluster": {"subscription": "s", "resourceGroup": "rg", "name": "aks"},
                "strategy": {"handOver": {}},
                "databases": [{"name": DATABASE, "mariadb": {
                    "statefulSet": SET,
                    "admin": "shop/mariadb-admin",
                    "replication": "shop/mariadb-replication",
                    "application": "shop/mariadb-application",
                    "database": "app",
                }}],
            }
        }))?;
        let plan = planner::plan(&snapshot(&pods(), &set), &spec)?;
        let set = Shared::new(set);
        Ok(Self {
            plan,
            journal: MemoryJournal::default(),
            clock: VirtualClock::new(scenario::origin()),
            outside: Outside::new(set.clone(), Kept::default()),
            set,
        })
    }

    /// Drives the plan as a new process would.
    ///
    /// # Errors
    /// As [`Driver::run`].
    pub async fn drive(&self, fault: Fault) -> Result<Outcome, DriveError> {
        // A process has its own sessions, which end with it; the world outlives it.
        let outside = Outside::new(self.set.clone(), self.outside.world.clone());
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

    /// All records so far.
    pub fn records(&self) -> Vec<Record> {
        // A journal in memory can always be read.
        self.journal.after(0).unwrap_or_default()
    }

    /// Records of the attempts, in order.
    pub fn windows(&self) -> Vec<Window> {
        self.outside.world.with(|world| world.windows.clone())
    }

    /// What is wrong at the end of a finished run, one line each: one member takes writes and the others copy from it,
    /// nothing is lost, nobody holds a lock or remembers a source that it should not.
    pub async fn flaws(&self) -> Vec<String> {
        // Connections that are being made stand by then, and a lock without an owner has ended.
        self.clock.sleep(Duration::from_secs(15)).await;
        self.set.with(|set| {
            let mut flaws: Vec<String> = set.broken.iter().cloned().collect();
            if !set.is_settled() {
                flaws.push("the members do not follow one that takes writes".to_owned());
            }
            let lost = set.lost();
            if lost > 0 || set.clients.iter().any(|client| client.acked.is_empty()) {
                flaws.push(format!("{lost} lost"));
            }
            if self.outside.world.with(|world| world.certificate.is_none()) {
                flaws.push("there is no certificate".to_owned());
            }
            flaws
        })
    }

    /// Members that took writes, in order.
    pub fn led(&self) -> Vec<usize> {
        self.set.with(|set| set.led.clone())
    }
}

/// What a run leaves in the world beside the servers.
#[derive(Default)]
struct World {
    certificate: Option<String>,
    windows: Vec<Window>,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<World>>);

impl Kept {
    fn with<R>(&self, look: impl FnOnce(&mut World) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The outside world of one driver.
struct Outside {
    set: Shared,
    world: Kept,
    sessions: Vec<Arc<ModelServer>>,
}

impl Outside {
    fn new(set: Shared, world: Kept) -> Self {
        Self {
            sessions: (0..MEMBERS)
                .map(|n| Arc::new(ModelServer::new(set.clone(), n)))
                .collect(),
            set,
            world,
        }
    }

    fn numbered(&self, pod: &ObjectRef) -> Result<usize, AskError> {
        let found = (0..MEMBERS).find(|n| self::pod(*n) == *pod);
        found.ok_or_else(|| AskError::Absent {
            what: pod.to_string(),
        })
    }
}

fn pod(n: usize) -> ObjectRef {
    ObjectRef::new("shop", name(n))
}

/// The label by which the Service finds its member.
struct Labelled {
    set: Shared,
    old: usize,
    candidate: usize,
}

#[async_trait]
impl Route for Labelled {
    fn is_there(&self) -> bool {
        true
    }

    async fn to_candidate(&self) -> Result<(), String> {
        tokio::time::sleep(REQUEST).await;
        self.set.with(|set| set.service = Some(self.candidate));
        Ok(())
    }

    async fn to_old(&self) -> Result<(), String> {
        tokio::time::sleep(REQUEST).await;
        self.set.with(|set| set.service = Some(self.old));
        Ok(())
    }
}

#[async_trait]
impl Servers for Outside {
    async fn everybody(&self) -> Result<Vec<(MemberPod, Arc<dyn Server>)>, AskError> {
        tokio::time::sleep(REQUEST).await;
        let asked = self.sessions.iter().enumerate().map(|(n, server)| {
            let ready = self.set.with(|set| set.nodes[n].runs);
            let member = MemberPod {
                pod: pod(n),
                uid: format!("uid-{n}").as_str().into(),
                node: None,
                ip: Some(format!("10.244.0.{}", 10 + n)),
                ready,
                ready_for: None,
                terminating: false,
            };
            (member, Arc::clone(server) as Arc<dyn Server>)
        });
        Ok(asked.collect())
    }

    async fn cast(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &MariadbTerms,
        key: &OperationKey,
    ) -> Result<(Order, Cast), AskError> {
        tokio::time::sleep(REQUEST).await;
        let (old, candidate) = (self.numbered(from)?, self.numbered(to)?);
        let others: Vec<usize> = (0..MEMBERS)
            .filter(|n| *n != old && *n != candidate)
            .collect();
        let server = |n: usize| Box::new(ModelServer::new(self.set.clone(), n)) as Box<dyn Server>;
        let order = Order {
            key: key.0.clone(),
            old: member(old),
            candidate: member(candidate),
            others: others.iter().map(|n| member(*n)).collect(),
            lock_ms: terms.lock_budget_ms,
            window_ms: terms.window_budget_ms,
            semi_sync: terms.semi_sync,
        };
        let route: Box<dyn Route> = if self.set.with(|set| set.service.is_some()) {
            Box::new(Labelled {
                set: self.set.clone(),
                old,
                candidate,
            })
        } else {
            Box::new(NoRoute)
        };
        let cast = Cast {
            old: server(old),
            candidate: server(candidate),
            others: others.into_iter().map(server).collect(),
            route,
        };
        Ok((order, cast))
    }

    fn keep(&self, _: &ObjectRef, record: &Window) {
        self.world.with(|world| world.windows.push(record.clone()));
    }
}

/// The world could not be asked: a modelled one always can.
fn unknown(error: &AskError) -> WaitingOn {
    waiting("the world", error.to_string(), "it can be asked again")
}

fn terms_of(terms: &HandOverTerms) -> Result<&MariadbTerms, ActError> {
    terms.mariadb().ok_or_else(|| not_staged("another system"))
}

fn not_staged(what: &str) -> ActError {
    ActError::Fatal {
        code: "FW0301".to_owned(),
        cause: format!("{what} is not on this stage"),
    }
}

#[async_trait]
impl Actuator for Outside {
    async fn observe(&self, step: &Step) -> Observed {
        match &step.kind {
            StepKind::StartProbe { .. } => {
                if self.set.with(|set| set.writing) {
                    done("the writers write")
                } else {
                    Observed::Ready
                }
            }
            StepKind::HandOver { from, to, .. } => set::observe(self, from, to)
                .await
                .unwrap_or_else(|e| Observed::Unknown(e.to_string())),
            StepKind::Certify { .. } => match self.world.with(|world| world.certificate.clone()) {
                Some(verdict) => done(verdict),
                None => Observed::Ready,
            },
            other => Observed::Unknown(format!("{} is not on this stage", other.name())),
        }
    }

    async fn check(&self, guard: &Guard) -> Result<(), WaitingOn> {
        let lag = match guard {
            Guard::AllStreaming { max_lag, .. } => *max_lag,
            _ => WHOLE_LAG,
        };
        let standing = set::standing(self, Some(lag))
            .await
            .map_err(|e| unknown(&e))?;
        match guard {
            Guard::AllStreaming {
                database, members, ..
            } => standing.all_whole(database, *members),
            Guard::PrimaryIs { pod, .. } => standing.is_primary(pod),
            other => Err(waiting("the stage", format!("{other:?}"), "never")),
        }
    }

    async fn act(&self, step: &Step, key: &OperationKey) -> Result<Ack, ActError> {
        match &step.kind {
            StepKind::StartProbe { .. } => {
                self.set.with(|set| set.writing = true);
                Ok(ack("the writers write"))
            }
            StepKind::HandOver {
                from, to, terms, ..
            } => set::hand_over(self, from, to, terms_of(terms)?, key).await,
            StepKind::Certify { .. } => {
                let verdict = self.set.with(|set| {
                    set.writing = false;
                    format!("acked_lost {}, led {:?}", set.lost(), set.led)
                });
                self.world
                    .with(|world| world.certificate = Some(verdict.clone()));
                Ok(ack(verdict))
            }
            other => Err(not_staged(other.name())),
        }
    }

    async fn settle(&self, step: &Step, key: &OperationKey) -> Result<Evidence, ActError> {
        match &step.kind {
            StepKind::HandOver {
                from, to, terms, ..
            } => set::settle(self, from, to, terms_of(terms)?, key).await,
            _ => Ok(Evidence::one("nothing to settle: the act is one request")),
        }
    }
}

/// Machines and pods, as they stand while nothing but roles changes.
fn pods() -> pods::Cluster {
    let mut cluster = pods::Cluster::new(pods::Timing::default());
    let zones = ["eastus-1", "eastus-2", "eastus-3"];
    let count = MEMBERS as u32;
    let of_database = labels(&[("workload", "database")]);
    for (name, system, count, of) in [
        ("syspool", true, 2, labels(&[])),
        ("dbpool", false, count, of_database.clone()),
    ] {
        // The names are new, so that no pool is in the way.
        let made = cluster.create_pool(name, system, &zones, count, scenario::TARGET, of);
        debug_assert!(made.is_ok());
    }
    cluster.put_budget(
        SET,
        Budget {
            selector: labels(&[("app", "mariadb")]),
            max_unavailable: 1,
        },
    );
    cluster.put_set(
        SET,
        StatefulSet {
            replicas: count,
            labels: labels(&[("app", "mariadb")]),
            node_selector: of_database,
            claim_template: "data".to_owned(),
            one_per_node: true,
        },
    );
    // Members come one after the other.
    for second in 1..=120 {
        cluster.advance(Duration::from_secs(second));
        for signal in cluster.take_signals() {
            if let Signal::Start { uid, .. } = signal {
                cluster.set_ready(&uid, true);
            }
        }
    }
    cluster
}

fn snapshot(pods: &pods::Cluster, set: &Set) -> seen::Snapshot {
    let budget = seen::Budget {
        selector: labels(&[("app", "mariadb")]),
        disruptions_allowed: 1,
        current_healthy: 3,
        desired_healthy: 2,
        expected_pods: 3,
        max_unavailable: Some("1".to_owned()),
        min_available: None,
    };
    let members = (0..set.nodes.len())
        .map(|n| {
            let member = seen::MariadbMember {
                unreachable: None,
                facts: Some(facts(set, n)),
            };
            (name(n), member)
        })
        .collect();
    let database = seen::Database::Mariadb(seen::Mariadb {
        stateful_set: ObjectRef::new("shop", "mariadb"),
        members,
        service: None,
        application: "app".to_owned(),
    });
    snapshot_of(pods, (SET, budget), (DATABASE, database))
}

fn facts(set: &Set, n: usize) -> seen::MariadbFacts {
    let log = &set.nodes[n].log;
    let state = log
        .iter()
        .zip(1_u64..)
        .map(|(transaction, sequence)| seen::Gtid {
            domain: 0,
            server: transaction.server,
            sequence,
        });
    seen::MariadbFacts {
        version: "10.11.14-MariaDB-deb12-log".to_owned(),
        server_id: server_of(n),
        domain: 0,
        read_only: set.nodes[n].read_only,
        log_bin: true,
        log_slave_updates: true,
        strict: true,
        wsrep_on: false,
        group: false,
        semi_sync_source: false,
        semi_sync_replica: false,
        binlog_state: seen::GtidState(state.last().into_iter().collect()),
        binlog_pos: set.binlog(n),
        slave_pos: set.applied(n),
        binlog_kept_seconds: 864_000,
        binlog_kept_bytes: 0,
        binlog_filters: Vec::new(),
        sources: sources(set, n),
        longest: None,
        prepared: 0,
        locked: None,
        directory: "/var/lib/mysql/".to_owned(),
        user: "admin".to_owned(),
        forbidden: Vec::new(),
        unfenced_users: Vec::new(),
    }
}
