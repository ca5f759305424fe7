//! Memcached: who has its keys again, and what has to be done before the next one leaves.
//!
//! Nobody leads: a pool has members that are whole or are being refilled, and nothing is handed over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{ActError, WaitingOn};
use ferriswheel_plan::databases::memcached::{FEW_ITEMS, whole_lag};
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::policy::MemcachedSpec;
use ferriswheel_plan::step::Lag;
use ferriswheel_plan::world::{self, Absence, MemcachedCounts, MemcachedMember};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::look::{present, said};
use super::{Stand, Standing, System};
use crate::collect::CollectError;
use crate::databases::memcached::facts::{self, Sample};
use crate::databases::memcached::leftovers::{self, Cleaned};
use crate::databases::memcached::ring::Ring;
use crate::databases::memcached::session::{ServerError, Session};
use crate::databases::session::chain;
use crate::steps::{class, waiting};
use crate::world::{AskError, LOOK, MemberPod, Outside, World, members};

/// Shortest time between two looks that makes a rate. Half a second: a busy server answers thousands of questions in it,
/// and a step that is observed waits no longer for it than for anything else.
const SHORTEST: Duration = Duration::from_millis(500);

/// A look longer ago than this speaks of another time.
const LONGEST: Duration = Duration::from_secs(5);

/// Concurrent clients of the probe.
const CLIENTS: usize = 4;

/// A pool of a plan.
pub(crate) struct Memcached<'w> {
    world: &'w World,
    name: &'w DatabaseName,
    spec: &'w MemcachedSpec,
}

/// A member between two looks.
struct Gauge {
    session: Session,
    last: Mutex<Option<Sample>>,
}

/// What a member does at this moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    lately: MemcachedCounts,
    window: Duration,
    items: u64,
}

impl Gauge {
    async fn read(&self) -> Result<Reading, ServerError> {
        let mut last = self.last.lock().await;
        let known = last.take().filter(|sample| sample.at.elapsed() < LONGEST);
        let earlier = match known {
            Some(sample) => sample,
            None => facts::sample(&self.session, LOOK).await?,
        };
        sleep(SHORTEST.saturating_sub(earlier.at.elapsed())).await;
        let now = facts::sample(&self.session, LOOK).await?;
        let lately = now.ever.since(earlier.ever);
        // Too few questions to say anything: the next look counts from the same moment.
        let is_enough = lately.hit_rate().is_some() || now.at - earlier.at >= LONGEST;
        *last = Some(if is_enough { now } else { earlier });
        Ok(Reading {
            lately,
            window: now.at - earlier.at,
            items: now.items,
        })
    }
}

/// A member and what it does.
struct Look {
    member: MemberPod,
    said: Result<Reading, String>,
}

impl<'w> Memcached<'w> {
    pub(super) fn new(world: &'w World, name: &'w DatabaseName, spec: &'w MemcachedSpec) -> Self {
        Self { world, name, spec }
    }

    async fn gauges(&self) -> Result<Vec<(MemberPod, Arc<Gauge>)>, AskError> {
        let members = self.world.members(&self.spec.stateful_set).await?;
        let kept = members.into_iter().map(|member| {
            let gauge = self.world.kept(self.name, &member, || Gauge {
                session: session(&self.world.outside, self.spec, &member),
                last: Mutex::default(),
            });
            (member, gauge)
        });
        Ok(kept.collect())
    }

    async fn looks(&self) -> Result<Vec<Look>, AskError> {
        let asked = self
            .gauges()
            .await?
            .into_iter()
            .map(async |(member, gauge)| {
                let said = said(&member, gauge.read()).await;
                Look { member, said }
            });
        Ok(futures::future::join_all(asked).await)
    }

    /// Names by which clients know the members, by ordinal.
    async fn names(&self) -> Result<Vec<(ObjectRef, String)>, AskError> {
        let set = self.world.stateful_set(&self.spec.stateful_set).await?;
        let service = set.spec.service_name.unwrap_or_default();
        let ObjectRef {
            namespace,
            name: set_name,
        } = &self.spec.stateful_set;
        // Not the pods that are there: clients keep a member on their ring for as long as it is away.
        let named = (0..set.spec.replicas.unwrap_or(1)).map(|ordinal| {
            let pod = ObjectRef::new(namespace, format!("{set_name}-{ordinal}"));
            let name = self.spec.name_of(&pod.name, &service);
            (pod, name)
        });
        Ok(named.collect())
    }

