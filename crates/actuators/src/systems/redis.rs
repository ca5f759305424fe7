//! Redis and Valkey clusters: every node's own view, the hand-over of one shard, and what the probe
//! connects to.
//!
//! A hand-over runs in the process that drives the plan: the servers hold the shard's clients and
//! end the failover by themselves, one way or the other, so that there is nothing to stand by for.

mod collect;
mod look;
pub mod shards;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey};
use ferriswheel_plan::databases::redis::WHOLE_LAG;
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::policy::{RedisSpec, Tls};
use ferriswheel_plan::step::{HandOverTerms, Lag, RedisTerms};
use serde_json::{Value, json};

pub(crate) use collect::collect;

use super::attempts;
use super::{Standing, System, secured};
use crate::databases::redis::record::Record;
use crate::databases::redis::server::Server;
use crate::databases::redis::session::{Credentials, Session};
use crate::databases::redis::wire::WireServer;
use crate::steps::{probe, wrong_terms};
use crate::world::{AskError, MemberPod, Outside, World, optional_secret_key, secret_key};
use shards::Servers;

/// Writers of the probe for each shard: one slow connection does not look like a stall.
const WRITERS_A_SHARD: usize = 2;

/// Fewest writers: those of three shards.
const FEWEST_WRITERS: usize = 6;

/// A cluster of a plan.
pub(crate) struct Redis<'w> {
    world: &'w World,
    name: &'w DatabaseName,
    spec: &'w RedisSpec,
}

impl<'w> Redis<'w> {
    pub(super) fn new(world: &'w World, name: &'w DatabaseName, spec: &'w RedisSpec) -> Self {
        Self { world, name, spec }
    }

    /// A kept server.
    fn kept(&self, member: &MemberPod, credentials: &Credentials) -> Arc<WireServer> {
        self.world.kept(self.name, member, || {
            WireServer::new(session(&self.world.outside, self.spec, member, credentials))
        })
    }
}

#[async_trait]
impl Servers for Redis<'_> {
    async fn everybody(&self) -> Result<Vec<(MemberPod, Arc<dyn Server>)>, AskError> {
        let credentials = credentials(&self.world.outside, self.spec).await?;
        let members = self.world.members(&self.spec.stateful_set).await?;
        Ok(members
            .into_iter()
            .map(|member| {
                let server: Arc<dyn Server> = self.kept(&member, &credentials);
                (member, server)
            })
            .collect())
    }

    async fn apart(&self, members: &[&MemberPod]) -> Result<Vec<Box<dyn Server>>, AskError> {
        let credentials = credentials(&self.world.outside, self.spec).await?;
        Ok(members
            .iter()
            .map(|member| {
                let session = session(&self.world.outside, self.spec, member, &credentials);
                Box::new(WireServer::new(session)) as Box<dyn Server>
            })
            .collect())
    }

    fn port(&self) -> u16 {
        self.spec.port
    }

    fn keep(&self, from: &ObjectRef, record: &Record) {
        attempts::keep(&self.world.outside.artifacts, self.name, &from.name, record);
    }
}

fn terms_of(terms: &HandOverTerms) -> Result<&RedisTerms, ActError> {
    terms.redis().ok_or_else(|| wrong_terms("Redis"))
}

#[async_trait]
impl System for Redis<'_> {
    async fn standing(&self, max_lag: Option<Lag>) -> Result<Standing, AskError> {
        shards::standing(self, max_lag).await
    }

    fn whole_lag(&self) -> Lag {
        WHOLE_LAG
    }

    async fn observe_hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
    ) -> Result<Observed, AskError> {
        shards::observe(self, from, to).await
    }

    async fn hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
        key: &OperationKey,
    ) -> Result<Ack, ActError> {
        shards::hand_over(self, from, to, terms_of(terms)?, key).await
    }

    async fn settle(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
        _: &OperationKey,
    ) -> Result<Evidence, ActError> {
        terms_of(terms)?;
        shards::settle(self, from, to).await
    }

    fn application(&self) -> Option<&ObjectRef> {
        self.spec
            .application
            .as_ref()
            .or(self.spec.password.as_ref())
    }

    async fn probe_config(&self) -> Result<BTreeMap<String, Value>, AskError> {
        let user = match self.application() {
            Some(secret) => {
                optional_secret_key(&self.world.outside.kube, secret, "username").await?
            }
            None => None,
        };
        let hosts = probe::member_hosts(self.world, &self.spec.stateful_set).await?;
        let seeds: Vec<String> = hosts
            .iter()
            .map(|(_, host)| format!("{host}:{}", self.spec.port))
            .collect();
        let user = user.map_or_else(String::new, |user| format!("{user}@"));
        let secured = self.spec.tls.as_ref().is_some_and(Tls::encrypts);
        let scheme = if secured { "rediss" } else { "redis" };
        let shards = self.standing(Some(WHOLE_LAG)).await?.leaders.len();
        let writers = (shards * WRITERS_A_SHARD).max(FEWEST_WRITERS);
        Ok(BTreeMap::from([
            ("system".to_owned(), json!("redis")),
            (
                "dsn".to_owned(),
                json!(format!("{scheme}://{user}{}", seeds.join(","))),
            ),
            ("writers".to_owned(), json!(writers)),
        ]))
    }

    fn probe_file(&self) -> Value {
        match self.application() {
            Some(_) => json!({"system": "redis"}),
            None => json!({"system": "redis", "password_file": null}),
        }
    }

    fn port(&self) -> u16 {
        self.spec.port
    }
}

fn session(
    outside: &Outside,
    spec: &RedisSpec,
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

/// Of the user that looks and hands over.
async fn credentials(outside: &Outside, spec: &RedisSpec) -> Result<Credentials, AskError> {
    let tls = secured(&outside.kube, spec.tls.as_ref()).await?;
    let Some(secret) = &spec.password else {
        return Ok(Credentials {
            tls,
            ..Credentials::default()
        });
    };
    Ok(Credentials {
        user: optional_secret_key(&outside.kube, secret, "username").await?,
        password: Some(secret_key(&outside.kube, secret, "password").await?),
        tls,
    })
}
