//! Redis and Valkey clusters: every node's own view, the hand-over of one shard, and what the probe
//! connects to.
//!
//! A hand-over runs in the process that drives the plan: the servers hold the shard's clients and
//! end the failover by themselves, one way or the other, so that there is nothing to stand by for.

mod collect;
mod look;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey};
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::policy::RedisSpec;
use ferriswheel_plan::step::{HandOverTerms, RedisTerms};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub(crate) use collect::collect;

use super::{Standing, System};
use crate::databases::redis::order::{Member, Order, SETTLE_MS};
use crate::databases::redis::record::{MemoryLog, Outcome, Reason, Record};
use crate::databases::redis::server::Server;
use crate::databases::redis::session::{Credentials, Session};
use crate::databases::redis::window::{self, Cast};
use crate::databases::redis::wire::WireServer;
use crate::dial::Target;
use crate::steps::{ack, class, done, probe, waiting, wrong_terms};
use crate::world::{AskError, MemberPod, Outside, World, optional_secret_key, secret_key};
use look::Look;

/// A member that came back counts as whole up to this lag: the backlog that servers keep by default.
const WHOLE_LAG_BYTES: u64 = 1024 * 1024;

/// Attempts of one act, each with every check anew. Three: what is in the way of a healthy cluster
/// (a slow disk, a busy core) passes in seconds; what does not is for a person.
const ATTEMPTS: u32 = 3;

/// Pause between two attempts.
const AGAIN: Duration = Duration::from_secs(2);

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

    /// A kept server; another pod of the same name, or another address, is another one.
    fn server(&self, member: &MemberPod, credentials: &Credentials) -> Arc<WireServer> {
        let key = format!(
            "{}/{}/{}/{}",
            self.name,
            member.pod,
            member.uid,
            member.ip.as_deref().unwrap_or_default()
        );
        self.world.kept(key, || {
            WireServer::new(session(&self.world.outside, self.spec, member, credentials))
        })
    }

    async fn looks(&self) -> Result<Vec<Look>, AskError> {
        let credentials = credentials(&self.world.outside, self.spec).await?;
        let members = self.world.members(&self.spec.stateful_set).await?;
        let asked = members.into_iter().map(|member| {
            let server = self.server(&member, &credentials);
            look::look(member, server)
        });
        Ok(futures::future::join_all(asked).await)
    }

    /// Everybody who takes part, with sessions of their own.
    async fn cast(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &RedisTerms,
        key: &OperationKey,
    ) -> Result<(Order, Cast), AskError> {
        let credentials = credentials(&self.world.outside, self.spec).await?;
        let looks = self.looks().await?;
        let member = |look: &Look| -> Result<Member, AskError> {
            Ok(Member {
                name: look.member.pod.name.clone(),
                namespace: look.member.pod.namespace.clone(),
                node_id: look.id().map_err(|why| AskError::Absent {
                    what: format!("the node id of {} ({why})", look.member.pod),
                })?,
                ip: look.member.ip.clone().ok_or_else(|| AskError::Absent {
                    what: format!("the address of {}", look.member.pod),
                })?,
                port: self.spec.port,
            })
        };
        let named = |pod: &ObjectRef| {
            looks
                .iter()
                .find(|look| look.member.pod == *pod)
                .ok_or_else(|| AskError::Absent {
                    what: pod.to_string(),
                })
        };
        let server = |look: &Look| -> Box<dyn Server> {
            Box::new(WireServer::new(session(
                &self.world.outside,
                self.spec,
                &look.member,
                &credentials,
            )))
        };
        let (old, candidate) = (named(from)?, named(to)?);
        let others: Vec<&Look> = looks
            .iter()
            .filter(|look| look.member.pod != *from && look.member.pod != *to)
            .collect();
        let mut order = Order::new(
            key.0.clone(),
            member(old)?,
            member(candidate)?,
            others
                .iter()
                .map(|look| member(look))
                .collect::<Result<_, _>>()?,
        );
        order.flip_ms = terms.window_budget_ms;
        let cast = Cast {
            old: server(old),
            candidate: server(candidate),
            others: others.into_iter().map(server).collect(),
        };
        Ok((order, cast))
    }

    /// For the report; the journal carries the same moments as evidence.
    fn keep(&self, from: &ObjectRef, record: &Record) {
        let path = self
            .world
            .outside
            .artifacts
            .join(format!("window-{}-{}.json", self.name, from.name));
        if let Ok(bytes) = serde_json::to_vec_pretty(record)
            && let Err(e) = std::fs::write(&path, bytes)
        {
            tracing::warn!(path = %path.display(), error = %e, "the window's record could not be kept");
        }
    }
}

fn terms_of(terms: &HandOverTerms) -> Result<&RedisTerms, ActError> {
    terms.redis().ok_or_else(|| wrong_terms("Redis"))
}

