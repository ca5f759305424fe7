//! What must be true of every member, from its own view, before anything is touched.

use std::collections::{BTreeMap, BTreeSet};

use super::super::members;
use super::{Set, WHOLE_LAG};
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::scope::{Member, Scope, join};
use crate::world::{MongoFacts, MongoPeer, MongoShardRole, MongoState};

/// Fewest voting members with data. With two, a move leaves one of two votes and so no majority.
const FEWEST_BEARERS: usize = 3;

/// Oldest servers whose behaviour is known: 4.4 streams `hello` to drivers, so that they hear of a new
/// primary at once, and hands an election off.
const OLDEST: (u32, u32) = (4, 4);

/// The commit point of a healthy set is milliseconds behind what the primary has applied; 2 s means
/// that too few secondaries keep up.
const COMMIT_BEHIND_MS: u64 = 2_000;

/// What the oplog must reach: ten times the 90 s in which a member usually moves, and so more than a
/// disk that takes five minutes to attach.
const OPLOG_REACH_SECONDS: u64 = 900;

/// A server of 5.0 or later takes no new work for 15 s before it stops
/// (`shutdownTimeoutMillisForSignaledShutdown`), then writes a checkpoint.
const SHORTEST_GRACE_SECONDS: u64 = 30;

/// What a busy server with a large cache may need.
const GOOD_GRACE_SECONDS: u64 = 90;

pub(super) fn gate(set: &Set<'_>, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    findings.absorb(members::answered(
        set,
        &set.observed.members,
        "check the pod, the Secret of `admin`, and the user's rights",
    ));
    findings.absorb(members::complete(set));
    findings.absorb(members::unowned(
        set,
        "let the owner hand over, or pause it for the run",
    ));
    let mut foreign = false;
    for (member, facts) in set.answers() {
        let found = kind(member, facts);
        foreign |= !found.refusals.is_empty();
        findings.absorb(found);
    }
    if foreign {
        // What follows speaks of replica sets alone.
        return findings;
    }
    findings.absorb(leader(set));
    for (member, facts) in set.answers() {
        findings.absorb(alone(member, facts));
    }
    findings.absorb(agreement(set));
    findings.absorb(membership(set));
    findings.absorb(votes(set));
    findings.absorb(succession(set, scope));
    if !scope.hand_over_only {
        findings.absorb(moving(set));
    }
    findings
}

/// A replica set of its own, of a version that is known.
fn kind(member: &Member<'_>, facts: &MongoFacts) -> Findings {
    let mut findings = Findings::default();
    let name = &member.name;
    if let Some(role) = facts.sharding {
        let is = match role {
            MongoShardRole::Shard => "a shard (`sharding.clusterRole: shardsvr`)",
            MongoShardRole::Config => "a configuration server (`sharding.clusterRole: configsvr`)",
            MongoShardRole::Router => "a router (mongos)",
        };
        findings.refuse(
            Diagnostic::new(
                codes::SHARDED,
                name,
                "it is a part of a sharded cluster, which is not carried yet",
            )
            .seen(format!("it is {is}"))
            .fix("stop the balancer (`sh.stopBalancer()`, and wait until no chunk moves), then move config servers, shards and routers by hand in this order, secondaries first, and start the balancer again"),
        );
        return findings;
    }
    if facts.set.is_none() {
        findings.refuse(
            Diagnostic::new(
                codes::NO_REPLICA_SET,
                name,
                "the server is in no replica set: nobody could take over",
            )
            .seen("`hello` names no set")
            .fix("start the servers with `--replSet` and initiate the set (`rs.initiate`)"),
        );
    }
    let mut numbers = facts.version.split('.').map(str::parse);
    let version = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    };
    if version.is_none_or(|version: (u32, u32)| version < OLDEST) {
        findings.refuse(
            Diagnostic::new(codes::MONGO_VERSION, name, "the server is too old")
                .seen(format!("MongoDB {}", facts.version))
                .fix("upgrade the servers to 4.4 or later first"),
        );
    }
    findings
}

