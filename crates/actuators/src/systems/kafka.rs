//! Kafka clusters: every broker's own view, how leaderships are led away and given back, and what the
//! probe connects to.
//!
//! Both run in the process that drives the plan: each act is one request that the controller carries
//! out as a whole or not at all, so that there is nothing to stand by for.

mod collect;
mod ledger;
mod look;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey};
use ferriswheel_plan::databases::kafka::WHOLE_LAG;
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::policy::KafkaSpec;
use ferriswheel_plan::step::{DrainTerms, Lag, StepKind};
use serde_json::{Value, json};

pub(crate) use collect::collect;

use super::attempts::{self, Attempts};
use super::{Standing, System};
use crate::databases::kafka::drain::{drain, may_leave};
use crate::databases::kafka::give_back::give_back;
use crate::databases::kafka::ledger::Ledger;
use crate::databases::kafka::order::Order;
use crate::databases::kafka::pace::SLICE;
use crate::databases::kafka::record::{MemoryLog, Outcome, Reason, Record};
use crate::databases::kafka::server::Server;
use crate::databases::kafka::session::Session;
use crate::databases::kafka::wire::WireServer;
use crate::steps::{class, done, probe, waiting, wrong_terms};
use crate::world::{AskError, MemberPod, Outside, World};
use ledger::Annotation;
use look::Look;

/// A cluster of a plan.
pub(crate) struct Kafka<'w> {
    world: &'w World,
    name: &'w DatabaseName,
    spec: &'w KafkaSpec,
}

/// What is done with all brokers together.
enum Act {
    /// Everything is led away from one.
    Drain(Order),
    /// Everything goes back, one partition in each span.
    GiveBack(Duration),
}

/// What one act came to.
struct Done {
    record: Record,
    moved: usize,
    /// Left for the next act.
    remaining: usize,
    /// Not touched, because somebody else has changed them, and how.
    left: Vec<String>,
}

impl Done {
    /// What was done, and what happened when.
    fn evidence(&self, what: String) -> Evidence {
        let mut facts = vec![what];
        if self.remaining > 0 {
            facts.push(format!("{} more are left for the next act", self.remaining));
        }
        let as_is = |what: &String| format!("left as it is: {what}");
        facts.extend(self.left.iter().map(as_is));
        facts.extend(self.record.lines());
        Evidence(facts)
    }
}

impl<'w> Kafka<'w> {
    pub(super) fn new(world: &'w World, name: &'w DatabaseName, spec: &'w KafkaSpec) -> Self {
        Self { world, name, spec }
    }

    async fn servers(&self) -> Result<Vec<(MemberPod, Arc<WireServer>)>, AskError> {
        let members = self.world.members(&self.spec.stateful_set).await?;
        let kept = members.into_iter().map(|member| {
            let server = self.world.kept(self.name, &member, || {
                WireServer::new(session(&self.world.outside, self.spec, &member))
            });
            (member, server)
        });
        Ok(kept.collect())
    }

    async fn looks(&self) -> Result<Vec<Look>, AskError> {
        let servers = self.servers().await?.into_iter();
        let asked = servers.map(|(member, server)| look::look(member, server));
        Ok(futures::future::join_all(asked).await)
    }

    fn ledger(&self) -> Annotation {
        Annotation::new(self.world.outside.kube.clone(), &self.spec.stateful_set)
    }

    /// Attempts of one act on everybody, until it came through or a slice of it is done. What is merely not ready is
    /// waited for within the step's time: every partition has a leader meanwhile, and what was there is kept.
    async fn attempts(
        &self,
        of: &str,
        key: &OperationKey,
        what: &str,
        act: &Act,
    ) -> Result<Done, ActError> {
        let ledger = self.ledger();
        let mut attempts = Attempts::default();
        let mut unready = None;
        while attempts.another().await {
            let servers = self.servers().await.map_err(class)?;
            let servers = servers
                .iter()
                .map(|(_, server)| server.as_ref() as &dyn Server)
                .collect();
            let log = MemoryLog::new(key.0.clone());
            let outcome = match act {
                Act::Drain(order) => drain(order, servers, &ledger, &log).await,
                Act::GiveBack(pace) => give_back(*pace, SLICE, servers, &ledger, &log).await,
            };
            log.close(outcome.clone());
            let record = log.record();
            attempts::keep_on(&self.world.outside.artifacts, self.name, of, &record);
            match outcome {
                Outcome::Done { moved, left } => {
                    return Ok(Done {
                        record,
                        moved,
                        remaining: 0,
                        left,
                    });
                }
                Outcome::Sliced { moved, remaining } => {
                    return Ok(Done {
                        record,
                        moved,
                        remaining,
                        left: Vec::new(),
                    });
                }
                Outcome::Stopped { reason, moved } => {
                    if moved > 0 {
                        attempts.progressed();
                    }
                    attempts.undone(reason.code(), &reason);
                    unready = match reason {
                        Reason::NotReady(why) => Some(why),
                        Reason::NotLed { .. } | Reason::NotKept(_) => None,
                    };
                }
            }
        }
        if let Some(why) = unready {
            return Err(self.not_ready(why));
        }
        Err(attempts.ended(what, "every partition has a leader in sync", "FW0251"))
    }

    fn not_ready(&self, why: String) -> ActError {
        ActError::Wait(waiting(
            &self.spec.stateful_set,
            why,
            "every copy is in sync, seen alike, and enough of them without any one broker",
        ))
    }

