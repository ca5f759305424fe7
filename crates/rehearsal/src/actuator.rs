//! The engine's actuator over the modelled world: observe and act for each kind of step.
//!
//! The decisions are those of the real steps: done by what is seen, acts that do no harm when
//! repeated, refusals with the same classes.

use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::postgres::window::streams_from;
use ferriswheel_engine::actuator::{
    Ack, ActError, Actuator, Evidence, Observed, OperationKey, WaitingOn,
};
use ferriswheel_model::objects::{Labels, Owner};
use ferriswheel_model::{Eviction, POOL_LABEL, PoolError};
use ferriswheel_plan::ids::{ObjectRef, PlanId, PoolName};
use ferriswheel_plan::step::{Guard, NodeIdentity, Step, StepKind};
use ferriswheel_plan::version::KubernetesVersion;

use crate::agents::AgentFaults;
use crate::hand_over;
use crate::postgres::server::status;
use crate::world::{Inner, NAMESPACE, World, short};

/// A request to the API server or to the resource manager, there and back.
const REQUEST: Duration = Duration::from_millis(5);

/// Tasks of a hand-over.
pub(crate) const AGENT: &str = "db/ferriswheel-agent";
pub(crate) const WATCHDOG: &str = "db/ferriswheel-watchdog";
const PROBE: &str = "db/ferriswheel-probe";

/// Marks a claim as the run's own.
const RUN_LABEL: &str = "ferriswheel.dev/run";

/// The outside world of one driver. Dropping it is the end of the driver, not of the world.
#[derive(Clone)]
pub struct Outside {
    /// The world.
    pub world: World,
    /// The run, for its marks.
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

impl From<PoolRefusal> for ActError {
    fn from(PoolRefusal(error): PoolRefusal) -> Self {
        match error {
            PoolError::Busy { .. } => Self::Retry {
                after: Duration::from_secs(1),
                cause: error.to_string(),
            },
            PoolError::LastSystemPool(_) => Self::AskHuman {
                code: "FW0306".to_owned(),
                cause: error.to_string(),
            },
            _ => Self::Replan {
                expected: "the pools that the plan names".to_owned(),
                found: error.to_string(),
            },
        }
    }
}

struct PoolRefusal(PoolError);

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

/// Pods that would have to be evicted from a node.
fn evictable(world: &Inner, node: &str) -> Vec<(String, String, bool)> {
    world
        .cluster
        .pods()
        .iter()
        .filter(|(_, pod)| pod.node.as_deref() == Some(node))
        .map(|(name, pod)| (name.clone(), pod.uid.clone(), pod.terminating))
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
        StepKind::StartProbe { .. } => running(world, &[PROBE], world.probing),
        StepKind::StartAgents { .. } => running(world, &[AGENT, WATCHDOG], true),
        StepKind::StopAgents { .. } => {
            let left = [AGENT, WATCHDOG]
                .iter()
                .find_map(|pod| Some((pod, world.cluster.pods().get(*pod)?)));
            match left {
                None => done("agent and watchdog are gone"),
                Some((pod, found)) if found.terminating => {
                    Observed::InFlight(waiting(pod, "it is stopping", "it is gone"))
                }
                Some(_) => Observed::Ready,
            }
        }
        StepKind::Cordon { nodes } => {
            let open = nodes.iter().any(|node| {
                same_machine(world, node)
                    && world
                        .cluster
                        .nodes()
                        .get(node.name.as_str())
                        .is_some_and(|found| !found.unschedulable)
            });
            if open {
                Observed::Ready
            } else {
                done(format!("{} nodes take no new pods", nodes.len()))
            }
        }
        StepKind::GrowPool { pool, count, .. } => grown(world, pool, *count),
        StepKind::AddSeat {
            stateful_set,
            replicas,
            onto_pool,
            ..
        } => {
            let wanted = world.cluster.sets().get(&stateful_set.to_string());
            if wanted.is_none_or(|set| set.replicas < *replicas) {
                return Observed::Ready;
            }
            let seat = stateful_set.sibling(format!("{}-{}", stateful_set.name, replicas - 1));
            if !claim_is_marked(world, &seat, plan) {
                return Observed::Ready;
            }
            landed(world, &seat, onto_pool)
        }
        StepKind::MoveReplica {
            pod,
            from,
            onto_pool,
            ..
        } => match world.cluster.pods().get(&pod.to_string()) {
            None => Observed::InFlight(waiting(
                pod,
                "the pod does not exist at the moment",
                "the stateful set makes it again",
            )),
            Some(found) if found.terminating => Observed::InFlight(waiting(
                pod,
                "it is leaving",
                "its server has stopped and its disk is free",
            )),
            Some(found) if found.node.as_deref() == Some(from.name.as_str()) => Observed::Ready,
            Some(_) => landed(world, pod, onto_pool),
        },
        StepKind::HandOver { from, to, .. } => hand_over::observe(world, from, to),
        StepKind::RetireNode { node, .. } => match world.cluster.nodes().get(node.name.as_str()) {
            Some(found) if found.uid == node.uid.as_str() && found.leaving => {
                Observed::InFlight(waiting(
                    &node.name,
                    "its machine is being deleted",
                    "the Node is gone",
                ))
            }
            Some(found) if found.uid == node.uid.as_str() => Observed::Ready,
            _ => done(format!("{} is gone", node.name)),
        },
        StepKind::ShrinkPool { pool, count, .. } => {
            let machines = world
                .cluster
                .nodes()
                .values()
                .filter(|node| node.pool == pool.as_str())
                .count();
            let wanted = world
                .cluster
                .pools()
                .get(pool.as_str())
                .map_or(0, |pool| pool.count);
            if wanted > *count {
                Observed::Ready
            } else if machines > usize::try_from(*count).unwrap_or(usize::MAX) {
                Observed::InFlight(waiting(
                    pool,
                    format!("{machines} machines are there"),
                    "the surplus is gone",
                ))
            } else {
                done(format!("pool {pool} has {machines} machines"))
            }
        }
        StepKind::RemoveSeat {
            stateful_set,
            replicas,
            ..
        } => removed(world, stateful_set, *replicas),
        StepKind::DeletePool { pool } => match world.cluster.pools().get(pool.as_str()) {
            None => done(format!("pool {pool} is gone")),
            Some(found) if found.state == "Deleting" => Observed::InFlight(waiting(
                pool,
                "provisioningState is Deleting",
                "the operation ends",
            )),
            Some(_) => Observed::Ready,
        },
        StepKind::Certify { .. } => match &world.certificate {
            Some(verdict) => done(verdict.clone()),
            None => Observed::Ready,
        },
    }
}

