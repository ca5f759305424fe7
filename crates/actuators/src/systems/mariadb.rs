//! MariaDB sets: every member's own view, the hand-over, and what the probe connects to.
//!
//! A hand-over runs in the process that drives the plan. Until it has decided, all that it holds is a
//! lock of its own session; what it leaves after that is found by [`recover::settle`].

mod collect;
mod look;
mod route;
pub mod set;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey};
use ferriswheel_plan::databases::mariadb::WHOLE_LAG;
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::policy::MariadbSpec;
use ferriswheel_plan::step::{HandOverTerms, Lag, MariadbTerms};
use serde_json::{Value, json};

pub(crate) use collect::collect;

use super::attempts;
use super::{Standing, System, secured};
use crate::databases::mariadb::order::{Member, Order};
use crate::databases::mariadb::record::Record;
use crate::databases::mariadb::server::Server;
use crate::databases::mariadb::session::{Credentials, Session};
use crate::databases::mariadb::window::Cast;
use crate::databases::mariadb::wire::WireServer;
use crate::steps::wrong_terms;
use crate::world::{AskError, MemberPod, Outside, World, secret_key, user_name};
use route::Labels;
use set::Servers;

/// Writers of the probe: one slow connection does not look like a stall.
const WRITERS: usize = 4;

/// A set of a plan.
pub(crate) struct Mariadb<'w> {
    world: &'w World,
    name: &'w DatabaseName,
    spec: &'w MariadbSpec,
}

impl<'w> Mariadb<'w> {
    pub(super) fn new(world: &'w World, name: &'w DatabaseName, spec: &'w MariadbSpec) -> Self {
        Self { world, name, spec }
    }

    /// A kept server. It only looks, so it needs nobody's password but its own.
    fn server(&self, member: &MemberPod, credentials: &Credentials) -> Arc<WireServer> {
        self.world.kept(self.name, member, || {
            let session = session(&self.world.outside, self.spec, member, credentials);
            WireServer::new(session, Credentials::default())
        })
    }
}

#[async_trait]
impl Servers for Mariadb<'_> {
    async fn everybody(&self) -> Result<Vec<(MemberPod, Arc<dyn Server>)>, AskError> {
        let credentials = credentials(&self.world.outside, self.spec, &self.spec.admin).await?;
        let members = self.world.members(&self.spec.stateful_set).await?;
        Ok(members
            .into_iter()
            .map(|member| {
                let server = self.server(&member, &credentials);
                (member, server as Arc<dyn Server>)
            })
            .collect())
    }

    async fn cast(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &MariadbTerms,
        key: &OperationKey,
    ) -> Result<(Order, Cast), AskError> {
        let outside = &self.world.outside;
        let credentials = credentials(outside, self.spec, &self.spec.admin).await?;
        let replication = self::credentials(outside, self.spec, &self.spec.replication).await?;
        let members = self.world.members(&self.spec.stateful_set).await?;
        let set = self.world.stateful_set(&self.spec.stateful_set).await?;
        let service = set.spec.service_name.unwrap_or_default();
        let server = |member: &MemberPod| -> Box<dyn Server> {
            let session = session(outside, self.spec, member, &credentials);
            Box::new(WireServer::new(session, replication.clone()))
        };
        let named = |pod: &ObjectRef| {
            members
                .iter()
                .find(|member| member.pod == *pod)
                .ok_or_else(|| AskError::Absent {
                    what: pod.to_string(),
                })
        };
        let (old, candidate) = (named(from)?, named(to)?);
        let others: Vec<&MemberPod> = members
            .iter()
            .filter(|member| member.pod != *from && member.pod != *to)
            .collect();
        let by_name = |pod: &ObjectRef| Member {
            name: pod.name.clone(),
            host: format!("{}.{service}.{}.svc.cluster.local", pod.name, pod.namespace),
            port: self.spec.port,
        };
        let order = Order {
            key: key.0.clone(),
            old: by_name(from),
            candidate: by_name(to),
            others: others.iter().map(|one| by_name(&one.pod)).collect(),
            lock_ms: terms.lock_budget_ms,
            window_ms: terms.window_budget_ms,
            semi_sync: terms.semi_sync,
        };
        let route = Labels::of(self.world, self.spec, old, candidate).await?;
        let cast = Cast {
            old: server(old),
            candidate: server(candidate),
            others: others.into_iter().map(server).collect(),
            route: Box::new(route),
        };
        Ok((order, cast))
    }

    fn keep(&self, from: &ObjectRef, record: &Record) {
        attempts::keep(&self.world.outside.artifacts, self.name, &from.name, record);
    }
}

fn terms_of(terms: &HandOverTerms) -> Result<&MariadbTerms, ActError> {
    terms.mariadb().ok_or_else(|| wrong_terms("MariaDB"))
}

#[async_trait]
impl System for Mariadb<'_> {
    async fn standing(&self, max_lag: Option<Lag>) -> Result<Standing, AskError> {
        set::standing(self, max_lag).await
    }

    fn whole_lag(&self) -> Lag {
        WHOLE_LAG
    }

    async fn observe_hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
    ) -> Result<Observed, AskError> {
        set::observe(self, from, to).await
    }

    async fn hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
        key: &OperationKey,
    ) -> Result<Ack, ActError> {
        set::hand_over(self, from, to, terms_of(terms)?, key).await
    }

    async fn settle(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
        key: &OperationKey,
    ) -> Result<Evidence, ActError> {
        set::settle(self, from, to, terms_of(terms)?, key).await
    }

    /// A primary keeps no list of its replicas.
    async fn forget(&self, _: &ObjectRef, _: &ObjectRef) -> Result<(), AskError> {
        Ok(())
    }

    fn application(&self) -> Option<&ObjectRef> {
        Some(&self.spec.application)
    }

    /// By the Service that follows the primary, as applications do; without one, by every member.
    async fn probe_config(&self) -> Result<BTreeMap<String, Value>, AskError> {
        let user = user_name(&self.world.outside.kube, &self.spec.application).await?;
        let port = self.spec.port;
        let hosts = match &self.spec.service {
            Some(service) => {
                let ObjectRef { namespace, name } = service;
                vec![format!("{name}.{namespace}.svc.cluster.local:{port}")]
            }
            None => crate::steps::probe::member_hosts(self.world, &self.spec.stateful_set)
                .await?
                .into_iter()
                .map(|(_, host)| format!("{host}:{port}"))
                .collect(),
        };
        Ok(BTreeMap::from([
            ("system".to_owned(), json!("mariadb")),
            (
                "dsn".to_owned(),
                json!(format!(
                    "mariadb://{user}@{}/{}",
                    hosts.join(","),
                    self.spec.database
                )),
            ),
            ("writers".to_owned(), json!(WRITERS)),
        ]))
    }

    fn probe_file(&self) -> Value {
        json!({"system": "mariadb"})
    }

    fn port(&self) -> u16 {
        self.spec.port
    }
}

fn session(
    outside: &Outside,
    spec: &MariadbSpec,
    member: &MemberPod,
    credentials: &Credentials,
) -> Session {
    Session::new(
        &member.pod.name,
        member.target(spec.port),
        Arc::clone(&outside.dial),
        credentials.clone(),
    )
}

async fn credentials(
    outside: &Outside,
    spec: &MariadbSpec,
    secret: &ObjectRef,
) -> Result<Credentials, AskError> {
    Ok(Credentials {
        tls: secured(&outside.kube, spec.tls.as_ref()).await?,
        user: secret_key(&outside.kube, secret, "username").await?,
        password: secret_key(&outside.kube, secret, "password").await?,
    })
}
