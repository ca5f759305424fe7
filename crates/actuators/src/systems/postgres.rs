//! PostgreSQL: the servers' status, the agent's window, and what the probe connects to.

mod collect;
mod patroni;

use std::collections::BTreeMap;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey, WaitingOn};
use ferriswheel_plan::databases::postgres::WHOLE_LAG;
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::policy::{PostgresSpec, TlsMode};
use ferriswheel_plan::step::{HandOverTerms, Lag, PostgresTerms};
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

pub(crate) use collect::collect;

use super::{Stand, Standing, System};
use crate::databases::postgres::server::{Server, Status};
use crate::kubernetes::request;
use crate::steps::{hand_over, probe, seat, waiting, wrong_terms};
use crate::world::{AskError, MemberState, World, user_name};

/// A PostgreSQL set of a plan.
pub(crate) struct Postgres<'w> {
    world: &'w World,
    name: &'w DatabaseName,
    spec: &'w PostgresSpec,
}

impl<'w> Postgres<'w> {
    pub(super) fn new(world: &'w World, name: &'w DatabaseName, spec: &'w PostgresSpec) -> Self {
        Self { world, name, spec }
    }
}

fn terms_of(terms: &HandOverTerms) -> Result<&PostgresTerms, ActError> {
    terms.postgres().ok_or_else(|| wrong_terms("PostgreSQL"))
}

#[async_trait]
impl System for Postgres<'_> {
    async fn standing(&self, max_lag: Option<Lag>) -> Result<Standing, AskError> {
        let states = self.world.states(self.name).await?;
        Ok(standing(&states, max_lag))
    }

    fn whole_lag(&self) -> Lag {
        WHOLE_LAG
    }

    async fn observe_hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
    ) -> Result<Observed, AskError> {
        hand_over::observe(self.world, self.name, from, to).await
    }

    async fn hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
        key: &OperationKey,
    ) -> Result<Ack, ActError> {
        hand_over::act(self.world, self.name, from, to, terms_of(terms)?, key).await
    }

    async fn settle(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
        key: &OperationKey,
    ) -> Result<Evidence, ActError> {
        hand_over::settle(self.world, self.name, from, to, terms_of(terms)?, key).await
    }

    /// A slot that is left behind holds WAL for ever.
    async fn forget(&self, leader: &ObjectRef, gone: &ObjectRef) -> Result<(), AskError> {
        if patroni::is_in_charge(self.world, self.name) {
            // It drops the slot of a member that is gone by itself, and makes one anew that it still knows.
            return Ok(());
        }
        let superuser = self.world.superuser(self.spec).await?;
        for member in self.world.members(&self.spec.stateful_set).await? {
            if member.pod == *leader {
                let server = self.world.server(self.name, self.spec, &member, &superuser);
                server.reconnect(crate::world::LOOK).await?;
                server.drop_slots(&[seat::slot_name(&gone.name)]).await?;
            }
        }
        Ok(())
    }

    fn application(&self) -> Option<&ObjectRef> {
        Some(&self.spec.application)
    }

    async fn probe_config(&self) -> Result<BTreeMap<String, Value>, AskError> {
        let spec = self.spec;
        let user = user_name(&self.world.outside.kube, &spec.application).await?;
        let address = client_address(self.world, spec).await?;
        let dsn = format!(
            "{address} user={user} dbname={} sslmode={}",
            spec.database,
            ssl_mode(spec)
        );
        Ok(BTreeMap::from([("dsn".to_owned(), json!(dsn))]))
    }

    fn probe_file(&self) -> Value {
        json!({})
    }

    /// Behind a pooler nobody may see an error; without one errors are counted, and judged only
    /// where the spec sets a limit.
    fn errors_allowed(&self) -> Option<u64> {
        (!self.spec.poolers.is_empty()).then_some(0)
    }

    fn port(&self) -> u16 {
        self.spec.port
    }
}

fn standing(states: &[MemberState], max_lag: Option<Lag>) -> Standing {
    let stands = states
        .iter()
        .map(|state| Stand {
            member: state.member.clone(),
            answers: state.status.is_ok(),
            whole: whole_within(states, state, max_lag),
        })
        .collect();
    Standing {
        stands,
        leaders: primary(states)
            .map(|(pod, status)| (pod.clone(), u64::from(status.timeline)))
            .into_iter()
            .collect(),
        led_by: BTreeMap::new(),
    }
}