fn running(world: &Inner, pods: &[&str], also: bool) -> Observed {
    for pod in pods {
        match world.cluster.pods().get(*pod) {
            None => return Observed::Ready,
            Some(found) if !found.ready => {
                return Observed::InFlight(waiting(
                    pod,
                    "the pod is not Ready",
                    "its process answers",
                ));
            }
            Some(_) => {}
        }
    }
    if also {
        done(format!("{} answer", pods.join(", ")))
    } else {
        Observed::Ready
    }
}

fn grown(world: &Inner, pool: &PoolName, count: u32) -> Observed {
    let Some(found) = world.cluster.pools().get(pool.as_str()) else {
        return Observed::Ready;
    };
    if found.count < count {
        return Observed::Ready;
    }
    if found.state != "Succeeded" {
        return Observed::InFlight(waiting(
            pool,
            format!("provisioningState is {}", found.state),
            "the operation ends",
        ));
    }
    let ready: Vec<String> = world
        .cluster
        .nodes()
        .iter()
        .filter(|(_, node)| node.pool == pool.as_str() && node.ready)
        .map(|(name, _)| name.clone())
        .collect();
    Observed::Done(Evidence(ready))
}

fn removed(world: &Inner, set: &ObjectRef, replicas: u32) -> Observed {
    let wanted = world.cluster.sets().get(&set.to_string());
    if wanted.is_some_and(|set| set.replicas > replicas) {
        return Observed::Ready;
    }
    let seat = set.sibling(format!("{}-{replicas}", set.name));
    if world.cluster.pods().contains_key(&seat.to_string()) {
        return Observed::InFlight(waiting(&seat, "its server is stopping", "the pod is gone"));
    }
    if world.cluster.claims().contains_key(&claim_name(&seat)) || slot_left(world, &seat) {
        return Observed::Ready;
    }
    done(format!("{seat}, its claim and its slot are gone"))
}

