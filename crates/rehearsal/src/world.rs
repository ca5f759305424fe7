//! The modelled world: a cluster, the servers on its disks, the clients in front.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferriswheel_model::Cluster;
use ferriswheel_model::objects::{Behaviour, Container, Owner, Signal};
use tokio::time::Instant;

use crate::agents::Agent;
use crate::invariants::{self, Watch};
use crate::postgres::Postgres;
use crate::postgres::clients::Pooler;

/// Namespace of everything about the database.
pub const NAMESPACE: &str = "db";

/// The pooler's Deployment.
pub const POOLERS: &str = "db/pgbouncer";

/// A step of time while something moves fast.
const FINE: Duration = Duration::from_millis(1);

/// A step of time while nobody writes and no server changes.
const COARSE: Duration = Duration::from_millis(100);

/// The world, shared by drivers, agents and faults. It outlives all of them.
#[derive(Clone)]
pub struct World {
    inner: Arc<Mutex<Inner>>,
    /// The world's time when tokio's clock stood at `origin`.
    began: Duration,
    origin: Instant,
}

impl World {
    /// Goes on from where it stands, now by tokio's clock.
    pub fn new(inner: Inner) -> Self {
        Self {
            began: inner.now(),
            inner: Arc::new(Mutex::new(inner)),
            origin: Instant::now(),
        }
    }

    /// Brings the world up to the present and looks at it or changes it.
    pub fn with<R>(&self, look: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.advance(self.began + self.origin.elapsed());
        let answer = look(&mut inner);
        inner.exchange();
        answer
    }
}

/// Everything there is.
pub struct Inner {
    /// The cluster.
    pub cluster: Cluster,
    /// The servers and their clients.
    pub postgres: Postgres,
    /// What the poolers' configuration file aims at.
    pub pooler_file: String,
    /// Agent and watchdog by task.
    pub(crate) agents: BTreeMap<String, Agent>,
    /// The fault that ends an agent's process has happened.
    pub(crate) agent_died: bool,
    /// Name servers lead to where the candidate was before, until then.
    pub stale_names_until: Duration,
    /// The judge writes.
    pub probing: bool,
    /// The judge's verdict.
    pub certificate: Option<String>,
    /// What must hold, and what did not.
    pub watch: Watch,
    /// Acts that reached the world, by name.
    pub acts: BTreeMap<String, u32>,
    now: Duration,
    poolers_seen: u64,
}

impl Inner {
    /// A world at time zero.
    pub fn new(cluster: Cluster, postgres: Postgres, primary: &str) -> Self {
        Self {
            cluster,
            postgres,
            pooler_file: primary.to_owned(),
            agents: BTreeMap::new(),
            agent_died: false,
            stale_names_until: Duration::ZERO,
            probing: false,
            certificate: None,
            watch: Watch::default(),
            acts: BTreeMap::new(),
            now: Duration::ZERO,
            poolers_seen: 0,
        }
    }

    /// Time.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Counts an act that must be seen in the end.
    pub fn count(&mut self, act: impl Into<String>) {
        *self.acts.entry(act.into()).or_default() += 1;
    }

    /// Lets everything happen up to a time, in order.
    pub fn advance(&mut self, to: Duration) {
        while self.now < to {
            let fine = self.postgres.is_busy() || self.postgres.clients.held();
            let mut next = match (fine, self.probing) {
                (false, false) => self.now + COARSE,
                (false, true) => self.postgres.clients.due(),
                (true, probing) => {
                    // What changes is looked at when it changes, and not in between.
                    let client = probing.then(|| self.postgres.clients.due());
                    let server = self.postgres.due(self.now);
                    client.into_iter().chain(server).min().unwrap_or(to)
                }
            };
            next = next.max(self.now + FINE);
            if let Some(event) = self.cluster.next_event() {
                next = next.min(event.max(self.now));
            }
            let next = next.min(to);
            self.now = next;
            self.cluster.advance(next);
            self.exchange();
            self.postgres.tick(next);
            if self.probing {
                self.postgres.serve_clients(next);
            }
            self.exchange();
            invariants::check(self);
        }
    }

    /// Signals to the servers, exits and readiness back to the kubelets.
    pub fn exchange(&mut self) {
        loop {
            for signal in self.cluster.take_signals() {
                self.signal(signal);
            }
            let exits = self.postgres.take_exits();
            if exits.is_empty() {
                break;
            }
            for uid in exits {
                self.cluster.container_exited(&uid);
            }
        }
        while let Some((uid, ready)) = self.postgres.readiness_news() {
            self.cluster.set_ready(&uid, ready);
        }
        if self.poolers_seen != self.cluster.changes() {
            self.poolers_seen = self.cluster.changes();
            self.poolers();
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Start { pod, uid, disk } => {
                if let Some(disk) = disk {
                    self.postgres.start(self.now, short(&pod), &uid, &disk);
                }
            }
            Signal::Stop { pod, .. } => self.postgres.stop(self.now, short(&pod)),
            Signal::Killed { pod, .. } => self.postgres.kill(short(&pod)),
            Signal::DiskDeleted { disk } => {
                self.postgres.disks.remove(&disk);
            }
        }
    }

    /// Pooler processes follow their pods.
    fn poolers(&mut self) {
        let running: BTreeMap<String, String> = self
            .cluster
            .pods()
            .iter()
            .filter(|(_, pod)| {
                pod.owner == Owner::Deployment(POOLERS.to_owned())
                    && pod.behaviour == Behaviour::Plain
                    && pod.container == Container::Running
            })
            .map(|(name, pod)| (short(name).to_owned(), pod.uid.clone()))
            .collect();
        let clients = &mut self.postgres.clients;
        let gone: Vec<String> = clients
            .poolers
            .iter()
            .filter(|(name, pooler)| running.get(*name) != Some(&pooler.uid))
            .map(|(name, _)| name.clone())
            .collect();
        for pooler in gone {
            clients.pooler_lost(&pooler);
        }
        for (name, uid) in running {
            clients.poolers.entry(name).or_insert_with(|| Pooler {
                uid,
                aimed: self.pooler_file.clone(),
                paused: false,
                held_since: None,
            });
        }
    }
}

/// A pod's name without its namespace.
pub fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