fn leader(set: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let primaries: Vec<&str> = set
        .answers()
        .filter(|(_, facts)| facts.state == MongoState::Primary)
        .map(|(member, _)| member.name.name.as_str())
        .collect();
    match primaries[..] {
        [_] => {}
        [] => findings.refuse(
            Diagnostic::new(codes::NO_PRIMARY, set.set_name, "no member is the primary")
                .seen(join(set.answers().map(|(member, facts)| {
                    format!("{} is {}", member.name.name, facts.state)
                })))
                .fix("let the set elect one; a majority of its members must answer each other"),
        ),
        _ => findings.refuse(
            Diagnostic::new(
                codes::TWO_PRIMARIES,
                set.set_name,
                "more than one member says that it is the primary",
            )
            .seen(primaries.join(", "))
            .fix("wait some seconds: the one with the older term steps down when it hears of the other; if it does not, the members do not reach each other"),
        ),
    }
    findings
}

/// What one member says of itself.
fn alone(member: &Member<'_>, facts: &MongoFacts) -> Findings {
    let mut findings = Findings::default();
    let name = &member.name;
    if let MongoState::Other(state) = &facts.state {
        findings.refuse(
            Diagnostic::new(
                codes::MEMBER_STATE,
                name,
                "it is neither primary nor secondary",
            )
            .seen(format!("replSetGetStatus: {state}"))
            .fix("wait until it is SECONDARY; an initial sync (STARTUP2) copies everything and must not be disturbed"),
        );
    }
    if facts.index_builds > 0 {
        findings.refuse(
            Diagnostic::new(
                codes::INDEX_BUILD,
                name,
                "an index is being built: the members commit it together, and a member that is away holds it up",
            )
            .seen(format!("{} index builds in currentOp", facts.index_builds))
            .fix("wait until it is done, then plan again"),
        );
    }
    if let Some(backup) = &facts.backup {
        findings.refuse(
            Diagnostic::new(
                codes::SET_BACKUP,
                name,
                "a backup reads from it, and a move would break it",
            )
            .seen(backup)
            .fix("wait until the backup is done, then plan again"),
        );
    }
    if !facts.forbidden.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::MONGO_RIGHTS,
                name,
                "the user may not do what the procedure needs",
            )
            .seen(format!(
                "{} lacks {}",
                facts.user,
                facts.forbidden.join(", ")
            ))
            .fix(format!(
                "db.getSiblingDB('admin').grantRolesToUser('{}', ['clusterAdmin', 'readWriteAnyDatabase'])",
                facts.user
            )),
        );
    }
    if facts.state == MongoState::Primary {
        if facts.commit_behind_ms > COMMIT_BEHIND_MS {
            findings.refuse(
                Diagnostic::new(
                    codes::COMMIT_BEHIND,
                    name,
                    "too few secondaries keep up: the majority's commit point does not follow",
                )
                .seen(format!(
                    "{} ms behind what the primary has applied",
                    facts.commit_behind_ms
                ))
                .fix("find out which secondary is slow, and why; then plan again"),
            );
        }
        if facts.default_write_concern != "majority" {
            findings.warn(
                Diagnostic::new(
                    codes::WRITE_CONCERN,
                    name,
                    "clients that say nothing do not wait for a majority: a crash may lose what they wrote",
                )
                .seen(format!(
                    "default write concern w: {}",
                    facts.default_write_concern
                ))
                .fix("db.adminCommand({setDefaultRWConcern: 1, defaultWriteConcern: {w: 'majority'}})"),
            );
        }
    }
    findings
}

