//! The engine's actuator over the modelled world: observe and act for each kind of step.
//!
//! The decisions are those of the real steps: done by what is seen, acts that do no harm when
//! repeated, refusals with the same classes. They are written a second time, over the model's own
//! objects; what a rehearsal therefore does not exercise stands in `docs/limits.md`. The window,
//! its recovery and what a closed record means are the real ones.

mod agents;
mod guards;
mod nodes;
mod pools;
mod seat;

pub(crate) use seat::slot_name;

use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::postgres::window::streams_from;
use ferriswheel_engine::actuator::{
    Ack, ActError, Actuator, Evidence, Observed, OperationKey, WaitingOn,
};
use ferriswheel_model::objects::Owner;
use ferriswheel_plan::ids::{ObjectRef, PlanId, PoolName};
use ferriswheel_plan::step::{Guard, HandOverTerms, NodeIdentity, PostgresTerms, Step, StepKind};

use crate::agents::AgentFaults;
use crate::hand_over;
use crate::postgres::server::status;
use crate::world::{Inner, NAMESPACE, World, short};

/// A request to the API server or to the resource manager, there and back.
const REQUEST: Duration = Duration::from_millis(5);

/// Pods of a run.
pub(crate) const AGENT: &str = "db/ferriswheel-agent";
pub(crate) const WATCHDOG: &str = "db/ferriswheel-watchdog";
const PROBE: &str = "db/ferriswheel-probe";

/// The outside world of one driver. Dropping it is the end of the driver, not of the world.
#[derive(Clone)]
pub struct Outside {
    /// The world.
    pub world: World,
    /// The run whose marks the world carries.
    pub run: PlanId,
    /// Faults of the agents that this driver starts.
    pub faults: AgentFaults,
}

impl Outside {
    async fn ask<R>(&self, look: impl FnOnce(&mut Inner) -> R + Send) -> R {
        tokio::time::sleep(REQUEST).await;
        self.world.with(look)
    }
}

pub(crate) fn waiting(
    object: impl std::fmt::Display,
    reason: impl Into<String>,
    clears: impl Into<String>,
) -> WaitingOn {
    WaitingOn {
        object: object.to_string(),
        reason: reason.into(),
        clears: clears.into(),
    }
}

pub(crate) fn done(fact: impl Into<String>) -> Observed {
    Observed::Done(Evidence::one(fact))
}

pub(crate) fn ack(fact: impl Into<String>) -> Ack {
    Ack {
        evidence: Evidence::one(fact),
    }
}

fn again(cause: impl Into<String>) -> ActError {
    ActError::Retry {
        after: Duration::from_millis(500),
        cause: cause.into(),
    }
}

/// The one primary.
pub(crate) fn primary(world: &Inner) -> Option<String> {
    match world.postgres.primaries().as_slice() {
        [one] => Some((*one).to_owned()),
        _ => None,
    }
}

/// The member is Ready and streams from the primary, or is the primary.
fn whole(world: &Inner, pod: &ObjectRef) -> Result<String, WaitingOn> {
    let not = |reason: &str, clears: &str| Err(waiting(pod, reason, clears));
    let found = world.cluster.pods().get(&pod.to_string());
    if found.is_none_or(|found| !found.ready) {
        return not("the pod is not Ready", "its readiness probe succeeds");
    }
    let Some(member) = status(&world.postgres, &pod.name) else {
        return not("its server does not answer", "its server answers");
    };
    if !member.in_recovery {
        return Ok("the primary".to_owned());
    }
    let Some(leader) = primary(world) else {
        return not("no primary answers", "a primary answers");
    };
    if !streams_from(&member, &leader) {
        return Err(waiting(
            pod,
            format!("it does not stream from {leader}"),
            "its stream is up",
        ));
    }
    Ok(format!("streams from {leader}"))
}

fn members(world: &Inner, set: &ObjectRef) -> Vec<ObjectRef> {
    let set = set.to_string();
    world
        .cluster
        .pods()
        .iter()
        .filter(|(_, pod)| matches!(&pod.owner, Owner::Set { name, .. } if *name == set))
        .map(|(name, _)| ObjectRef::new(NAMESPACE, short(name)))
        .collect()
}

fn pool_of(world: &Inner, pod: &ObjectRef) -> Option<(String, String)> {
    let node = world.cluster.pods().get(&pod.to_string())?.node.clone()?;
    let pool = world.cluster.nodes().get(&node)?.pool.clone();
    Some((node, pool))
}

/// Where a member that should land in a pool stands.
fn landed(world: &Inner, pod: &ObjectRef, onto: &PoolName) -> Observed {
    match pool_of(world, pod) {
        None => Observed::InFlight(waiting(
            pod,
            "no node was found for it yet",
            format!("a node of pool {onto} in the zone of its disk is schedulable"),
        )),
        Some((node, pool)) if pool != onto.as_str() => Observed::Diverged {
            expected: format!("{pod} on a node of pool {onto}"),
            found: format!("on {node}"),
        },
        Some((node, _)) => whole(world, pod).map_or_else(Observed::InFlight, |fact| {
            done(format!("{pod} is on {node}, {fact}"))
        }),
    }
}

