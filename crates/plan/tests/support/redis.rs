//! A cluster of six servers in three zones, one minor behind: redis-0, -1 and -2 lead, redis-3, -4
//! and -5 follow them, each on a machine of its own.

use std::collections::{BTreeMap, BTreeSet};

use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::world::*;

use super::{db, handing_over, parsed, spec_of, stateful_set_of, with_set};

const DATABASE: &str = r#"    - name: cache
      redis:
        statefulSet: db/redis
        password: db/redis-password
"#;

pub fn text() -> String {
    spec_of("aks-cache-1-36", DATABASE)
}

pub fn spec() -> Upgrade {
    parsed(&text())
}

pub fn hand_over_spec(to: Option<&str>) -> Upgrade {
    handing_over(&text(), to)
}

pub fn id(n: usize) -> String {
    format!("{n:x}").repeat(40)
}

fn slots(n: usize) -> Vec<SlotRange> {
    [(0, 5_460), (5_461, 10_922), (10_923, 16_383)]
        .get(n)
        .map(|(first, last)| SlotRange {
            first: *first,
            last: *last,
        })
        .into_iter()
        .collect()
}

fn peer(n: usize, me: usize) -> RedisPeer {
    let leads = n < 3;
    let mut flags = BTreeSet::from([if leads { "master" } else { "slave" }.to_owned()]);
    if n == me {
        flags.insert("myself".to_owned());
    }
    RedisPeer {
        ip: format!("10.244.0.{}", n + 10),
        port: 6379,
        hostname: None,
        flags,
        primary: (!leads).then(|| id(n - 3)),
        connected: true,
        config_epoch: (n % 3) as u64 + 1,
        slots: slots(n),
    }
}

fn facts(n: usize, of: usize) -> RedisFacts {
    let leads = n < 3;
    RedisFacts {
        flavour: Flavour::Redis,
        version: "7.0.15".to_owned(),
        cluster_enabled: true,
        id: id(n),
        role: if leads {
            RedisRole::Primary
        } else {
            RedisRole::Replica
        },
        primary_id: (!leads).then(|| id(n - 3)),
        offset: 4_096,
        link_up: (!leads).then_some(true),
        syncing: false,
        loading: false,
        replicas: BTreeMap::new(),
        cluster_ok: true,
        slots_assigned: 16_384,
        slots_ok: 16_384,
        slots_pfail: 0,
        slots_fail: 0,
        known_nodes: u32::try_from(of).expect("few"),
        current_epoch: 6,
        my_epoch: (n % 3) as u64 + 1,
        nodes: (0..of).map(|other| (id(other), peer(other, n))).collect(),
        slots_moving: Vec::new(),
        persistence: RedisPersistence {
            aof: true,
            save: "3600 1".to_owned(),
        },
        aof_rewriting: false,
        rdb_saving: false,
        used_memory: 2_000_000,
        backlog_bytes: 1_048_576,
        min_replicas_to_write: 0,
        node_timeout_ms: 15_000,
        full_coverage: true,
        replica_migration: true,
        announce_ip: Some(format!("10.244.0.{}", n + 10)),
        announce_hostname: None,
        directory: "/data".to_owned(),
        user: "default".to_owned(),
        forbidden: Vec::new(),
        keys: 100,
    }
}

/// The practice cluster with a Redis set of so many members instead of PostgreSQL.
pub fn cluster(members: usize) -> Snapshot {
    // A replica is in another zone than its primary.
    let count = u32::try_from(members).expect("few");
    let zones: Vec<u32> = (0..count).map(|n| (n + n / 3) % 3 + 1).collect();
    let mut world = with_set("redis", "cache", &zones);
    world.databases.insert(
        "cache".into(),
        Database::Redis(Redis {
            stateful_set: db("redis"),
            members: (0..members)
                .map(|n| {
                    let member = RedisMember {
                        unreachable: None,
                        facts: Some(facts(n, members)),
                    };
                    (format!("redis-{n}"), member)
                })
                .collect(),
        }),
    );
    world
}

pub fn redis(world: &mut Snapshot) -> &mut Redis {
    match world.databases.get_mut(&"cache".into()) {
        Some(Database::Redis(redis)) => redis,
        other => panic!("{other:?} is no cluster"),
    }
}

pub fn server(world: &mut Snapshot, n: usize) -> &mut RedisFacts {
    redis(world)
        .members
        .get_mut(&format!("redis-{n}"))
        .and_then(|member| member.facts.as_mut())
        .expect("it answers")
}

pub fn everybody(world: &mut Snapshot) -> impl Iterator<Item = &mut RedisFacts> {
    redis(world)
        .members
        .values_mut()
        .filter_map(|member| member.facts.as_mut())
}

pub fn stateful_set(world: &mut Snapshot) -> &mut StatefulSet {
    stateful_set_of(world, "redis")
}
