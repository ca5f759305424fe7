//! What a run asks of a database, whatever the system: one file each, behind [`System`].
//!
//! Steps, guards and the collector ask through [`of`] and [`collect`] and know no system by name.

mod attempts;
mod kafka;
mod look;
pub mod mariadb;
mod memcached;
mod mongodb;
mod postgres;
pub mod redis;

pub(crate) use postgres::primary;

use std::collections::BTreeMap;

use async_trait::async_trait;
use ferriswheel_engine::actuator::{Ack, ActError, Evidence, Observed, OperationKey, WaitingOn};
use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::policy::{self, DatabaseSpec, Tls};
use ferriswheel_plan::step::{DrainTerms, HandOverTerms, Lag};
use ferriswheel_plan::world::Database;
use serde_json::Value;

use crate::collect::CollectError;
use crate::databases::tls::Secured;
use crate::steps::{class, waiting, wrong_terms};
use crate::world::{AskError, MemberPod, Outside, World, secret_key};

/// A database of a plan. A system in which nobody leads leaves out what is about hand-overs.
#[async_trait]
pub(crate) trait System: Send + Sync {
    /// How every member stands now, asked at the same time. A replica that lags more than this is
    /// not whole; `None`: however far.
    async fn standing(&self, max_lag: Option<Lag>) -> Result<Standing, AskError>;

    /// The lag up to which a member that came back counts as whole.
    fn whole_lag(&self) -> Lag;

    /// Readies the other members for the absence of one that is about to leave, right before it does, and says what was
    /// done, or what went wrong where that costs time alone.
    ///
    /// # Errors
    /// What has to hold beside the guards does not: the member must not leave yet.
    async fn part_with(&self, _leaving: &ObjectRef) -> Result<Vec<String>, ActError> {
        Ok(Vec::new())
    }

    /// Does the member lead no part any more?
    async fn observe_drain(&self, leaving: &ObjectRef) -> Result<Observed, AskError> {
        Err(no_parts(leaving))
    }

    /// Leads every part that the member leads away from it.
    async fn drain(
        &self,
        _leaving: &ObjectRef,
        _terms: &DrainTerms,
        _key: &OperationKey,
    ) -> Result<Ack, ActError> {
        Err(wrong_terms("this system"))
    }

    /// Is every part led as it was before the run?
    async fn observe_return(&self) -> Result<Observed, AskError> {
        Err(no_parts(&"it"))
    }

    /// Gives every part that was led away its leader back.
    async fn give_back(&self, _pace_ms: u64, _key: &OperationKey) -> Result<Ack, ActError> {
        Err(wrong_terms("this system"))
    }

    /// Is the hand-over done, possible, under way?
    async fn observe_hand_over(
        &self,
        _from: &ObjectRef,
        to: &ObjectRef,
    ) -> Result<Observed, AskError> {
        Err(nobody_leads(to))
    }

    /// Hands over.
    async fn hand_over(
        &self,
        _from: &ObjectRef,
        to: &ObjectRef,
        _terms: &HandOverTerms,
        _key: &OperationKey,
    ) -> Result<Ack, ActError> {
        Err(class(nobody_leads(to)))
    }

    /// Brings a hand-over whose end nobody saw to one end or the other.
    async fn settle(
        &self,
        _from: &ObjectRef,
        to: &ObjectRef,
        _terms: &HandOverTerms,
        _key: &OperationKey,
    ) -> Result<Evidence, ActError> {
        Err(class(nobody_leads(to)))
    }

    /// Makes the servers forget a member that was removed for good; `leader` is who would remember. Where the extra seat
    /// is no part of the plans nobody is removed for good.
    async fn forget(&self, _leader: &ObjectRef, gone: &ObjectRef) -> Result<(), AskError> {
        Err(AskError::Absent {
            what: format!("a way to remove {gone} for good"),
        })
    }

    /// Secret with the credentials that applications write with; `None`: the servers ask nobody who it is.
    fn application(&self) -> Option<&ObjectRef> {
        None
    }

    /// What the probe must know to write like an application, beside subject and limits: `system`,
    /// `dsn`, `writers`.
    async fn probe_config(&self) -> Result<BTreeMap<String, Value>, AskError>;

    /// What the file that the probe is started with says of this system.
    fn probe_file(&self) -> Value;

    /// Errors that clients may see when the spec sets no limit; `None`: they are counted, and judged only where the spec
    /// sets one. That is so wherever connections are cut with a change that good clients get over by themselves.
    fn errors_allowed(&self) -> Option<u64> {
        None
    }

    /// Port of the members.
    fn port(&self) -> u16;
}

/// A hand-over where there is none: the planner orders none, and its checker lets none through.
fn nobody_leads(pod: &ObjectRef) -> AskError {
    AskError::Absent {
        what: format!("a system in which {pod} leads or follows"),
    }
}

/// The system of a database of the plan.
pub(crate) fn of<'w>(
    world: &'w World,
    database: &DatabaseName,
) -> Result<Box<dyn System + 'w>, AskError> {
    let spec = world.database(database)?;
    Ok(match &spec.system {
        policy::System::Postgres(found) => {
            Box::new(postgres::Postgres::new(world, &spec.name, found))
        }
        policy::System::Redis(found) => Box::new(redis::Redis::new(world, &spec.name, found)),
        policy::System::Mongodb(found) => Box::new(mongodb::Mongo::new(world, &spec.name, found)),
        policy::System::Mariadb(found) => Box::new(mariadb::Mariadb::new(world, &spec.name, found)),
        policy::System::Memcached(found) => {
            Box::new(memcached::Memcached::new(world, &spec.name, found))
        }
        policy::System::Kafka(found) => Box::new(kafka::Kafka::new(world, &spec.name, found)),
    })
}

