//! A Memcached pool of three servers in three zones, one minor behind.

use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::world::*;

use super::{db, handing_over, parsed, spec_of, stateful_set_of, with_set};

const DATABASE: &str = r#"    - name: pages
      memcached:
        statefulSet: db/memcached
        clientName: "{pod}.db.svc.cluster.local"
"#;

pub fn text() -> String {
    spec_of("aks-pages-1-36", DATABASE)
}

pub fn spec() -> Upgrade {
    parsed(&text())
}

/// With more lines under `memcached`.
pub fn spec_with(lines: &[&str]) -> Upgrade {
    let more: String = lines
        .iter()
        .map(|line| format!("        {line}\n"))
        .collect();
    parsed(&(text() + &more))
}

pub fn hand_over_spec(to: Option<&str>) -> Upgrade {
    handing_over(&text(), to)
}

fn facts() -> MemcachedFacts {
    let counts = |seconds: u64| MemcachedCounts {
        gets: 1_000 * seconds,
        hits: 960 * seconds,
        evictions: 0,
    };
    MemcachedFacts {
        version: "1.6.18".to_owned(),
        uptime_seconds: 90_000,
        items: 40_000,
        bytes: 20 << 20,
        max_bytes: 64 << 20,
        ever: counts(90_000),
        lately: counts(1),
        window_ms: 1_000,
        dump_enabled: true,
    }
}

/// The practice cluster with a pool instead of PostgreSQL: 1,000 questions a second a member, 96 % found.
pub fn pool() -> Snapshot {
    let mut world = with_set("memcached", "pages", &[1, 2, 3]);
    stateful_set(&mut world).claim_templates.clear();
    for pod in world.pods.values_mut() {
        pod.claims.clear();
    }
    world.claims.clear();
    let members = (0..3)
        .map(|n| {
            let member = MemcachedMember {
                unreachable: None,
                facts: Some(facts()),
            };
            (format!("memcached-{n}"), member)
        })
        .collect();
    world.databases.insert(
        "pages".into(),
        Database::Memcached(Memcached {
            stateful_set: db("memcached"),
            members,
        }),
    );
    world
}

pub fn memcached(world: &mut Snapshot) -> &mut Memcached {
    match world.databases.get_mut(&"pages".into()) {
        Some(Database::Memcached(memcached)) => memcached,
        other => panic!("{other:?} is no Memcached"),
    }
}

pub fn server(world: &mut Snapshot, n: u32) -> &mut MemcachedFacts {
    memcached(world)
        .members
        .get_mut(&format!("memcached-{n}"))
        .and_then(|member| member.facts.as_mut())
        .expect("it answers")
}

pub fn stateful_set(world: &mut Snapshot) -> &mut StatefulSet {
    stateful_set_of(world, "memcached")
}