/// Everybody sees the same set, the same primary in the same term, and everybody well.
fn agreement(set: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut seen = Vec::new();
    let mut answers = set.answers();
    let Some((first, model)) = answers.next() else {
        return findings;
    };
    for (member, facts) in answers {
        let mut differs = |what: &str, ours: String, theirs: String| {
            if ours != theirs {
                seen.push(format!(
                    "{what}: {} says {ours}, {} says {theirs}",
                    first.name.name, member.name.name
                ));
            }
        };
        let set_name = |facts: &MongoFacts| facts.set.clone().unwrap_or_default();
        let config =
            |facts: &MongoFacts| format!("{} of term {}", facts.config_version, facts.config_term);
        differs("set", set_name(model), set_name(facts));
        differs("term", model.term.to_string(), facts.term.to_string());
        differs("configuration", config(model), config(facts));
        differs("primary", leads(model), leads(facts));
    }
    for (member, facts) in set.answers() {
        for peer in facts.peers.values() {
            let settled = matches!(
                peer.state,
                MongoState::Primary | MongoState::Secondary | MongoState::Arbiter
            );
            if !peer.healthy || !settled {
                seen.push(format!(
                    "{} sees {} as {}",
                    member.name.name, peer.host, peer.state
                ));
            }
        }
        if facts.myself().is_none() {
            seen.push(format!(
                "{} is {} and not in its own configuration",
                member.name.name, facts.me
            ));
        }
    }
    if !seen.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::SET_VIEWS_DIFFER,
            set.set_name,
            "the members do not agree about the set",
        )
        .fix("wait for a heartbeat or two (2 s each); if it stays, some members do not reach each other, or one is down");
        diagnostic.evidence = seen;
        findings.refuse(diagnostic);
    }
    findings
}

fn leads(facts: &MongoFacts) -> String {
    join(
        facts
            .peers
            .values()
            .filter(|peer| peer.state == MongoState::Primary)
            .map(|peer| &peer.host),
    )
}

/// The configuration names the pods of the set, by names that outlive them.
fn membership(set: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let Some((_, model)) = set.answers().next() else {
        return findings;
    };
    let ours: BTreeSet<&str> = set.answers().map(|(_, facts)| facts.me.as_str()).collect();
    let strangers: Vec<&str> = model
        .peers
        .values()
        .map(|peer| peer.host.as_str())
        .filter(|host| !ours.contains(host))
        .collect();
    if ours.len() == set.members.len() && !strangers.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::SET_STRANGERS,
                set.set_name,
                "the configuration has members that are not pods of this set",
            )
            .seen(strangers.join(", "))
            .fix("name the set that carries all members; one that is gone for good is removed by `rs.remove`"),
        );
    }
    let by_number: Vec<&str> = model
        .peers
        .values()
        .filter(|peer| peer.host_name().parse::<std::net::IpAddr>().is_ok())
        .map(|peer| peer.host.as_str())
        .collect();
    if !by_number.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::MEMBER_ADDRESS,
                set.set_name,
                "members are known by addresses, which change when a pod moves",
            )
            .seen(by_number.join(", "))
            .fix("give the set a headless Service and name its members by it (`mongo-0.mongo.db.svc.cluster.local:27017`) with `rs.reconfig`"),
        );
    }
    findings
}

fn votes(set: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let Some((_, model)) = set.answers().next() else {
        return findings;
    };
    let hosts = |is: &dyn Fn(&MongoPeer) -> bool| -> Vec<String> {
        let found = model.peers.values().filter(|peer| is(peer));
        found.map(|peer| peer.host.clone()).collect()
    };
    let arbiters = hosts(&|peer| peer.arbiter);
    if !arbiters.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::ARBITER,
                set.set_name,
                "an arbiter votes and has no data: while a member moves, no write reaches a majority",
            )
            .seen(arbiters.join(", "))
            .fix("replace the arbiter by a member with data (`rs.remove`, then `rs.add` once a fresh one is up), then plan again"),
        );
    }
    let voters = hosts(&|peer| peer.votes > 0);
    let bearers = hosts(&|peer| peer.votes > 0 && !peer.arbiter);
    if bearers.len() < FEWEST_BEARERS || voters.len() % 2 == 0 {
        findings.refuse(
            Diagnostic::new(
                codes::VOTES,
                set.set_name,
                "the votes do not bear a missing member: three with data, and an odd number, are needed",
            )
            .seen(format!("voting: {}", voters.join(", ")))
            .fix("add a member with data, or take the vote from one (`votes: 0, priority: 0`)"),
        );
    }
    findings
}

