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
use ferriswheel_plan::step::{DrainTerms, HandOverTerms, Lag, StepKind};
use serde_json::{Value, json};

pub(crate) use collect::collect;

use super::attempts::{self, Attempts};
use super::{Standing, System};
use crate::databases::kafka::drain::drain;
use crate::databases::kafka::give_back::give_back;
use crate::databases::kafka::ledger::Ledger;
use crate::databases::kafka::order::Order;
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

    /// Attempts of one act on everybody, until it came through. What is merely not ready is waited for
    /// within the step's time: every partition has a leader meanwhile, and what was there is kept.
    async fn attempts(
        &self,
        of: &str,
        key: &OperationKey,
        what: &str,
        act: &Act,
    ) -> Result<(Record, usize, Vec<String>), ActError> {
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
                Act::GiveBack(pace) => give_back(*pace, servers, &ledger, &log).await,
            };
            log.close(outcome.clone());
            let record = log.record();
            attempts::keep(&self.world.outside.artifacts, self.name, of, &record);
            match outcome {
                Outcome::Done { moved, left } => return Ok((record, moved, left)),
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
            let set = &self.spec.stateful_set;
            return Err(ActError::Wait(waiting(
                set,
                why,
                "every copy is in sync and seen alike",
            )));
        }
        Err(attempts.ended(what, "every partition has a leader in sync", "FW0251"))
    }

    async fn lead_away(
        &self,
        leaving: &ObjectRef,
        terms: &DrainTerms,
        key: &OperationKey,
    ) -> Result<(Record, usize), ActError> {
        let names = |pods: &[ObjectRef]| pods.iter().map(|pod| pod.name.clone()).collect();
        let order = Order {
            key: key.0.clone(),
            leaving: leaving.name.clone(),
            settled: names(&terms.settled),
            later: names(&terms.later),
            pace_ms: terms.pace_ms,
        };
        let what = format!("not everything was led away from {leaving}");
        let (record, moved, _) = self
            .attempts(&leaving.name, key, &what, &Act::Drain(order))
            .await?;
        Ok((record, moved))
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

    /// What the broker has got since it was drained (topics that were made meanwhile) goes too.
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
        if look::led_by(&looks, leaving) == Some(0) {
            return Ok(Vec::new());
        }
        let key = OperationKey(format!("parting-{}", leaving.name));
        let (_, moved) = self.lead_away(leaving, terms, &key).await?;
        Ok(vec![format!(
            "{moved} partitions more were led away from {leaving}"
        )])
    }

    async fn observe_hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
    ) -> Result<Observed, AskError> {
        Ok(Observed::Diverged {
            expected: format!("a primary that moves from {from} to {to}"),
            found: "a cluster in which every broker leads partitions".to_owned(),
        })
    }

    async fn hand_over(
        &self,
        _: &ObjectRef,
        _: &ObjectRef,
        _: &HandOverTerms,
        _: &OperationKey,
    ) -> Result<Ack, ActError> {
        Err(wrong_terms("Kafka"))
    }

    async fn settle(
        &self,
        _: &ObjectRef,
        _: &ObjectRef,
        _: &HandOverTerms,
        _: &OperationKey,
    ) -> Result<Evidence, ActError> {
        Err(wrong_terms("Kafka"))
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
        let (record, moved) = self.lead_away(leaving, terms, key).await?;
        let mut evidence = vec![format!("{moved} partitions were led away from {leaving}")];
        evidence.extend(record.lines());
        Ok(Ack {
            evidence: Evidence(evidence),
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
        let (record, moved, left) = self
            .attempts("back", key, &what, &Act::GiveBack(pace))
            .await?;
        let mut evidence = vec![format!(
            "{moved} partitions have their replicas in order and their leader again"
        )];
        let as_is = |what: String| format!("left as it is: {what}");
        evidence.extend(left.into_iter().map(as_is));
        evidence.extend(record.lines());
        Ok(Ack {
            evidence: Evidence(evidence),
        })
    }

    /// A broker that is removed for good is not a part of these plans.
    async fn forget(&self, _: &ObjectRef, gone: &ObjectRef) -> Result<(), AskError> {
        Err(AskError::Absent {
            what: format!("a way to remove {gone} from a cluster"),
        })
    }

    /// Brokers whose listener asks for a login are not reached yet.
    fn application(&self) -> Option<&ObjectRef> {
        None
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

    fn probe_file(&self) -> Value {
        json!({"system": "kafka", "password_file": null})
    }

    /// Clients look for the new leader by themselves; what they see beside that is counted, and judged
    /// only where the spec sets a limit.
    fn errors_allowed(&self) -> Option<u64> {
        None
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
