//! The agent and the watchdog of a hand-over: start, stop.

use std::time::Duration;

use ferriswheel_engine::actuator::{Ack, ActError, Observed};
use ferriswheel_plan::ids::{DatabaseName, PoolName};
use ferriswheel_plan::policy::{PostgresSpec, Tls};
use ferriswheel_plan::step::StepKind;

use super::{ack, class, class_request, done, waiting};
use crate::agent::PORT;
use crate::agent::client::AgentClient;
use crate::kubernetes::pods::{CREDENTIALS, STATE, Task};
use crate::world::{AskError, World};

/// Names of the two pods.
pub(super) const TASKS: [&str; 2] = ["agent", "watchdog"];

pub(super) async fn observe_start(
    world: &World,
    database: &DatabaseName,
) -> Result<Observed, AskError> {
    let home = world.home(&world.postgres(database)?.stateful_set);
    for task in TASKS {
        let Some(pod) = home.find(&world.outside.kube, task).await? else {
            return Ok(Observed::Ready);
        };
        if !crate::kubernetes::read::is_ready(&pod) {
            return Ok(Observed::InFlight(waiting(
                home.pod(task),
                "the pod is not Ready",
                "its process answers",
            )));
        }
    }
    for task in TASKS {
        if let Some(agent) = world.agent(&home, task).await? {
            agent.record().await?;
        }
    }
    Ok(done("agent and watchdog answer, on two nodes"))
}

pub(super) async fn start(
    world: &World,
    database: &DatabaseName,
    pools: &[PoolName],
) -> Result<Ack, ActError> {
    create(world, database, pools).await.map_err(class)?;
    Ok(ack("agent and watchdog were created"))
}

async fn create(
    world: &World,
    database: &DatabaseName,
    pools: &[PoolName],
) -> Result<(), AskError> {
    let spec = world.postgres(database)?;
    let home = world.home(&spec.stateful_set);
    home.token(&world.outside.kube).await?;
    for task in TASKS {
        let hold = world.outside.agent_hold.as_deref();
        home.ensure(&world.outside.kube, &pod_task(task, spec, hold), pools)
            .await?;
    }
    Ok(())
}

/// Agent and watchdog, made anew where a pod is gone: its machine may have been lost since the
/// step that started it.
///
/// # Errors
/// One of them is not ready: [`ActError::Retry`], as it is asked again until it is.
pub(super) async fn ensure(
    world: &World,
    database: &DatabaseName,
) -> Result<(AgentClient, AgentClient), ActError> {
    let pools = world
        .plan
        .body
        .steps
        .iter()
        .find_map(|step| match &step.kind {
            StepKind::StartAgents {
                database: of,
                on_pools,
            } if of == database => Some(on_pools.clone()),
            _ => None,
        })
        .unwrap_or_default();
    create(world, database, &pools).await.map_err(class)?;
    let home = world.home(&world.postgres(database).map_err(class)?.stateful_set);
    let ready = async |task: &'static str| {
        world
            .agent(&home, task)
            .await
            .map_err(class)?
            .ok_or_else(|| ActError::Retry {
                after: Duration::from_millis(500),
                cause: format!("the {task} is not ready"),
            })
    };
    Ok((ready(TASKS[0]).await?, ready(TASKS[1]).await?))
}

fn pod_task(name: &'static str, spec: &PostgresSpec, hold: Option<&str>) -> Task {
    let pooler_tls = spec.pooler_tls.as_ref().or(spec.tls.as_ref());
    let admin = spec.pooler_admin.as_ref().unwrap_or(&spec.superuser);
    let login = spec.patroni.as_ref().and_then(|asked| asked.login.as_ref());
    let hold = hold.filter(|_| name == TASKS[0]);
    Task {
        name,
        args: [
            "agent".to_owned(),
            format!("--listen=0.0.0.0:{PORT}"),
            format!("--token-file={CREDENTIALS}/run/token"),
            format!("--superuser={CREDENTIALS}/superuser"),
            format!("--pooler-admin={CREDENTIALS}/pooler-admin"),
            format!("--state-dir={STATE}"),
        ]
        .into_iter()
        .chain(secured("", spec.tls.as_ref()))
        .chain(secured("pooler-", pooler_tls))
        .chain(login.map(|_| format!("--patroni-login={CREDENTIALS}/patroni-login")))
        .chain(hold.map(|hold| format!("--hold={hold}")))
        .collect(),
        port: PORT,
        ready_path: "/healthz",
        secrets: vec![
            ("superuser".to_owned(), spec.superuser.name.clone()),
            ("pooler-admin".to_owned(), admin.name.clone()),
        ]
        .into_iter()
        .chain(authority("", spec.tls.as_ref()))
        .chain(authority("pooler-", pooler_tls))
        .chain(login.map(|login| ("patroni-login".to_owned(), login.name.clone())))
        .collect(),
    }
}

/// How the agents are told of TLS with servers, or with poolers.
fn secured(whose: &str, tls: Option<&Tls>) -> Vec<String> {
    let Some(tls) = tls else { return Vec::new() };
    let mut args = vec![format!("--{whose}tls={}", tls.mode)];
    if let Some(name) = &tls.server_name {
        // Kubernetes puts variables in place of $(NAME) in arguments.
        args.push(format!("--{whose}tls-name={}", name.replace("$(", "$$(")));
    }
    if tls.ca.is_some() {
        args.push(format!("--{whose}tls-ca={CREDENTIALS}/{whose}ca/ca.crt"));
    }
    args
}

/// The Secret of the authority, by the directory that it is mounted in.
fn authority(whose: &str, tls: Option<&Tls>) -> Option<(String, String)> {
    Some((format!("{whose}ca"), tls?.ca.as_ref()?.name.clone()))
}

pub(super) async fn observe_stop(
    world: &World,
    database: &DatabaseName,
) -> Result<Observed, AskError> {
    let home = world.home(&world.postgres(database)?.stateful_set);
    for task in TASKS {
        if let Some(pod) = home.find(&world.outside.kube, task).await? {
            return Ok(if pod.metadata.deletion_timestamp.is_some() {
                Observed::InFlight(waiting(home.pod(task), "it is stopping", "it is gone"))
            } else {
                Observed::Ready
            });
        }
    }
    Ok(done("agent and watchdog are gone"))
}

pub(super) async fn stop(world: &World, database: &DatabaseName) -> Result<Ack, ActError> {
    let home = world.home(&world.postgres(database).map_err(class)?.stateful_set);
    home.remove(&world.outside.kube, &TASKS)
        .await
        .map_err(class_request)?;
    Ok(ack("agent and watchdog were removed"))
}