/// Somebody may take over, keeps up, and is left in charge afterwards.
fn succession(set: &Set<'_>, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    let Some((primary, theirs)) = set.primary() else {
        return findings;
    };
    // Each by its own word: what others know of it is as old as their last heartbeat.
    let newest = |facts: &MongoFacts| facts.myself().map_or(0, |(_, myself)| myself.optime);
    for (member, facts) in set.answers() {
        let delayed = facts
            .myself()
            .is_some_and(|(_, myself)| myself.delay_seconds > 0);
        let lag = newest(theirs).saturating_sub(newest(facts));
        if facts.state == MongoState::Secondary && !delayed && !WHOLE_LAG.holds_millis(lag * 1_000)
        {
            findings.refuse(
                Diagnostic::new(
                    codes::SECONDARY_BEHIND,
                    &member.name,
                    "the secondary has not everything that the primary has",
                )
                .seen(format!("{lag} s behind {}", primary.name.name))
                .fix("wait until it has caught up; if it never does, look at its disk and at its network"),
            );
        }
    }
    if !scope.hand_over_only && primary.old_node.is_none() {
        return findings;
    }
    let candidates = set.candidates();
    let Some(best) = candidates.first() else {
        findings.refuse(
            Diagnostic::new(
                codes::NOT_ELECTABLE,
                set.set_name,
                "no secondary could take over",
            )
            .seen(join(theirs.peers.values().map(|peer| {
                format!(
                    "{}: priority {}, hidden {}, delayed {} s",
                    peer.host,
                    thousandths(peer.priority_milli),
                    peer.hidden,
                    peer.delay_seconds
                )
            })))
            .fix("give a secondary a priority above 0 that is neither hidden nor delayed"),
        );
        return findings;
    };
    let (own, other) = (set.priority(primary), set.priority(best));
    if own > other {
        findings.refuse(
            Diagnostic::new(
                codes::TAKEOVER,
                set.set_name,
                "the old primary would take over again by itself: the primary would move twice",
            )
            .seen(format!(
                "{} has priority {}, {} has {}",
                primary.name.name,
                thousandths(own),
                best.name.name,
                thousandths(other)
            ))
            .fix("give both the same priority (`rs.reconfig`), for the run at least"),
        );
    }
    findings
}

/// What only the absence of a member brings about.
fn moving(set: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    if set.set.claim_templates.is_empty() {
        let places: BTreeMap<&str, &str> = set
            .answers()
            .map(|(member, facts)| (member.name.name.as_str(), facts.directory.as_str()))
            .collect();
        findings.refuse(
            Diagnostic::new(
                codes::NO_CLAIM,
                set.set_name,
                "the data would be lost with the pod: each move would copy everything anew",
            )
            .seen(format!(
                "the set has no volume claim; data in {}",
                join(places.values())
            ))
            .fix("give the set a volume claim and keep the data on it"),
        );
    }
    for (member, facts) in set.answers() {
        let reach = facts.oplog_reach_seconds();
        if reach < OPLOG_REACH_SECONDS {
            findings.refuse(
                Diagnostic::new(
                    codes::OPLOG_SHORT,
                    &member.name,
                    "its oplog may not reach back to when a moving member left: that one would copy everything anew",
                )
                .seen(format!(
                    "{} s in {} MiB of {} MiB, so about {reach} s when full; {OPLOG_REACH_SECONDS} s are wanted",
                    facts.oplog_seconds,
                    facts.oplog_bytes >> 20,
                    facts.oplog_max_bytes >> 20
                ))
                .fix("db.adminCommand({replSetResizeOplog: 1, size: <MB>}) on every member"),
            );
        }
    }
    let grace = set.set.termination_grace_seconds;
    let diagnostic = |what: &str| {
        Diagnostic::new(codes::QUIESCE, set.set_name, what)
            .seen(format!("terminationGracePeriodSeconds is {grace}"))
            .fix(format!(
                "give members {GOOD_GRACE_SECONDS} s or more in the template"
            ))
    };
    if grace <= SHORTEST_GRACE_SECONDS {
        findings.refuse(diagnostic(
            "a member that stops would be killed: it takes no new work for 15 s, then writes its data",
        ));
    } else if grace < GOOD_GRACE_SECONDS {
        findings.warn(diagnostic(
            "a member with much unwritten data may be killed while it stops",
        ));
    }
    findings
}

fn thousandths(milli: u64) -> String {
    if milli.is_multiple_of(1_000) {
        (milli / 1_000).to_string()
    } else {
        format!("{}.{:03}", milli / 1_000, milli % 1_000)
    }
}
