//! Who leads what, as the checker works it out by itself: a PostgreSQL set is one shard, a cluster
//! has one for each primary.

use std::collections::BTreeSet;

use crate::ids::ObjectRef;
use crate::policy::{DatabaseSpec, System};
use crate::step::HandOverTerms;
use crate::world::{Database, MongoState, RedisRole};

/// Members of which one leads.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    members: BTreeSet<ObjectRef>,
    primary: ObjectRef,
    hand_overs: u32,
    /// Who leads it but while it is led away.
    home: Option<ObjectRef>,
}

/// The shards of a set.
#[derive(Clone, Debug, Default)]
pub(super) struct Shards {
    led: Vec<Shard>,
    /// Members of a set in which nobody leads and nobody follows.
    peers: BTreeSet<ObjectRef>,
}

impl Shards {
    fn led(shards: Vec<Shard>) -> Self {
        Self {
            led: shards,
            peers: BTreeSet::new(),
        }
    }

    /// Nobody leads, so that nobody has to be asked who does.
    pub(super) fn are_peers(&self) -> bool {
        self.led.is_empty() && !self.peers.is_empty()
    }

    /// As observed; members that follow nobody known are in no shard, and may not move.
    pub(super) fn of(database: Option<&Database>, members: &BTreeSet<ObjectRef>) -> Self {
        let pod_of = |name: &str| members.iter().find(|pod| pod.name == name).cloned();
        let shard = |primary: ObjectRef, members: BTreeSet<ObjectRef>| Shard {
            members,
            primary,
            hand_overs: 0,
            home: None,
        };
        match database {
            None => Self::default(),
            Some(Database::Memcached(set)) => Self {
                led: Vec::new(),
                peers: set.members.keys().filter_map(|name| pod_of(name)).collect(),
            },
            Some(Database::Postgres(set)) => {
                let leader = set.members.iter().find_map(|(name, member)| {
                    let leads = !member.facts.as_ref()?.in_recovery;
                    leads.then(|| pod_of(name)).flatten()
                });
                Self::led(
                    leader
                        .map(|primary| shard(primary, members.clone()))
                        .into_iter()
                        .collect(),
                )
            }
            Some(Database::Mariadb(set)) => {
                let mut leaders = set.members.iter().filter_map(|(name, member)| {
                    let facts = member.facts.as_ref()?;
                    (facts.sources.is_empty() && !facts.read_only)
                        .then(|| pod_of(name))
                        .flatten()
                });
                let leader = leaders.next().map(|pod| shard(pod, members.clone()));
                Self::led(leader.into_iter().collect())
            }
            Some(Database::Mongodb(set)) => {
                let mut leaders = set.members.iter().filter_map(|(name, member)| {
                    let leads = member.facts.as_ref()?.state == MongoState::Primary;
                    leads.then(|| pod_of(name)).flatten()
                });
                let leader = leaders.next().map(|pod| shard(pod, members.clone()));
                Self::led(leader.into_iter().collect())
            }
            // Each broker leads a part, whichever it is at the time.
            Some(Database::Kafka(_)) => Self::led(
                members
                    .iter()
                    .map(|broker| Shard {
                        home: Some(broker.clone()),
                        ..shard(broker.clone(), members.clone())
                    })
                    .collect(),
            ),
            Some(Database::Redis(set)) => {
                let answers = || {
                    set.members
                        .iter()
                        .filter_map(|(name, member)| Some((pod_of(name)?, member.facts.as_ref()?)))
                };
                let shards = answers()
                    .filter(|(_, facts)| facts.role == RedisRole::Primary)
                    .map(|(primary, leader)| {
                        let followers = answers().filter(|(_, facts)| {
                            facts.role == RedisRole::Replica
                                && facts.primary_id.as_deref() == Some(&leader.id)
                        });
                        let mut all: BTreeSet<ObjectRef> = followers.map(|(pod, _)| pod).collect();
                        all.insert(primary.clone());
                        shard(primary, all)
                    });
                Self::led(shards.collect())
            }
        }
    }

    /// The member leads a shard.
    pub(super) fn is_led_by(&self, pod: &ObjectRef) -> bool {
        self.led.iter().any(|shard| shard.primary == *pod)
    }