    /// What the spec allows would still hold with one member away.
    fn bears_an_absence(&self, looks: &[Look]) -> Result<Vec<String>, WaitingOn> {
        let readings: Vec<&Reading> = looks.iter().filter_map(|l| l.said.as_ref().ok()).collect();
        let counts: Vec<MemcachedCounts> = readings.iter().map(|one| one.lately).collect();
        let window = readings.iter().map(|one| one.window.as_millis()).max();
        let window = window.and_then(|ms| u64::try_from(ms).ok());
        let Some(cost) = Absence::worst(&counts, window) else {
            return Ok(vec!["next to nobody asks at this moment".to_owned()]);
        };
        let loads = cost.loads_a_second.unwrap_or(0);
        if let Some(limit) = self.spec.min_hit_rate
            && cost.lowest < f64::from(limit.get())
        {
            return Err(waiting(
                &self.spec.stateful_set,
                format!(
                    "the hit-rate is {:.1} % and would be {:.1} % without one member; minHitRate is {limit} %",
                    cost.now, cost.lowest
                ),
                "more keys are found, or a new plan allows less",
            ));
        }
        if let Some(limit) = self.spec.max_backend_load
            && loads > limit
        {
            return Err(waiting(
                &self.spec.stateful_set,
                format!("the backend would get {loads} loads a second; maxBackendLoad is {limit}"),
                "fewer requests come",
            ));
        }
        Ok(vec![format!(
            "hit-rate {:.1} %, {:.1} % without one member, with {loads} loads a second",
            cost.now, cost.lowest
        )])
    }
}

fn standing(looks: &[Look], max_lag: Option<Lag>) -> Standing {
    Standing {
        stands: looks
            .iter()
            .map(|look| Stand {
                member: look.member.clone(),
                answers: look.said.is_ok(),
                whole: whole(looks, look, max_lag),
            })
            .collect(),
        leaders: Vec::new(),
        led_by: BTreeMap::new(),
    }
}

/// The member is Ready, answers, and finds about as many of its keys as the others of theirs; where next to nobody asks,
/// it has at least half as many keys as they have.
fn whole(looks: &[Look], look: &Look, max_lag: Option<Lag>) -> Result<String, WaitingOn> {
    let pod = &look.member.pod;
    let reading = present(&look.member, &look.said)?;
    let others: Vec<&Reading> = looks
        .iter()
        .filter(|other| other.member.pod != *pod)
        .filter_map(|other| other.said.as_ref().ok())
        .collect();
    let theirs = others
        .iter()
        .fold(MemcachedCounts::default(), |all, one| all.and(one.lately));
    if let (Some(own), Some(theirs)) = (reading.lately.hit_rate(), theirs.hit_rate()) {
        let said = format!("hit-rate {own:.1} %, the others' {theirs:.1} %");
        let behind = theirs - own;
        if max_lag.is_some_and(|most| !most.holds_points(behind)) {
            return Err(waiting(
                pod,
                format!("it is being refilled: {said}"),
                "its hit-rate is close to the others'",
            ));
        }
        return Ok(said);
    }
    let count = u64::try_from(others.len()).unwrap_or(1).max(1);
    let usual = others.iter().map(|one| one.items).sum::<u64>() / count;
    let said = format!("{} keys, the others have {usual} each", reading.items);
    if max_lag.is_some() && usual >= FEW_ITEMS && reading.items < usual / 2 {
        return Err(waiting(
            pod,
            format!("it is being refilled: {said}"),
            "clients ask it, and it has keys as the others have",
        ));
    }
    Ok(said)
}

