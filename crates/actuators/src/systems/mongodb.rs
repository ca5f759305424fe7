//! MongoDB replica sets: every member's own view, the hand-over, and what the probe connects to.
//!
//! A hand-over runs in the process that drives the plan: the set elects by itself, and what the
//! hand-over holds meanwhile ends by itself, so that there is nothing to stand by for.

mod collect;
mod look;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey};
use ferriswheel_plan::databases::mongodb::WHOLE_LAG;
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::policy::{MongoSpec, Tls};
use ferriswheel_plan::step::{HandOverTerms, Lag, MongoTerms};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub(crate) use collect::collect;

use super::attempts::{self, AGAIN, Attempts, acknowledge, ask};
use super::{Standing, System, secured};
use crate::databases::mongodb::order::Order;
use crate::databases::mongodb::parting;
use crate::databases::mongodb::record::{MemoryLog, Outcome};
use crate::databases::mongodb::server::Server;
use crate::databases::mongodb::session::{Credentials, Session};
use crate::databases::mongodb::window::{self, Cast};
use crate::databases::mongodb::wire::WireServer;
use crate::steps::{class, done, waiting, wrong_terms};
use crate::world::{AskError, MemberPod, Outside, World, secret_key};
use look::Look;

/// An election that nobody steered begins after 10 s (`electionTimeoutMillis`) and takes a second or
/// two.
const SETTLE: Duration = Duration::from_secs(20);

/// Writers of the probe: one slow connection does not look like a stall.
const WRITERS: usize = 4;

/// A replica set of a plan.
pub(crate) struct Mongo<'w> {
    world: &'w World,
    name: &'w DatabaseName,
    spec: &'w MongoSpec,
}

impl<'w> Mongo<'w> {
    pub(super) fn new(world: &'w World, name: &'w DatabaseName, spec: &'w MongoSpec) -> Self {
        Self { world, name, spec }
    }

    /// A kept server.
    fn server(&self, member: &MemberPod, credentials: &Credentials) -> Arc<WireServer> {
        self.world.kept(self.name, member, || {
            WireServer::new(session(&self.world.outside, self.spec, member, credentials))
        })
    }

    async fn servers(&self) -> Result<Vec<(MemberPod, Arc<WireServer>)>, AskError> {
        let credentials = credentials(&self.world.outside, self.spec).await?;
        let members = self.world.members(&self.spec.stateful_set).await?;
        let kept = members.into_iter().map(|member| {
            let server = self.server(&member, &credentials);
            (member, server)
        });
        Ok(kept.collect())
    }

    async fn looks(&self) -> Result<Vec<Look>, AskError> {
        let servers = self.servers().await?.into_iter();
        let asked = servers.map(|(member, server)| look::look(member, server));
        Ok(futures::future::join_all(asked).await)
    }

    /// Everybody who takes part, with sessions of their own.
    async fn cast(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &MongoTerms,
        key: &OperationKey,
    ) -> Result<(Order, Cast), AskError> {
        let credentials = credentials(&self.world.outside, self.spec).await?;
        let members = self.world.members(&self.spec.stateful_set).await?;
        let server = |member: &MemberPod| -> Box<dyn Server> {
            Box::new(WireServer::new(session(
                &self.world.outside,
                self.spec,
                member,
                &credentials,
            )))
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
        let order = Order {
            key: key.0.clone(),
            old: from.name.clone(),
            candidate: to.name.clone(),
            others: others.iter().map(|one| one.pod.name.clone()).collect(),
            chain: terms.chain,
            window_ms: terms.window_budget_ms,
        };
        let cast = Cast {
            old: server(old),
            candidate: server(candidate),
            others: others.into_iter().map(server).collect(),
        };
        Ok((order, cast))
    }
}

fn terms_of(terms: &HandOverTerms) -> Result<&MongoTerms, ActError> {
    terms.mongodb().ok_or_else(|| wrong_terms("MongoDB"))
}

#[async_trait]
impl System for Mongo<'_> {
    async fn standing(&self, max_lag: Option<Lag>) -> Result<Standing, AskError> {
        Ok(look::standing(&self.looks().await?, max_lag))
    }

    fn whole_lag(&self) -> Lag {
        WHOLE_LAG
    }