fn slot_left(world: &Inner, seat: &ObjectRef) -> bool {
    let slot = slot_name(&seat.name);
    primary(world)
        .and_then(|leader| {
            world
                .postgres
                .disk_of(&leader)
                .map(|d| d.slots.contains(&slot))
        })
        .unwrap_or(false)
}

/// The slot of a member: its pod's name in the letters that slot names may have.
pub(crate) fn slot_name(pod: &str) -> String {
    pod.replace('-', "_")
}

fn claim_name(pod: &ObjectRef) -> String {
    format!("{}/data-{}", pod.namespace, pod.name)
}

fn claim_is_marked(world: &Inner, pod: &ObjectRef, plan: &str) -> bool {
    world
        .cluster
        .claims()
        .get(&claim_name(pod))
        .is_some_and(|claim| claim.labels.get(RUN_LABEL).map(String::as_str) == Some(plan))
}

fn same_machine(world: &Inner, node: &NodeIdentity) -> bool {
    world
        .cluster
        .nodes()
        .get(node.name.as_str())
        .is_some_and(|found| found.uid == node.uid.as_str())
}

/// The run that a key belongs to: its first part.
fn run_of(key: &OperationKey) -> &str {
    key.0.split('/').next().unwrap_or_default()
}

fn act(world: &mut Inner, kind: &StepKind, key: &OperationKey) -> Result<Ack, ActError> {
    match kind {
        StepKind::StartProbe { on_pools, .. } => {
            start_pods(world, &[PROBE], on_pools);
            world.probing = true;
            Ok(ack("the probe was created"))
        }
        StepKind::StartAgents { on_pools, .. } => {
            start_pods(world, &[AGENT, WATCHDOG], on_pools);
            Ok(ack("agent and watchdog were created"))
        }
        StepKind::StopAgents { .. } => {
            for pod in [AGENT, WATCHDOG] {
                world.cluster.delete_pod(pod);
            }
            Ok(ack("agent and watchdog were removed"))
        }
        StepKind::Cordon { nodes } => {
            for node in nodes
                .iter()
                .filter(|node| same_machine(world, node))
                .collect::<Vec<_>>()
            {
                world.cluster.cordon(node.name.as_str(), true);
            }
            Ok(ack("cordoned"))
        }
        StepKind::GrowPool {
            pool,
            like,
            zone,
            count,
            version,
        } => grow(world, pool, like, zone.as_str(), *count, *version),
        StepKind::AddSeat {
            stateful_set,
            replicas,
            ..
        } => {
            let set = stateful_set.to_string();
            if world
                .cluster
                .sets()
                .get(&set)
                .is_some_and(|set| set.replicas < *replicas)
            {
                world.count(format!("scale up {set}"));
                world.cluster.scale(&set, *replicas);
            }
            let seat = stateful_set.sibling(format!("{}-{}", stateful_set.name, replicas - 1));
            if !world
                .cluster
                .label_claim(&claim_name(&seat), RUN_LABEL, run_of(key))
            {
                return Err(again("the claim of the new member is not there yet"));
            }
            Ok(ack(format!("{set} has {replicas} replicas")))
        }
        StepKind::MoveReplica { pod, from, .. } => move_replica(world, pod, from),
        StepKind::HandOver { .. } => Err(ActError::Fatal {
            code: "FW0301".to_owned(),
            cause: "a hand-over is not one request".to_owned(),
        }),
        StepKind::RetireNode { node, pool } => {
            if !same_machine(world, node) {
                return Ok(ack("the machine is gone already"));
            }
            world.cluster.cordon(node.name.as_str(), true);
            empty(world, node.name.as_str())?;
            delete_machine(world, pool.as_str(), node.name.as_str())
        }
        StepKind::ShrinkPool { pool, count, keep } => shrink(world, pool, *count, keep),
        StepKind::RemoveSeat {
            stateful_set,
            replicas,
            ..
        } => remove_seat(world, stateful_set, *replicas, run_of(key)),
        StepKind::DeletePool { pool } => {
            world
                .cluster
                .delete_pool(pool.as_str())
                .map_err(PoolRefusal)?;
            Ok(ack(format!("pool {pool} was deleted")))
        }
        StepKind::Certify { .. } => {
            world.probing = false;
            let clients = &world.postgres.clients;
            let verdict = format!(
                "acked_lost {}, errors {}, primary moves {}",
                u32::from(primary(world).is_none_or(|leader| {
                    !world.postgres.holds_every_acknowledged_write(&leader)
                })),
                clients.errors.len(),
                world.postgres.promotions.len()
            );
            world.certificate = Some(verdict.clone());
            world.cluster.delete_pod(PROBE);
            Ok(ack(verdict))
        }
    }
}