    /// The member is known to follow or to lead somebody, or to be one of peers.
    pub(super) fn has(&self, pod: &ObjectRef) -> bool {
        self.peers.contains(pod) || self.led.iter().any(|shard| shard.members.contains(pod))
    }

    /// A member more, as the extra seat of a set that is one shard.
    pub(super) fn join(&mut self, pod: &ObjectRef) {
        if let [shard] = &mut self.led[..] {
            shard.members.insert(pod.clone());
        }
    }

    /// One leads instead of the other; what is wrong with that.
    pub(super) fn hand_over(&mut self, from: &ObjectRef, to: &ObjectRef) -> Vec<String> {
        let Some(shard) = self
            .led
            .iter_mut()
            .find(|shard| shard.members.contains(from))
        else {
            return vec![format!("{from} is not the primary")];
        };
        let mut wrong = Vec::new();
        if shard.hand_overs > 0 {
            wrong.push("the primary would move twice".to_owned());
        }
        if shard.primary != *from {
            wrong.push(format!("{from} is not the primary"));
        }
        if from == to || !shard.members.contains(to) {
            wrong.push(format!("{to} is no replica of {from}"));
        }
        shard.primary = to.clone();
        shard.hand_overs += 1;
        wrong
    }

    /// What a broker leads is led by the other; what is wrong with that.
    pub(super) fn lead_away(&mut self, from: &ObjectRef, to: Option<&ObjectRef>) -> Vec<String> {
        let Some(to) = to.filter(|to| *to != from && self.has(to)) else {
            return vec![format!("nobody leads instead of {from}")];
        };
        for shard in self.led.iter_mut().filter(|shard| shard.primary == *from) {
            shard.primary = to.clone();
            shard.hand_overs += 1;
        }
        Vec::new()
    }

    /// Every part is led by its own broker again.
    pub(super) fn lead_back(&mut self) {
        for shard in &mut self.led {
            if let Some(home) = &shard.home {
                shard.primary = home.clone();
            }
        }
    }

    /// Parts that another broker leads than theirs.
    pub(super) fn led_elsewhere(&self) -> bool {
        self.led.iter().any(|shard| {
            shard
                .home
                .as_ref()
                .is_some_and(|home| *home != shard.primary)
        })
    }

    /// Shards whose primary did not move once.
    pub(super) fn unmoved(&self) -> impl Iterator<Item = &ObjectRef> {
        self.led
            .iter()
            .filter(|shard| shard.hand_overs != 1)
            .map(|shard| &shard.primary)
    }

    /// The member with this name leads a shard.
    pub(super) fn is_led_by_name(&self, name: &str) -> bool {
        self.led.iter().any(|shard| shard.primary.name == name)
    }

    /// Somebody's lead has moved.
    pub(super) fn has_moved(&self) -> bool {
        self.led.iter().any(|shard| shard.hand_overs > 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.led.is_empty()
    }
}

/// The terms of a hand-over are those of the spec, and of the same system.
pub(super) fn same_terms(spec: &DatabaseSpec, terms: &HandOverTerms) -> bool {
    match (&spec.system, terms) {
        (System::Postgres(spec), HandOverTerms::Postgres(terms)) => {
            terms.poolers == spec.poolers
                && terms.crash_safe == spec.crash_safe
                && terms.make_synchronous == (spec.crash_safe && spec.make_synchronous)
                && terms.window_budget_ms == spec.window.0
                && terms.pause_budget_ms == spec.pause.0
                && terms.service == spec.service
        }
        (System::Redis(spec), HandOverTerms::Redis(terms)) => {
            terms.window_budget_ms == spec.window.0
        }
        (System::Mongodb(spec), HandOverTerms::Mongodb(terms)) => {
            terms.window_budget_ms == spec.window.0
        }
        (System::Mariadb(spec), HandOverTerms::Mariadb(terms)) => {
            terms.window_budget_ms == spec.window.0 && terms.lock_budget_ms == spec.transaction.0
        }
        (
            System::Postgres(_)
            | System::Redis(_)
            | System::Mongodb(_)
            | System::Mariadb(_)
            | System::Memcached(_)
            | System::Kafka(_),
            _,
        ) => false,
    }
}
