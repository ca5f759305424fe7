//! A modelled cluster on the stage: its plan by the real planner, and the engine's actuator over it.
//!
//! The hand-over, what is seen of it and how it is settled are the drivers' own code. Probe and certificate are
//! the model's writers and what became of their writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::redis::record::Record as Window;
use ferriswheel_actuators::databases::redis::server::Server;
use ferriswheel_actuators::systems::redis::shards::{self, Servers};
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
use ferriswheel_plan::databases::redis::WHOLE_LAG;
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::planner;
use ferriswheel_plan::step::{Guard, HandOverTerms, RedisTerms, Step, StepKind};
use ferriswheel_plan::world as seen;
use serde_json::json;

use super::cluster::Cluster;
use super::server::{ModelServer, PORT, Shared, address, id, name, slots};
use crate::actuator::{ack, done, waiting};
use crate::scenario::{self, Unplanned, labels, snapshot_of};

/// The set.
const SET: &str = "cache/redis";

/// Name of the database.
const DATABASE: &str = "sessions";

/// Shards, each with one replica.
const SHARDS: usize = 3;

/// A request to the API server, there and back.
const REQUEST: Duration = Duration::from_millis(5);

/// A cluster with a plan that hands every shard over, and a journal that outlives drivers.
pub struct Stage {
    /// The cluster.
    pub cluster: Shared,
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
    pub fn new() -> Result<Self, Unplanned> {
        let mut cluster = Cluster::new(SHARDS, 1);
        cluster.advance(Duration::from_millis(100));
        let pods = pods();
        let spec = serde_json::from_value(json!({
            "apiVersion": "ferriswheel.dev/v1alpha1",
            "kind": "Upgrade",
            "metadata": {"name": "hand-over"},
            "spec": {
                "cluster": {"subscription": "s", "resourceGroup": "rg", "name": "aks"},
                "strategy": {"handOver": {}},
                "databases": [{"name": DATABASE, "redis": {"statefulSet": SET}}],
            }
        }))?;
        let plan = planner::plan(&snapshot(&pods, &cluster), &spec)?;
        let cluster = Shared::new(cluster);
        Ok(Self {
            plan,
            journal: MemoryJournal::default(),
            clock: VirtualClock::new(scenario::origin()),
            outside: Outside::new(cluster.clone()),
            cluster,
        })
    }

    /// Drives the plan as a new process would.
    ///
    /// # Errors
    /// As [`Driver::run`].
    pub async fn drive(&self, fault: Fault) -> Result<Outcome, DriveError> {
        // A process has its own sessions; the world outlives it.
        let outside = self.outside.of_a_new_process();
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

    /// What is wrong at the end of a finished run, one line each: every shard is led by its other member, nothing is
    /// lost, nobody saw an error, every server says the same.
    pub async fn flaws(&self) -> Vec<String> {
        // What was told to everybody has arrived by then.
        self.clock.sleep(Duration::from_secs(5)).await;
        self.cluster.with(|cluster| {
            let mut flaws: Vec<String> = cluster.broken.iter().cloned().collect();
            if !cluster.is_settled() {
                flaws.push("the servers do not agree".to_owned());
            }
            for (shard, client) in cluster.clients.iter().enumerate() {
                let lost = client.lost(cluster);
                if lost > 0 || client.errors > 0 || client.acked.is_empty() {
                    flaws.push(format!(
                        "shard {shard}: {} acknowledged, {lost} lost, {} errors",
                        client.acked.len(),
                        client.errors
                    ));
                }
            }
            if self.outside.world.with(|world| world.certificate.is_none()) {
                flaws.push("there is no certificate".to_owned());
            }
            flaws
        })
    }

    /// Servers that became primaries, in order.
    pub fn promotions(&self) -> Vec<usize> {
        self.cluster.with(|cluster| cluster.promotions.clone())
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
    cluster: Shared,
    world: Kept,
    sessions: Vec<Arc<ModelServer>>,
}

impl Outside {
    fn new(cluster: Shared) -> Self {
        let all = cluster.with(|cluster| cluster.nodes.len());
        Self {
            sessions: (0..all)
                .map(|n| Arc::new(ModelServer::new(cluster.clone(), n)))
                .collect(),
            cluster,
            world: Kept::default(),
        }
    }

    fn of_a_new_process(&self) -> Self {
        Self {
            world: self.world.clone(),
            ..Self::new(self.cluster.clone())
        }
    }
}

fn pod(n: usize) -> ObjectRef {
    ObjectRef::new("cache", name(n))
}

#[async_trait]
impl Servers for Outside {
    async fn everybody(&self) -> Result<Vec<(MemberPod, Arc<dyn Server>)>, AskError> {
        tokio::time::sleep(REQUEST).await;
        Ok(self
            .sessions
            .iter()
            .enumerate()
            .map(|(n, server)| {
                let ready = self.cluster.with(|cluster| cluster.nodes[n].runs);
                let member = MemberPod {
                    pod: pod(n),
                    uid: format!("uid-{n}").as_str().into(),
                    node: None,
                    ip: Some(address(n)),
                    ready,
                    ready_for: None,
                    terminating: false,
                };
                (member, Arc::clone(server) as Arc<dyn Server>)
            })
            .collect())
    }

    async fn apart(&self, members: &[&MemberPod]) -> Result<Vec<Box<dyn Server>>, AskError> {
        let all = (0..self.sessions.len()).collect::<Vec<_>>();
        Ok(members
            .iter()
            .filter_map(|member| all.iter().find(|n| pod(**n) == member.pod))
            .map(|n| Box::new(ModelServer::new(self.cluster.clone(), *n)) as Box<dyn Server>)
            .collect())
    }

    fn port(&self) -> u16 {
        PORT
    }

    fn keep(&self, _: &ObjectRef, record: &Window) {
        self.world.with(|world| world.windows.push(record.clone()));
    }
}

/// The world could not be asked: a modelled one always can.
fn unknown(error: &AskError) -> WaitingOn {
    waiting("the world", error.to_string(), "it can be asked again")
}

fn terms_of(terms: &HandOverTerms) -> Result<&RedisTerms, ActError> {
    terms.redis().ok_or_else(|| not_staged("another system"))
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
                if self.cluster.with(|cluster| cluster.writing) {
                    done("the writers write")
                } else {
                    Observed::Ready
                }
            }
            StepKind::HandOver { from, to, .. } => shards::observe(self, from, to)
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
        let standing = shards::standing(self, Some(lag))
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
                self.cluster.with(|cluster| cluster.writing = true);
                Ok(ack("the writers write"))
            }
            StepKind::HandOver {
                from, to, terms, ..
            } => shards::hand_over(self, from, to, terms_of(terms)?, key).await,
            StepKind::Certify { .. } => {
                let verdict = self.cluster.with(|cluster| {
                    cluster.writing = false;
                    let lost: usize = cluster.clients.iter().map(|c| c.lost(cluster)).sum();
                    format!("acked_lost {lost}, moves {}", cluster.promotions.len())
                });
                self.world
                    .with(|world| world.certificate = Some(verdict.clone()));
                Ok(ack(verdict))
            }
            other => Err(not_staged(other.name())),
        }
    }

    async fn settle(&self, step: &Step, _: &OperationKey) -> Result<Evidence, ActError> {
        match &step.kind {
            StepKind::HandOver { from, to, .. } => shards::settle(self, from, to).await,
            _ => Ok(Evidence::one("nothing to settle: the act is one request")),
        }
    }
}