/// Observes a database for the snapshot.
pub(crate) async fn collect(
    outside: &Outside,
    spec: &DatabaseSpec,
) -> Result<Database, CollectError> {
    Ok(match &spec.system {
        policy::System::Postgres(spec) => {
            Database::Postgres(postgres::collect(outside, spec).await?)
        }
        policy::System::Redis(spec) => Database::Redis(redis::collect(outside, spec).await?),
        policy::System::Mongodb(spec) => Database::Mongodb(mongodb::collect(outside, spec).await?),
        policy::System::Mariadb(spec) => Database::Mariadb(mariadb::collect(outside, spec).await?),
        policy::System::Memcached(spec) => {
            Database::Memcached(memcached::collect(outside, spec).await?)
        }
        policy::System::Kafka(spec) => Database::Kafka(kafka::collect(outside, spec).await?),
    })
}

/// How sessions are secured with servers that speak TLS from the first byte on, or nothing.
async fn secured(kube: &kube::Client, tls: Option<&Tls>) -> Result<Option<Secured>, AskError> {
    let Some(tls) = tls else { return Ok(None) };
    let authority = match &tls.ca {
        Some(ca) => Some(secret_key(kube, ca, "ca.crt").await?),
        None => None,
    };
    let authority = authority.as_deref().map(str::as_bytes);
    Ok(Secured::new(tls.mode, authority, tls.server_name.clone())?)
}

/// A step that the checker of plans does not let through for another system.
fn no_parts(of: &dyn std::fmt::Display) -> AskError {
    AskError::Absent {
        what: format!("a part that {of} leads beside others"),
    }
}

/// How the members of a database stand.
pub struct Standing {
    /// Members by ordinal.
    pub stands: Vec<Stand>,
    /// Who leads the set, or each shard, with the number by which its reign is known (timeline,
    /// configuration epoch).
    pub leaders: Vec<(ObjectRef, u64)>,
    /// Who leads a member's shard, where there are several.
    pub led_by: BTreeMap<ObjectRef, ObjectRef>,
}

/// A member.
pub struct Stand {
    /// Its pod.
    pub member: MemberPod,
    /// Its server answers.
    pub answers: bool,
    /// What shows that it is whole, or what is missing.
    pub whole: Result<String, WaitingOn>,
}

impl Standing {
    /// A member.
    pub fn of(&self, pod: &ObjectRef) -> Option<&Stand> {
        self.stands.iter().find(|stand| stand.member.pod == *pod)
    }

    /// Who leads the member: one leader for all of a set without shards.
    pub fn leader_of(&self, pod: &ObjectRef) -> Option<&ObjectRef> {
        match (self.led_by.get(pod), &self.leaders[..]) {
            (Some(leader), _) => Some(leader),
            (None, [(only, _)]) if self.led_by.is_empty() => Some(only),
            (None, _) => None,
        }
    }

    /// The member leads.
    pub fn leads(&self, pod: &ObjectRef) -> bool {
        self.leader_of(pod) == Some(pod)
    }

    /// A hand-over of the set's only leader: possible, done once both are whole, or diverged; `None` while not exactly one
    /// member leads.
    pub fn of_hand_over(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        done: impl FnOnce(u64) -> Observed,
    ) -> Option<Observed> {
        let [(leader, reign)] = &self.leaders[..] else {
            return None;
        };
        if leader == from {
            return Some(Observed::Ready);
        }
        if leader != to {
            return Some(Observed::Diverged {
                expected: format!("{from} or {to} as the primary"),
                found: format!("{leader} is the primary"),
            });
        }
        Some(
            self.awaited(&[to, from])
                .map_or_else(|| done(*reign), Observed::InFlight),
        )
    }

    /// What the first of these lacks that is not whole.
    pub fn awaited(&self, pods: &[&ObjectRef]) -> Option<WaitingOn> {
        let mut stands = pods.iter().filter_map(|pod| self.of(pod));
        stands.find_map(|stand| stand.whole.as_ref().err().cloned())
    }

    /// Members that are whole.
    pub fn whole(&self) -> usize {
        self.stands.iter().filter(|s| s.whole.is_ok()).count()
    }

    /// So many members are whole, or what the first other one lacks.
    ///
    /// # Errors
    /// What is waited for.
    pub fn all_whole(&self, database: &DatabaseName, members: u32) -> Result<(), WaitingOn> {
        let good = self.whole();
        if good >= usize::try_from(members).unwrap_or(usize::MAX) {
            return Ok(());
        }
        let missing = self
            .stands
            .iter()
            .find_map(|stand| stand.whole.as_ref().err());
        let why = missing.map_or_else(|| "members are missing".to_owned(), ToString::to_string);
        Err(waiting(
            database,
            format!("{good} of {members} members are whole: {why}"),
            "all are whole",
        ))
    }

    /// The member leads, or who does.
    ///
    /// # Errors
    /// What is waited for.
    pub fn is_primary(&self, pod: &ObjectRef) -> Result<(), WaitingOn> {
        match self.leader_of(pod) {
            Some(leader) if leader == pod => Ok(()),
            Some(leader) => Err(waiting(
                pod,
                format!("{leader} is the primary"),
                "a new plan is made",
            )),
            None => Err(waiting(
                pod,
                "no single primary answers",
                "exactly one primary answers",
            )),
        }
    }
}