fn start_pods(world: &mut Inner, pods: &[&str], on_pools: &[PoolName]) {
    let mut selector = Labels::new();
    if let [one] = on_pools {
        selector.insert(POOL_LABEL.to_owned(), one.to_string());
    }
    for pod in pods {
        world
            .cluster
            .create_pod(pod, Labels::new(), selector.clone());
    }
}

fn grow(
    world: &mut Inner,
    pool: &PoolName,
    like: &PoolName,
    zone: &str,
    count: u32,
    version: KubernetesVersion,
) -> Result<Ack, ActError> {
    world.count(format!("grow {pool} to {count}"));
    if world.cluster.pools().contains_key(pool.as_str()) {
        world
            .cluster
            .grow_pool(pool.as_str(), count)
            .map_err(PoolRefusal)?;
        return Ok(ack(format!("pool {pool} has {count} machines")));
    }
    let Some(model) = world.cluster.pools().get(like.as_str()).cloned() else {
        return Err(ActError::Replan {
            expected: format!("pool {like}, whose settings {pool} takes over"),
            found: "no such pool".to_owned(),
        });
    };
    world
        .cluster
        .create_pool(
            pool.as_str(),
            model.system,
            &[zone],
            count,
            &version.to_string(),
            model.labels,
        )
        .map_err(PoolRefusal)?;
    Ok(ack(format!("pool {pool} was created in {zone}")))
}

fn move_replica(world: &mut Inner, pod: &ObjectRef, from: &NodeIdentity) -> Result<Ack, ActError> {
    if primary(world).as_deref() == Some(&pod.name) {
        return Err(ActError::Replan {
            expected: format!("{pod} as a replica"),
            found: "it is the primary; moving it would be an unplanned failover".to_owned(),
        });
    }
    let name = pod.to_string();
    let Some(found) = world.cluster.pods().get(&name) else {
        return Ok(ack("the pod is already being made again"));
    };
    if found.node.as_deref() != Some(from.name.as_str()) {
        return Ok(ack("the pod has left the node already"));
    }
    let uid = found.uid.clone();
    evict(world, &name, &uid)?;
    Ok(ack(format!("{pod} was evicted from {}", from.name)))
}

fn evict(world: &mut Inner, pod: &str, uid: &str) -> Result<(), ActError> {
    world.count(format!("evict {pod}"));
    match world.cluster.evict(pod, uid) {
        Eviction::Accepted | Eviction::Gone => Ok(()),
        Eviction::Blocked(why) => Err(ActError::Wait(waiting(
            pod,
            why,
            "its disruption budget allows one more",
        ))),
        Eviction::Misconfigured(why) => Err(ActError::AskHuman {
            code: "FW0302".to_owned(),
            cause: format!("{pod}: {why}"),
        }),
    }
}

fn empty(world: &mut Inner, node: &str) -> Result<(), ActError> {
    let pods = evictable(world, node);
    for (pod, uid, terminating) in &pods {
        if !terminating {
            evict(world, pod, uid)?;
        }
    }
    if pods.is_empty() {
        Ok(())
    } else {
        Err(again(format!("{} pods are leaving {node}", pods.len())))
    }
}

fn delete_machine(world: &mut Inner, pool: &str, node: &str) -> Result<Ack, ActError> {
    world
        .cluster
        .delete_machine(pool, node)
        .map_err(PoolRefusal)?;
    world.count(format!("delete machine {node}"));
    Ok(ack(format!("{node} was empty and its machine was deleted")))
}

