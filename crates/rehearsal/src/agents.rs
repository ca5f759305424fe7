//! Agent and watchdog: processes in the cluster that outlive the driver.
//!
//! The agent runs the real hand-over, the watchdog the real recovery; what is modelled is how they
//! are reached, how they end, and the watchdog's look at the agent.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferriswheel_actuators::databases::postgres::names::Names;
use ferriswheel_actuators::databases::postgres::order::Order;
use ferriswheel_actuators::databases::postgres::record::{
    Log, MemoryLog, Moment, Outcome, Reason, Record,
};
use ferriswheel_actuators::databases::postgres::recover::{Knowledge, recover};
use ferriswheel_actuators::databases::postgres::window::{Cast, hand_over};
use tokio::time::{Instant, sleep};

use crate::postgres::pooler::ModelPooler;
use crate::postgres::server::{Alive, ModelServer};
use crate::world::World;

/// The watchdog's pause between two looks, and how many missed ones mean that the agent is gone:
/// the real watchdog's figures.
const LOOK: Duration = Duration::from_millis(20);
const MISSES: u32 = 3;

/// An agent process, as others see it.
#[derive(Clone)]
pub(crate) struct Agent {
    /// UID of its pod.
    pub uid: String,
    /// Its record.
    pub log: Arc<AgentLog>,
    alive: Alive,
}

/// When the first agent's process ends: at the n-th moment of its record, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DieAt {
    /// Agent or watchdog.
    pub task: &'static str,
    /// Moment.
    pub moment: usize,
}

/// What happens when a moment is noted.
pub type Hook = Arc<dyn Fn(&World, &Moment) + Send + Sync>;

/// A record that ends its process where a fault says.
pub(crate) struct AgentLog {
    log: MemoryLog,
    key: String,
    outcome: Mutex<Option<Outcome>>,
    alive: Alive,
    die_at: Option<usize>,
    world: World,
    hook: Option<Hook>,
}

impl AgentLog {
    pub fn record(&self) -> Record {
        let mut record = self.log.record();
        record.key.clone_from(&self.key);
        record.outcome = self
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        record
    }

    fn close(&self, outcome: Outcome) {
        if self.alive.load(Ordering::SeqCst) {
            *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        }
    }
}

impl Log for AgentLog {
    fn note(&self, moment: Moment) {
        if !self.alive.load(Ordering::SeqCst) {
            return;
        }
        if let Some(hook) = &self.hook {
            hook(&self.world, &moment);
        }
        self.log.note(moment);
        if self.die_at == Some(self.log.record().entries.len()) {
            self.world.with(|inner| inner.agent_died = true);
            self.alive.store(false, Ordering::SeqCst);
        }
    }
}

impl Agent {
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }
}

pub(crate) fn cast(world: &World, order: &Order, alive: &Alive) -> Cast {
    let server = |pod: &str| Box::new(ModelServer::new(world.clone(), pod, Arc::clone(alive)));
    Cast {
        old: server(&order.old.name),
        candidate: server(&order.candidate.name),
        others: order
            .others
            .iter()
            .map(|member| server(&member.name) as Box<_>)
            .collect(),
        poolers: order
            .poolers
            .iter()
            .map(|pooler| {
                Box::new(ModelPooler::new(
                    world.clone(),
                    &pooler.name,
                    Arc::clone(alive),
                )) as Box<_>
            })
            .collect(),
        names: Box::new(ModelNames {
            world: world.clone(),
            candidate: order.candidate.ip.clone(),
        }),
        patroni: Vec::new(),
    }
}

/// Name servers that know every member, but may keep an address of the candidate for a time.
struct ModelNames {
    world: World,
    candidate: String,
}

/// Where the candidate was before it was made anew.
const FORMER_ADDRESS: &str = "10.244.0.99";

#[async_trait::async_trait]
impl Names for ModelNames {
    async fn addresses(&self, _: &str) -> Result<BTreeSet<IpAddr>, String> {
        let stale = self
            .world
            .with(|inner| inner.stale_names_until > inner.now());
        let address = if stale {
            FORMER_ADDRESS
        } else {
            &self.candidate
        };
        address
            .parse()
            .map(|address| BTreeSet::from([address]))
            .map_err(|_| format!("`{address}` is not an address"))
    }
}

/// The faults that agents are started with.
#[derive(Clone, Default)]
pub struct AgentFaults {
    /// Where a process ends.
    pub die_at: Option<DieAt>,
    /// What happens beside a moment.
    pub hook: Option<Hook>,
}