fn observe(world: &Inner, kind: &StepKind, plan: &str) -> Observed {
    match kind {
        StepKind::StartProbe { .. } => agents::running(world, &[PROBE], world.probing),
        StepKind::StartAgents { .. } => agents::running(world, &[AGENT, WATCHDOG], true),
        StepKind::StopAgents { .. } => agents::stopped(world),
        StepKind::Cordon { nodes } => nodes::cordoned(world, nodes),
        StepKind::Uncordon { nodes } => nodes::opened(world, nodes),
        StepKind::GrowPool { pool, count, .. } => pools::grown(world, pool, *count),
        StepKind::AddSeat {
            stateful_set,
            replicas,
            onto_pool,
            ..
        } => seat::added(world, stateful_set, *replicas, onto_pool, plan),
        StepKind::MoveReplica {
            pod,
            from,
            onto_pool,
            ..
        } => nodes::moved(world, pod, from, onto_pool),
        StepKind::HandOver { from, to, .. } => hand_over::observe(world, from, to),
        // There are no modelled brokers; the act says so.
        StepKind::DrainLeaders { .. } | StepKind::ReturnLeaders { .. } => Observed::Ready,
        StepKind::RetireNode { node, .. } => nodes::retired(world, node),
        StepKind::ShrinkPool { pool, count, .. } => pools::shrunk(world, pool, *count),
        StepKind::RemoveSeat {
            stateful_set,
            replicas,
            ..
        } => seat::removed(world, stateful_set, *replicas),
        StepKind::DeletePool { pool } => pools::deleted(world, pool),
        StepKind::Certify { .. } => match &world.certificate {
            Some(verdict) => done(verdict.clone()),
            None => Observed::Ready,
        },
    }
}

fn same_machine(world: &Inner, node: &NodeIdentity) -> bool {
    world
        .cluster
        .nodes()
        .get(node.name.as_str())
        .is_some_and(|found| found.uid == node.uid.as_str())
}

fn act(world: &mut Inner, kind: &StepKind, run: &str) -> Result<Ack, ActError> {
    match kind {
        StepKind::StartProbe { on_pools, .. } => {
            agents::start_pods(world, &[PROBE], on_pools);
            world.probing = true;
            // A verdict of an earlier probe is not this one's.
            world.certificate = None;
            Ok(ack("the probe was created"))
        }
        StepKind::StartAgents { on_pools, .. } => {
            agents::start_pods(world, &[AGENT, WATCHDOG], on_pools);
            Ok(ack("agent and watchdog were created"))
        }
        StepKind::StopAgents { .. } => agents::stop(world),
        StepKind::Cordon { nodes } => nodes::cordon(world, nodes),
        StepKind::Uncordon { nodes } => nodes::uncordon(world, nodes),
        StepKind::GrowPool {
            pool,
            like,
            zone,
            count,
            version,
        } => pools::grow(world, pool, like, zone.as_str(), *count, *version),
        StepKind::AddSeat {
            stateful_set,
            replicas,
            ..
        } => seat::add(world, stateful_set, *replicas, run),
        StepKind::MoveReplica { pod, from, .. } => nodes::move_replica(world, pod, from),
        StepKind::HandOver { .. } => Err(ActError::Fatal {
            code: "FW0301".to_owned(),
            cause: "a hand-over is not one request".to_owned(),
        }),
        StepKind::DrainLeaders { .. } | StepKind::ReturnLeaders { .. } => Err(unmodelled()),
        StepKind::RetireNode { node, pool } => nodes::retire(world, node, pool),
        StepKind::ShrinkPool { pool, count, keep } => pools::shrink(world, pool, *count, keep),
        StepKind::RemoveSeat {
            stateful_set,
            replicas,
            claims,
            ..
        } => seat::remove_seat(world, stateful_set, *replicas, claims, run),
        StepKind::DeletePool { pool } => pools::delete(world, pool),
        StepKind::Certify { .. } => agents::certify(world),
    }
}

#[async_trait]
impl Actuator for Outside {
    async fn observe(&self, step: &Step) -> Observed {
        self.ask(|world| observe(world, &step.kind, self.run.as_str()))
            .await
    }

    async fn check(&self, guard: &Guard) -> Result<(), WaitingOn> {
        self.ask(|world| guards::check(world, guard)).await
    }

    async fn act(&self, step: &Step, key: &OperationKey) -> Result<Ack, ActError> {
        match &step.kind {
            StepKind::HandOver {
                from, to, terms, ..
            } => hand_over::act(self, from, to, modelled(terms)?, key).await,
            kind => self.ask(|world| act(world, kind, self.run.as_str())).await,
        }
    }

    async fn settle(&self, step: &Step, key: &OperationKey) -> Result<Evidence, ActError> {
        match &step.kind {
            StepKind::HandOver {
                from, to, terms, ..
            } => hand_over::settle(self, from, to, modelled(terms)?, key).await,
            _ => Ok(Evidence::one("nothing to settle: the act is one request")),
        }
    }
}

/// Terms of the servers that are modelled.
fn modelled(terms: &HandOverTerms) -> Result<&PostgresTerms, ActError> {
    let servers = terms.postgres().filter(|terms| terms.patroni.is_none());
    servers.ok_or_else(unmodelled)
}

fn unmodelled() -> ActError {
    ActError::Fatal {
        code: "FW0301".to_owned(),
        cause:
            "rehearsals have modelled servers of PostgreSQL only, without Patroni; this step is of another system"
                .to_owned(),
    }
}