#[async_trait]
impl System for Redis<'_> {
    async fn standing(&self, max_lag_bytes: u64) -> Result<Standing, AskError> {
        Ok(look::standing(&self.looks().await?, max_lag_bytes))
    }

    fn whole_lag_bytes(&self) -> u64 {
        WHOLE_LAG_BYTES
    }

    async fn observe_hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
    ) -> Result<Observed, AskError> {
        let standing = self.standing(WHOLE_LAG_BYTES).await?;
        let (old, new) = (standing.leader_of(from), standing.leader_of(to));
        if new == Some(from) && old == Some(from) {
            return Ok(Observed::Ready);
        }
        if new == Some(to) && old == Some(to) {
            // Every node says so, and the old primary follows.
            for pod in [to, from] {
                let stand = standing.of(pod).map(|stand| &stand.whole);
                if let Some(Err(waiting)) = stand {
                    return Ok(Observed::InFlight(waiting.clone()));
                }
            }
            return Ok(done(format!(
                "{to} is the primary in the view of every node, {from} follows it"
            )));
        }
        if let Some(other) = new.filter(|leader| *leader != to && *leader != from) {
            return Ok(Observed::Diverged {
                expected: format!("{from} or {to} as the primary"),
                found: format!("{other} is the primary"),
            });
        }
        Ok(Observed::InFlight(waiting(
            to,
            format!(
                "{from} and {to} do not agree yet: {}, {}",
                old.map_or_else(|| "no answer".to_owned(), |pod| format!("{pod} leads")),
                new.map_or_else(|| "no answer".to_owned(), |pod| format!("{pod} leads")),
            ),
            "both say the same",
        )))
    }

    async fn hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
        key: &OperationKey,
    ) -> Result<Ack, ActError> {
        let terms = terms_of(terms)?;
        let (mut last, mut tried) = (None, 0);
        for attempt in 1..=ATTEMPTS {
            if attempt > 1 {
                sleep(AGAIN).await;
            }
            let (order, cast) = self.cast(from, to, terms, key).await.map_err(class)?;
            let log = MemoryLog::new(key.0.clone());
            let outcome = window::hand_over(&order, &cast, &log).await;
            log.close(outcome.clone());
            let record = log.record();
            self.keep(from, &record);
            match outcome {
                Outcome::HandedOver { .. } => return Ok(acknowledge(to, &record)),
                Outcome::Undone { reason, asked } => {
                    tracing::warn!(%reason, attempt, "the hand-over was not carried through");
                    last = Some(reason);
                    tried = attempt;
                    // The shard's clients have waited for seconds, and the primaries do not vote for
                    // it again within twice `cluster-node-timeout`.
                    if asked {
                        break;
                    }
                }
                Outcome::Unresolved { reason } => {
                    return Err(ActError::AskHuman {
                        code: reason.code().to_owned(),
                        cause: reason.to_string(),
                    });
                }
            }
        }
        Err(undone(from, last, tried))
    }

    /// A failover that was ordered is over after the servers' own time; then both say who leads.
    async fn settle(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        terms: &HandOverTerms,
        _: &OperationKey,
    ) -> Result<Evidence, ActError> {
        terms_of(terms)?;
        let end = Instant::now() + Duration::from_millis(SETTLE_MS);
        loop {
            let standing = self.standing(WHOLE_LAG_BYTES).await.map_err(class)?;
            let over = Instant::now() >= end;
            match standing.leader_of(to) {
                Some(leader) if leader == to => {
                    return Ok(Evidence::one(format!("{to} is the primary, clients go on")));
                }
                Some(leader) if leader == from && over && standing.leads(from) => {
                    return Ok(Evidence::one(format!(
                        "{from} is the primary, clients go on"
                    )));
                }
                _ if over => {
                    return Err(ActError::Retry {
                        after: AGAIN,
                        cause: format!("{from} and {to} do not agree who leads"),
                    });
                }
                _ => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// A member that is removed for good is not a part of these plans.
    async fn forget(&self, _: &ObjectRef, gone: &ObjectRef) -> Result<(), AskError> {
        Err(AskError::Absent {
            what: format!("a way to remove {gone} from a cluster"),
        })
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
        let shards = self.standing(WHOLE_LAG_BYTES).await?.leaders.len();
        let writers = (shards * WRITERS_A_SHARD).max(FEWEST_WRITERS);
        Ok(BTreeMap::from([
            ("system".to_owned(), json!("redis")),
            (
                "dsn".to_owned(),
                json!(format!("redis://{user}{}", seeds.join(","))),
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

    /// Clients of a cluster follow its redirections, but the connections to a member that moves are
    /// cut: counted, and judged only where the spec sets a limit.
    fn errors_allowed(&self) -> Option<u64> {
        None
    }

    fn port(&self) -> u16 {
        self.spec.port
    }
}

fn acknowledge(to: &ObjectRef, record: &Record) -> Ack {
    let mut ack = ack(format!("{to} is the primary"));
    let lines = record.entries.iter().map(|entry| {
        let ms = entry.at_us / 1_000;
        format!(
            "{} at {ms}.{} ms",
            entry.moment.name(),
            entry.at_us % 1_000 / 100
        )
    });
    ack.evidence.0.extend(lines);
    if let Some(Outcome::HandedOver {
        late_ms, unsettled, ..
    }) = &record.outcome
    {
        let late = late_ms.map(|ms| format!("it took {ms} ms, longer than expected"));
        ack.evidence.0.extend(late);
        if !unsettled.is_empty() {
            let who = unsettled.join(", ");
            ack.evidence.0.push(format!("not said by {who} in time"));
        }
    }
    ack
}

fn undone(from: &ObjectRef, reason: Option<Reason>, tried: u32) -> ActError {
    let (code, reason) = reason.map_or_else(
        || ("FW0201".to_owned(), "nothing was tried".to_owned()),
        |reason| (reason.code().to_owned(), reason.to_string()),
    );
    ActError::AskHuman {
        code,
        cause: format!(
            "the hand-over did not come about in {tried} attempt(s), {from} is the primary: {reason}"
        ),
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
        Target {
            pod: member.pod.clone(),
            ip: member.ip.clone(),
            port: spec.port,
        },
        Arc::clone(&outside.dial),
        credentials.clone(),
    )
}

/// Of the user that looks and hands over.
async fn credentials(outside: &Outside, spec: &RedisSpec) -> Result<Credentials, AskError> {
    let Some(secret) = &spec.password else {
        return Ok(Credentials::default());
    };
    Ok(Credentials {
        user: optional_secret_key(&outside.kube, secret, "username").await?,
        password: Some(secret_key(&outside.kube, secret, "password").await?),
        tls: None,
    })
}