fn start(world: &World, task: &str, uid: &str, key: &str, faults: &AgentFaults) -> Agent {
    let alive: Alive = Arc::new(AtomicBool::new(true));
    let died = world.with(|inner| inner.agent_died);
    Agent {
        uid: uid.to_owned(),
        alive: Arc::clone(&alive),
        log: Arc::new(AgentLog {
            log: MemoryLog::new(key),
            key: key.to_owned(),
            outcome: Mutex::default(),
            alive,
            die_at: faults
                .die_at
                .filter(|die| die.task == task && !died)
                .map(|die| die.moment),
            world: world.clone(),
            hook: faults.hook.clone().filter(|_| task == "agent"),
        }),
    }
}

/// Orders the agent. The same key again is answered, not started again.
pub(crate) fn order(world: &World, uid: &str, order: &Order, faults: &AgentFaults) {
    let known = world.with(|inner| {
        inner
            .agents
            .get("agent")
            .is_some_and(|agent| agent.uid == uid && agent.log.key == order.key)
    });
    if known {
        return;
    }
    let agent = start(world, "agent", uid, &order.key, faults);
    let (log, alive) = (Arc::clone(&agent.log), Arc::clone(&agent.alive));
    world.with(|inner| inner.agents.insert("agent".to_owned(), agent));
    let (world, order) = (world.clone(), order.clone());
    tokio::spawn(async move {
        let cast = cast(&world, &order, &alive);
        let outcome = hand_over(&order, &cast, log.as_ref()).await;
        log.close(outcome);
    });
}

/// Asks a started-again agent to end a window by observation.
pub(crate) fn recover_now(world: &World, uid: &str, order: &Order, faults: &AgentFaults) {
    let key = format!("{}/recover", order.key);
    let running = world.with(|inner| {
        inner.agents.get("agent").is_some_and(|agent| {
            agent.uid == uid
                && agent.is_alive()
                && agent.log.key == key
                && agent.log.record().outcome.is_none()
        })
    });
    if running {
        return;
    }
    let agent = start(world, "recovery", uid, &key, faults);
    let (log, alive) = (Arc::clone(&agent.log), Arc::clone(&agent.alive));
    world.with(|inner| inner.agents.insert("agent".to_owned(), agent));
    let (world, order) = (world.clone(), order.clone());
    tokio::spawn(async move {
        let cast = cast(&world, &order, &alive);
        let reason = Reason::AgentLost("found by a later run".to_owned());
        let outcome = recover(
            &order,
            &cast,
            Instant::now(),
            &Knowledge::default(),
            reason,
            "a later run",
            log.as_ref(),
        )
        .await;
        log.close(outcome);
    });
}

/// Orders the watchdog.
pub(crate) fn watch(world: &World, uid: &str, order: &Order, faults: &AgentFaults) {
    let known = world.with(|inner| {
        inner
            .agents
            .get("watchdog")
            .is_some_and(|agent| agent.uid == uid && agent.log.key == order.key)
    });
    if known {
        return;
    }
    let watchdog = start(world, "watchdog", uid, &order.key, faults);
    let (log, alive) = (Arc::clone(&watchdog.log), Arc::clone(&watchdog.alive));
    world.with(|inner| inner.agents.insert("watchdog".to_owned(), watchdog));
    let (world, order) = (world.clone(), order.clone());
    tokio::spawn(async move {
        let cast = cast(&world, &order, &alive);
        if let Some(outcome) = look_after(&world, &order, &cast, log.as_ref()).await {
            log.close(outcome);
        }
    });
}

async fn look_after(world: &World, order: &Order, cast: &Cast, log: &dyn Log) -> Option<Outcome> {
    let mut opened: Option<Instant> = None;
    let mut misses = 0;
    loop {
        let seen = world.with(|inner| {
            let agent = inner.agents.get("agent").filter(|agent| agent.is_alive());
            agent.map(|agent| agent.log.record())
        });
        match seen {
            Some(record) if record.key == order.key => {
                misses = 0;
                if record.window_is_open() {
                    opened.get_or_insert_with(Instant::now);
                } else if record.at("resumed").is_some() || record.outcome.is_some() {
                    return None;
                }
            }
            Some(_) if opened.is_none() => misses = 0,
            _ => misses += 1,
        }
        let held = world.with(|inner| inner.postgres.clients.held());
        let reason = match opened {
            Some(at) if at.elapsed() > order.window_budget() => Some(Reason::BudgetSpent(
                "the agent still holds the window open".to_owned(),
            )),
            _ if misses >= MISSES && (opened.is_some() || held) => Some(Reason::AgentLost(
                format!("{misses} looks without an answer"),
            )),
            _ => None,
        };
        if let Some(reason) = reason {
            let began = opened.unwrap_or_else(Instant::now);
            for server in [&cast.old, &cast.candidate].into_iter().chain(&cast.others) {
                let _ = server.reconnect(LOOK).await;
            }
            for pooler in &cast.poolers {
                let _ = pooler.reconnect(LOOK).await;
            }
            let known = Knowledge::default();
            return Some(recover(order, cast, began, &known, reason, "watchdog", log).await);
        }
        sleep(LOOK).await;
    }
}
