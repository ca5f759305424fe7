//! What must be true of the servers before the first of them moves.

use super::{FEW_ITEMS, Pool};
use crate::codes;
use crate::databases::members;
use crate::diagnostic::{Diagnostic, Findings};
use crate::policy::{Distribution, POD};
use crate::scope::{Scope, join};
use crate::world::{Absence, MemcachedCounts, MemcachedFacts};

/// Oldest version that lists its keys (`lru_crawler metadump`).
const OLDEST: (u32, u32, u32) = (1, 4, 31);

/// Fewest members that bear a missing one.
const FEWEST: usize = 2;

pub(super) fn gate(pool: &Pool<'_>, scope: &Scope<'_>) -> Findings {
    let mut findings = members::answered(
        pool,
        &pool.observed.members,
        "`echo stats | nc POD 11211`; a server that asks for a password cannot be carried yet",
    );
    if scope.hand_over_only {
        findings.refuse(
            Diagnostic::new(
                codes::NO_CANDIDATE,
                pool.set_name,
                "in a cache nobody leads: there is nothing to hand over",
            )
            .seen("each member has keys of its own, and no copies")
            .fix("leave it out of a plan with the strategy handOver"),
        );
    }
    findings.absorb(members::complete(pool));
    findings.absorb(members::unowned(
        pool,
        "upgrade through that operator, or take the set from it",
    ));
    findings.absorb(clients(pool));
    findings.absorb(servers(pool));
    findings.absorb(refilled(pool));
    findings.absorb(absence(pool));
    findings
}

/// What the spec says of the clients.
fn clients(pool: &Pool<'_>) -> Findings {
    let mut findings = Findings::default();
    if pool.members.len() < FEWEST {
        findings.refuse(
            Diagnostic::new(
                codes::CACHE_FEW,
                pool.set_name,
                "while its member moves there is no cache: every request goes to the backend",
            )
            .seen(format!("{} member", pool.members.len()))
            .fix("scale the set up first, and wait until clients know the new members"),
        );
    }
    if pool.spec.distribution == Distribution::Modula {
        let all = pool.members.len().max(1);
        findings.refuse(
            Diagnostic::new(
                codes::CACHE_DISTRIBUTION,
                pool.set_name,
                "with one member away nearly every key belongs to another one: the hit-rate would fall to next to nothing",
            )
            .seen(format!(
                "distribution modula: of {all} members one stays where it was for 1 of {all} keys"
            ))
            .fix("let clients use ketama (libmemcached: KETAMA_WEIGHTED; pylibmc: ketama_weighted), then `distribution: ketama`"),
        );
    }
    if let Some(name) = pool
        .spec
        .client_name
        .as_ref()
        .filter(|name| !name.contains(POD))
    {
        findings.refuse(
            Diagnostic::new(
                codes::CACHE_NAMES,
                pool.set_name,
                "clients would know all members by one name: which keys a member has does not follow from it",
            )
            .seen(format!("clientName: {name}"))
            .fix(format!("write {POD} where the pod's name stands, and give each member a name of its own")),
        );
    }
    findings
}

/// Each server can do what the procedure asks of it, and all are alike.
fn servers(pool: &Pool<'_>) -> Findings {
    let mut findings = Findings::default();
    for (member, facts) in pool.answers() {
        if version(&facts.version).is_none_or(|version| version < OLDEST) {
            findings.refuse(
                Diagnostic::new(
                    codes::MEMCACHED_VERSION,
                    &member.name,
                    "the server is too old to list its keys",
                )
                .seen(format!("version {}", facts.version))
                .fix("run Memcached 1.4.31 or newer, 1.6 at best"),
            );
        }
        if !facts.dump_enabled {
            findings.refuse(
                Diagnostic::new(
                    codes::CACHE_DUMP,
                    &member.name,
                    "the server does not list its keys: old values of members that left could not be found",
                )
                .seen("`stats settings`: lru_crawler or dump_enabled is `no`")
                .fix("start it without `-X` and without `-o no_lru_crawler`"),
            );
        }
    }
    let mut versions: Vec<&str> = pool
        .answers()
        .map(|(_, facts)| facts.version.as_str())
        .collect();
    versions.dedup();
    if versions.len() > 1 {
        findings.refuse(
            Diagnostic::new(
                codes::CACHE_VERSIONS,
                pool.set_name,
                "the members are of different versions: somebody is in the middle of changing them",
            )
            .seen(format!("versions, by ordinal: {}", join(&versions)))
            .fix("finish the change of the version, or take it back"),
        );
    }
    for (member, facts) in pool.answers() {
        let others = u64::try_from(pool.members.len().saturating_sub(1)).unwrap_or(1);
        let with_more = facts.bytes + facts.bytes / others.max(1);
        if facts.lately.evictions > 0 || (with_more > facts.max_bytes && facts.items >= FEW_ITEMS) {
            findings.warn(
                Diagnostic::new(
                    codes::CACHE_FULL,
                    &member.name,
                    "it has no room for a part of the keys of a member that is away: it will evict others for them, and the hit-rate may stay lower than computed",
                )
                .seen(format!(
                    "{} MiB of {} MiB in use, {} evictions within {} ms",
                    facts.bytes >> 20,
                    facts.max_bytes >> 20,
                    facts.lately.evictions,
                    facts.window_ms
                ))
                .fix("give the servers more memory (`-m`), or move when fewer keys are in use"),
            );
        }
    }
    findings
}