/// Machines and pods, as they stand while nothing but roles changes.
fn pods() -> pods::Cluster {
    let mut cluster = pods::Cluster::new(pods::Timing::default());
    let zones = ["eastus-1", "eastus-2", "eastus-3"];
    let count = 2 * SHARDS as u32;
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
            selector: labels(&[("app", "redis")]),
            max_unavailable: 1,
        },
    );
    cluster.put_set(
        SET,
        StatefulSet {
            replicas: count,
            labels: labels(&[("app", "redis")]),
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

fn snapshot(pods: &pods::Cluster, cluster: &Cluster) -> seen::Snapshot {
    let budget = seen::Budget {
        selector: labels(&[("app", "redis")]),
        disruptions_allowed: 1,
        current_healthy: 6,
        desired_healthy: 5,
        expected_pods: 6,
        max_unavailable: Some("1".to_owned()),
        min_available: None,
    };
    let members = (0..cluster.nodes.len())
        .map(|n| {
            let member = seen::RedisMember {
                unreachable: None,
                facts: Some(facts(cluster, n)),
            };
            (name(n), member)
        })
        .collect();
    let database = seen::Database::Redis(seen::Redis {
        stateful_set: ObjectRef::new("cache", "redis"),
        members,
    });
    snapshot_of(pods, (SET, budget), (DATABASE, database))
}

fn facts(cluster: &Cluster, n: usize) -> seen::RedisFacts {
    let node = &cluster.nodes[n];
    let leads = node.upstream.is_none();
    let peer = |other: usize| {
        let known = node.views[other];
        let word = if known.upstream.is_none() {
            "master"
        } else {
            "slave"
        };
        let myself = (other == n).then(|| "myself".to_owned());
        let range = known.shard.map(slots);
        seen::RedisPeer {
            ip: address(other),
            port: PORT,
            hostname: None,
            flags: [word.to_owned()].into_iter().chain(myself).collect(),
            primary: known.upstream.map(id),
            connected: true,
            config_epoch: known.epoch,
            slots: range
                .map(|(first, last)| seen::SlotRange { first, last })
                .into_iter()
                .collect(),
        }
    };
    seen::RedisFacts {
        flavour: seen::Flavour::Redis,
        version: "7.0.15".to_owned(),
        cluster_enabled: true,
        id: id(n),
        role: if leads {
            seen::RedisRole::Primary
        } else {
            seen::RedisRole::Replica
        },
        primary_id: node.upstream.map(id),
        offset: cluster.offset(n),
        link_up: (!leads).then(|| cluster.is_linked(n)),
        syncing: false,
        loading: false,
        replicas: BTreeMap::new(),
        cluster_ok: true,
        slots_assigned: 16_384,
        slots_ok: 16_384,
        slots_pfail: 0,
        slots_fail: 0,
        known_nodes: u32::try_from(cluster.nodes.len()).unwrap_or(u32::MAX),
        current_epoch: node.current_epoch,
        my_epoch: node.epoch,
        nodes: (0..cluster.nodes.len())
            .map(|other| (id(other), peer(other)))
            .collect(),
        slots_moving: Vec::new(),
        persistence: seen::RedisPersistence {
            aof: true,
            save: String::new(),
        },
        aof_rewriting: false,
        rdb_saving: false,
        used_memory: 2_000_000,
        backlog_bytes: 1_048_576,
        min_replicas_to_write: 0,
        node_timeout_ms: 15_000,
        full_coverage: true,
        replica_migration: true,
        announce_ip: Some(address(n)),
        announce_hostname: None,
        directory: "/data".to_owned(),
        user: "default".to_owned(),
        forbidden: Vec::new(),
        keys: 100,
    }
}