    async fn lead_away(
        &self,
        leaving: &ObjectRef,
        terms: &DrainTerms,
        key: &OperationKey,
    ) -> Result<Done, ActError> {
        let names = |pods: &[ObjectRef]| pods.iter().map(|pod| pod.name.clone()).collect();
        let order = Order {
            leaving: leaving.name.clone(),
            settled: names(&terms.settled),
            later: names(&terms.later),
            pace: Duration::from_millis(terms.pace_ms),
            slice: SLICE,
        };
        let what = format!("not everything was led away from {leaving}");
        self.attempts(&leaving.name, key, &what, &Act::Drain(order))
            .await
    }
}

#[async_trait]
impl System for Kafka<'_> {
    async fn standing(&self, max_lag: Option<Lag>) -> Result<Standing, AskError> {
        Ok(look::standing(&self.looks().await?, max_lag))
    }

    fn whole_lag(&self) -> Lag {
        WHOLE_LAG
    }

    /// What the broker has got since it was drained (topics that were made meanwhile) goes too, and what is left must
    /// be enough to write to.
    async fn part_with(&self, leaving: &ObjectRef) -> Result<Vec<String>, ActError> {
        let steps = &self.world.plan.body.steps;
        let terms = steps.iter().find_map(|step| match &step.kind {
            StepKind::DrainLeaders {
                database,
                pod,
                terms,
            } if database == self.name && pod == leaving => Some(terms),
            _ => None,
        });
        let terms = terms.ok_or_else(|| wrong_terms("Kafka"))?;
        let looks = self.looks().await.map_err(class)?;
        let mut facts = Vec::new();
        if look::led_by(&looks, leaving) != Some(0) {
            let key = OperationKey(format!("parting-{}", leaving.name));
            let done = self.lead_away(leaving, terms, &key).await?;
            if done.remaining > 0 {
                return Err(ActError::Wait(waiting(
                    leaving,
                    format!(
                        "{} partitions that it has got since it was drained are to be led away",
                        done.remaining
                    ),
                    "it leads nothing",
                )));
            }
            facts.push(format!(
                "{} partitions more were led away from {leaving}",
                done.moved
            ));
        }
        let servers = self.servers().await.map_err(class)?;
        let servers = servers
            .iter()
            .map(|(_, server)| server.as_ref() as &dyn Server);
        match may_leave(&leaving.name, servers.collect()).await {
            Ok(()) => Ok(facts),
            Err(Reason::NotReady(why)) => Err(self.not_ready(why)),
            Err(reason) => Err(attempts::ask(reason.code(), &reason)),
        }
    }

    async fn observe_drain(&self, leaving: &ObjectRef) -> Result<Observed, AskError> {
        let looks = self.looks().await?;
        Ok(match look::led_by(&looks, leaving) {
            None => Observed::NotReady(waiting(
                leaving,
                "not every broker answers",
                "all say what it leads",
            )),
            Some(0) => done(format!(
                "{leaving} leads nothing in the view of every broker"
            )),
            Some(_) => Observed::Ready,
        })
    }

    async fn drain(
        &self,
        leaving: &ObjectRef,
        terms: &DrainTerms,
        key: &OperationKey,
    ) -> Result<Ack, ActError> {
        let done = self.lead_away(leaving, terms, key).await?;
        let what = format!("{} partitions were led away from {leaving}", done.moved);
        Ok(Ack {
            evidence: done.evidence(what),
        })
    }

    async fn observe_return(&self) -> Result<Observed, AskError> {
        let kept = self.ledger().read().await;
        Ok(match kept {
            Err(e) => Observed::Unknown(e.to_string()),
            Ok(homes) if homes.is_empty() => {
                done("nothing is led elsewhere than before".to_owned())
            }
            Ok(_) => Observed::Ready,
        })
    }

    async fn give_back(&self, pace_ms: u64, key: &OperationKey) -> Result<Ack, ActError> {
        let pace = Duration::from_millis(pace_ms);
        let set = &self.spec.stateful_set;
        let what = format!("not everything that {set} led was given back");
        let done = self
            .attempts("back", key, &what, &Act::GiveBack(pace))
            .await?;
        let what = format!(
            "{} partitions have their replicas in order and their leader again",
            done.moved
        );
        Ok(Ack {
            evidence: done.evidence(what),
        })
    }

    async fn probe_config(&self) -> Result<BTreeMap<String, Value>, AskError> {
        let hosts = probe::member_hosts(self.world, &self.spec.stateful_set).await?;
        let seeds: Vec<String> = hosts
            .iter()
            .map(|(_, host)| format!("{host}:{}", self.spec.port))
            .collect();
        Ok(BTreeMap::from([
            ("system".to_owned(), json!("kafka")),
            (
                "dsn".to_owned(),
                json!(format!("kafka://{}/{}", seeds.join(","), self.spec.topic)),
            ),
        ]))
    }

    /// Brokers whose listener asks for a login are not reached yet.
    fn probe_file(&self) -> Value {
        json!({"system": "kafka", "password_file": null})
    }

    fn port(&self) -> u16 {
        self.spec.port
    }
}

fn session(outside: &Outside, spec: &KafkaSpec, member: &MemberPod) -> Session {
    Session::new(
        &member.pod.name,
        member.target(spec.port),
        Arc::clone(&outside.dial),
    )
}