fn shrink(
    world: &mut Inner,
    pool: &PoolName,
    count: u32,
    keep: &[ObjectRef],
) -> Result<Ack, ActError> {
    let occupied: Vec<String> = keep
        .iter()
        .flat_map(|set| members(world, set))
        .filter_map(|pod| pool_of(world, &pod).map(|(node, _)| node))
        .collect();
    let nodes: Vec<(String, bool)> = world
        .cluster
        .nodes()
        .iter()
        .filter(|(_, node)| node.pool == pool.as_str())
        .map(|(name, node)| (name.clone(), node.leaving))
        .collect();
    let staying = nodes.iter().filter(|(_, leaving)| !leaving).count();
    let surplus = staying.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
    let free: Vec<String> = nodes
        .into_iter()
        .filter(|(node, leaving)| !leaving && !occupied.contains(node))
        .map(|(node, _)| node)
        .take(surplus)
        .collect();
    if free.len() < surplus {
        return Err(ActError::Wait(waiting(
            pool,
            format!(
                "{surplus} machines too many, {} without a member",
                free.len()
            ),
            "a machine without a member is left",
        )));
    }
    for node in free {
        world.cluster.cordon(&node, true);
        empty(world, &node)?;
        delete_machine(world, pool.as_str(), &node)?;
    }
    Ok(ack(format!("{surplus} machines too many")))
}

fn remove_seat(
    world: &mut Inner,
    set: &ObjectRef,
    replicas: u32,
    run: &str,
) -> Result<Ack, ActError> {
    let seat = set.sibling(format!("{}-{replicas}", set.name));
    let Some(leader) = primary(world) else {
        return Err(ActError::Wait(waiting(
            set,
            "no single primary answers",
            "exactly one primary answers",
        )));
    };
    if leader == seat.name {
        return Err(ActError::Replan {
            expected: format!("{seat} as a replica"),
            found: "it is the primary".to_owned(),
        });
    }
    let name = set.to_string();
    if world
        .cluster
        .sets()
        .get(&name)
        .is_some_and(|set| set.replicas > replicas)
    {
        for pod in members(world, set).iter().filter(|pod| **pod != seat) {
            whole(world, pod).map_err(ActError::Wait)?;
        }
        world.count(format!("scale down {name}"));
        world.cluster.scale(&name, replicas);
    }
    if world.cluster.pods().contains_key(&seat.to_string()) {
        return Err(again(format!("{seat} is stopping")));
    }
    let claim = claim_name(&seat);
    if let Some(found) = world.cluster.claims().get(&claim) {
        if found.labels.get(RUN_LABEL).map(String::as_str) != Some(run) {
            return Err(ActError::AskHuman {
                code: "FW0303".to_owned(),
                cause: format!("claim {claim} does not carry the mark of this run"),
            });
        }
        let uid = found.uid.clone();
        if !world.cluster.delete_claim(&claim, &uid) {
            return Err(again(format!("claim {claim} is in use")));
        }
    }
    let slot = slot_name(&seat.name);
    if let Some(disk) = world.postgres.disk_of_mut(&leader) {
        disk.slots.remove(&slot);
    }
    Ok(ack(format!("{seat} was removed with its claim and slot")))
}

/// A container that ran this long starts without the kubelet's delay.
const BACKOFF_FORGOTTEN: Duration = Duration::from_secs(600);