/// The one primary with its status.
pub(crate) fn primary(states: &[MemberState]) -> Option<(&ObjectRef, &Status)> {
    let mut primaries = states.iter().filter_map(|state| {
        let status = state.status.as_ref().ok()?;
        (!status.in_recovery).then_some((&state.member.pod, status))
    });
    let first = primaries.next()?;
    primaries.next().is_none().then_some(first)
}

/// The member is Ready, streams from the primary and lags little; or it is the primary.
fn whole_within(
    states: &[MemberState],
    state: &MemberState,
    max_lag: Option<Lag>,
) -> Result<String, WaitingOn> {
    let pod = &state.member.pod;
    let status = match &state.status {
        Ok(status) => status,
        Err(why) => return Err(waiting(pod, why.clone(), "its server answers")),
    };
    if !state.member.ready {
        return Err(waiting(
            pod,
            "the pod is not Ready",
            "its readiness probe succeeds",
        ));
    }
    if !status.in_recovery {
        return Ok("the primary".to_owned());
    }
    let primary =
        primary(states).ok_or_else(|| waiting(pod, "no primary answers", "a primary answers"))?;
    let follower = primary
        .1
        .followers
        .iter()
        .find(|f| f.name == pod.name && f.streaming)
        .ok_or_else(|| {
            waiting(
                pod,
                format!("it does not stream from {}", primary.0),
                "its stream is up",
            )
        })?;
    let lag = match (primary.1.flush, follower.replay) {
        (Some(flush), Some(replay)) => flush.bytes_since(replay),
        _ => u64::MAX,
    };
    if max_lag.is_some_and(|most| !most.holds_bytes(lag)) {
        return Err(waiting(
            pod,
            format!("{lag} bytes behind"),
            "it has caught up",
        ));
    }
    Ok(format!("streams from {}, {lag} bytes behind", primary.0))
}

/// What applications would write. The probe encrypts as the spec wants it, and never asks with whom.
fn ssl_mode(spec: &PostgresSpec) -> &'static str {
    let tls = if spec.poolers.is_empty() {
        spec.tls.as_ref()
    } else {
        spec.pooler_tls.as_ref().or(spec.tls.as_ref())
    };
    match tls.map(|tls| tls.mode).unwrap_or_default() {
        TlsMode::Disable => "disable",
        TlsMode::Prefer => "prefer",
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => "require",
    }
}

/// What applications connect to: the Service of the poolers, else the Service that follows the
/// primary, else every member with `target_session_attrs=read-write`.
async fn client_address(world: &World, spec: &PostgresSpec) -> Result<String, AskError> {
    if let Some(pooler) = world.poolers(spec).await?.first() {
        let services: Api<Service> = Api::namespaced(world.kube(), &pooler.pod.namespace);
        let list = request(
            "list the services of the poolers",
            services.list(&ListParams::default()),
        )
        .await?;
        let found = list.items.iter().find(|service| {
            service
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.as_ref())
                .is_some_and(|selector| {
                    !selector.is_empty()
                        && selector
                            .iter()
                            .all(|(key, value)| pooler.labels.get(key) == Some(value))
                })
        });
        if let Some(service) = found {
            let port = service
                .spec
                .as_ref()
                .and_then(|spec| spec.ports.as_ref()?.first())
                .map_or(i32::from(pooler.port), |port| port.port);
            return Ok(format!(
                "host={}.{}.svc.cluster.local port={port}",
                service.name_any(),
                pooler.pod.namespace
            ));
        }
    }
    if let Some(service) = &spec.service {
        return Ok(format!(
            "host={}.{}.svc.cluster.local port={}",
            service.name, service.namespace, spec.port
        ));
    }
    let hosts = probe::member_hosts(world, &spec.stateful_set)
        .await?
        .into_iter()
        .map(|(_, host)| host)
        .collect::<Vec<_>>();
    let ports = vec![spec.port.to_string(); hosts.len()].join(",");
    Ok(format!(
        "host={} port={ports} target_session_attrs=read-write",
        hosts.join(",")
    ))
}
