//! Agent, watchdog and judge as pods.

use ferriswheel_engine::actuator::{Ack, ActError, Observed};
use ferriswheel_model::POOL_LABEL;
use ferriswheel_model::objects::Labels;
use ferriswheel_plan::ids::PoolName;

use super::{AGENT, PROBE, WATCHDOG, ack, done, primary, waiting};
use crate::world::Inner;

pub(super) fn running(world: &Inner, pods: &[&str], also: bool) -> Observed {
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

pub(super) fn stopped(world: &Inner) -> Observed {
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

pub(super) fn start_pods(world: &mut Inner, pods: &[&str], on_pools: &[PoolName]) {
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

pub(super) fn stop(world: &mut Inner) -> Result<Ack, ActError> {
    for pod in [AGENT, WATCHDOG] {
        world.cluster.delete_pod(pod);
    }
    Ok(ack("agent and watchdog were removed"))
}

pub(super) fn certify(world: &mut Inner) -> Result<Ack, ActError> {
    world.probing = false;
    let clients = &world.postgres.clients;
    let verdict = format!(
        "acked_lost {}, errors {}, primary moves {}",
        u32::from(
            primary(world)
                .is_none_or(|leader| { !world.postgres.holds_every_acknowledged_write(&leader) })
        ),
        clients.errors.len(),
        world.postgres.promotions.len()
    );
    world.certificate = Some(verdict.clone());
    world.cluster.delete_pod(PROBE);
    Ok(ack(verdict))
}