    async fn observe_hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
    ) -> Result<Observed, AskError> {
        let standing = self.standing(Some(WHOLE_LAG)).await?;
        let of_term = |term| {
            done(format!(
                "{to} is the primary of term {term} in the view of every member, {from} follows it"
            ))
        };
        if let Some(observed) = standing.of_hand_over(from, to, of_term) {
            return Ok(observed);
        }
        Ok(Observed::InFlight(match standing.leaders.len() {
            0 => waiting(to, "no member is the primary", "the set has elected one"),
            several => waiting(
                to,
                format!("{several} members say that they are the primary"),
                "the one of the older term has stepped down",
            ),
        }))
    }

    async fn hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
        key: &OperationKey,
    ) -> Result<Ack, ActError> {
        let terms = terms_of(terms)?;
        let mut attempts = Attempts::default();
        while attempts.another().await {
            let (order, cast) = self.cast(from, to, terms, key).await.map_err(class)?;
            let log = MemoryLog::new(key.0.clone());
            let outcome = window::hand_over(&order, &cast, &log).await;
            log.close(outcome.clone());
            let record = log.record();
            attempts::keep(
                &self.world.outside.artifacts,
                self.name,
                &from.name,
                &record,
            );
            match outcome {
                Outcome::HandedOver { unsettled, .. } => {
                    return Ok(acknowledge(to, &record, "said", &unsettled));
                }
                Outcome::Undone { reason, .. } => {
                    attempts.undone(reason.code(), &reason);
                }
                Outcome::Unresolved { reason } => return Err(ask(reason.code(), &reason)),
            }
        }
        Err(attempts.over(from, "FW0231"))
    }

    /// Whoever is the primary after the set's own time stays it; what a hand-over that was cut short
    /// held (who may be elected) is let go.
    async fn settle(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
        key: &OperationKey,
    ) -> Result<Evidence, ActError> {
        let (_, cast) = self
            .cast(from, to, terms_of(terms)?, key)
            .await
            .map_err(class)?;
        window::release(&cast, &MemoryLog::new(key.0.clone())).await;
        let end = Instant::now() + SETTLE;
        loop {
            let standing = self.standing(Some(WHOLE_LAG)).await.map_err(class)?;
            match &standing.leaders[..] {
                [(leader, _)] if leader == from || leader == to => {
                    return Ok(Evidence::one(format!(
                        "{leader} is the primary, clients go on"
                    )));
                }
                _ if Instant::now() >= end => {
                    return Err(ActError::Retry {
                        after: AGAIN,
                        cause: format!("neither {from} nor {to} is the only primary"),
                    });
                }
                _ => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    async fn part_with(&self, leaving: &ObjectRef) -> Result<Vec<String>, ActError> {
        let servers = match self.servers().await {
            Ok(servers) => servers,
            Err(e) => return Ok(vec![format!("the members are not known: {e}")]),
        };
        let servers: Vec<&dyn Server> = servers
            .iter()
            .map(|(_, server)| server.as_ref() as &dyn Server)
            .collect();
        let told = parting::part_with(&servers, &leaving.name).await;
        Ok(told
            .unwrap_or_else(|e| vec![format!("who copies from {leaving} was not led over: {e}")]))
    }

    fn application(&self) -> Option<&ObjectRef> {
        self.spec.application.as_ref().or(self.spec.admin.as_ref())
    }

    /// The addresses are those of the configuration: what drivers connect to whatever they begin with.
    async fn probe_config(&self) -> Result<BTreeMap<String, Value>, AskError> {
        let user = match self.application() {
            Some(secret) => {
                let user = secret_key(&self.world.outside.kube, secret, "username").await?;
                format!("{user}@")
            }
            None => String::new(),
        };
        let looks = self.looks().await?;
        let said = looks.iter().find_map(Look::set);
        let (set, hosts) = said.ok_or_else(|| AskError::Absent {
            what: "a member that names the set".to_owned(),
        })?;
        // The judge encrypts and does not ask with whom.
        let tls = if self.spec.tls.as_ref().is_some_and(Tls::encrypts) {
            "&tls=true&tlsAllowInvalidCertificates=true"
        } else {
            ""
        };
        Ok(BTreeMap::from([
            ("system".to_owned(), json!("mongodb")),
            (
                "dsn".to_owned(),
                json!(format!(
                    "mongodb://{user}{}/{}?replicaSet={set}&authSource=admin{tls}",
                    hosts.join(","),
                    self.spec.database
                )),
            ),
            ("writers".to_owned(), json!(WRITERS)),
        ]))
    }

    fn probe_file(&self) -> Value {
        match self.application() {
            Some(_) => json!({"system": "mongodb"}),
            None => json!({"system": "mongodb", "password_file": null}),
        }
    }

    fn port(&self) -> u16 {
        self.spec.port
    }
}

fn session(
    outside: &Outside,
    spec: &MongoSpec,
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
async fn credentials(outside: &Outside, spec: &MongoSpec) -> Result<Credentials, AskError> {
    let tls = secured(&outside.kube, spec.tls.as_ref()).await?;
    let Some(secret) = &spec.admin else {
        return Ok(Credentials {
            tls,
            ..Credentials::default()
        });
    };
    Ok(Credentials {
        user: Some(secret_key(&outside.kube, secret, "username").await?),
        password: Some(secret_key(&outside.kube, secret, "password").await?),
        tls,
    })
}