#[async_trait]
impl System for Memcached<'_> {
    async fn standing(&self, max_lag: Option<Lag>) -> Result<Standing, AskError> {
        Ok(standing(&self.looks().await?, max_lag))
    }

    fn whole_lag(&self) -> Lag {
        whole_lag(self.spec)
    }

    /// What the spec allows must still hold without the member, and nobody else may have old values of its keys.
    async fn part_with(&self, leaving: &ObjectRef) -> Result<Vec<String>, ActError> {
        let looks = self.looks().await.map_err(class)?;
        let mut facts = self.bears_an_absence(&looks).map_err(ActError::Wait)?;
        let names = self.names().await.map_err(class)?;
        let members = self.world.members(&self.spec.stateful_set).await;
        let members = members.map_err(class)?;
        let Some(at) = names.iter().position(|(pod, _)| pod == leaving) else {
            return Ok(facts);
        };
        // Sessions of their own: to list what a server has takes longer than a look at it may.
        let mut others: Vec<(usize, Session)> = Vec::new();
        for (number, (pod, _)) in names.iter().enumerate().filter(|(n, _)| *n != at) {
            let member = members.iter().find(|member| member.pod == *pod);
            let member = member.ok_or_else(|| {
                ActError::Wait(waiting(pod, "there is no such pod", "the set is whole"))
            })?;
            others.push((number, session(&self.world.outside, self.spec, member)));
        }
        let names: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
        let ring = Ring::of(&names, self.spec.port);
        let others: Vec<(usize, &Session)> = others.iter().map(|(n, one)| (*n, one)).collect();
        let cleaned = leftovers::delete(&others, &ring, names.len(), at)
            .await
            .map_err(|e| class(e.into()))?;
        facts.push(match cleaned {
            Cleaned::Deleted(gone) => {
                format!("{gone} values of its keys that others had from an earlier absence were deleted")
            }
            Cleaned::AnotherRing { server, at_home, all } => format!(
                "what others may have of its keys from an earlier absence was left: of {all} keys on {} a weighted ketama \
                 ring of {} puts {at_home} there, so clients may use another ring; they may read old values while it is away",
                names.get(server).map_or("a member", String::as_str),
                names.join(", ")
            ),
        });
        Ok(facts)
    }

    async fn probe_config(&self) -> Result<BTreeMap<String, Value>, AskError> {
        let names = self.names().await?;
        let servers: Vec<String> = names
            .iter()
            .map(|(_, name)| format!("{name}:{}", self.spec.port))
            .collect();
        Ok(BTreeMap::from([
            ("system".to_owned(), json!("memcached")),
            (
                "dsn".to_owned(),
                json!(format!("memcached://{}", servers.join(","))),
            ),
            ("writers".to_owned(), json!(CLIENTS)),
            ("min_hit_rate".to_owned(), json!(self.spec.min_hit_rate)),
        ]))
    }

    fn probe_file(&self) -> Value {
        json!({"system": "memcached", "password_file": null})
    }

    /// A member that leaves is a miss for its clients, not an error.
    fn errors_allowed(&self) -> Option<u64> {
        Some(0)
    }

    fn port(&self) -> u16 {
        self.spec.port
    }
}

fn session(outside: &Outside, spec: &MemcachedSpec, member: &MemberPod) -> Session {
    Session::new(
        &member.pod.name,
        member.target(spec.port),
        Arc::clone(&outside.dial),
    )
}

/// What the snapshot says of a pool.
pub(crate) async fn collect(
    outside: &Outside,
    spec: &MemcachedSpec,
) -> Result<world::Memcached, CollectError> {
    let pods = members(&outside.kube, &spec.stateful_set).await?;
    let asked = pods.iter().map(|member| {
        let session = session(outside, spec, member);
        async move {
            let answer = if member.ip.is_none() {
                Err("the pod has no address".to_owned())
            } else {
                facts::collect(&session).await.map_err(|e| chain(&e))
            };
            let (facts, unreachable) = match answer {
                Ok(facts) => (Some(facts), None),
                Err(why) => (None, Some(why)),
            };
            (
                member.pod.name.clone(),
                MemcachedMember { unreachable, facts },
            )
        }
    });
    Ok(world::Memcached {
        stateful_set: spec.stateful_set.clone(),
        members: futures::future::join_all(asked).await.into_iter().collect(),
    })
}