fn check(world: &Inner, guard: &Guard) -> Result<(), WaitingOn> {
    let hold = |holds: bool, object: String, reason: String, clears: &str| {
        if holds {
            Ok(())
        } else {
            Err(waiting(object, reason, clears))
        }
    };
    match guard {
        Guard::AllStreaming {
            members: wanted, ..
        } => {
            let states: Vec<Result<String, WaitingOn>> = world
                .cluster
                .sets()
                .keys()
                .filter_map(|set| set.parse::<ObjectRef>().ok())
                .flat_map(|set| members(world, &set))
                .map(|pod| whole(world, &pod))
                .collect();
            let good = states.iter().filter(|state| state.is_ok()).count();
            let why = states
                .into_iter()
                .find_map(Result::err)
                .map_or_else(String::new, |why| format!(": {why}"));
            hold(
                good >= usize::try_from(*wanted).unwrap_or(usize::MAX),
                "the set".to_owned(),
                format!("{good} of {wanted} members are whole{why}"),
                "all are whole",
            )
        }
        Guard::PrimaryIs { pod, .. } => hold(
            primary(world).as_deref() == Some(&pod.name),
            pod.to_string(),
            "it is not the primary".to_owned(),
            "a new plan is made",
        ),
        Guard::NotPrimary { pod, .. } => hold(
            primary(world).is_some_and(|leader| leader != pod.name),
            pod.to_string(),
            "it is the primary, or nobody is".to_owned(),
            "another member is",
        ),
        Guard::OnVersion { pod, version } => hold(
            pool_of(world, pod)
                .and_then(|(node, _)| world.cluster.nodes().get(&node))
                .is_some_and(|node| node.version == version.to_string()),
            pod.to_string(),
            format!("its node is not at {version}"),
            "it has moved to an upgraded node",
        ),
        Guard::EvictionAllowed { pod } => hold(
            world
                .cluster
                .disruptions_allowed(&pod.to_string())
                .is_none_or(|allowed| allowed > 0),
            pod.to_string(),
            "its budget allows none".to_owned(),
            "all members are Ready",
        ),
        Guard::RestartUndelayed { pod } => {
            let found = world.cluster.pods().get(&pod.to_string());
            let fresh = found.is_some_and(|found| {
                found.restarts > 0
                    && world
                        .now()
                        .saturating_sub(found.started_at.unwrap_or_default())
                        < BACKOFF_FORGOTTEN
            });
            hold(
                !fresh,
                pod.to_string(),
                "it was started again recently".to_owned(),
                "it has run for 10 minutes",
            )
        }
        Guard::SameMachine { node } => hold(
            same_machine(world, node) || !world.cluster.nodes().contains_key(node.name.as_str()),
            node.name.to_string(),
            "another machine has this name now".to_owned(),
            "a new plan is made",
        ),
        Guard::SeatFree { pool, stateful_set } => {
            let taken: Vec<String> = members(world, stateful_set)
                .iter()
                .filter_map(|pod| pool_of(world, pod).map(|(node, _)| node))
                .collect();
            let free = world.cluster.nodes().iter().any(|(name, node)| {
                node.pool == pool.as_str()
                    && node.ready
                    && !node.unschedulable
                    && !taken.contains(name)
            });
            hold(
                free,
                pool.to_string(),
                format!("no Ready, schedulable node is free for a member of {stateful_set}"),
                "a node of the pool is Ready and carries no member",
            )
        }
        Guard::NoOperation { pool } => {
            let state = world
                .cluster
                .pools()
                .get(pool.as_str())
                .map_or("Succeeded", |pool| pool.state.as_str());
            hold(
                state == "Succeeded",
                pool.to_string(),
                format!("provisioningState is {state}"),
                "the operation ends",
            )
        }
        Guard::PoolEmpty { pool } => {
            let left: usize = world
                .cluster
                .nodes()
                .iter()
                .filter(|(_, node)| node.pool == pool.as_str())
                .map(|(name, _)| evictable(world, name).len())
                .sum();
            hold(
                left == 0,
                pool.to_string(),
                format!("{left} pods are on it"),
                "no pod but daemons is left",
            )
        }
        Guard::OtherSystemPool { pool } => hold(
            world
                .cluster
                .pools()
                .iter()
                .any(|(name, found)| name != pool.as_str() && found.system),
            pool.to_string(),
            "it is the last System pool".to_owned(),
            "another System pool exists",
        ),
    }
}

#[async_trait]
impl Actuator for Outside {
    async fn observe(&self, step: &Step) -> Observed {
        self.ask(|world| observe(world, &step.kind, self.run.as_str()))
            .await
    }

    async fn check(&self, guard: &Guard) -> Result<(), WaitingOn> {
        self.ask(|world| check(world, guard)).await
    }

    async fn act(&self, step: &Step, key: &OperationKey) -> Result<Ack, ActError> {
        match &step.kind {
            StepKind::HandOver {
                from, to, terms, ..
            } => hand_over::act(self, from, to, terms, key).await,
            kind => self.ask(|world| act(world, kind, key)).await,
        }
    }

    async fn settle(&self, step: &Step, key: &OperationKey) -> Result<Evidence, ActError> {
        match &step.kind {
            StepKind::HandOver {
                from, to, terms, ..
            } => hand_over::settle(self, from, to, terms, key).await,
            _ => Ok(Evidence::one("nothing to settle: the act is one request")),
        }
    }
}