/// Nobody is refilling: each member finds about as many of its keys as the others of theirs.
fn refilled(pool: &Pool<'_>) -> Findings {
    let mut findings = Findings::default();
    for (member, facts) in pool.answers() {
        let others = || {
            pool.answers()
                .filter(|(other, _)| other.name != member.name)
        };
        let theirs = others().fold(MemcachedCounts::default(), |all, (_, other)| {
            all.and(other.lately)
        });
        let within = f64::from(pool.spec.refill_within.get());
        let count = u64::try_from(others().count()).unwrap_or(1).max(1);
        let usual = others().map(|(_, other)| other.items).sum::<u64>() / count;
        let evidence = match (facts.lately.hit_rate(), theirs.hit_rate()) {
            (Some(own), Some(theirs)) if own + within < theirs => Some(format!(
                "hit-rate {own:.1} %, the others' {theirs:.1} %, within {} ms",
                facts.window_ms
            )),
            (Some(_), Some(_)) => None,
            _ => (usual >= FEW_ITEMS && facts.items < usual / 2)
                .then(|| format!("{} keys, the others have {usual} each", facts.items)),
        };
        if let Some(evidence) = evidence {
            findings.refuse(
                Diagnostic::new(
                    codes::CACHE_REFILLING,
                    &member.name,
                    "it is being refilled: another member away now would cost its keys as well",
                )
                .seen(evidence)
                .seen(format!("up for {} s", facts.uptime_seconds))
                .fix(format!(
                    "wait until its hit-rate is within {within} points of the others'"
                )),
            );
        }
    }
    findings
}

/// What the absence of one member costs, against what is allowed.
fn absence(pool: &Pool<'_>) -> Findings {
    let mut findings = Findings::default();
    let counts = |of: fn(&MemcachedFacts) -> MemcachedCounts| -> Vec<MemcachedCounts> {
        pool.answers().map(|(_, facts)| of(facts)).collect()
    };
    let window = pool.answers().map(|(_, facts)| facts.window_ms).max();
    // Since their start, where next to nobody asks at this moment.
    let cost = Absence::worst(&counts(|facts| facts.lately), window)
        .or_else(|| Absence::worst(&counts(|facts| facts.ever), None));
    let Some(cost) = cost else {
        return findings;
    };
    if let Some(limit) = pool.spec.min_hit_rate
        && cost.lowest < f64::from(limit.get())
    {
        findings.refuse(
            Diagnostic::new(
                codes::CACHE_HIT_RATE,
                pool.set_name,
                "the hit-rate would fall below its limit while a member is away",
            )
            .seen(format!(
                "{:.1} % now, {:.1} % without the member that finds most; minHitRate is {limit} %",
                cost.now, cost.lowest
            ))
            .fix("add members, so that each has fewer keys, or lower `minHitRate`"),
        );
    }
    if let (Some(limit), Some(loads)) = (pool.spec.max_backend_load, cost.loads_a_second)
        && loads > limit
    {
        findings.refuse(
            Diagnostic::new(
                codes::CACHE_BACKEND,
                pool.set_name,
                "the backend would get more loads than it bears while a member is away",
            )
            .seen(format!(
                "{loads} loads a second without the member that finds most; maxBackendLoad is {limit}"
            ))
            .fix("move when fewer requests come, or add members, so that each has fewer keys"),
        );
    }
    findings
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}
